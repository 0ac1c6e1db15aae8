//! Streams that go on, end, fail and begin anew.

use std::sync::atomic::Ordering;
use std::time::Duration;

use warpdrive_mempool::*;
use warpdrive_pmd::device::*;
use warpdrive_pmd::engine::SoftDevice;
use warpdrive_pmd::engine::zip::ZipEngine;

use crate::{Bench, Makers, PLACEMENTS, Tape, chain, pool, room};

#[test]
fn a_stream_goes_on_until_it_ends_or_is_restarted_and_stops_when_it_fails() {
    for placement in PLACEMENTS {
        let mut bench = Bench::<Tape<true>>::new(placement, Makers::default());
        let mut stream = bench.stream();
        let mut step = |stream: &mut Option<Stream>, bytes: &[u8], flush| {
            let (status, turn, back) = bench.step(stream.take().unwrap(), bytes, flush);
            *stream = Some(back);
            (status, turn)
        };
        let ok = |turn: u32, flush: Flush| (Status::Ok, turn * 100 + flush as u32);
        stream.restart(); // of what has not begun: nothing
        let mut stream = Some(stream);
        for (turn, flush) in (1..).zip([Flush::None, Flush::Sync, Flush::Full, Flush::Finish]) {
            assert_eq!(step(&mut stream, b"bytes", flush), ok(turn, flush));
        }
        assert_eq!(step(&mut stream, b".", Flush::Finish), ok(5, Flush::Finish));
        assert_eq!(step(&mut stream, b"after the end", Flush::None), ok(1, Flush::None));
        stream.as_mut().unwrap().restart();
        assert_eq!(step(&mut stream, b"anew", Flush::None), ok(1, Flush::None));
        for (fault, wanted) in [
            (b"0", Status::BadInput),
            (b"+", Status::EngineFailed),
            (b">", Status::EngineFailed),
            (b"!", Status::EngineFailed),
        ] {
            assert_eq!(step(&mut stream, fault, Flush::None).0, wanted);
            assert!(stream.as_ref().unwrap().is_broken());
            for _ in 0..2 {
                assert_eq!(step(&mut stream, b"on", Flush::None), (Status::BadStream, 0));
            }
            stream.as_mut().unwrap().restart();
            assert!(!stream.as_ref().unwrap().is_broken());
            assert_eq!(step(&mut stream, b"anew", Flush::None), ok(1, Flush::None), "{wanted:?}");
            assert_eq!(step(&mut stream, b"on", Flush::None), ok(2, Flush::None));
        }
    }
}

/// Sends a batch of streams, one of which panics, and checks what comes back.
fn a_batch_that_panics(bench: &mut Bench<Tape<true>>) {
    let mut requests: Vec<_> = [b"a", b"!", b"b", b"c"]
        .map(|bytes| {
            let mut request = bench.request(&[bytes], &[1]);
            request.set_stream(bench.stream(), Flush::None);
            request.with_tag(u64::from(bytes[0]))
        })
        .into();
    assert_eq!(bench.queue.send_burst(&mut requests), 4);
    for _ in 0..4 {
        let mut done = bench.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
        let stream = done.request.take_stream().expect("no stream is lost");
        // An engine core may have begun before all were there.
        let failed = done.request.tag == u64::from(b'!') || done.status != Status::Ok;
        assert_eq!((done.status == Status::EngineFailed, done.produced == 0), (failed, failed));
        assert!(!failed || stream.is_broken() || bench.device.stats().failed, "{:?}", done.status);
    }
}

#[test]
fn a_panic_breaks_the_streams_of_its_batch_and_gives_them_back() {
    for placement in PLACEMENTS {
        let makers = Makers::default();
        let mut bench = Bench::<Tape<true>>::new(placement, makers.clone());
        for round in 1..=3 {
            a_batch_that_panics(&mut bench);
            assert_eq!(bench.device.stats().panics, round);
            let (status, turn, _) = bench.step(bench.stream(), b"on", Flush::None);
            assert_eq!((status, turn), (Status::Ok, 100), "the next engine goes on");
        }
        // And if there can be no next one.
        makers.broken.store(true, Ordering::Relaxed);
        a_batch_that_panics(&mut bench);
        assert!(bench.device.stats().failed);
        let (status, ..) = bench.step(bench.stream(), b"on", Flush::None);
        assert_eq!(status, Status::EngineFailed);
        drop(bench.queue);
        assert_eq!(bench.pool.stats().in_use, 0);
    }
}

#[test]
fn a_stream_is_for_its_own_device_only() {
    for placement in PLACEMENTS {
        let mut bench = Bench::<Tape<true>>::new(placement, Makers::default());
        let alike = Bench::<Tape<true>>::new(placement, Makers::default());
        let other = Bench::<ZipEngine>::new(placement, ());
        assert_eq!([alike.session, other.session], [bench.session; 2], "numbers do not tell");
        for stream in [alike.stream(), other.stream()] {
            assert_eq!(bench.step(stream, b"astray", Flush::None).0, Status::BadStream);
        }
        let stream = bench.stream();
        assert_eq!(bench.step(stream, b"at home", Flush::None).0, Status::Ok);
    }
}

#[test]
fn what_a_stateless_request_says_reaches_the_engine() {
    let mut bench = Bench::<Tape<true>>::new(PLACEMENTS[0], Makers::default());
    for flush in [Flush::None, Flush::Sync, Flush::Full, Flush::Finish] {
        for checksum in [None, Some(7)] {
            let mut request = bench.request(&[b"bytes"], &[5]);
            (request.flush, request.checksum) = (flush, checksum);
            let done = bench.run(request);
            assert_eq!(done.checksum, checksum.unwrap_or(0) * 10 + flush as u32);
        }
    }
    // Unless it says something, it is complete.
    assert_eq!(bench.request(&[b"x"], &[1]).flush, Flush::Finish);
}

#[test]
fn an_engine_without_streams_says_so() {
    use warpdrive_pmd::engine::rsa::{EcCurve, EcKey, EcOp, EcSession, RsaEngine};
    let domain = Domain::new(DmaMode::Sva);
    let pool = pool(&domain);
    let device = SoftDevice::<RsaEngine>::open("rsa0", PLACEMENTS[0], &domain).unwrap();
    let key = EcKey::generate(EcCurve::P256).unwrap();
    let session = SessionSpec::Ec(EcSession::new(EcOp::Sign, &key).unwrap());
    let session = device.create_session(session).unwrap();
    match device.create_stream(session) {
        Err(e @ DeviceError::NoStream { .. }) => assert!(e.to_string().contains("stand alone"), "{e}"),
        other => panic!("{other:?}"),
    }
    let mut queue = device.request_queue(4).unwrap();
    let zip = Bench::<ZipEngine>::new(PLACEMENTS[0], ());
    let mut request = Request::new(session, chain(&pool, &[b"to be signed"]));
    request.set_src(0..12).unwrap();
    request.set_output(room(&pool, &[72]), 0..72).unwrap();
    request.set_stream(zip.stream(), Flush::Finish);
    queue.send(request).unwrap();
    assert_eq!(queue.recv_sync(Duration::from_secs(30)).unwrap().status, Status::BadStream);
}
