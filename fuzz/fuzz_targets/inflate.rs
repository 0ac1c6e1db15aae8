//! Decompression of foreign bytes: as a whole by both back ends, and as a stream in pieces, with and without limits. They
//! agree on what is a stream and what is in it.
//!
//! Where one and the same library computes (zlib-rs), they agree in all. libdeflate takes more than zlib-rs does, but only
//! what RFC 1951 does not define (`walk.rs`): incomplete codes, codes of symbols that do not exist, blocks without an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warpdrive_pmd::device::{Flush, Status};
use warpdrive_pmd::engine::zip::{BackEnd, Limits, ZipConfig, ZipFormat, ZipOp};

mod walk;
mod zip_rig;

use zip_rig::{Call, Done, Rig};

const FORMATS: [ZipFormat; 3] = [ZipFormat::Deflate, ZipFormat::Zlib, ZipFormat::Gzip];
const DICTIONARY: &[u8] = b"a dictionary that both sides know: 0123456789 0123456789 packets queues streams";

struct Fed {
    status: Status,
    output: Vec<u8>,
    consumed: usize,
    checksum: u32,
}

/// Feeds a stream in pieces and windows until it ends, fails, or gives more than `enough`.
fn feed(rig: &mut Rig, config: ZipConfig, src: &[u8], piece: usize, window: usize, enough: usize) -> Fed {
    let session = rig.session(config);
    let mut stream = Some(rig.stream(session));
    let mut fed = Fed { status: Status::Ok, output: Vec::new(), consumed: 0, checksum: 0 };
    let mut end = 0;
    loop {
        end = end.max((fed.consumed + piece).min(src.len()));
        let flush = if end == src.len() { Flush::Finish } else { Flush::None };
        let room = window.min(enough + 1);
        let bytes = &src[fed.consumed..end];
        let Done { status, consumed, output, ended, checksum, stream: back } =
            rig.run(Call { session, src: bytes, room, cuts: &[1, 0, 7], flush, stream });
        let progress = consumed > 0 || !output.is_empty() || status != Status::OutputFull;
        assert!(progress, "it would never end");
        stream = back;
        fed.consumed += consumed;
        fed.output.extend(output);
        (fed.status, fed.checksum) = (status, checksum);
        let failed = !matches!(status, Status::Ok | Status::OutputFull);
        if ended || failed || fed.output.len() > enough {
            return fed;
        }
        if status == Status::Ok {
            assert!(end < src.len(), "the last piece was to be the end");
            end += 1;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [how, piece, window, src @ ..] = data else { return };
    let format = FORMATS[usize::from(how & 3) % 3];
    let room = [0, 100, 5_000, 70_000][usize::from(how >> 2 & 3)];
    let mut config = ZipConfig::new(ZipOp::Decompress, format, 0);
    if how & 16 != 0 && format != ZipFormat::Gzip {
        config.dictionary = DICTIONARY.to_vec();
    }
    if how & 32 != 0 {
        config.window_bits = 9 + piece % 7;
    }
    let (piece, window) = (usize::from(*piece) * 8 + 1, usize::from(*window) * usize::from(*window) + 1);
    // Not thousands of requests.
    let (piece, window) = (piece.max(src.len() / 64), window.max(room / 64));
    Rig::with(|rig| {
        let mut whole = |back_end| {
            let session = rig.session(ZipConfig { back_end, ..config.clone() });
            rig.run(Call { session, src, room, cuts: &[3, 0, 50], flush: Flush::Finish, stream: None })
        };
        let zlib_rs = whole(BackEnd::ZlibRs);
        let libdeflate = config.dictionary.is_empty().then(|| whole(BackEnd::Libdeflate));
        let streamed = feed(rig, config.clone(), src, piece, window, room);
        streams_agree(&zlib_rs, &streamed, room);
        if let Some(libdeflate) = libdeflate {
            back_ends_agree(&libdeflate, &zlib_rs, || walk::is_undefined(format, src));
        }
        let limits = Limits { max_output: room as u64 / 2, max_ratio: u32::from(*how) };
        let limited = feed(rig, ZipConfig { limits, ..config.clone() }, src, piece, window, room);
        within_limits(&limited, &streamed, limits);
    });
});

fn streams_agree(whole: &Done, streamed: &Fed, room: usize) {
    match whole.status {
        Status::Ok => {
            assert_eq!(streamed.status, Status::Ok);
            assert_eq!(streamed.output, whole.output);
            assert_eq!((streamed.consumed, streamed.checksum), (whole.consumed, whole.checksum));
        }
        // What comes behind the room, a stream has seen.
        Status::NoSpace { .. } => {
            let more = streamed.output.len() > room;
            assert!(more || streamed.status != Status::Ok && streamed.output.len() <= room);
        }
        status => assert_eq!(streamed.status, status),
    }
}

fn back_ends_agree(libdeflate: &Done, zlib_rs: &Done, is_undefined: impl FnOnce() -> bool) {
    match (libdeflate.status, zlib_rs.status) {
        (Status::Ok, Status::Ok) => {
            assert_eq!(libdeflate.output, zlib_rs.output);
            assert_eq!((libdeflate.consumed, libdeflate.checksum), (zlib_rs.consumed, zlib_rs.checksum));
        }
        (Status::Ok, status) => assert!(status == Status::BadInput && is_undefined(), "{status:?}"),
        (status, Status::Ok) => panic!("libdeflate says {status:?}"),
        _ => {}
    }
}

fn within_limits(limited: &Fed, free: &Fed, limits: Limits) {
    assert!(limited.output.len() as u64 <= limits.max_output);
    assert!(free.output.starts_with(&limited.output));
    if limited.status != Status::LimitExceeded {
        assert_eq!((limited.status, &limited.output), (free.status, &free.output));
        let most = limited.consumed as u64 * u64::from(limits.max_ratio) + (64 << 10);
        assert!(limited.output.len() as u64 <= most);
    }
}
