//! An engine on a core of its own: a pinned thread that polls the submission rings of all its queues.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rtrb::{Consumer, Producer, RingBuffer};
use warpdrive_mempool::WorkerSlot;

use super::{Engine, Executor, Requests, stamp};
use crate::device::{Completion, DeviceError, Queue, Request};
use crate::idle::{Idle, IdlePolicy};

/// The engine's end of one queue.
struct Served<E: Engine> {
    executor: Executor<E>,
    submissions: Consumer<Request>,
    /// As long as the queue is deep, so a completion always finds room.
    completions: Producer<Completion>,
}

/// A running engine core. Dropping it stops the thread, after what its queues have sent is done.
pub struct EngineCore<E: Engine> {
    shared: Arc<Shared<E>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<E: Engine> {
    stop: AtomicBool,
    /// How many queues were ever added: the thread looks into `new` only when this has changed.
    added: AtomicUsize,
    /// Queues that the thread has still to take over; `None` when it has ended.
    new: Mutex<Option<Vec<Served<E>>>>,
}

impl<E: Engine> EngineCore<E> {
    pub(super) fn start(device: &str, cpu: usize, idle: IdlePolicy) -> Result<Self, DeviceError> {
        let failed = |cause: String| DeviceError::EngineCore { device: device.to_owned(), core: cpu, cause };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            added: AtomicUsize::new(0),
            new: Mutex::new(Some(Vec::new())),
        });
        let (ready, started) = mpsc::sync_channel(1);
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("engine-{device}"))
            .spawn(move || {
                let slot = match prepare(cpu) {
                    Ok(slot) => {
                        let _ = ready.send(Ok(()));
                        slot
                    }
                    Err(cause) => {
                        let _ = ready.send(Err(cause));
                        return;
                    }
                };
                // Also if the engine's own code fails beyond what is caught: whoever waits must learn of the end.
                let end = End(&for_thread);
                serve(&for_thread, idle);
                drop(end);
                drop(slot);
            })
            .map_err(|e| failed(e.to_string()))?;
        match started.recv() {
            Ok(Ok(())) => Ok(Self { shared, thread: Some(thread) }),
            Ok(Err(cause)) => Err(failed(cause)),
            Err(e) => Err(failed(e.to_string())),
        }
    }

    pub(super) fn add_queue(&self, executor: Executor<E>, depth: usize) -> Option<CoreQueue> {
        let (to_engine, submissions) = RingBuffer::new(depth);
        let (completions, from_engine) = RingBuffer::new(depth);
        let served = Served { executor, submissions, completions };
        self.shared.new.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.push(served);
        self.shared.added.fetch_add(1, Ordering::Release);
        Some(CoreQueue { to_engine: Some(to_engine), from_engine, depth, in_flight: 0 })
    }
}

impl<E: Engine> Drop for EngineCore<E> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // The thread catches an engine's panics, so there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

/// The end of the thread: queues it has not taken over are let go of, and no more are accepted.
struct End<'a, E: Engine>(&'a Shared<E>);

impl<E: Engine> Drop for End<'_, E> {
    fn drop(&mut self) {
        drop(self.0.new.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Pins the thread and makes it a worker, so that freeing packets here is cheap.
fn prepare(cpu: usize) -> Result<WorkerSlot, String> {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Err("the cpu does not exist or may not be used by this process".to_owned());
    }
    WorkerSlot::claim().map_err(|e| e.to_string())
}

fn serve<E: Engine>(shared: &Shared<E>, idle: IdlePolicy) {
    let mut queues: Vec<Served<E>> = Vec::new();
    let mut known = 0;
    let mut idle = Idle::new(idle);
    loop {
        let added = shared.added.load(Ordering::Acquire);
        if added != known {
            known = added;
            if let Some(new) = shared.new.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                queues.append(new);
            }
        }
        let mut worked = false;
        let mut gone = false;
        for queue in &mut queues {
            worked |= serve_one(queue);
            gone |= queue.submissions.is_abandoned();
        }
        if gone {
            // A released queue: dropping our end frees its requests and tells the releaser that we are done.
            queues.retain(|q| !q.submissions.is_abandoned());
        }
        if worked {
            idle.busy();
        } else if shared.stop.load(Ordering::Acquire) {
            return; // every request that was sent before has its completion
        } else {
            idle.wait();
        }
    }
}

/// Executes one batch of a queue.
fn serve_one<E: Engine>(queue: &mut Served<E>) -> bool {
    let n = queue.submissions.slots().min(E::BATCH);
    if n == 0 || queue.submissions.is_abandoned() {
        return false;
    }
    let Ok(chunk) = queue.submissions.read_chunk(n) else {
        return false; // cannot be: `n` were there, and only we take them
    };
    let mut batch: Requests = chunk.into_iter().collect();
    let completions = &mut queue.completions;
    queue.executor.execute(&mut batch, |completion| {
        // Cannot be full: the ring is as long as the most requests in flight. If the owner is gone, it is dropped.
        let _ = completions.push(completion);
    });
    true
}

/// The owner's end of a queue that an engine core serves.
pub(super) struct CoreQueue {
    /// `None` only while being dropped.
    to_engine: Option<Producer<Request>>,
    from_engine: Consumer<Completion>,
    depth: usize,
    in_flight: usize,
}

impl CoreQueue {
    /// With its engine gone, nothing that is in flight will come back: its packets return to their pools with the rings.
    /// Called when no completion is left.
    #[inline]
    fn give_up_if_abandoned(&mut self) {
        // In this order: what the engine completed before it went has been received by now.
        if self.in_flight > 0 && self.from_engine.is_abandoned() && self.from_engine.is_empty() {
            self.in_flight = 0;
        }
    }
}

impl Queue for CoreQueue {
    fn send_burst(&mut self, requests: &mut Vec<Request>) -> usize {
        let n = requests.len().min(self.room());
        let Some(ring) = self.to_engine.as_mut().filter(|ring| n > 0 && !ring.is_abandoned()) else {
            return 0;
        };
        stamp(&mut requests[..n]);
        // The ring has `depth` slots and `in_flight` counts those not yet taken too, so `n` are free.
        let Ok(chunk) = ring.write_chunk_uninit(n) else {
            return 0;
        };
        let n = chunk.fill_from_iter(requests.drain(..n));
        self.in_flight += n;
        n
    }

    fn recv_burst(&mut self, out: &mut Vec<Completion>, max: usize) -> usize {
        let n = self.from_engine.slots().min(max).min(out.capacity() - out.len());
        if n == 0 {
            self.give_up_if_abandoned();
            return 0;
        }
        let Ok(chunk) = self.from_engine.read_chunk(n) else {
            return 0;
        };
        out.extend(chunk);
        self.in_flight -= n;
        n
    }

    fn flush(&mut self) {}

    fn room(&self) -> usize {
        self.depth - self.in_flight
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn send(&mut self, mut request: Request) -> Result<(), Request> {
        let free = self.in_flight < self.depth;
        let Some(ring) = self.to_engine.as_mut().filter(|ring| free && !ring.is_abandoned()) else {
            return Err(request);
        };
        stamp(std::slice::from_mut(&mut request));
        match ring.push(request) {
            Ok(()) => {
                self.in_flight += 1;
                Ok(())
            }
            Err(rtrb::PushError::Full(request)) => Err(request),
        }
    }

    fn recv(&mut self) -> Option<Completion> {
        match self.from_engine.pop() {
            Ok(completion) => {
                self.in_flight -= 1;
                Some(completion)
            }
            Err(_) => {
                self.give_up_if_abandoned();
                None
            }
        }
    }
}

impl Drop for CoreQueue {
    fn drop(&mut self) {
        // After this returns, the engine touches none of the memory of our requests: those from Request::raw too.
        drop(self.to_engine.take());
        while !self.from_engine.is_abandoned() {
            std::thread::yield_now();
        }
    }
}
