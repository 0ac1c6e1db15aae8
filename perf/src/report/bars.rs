//! Horizontal bars.

use plotters::element::{PathElement, Rectangle};
use plotters::prelude::{ChartBuilder, DrawingBackend, LabelAreaPosition};
use plotters::style::text_anchor::{HPos, VPos};

use super::draw::{AXIS_BELOW, Area, Drawn, LABEL, MARGIN, WIDTH, thinned, whisker};
use super::figure::{Bar, Bars, Row};
use super::legend::{self, Sample};
use super::theme::{FAINT, GRID, MUTED, TEXT, UNIT, width, wrapped};

/// From bar to bar of one row.
const BAR: i32 = 15;
/// From row to row, besides the bars.
const BETWEEN: i32 = 6;
/// What rows have in common, above them.
const HEAD: i32 = 24;
/// From line to line of a label.
const LINE: i32 = 15;
/// The most that labels take.
const MOST: i32 = 230;
/// Between labels, bars and words.
const GAP: i32 = 8;

/// How high they are, with all that belongs to them.
#[must_use]
pub fn height(bars: &Bars) -> i32 {
    let rows: i32 = bars.rows.iter().map(row_height).sum();
    legend::height(&samples(bars)) + rows + AXIS_BELOW + MARGIN
}

fn row_height(row: &Row) -> i32 {
    match row {
        Row::Head(_) => HEAD,
        Row::Of(label, bars) => (lines(label).len() as i32 * LINE).max(bars.len() as i32 * BAR) + BETWEEN,
    }
}

fn lines(label: &str) -> Vec<String> {
    wrapped(label, LABEL, MOST * UNIT)
}

fn samples(bars: &Bars) -> Vec<(Sample, String)> {
    bars.legend.iter().map(|(ink, label)| (Sample::Bar(*ink), label.clone())).collect()
}

/// Draws them from `top` on.
pub fn draw<DB: DrawingBackend>(root: &Area<DB>, bars: &Bars, top: i32) -> Drawn<DB> {
    let top = legend::draw(root, &samples(bars), top)?;
    let at = |n: i32| n * UNIT;
    let (left, right) = (labels_width(bars), words_width(bars));
    let rows: i32 = bars.rows.iter().map(row_height).sum();
    let area = root.clone().shrink((at(MARGIN), at(top)), (at(WIDTH - MARGIN), at(rows + AXIS_BELOW)));
    let axis = &bars.axis;
    let ticks = thinned(axis, at(WIDTH - 2 * MARGIN - left - right));
    let mut chart = ChartBuilder::on(&area)
        .margin_right(at(right + MARGIN))
        .set_label_area_size(LabelAreaPosition::Left, at(left))
        .set_label_area_size(LabelAreaPosition::Bottom, at(AXIS_BELOW - 2))
        .build_cartesian_2d(axis.with_ticks(ticks), 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .bold_line_style(GRID.line(10))
        .light_line_style(FAINT.line(10))
        .axis_style(MUTED.line(10))
        .set_all_tick_mark_size(at(4))
        .label_style(MUTED.text(LABEL, HPos::Center, VPos::Center))
        .axis_desc_style(TEXT.text(LABEL, HPos::Center, VPos::Center))
        .x_desc(axis.label.as_str())
        .draw()?;
    let across = |value: f64| chart.backend_coord(&(axis.place(value), 0.0)).0;
    let mut y = top;
    for row in &bars.rows {
        let middle = at(y) + at(row_height(row)) / 2;
        draw_row(root, row, bars.from, &across, (at(MARGIN + left), middle))?;
        y += row_height(row);
    }
    let from = across(bars.from);
    root.draw(&PathElement::new(vec![(from, at(top)), (from, at(y))], TEXT.line(10)))
}

/// Room for the labels of rows.
fn labels_width(bars: &Bars) -> i32 {
    let labels = bars.rows.iter().filter_map(|row| match row {
        Row::Of(label, _) => lines(label).iter().map(|line| width(line, LABEL)).max(),
        Row::Head(_) => None,
    });
    labels.max().unwrap_or(0) / UNIT + GAP
}

/// Room for the words after bars.
fn words_width(bars: &Bars) -> i32 {
    let words = bars.rows.iter().flat_map(|row| match row {
        Row::Of(_, bars) => bars.as_slice(),
        Row::Head(_) => &[],
    });
    words.map(|bar| width(&bar.text, LABEL)).max().unwrap_or(0) / UNIT + GAP
}

fn draw_row<DB: DrawingBackend>(
    root: &Area<DB>,
    row: &Row,
    from: f64,
    across: &dyn Fn(f64) -> i32,
    (left, middle): (i32, i32),
) -> Drawn<DB> {
    let (label, bars) = match row {
        Row::Head(head) => {
            let style = TEXT.text(LABEL + 1, HPos::Left, VPos::Center);
            return root.draw_text(head, &style, (MARGIN * UNIT, middle + 2 * UNIT));
        }
        Row::Of(label, bars) => (lines(label), bars),
    };
    let first = middle - (label.len() as i32 - 1) * LINE * UNIT / 2;
    for (i, line) in label.iter().enumerate() {
        let at = (left - GAP * UNIT, first + i as i32 * LINE * UNIT);
        root.draw_text(line, &TEXT.text(LABEL, HPos::Right, VPos::Center), at)?;
    }
    let first = middle - (bars.len() as i32 - 1) * BAR * UNIT / 2;
    for (i, bar) in bars.iter().enumerate() {
        draw_bar(root, bar, across(from), across, first + i as i32 * BAR * UNIT)?;
    }
    Ok(())
}

fn draw_bar<DB: DrawingBackend>(
    root: &Area<DB>,
    bar: &Bar,
    from: i32,
    across: &dyn Fn(f64) -> i32,
    y: i32,
) -> Drawn<DB> {
    let half = (BAR - 3) * UNIT / 2;
    let to = across(bar.to);
    // Backends want the left end first; what is too short is seen all the same.
    let (start, end) = (from.min(to), from.max(to).max(from.min(to) + UNIT));
    root.draw(&Rectangle::new([(start, y - half), (end, y + half)], bar.ink.fill()))?;
    if let Some([low, high]) = bar.range.filter(|r| r.iter().all(|v| v.is_finite())) {
        whisker(root, TEXT, [(across(low), y), (across(high), y)])?;
    }
    let style = MUTED.text(LABEL, HPos::Right, VPos::Center);
    root.draw_text(&bar.text, &style, ((WIDTH - MARGIN) * UNIT, y))
}
