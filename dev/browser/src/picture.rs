//! What can be seen.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A picture, pixel by pixel.
pub struct Picture {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG of eight bits a sample with red, green and blue; how far one sees through is left out.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut reader = png::Decoder::new(BufReader::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let png::OutputInfo { width, height, color_type, bit_depth, .. } =
            reader.next_frame(&mut bytes).unwrap();
        assert_eq!(bit_depth, png::BitDepth::Eight, "{}", path.display());
        assert!(color_type.samples() >= 3, "{}: {color_type:?}", path.display());
        let pixels: Vec<_> = bytes.chunks_exact(color_type.samples()).map(|p| [p[0], p[1], p[2]]).collect();
        assert_eq!(pixels.len(), (width * height) as usize, "{}: it is not whole", path.display());
        Self { width, height, pixels }
    }

    /// The colour at a place, from the upper left.
    #[must_use]
    pub fn at(&self, x: u32, y: u32) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "({x}, {y}) of {} x {}", self.width, self.height);
        self.pixels[(y * self.width + x) as usize]
    }

    /// All colours in it.
    #[must_use]
    pub fn colours(&self) -> BTreeSet<[u8; 3]> {
        self.pixels.iter().copied().collect()
    }
}
