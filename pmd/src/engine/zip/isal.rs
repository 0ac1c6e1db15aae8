//! ISA-L: whole buffers and streams, levels 0 to 3. Intel's assembly by way of the system's libisal.
//!
//! Its structures hold 80 KiB and more of buffers, so they are made once and begun anew.

use isal_sys::igzip_lib::{
    COMP_OK, FULL_FLUSH, ISAL_DECOMP_OK, ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT,
    ISAL_END_INPUT, ISAL_OUT_OVERFLOW, NO_FLUSH, SYNC_FLUSH, inflate_state,
    isal_block_state_ISAL_BLOCK_FINISH, isal_block_state_ISAL_BLOCK_INPUT_DONE, isal_deflate,
    isal_deflate_init, isal_deflate_set_dict, isal_deflate_stateless, isal_deflate_stateless_init,
    isal_inflate, isal_inflate_reset, isal_inflate_set_dict, isal_inflate_stateless,
    isal_zstate_state_ZSTATE_END, isal_zstate_state_ZSTATE_NEW_HDR, isal_zstream,
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
        Self { stream, level_buffer, level, window_bits }
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
        Ok(Step { consumed, produced: (room - self.stream.avail_out) as usize, done })
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
        if all_read || self.0.avail_out == 0 {
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
mod tests {
    use super::super::zlibrs::{ZlibDeflater, ZlibInflater};
    use super::*;

    /// Text, noise and repetitions: literals, short and long matches, stored blocks.
    fn sample(len: usize) -> Vec<u8> {
        let text = include_bytes!("isal.rs");
        let mut seed = 7_u64;
        let noise = std::iter::repeat_with(move || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (seed >> 56) as u8
        });
        let text = text.iter().copied().cycle().take(len / 2);
        text.chain(noise.take(len / 4)).chain(std::iter::repeat(b'x')).take(len).collect()
    }

    /// All of `input` in pieces through windows of `room` bytes, each piece with `flush`, and the end.
    fn deflate(
        deflater: &mut dyn Deflater,
        input: &[u8],
        (piece, room): (usize, usize),
        flush: Flush,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut window = vec![0; room];
        let pieces = input.chunks(piece).map(|piece| (piece, flush)).chain([(&[][..], Flush::Finish)]);
        for (mut piece, flush) in pieces {
            loop {
                let step = deflater.deflate(piece, &mut window, flush).unwrap();
                out.extend_from_slice(&window[..step.produced]);
                piece = &piece[step.consumed..];
                if step.done {
                    assert!(piece.is_empty());
                    break;
                }
                assert_eq!(step.produced, room, "it stops only for want of room");
            }
        }
        out
    }

    /// A whole stream in pieces through windows of `room` bytes: the bytes, and how much of `input` it was.
    fn inflate(
        inflater: &mut dyn Inflater,
        input: &[u8],
        (piece, room): (usize, usize),
    ) -> Result<(Vec<u8>, usize), Status> {
        let (mut out, mut at) = (Vec::new(), 0);
        let mut window = vec![0; room];
        for end in (0..input.len()).step_by(piece).map(|start| input.len().min(start + piece)) {
            loop {
                let step = inflater.inflate(&input[at..end], &mut window)?;
                out.extend_from_slice(&window[..step.produced]);
                at += step.consumed;
                if step.done {
                    return Ok((out, at));
                }
                if at == end && step.produced < room {
                    break;
                }
                assert!(step.produced + step.consumed > 0, "it goes on: {at} of {end}, {}", out.len());
            }
        }
        Err(Status::Truncated)
    }

    fn restarted(deflater: &mut dyn Deflater, dictionary: &[u8]) {
        deflater.restart(dictionary).unwrap();
    }

    #[test]
    fn structures_are_laid_out_as_the_header_says() {
        use isal_sys::igzip_lib::isal_zstate;
        use std::mem::offset_of;
        const PROGRAM: &str = "#include <stddef.h>\n#include <stdio.h>\n#include <isa-l/igzip_lib.h>\n
            int main(void) { printf(\"%zu %zu %zu %zu %zu %zu %zu %zu %zu %d %d %d\",
              sizeof(struct isal_zstream), offsetof(struct isal_zstream, level_buf),
              offsetof(struct isal_zstream, hist_bits), offsetof(struct isal_zstream, internal_state),
              offsetof(struct isal_zstate, state), sizeof(struct inflate_state),
              offsetof(struct inflate_state, read_in), offsetof(struct inflate_state, read_in_length),
              offsetof(struct inflate_state, block_state),
              ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT); }";
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
        std::fs::write(&source, PROGRAM).unwrap();
        let built = std::process::Command::new("gcc").arg(&source).arg("-o").arg(&program).status().unwrap();
        assert!(built.success());
        let said = std::process::Command::new(&program).output().unwrap().stdout;
        let ours = [
            size_of::<isal_zstream>(),
            offset_of!(isal_zstream, level_buf),
            offset_of!(isal_zstream, hist_bits),
            offset_of!(isal_zstream, internal_state),
            offset_of!(isal_zstate, state),
            size_of::<inflate_state>(),
            offset_of!(inflate_state, read_in),
            offset_of!(inflate_state, read_in_length),
            offset_of!(inflate_state, block_state),
            ISAL_DEF_LVL1_DEFAULT as usize,
            ISAL_DEF_LVL2_DEFAULT as usize,
            ISAL_DEF_LVL3_DEFAULT as usize,
        ];
        assert_eq!(String::from_utf8(said).unwrap(), ours.map(|n| n.to_string()).join(" "));
    }

    #[test]
    fn whole_buffers_of_every_level_come_back() {
        let mut isal = Whole::new();
        for level in 0..=MAX_ISAL_LEVEL {
            for len in [0, 1, 2, 100, 1_500, 4_096, 65_535, 65_536, 300_000] {
                let input = sample(len);
                let bound = super::super::stored::bound(len);
                let mut output = vec![0; bound];
                let n = isal.compress(level, &input, &mut output, true).expect("room enough");
                let mut back = vec![0; len];
                let mut other = libdeflater::Decompressor::new();
                assert_eq!(other.deflate_decompress(&output[..n], &mut back), Ok(len));
                assert_eq!(back, input, "level {level}, {len} bytes");
                output[n..].fill(0x55);
                back.fill(0);
                assert_eq!(isal.decompress(&output, &mut back), Ok((n, len)), "what is behind is left");
                assert_eq!(back, input);
                if len > 0 {
                    let small = isal.decompress(&output, &mut back[..len - 1]);
                    assert_eq!(small, Err(Status::NoSpace { needed: 0 }), "level {level}, {len} bytes");
                }
                assert_eq!(isal.compress(level, &input, &mut output[..n - 1], true), None);
            }
        }
    }

    #[test]
    fn noise_takes_no_more_room_than_stored_blocks() {
        let mut isal = Whole::new();
        let noise: Vec<u8> = sample(4 * 200_000)[400_000..600_000].to_vec();
        for level in 0..=MAX_ISAL_LEVEL {
            for len in [1, 300, 65_536, noise.len()] {
                for finish in [true, false] {
                    let mut output = vec![0; super::super::stored::bound(len)];
                    let n = isal.compress(level, &noise[..len], &mut output, finish);
                    assert!(n.is_some(), "level {level}, {len} bytes, {finish}");
                }
            }
        }
    }

    #[test]
    fn open_blocks_are_appended_to_each_other() {
        let mut isal = Whole::new();
        let input = sample(200_000);
        let mut stream = Vec::new();
        for (i, block) in input.chunks(10_007).enumerate() {
            let mut output = vec![0; super::super::stored::bound(block.len())];
            let level = i as u8 % (MAX_ISAL_LEVEL + 1);
            let n = isal.compress(level, block, &mut output, false).unwrap();
            stream.extend_from_slice(&output[..n]);
        }
        stream.extend([3, 0]);
        let mut back = vec![0; input.len()];
        let done = libdeflater::Decompressor::new().deflate_decompress(&stream, &mut back);
        assert_eq!((done, back == input), (Ok(input.len()), true));
    }

    #[test]
    fn streams_come_back_whatever_the_flush_and_the_windows() {
        let input = sample(40_000);
        let mut inflater = IsalInflater::new();
        for level in 0..=MAX_ISAL_LEVEL {
            let mut deflater = IsalDeflater::new(level, FULL_WINDOW);
            for flush in [Flush::None, Flush::Sync, Flush::Full] {
                for windows in [(1, 64), (7, 1), (4_000, 1), (1_000, 100), (40_000, 50_000)] {
                    let input = if windows.0 == 1 { &input[18_000..22_000] } else { &input[..] };
                    restarted(&mut deflater, &[]);
                    let mut stream = deflate(&mut deflater, input, windows, flush);
                    let len = stream.len();
                    let what = format!("level {level}, {flush:?}, {windows:?}");
                    let (back, at) = inflate(&mut ZlibInflater::new(), &stream, (len, 50_000)).unwrap();
                    assert!(back == input && at == len, "{what}: zlib-rs");
                    stream.extend(b"behind");
                    for windows in [(1, 1), (1, 50_000), (stream.len(), 1), (5, 7), (stream.len(), 50_000)] {
                        inflater.restart().unwrap();
                        let (back, at) = inflate(&mut inflater, &stream, windows).unwrap();
                        assert!(back == input && at == len, "{what}: {windows:?}, {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_flush_lets_out_all_that_went_in() {
        let input = sample(10_000);
        for flush in [Flush::Sync, Flush::Full] {
            let mut deflater = IsalDeflater::new(1, FULL_WINDOW);
            restarted(&mut deflater, &[]);
            let (mut inflater, mut back) = (ZlibInflater::new(), Vec::new());
            for piece in input.chunks(777) {
                let (mut output, mut window) = (vec![0; 2_000], vec![0; 2_000]);
                let step = deflater.deflate(piece, &mut output, flush).unwrap();
                assert!(step.done && output[..step.produced].ends_with(&[0, 0, 255, 255]));
                let step = inflater.inflate(&output[..step.produced], &mut window).unwrap();
                back.extend_from_slice(&window[..step.produced]);
                assert!(input.starts_with(&back) && step.produced == piece.len());
            }
        }
    }

    #[test]
    fn after_a_full_flush_nothing_before_is_referred_to() {
        let input = sample(4_000);
        for level in 0..=MAX_ISAL_LEVEL {
            let mut deflater = IsalDeflater::new(level, FULL_WINDOW);
            restarted(&mut deflater, &[]);
            let mut output = vec![0; 10_000];
            let first = deflater.deflate(&input, &mut output, Flush::Full).unwrap();
            assert!(first.done);
            let second = deflater.deflate(&input, &mut output, Flush::Finish).unwrap();
            assert!(second.done);
            let alone = inflate(&mut ZlibInflater::new(), &output[..second.produced], (10_000, 10_000));
            assert_eq!(alone.map(|(back, _)| back == input), Ok(true), "level {level}");
        }
    }

    #[test]
    fn dictionaries_are_used_in_both_directions() {
        let dictionary = sample(8_000);
        let input = [&dictionary[1_000..3_000], b"and something else"].concat();
        for level in 0..=MAX_ISAL_LEVEL {
            let mut deflater = IsalDeflater::new(level, FULL_WINDOW);
            restarted(&mut deflater, &dictionary);
            let stream = deflate(&mut deflater, &input, (500, 100), Flush::None);
            assert!(stream.len() < 300, "level {level}: it is of use, {} bytes", stream.len());
            let theirs = {
                let mut deflater = ZlibDeflater::new(6, FULL_WINDOW);
                restarted(&mut deflater, &dictionary);
                deflate(&mut deflater, &input, (500, 100), Flush::None)
            };
            let mut inflaters: [Box<dyn Inflater>; 2] =
                [Box::new(ZlibInflater::new()), Box::new(IsalInflater::new())];
            for inflater in &mut inflaters {
                for stream in [&stream, &theirs] {
                    inflater.restart().unwrap();
                    inflater.dictionary(&dictionary).unwrap();
                    let (back, _) = inflate(inflater.as_mut(), stream, (100, 100)).unwrap();
                    assert!(back == input, "level {level}");
                }
            }
        }
    }

    /// What repeats itself after the largest distance of each window, just beyond, and far beyond.
    #[test]
    fn a_narrow_window_is_kept_to() {
        for bits in 9..FULL_WINDOW {
            let noise = &sample(4 * 40_000)[80_000..][..(1 << bits) + 300];
            let input: Vec<u8> = [noise, noise, &noise[..300], noise].concat();
            for level in 0..=MAX_ISAL_LEVEL {
                let mut deflater = IsalDeflater::new(level, bits);
                restarted(&mut deflater, &[]);
                let stream = deflate(&mut deflater, &input, (input.len(), 1 << 20), Flush::None);
                let mut inflater = zlib_rs::Inflate::new(false, bits);
                // In small steps: zlib looks at the window only beyond what lies in the output.
                let mut back = Vec::new();
                let mut at = 0;
                while back.len() < input.len() {
                    let mut window = [0; 64];
                    let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
                    let end = stream.len().min(at + 64);
                    let done =
                        inflater.decompress(&stream[at..end], &mut window, zlib_rs::InflateFlush::NoFlush);
                    assert!(done.is_ok(), "window 2^{bits}, level {level}: {done:?} at {}", back.len());
                    at += (inflater.total_in() - before_in) as usize;
                    back.extend_from_slice(&window[..(inflater.total_out() - before_out) as usize]);
                }
                assert!(back == input);
            }
        }
    }

    #[test]
    fn what_is_damaged_or_cut_is_told() {
        let input = sample(20_000);
        let mut isal = Whole::new();
        let mut output = vec![0; 30_000];
        let n = isal.compress(1, &input, &mut output, true).unwrap();
        let stream = &output[..n];
        let (mut inflater, mut back) = (IsalInflater::new(), vec![0; 20_000]);
        for cut in [0, 1, 10, n / 2, n - 1] {
            assert_eq!(isal.decompress(&stream[..cut], &mut back), Err(Status::Truncated), "cut at {cut}");
            inflater.restart().unwrap();
            let cut = inflate(&mut inflater, &stream[..cut], (1_000, 1_000));
            assert_eq!(cut.map(drop), Err(Status::Truncated));
        }
        for (at, value) in [(0, 0x07), (3, 0xff)] {
            let mut bad = stream.to_vec();
            bad[at] = value;
            assert_eq!(isal.decompress(&bad, &mut back), Err(Status::BadInput), "byte {at}");
            inflater.restart().unwrap();
            assert_eq!(inflate(&mut inflater, &bad, (1_000, 1_000)).map(drop), Err(Status::BadInput));
        }
        inflater.restart().unwrap();
        assert!(inflate(&mut inflater, stream, (100, 100)).is_ok(), "and then goes on");
    }
}
