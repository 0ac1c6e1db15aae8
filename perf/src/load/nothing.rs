//! Subjects that do nothing, or nothing but wait: what the harness itself costs, and tests of it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Load, Shape, Subject, apply};
use crate::BenchError;

/// Gives back at once what it is sent.
#[derive(Default)]
pub struct Nothing {
    queue: VecDeque<u64>,
}

impl Subject for Nothing {
    #[inline(never)]
    fn send(&mut self, tag: u64) -> bool {
        self.queue.push_back(tag);
        true
    }

    #[inline(never)]
    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        let n = self.queue.len();
        self.queue.drain(..).for_each(done);
        Ok(n)
    }

    fn in_flight(&self) -> usize {
        self.queue.len()
    }

    fn max_depth(&self) -> usize {
        1024
    }
}

/// What the harness itself adds to the latency of an operation on this thread's cpu, in nanoseconds: that of one that
/// comes back at once, the median.
///
/// # Errors
/// When the thread's time cannot be read.
pub fn overhead_ns() -> Result<u64, BenchError> {
    let ms = Duration::from_millis;
    let shape = Shape::Closed { depth: 1 };
    let load = Load { shape, warm: ms(2), length: ms(10), seed: 1, overhead_ns: 0 };
    let subject: &mut dyn Subject = &mut Nothing::default();
    Ok(apply(subject, &load)?.latency.value_at_quantile(0.5))
}

/// Gives back each operation a time after it was sent; some never.
#[cfg(test)]
pub struct Servant {
    /// When each is done, and its tag.
    under_way: VecDeque<(std::time::Instant, u64)>,
    servers: usize,
    takes: Duration,
    losing_every: Option<u64>,
    sent: u64,
    missing: u64,
    /// The most that were under way.
    pub most: usize,
}

#[cfg(test)]
impl Servant {
    /// With so many operations at a time, each of which takes so long.
    pub fn new(servers: usize, takes: Duration) -> Self {
        Self { under_way: VecDeque::new(), servers, takes, losing_every: None, sent: 0, missing: 0, most: 0 }
    }

    /// One of so many does not come back.
    pub fn losing_every(mut self, n: u64) -> Self {
        self.losing_every = Some(n);
        self
    }
}

#[cfg(test)]
impl Subject for Servant {
    fn send(&mut self, tag: u64) -> bool {
        if self.in_flight() >= self.servers {
            return false;
        }
        self.sent += 1;
        if self.losing_every.is_some_and(|n| self.sent.is_multiple_of(n)) {
            self.missing += 1;
        } else {
            self.under_way.push_back((std::time::Instant::now() + self.takes, tag));
        }
        self.most = self.most.max(self.in_flight());
        true
    }

    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        let before = self.under_way.len();
        while self.under_way.front().is_some_and(|(at, _)| std::time::Instant::now() >= *at) {
            if let Some((_, tag)) = self.under_way.pop_front() {
                done(tag);
            }
        }
        Ok(before - self.under_way.len())
    }

    fn in_flight(&self) -> usize {
        self.under_way.len() + self.missing as usize
    }

    fn max_depth(&self) -> usize {
        self.servers
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(5)
    }

    fn give_up(&mut self) -> Result<u64, BenchError> {
        let lost = self.in_flight() as u64;
        self.under_way.clear();
        self.missing = 0;
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_costs_little() {
        let ns = overhead_ns().unwrap();
        assert!((1..20_000).contains(&ns), "{ns}");
    }
}
