//! The harness: it measures our code and a neighbour's (DPDK's) in turn, in one run, on the same cores, so that
//! whatever disturbs the machine disturbs both. What it reports are medians, and ratios of neighbouring slices.
//!
//! [`measure`] has the arithmetic, [`peers`] finds, starts and ends the neighbours; the rest are the benches, one
//! file each.
#![deny(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use warpdrive_mempool::MemError;
use warpdrive_pipeline::cores::CoreError;
use warpdrive_pipeline::diag::ConfigError;
use warpdrive_pipeline::launch::LaunchError;
use warpdrive_pmd::device::DeviceError;
use warpdrive_pmd::engine::rsa::KeyError;
use warpdrive_pmd::engine::zip::ZipError;
use warpdrive_pmd::port::PortError;

mod af_xdp;
pub mod baseline;
pub mod cpeers;
mod dpdk_test;
mod forward;
pub mod lab;
pub mod load;
pub mod markdown;
pub mod measure;
mod memory;
mod mempool;
pub mod os;
pub mod peers;
pub mod record;
pub mod report;
mod ring;
mod rsa;
pub mod statistics;
pub mod subjects;
pub mod syscalls;
pub mod testpmd;
mod turns;
pub mod uacce;
pub mod web;
pub mod wire;
mod zip;

pub use load::{LoadOptions, Rate};
pub use measure::{Better, Line, Machine};
pub use record::{Arrivals, Curve, Mode, Point, Record, Report};
pub use web::WebOptions;

/// A bench: its name and what it does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bench {
    /// What it is called on the command line, and how its lines begin.
    pub name: &'static str,
    /// What is measured.
    pub about: &'static str,
    /// What it is compared with.
    pub peer: &'static str,
    /// The Debian packages that have the peer; empty if it needs none.
    pub package: &'static str,
    /// What it counts in.
    pub unit: &'static str,
    /// Length of a slice in seconds, unless the user says another.
    pub seconds: f64,
    /// How many slices each side gets, unless the user says another number.
    pub rounds: usize,
    /// Seconds and number of slices for a first look; `None`: takes too long for that.
    pub quick: Option<(f64, usize)>,
    #[serde(rename = "kind", serialize_with = "Kind::serialize")]
    run: Kind,
}

/// What kind of bench it is, and how it is run.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Ours and a peer's in turn.
    Comparison(fn(&Options, Lines<'_>) -> Result<(), BenchError>),
    /// A subject under loads.
    Load(fn(&Options, Emit<'_>) -> Result<(), BenchError>),
}

/// Where comparisons go as soon as they are known.
pub type Lines<'a> = &'a mut dyn FnMut(Line);
/// Where results go as soon as they are known.
pub type Emit<'a> = &'a mut (dyn FnMut(Record) + Send);

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Comparison(_) => "comparison",
            Self::Load(_) => "load",
        }
    }

    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Slices of most benches, in seconds: long against a scheduler's.
const SLICE_S: f64 = 0.2;
/// Rounds of most benches.
const ROUNDS: usize = 15;

/// All benches.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "forward-null",
        about: "64-byte frames from a null port to a null port through one core, bursts of 32",
        peer: "dpdk-testpmd, io forwarding between two net_null ports",
        package: "dpdk-dev",
        unit: "packets/s",
        seconds: SLICE_S,
        rounds: ROUNDS,
        quick: Some((0.1, 5)),
        run: Kind::Comparison(forward::run),
    },
    Bench {
        name: "mempool",
        about: "taking and giving back 32 (and 8, and 1) packet buffers through the cache of a worker",
        peer: "rte_mempool with a cache of 512; also without, and rte_pktmbuf",
        package: "libdpdk-dev",
        unit: "cycles/object",
        seconds: SLICE_S,
        rounds: ROUNDS,
        quick: Some((0.03, 5)),
        run: Kind::Comparison(mempool::run),
    },
    Bench {
        name: "ring",
        about: "handing packets from core to core, 32 at a time",
        peer: "rte_ring, single producer and consumer",
        package: "libdpdk-dev",
        unit: "cycles/object",
        seconds: SLICE_S,
        rounds: ROUNDS,
        quick: Some((0.1, 5)),
        run: Kind::Comparison(ring::run),
    },
    Bench {
        name: "memory",
        about: "resident memory beyond the packet buffers, with 8,192 of 2 KiB",
        peer: "dpdk-testpmd with as many mbufs",
        package: "dpdk-dev",
        unit: "bytes",
        seconds: SLICE_S,
        rounds: ROUNDS,
        quick: Some((0.1, 1)),
        run: Kind::Comparison(memory::run),
    },
    Bench {
        name: "forward-af-xdp",
        about: "64-byte frames between two veth interfaces through one core, by AF_XDP; needs root",
        peer: "dpdk-testpmd, io forwarding between two net_af_xdp ports",
        package: "dpdk-dev",
        unit: "packets/s",
        seconds: SLICE_S,
        rounds: ROUNDS,
        quick: Some((0.5, 2)),
        run: Kind::Comparison(af_xdp::run),
    },
    wire::FORWARD_RING,
    rsa::BENCH_2048,
    rsa::BENCH_3072,
    rsa::BENCH_4096,
    rsa::latency::BENCH,
    rsa::passes::BENCH,
    rsa::queue::BENCH,
    rsa::timing::BENCH,
    wire::RING,
    wire::AF_XDP,
    wire::AF_PACKET,
    wire::TAP,
    zip::throughput::BENCH,
    zip::isal::BENCH,
    zip::cli::BENCH,
    subjects::ring::BENCH,
    subjects::rsa::BENCH,
    subjects::zip::BENCH,
    subjects::pipeline::BENCH,
    web::bench::TLS,
    web::bench::HTTPS,
    web::proxies::TLS13,
    web::proxies::TLS12,
    web::proxies::HTTP_1K,
    web::proxies::HTTP_100K,
    web::proxies::HTTP_100K_GZIP,
    web::idle::BENCH,
    uacce::RTT,
    uacce::RSA2048,
    uacce::ZIP,
    uacce::SHADOW,
    uacce::MANY,
];

/// The seed of a user who gives none.
pub const SEED: u64 = 1;
/// The number of samples of a user who gives none.
pub const SAMPLES: usize = 20_000;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of one slice.
    pub slice: Duration,
    /// How many slices each side gets.
    pub rounds: usize,
    /// The cpus this process may use, taken before any thread was pinned. The first does the work.
    pub cpus: Vec<usize>,
    /// The `warpdrive` program, for benches that start it.
    pub program: PathBuf,
    /// Intel's crypto_mb as a shared library, if there is one to compare with.
    pub crypto_mb: Option<PathBuf>,
    /// A folder whose files are compressed, instead of those of the machine.
    pub corpus: Option<PathBuf>,
    /// Of whatever is random: the same seed gives the same sequence.
    pub seed: u64,
    /// How often a bench of statistics measures.
    pub samples: usize,
    /// Fewer depths, rates and kinds: for a first look.
    pub quick: bool,
    /// What the load benches do.
    pub load: LoadOptions,
    /// The configuration whose pipelines are measured, by benches that measure such.
    pub config: Option<PathBuf>,
    /// The port where packets come in, instead of the first.
    pub input: Option<String>,
    /// The port where they go out, instead of the first.
    pub output: Option<String>,
    /// What the benches of the web do.
    pub web: WebOptions,
    /// Set when the user wants an end.
    pub stop: Arc<AtomicBool>,
}

impl Options {
    /// The cpu that is measured.
    ///
    /// # Errors
    /// [`BenchError::Cpus`] when there is none.
    pub fn cpu(&self) -> Result<usize, BenchError> {
        self.cpus.first().copied().ok_or(BenchError::Cpus { need: 1, have: 0 })
    }

    /// The cpu that is measured and one for whatever must not be in its way.
    ///
    /// # Errors
    /// [`BenchError::Cpus`] when there are not two.
    pub fn two_cpus(&self) -> Result<(usize, usize), BenchError> {
        match self.cpus.as_slice() {
            [a, b, ..] => Ok((*a, *b)),
            few => Err(BenchError::Cpus { need: 2, have: few.len() }),
        }
    }

    /// The command that repeats this.
    #[must_use]
    pub fn command(&self, bench: &str) -> String {
        let (seconds, rounds) = (self.slice.as_secs_f64(), self.rounds);
        let mut command = format!("warpdrive bench {bench}");
        if let Some(config) = &self.config {
            command += &format!(" {}", config.display());
        }
        for (option, port) in [("input", &self.input), ("output", &self.output)] {
            if let Some(port) = port {
                command += &format!(" --{option} {port}");
            }
        }
        command += &format!(" --json --seconds {seconds} --rounds {rounds}");
        if let Some(library) = &self.crypto_mb {
            command += &format!(" --crypto-mb {}", library.display());
        }
        if let Some(corpus) = &self.corpus {
            command += &format!(" --corpus {}", corpus.display());
        }
        if self.seed != SEED {
            command += &format!(" --seed {}", self.seed);
        }
        if self.samples != SAMPLES {
            command += &format!(" --samples {}", self.samples);
        }
        if self.quick {
            command += " --quick";
        }
        command + &self.load.words() + &self.web.words()
    }

    /// Short slices on the cpus of this machine.
    #[cfg(test)]
    pub(crate) fn for_tests(rounds: usize) -> Self {
        Self {
            slice: Duration::from_millis(1),
            rounds,
            cpus: warpdrive_pipeline::cores::allowed().unwrap(),
            program: "warpdrive".into(),
            crypto_mb: None,
            corpus: None,
            seed: SEED,
            samples: SAMPLES,
            quick: false,
            load: LoadOptions::default(),
            config: None,
            input: None,
            output: None,
            web: WebOptions::default(),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// To be called between slices.
    ///
    /// # Errors
    /// [`BenchError::Interrupted`] when the user wants an end.
    pub fn go_on(&self) -> Result<(), BenchError> {
        if self.stop.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}

/// Why a bench gave no result. A peer that is not there is no error: see [`peers::NoPeer`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
    /// Too few cpus.
    #[error(
        "{need} cpus are needed and this process may use {have}. Remedy: taskset -c or the cpuset of the container"
    )]
    Cpus {
        /// How many are needed.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// A file or a process.
    #[error("{what}: {cause}. Remedy: {remedy}")]
    Io {
        /// What was tried.
        what: String,
        /// The cause.
        cause: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A program we started did not do what it should.
    #[error("{program}: {what}. Remedy: {remedy}")]
    Program {
        /// Its name.
        program: String,
        /// What happened.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A process whose cpu time cannot be read.
    #[error("the cpu time of process {pid}: {cause}. Remedy: did it end early? Run it by hand")]
    CpuTime {
        /// Its id.
        pid: u32,
        /// The cause.
        cause: std::io::Error,
    },
    /// What the program was built without.
    #[error(
        "{what} is not in this program. Remedy: cargo build --release --features {feature}, with {package}"
    )]
    NotBuilt {
        /// What it is.
        what: &'static str,
        /// The feature of the build.
        feature: &'static str,
        /// The Debian package that it needs.
        package: &'static str,
    },
    /// A length of frames that cannot be.
    #[error("a frame of {size} bytes: {least} to {most} fit a buffer of the pool. Remedy: another size")]
    Frame {
        /// What was wanted.
        size: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Our side counted wrongly.
    #[error("{0}: this is a bug")]
    Bug(String),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemError),
    /// A port of the harness itself.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Pinning.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Our own configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pipeline.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A test of time that does not tell a leak from none.
    #[error(
        "{what} (|t| = {t:.1}), so the other tests would mean nothing. Remedy: more --samples, less load on the machine"
    )]
    Blind {
        /// What went wrong.
        what: &'static str,
        /// Welch's t.
        t: f64,
    },
    /// Time that depends on secrets.
    #[error(
        "time depends on what nobody may learn: {0}. Remedy: do not offer that operation to strangers until it is mended"
    )]
    Leak(String),
    /// A key.
    #[error(transparent)]
    Rsa(#[from] KeyError),
    /// A compression session.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// An accelerator.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// The bench of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Bench> {
    BENCHES.iter().find(|b| b.name == name)
}

impl Bench {
    /// Whether a record of this name is one of this bench: names begin with that of their bench.
    #[must_use]
    pub fn owns(&self, record: &str) -> bool {
        let begins = |b: &Bench| {
            record.strip_prefix(b.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        // Another bench with a longer name may fit better.
        begins(self) && !BENCHES.iter().any(|b| b.name.len() > self.name.len() && begins(b))
    }

    /// `comparison` or `load`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.run.name()
    }

    /// Runs it. Results are emitted as they are known.
    ///
    /// # Errors
    /// [`BenchError`] when our side could not be measured, or a peer broke off.
    pub fn run(&self, options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
        // A terminal's Ctrl-C reaches what we started too: what that then lacks is no error of its own.
        let done = match self.run {
            Kind::Comparison(run) => run(options, &mut |line| emit(line.into())),
            Kind::Load(run) => run(options, emit),
        };
        done.map_err(|e| options.go_on().err().unwrap_or(e))
    }
}
