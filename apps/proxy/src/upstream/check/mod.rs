//! Checks of servers: requests that are sent to each of them from time to time, whether there is traffic or not. A thread of
//! its own sends them and judges the answers; workers read the judgement, a byte for each server, when they choose one.
//!
//! A server begins as up. So many failures in a row and it is left out, so many good answers in a row and it is asked again.
//! What a worker sees of the requests it forwards is judged apart from that, by the worker alone.

mod health;
mod judge;
mod probe;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use warpdrive_pipeline::cores::{self, CpuSet};

use super::UpstreamConfig;
pub use health::{Health, ServerHealth};
use watch::Watch;

/// Bytes of the thread's stack.
const STACK: usize = 256 << 10;

/// The checks of a proxy's servers. They end when this is dropped, which waits for none of them.
#[derive(Debug)]
pub struct Checks {
    health: Arc<Health>,
    /// Absent: nothing is checked.
    thread: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// Readable at the end.
    end: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Checks {
    /// Starts the thread if there is something to check: on cpus that are not `busy`, if the caller may use others. `proxy` is the
    /// name for messages; what was known `before` of the same servers is taken over.
    ///
    /// # Errors
    /// There is no thread to be had, or no descriptor to end it by.
    pub fn start(
        proxy: &str,
        upstreams: &[UpstreamConfig],
        before: Option<&Health>,
        busy: CpuSet,
    ) -> io::Result<Self> {
        let health = Health::new(upstreams, before);
        let watch = Watch::new(proxy, upstreams, Arc::clone(&health));
        if watch.is_empty() {
            return Ok(Self { health, thread: None });
        }
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let theirs = Arc::clone(&end);
        let thread = Builder::new().name("server-checks".to_owned()).stack_size(STACK).spawn(move || {
            step_aside(&busy);
            watch.run(&theirs);
        })?;
        Ok(Self { health, thread: Some(Running { end, thread }) })
    }

    /// What they find.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        let Some(Running { end, thread }) = self.thread.take() else { return };
        // An eventfd takes eight bytes at any time; if not, waiting for the thread would be for ever.
        if rustix::io::write(&*end, &1_u64.to_ne_bytes()).is_ok() {
            let _ = thread.join();
        }
    }
}

/// Leaves cpus to those who poll there, if there are others.
fn step_aside(busy: &CpuSet) {
    let Ok(all) = cores::current() else { return };
    let free = all.minus(busy);
    if !free.is_empty()
        && let Err(e) = cores::pin_current(&free)
    {
        tracing::debug!("checks of servers run on any cpu: {e}");
    }
}
