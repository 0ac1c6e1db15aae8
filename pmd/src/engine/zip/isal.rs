//! ISA-L: whole buffers and streams, levels 0 to 3. Intel's assembly by way of the system's libisal.
//!
//! Its structures hold 80 KiB and more of buffers, so they are made once and begun anew.

use isal_sys::igzip_lib::{
    COMP_OK, FULL_FLUSH, ISAL_DECOMP_OK, ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT,
    ISAL_END_INPUT, ISAL_OUT_OVERFLOW, NO_FLUSH, SYNC_FLUSH, inflate_state,
    isal_block_state_ISAL_BLOCK_FINISH, isal_block_state_ISAL_BLOCK_HDR,
    isal_block_state_ISAL_BLOCK_INPUT_DONE, isal_deflate, isal_deflate_init, isal_deflate_set_dict,
    isal_deflate_stateless, isal_deflate_stateless_init, isal_inflate, isal_inflate_reset,
    isal_inflate_set_dict, isal_inflate_stateless, isal_zstate_state_ZSTATE_END,
    isal_zstate_state_ZSTATE_NEW_HDR, isal_zstream,
};

use super::back::{Deflater, Inflater, Step};
use super::session::MAX_ISAL_LEVEL;
use crate::device::{Flush, Status};

/// Whole buffers.
pub(super) struct Whole {
    /// By level, each made when it is first used.
    levels: [Option<IsalDeflater>; MAX_ISAL_LEVEL as usize + 1],
    inflater: Option<IsalInflater>,
}

impl Whole {
    pub(super) fn new() -> Self {
        Self { levels: [const { None }; _], inflater: None }
    }

    /// Raw DEFLATE, complete, or open for more. `None` if it does not fit.
    pub(super) fn compress(
        &mut self,
        level: u8,
        input: &[u8],
        output: &mut [u8],
        finish: bool,
    ) -> Option<usize> {
        let deflater = &mut self.levels[usize::from(level)];
        deflater.get_or_insert_with(|| IsalDeflater::new(level, FULL_WINDOW)).whole(input, output, finish)
    }

    /// One raw DEFLATE stream from the start of `input`: bytes read, bytes written.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Status> {
        self.inflater.get_or_insert_with(IsalInflater::new).whole(input, output)
    }
}

/// log2 of 32 KiB.
const FULL_WINDOW: u8 = 15;

pub(super) struct IsalDeflater {
    stream: Box<isal_zstream>,
    /// What the level needs besides: hash table and tokens. Of 16 bytes each for their alignment, which is malloc's.
    level_buffer: Vec<u128>,
    level: u8,
    window_bits: u8,
    /// The flush after which nothing came. ISA-L would write its mark each time it is asked: to who empties a full output
    /// byte by byte there would be no end of marks.
    flushed: Option<Flush>,
}

// SAFETY: the stream's pointers go into `level_buffer`, which is as much its own, and into what the last call was given,
// where nothing looks any more.
unsafe impl Send for IsalDeflater {}

impl IsalDeflater {
    pub(super) fn new(level: u8, window_bits: u8) -> Self {
        let len = match level {
            0 => 0,
            1 => ISAL_DEF_LVL1_DEFAULT,
            2 => ISAL_DEF_LVL2_DEFAULT,
            _ => ISAL_DEF_LVL3_DEFAULT,
        };
        let level_buffer = vec![0; len.div_ceil(size_of::<u128>() as u32) as usize];
        // SAFETY: numbers and pointers, for which zero is a value.
        let stream = unsafe { Box::new_zeroed().assume_init() };
        Self { stream, level_buffer, level, window_bits, flushed: None }
    }

    /// The settings, after something has begun the stream anew.
    fn set_up(&mut self) {
        self.stream.level = u32::from(self.level);
        self.stream.level_buf = self.level_buffer.as_mut_ptr().cast();
        self.stream.level_buf_size = size_of_val(&self.level_buffer[..]) as u32;
        self.stream.hist_bits = u16::from(self.window_bits);
    }

    fn give(&mut self, input: &[u8], output: &mut [u8], finish: bool, flush: u32) {
        self.stream.next_in = input.as_ptr().cast_mut();
        self.stream.avail_in = short(input.len());
        self.stream.next_out = output.as_mut_ptr();
        self.stream.avail_out = short(output.len());
        self.stream.end_of_stream = u16::from(finish);
        self.stream.flush = flush as u16;
    }

    fn whole(&mut self, input: &[u8], output: &mut [u8], finish: bool) -> Option<usize> {
        // SAFETY: a stream of our own.
        unsafe { isal_deflate_stateless_init(&mut *self.stream) };
        self.set_up();
        self.give(input, output, finish, if finish { NO_FLUSH } else { FULL_FLUSH });
        // SAFETY: `give` has set buffers that are valid for their lengths, and `set_up` the one of the level.
        let result = unsafe { isal_deflate_stateless(&mut *self.stream) };
        let complete = result == COMP_OK as i32 && self.stream.avail_in == 0;
        complete.then(|| output.len() - self.stream.avail_out as usize)
    }
}

/// A length for ISA-L, which takes the rest when it is called again.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Deflater for IsalDeflater {
    fn restart(&mut self, dictionary: &[u8]) -> Result<(), Status> {
        // SAFETY: a stream of our own.
        unsafe { isal_deflate_init(&mut *self.stream) };
        self.set_up();
        self.flushed = None;
        if dictionary.is_empty() {
            return Ok(());
        }
        let pointer = dictionary.as_ptr().cast_mut();
        // SAFETY: it is copied, not written to.
        let result = unsafe { isal_deflate_set_dict(&mut *self.stream, pointer, short(dictionary.len())) };
        if result == COMP_OK as i32 { Ok(()) } else { Err(Status::EngineFailed) }
    }

    fn deflate(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Status> {
        let isal = match flush {
            Flush::None | Flush::Finish => NO_FLUSH,
            Flush::Sync => SYNC_FLUSH,
            Flush::Full => FULL_FLUSH,
        };
        let again = self.flushed == Some(flush) || self.flushed == Some(Flush::Full) && flush == Flush::Sync;
        if input.is_empty() && again {
            return Ok(Step { consumed: 0, produced: 0, done: true });
        }
        self.give(input, output, flush == Flush::Finish, isal);
        let (given, room) = (self.stream.avail_in, self.stream.avail_out);
        // SAFETY: `give` has set buffers that are valid for their lengths, and `set_up` the one of the level.
        if unsafe { isal_deflate(&mut *self.stream) } != COMP_OK as i32 {
            return Err(Status::EngineFailed);
        }
        let consumed = (given - self.stream.avail_in) as usize;
        let read = consumed == input.len();
        let state = self.stream.internal_state.state;
        let done = match flush {
            Flush::None => read,
            Flush::Sync | Flush::Full => {
                read && (self.stream.avail_out > 0 || state == isal_zstate_state_ZSTATE_NEW_HDR)
            }
            Flush::Finish => read && state == isal_zstate_state_ZSTATE_END,
        };
        let produced = (room - self.stream.avail_out) as usize;
        if done && matches!(flush, Flush::Sync | Flush::Full) {
            self.flushed = Some(flush);
        } else if consumed > 0 || produced > 0 {
            self.flushed = None;
        }
        Ok(Step { consumed, produced, done })
    }
}

pub(super) struct IsalInflater(Box<inflate_state>);

// SAFETY: its pointers go to what the last call was given, where nothing looks any more.
unsafe impl Send for IsalInflater {}

impl IsalInflater {
    pub(super) fn new() -> Self {
        // SAFETY: numbers and pointers, for which zero is a value.
        let mut state: Box<inflate_state> = unsafe { Box::new_zeroed().assume_init() };
        // SAFETY: a state of our own. Zero is what `reset` leaves alone: raw DEFLATE, the largest window.
        unsafe { isal_inflate_reset(&mut *state) };
        Self(state)
    }

    fn give(&mut self, input: &[u8], output: &mut [u8]) {
        self.0.next_in = input.as_ptr().cast_mut();
        self.0.avail_in = short(input.len());
        self.0.next_out = output.as_mut_ptr();
        self.0.avail_out = short(output.len());
    }

    fn whole(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Status> {
        // SAFETY: a state of our own.
        unsafe { isal_inflate_reset(&mut *self.0) };
        self.give(input, output);
        // SAFETY: `give` has set buffers that are valid for their lengths.
        match unsafe { isal_inflate_stateless(&mut *self.0) } {
            result if result == ISAL_DECOMP_OK as i32 => {
                let (left, room) = (self.0.avail_in as usize, self.0.avail_out as usize);
                Ok((input.len() - left, output.len() - room))
            }
            result if result == ISAL_END_INPUT as i32 => Err(Status::Truncated),
            result if result == ISAL_OUT_OVERFLOW as i32 => Err(Status::NoSpace { needed: 0 }),
            _ => Err(Status::BadInput),
        }
    }

    /// Gives whole bytes back that were read ahead and not used.
    fn give_back(&mut self) {
        let bytes = self.0.read_in_length.max(0) as u32 / u8::BITS;
        self.0.next_in = self.0.next_in.wrapping_sub(bytes as usize);
        self.0.avail_in += bytes;
        self.0.read_in_length -= (bytes * u8::BITS) as i32;
        self.0.read_in &= (1 << self.0.read_in_length) - 1;
    }
}

impl Inflater for IsalInflater {
    fn restart(&mut self) -> Result<(), Status> {
        // SAFETY: a state of our own.
        unsafe { isal_inflate_reset(&mut *self.0) };
        Ok(())
    }

    fn dictionary(&mut self, dictionary: &[u8]) -> Result<(), Status> {
        let pointer = dictionary.as_ptr().cast_mut();
        // SAFETY: it is copied, not written to.
        let result = unsafe { isal_inflate_set_dict(&mut *self.0, pointer, short(dictionary.len())) };
        if result == COMP_OK as i32 { Ok(()) } else { Err(Status::EngineFailed) }
    }

    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Status> {
        self.give(input, output);
        let (given, room) = (self.0.avail_in, self.0.avail_out);
        // SAFETY: `give` has set buffers that are valid for their lengths.
        if unsafe { isal_inflate(&mut *self.0) } < ISAL_DECOMP_OK as i32 {
            return Err(Status::BadInput);
        }
        // What it keeps of its input belongs to it only as long as there may be a symbol that is not complete. At the end,
        // or when it was room that was missing, it may be what comes behind the stream.
        let all_read = self.0.block_state == isal_block_state_ISAL_BLOCK_INPUT_DONE
            || self.0.block_state == isal_block_state_ISAL_BLOCK_FINISH;
        // The rest of a header that is cut off is kept elsewhere, behind these bits: nothing can be taken from between.
        let in_header = self.0.block_state == isal_block_state_ISAL_BLOCK_HDR;
        if all_read || self.0.avail_out == 0 && !in_header {
            self.give_back();
        }
        let consumed = given.checked_sub(self.0.avail_in).ok_or(Status::EngineFailed)?;
        Ok(Step {
            consumed: consumed as usize,
            produced: (room - self.0.avail_out) as usize,
            done: self.0.block_state == isal_block_state_ISAL_BLOCK_FINISH,
        })
    }
}

#[cfg(test)]
mod tests;
