//! Dictionaries, and windows.

use warpdrive_pmd::device::{Flush, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{
    BackEnd, MAX_DICTIONARY, ZipConfig, ZipError, ZipFormat, ZipOp, ZipSession,
};

use crate::data::{FORMATS, Kind, Sample};
use crate::feed::{Feed, even};
use crate::rig::{CANARY, Call, Rig};

fn config(op: ZipOp, format: ZipFormat, dictionary: &[u8]) -> ZipConfig {
    ZipConfig { dictionary: dictionary.to_vec(), ..ZipConfig::new(op, format, 6) }
}

/// Statuses of a decompression: stateless, and by a stream in pieces.
fn both(rig: &mut Rig, config: ZipConfig, src: &[u8], plain: &[u8]) -> [Status; 2] {
    let session = rig.session(config);
    let whole = rig.run(Call::new(session, src, plain.len()));
    let stream = rig.stream(session);
    let pieces = even(src.len(), 7, Flush::None, Flush::Finish);
    let (_, fed) = Feed::new(session, &[100]).run(rig, stream, src, pieces);
    for (status, output) in [
        (whole.status, &whole.output),
        match &fed {
            Ok(fed) => (Status::Ok, &fed.output),
            Err((status, fed)) => (*status, &fed.output),
        },
    ] {
        assert!(status != Status::Ok || output == plain, "other bytes");
    }
    [whole.status, fed.map_or_else(|(status, _)| status, |_| Status::Ok)]
}

#[test]
fn a_dictionary_makes_it_shorter_and_is_needed_to_read_it() {
    let mut rig = Rig::new(Placement::Inline);
    let dictionary = Sample { kind: Kind::Random, len: 2_000, seed: 1 }.bytes();
    let plain = [&dictionary[500..1_500], b"and more", &dictionary[..400]].concat();
    for format in [ZipFormat::Deflate, ZipFormat::Zlib] {
        let session = rig.session(config(ZipOp::Compress, format, &dictionary));
        let whole = rig.run(Call::new(session, &plain, 4_000)).output;
        let stream = rig.stream(session);
        let pieces = even(plain.len(), 100, Flush::None, Flush::Finish);
        let streamed = Feed::new(session, &[50]).run(&mut rig, stream, &plain, pieces).1.unwrap().output;
        for src in [whole, streamed] {
            assert!(src.len() < 100, "{} bytes", src.len());
            let mut read = |dictionary: &[u8]| {
                both(&mut rig, config(ZipOp::Decompress, format, dictionary), &src, &plain)
            };
            assert_eq!(read(&dictionary), [Status::Ok; 2]);
            // It refers to what is not there, or zlib's header names another.
            assert_eq!(read(b""), [Status::BadInput; 2], "{format:?} without the dictionary");
            assert_eq!(read(b"another"), [Status::BadInput; 2], "{format:?} with another dictionary");
        }
    }
}

#[test]
fn another_dictionary_than_the_header_names_is_refused_before_anything_comes_out() {
    let mut rig = Rig::new(Placement::Inline);
    let dictionaries = [1, 2].map(|seed| Sample { kind: Kind::Text, len: 2_000, seed }.bytes());
    let plain = Sample { kind: Kind::Text, len: 3_000, seed: 3 }.bytes();
    let session = rig.session(config(ZipOp::Compress, ZipFormat::Zlib, &dictionaries[0]));
    let src = rig.run(Call::new(session, &plain, 4_000)).output;
    for (dictionary, wanted) in dictionaries.iter().zip([Status::Ok, Status::BadInput]) {
        let session = rig.session(config(ZipOp::Decompress, ZipFormat::Zlib, dictionary));
        let whole = rig.run(Call::new(session, &src, plain.len()));
        let stream = Some(rig.stream(session));
        let streamed = rig.run(Call { stream, ..Call::new(session, &src, plain.len()) });
        for done in [whole, streamed] {
            assert_eq!(done.status, wanted);
            let untouched = done.behind.len() == plain.len() && done.behind.iter().all(|b| *b == CANARY);
            assert_eq!(untouched, wanted != Status::Ok, "nothing is unpacked with the wrong one");
        }
    }
}

#[test]
fn a_zlib_stream_without_a_dictionary_is_read_by_who_has_one() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Text, len: 3_000, seed: 1 }.bytes();
    let session = rig.session(config(ZipOp::Compress, ZipFormat::Zlib, b""));
    let src = rig.run(Call::new(session, &plain, 4_000)).output;
    let config = config(ZipOp::Decompress, ZipFormat::Zlib, b"not needed");
    assert_eq!(both(&mut rig, config, &src, &plain), [Status::Ok; 2]);
}

#[test]
fn what_no_session_can_be_is_refused_with_a_remedy() {
    let plain = ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, 6);
    let error = |change: fn(&mut ZipConfig)| {
        let mut config = plain.clone();
        change(&mut config);
        ZipSession::with(config).expect_err("it cannot be")
    };
    assert_eq!(error(|c| c.level = 13), ZipError::Level(13));
    assert_eq!(error(|c| c.window_bits = 8), ZipError::Window(8));
    assert_eq!(error(|c| c.window_bits = 16), ZipError::Window(16));
    assert_eq!(
        error(|c| c.dictionary = vec![0; MAX_DICTIONARY + 1]),
        ZipError::LongDictionary(MAX_DICTIONARY + 1)
    );
    let gzip = error(|c| (c.format, c.dictionary) = (ZipFormat::Gzip, vec![1]));
    assert_eq!(gzip, ZipError::GzipDictionary);
    let back_end: [fn(&mut ZipConfig); 5] = [
        |c| (c.back_end, c.dictionary) = (BackEnd::Libdeflate, vec![1]),
        |c| (c.back_end, c.window_bits) = (BackEnd::Libdeflate, 14),
        |c| (c.back_end, c.level) = (BackEnd::ZlibRs, 10),
        |c| (c.window_bits, c.level) = (14, 10),
        |c| (c.dictionary, c.level) = (vec![1], 10),
    ];
    for change in back_end {
        let error = error(change);
        assert!(matches!(error, ZipError::BackEnd { .. }), "{error:?}");
        assert!(error.to_string().contains("auto"), "{error}");
    }
}

#[test]
fn a_header_that_asks_for_more_window_than_the_session_permits_is_refused() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Text, len: 3_000, seed: 1 }.bytes();
    for made in 9..=15 {
        let session = rig
            .session(ZipConfig { window_bits: made, ..ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, 6) });
        let src = rig.run(Call::new(session, &plain, 4_000)).output;
        for permitted in 9..=15 {
            let config =
                ZipConfig { window_bits: permitted, ..ZipConfig::new(ZipOp::Decompress, ZipFormat::Zlib, 0) };
            let wanted = if made <= permitted { Status::Ok } else { Status::BadInput };
            assert_eq!(both(&mut rig, config, &src, &plain), [wanted; 2], "2^{made} into 2^{permitted}");
        }
    }
}

#[test]
fn a_stream_refers_no_further_back_than_its_window() {
    let mut rig = Rig::new(Placement::Inline);
    // Noise that comes again after 1,000 bytes: only a window that is wider finds it.
    let noise = Sample { kind: Kind::Random, len: 1_000, seed: 8 }.bytes();
    let plain = noise.repeat(2);
    for format in FORMATS {
        for window_bits in 9..=15 {
            let config = ZipConfig { window_bits, ..ZipConfig::new(ZipOp::Compress, format, 9) };
            let session = rig.session(config);
            let whole = rig.run(Call::new(session, &plain, 4_000)).output.len();
            let stream = rig.stream(session);
            let pieces = [(plain.len(), Flush::Finish)];
            let fed = Feed::new(session, &[4_000]).run(&mut rig, stream, &plain, pieces).1.unwrap();
            for len in [whole, fed.output.len()] {
                assert_eq!(len < 1_200, window_bits > 10, "{len} bytes with a window of 2^{window_bits}");
            }
        }
    }
}
