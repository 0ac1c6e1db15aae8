//! Input and output in pieces, taken one after the other.

use crate::engine::{Gather, Job, Scatter};

/// What is still to be read.
pub(super) struct Input<'a> {
    piece: &'a [u8],
    rest: Gather<'a>,
    pub(super) consumed: usize,
}

impl<'a> Input<'a> {
    /// The bytes at hand: none only when there are no more.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        while self.piece.is_empty() {
            match self.rest.take_first() {
                Some(next) => self.piece = next,
                None => break,
            }
        }
        self.piece
    }

    /// Whether there is nothing behind the bytes at hand.
    pub(super) fn is_last(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.piece = &self.piece[n..];
        self.consumed += n;
    }
}

/// What is still to be written.
pub(super) struct Output<'a> {
    piece: &'a mut [u8],
    rest: Scatter<'a>,
    pub(super) produced: usize,
}

impl Output<'_> {
    /// The room at hand: none only when there is no more.
    pub(super) fn room(&mut self) -> &mut [u8] {
        while self.piece.is_empty() {
            match self.rest.take_first() {
                Some(next) => self.piece = next,
                None => break,
            }
        }
        self.piece
    }

    pub(super) fn is_full(&mut self) -> bool {
        self.room().is_empty()
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.piece = &mut std::mem::take(&mut self.piece)[n..];
        self.produced += n;
    }

    /// Writes as many of `bytes` as there is room for.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> usize {
        let before = self.produced;
        while !bytes.is_empty() {
            let room = self.room();
            let n = room.len().min(bytes.len());
            if n == 0 {
                break;
            }
            room[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.advance(n);
        }
        self.produced - before
    }
}

/// Both of a job, which has neither any longer.
pub(super) fn of<'a, S, T>(job: &mut Job<'a, S, T>) -> (Input<'a>, Output<'a>) {
    let input = Input { piece: job.src, rest: job.src_rest, consumed: 0 };
    let output =
        Output { piece: std::mem::take(&mut job.dst), rest: std::mem::take(&mut job.dst_rest), produced: 0 };
    (input, output)
}
