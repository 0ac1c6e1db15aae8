//! How requests reach an engine: across queues and sessions, fairly, as it chooses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use warpdrive_mempool::*;
use warpdrive_pmd::clock::Clock;
use warpdrive_pmd::device::{Completion, Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Engine, Job, NoStream, Placement, SoftDevice, Waiting};
use warpdrive_pmd::idle::IdlePolicy;

const CORE: Placement = Placement::Core { cpu: 0, idle: IdlePolicy::Sleep };

/// The first bytes of the jobs' inputs, and their sessions.
type Batch = Vec<(u8, usize)>;
type Choose = fn(&Waiting<'_, usize>) -> u64;

/// What a test and its engine say to each other.
#[derive(Clone)]
struct Script {
    choose: Choose,
    /// While it is set, nothing is chosen, except when draining.
    hold: Arc<AtomicBool>,
    /// How many requests the engine was shown last.
    shown: Arc<AtomicUsize>,
    batches: Arc<Mutex<Vec<Batch>>>,
}

impl Script {
    fn new(choose: Choose) -> Self {
        Self { choose, ..Self::default() }
    }

    fn held(choose: Choose) -> Self {
        let script = Self::new(choose);
        script.hold.store(true, Ordering::Relaxed);
        script
    }

    fn go(&self) {
        self.hold.store(false, Ordering::Relaxed);
    }

    fn wait_for(&self, shown: usize) {
        wait(|| self.shown.load(Ordering::Relaxed) == shown);
    }

    /// Everything executed so far.
    fn order(&self) -> Vec<u8> {
        self.batches.lock().unwrap().iter().flatten().map(|(byte, _)| *byte).collect()
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            choose: |waiting| waiting.oldest(LANES),
            hold: Arc::default(),
            shown: Arc::default(),
            batches: Arc::default(),
        }
    }
}

const LANES: usize = 8;

/// Eight lanes. Each session is a number.
struct Lanes(Script);

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

impl Engine for Lanes {
    type Session = usize;
    type Stream = NoStream;
    type Options = Script;
    const BATCH: usize = LANES;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "lanes";

    fn new(script: &Script) -> Self {
        Self(script.clone())
    }

    fn session(_: SessionSpec) -> Result<usize, SessionSpec> {
        Ok(SESSIONS.fetch_add(1, Ordering::Relaxed))
    }

    fn choose(&mut self, waiting: &Waiting<'_, usize>) -> u64 {
        assert!(!waiting.is_empty() && waiting.len() <= 64);
        assert!(
            (0..waiting.len()).all(|i| waiting.session(i).is_some()),
            "those that are gone are not shown"
        );
        assert!(waiting.session(waiting.len()).is_none() && waiting.age(waiting.len()) == 0);
        self.0.shown.store(waiting.len(), Ordering::Relaxed);
        if self.0.hold.load(Ordering::Relaxed) { 0 } else { (self.0.choose)(waiting) }
    }

    fn run(&mut self, jobs: &mut [Job<'_, usize>]) {
        assert!(!jobs.is_empty() && jobs.len() <= LANES);
        self.0.batches.lock().unwrap().push(jobs.iter().map(|j| (j.src[0], *j.session)).collect());
        for job in jobs {
            job.result = Ok(0);
            job.retried = job.src[0] == b'r';
        }
    }

    fn describe(_: &Script) -> (Vec<&'static str>, String) {
        (Vec::new(), String::new())
    }
}

struct Lab {
    pool: Mempool,
    device: Option<SoftDevice<Lanes>>,
    session: SessionId,
}

impl Lab {
    fn new(placement: Placement, script: &Script) -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 4096, size: 512, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::open_with("lanes", placement, &domain, script.clone()).unwrap();
        let session = session(&device);
        Self { pool, device: Some(device), session }
    }

    fn device(&self) -> &SoftDevice<Lanes> {
        self.device.as_ref().unwrap()
    }

    fn queue(&self, depth: usize) -> Box<dyn Queue> {
        self.device().request_queue(depth).unwrap()
    }

    fn request(&self, session: SessionId, byte: u8, tag: u64) -> Request {
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(&[byte]).unwrap();
        let mut request = Request::new(session, packet).with_tag(tag);
        request.set_src(0..1).unwrap();
        request
    }

    fn send(&self, queue: &mut dyn Queue, byte: u8, n: usize) {
        let mut requests: Vec<_> = (0..n).map(|i| self.request(self.session, byte, i as u64)).collect();
        assert_eq!(queue.send_burst(&mut requests), n);
    }

    /// Closes the device, which drains it.
    fn close(&mut self) {
        let device = self.device.take();
        let closing = std::thread::spawn(|| drop(device));
        wait(|| closing.is_finished());
    }
}

fn session(device: &SoftDevice<Lanes>) -> SessionId {
    let spec = ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1).unwrap();
    device.create_session(SessionSpec::Zip(spec)).unwrap()
}

fn wait(mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !until() {
        assert!(Instant::now() < deadline, "waited 30 s in vain");
        std::thread::yield_now();
    }
}

fn complete(queue: &mut dyn Queue) -> Completion {
    queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s")
}

fn tags(queue: &mut dyn Queue, n: usize) -> Vec<u64> {
    let completions = (0..n).map(|_| complete(queue));
    completions.inspect(|c| assert_eq!(c.status, Status::Ok)).map(|c| c.request.tag).collect()
}

#[test]
fn lanes_fill_across_queues_and_sessions() {
    let script = Script::new(|waiting| if waiting.len() < LANES { 0 } else { waiting.oldest(LANES) });
    let mut lab = Lab::new(CORE, &script);
    let mut queues: Vec<_> = (0..3).map(|_| lab.queue(4)).collect();
    for (queue, byte) in queues.iter_mut().zip(b"abc") {
        let session = session(lab.device());
        let mut requests: Vec<_> = (0..3).map(|i| lab.request(session, *byte, i)).collect();
        assert_eq!(queue.send_burst(&mut requests), 3);
    }
    wait(|| lab.device().stats().requests == 8);
    script.wait_for(1);
    let batch = script.batches.lock().unwrap()[0].clone();
    let count = |byte| batch.iter().filter(|(b, _)| *b == byte).count();
    let mut counts = [count(b'a'), count(b'b'), count(b'c')];
    counts.sort_unstable();
    assert_eq!(counts, [2, 3, 3], "one batch of all queues: {batch:?}");
    let mut sessions: Vec<_> = batch.iter().map(|(_, session)| session).collect();
    sessions.dedup();
    assert!(sessions.len() >= 3, "{batch:?}");
    let stats = lab.device().stats();
    assert_eq!((stats.batches, stats.fill, stats.wait.count), (1, vec![0, 0, 0, 0, 0, 0, 0, 0, 1], 8));
    // Alone it would wait for ever.
    lab.close();
    assert_eq!(script.batches.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [8, 1]);
    for queue in &mut queues {
        assert_eq!(tags(&mut **queue, 3), [0, 1, 2]);
    }
    drop(queues);
    assert_eq!(lab.pool.stats().in_use, 0);
}

#[test]
fn an_engine_has_what_it_chooses_in_order_and_no_more_than_its_lanes() {
    for placement in [Placement::Inline, CORE] {
        // Those of the session of the oldest; bits of nobody are ignored.
        let script = Script::held(|waiting| {
            let same = |i: &usize| waiting.session(*i) == waiting.session(0);
            let bits = (0..waiting.len()).filter(same).fold(0, |bits, i| bits | 1 << i);
            bits | !waiting.oldest(64)
        });
        let lab = Lab::new(placement, &script);
        let sessions = [session(lab.device()), session(lab.device())];
        let mut queue = lab.queue(64);
        let mut send = |range: std::ops::Range<u64>| {
            let request = |i| lab.request(sessions[i as usize % 2], b'0' + i as u8, i);
            assert_eq!(queue.send_burst(&mut range.map(request).collect()), 24);
        };
        send(0..24);
        assert!(queue.recv().is_none(), "held");
        script.wait_for(24);
        script.go();
        let even = |range: std::ops::Range<u64>| range.step_by(2);
        let expected: Vec<_> =
            even(0..16).chain(even(1..17)).chain(even(16..24)).chain(even(17..25)).collect();
        assert_eq!(tags(&mut *queue, 24), expected, "{placement:?}");
        let stats = lab.device().stats();
        assert_eq!((stats.fill, stats.batches), (vec![0, 0, 0, 0, 2, 0, 0, 0, 2], 4));
        assert_eq!((stats.requests, stats.errors, stats.retried, stats.failed), (24, 0, 0, false));
    }
}

#[test]
fn an_engine_keeps_its_own_deadline_and_the_wait_is_measured() {
    const DEADLINE: Duration = Duration::from_millis(3);
    for placement in [Placement::Inline, CORE] {
        let script = Script::new(|waiting| {
            let late = waiting.age(0) >= Clock::get().ticks_of(DEADLINE);
            if late { waiting.oldest(LANES) } else { 0 }
        });
        let lab = Lab::new(placement, &script);
        let mut queue = lab.queue(8);
        for byte in [b'r', b'x'] {
            lab.send(&mut *queue, byte, 1);
            tags(&mut *queue, 1);
        }
        let stats = lab.device().stats();
        assert_eq!((stats.wait.count, stats.retried), (2, 1));
        let (least, got) = (DEADLINE.as_nanos() as u64 * 99 / 100, stats.wait);
        assert!(got.p50_ns >= least && got.p50_ns <= got.p99_ns && got.p99_ns <= got.max_ns, "{got:?}");
        assert!(got.max_ns < 30_000_000_000, "{got:?}");
    }
}

#[test]
fn a_quiet_queue_is_not_kept_waiting_by_one_that_floods() {
    let script = Script::held(|waiting| waiting.oldest(LANES));
    let lab = Lab::new(CORE, &script);
    let mut flood = lab.queue(1000);
    lab.send(&mut *flood, b'f', 1000);
    script.wait_for(64);
    let mut floods: Vec<_> = (0..7).map(|_| lab.queue(100)).collect();
    floods.iter_mut().for_each(|queue| lab.send(&mut **queue, b'f', 100));
    let mut quiet = lab.queue(8);
    lab.send(&mut *quiet, b'q', 1);
    script.go();
    tags(&mut *quiet, 1);
    let before = script.order().iter().position(|byte| *byte == b'q').unwrap();
    assert!(before < 64 + 3 * LANES, "{before} requests were done before");
    assert_eq!(tags(&mut *flood, 1000), (0..1000).collect::<Vec<_>>());
    drop(floods);
    // Three that flood have equal shares, also beside some that are idle.
    let idle: Vec<_> = (0..4).map(|_| lab.queue(8)).collect();
    let mut other = lab.queue(1000);
    script.hold.store(true, Ordering::Relaxed);
    let mut third = lab.queue(1000);
    script.batches.lock().unwrap().clear();
    lab.send(&mut *flood, b'f', 1000);
    lab.send(&mut *other, b'o', 1000);
    lab.send(&mut *third, b't', 1000);
    script.wait_for(64);
    script.go();
    wait(|| script.order().len() >= 1500);
    let order = script.order();
    for byte in b"fot" {
        let n = order[..1500].iter().filter(|b| *b == byte).count();
        assert!((500 - 64..=500 + 64).contains(&n), "{} of 1500 for {}", n, *byte as char);
    }
    drop((flood, other, third, quiet, idle));
    assert_eq!(lab.pool.stats().in_use, 0);
}

#[test]
fn what_an_engine_never_chooses_is_done_when_the_device_closes() {
    let script = Script::held(|_| 0);
    let mut lab = Lab::new(CORE, &script);
    let mut queues = [lab.queue(100), lab.queue(100)];
    for queue in &mut queues {
        lab.send(&mut **queue, b'x', 50);
    }
    script.wait_for(64);
    assert_eq!(lab.device().stats().requests, 0);
    lab.close();
    for queue in &mut queues {
        assert_eq!(tags(&mut **queue, 50), (0..50).collect::<Vec<_>>());
    }
    let fills: Vec<_> = script.batches.lock().unwrap().iter().map(Vec::len).collect();
    assert!(fills.iter().all(|n| *n <= LANES) && fills.len() <= 14, "the oldest together: {fills:?}");
}

#[test]
fn a_released_queue_takes_its_waiting_requests_along_and_the_others_keep_theirs() {
    for released in 0..3 {
        let script = Script::held(|waiting| waiting.oldest(LANES));
        let lab = Lab::new(CORE, &script);
        let mut queues: Vec<_> = (0..3).map(|_| lab.queue(100)).collect();
        for (i, queue) in queues.iter_mut().enumerate() {
            lab.send(&mut **queue, b'a' + i as u8, 3 + i);
        }
        script.wait_for(12);
        // Some are in the window, and some of another queue in its ring.
        lab.send(&mut *queues[0], b'a', 60);
        script.wait_for(64);
        let gone = queues.remove(released);
        let its = gone.in_flight();
        drop(gone);
        assert_eq!(lab.pool.stats().in_use, 72 - its, "they are back when it is dropped");
        queues.push(lab.queue(4));
        lab.send(&mut *queues[2], b'd', 2);
        script.go();
        for queue in &mut queues {
            let n = queue.in_flight();
            let mut got = tags(&mut **queue, n);
            got.sort_unstable();
            assert!(got.len() == n && queue.recv().is_none());
        }
        let order = script.order();
        assert!(!order.contains(&(b'a' + released as u8)), "nothing of a released queue is done");
        assert_eq!(order.len(), 72 - its + 2);
        assert_eq!(lab.pool.stats().in_use, 0);
    }
}

#[test]
fn requests_whose_session_goes_while_they_wait_are_answered_without_the_engine() {
    for placement in [Placement::Inline, CORE] {
        let script = Script::held(|waiting| waiting.oldest(LANES));
        let lab = Lab::new(placement, &script);
        let (kept, removed) = (lab.session, session(lab.device()));
        let mut queue = lab.queue(16);
        for i in 0..6 {
            let session = if i % 3 == 1 { removed } else { kept };
            queue.send(lab.request(session, b'x', i)).unwrap();
        }
        assert!(queue.recv().is_none());
        script.wait_for(6);
        assert!(lab.device().remove_session(removed));
        for tag in [1, 4] {
            let c = complete(&mut *queue);
            assert_eq!((c.status, c.request.tag), (Status::NoSession, tag));
        }
        assert!(queue.recv().is_none(), "the others wait on");
        queue.send(lab.request(removed, b'x', 6)).unwrap();
        let c = complete(&mut *queue);
        assert_eq!((c.status, c.request.tag), (Status::NoSession, 6));
        script.go();
        assert_eq!(tags(&mut *queue, 4), [0, 2, 3, 5]);
        let stats = lab.device().stats();
        assert_eq!((stats.requests, stats.errors, stats.wait.count), (7, 3, 4));
    }
}
