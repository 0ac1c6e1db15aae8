//! Which loads the user wants.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::record::{Arrivals, Mode};

/// A rate of an open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Operations a second.
    Absolute(f64),
    /// A part of what the subject does in a closed loop, in percent.
    Percent(f64),
}

impl Rate {
    /// In operations a second, of a subject that does `capacity`.
    #[must_use]
    pub fn of(self, capacity: f64) -> f64 {
        match self {
            Self::Absolute(rate) => rate,
            Self::Percent(percent) => capacity * percent / 100.0,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(rate) => write!(f, "{rate}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `50%`, `12000`, `12k`, `1.5M`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate: 50% (of the closed loop's), 12000, 12k, 1.5M");
        let (digits, factor) = match text.char_indices().last() {
            Some((at, '%')) => (&text[..at], None),
            Some((at, 'k')) => (&text[..at], Some(1e3)),
            Some((at, 'M')) => (&text[..at], Some(1e6)),
            _ => (text, Some(1.0)),
        };
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        let limit = if factor.is_some() { 1e9 } else { 1000.0 };
        if !(number.is_finite() && number > 0.0 && number * factor.unwrap_or(1.0) <= limit) {
            return Err(wrong());
        }
        Ok(factor.map_or(Self::Percent(number), |f| Self::Absolute(number * f)))
    }
}

/// Which loads a subject is put under, besides the length of each and how often, which are the slices and rounds of all
/// benches.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// One kind only; without it a closed loop at all depths and an open loop at all rates.
    pub mode: Option<Mode>,
    /// Of closed loops; empty: powers of two up to what the subject takes.
    pub depths: Vec<usize>,
    /// Of open loops; empty: several parts of what the closed loop does.
    pub rates: Vec<Rate>,
    /// When operations are due.
    pub arrivals: Arrivals,
    /// What the 99th percentile must not exceed in a search for it.
    pub bound: Duration,
    /// How long a soak lasts.
    pub soak: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            mode: None,
            depths: Vec::new(),
            rates: Vec::new(),
            arrivals: Arrivals::Poisson,
            bound: Duration::from_millis(1),
            soak: Duration::from_secs(60),
        }
    }
}

impl LoadOptions {
    /// The words of the command line that differ from the usual.
    #[must_use]
    pub fn words(&self) -> String {
        let usual = Self::default();
        let list = |items: Vec<String>| items.join(",");
        let mut words = String::new();
        if let Some(mode) = self.mode {
            words += &format!(" --mode {}", mode.name());
        }
        if !self.depths.is_empty() {
            words += &format!(" --depth {}", list(self.depths.iter().map(ToString::to_string).collect()));
        }
        if !self.rates.is_empty() {
            words += &format!(" --rate {}", list(self.rates.iter().map(ToString::to_string).collect()));
        }
        if self.arrivals == Arrivals::Constant {
            words += " --arrivals constant";
        }
        if self.bound != usual.bound {
            words += &format!(" --bound {}us", self.bound.as_micros());
        }
        if self.soak != usual.soak {
            words += &format!(" --duration {}s", self.soak.as_secs_f64());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_absolute_or_parts() {
        for (text, rate) in [
            ("50%", Rate::Percent(50.0)),
            ("12000", Rate::Absolute(12_000.0)),
            ("12k", Rate::Absolute(12_000.0)),
            ("1.5M", Rate::Absolute(1.5e6)),
        ] {
            assert_eq!(text.parse(), Ok(rate));
        }
        for wrong in ["", "%", "0", "-1", "x", "1e300", "5000%", "NaN", "inf", "10G"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        assert_eq!(Rate::Percent(25.0).of(400.0), 100.0);
    }

    #[test]
    fn only_what_is_unusual_is_said() {
        assert_eq!(LoadOptions::default().words(), "");
        let other = LoadOptions {
            mode: Some(Mode::Open),
            depths: vec![1, 8],
            rates: vec![Rate::Percent(50.0), Rate::Absolute(1e4)],
            arrivals: Arrivals::Constant,
            bound: Duration::from_micros(500),
            soak: Duration::from_secs(5),
        };
        assert_eq!(
            other.words(),
            " --mode open --depth 1,8 --rate 50%,10000 --arrivals constant --bound 500us --duration 5s"
        );
    }
}
