//! One load for a long time: does it stay as it was?

use std::time::{Duration, Instant};

use super::Rate;
use super::bed::Bed;
use crate::BenchError;
use crate::record::{Curve, Latency, Point};
use crate::statistics::median;

/// The load of a user who gives no rate: a part of what the closed loop does.
const USUAL: Rate = Rate::Percent(50.0);
/// Intervals are as long as slices, and at least this long: each costs memory for what is kept of it.
const SHORTEST: Duration = Duration::from_millis(50);

/// Puts the subject under one load, interval by interval, and says what changed from the first third to the last.
pub fn soak(bed: &mut Bed<'_>, curve: &mut Curve) -> Result<(), BenchError> {
    let rate = bed.options.load.rates.first().copied().unwrap_or(USUAL);
    let capacity = bed.capacity_if(matches!(rate, Rate::Percent(_)), curve)?;
    let shape = bed.open(rate.of(capacity));
    let (start, before) = (Instant::now(), resident());
    let interval = bed.options.slice.max(SHORTEST);
    if bed.options.load.rates.len() > 1 {
        curve.notes.push(format!("of several rates the first was taken: {rate}"));
    }
    curve.notes.push(format!("intervals of {interval:?}; between two, what is under way comes to its end"));
    for round in 0.. {
        if start.elapsed() >= bed.options.load.soak {
            break;
        }
        let mut point = Point::of(shape, &[bed.once_after(Duration::ZERO, shape, interval, round)?]);
        point.at_s = Some(start.elapsed().as_secs_f64());
        if let Some(latency) = &mut point.latency {
            // What grows here must not be taken for a leak there.
            latency.curve = Vec::new();
        }
        curve.points.push(point);
    }
    let after = resident();
    let (lost, unsent) = curve.points.iter().fold((0, 0), |(l, u), p| (l + p.lost, u + p.unsent));
    curve.notes.push(format!("lost {lost}, not sent {unsent}"));
    for (name, of) in [("p50", (|l| l.p50.median) as fn(&Latency) -> f64), ("p99", |l| l.p99.median)] {
        if let Some((first, last)) = thirds(&curve.points, of) {
            curve.notes.push(format!("{name}: {first:.1} us in the first third, {last:.1} us in the last"));
        }
    }
    curve.notes.push(format!(
        "resident memory of this process: {} KiB before, {} KiB after, of which what is kept of {} intervals is a part",
        before / 1024,
        after / 1024,
        curve.points.len()
    ));
    Ok(())
}

/// The middle value of the first third of the intervals and of the last.
fn thirds(points: &[Point], of: impl Fn(&Latency) -> f64) -> Option<(f64, f64)> {
    let values: Vec<f64> = points.iter().filter_map(|p| p.latency.as_ref().map(&of)).collect();
    let third = values.len() / 3;
    (third > 0).then(|| (median(&values[..third]), median(&values[values.len() - third..])))
}

/// Resident memory of this process in bytes; 0 if it is not known.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::modes::{About, drive};
    use super::super::nothing::Servant;
    use super::*;
    use crate::Options;
    use crate::record::{Mode, Record};

    #[test]
    fn a_soak_lasts_as_long_as_it_should_and_tells_what_changed() {
        let about = About { bench: "x", what: "nothing".into(), unit: "op/s", facts: BTreeMap::new() };
        let mut options = Options::for_tests(1);
        options.load.mode = Some(Mode::Soak);
        options.load.soak = Duration::from_millis(400);
        let mut curve = None;
        let start = Instant::now();
        drive(&options, &about, &mut Servant::new(4, Duration::from_micros(20)), &mut |record| {
            if let Record::Curve(c) = record {
                curve = Some(c);
            }
        })
        .unwrap();
        assert!(start.elapsed() >= Duration::from_millis(400));
        let curve = curve.unwrap();
        assert!((2..=8).contains(&curve.points.len()), "{}", curve.points.len());
        assert!(curve.points.iter().all(|p| p.at_s.is_some() && p.done > 0));
        for said in ["lost 0", "p50", "p99", "resident memory"] {
            assert!(curve.notes.iter().any(|n| n.contains(said)), "{said}: {:?}", curve.notes);
        }
        assert!(resident() > 1 << 20);
    }
}
