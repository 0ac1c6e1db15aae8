//! Decompression bombs.

use warpdrive_pmd::device::{Flush, SessionId, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{BackEnd, Limits, ZipConfig, ZipFormat, ZipOp};

use crate::data::{FORMATS, back_ends};
use crate::feed::{Fed, Feed, even};
use crate::rig::{CANARY, Call, PLACEMENTS, Rig};

const PLAIN: usize = 600_000;

fn bomb(rig: &mut Rig, format: ZipFormat) -> Vec<u8> {
    let session = rig.session(ZipConfig::new(ZipOp::Compress, format, 9));
    let done = rig.run(Call::new(session, &vec![0; PLAIN], 4_000));
    assert_eq!(done.status, Status::Ok);
    assert!(done.output.len() < PLAIN / 500);
    done.output
}

fn session(rig: &Rig, format: ZipFormat, limits: Limits, back_end: BackEnd) -> SessionId {
    rig.session(ZipConfig { limits, back_end, ..ZipConfig::new(ZipOp::Decompress, format, 0) })
}

/// Ways to read a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    /// A stream in one request.
    AtOnce,
    /// A stream in small pieces and windows.
    Slowly,
}

/// All ways with all back ends.
fn read_all(rig: &mut Rig, format: ZipFormat, limits: Limits, src: &[u8]) -> Vec<(Way, Status, Fed)> {
    let mut results = Vec::new();
    for (back_end, _) in back_ends() {
        let session = session(rig, format, limits, back_end);
        let done = rig.run(Call::new(session, src, PLAIN + 1));
        results.push((Way::Whole, done.status, Fed { output: done.output, ..Fed::default() }));
    }
    for (back_end, _) in &back_ends()[1..] {
        let session = session(rig, format, limits, *back_end);
        for (way, room, piece) in [(Way::Slowly, 5_000, 10), (Way::AtOnce, PLAIN, src.len())] {
            let stream = rig.stream(session);
            let pieces = even(src.len(), piece, Flush::None, Flush::Finish);
            let (stream, fed) = Feed::new(session, &[room]).run(rig, stream, src, pieces);
            assert_eq!(stream.is_broken(), fed.is_err());
            let (status, fed) = fed.map_or_else(|failed| failed, |fed| (Status::Ok, fed));
            results.push((way, status, fed));
        }
    }
    results
}

fn expect(rig: &mut Rig, format: ZipFormat, limits: Limits, src: &[u8], wanted: impl Fn(Way) -> Status) {
    for (way, status, fed) in read_all(rig, format, limits, src) {
        assert_eq!(status, wanted(way), "{format:?}, {limits:?}, {way:?}");
        assert!(fed.output.len() as u64 <= limits.max_output, "more was given away than is permitted");
        assert!(fed.output.iter().all(|b| *b == 0));
        assert!(status != Status::Ok || fed.output.len() == PLAIN);
    }
}

#[test]
fn a_bomb_ends_exactly_at_the_limit_of_its_size() {
    let mut rig = Rig::new(Placement::Inline);
    for format in FORMATS {
        let src = bomb(&mut rig, format);
        let limits = |max_output| Limits { max_output, ..Limits::NONE };
        expect(&mut rig, format, limits(PLAIN as u64), &src, |_| Status::Ok);
        for less in [PLAIN - 1, PLAIN - 5_000, 70_000, 1, 0] {
            expect(&mut rig, format, limits(less as u64), &src, |_| Status::LimitExceeded);
        }
    }
}

#[test]
fn a_bomb_ends_exactly_at_the_limit_of_its_ratio() {
    let mut rig = Rig::new(Placement::Inline);
    // In raw DEFLATE all ways count the same input.
    let format = ZipFormat::Deflate;
    let src = bomb(&mut rig, format);
    // Beyond the 64 KiB that anybody may have.
    let least = (PLAIN - (64 << 10)).div_ceil(src.len()) as u32;
    let limits = |max_ratio| Limits { max_ratio, ..Limits::NONE };
    // A stream in small windows is measured on its way too, and the end of this one has a lower ratio.
    let slowly = |way| if way == Way::Slowly { Status::LimitExceeded } else { Status::Ok };
    expect(&mut rig, format, limits(least), &src, slowly);
    // What DEFLATE can do at most.
    expect(&mut rig, format, limits(1_032), &src, |_| Status::Ok);
    for less in [least - 1, 100, 1, 0] {
        expect(&mut rig, format, limits(less), &src, |_| Status::LimitExceeded);
    }
}

#[test]
fn what_is_not_a_bomb_passes_the_strictest_sensible_limits() {
    let limits = Limits { max_output: 64 << 10, max_ratio: 0 };
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        for format in FORMATS {
            let compress = rig.session(ZipConfig::new(ZipOp::Compress, format, 9));
            for (len, wanted) in [(64 << 10, Status::Ok), ((64 << 10) + 1, Status::LimitExceeded)] {
                let src = rig.run(Call::new(compress, &vec![7; len], 4_000)).output;
                let session = session(&rig, format, limits, BackEnd::Auto);
                assert_eq!(rig.run(Call::new(session, &src, len)).status, wanted, "{format:?}, {len} bytes");
                let stream = Some(rig.stream(session));
                assert_eq!(
                    rig.run(Call { stream, ..Call::new(session, &src, len) }).status,
                    wanted,
                    "stream {format:?} {len}"
                );
            }
        }
    }
}

#[test]
fn no_more_of_a_bomb_is_unpacked_than_shows_that_it_is_one() {
    let mut rig = Rig::new(Placement::Inline);
    let src = bomb(&mut rig, ZipFormat::Zlib);
    let limits = Limits { max_output: 1_000, ..Limits::NONE };
    for (back_end, _) in &back_ends()[1..] {
        let session = session(&rig, ZipFormat::Zlib, limits, *back_end);
        let stream = Some(rig.stream(session));
        let done = rig.run(Call { stream, ..Call::new(session, &src, 50_000) });
        assert_eq!(done.status, Status::LimitExceeded);
        assert!(done.behind[1_001..].iter().all(|b| *b == CANARY), "one byte is enough to see it");
    }
}

#[test]
fn every_stream_of_a_session_has_the_limit_for_itself() {
    let mut rig = Rig::new(Placement::Inline);
    let src = bomb(&mut rig, ZipFormat::Gzip);
    let limits = Limits { max_output: PLAIN as u64, ..Limits::NONE };
    let session = session(&rig, ZipFormat::Gzip, limits, BackEnd::Auto);
    let mut stream = Some(rig.stream(session));
    for _ in 0..3 {
        let done = rig.run(Call { stream, ..Call::new(session, &src, PLAIN) });
        assert_eq!((done.status, done.ended), (Status::Ok, true), "the next member counts from the start");
        stream = done.stream;
    }
}

#[test]
fn a_member_that_says_it_is_small_is_not_believed() {
    let mut rig = Rig::new(Placement::Inline);
    let mut src = bomb(&mut rig, ZipFormat::Gzip);
    let size = src.len() - 4;
    src[size..].copy_from_slice(&100_u32.to_le_bytes());
    let limits = Limits { max_output: 1_000, ..Limits::NONE };
    // A stream ends before it sees what its trailer says.
    let wanted = |way| if way == Way::Whole { Status::BadInput } else { Status::LimitExceeded };
    expect(&mut rig, ZipFormat::Gzip, limits, &src, wanted);
}
