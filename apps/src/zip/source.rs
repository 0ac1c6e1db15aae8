//! Compressed input: read ahead in pieces while the device has the piece before.

use std::fs::File;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warpdrive_mempool::Mempool;

use super::chain::{self, Chain};
use super::failure::Failure;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// Buffers that two pieces take.
pub(super) fn buffers() -> usize {
    2 * chain::buffers(PIECE)
}

/// Two pieces, for one file after the other.
pub(super) struct Pieces {
    current: Chain,
    next: Chain,
}

impl Pieces {
    pub(super) fn new(pool: &Mempool) -> Option<Self> {
        Some(Self { current: Chain::new(pool, PIECE)?, next: Chain::new(pool, PIECE)? })
    }
}

/// One input.
pub(super) struct Source<'a> {
    file: &'a File,
    pieces: &'a mut Pieces,
    /// Reading never has to wait for somebody: a file.
    ready: bool,
    /// Where the next byte is in the current piece.
    at: usize,
    /// Bytes before the current piece.
    before: u64,
    end: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a File, pieces: &'a mut Pieces) -> Self {
        pieces.current.clear();
        pieces.next.clear();
        let ready = file.metadata().is_ok_and(|data| data.is_file());
        Self { file, pieces, ready, at: 0, before: 0, end: false }
    }

    /// How many bytes were taken.
    pub(super) fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// The next byte, or `None` at the end.
    pub(super) fn byte(&mut self) -> Result<Option<u8>, Failure> {
        Ok(if self.fill()? {
            self.at += 1;
            Some(self.pieces.current.byte(self.at - 1))
        } else {
            None
        })
    }

    /// The next byte of something that must be there.
    pub(super) fn need(&mut self, what: &'static str) -> Result<u8, Failure> {
        self.byte()?.ok_or(Failure::Truncated { at: self.offset(), what })
    }

    /// Makes sure that the current piece has a byte that was not taken. `false` at the end.
    pub(super) fn fill(&mut self) -> Result<bool, Failure> {
        if self.at < self.pieces.current.len() {
            return Ok(true);
        }
        if self.pieces.next.len() == 0 {
            self.read()?;
        }
        std::mem::swap(&mut self.pieces.current, &mut self.pieces.next);
        self.pieces.next.clear();
        self.before += self.at as u64;
        self.at = 0;
        Ok(self.pieces.current.len() > 0)
    }

    /// The current piece, and what part of it was not taken.
    pub(super) fn current(&mut self) -> (&mut Chain, std::ops::Range<usize>) {
        let left = self.at..self.pieces.current.len();
        (&mut self.pieces.current, left)
    }

    /// So many bytes of the current piece were taken.
    pub(super) fn advance(&mut self, n: usize) {
        self.at += n;
    }

    /// Reads some of the next piece, if that can be done without waiting. Whether it was.
    pub(super) fn read_ahead(&mut self) -> Result<bool, Failure> {
        if self.end || self.pieces.next.is_full() || !(self.ready || self.has_input()) {
            return Ok(false);
        }
        self.read()?;
        Ok(true)
    }

    fn read(&mut self) -> Result<(), Failure> {
        let n = if self.end { 0 } else { self.pieces.next.read(&mut self.file).map_err(Failure::Read)? };
        self.end = n == 0;
        Ok(())
    }

    fn has_input(&self) -> bool {
        let mut wanted = [PollFd::new(self.file, PollFlags::IN)];
        // What poll cannot tell, read will.
        poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
    }
}
