//! Who may use what a number in C's hands stands for: one caller at a time, and nobody after its end.
//!
//! C copies numbers, keeps them too long and uses them in several threads. So a number never is an address: it names a slot, which
//! is always there, and says for which of its values. One compare-and-swap tells all: whether that value is still there, and
//! whether nobody uses it.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

/// In a slot's state: it has a value.
const FILLED: u64 = 1;
/// In a slot's state: somebody uses it.
const CLAIMED: u64 = 2;
/// Where the number of the value begins in a slot's state.
const ROUND: u32 = 32;

/// Values by numbers.
pub(crate) struct Slots<T: 'static, const N: usize>([Slot<T>; N]);

struct Slot<T> {
    /// Flags, and which value it is, counted up.
    state: AtomicU64,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a value is only accessed by who has set CLAIMED, which one does at a time (acquire), and given up by a store (release).
unsafe impl<T: Send> Sync for Slot<T> {}

/// Why a value is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is none of this number, or no longer.
    Gone,
    /// Somebody else uses it.
    Busy,
}

/// A value in use.
pub(crate) struct Claimed<T: 'static> {
    slot: &'static Slot<T>,
    /// Of the slot, when it is given up.
    after: u64,
}

impl<T, const N: usize> Slots<T, N> {
    /// Empty ones.
    pub(crate) const fn new() -> Self {
        const { assert!(N < u32::MAX as usize) };
        Self([const { Slot { state: AtomicU64::new(0), value: UnsafeCell::new(None) } }; N])
    }

    /// Keeps a value. Its number is not 0; `None`: all slots are taken.
    pub(crate) fn insert(&'static self, value: T) -> Option<u64> {
        for (at, slot) in self.0.iter().enumerate() {
            let state = slot.state.load(Ordering::Relaxed);
            if state & (FILLED | CLAIMED) != 0 {
                continue;
            }
            let claimed = state | FILLED | CLAIMED;
            if slot.state.compare_exchange(state, claimed, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                // SAFETY: the swap has set CLAIMED, so nobody else accesses it.
                unsafe { *slot.value.get() = Some(value) };
                slot.state.store(state | FILLED, Ordering::Release);
                return Some((state & !u64::from(u32::MAX)) | (at as u64 + 1));
            }
        }
        None
    }

    /// The value of a number, for one caller.
    #[inline]
    pub(crate) fn claim(&'static self, number: u64) -> Result<Claimed<T>, Refused> {
        let place = (number as u32 as usize).checked_sub(1).ok_or(Refused::Gone)?;
        let slot = self.0.get(place).ok_or(Refused::Gone)?;
        let filled = (number & !u64::from(u32::MAX)) | FILLED;
        match slot.state.compare_exchange(filled, filled | CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Claimed { slot, after: filled }),
            Err(other) if other == filled | CLAIMED => Err(Refused::Busy),
            Err(_) => Err(Refused::Gone),
        }
    }
}

impl<T> Claimed<T> {
    /// Takes the value out. Its number names nothing any more.
    pub(crate) fn remove(mut self) -> T {
        // After 2^32 values a slot is used no more: its numbers would be given again.
        let round = (self.after >> ROUND) + 1;
        self.after = if round > u64::from(u32::MAX) { CLAIMED } else { round << ROUND };
        // SAFETY: as in deref_mut.
        let value = unsafe { (*self.slot.value.get()).take() };
        value.expect("filled: it was claimed")
    }
}

impl<T> Deref for Claimed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this is the only one who has claimed the slot, until it is dropped.
        unsafe { (*self.slot.value.get()).as_ref() }.expect("filled: it was claimed")
    }
}

impl<T> DerefMut for Claimed<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed for as long.
        unsafe { (*self.slot.value.get()).as_mut() }.expect("filled: it was claimed")
    }
}

impl<T> Drop for Claimed<T> {
    #[inline]
    fn drop(&mut self) {
        self.slot.state.store(self.after, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_of_one_value_and_of_none_afterwards() {
        static SLOTS: Slots<String, 2> = Slots::new();
        let (a, b) = (SLOTS.insert("a".to_owned()).unwrap(), SLOTS.insert("b".to_owned()).unwrap());
        assert_eq!((a == b, a == 0 || b == 0, SLOTS.insert("c".to_owned())), (false, false, None));
        SLOTS.claim(a).unwrap().push('1');
        let held = SLOTS.claim(a).unwrap();
        assert_eq!((held.as_str(), SLOTS.claim(a).err()), ("a1", Some(Refused::Busy)));
        assert_eq!(held.remove(), "a1");
        let again = SLOTS.insert("d".to_owned()).unwrap();
        assert_eq!((again == a, SLOTS.claim(a).err()), (false, Some(Refused::Gone)));
        assert_eq!((SLOTS.claim(again).unwrap().as_str(), SLOTS.claim(b).unwrap().as_str()), ("d", "b"));
        for other in [0, 3, u64::from(u32::MAX), u64::MAX, again | 1 << 63] {
            assert_eq!(SLOTS.claim(other).err(), Some(Refused::Gone), "{other:#x}");
        }
    }

    #[test]
    fn the_last_number_of_a_slot_is_the_last() {
        static SLOTS: Slots<u8, 1> = Slots::new();
        SLOTS.0[0].state.store(u64::from(u32::MAX) << ROUND, Ordering::Relaxed);
        let last = SLOTS.insert(1).unwrap();
        assert_eq!((SLOTS.claim(last).unwrap().remove(), SLOTS.insert(2)), (1, None));
        assert_eq!(SLOTS.claim(last).err(), Some(Refused::Gone));
    }

    #[test]
    fn threads_use_a_value_one_at_a_time() {
        static SLOTS: Slots<(u64, u64), 1> = Slots::new();
        let number = SLOTS.insert((0, 0)).unwrap();
        let work = || {
            let mut done = 0;
            while done < 20_000 {
                if let Ok(mut both) = SLOTS.claim(number) {
                    both.0 += 1;
                    assert_eq!(both.0, both.1 + 1);
                    both.1 += 1;
                    done += 1;
                }
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|_| _ = scope.spawn(work)));
        assert_eq!(*SLOTS.claim(number).unwrap(), (60_000, 60_000));
    }
}
