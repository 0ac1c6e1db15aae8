//! Plain stages, the ends at ports, and links between pipelines: exact behaviour.

mod common;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use warpdrive_mempool::*;
use warpdrive_pipeline::config::{Config, Full, Otherwise};
use warpdrive_pipeline::cores::parse_list;
use warpdrive_pipeline::plan::{Plan, StagePlan};
use warpdrive_pipeline::stage::classify::{MatchStage, Rules};
use warpdrive_pipeline::stage::echo::EchoStage;
use warpdrive_pipeline::stage::link::{HandoffStage, MergeStage};
use warpdrive_pipeline::stage::simple::{CountStage, DropStage, MacSwapStage, NamedCounter};
use warpdrive_pipeline::stage::tee::TeeStage;
use warpdrive_pipeline::stage::{Context, Stage};
use warpdrive_pipeline::stats::{Reason, SharedStage};
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::port::ring::{RingRx, RingTx, channel};
use warpdrive_pmd::port::{MacAddr, RxQueue, TxQueue};
use warpdrive_pmd::stats::{QueueCounters, SharedCounters};

fn cx() -> Context<'static> {
    Context { now: 0, latency: None }
}

fn burst_of(pool: &Mempool, frames: impl IntoIterator<Item = Vec<u8>>) -> Burst {
    let mut burst = Burst::new();
    for frame in frames {
        burst.push(packet(pool, &frame)).unwrap();
    }
    burst
}

fn ids(burst: &Burst) -> Vec<u16> {
    burst.iter().map(|p| id_of(p.data())).collect()
}

fn counted(stage: &mut dyn Stage) -> SharedStage {
    let counters = SharedStage::default();
    stage.attach(Arc::clone(&counters));
    counters
}

/// The rules of `{ match = … }`, read as a configuration is.
fn rules(conditions: &str) -> Rules {
    let text = format!(
        "version = 1\n[port.a]\ndriver = \"null\"\n[[pipeline]]\nname = \"p\"\nstages = [ {{ rx = \"a\" }}, \
         {{ match = {{ {conditions} }} }}, {{ tx = \"a\" }} ]\n"
    );
    let config = Config::parse("t", &text).unwrap();
    let plan = Plan::new(&config, &parse_list("0").unwrap()).unwrap();
    match &plan.pipelines[0].stages[1] {
        StagePlan::Match { rules, .. } => rules.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn match_lets_through_what_all_conditions_hold_for() {
    let pool = pool(64);
    let v4 = Spec::v4(1, b"x"); // 192.0.2.1 to 192.0.2.2, ports 4433 to 4434
    let v6 = Spec { v6: true, ..v4.clone() };
    let tagged = Spec { tags: 2, ..v4.clone() }; // outer vlan 5
    for (conditions, expected) in [
        ("ethertype = \"ipv4\"", [true, false, true, false]),
        ("sport = \"0-65535\"", [true, true, true, false]),
        ("ethertype = 0x88b5", [false, false, false, true]),
        ("vlan = 5", [false, false, true, false]),
        ("vlan = 7", [false; 4]),
        ("protocol = \"udp\"", [true, true, true, false]),
        ("protocol = 6", [false; 4]),
        ("src = \"192.0.2.1\"", [true, false, true, false]),
        ("src = \"192.0.2.2\"", [false; 4]),
        ("dst = \"192.0.2.0/30\"", [true, false, true, false]),
        ("src = \"::/0\"", [false, true, false, false]),
        ("dport = 4434", [true, true, true, false]),
        ("dport = \"4435-65535\"", [false; 4]),
        ("sport = \"4000-4433\", vlan = 5, ethertype = \"ipv4\"", [false, false, true, false]),
    ] {
        let frames = [v4.frame(), v6.frame(), tagged.frame(), other(1)];
        for (frame, expected) in frames.into_iter().zip(expected) {
            let mut stage = MatchStage::new(rules(conditions), None);
            let counters = counted(&mut stage);
            let mut burst = burst_of(&pool, [frame.clone()]);
            stage.process(&mut burst, &mut cx());
            assert_eq!(burst.len() == 1, expected, "{conditions} {frame:02x?}");
            assert_eq!(counters.drops().eq([(Reason::NoMatch, 1)]), !expected);
        }
    }
    // Runts match nothing but are not lost without a count.
    let mut stage = MatchStage::new(Rules::default(), None);
    let counters = counted(&mut stage);
    let mut burst = burst_of(&pool, [vec![0; 13]]);
    stage.process(&mut burst, &mut cx());
    assert!(burst.is_empty() && counters.drops().eq([(Reason::NoMatch, 1)]));
}

#[test]
fn match_with_else_sends_the_others_there_in_order() {
    let pool = pool(64);
    let (tx, mut rx) = channel(8);
    let mut stage = MatchStage::new(rules("protocol = \"udp\""), Some(tx));
    let counters = counted(&mut stage);
    assert_eq!(stage.room(), 8);
    let frames = (0..30).map(|i| if i % 3 == 0 { Spec::v4(i, b"").frame() } else { other(i) });
    let mut burst = burst_of(&pool, frames);
    stage.process(&mut burst, &mut cx());
    assert_eq!(ids(&burst), (0..30).filter(|i| i % 3 == 0).collect::<Vec<_>>());
    let mut elsewhere = Burst::new();
    rx.rx_burst(&mut elsewhere, BURST);
    assert_eq!(ids(&elsewhere), [1, 2, 4, 5, 7, 8, 10, 11]);
    assert!(counters.passes().eq([(Reason::NoMatch, 8)]));
    assert!(counters.drops().eq([(Reason::Full, 12)]));
    assert_eq!(stage.room(), 8);
    drop((burst, elsewhere));
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn mac_swap_count_and_drop_do_what_they_say() {
    let pool = pool(64);
    let mut burst = burst_of(&pool, [Spec::v4(1, b"abc").frame(), vec![1; 11]]);
    let mut p = packet(&pool, &[2; 100]);
    p.chain(packet(&pool, &[3; 50]));
    burst.push(p).unwrap();
    MacSwapStage::default().process(&mut burst, &mut cx());
    assert_eq!(burst.as_slice()[0].data()[..14], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    assert_eq!(burst.as_slice()[1].data(), [1; 11]);
    let named = Arc::new(NamedCounter::default());
    CountStage::new(Arc::clone(&named)).process(&mut burst, &mut cx());
    assert_eq!((named.packets.get(), named.bytes.get()), (3, 60 + 11 + 150));
    let mut stage = DropStage::default();
    let counters = counted(&mut stage);
    stage.process(&mut burst, &mut cx());
    assert!(burst.is_empty() && counters.drops().eq([(Reason::Discarded, 3)]));
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn echo_answers_arp_and_ping_for_its_address_alone() {
    let pool = pool(64);
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let asker = [2, 0, 0, 0, 0, 1];
    let arp = |target: u8, op: u8| {
        let mut f = [[0xff; 6], asker].concat();
        f.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, op]);
        f.extend(asker);
        f.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, target]);
        f.resize(60, 0);
        f
    };
    let ping = |target: u8, kind: u8, flags: u8| {
        let mut f = [mac.0, asker].concat();
        f.extend([8, 0, 0x45, 0, 0, 33, 0, 7, flags, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, target]);
        let sum = naive(&f[14..34]);
        f[24..26].copy_from_slice(&sum.to_be_bytes());
        f.extend([kind, 0, 0, 0, 1, 2, 3, 4, b'd', b'a', b't', b'a', b'!']);
        let sum = naive(&f[34..]);
        f[36..38].copy_from_slice(&sum.to_be_bytes());
        f
    };
    let not_ours = [arp(3, 1), arp(2, 2), ping(3, 8, 0), ping(2, 0, 0), ping(2, 8, 0x20), other(1)];
    for others in [Otherwise::Pass, Otherwise::Drop] {
        let mut stage = EchoStage::new([192, 0, 2, 2].into(), mac, others);
        let counters = counted(&mut stage);
        let mut burst = burst_of(&pool, [arp(2, 1), ping(2, 8, 0)].into_iter().chain(not_ours.clone()));
        stage.process(&mut burst, &mut cx());
        let frames: Vec<_> = burst.iter().map(|p| p.data().to_vec()).collect();
        let reply = &frames[0];
        assert_eq!(reply[..12], [asker, mac.0].concat());
        assert_eq!(reply[20..32], [&[0, 2][..], &mac.0, &[192, 0, 2, 2]].concat());
        assert_eq!(reply[32..42], [&asker[..], &[192, 0, 2, 1]].concat());
        let pong = &frames[1];
        assert_eq!(pong[..12], [asker, mac.0].concat());
        assert_eq!(pong[26..34], [192, 0, 2, 2, 192, 0, 2, 1]);
        assert_eq!((pong[34], naive(&pong[34..]), naive(&pong[14..34])), (0, 0, 0));
        assert_eq!(pong[38..], ping(2, 8, 0)[38..]);
        match others {
            Otherwise::Pass => {
                assert_eq!(frames[2..], not_ours);
                assert!(counters.passes().eq([(Reason::NoMatch, 6)]));
            }
            Otherwise::Drop => {
                assert_eq!(frames.len(), 2);
                assert!(counters.drops().eq([(Reason::NoMatch, 6)]));
            }
        }
    }
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn tee_copies_and_never_holds_up() {
    let (pool, copies) = (pool(64), pool(4));
    let (tx, mut rx) = channel(3);
    let mut stage = TeeStage::new(Box::new(tx), copies.clone());
    let counters = counted(&mut stage);
    let mut burst = burst_of(&pool, (0..10).map(other));
    burst.as_mut_slice()[0].chain(packet(&pool, b"more"));
    stage.process(&mut burst, &mut cx());
    stage.maintain();
    assert_eq!(ids(&burst), (0..10).collect::<Vec<_>>());
    // Ten packets, four buffers for copies, a ring for three.
    let mut seen = Burst::new();
    rx.rx_burst(&mut seen, BURST);
    assert_eq!(ids(&seen), [0, 1, 2]);
    assert_eq!(seen.as_slice()[0].data(), [&other(0)[..], b"more"].concat());
    assert!(counters.passes().eq([(Reason::TeeMissed, 7)]));
    seen.as_mut_slice()[1].data_mut().fill(0);
    assert_eq!(burst.as_slice()[1].data(), other(1), "the original is another buffer");
    // The port is gone: the originals go on.
    drop((seen, rx));
    stage.process(&mut burst, &mut cx());
    assert_eq!(burst.len(), 10);
    drop(burst);
    assert_eq!((pool.stats().in_use, copies.stats().in_use), (0, 0));
}

fn rings(n: usize, slots: usize) -> (Vec<RingTx>, Vec<RingRx>) {
    (0..n).map(|_| channel(slots)).unzip()
}

fn flow(seed: u64, back: bool, v6: bool) -> Vec<u8> {
    let spec = Spec { v6, ..Spec::v4(0, b"payload") };
    let mut f = spec.frame();
    let (n, at) = if v6 { (16, 22) } else { (4, 26) };
    let bytes = noise(seed, 2 * n + 4);
    let (a, rest) = bytes.split_at(n);
    let (b, ports) = rest.split_at(n);
    let (p, q) = ports.split_at(2);
    let parts = if back { [b, a, q, p] } else { [a, b, p, q] };
    f[at..at + 2 * n + 4].copy_from_slice(&parts.concat());
    f
}

#[test]
fn fanout_keeps_both_directions_together_and_spreads_flows_evenly() {
    let pool = pool(128);
    for v6 in [false, true] {
        for targets in [2usize, 3, 7] {
            let (tx, mut rx) = rings(targets, 64);
            let mut stage = HandoffStage::new(tx, Full::Hold);
            assert_eq!((stage.kind(), stage.room()), ("fanout", 64));
            let mut went: HashMap<u64, HashSet<usize>> = HashMap::new();
            let mut per_target = vec![0; targets];
            for seed in 0..2_000u64 {
                let mut burst = burst_of(&pool, [flow(seed, false, v6), flow(seed, true, v6)]);
                stage.process(&mut burst, &mut cx());
                for (i, rx) in rx.iter_mut().enumerate() {
                    let mut got = Burst::new();
                    if rx.rx_burst(&mut got, BURST) > 0 {
                        went.entry(seed).or_default().insert(i);
                        per_target[i] += 1;
                    }
                }
            }
            assert!(went.len() == 2_000 && went.values().all(|t| t.len() == 1), "one target for a flow");
            // Binomial: five standard deviations from the mean.
            let mean = 2_000.0 / targets as f64;
            let limit = 5.0 * (mean * (1.0 - 1.0 / targets as f64)).sqrt();
            assert!(per_target.iter().all(|n| (f64::from(*n) - mean).abs() < limit), "{per_target:?}");
        }
    }
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_flow_keeps_its_order_through_fanout_and_a_full_ring_is_counted_or_waited_for() {
    let pool = pool(256);
    for full in [Full::Drop, Full::Hold] {
        let (tx, mut rx) = rings(2, 8);
        let mut stage = HandoffStage::new(tx, full);
        let counters = counted(&mut stage);
        let frames = (0..20u16).map(|i| {
            let mut f = flow(7, i % 2 == 0, false);
            f[18..20].copy_from_slice(&i.to_be_bytes());
            f
        });
        let mut burst = burst_of(&pool, frames);
        let mut waiting = Burst::new();
        burst.move_front(stage.room(), &mut waiting);
        stage.process(&mut waiting, &mut cx());
        assert!(waiting.is_empty());
        let mut got = Burst::new();
        rx.iter_mut().for_each(|rx| {
            rx.rx_burst(&mut got, BURST);
        });
        assert_eq!(ids(&got), (0..8).collect::<Vec<_>>());
        match full {
            Full::Drop => assert!(counters.drops().eq([(Reason::Full, 12)])),
            Full::Hold => assert!(counters.drops().next().is_none() && burst.len() == 12),
        }
    }
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn handoff_and_merge_carry_everything_across_and_starve_nobody() {
    let pool = pool(512);
    let (mut tx, rx) = rings(3, 64);
    let mut stage = MergeStage::new(rx, 8);
    let counters = counted(&mut stage);
    let fill = |tx: &mut RingTx, id: u16| {
        let mut burst = burst_of(&pool, (0..tx.room().min(BURST)).map(|_| other(id)));
        tx.tx_burst(&mut burst);
    };
    // All rings always full, a burst smaller than any of them.
    let mut taken = [0u32; 3];
    for _ in 0..300 {
        (0..3).for_each(|i| fill(&mut tx[i], i as u16));
        let mut out = Burst::new();
        stage.poll(&mut out, BURST, &mut cx());
        assert_eq!(out.len(), 8);
        ids(&out).iter().for_each(|id| taken[usize::from(*id)] += 1);
    }
    assert_eq!(taken, [800; 3]);
    // A smaller wish than the stage's own.
    let mut out = Burst::new();
    stage.poll(&mut out, 3, &mut cx());
    assert_eq!(out.len(), 3, "no more than asked for");
    let held = stage.held();
    assert!(held > 0 && !stage.is_finished());
    tx.clear();
    assert!(!stage.is_finished(), "what is in the rings still comes");
    assert_eq!(stage.abandon(), held);
    assert!(counters.drops().eq([(Reason::Undelivered, held as u64)]));
    assert!(stage.is_finished() && stage.held() == 0);
    drop(out);
    assert_eq!(pool.stats().in_use, 0);
}

/// Takes up to `k` packets at a time and sends them on at `flush`.
struct Trickle {
    k: usize,
    taken: VecDeque<Packet>,
    to: RingTx,
    counters: SharedCounters,
}

impl TxQueue for Trickle {
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let n = burst.len().min(self.k);
        self.taken.extend(burst.drain_front(n));
        n
    }
    fn flush(&mut self) -> usize {
        let mut burst = Burst::new();
        for _ in 0..self.taken.len().min(2) {
            burst.push(self.taken.pop_front().unwrap()).unwrap();
        }
        self.to.tx_burst(&mut burst);
        self.taken.len()
    }
    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

#[test]
fn a_port_that_takes_few_at_a_time_loses_nothing_with_hold() {
    for k in [0usize, 1, 3, 31] {
        let pool = pool(512);
        let (to, output) = channel(1024);
        let sink = Trickle { k, taken: VecDeque::new(), to, counters: QueueCounters::shared() };
        let mut line = Line::ending(Vec::new(), Box::new(sink), output, Full::Hold);
        (0..200).for_each(|i| line.give(packet(&pool, &other(i))));
        if k == 0 {
            (0..50).for_each(|_| line.round());
            let rx = &line.pipeline.counters()[0];
            assert_eq!((rx.packets_out.get(), rx.stalls.get()), (32, 49), "one burst, then the source waits");
            drop(line);
            assert_eq!(pool.stats().in_use, 0);
            continue;
        }
        line.settle();
        assert!(line.frames.iter().map(|f| id_of(f)).eq(0..200), "k = {k}");
        assert_eq!(line.dropped(), 0);
        assert_eq!(line.pipeline.latency().unwrap().end_to_end.len(), 200);
    }
}

#[test]
fn with_drop_a_port_that_takes_few_costs_packets_and_latency_is_of_those_sent() {
    let pool = pool(512);
    let (to, output) = channel(1024);
    let sink = Trickle { k: 5, taken: VecDeque::new(), to, counters: QueueCounters::shared() };
    let mut line = Line::ending(Vec::new(), Box::new(sink), output, Full::Drop);
    (0..64).for_each(|i| line.give(packet(&pool, &other(i))));
    line.settle();
    assert_eq!(line.drops(1), [(Reason::Full, 54)]);
    assert_eq!(line.frames.iter().map(|f| id_of(f)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 32, 33, 34, 35, 36]);
    assert_eq!(line.pipeline.latency().unwrap().end_to_end.len(), 10);
}

/// Keeps every packet for a while.
struct Delay {
    held: VecDeque<(u64, Packet)>,
    ticks: u64,
}

impl Stage for Delay {
    fn kind(&self) -> &'static str {
        "delay"
    }
    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let due = ticks() + self.ticks;
        self.held.extend(burst.drain_front(BURST).map(|p| (due, p)));
    }
    fn polls(&self) -> bool {
        true
    }
    fn poll(&mut self, out: &mut Burst, max: usize, _cx: &mut Context<'_>) {
        while out.len() < max && self.held.front().is_some_and(|(due, _)| *due <= ticks()) {
            out.push(self.held.pop_front().unwrap().1).unwrap();
        }
    }
    fn held(&self) -> usize {
        self.held.len()
    }
    fn attach(&mut self, _: SharedStage) {}
}

#[test]
fn the_histogram_shows_every_packet_and_how_long_it_was_held() {
    let pool = pool(512);
    let delay = Duration::from_millis(2);
    let stage = Delay { held: VecDeque::new(), ticks: Clock::get().ticks_of(delay) };
    let frames: Vec<_> = (0..100).map(other).collect();
    let (out, line) = run(&pool, vec![Box::new(stage)], &frames);
    assert_eq!(out, frames);
    let h = &line.pipeline.latency().unwrap().end_to_end;
    assert_eq!(h.len(), 100);
    // Three digits, and the clock's calibration.
    assert!(h.min() >= 1_900_000, "{} ns", h.min());
    assert!(h.value_at_quantile(0.5) < 1_000_000_000);
}
