//! The highest rate at which something holds: by halving, as RFC 2544 (26.1) has it.

use std::time::Duration;

use super::Outcome;
use super::bed::Bed;
use crate::BenchError;
use crate::record::{Curve, Found, Point};
use crate::statistics::rounded;

/// How near the highest rate that passed is to the lowest that failed, at the end.
const RESOLUTION: f64 = 0.01;
/// A search begins at this many times what the closed loop does: nobody bears that for long.
const ABOVE: f64 = 1.25;
/// How often a rate is tried before it has failed. A virtual machine that is not run for a moment loses packets which a
/// machine of its own would not.
const TRIES: u64 = 2;
/// The most that is ever offered: no subject of one sender takes more.
const MOST: f64 = 1e9;
/// A subject has kept up if it was done this soon after the end of a trial, besides the part of it that is not told apart.
const AFTER: Duration = Duration::from_millis(2);
/// The highest rate found is tried once more, for this many times as long.
const CONFIRM: u32 = 4;
/// A trial of fewer operations than this says nothing: a search ends there.
const LEAST: f64 = 100.0;

/// The highest rate at which nothing is lost and nothing left unsent.
pub fn zero_loss(bed: &mut Bed<'_>, curve: &mut Curve) -> Result<(), BenchError> {
    search(bed, curve, "all that was due was sent and came back", Outcome::is_complete)
}

/// The highest rate at which nothing is lost and the 99th percentile is within the bound.
pub fn p99(bed: &mut Bed<'_>, curve: &mut Curve) -> Result<(), BenchError> {
    let bound = bed.options.load.bound;
    let within = |outcome: &Outcome| {
        outcome.is_complete() && u128::from(outcome.latency.value_at_quantile(0.99)) <= bound.as_nanos()
    };
    search(bed, curve, &format!("nothing lost, and p99 of {bound:?} or less"), within)
}

fn search(
    bed: &mut Bed<'_>,
    curve: &mut Curve,
    criterion: &str,
    holds: impl Fn(&Outcome) -> bool,
) -> Result<(), BenchError> {
    let capacity = bed.capacity_if(true, curve)?;
    let length = bed.options.slice;
    let mut trial = |rate: f64, times: u32, curve: &mut Curve| -> Result<bool, BenchError> {
        let shape = bed.open(rate);
        for round in 0..TRIES {
            let length = length * times;
            let outcome = bed.once(shape, length, round)?;
            // A queue takes up a load that is too high for as long as it has room: what came late shows that it was.
            let kept_up = outcome.elapsed <= length.mul_f64(1.0 + RESOLUTION) + AFTER;
            let passed = outcome.sent > 0 && kept_up && holds(&outcome);
            curve.points.push(Point::of(shape, &[outcome]));
            if passed {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let (mut passed, mut failed) = (None, None);
    let lowest = LEAST / length.as_secs_f64();
    let (mut rate, mut step) = (capacity * ABOVE, RESOLUTION);
    loop {
        if trial(rate, 1, curve)? {
            passed = Some(rate);
        } else {
            failed = Some(rate);
        }
        match (passed, failed) {
            (Some(passed), Some(failed)) if failed / passed - 1.0 > RESOLUTION => {
                rate = f64::midpoint(passed, failed);
            }
            // Nobody has failed yet.
            (Some(good), None) if good < MOST => rate = (2.0 * good).min(MOST),
            (Some(good), _) => {
                // The shorter trials may have been lucky.
                if trial(good, CONFIRM, curve)? {
                    break;
                }
                (failed, passed) = (Some(good), None);
                if good <= lowest {
                    break;
                }
                rate = (good * (1.0 - step)).max(lowest);
                step = (2.0 * step).min(0.5);
            }
            (None, _) if rate > lowest => rate = (rate / 2.0).max(lowest),
            (None, _) => break,
        }
    }
    curve.notes.push(format!(
        "criterion: {criterion}, and done no later than {AFTER:?} and {} % after a trial of {length:?}; a rate has failed when it did {TRIES} times; \
         the highest that passed was confirmed for {:?}",
        100.0 * RESOLUTION,
        length * CONFIRM
    ));
    match passed {
        Some(rate) => {
            let criterion = criterion.to_owned();
            curve.found = Some(Found { rate: rounded(rate), failed: failed.map(rounded), criterion });
        }
        None => {
            curve.notes.push(format!("no rate down to {lowest:.0} was borne; below, trials are too short"))
        }
    }
    Ok(())
}

/// What the trials of a search offered.
#[cfg(test)]
fn offered(curve: &Curve) -> Vec<f64> {
    curve.points.iter().filter_map(|p| p.offered).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::modes::{About, drive};
    use super::super::nothing::Servant;
    use super::*;
    use crate::Options;
    use crate::record::{Arrivals, Mode, Record};

    fn found(mode: Mode, servant: &mut Servant, set: impl Fn(&mut Options)) -> Curve {
        let about = About { bench: "x", what: "nothing".into(), unit: "op/s", facts: BTreeMap::new() };
        let mut options = Options::for_tests(1);
        options.slice = Duration::from_millis(60);
        options.load.mode = Some(mode);
        options.load.arrivals = Arrivals::Constant;
        set(&mut options);
        let mut curve = None;
        drive(&options, &about, servant, &mut |record| {
            if let Record::Curve(c) = record {
                curve = Some(c);
            }
        })
        .unwrap();
        curve.unwrap()
    }

    #[test]
    fn the_highest_rate_without_loss_is_what_the_subject_can_do() {
        // One at a time, each 50 us: 20,000 a second; what the harness takes for itself is little to that.
        // On a machine that others use a search may find nothing.
        let search = || found(Mode::ZeroLoss, &mut Servant::new(1, Duration::from_micros(50)), |_| ());
        let Some(curve) = (0..5).map(|_| search()).find(|c| c.found.is_some()) else {
            panic!("no rate is borne in any of five searches");
        };
        let found = curve.found.as_ref().unwrap();
        // Not more than it can do; less if others have the cpu.
        assert!((1_700.0..=21_000.0).contains(&found.rate), "{found:?}");
        // Halving ends when the two are near each other; a rate that was not confirmed takes larger steps.
        assert!(found.failed.is_some_and(|failed| failed > found.rate), "{found:?} {:?}", offered(&curve));
        let last = *offered(&curve).last().unwrap();
        assert!((last / found.rate - 1.0).abs() < 1e-4, "the last trial confirms it");
    }

    #[test]
    fn a_bound_that_cannot_be_kept_is_said() {
        let mut servant = Servant::new(1, Duration::from_micros(50));
        let curve = found(Mode::P99, &mut servant, |o| o.load.bound = Duration::from_micros(10));
        assert!(
            curve.found.is_none() && curve.notes.iter().any(|n| n.contains("no rate")),
            "{:?}",
            curve.notes
        );
        // On a busy machine nothing may be borne for a while.
        let again = |_| found(Mode::P99, &mut servant, |o| o.load.bound = Duration::from_millis(20));
        assert!((0..5).map(again).any(|curve| curve.found.is_some()));
    }
}
