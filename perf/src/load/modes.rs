//! Sweeps and curves: many loads on one subject, and what is said of them.

pub use super::bed::About;
use super::bed::Bed;
use super::{Rate, Shape, Subject, nothing, search, soak};
use crate::record::{Curve, LEAST_SHARE, Mode, Point};
use crate::{BenchError, Emit, Options};

/// Depths of a closed loop, of those that the subject takes.
const DEPTHS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// Of a quick one.
const QUICK_DEPTHS: [usize; 5] = [1, 4, 16, 64, 256];
/// Parts of what the closed loop does that are offered in an open loop, in percent.
const PERCENT: [f64; 9] = [10.0, 30.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 100.0];
/// Of a quick one.
const QUICK_PERCENT: [f64; 3] = [20.0, 50.0, 80.0];

/// Puts a subject under the loads that the user wants. The calling thread is the sender; it should be pinned.
///
/// # Errors
/// When an operation failed, or one got lost where none may, or the user wants an end.
pub fn drive(
    options: &Options,
    about: &About,
    subject: &mut dyn Subject,
    emit: Emit<'_>,
) -> Result<(), BenchError> {
    let mut bed = Bed { options, about, overhead_ns: nothing::overhead_ns()?, subject };
    let modes = options.load.mode.map_or(vec![Mode::Closed, Mode::Open], |mode| vec![mode]);
    for mode in modes {
        let mut curve = bed.curve(mode);
        match mode {
            Mode::Closed => sweep(&mut bed, &mut curve)?,
            Mode::Open => rates(&mut bed, &mut curve)?,
            Mode::ZeroLoss => search::zero_loss(&mut bed, &mut curve)?,
            Mode::P99 => search::p99(&mut bed, &mut curve)?,
            Mode::Soak => soak::soak(&mut bed, &mut curve)?,
        }
        curve.notes.extend(doubts(&curve.points));
        emit(curve.into());
    }
    Ok(())
}

fn sweep(bed: &mut Bed<'_>, curve: &mut Curve) -> Result<(), BenchError> {
    let most = bed.subject.max_depth();
    let depths = match (&bed.options.load.depths, bed.options.quick) {
        (wanted, _) if !wanted.is_empty() => wanted.clone(),
        (_, true) => QUICK_DEPTHS.to_vec(),
        _ => DEPTHS.to_vec(),
    };
    let (depths, too_deep): (Vec<usize>, Vec<usize>) = depths.iter().partition(|d| **d <= most);
    if !too_deep.is_empty() && !bed.options.load.depths.is_empty() {
        curve.notes.push(format!("depths {too_deep:?} left out: the subject takes {most} at most"));
    }
    points(bed, curve, depths.into_iter().map(|depth| Shape::Closed { depth }).collect())
}

fn rates(bed: &mut Bed<'_>, curve: &mut Curve) -> Result<(), BenchError> {
    let rates: Vec<Rate> = match (&bed.options.load.rates, bed.options.quick) {
        (wanted, _) if !wanted.is_empty() => wanted.clone(),
        (_, true) => QUICK_PERCENT.map(Rate::Percent).to_vec(),
        _ => PERCENT.map(Rate::Percent).to_vec(),
    };
    let capacity = bed.capacity_if(rates.iter().any(|r| matches!(r, Rate::Percent(_))), curve)?;
    let shapes = rates.iter().map(|rate| bed.open(rate.of(capacity))).collect();
    points(bed, curve, shapes)
}

/// One point for each load. Where the time goes is asked of the one in the middle.
fn points(bed: &mut Bed<'_>, curve: &mut Curve, shapes: Vec<Shape>) -> Result<(), BenchError> {
    let middle = shapes.len() / 2;
    for (i, shape) in shapes.into_iter().enumerate() {
        if i == middle {
            bed.subject.stages();
        }
        let point = bed.point(shape)?;
        if i == middle {
            curve.stages = bed.subject.stages();
            if !curve.stages.is_empty() {
                curve.notes.push(format!("the time of stages is that at {}", point.label()));
            }
        }
        curve.points.push(point);
    }
    Ok(())
}

/// What a reader should doubt.
fn doubts(points: &[Point]) -> Vec<String> {
    let mut doubts = Vec::new();
    let worst = points.iter().map(|p| p.cpu_share).fold(100.0, f64::min);
    if worst < LEAST_SHARE {
        doubts.push(format!(
            "OTHER LOAD ON THE MACHINE: sender or engine had only {worst:.1} % of their cpus at times"
        ));
    }
    if points.iter().any(|p| p.depth.is_some() && p.lost > 0) {
        doubts.push(
            "what was lost in a closed loop kept its place for a while: fewer than the depth were under way"
                .to_owned(),
        );
    }
    let late: Vec<String> = points
        .iter()
        .filter(|p| p.latency.as_ref().is_some_and(|l| p.late_us > l.p99.median))
        .map(Point::label)
        .collect();
    if !late.is_empty() {
        doubts.push(format!(
            "the sender itself was late by more than the 99th percentile at {}: what is beyond it is the machine's",
            if late.len() > 5 { format!("{} of {} points", late.len(), points.len()) } else { late.join(", ") }
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::nothing::Servant;
    use super::*;
    use crate::record::Record;

    fn curves(options: &Options) -> Vec<Curve> {
        let about = About { bench: "x", what: "nothing".into(), unit: "op/s", facts: BTreeMap::new() };
        let mut servant = Servant::new(8, Duration::from_micros(20));
        let mut curves = Vec::new();
        drive(options, &about, &mut servant, &mut |record| match record {
            Record::Curve(curve) => curves.push(curve),
            other => panic!("{other:?}"),
        })
        .unwrap();
        curves
    }

    #[test]
    fn without_a_mode_there_is_a_sweep_and_a_curve() {
        let mut options = Options::for_tests(3);
        options.quick = true;
        let curves = curves(&options);
        assert_eq!(curves.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["x-closed", "x-open"]);
        let depths: Vec<_> = curves[0].points.iter().map(|p| p.depth).collect();
        assert_eq!(depths, [Some(1), Some(4)], "the others are deeper than it goes");
        assert_eq!(curves[1].points.len(), QUICK_PERCENT.len());
        assert!(curves[1].facts["capacity"].contains("op/s"), "{:?}", curves[1].facts);
        for curve in &curves {
            for point in &curve.points {
                assert_eq!(point.rate.n, 3);
                assert!(point.latency.as_ref().unwrap().p50.median > 15.0, "{point:?}");
            }
        }
    }

    #[test]
    fn the_user_chooses_depths_and_rates() {
        let mut options = Options::for_tests(1);
        options.load.depths = vec![2, 100];
        options.load.mode = Some(Mode::Closed);
        let closed = &curves(&options)[0];
        assert_eq!(closed.points.len(), 1);
        assert!(closed.notes.iter().any(|n| n.contains("[100]")), "{:?}", closed.notes);
        options.load.mode = Some(Mode::Open);
        options.load.rates = vec![Rate::Absolute(20_000.0)];
        let open = &curves(&options)[0];
        assert_eq!(open.points[0].offered, Some(20_000.0));
        assert!(!open.facts.contains_key("capacity"));
        assert!(open.command.contains("--mode open --depth 2,100 --rate 20000"), "{}", open.command);
    }
}
