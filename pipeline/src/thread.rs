//! The thread of a worker: prepared, let go, joined.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use warpdrive_mempool::WorkerSlot;

use crate::cores;
use crate::launch::LaunchError;
use crate::strict::{self, Supervisor};
use crate::worker::{Worker, WorkerReport};

/// A worker's thread, from when it is prepared. Dropping it waits for its end, which is at once if it was not let go.
pub(crate) struct WorkerThread {
    thread: Option<JoinHandle<WorkerReport>>,
    id: u32,
    /// What it waits for. If this is dropped instead, it ends without a round.
    go: Option<mpsc::Sender<()>>,
}

impl WorkerThread {
    /// Starts the thread, pins it, and has it watched if there is who watches. It does not poll yet.
    ///
    /// # Errors
    /// [`LaunchError`]; the thread has ended then, and the worker's queues are released.
    pub(crate) fn prepare(
        mut worker: Worker,
        lcore: usize,
        cpus: cores::CpuSet,
        supervisor: Option<Arc<Supervisor>>,
    ) -> Result<Self, LaunchError> {
        let (ready, started) = mpsc::sync_channel::<Result<u32, LaunchError>>(1);
        let (go, may_go) = mpsc::channel();
        let name = format!("worker-{lcore}");
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let prepared = cores::pin_current(&cpus)
                    .map_err(LaunchError::from)
                    .and_then(|()| WorkerSlot::claim().map_err(LaunchError::from))
                    .and_then(|slot| {
                        if let Some(supervisor) = supervisor {
                            worker.watched = supervisor.watch_current(&name, strict::From::Now)?;
                        }
                        Ok(slot)
                    });
                let slot = match prepared {
                    Ok(slot) => {
                        let _ =
                            ready.send(Ok(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()));
                        slot
                    }
                    Err(e) => {
                        let _ = ready.send(Err(e));
                        return WorkerReport::default();
                    }
                };
                // To wait is a system call: the thread is not in its steady state before it runs.
                let report = match may_go.recv() {
                    Ok(()) => worker.run(),
                    Err(_) => {
                        drop(worker);
                        WorkerReport::default()
                    }
                };
                drop(slot);
                report
            })
            .map_err(|cause| LaunchError::Thread { lcore, cause })?;
        let failed = match started.recv() {
            Ok(Ok(id)) => return Ok(Self { thread: Some(thread), id, go: Some(go) }),
            Ok(Err(e)) => e,
            Err(_) => LaunchError::Thread { lcore, cause: std::io::Error::other("the thread ended at once") },
        };
        let _ = thread.join();
        Err(failed)
    }

    /// The kernel's number of it.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Lets it poll.
    pub(crate) fn let_go(&mut self) {
        if let Some(go) = self.go.take() {
            // If it has ended, whoever joins it learns why.
            let _ = go.send(());
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end; `None` if that was done before.
    pub(crate) fn join(&mut self) -> Option<std::thread::Result<WorkerReport>> {
        self.go = None;
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        let _ = self.join();
    }
}
