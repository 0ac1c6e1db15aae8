//! ZIP: DEFLATE (RFC 1951) raw, or wrapped as zlib (RFC 1950) or gzip (RFC 1952).
//!
//! A request stands alone, or continues a [stream](crate::device::Stream). What computes differs: [`BackEnd`]. The
//! wrapping, checksums, dictionaries' names and limits are the same for all of them, and around them.

use warpdrive_mempool::prefetch_bytes;

use super::{Engine, Job, Waiting};
use crate::device::SessionSpec;

mod back;
mod checksum;
mod cursor;
pub mod frame;
#[cfg(feature = "isal")]
mod isal;
mod join;
mod libdeflate;
mod probe;
mod quick;
mod quick_stream;
mod session;
mod stored;
mod stream;
mod whole;
mod zlibrs;

pub use self::checksum::Checksum;
pub use self::session::{
    BackEnd, HAS_ISAL, Limits, MAX_DICTIONARY, MAX_LEVEL, MAX_STREAM_LEVEL, WINDOW_BITS, ZipConfig, ZipError,
    ZipFormat, ZipOp, ZipSession,
};
pub use self::stream::ZipStream;

/// DEFLATE.
pub struct ZipEngine {
    whole: whole::Whole,
}

/// Bytes of input after which no more requests are added to a batch: about 0.2 ms at level 1, for which nobody else has
/// the core.
const BATCH_BYTES: usize = 64 << 10;

/// Bytes of the next request that are brought near while this one is done. After so many the cpu sees where it goes.
const NEAR: usize = 1 << 10;

impl Engine for ZipEngine {
    type Session = ZipSession;
    type Stream = ZipStream;
    type Options = ();
    /// About 100 us of small packets at level 1: how long a caller's core is kept at once.
    const BATCH: usize = 16;
    const CHAINS: bool = true;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "soft-zip";

    fn new((): &()) -> Self {
        Self { whole: whole::Whole::new() }
    }

    fn session(spec: SessionSpec) -> Result<ZipSession, SessionSpec> {
        match spec {
            SessionSpec::Zip(session) => Ok(session),
            other => Err(other),
        }
    }

    fn stream(session: &ZipSession) -> Result<ZipStream, String> {
        ZipStream::new(session)
    }

    fn choose(&mut self, waiting: &Waiting<'_, ZipSession>) -> u64 {
        let mut bytes = 0;
        let few = (0..waiting.len().min(Self::BATCH)).take_while(|i| {
            let before = bytes;
            bytes += waiting.src_len(*i);
            before < BATCH_BYTES
        });
        waiting.oldest(few.count())
    }

    fn run(&mut self, jobs: &mut [Job<'_, ZipSession, ZipStream>]) {
        for i in 0..jobs.len() {
            if let Some(next) = jobs.get(i + 1) {
                prefetch_bytes(next.src, NEAR);
                prefetch_bytes(next.dst, NEAR);
            }
            let job = &mut jobs[i];
            job.result = match job.stream {
                Some(_) => ZipStream::run(job),
                None => self.whole.run(job),
            };
        }
    }

    fn describe((): &()) -> (Vec<&'static str>, String) {
        let fastest = if HAS_ISAL { "ISA-L" } else { "our own quick encoder" };
        let implementation = format!(
            "level 1: {fastest}; whole buffers: libdeflate, levels 0 to 12; streams and dictionaries: zlib-rs, levels 0 to 9"
        );
        (vec!["deflate", "zlib", "gzip"], implementation)
    }
}
