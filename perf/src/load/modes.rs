//! Sweeps and curves: many loads on one subject, and what is said of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Load, Rate, Shape, Subject, apply, nothing, search, soak};
use crate::record::{Arrivals, Curve, Mode, Point};
use crate::statistics::Summary;
use crate::{BenchError, Emit, Options};

/// Depths of a closed loop, of those that the subject takes.
const DEPTHS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// Of a quick one.
const QUICK_DEPTHS: [usize; 5] = [1, 4, 16, 64, 256];
/// Parts of what the closed loop does that are offered in an open loop, in percent.
const PERCENT: [f64; 9] = [10.0, 30.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 100.0];
/// Of a quick one.
const QUICK_PERCENT: [f64; 3] = [20.0, 50.0, 80.0];
/// The part of a load's length that passes before it counts.
const WARM: f64 = 0.2;
/// Less than this part of their cpus, in percent, and sender or engine were held up by others.
const LEAST_SHARE: f64 = 97.0;

/// What is measured, for its reader.
#[derive(Clone, Debug)]
pub struct About {
    /// The bench.
    pub bench: &'static str,
    /// What one operation is, and from where to where its latency counts.
    pub what: String,
    /// What rates count in.
    pub unit: &'static str,
    /// Facts by name: device, simd, pages, dma, cpus, …
    pub facts: BTreeMap<String, String>,
}

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
            Mode::Closed => bed.sweep(&mut curve)?,
            Mode::Open => bed.rates(&mut curve)?,
            Mode::ZeroLoss => search::zero_loss(&mut bed, &mut curve)?,
            Mode::P99 => search::p99(&mut bed, &mut curve)?,
            Mode::Soak => soak::soak(&mut bed, &mut curve)?,
        }
        curve.stages = bed.subject.stages();
        curve.notes.extend(doubts(&curve.points));
        emit(curve.into());
    }
    Ok(())
}

/// A subject, and how it is to be measured.
pub struct Bed<'a> {
    pub(super) options: &'a Options,
    pub(super) about: &'a About,
    pub(super) overhead_ns: u64,
    pub(super) subject: &'a mut dyn Subject,
}

impl Bed<'_> {
    fn curve(&self, mode: Mode) -> Curve {
        let About { bench, what, unit, facts } = self.about;
        let mut facts = facts.clone();
        facts.insert("overhead".to_owned(), format!("{} ns of the harness taken off", self.overhead_ns));
        let from = match mode {
            Mode::Closed => "closed loop: latency from when an operation was sent",
            _ => "open loop: latency from when an operation was due, sent or not",
        };
        Curve {
            name: format!("{bench}-{}", mode.name()),
            about: what.clone(),
            mode,
            unit: (*unit).to_owned(),
            facts,
            points: Vec::new(),
            found: None,
            stages: Vec::new(),
            command: self.options.command(bench),
            notes: vec![from.to_owned()],
        }
    }

    /// One point: a load, repeated.
    pub(super) fn point(&mut self, shape: Shape) -> Result<Point, BenchError> {
        let outcomes = (0..self.options.rounds)
            .map(|round| self.once(shape, self.options.slice, round as u64))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Point::of(shape, &outcomes))
    }

    /// One load.
    pub(super) fn once(
        &mut self,
        shape: Shape,
        length: Duration,
        round: u64,
    ) -> Result<super::Outcome, BenchError> {
        self.options.go_on()?;
        let seed = self.options.seed.wrapping_add(round);
        let load = Load { shape, warm: length.mul_f64(WARM), length, seed, overhead_ns: self.overhead_ns };
        apply(self.subject, &load)
    }

    fn sweep(&mut self, curve: &mut Curve) -> Result<(), BenchError> {
        let most = self.subject.max_depth();
        let depths = match (&self.options.load.depths, self.options.quick) {
            (wanted, _) if !wanted.is_empty() => wanted.clone(),
            (_, true) => QUICK_DEPTHS.to_vec(),
            _ => DEPTHS.to_vec(),
        };
        let (depths, too_deep): (Vec<usize>, Vec<usize>) = depths.iter().partition(|d| **d <= most);
        if !too_deep.is_empty() && !self.options.load.depths.is_empty() {
            curve.notes.push(format!("depths {too_deep:?} left out: the subject takes {most} at most"));
        }
        for depth in depths {
            let point = self.point(Shape::Closed { depth })?;
            curve.points.push(point);
        }
        Ok(())
    }

    fn rates(&mut self, curve: &mut Curve) -> Result<(), BenchError> {
        let rates: Vec<Rate> = match (&self.options.load.rates, self.options.quick) {
            (wanted, _) if !wanted.is_empty() => wanted.clone(),
            (_, true) => QUICK_PERCENT.map(Rate::Percent).to_vec(),
            _ => PERCENT.map(Rate::Percent).to_vec(),
        };
        let capacity = self.capacity_if(rates.iter().any(|r| matches!(r, Rate::Percent(_))), curve)?;
        for rate in rates {
            let point = self.point(self.open(rate.of(capacity)))?;
            curve.points.push(point);
        }
        Ok(())
    }

    pub(super) fn open(&self, rate: f64) -> Shape {
        Shape::Open { rate, arrivals: self.options.load.arrivals }
    }

    /// What the subject does in a second when as much is under way as it takes; noted in the curve. 0 when not wanted.
    pub(super) fn capacity_if(&mut self, wanted: bool, curve: &mut Curve) -> Result<f64, BenchError> {
        if !wanted {
            return Ok(0.0);
        }
        let shape = Shape::Closed { depth: self.subject.max_depth() };
        let capacity = self.point(shape)?.rate;
        let Summary { median, min, max, .. } = capacity;
        curve.facts.insert(
            "capacity".to_owned(),
            format!(
                "{median} {} in a closed loop as deep as it goes ({min} to {max}), measured before",
                self.about.unit
            ),
        );
        Ok(median)
    }
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
    let late: Vec<String> = points
        .iter()
        .filter(|p| p.latency.as_ref().is_some_and(|l| p.late_us > l.p99.median))
        .map(Point::label)
        .collect();
    if !late.is_empty() {
        doubts.push(format!(
            "the sender itself was late by more than the 99th percentile at {}: what is beyond it is the machine's",
            late.join(", ")
        ));
    }
    doubts
}

/// How arrivals are called.
#[must_use]
pub fn arrivals_name(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Constant => "constant",
        Arrivals::Poisson => "Poisson",
    }
}

#[cfg(test)]
mod tests {
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
