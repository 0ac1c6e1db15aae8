//! Draws figures, on whatever plotters draws on.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, Cross, PathElement, Rectangle, TriangleMarker};
use plotters::prelude::{ChartBuilder, DrawingBackend, LabelAreaPosition};
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::bars;
use super::figure::{Body, Dot, Figure, Guide, Marker, Panel, Series};
use super::legend::{self, Sample};
use super::theme::{FAINT, GRID, Ink, MUTED, PAPER, RED, TEXT, UNIT, width, wrapped};

/// Width of all plots, in pixels as they are shown.
pub const WIDTH: i32 = 640;
/// Letters of labels.
pub const LABEL: i32 = 15;
/// Letters of titles.
const TITLE: i32 = 18;
/// From line to line of a title.
const TITLE_LINE: i32 = 20;
/// Around all.
pub const MARGIN: i32 = 10;
/// A panel, without its axis and legend.
const PANEL: i32 = 220;
/// An axis below, with labels and what it counts.
pub const AXIS_BELOW: i32 = 46;
/// Half of the last label across is beyond the panel.
pub const BEYOND: i32 = 34;
/// Marks at labels.
const TICK: i32 = 4;
/// Half of a marker.
const MARK: i32 = 3;
/// At least so much is between two labels across.
const APART: i32 = 8;

/// Where it is drawn.
pub type Area<DB> = DrawingArea<DB, Shift>;
/// What came of it.
pub type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// How high a figure is, in pixels as it is shown.
#[must_use]
pub fn height(figure: &Figure) -> i32 {
    let below = match &figure.body {
        Body::Panels(panels) => {
            panels.iter().map(|p| legend::height(&samples(p)) + PANEL + AXIS_BELOW + MARGIN).sum()
        }
        Body::Bars(bars) => bars::height(bars),
    };
    title(figure).len() as i32 * TITLE_LINE + 2 * MARGIN + below
}

/// Draws a figure on an area of [`WIDTH`] times [`height`], each times [`UNIT`].
///
/// # Errors
/// What the backend's are.
pub fn draw<DB: DrawingBackend>(root: &Area<DB>, figure: &Figure) -> Drawn<DB> {
    root.fill(&PAPER.color())?;
    let mut top = MARGIN;
    for line in title(figure) {
        root.draw_text(&line, &TEXT.text(TITLE, HPos::Left, VPos::Top), (MARGIN * UNIT, top * UNIT))?;
        top += TITLE_LINE;
    }
    match &figure.body {
        Body::Panels(panels) => {
            let left = left_of(panels);
            for one in panels {
                top = legend::draw(root, &samples(one), top)?;
                panel(root, one, left, top)?;
                top += PANEL + AXIS_BELOW + MARGIN;
            }
            Ok(())
        }
        Body::Bars(of) => bars::draw(root, of, top),
    }
}

fn title(figure: &Figure) -> Vec<String> {
    wrapped(&figure.title, TITLE, (WIDTH - 2 * MARGIN) * UNIT)
}

/// What a panel's legend says; nothing of a single series without a name.
fn samples(panel: &Panel) -> Vec<(Sample, String)> {
    let mut samples: Vec<_> = panel
        .series
        .iter()
        .map(|s| (Sample::Series { ink: s.ink, line: s.line, marker: s.marker }, s.label.clone()))
        .collect();
    samples.extend(panel.guides.iter().map(|g| (Sample::Guide(g.ink), g.label.clone())));
    if panel.series.iter().flat_map(|s| &s.dots).any(|d| d.lossy) {
        samples.push((Sample::Lossy, "with losses".to_owned()));
    }
    samples.retain(|(_, label)| !label.is_empty());
    samples
}

/// Room for the labels of the axes upwards, so that those of all panels are in line.
fn left_of(panels: &[Panel]) -> i32 {
    let labels = panels.iter().flat_map(|p| &p.y.ticks).map(|(_, label)| width(label, LABEL));
    labels.max().unwrap_or(0) / UNIT + LABEL + 2 * TICK + 8
}

/// A panel whose upper edge is at `top`.
fn panel<DB: DrawingBackend>(root: &Area<DB>, panel: &Panel, left: i32, top: i32) -> Drawn<DB> {
    let at = |n: i32| n * UNIT;
    let area = root.clone().shrink((at(MARGIN), at(top)), (at(WIDTH - MARGIN), at(PANEL + AXIS_BELOW)));
    let Panel { x, y, .. } = panel;
    let room = at(WIDTH - MARGIN - left - BEYOND);
    let mut chart = ChartBuilder::on(&area)
        .margin_right(at(BEYOND))
        .margin_top(at(LABEL / 2))
        .set_label_area_size(LabelAreaPosition::Left, at(left))
        .set_label_area_size(LabelAreaPosition::Bottom, at(AXIS_BELOW - 2))
        .build_cartesian_2d(x.with_ticks(thinned(x, room)), y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.line(10))
        .light_line_style(FAINT.line(10))
        .axis_style(MUTED.line(10))
        .set_all_tick_mark_size(at(TICK))
        .label_style(MUTED.text(LABEL, HPos::Center, VPos::Center))
        .axis_desc_style(TEXT.text(LABEL, HPos::Center, VPos::Center))
        .x_desc(x.label.as_str())
        .y_desc(y.label.as_str())
        .draw()?;
    let place = |x_value: f64, y_value: f64| chart.backend_coord(&(x.place(x_value), y.place(y_value)));
    for guide in &panel.guides {
        dashed(root, guide, &place)?;
    }
    for series in &panel.series {
        self::series(root, series, &place)?;
    }
    Ok(())
}

/// Those labels of an axis across that have room, the first and the last among them.
pub fn thinned(axis: &Axis, room: i32) -> Vec<(f64, String)> {
    let per_place = f64::from(room) / (axis.ends[1] - axis.ends[0]);
    let extent = |(place, label): &(f64, String)| {
        let (middle, half) = ((place - axis.ends[0]) * per_place, f64::from(width(label, LABEL)) / 2.0);
        [middle - half, middle + half]
    };
    let apart = f64::from(APART * UNIT);
    let Some((last, others)) = axis.ticks.split_last() else { return vec![] };
    let mut kept: Vec<(f64, String)> = Vec::new();
    let mut end = f64::NEG_INFINITY;
    for tick in others {
        let [from, to] = extent(tick);
        if from >= end + apart && to + apart <= extent(last)[0] {
            kept.push(tick.clone());
            end = to;
        }
    }
    kept.push(last.clone());
    kept
}

fn dashed<DB: DrawingBackend>(
    root: &Area<DB>,
    guide: &Guide,
    place: &dyn Fn(f64, f64) -> (i32, i32),
) -> Drawn<DB> {
    let [from, to] = guide.ends.map(|(x, y)| place(x, y));
    dashes(root, guide.ink, from, to)
}

/// A dashed line.
pub fn dashes<DB: DrawingBackend>(root: &Area<DB>, ink: Ink, from: (i32, i32), to: (i32, i32)) -> Drawn<DB> {
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let (length, dash) = (dx.hypot(dy), f64::from(5 * UNIT));
    let at = |along: f64| {
        let part = (along / length.max(1.0)).min(1.0);
        (from.0 + (dx * part).round() as i32, from.1 + (dy * part).round() as i32)
    };
    for i in 0..(length / dash / 2.0).ceil() as usize {
        let start = i as f64 * dash * 2.0;
        root.draw(&PathElement::new(vec![at(start), at(start + dash)], ink.line(15)))?;
    }
    Ok(())
}

fn series<DB: DrawingBackend>(
    root: &Area<DB>,
    series: &Series,
    place: &dyn Fn(f64, f64) -> (i32, i32),
) -> Drawn<DB> {
    let places: Vec<(i32, i32)> = series.dots.iter().map(|d| place(d.x, d.y)).collect();
    if series.line && places.len() > 1 {
        root.draw(&PathElement::new(places.clone(), series.ink.line(18)))?;
    }
    for (Dot { x, range, lossy, .. }, at) in series.dots.iter().zip(&places) {
        if let Some([low, high]) = range.filter(|r| r.iter().all(|v| v.is_finite())) {
            whisker(root, series.ink, [place(*x, low), place(*x, high)])?;
        }
        // One point makes no line.
        let marker = series.marker.or((places.len() == 1).then_some(Marker::Circle));
        if let Some(marker) = marker {
            mark(root, marker, series.ink, *at)?;
        }
        if *lossy {
            ring(root, *at)?;
        }
    }
    Ok(())
}

/// A line with a short one across each end.
pub fn whisker<DB: DrawingBackend>(root: &Area<DB>, ink: Ink, [from, to]: [(i32, i32); 2]) -> Drawn<DB> {
    let (across, along) = if from.0 == to.0 { (MARK * UNIT, 0) } else { (0, MARK * UNIT) };
    let line = ink.line(12);
    for ends in [
        [from, to],
        [(from.0 - across, from.1 - along), (from.0 + across, from.1 + along)],
        [(to.0 - across, to.1 - along), (to.0 + across, to.1 + along)],
    ] {
        root.draw(&PathElement::new(ends.to_vec(), line))?;
    }
    Ok(())
}

/// What is at a point.
pub fn mark<DB: DrawingBackend>(root: &Area<DB>, marker: Marker, ink: Ink, at: (i32, i32)) -> Drawn<DB> {
    let size = MARK * UNIT;
    match marker {
        Marker::Circle => root.draw(&Circle::new(at, size, ink.fill())),
        Marker::Triangle => root.draw(&TriangleMarker::new(at, size * 4 / 3, ink.fill())),
        Marker::Square => {
            root.draw(&Rectangle::new([(at.0 - size, at.1 - size), (at.0 + size, at.1 + size)], ink.fill()))
        }
        Marker::Cross => root.draw(&Cross::new(at, size, ink.line(20))),
    }
}

/// Around a point with losses.
pub fn ring<DB: DrawingBackend>(root: &Area<DB>, at: (i32, i32)) -> Drawn<DB> {
    root.draw(&Circle::new(at, 6 * UNIT, RED.line(15)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_overlap_are_left_out() {
        let axis = Axis::of_each("depth", (100..150).map(f64::from)).unwrap();
        let room = 500 * UNIT;
        let kept = thinned(&axis, room);
        assert!((4..20).contains(&kept.len()), "{kept:?}");
        assert_eq!(kept.last(), axis.ticks.last());
        let per_place = f64::from(room) / (axis.ends[1] - axis.ends[0]);
        for pair in kept.windows(2) {
            let distance = (pair[1].0 - pair[0].0) * per_place;
            assert!(distance >= f64::from(width("149", LABEL)), "{pair:?}");
        }
        let few = Axis::of_each("depth", [1.0, 8.0]).unwrap();
        assert_eq!(thinned(&few, room), few.ticks);
    }
}
