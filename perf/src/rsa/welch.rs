//! Welch's t-test between the times of two classes of input, at several crops: the method of dudect (Reparaz, Balasch
//! and Verbauwhede, "Dude, is my code constant time?", 2017).

/// Below this |t|, no dependence was seen.
pub const PASS: f64 = 4.5;
/// Above this |t|, there is one.
pub const LEAK: f64 = 10.0;
/// Crops besides none.
const CROPS: u32 = 16;
/// Crops that keep less than this part hide some of a difference: they do not say how fine a test was.
const WHOLE: f64 = 0.5;
/// Samples of each class that a test must have.
const LEAST: usize = 100;

/// What a test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No dependence was seen.
    Pass,
    /// Between the limits: more samples will tell.
    Doubtful,
    /// Time depends on the class.
    Leak,
}

impl Verdict {
    /// Of a value of |t|. What is no number tells nothing.
    #[must_use]
    pub fn of(t: f64) -> Self {
        match t.abs() {
            t if t < PASS => Self::Pass,
            t if t > LEAK => Self::Leak,
            _ => Self::Doubtful,
        }
    }
}

/// Mean, variance and number of some values.
#[derive(Clone, Copy, Debug)]
struct Moments {
    n: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { n, mean, variance }
    }
}

/// One t-test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// Welch's t: the difference of the means in standard errors.
    pub t: f64,
    /// The difference of the means, first class less second.
    pub difference: f64,
    /// Its standard error.
    pub error: f64,
    /// The part of all samples that was below the crop.
    pub part: f64,
}

/// What came of all crops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The test with the largest |t|.
    pub worst: Test,
    /// The least difference of the means that would be at the limit of a pass, in any test of most samples.
    pub finest: f64,
}

/// The test between two classes.
fn welch(first: &[f64], second: &[f64], part: f64) -> Test {
    let (a, b) = (Moments::of(first), Moments::of(second));
    let error = (a.variance / a.n + b.variance / b.n).sqrt();
    let difference = a.mean - b.mean;
    // Times that are all the same are no different, and times that differ without any spread could not more.
    let t = if difference == 0.0 { 0.0 } else { difference / error };
    Test { t, difference, error, part }
}

/// Tests all samples, and those below each of some percentiles of both classes together, since a dependence is often
/// plainer without the slow outliers. None if there are too few samples.
#[must_use]
pub fn compare(first: &[f64], second: &[f64]) -> Option<Outcome> {
    let mut all = [first, second].concat();
    all.sort_unstable_by(f64::total_cmp);
    let last = all.len().checked_sub(1)?;
    // As in dudect, closer together towards the top.
    let parts = (1..=CROPS).map(|i| 1.0 - 0.5f64.powf(10.0 * f64::from(i) / f64::from(CROPS)));
    let tests: Vec<Test> = parts
        .chain([1.0])
        .filter_map(|part| {
            let limit = all[((all.len() as f64 * part) as usize).min(last)];
            let below =
                |class: &[f64]| -> Vec<f64> { class.iter().copied().filter(|v| *v <= limit).collect() };
            let (a, b) = (below(first), below(second));
            (a.len() >= LEAST && b.len() >= LEAST).then(|| welch(&a, &b, part))
        })
        .collect();
    let worst = tests.iter().copied().max_by(|a, b| a.t.abs().total_cmp(&b.t.abs()))?;
    let most = tests.iter().filter(|test| test.part >= WHOLE);
    Some(Outcome { worst, finest: PASS * most.map(|test| test.error).fold(f64::INFINITY, f64::min) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of about a bell's shape around `mean`, with a standard deviation of 1.
    fn bell(random: &mut fastrand::Rng, mean: f64) -> f64 {
        mean + (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
    }

    fn classes(seed: u64, n: usize, means: (f64, f64)) -> (Vec<f64>, Vec<f64>) {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| (bell(&mut random, means.0), bell(&mut random, means.1))).unzip()
    }

    #[test]
    fn t_is_that_of_the_textbook() {
        // Means 3 and 5, variances 2.5 and 10, five each: t = -2 / sqrt(0.5 + 2).
        let test = welch(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0, 3.0, 5.0, 7.0, 9.0], 1.0);
        assert!((test.t + 2.0 / 2.5f64.sqrt()).abs() < 1e-12, "{test:?}");
        assert_eq!(test.difference, -2.0);
    }

    #[test]
    fn equal_classes_pass_and_a_shift_of_a_fifth_of_the_spread_is_a_leak() {
        for seed in 0..20 {
            let (a, b) = classes(seed, 20_000, (100.0, 100.0));
            assert_eq!(Verdict::of(compare(&a, &b).unwrap().worst.t), Verdict::Pass, "seed {seed}");
            let (a, b) = classes(seed, 20_000, (100.0, 100.2));
            assert_eq!(Verdict::of(compare(&a, &b).unwrap().worst.t), Verdict::Leak, "seed {seed}");
        }
    }

    #[test]
    fn a_leak_below_rare_outliers_is_seen_by_a_crop() {
        let (mut a, mut b) = classes(3, 20_000, (100.0, 100.2));
        let mut random = fastrand::Rng::with_seed(4);
        for i in (0..20_000).step_by(50) {
            a[i] += 10_000.0 * random.f64();
            b[i] += 10_000.0 * random.f64();
        }
        assert!(welch(&a, &b, 1.0).t.abs() < PASS);
        let test = compare(&a, &b).unwrap().worst;
        assert!(test.t.abs() > LEAK && test.part < 1.0, "{test:?}");
    }

    #[test]
    fn the_finest_difference_is_that_of_a_test_of_most_samples() {
        let (a, b) = classes(5, 20_000, (100.0, 100.0));
        // 4.5 standard errors of a difference of two means of 20,000 with a deviation of 1 would be 0.045.
        let finest = compare(&a, &b).unwrap().finest;
        assert!((0.02..0.046).contains(&finest), "{finest}");
    }

    #[test]
    fn the_limits_are_where_they_are_said_to_be() {
        assert_eq!(Verdict::of(-4.4), Verdict::Pass);
        assert_eq!(Verdict::of(4.6), Verdict::Doubtful);
        assert_eq!(Verdict::of(-10.1), Verdict::Leak);
        assert_eq!(Verdict::of(f64::NAN), Verdict::Doubtful);
    }

    #[test]
    fn too_few_samples_are_no_test_and_equal_ones_no_difference() {
        assert!(compare(&[1.0; 99], &[1.0; 99]).is_none());
        assert!(compare(&[], &[]).is_none());
        assert_eq!(compare(&[1.0; 200], &[1.0; 200]).unwrap().worst.t, 0.0);
        assert_eq!(Verdict::of(compare(&[1.0; 200], &[2.0; 200]).unwrap().worst.t), Verdict::Leak);
    }
}
