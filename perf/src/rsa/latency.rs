//! `rsa-latency`: how long a pass takes, and how long a request takes through a queue to an engine core under load.

use std::time::{Duration, Instant};

use warpdrive_pmd::clock::Clock;
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOptions};

use super::contenders::Run;
use super::cores::cores;
use super::keys::Keys;
use super::load::{Borne, Load};
use super::ours::{self, engine};
use super::peers::Peer;
use super::rig::Rig;
use super::slices::{Slices, quantile};
use super::{FULL, Field, PACKAGE, PEERS, ROUNDS, SECONDS, load};
use crate::load::Outcome;
use crate::measure::{Better, Line, median, on_cpu};
use crate::peers::NoPeer;
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "rsa-latency",
    about: "time of one RSA-2048 pass; end-to-end time through a queue at 10, 50 and 90 % load",
    peer: PEERS,
    package: PACKAGE,
    unit: UNIT.0,
    seconds: SECONDS,
    rounds: ROUNDS,
    quick: Some((SECONDS, 20)),
    run: Kind::Comparison(run),
};
/// OpenSSL's name and the time of one of its operations in microseconds, or why it is not there.
type OpenSsl = Result<(String, f64), NoPeer>;
const UNIT: (&str, Better) = ("us", Better::Lower);
/// Parts of the capacity that are offered, in percent.
const LOADS: [u32; 3] = [10, 50, 90];
/// A load lasts as long as this many times all slices of one contender.
const LOAD_LENGTH: u32 = 5;
/// Requests alone between two looks at the clock.
const ALONE: usize = 32;
/// The most that a pass of eight may take, in operations of OpenSSL.
const MOST_FULL: f64 = 3.0;
/// The most that one alone may take, in operations of OpenSSL.
const MOST_ALONE: f64 = 1.2;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
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
    let openssl: OpenSsl = field
        .place(Peer::OpenSsl)
        .map(|(at, peer)| (peer.name().to_owned(), p(&all_passes(&slices, at), 0.5)))
        .map_err(Clone::clone);
    drop(field);
    let (near, far) = options.two_cpus()?;
    let key = keys.ours(1)?.remove(0);
    emit(alone(options, &key, (near, far), &openssl)?);
    for percent in LOADS {
        options.go_on()?;
        let capacity = capacity(options, &keys, far)?;
        let load = Load {
            near,
            far,
            engine: RsaOptions::default(),
            rate: capacity * f64::from(percent) / 100.0,
            seed: options.seed,
            length: total(options).saturating_mul(LOAD_LENGTH),
        };
        let borne = load::offer(&key, &load)?;
        for line in under_load(options, &load, &borne, &openssl, (percent, capacity)) {
            emit(line);
        }
    }
    emit(cores(near, far)?.command(options.command(BENCH.name)));
    Ok(())
}

/// The time of all slices of one contender.
fn total(options: &Options) -> Duration {
    options.slice.saturating_mul(u32::try_from(options.rounds).unwrap_or(u32::MAX))
}

/// What the engine does in a second on the cpu `far` in passes of eight, without a queue.
fn capacity(options: &Options, keys: &Keys, far: usize) -> Result<f64, BenchError> {
    let mut bare = engine(keys, 1, FULL, &RsaOptions::default())?;
    Ok(on_cpu(far, || bare.run_for(total(options)))?.rate())
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
    let high = high.note("the 99th of a hundred passes, of all slices together: not paired");
    match (field.ours[our].suffix, peer) {
        ("", Peer::OpenSsl) => [target(middle, MOST_FULL), target(high, MOST_FULL)],
        ("-single", Peer::OpenSsl) => [target(middle, MOST_ALONE), high],
        _ => [middle, high],
    }
}

/// Whether ours took no longer than `most` times what the peer did.
fn target(line: Line, most: f64) -> Line {
    let Some(ratio) = line.ratio else { return line };
    let times = 1.0 / ratio;
    let verdict = if times <= most { "met" } else { "missed" };
    line.note(format!("target: {most} times one operation of the peer or less: {times:.2}, {verdict}"))
}

fn all_passes(slices: &Slices, contender: usize) -> Vec<f64> {
    slices.steady(contender).flat_map(|s| s.run.passes_us.iter().copied()).collect()
}

fn p(values: &[f64], q: f64) -> f64 {
    quantile(values, q).unwrap_or(f64::NAN)
}

/// One request alone in the queue to an engine core, there and back.
fn alone(
    options: &Options,
    key: &RsaKey,
    (near, far): (usize, usize),
    openssl: &OpenSsl,
) -> Result<Line, BenchError> {
    let mut rig = Rig::open(key, far, 1, RsaOptions::default())?;
    let mut times = Vec::new();
    on_cpu(near, || {
        rig.alone(ALONE, |_| ())?;
        let start = Instant::now();
        while start.elapsed() < total(options) {
            options.go_on()?;
            rig.alone(ALONE, |ticks| times.push(Clock::get().ns(ticks) as f64 / 1e3))?;
        }
        Ok(())
    })?;
    let mut line = compare(&format!("{}-alone", BENCH.name), p(&times, 0.5), openssl);
    line.rounds = times.len();
    Ok(target(line, MOST_ALONE)
        .command(options.command(BENCH.name))
        .note(format!("us: p10 {:.1}, p90 {:.1}, p99 {:.1}", p(&times, 0.1), p(&times, 0.9), p(&times, 0.99)))
        .note(format!(
            "one request in flight: from before it is sent on cpu {near} to when its completion was received; engine on cpu {far}"
        ))
        .note("peer: one operation without a queue, the median; rounds: requests"))
}

fn compare(name: &str, us: f64, openssl: &OpenSsl) -> Line {
    let theirs = openssl.as_ref().map(|(name, us)| (name.as_str(), std::slice::from_ref(us)));
    Line::compare(name, UNIT, &[us], theirs)
}

/// The lines of one load.
fn under_load(
    options: &Options,
    load: &Load,
    borne: &Borne,
    openssl: &OpenSsl,
    (percent, capacity): (u32, f64),
) -> [Line; 2] {
    let Borne { outcome, fill, .. } = borne;
    [("", 0.5), ("-p99", 0.99)].map(|(suffix, q)| {
        let us = outcome.latency.value_at_quantile(q) as f64 / 1e3;
        let mut line = compare(&format!("{}-load-{percent}{suffix}", BENCH.name), us, openssl);
        line.rounds = outcome.done as usize;
        line.command(options.command(BENCH.name))
            .note(format!(
                "offered: {percent} % of the {capacity:.0} op/s of full passes on that cpu, measured just before; seed {}",
                load.seed
            ))
            .note(spread(outcome))
            .note(format!("lanes: {fill}"))
            .note(format!("{}; {}", borne.waited(), borne.shared()))
            .note(format!(
                "from when a request was due on cpu {} to when its completion was received; engine on cpu {}",
                load.near, load.far
            ))
            .note("peer: one operation without a queue or a load, the median; rounds: requests")
    })
}

fn spread(outcome: &Outcome) -> String {
    let us = |q| outcome.latency.value_at_quantile(q) as f64 / 1e3;
    format!(
        "us: mean {:.1}, p10 {:.1}, p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}; {} requests, sent up to {:.1} late, {} not sent for want of room",
        outcome.latency.mean() / 1e3,
        us(0.1),
        us(0.5),
        us(0.9),
        us(0.99),
        us(0.999),
        outcome.latency.max() as f64 / 1e3,
        outcome.done,
        outcome.late_ns as f64 / 1e3,
        outcome.unsent
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        let line = |ours| Line::compare("x", UNIT, &[ours], Ok(("p", &[200.0])));
        assert!(target(line(590.0), 3.0).notes[0].ends_with("2.95, met"));
        assert!(target(line(610.0), 3.0).notes[0].ends_with("3.05, missed"));
        let none = NoPeer::absent("OpenSSL", "libssl-dev");
        let line = Line::compare("x", UNIT, &[1.0], Err(&none));
        assert_eq!(target(line, 3.0).notes.len(), 1, "nothing to compare with, nothing said");
    }
}
