//! Faults of the machine, made on purpose. In tests alone.

use std::cell::Cell;

use super::simd::{V, lanes_mut};

/// Where a bit flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// xp, before the halves are put together.
    P,
    /// xq.
    Q,
    /// The result, before it is checked.
    Result,
}

/// A bit that flips in every pass.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Fault {
    pub(in super::super) place: Place,
    pub(in super::super) lane: usize,
    pub(in super::super) digit: usize,
    pub(in super::super) bit: usize,
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// From now on passes on this thread have this fault, or none.
pub(in super::super) fn set(fault: Option<Fault>) {
    FAULT.set(fault);
}

/// What a pass does at a place.
pub(super) fn strike(at: Place, digits: &mut [V]) {
    if let Some(Fault { place, lane, digit, bit }) = FAULT.get()
        && place == at
    {
        lanes_mut(&mut digits[digit])[lane] ^= 1 << bit;
    }
}
