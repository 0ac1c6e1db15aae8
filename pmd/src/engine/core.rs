//! An engine on a core of its own: a pinned thread that polls the submission rings of all its queues.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rtrb::{Consumer, Producer, RingBuffer};
use warpdrive_mempool::{DomainView, WorkerSlot};

use super::exec::{End, Executor, message};
use super::sessions::Reader;
use super::{Engine, ThreadWatch, stamp};
use crate::device::{Completion, DeviceError, Queue, Request};
use crate::idle::{Idle, IdlePolicy};

/// The engine's end of one queue.
struct Served {
    view: DomainView,
    /// Requests that were there when we last looked.
    ready: usize,
    // The order of the rings matters: what is left of the requests is freed before the releaser, who looks at the
    // other ring, learns that we are done.
    submissions: Consumer<Request>,
    /// As long as the queue is deep, so a completion always finds room.
    completions: Producer<Completion>,
}

impl End for Served {
    #[inline]
    fn view(&mut self) -> &mut DomainView {
        &mut self.view
    }

    #[inline(always)]
    fn complete(&mut self, completion: Completion) {
        // Cannot be full: the ring is as long as the most requests in flight. If the owner is gone, it is dropped.
        let _ = self.completions.push(completion);
    }
}

/// A running engine core. Dropping it stops the thread, after what its queues have sent is done.
pub(super) struct EngineCore {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    thread_id: u32,
}

struct Shared {
    stop: AtomicBool,
    /// How many queues were ever added: the thread looks into `new` only when this has changed.
    added: AtomicUsize,
    /// Queues that the thread has still to take over; `None` when it has ended.
    new: Mutex<Option<Vec<Served>>>,
}

impl EngineCore {
    /// Starts the thread, with the engine that `executor` makes there. `watch` follows it.
    pub(super) fn start<E: Engine>(
        device: &str,
        cpu: usize,
        idle: IdlePolicy,
        executor: impl FnOnce() -> Executor<E> + Send + 'static,
        sessions: Reader<E::Session>,
        mut watch: Option<Box<dyn ThreadWatch>>,
    ) -> Result<Self, DeviceError> {
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
                let prepared = prepare(cpu).and_then(|slot| {
                    let made = catch_unwind(AssertUnwindSafe(executor));
                    let made = made.map_err(|e| format!("its engine cannot be made: {}", message(&*e)))?;
                    watch.as_mut().map_or(Ok(()), |watch| watch.started())?;
                    Ok((slot, made))
                });
                let (slot, executor) = match prepared {
                    Ok(prepared) => {
                        let _ =
                            ready.send(Ok(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()));
                        prepared
                    }
                    Err(cause) => {
                        let _ = ready.send(Err(cause));
                        return;
                    }
                };
                // Also if even answering fails after a panic: whoever waits must learn of the end.
                let end = Ended(&for_thread);
                let mut core = Core { executor, queues: Vec::new(), first: 0, taken_over: 0, watch };
                core.serve(&for_thread, sessions, idle);
                drop(core);
                drop(end);
                drop(slot);
            })
            .map_err(|e| failed(e.to_string()))?;
        match started.recv() {
            Ok(Ok(thread_id)) => Ok(Self { shared, thread: Some(thread), thread_id }),
            Ok(Err(cause)) => Err(failed(cause)),
            Err(e) => Err(failed(e.to_string())),
        }
    }

    /// The kernel's number of the thread.
    pub(super) fn thread_id(&self) -> u32 {
        self.thread_id
    }

    pub(super) fn add_queue(&self, view: DomainView, depth: usize) -> Option<CoreQueue> {
        let (to_engine, submissions) = RingBuffer::new(depth);
        let (completions, from_engine) = RingBuffer::new(depth);
        let served = Served { view, ready: 0, submissions, completions };
        self.shared.new.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.push(served);
        self.shared.added.fetch_add(1, Ordering::Release);
        Some(CoreQueue { to_engine: Some(to_engine), from_engine, depth, in_flight: 0 })
    }
}

impl Drop for EngineCore {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Panics were caught and told, so there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

/// The end of the thread: queues it has not taken over are let go of, and no more are accepted.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
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

/// What the thread has.
struct Core<E: Engine> {
    /// Before the queues: its requests are gone when their rings tell the releaser so.
    executor: Executor<E>,
    queues: Vec<Served>,
    /// The queue that is asked first next time.
    first: usize,
    /// How many queues were taken over.
    taken_over: usize,
    watch: Option<Box<dyn ThreadWatch>>,
}

impl<E: Engine> Core<E> {
    fn serve(&mut self, shared: &Shared, mut sessions: Reader<E::Session>, idle: IdlePolicy) {
        // Whatever comes in between, each request is in one place: a ring or the window. And each of them is answered.
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| self.work(shared, &mut sessions, idle))) {
            self.steady(false);
            self.executor.fail(&*cause);
            self.work(shared, &mut sessions, idle);
        }
    }

    fn work(&mut self, shared: &Shared, sessions: &mut Reader<E::Session>, idle: IdlePolicy) {
        let mut idle = Idle::new(idle);
        self.steady(true);
        loop {
            // First, so that what was sent before the stop is seen below.
            let stop = shared.stop.load(Ordering::Acquire);
            self.take_over(shared);
            let busy = self.look();
            // Renewed after looking: a session that was made before a request was sent is in the table, and one that was
            // removed before is not.
            if sessions.is_old() {
                // Old sessions and their table are freed here.
                self.steady(false);
                sessions.renew();
                self.steady(true);
            }
            self.fill(busy);
            let worked = self.executor.turn(&mut self.queues, sessions.table(), stop);
            if worked {
                idle.busy();
                if self.executor.recovered() {
                    // A panic hook may have said otherwise.
                    self.steady(true);
                }
            } else if self.executor.held() > 0 {
                std::hint::spin_loop(); // the engine has a deadline to keep
            } else if stop {
                self.steady(false);
                return; // every request that was sent before has its completion
            } else {
                idle.wait();
            }
        }
    }

    fn take_over(&mut self, shared: &Shared) {
        let added = shared.added.load(Ordering::Acquire);
        if added != self.taken_over {
            self.taken_over = added;
            self.steady(false);
            if let Some(new) = shared.new.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                self.queues.append(new);
            }
            self.steady(true);
        }
    }

    /// Sees what has come; returns how many queues have something. Lets go of released queues.
    fn look(&mut self) -> usize {
        let (mut busy, mut gone) = (0, false);
        for queue in &mut self.queues {
            queue.ready = queue.submissions.slots();
            busy += usize::from(queue.ready > 0);
            gone |= queue.submissions.is_abandoned();
        }
        if gone {
            self.release();
            busy = self.queues.iter().filter(|q| q.ready > 0).count();
        }
        busy
    }

    /// Drops the requests of released queues, then our end of their rings, which tells the releasers that we are done.
    #[cold]
    fn release(&mut self) {
        self.steady(false);
        for queue in (0..self.queues.len()).rev() {
            if self.queues[queue].submissions.is_abandoned() {
                self.executor.forget(queue);
                drop(self.queues.remove(queue));
            }
        }
        self.first = 0;
        self.steady(true);
    }

    fn steady(&mut self, steady: bool) {
        if let Some(watch) = &mut self.watch {
            watch.steady(steady);
        }
    }

    /// Fills the engine's window: each of `busy` queues gets its share of the room. The last gets what is left, so
    /// another one is the first each time.
    fn fill(&mut self, busy: usize) {
        let mut room = self.executor.room();
        if busy == 0 || room == 0 {
            return;
        }
        let (share, n, first) = (room.div_ceil(busy), self.queues.len(), self.first);
        let mut next = None;
        for place in (first..n).chain(0..first) {
            let queue = &mut self.queues[place];
            let take = queue.ready.min(share).min(room);
            if take == 0 {
                continue;
            }
            room -= take;
            next.get_or_insert((place + 1) % n);
            // They are there, since `ready` were and only we take them.
            if let Ok(chunk) = queue.submissions.read_chunk(take) {
                chunk.into_iter().for_each(|request| self.executor.admit(place, request));
            }
        }
        self.first = next.unwrap_or(first);
    }
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
