//! Deadlines of many connections: a wheel, in which a deadline that moves away costs nothing.
//!
//! An entry of the wheel says when to look at a connection, not that its time is up: whoever owns the connection compares
//! with the deadline it has by then. So a deadline that is put off, as happens with every request, is a number written
//! to the connection, and the cost does not grow with the number of connections that do nothing.

/// Milliseconds of a slot.
const SLOT_MS: u64 = 8;
/// Slots: 32 seconds. What is due later is looked at again and again in between.
const SLOTS: usize = 4096;

/// Which connections to look at, and when.
pub struct Wheel {
    slots: Vec<Vec<u32>>,
    /// The next slot to be looked at, counted from the beginning of time.
    next: u64,
}

impl Wheel {
    /// Begins at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], next: now_ms / SLOT_MS }
    }

    /// Has `key` looked at when `at_ms` is over, or before; says when that will be.
    pub fn add(&mut self, key: u32, at_ms: u64) -> u64 {
        let furthest = self.next + SLOTS as u64 - 1;
        let slot = (at_ms / SLOT_MS + 1).clamp(self.next, furthest);
        self.slots[slot as usize % SLOTS].push(key);
        slot * SLOT_MS
    }

    /// Gives all that are to be looked at by `now_ms`.
    pub fn due(&mut self, now_ms: u64, mut look: impl FnMut(u32)) {
        let last = now_ms / SLOT_MS;
        // After a long pause each slot is looked at once.
        let first = self.next.max((last + 1).saturating_sub(SLOTS as u64));
        for slot in first..=last {
            for key in self.slots[slot as usize % SLOTS].drain(..) {
                look(key);
            }
        }
        self.next = self.next.max(last + 1);
    }
}

/// A deadline, with the time at which the wheel has it looked at.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at_ms: u64,
    looked_at_ms: u64,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { at_ms: u64::MAX, looked_at_ms: u64::MAX }
    }
}

impl Deadline {
    /// Moves it.
    pub fn set(&mut self, at_ms: u64, key: u32, wheel: &mut Wheel) {
        self.at_ms = at_ms;
        if at_ms < self.looked_at_ms {
            self.looked_at_ms = wheel.add(key, at_ms);
        }
    }

    /// Whether it is over. To be called when the wheel says so; else the wheel is told again.
    pub fn is_over(&mut self, now_ms: u64, key: u32, wheel: &mut Wheel) -> bool {
        if now_ms >= self.at_ms {
            self.looked_at_ms = u64::MAX;
            return true;
        }
        if now_ms >= self.looked_at_ms {
            let never = self.at_ms == u64::MAX;
            self.looked_at_ms = if never { u64::MAX } else { wheel.add(key, self.at_ms) };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.due(now, |key| keys.push(key));
        keys
    }

    #[test]
    fn what_is_due_comes_neither_early_nor_more_than_a_slot_late() {
        for at in [1_000, 1_007, 1_008, 9_999, 30_000] {
            let mut wheel = Wheel::new(1_000);
            wheel.add(7, at);
            let first = (1_000..40_000).find(|now| !due(&mut wheel, *now).is_empty()).unwrap();
            assert!(first > at && first <= at + 2 * SLOT_MS, "{at}: {first}");
        }
    }

    #[test]
    fn a_deadline_that_is_put_off_is_over_when_it_is_over() {
        let (mut wheel, mut deadline) = (Wheel::new(0), Deadline::default());
        deadline.set(1_000, 3, &mut wheel);
        let mut over = Vec::new();
        for now in 0..200_000 {
            if now == 500 {
                deadline.set(90_000, 3, &mut wheel);
            }
            for key in due(&mut wheel, now) {
                if deadline.is_over(now, key, &mut wheel) {
                    over.push(now);
                }
            }
        }
        assert!(matches!(over[..], [at] if (90_000..90_020).contains(&at)), "{over:?}");
    }

    #[test]
    fn a_deadline_that_is_brought_forward_is_over_then_and_once() {
        let (mut wheel, mut deadline) = (Wheel::new(0), Deadline::default());
        deadline.set(20_000, 3, &mut wheel);
        deadline.set(100, 3, &mut wheel);
        let over: Vec<u64> = (0..150)
            .filter(|now| due(&mut wheel, *now).iter().any(|key| deadline.is_over(*now, *key, &mut wheel)))
            .collect();
        assert!(matches!(over[..], [at] if (100..120).contains(&at)), "{over:?}");
        deadline.set(u64::MAX, 3, &mut wheel);
        assert!(
            (150..60_000).all(|now| {
                due(&mut wheel, now).iter().all(|key| !deadline.is_over(now, *key, &mut wheel))
            })
        );
    }

    #[test]
    fn after_a_long_pause_everything_is_there_once() {
        let mut wheel = Wheel::new(0);
        for key in 0..1_000 {
            wheel.add(key, u64::from(key) * 37);
        }
        let mut keys = due(&mut wheel, 10_000_000);
        keys.sort_unstable();
        assert_eq!(keys, (0..1_000).collect::<Vec<_>>());
        assert!(due(&mut wheel, 20_000_000).is_empty());
    }
}
