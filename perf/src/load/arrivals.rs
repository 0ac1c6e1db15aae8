//! When operations are due: ticks from the start.

use crate::record::Arrivals;

/// The times of a load.
#[derive(Clone, Debug)]
pub struct Due {
    random: fastrand::Rng,
    arrivals: Arrivals,
    mean: f64,
    at: f64,
}

impl Due {
    /// Arrivals with `mean` ticks between two. The same seed gives the same times.
    #[must_use]
    pub fn new(arrivals: Arrivals, mean: f64, seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), arrivals, mean, at: 0.0 }
    }
}

impl Iterator for Due {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        self.at += match self.arrivals {
            Arrivals::Constant => self.mean,
            // In (0, 1]: the logarithm of 0 is none.
            Arrivals::Poisson => -(1.0 - self.random.f64()).ln() * self.mean,
        };
        Some(self.at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poisson(seed: u64, mean: f64) -> Due {
        Due::new(Arrivals::Poisson, mean, seed)
    }

    #[test]
    fn arrivals_have_the_mean_and_the_spread_of_a_poisson_process() {
        let times: Vec<u64> = poisson(7, 1000.0).take(100_000).collect();
        assert!(times.is_sorted());
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1000.0 - 1.0).abs() < 0.02, "{mean}");
        // Of an exponential distribution the standard deviation is the mean, and 1/e of the gaps are longer.
        assert!((variance.sqrt() / 1000.0 - 1.0).abs() < 0.03, "{}", variance.sqrt());
        let longer = gaps.iter().filter(|g| **g > 1000.0).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1f64).exp()).abs() < 0.01, "{longer}");
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        let times: Vec<u64> = Due::new(Arrivals::Constant, 10.5, 1).take(1_000_000).collect();
        assert_eq!((times[0], times[1], times[999_999]), (10, 21, 10_500_000));
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_others() {
        let some = |seed| poisson(seed, 50.0).take(10).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }
}
