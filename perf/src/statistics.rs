//! Medians and how far to trust them.

use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;
/// The part of them that an interval has.
const CONFIDENCE: f64 = 0.95;
/// Of the resampling: the same values always give the same interval.
const SEED: u64 = 0x5eed;

/// Some values of the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The value in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// In which the median would lie in 95 of 100 such runs: percentile bootstrap (Efron, 1979). None of fewer than
    /// three values.
    pub interval: Option<[f64; 2]>,
    /// How many values there were.
    pub n: usize,
}

impl Summary {
    /// Of these values; those that are no numbers are left out.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let sorted = sorted(values);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let [median, min, max] = [median(&sorted), min, max].map(rounded);
        let interval = bootstrap(&sorted).map(|i| i.map(rounded));
        Self { median, min, max, interval, n: sorted.len() }
    }

    /// How far the median may be off, as a part of it: half the width of the interval, or of the range without one.
    #[must_use]
    pub fn uncertainty(&self) -> f64 {
        let [low, high] = self.interval.unwrap_or([self.min, self.max]);
        if self.median == 0.0 { 0.0 } else { ((high - low) / 2.0 / self.median).abs() }
    }
}

/// The middle value; of an even number the mean of the two in the middle. NaN of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The interval of the median.
fn bootstrap(values: &[f64]) -> Option<[f64; 2]> {
    if values.len() < 3 {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let again: Vec<f64> = values.iter().map(|_| values[random.usize(..values.len())]).collect();
            median(&again)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| medians[((RESAMPLES - 1) as f64 * q).round() as usize];
    Some([at((1.0 - CONFIDENCE) / 2.0), at((1.0 + CONFIDENCE) / 2.0)])
}

/// To six significant digits: more would be noise.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(5 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn values_keep_six_digits() {
        assert_eq!(rounded(123_456_789.0), 123_457_000.0);
        assert_eq!(rounded(0.012_345_678), 0.012_345_7);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn an_interval_has_the_true_median_in_about_95_of_100_runs() {
        let mut random = fastrand::Rng::with_seed(3);
        // Of an exponential distribution with mean 1 the median is ln 2.
        let truth = std::f64::consts::LN_2;
        let hits = (0..400)
            .filter(|_| {
                let values: Vec<f64> = (0..25).map(|_| -(1.0 - random.f64()).ln()).collect();
                let [low, high] = Summary::of(&values).interval.unwrap();
                (low..=high).contains(&truth)
            })
            .count();
        assert!((360..=396).contains(&hits), "{hits} of 400");
    }

    #[test]
    fn what_varies_more_is_less_certain() {
        let narrow = Summary::of(&[99.0, 100.0, 100.5, 101.0, 100.0]);
        let wide = Summary::of(&[50.0, 100.0, 140.0, 150.0, 90.0]);
        assert!(narrow.uncertainty() < 0.02 && wide.uncertainty() > 0.1, "{narrow:?} {wide:?}");
        assert_eq!((narrow.min, narrow.median, narrow.max, narrow.n), (99.0, 100.0, 101.0, 5));
        assert_eq!(Summary::of(&[1.0, 2.0]).interval, None);
        assert_eq!(Summary::of(&[f64::NAN]), Summary::default());
    }
}
