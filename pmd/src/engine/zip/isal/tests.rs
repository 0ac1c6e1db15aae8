use super::super::zlibrs::{ZlibDeflater, ZlibInflater};
use super::*;

/// Text, noise and repetitions: literals, short and long matches, stored blocks.
fn sample(len: usize) -> Vec<u8> {
    let text = include_bytes!("tests.rs");
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
                let all = stream.len();
                for windows in [(1, 1), (1, 50_000), (all, 1), (5, 7), (all, input.len()), (all, 50_000)] {
                    inflater.restart().unwrap();
                    let (back, at) = inflate(&mut inflater, &stream, windows).unwrap();
                    assert!(back == input && at == len, "{what}: {windows:?}, {at} of {len}");
                }
            }
        }
    }
}

#[test]
fn what_is_behind_a_stream_is_left_also_when_its_output_just_fits() {
    let mut isal = Whole::new();
    let mut inflater = IsalInflater::new();
    for len in (1..100).chain(65_500..65_600).chain(98_270..98_340).chain([131_072, 262_144, 300_001]) {
        let input = sample(len);
        let mut stream = vec![0; super::super::stored::bound(len)];
        let n = isal.compress(1, &input, &mut stream, true).unwrap();
        stream.truncate(n);
        stream.extend(b"behind it");
        for room in [len, len.div_ceil(2), len.div_ceil(3)] {
            inflater.restart().unwrap();
            let (back, at) = inflate(&mut inflater, &stream, (stream.len(), room)).unwrap();
            assert!(back == input && at == n, "{len} in windows of {room}: {at} of {n}");
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
fn a_flush_that_is_repeated_writes_its_mark_once() {
    let mut deflater = IsalDeflater::new(1, FULL_WINDOW);
    restarted(&mut deflater, &[]);
    let mut output = vec![0; 1_000];
    let mut flush = |input: &[u8], flush| deflater.deflate(input, &mut output, flush).unwrap().produced;
    assert!(flush(b"something", Flush::Sync) > 0);
    assert_eq!(flush(b"", Flush::Sync), 0);
    assert!(flush(b"", Flush::Full) > 0, "which says more");
    assert_eq!((flush(b"", Flush::Sync), flush(b"", Flush::Full)), (0, 0));
    assert!(flush(b"more", Flush::Full) > 0);
    assert!(flush(b"", Flush::Finish) > 0);
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

#[test]
fn a_narrow_window_is_kept_to() {
    let compressed = |level, bits, input: &[u8]| {
        let mut deflater = IsalDeflater::new(level, bits);
        restarted(&mut deflater, &[]);
        deflate(&mut deflater, input, (input.len(), 1 << 20), Flush::None).len()
    };
    for bits in 9..FULL_WINDOW {
        // Repeated just beyond the window.
        let noise = &sample(4 * 40_000)[80_000..][..(1 << bits) + 1];
        let input = noise.repeat(3);
        for level in 0..=MAX_ISAL_LEVEL {
            let narrow = compressed(level, bits, &input);
            assert!(narrow > input.len() / 10 * 9, "window 2^{bits}, level {level}: {narrow} bytes");
        }
        let full = compressed(3, FULL_WINDOW, &input);
        assert!(full < input.len() / 2, "it is there to be found: 2^{bits}, {full} bytes");
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
