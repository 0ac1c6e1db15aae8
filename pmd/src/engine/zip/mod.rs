//! ZIP: DEFLATE (RFC 1951) raw, or wrapped as zlib (RFC 1950) or gzip (RFC 1952), whole buffers at a time, on
//! libdeflate.

// The engine does not take it for level 1 yet.
#[cfg_attr(not(test), expect(dead_code))]
mod quick;

use libdeflater::{CompressionError, CompressionLvl, Compressor, DecompressionError, Decompressor};
use serde::Deserialize;

use super::{Engine, Job};
use crate::device::{SessionSpec, Status};

/// The wrapping of a DEFLATE stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZipFormat {
    /// None (RFC 1951).
    Deflate,
    /// zlib header and Adler-32 (RFC 1950).
    Zlib,
    /// gzip header and CRC-32 (RFC 1952).
    Gzip,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZipOp {
    /// Plain bytes to a stream.
    Compress,
    /// A stream to plain bytes.
    Decompress,
}

/// A prepared operation.
#[derive(Clone, Debug)]
pub struct ZipSession {
    op: ZipOp,
    format: ZipFormat,
    level: u8,
}

/// The highest compression level.
pub const MAX_LEVEL: u8 = 12;

impl ZipSession {
    /// `level` is 0 (stored) to [`MAX_LEVEL`] (smallest); it is ignored for decompression. `None` beyond.
    #[must_use]
    pub fn new(op: ZipOp, format: ZipFormat, level: u8) -> Option<Self> {
        (level <= MAX_LEVEL).then_some(Self { op, format, level })
    }
}

/// DEFLATE on libdeflate.
pub struct ZipEngine {
    /// One for each level, made when the level is first used: each has its own tables (up to 1 MiB).
    compressors: [Option<Compressor>; MAX_LEVEL as usize + 1],
    decompressor: Decompressor,
}

impl Engine for ZipEngine {
    type Session = ZipSession;
    type Options = ();
    /// About 100 us of small packets at level 1: how long a caller's core is kept at once.
    const BATCH: usize = 16;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "soft-zip";

    fn new((): &()) -> Self {
        Self { compressors: [const { None }; MAX_LEVEL as usize + 1], decompressor: Decompressor::new() }
    }

    fn session(spec: SessionSpec) -> Result<ZipSession, SessionSpec> {
        match spec {
            SessionSpec::Zip(session) => Ok(session),
            other => Err(other),
        }
    }

    fn run(&mut self, jobs: &mut [Job<'_, ZipSession>]) {
        for job in jobs {
            job.result = match job.session.op {
                ZipOp::Compress => self.compress(job),
                ZipOp::Decompress => self.decompress(job),
            };
        }
    }

    fn describe((): &()) -> (Vec<&'static str>, String) {
        (vec!["deflate", "zlib", "gzip"], "libdeflate, levels 0 to 12".to_owned())
    }
}

impl ZipEngine {
    fn compress(&mut self, job: &mut Job<'_, ZipSession>) -> Result<usize, Status> {
        let level = job.session.level;
        let compressor = self.compressors[usize::from(level)].get_or_insert_with(|| {
            // Cannot fail: the session checked the level.
            let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
            Compressor::new(level)
        });
        let done = match job.session.format {
            ZipFormat::Deflate => compressor.deflate_compress(job.src, job.dst),
            ZipFormat::Zlib => compressor.zlib_compress(job.src, job.dst),
            ZipFormat::Gzip => compressor.gzip_compress(job.src, job.dst),
        };
        done.map_err(|CompressionError::InsufficientSpace| {
            let n = job.src.len();
            let bound = match job.session.format {
                ZipFormat::Deflate => compressor.deflate_compress_bound(n),
                ZipFormat::Zlib => compressor.zlib_compress_bound(n),
                ZipFormat::Gzip => compressor.gzip_compress_bound(n),
            };
            Status::NoSpace { needed: bound as u32 }
        })
    }

    fn decompress(&mut self, job: &mut Job<'_, ZipSession>) -> Result<usize, Status> {
        let done = match job.session.format {
            ZipFormat::Deflate => self.decompressor.deflate_decompress(job.src, job.dst),
            ZipFormat::Zlib => self.decompressor.zlib_decompress(job.src, job.dst),
            ZipFormat::Gzip => self.decompressor.gzip_decompress(job.src, job.dst),
        };
        done.map_err(|e| match e {
            DecompressionError::BadData => Status::BadInput,
            DecompressionError::InsufficientSpace => Status::NoSpace { needed: 0 },
        })
    }
}
