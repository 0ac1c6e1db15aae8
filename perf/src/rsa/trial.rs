//! What `rsa-timing` tests: an operation, and two classes of input that must not show in its time.

use std::hint::black_box;
use std::sync::atomic::{Ordering, fence};

use fastrand::Rng;
use warpdrive_pmd::clock::ticks;

use crate::BenchError;

/// One of two kinds of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The first: fixed, or valid.
    First,
    /// The second: random, or invalid.
    Second,
}

/// An operation under test: prepares an input of the class, does the operation, and returns the ticks that it took, as
/// [`timed`] has them. Preparation must leave the same traces in the caches for both.
pub type Subject<'a> = Box<dyn FnMut(Class, &mut Rng) -> Result<u64, BenchError> + Send + 'a>;

/// Something to test.
pub struct Trial<'a> {
    /// What it adds to the name of its line.
    pub suffix: String,
    /// The two classes, in words.
    pub classes: String,
    /// The operation.
    pub subject: Subject<'a>,
}

/// Ticks that `work` takes.
#[inline]
pub fn timed<T>(work: impl FnOnce() -> T) -> u64 {
    // So that neither what was before nor what comes after is counted.
    fence(Ordering::SeqCst);
    let start = ticks();
    black_box(work());
    fence(Ordering::SeqCst);
    ticks() - start
}
