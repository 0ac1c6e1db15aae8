//! Loads: a [`Subject`] takes operations and gives them back, [`run`] applies one load to it, [`modes`] makes sweeps,
//! curves and searches of many.
//!
//! In a **closed loop** a new operation is sent when one is done, so that a subject that stalls is asked for nothing
//! while it does, and the stall shows as one slow operation: coordinated omission (G. Tene, "How NOT to measure latency").
//! In an **open loop** operations are due at times of their own, and latency counts from when one was due: a stall shows
//! in all that were due meanwhile. Both are useful; which one a figure is of stands beside it.

use std::time::Duration;

use crate::BenchError;
use crate::record::{Arrivals, StageTime};

pub mod arrivals;
mod bed;
pub mod modes;
pub mod nothing;
pub mod options;
pub mod point;
pub mod run;
mod search;
mod soak;

pub use options::{LoadOptions, Rate};
pub use run::{Outcome, apply};

/// Something that takes operations and gives them back, polled by the thread that sends.
pub trait Subject {
    /// Starts an operation, whose completion will be marked with `tag`. False: it takes none now. It may wait to be
    /// begun until [`flush`](Self::flush), with others.
    fn send(&mut self, tag: u64) -> bool;

    /// Makes sure that what was sent is begun.
    ///
    /// # Errors
    /// When it cannot be.
    fn flush(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    /// Calls `done` with the tag of each operation that has come back. Returns how many.
    ///
    /// # Errors
    /// When one failed.
    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError>;

    /// Operations that were sent and have not come back.
    fn in_flight(&self) -> usize;

    /// The most that may be under way.
    fn max_depth(&self) -> usize;

    /// How long an operation may take before it is taken for lost.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Gives up what is under way, and says how many that were. What comes back later is not counted.
    ///
    /// # Errors
    /// Where nothing may get lost, that something did: this is the default. Where some may, that nothing else happens.
    fn give_up(&mut self) -> Result<u64, BenchError> {
        Err(BenchError::Bug(format!(
            "{} operations did not come back within {:?}",
            self.in_flight(),
            self.patience()
        )))
    }

    /// Operations known to be lost since this was last asked. They are under way no more, and leave their room to others.
    fn take_lost(&mut self) -> u64 {
        0
    }

    /// What was done until now was to prepare a curve: what is kept to be said of one begins anew.
    fn restart(&mut self) {}

    /// The thread that does the work, if it polls without a pause: what part of its cpu it had says how far to trust a run.
    fn engine_thread(&self) -> Option<u32> {
        None
    }

    /// Where the time went, since this was last asked.
    fn stages(&mut self) -> Vec<StageTime> {
        Vec::new()
    }
}

/// One load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Its kind.
    pub shape: Shape,
    /// Time before what counts.
    pub warm: Duration,
    /// Time that counts.
    pub length: Duration,
    /// Of random arrivals.
    pub seed: u64,
    /// What the harness itself adds to a latency, in nanoseconds: see [`nothing::overhead_ns`]. It is taken off.
    pub overhead_ns: u64,
}

/// The kind of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// So many operations under way at a time.
    Closed {
        /// How many.
        depth: usize,
    },
    /// So many operations a second.
    Open {
        /// How many.
        rate: f64,
        /// When they are due.
        arrivals: Arrivals,
    },
}
