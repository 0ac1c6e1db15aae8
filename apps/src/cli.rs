//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;
use warpdrive_perf::web::{Protocol, Target, Transport, WebKind};
use warpdrive_perf::{Arrivals, LoadOptions, Mode, Rate, SAMPLES, SEED, WebOptions};
use warpdrive_pmd::engine::rsa::Simd;

/// A poll-mode dataplane with accelerator queues, in user space.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to log.
    #[arg(long, global = true, value_enum, default_value = "warn")]
    pub log_level: LogLevel,
    #[command(subcommand)]
    pub command: Command,
}

/// How much to log.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As the subscriber wants it.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the pipelines of a configuration until its input ends, or until told to stop.
    Run(RunArgs),
    /// Offer the engines of this machine to other programs, as uacce devices, until told to stop. Needs root.
    Serve(ServeArgs),
    /// Check a configuration and print the plan, without opening anything.
    Check(CheckArgs),
    /// Have a program that runs load its configuration anew: certificates, routes, servers, limits and timeouts of proxies. No
    /// connection is dropped. It is asked at the admin address of the configuration; SIGHUP does the same.
    Reload(CheckArgs),
    /// List the accelerators and port drivers there are.
    Devices {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        simd: SimdArgs,
    },
    /// Run a command that finds the devices of `warpdrive serve` where drivers put theirs: in /sys/class/uacce and /dev.
    ///
    /// Only it and what it starts see them there, and everything else as before. Needs root, but the command need not run as root. Its
    /// exit code is that of the command; 125: it could not be started, 126: it cannot be run, 127: it is not there.
    RunWithDevices(crate::serve::with_devices::WithDevicesArgs),
    /// Say what this machine offers, why it matters, and the command that mends what is missing.
    Doctor {
        /// Mend what can be mended (most of it as root).
        #[arg(long)]
        fix: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure our code and a neighbour's in turn, in one run, on the same cores.
    Bench(Box<BenchArgs>),
    /// Compress or decompress files, as gzip does, on all cores.
    Zip(Box<crate::zip::ZipArgs>),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// The core choice, as DPDK's. At most one of these.
#[derive(Args, Default)]
#[group(required = false, multiple = false)]
pub struct CoreArgs {
    /// Cores as a hexadecimal mask: 0x3 is cores 0 and 1.
    #[arg(short = 'c', value_name = "MASK")]
    pub mask: Option<String>,
    /// Cores as a list: 0,2-3.
    #[arg(short = 'l', value_name = "LIST")]
    pub list: Option<String>,
    /// Lcores and the cpus they run on: '0@1,(2,3)@(4-5)'.
    #[arg(long, value_name = "MAP")]
    pub lcores: Option<String>,
}

/// Which code computes RSA.
#[derive(Args)]
pub struct SimdArgs {
    /// Compute RSA with this code on every soft-rsa device.
    #[arg(long, value_name = "NAME", value_parser = simds())]
    pub force_simd: Option<Simd>,
}

#[derive(Args)]
pub struct CheckArgs {
    /// The TOML file; without it the built-in demonstration.
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub cores: CoreArgs,
    /// Use 4 KiB pages, whatever the configuration says.
    #[arg(long)]
    pub no_huge: bool,
    #[command(flatten)]
    pub simd: SimdArgs,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ServeArgs {
    /// The TOML file, with a table for servers, `serve`.
    pub config: PathBuf,
    /// The folder in which the devices appear, whatever the configuration says.
    #[arg(long, value_name = "PATH")]
    pub expose: Option<PathBuf>,
    #[command(flatten)]
    pub cores: CoreArgs,
    #[command(flatten)]
    pub simd: SimdArgs,
    /// All numbers every second, one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub check: CheckArgs,
    /// Stop after this time: 10, 10s, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after this many received packets.
    #[arg(long, value_name = "N")]
    pub packets: Option<u64>,
    /// Print rates and latency every second; with --json all numbers instead, one object a line.
    #[arg(long)]
    pub stats: bool,
}

#[derive(Args)]
pub struct BenchArgs {
    /// Which; "list" lists them, "all" runs them all.
    pub name: String,
    /// The configuration that "syscalls" runs and "load-pipeline" measures.
    pub config: Option<PathBuf>,
    /// Fewer and shorter slices and loads, for a first look; with "all", without the benches that take long.
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Length of one slice in seconds; each bench has its own default.
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// How many slices each side gets, in turn; each bench has its own default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000).map(usize::from))]
    pub rounds: Option<usize>,
    /// Intel's crypto_mb as a shared library, to compare RSA with.
    #[arg(long, value_name = "PATH", env = "WARPDRIVE_CRYPTO_MB")]
    pub crypto_mb: Option<PathBuf>,
    /// A folder whose files are compressed, each for itself, instead of files of this machine.
    #[arg(long, value_name = "FOLDER", env = "WARPDRIVE_CORPUS")]
    pub corpus: Option<PathBuf>,
    /// Seed of whatever is random.
    #[arg(long, value_name = "N", default_value_t = SEED)]
    pub seed: u64,
    /// How often rsa-timing measures.
    #[arg(long, value_name = "N", default_value_t = SAMPLES, value_parser = samples)]
    pub samples: usize,
}

/// What the benches do that put a subject under loads.
#[derive(Args)]
#[command(next_help_heading = "Loads (benches called load-…)")]
pub struct LoadArgs {
    /// One kind of load only; without it a closed loop at all depths and an open loop at several rates.
    #[arg(long, value_name = "MODE", value_parser = modes())]
    pub mode: Option<Mode>,
    /// Operations under way at a time in a closed loop: 1,8,64.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = depth)]
    pub depth: Vec<usize>,
    /// Rates of an open loop: 50%,90% of what the closed loop does, or 12000, 12k, 1.5M a second.
    #[arg(long, value_name = "RATE", value_delimiter = ',')]
    pub rate: Vec<Rate>,
    /// When operations of an open loop are due: at equal distances, or at random.
    #[arg(long, value_name = "KIND", default_value = "poisson", value_parser = arrivals())]
    pub arrivals: Arrivals,
    /// What the 99th percentile must not exceed, in a search for that (--mode p99).
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = duration)]
    pub bound: Duration,
    /// Of load-pipeline: the port where frames come in, instead of the first.
    #[arg(long, value_name = "PORT")]
    pub input: Option<String>,
    /// Of load-pipeline: the port where they go out, instead of the first.
    #[arg(long, value_name = "PORT")]
    pub output: Option<String>,
    /// How long a soak lasts (--mode soak).
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub duration: Duration,
}

impl LoadArgs {
    /// As the harness wants them.
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            mode: self.mode,
            depths: self.depth.clone(),
            rates: self.rate.clone(),
            arrivals: self.arrivals,
            bound: self.bound,
            soak: self.duration,
        }
    }
}

/// What the benches load-tls and load-https do, and those of the proxy.
#[derive(Args)]
#[command(
    next_help_heading = "Web (load-tls, load-https; --transport: tls13-full, tls12-full, http-…, https-idle)"
)]
pub struct WebArgs {
    /// A server that runs already, of this machine or a private network: https://127.0.0.1:8443/path.
    #[arg(long, value_name = "URL")]
    pub target: Option<Target>,
    /// A PEM file with the certificate of the target, or of who signed it.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub ca: Option<PathBuf>,
    /// What one operation is: handshake or resumed (load-tls), request or connection (load-https).
    #[arg(long, value_name = "OP")]
    pub op: Option<WebKind>,
    /// What is spoken: tls1.3, tls1.2 or http.
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<Protocol>,
    /// Bytes of a response's content.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=16_777_216).map(|n| n as usize))]
    pub body: Option<usize>,
    /// Ask for gzip.
    #[arg(long)]
    pub gzip: bool,
    /// Who does TCP for the proxy: kernel, or userspace, over veth pairs in network namespaces (root).
    #[arg(long, value_name = "NAME", default_value_t)]
    pub transport: Transport,
}

impl WebArgs {
    /// As the harness wants them.
    pub fn options(&self) -> WebOptions {
        WebOptions {
            target: self.target.clone(),
            ca: self.ca.clone(),
            kind: self.op,
            protocol: self.protocol,
            body: self.body,
            gzip: self.gzip,
            transport: self.transport,
        }
    }
}

/// Where the results go, besides the terminal.
#[derive(Args)]
#[command(next_help_heading = "Results")]
pub struct OutputArgs {
    /// Write results.json, report.html, .hgrm files and plots into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write one self-contained page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Put the tables between the marks of this Markdown file.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Keep the results as a baseline: a name, or a path that ends in .json.
    #[arg(long, value_name = "NAME")]
    pub save: Option<String>,
    /// Compare with a baseline. What is worse is measured once more; worse again, and the exit code is 1.
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
}

fn modes() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(Mode::ALL.map(Mode::name))
        .try_map(|name| Mode::ALL.into_iter().find(|mode| mode.name() == name).ok_or("not one of them"))
}

fn arrivals() -> impl TypedValueParser<Value = Arrivals> {
    PossibleValuesParser::new(["constant", "poisson"]).map(|name| match name.as_str() {
        "constant" => Arrivals::Constant,
        _ => Arrivals::Poisson,
    })
}

fn depth(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(depth) if (1..=1024).contains(&depth) => Ok(depth),
        _ => Err("a number from 1 to 1024 is needed".to_owned()),
    }
}

/// The names of the configuration files.
fn simds() -> impl TypedValueParser<Value = Simd> {
    PossibleValuesParser::new(Simd::ALL.map(Simd::name))
        .try_map(|name| Simd::ALL.into_iter().find(|simd| simd.name() == name).ok_or("not one of them"))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.001 to 60 is needed".to_owned()),
    }
}

fn samples(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(samples) if (1_000..=10_000_000).contains(&samples) => Ok(samples),
        _ => Err("a number from 1000 to 10000000 is needed".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unit {unit:?} is not known: us, ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a time: 10, 10s, 500ms, 2m"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_a_result_says_of_its_loads_is_a_command_line() {
        let said = LoadOptions {
            mode: Some(Mode::P99),
            depths: vec![1, 64],
            rates: vec![Rate::Percent(50.0), Rate::Absolute(1.5e6)],
            arrivals: Arrivals::Constant,
            bound: Duration::from_micros(750),
            soak: Duration::from_millis(2500),
        };
        let line = format!("warpdrive bench load-ring{}", said.words());
        let Command::Bench(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        assert_eq!(args.load.options(), said);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("500us"), Ok(Duration::from_micros(500)));
        for wrong in ["", "s", "1 s", "-1", "1d", "1e400", "..", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
