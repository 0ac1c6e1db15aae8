//! Made-up records for tests: the same ones every time. The tests beside the code and the one of the whole both have
//! this file.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::run::histogram;
use crate::load::{Outcome, Shape};
use crate::measure::{Better, Gaps, Line, Machine};
use crate::record::{Arrivals, Curve, Failure, Found, Mode, Point, Record, Report, SCHEMA, StageTime};

/// What a made-up subject does in a second at most.
const CAPACITY: f64 = 820_000.0;

/// One load: `busy` is the part of what the subject can do; above 1 it loses.
fn outcome(rate: f64, busy: f64, seed: u64) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut latency = histogram().unwrap();
    let count = 20_000;
    for _ in 0..count {
        let waits = -(1.0 - random.f64()).ln() * 4.0 * busy / (1.02 - busy.min(1.0));
        let rare = if random.u32(..1500) == 0 { 900.0 * random.f64() } else { 0.0 };
        latency.record(((6.0 + waits + rare) * 1e3) as u64).unwrap();
    }
    let lost = (f64::from(count) * (busy - 0.99).max(0.0)) as u64;
    let rate = rate.min(CAPACITY) * (1.0 + (random.f64() - 0.5) * 0.05);
    Outcome {
        latency,
        sent: count as u64 + lost,
        done: count as u64,
        lost,
        unsent: lost / 2,
        elapsed: Duration::from_secs_f64(f64::from(count) / rate),
        late_ns: 2_500,
        cpu_share: 99.2,
    }
}

/// A point of a closed loop.
fn deep(depth: usize) -> Point {
    let busy = (depth as f64 / (depth as f64 + 6.0)).min(0.99);
    let repeats: Vec<Outcome> =
        (0..5).map(|i| outcome(CAPACITY * busy, busy, depth as u64 * 10 + i)).collect();
    Point::of(Shape::Closed { depth }, &repeats)
}

/// A point of an open loop.
fn offered(rate: f64, repeats: u64) -> Point {
    let outcomes: Vec<Outcome> =
        (0..repeats).map(|i| outcome(rate, rate / CAPACITY, rate as u64 + i)).collect();
    Point::of(Shape::Open { rate, arrivals: Arrivals::Poisson }, &outcomes)
}

/// A curve of each kind.
pub fn curve(mode: Mode) -> Curve {
    let points = match mode {
        Mode::Closed => [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].map(deep).into(),
        Mode::Open => [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.08].map(|p| offered(p * CAPACITY, 5)).into(),
        Mode::ZeroLoss | Mode::P99 => {
            let parts = [1.25, 1.25, 0.625, 0.94, 1.09, 1.09, 1.02, 1.02, 0.98, 0.998, 0.98];
            parts.map(|p| offered(p * CAPACITY, 1)).into()
        }
        Mode::Soak => (1..=60).map(second_of_a_soak).collect(),
    };
    let facts = [
        ("device", "software"),
        ("simd", "avx512"),
        ("pages", "2 MiB"),
        ("cpus", "0 (sender), 1 (engine)"),
        ("overhead", "58 ns of the harness taken off"),
    ];
    let found = matches!(mode, Mode::ZeroLoss | Mode::P99).then(|| Found {
        rate: 0.98 * CAPACITY,
        failed: Some(0.998 * CAPACITY),
        criterion: "nothing lost, and p99 of 1ms or less".into(),
    });
    let stage =
        |name: &str, p50, p99, max| StageTime { name: name.into(), packets: 1_234_567, p50, p99, max };
    Curve {
        name: format!("pipeline-{}", mode.name()),
        about: "one frame of 64 bytes through a pipeline of three stages; latency from the hand-over to the port \
                to the return of its buffer"
            .into(),
        mode,
        unit: "packets/s".into(),
        facts: facts.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        points,
        found,
        stages: vec![
            stage("port in 0", 0.4, 1.9, 40.0),
            stage("decrypt rsa2048 in batches", 182.5, 311.0, 4_210.0),
            stage("compress deflate", 21.0, 57.3, 890.0),
            stage("port out 1", 0.3, 1.2, 22.0),
        ],
        command: format!("warpdrive bench pipeline --json --seconds 0.2 --rounds 5 --mode {}", mode.name()),
        notes: vec!["open loop: latency from when an operation was due, sent or not".into()],
    }
}

/// An interval of a soak, without a distribution.
fn second_of_a_soak(second: u64) -> Point {
    let mut point = offered(CAPACITY * (0.5 + 0.02 * (second % 7) as f64), 1);
    point.at_s = Some(second as f64);
    if let Some(latency) = &mut point.latency {
        latency.curve.clear();
    }
    point
}

/// A comparison whose ratios are about `ratio`.
pub fn line(name: &str, unit: &'static str, ratio: f64) -> Line {
    let mut random = fastrand::Rng::with_seed((ratio * 1e3) as u64);
    let theirs: Vec<f64> = (0..15).map(|_| 11_800.0 * (1.0 + 0.03 * random.f64())).collect();
    let ours: Vec<f64> = theirs.iter().map(|t| t * ratio * (1.0 + 0.06 * (random.f64() - 0.5))).collect();
    Line::compare(name, (unit, Better::Higher), &ours, Ok(("OpenSSL 3.0.17", &theirs)))
        .command("warpdrive bench rsa2048 --json --seconds 0.2 --rounds 15".into())
        .note("both with keys of their own, on one cpu")
}

/// Of everything something, with texts that would be markup.
pub fn report() -> Report {
    let gaps = |cpu, over_100us, longest_us| Gaps {
        cpu,
        over_1us: 55,
        over_10us: 51,
        over_100us,
        longest_us,
        lost_percent: 3.2,
        spun_ms: 50,
    };
    let comparisons = [
        ("rsa2048", 3.85),
        ("rsa2048-crypto-mb", 1.134),
        ("rsa2048-aws-lc", 3.86),
        ("rsa2048-keys-crypto-mb", 1.115),
        ("rsa2048-single-aws-lc", 1.0004),
        ("rsa2048-blinding-cost", 0.9635),
        ("rsa2048-karatsuba-with-a-name-that-is-longer-than-there-is-room", 3.846),
        ("rsa-latency", 0.465),
        ("rsa-latency-p99", 0.857),
        ("rsa-latency-load-90-p99", 0.0515),
        ("mempool", 1.42),
        ("mempool-burst-8", 1.21),
        ("mempool-burst-1", 0.98),
        ("ring", 1.08),
        ("forward-null", 1.31),
    ];
    let mut records: Vec<Record> =
        comparisons.iter().map(|(name, ratio)| line(name, "op/s", *ratio).into()).collect();
    let mut alone = line("memory", "bytes", 1.0).note("<script>alert(1)</script> & \"/home/a b/<corpus>\"");
    (alone.ratio, alone.peer_value, alone.spread, alone.interval) = (None, None, None, None);
    alone.peer = "dpdk-testpmd (absent)".into();
    records.push(alone.into());
    records
        .extend([Mode::Closed, Mode::Open, Mode::ZeroLoss, Mode::P99, Mode::Soak].map(|m| curve(m).into()));
    records.push(Record::Failed(Failure {
        name: "forward-af-xdp".into(),
        error: "/home/a b/<corpus>: no such file. Remedy: name a folder".into(),
        command: "warpdrive bench forward-af-xdp --json".into(),
    }));
    Report {
        schema: SCHEMA.into(),
        started_unix: 1_795_286_400,
        command: "warpdrive bench --all --corpus '/home/a b/<corpus>'".into(),
        versions: BTreeMap::from(
            [("warpdrive", "0.1.0"), ("DPDK", "22.11.7"), ("OpenSSL", "3.0.17")]
                .map(|(name, version)| (name.to_owned(), version.to_owned())),
        ),
        machine: Machine {
            cpu: "AMD EPYC 9654 96-Core Processor".into(),
            tsc_hz: 2_596_116_915,
            tsc_invariant: true,
            tsc_drift_ppm: 3.5,
            kernel: "6.18.44".into(),
            load: 1.3,
            free_hugepages: 256,
            gaps: vec![gaps(0, 27, 2_482.717), gaps(1, 0, 35.783)],
        },
        records,
    }
}
