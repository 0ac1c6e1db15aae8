//! Axes: from values to places, and which values have a label.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::number;

/// A latency of less than this is drawn as this: a logarithm has no zero, and clocks tell no less apart.
const LEAST_US: f64 = 0.001;
/// Labels of a linear axis, about.
const LABELS: f64 = 5.0;

/// From a value to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    Linear,
    /// Its decimal logarithm.
    Log,
    /// A percentile: the decimal logarithm of the one in how many that is above it.
    Nines,
}

impl Scale {
    /// Where a value is.
    #[must_use]
    pub fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(f64::MIN_POSITIVE).log10(),
            Self::Nines => -(1.0 - value / 100.0).max(1e-12).log10(),
        }
    }
}

/// An axis. All of it are places, not values.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// From value to place.
    pub scale: Scale,
    /// The ends.
    pub ends: [f64; 2],
    /// Places with labels.
    pub ticks: Vec<(f64, String)>,
    /// Places of lines without.
    pub minor: Vec<f64>,
}

impl Axis {
    /// From zero to the largest of the values. `None` without values.
    #[must_use]
    pub fn from_zero(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (_, high) = bounds(values)?;
        let high = if high > 0.0 { high } else { 1.0 };
        let step = nice_step(high / LABELS);
        let last = (high / step).ceil() as usize;
        let ticks = (0..=last).map(|i| i as f64 * step).map(|v| (v, number::tick(v))).collect();
        Some(Self {
            label: label.to_owned(),
            scale: Scale::Linear,
            ends: [0.0, last as f64 * step],
            ticks,
            minor: vec![],
        })
    }

    /// Of latencies in microseconds.
    #[must_use]
    pub fn latency(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut axis = Self::log(label, values.into_iter().map(|v| v.max(LEAST_US)))?;
        for (place, label) in &mut axis.ticks {
            *label = number::plain_tick(10f64.powf(*place));
        }
        Some(axis)
    }

    /// Of positive values, from one that has a label to another. `None` without any.
    #[must_use]
    pub fn log(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (low, high) = bounds(values.into_iter().filter(|v| *v > 0.0))?;
        let (low, high) = if high / low < 1.2 { (low / 1.1, high * 1.1) } else { (low, high) };
        let labelled = if high / low < 4.0 { linear_stops(low, high) } else { stops(low, high) };
        let ends = [labelled[0].log10(), labelled[labelled.len() - 1].log10()];
        let decades = ends[0].floor() as i32..=ends[1].ceil() as i32;
        let multiples: &[f64] = match ends[1] - ends[0] {
            wide if wide > 4.0 => &[2.0, 5.0],
            _ => &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        };
        let minor = decades
            .filter(|_| ends[1] - ends[0] > 0.6)
            .flat_map(|d| multiples.iter().map(move |m| (m * 10f64.powi(d)).log10()))
            .filter(|place| (ends[0]..=ends[1]).contains(place))
            .collect();
        let ticks = labelled.into_iter().map(|v| (v.log10(), number::tick(v))).collect();
        Some(Self { label: label.to_owned(), scale: Scale::Log, ends, ticks, minor })
    }

    /// Of some values on a logarithmic axis, each of which has a label. `None` without any.
    #[must_use]
    pub fn of_each(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite() && *v > 0.0).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let (first, last) = (values.first()?.log10(), values.last()?.log10());
        let beyond = if last > first { (last - first) * 0.04 } else { 0.1 };
        let ticks = values.iter().map(|v| (v.log10(), v.to_string())).collect();
        Some(Self {
            label: label.to_owned(),
            scale: Scale::Log,
            ends: [first - beyond, last + beyond],
            ticks,
            minor: vec![],
        })
    }

    /// Of percentiles, up to the one above which is one of `count`.
    #[must_use]
    pub fn percentiles(label: &str, count: u64) -> Self {
        let end = (count.max(10) as f64).log10();
        let nines = |n: i32| 100.0 - 10f64.powi(2 - n);
        let labelled = std::iter::once(50.0).chain((1..=end.floor().min(7.0) as i32).map(nines));
        let text = |p: f64| format!("{} %", number_of_nines(p));
        let ticks = labelled.map(|p| (Scale::Nines.place(p), text(p))).collect();
        let minor = [75.0, 95.0, 99.5, 99.95, 99.995].map(|p| Scale::Nines.place(p));
        let minor = minor.into_iter().filter(|place| *place < end).collect();
        Self { label: label.to_owned(), scale: Scale::Nines, ends: [0.0, end], ticks, minor }
    }

    /// Between the least and the largest of the values, with some room beyond. `None` without values.
    #[must_use]
    pub fn around(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (low, high) = bounds(values)?;
        let room = ((high - low) * 0.05).max(high.abs() * 0.01).max(1e-9);
        let ends = [low - room, high + room];
        let step = nice_step((ends[1] - ends[0]) / LABELS);
        let first = (ends[0] / step).ceil() as i64;
        let ticks = (first..)
            .map(|i| i as f64 * step)
            .take_while(|v| *v <= ends[1])
            .map(|v| (v, number::tick(v)))
            .collect();
        Some(Self { label: label.to_owned(), scale: Scale::Linear, ends, ticks, minor: vec![] })
    }

    /// With these labels instead.
    #[must_use]
    pub fn with_ticks(&self, ticks: Vec<(f64, String)>) -> Self {
        Self { ticks, ..self.clone() }
    }

    /// Where a value is, at an end if it is beyond.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        self.scale.place(value).clamp(self.ends[0], self.ends[1])
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (place - self.ends[0]) / (self.ends[1] - self.ends[0]);
        first + (f64::from(last - first) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => self.minor.clone(),
            false => self.ticks.iter().map(|(place, _)| *place).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.ends[0]..self.ends[1]
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        let label = self.ticks.iter().find(|(at, _)| at == place);
        label.map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// `99.9`, without what binary fractions add.
fn number_of_nines(percentile: f64) -> String {
    let text = format!("{percentile:.7}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The least and the largest of the numbers among the values.
fn bounds(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values = values.into_iter().filter(|v| v.is_finite());
    let first = values.next()?;
    Some(values.fold((first, first), |(low, high), v| (low.min(v), high.max(v))))
}

/// 1, 2 or 5 times a power of ten, not less than `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= least * 0.999).unwrap_or(10.0 * power)
}

/// Labels at 1, 2 and 5 times powers of ten, or at the powers only if there are many; the first and the last enclose
/// both values.
fn stops(low: f64, high: f64) -> Vec<f64> {
    let wide = (high / low).log10() > 3.5;
    let multiples: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = low.log10().floor() as i32 - 1..=high.log10().ceil() as i32 + 1;
    let all: Vec<f64> = decades.flat_map(|d| multiples.iter().map(move |m| scaled(*m, d))).collect();
    let first = all.iter().rposition(|v| *v <= low * 1.000_001).unwrap_or(0);
    let last = all.iter().position(|v| *v >= high * 0.999_999).unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

/// Exact where a product with an inexact power of ten would not be.
fn scaled(multiple: f64, decade: i32) -> f64 {
    if decade < 0 { multiple / 10f64.powi(-decade) } else { multiple * 10f64.powi(decade) }
}

/// Labels at equal distances, for a logarithmic axis so short that it is nearly linear.
fn linear_stops(low: f64, high: f64) -> Vec<f64> {
    let wide = nice_step((high - low) / LABELS);
    // The first label is at the step or above, as a logarithm has no zero: a step beyond `low` would leave it out.
    let step = if wide > low { nice_step(wide * 0.4) } else { wide };
    let first = ((low / step).floor() as i64).max(1);
    let last = ((high / step).ceil() as i64).max(first + 1);
    let inverse = (1.0 / step).round();
    // Exact where a product with an inexact step would not be.
    (first..=last).map(|i| if step < 1.0 { i as f64 / inverse } else { i as f64 * step }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn rates_begin_at_zero() {
        let axis = Axis::from_zero("rate (op/s)", [300_000.0, 1_100_000.0]).unwrap();
        assert_eq!(labels(&axis), ["0", "500 k", "1 M", "1.5 M"]);
        assert_eq!(axis.ends, [0.0, 1.5e6]);
        assert_eq!(Axis::from_zero("", [0.0]).unwrap().ends[0], 0.0);
    }

    #[test]
    fn a_logarithmic_axis_encloses_its_values_by_labels() {
        let axis = Axis::latency("latency (us)", [3.0, 180.0]).unwrap();
        assert_eq!(labels(&axis), ["2", "5", "10", "20", "50", "100", "200"]);
        assert_eq!(labels(&Axis::latency("", [900.0, 2100.0]).unwrap()).last(), Some(&"2,500"));
        assert!(
            axis.minor.len() > 10 && axis.minor.iter().all(|m| (axis.ends[0]..=axis.ends[1]).contains(m))
        );
        assert_eq!(
            labels(&Axis::log("", [0.02, 5000.0]).unwrap()),
            ["0.01", "0.1", "1", "10", "100", "1 k", "10 k"]
        );
        assert_eq!(labels(&Axis::log("", [0.8, 1.3]).unwrap()), ["0.8", "0.9", "1", "1.1", "1.2", "1.3"]);
        let one = Axis::log("", [7.0]).unwrap();
        assert!(one.ends[0] < 7f64.log10() && one.ends[1] > 7f64.log10() && one.ticks.len() >= 2, "{one:?}");
    }

    #[test]
    fn a_logarithmic_axis_begins_no_higher_than_the_least_value() {
        for (low, high) in [(0.9, 3.5), (9.0, 35.0), (0.95, 3.7), (2.6, 10.3), (0.26, 1.03)] {
            let axis = Axis::log("", [low, high]).unwrap();
            assert!(axis.ends[0] <= f64::log10(low) && axis.ends[1] >= f64::log10(high), "{low} {axis:?}");
            assert!((4..=12).contains(&axis.ticks.len()), "{low} {axis:?}");
        }
        assert_eq!(labels(&Axis::log("", [9.0, 35.0]).unwrap()), ["5", "10", "15", "20", "25", "30", "35"]);
    }

    #[test]
    fn percentiles_go_as_far_as_there_are_operations() {
        let axis = Axis::percentiles("percentile (%)", 20_000);
        assert_eq!(labels(&axis), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((axis.place(99.0) - 2.0).abs() < 1e-9 && axis.place(100.0) == axis.ends[1]);
    }

    #[test]
    fn nothing_has_no_axis_and_what_is_no_number_is_left_out() {
        let none = [f64::NAN, f64::INFINITY];
        let axes = [
            Axis::from_zero("", none),
            Axis::log("", none),
            Axis::of_each("", none),
            Axis::around("", none),
            Axis::log("", [0.0, -1.0]),
        ];
        assert!(axes.iter().all(Option::is_none));
        for axis in [
            Axis::latency("", [0.0]),
            Axis::around("", [5.0]),
            Axis::around("", [0.0]),
            Axis::of_each("", [8.0]),
            Axis::from_zero("", [1e-9, f64::NAN]),
            Axis::log("", [1e-3, 1e9]),
        ] {
            let axis = axis.unwrap();
            assert!(axis.ends[0] < axis.ends[1] && axis.ends.iter().all(|e| e.is_finite()), "{axis:?}");
            assert!(!axis.ticks.is_empty() && axis.ticks.len() < 16, "{axis:?}");
            assert!(axis.ticks.iter().all(|(at, _)| (axis.ends[0]..=axis.ends[1]).contains(at)), "{axis:?}");
        }
    }

    #[test]
    fn each_depth_has_a_label() {
        let axis = Axis::of_each("depth", [4.0, 1.0, 1024.0, 4.0]).unwrap();
        assert_eq!(labels(&axis), ["1", "4", "1024"]);
    }
}
