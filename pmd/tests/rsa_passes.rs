//! RSA requests of many queues, sessions and keys in common passes.

use std::path::Path;
use std::time::Duration;

use warpdrive_mempool::*;
use warpdrive_pmd::device::{Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{Passes, RsaEngine, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::stats::DeviceStats;

/// A session on the device that signs, and one on the device that checks what it signed.
#[derive(Clone, Copy)]
struct Signer {
    sign: SessionId,
    verify: SessionId,
    key_bytes: usize,
}

struct Lab {
    pool: Mempool,
    device: SoftDevice<RsaEngine>,
    checker: SoftDevice<RsaEngine>,
    signers: Vec<Signer>,
}

fn file(name: &str) -> RsaKey {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name);
    RsaKey::from_pem(&std::fs::read_to_string(path).unwrap(), name).unwrap()
}

impl Lab {
    /// An engine core, and four keys of two sizes, each with a session.
    fn new(options: RsaOptions) -> Self {
        Self::on(Placement::Core { cpu: 0, idle: IdlePolicy::Sleep }, options)
    }

    fn on(placement: Placement, options: RsaOptions) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 512, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::open_with("rsa0", placement, &domain, options).unwrap();
        let checker = SoftDevice::open("checker", Placement::Inline, &domain).unwrap();
        let keys = [
            (file("rsa2048.pem"), RsaScheme::Pkcs1Sha256),
            (file("rsa3072-pkcs1.pem"), RsaScheme::PssSha384),
            (RsaKey::generate(2048).unwrap(), RsaScheme::PssSha256),
            (RsaKey::generate(3072).unwrap(), RsaScheme::Pkcs1Sha512),
        ];
        let signers = keys.map(|(key, scheme)| {
            let session = |device: &SoftDevice<RsaEngine>, op| {
                device.create_session(SessionSpec::Rsa(RsaSession::new(op, scheme, &key).unwrap())).unwrap()
            };
            Signer {
                sign: session(&device, RsaOp::Sign),
                verify: session(&checker, RsaOp::Verify),
                key_bytes: key.bits() / 8,
            }
        });
        Self { pool, device, checker, signers: signers.into() }
    }

    /// Asks for the signature of a message, behind it in the same packet. The tag says by whom.
    fn request(&self, signer: usize, message: &[u8]) -> Request {
        let Signer { sign, key_bytes, .. } = self.signers[signer];
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(message).unwrap();
        packet.append(key_bytes).unwrap().fill(0);
        let mut request = Request::new(sign, packet).with_tag(signer as u64);
        request.set_src(0..message.len()).unwrap();
        request.set_dst(message.len()..message.len() + key_bytes).unwrap();
        request
    }

    /// A session on the device that signs, to check signatures of 2048 bits.
    fn verifier(&self) -> SessionId {
        let key = file("rsa2048.pem");
        let session = RsaSession::new(RsaOp::Verify, RsaScheme::Pkcs1Sha256, &key).unwrap();
        self.device.create_session(SessionSpec::Rsa(session)).unwrap()
    }

    /// Receives a signature and checks it.
    fn receive(&self, queue: &mut dyn Queue, checker: &mut dyn Queue) {
        let done = queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
        let Signer { verify, key_bytes, .. } = self.signers[done.request.tag as usize];
        assert_eq!((done.status, done.produced as usize), (Status::Ok, key_bytes));
        let packet = done.request.into_packets().0.unwrap();
        let len = packet.len();
        let mut request = Request::new(verify, packet);
        request.set_src(0..len - key_bytes).unwrap();
        request.set_aux(len - key_bytes..len).unwrap();
        checker.send(request).unwrap();
        assert_eq!(checker.recv().unwrap().status, Status::Ok, "the signature is wrong");
    }

    /// Sends from two queues at once, each from a thread of its own with up to `depth` under way.
    fn load(&self, depth: usize, requests: usize) -> DeviceStats {
        std::thread::scope(|scope| {
            for seed in [1, 2] {
                scope.spawn(move || {
                    let mut queue = self.device.request_queue(depth).unwrap();
                    let mut checker = self.checker.request_queue(1).unwrap();
                    let mut random = random_numbers(seed);
                    for n in 0..requests {
                        let signer = random() % self.signers.len();
                        let message = format!("{seed} {n}").repeat(1 + random() % 40);
                        queue.send(self.request(signer, message.as_bytes())).unwrap();
                        // Bursts of any length, and always room for the next.
                        let burst = if queue.room() == 0 { 1 + random() % depth } else { 0 };
                        for _ in 0..burst {
                            self.receive(&mut *queue, &mut *checker);
                        }
                    }
                    while queue.in_flight() > 0 {
                        self.receive(&mut *queue, &mut *checker);
                    }
                });
            }
        });
        assert_eq!(self.pool.stats().in_use, 0);
        self.device.stats()
    }

    fn has_passes(&self) -> bool {
        let has = self.device.info().implementation.starts_with("AVX-512");
        if !has {
            println!("skipped: there are no passes on this cpu");
        }
        has
    }
}

/// Small random numbers, the same in every run (splitmix64).
fn random_numbers(mut state: u64) -> impl FnMut() -> usize {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 33) as usize
    }
}

#[test]
fn under_load_lanes_fill_across_queues_sessions_and_keys_and_all_signatures_are_right() {
    for passes in [Passes::Adaptive, Passes::Largest] {
        let lab = Lab::new(RsaOptions { passes, ..RsaOptions::default() });
        let stats = lab.load(40, 300);
        assert_eq!((stats.requests, stats.errors, stats.retried, stats.panics), (600, 0, 0, 0));
        assert_eq!(stats.fill.iter().zip(0..).map(|(batches, jobs)| batches * jobs).sum::<u64>(), 600);
        if lab.has_passes() {
            println!("{passes:?}: batches by fill {:?}, mean {:.2}", stats.fill, stats.mean_fill());
            // Eighty are under way at most, forty of either size.
            assert!(8 * stats.fill[8] > 300, "{:?}", stats.fill);
        }
    }
}

#[test]
fn a_pass_takes_one_size_from_all_queues_and_waits_until_it_is_full() {
    let deadline = Duration::from_secs(600);
    let lab = Lab::new(RsaOptions { deadline, ..RsaOptions::default() });
    if !lab.has_passes() {
        return;
    }
    let mut checker = lab.checker.request_queue(1).unwrap();
    let mut queues = [lab.device.request_queue(8).unwrap(), lab.device.request_queue(8).unwrap()];
    // Signers 0 and 2 have one size, 1 and 3 the other. Neither queue has eight of one size.
    for queue in &mut queues {
        for signer in 0..8 {
            queue.send(lab.request(signer % 4, b"message")).unwrap();
        }
    }
    for queue in &mut queues {
        (0..8).for_each(|_| lab.receive(&mut **queue, &mut *checker));
    }
    let stats = lab.device.stats();
    assert_eq!((stats.batches, stats.fill), (2, vec![0, 0, 0, 0, 0, 0, 0, 0, 2]));
    // Seven wait for an eighth, whoever sends it.
    for signer in [0, 2, 0, 2, 0, 2, 0] {
        queues[0].send(lab.request(signer, b"message")).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(queues[0].recv().is_none() && lab.device.stats().batches == 2);
    queues[1].send(lab.request(2, b"message")).unwrap();
    (0..7).for_each(|_| lab.receive(&mut *queues[0], &mut *checker));
    lab.receive(&mut *queues[1], &mut *checker);
    assert_eq!(lab.device.stats().fill[8], 3);
}

#[test]
fn what_waits_for_company_is_done_alone_when_its_deadline_has_passed() {
    let deadline = Duration::from_millis(5);
    let lab = Lab::new(RsaOptions { deadline, ..RsaOptions::default() });
    if !lab.has_passes() {
        return;
    }
    let mut checker = lab.checker.request_queue(1).unwrap();
    let mut queue = lab.device.request_queue(8).unwrap();
    queue.send(lab.request(0, b"message")).unwrap();
    queue.send(lab.request(1, b"message")).unwrap();
    (0..2).for_each(|_| lab.receive(&mut *queue, &mut *checker));
    let stats = lab.device.stats();
    assert_eq!(stats.fill[..2], [0, 2], "of different sizes");
    assert!(stats.wait.p50_ns >= deadline.as_nanos() as u64 * 99 / 100, "{:?}", stats.wait);
}

/// Requests that wait for company hold up nobody who does not: a full pass of another size, a short operation.
#[test]
fn a_deadline_keeps_waiting_only_what_waits_for_company() {
    let deadline = Duration::from_secs(2);
    let lab = Lab::on(Placement::Inline, RsaOptions { deadline, ..RsaOptions::default() });
    if !lab.device.info().implementation.contains("8 private operations at once") {
        println!("skipped: this cpu has no passes to wait for");
        return;
    }
    let (mut queue, mut checker) =
        (lab.device.request_queue(32).unwrap(), lab.checker.request_queue(1).unwrap());
    let [small, large] = [0, 1];
    let start = std::time::Instant::now();
    for message in ["1", "2", "3"] {
        queue.send(lab.request(small, message.as_bytes())).unwrap();
    }
    assert!(queue.recv().is_none(), "three wait for five more");
    // A signature of anything is a wrong one, and that is told by a short operation.
    let mut packet = lab.pool.alloc().unwrap();
    packet.append(8 + 256).unwrap().fill(0);
    let mut verify = Request::new(lab.verifier(), packet).with_tag(99);
    verify.set_src(0..8).unwrap();
    verify.set_aux(8..8 + 256).unwrap();
    queue.send(verify).unwrap();
    let done = queue.recv().expect("at once");
    assert_eq!((done.request.tag, done.status), (99, Status::Mismatch));
    for n in 0..8 {
        queue.send(lab.request(large, format!("large {n}").as_bytes())).unwrap();
    }
    for _ in 0..8 {
        let done = queue.recv().expect("a full pass, at once");
        assert_eq!((done.request.tag, done.status), (large as u64, Status::Ok));
    }
    assert!(queue.recv().is_none() && queue.in_flight() == 3, "they still wait");
    assert!(start.elapsed() < deadline, "too slow a machine for this test");
    (0..3).for_each(|_| lab.receive(&mut *queue, &mut *checker));
    assert!(start.elapsed() >= deadline, "they have waited");
    // Eight of one size need not wait at all.
    let start = std::time::Instant::now();
    (0..8).for_each(|n| queue.send(lab.request(small, &[n])).unwrap());
    (0..8).for_each(|_| lab.receive(&mut *queue, &mut *checker));
    assert!(start.elapsed() < deadline);
    assert_eq!(lab.device.stats().fill[8], 2, "{:?}", lab.device.stats().fill);
}
