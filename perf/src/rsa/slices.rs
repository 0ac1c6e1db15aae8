//! Slices of a run, what the core was like around each, and which of them count.

use super::contenders::Run;
use crate::measure::median;

/// What part of the best a core may lack before a slice is dropped.
const TOLERANCE: f64 = 0.03;
/// What "the best" is: above it may be mistakes of measurement.
const BEST: f64 = 0.9;

/// What a core did at one moment. What cannot be measured on this machine is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// Cycles a second.
    pub clock_hz: Option<f64>,
    /// Multiply-adds on 512 bits a second.
    pub multiplies_hz: Option<f64>,
}

impl Speed {
    /// The lesser of each: of a slice, from what was measured before and after it.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        let least = |a: Option<f64>, b: Option<f64>| Some(a?.min(b?));
        Self {
            clock_hz: least(self.clock_hz, other.clock_hz),
            multiplies_hz: least(self.multiplies_hz, other.multiplies_hz),
        }
    }

    /// The best quantile of each over a run.
    #[must_use]
    pub fn best(all: &[Self]) -> Self {
        let best = |what: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = all.iter().filter_map(what).collect();
            quantile(&values, BEST)
        };
        Self { clock_hz: best(|s| s.clock_hz), multiplies_hz: best(|s| s.multiplies_hz) }
    }

    /// Whether nothing was more than the tolerance below `best`.
    #[must_use]
    pub fn is_near(self, best: Self) -> bool {
        let near = |now: Option<f64>, best: Option<f64>| match (now, best) {
            (Some(now), Some(best)) => now >= best * (1.0 - TOLERANCE),
            _ => true,
        };
        near(self.clock_hz, best.clock_hz) && near(self.multiplies_hz, best.multiplies_hz)
    }
}

/// The least value that a part `q` of all do not exceed (nearest rank). None of nothing.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// One slice of one contender.
#[derive(Clone, Debug)]
pub struct Slice {
    /// What it did.
    pub run: Run,
    /// What its core was like.
    pub speed: Speed,
}

/// All slices of a run: of each contender, in the order of rounds.
#[derive(Debug, Default)]
pub struct Slices {
    of: Vec<Vec<Slice>>,
    best: Speed,
}

/// Two contenders' values of the rounds in which both count.
#[derive(Debug, PartialEq)]
pub struct Pairs {
    /// Of the first.
    pub ours: Vec<f64>,
    /// Of the second.
    pub theirs: Vec<f64>,
    /// Rounds that were left out because the core was slow in one slice or the other.
    pub dropped: usize,
}

impl Slices {
    /// Of what was measured.
    #[must_use]
    pub fn new(of: Vec<Vec<Slice>>) -> Self {
        let speeds: Vec<Speed> = of.iter().flatten().map(|s| s.speed).collect();
        Self { best: Speed::best(&speeds), of }
    }

    /// The core at its best.
    #[must_use]
    pub fn best(&self) -> Speed {
        self.best
    }

    /// The slices of one contender that count.
    pub fn steady(&self, contender: usize) -> impl Iterator<Item = &Slice> {
        self.of[contender].iter().filter(|s| s.speed.is_near(self.best))
    }

    /// Values of two contenders, of the rounds in which both count. If there is no such round, of all rounds.
    #[must_use]
    pub fn pairs(&self, ours: usize, theirs: usize, value: impl Fn(&Run) -> f64) -> Pairs {
        let both = || self.of[ours].iter().zip(&self.of[theirs]);
        let good = |s: &Slice| s.speed.is_near(self.best);
        let kept: Vec<(&Slice, &Slice)> = both().filter(|(a, b)| good(a) && good(b)).collect();
        let dropped = both().count() - kept.len();
        let kept = if kept.is_empty() { both().collect() } else { kept };
        let (ours, theirs) = kept.into_iter().map(|(a, b)| (value(&a.run), value(&b.run))).unzip();
        Pairs { ours, theirs, dropped }
    }

    /// The part of the multiplier's rate that a contender used, of one operation's multiply-adds.
    #[must_use]
    pub fn of_peak(&self, contender: usize, multiply_adds: f64) -> Option<f64> {
        let parts: Option<Vec<f64>> = self
            .steady(contender)
            .map(|s| Some(multiply_adds * s.run.rate() / s.speed.multiplies_hz?))
            .collect();
        parts.filter(|p| !p.is_empty()).map(|p| median(&p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn speed(clock: f64, multiplies: f64) -> Speed {
        Speed { clock_hz: Some(clock), multiplies_hz: Some(multiplies) }
    }

    fn slice(ops: u64, multiplies: f64) -> Slice {
        let run = Run { ops, time: Duration::from_millis(10), passes_us: vec![] };
        Slice { run, speed: speed(4.0, multiplies) }
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        let values = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.2), Some(1.0));
        assert_eq!(quantile(&values, 0.21), Some(2.0));
        assert_eq!(quantile(&values, 0.5), Some(3.0));
        assert_eq!(quantile(&values, 0.99), Some(5.0));
        assert_eq!(quantile(&values, 1.0), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_best_is_a_quantile_and_not_the_luckiest_value() {
        let mut all = vec![speed(4.0, 8.0); 18];
        all.extend([speed(9.0, 99.0), speed(1.0, 1.0)]);
        assert_eq!(Speed::best(&all), speed(4.0, 8.0));
    }

    #[test]
    fn three_percent_less_of_either_is_near_and_more_is_not() {
        let best = speed(4.0, 8.0);
        assert!(speed(3.89, 7.77).is_near(best));
        assert!(!speed(3.87, 8.0).is_near(best));
        assert!(!speed(4.0, 7.75).is_near(best));
        let unknown = Speed { clock_hz: Some(4.0), multiplies_hz: None };
        assert!(unknown.is_near(best) && unknown.is_near(Speed::best(&[unknown])));
    }

    #[test]
    fn the_worse_end_of_a_slice_is_its_speed() {
        assert_eq!(speed(4.0, 7.0).least(speed(3.0, 8.0)), speed(3.0, 7.0));
        assert_eq!(speed(4.0, 7.0).least(Speed::default()), Speed::default());
    }

    #[test]
    fn a_round_counts_only_if_both_slices_do() {
        let ours = vec![slice(20, 8.0), slice(10, 4.0), slice(22, 8.0), slice(24, 8.0)];
        let theirs = vec![slice(10, 8.0), slice(10, 8.0), slice(5, 4.0), slice(12, 8.0)];
        let slices = Slices::new(vec![ours, theirs]);
        let pairs = slices.pairs(0, 1, Run::rate);
        assert_eq!(pairs, Pairs { ours: vec![2000.0, 2400.0], theirs: vec![1000.0, 1200.0], dropped: 2 });
        assert_eq!(slices.steady(0).count(), 3);
    }

    #[test]
    fn without_any_good_round_all_are_shown_and_said_to_be_bad() {
        let ours = vec![slice(20, 4.0), slice(22, 8.0)];
        let theirs = vec![slice(10, 8.0), slice(11, 4.0)];
        let pairs = Slices::new(vec![ours, theirs]).pairs(0, 1, Run::rate);
        assert_eq!((pairs.ours.len(), pairs.dropped), (2, 2));
    }

    #[test]
    fn the_part_of_the_peak_is_the_work_by_what_was_possible() {
        // 2,000 operations a second of 300 multiply-adds, where 1,000,000 a second are possible.
        let slices = Slices::new(vec![vec![slice(20, 1e6); 3]]);
        assert!((slices.of_peak(0, 300.0).unwrap() - 0.6).abs() < 1e-12);
        let unknown = Slice { speed: Speed::default(), ..slice(20, 0.0) };
        assert_eq!(Slices::new(vec![vec![unknown]]).of_peak(0, 300.0), None);
    }
}
