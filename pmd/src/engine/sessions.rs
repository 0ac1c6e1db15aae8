//! The sessions of one device: added and removed at any time, looked up without a lock.
//!
//! All of them are in one table that is never changed, only replaced. Whoever looks sessions up loads the table once a
//! batch: one step, however many requests follow. Replacing it copies 16 KiB, which is for the rare event to bear.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::MAX_SESSIONS;
use crate::device::SessionId;

/// A [`SessionId`] is the slot's index in so many low bits, and above them how often the slot was used before.
const INDEX_BITS: u32 = MAX_SESSIONS.ilog2();
const STEP: u32 = 1 << INDEX_BITS;
/// With it a slot has had its last session: an id is never given twice. `u32::MAX` names none.
const LAST: u32 = (u32::MAX >> INDEX_BITS) - 1;

const _: () = assert!(MAX_SESSIONS.is_power_of_two());

/// The sessions at one moment.
pub(crate) struct Table<S> {
    /// Whose they are: no two devices of a process have the same number.
    pub(crate) device: u64,
    /// Grows with every change.
    pub(crate) version: u64,
    slots: Box<[Slot<S>]>,
}

struct Slot<S> {
    id: u32,
    session: Option<Arc<S>>,
}

impl<S> Table<S> {
    #[inline]
    pub(crate) fn get(&self, id: SessionId) -> Option<&S> {
        let slot = self.slots.get((id.0 % STEP) as usize)?;
        slot.session.as_deref().filter(|_| slot.id == id.0)
    }

    /// The session for somebody who keeps it beyond the table.
    #[inline]
    pub(crate) fn get_kept(&self, id: SessionId) -> Option<Arc<S>> {
        let slot = self.slots.get((id.0 % STEP) as usize)?;
        slot.session.as_ref().filter(|_| slot.id == id.0).cloned()
    }

    /// All sessions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().filter_map(|slot| slot.session.as_deref())
    }

    /// A copy with another session, or none, in the slot of `id`.
    fn with(&self, id: u32, session: Option<&Arc<S>>) -> Self {
        let copy = |slot: &Slot<S>| {
            let replaced = slot.id % STEP == id % STEP;
            let session = if replaced { session } else { slot.session.as_ref() };
            Slot { id: if replaced { id } else { slot.id }, session: session.cloned() }
        };
        Self { device: self.device, version: self.version + 1, slots: self.slots.iter().map(copy).collect() }
    }
}

/// The engine core's way to the table: a comparison when it has not changed. Keeps an old one until it is renewed, which
/// frees that one.
pub(crate) struct Reader<S> {
    all: Arc<Shared<S>>,
    seen: u64,
    table: Arc<Table<S>>,
}

impl<S> Reader<S> {
    /// Whether the table has changed.
    #[inline]
    pub(crate) fn is_old(&self) -> bool {
        self.all.changes.load(Ordering::Acquire) != self.seen
    }

    /// Takes the table as it is now.
    #[cold]
    pub(crate) fn renew(&mut self) {
        // In this order: a change that comes in between is seen again.
        self.seen = self.all.changes.load(Ordering::Acquire);
        self.table = self.all.table.load_full();
    }

    /// The table as it was last taken.
    #[inline]
    pub(crate) fn table(&self) -> &Table<S> {
        &self.table
    }
}

struct Shared<S> {
    table: ArcSwap<Table<S>>,
    /// Grows after every change.
    changes: AtomicU64,
}

pub(crate) struct Sessions<S> {
    all: Arc<Shared<S>>,
    /// The ids to be given next, the longest unused slot first. Held while the table is replaced.
    free: Mutex<VecDeque<u32>>,
}

impl<S> Sessions<S> {
    pub(crate) fn new() -> Self {
        static DEVICES: AtomicU64 = AtomicU64::new(0);
        let device = DEVICES.fetch_add(1, Ordering::Relaxed);
        let slots = (0..STEP).map(|id| Slot { id, session: None }).collect();
        Self {
            all: Arc::new(Shared {
                table: ArcSwap::from_pointee(Table { device, version: 0, slots }),
                changes: AtomicU64::new(0),
            }),
            free: Mutex::new((0..STEP).collect()),
        }
    }

    pub(crate) fn add(&self, session: S) -> Option<SessionId> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let id = free.pop_front()?;
        self.replace(self.now().with(id, Some(&Arc::new(session))));
        Some(SessionId(id))
    }

    /// Whether it was there. It is dropped with the last table that has it: those of batches under way.
    pub(crate) fn remove(&self, id: SessionId) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.now();
        if table.get(id).is_none() {
            return false;
        }
        let without = table.with(id.0, None);
        drop(table);
        self.replace(without);
        if id.0 >> INDEX_BITS < LAST {
            free.push_back(id.0 + STEP);
        }
        true
    }

    pub(crate) fn count(&self) -> usize {
        self.now().slots.iter().filter(|s| s.session.is_some()).count()
    }

    /// The table as it is now, for a short time.
    pub(crate) fn now(&self) -> Guard<Arc<Table<S>>> {
        self.all.table.load()
    }

    pub(crate) fn reader(&self) -> Reader<S> {
        let mut reader = Reader { all: Arc::clone(&self.all), seen: 0, table: self.all.table.load_full() };
        reader.renew();
        reader
    }

    fn replace(&self, table: Table<S>) {
        self.all.table.store(Arc::new(table));
        self.all.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(sessions: &Sessions<u32>, id: SessionId) -> bool {
        sessions.now().get(id).is_some()
    }

    #[test]
    fn an_id_finds_its_session_and_never_a_later_one_of_the_same_slot() {
        let sessions = Sessions::new();
        let ids: Vec<_> = (0..MAX_SESSIONS as u32).map(|n| sessions.add(n).unwrap()).collect();
        assert_eq!((sessions.add(0), sessions.count()), (None, MAX_SESSIONS));
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(sessions.now().get(*id), Some(&(n as u32)));
        }
        assert!(sessions.remove(ids[7]) && !sessions.remove(ids[7]));
        assert_eq!(sessions.count(), MAX_SESSIONS - 1);
        let newer = sessions.add(4711).unwrap();
        assert_eq!(newer.0 % STEP, ids[7].0 % STEP, "the only free slot");
        assert_ne!(newer, ids[7]);
        assert_eq!((sessions.now().get(newer), is_there(&sessions, ids[7])), (Some(&4711), false));
        assert!(!sessions.remove(ids[7]) && is_there(&sessions, newer));
        assert!(!is_there(&sessions, SessionId(u32::MAX)));
    }

    #[test]
    fn a_slot_whose_ids_are_used_up_is_not_used_again() {
        let sessions = Sessions::new();
        *sessions.free.lock().unwrap() = [5 | (LAST << INDEX_BITS)].into();
        let last = sessions.add(1).unwrap();
        assert!(last.0 < u32::MAX && is_there(&sessions, last) && !is_there(&sessions, SessionId(u32::MAX)));
        assert!(sessions.remove(last));
        assert_eq!(sessions.add(2), None);
    }

    #[test]
    fn what_is_removed_is_dropped_at_once_unless_a_batch_has_it() {
        let sessions = Sessions::new();
        let session = Arc::new(());
        let add = || sessions.add(Arc::clone(&session)).unwrap();
        let (idle, busy) = (add(), add());
        assert!(sessions.remove(idle));
        assert_eq!(Arc::strong_count(&session), 2);
        let batch = sessions.now();
        assert!(sessions.remove(busy));
        assert_eq!(Arc::strong_count(&session), 2, "in use");
        drop(batch);
        assert_eq!(Arc::strong_count(&session), 1);
    }
}
