//! What a device does with an engine that misbehaves, and with addresses that are not its own.

use std::time::Duration;

use warpdrive_mempool::*;
use warpdrive_pmd::device::{Completion, Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Engine, Job, Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Sleep }];

/// Copies its input, except when the first byte says otherwise.
struct Naughty;

impl Engine for Naughty {
    type Session = ();
    type Options = ();
    const BATCH: usize = 4;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "naughty";

    fn new((): &()) -> Self {
        Self
    }

    fn session(_: SessionSpec) -> Result<(), SessionSpec> {
        Ok(())
    }

    fn run(&mut self, jobs: &mut [Job<'_, ()>]) {
        assert!(jobs.len() <= Self::BATCH);
        for job in jobs {
            job.dst.copy_from_slice(job.src);
            job.result = Ok(job.dst.len());
            match job.src.first() {
                Some(b'!') => panic!("on purpose"),
                Some(b'+') => job.result = Ok(job.dst.len() + 1),
                Some(b'0') => job.result = Err(Status::BadInput),
                _ => {}
            }
        }
    }

    fn describe((): &()) -> (Vec<&'static str>, String) {
        (Vec::new(), String::new())
    }
}

fn pool(domain: &Domain) -> Mempool {
    let pages = PageChoice::Exactly(PageSize::Size4K);
    Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, domain).unwrap()
}

fn spec() -> SessionSpec {
    SessionSpec::Zip(ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1).unwrap())
}

fn request(pool: &Mempool, session: SessionId, bytes: &[u8]) -> Request {
    let mut packet = pool.alloc().unwrap();
    packet.extend_from_slice(bytes).unwrap();
    let mut output = pool.alloc().unwrap();
    output.append(bytes.len()).unwrap();
    let mut request = Request::new(session, packet).with_tag(u64::from(bytes[0]));
    request.set_src(0..bytes.len()).unwrap();
    request.set_output(output, 0..bytes.len()).unwrap();
    request
}

fn complete(queue: &mut dyn Queue) -> Completion {
    queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s")
}

#[test]
fn an_engine_that_panics_costs_its_batch_and_no_more() {
    for placement in PLACEMENTS {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pool = pool(&domain);
        let device = SoftDevice::<Naughty>::open("naughty", placement, &domain).unwrap();
        let session = device.create_session(spec()).unwrap();
        let mut queue = device.request_queue(16).unwrap();
        for _ in 0..3 {
            // One batch: an engine core may see less of it at first, which makes its first batch smaller.
            let mut requests: Vec<_> =
                [b"a.", b"b.", b"!.", b"c."].map(|b| request(&pool, session, b)).into();
            assert_eq!(queue.send_burst(&mut requests), 4);
            let done: Vec<_> = (0..4).map(|_| complete(&mut *queue)).collect();
            let tags: Vec<_> = done.iter().map(|c| c.request.tag as u8).collect();
            assert_eq!(tags, b"ab!c", "in order");
            for c in &done {
                let failed = c.status == Status::EngineFailed && c.produced == 0;
                assert!(failed || (placement != Placement::Inline && c.status == Status::Ok));
            }
            assert_eq!(done[2].status, Status::EngineFailed);
            drop(done);
            // The same queue and engine go on.
            queue.send(request(&pool, session, b"fine")).unwrap();
            let c = complete(&mut *queue);
            assert_eq!((c.status, c.produced), (Status::Ok, 4));
            let (packet, output) = c.request.into_packets();
            assert_eq!(packet.unwrap().data(), output.unwrap().data());
        }
        assert_eq!((queue.in_flight(), pool.stats().in_use), (0, 0));
        // Released with requests in flight, some of which panic.
        let mut requests: Vec<_> = (0..16).map(|i| request(&pool, session, &[b" !"[i % 2], 0])).collect();
        queue.send_burst(&mut requests);
        drop(queue);
        assert_eq!(pool.stats().in_use, 0, "{placement:?}");
        drop(device);
    }
}

#[test]
fn an_engine_cannot_claim_to_have_written_more_than_there_is_room_for() {
    for placement in PLACEMENTS {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(&domain);
        let device = SoftDevice::<Naughty>::open("naughty", placement, &domain).unwrap();
        let session = device.create_session(spec()).unwrap();
        let mut queue = device.request_queue(4).unwrap();
        for (bytes, status, produced) in
            [(b"++", Status::EngineFailed, 0), (b"00", Status::BadInput, 0), (b"..", Status::Ok, 2)]
        {
            queue.send(request(&pool, session, bytes)).unwrap();
            let c = complete(&mut *queue);
            assert_eq!((c.status, c.produced), (status, produced));
        }
    }
}

#[test]
fn a_packet_of_another_domain_is_a_fault_and_touches_nobody_elses_memory() {
    let (ours, theirs) = (Domain::new(DmaMode::ShareDomain), Domain::new(DmaMode::ShareDomain));
    let (pool, other) = (pool(&ours), pool(&theirs));
    let device = SoftDevice::<ZipEngine>::open("zip", Placement::Inline, &ours).unwrap();
    let session = device.create_session(spec()).unwrap();
    let mut queue = device.request_queue(4).unwrap();
    // Every buffer of the device's own pool is somebody's.
    let mut held: Vec<Packet> = std::iter::from_fn(|| pool.alloc()).collect();
    held.iter_mut().for_each(|p| p.append(200).unwrap().fill(0xaa));
    let mut packet = other.alloc().unwrap();
    packet.append(200).unwrap().fill(0);
    let mut request = Request::new(session, packet);
    request.set_src(0..100).unwrap();
    request.set_dst(100..200).unwrap();
    queue.send(request).unwrap();
    let c = complete(&mut *queue);
    assert!(matches!(c.status, Status::Fault(_)), "{:?}", c.status);
    assert!(held.iter().all(|p| p.data().iter().all(|b| *b == 0xaa)));
}

#[test]
fn what_a_request_says_after_its_packets_were_changed_for_others_is_checked_again() {
    let domain = Domain::new(DmaMode::Sva);
    let pool = pool(&domain);
    let device = SoftDevice::<ZipEngine>::open("zip", Placement::Inline, &domain).unwrap();
    let session = device.create_session(spec()).unwrap();
    let mut queue = device.request_queue(4).unwrap();
    let packet = |n: usize| {
        let mut p = pool.alloc().unwrap();
        p.append(n).unwrap().fill(7);
        p
    };
    let mut request = Request::new(session, packet(300));
    request.set_src(0..100).unwrap();
    // The output is replaced: the destination is the last one's.
    request.set_output(packet(50), 0..50).unwrap();
    let last = packet(60);
    let at = last.iova();
    request.set_output(last, 10..60).unwrap();
    assert_eq!((request.dst().iova.0, request.dst().len), (at.0 + 10, 50));
    assert_eq!(pool.stats().in_use, 2, "the replaced output went back");
    assert!(request.set_output(packet(60), 10..61).is_err());
    assert!(request.set_dst(0..301).is_err());
    assert_eq!(request.dst().iova.0, at.0 + 10, "what fails changes nothing");
    // In place again, over the source: refused by the device.
    request.set_dst(99..200).unwrap();
    queue.send(request).unwrap();
    let c = complete(&mut *queue);
    assert_eq!((c.status, c.produced), (Status::Overlap, 0));
    drop(c);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_queue_whose_device_has_gone_keeps_what_was_done_and_takes_no_more() {
    let domain = Domain::new(DmaMode::Sva);
    let pool = pool(&domain);
    let placement = Placement::Core { cpu: 0, idle: IdlePolicy::Sleep };
    let device = SoftDevice::<Naughty>::open("naughty", placement, &domain).unwrap();
    let session = device.create_session(spec()).unwrap();
    let mut queue = device.request_queue(16).unwrap();
    for _ in 0..3 {
        queue.send(request(&pool, session, b"abc")).unwrap();
    }
    drop(device);
    for _ in 0..3 {
        assert_eq!(complete(queue.as_mut()).status, Status::Ok, "what was sent before is completed");
    }
    let refused = queue.send(request(&pool, session, b"late"));
    assert!(refused.is_err(), "nobody would serve it");
    drop(refused);
    assert_eq!((queue.in_flight(), queue.recv_sync(Duration::from_secs(30)).is_none()), (0, true));
    drop(queue);
    assert_eq!(pool.stats().in_use, 0);
}
