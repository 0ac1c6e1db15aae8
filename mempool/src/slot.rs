//! Worker slots: a small number for each worker thread, by which it finds its own cache in every pool.

use std::cell::Cell;
use std::marker::PhantomData;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use crate::MemError;

/// How many threads may have a cache at one time.
pub const MAX_WORKER_SLOTS: usize = 64;

const NONE: u32 = u32::MAX;

thread_local! {
    static CURRENT: Cell<u32> = const { Cell::new(NONE) };
}

#[cfg(not(loom))]
static TAKEN: SlotMap = SlotMap::new();
#[cfg(loom)]
loom::lazy_static! {
    static ref TAKEN: SlotMap = SlotMap(AtomicU64::new(0));
}

/// The set of slots in use: one bit each. A set bit belongs to exactly one thread.
pub(crate) struct SlotMap(AtomicU64);

impl SlotMap {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the lowest free slot. Acquire: what the former holder did to its caches is seen.
    fn take(&self) -> Option<u32> {
        let mut map = self.0.load(Ordering::Relaxed);
        loop {
            let slot = map.trailing_ones();
            if slot as usize >= MAX_WORKER_SLOTS {
                return None;
            }
            match self.0.compare_exchange_weak(map, map | 1 << slot, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(slot),
                Err(now) => map = now,
            }
        }
    }

    /// Gives a slot back. Release: the next holder sees the caches as they are.
    fn give_back(&self, slot: u32) {
        self.0.fetch_and(!(1 << slot), Ordering::Release);
    }
}

/// Makes the current thread a worker: it has a cache of its own in every pool until this is dropped.
///
/// Threads without one use the pools through a lock: right for control work, wrong for a poll loop.
#[derive(Debug)]
pub struct WorkerSlot {
    slot: u32,
    /// Bound to the thread that claimed it: not Send.
    _thread: PhantomData<*const ()>,
}

impl WorkerSlot {
    /// Claims a slot for the current thread.
    ///
    /// # Errors
    /// [`MemError::NoWorkerSlot`] when all [`MAX_WORKER_SLOTS`] are taken.
    ///
    /// # Panics
    /// If the thread has one already.
    pub fn claim() -> Result<Self, MemError> {
        assert_eq!(CURRENT.get(), NONE, "this thread is a worker already");
        let slot = TAKEN.take().ok_or(MemError::NoWorkerSlot(MAX_WORKER_SLOTS))?;
        CURRENT.set(slot);
        Ok(Self { slot, _thread: PhantomData })
    }

    /// Its number, below [`MAX_WORKER_SLOTS`].
    #[must_use]
    pub fn index(&self) -> usize {
        self.slot as usize
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        CURRENT.set(NONE);
        TAKEN.give_back(self.slot);
    }
}

/// The slot of the current thread, if it is a worker.
#[inline]
pub(crate) fn current() -> Option<usize> {
    let slot = CURRENT.get();
    (slot != NONE).then_some(slot as usize)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn slots_are_exclusive_and_come_back() {
        let map = SlotMap::new();
        let all: Vec<_> = (0..MAX_WORKER_SLOTS).map(|_| map.take().unwrap()).collect();
        assert_eq!(all, (0..MAX_WORKER_SLOTS as u32).collect::<Vec<_>>());
        assert_eq!(map.take(), None);
        map.give_back(17);
        assert_eq!(map.take(), Some(17));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// Two threads take and return slots of one map; the cell stands for the cache that belongs to slot 0. Loom fails
    /// the test if both ever hold slot 0 at once or if one does not see what the other wrote.
    #[test]
    fn a_slot_has_one_holder_who_sees_what_the_last_one_did() {
        loom::model(|| {
            let map = Arc::new(SlotMap(AtomicU64::new(0)));
            let cache = Arc::new(UnsafeCell::new(0u32));
            let work = |map: Arc<SlotMap>, cache: Arc<UnsafeCell<u32>>| {
                let slot = map.take().unwrap();
                if slot == 0 {
                    // SAFETY: loom checks that the access is exclusive.
                    cache.with_mut(|c| unsafe { *c += 1 });
                }
                map.give_back(slot);
            };
            let (m, c) = (Arc::clone(&map), Arc::clone(&cache));
            let other = loom::thread::spawn(move || work(m, c));
            work(Arc::clone(&map), Arc::clone(&cache));
            other.join().unwrap();
        });
    }
}
