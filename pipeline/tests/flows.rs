//! `zip` with streams: packets of a flow are compressed as one stream, and what gets lost costs no more than it must.

mod common;

use common::*;
use proptest::prelude::*;
use warpdrive_pipeline::stage::Stage;
use warpdrive_pipeline::stage::accel::AccelStage;
use warpdrive_pipeline::stage::flows::Flows;
use warpdrive_pipeline::stage::header::{STREAMED_LEN, Streamed};
use warpdrive_pipeline::stage::zip_flows::ZipFlows;
use warpdrive_pipeline::stats::Reason;
use warpdrive_pmd::device::{Device, SessionSpec};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{Checksum, ZipConfig, ZipFormat, ZipOp, ZipSession};

const PLACEMENTS: [Placement; 2] = [Placement::Inline, CORE];

fn stage(lab: &Lab, op: ZipOp, streams: usize, refresh: u32) -> Box<dyn Stage> {
    let config = ZipConfig { checksum: Checksum::Crc32, ..ZipConfig::new(op, ZipFormat::Deflate, 6) };
    let session = lab.zip.create_session(SessionSpec::Zip(ZipSession::with(config).unwrap())).unwrap();
    let mut zip = lab.zip_operation(op);
    zip.session = session;
    let flows = Flows::new(&lab.zip, session, streams).unwrap();
    let queue = lab.zip.request_queue(lab.depth).unwrap();
    Box::new(AccelStage::new(ZipFlows::new(zip, flows, refresh), queue, lab.depth, lab.full))
}

/// A datagram of flow `flow`, told apart by its source port.
fn frame(flow: u16, id: u16, payload: &[u8]) -> Vec<u8> {
    let spec = Spec::v4(id, payload);
    let mut frame = spec.frame();
    let l4 = spec.headers() - 8;
    frame[l4..l4 + 2].copy_from_slice(&(5000 + flow).to_be_bytes());
    frame[l4 + 6..l4 + 8].fill(0); // no checksum
    frame
}

/// What a sensor might say.
fn reading(flow: u16, n: u16) -> Vec<u8> {
    format!("{{\"sensor\":\"hall-{flow:03}\",\"sequence\":{n},\"temperature\":{}.{},\"unit\":\"celsius\",\"state\":\"ok\"}}", 17 + n % 9, n * 7 % 10)
        .into_bytes()
}

fn payloads(frames: &[Vec<u8>]) -> usize {
    frames.iter().map(|f| f.len() - Spec::v4(0, b"").headers()).sum()
}

fn streamed(frame: &[u8]) -> Option<Streamed> {
    Streamed::read(&frame[Spec::v4(0, b"").headers()..])
}

#[test]
fn packets_of_many_flows_come_back_in_order_and_are_much_smaller_than_alone() {
    for placement in PLACEMENTS {
        let lab = Lab::new(placement, 1024);
        let frames: Vec<_> = (0..300).map(|n| frame(n % 7, n, &reading(n % 7, n))).collect();
        let (between, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, 8, 64)], &frames);
        assert_eq!(line.dropped(), 0);
        let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 8, 64)], &between);
        assert_eq!(line.dropped(), 0);
        assert!(back == frames);
        let (alone, _) = run(&lab.pool, vec![lab.zip(ZipOp::Compress)], &frames);
        let (together, alone, plain) = (payloads(&between), payloads(&alone), payloads(&frames));
        assert!(together * 2 < alone && together * 5 < plain * 2, "{together} of {plain}, alone {alone}");
        assert_eq!(lab.pool.stats().in_use, 0);
        let fresh = between.iter().filter(|f| streamed(f).unwrap().fresh).count();
        assert_eq!(fresh, 7, "300 / 7 = 43 packets each");
    }
}

#[test]
fn a_flow_goes_on_where_its_stream_begins_anew_after_a_loss_or_disorder() {
    const REFRESH: u32 = 10;
    for placement in PLACEMENTS {
        let lab = Lab::new(placement, 512);
        let frames: Vec<_> = (0..40).map(|n| frame(1, n, &reading(1, n))).collect();
        let (between, _) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, 4, REFRESH)], &frames);
        let fresh: Vec<_> = (0..40).filter(|n| streamed(&between[*n]).unwrap().fresh).collect();
        assert_eq!(fresh, [0, 10, 20, 30]);
        let mut lossy = between.clone();
        lossy.swap(25, 26);
        lossy.remove(13);
        let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 4, REFRESH)], &lossy);
        let expected: Vec<_> = (0..13).chain(20..25).chain(30..40).map(|n| frames[n].clone()).collect();
        assert!(back == expected);
        // 14 to 19 behind the one that is missing, and 25 to 29 where two changed places.
        assert_eq!(line.drops(1), [(Reason::LostSync, 6 + 5)]);
        // As many are lost as there are numbers: the checksum tells.
        let many: Vec<_> = (0..300).map(|n| frame(1, n, &reading(1, n))).collect();
        let (between, _) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, 4, 1000)], &many);
        let lossy: Vec<_> = between[..20].iter().chain(&between[276..]).cloned().collect();
        assert_eq!(streamed(&lossy[20]).unwrap().sequence, streamed(&between[20]).unwrap().sequence);
        let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 4, REFRESH)], &lossy);
        assert!(back == many[..20]);
        let drops = line.drops(1);
        assert_eq!(drops.iter().map(|(_, n)| n).sum::<u64>(), 24, "{drops:?}");
        assert!(drops.iter().all(|(r, _)| matches!(r, Reason::BadData | Reason::LostSync)), "{drops:?}");
    }
}

#[test]
fn damage_is_found_and_costs_no_other_flow_anything() {
    let lab = Lab::new(Placement::Inline, 512);
    let frames: Vec<_> = (0..60).map(|n| frame(n % 3, n, &reading(n % 3, n))).collect();
    let (between, _) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, 4, 5)], &frames);
    let body = Spec::v4(0, b"").headers() + STREAMED_LEN;
    let mut harmless = 0;
    for (at, bit) in (0..between[10].len() - body).flat_map(|at| [(at, 0x01), (at, 0x80)]) {
        let mut damaged = between.clone();
        damaged[10][body + at] ^= bit; // of flow 1, whose 5th stream begins with 3 * 5 + 1 = 16
        let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 4, 5)], &damaged);
        let lost = line.drops(1).iter().map(|(_, n)| *n).sum::<u64>();
        // None where the bit only fills up the byte before a flush mark.
        assert!(lost <= 2, "byte {at}: {:?}", line.drops(1));
        let survived = lost == 0;
        harmless += u32::from(survived);
        let expected: Vec<_> = frames
            .iter()
            .enumerate()
            .filter(|(n, _)| survived || *n != 10 && (lost < 2 || *n != 13))
            .map(|(_, f)| f.clone())
            .collect();
        assert!(back == expected, "byte {at}");
    }
    assert!(harmless <= 1, "{harmless}");
}

#[test]
fn what_does_not_get_shorter_goes_as_it_was_and_the_next_begins_anew() {
    let lab = Lab::new(Placement::Inline, 512);
    let frames: Vec<_> = (0..12)
        .map(|n| {
            frame(
                0,
                n,
                &if n == 4 {
                    noise(7, 700)
                } else if n == 8 {
                    b"x".to_vec()
                } else {
                    reading(0, n)
                },
            )
        })
        .chain([frame(0, 99, b"")])
        .collect();
    let (between, _) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, 2, 64)], &frames);
    let fresh: Vec<_> = between.iter().map(|f| streamed(f).map(|h| h.fresh)).collect();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(fresh, [yes, no, no, no, None, yes, no, no, None, yes, no, no, None]);
    let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 2, 64)], &between);
    assert!(back == frames && line.dropped() == 0);
}

#[test]
fn more_flows_than_streams_take_turns() {
    for placement in PLACEMENTS {
        let lab = Lab { depth: 64, ..Lab::new(placement, 2048) };
        let frames: Vec<_> = (0..400).map(|n| frame(n % 61 * n % 37, n, &reading(n % 37, n))).collect();
        let (between, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, 5, 64)], &frames);
        assert_eq!(line.dropped(), 0);
        let fresh = between.iter().filter(|f| streamed(f).is_some_and(|h| h.fresh)).count();
        assert!(fresh > 5, "streams change hands: {fresh}");
        let stored = between.iter().filter(|f| streamed(f).is_none()).count() as u64;
        assert_eq!(line.passes(1), [(Reason::NoStream, stored)], "those that found none are counted");
        let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 37, 64)], &between);
        assert_eq!(line.dropped(), 0);
        assert!(back == frames);
        assert_eq!(lab.pool.stats().in_use, 0);
    }
}

#[test]
fn packets_that_nobody_compressed_go_by_as_the_policy_says_and_stages_may_be_abandoned() {
    let lab = Lab::new(CORE, 512);
    let frames: Vec<_> = (0..10).map(|n| frame(0, n, &reading(0, n))).collect();
    let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 2, 64)], &frames);
    assert_eq!((back == frames, line.passes(1)), (true, vec![(Reason::Plain, 10)]));
    drop(line);
    let mut line = Line::new(vec![stage(&lab, ZipOp::Compress, 2, 64)]);
    for frame in &frames {
        line.give(packet(&lab.pool, frame));
    }
    line.round();
    drop(line);
    assert_eq!(lab.pool.stats().in_use, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_payloads_of_any_flows_come_back(
        packets in proptest::collection::vec((0..6_u16, 0..1400_usize, 0..4_u8, any::<u64>()), 1..80),
        streams in 1..8_usize,
        refresh in 1..20_u32,
        core in any::<bool>(),
    ) {
        let lab = Lab { depth: 32, ..Lab::new(PLACEMENTS[usize::from(core)], 512) };
        let frames: Vec<_> = packets.iter().enumerate().map(|(n, (flow, len, kind, seed))| {
            let payload = match kind {
                0 => noise(*seed, *len),
                1 => vec![*seed as u8; *len],
                _ => reading(*flow, n as u16).into_iter().cycle().take(*len).collect(),
            };
            frame(*flow, n as u16, &payload)
        }).collect();
        let (between, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Compress, streams, refresh)], &frames);
        prop_assert_eq!(line.dropped(), 0);
        prop_assert!(between.iter().all(|f| f.len() <= 14 + MTU));
        let (back, line) = run(&lab.pool, vec![stage(&lab, ZipOp::Decompress, 8, refresh)], &between);
        prop_assert_eq!(line.dropped(), 0);
        prop_assert!(back == frames);
        drop(line);
        prop_assert_eq!(lab.pool.stats().in_use, 0);
    }
}
