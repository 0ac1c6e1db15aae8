//! How the thread that reads and writes waits for devices, which do not call but are polled.

use std::time::{Duration, Instant};

/// The shortest sleep.
const SHORTEST: Duration = Duration::from_micros(50);

/// Waits longer and longer, in proportion to what was waited already: so what is missed by sleeping is a fraction of it,
/// and an engine that needs the core has it.
pub(super) struct Nap {
    since: Option<Instant>,
    longest: Duration,
}

impl Nap {
    pub(super) fn new(longest: Duration) -> Self {
        Self { since: None, longest }
    }

    /// There was something to do.
    pub(super) fn reset(&mut self) {
        self.since = None;
    }

    /// There is nothing to do.
    pub(super) fn wait(&mut self) {
        // Not by giving the core away without sleeping: on a busy machine that costs a turn of everybody else's, while who
        // has slept is the next.
        let since = *self.since.get_or_insert_with(Instant::now);
        std::thread::sleep((since.elapsed() / 8).max(SHORTEST).min(self.longest));
    }
}
