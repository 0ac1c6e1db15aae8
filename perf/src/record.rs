//! What comes out of a bench: records, and the report that has all of a run. The JSON form has a version,
//! [`SCHEMA`]: within one, fields are added and none is renamed or taken away.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::measure::{Line, Machine};
use crate::statistics::Summary;

/// Name and version of the form of the JSON.
pub const SCHEMA: &str = "warpdrive-bench/1";

/// Less than this part of their cpus, in percent, and sender or engine were held up by others: what was measured then is
/// the scheduler's.
pub const LEAST_SHARE: f64 = 97.0;

/// One result.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// Ours against a peer's, slice by slice.
    Comparison(Line),
    /// Rate and latency of one subject under loads.
    Curve(Curve),
    /// A bench that gave no result, or no further one.
    Failed(Failure),
}

/// A bench that could not be run to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The bench.
    pub name: String,
    /// Why, and what to do.
    pub error: String,
    /// The command that repeats it.
    pub command: String,
}

impl Record {
    /// Its name, unique in a report.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Comparison(line) => &line.name,
            Self::Curve(curve) => &curve.name,
            Self::Failed(failure) => &failure.name,
        }
    }

    /// The command that repeats it.
    #[must_use]
    pub fn command(&self) -> &str {
        match self {
            Self::Comparison(line) => &line.command,
            Self::Curve(curve) => &curve.command,
            Self::Failed(failure) => &failure.command,
        }
    }

    /// What a reader must know, if it is a result.
    pub fn notes_mut(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Self::Comparison(line) => Some(&mut line.notes),
            Self::Curve(curve) => Some(&mut curve.notes),
            Self::Failed(_) => None,
        }
    }
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        Self::Comparison(line)
    }
}

impl From<Failure> for Record {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Curve> for Record {
    fn from(curve: Curve) -> Self {
        Self::Curve(curve)
    }
}

/// All of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it began: seconds since 1970-01-01 UTC.
    pub started_unix: u64,
    /// The command line.
    pub command: String,
    /// Versions of what took part: of this program, and of peers.
    pub versions: BTreeMap<String, String>,
    /// The machine before measuring.
    pub machine: Machine,
    /// The results.
    pub records: Vec<Record>,
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(command: String, machine: Machine) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let build = if cfg!(debug_assertions) { "debug build: not a measurement" } else { "release build" };
        let isal = if cfg!(feature = "isal") { ", with ISA-L" } else { "" };
        let version = format!("{} ({build}{isal})", env!("CARGO_PKG_VERSION"));
        Self {
            schema: SCHEMA.to_owned(),
            started_unix: since.as_secs(),
            command,
            versions: BTreeMap::from([("warpdrive".to_owned(), version)]),
            machine,
            records: Vec::new(),
        }
    }
}

/// How a load is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// So many operations under way at a time: a new one when one is done.
    Closed,
    /// So many operations a second, due whether or not those before are done.
    Open,
    /// The highest rate at which nothing is lost (RFC 2544, 26.1).
    ZeroLoss,
    /// The highest rate at which the 99th percentile is within a bound.
    P99,
    /// One load for a long time, looked at in intervals.
    Soak,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Closed, Self::Open, Self::ZeroLoss, Self::P99, Self::Soak];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::ZeroLoss => "zero-loss",
            Self::P99 => "p99",
            Self::Soak => "soak",
        }
    }
}

/// When operations of an open loop are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// A Poisson process: distances have an exponential distribution.
    Poisson,
}

/// A subject under one kind of load, one point for each depth, rate or interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// Bench and mode.
    pub name: String,
    /// What is measured: what one operation is, from where to where its latency counts.
    pub about: String,
    /// How.
    pub mode: Mode,
    /// What rates count in: `op/s`, `packets/s`.
    pub unit: String,
    /// Facts about the subject, by name: device (hardware or software), simd, pages, dma, cpus, …
    pub facts: BTreeMap<String, String>,
    /// The points, in the order in which they were measured; of a search the trials.
    pub points: Vec<Point>,
    /// What a search has found, in `unit`.
    pub found: Option<Found>,
    /// Where the time goes, if the subject tells: a pipeline's stages.
    pub stages: Vec<StageTime>,
    /// The command that repeats this.
    pub command: String,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// The result of a search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The highest rate that passed.
    pub rate: f64,
    /// The lowest that did not: the truth is between the two. None if the fastest sender was borne.
    pub failed: Option<f64>,
    /// What had to hold, in words.
    pub criterion: String,
}

/// Rate and latency under one load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Operations under way at a time, in a closed loop.
    pub depth: Option<usize>,
    /// Operations offered in a second, in an open loop.
    pub offered: Option<f64>,
    /// When they were due.
    pub arrivals: Option<Arrivals>,
    /// Of a soak: seconds from its start to the end of this interval.
    pub at_s: Option<f64>,
    /// Operations done in a second, over the repeats.
    pub rate: Summary,
    /// Operations sent, in all repeats.
    pub sent: u64,
    /// Those that came back.
    pub done: u64,
    /// Those that never did.
    pub lost: u64,
    /// Those that were due and could not be sent, for the subject took no more.
    pub unsent: u64,
    /// The longest that one was sent after it was due although there was room: the sender's own delay, in microseconds.
    pub late_us: f64,
    /// The part of its cpu that the sender had, in percent, and the engine's if that was less.
    pub cpu_share: f64,
    /// Latency. None if nothing came back.
    pub latency: Option<Latency>,
}

/// A distribution of latencies, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles, each over the repeats")]
pub struct Latency {
    /// How many were recorded, in all repeats.
    pub count: u64,
    /// Their mean, over all.
    pub mean: f64,
    /// Their standard deviation, over all.
    pub deviation: f64,
    pub min: f64,
    pub p50: Summary,
    pub p90: Summary,
    pub p99: Summary,
    pub p999: Summary,
    pub p9999: Summary,
    pub max: f64,
    /// The whole distribution, of all repeats together.
    pub curve: Vec<Percentile>,
}

/// A point of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// From 0 to 100.
    pub percentile: f64,
    /// So many microseconds or less were measured in that part.
    pub us: f64,
    /// How many that were.
    pub count: u64,
}

/// What a stage takes, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles")]
pub struct StageTime {
    /// Its kind and place.
    pub name: String,
    /// Packets that it had.
    pub packets: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}
