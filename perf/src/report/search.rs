//! The figure of a search: its trials, and what it has found.

use super::axis::Axis;
use super::curves::{P99, achieved, latencies, of_panels, rates};
use super::figure::{Figure, Guide, Marker, Panel, Series, extents};
use super::number;
use super::theme::{BLUE, ORANGE, RED};
use crate::LoadOptions;
use crate::record::{Curve, Mode, Point};

/// How a trial went.
#[must_use]
pub fn passed(curve: &Curve, point: &Point) -> bool {
    let complete = point.lost == 0 && point.unsent == 0;
    let within = |bound: f64| point.latency.as_ref().is_some_and(|l| l.p99.median <= bound);
    complete && (curve.mode != Mode::P99 || within(bound_us(&curve.command)))
}

/// The bound of a search for a percentile, in microseconds: as [`LoadOptions::words`] has it in the command.
#[must_use]
pub fn bound_us(command: &str) -> f64 {
    let mut words = command.split_whitespace().skip_while(|w| *w != "--bound").skip(1);
    let said = words.next().and_then(|w| w.strip_suffix("us")?.parse().ok());
    said.unwrap_or_else(|| LoadOptions::default().bound.as_secs_f64() * 1e6)
}

/// Trials by rate, those that passed apart from those that failed.
pub fn trials(curve: &Curve) -> Option<Figure> {
    let offered = |p: &Point| p.offered;
    let found = curve.found.as_ref().map(|f| f.rate);
    let label = format!("offered ({})", curve.unit);
    let x = || Axis::around(&label, curve.points.iter().filter_map(offered).chain(found));
    let kinds = [("passed", BLUE, Marker::Circle, true), ("failed", RED, Marker::Cross, false)];
    let apart = |which: bool| -> Vec<Point> {
        curve.points.iter().filter(|p| passed(curve, p) == which).cloned().collect()
    };
    // Losses are what a trial fails by: one mark is enough.
    let plain = |series: Series| Series {
        dots: series.dots.into_iter().map(|d| super::figure::Dot { lossy: false, ..d }).collect(),
        ..series
    };
    let times: Vec<Series> = kinds
        .iter()
        .map(|(name, ink, marker, which)| {
            let dots = latencies(&apart(*which), P99, offered).dots.into_iter();
            plain(Series::points(name, *ink, *marker, dots))
        })
        .collect();
    let done: Vec<Series> = kinds
        .iter()
        .map(|(name, ink, marker, which)| {
            let points = apart(*which);
            let dots: Vec<_> = rates(&points, offered).collect();
            plain(Series::points(name, *ink, *marker, dots.into_iter()))
        })
        .collect();
    let bound = (curve.mode == Mode::P99).then(|| bound_us(&curve.command));
    let y = Axis::latency("p99 latency (us)", extents(&times).chain(bound));
    let mut above = Panel::of(x(), y, times);
    let mut below = achieved(curve, x(), done);
    for panel in above.iter_mut().chain(&mut below) {
        mark_found(panel, found, &curve.unit);
    }
    if let (Some(panel), Some(bound)) = (&mut above, bound) {
        let ends = panel.x.ends.map(|x| (x, bound));
        let label = format!("bound: {} us", number::plain(bound));
        panel.guides.push(Guide { label, ink: ORANGE, ends });
    }
    let caption = match &curve.found {
        Some(found) => format!(
            "Each point is one trial. The highest rate that was borne is {} {}. Criterion: {}.",
            number::si(found.rate, 4),
            curve.unit,
            found.criterion
        ),
        None => "Each point is one trial. No rate was borne.".to_owned(),
    };
    of_panels("trials of the search", &caption, [above, below])
}

/// A line upwards at the rate that was found.
fn mark_found(panel: &mut Panel, found: Option<f64>, unit: &str) {
    if let Some(rate) = found {
        let label = format!("found: {} {unit}", number::si(rate, 4));
        // Beyond both ends: places are cut off there.
        panel.guides.push(Guide { label, ink: BLUE, ends: [(rate, f64::MIN), (rate, f64::MAX)] });
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::Body;
    use super::super::samples;
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_bound_is_the_one_in_the_command() {
        assert_eq!(bound_us("warpdrive bench x"), 1000.0);
        let options = LoadOptions { bound: Duration::from_micros(250), ..LoadOptions::default() };
        assert_eq!(bound_us(&format!("warpdrive bench x{}", options.words())), 250.0);
        assert_eq!(bound_us("x --bound"), 1000.0);
    }

    #[test]
    fn trials_fail_by_losses_and_by_the_bound() {
        let curve = samples::curve(Mode::P99);
        let mut point = curve.points[0].clone();
        (point.lost, point.unsent) = (0, 0);
        let p99 = point.latency.as_ref().unwrap().p99.median;
        let with_bound = |us: f64| Curve { command: format!("x --bound {us}us"), ..curve.clone() };
        assert!(passed(&with_bound(p99 + 1.0), &point) && !passed(&with_bound(p99 - 0.01), &point));
        let zero_loss = Curve { mode: Mode::ZeroLoss, ..with_bound(0.0) };
        assert!(passed(&zero_loss, &point));
        point.unsent = 1;
        assert!(!passed(&zero_loss, &point) && !passed(&with_bound(p99 + 1.0), &point));
    }

    #[test]
    fn what_was_found_and_the_bound_are_in_the_figure() {
        let curve = samples::curve(Mode::P99);
        let figure = trials(&curve).unwrap();
        let Body::Panels(panels) = &figure.body else { panic!("{figure:?}") };
        let labels: Vec<&str> = panels[0].guides.iter().map(|g| g.label.as_str()).collect();
        assert!(labels[0].starts_with("found: ") && labels[1].starts_with("bound: "), "{labels:?}");
        let counts: Vec<usize> = panels[1].series.iter().map(|s| s.dots.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), curve.points.len());
        assert_eq!(counts[0], curve.points.iter().filter(|p| passed(&curve, p)).count());
    }
}
