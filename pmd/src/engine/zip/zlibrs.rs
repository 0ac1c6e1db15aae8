//! zlib-rs: streams in both directions, dictionaries, every window.

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

use super::back::{Deflater, Inflater, Step};
use crate::device::{Flush, Status};

pub(super) struct ZlibDeflater {
    zlib: Deflate,
    /// Whether it is in the midst of a stream.
    is_open: bool,
}

impl ZlibDeflater {
    pub(super) fn new(level: u8, window_bits: u8) -> Self {
        Self { zlib: Deflate::new(i32::from(level), false, window_bits), is_open: false }
    }

    /// Brings a stream to its end, for nobody: no more than a window is left of it. A reset of zlib-rs 0.6.8 in its midst
    /// forgets neither where in its buffer the output begins that is pending (it overruns later, which is a panic) nor
    /// that a block of level 1 is open (the next stream begins without one, and cannot be read).
    fn finish(&mut self) -> Result<(), Status> {
        let mut waste = [0; 1024];
        loop {
            let before = self.zlib.total_out();
            match self.zlib.compress(&[], &mut waste, DeflateFlush::Finish) {
                Ok(zlib_rs::Status::StreamEnd) => return Ok(()),
                Ok(_) if self.zlib.total_out() > before => {}
                _ => return Err(Status::EngineFailed),
            }
        }
    }
}

impl Deflater for ZlibDeflater {
    fn restart(&mut self, dictionary: &[u8]) -> Result<(), Status> {
        if std::mem::take(&mut self.is_open) {
            self.finish()?;
        }
        self.zlib.reset();
        if !dictionary.is_empty() {
            self.zlib.set_dictionary(dictionary).map_err(|_| Status::EngineFailed)?;
        }
        Ok(())
    }

    fn deflate(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Status> {
        let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
        let zlib = match flush {
            Flush::None => DeflateFlush::NoFlush,
            Flush::Sync => DeflateFlush::SyncFlush,
            Flush::Full => DeflateFlush::FullFlush,
            Flush::Finish => DeflateFlush::Finish,
        };
        // An error cannot be but by a bug: every sequence of calls is allowed.
        let status = self.zlib.compress(input, output, zlib).map_err(|_| Status::EngineFailed)?;
        self.is_open = status != zlib_rs::Status::StreamEnd;
        let consumed = (self.zlib.total_in() - before_in) as usize;
        let produced = (self.zlib.total_out() - before_out) as usize;
        let read = consumed == input.len();
        let done = match flush {
            Flush::None => read,
            // Room that is left says that nothing more was to be written.
            Flush::Sync | Flush::Full => read && produced < output.len(),
            Flush::Finish => status == zlib_rs::Status::StreamEnd,
        };
        Ok(Step { consumed, produced, done })
    }
}

pub(super) struct ZlibInflater(Inflate);

impl ZlibInflater {
    pub(super) fn new() -> Self {
        Self(Inflate::new(false, 15))
    }
}

impl Inflater for ZlibInflater {
    fn restart(&mut self) -> Result<(), Status> {
        self.0.reset(false);
        Ok(())
    }

    fn dictionary(&mut self, dictionary: &[u8]) -> Result<(), Status> {
        self.0.set_dictionary(dictionary).map(drop).map_err(|_| Status::EngineFailed)
    }

    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Status> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, InflateFlush::NoFlush).map_err(|_| Status::BadInput)?;
        let consumed = (self.0.total_in() - before_in) as usize;
        let produced = (self.0.total_out() - before_out) as usize;
        Ok(Step { consumed, produced, done: status == zlib_rs::Status::StreamEnd })
    }
}
