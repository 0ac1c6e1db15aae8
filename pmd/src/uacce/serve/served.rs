//! A queue as its core has it, and what the core shares of it with whoever presents the file.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use super::Waker;
use super::device::Permit;
use super::memory::{HEARTBEAT, QueueMemory};
use super::ring::{Broken, Ring, Words};
use super::turns::Spent;
use super::zip::Streams;

/// What a queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// RSA.
    Hpre,
    /// Compression, at a level.
    Compress(u8),
    /// The other way.
    Decompress,
}

/// What the core and the file's side share.
#[derive(Default)]
pub(super) struct Shared {
    /// The queue takes nothing any more.
    pub(super) failed: AtomicBool,
    /// Somebody waits for a completion.
    armed: AtomicBool,
    waker: Mutex<Option<Box<dyn Waker>>>,
    /// Completions so far.
    pub(super) done: AtomicU64,
}

impl Shared {
    /// Lets `waker` be woken at the next completion.
    pub(super) fn arm(&self, waker: Box<dyn Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
        self.armed.store(true, Ordering::Relaxed);
        // In this order on both sides: either the completion is seen after this, or whoever makes it sees that we wait.
        fence(Ordering::SeqCst);
    }

    /// Wakes whoever waits. Called after completions were given.
    #[inline]
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) {
            self.wake_now();
        }
    }

    #[cold]
    fn wake_now(&self) {
        self.armed.store(false, Ordering::Relaxed);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// A queue at its core.
pub(super) struct Served {
    /// Counts it among the queues of the device until it is gone. It goes first: whoever sees that `shared` has gone can have a queue.
    _permit: Permit,
    pub(super) id: u64,
    pub(super) memory: Arc<QueueMemory>,
    ring: Ring,
    pub(super) shared: Arc<Shared>,
    pub(super) work: Work,
    /// The place of its process in the core's list.
    pub(super) tenant: usize,
    pub(super) streams: Streams,
    pub(super) far: bool,
    pub(super) in_place: bool,
    /// Its shares of an engine.
    pub(super) weight: u64,
    /// What it has used of its engine.
    pub(super) spent: Spent,
    /// Entries that are done while older ones are not.
    early: Box<[Option<Words>]>,
    /// The oldest entry that was taken and not given back.
    oldest: u16,
    /// Entries that were taken and not given back.
    pub(super) in_flight: usize,
    /// Nothing is taken from it any more.
    pub(super) over: bool,
    /// It is released, and goes when nothing is under way.
    pub(super) closing: bool,
}

/// What a queue is made of.
pub(super) struct Parts {
    pub(super) id: u64,
    pub(super) memory: Arc<QueueMemory>,
    pub(super) ring: Ring,
    pub(super) shared: Arc<Shared>,
    pub(super) work: Work,
    pub(super) far: bool,
    pub(super) in_place: bool,
    pub(super) weight: u64,
    pub(super) permit: Permit,
}

impl Served {
    /// All that it needs is allocated here.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id, memory, ring, shared, work, far, in_place, weight, permit } = parts;
        let early = (0..ring.depth()).map(|_| None).collect();
        Self {
            id,
            memory,
            ring,
            shared,
            work,
            tenant: 0,
            streams: Streams::default(),
            far,
            in_place,
            weight,
            spent: Spent::default(),
            early,
            oldest: 0,
            in_flight: 0,
            over: false,
            closing: false,
            _permit: permit,
        }
    }

    /// How many entries can be taken. A queue whose user breaks the rules is over.
    #[inline]
    pub(super) fn ready(&mut self, now: u64, patience: u64) -> usize {
        if self.over {
            return 0;
        }
        match self.ring.look(&self.memory, now, patience) {
            // A place is not taken again before it was given back, whatever is rung for: one is always free, as full rings have it.
            Ok(n) => usize::from(n).min(usize::from(self.ring.depth()) - 1 - self.in_flight),
            Err(Broken::Doorbell) => {
                tracing::warn!("a queue is out of order: its user rang for an entry beyond the ring");
                self.fail();
                0
            }
        }
    }

    /// Takes the next entry. There must be one.
    #[inline]
    pub(super) fn take(&mut self) -> (u16, Words) {
        self.in_flight += 1;
        self.ring.take(&self.memory)
    }

    /// An entry is done: it goes back, and with it those behind it that are done already; or it waits for older ones.
    #[inline]
    pub(super) fn give(&mut self, index: u16, words: &Words) {
        if index != self.oldest {
            self.early[usize::from(index)] = Some(*words);
            return;
        }
        self.give_oldest(words);
        while let Some(words) = self.early[usize::from(self.oldest)].take() {
            self.give_oldest(&words);
        }
        self.shared.wake();
    }

    #[inline]
    fn give_oldest(&mut self, words: &Words) {
        if !self.over {
            self.ring.give(&self.memory, self.oldest, words);
            self.shared.done.fetch_add(1, Ordering::Release);
        }
        self.oldest = if self.oldest + 1 == self.ring.depth() { 0 } else { self.oldest + 1 };
        self.in_flight -= 1;
    }

    /// Says that it takes and gives nothing any more.
    pub(super) fn fail(&mut self) {
        self.over = true;
        self.ring.fail(&self.memory);
        self.shared.failed.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Whether it was said.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Says that the server lives.
    #[inline]
    pub(super) fn beat(&self, count: u32) {
        self.memory.word(HEARTBEAT).store(count, Ordering::Relaxed);
    }
}
