//! How the thread that reads and writes waits for devices, which do not call but are polled.

use std::time::{Duration, Instant};

/// Polls that give the core away but do not sleep.
const YIELDS: u32 = 4;
/// The shortest sleep.
const SHORTEST: Duration = Duration::from_micros(20);

/// Waits longer and longer, in proportion to what was waited already: so what is missed by sleeping is a fraction of it,
/// and an engine that needs the core has it.
pub(super) struct Nap {
    since: Instant,
    polls: u32,
    longest: Duration,
}

impl Nap {
    pub(super) fn new(longest: Duration) -> Self {
        Self { since: Instant::now(), polls: 0, longest }
    }

    /// There was something to do.
    pub(super) fn reset(&mut self) {
        self.polls = 0;
    }

    /// There is nothing to do.
    pub(super) fn wait(&mut self) {
        if self.polls == 0 {
            self.since = Instant::now();
        }
        self.polls += 1;
        if self.polls <= YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep((self.since.elapsed() / 8).max(SHORTEST).min(self.longest));
        }
    }
}
