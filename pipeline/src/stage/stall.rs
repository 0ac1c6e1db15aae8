//! `stall`: holds the worker up, as a page fault, a slow driver or a host that takes the cpu away would. For tests of
//! what measures, and of what is behind the pipeline.

use std::time::Duration;

use warpdrive_mempool::Burst;
use warpdrive_pmd::clock::{Clock, ticks};

use super::{Context, Stage, counted};
use crate::stats::SharedStage;

/// When, how long and how often a worker is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalls {
    /// How long each time.
    pub length: Duration,
    /// From the first packet to the first time.
    pub after: Duration,
    /// From one time to the next; `None`: once only.
    pub every: Option<Duration>,
}

/// Spins for a time, with all packets of its worker waiting.
pub struct StallStage {
    stalls: Stalls,
    /// When the next is due, in ticks; known from the first packet on.
    due: Option<u64>,
    counters: SharedStage,
}

impl StallStage {
    /// Holds up its worker as it is told.
    #[must_use]
    pub fn new(stalls: Stalls) -> Self {
        Self { stalls, due: None, counters: SharedStage::default() }
    }

    fn stall(&mut self, now: u64) {
        let clock = Clock::get();
        let until = now + clock.ticks_of(self.stalls.length);
        while ticks() < until {
            std::hint::spin_loop();
        }
        self.counters.stalls.add(1);
        let next = self.stalls.every.map(|every| now + clock.ticks_of(every));
        self.due = Some(next.map_or(u64::MAX, |next| next.max(until)));
    }
}

impl Stage for StallStage {
    fn kind(&self) -> &'static str {
        "stall"
    }

    #[inline]
    fn process(&mut self, _burst: &mut Burst, _cx: &mut Context<'_>) {
        let now = ticks();
        let due = *self.due.get_or_insert_with(|| now + Clock::get().ticks_of(self.stalls.after));
        if now >= due {
            self.stall(now);
        }
    }

    counted!();
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn times(stalls: Stalls, calls: usize) -> Vec<bool> {
        let mut stage = StallStage::new(stalls);
        let mut cx = Context { now: 0, latency: None };
        (0..calls)
            .map(|_| {
                let start = Instant::now();
                stage.process(&mut Burst::new(), &mut cx);
                let stalled = start.elapsed() >= stalls.length;
                std::thread::sleep(Duration::from_millis(1));
                stalled
            })
            .collect()
    }

    #[test]
    fn it_stalls_once_or_again_and_again() {
        let length = Duration::from_millis(300);
        let once = Stalls { length, after: Duration::ZERO, every: None };
        assert_eq!(times(once, 4), [true, false, false, false]);
        let after = Stalls { after: Duration::from_secs(3600), ..once };
        assert_eq!(times(after, 3), [false; 3]);
        let every = Stalls { every: Some(Duration::from_micros(1)), ..once };
        assert_eq!(times(every, 3), [true; 3]);
    }
}
