//! Figures as SVG and as PNG.

use maud::html;
use plotters::prelude::{BitMapBackend, DrawingBackend, IntoDrawingArea, SVGBackend};

use super::draw::{self, WIDTH};
use super::figure::Figure;
use super::theme::{UNIT, dark_rules};
use crate::BenchError;

/// Pixels of a PNG for one of a plot as it is shown.
const PNG_SCALE: i32 = 2;

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

/// As a PNG, in the light.
///
/// # Errors
/// [`BenchError::Bug`].
pub fn png(figure: &Figure) -> Result<Vec<u8>, BenchError> {
    let (width, height) = size(figure);
    let mut fine = vec![0; width as usize * height as usize * 3];
    paint(BitMapBackend::with_buffer(&mut fine, (width, height)), figure)?;
    let by = (UNIT / PNG_SCALE) as usize;
    let pixels = averaged(&fine, width as usize, by);
    let bug = |e: png::EncodingError| BenchError::Bug(format!("{}: PNG: {e}", figure.stem));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width / by as u32, height / by as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).map_err(bug)?;
    Ok(bytes)
}

fn size(figure: &Figure) -> (u32, u32) {
    let [width, height] = [WIDTH, draw::height(figure)].map(|n| (n * UNIT).unsigned_abs());
    (width, height)
}

fn paint<DB: DrawingBackend>(backend: DB, figure: &Figure) -> Result<(), BenchError> {
    let root = backend.into_drawing_area();
    let done = draw::draw(&root, figure).and_then(|()| root.present());
    done.map_err(|e| BenchError::Bug(format!("{}: not drawn: {e}", figure.stem)))
}

/// Of squares of `by` pixels each one that is their mean: edges become smooth.
fn averaged(fine: &[u8], width: usize, by: usize) -> Vec<u8> {
    let rows = fine.len() / 3 / width;
    let mut pixels = Vec::with_capacity(fine.len() / by / by);
    for y in (0..rows).step_by(by) {
        for x in (0..width).step_by(by) {
            for colour in 0..3 {
                let square = (0..by * by).map(|i| fine[((y + i / by) * width + x + i % by) * 3 + colour]);
                pixels.push((square.map(u32::from).sum::<u32>() / (by * by) as u32) as u8);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_become_pixels() {
        let row = [[0; 3], [100; 3], [8; 3], [8; 3]].concat();
        let fine = [row.clone(), row].concat();
        assert_eq!(averaged(&fine, 4, 2), [50, 50, 50, 8, 8, 8]);
    }
}
