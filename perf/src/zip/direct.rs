//! libdeflate, called directly.

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::rig::bound;
use crate::BenchError;

/// Blocks that it compresses, each to a place of its own.
pub struct Direct<'a> {
    compressor: Compressor,
    blocks: &'a [&'a [u8]],
    out: Vec<Vec<u8>>,
    /// Bytes that came out of each.
    pub lens: Vec<usize>,
}

impl<'a> Direct<'a> {
    /// With a level from 0 to 12.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when there is no such level.
    pub fn new(level: u8, blocks: &'a [&'a [u8]]) -> Result<Self, BenchError> {
        let level = CompressionLvl::new(i32::from(level)).map_err(|_| failed("no such level"))?;
        let out = blocks.iter().map(|block| vec![0; bound(block.len())]).collect();
        Ok(Self { compressor: Compressor::new(level), blocks, out, lens: vec![0; blocks.len()] })
    }

    /// Compresses each block once. Returns how many bytes they have.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when it fails.
    pub fn pass(&mut self) -> Result<u64, BenchError> {
        let mut read = 0;
        for ((block, out), len) in self.blocks.iter().zip(&mut self.out).zip(&mut self.lens) {
            *len = self.compressor.deflate_compress(block, out).map_err(|e| failed(&e.to_string()))?;
            read += block.len() as u64;
        }
        Ok(read)
    }

    /// What came out, block by block.
    #[must_use]
    pub fn compressed(&self) -> Vec<&[u8]> {
        self.out.iter().zip(&self.lens).map(|(out, len)| &out[..*len]).collect()
    }

    /// How much of the input that is.
    #[must_use]
    pub fn part(&self) -> f64 {
        let all: usize = self.blocks.iter().map(|block| block.len()).sum();
        self.lens.iter().sum::<usize>() as f64 / all as f64
    }
}

/// Blocks that it decompresses.
pub struct Inverse<'a> {
    decompressor: Decompressor,
    blocks: &'a [&'a [u8]],
    out: Vec<Vec<u8>>,
}

impl<'a> Inverse<'a> {
    /// With the length of each when it is decompressed.
    #[must_use]
    pub fn new(blocks: &'a [&'a [u8]], lens: &[usize]) -> Self {
        let out = lens.iter().map(|len| vec![0; *len]).collect();
        Self { decompressor: Decompressor::new(), blocks, out }
    }

    /// Decompresses each block once. Returns how many bytes came out.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when it fails.
    pub fn pass(&mut self) -> Result<u64, BenchError> {
        let mut written = 0;
        for (block, out) in self.blocks.iter().zip(&mut self.out) {
            let n = self.decompressor.deflate_decompress(block, out).map_err(|e| failed(&e.to_string()))?;
            written += n as u64;
        }
        Ok(written)
    }
}

/// Whether a raw stream is that of these bytes.
#[must_use]
pub fn is_of(stream: &[u8], bytes: &[u8]) -> bool {
    let mut out = vec![0; bytes.len()];
    Decompressor::new().deflate_decompress(stream, &mut out) == Ok(bytes.len()) && out == bytes
}

fn failed(what: &str) -> BenchError {
    BenchError::Bug(format!("libdeflate: {what}"))
}
