//! Strict workers: threads that are not to call the kernel while they move packets, held to it by a filter of system
//! calls (seccomp) that each installs on itself.
//!
//! What the filter does not allow waits for a supervisor, which lets it continue outside the steady state, and counts
//! it ([`Strict::Log`]) or ends the process ([`Strict::Kill`]) within. The poll loop does nothing for this.
//!
//! While a call waits, its thread may hold any lock: that of the allocator, that of standard error. So who answers must
//! take none; a second thread, which nobody waits for, writes the log.
#![deny(unsafe_code)]

mod filter;
pub mod names;
mod supervisor;
mod sys;
mod tally;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Once};

use warpdrive_pmd::engine::ThreadWatch;

use crate::config::Strict;
pub use supervisor::Supervisor;
use tally::Tally;
pub use tally::{From, ThreadCalls};

/// What is wanted of workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrictPlan {
    /// What happens when one calls the kernel.
    pub mode: Strict,
    /// Numbers of the calls that are allowed.
    pub allow: Vec<u32>,
}

impl StrictPlan {
    /// The names of the calls that are allowed.
    pub fn allowed(&self) -> impl Iterator<Item = String> {
        self.allow.iter().map(|number| names::name_of(u64::from(*number)))
    }
}

/// Why workers cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("eal.strict: {thread}: {what}: {cause}. Remedy: {remedy}")]
pub struct StrictError {
    /// Which thread.
    pub thread: String,
    /// What was tried.
    pub what: &'static str,
    /// The cause.
    pub cause: io::Error,
    /// What to do.
    pub remedy: &'static str,
}

impl StrictError {
    fn new(thread: &str, what: &'static str, cause: io::Error) -> Self {
        let remedy = match cause.raw_os_error() {
            Some(libc::EBUSY) => {
                "another listener for system calls is installed already, by a container or a sandbox: run outside it, or strict = \"off\""
            }
            Some(libc::EPERM | libc::EACCES) => {
                "a container or a sandbox forbids seccomp: allow it there, or strict = \"off\""
            }
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => {
                "a kernel of version 5.9 or later with CONFIG_SECCOMP_FILTER, or strict = \"off\""
            }
            _ => "strict = \"off\"",
        };
        Self { thread: thread.to_owned(), what, cause, remedy }
    }
}

thread_local! {
    /// The calling thread, if it is watched: for the panic hook.
    static OWN: RefCell<Option<Arc<Tally>>> = const { RefCell::new(None) };
}

/// A thread's word to the supervisor. That of a thread that is not watched does nothing.
#[derive(Default)]
pub struct Watched(Option<Arc<Tally>>);

impl Watched {
    /// Whether the thread is in its steady state from now on.
    pub fn steady(&self, steady: bool) {
        if let Some(tally) = &self.0 {
            tally.set_steady(steady);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.steady(false);
    }
}

/// Lets a panic be told: its message goes to standard error, by system calls.
fn let_panics_be_told() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = OWN.try_with(|own| {
                if let Ok(own) = own.try_borrow()
                    && let Some(tally) = &*own
                {
                    tally.set_steady(false);
                }
            });
            next(info);
        }));
    });
}

/// Watches the thread of an engine core.
pub(crate) struct EngineWatch {
    supervisor: Arc<Supervisor>,
    thread: String,
    watched: Watched,
}

impl EngineWatch {
    pub(crate) fn new(supervisor: Arc<Supervisor>, device: &str) -> Self {
        Self { supervisor, thread: format!("engine-{device}"), watched: Watched::default() }
    }
}

impl ThreadWatch for EngineWatch {
    fn started(&mut self) -> Result<(), String> {
        self.watched =
            self.supervisor.watch_current(&self.thread, From::AllOpen).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn steady(&mut self, steady: bool) {
        self.watched.steady(steady);
    }
}
