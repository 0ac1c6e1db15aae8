//! Streams and sessions that come and go.

use std::time::{Duration, Instant};

use warpdrive_pmd::device::{Device, DeviceError, Flush, SessionId, Status};
use warpdrive_pmd::engine::zip::{BackEnd, ZipConfig, ZipFormat, ZipOp};

use crate::data::{Kind, Sample};
use crate::rig::{Call, PLACEMENTS, Rig};

const PATIENCE: Duration = Duration::from_secs(30);

fn gzip(op: ZipOp) -> ZipConfig {
    ZipConfig::new(op, ZipFormat::Gzip, 6)
}

#[test]
fn a_stream_of_another_session_is_refused_and_stays_as_it_was() {
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        let [mine, other] = [rig.session(gzip(ZipOp::Compress)), rig.session(gzip(ZipOp::Compress))];
        let back = rig.session(gzip(ZipOp::Decompress));
        let stream = Some(rig.stream(mine));
        let first = rig.run(Call { stream, flush: Flush::Sync, ..Call::new(mine, b"first, ", 100) });
        assert_eq!(first.stream.as_ref().unwrap().session(), mine);
        let mut stream = first.stream;
        for wrong in [other, back] {
            let request = rig.request(Call { stream, ..Call::new(wrong, b"astray", 100) });
            let mut completion = rig.complete(request);
            assert_eq!((completion.status, completion.produced), (Status::BadStream, 0));
            stream = completion.request.take_stream();
            assert!(!stream.as_ref().unwrap().is_broken(), "nothing has happened to it");
        }
        let second = rig.run(Call { stream, ..Call::new(mine, b"second", 100) });
        assert_eq!(second.status, Status::Ok);
        let src = [first.output, second.output].concat();
        assert_eq!(rig.run(Call::new(back, &src, 100)).output, b"first, second");
    }
}

#[test]
fn a_stream_of_another_device_is_refused() {
    for placement in PLACEMENTS {
        let (mut rig, elsewhere) = (Rig::new(placement), Rig::new(PLACEMENTS[0]));
        let here = rig.session(gzip(ZipOp::Decompress));
        let there = elsewhere.session(gzip(ZipOp::Compress));
        assert_eq!(here, there, "ids alone do not tell them apart");
        let request =
            rig.request(Call { stream: Some(elsewhere.stream(there)), ..Call::new(here, b"bytes", 100) });
        assert_eq!(rig.complete(request).status, Status::BadStream);
    }
}

#[test]
fn a_session_that_is_removed_takes_its_streams_along() {
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        let session = rig.session(gzip(ZipOp::Compress));
        let stream = Some(rig.stream(session));
        let done = rig.run(Call { stream, flush: Flush::None, ..Call::new(session, b"bytes", 100) });
        assert!(rig.device.remove_session(session));
        let request = rig.request(Call { stream: done.stream, ..Call::new(session, b"more", 100) });
        let mut completion = rig.complete(request);
        assert_eq!((completion.status, completion.produced), (Status::NoSession, 0));
        let stream = completion.request.take_stream().expect("the stream comes back");
        assert!(matches!(rig.device.create_stream(session), Err(DeviceError::NoSession { .. })));
        // Its place is taken by another session, which is not its own.
        let next = rig.session(gzip(ZipOp::Compress));
        assert_ne!(next, session);
        let request = rig.request(Call { stream: Some(stream), ..Call::new(next, b"more", 100) });
        assert_eq!(rig.complete(request).status, Status::BadStream);
    }
}

#[test]
fn streams_in_flight_go_with_their_queue() {
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        let session = rig.session(gzip(ZipOp::Compress));
        let plain = Sample { kind: Kind::Text, len: 20_000, seed: 1 }.bytes();
        for received in [0, 3] {
            for _ in 0..16 {
                let stream = Some(rig.stream(session));
                let request =
                    rig.request(Call { stream, flush: Flush::Sync, ..Call::new(session, &plain, 30_000) });
                rig.queue.send(request).unwrap();
            }
            for _ in 0..received {
                drop(rig.queue.recv_sync(PATIENCE).unwrap());
            }
            rig.queue = rig.device.request_queue(32).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while rig.pool.stats().in_use > 0 {
                assert!(Instant::now() < deadline, "packets in flight did not come back");
                std::thread::yield_now();
            }
        }
        let stream = Some(rig.stream(session));
        assert_eq!(rig.run(Call { stream, ..Call::new(session, &plain, 30_000) }).status, Status::Ok);
    }
}

#[test]
fn a_session_removed_while_its_requests_wait_answers_each_of_them() {
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        let session = rig.session(gzip(ZipOp::Compress));
        for round in 0..20 {
            let session = if round == 0 { session } else { rig.session(gzip(ZipOp::Compress)) };
            for _ in 0..16 {
                let stream = Some(rig.stream(session));
                let request = rig.request(Call { stream, ..Call::new(session, &[7; 5_000], 6_000) });
                rig.queue.send(request).unwrap();
            }
            assert!(rig.device.remove_session(session));
            for _ in 0..16 {
                let mut completion = rig.queue.recv_sync(PATIENCE).expect("an answer to each");
                let done = completion.status == Status::Ok && completion.ended;
                assert!(done || completion.status == Status::NoSession, "{:?}", completion.status);
                assert!(!completion.request.take_stream().expect("with its stream").is_broken());
            }
        }
    }
}

#[test]
fn streams_side_by_side_do_not_mix() {
    for placement in PLACEMENTS {
        let mut rig = Rig::new(placement);
        let sessions: Vec<SessionId> = (0..10)
            .map(|level| rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, level)))
            .collect();
        let plains: Vec<Vec<u8>> =
            (0..10).map(|seed| Sample { kind: Kind::Mixed, len: 4_000, seed }.bytes()).collect();
        let mut streams: Vec<_> = sessions.iter().map(|session| Some(rig.stream(*session))).collect();
        let mut outputs = vec![Vec::new(); 10];
        for turn in 0..8 {
            let flush = if turn == 7 { Flush::Finish } else { Flush::None };
            for i in 0..10 {
                let piece = &plains[i][turn * 500..][..500];
                let stream = streams[i].take();
                let request = rig.request(Call { stream, flush, ..Call::new(sessions[i], piece, 6_000) });
                rig.queue.send(request.with_tag(i as u64)).unwrap();
            }
            for _ in 0..10 {
                let mut completion = rig.queue.recv_sync(PATIENCE).unwrap();
                assert_eq!((completion.status, completion.ended), (Status::Ok, turn == 7));
                let i = completion.request.tag as usize;
                streams[i] = completion.request.take_stream();
                let n = completion.produced as usize;
                outputs[i].extend_from_slice(&completion.request.into_packets().1.unwrap().data()[..n]);
            }
        }
        let back = rig.session(ZipConfig::new(ZipOp::Decompress, ZipFormat::Zlib, 0));
        for (plain, output) in plains.iter().zip(&outputs) {
            assert!(rig.run(Call::new(back, output, 4_000)).output == *plain);
        }
    }
}

#[test]
fn a_session_whose_operation_cannot_be_done_in_pieces_says_what_to_do() {
    let rig = Rig::new(PLACEMENTS[0]);
    let level = rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, 10));
    let config = ZipConfig { back_end: BackEnd::Libdeflate, ..gzip(ZipOp::Decompress) };
    let back_end = rig.session(config);
    for (session, remedy) in [(level, "a level of streams, 0 to 9"), (back_end, "\"auto\" or \"zlib-rs\"")] {
        match rig.device.create_stream(session) {
            Err(e @ DeviceError::NoStream { .. }) => assert!(e.to_string().contains(remedy), "{e}"),
            other => panic!("{other:?}"),
        }
    }
}
