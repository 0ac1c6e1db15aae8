//! A thread for each process that has queues: it does what may take long, and keeps nobody waiting but that process.
//!
//! Copies from and to another process wait for pages that are not there: as long as their owner likes, if it is the one who brings
//! them (userfaultfd, FUSE). Keys that are new have to be prepared, large memory has to be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::io::Errno;
use warpdrive_mempool::Domain;
use zeroize::Zeroizing;

use super::bounce::Bounce;
use super::engines::Engines;
use super::flight::{Destination, Errand, Flight};
use super::space::Space;

/// Bytes that a process may have in requests that are larger than a slot.
pub(super) const LARGE: usize = 128 << 20;
/// How often an idle agent looks before it sleeps: for some ten microseconds. It does not spin meanwhile: the core, which may be on
/// the same cpu, could not give it anything.
const LOOKS: u32 = 32;

/// The core's end.
pub(super) struct Agent {
    to: Producer<Box<Flight>>,
    from: Consumer<Box<Flight>>,
    shared: Arc<Shared>,
    thread: Thread,
    /// Requests that are with it.
    away: usize,
}

#[derive(Default)]
struct Shared {
    asleep: AtomicBool,
}

impl Agent {
    /// Starts the thread, for at most so many requests at once. It ends when this is dropped, after what it is at.
    pub(super) fn start(
        space: &Arc<Space>,
        engines: &Arc<Engines>,
        domain: &Domain,
        most: usize,
    ) -> Result<Self, Errno> {
        let (to, requests) = RingBuffer::new(most);
        let (done, from) = RingBuffer::new(most);
        let shared = Arc::<Shared>::default();
        let work = Work {
            requests,
            done,
            shared: Arc::clone(&shared),
            space: Arc::clone(space),
            engines: Arc::clone(engines),
            domain: domain.clone(),
            budget: Arc::new(AtomicUsize::new(LARGE)),
        };
        let name = format!("agent-{}", space.process().0);
        let spawned = std::thread::Builder::new().name(name).spawn(move || work.run());
        let handle: JoinHandle<()> = spawned.map_err(|_| Errno::AGAIN)?;
        Ok(Self { to, from, shared, thread: handle.thread().clone(), away: 0 })
    }

    /// Gives it a request. There is room for all that the process may have.
    #[inline]
    pub(super) fn send(&mut self, flight: Box<Flight>) {
        if self.to.push(flight).is_ok() {
            self.away += 1;
        }
    }

    /// Wakes it, if it sleeps and has something to do.
    #[inline]
    pub(super) fn wake(&self) {
        // In this order on both sides: either it sees the request, or we see that it sleeps.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::Relaxed) {
            self.thread.unpark();
        }
    }

    /// A request that it is done with.
    #[inline]
    pub(super) fn recv(&mut self) -> Option<Box<Flight>> {
        let flight = self.from.pop().ok()?;
        self.away -= 1;
        Some(flight)
    }

    /// How many requests are with it.
    #[inline]
    pub(super) fn away(&self) -> usize {
        self.away
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It sees that the ring is abandoned. It may be at a copy that takes as long as the process likes: nobody waits for it.
        self.thread.unpark();
    }
}

struct Work {
    requests: Consumer<Box<Flight>>,
    done: Producer<Box<Flight>>,
    shared: Arc<Shared>,
    space: Arc<Space>,
    engines: Arc<Engines>,
    domain: Domain,
    /// Bytes of large memory that the process may still have.
    budget: Arc<AtomicUsize>,
}

impl Work {
    fn run(mut self) {
        let mut idle = 0;
        loop {
            if let Ok(mut flight) = self.requests.pop() {
                idle = 0;
                flight.outcome = self.go(&mut flight).err();
                flight.errand = Errand::None;
                if self.done.push(flight).is_err() || self.done.is_abandoned() {
                    return;
                }
                continue;
            }
            if self.requests.is_abandoned() {
                return;
            }
            idle += 1;
            if idle < LOOKS {
                std::thread::yield_now();
                continue;
            }
            self.shared.asleep.store(true, Ordering::Relaxed);
            std::sync::atomic::fence(Ordering::SeqCst);
            if self.requests.is_empty() && !self.requests.is_abandoned() {
                std::thread::park_timeout(std::time::Duration::from_secs(1));
            }
            self.shared.asleep.store(false, Ordering::Relaxed);
        }
    }

    fn go(&self, flight: &mut Flight) -> Result<(), Errno> {
        match std::mem::take(&mut flight.errand) {
            Errand::None => Ok(()),
            Errand::Stage => self.stage(flight),
            Errand::Key => {
                let source = flight.source.as_mut().ok_or(Errno::INVAL)?;
                let (key, session) = self.engines.key(&flight.words, source.bytes())?;
                flight.key = Some((Zeroizing::new(key), session));
                Ok(())
            }
            Errand::Stream(session) => {
                flight.stream = Some(self.engines.stream(session)?);
                Ok(())
            }
            Errand::Deliver { output, at, bytes } => {
                let Destination::Far(to) = flight.destination else { return Err(Errno::INVAL) };
                let from = if output { &mut flight.output } else { &mut flight.source };
                let from = from.as_mut().ok_or(Errno::INVAL)?;
                self.space.memory().write(to, &from.bytes()[at..at + bytes])
            }
        }
    }

    fn stage(&self, flight: &mut Flight) -> Result<(), Errno> {
        if flight.source.is_none() && flight.source_bytes > 0 {
            flight.source = Some(Bounce::large(flight.source_bytes, &self.domain, &self.budget)?);
        }
        if flight.output.is_none() && flight.output_bytes > 0 {
            flight.output = Some(Bounce::large(flight.output_bytes, &self.domain, &self.budget)?);
        }
        flight.bring();
        if let Some(source) = &mut flight.source {
            for piece in flight.pieces.iter().filter(|piece| piece.seen.is_none() && piece.bytes > 0) {
                let into = &mut source.bytes()[piece.at..piece.at + piece.bytes as usize];
                self.space.memory().read(piece.address, into)?;
            }
        }
        Ok(())
    }
}
