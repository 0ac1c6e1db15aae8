//! `rsa-queue`: what of the engine's rate is left behind a queue to another core.

use warpdrive_pmd::engine::rsa::RsaOptions;

use super::contenders::Run;
use super::keys::Keys;
use super::ours::engine;
use super::rig::{Fill, Rig};
use super::slices::{Slice, Slices};
use super::{FULL, RATE, ROUNDS, SECONDS, calibrate, core};
use crate::measure::{Line, on_cpu};
use crate::record::LEAST_SHARE;
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "rsa-queue",
    about: "RSA-2048 signatures by an engine core, 64 requests in flight from another core",
    peer: "the same engine, called with eight requests at a time on its core, without a queue",
    package: "",
    unit: RATE.0,
    seconds: SECONDS,
    rounds: ROUNDS,
    quick: Some((SECONDS, 15)),
    run: Kind::Comparison(run),
};
const IN_FLIGHT: usize = 64;
/// What part of the bare rate a queue should leave.
const TARGET: f64 = 0.95;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let keys = Keys::new(2048)?;
    let key = keys.ours(1)?.remove(0);
    let mut bare = engine(&keys, 1, FULL, &RsaOptions::default())?;
    let mut fill = Fill::default();
    let (mut queued, mut direct, mut starved) = (Vec::new(), Vec::new(), 0);
    let mut before = on_cpu(far, || Ok(calibrate::speed()))?;
    for round in 0..=options.rounds {
        options.go_on()?;
        // Made anew each time: its engine's thread must not be on the core while the other slice is.
        let mut rig = Rig::open(&key, far, IN_FLIGHT, RsaOptions::default())?;
        let before_it = rig.stats();
        let (run, share) = on_cpu(near, || rig.rate(options.slice))?;
        fill.add(&Fill::between(&before_it, &rig.stats()));
        drop(rig);
        let between = on_cpu(far, || Ok(calibrate::speed()))?;
        let peer = on_cpu(far, || bare.run_for(options.slice))?;
        let after = on_cpu(far, || Ok(calibrate::speed()))?;
        if round > 0 && share < LEAST_SHARE {
            starved += 1;
        } else if round > 0 {
            queued.push(Slice { run, speed: before.least(between) });
            direct.push(Slice { run: peer, speed: between.least(after) });
        }
        before = after;
    }
    let slices = Slices::new(vec![queued, direct]);
    let pairs = slices.pairs(0, 1, Run::rate);
    let title = format!("{} without a queue", bare.name());
    let line = Line::compare(BENCH.name, RATE, &pairs.ours, Ok((&title, &pairs.theirs)));
    let met = line.ratio.is_some_and(|r| r >= TARGET);
    emit(
        line.command(options.command(BENCH.name))
            .note(format!("target: a ratio of {TARGET} or more: {}", if met { "met" } else { "missed" }))
            .note(format!("PKCS#1 signatures, {IN_FLIGHT} in flight from cpu {near}, engine on cpu {far}; peer: requests of {FULL}"))
            .note(format!("lanes: {fill}"))
            .note("seconds of cpu time of the thread that works; cpu of the sender idle in the peer's slices")
            .note(format!(
                "of {} rounds {} dropped because the core was disturbed, and {starved} because the sender had less \
                 than {LEAST_SHARE} % of its cpu",
                options.rounds, pairs.dropped
            ))
            .note(core(slices.best())),
    );
    Ok(())
}
