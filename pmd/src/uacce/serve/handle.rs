//! The way to a core: its thread, and the orders that it gets.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, unbounded};
use warpdrive_mempool::WorkerSlot;

use super::core::Core;
use super::engines::Engines;
use super::order::{Counts, Order};
use crate::device::DeviceError;
use crate::idle::IdlePolicy;

/// The way to a running core.
pub(super) struct CoreHandle {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    pub(super) engines: Arc<Engines>,
    pub(super) counts: Arc<Counts>,
}

impl CoreHandle {
    /// Starts the thread on a cpu.
    pub(super) fn start(cpu: usize, idle: IdlePolicy, engines: &Arc<Engines>) -> Result<Self, DeviceError> {
        let failed = |cause: String| DeviceError::EngineCore { device: "serve".to_owned(), core: cpu, cause };
        let (orders, inbox) = unbounded();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let counts = Arc::<Counts>::default();
        let (for_core, counted) = (Arc::clone(engines), Arc::clone(&counts));
        let thread = std::thread::Builder::new()
            .name(format!("serve-{cpu}"))
            .spawn(move || {
                let prepared = prepare(cpu).and_then(|slot| {
                    let queues = for_core.queues().map_err(|error| error.to_string())?;
                    Ok((slot, queues))
                });
                match prepared {
                    Ok((slot, queues)) => {
                        let _ = ready.send(Ok(()));
                        Core::new(inbox, for_core, queues, counted).run(idle);
                        drop(slot);
                    }
                    Err(cause) => {
                        let _ = ready.send(Err(cause));
                    }
                }
            })
            .map_err(|error| failed(error.to_string()))?;
        match started.recv() {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Err(failed(cause)),
            Err(error) => return Err(failed(error.to_string())),
        }
        Ok(Self { orders, thread: Some(thread), engines: Arc::clone(engines), counts })
    }

    /// Tells it something. Nothing happens if it has ended.
    pub(super) fn tell(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Whether its thread has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends it, after it has failed its queues.
    pub(super) fn stop(&mut self) {
        self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic was told by the hook; there is nothing else to learn.
            let _ = thread.join();
        }
    }

    /// The way to it, for others.
    pub(super) fn sender(&self) -> Sender<Order> {
        self.orders.clone()
    }
}

impl Drop for CoreHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Pins the thread and makes it a worker.
fn prepare(cpu: usize) -> Result<WorkerSlot, String> {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Err("the cpu does not exist or may not be used by this process".to_owned());
    }
    WorkerSlot::claim().map_err(|error| error.to_string())
}
