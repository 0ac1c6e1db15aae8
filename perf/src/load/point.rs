//! From what became of loads to what is reported.

use hdrhistogram::Histogram;

use super::{Outcome, Shape};
use crate::record::{Latency, Percentile, Point};
use crate::statistics::{Summary, rounded};

/// Points of a distribution's curve between two halvings of what is left above: as fine as HdrHistogram's tools have it.
const TICKS_PER_HALF: u32 = 5;

impl Point {
    /// Of the repeats of one load.
    #[must_use]
    pub fn of(shape: Shape, outcomes: &[Outcome]) -> Self {
        let (depth, offered, arrivals) = match shape {
            Shape::Closed { depth } => (Some(depth), None, None),
            Shape::Open { rate, arrivals } => (None, Some(rounded(rate)), Some(arrivals)),
        };
        let rates: Vec<f64> = outcomes.iter().map(Outcome::rate).collect();
        let sum = |part: fn(&Outcome) -> u64| outcomes.iter().map(part).sum();
        let late = outcomes.iter().map(|o| o.late_ns).max().unwrap_or(0);
        let share = outcomes.iter().map(|o| o.cpu_share).fold(100.0, f64::min);
        Self {
            depth,
            offered,
            arrivals,
            at_s: None,
            rate: Summary::of(&rates),
            sent: sum(|o| o.sent),
            done: sum(|o| o.done),
            lost: sum(|o| o.lost),
            unsent: sum(|o| o.unsent),
            late_us: us(late),
            cpu_share: rounded(share),
            latency: Latency::of(outcomes.iter().map(|o| &o.latency)),
        }
    }

    /// What it is of, in words.
    #[must_use]
    pub fn label(&self) -> String {
        match (self.at_s, self.depth, self.offered) {
            (Some(at), ..) => format!("{at:.1} s"),
            (_, Some(depth), _) => format!("depth {depth}"),
            (_, _, Some(rate)) => format!("{rate:.0} offered"),
            _ => String::new(),
        }
    }
}

impl Latency {
    /// Of the histograms of several repeats, in nanoseconds; `None` when nothing was recorded. They are merged for what
    /// is of all together.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram<u64>>) -> Option<Self> {
        let repeats: Vec<&Histogram<u64>> = histograms.filter(|h| !h.is_empty()).collect();
        let mut all = (*repeats.first()?).clone();
        for histogram in &repeats[1..] {
            // Cannot fail: all have the same bounds.
            let _ = all.add(*histogram);
        }
        let over =
            |q: f64| Summary::of(&repeats.iter().map(|h| us(h.value_at_quantile(q))).collect::<Vec<_>>());
        let curve = all
            .iter_quantiles(TICKS_PER_HALF)
            .map(|step| Percentile {
                percentile: step.quantile_iterated_to() * 100.0,
                us: us(step.value_iterated_to()),
                count: step.count_since_last_iteration(),
            })
            .scan(0, |total, mut p| {
                *total += p.count;
                p.count = *total;
                Some(p)
            })
            .collect();
        Some(Self {
            count: all.len(),
            mean: rounded(all.mean() / 1e3),
            deviation: rounded(all.stdev() / 1e3),
            min: us(all.min()),
            p50: over(0.5),
            p90: over(0.9),
            p99: over(0.99),
            p999: over(0.999),
            p9999: over(0.9999),
            max: us(all.max()),
            curve,
        })
    }
}

fn us(ns: u64) -> f64 {
    rounded(ns as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::super::run::histogram;
    use super::*;

    #[test]
    fn repeats_are_merged_and_their_spread_is_kept() {
        let repeats: Vec<_> = [1_000u64, 2_000, 4_000]
            .map(|scale| {
                let mut h = histogram().unwrap();
                (1..=1000).for_each(|i| h.record(i * scale).unwrap());
                h
            })
            .into();
        let latency = Latency::of(repeats.iter()).unwrap();
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.002;
        assert_eq!((latency.count, latency.min), (3000, 1.0));
        assert!(near(latency.p50.median, 1000.0) && near(latency.p50.min, 500.0), "{latency:?}");
        assert!(near(latency.max, 4000.0) && near(latency.p99.max, 3960.0), "{latency:?}");
        let last = latency.curve.last().unwrap();
        assert!(last.percentile == 100.0 && last.count == 3000 && last.us == latency.max, "{last:?}");
        assert!(latency.curve.windows(2).all(|w| w[0].us <= w[1].us && w[0].count <= w[1].count));
        assert!(Latency::of(std::iter::empty()).is_none());
    }
}
