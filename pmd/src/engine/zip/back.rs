//! What the back ends have in common. All of them do raw DEFLATE; wrapping is done around them.

#[cfg(feature = "isal")]
use super::isal::{IsalDeflater, IsalInflater};
use super::quick_stream::QuickDeflater;
use super::session::BackEnd;
use super::zlibrs::{ZlibDeflater, ZlibInflater};
use crate::device::{Flush, Status};

/// How far a call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes read.
    pub(super) consumed: usize,
    /// Bytes written.
    pub(super) produced: usize,
    /// Compressing: all input is read and the flush complete. Decompressing: the stream has ended.
    pub(super) done: bool,
}

/// A compressor of streams.
pub(super) trait Deflater: Send {
    /// Begins a new stream, as if the dictionary had gone before it.
    fn restart(&mut self, dictionary: &[u8]) -> Result<(), Status>;

    /// Reads from `input` and writes to `output`, as far as either goes.
    fn deflate(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Status>;
}

/// A decompressor of streams.
pub(super) trait Inflater: Send {
    /// Begins a new stream.
    fn restart(&mut self) -> Result<(), Status>;

    /// What went before the stream: after [`restart`](Self::restart), before anything else.
    fn dictionary(&mut self, dictionary: &[u8]) -> Result<(), Status>;

    /// Reads from `input` and writes to `output`, as far as either goes.
    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Status>;
}

/// A compressor of a back end that has streams.
pub(super) fn deflater(back_end: BackEnd, level: u8, window_bits: u8) -> Box<dyn Deflater> {
    match back_end {
        #[cfg(feature = "isal")]
        BackEnd::Isal => Box::new(IsalDeflater::new(level, window_bits)),
        BackEnd::Quick => Box::new(QuickDeflater::new(window_bits)),
        _ => Box::new(ZlibDeflater::new(level, window_bits)),
    }
}

/// A decompressor of a back end that has streams.
pub(super) fn inflater(back_end: BackEnd) -> Box<dyn Inflater> {
    match back_end {
        #[cfg(feature = "isal")]
        BackEnd::Isal => Box::new(IsalInflater::new()),
        _ => Box::new(ZlibInflater::new()),
    }
}
