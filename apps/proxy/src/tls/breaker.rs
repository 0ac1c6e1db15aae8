//! Leaves a device alone that has failed several times in a row, and tries it again from time to time.

use std::time::Duration;

use warpdrive_pmd::clock::Clock;

use crate::metrics::Breaker as State;

/// Failures in a row after which it is left alone.
const FAILURES: u32 = 8;
/// How long.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a device is to be asked.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// Not before this, in ticks.
    again: u64,
    /// Somebody tries.
    trying: bool,
}

impl Breaker {
    /// Whether it is to be asked now. After a pause one may try, and the others may when that went well.
    pub fn may_try(&mut self, now: u64) -> bool {
        if self.failures < FAILURES {
            return true;
        }
        if now < self.again || self.trying {
            return false;
        }
        self.trying = true;
        true
    }

    /// It did what it was asked.
    pub fn succeeded(&mut self) {
        (self.failures, self.trying) = (0, false);
    }

    /// It did not.
    pub fn failed(&mut self, now: u64) {
        self.failures = self.failures.saturating_add(1);
        self.trying = false;
        if self.failures >= FAILURES {
            self.again = now + Clock::get().ticks_of(PAUSE);
        }
    }

    /// For people.
    #[must_use]
    pub fn state(&self) -> State {
        match () {
            () if self.failures < FAILURES => State::Closed,
            () if self.trying => State::HalfOpen,
            () => State::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let (mut breaker, pause) = (Breaker::default(), Clock::get().ticks_of(PAUSE));
        for _ in 0..FAILURES - 1 {
            breaker.failed(0);
        }
        breaker.succeeded();
        for n in 0..FAILURES {
            assert!(breaker.may_try(n.into()) && breaker.state() == State::Closed);
            breaker.failed(0);
        }
        assert!(breaker.state() == State::Open && !breaker.may_try(pause - 1));
        assert!(breaker.may_try(pause), "one may try");
        assert!(!breaker.may_try(pause) && breaker.state() == State::HalfOpen, "and no other");
        breaker.failed(pause);
        assert!(!breaker.may_try(2 * pause - 1) && breaker.may_try(2 * pause));
        breaker.succeeded();
        assert!(breaker.state() == State::Closed && breaker.may_try(0) && breaker.may_try(0));
    }
}
