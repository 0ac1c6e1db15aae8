//! A subject in its test bed: single loads, repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Load, Outcome, Shape, Subject, apply};
use crate::record::{Curve, Mode, Point};
use crate::statistics::Summary;
use crate::{BenchError, Options};

/// The part of a load's length that passes before it counts.
const WARM: f64 = 0.2;

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

/// A subject, and how it is to be measured.
pub struct Bed<'a> {
    pub(super) options: &'a Options,
    pub(super) about: &'a About,
    pub(super) overhead_ns: u64,
    pub(super) subject: &'a mut dyn Subject,
}

impl Bed<'_> {
    pub(super) fn curve(&self, mode: Mode) -> Curve {
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
    pub(super) fn once(&mut self, shape: Shape, length: Duration, round: u64) -> Result<Outcome, BenchError> {
        self.once_after(length.mul_f64(WARM), shape, length, round)
    }

    /// One load after a time that does not count.
    pub(super) fn once_after(
        &mut self,
        warm: Duration,
        shape: Shape,
        length: Duration,
        round: u64,
    ) -> Result<Outcome, BenchError> {
        self.options.go_on()?;
        let seed = self.options.seed.wrapping_add(round);
        let load = Load { shape, warm, length, seed, overhead_ns: self.overhead_ns };
        apply(self.subject, &load)
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
        if capacity.median <= 0.0 {
            let what = format!(
                "{}: nothing came back in a closed loop of {:?}",
                self.about.bench, self.options.slice
            );
            return Err(BenchError::Program {
                program: "the subject".to_owned(),
                what,
                remedy: "longer slices (--seconds); of a pipeline, does it let frames through?".to_owned(),
            });
        }
        self.subject.restart();
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
