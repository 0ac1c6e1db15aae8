//! Blocks that are compressed apart from each other and joined into one stream.

use proptest::prelude::*;
use warpdrive_pmd::device::{Device, Flush, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{BackEnd, ZipConfig, ZipFormat, ZipOp};

use crate::data::{self, KINDS, Sample};
use crate::rig::{CORE, Call, Rig, check};

/// An empty last block.
const END: [u8; 2] = [3, 0];

fn open_blocks(rig: &mut Rig, config: &ZipConfig, plain: &[u8], cuts: &[usize]) -> Vec<u8> {
    let session = rig.session(config.clone());
    let call = |room| Call { flush: Flush::Full, dst_cuts: cuts, ..Call::new(session, plain, room) };
    let needed = match rig.run(call(1)).status {
        Status::NoSpace { needed } => needed as usize,
        other => panic!("into one byte: {other:?}"),
    };
    let done = rig.run(call(needed));
    assert_eq!((done.status, done.ended, done.consumed), (Status::Ok, false, plain.len()));
    done.output
}

fn joins(rig: &mut Rig, blocks: &[(Sample, ZipConfig, Vec<usize>)]) {
    rig.clear();
    let mut stream = Vec::new();
    let mut all = Vec::new();
    for (sample, config, cuts) in blocks {
        let plain = sample.bytes();
        let block = open_blocks(rig, config, &plain, cuts);
        // By itself too.
        read(rig, &[&block[..], &END].concat(), &plain);
        stream.extend(block);
        all.extend(plain);
    }
    stream.extend(END);
    read(rig, &stream, &all);
}

fn read(rig: &mut Rig, stream: &[u8], plain: &[u8]) {
    for back_end in [BackEnd::Libdeflate, BackEnd::ZlibRs] {
        let session =
            rig.session(ZipConfig { back_end, ..ZipConfig::new(ZipOp::Decompress, ZipFormat::Deflate, 0) });
        let done = rig.run(Call::new(session, stream, plain.len()));
        assert!(rig.device.remove_session(session));
        assert_eq!((done.status, done.consumed), (Status::Ok, stream.len()), "{back_end:?}");
        assert!(done.output == plain, "{back_end:?}");
    }
}

fn block() -> impl Strategy<Value = (Sample, ZipConfig, Vec<usize>)> {
    let config = data::setting(false).prop_map(|mut setting| {
        setting.format = ZipFormat::Deflate;
        setting.dictionary.len = 0;
        setting.config(ZipOp::Compress)
    });
    (data::sample(100_000), config, data::cuts())
}

#[test]
fn blocks_of_any_sessions_joined_are_one_stream() {
    check(Placement::Inline, 150, proptest::collection::vec(block(), 1..6), |rig, blocks| {
        joins(rig, &blocks)
    });
}

#[test]
fn blocks_from_an_engine_core_joined_are_one_stream() {
    check(CORE, 10, proptest::collection::vec(block(), 1..6), |rig, blocks| joins(rig, &blocks));
}

#[test]
fn every_level_opens_every_kind_of_block() {
    let mut rig = Rig::new(Placement::Inline);
    for kind in KINDS {
        for back_end in [BackEnd::Libdeflate, BackEnd::ZlibRs] {
            let top = if back_end == BackEnd::Libdeflate { 12 } else { 9 };
            // Lengths about those at which a block ends at each bit of a byte.
            let blocks: Vec<_> = (0..=top)
                .flat_map(|level| [0, 1, 2, 3, 4, 5, 6, 7, 8, 700, 70_000].map(|len| (level, len)))
                .map(|(level, len)| {
                    let config =
                        ZipConfig { back_end, ..ZipConfig::new(ZipOp::Compress, ZipFormat::Deflate, level) };
                    (Sample { kind, len, seed: len as u64 }, config, Vec::new())
                })
                .collect();
            joins(&mut rig, &blocks);
        }
    }
}

#[test]
fn the_room_of_open_blocks_is_what_they_take_or_it_is_said_how_much_is_enough() {
    let mut rig = Rig::new(Placement::Inline);
    for (kind, level) in KINDS.into_iter().flat_map(|kind| [1, 6, 12].map(|level| (kind, level))) {
        let plain = Sample { kind, len: 300, seed: 4 }.bytes();
        let session = rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Deflate, level));
        let call = |room| Call { flush: Flush::Full, ..Call::new(session, &plain, room) };
        let best = rig.run(call(1_000)).output.len();
        for room in 0..best + 30 {
            let done = rig.run(call(room));
            match done.status {
                Status::Ok => read(&mut rig, &[&done.output[..], &END].concat(), &plain),
                Status::NoSpace { needed } => {
                    assert!(room < best + 16, "{best} bytes, but {room} are not enough");
                    assert_eq!(rig.run(call(needed as usize)).status, Status::Ok);
                }
                other => panic!("{other:?} with room for {room}"),
            }
        }
    }
}
