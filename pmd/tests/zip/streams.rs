//! Streams: any pieces, any windows, any flushes.

use proptest::prelude::*;
use warpdrive_pmd::device::{Flush, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{Checksum, ZipConfig, ZipFormat, ZipOp};

use crate::data::{self, FORMATS, KINDS, Kind, Sample, Setting};
use crate::feed::{Fed, Feed, even};
use crate::rig::{CORE, Call, PLACEMENTS, Rig, check};

/// What a piece of a stream can be decoded to on its own: raw, from a place where nothing before is needed.
fn decode_part(raw: &[u8]) -> Vec<u8> {
    let mut inflate = zlib_rs::Inflate::new(false, 15);
    let (mut plain, mut room) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let (read, before) = (inflate.total_in() as usize, inflate.total_out());
        inflate.decompress(&raw[read..], &mut room, zlib_rs::InflateFlush::NoFlush).unwrap();
        let n = (inflate.total_out() - before) as usize;
        plain.extend(&room[..n]);
        if n < room.len() {
            return plain;
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    sample: Sample,
    setting: Setting,
    script: Vec<(usize, Flush)>,
    rooms: [Vec<usize>; 2],
    cuts: [Vec<usize>; 2],
    /// Length of the pieces on the way back.
    back: usize,
}

fn case(longest: usize) -> impl Strategy<Value = Case> {
    let few = prop_oneof![Just(0_usize), Just(1), 2..70_usize, 60..70_usize, 70..70_000_usize];
    let rooms = proptest::collection::vec(few, 1..5).prop_map(move |mut rooms| {
        // Some room, and not thousands of requests.
        rooms.push(longest / 500 + 1);
        rooms
    });
    let back = prop_oneof![longest / 500 + 1..=longest, Just(longest)];
    (
        data::sample(longest),
        data::setting(true),
        data::script(longest),
        [rooms.clone(), rooms],
        [data::cuts(), data::cuts()],
        back,
    )
        .prop_map(|(sample, setting, script, rooms, cuts, back)| Case {
            sample,
            setting,
            script,
            rooms,
            cuts,
            back,
        })
}

impl Case {
    /// The script, as far as the bytes go, and the end.
    fn pieces(&self, len: usize) -> Vec<(usize, Flush)> {
        let mut left = len;
        let mut pieces: Vec<_> = self.script.clone();
        for (n, _) in &mut pieces {
            *n = (*n).min(left);
            left -= *n;
        }
        pieces.push((left, Flush::Finish));
        pieces
    }
}

fn round_trip(rig: &mut Rig, case: Case) {
    let plain = case.sample.bytes();
    let pieces = case.pieces(plain.len());
    let cuts = [&case.cuts[0][..], &case.cuts[1][..]];
    let session = rig.session(case.setting.config(ZipOp::Compress));
    let stream = rig.stream(session);
    let feed = Feed { session, rooms: &case.rooms[0], cuts };
    let (stream, fed) = feed.run(rig, stream, &plain, pieces.iter().copied());
    let fed = fed.unwrap();
    assert_eq!((fed.consumed, fed.ended), (plain.len(), true));
    assert_eq!(fed.checksum, case.setting.checksum().of(&plain));
    if case.setting.format == ZipFormat::Deflate {
        flushes_hold_nothing_back(&fed, &pieces, &plain, case.setting.dictionary.len > 0);
    }
    // The same stream once more, without being told to begin anew. Other matches may be found: zlib hashes a few bytes
    // beyond the input, which are what was there before.
    let (_, again) = feed.run(rig, stream, &plain, pieces);
    let again = again.unwrap();

    let session = rig.session(case.setting.config(ZipOp::Decompress));
    let mut stream = rig.stream(session);
    let feed = Feed { session, rooms: &case.rooms[1], cuts: [cuts[1], cuts[0]] };
    for coded in [fed.output, again.output] {
        let with_trailing = [&coded[..], b"trailing"].concat();
        let pieces = even(with_trailing.len(), case.back, Flush::None, Flush::Finish);
        let (same, back) = feed.run(rig, stream, &with_trailing, pieces);
        let back = back.unwrap();
        assert_eq!((back.consumed, back.ended), (coded.len(), true), "no more than the stream");
        assert!(back.output == plain);
        assert_eq!(back.checksum, case.setting.checksum().of(&plain));
        stream = same;
    }
}

/// At a flush all that was sent is there; at a full flush what follows can be read without what was before.
fn flushes_hold_nothing_back(fed: &Fed, pieces: &[(usize, Flush)], plain: &[u8], has_dictionary: bool) {
    let (mut at, mut from) = (0, (!has_dictionary).then_some((0, 0)));
    for ((len, flush), mark) in pieces.iter().zip(&fed.marks) {
        at += len;
        if *flush == Flush::None {
            continue;
        }
        if let Some((coded, read)) = from {
            assert!(decode_part(&fed.output[coded..*mark]) == plain[read..at], "{flush:?} at {at}");
        }
        if *flush == Flush::Full {
            from = Some((*mark, at));
        }
    }
}

#[test]
fn a_stream_comes_back_whatever_its_pieces_windows_and_flushes() {
    check(Placement::Inline, 250, case(200_000), round_trip);
}

#[test]
fn a_short_stream_comes_back_through_the_narrowest_windows() {
    check(Placement::Inline, 250, case(600), round_trip);
}

#[test]
fn a_stream_comes_back_from_an_engine_core() {
    check(CORE, 25, case(5_000), round_trip);
}

#[test]
fn a_byte_at_a_time_on_both_sides_at_every_level() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Text, len: 700, seed: 3 }.bytes();
    for level in 0..=9 {
        for format in FORMATS {
            for flush in [Flush::None, Flush::Sync, Flush::Full] {
                let session = rig.session(ZipConfig::new(ZipOp::Compress, format, level));
                let feed = Feed::new(session, &[1]);
                let stream = rig.stream(session);
                let pieces = even(plain.len(), 1, flush, Flush::Finish);
                let (_, fed) = feed.run(&mut rig, stream, &plain, pieces);
                let fed = fed.unwrap();
                if flush == Flush::Full {
                    assert!(fed.output.len() > 5 * plain.len(), "a mark of five bytes behind each");
                }
                let session = rig.session(ZipConfig::new(ZipOp::Decompress, format, level));
                let stream = rig.stream(session);
                let pieces = even(fed.output.len(), 1, Flush::None, Flush::Finish);
                let (_, back) = Feed::new(session, &[1]).run(&mut rig, stream, &fed.output, pieces);
                assert!(back.unwrap().output == plain);
            }
        }
    }
}

#[test]
fn a_flush_that_is_repeated_adds_nothing_or_an_empty_block_and_comes_to_an_end() {
    let mut rig = Rig::new(Placement::Inline);
    for level in 0..=9 {
        let session = rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Deflate, level));
        for room in [1, 4, 5, 6, 63, 64, 65, 100] {
            let stream = rig.stream(session);
            let pieces = [Flush::None, Flush::Sync, Flush::Sync, Flush::None, Flush::Full, Flush::Full]
                .map(|flush| (0, flush));
            let pieces = pieces.into_iter().chain([(5, Flush::Sync), (0, Flush::Sync), (0, Flush::Finish)]);
            let (_, fed) = Feed::new(session, &[room]).run(&mut rig, stream, b"bytes", pieces);
            let fed = fed.unwrap();
            assert_eq!(decode_part(&fed.output), b"bytes", "level {level}, windows of {room}");
            assert!(fed.output.len() < 100, "{} bytes", fed.output.len());
        }
    }
}

#[test]
fn a_member_behind_the_first_follows_on_in_the_same_stream() {
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        for format in FORMATS {
            let compress = rig.session(ZipConfig::new(ZipOp::Compress, format, 6));
            let plains: Vec<_> =
                KINDS.iter().map(|kind| Sample { kind: *kind, len: 3_000, seed: 9 }.bytes()).collect();
            let mut all = Vec::new();
            for plain in &plains {
                all.extend(rig.run(Call::new(compress, plain, 4_000)).output);
            }
            let session = rig.session(ZipConfig::new(ZipOp::Decompress, format, 0));
            let mut stream = rig.stream(session);
            let mut rest = &all[..];
            for plain in &plains {
                let pieces = even(rest.len(), 500, Flush::None, Flush::Finish);
                let (back, fed) = Feed::new(session, &[700]).run(&mut rig, stream, rest, pieces);
                let fed = fed.unwrap();
                assert!(fed.ended && fed.output == *plain, "{format:?}");
                (stream, rest) = (back, &rest[fed.consumed..]);
            }
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn a_checksum_is_that_of_all_bytes_so_far() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Mixed, len: 5_000, seed: 4 }.bytes();
    for checksum in [Checksum::None, Checksum::Crc32, Checksum::Adler32] {
        let config = |op| ZipConfig { checksum, ..ZipConfig::new(op, ZipFormat::Deflate, 3) };
        let (there, back) = (rig.session(config(ZipOp::Compress)), rig.session(config(ZipOp::Decompress)));
        let (mut compress, mut decompress) = (Some(rig.stream(there)), Some(rig.stream(back)));
        for (i, piece) in plain.chunks(1_000).enumerate() {
            let flush = if i == 4 { Flush::Finish } else { Flush::Sync };
            let done = rig.run(Call { stream: compress.take(), flush, ..Call::new(there, piece, 4_000) });
            compress = done.stream;
            let so_far = checksum.of(&plain[..(i + 1) * 1_000]);
            assert_eq!((done.status, done.checksum, done.ended), (Status::Ok, so_far, i == 4));
            let done =
                rig.run(Call { stream: decompress.take(), flush, ..Call::new(back, &done.output, 4_000) });
            decompress = done.stream;
            assert_eq!((done.status, done.checksum, done.ended), (Status::Ok, so_far, i == 4));
            assert!(done.output == piece);
        }
    }
}

#[test]
fn a_stream_that_was_to_be_finished_takes_no_more() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Text, len: 2_000, seed: 6 }.bytes();
    for format in FORMATS {
        let session = rig.session(ZipConfig::new(ZipOp::Compress, format, 6));
        let stream = Some(rig.stream(session));
        let whole = rig.run(Call { stream, ..Call::new(session, &plain, 4_000) }).output.len();
        for room in whole - 9..whole {
            for (more, flush) in [(&b"more"[..], Flush::Finish), (b"more", Flush::None), (b"", Flush::Sync)] {
                let stream = Some(rig.stream(session));
                let done = rig.run(Call { stream, ..Call::new(session, &plain, room) });
                assert_eq!((done.status, done.consumed), (Status::OutputFull, plain.len()));
                let done = rig.run(Call { stream: done.stream, flush, ..Call::new(session, more, 9_000) });
                assert_eq!(done.status, Status::BadStream, "{format:?} with room for {room}, {flush:?}");
            }
        }
    }
}

#[test]
fn a_restart_in_the_midst_leaves_nothing_behind() {
    let strategy = (
        0..=9_u8,
        9..=15_u8,
        data::sample(150_000),
        data::sample(150_000),
        data::script(70_000),
        0..3_000_usize,
    );
    check(Placement::Inline, 200, strategy, |rig, (level, window_bits, first, second, script, room)| {
        let config = ZipConfig { window_bits, ..ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, level) };
        let session = rig.session(config);
        let (mut stream, mut at, first) = (rig.stream(session), 0, first.bytes());
        // As far as it goes, without sending again what found no room.
        for (len, flush) in script.into_iter().chain([(first.len(), Flush::Finish)]) {
            let piece = &first[at..][..len.min(first.len() - at)];
            let done = rig.run(Call { stream: Some(stream), flush, ..Call::new(session, piece, room) });
            stream = done.stream.unwrap();
            at += done.consumed;
            if done.status == Status::OutputFull {
                break;
            }
        }
        stream.restart();
        let plain = second.bytes();
        let pieces = even(plain.len(), 40_000, Flush::None, Flush::Finish);
        let fed = Feed::new(session, &[65_000]).run(rig, stream, &plain, pieces).1.unwrap();
        let back = rig.session(ZipConfig::new(ZipOp::Decompress, ZipFormat::Zlib, 0));
        let done = rig.run(Call::new(back, &fed.output, plain.len()));
        assert_eq!(done.status, Status::Ok);
        assert!(done.output == plain);
    });
}
