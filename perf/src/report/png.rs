//! Figures as PNG.

use plotters::prelude::BitMapBackend;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};

use super::figure::Figure;
use super::render::{paint, size};
use super::theme::UNIT;
use crate::BenchError;

/// Pixels for one of a plot as it is shown.
const SCALE: i32 = 2;

/// As a PNG, in the light.
///
/// # Errors
/// [`BenchError::Bug`].
pub fn png(figure: &Figure) -> Result<Vec<u8>, BenchError> {
    let (width, height) = size(figure);
    let mut fine = vec![0; width as usize * height as usize * 3];
    paint(Lowered(BitMapBackend::with_buffer(&mut fine, (width, height))), figure)?;
    let by = (UNIT / SCALE) as usize;
    let pixels = averaged(&fine, width as usize, by);
    let bug = |e: ::png::EncodingError| BenchError::Bug(format!("{}: PNG: {e}", figure.stem));
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, width / by as u32, height / by as u32);
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).map_err(bug)?;
    Ok(bytes)
}

/// A backend that puts letters where the SVG backend puts them: bitmap ones have them a little above.
struct Lowered<B>(B);

/// By how much, as a part of the size of letters: where a base line is from the anchor in the one and in the other.
const LOWERED: f64 = 0.11;

/// What came of it.
type Painted<B> = Result<(), DrawingErrorKind<<B as DrawingBackend>::ErrorType>>;

impl<B: DrawingBackend> DrawingBackend for Lowered<B> {
    type ErrorType = B::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Painted<B> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Painted<B> {
        self.0.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Painted<B> {
        self.0.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Painted<B> {
        self.0.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Painted<B> {
        self.0.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Painted<B> {
        let by = (style.size() * LOWERED).round() as i32;
        let at = match style.transform() {
            FontTransform::None => (x, y + by),
            FontTransform::Rotate90 => (x - by, y),
            FontTransform::Rotate180 => (x, y - by),
            FontTransform::Rotate270 => (x + by, y),
        };
        self.0.draw_text(text, style, at)
    }
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
