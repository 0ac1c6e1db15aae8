//! Streams of the quick encoder: input is gathered into blocks, with the window before them.

use super::back::{Deflater, Step};
use super::quick::{Carry, End, Past, Quick};
use crate::device::{Flush, Status};

/// What may be referred to.
const HISTORY: usize = 32 << 10;
/// Input that is encoded at a time, unless a flush comes before: as much as has statistics of its own.
const BLOCK: usize = 64 << 10;

pub(super) struct QuickDeflater {
    quick: Quick,
    window: usize,
    /// What was encoded and may be referred to, then what is not encoded yet. Its memory is never moved.
    input: Vec<u8>,
    /// How many bytes of `input` are encoded.
    start: usize,
    /// Whether the encoder knows what is encoded: not after a beginning or a full flush.
    is_known: bool,
    carry: Carry,
    /// What is encoded and not out yet.
    output: Box<[u8]>,
    written: usize,
    len: usize,
    /// What the output ends with.
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Blocks that more must follow.
    Open,
    /// A byte, with all input before it: nothing is to be flushed.
    Flushed,
    Finished,
}

impl QuickDeflater {
    pub(super) fn new(window_bits: u8) -> Self {
        Self {
            quick: Quick::new(),
            window: 1 << window_bits,
            input: Vec::with_capacity(HISTORY + BLOCK),
            start: 0,
            is_known: false,
            carry: Carry::default(),
            output: vec![0; Quick::bound(BLOCK)].into(),
            written: 0,
            len: 0,
            state: State::Flushed,
        }
    }

    /// Gives out what there is. Whether that was all.
    fn drain(&mut self, output: &mut [u8], step: &mut Step) -> bool {
        let room = &mut output[step.produced..];
        let n = room.len().min(self.len - self.written);
        room[..n].copy_from_slice(&self.output[self.written..][..n]);
        self.written += n;
        step.produced += n;
        self.written == self.len
    }

    fn encode(&mut self, end: End) -> Result<(), Status> {
        let past = if self.is_known { Past::Kept } else { Past::Fresh };
        let Self { quick, input, start, window, carry, output, .. } = self;
        let n = quick.encode(past, input, *start, *window, end, carry, output);
        // There is room for any block.
        (self.written, self.len) = (0, n.ok_or(Status::EngineFailed)?);
        (self.is_known, self.start) = (true, self.input.len());
        self.state = match end {
            End::Open => State::Open,
            End::Sync => State::Flushed,
            End::Final => State::Finished,
        };
        Ok(())
    }

    /// Takes input, up to a whole block.
    fn take(&mut self, input: &[u8], step: &mut Step) {
        let rest = &input[step.consumed..];
        let n = rest.len().min(BLOCK - (self.input.len() - self.start));
        if self.input.len() + n > HISTORY + BLOCK {
            // There is more than the window in front of `start`, since the block is not longer than BLOCK.
            let before = self.start - HISTORY;
            self.input.drain(..before);
            self.start = HISTORY;
        }
        self.input.extend_from_slice(&rest[..n]);
        step.consumed += n;
    }
}

impl Deflater for QuickDeflater {
    fn restart(&mut self, dictionary: &[u8]) -> Result<(), Status> {
        self.input.clear();
        self.input.extend_from_slice(&dictionary[dictionary.len().saturating_sub(HISTORY)..]);
        (self.start, self.is_known, self.carry) = (self.input.len(), false, Carry::default());
        (self.written, self.len, self.state) = (0, 0, State::Flushed);
        Ok(())
    }

    fn deflate(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Status> {
        let mut step = Step::default();
        loop {
            if !self.drain(output, &mut step) {
                return Ok(step);
            }
            if self.state == State::Finished {
                step.done = step.consumed == input.len();
                return Ok(step);
            }
            self.take(input, &mut step);
            let block = self.input.len() - self.start;
            if step.consumed < input.len() {
                self.encode(End::Open)?; // a whole block, and more to come
                continue;
            }
            match flush {
                Flush::Finish => self.encode(End::Final)?,
                Flush::Sync | Flush::Full if block > 0 || self.state == State::Open => {
                    self.encode(End::Sync)?
                }
                Flush::None if block == BLOCK => self.encode(End::Open)?,
                _ => step.done = true,
            }
            if flush == Flush::Full {
                self.input.clear(); // what follows refers to nothing before
                (self.start, self.is_known) = (0, false);
            }
            if step.done {
                return Ok(step);
            }
        }
    }
}
