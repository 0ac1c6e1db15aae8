//! `rsa-latency`: how long a pass takes, and how long a request takes through a queue to an engine core under load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warpdrive_pmd::clock::{Clock, ticks};

use super::contenders::Run;
use super::keys::Keys;
use super::load::{Outcome, Poisson};
use super::peers::Peer;
use super::rig::{Rig, fill};
use super::slices::{Slices, quantile};
use super::{Field, PACKAGE, PEERS, ROUNDS, SECONDS, load, ours};
use crate::measure::{Better, Gaps, Line, median, on_cpu};
use crate::peers::NoPeer;
use crate::{Bench, BenchError, Emit, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "rsa-latency",
    about: "time of one RSA-2048 pass; end-to-end time through a queue at 10, 50 and 90 % load",
    peer: PEERS,
    package: PACKAGE,
    unit: UNIT.0,
    seconds: SECONDS,
    rounds: ROUNDS,
    run,
};
const UNIT: (&str, Better) = ("us", Better::Lower);
/// Parts of the capacity that are offered, in percent.
const LOADS: [u32; 3] = [10, 50, 90];
/// A load lasts as long as this many times all slices of one contender.
const LOAD_LENGTH: u32 = 5;
/// What part of its cpu, in percent, the engine must have had.
const LEAST_SHARE: f64 = 97.0;
/// Requests that may wait: more than any load that the engine can keep up with makes.
const DEPTH: usize = 2048;
/// How long gaps are looked for.
const SPIN: Duration = Duration::from_millis(200);
/// Round trips of a cache line.
const TRIPS: usize = 20_000;
/// Round trips that are timed together: one alone is near the clock's own cost.
const TRIPS_TOGETHER: usize = 10;

fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let cpu = options.cpu()?;
    let keys = Keys::new(2048)?;
    let mut field = Field::new(options, &keys, cpu, ours::passes(&keys)?);
    let slices = field.slices(options, cpu)?;
    for (i, our) in field.ours.iter().enumerate() {
        for &peer in our.against {
            for line in passes(&field, &slices, i, peer) {
                emit(field.said(line, our, peer, &slices).command(options.command(BENCH.name)));
            }
        }
    }
    let openssl = field
        .place(Peer::OpenSsl)
        .map(|(at, peer)| (peer.name().to_owned(), p(&all_passes(&slices, at), 0.5)))
        .map_err(Clone::clone);
    drop(field);
    under_load(options, &keys, &openssl, emit)
}

/// The lines of one pass: the middle and the 99th of a hundred.
fn passes(field: &Field<'_>, slices: &Slices, our: usize, peer: Peer) -> [Line; 2] {
    let name = format!("{}{}{}", BENCH.name, field.ours[our].suffix, peer.suffix());
    let middle = field.line(&name, UNIT, slices, (our, peer), |run: &Run| median(&run.passes_us));
    let ours = [p(&all_passes(slices, our), 0.99)];
    let name = format!("{name}-p99");
    let mut high = match field.place(peer) {
        Ok((at, contender)) => {
            let theirs = [p(&all_passes(slices, at), 0.99)];
            Line::compare(&name, UNIT, &ours, Ok((contender.name(), &theirs)))
        }
        Err(none) => Line::compare(&name, UNIT, &ours, Err(none)),
    };
    high.rounds = middle.rounds;
    let middle = middle.note("one pass of ours against one pass of the peer: the median of a slice");
    [middle, high.note("the 99th of a hundred passes, of all slices together: not paired")]
}

fn all_passes(slices: &Slices, contender: usize) -> Vec<f64> {
    slices.steady(contender).flat_map(|s| s.run.passes_us.iter().copied()).collect()
}

fn p(values: &[f64], q: f64) -> f64 {
    quantile(values, q).unwrap_or(f64::NAN)
}

/// The load curve, and what the cores themselves add.
fn under_load(
    options: &Options,
    keys: &Keys,
    openssl: &Result<(String, f64), NoPeer>,
    emit: Emit<'_>,
) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let key = keys.ours(1)?.remove(0);
    let rounds = u32::try_from(options.rounds).unwrap_or(u32::MAX);
    let total = options.slice.saturating_mul(rounds);
    let length = total.saturating_mul(LOAD_LENGTH);
    let mut rig = Rig::open(&key, far, DEPTH)?;
    let capacity = on_cpu(near, || rig.rate(total))?.rate();
    for percent in LOADS {
        options.go_on()?;
        let rate = capacity * f64::from(percent) / 100.0;
        let due = Poisson::new(options.seed, Clock::get().hz() as f64 / rate);
        let (before, had, start) = (rig.stats(), rig.engine_time()?, Instant::now());
        let outcome = on_cpu(near, || load::run(&mut rig, due, length))?;
        let had = (rig.engine_time()? - had).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
        let lanes = fill(before, rig.stats());
        let offered = format!(
            "{percent} % of the capacity of {capacity:.0} op/s, which was measured with a full queue; seed {}",
            options.seed
        );
        for (suffix, q) in [("", 0.5), ("-p99", 0.99)] {
            let ours = [outcome.latency.value_at_quantile(q) as f64 / 1e3];
            let name = format!("{}-load-{percent}{suffix}", BENCH.name);
            let theirs = openssl.as_ref().map(|(name, us)| (name.as_str(), std::slice::from_ref(us)));
            let mut line = Line::compare(&name, UNIT, &ours, theirs);
            line.rounds = outcome.done as usize;
            emit(
                line.command(options.command(BENCH.name))
                    .note(format!("offered: {offered}"))
                    .note(spread(&outcome))
                    .note(format!("lanes: {lanes}; {}", shared(had)))
                    .note(format!("from when a request was due on cpu {near} to when its completion was received; engine on cpu {far}"))
                    .note("peer: one operation without a queue or a load, the median; rounds: requests"),
            );
        }
    }
    drop(rig);
    emit(cores(near, far)?.command(options.command(BENCH.name)));
    Ok(())
}

/// How much of its cpu the engine had: with less than all of it, the latencies are those of the scheduler.
fn shared(percent: f64) -> String {
    let verdict = if percent < LEAST_SHARE { ": OTHER LOAD ON THE MACHINE, not to be trusted" } else { "" };
    format!("the engine's thread had {percent:.1} % of its cpu{verdict}")
}

fn spread(outcome: &Outcome) -> String {
    let us = |q| outcome.latency.value_at_quantile(q) as f64 / 1e3;
    format!(
        "us: p10 {:.1}, p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}; {} requests, sent up to {:.1} late",
        us(0.1),
        us(0.5),
        us(0.9),
        us(0.99),
        us(0.999),
        outcome.latency.max() as f64 / 1e3,
        outcome.done,
        outcome.late_ns as f64 / 1e3
    )
}

/// What two cores add to every latency: the way of a cache line there and back, and the gaps of threads that only spin.
fn cores(near: usize, far: usize) -> Result<Line, BenchError> {
    let trips = ping_pong(near, far)?;
    let none = NoPeer { peer: "none", why: "what the machine itself adds to every latency above".to_owned() };
    let mut line = Line::compare("rsa-latency-cores", ("ns", Better::Lower), &trips, Err(&none));
    line.rounds = trips.len();
    line = line.note(format!("a cache line from cpu {near} to cpu {far} and back"));
    for gaps in both_gaps(near, far)? {
        line = line.note(format!(
            "cpu {}, both spinning for {} ms: {} gaps > 1 us, {} > 10 us, {} > 100 us; longest {:.1} us, {:.2} % lost",
            gaps.cpu,
            gaps.spun_ms,
            gaps.over_1us,
            gaps.over_10us,
            gaps.over_100us,
            gaps.longest_us,
            gaps.lost_percent
        ));
    }
    Ok(line)
}

/// Nanoseconds of round trips.
fn ping_pong(near: usize, far: usize) -> Result<Vec<f64>, BenchError> {
    /// What the near side says when it cannot go on.
    const OVER: u64 = u64::MAX;
    let (ping, pong) = (AtomicU64::new(0), AtomicU64::new(0));
    let clock = Clock::get();
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let echoed = on_cpu(far, || {
                let mut last = 0;
                while last < TRIPS as u64 {
                    match ping.load(Ordering::Acquire) {
                        OVER => break,
                        new if new != last => {
                            last = new;
                            pong.store(new, Ordering::Release);
                        }
                        _ => std::hint::spin_loop(),
                    }
                }
                Ok(())
            });
            if echoed.is_err() {
                pong.store(OVER, Ordering::Release);
            }
            echoed
        });
        let trips = on_cpu(near, || {
            let mut trips = Vec::with_capacity(TRIPS / TRIPS_TOGETHER);
            for together in 0..TRIPS / TRIPS_TOGETHER {
                let start = ticks();
                for i in 1..=TRIPS_TOGETHER {
                    let n = (together * TRIPS_TOGETHER + i) as u64;
                    ping.store(n, Ordering::Release);
                    loop {
                        match pong.load(Ordering::Acquire) {
                            OVER => return Ok(trips),
                            back if back == n => break,
                            _ => std::hint::spin_loop(),
                        }
                    }
                }
                trips.push(clock.ns(ticks() - start) as f64 / TRIPS_TOGETHER as f64);
            }
            Ok(trips)
        });
        if trips.is_err() {
            ping.store(OVER, Ordering::Release);
        }
        echo.join().unwrap_or_else(|_| Err(BenchError::Bug("the echo panicked".to_owned())))?;
        trips
    })
}

fn both_gaps(near: usize, far: usize) -> Result<[Gaps; 2], BenchError> {
    let spin = |cpu| on_cpu(cpu, move || Ok(Gaps::measure(cpu, SPIN)));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| spin(far));
        let own = spin(near)?;
        let other =
            other.join().unwrap_or_else(|_| Err(BenchError::Bug("a spinning thread panicked".into())))?;
        Ok([own, other])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_line_goes_there_and_back() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let [near, far, ..] = cpus[..] else { return };
        let trips = ping_pong(near, far).unwrap();
        assert_eq!(trips.len(), TRIPS / TRIPS_TOGETHER);
        assert!((10.0..100_000.0).contains(&median(&trips)), "{}", median(&trips));
    }

    #[test]
    fn a_cpu_that_is_not_there_ends_both_sides() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        assert!(ping_pong(cpus[0], 1023).is_err());
        assert!(ping_pong(1023, cpus[0]).is_err());
    }
}
