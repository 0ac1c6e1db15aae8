//! What a device does with an engine that misbehaves, and with addresses that are not its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use warpdrive_mempool::*;
use warpdrive_pmd::device::{
    Completion, Device, DeviceError, Queue, Request, SessionId, SessionSpec, Status,
};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Engine, Job, NoStream, Placement, SoftDevice, ThreadWatch, Waiting};
use warpdrive_pmd::idle::IdlePolicy;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Sleep }];

/// Copies its input, except when the first byte says otherwise.
struct Naughty;

impl Engine for Naughty {
    type Session = ();
    type Stream = NoStream;
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

/// How often it was told that the thread only serves from now on.
struct Watch(Arc<AtomicUsize>);

impl ThreadWatch for Watch {
    fn started(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn steady(&mut self, steady: bool) {
        self.0.fetch_add(usize::from(steady), Ordering::Relaxed);
    }
}

#[test]
fn who_watches_the_thread_learns_that_its_engine_has_recovered() {
    let domain = Domain::new(DmaMode::Sva);
    let pool = pool(&domain);
    let steady = Arc::new(AtomicUsize::new(0));
    let watch = Some(Box::new(Watch(Arc::clone(&steady))) as Box<dyn ThreadWatch>);
    let device = SoftDevice::<Naughty>::open_watched("naughty", PLACEMENTS[1], &domain, (), watch).unwrap();
    let session = device.create_session(spec()).unwrap();
    let mut queue = device.request_queue(4).unwrap();
    queue.send(request(&pool, session, b"fine")).unwrap();
    assert_eq!(complete(&mut *queue).status, Status::Ok);
    // By now it has taken over the session and the queue, so that nothing else comes in between.
    let before = steady.load(Ordering::Relaxed);
    queue.send(request(&pool, session, b"!")).unwrap();
    assert_eq!(complete(&mut *queue).status, Status::EngineFailed);
    let deadline = Instant::now() + Duration::from_secs(10);
    while steady.load(Ordering::Relaxed) == before {
        assert!(Instant::now() < deadline, "it is not told");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_device_says_which_thread_its_engine_has_however_long_its_name() {
    let domain = Domain::new(DmaMode::Sva);
    for placement in PLACEMENTS {
        let name = "a-name-that-is-cut-off";
        let device = SoftDevice::<Naughty>::open(name, placement, &domain).unwrap();
        let thread = device.info().thread;
        assert_eq!(thread.is_some(), placement != Placement::Inline);
        if let Some(id) = thread {
            let comm = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap();
            assert_eq!(comm.trim_end(), "engine-a-name-t");
        }
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

/// Panics where it is told to.
struct Fragile {
    faults: Faults,
    made: usize,
}

#[derive(Clone, Default)]
struct Faults {
    made: Arc<AtomicUsize>,
    /// How many instances can be made; 0 is as many as one likes.
    most: usize,
    in_choose: Arc<AtomicBool>,
    in_run: Arc<AtomicBool>,
}

impl Engine for Fragile {
    type Session = ();
    type Stream = NoStream;
    type Options = Faults;
    const BATCH: usize = 4;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "fragile";

    fn new(faults: &Faults) -> Self {
        let made = faults.made.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(faults.most == 0 || made <= faults.most, "no more than {}", faults.most);
        Self { faults: faults.clone(), made }
    }

    fn session(_: SessionSpec) -> Result<(), SessionSpec> {
        Ok(())
    }

    fn choose(&mut self, waiting: &Waiting<'_, ()>) -> u64 {
        assert!(!self.faults.in_choose.load(Ordering::Relaxed), "on purpose, in choose");
        waiting.oldest(Self::BATCH)
    }

    fn run(&mut self, jobs: &mut [Job<'_, ()>]) {
        assert!(!self.faults.in_run.load(Ordering::Relaxed), "on purpose, in run");
        for job in jobs {
            job.dst[0] = self.made as u8;
            job.result = Ok(1);
        }
    }

    fn describe(faults: &Faults) -> (Vec<&'static str>, String) {
        (Vec::new(), format!("{} instances", faults.most))
    }
}

/// Sends `each` through each queue, and says with which status and by which instance they came back, exactly once.
fn round(
    pool: &Mempool,
    session: SessionId,
    queues: &mut [Box<dyn Queue>],
    each: usize,
) -> Vec<(Status, u8)> {
    let mut got = Vec::new();
    for queue in queues.iter_mut() {
        let mut requests: Vec<_> = (0..each).map(|i| request(pool, session, &[i as u8])).collect();
        assert_eq!(queue.send_burst(&mut requests), each);
    }
    for queue in queues {
        let mut seen = vec![false; each];
        for _ in 0..each {
            let c = complete(&mut **queue);
            let seen = &mut seen[c.request.tag as usize];
            assert!(!std::mem::replace(seen, true));
            let (_, output) = c.request.into_packets();
            got.push((c.status, output.unwrap().data()[0]));
        }
        assert!(queue.in_flight() == 0 && queue.recv().is_none());
    }
    assert_eq!(pool.stats().in_use, 0);
    got
}

#[test]
fn after_a_panic_outside_of_a_batch_every_request_fails_and_none_is_lost() {
    type Fault = fn(&Faults, bool);
    let cases: [(&str, usize, Fault); 2] = [
        ("choosing", 0, |faults, on| faults.in_choose.store(on, Ordering::Relaxed)),
        // A batch is lost, and with it the engine.
        ("making the engine anew", 1, |faults, on| faults.in_run.store(on, Ordering::Relaxed)),
    ];
    for placement in PLACEMENTS {
        for (what, most, fault) in &cases {
            let domain = Domain::new(DmaMode::Sva);
            let pages = PageChoice::Exactly(PageSize::Size4K);
            let pool = Mempool::new(&PoolConfig { buffers: 512, pages, ..PoolConfig::default() }, &domain);
            let pool = pool.unwrap();
            let faults = Faults { most: *most, ..Faults::default() };
            let device =
                SoftDevice::<Fragile>::open_with("fragile", placement, &domain, faults.clone()).unwrap();
            assert_eq!(device.info().implementation, format!("{most} instances"), "described as it is set");
            let session = device.create_session(spec()).unwrap();
            // An engine of one's own each if inline, so one queue.
            let n = if placement == Placement::Inline { 1 } else { 3 };
            let mut queues: Vec<_> = (0..n).map(|_| device.request_queue(100).unwrap()).collect();
            let all = |got: Vec<(Status, u8)>, wanted| {
                assert!(got.iter().all(|(s, _)| *s == wanted), "{placement:?}, {what}: {got:?}");
            };
            all(round(&pool, session, &mut queues, 70), Status::Ok);
            assert!(!device.stats().failed);
            fault(&faults, true);
            // One batch when it fails, and when it has failed.
            all(round(&pool, session, &mut queues, 2), Status::EngineFailed);
            all(round(&pool, session, &mut queues, 70), Status::EngineFailed);
            fault(&faults, false);
            all(round(&pool, session, &mut queues, 70), Status::EngineFailed);
            if placement != Placement::Inline {
                // Queues go and come as before.
                drop(queues.remove(0));
                queues.push(device.request_queue(100).unwrap());
                all(round(&pool, session, &mut queues, 70), Status::EngineFailed);
            }
            let stats = device.stats();
            let each = 70 * n as u64;
            assert_eq!((stats.failed, stats.requests - stats.errors), (true, each));
            assert_eq!((stats.panics, stats.errors >= 2 * each), (*most as u64, true), "{what}");
            // What is in flight at the end is answered too.
            for queue in &mut queues {
                queue.send(request(&pool, session, b"x")).unwrap();
            }
            drop(device);
            queues.iter_mut().for_each(|q| assert_eq!(complete(&mut **q).status, Status::EngineFailed));
            drop(queues);
            assert_eq!(pool.stats().in_use, 0);
        }
    }
}

#[test]
fn after_a_panic_in_a_batch_a_new_engine_goes_on() {
    for placement in PLACEMENTS {
        let domain = Domain::new(DmaMode::Sva);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let pool = Mempool::new(&PoolConfig { buffers: 512, pages, ..PoolConfig::default() }, &domain);
        let pool = pool.unwrap();
        let faults = Faults::default();
        let device = SoftDevice::<Fragile>::open_with("fragile", placement, &domain, faults.clone()).unwrap();
        let session = device.create_session(spec()).unwrap();
        let mut queues = [device.request_queue(100).unwrap()];
        assert!(round(&pool, session, &mut queues, 70).iter().all(|got| *got == (Status::Ok, 1)));
        faults.in_run.store(true, Ordering::Relaxed);
        assert!(round(&pool, session, &mut queues, 70).iter().all(|(s, _)| *s == Status::EngineFailed));
        faults.in_run.store(false, Ordering::Relaxed);
        let stats = device.stats();
        assert_eq!((stats.failed, stats.errors), (false, 70));
        assert_eq!(stats.panics, faults.made.load(Ordering::Relaxed) as u64 - 1);
        // 70 in batches of four at most.
        assert!(stats.panics >= 18 && stats.batches >= 36, "{stats:?}");
        let newest = faults.made.load(Ordering::Relaxed) as u8;
        assert!(round(&pool, session, &mut queues, 70).iter().all(|got| *got == (Status::Ok, newest)));
    }
}

#[test]
fn an_engine_that_cannot_be_made_is_told_when_the_device_is_opened() {
    let faults = Faults { made: Arc::new(AtomicUsize::new(1)), most: 1, ..Faults::default() };
    let opened =
        SoftDevice::<Fragile>::open_with("fragile", PLACEMENTS[1], &Domain::new(DmaMode::Sva), faults);
    match opened.err() {
        Some(DeviceError::EngineCore { core: 0, cause, .. }) => {
            assert_eq!(cause, "its engine cannot be made: no more than 1");
        }
        other => panic!("{other:?}"),
    }
}
