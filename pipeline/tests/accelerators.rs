//! Accelerator stages: order, bounds, hostile input, exhaustion, giving up.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;
use warpdrive_mempool::*;
use warpdrive_pipeline::config::{Full, Otherwise};
use warpdrive_pipeline::stage::accel::AccelStage;
use warpdrive_pipeline::stage::{Context, Stage};
use warpdrive_pipeline::stats::Reason;
use warpdrive_pmd::clock::ticks;
use warpdrive_pmd::device::{Completion, Queue, Request, SessionId, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::RsaOp;
use warpdrive_pmd::engine::zip::ZipOp;

/// A queue whose requests are completed when the test says so.
struct Gate {
    waiting: VecDeque<Request>,
    depth: usize,
    open: Arc<AtomicUsize>,
    pick: fn(&mut VecDeque<Request>) -> Option<Request>,
}

impl Gate {
    fn boxed(depth: usize) -> (Box<dyn Queue>, Arc<AtomicUsize>) {
        Self::picking(depth, VecDeque::pop_front)
    }

    /// With an order of its own.
    fn picking(
        depth: usize,
        pick: fn(&mut VecDeque<Request>) -> Option<Request>,
    ) -> (Box<dyn Queue>, Arc<AtomicUsize>) {
        let open = Arc::new(AtomicUsize::new(0));
        (Box::new(Self { waiting: VecDeque::new(), depth, open: Arc::clone(&open), pick }), open)
    }
}

impl Queue for Gate {
    fn send_burst(&mut self, requests: &mut Vec<Request>) -> usize {
        let n = requests.len().min(self.room());
        self.waiting.extend(requests.drain(..n));
        n
    }
    fn recv_burst(&mut self, out: &mut Vec<Completion>, max: usize) -> usize {
        let mut n = 0;
        while n < max
            && out.len() < out.capacity()
            && let Some(completion) = self.recv()
        {
            out.push(completion);
            n += 1;
        }
        n
    }
    fn flush(&mut self) {}
    fn room(&self) -> usize {
        self.depth - self.waiting.len()
    }
    fn in_flight(&self) -> usize {
        self.waiting.len()
    }
    fn send(&mut self, request: Request) -> Result<(), Request> {
        self.waiting.push_back(request);
        Ok(())
    }
    fn recv(&mut self) -> Option<Completion> {
        if self.waiting.is_empty() || self.open.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        let request = (self.pick)(&mut self.waiting)?;
        let (consumed, sent) = (request.src_len(), ticks());
        Some(Completion {
            status: Status::Ok,
            consumed,
            produced: 0,
            ended: false,
            checksum: 0,
            sent,
            request,
        })
    }
}

/// What uses the device, what is stored after it or without it, what passes: mixed.
fn mixed(n: u16) -> Vec<Vec<u8>> {
    (0..n)
        .map(|i| match i % 7 {
            0 | 3 => Spec::v4(i, &[7; 300]).frame(),
            1 => Spec::v4(i, &noise(u64::from(i), 200)).frame(),
            2 => Spec::v4(i, b"").frame(),
            4 => other(i),
            5 => Spec::v4(i, &noise(u64::from(i), 1400)).frame(), // too long to be signed
            _ => Spec::v4(i, &noise(u64::from(i), 5)).frame(),
        })
        .collect()
}

#[test]
fn order_is_kept_whatever_goes_by_the_device() {
    for placement in [Placement::Inline, CORE] {
        for depth in [1, 3, 64] {
            let lab = Lab { depth, ..Lab::new(placement, 2048) };
            let frames = mixed(400);
            let stages = vec![
                lab.rsa(RsaOp::Sign),
                lab.zip(ZipOp::Compress),
                lab.zip(ZipOp::Decompress),
                lab.rsa(RsaOp::Verify),
            ];
            let (out, line) = run(&lab.pool, stages, &frames);
            let ids: Vec<u16> = out.iter().map(|f| id_of(f)).collect();
            assert_eq!(ids, (0..400).collect::<Vec<_>>(), "{placement:?}, depth {depth}");
            assert_eq!(out, frames);
            assert_eq!(line.passes(1), [(Reason::NotUdp, 57), (Reason::Oversize, 57)]);
            drop(line);
            assert_eq!(lab.pool.stats().in_use, 0);
        }
    }
}

#[test]
fn order_is_kept_when_completions_overtake_each_other() {
    let lab = Lab { depth: 16, ..Lab::new(Placement::Inline, 256) };
    let from_the_middle = |waiting: &mut VecDeque<Request>| waiting.remove(waiting.len() / 2);
    for pick in [VecDeque::pop_back, from_the_middle] {
        let (queue, open) = Gate::picking(16, pick);
        let mut line = Line::new(vec![lab.rsa_on(SessionId(0), RsaOp::Sign, queue)]);
        for i in 0..100u16 {
            let frame =
                if i % 5 == 4 { other(i) } else { Spec::v4(i, &[b'x'; 30][..i as usize % 30]).frame() };
            line.give(packet(&lab.pool, &frame));
        }
        while line.frames.len() < 100 {
            open.store(3, Ordering::Relaxed);
            line.round();
        }
        assert!(line.frames.iter().map(|f| id_of(f)).eq(0..100));
        // What the operation noted in the tag was its own packet's: the header is where the payload was.
        for (i, f) in line.frames.iter().enumerate().filter(|(i, _)| i % 5 != 4) {
            let payload = Spec::v4(i as u16, b"").check(f);
            assert_eq!(payload.len(), HEADER + i % 30 + SIGNATURE, "packet {i}");
        }
        assert_eq!(line.dropped(), 0);
    }
}

#[test]
fn what_a_device_takes_away_with_it_is_counted_and_nothing_waits_for_it() {
    let lab = Lab { depth: 16, ..Lab::new(Placement::Inline, 256) };
    let every_second = |waiting: &mut VecDeque<Request>| {
        waiting.pop_front();
        waiting.pop_front()
    };
    let (queue, open) = Gate::picking(16, every_second);
    let mut line = Line::new(vec![lab.rsa_on(SessionId(0), RsaOp::Sign, queue)]);
    for i in 0..9u16 {
        let frame = if i == 8 { other(i) } else { Spec::v4(i, b"x").frame() };
        line.give(packet(&lab.pool, &frame));
    }
    open.store(100, Ordering::Relaxed);
    line.settle();
    assert!(line.frames.iter().map(|f| id_of(f)).eq([1, 3, 5, 7, 8]));
    assert_eq!(line.drops(1), [(Reason::Engine, 4)]);
}

#[test]
fn with_hold_no_more_than_the_depth_is_in_the_stage_and_nothing_is_lost() {
    let lab = Lab { depth: 8, ..Lab::new(Placement::Inline, 256) };
    let (queue, open) = Gate::boxed(8);
    let mut line = Line::new(vec![lab.rsa_on(SessionId(0), RsaOp::Sign, queue)]);
    for i in 0..100u16 {
        let frame = if i % 5 == 0 { other(i) } else { Spec::v4(i, b"x").frame() };
        line.give(packet(&lab.pool, &frame));
    }
    let stage = |line: &Line| {
        let c = &line.pipeline.counters()[1];
        (c.packets_in.get() - c.packets_out.get()) as usize
    };
    for _ in 0..20 {
        line.round();
        assert!(stage(&line) <= 8, "{} in the stage", stage(&line));
    }
    assert_eq!(stage(&line), 8, "full, with the device at rest");
    let taken = line.pipeline.counters()[0].packets_out.get();
    line.round();
    assert_eq!(line.pipeline.counters()[0].packets_out.get(), taken, "upstream is not polled");
    assert!(line.pipeline.counters()[0].stalls.get() > 0);
    while line.frames.len() < 100 {
        open.store(1, Ordering::Relaxed);
        line.round();
        assert!(stage(&line) <= 8);
    }
    assert_eq!(line.dropped(), 0);
    assert!(line.frames.iter().map(|f| id_of(f)).eq(0..100));
}

#[test]
fn with_drop_what_does_not_fit_is_counted_full_and_goes_back() {
    let lab = Lab { depth: 8, full: Full::Drop, ..Lab::new(Placement::Inline, 256) };
    let (queue, open) = Gate::boxed(8);
    let mut line = Line::new(vec![lab.rsa_on(SessionId(0), RsaOp::Sign, queue)]);
    for i in 0..32 {
        line.give(packet(&lab.pool, &Spec::v4(i, b"x").frame()));
    }
    line.round();
    assert_eq!(line.drops(1), [(Reason::Full, 24)]);
    assert_eq!(lab.pool.stats().in_use, 8);
    open.store(100, Ordering::Relaxed);
    line.settle();
    assert!(line.frames.iter().map(|f| id_of(f)).eq(0..8));
}

#[test]
fn a_device_with_a_shorter_queue_than_the_stage_stops_nothing() {
    let lab = Lab { depth: 16, full: Full::Drop, ..Lab::new(Placement::Inline, 256) };
    let (queue, open) = Gate::boxed(4);
    let mut line = Line::new(vec![lab.rsa_on(SessionId(0), RsaOp::Sign, queue)]);
    for i in 0..8 {
        line.give(packet(&lab.pool, &Spec::v4(i, b"x").frame()));
    }
    line.give(packet(&lab.pool, &other(8)));
    open.store(100, Ordering::Relaxed);
    line.settle();
    assert_eq!(line.drops(1), [(Reason::Full, 4)]);
    assert!(line.frames.iter().map(|f| id_of(f)).eq([0, 1, 2, 3, 8]));
}

#[test]
fn what_is_abandoned_or_released_in_flight_goes_back_to_its_pool() {
    for placement in [Placement::Inline, CORE] {
        for abandon in [true, false] {
            let lab = Lab::new(placement, 256);
            let mut stage = AccelStage::new(
                lab.zip_operation(ZipOp::Compress),
                warpdrive_pmd::device::Device::request_queue(&lab.zip, 16).unwrap(),
                16,
                Full::Hold,
            );
            lab.zip(ZipOp::Compress); // a stage that never had a packet
            let mut burst = Burst::new();
            for frame in &mixed(16) {
                burst.push(packet(&lab.pool, frame)).unwrap();
            }
            let mut cx = Context { now: 0, latency: None };
            stage.process(&mut burst, &mut cx);
            assert!(burst.is_empty() && stage.held() == 16 && stage.room() == 0);
            stage.poll(&mut burst, 3, &mut cx);
            let held = stage.held();
            assert_eq!(held, 16 - burst.len());
            if abandon {
                let counters = warpdrive_pipeline::stats::SharedStage::default();
                stage.attach(Arc::clone(&counters));
                assert_eq!(stage.abandon(), held);
                assert_eq!(counters.drops().collect::<Vec<_>>(), [(Reason::Undelivered, held as u64)]);
            }
            drop(burst);
            drop(stage);
            assert_eq!(lab.pool.stats().in_use, 0, "{placement:?} {abandon}");
        }
    }
}

#[test]
fn what_has_no_whole_datagram_passes_untouched_with_its_reason() {
    let lab = Lab::new(Placement::Inline, 64);
    let good = Spec::v4(1, &[1; 100]).frame();
    let with = |at: usize, bytes: &[u8]| {
        let mut f = good.clone();
        f[at..at + bytes.len()].copy_from_slice(bytes);
        f
    };
    let trailer = [&good[..], &[0]].concat();
    let mut tcp = good.clone();
    tcp[23] = 6;
    let short_trailer = {
        let mut f = Spec::v4(1, b"abc").frame();
        f[59] = 1;
        f
    };
    let mut shortest = Spec::v4(1, b"abc").frame();
    shortest.truncate(50); // runt: padding cut short
    let cases = [
        (other(1), Reason::NotUdp),
        (tcp, Reason::NotUdp),
        (vec![0; 14], Reason::NotUdp),
        (vec![1; 13], Reason::Malformed),
        (with(20, &[0x20, 0]), Reason::Fragment),
        (with(20, &[0x00, 9]), Reason::Fragment),
        (with(14, &[0x44]), Reason::Malformed),       // IHL of 16 bytes
        (with(14, &[0x55]), Reason::Malformed),       // version 5
        (with(16, &[0xff, 0xff]), Reason::Malformed), // longer than the frame
        (with(16, &[0, 19]), Reason::Malformed),      // shorter than its header
        (with(38, &[0, 7]), Reason::Malformed),       // UDP shorter than its header
        (with(38, &[0, 107]), Reason::Malformed),     // UDP shorter than the IP packet
        (with(38, &[0, 109]), Reason::Malformed),     // and longer
        (trailer, Reason::Malformed),
        (short_trailer, Reason::Malformed),
        (shortest, Reason::Malformed),
    ];
    for (frame, reason) in cases {
        for stage in [
            lab.rsa(RsaOp::Sign),
            lab.rsa(RsaOp::Verify),
            lab.zip(ZipOp::Compress),
            lab.zip(ZipOp::Decompress),
        ] {
            let (out, line) = run(&lab.pool, vec![stage], std::slice::from_ref(&frame));
            assert_eq!(out, std::slice::from_ref(&frame));
            assert_eq!(line.passes(1), [(reason, 1)], "{frame:02x?}");
        }
    }
    // A chain of segments.
    for stage in [lab.rsa(RsaOp::Sign), lab.zip(ZipOp::Decompress)] {
        let mut line = Line::new(vec![stage]);
        let mut p = packet(&lab.pool, &good[..60]);
        p.chain(packet(&lab.pool, &good[60..]));
        line.give(p);
        line.settle();
        assert_eq!((line.passes(1), &line.frames), (vec![(Reason::Chained, 1)], &vec![good.clone()]));
    }
}

#[test]
fn hostile_headers_at_the_far_end_are_dropped_and_counted() {
    let lab = Lab { plain: Otherwise::Drop, ..Lab::new(Placement::Inline, 64) };
    let deflate = |plain: &[u8]| {
        let (out, _) = run(&lab.pool, vec![lab.zip(ZipOp::Compress)], &[Spec::v4(0, plain).frame()]);
        Spec::v4(0, b"").check(&out[0])[HEADER..].to_vec()
    };
    let stream = deflate(&[0; 1000]);
    let zip = |algo: u8, length: u16, stream: &[u8]| {
        let [a, b] = length.to_be_bytes();
        Spec::v4(9, &[&[b'W', b'D', 2, algo, 0, 0, a, b], stream].concat()).frame()
    };
    let cases = [
        ("right", zip(1, 1000, &stream), None),
        ("says less: a bomb", zip(1, 10, &stream), Some(Reason::BadData)),
        ("says nothing", zip(1, 0, &stream), Some(Reason::BadData)),
        ("says more", zip(1, 1001, &stream), Some(Reason::BadData)),
        ("cut off", zip(1, 1000, &stream[..stream.len() - 1]), Some(Reason::BadData)),
        ("no stream", zip(1, 1000, b""), Some(Reason::BadData)),
        ("noise", zip(1, 1000, &noise(5, 400)), Some(Reason::BadData)),
        ("longer than the MTU", zip(1, 1473, &stream), Some(Reason::Oversize)),
        ("longest", zip(1, 65535, &stream), Some(Reason::Oversize)),
        ("another format", zip(2, 1000, &stream), Some(Reason::Plain)),
        ("unknown format", zip(77, 1000, &stream), Some(Reason::Plain)),
        ("stored, longer", zip(0, 11, b"0123456789"), Some(Reason::BadData)),
        ("stored, shorter", zip(0, 9, b"0123456789"), Some(Reason::BadData)),
        ("stored", zip(0, 10, b"0123456789"), None),
        ("no header", Spec::v4(9, b"W").frame(), Some(Reason::Plain)),
    ];
    for placement in [Placement::Inline, CORE] {
        let far = Lab { plain: Otherwise::Drop, ..Lab::new(placement, 16) };
        for (what, frame, reason) in &cases {
            let (out, line) = run(&far.pool, vec![far.zip(ZipOp::Decompress)], std::slice::from_ref(frame));
            let expected: Vec<_> = reason.iter().map(|r| (*r, 1)).collect();
            assert_eq!((line.drops(1), out.len()), (expected, 1 - reason.iter().count()), "{what}");
            drop(line);
            assert_eq!(far.pool.stats().in_use, 0, "{what}");
        }
    }
    let signed = |algo: u8, length: u16, body: &[u8]| {
        let [a, b] = length.to_be_bytes();
        Spec::v4(9, &[&[b'W', b'D', 1, algo, 0, 0, a, b], body].concat()).frame()
    };
    for (frame, reason) in [
        (signed(1, 256, &noise(1, 300)), Reason::BadSignature),
        (signed(1, 256, &noise(1, 256)), Reason::BadSignature),
        (signed(1, 256, &noise(1, 255)), Reason::Plain), // no room for a signature
        (signed(1, 512, &noise(1, 600)), Reason::Plain),
        (signed(4, 256, &noise(1, 300)), Reason::Plain), // another scheme
    ] {
        let (out, line) = run(&lab.pool, vec![lab.rsa(RsaOp::Verify)], &[frame]);
        assert!(out.is_empty());
        assert_eq!(line.drops(1), [(reason, 1)]);
    }
    assert_eq!(lab.pool.stats().in_use, 0);
}

#[test]
fn an_exhausted_pool_costs_packets_and_is_got_over() {
    let lab = Lab::new(Placement::Inline, 8);
    let mut line = Line::new(vec![lab.zip(ZipOp::Compress)]);
    let frame = Spec::v4(3, &[7; 300]).frame();
    for _ in 0..4 {
        line.give(packet(&lab.pool, &frame));
    }
    let hog: Vec<_> = std::iter::from_fn(|| lab.pool.alloc()).collect();
    assert_eq!(hog.len(), 4);
    line.settle();
    // Each packet that is dropped leaves a buffer for the next one's result.
    assert_eq!(line.drops(1), [(Reason::NoBuffer, 2)]);
    assert_eq!(line.frames.len(), 2);
    drop(hog);
    for _ in 0..4 {
        line.give(packet(&lab.pool, &frame));
    }
    line.settle();
    assert_eq!((line.frames.len(), line.dropped()), (6, 2));
    assert_eq!(lab.pool.stats().in_use, 0);
}

#[test]
fn the_latency_of_an_accelerator_has_one_value_for_each_request() {
    let lab = Lab::new(CORE, 256);
    let frames: Vec<_> = (0..50).map(|i| Spec::v4(i, &[1; 200]).frame()).collect();
    let t0 = Instant::now();
    let (out, line) = run(&lab.pool, vec![lab.zip(ZipOp::Compress)], &frames);
    assert_eq!(out.len(), 50);
    let latency = line.pipeline.latency().unwrap();
    assert_eq!(latency.stages[1].len(), 50);
    assert!(Duration::from_nanos(latency.stages[1].max()) < t0.elapsed() + Duration::from_millis(1));
    assert_eq!(latency.end_to_end.len(), 50);
}
