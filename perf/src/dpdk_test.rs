//! dpdk-test as a peer: DPDK's own measurements of its rings and pools. What it measures cannot be chosen, so each run has
//! all of a test, and is ended when what is wanted has come.

use std::process::Command;
use std::time::Duration;

use crate::BenchError;
use crate::measure::cpu_time;
use crate::peers::{NoPeer, PageSize, Process, which};
use crate::testpmd::version;

/// Its name in lines.
pub const NAME: &str = "dpdk-test";
/// The bulk that is compared; the tests have others too.
pub const BULK: usize = 32;
/// Packets that a get and put pass of the pool's test keeps.
pub const KEEP: usize = 32;
/// Time the ring's test has to come to the last figure that is wanted. It takes 3 s.
const RING: Duration = Duration::from_secs(60);

/// A dpdk-test that runs. It is ended when this is dropped, whatever it does.
pub struct DpdkTest {
    process: Process,
    /// The command line, for people.
    pub command: String,
}

/// What `ring_perf_autotest` says of rte_ring, single producer and consumer, 32 pointers at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RingFigures {
    /// Cycles for an object enqueued and dequeued by one core.
    pub one_core: f64,
    /// Cycles for an object, of both cores together, where one enqueues and the other dequeues.
    pub two_cores: f64,
}

/// One line of `mempool_perf_autotest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFigure {
    /// Objects in a core's cache.
    pub cache: usize,
    /// Cores at it.
    pub cores: usize,
    /// Objects taken at a time.
    pub get: usize,
    /// Objects given back at a time.
    pub put: usize,
    /// Objects taken before any is given back.
    pub keep: usize,
    /// Whether the compiler knew the bulk.
    pub constant: bool,
    /// Objects a second, by the clock, taken and given back.
    pub rate: u64,
}

impl DpdkTest {
    /// Starts it on some cpus, the first for its command line too.
    ///
    /// # Errors
    /// [`NoPeer`] when it is not installed or does not start.
    pub fn start(cpus: &[usize], pages: PageSize) -> Result<Self, NoPeer> {
        if which(NAME).is_none() {
            return Err(NoPeer::absent(NAME, "dpdk-dev"));
        }
        if which("stdbuf").is_none() {
            return Err(NoPeer::absent(NAME, "coreutils"));
        }
        let cores: Vec<String> = cpus.iter().enumerate().map(|(i, cpu)| format!("{i}@{cpu}")).collect();
        // Through a pipe its answers would wait in its buffer.
        let mut words: Vec<String> =
            ["stdbuf", "-oL", NAME, "-v", "--no-pci", "--no-telemetry", "--lcores"].map(str::to_owned).into();
        words.push(cores.join(","));
        words.extend(pages.dpdk().iter().map(|&w| w.to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let process = Process::start(command).map_err(|e| NoPeer { peer: NAME, why: e.to_string() })?;
        Ok(Self { process, command: words.join(" ") })
    }

    /// Runs `ring_perf_autotest` as far as is wanted. Two cpus are needed.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off or says something else.
    pub fn ring(&mut self) -> Result<RingFigures, BenchError> {
        self.process.send("ring_perf_autotest")?;
        let mut parser = RingParser::default();
        self.process.read(RING, "figures of its ring", |line| parser.line(line))
    }

    /// The cpu time it has used so far: its test is of one thread.
    ///
    /// # Errors
    /// [`BenchError::CpuTime`] when it has ended.
    pub fn cpu_time(&self) -> Result<Duration, BenchError> {
        cpu_time(self.process.id())
    }

    /// Begins `mempool_perf_autotest`.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn begin_pool(&mut self) -> Result<(), BenchError> {
        self.process.send("mempool_perf_autotest")
    }

    /// The next figure of the pool's test.
    ///
    /// # Errors
    /// [`BenchError::Program`] when none comes within `limit`.
    pub fn pool_figure(&mut self, limit: Duration) -> Result<PoolFigure, BenchError> {
        self.process.read(limit, "a figure of its pool", pool_figure)
    }

    /// Name and version, once it has said anything else.
    #[must_use]
    pub fn title(&self) -> String {
        let version = self.process.error_line("RTE Version").and_then(|line| version(&line));
        format!("{NAME} {}", version.as_deref().unwrap_or("?"))
    }

    /// Ends it in the middle of a test, which it does not like.
    pub fn end(mut self) {
        let _ = self.process.terminate();
    }
}

/// Reads the answer to `ring_perf_autotest` as far as is wanted.
#[derive(Default)]
struct RingParser {
    section: String,
    one_core: Option<f64>,
}

impl RingParser {
    fn line(&mut self, line: &str) -> Option<RingFigures> {
        if let Some(section) = line.trim().strip_prefix("### Testing ") {
            section.trim_end_matches([' ', '#']).clone_into(&mut self.section);
        }
        let cycles: f64 = line.trim().strip_prefix("legacy APIs: SP/SC: bulk (size: 32): ")?.parse().ok()?;
        if self.section == "bulk enq/deq" {
            // It gives those of a whole bulk here.
            self.one_core = Some(cycles / BULK as f64);
        }
        // Two hyperthreads, two physical cores: what the cpus are.
        let two_cores = self.section.starts_with("using two ").then_some(cycles)?;
        Some(RingFigures { one_core: self.one_core?, two_cores })
    }
}

fn pool_figure(line: &str) -> Option<PoolFigure> {
    let rest = line.trim().strip_prefix("mempool_autotest ")?;
    let value = |key: &str| -> Option<u64> {
        rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?.parse().ok()
    };
    let number = |key| value(key).map(|n| n as usize);
    Some(PoolFigure {
        cache: number("cache")?,
        cores: number("cores")?,
        get: number("n_get_bulk")?,
        put: number("n_put_bulk")?,
        keep: number("n_keep")?,
        constant: value("constant_n")? != 0,
        rate: value("rate_persec")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of DPDK 22.11.
    const RING_ANSWER: &str = "RTE>>ring_perf_autotest\r

### Testing single element enq/deq ###
legacy APIs: SP/SC: single: 15.27
legacy APIs: MP/MC: single: 41.83

### Testing burst enq/deq ###
legacy APIs: SP/SC: burst (size: 8): 25.23
legacy APIs: SP/SC: burst (size: 32): 59.90
legacy APIs: MP/MC: burst (size: 32): 67.45

### Testing bulk enq/deq ###
legacy APIs: SP/SC: bulk (size: 8): 19.42
legacy APIs: SP/SC: bulk (size: 32): 48.00
legacy APIs: MP/MC: bulk (size: 32): 72.14

### Testing empty bulk deq ###
legacy APIs: SP/SC: bulk (size: 8): 6.47
legacy APIs: MP/MC: bulk (size: 8): 6.75

### Testing using two physical cores ###
legacy APIs: SP/SC: bulk (size: 8): 7.97
legacy APIs: MP/MC: bulk (size: 8): 35.58
legacy APIs: SP/SC: bulk (size: 32): 4.41
legacy APIs: MP/MC: bulk (size: 32): 9.03

### Testing using all worker nodes ###
elem APIs: element size 16B: SP/SC: bulk (size: 32): 5.01
";

    #[test]
    fn the_figures_of_the_ring_are_those_of_bulks_of_32_and_come_when_both_are_known() {
        let mut parser = RingParser::default();
        let found: Vec<(&str, RingFigures)> =
            RING_ANSWER.lines().filter_map(|line| Some((line, parser.line(line)?))).collect();
        let figures = RingFigures { one_core: 1.5, two_cores: 4.41 };
        assert_eq!(found, [("legacy APIs: SP/SC: bulk (size: 32): 4.41", figures)]);
    }

    #[test]
    fn two_cores_alone_are_no_figures() {
        let mut parser = RingParser::default();
        let lines = ["### Testing using two hyperthreads ###", "legacy APIs: SP/SC: bulk (size: 32): 4.41"];
        assert!(lines.iter().all(|line| parser.line(line).is_none()));
    }

    #[test]
    fn a_figure_of_the_pool_is_read_with_its_conditions() {
        let line = "mempool_autotest cache=0 cores=1 n_get_bulk=1 n_put_bulk=4 n_keep=32 constant_n=0 rate_persec=98697216";
        let figure =
            PoolFigure { cache: 0, cores: 1, get: 1, put: 4, keep: 32, constant: false, rate: 98_697_216 };
        assert_eq!(pool_figure(line), Some(figure));
        for other in [
            "start performance test (without cache)",
            "mempool_autotest cache=0 cores=1 n_get_bulk=1 mempool is not full",
            "mempool_autotest cache=x cores=1 n_get_bulk=1 n_put_bulk=4 n_keep=32 constant_n=0 rate_persec=9",
            "",
        ] {
            assert_eq!(pool_figure(other), None, "{other}");
        }
    }
}
