//! Latency histograms that a worker writes and others read, without locks: decades, each in steps of a tenth of its beginning,
//! so that a value is known to ten percent or better, and the bounds that Prometheus gets are bounds here.

use std::time::Duration;

use serde_json::{Value, json};
use warpdrive_pmd::stats::Counter;

/// Powers of ten, in nanoseconds: from 10 us to 100 s.
const FIRST: u32 = 4;
const LAST: u32 = 11;
/// Buckets of a decade: from 1.0 to 9.9 times its beginning.
const STEPS: usize = 90;
/// One for what is shorter, the decades, one for what is longer.
const BUCKETS: usize = 2 + (LAST - FIRST) as usize * STEPS;
/// The bounds that Prometheus gets, in nanoseconds: 100 us to 100 s.
pub const BOUNDS: [u64; 19] = bounds();

const fn bounds() -> [u64; 19] {
    let mut bounds = [0; 19];
    let (mut i, mut decade) = (0, 100_000);
    while i < 18 {
        (bounds[i], bounds[i + 1], bounds[i + 2]) = (decade, decade * 5 / 2, decade * 5);
        (i, decade) = (i + 3, decade * 10);
    }
    bounds[18] = decade;
    bounds
}

/// A latency histogram with one writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Counter::default()).collect(), sum_ns: Counter::default() }
    }
}

/// The bucket of a value: its bounds are exclusive below and inclusive above, as Prometheus has them.
fn place(ns: u64) -> usize {
    let below = ns.saturating_sub(1);
    match below.checked_ilog10() {
        None | Some(..FIRST) => 0,
        Some(LAST..) => BUCKETS - 1,
        Some(decade) => {
            let step = 10_u64.pow(decade - 1);
            // 10 to 99.
            1 + (decade - FIRST) as usize * STEPS + (below / step) as usize - 10
        }
    }
}

/// The upper end of a bucket, in nanoseconds. `None`: of the last.
fn upper(place: usize) -> Option<u64> {
    match place.checked_sub(1) {
        None => Some(10_u64.pow(FIRST)),
        Some(place) if place == BUCKETS - 2 => None,
        Some(place) => {
            let step = 10_u64.pow(FIRST - 1 + (place / STEPS) as u32);
            Some(step * (place % STEPS + 11) as u64)
        }
    }
}

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn record(&self, time: Duration) {
        self.record_ns(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a value in nanoseconds.
    #[inline]
    pub fn record_ns(&self, ns: u64) {
        self.buckets[place(ns)].add(1);
        self.sum_ns.add(ns);
    }
}

/// Histograms, added up, as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Snapshot {
    /// Reads histograms.
    pub fn of<'h>(histograms: impl IntoIterator<Item = &'h Histogram>) -> Self {
        let mut this = Self { counts: vec![0; BUCKETS], sum_ns: 0 };
        for histogram in histograms {
            // Before the counts: a mean is not of values that were not counted.
            this.sum_ns = this.sum_ns.wrapping_add(histogram.sum_ns.get());
            for (sum, counter) in this.counts.iter_mut().zip(&histogram.buckets) {
                *sum += counter.get();
            }
        }
        this
    }

    /// Values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// For each bound that Prometheus gets, in nanoseconds, how many values are not above it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let (mut sum, mut next) = (0, 0);
        BOUNDS.into_iter().map(move |bound| {
            while upper(next).is_some_and(|upper| upper <= bound) {
                sum += self.counts[next];
                next += 1;
            }
            (bound, sum)
        })
    }

    /// The value that a part `q` of all do not exceed, as far as buckets tell: the upper end of one. `None` if there are no
    /// values; more than 100 s is 100 s.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let wanted = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut sum = 0;
        let place = self.counts.iter().position(|n| {
            sum += n;
            sum >= wanted
        })?;
        Some(Duration::from_nanos(upper(place).unwrap_or(10_u64.pow(LAST))))
    }

    /// As [`ProxyMetrics::to_json`](super::ProxyMetrics::to_json) says.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let seconds = |q| self.quantile(q).map(|time| time.as_secs_f64());
        let buckets = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        json!({
            "count": self.count(),
            "sum": self.sum_seconds(),
            "p50": seconds(0.5),
            "p90": seconds(0.9),
            "p99": seconds(0.99),
            "buckets_us": buckets.map(|(place, n)| json!([upper(place).map(|ns| ns / 1_000), n])).collect::<Value>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_next_to_each_other_and_a_tenth_wide_at_most() {
        let mut lower = 0;
        for i in 0..BUCKETS - 1 {
            let upper = upper(i).unwrap();
            assert!(
                (place(lower + 1), place(upper)) == (i, i) && upper > lower,
                "bucket {i}: {lower} to {upper}"
            );
            assert!(i == 0 || (upper - lower) * 10 <= lower, "bucket {i}: {lower} to {upper}");
            lower = upper;
        }
        assert_eq!((lower, place(lower + 1), upper(BUCKETS - 1)), (100_000_000_000, BUCKETS - 1, None));
        assert_eq!((place(0), place(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn bounds_of_prometheus_are_bounds_here_and_include_what_is_equal() {
        assert_eq!(BOUNDS[..4], [100_000, 250_000, 500_000, 1_000_000]);
        assert_eq!(BOUNDS[15..], [10_000_000_000, 25_000_000_000, 50_000_000_000, 100_000_000_000]);
        for (i, bound) in BOUNDS.into_iter().enumerate() {
            let histogram = Histogram::default();
            histogram.record_ns(bound);
            histogram.record_ns(bound + 1);
            let counts: Vec<u64> = Snapshot::of([&histogram]).cumulative().map(|(_, n)| n).collect();
            let expected: Vec<u64> = (0..19).map(|k| u64::from(k >= i) + u64::from(k > i)).collect();
            assert_eq!(counts, expected, "{bound} ns");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values_to_a_tenth() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for us in 1..=1_000 {
            [&one, &other][us % 2].record(Duration::from_micros(us as u64));
        }
        let snapshot = Snapshot::of([&one, &other]);
        assert_eq!(snapshot.count(), 1_000);
        assert!((snapshot.sum_seconds() - 0.500_5).abs() < 1e-12, "{}", snapshot.sum_seconds());
        for (q, us) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let got = snapshot.quantile(q).unwrap().as_secs_f64() * 1e6;
            assert!((us..=us * 1.1).contains(&got), "{q}: {got} us");
        }
        assert_eq!(snapshot.quantile(0.0), Some(Duration::from_micros(10)));
        assert_eq!(Snapshot::of([]).quantile(0.5), None);
        let long = Histogram::default();
        long.record(Duration::from_secs(1 << 20));
        assert_eq!(Snapshot::of([&long]).quantile(0.5), Some(Duration::from_secs(100)));
        assert_eq!(Snapshot::of([&long]).to_json()["buckets_us"], json!([[null, 1]]));
        assert_eq!(Snapshot::of([]).to_json()["p50"], Value::Null);
    }
}
