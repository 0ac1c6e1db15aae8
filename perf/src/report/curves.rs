//! Figures of a curve: which there are depends on the kind of load.

use super::axis::{Axis, Scale};
use super::figure::{Bar, Bars, Body, Dot, Figure, Guide, Marker, Panel, Row, Series, extents};
use super::number;
use super::search;
use super::theme::{BLUE, Ink, MUTED, ORANGE, RED, ramp};
use crate::record::{Curve, Latency, Mode, Point};
use crate::statistics::Summary;

/// What the names of figures end with.
pub const KINDS: [&str; 3] = ["-load", "-percentiles", "-stages"];
/// Lines in a plot at most: more are not told apart.
const LINES: usize = 12;

/// A percentile: its name, its colour, its mark, and where it is in a latency.
pub type Kind = (&'static str, Ink, Marker, fn(&Latency) -> &Summary);
/// What most operations take.
pub const P50: Kind = ("p50", BLUE, Marker::Circle, |l| &l.p50);
/// What one of a hundred takes.
pub const P99: Kind = ("p99", ORANGE, Marker::Triangle, |l| &l.p99);
/// What one of a thousand takes.
pub const P999: Kind = ("p99.9", RED, Marker::Square, |l| &l.p999);

/// All figures of a curve. `stem` is its name, fit for files.
#[must_use]
pub fn figures(curve: &Curve, stem: &str) -> Vec<Figure> {
    let by_load = match curve.mode {
        Mode::Closed => by_depth(curve),
        Mode::Open => by_rate(curve),
        Mode::ZeroLoss | Mode::P99 => search::trials(curve),
        Mode::Soak => over_time(curve),
    };
    let named = |kind: &str, figure: Option<Figure>| {
        figure.map(|f| Figure {
            stem: format!("{stem}{kind}"),
            title: format!("{}: {}", curve.name, f.title),
            ..f
        })
    };
    let figures = [by_load, by_percentile(curve), stages(curve)];
    KINDS.into_iter().zip(figures).filter_map(|(kind, figure)| named(kind, figure)).collect()
}

/// A figure whose title and caption are known, and of whose panels at least one has something in it.
pub fn of_panels(
    title: &str,
    caption: &str,
    panels: impl IntoIterator<Item = Option<Panel>>,
) -> Option<Figure> {
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    (!panels.is_empty()).then(|| Figure {
        stem: String::new(),
        title: title.to_owned(),
        caption: caption.to_owned(),
        body: Body::Panels(panels),
    })
}

/// How far a median may be off, of several values.
pub fn range(summary: &Summary) -> Option<[f64; 2]> {
    (summary.n > 1).then(|| summary.interval.unwrap_or([summary.min, summary.max]))
}

/// What the whiskers of a curve are, in words; nothing without repeats.
fn whiskers(points: &[Point]) -> String {
    match points.iter().map(|p| p.rate.n).max() {
        Some(n) if n > 2 => format!(
            " Points are medians of {n} repeats; whiskers are 95 % intervals of the median (bootstrap)."
        ),
        Some(2) => " Points are medians of 2 repeats; whiskers go from one to the other.".to_owned(),
        _ => String::new(),
    }
}

fn is_lossy(point: &Point) -> bool {
    point.lost + point.unsent > 0
}

/// The rates that points achieved, at places across.
pub fn rates<'a>(
    points: &'a [Point],
    x: impl Fn(&Point) -> Option<f64> + 'a,
) -> impl Iterator<Item = Dot> + 'a {
    points.iter().filter_map(move |p| {
        Some(Dot { x: x(p)?, y: p.rate.median, range: range(&p.rate), lossy: is_lossy(p) })
    })
}

/// A percentile of points, at places across.
pub fn latencies(points: &[Point], kind: Kind, x: impl Fn(&Point) -> Option<f64>) -> Series {
    let (name, ink, marker, of) = kind;
    let dots = points.iter().filter_map(|p| {
        let of = of(p.latency.as_ref()?);
        Some(Dot { x: x(p)?, y: of.median, range: range(of), lossy: is_lossy(p) })
    });
    Series::line(name, ink, Some(marker), dots)
}

/// The axis of rates.
fn rate_label(curve: &Curve) -> String {
    format!("rate ({})", curve.unit)
}

fn by_depth(curve: &Curve) -> Option<Figure> {
    let depth = |p: &Point| p.depth.map(|d| d as f64);
    let x = || Axis::of_each("depth (operations under way)", curve.points.iter().filter_map(depth));
    let rate = vec![Series::line("", BLUE, Some(Marker::Circle), rates(&curve.points, depth))];
    let times = vec![latencies(&curve.points, P50, depth), latencies(&curve.points, P99, depth)];
    let caption = format!(
        "Above, how much is done with so much under way; below, how long one operation takes.{}",
        whiskers(&curve.points)
    );
    of_panels(
        "rate and latency by depth",
        &caption,
        [
            Panel::of(x(), Axis::from_zero(&rate_label(curve), extents(&rate)), rate),
            Panel::of(x(), Axis::latency("latency (us)", extents(&times)), times),
        ],
    )
}

fn by_rate(curve: &Curve) -> Option<Figure> {
    let offered = |p: &Point| p.offered;
    let label = format!("offered ({})", curve.unit);
    let x = || Axis::from_zero(&label, curve.points.iter().filter_map(offered));
    let times: Vec<Series> =
        [P50, P99, P999].into_iter().map(|kind| latencies(&curve.points, kind, offered)).collect();
    let caption = format!(
        "Above, how long operations take from when they are due; below, how much of what is offered is done: on the \
         dashed line, all of it.{}",
        whiskers(&curve.points)
    );
    of_panels(
        "latency and rate by offered rate",
        &caption,
        [
            Panel::of(x(), Axis::latency("latency (us)", extents(&times)), times),
            achieved(
                curve,
                x(),
                vec![Series::line("achieved", BLUE, Some(Marker::Circle), rates(&curve.points, offered))],
            ),
        ],
    )
}

/// What was done of what was offered.
pub fn achieved(curve: &Curve, x: Option<Axis>, series: Vec<Series>) -> Option<Panel> {
    let most = x.as_ref()?.ends;
    let y = Axis::from_zero(&rate_label(curve), extents(&series).chain([most[1]]));
    let mut panel = Panel::of(x, y, series)?;
    let ends = [(most[0], most[0]), (most[1], most[1])];
    panel.guides.push(Guide { label: "all that is offered".to_owned(), ink: MUTED, ends });
    Some(panel)
}

fn over_time(curve: &Curve) -> Option<Figure> {
    let at = |p: &Point| p.at_s;
    let x = || Axis::from_zero("time (s)", curve.points.iter().filter_map(at));
    // Marks on many points would hide the line.
    let unmarked = |series: Series| match series.dots.len() {
        0..=40 => series,
        _ => Series { marker: None, ..series },
    };
    let rate = vec![unmarked(Series::line("", BLUE, Some(Marker::Circle), rates(&curve.points, at)))];
    let times: Vec<Series> =
        [P50, P99].into_iter().map(|kind| unmarked(latencies(&curve.points, kind, at))).collect();
    of_panels(
        "rate and latency over time",
        "Each point is one interval of the soak. What stays as it was is level.",
        [
            Panel::of(x(), Axis::from_zero(&rate_label(curve), extents(&rate)), rate),
            Panel::of(x(), Axis::latency("latency (us)", extents(&times)), times),
        ],
    )
}

/// One line for each point.
fn by_percentile(curve: &Curve) -> Option<Figure> {
    let mut points: Vec<&Point> = curve.points.iter().collect();
    if matches!(curve.mode, Mode::ZeroLoss | Mode::P99) {
        // Trials come in the order of the search, some rates more than once: the last counts.
        points.reverse();
        points.sort_by(|a, b| a.offered.unwrap_or(0.0).total_cmp(&b.offered.unwrap_or(0.0)));
        points.dedup_by_key(|p| p.offered);
    }
    let all: Vec<(String, &Latency)> = points
        .into_iter()
        .filter_map(|p| Some((load_of(p, &curve.unit), p.latency.as_ref()?)))
        .filter(|(_, latency)| !latency.curve.is_empty())
        .collect();
    let shown = evenly(&all, LINES);
    let most = shown.iter().map(|(_, l)| l.count).max()?;
    let inks = ramp(shown.len());
    let series: Vec<Series> = shown
        .iter()
        .zip(inks)
        .map(|((label, latency), ink)| Series::line(label, ink, None, distribution(latency).into_iter()))
        .collect();
    let left_out = match all.len() - shown.len() {
        0 => String::new(),
        n => format!(" {n} of {} are left out; results.json has all.", all.len()),
    };
    let caption = format!(
        "Of a hundred operations, ninety took at most as long as the line is high at 90 %. All repeats together; a line \
         ends where one operation is left.{left_out}"
    );
    let y = Axis::latency("latency (us)", extents(&series));
    let x = Axis::percentiles("percentile (% of operations)", most);
    of_panels("latency by percentile", &caption, [Panel::of(Some(x), y, series)])
}

/// A load in words.
fn load_of(point: &Point, unit: &str) -> String {
    match point.offered {
        Some(rate) => format!("{} {unit}", number::si(rate, 3)),
        None => point.label(),
    }
}

/// The points of a distribution, up to the one that only one operation is above.
fn distribution(latency: &Latency) -> Vec<Dot> {
    let last = 100.0 * (1.0 - 1.0 / latency.count.max(2) as f64);
    let dot = |x, y| Dot { x, y, range: None, lossy: false };
    let mut dots: Vec<Dot> =
        latency.curve.iter().filter(|p| p.percentile < last).map(|p| dot(p.percentile, p.us)).collect();
    dots.push(dot(last, latency.max));
    // Where it does not rise, the ends of the level part are enough.
    let level =
        |i: usize| i > 0 && i + 1 < dots.len() && dots[i - 1].y == dots[i].y && dots[i].y == dots[i + 1].y;
    (0..dots.len()).filter(|i| !level(*i)).map(|i| dots[i]).collect()
}

/// At most so many, at equal distances, the first and the last among them.
pub fn evenly<T>(items: &[T], most: usize) -> Vec<&T> {
    match items.len() {
        0 => vec![],
        n if n <= most || most < 2 => items.iter().take(most).collect(),
        n => (0..most).map(|i| &items[i * (n - 1) / (most - 1)]).collect(),
    }
}

fn stages(curve: &Curve) -> Option<Figure> {
    let times = curve.stages.iter().flat_map(|s| [s.p50, s.p99]);
    let axis = Axis::from_zero("time in the stage (us)", times)?;
    let bar = |to: f64, ink| Bar { to, range: None, ink, text: number::plain(to) };
    let rows = curve
        .stages
        .iter()
        .filter(|s| s.p50.is_finite() && s.p99.is_finite())
        .map(|s| Row::Of(s.name.clone(), vec![bar(s.p50, BLUE), bar(s.p99, ORANGE)]))
        .collect();
    let legend = vec![(BLUE, "p50".to_owned()), (ORANGE, "p99".to_owned())];
    debug_assert_eq!(axis.scale, Scale::Linear, "bars begin at zero");
    Some(Figure {
        stem: String::new(),
        title: "where the time goes".to_owned(),
        caption: "How long packets are in each stage, over the whole run.".to_owned(),
        body: Body::Bars(Bars { axis, from: 0.0, rows, legend }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn panels(figure: &Figure) -> &[Panel] {
        match &figure.body {
            Body::Panels(panels) => panels,
            Body::Bars(_) => panic!("bars"),
        }
    }

    #[test]
    fn each_mode_has_its_figures() {
        let stems = |mode| -> Vec<String> {
            figures(&samples::curve(mode), "x").into_iter().map(|f| f.stem).collect()
        };
        for mode in [Mode::Closed, Mode::Open, Mode::ZeroLoss, Mode::P99] {
            assert_eq!(stems(mode), ["x-load", "x-percentiles", "x-stages"], "{mode:?}");
        }
        assert_eq!(stems(Mode::Soak), ["x-load", "x-stages"], "intervals of a soak have no distribution");
    }

    #[test]
    fn an_empty_curve_has_no_figure_and_a_point_without_latency_only_a_rate() {
        for mode in [Mode::Closed, Mode::Open, Mode::ZeroLoss, Mode::P99, Mode::Soak] {
            let mut curve = samples::curve(mode);
            curve.stages.clear();
            curve.points.truncate(1);
            assert!(!figures(&curve, "x").is_empty(), "{mode:?}: one point");
            curve.points[0].latency = None;
            let of_rate = figures(&curve, "x");
            assert_eq!((of_rate.len(), panels(&of_rate[0]).len()), (1, 1), "{mode:?}");
            curve.points.clear();
            assert!(figures(&curve, "x").is_empty(), "{mode:?}");
        }
    }

    #[test]
    fn repeats_have_whiskers_and_losses_are_marked() {
        let open = samples::curve(Mode::Open);
        let figure = by_rate(&open).unwrap();
        let [times, rates] = panels(&figure) else { panic!("{figure:?}") };
        let dots = &times.series[1].dots;
        let of = open.points[0].latency.as_ref().unwrap().p99;
        assert_eq!(
            (dots[0].x, dots[0].y, dots[0].range),
            (open.points[0].offered.unwrap(), of.median, of.interval)
        );
        let lossy: Vec<bool> = open.points.iter().map(is_lossy).collect();
        assert!(lossy.contains(&true) && lossy.contains(&false));
        assert_eq!(dots.iter().map(|d| d.lossy).collect::<Vec<_>>(), lossy);
        assert_eq!(rates.guides.len(), 1);
        assert!(figure.caption.contains("95 % intervals"), "{}", figure.caption);
        let once = Summary::of(&[1.0]);
        assert_eq!(range(&once), None);
        assert_eq!(range(&Summary::of(&[1.0, 3.0])), Some([1.0, 3.0]));
    }

    #[test]
    fn a_line_of_percentiles_ends_where_one_operation_is_left() {
        let closed = samples::curve(Mode::Closed);
        let latency = closed.points[0].latency.as_ref().unwrap();
        let dots = distribution(latency);
        let last = dots.last().unwrap();
        assert!((last.x - 100.0 * (1.0 - 1.0 / latency.count as f64)).abs() < 1e-9 && last.y == latency.max);
        assert!(dots.windows(2).all(|w| w[0].x < w[1].x && w[0].y <= w[1].y), "{dots:?}");
        let figure = by_percentile(&closed).unwrap();
        assert_eq!(panels(&figure)[0].series.len(), closed.points.len().min(LINES));
    }

    #[test]
    fn of_a_search_each_rate_has_one_line_from_the_lowest_to_the_highest() {
        let curve = samples::curve(Mode::ZeroLoss);
        let figure = by_percentile(&curve).unwrap();
        let labels: Vec<&str> = panels(&figure)[0].series.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(
            (labels[0], *labels.last().unwrap()),
            ("512 k packets/s", "1.02 M packets/s"),
            "{labels:?}"
        );
        assert_eq!(labels.len(), 7, "of {} trials: {labels:?}", curve.points.len());
    }

    #[test]
    fn of_too_many_lines_some_are_left_out_and_that_is_said() {
        let mut curve = samples::curve(Mode::Closed);
        curve.points = (0..30).map(|i| Point { depth: Some(i + 1), ..curve.points[0].clone() }).collect();
        let figure = by_percentile(&curve).unwrap();
        let labels: Vec<&str> = panels(&figure)[0].series.iter().map(|s| s.label.as_str()).collect();
        assert_eq!((labels.len(), labels[0], labels[LINES - 1]), (LINES, "depth 1", "depth 30"));
        assert!(figure.caption.contains("18 of 30 are left out"), "{}", figure.caption);
    }

    #[test]
    fn what_is_no_number_is_not_drawn() {
        let mut curve = samples::curve(Mode::Open);
        curve.points[0].rate.median = f64::NAN;
        if let Some(latency) = &mut curve.points[1].latency {
            latency.p99.median = f64::INFINITY;
        }
        let figure = by_rate(&curve).unwrap();
        for panel in panels(&figure) {
            assert!(panel.x.ends.iter().chain(&panel.y.ends).all(|e| e.is_finite()));
            assert!(panel.series.iter().flat_map(|s| &s.dots).all(|d| d.x.is_finite() && d.y.is_finite()));
        }
    }
}
