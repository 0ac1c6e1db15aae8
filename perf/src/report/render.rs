//! Figures as SVG.

use maud::html;
use plotters::prelude::{DrawingBackend, IntoDrawingArea, SVGBackend};

use super::draw::{self, WIDTH};
use super::figure::Figure;
use super::theme::{UNIT, dark_rules};
use crate::BenchError;

/// As an element of a page, whose style has [`dark_rules`] for `.plot`.
///
/// # Errors
/// [`BenchError::Bug`].
pub fn element(figure: &Figure) -> Result<String, BenchError> {
    let inner = drawn(figure)?;
    let (width, height) = (WIDTH, draw::height(figure));
    let (title, desc) = (format!("{}-title", figure.stem), format!("{}-desc", figure.stem));
    let markup = html! {
        svg .plot role="img" aria-labelledby={ (title) " " (desc) } xmlns="http://www.w3.org/2000/svg"
            width=(width) height=(height) viewBox={ "0 0 " (width * UNIT) " " (height * UNIT) } {
            title id=(title) { (figure.title) }
            desc id=(desc) { (figure.caption) }
            (maud::PreEscaped(inner))
        }
    };
    Ok(markup.into_string())
}

/// As a file.
///
/// # Errors
/// [`BenchError::Bug`].
pub fn svg(figure: &Figure) -> Result<String, BenchError> {
    let element = element(figure)?;
    let style = html! { style { (maud::PreEscaped(dark_rules("svg"))) } }.into_string();
    let (open, rest) = element.split_once('>').unwrap_or((&element, ""));
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{open}>\n{style}{rest}\n"))
}

/// What is in the `svg` element.
fn drawn(figure: &Figure) -> Result<String, BenchError> {
    let mut text = String::new();
    let size = size(figure);
    paint(SVGBackend::with_string(&mut text, size), figure)?;
    let inner = text.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
    let (inner, _) = inner.ok_or_else(|| BenchError::Bug(format!("{}: no svg element", figure.stem)))?;
    Ok(inner.trim().to_owned())
}

/// How many units it is drawn on.
pub fn size(figure: &Figure) -> (u32, u32) {
    let [width, height] = [WIDTH, draw::height(figure)].map(|n| (n * UNIT).unsigned_abs());
    (width, height)
}

/// Draws a figure on a backend.
///
/// # Errors
/// [`BenchError::Bug`].
pub fn paint<DB: DrawingBackend>(backend: DB, figure: &Figure) -> Result<(), BenchError> {
    let root = backend.into_drawing_area();
    let done = draw::draw(&root, figure).and_then(|()| root.present());
    done.map_err(|e| BenchError::Bug(format!("{}: not drawn: {e}", figure.stem)))
}
