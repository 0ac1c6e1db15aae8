//! Requests that stand alone.

use proptest::prelude::*;
use warpdrive_pmd::device::{Flush, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{BackEnd, Checksum, ZipConfig, ZipFormat, ZipOp};

use crate::data::{self, FORMATS, KINDS, Kind, Sample, Setting};
use crate::rig::{CORE, Call, PLACEMENTS, Rig, check};

/// By libdeflate, which knows no dictionaries.
fn decode(format: ZipFormat, stream: &[u8], len: usize) -> Vec<u8> {
    let mut plain = vec![0; len];
    let mut decompressor = libdeflater::Decompressor::new();
    let n = match format {
        ZipFormat::Deflate => decompressor.deflate_decompress(stream, &mut plain),
        ZipFormat::Zlib => decompressor.zlib_decompress(stream, &mut plain),
        ZipFormat::Gzip => decompressor.gzip_decompress(stream, &mut plain),
    };
    assert_eq!(n, Ok(len));
    plain
}

/// Compresses, asking for the room first.
fn compress(
    rig: &mut Rig,
    setting: &Setting,
    plain: &[u8],
    src_cuts: &[usize],
    dst_cuts: &[usize],
) -> Vec<u8> {
    let session = rig.session(setting.config(ZipOp::Compress));
    let call = |room| Call { src_cuts, dst_cuts, ..Call::new(session, plain, room) };
    let needed = match rig.run(call(1)).status {
        Status::NoSpace { needed } => needed as usize,
        other => panic!("into one byte: {other:?}"),
    };
    let done = rig.run(call(needed));
    assert_eq!((done.status, done.ended), (Status::Ok, true), "with the room that was asked for");
    assert_eq!(done.checksum, setting.checksum().of(plain));
    done.output
}

fn round_trip(
    rig: &mut Rig,
    setting: &Setting,
    plain: &[u8],
    [src_cuts, dst_cuts]: [&[usize]; 2],
    trailing: &[u8],
) {
    let stream = compress(rig, setting, plain, src_cuts, dst_cuts);
    if setting.dictionary.len == 0 {
        assert!(decode(setting.format, &stream, plain.len()) == plain, "libdeflate reads something else");
    }
    let session = rig.session(setting.config(ZipOp::Decompress));
    let with_trailing = [&stream[..], trailing].concat();
    // The pieces of one side for the other.
    let call =
        |room| Call { src_cuts: dst_cuts, dst_cuts: src_cuts, ..Call::new(session, &with_trailing, room) };
    let done = rig.run(call(plain.len()));
    assert_eq!((done.status, done.ended), (Status::Ok, true));
    assert_eq!(done.consumed, stream.len(), "no more than the stream");
    assert!(done.output == plain);
    assert_eq!(done.checksum, setting.checksum().of(plain));
    if !plain.is_empty() {
        assert!(matches!(rig.run(call(plain.len() - 1)).status, Status::NoSpace { .. }));
    }
}

fn any_round_trip(longest: usize) -> impl Strategy<Value = (Sample, Setting, [Vec<usize>; 2], Vec<u8>)> {
    let trailing = proptest::collection::vec(any::<u8>(), 0..20);
    (data::sample(longest), data::setting(false), [data::cuts(), data::cuts()], trailing)
}

#[test]
fn what_is_compressed_comes_back_whatever_the_session_and_the_pieces() {
    check(Placement::Inline, 400, any_round_trip(300_000), |rig, (sample, setting, cuts, trailing)| {
        round_trip(rig, &setting, &sample.bytes(), [&cuts[0], &cuts[1]], &trailing);
    });
}

#[test]
fn what_is_compressed_comes_back_from_an_engine_core() {
    check(CORE, 40, any_round_trip(50_000), |rig, (sample, setting, cuts, trailing)| {
        round_trip(rig, &setting, &sample.bytes(), [&cuts[0], &cuts[1]], &trailing);
    });
}

/// Every level of every back end.
fn levels() -> impl Iterator<Item = (BackEnd, u8)> {
    (0..=12).map(|level| (BackEnd::Libdeflate, level)).chain((0..=9).map(|level| (BackEnd::ZlibRs, level)))
}

#[test]
fn every_level_of_every_back_end_does_every_kind_of_data_in_every_format() {
    let mut rig = Rig::new(Placement::Inline);
    let none = Sample { kind: Kind::Text, len: 0, seed: 0 };
    for kind in KINDS {
        for len in [0, 1, 1_500, 70_001] {
            let plain = Sample { kind, len, seed: 5 }.bytes();
            rig.clear();
            let mut sizes = Vec::new();
            for (i, (back_end, level)) in levels().enumerate() {
                let format = FORMATS[i % 3];
                let checksum = Checksum::Crc32;
                let setting =
                    Setting { format, level, window_bits: 15, dictionary: none, checksum, back_end };
                round_trip(&mut rig, &setting, &plain, [&[], &[]], b"?");
                if back_end == BackEnd::Libdeflate {
                    sizes.push(compress(&mut rig, &setting, &plain, &[], &[]).len());
                }
            }
            if kind == Kind::Text && len > 1_000 {
                assert!(sizes[0] > len && sizes[1] * 2 < len && sizes[12] < sizes[1], "{sizes:?}");
            }
        }
    }
}

#[test]
fn a_request_needs_the_room_that_its_output_takes_or_says_how_much_is_enough() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Text, len: 300, seed: 1 }.bytes();
    for format in FORMATS {
        for (back_end, level) in [(BackEnd::Libdeflate, 1), (BackEnd::Libdeflate, 12), (BackEnd::ZlibRs, 6)] {
            let config = ZipConfig { back_end, ..ZipConfig::new(ZipOp::Compress, format, level) };
            let session = rig.session(config);
            let best = rig.run(Call::new(session, &plain, 1_000)).output.len();
            for room in 0..best + 40 {
                let done = rig.run(Call::new(session, &plain, room));
                match done.status {
                    Status::Ok => assert!(decode(format, &done.output, plain.len()) == plain),
                    Status::NoSpace { needed } => {
                        // libdeflate wants a few bytes more than it will fill.
                        assert!(room < best + 16, "{best} bytes, but {room} are not enough");
                        let again = rig.run(Call::new(session, &plain, needed as usize));
                        assert_eq!(again.status, Status::Ok);
                    }
                    other => panic!("{other:?} with room for {room}"),
                }
            }
        }
    }
}

#[test]
fn a_checksum_goes_on_from_one_request_to_the_next() {
    let halves = [Kind::Text, Kind::Random].map(|kind| Sample { kind, len: 3_000, seed: 2 }.bytes());
    let all = halves.concat();
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        for format in FORMATS {
            for checksum in [Checksum::None, Checksum::Crc32, Checksum::Adler32] {
                let of = match format {
                    ZipFormat::Deflate => checksum,
                    ZipFormat::Zlib => Checksum::Adler32,
                    ZipFormat::Gzip => Checksum::Crc32,
                };
                let session = |op| rig.session(ZipConfig { checksum, ..ZipConfig::new(op, format, 6) });
                let (compress, decompress) = (session(ZipOp::Compress), session(ZipOp::Decompress));
                let (mut there, mut back) = (None, None);
                for half in &halves {
                    let done = rig.run(Call { checksum: there, ..Call::new(compress, half, 8_000) });
                    assert_eq!(done.status, Status::Ok);
                    there = Some(done.checksum);
                    // Each is a stream of its own, with a trailer of its own.
                    assert!(decode(format, &done.output, half.len()) == *half);
                    let done = rig.run(Call { checksum: back, ..Call::new(decompress, &done.output, 8_000) });
                    assert_eq!(done.status, Status::Ok, "{format:?}");
                    back = Some(done.checksum);
                }
                assert_eq!((there, back), (Some(of.of(&all)), Some(of.of(&all))), "{format:?} {checksum:?}");
                let [a, b] = [&halves[0], &halves[1]].map(|half| of.of(half));
                assert_eq!(of.combine(a, b, halves[1].len() as u64), of.of(&all));
            }
        }
    }
}

#[test]
fn what_a_stateless_request_cannot_do_is_refused() {
    let mut rig = Rig::new(Placement::Inline);
    for format in FORMATS {
        for back_end in [BackEnd::Libdeflate, BackEnd::ZlibRs] {
            let session = rig.session(ZipConfig { back_end, ..ZipConfig::new(ZipOp::Compress, format, 6) });
            for flush in [Flush::None, Flush::Sync, Flush::Full] {
                let open = format == ZipFormat::Deflate && flush != Flush::None;
                if !open {
                    let done = rig.run(Call { flush, ..Call::new(session, b"some bytes", 100) });
                    assert_eq!(done.status, Status::Unsupported, "{format:?} {flush:?}");
                }
            }
        }
    }
}

#[test]
fn a_request_that_found_no_room_leaves_nothing_behind() {
    let mut rig = Rig::new(Placement::Inline);
    for level in 0..=9 {
        for kind in KINDS {
            rig.clear();
            let config =
                |op| ZipConfig { back_end: BackEnd::ZlibRs, ..ZipConfig::new(op, ZipFormat::Gzip, level) };
            let (there, back) =
                (rig.session(config(ZipOp::Compress)), rig.session(config(ZipOp::Decompress)));
            let plain = Sample { kind, len: 200_000, seed: 77 }.bytes();
            for room in [30, 100, 5_000, 40_000, 65_300] {
                let found_none = rig.run(Call::new(there, &plain, room));
                assert!(matches!(found_none.status, Status::Ok | Status::NoSpace { .. }));
                let done = rig.run(Call::new(there, &plain, 240_000));
                assert_eq!(done.status, Status::Ok, "level {level}, {kind:?}, {room}");
                let done = rig.run(Call::new(back, &done.output, plain.len()));
                assert!(done.status == Status::Ok && done.output == plain, "level {level}, {kind:?}, {room}");
            }
        }
    }
}
