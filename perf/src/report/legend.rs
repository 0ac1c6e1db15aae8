//! What colours and shapes mean, in rows above a plot.

use plotters::element::{PathElement, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};

use super::draw::{Area, Drawn, LABEL, MARGIN, WIDTH, dashes, mark, ring};
use super::figure::Marker;
use super::theme::{Ink, TEXT, UNIT, width};

/// From row to row.
const ROW: i32 = 19;
/// A sample.
const SAMPLE: i32 = 22;
/// Between a sample and its label.
const GAP: i32 = 6;
/// Between two entries.
const APART: i32 = 16;

/// What is explained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// Lines and points.
    Series {
        /// Their colour.
        ink: Ink,
        /// Whether there is a line.
        line: bool,
        /// What is at points.
        marker: Option<Marker>,
    },
    /// A bar.
    Bar(Ink),
    /// A dashed line.
    Guide(Ink),
    /// The mark of losses.
    Lossy,
}

/// How high the rows are.
#[must_use]
pub fn height(entries: &[(Sample, String)]) -> i32 {
    rows(entries).last().map_or(0, |(row, _)| (row + 1) * ROW + 2)
}

/// The row of each entry, and where in it that begins.
fn rows(entries: &[(Sample, String)]) -> Vec<(i32, i32)> {
    let (mut row, mut x) = (0, MARGIN);
    entries
        .iter()
        .map(|(_, label)| {
            let needed = SAMPLE + GAP + width(label, LABEL) / UNIT;
            if x > MARGIN && x + needed > WIDTH - MARGIN {
                (row, x) = (row + 1, MARGIN);
            }
            let at = (row, x);
            x += needed + APART;
            at
        })
        .collect()
}

/// Draws the rows from `top` on. Returns where they end.
pub fn draw<DB: DrawingBackend>(
    root: &Area<DB>,
    entries: &[(Sample, String)],
    top: i32,
) -> Result<i32, plotters::drawing::DrawingAreaErrorKind<DB::ErrorType>> {
    for ((sample, label), (row, x)) in entries.iter().zip(rows(entries)) {
        let middle = (top + row * ROW + ROW / 2) * UNIT;
        draw_sample(root, *sample, (x * UNIT, middle))?;
        let style = TEXT.text(LABEL, HPos::Left, VPos::Center);
        root.draw_text(label, &style, ((x + SAMPLE + GAP) * UNIT, middle))?;
    }
    Ok(top + height(entries))
}

fn draw_sample<DB: DrawingBackend>(root: &Area<DB>, sample: Sample, (x, y): (i32, i32)) -> Drawn<DB> {
    let (end, middle) = (x + SAMPLE * UNIT, x + SAMPLE * UNIT / 2);
    match sample {
        Sample::Series { ink, line, marker } => {
            if line {
                root.draw(&PathElement::new(vec![(x, y), (end, y)], ink.line(18)))?;
            }
            marker.map_or(Ok(()), |marker| mark(root, marker, ink, (middle, y)))
        }
        Sample::Bar(ink) => {
            let half = 5 * UNIT;
            root.draw(&Rectangle::new([(end - 14 * UNIT, y - half), (end, y + half)], ink.fill()))
        }
        Sample::Guide(ink) => dashes(root, ink, (x, y), (end, y)),
        Sample::Lossy => ring(root, (middle, y)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::theme::MUTED;
    use super::*;

    #[test]
    fn what_has_no_room_in_a_row_is_in_the_next() {
        let entry = |label: &str| (Sample::Guide(MUTED), label.to_owned());
        assert_eq!(height(&[]), 0);
        let two = [entry("a"), entry("b")];
        assert_eq!(rows(&two)[0], (0, MARGIN));
        assert!(rows(&two)[1].0 == 0 && rows(&two)[1].1 > MARGIN + SAMPLE);
        let many = vec![entry("depth 1024"); 12];
        let placed = rows(&many);
        assert!(placed.last().unwrap().0 >= 1 && height(&many) > height(&two));
        assert!(
            placed
                .iter()
                .all(|(_, x)| x + SAMPLE + GAP + width("depth 1024", LABEL) / UNIT <= WIDTH - MARGIN)
        );
    }
}
