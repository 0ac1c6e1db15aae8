//! Whether who serves a device lives.

use std::time::Duration;

use crate::clock::{self, Clock};

/// The word by which a server shows that it lives.
pub(super) struct Heart {
    last: u32,
    /// When it was seen to change, in ticks; `None`: nobody has looked since something was sent.
    changed: Option<u64>,
    patience: u64,
}

impl Heart {
    /// How long it may stay as it is before the file is asked.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { last: 0, changed: None, patience: Clock::get().ticks_of(Self::PATIENCE) }
    }

    /// Nobody looks for a while.
    pub(super) fn rest(&mut self) {
        self.changed = None;
    }

    /// Whether it has stood still for long; if so, it is asked for again after as long.
    #[inline]
    pub(super) fn is_still(&mut self, beat: u32) -> bool {
        let now = clock::ticks();
        match self.changed {
            Some(since) if beat == self.last => {
                let still = now.wrapping_sub(since) > self.patience;
                if still {
                    self.changed = Some(now);
                }
                still
            }
            _ => {
                (self.last, self.changed) = (beat, Some(now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_that_stands_still_while_somebody_waits_is_worth_a_question() {
        let mut heart = Heart { patience: Clock::get().ticks_of(Duration::from_millis(100)), ..Heart::new() };
        let sleep = || std::thread::sleep(Duration::from_millis(130));
        assert!(!heart.is_still(7), "the first look");
        sleep();
        assert!(!heart.is_still(8), "it beats");
        sleep();
        assert!(heart.is_still(8), "it does not");
        assert!(!heart.is_still(8), "asked for, it is given as long again");
        sleep();
        assert!(heart.is_still(8));
        heart.rest();
        sleep();
        assert!(!heart.is_still(8), "nobody was waiting");
    }
}
