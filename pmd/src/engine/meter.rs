//! What an engine counts. Written by the thread that runs it, with plain stores; read by anybody at any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::utils::CachePadded;

use super::MAX_BATCH;
use crate::clock::Clock;
use crate::stats::{Counter, DeviceStats, WaitStats};

/// Times of waiting are kept in buckets: each octave has 16, and below 32 ticks each tick its own.
const PER_OCTAVE: u64 = 16;
/// Some minutes, in ticks of any cpu; longer counts as this.
const LONGEST: u64 = (1 << 40) - 1;
const BUCKETS: usize = bucket(LONGEST) + 1;

const fn bucket(ticks: u64) -> usize {
    let shift = (ticks | PER_OCTAVE).ilog2() - PER_OCTAVE.ilog2();
    // The leading digit, which is always there, moves on by an octave.
    (shift as u64 * PER_OCTAVE + (ticks >> shift)) as usize
}

/// The longest time in a bucket.
const fn longest(bucket: usize) -> u64 {
    let shift = (bucket as u64 / PER_OCTAVE).saturating_sub(1);
    ((bucket as u64 - shift * PER_OCTAVE + 1) << shift) - 1
}

/// The counters of one engine. One thread writes.
pub(crate) struct Meter {
    pub(crate) requests: Counter,
    pub(crate) errors: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) retried: Counter,
    pub(crate) panics: Counter,
    failed: AtomicBool,
    fill: [Counter; MAX_BATCH + 1],
    wait: [Counter; BUCKETS],
    longest_wait: Counter,
}

pub(crate) type SharedMeter = Arc<CachePadded<Meter>>;

impl Default for Meter {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            errors: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            retried: Counter::default(),
            panics: Counter::default(),
            failed: AtomicBool::new(false),
            fill: std::array::from_fn(|_| Counter::default()),
            wait: std::array::from_fn(|_| Counter::default()),
            longest_wait: Counter::default(),
        }
    }
}

impl Meter {
    /// A batch was given to the engine.
    #[inline]
    pub(crate) fn batch(&self, jobs: usize) {
        self.fill[jobs].add(1);
    }

    /// A request was begun so long after it was sent.
    #[inline]
    pub(crate) fn waited(&self, ticks: u64) {
        self.wait[bucket(ticks.min(LONGEST))].add(1);
        if ticks > self.longest_wait.get() {
            self.longest_wait.set(ticks);
        }
    }

    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

/// Sums of several meters.
struct Totals {
    stats: DeviceStats,
    wait: [u64; BUCKETS],
    longest_wait: u64,
}

impl Default for Totals {
    fn default() -> Self {
        let stats = DeviceStats { fill: vec![0; MAX_BATCH + 1], ..DeviceStats::default() };
        Self { stats, wait: [0; BUCKETS], longest_wait: 0 }
    }
}

impl Totals {
    fn add(&mut self, meter: &Meter) {
        let sum = &mut self.stats;
        sum.requests += meter.requests.get();
        sum.errors += meter.errors.get();
        sum.bytes_in += meter.bytes_in.get();
        sum.bytes_out += meter.bytes_out.get();
        sum.retried += meter.retried.get();
        sum.panics += meter.panics.get();
        sum.failed |= meter.failed.load(Ordering::Relaxed);
        sum.fill.iter_mut().zip(&meter.fill).for_each(|(sum, c)| *sum += c.get());
        self.wait.iter_mut().zip(&meter.wait).for_each(|(sum, c)| *sum += c.get());
        self.longest_wait = self.longest_wait.max(meter.longest_wait.get());
    }

    fn stats(&self, batch: usize) -> DeviceStats {
        let mut stats = self.stats.clone();
        stats.batches = stats.fill.iter().sum();
        stats.fill.truncate(batch + 1);
        stats.wait = self.wait();
        stats
    }

    fn wait(&self) -> WaitStats {
        let count: u64 = self.wait.iter().sum();
        if count == 0 {
            return WaitStats::default();
        }
        let clock = Clock::get();
        let quantile = |percent: u64| {
            let rank = (count * percent).div_ceil(100);
            let mut below = 0;
            let reaches = |n: &u64| {
                below += n;
                below >= rank
            };
            let bucket = self.wait.iter().position(reaches).unwrap_or(BUCKETS - 1);
            clock.ns(longest(bucket).min(self.longest_wait))
        };
        WaitStats {
            count,
            p50_ns: quantile(50),
            p90_ns: quantile(90),
            p99_ns: quantile(99),
            max_ns: clock.ns(self.longest_wait),
        }
    }
}

/// The meters of all engines of a device.
#[derive(Default)]
pub(crate) struct Meters(Mutex<Registered>);

#[derive(Default)]
struct Registered {
    live: Vec<SharedMeter>,
    /// What those that are gone have counted.
    gone: Totals,
}

impl Meters {
    /// A new one, for a new engine.
    pub(crate) fn register(&self) -> SharedMeter {
        let meter = SharedMeter::default();
        let mut registered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Registered { live, gone } = &mut *registered;
        // An engine for every queue that was ever opened is not to be kept.
        live.retain_mut(|meter| match Arc::get_mut(meter) {
            Some(meter) => {
                gone.add(meter);
                false
            }
            None => true,
        });
        live.push(Arc::clone(&meter));
        meter
    }

    /// Everything counted so far, of engines that take up to `batch` jobs.
    pub(crate) fn stats(&self, batch: usize) -> DeviceStats {
        let registered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = Totals::default();
        totals.stats.clone_from(&registered.gone.stats);
        totals.wait = registered.gone.wait;
        totals.longest_wait = registered.gone.longest_wait;
        registered.live.iter().for_each(|meter| totals.add(meter));
        totals.stats(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_bucket_that_is_a_sixteenth_wide_at_most() {
        for ticks in (0..200).chain((7..40).flat_map(|o| [(1 << o) - 1, 1 << o, (1 << o) + (1 << (o - 2))])) {
            let b = bucket(ticks);
            assert!(b < BUCKETS && longest(b) >= ticks, "{ticks} in {b}");
            assert!(b == 0 || longest(b - 1) < ticks, "{ticks} in {b}");
            assert!(longest(b) - ticks <= ticks / 16, "{ticks} in {b}");
        }
        assert_eq!(longest(BUCKETS - 1), LONGEST);
    }

    #[test]
    fn sums_and_quantiles_are_of_all_engines_also_those_that_are_gone() {
        let meters = Meters::default();
        let first = meters.register();
        (1..=900).for_each(|_| first.waited(100_000));
        first.batch(3);
        first.requests.add(900);
        drop(first);
        let second = meters.register();
        (1..=100).for_each(|_| second.waited(10_000_000));
        second.waited(u64::MAX);
        second.batch(4);
        second.requests.add(101);
        for last in [false, true] {
            assert_eq!(meters.0.lock().unwrap().live.len(), 1, "the first is not kept");
            let stats = meters.stats(4);
            assert_eq!((stats.requests, stats.batches, stats.fill), (1001, 2, vec![0, 0, 0, 1, 1]));
            assert_eq!(stats.failed, last);
            let ns = |ticks| Clock::get().ns(ticks);
            let near = |got: u64, ticks| (ns(ticks)..=ns(ticks + ticks / 16)).contains(&got);
            let wait = stats.wait;
            assert!(near(wait.p50_ns, 100_000) && near(wait.p99_ns, 10_000_000), "{wait:?}");
            assert_eq!((wait.count, wait.p90_ns > ns(9_000_000)), (1001, true), "901 of 1001");
            assert_eq!(wait.max_ns, ns(u64::MAX));
            second.fail();
        }
    }
}
