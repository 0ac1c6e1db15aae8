//! dpdk-test-compress-perf with zlib: started anew for each slice, it measures by the clock.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::BenchError;
use crate::peers::{NoPeer, Process, which};

const NAME: &str = "dpdk-test-compress-perf";
const DRIVER: &str = "compress_zlib";
/// It wants the output of a segment, at its largest, to fit into a buffer of 65,535 bytes.
const SEGMENT_MAX: usize = 59_460;
/// A slice of the slowest, with all that comes before.
const LIMIT: Duration = Duration::from_secs(120);

/// How it is to be run.
pub struct Peer<'a> {
    /// The file to compress.
    pub file: &'a Path,
    /// Its size.
    pub bytes: usize,
    /// Bytes of a block.
    pub block: usize,
    /// The cpu that works, and one that waits.
    pub cpus: (usize, usize),
    /// How often it goes through the file: to be set from the first run.
    pub rounds: u64,
}

/// What it says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// Compressed size as a part of the input.
    pub part: f64,
    /// MB/s when compressing.
    pub compress: f64,
    /// MB/s when decompressing, of what comes out.
    pub decompress: f64,
}

impl Peer<'_> {
    /// Bytes of its blocks: ours, if that is possible.
    #[must_use]
    pub fn segment(&self) -> usize {
        self.block.min(SEGMENT_MAX)
    }

    /// Runs it once, to see whether it does.
    ///
    /// # Errors
    /// [`NoPeer`] when it does not.
    pub fn try_it(&mut self, slice: Duration) -> Result<Said, NoPeer> {
        if which(NAME).is_none() {
            return Err(NoPeer::absent(NAME, "dpdk"));
        }
        let said = self.run().map_err(|e| NoPeer { peer: NAME, why: e.to_string() })?;
        let pass = self.bytes as f64 / 1e6 / said.compress;
        self.rounds = (slice.as_secs_f64() / pass).ceil().max(1.0) as u64;
        Ok(said)
    }

    /// Compresses and decompresses the file as often as it should, at level 1.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn run(&self) -> Result<Said, BenchError> {
        let (works, waits) = self.cpus;
        let mut command = Command::new(NAME);
        command
            .args(["--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "-m", "512"])
            .args(["--lcores", &format!("0@{waits},1@{works}"), "--main-lcore=0"])
            .arg(format!("--vdev={DRIVER}"))
            .args(["--", "--ptest=throughput", "--operation=comp_and_decomp", "--compress-level=1"])
            .args(["--driver-name", DRIVER, "--burst-sz=16", "--window-sz=15"])
            .arg("--input-file")
            .arg(self.file)
            .arg(format!("--seg-sz={}", self.segment()))
            .arg(format!("--num-iter={}", self.rounds));
        Process::start(command)?.read(LIMIT, "its figures", said)
    }
}

/// Name and way.
#[must_use]
pub fn title() -> String {
    format!("{NAME}, {DRIVER} level 1")
}

/// A line such as `1 1 696283 39.98 0.47 1.20`: core, level, bytes, percent, Gbit/s there and back.
fn said(line: &str) -> Option<Said> {
    let numbers: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [_core, _level, _bytes, percent, there, back] = numbers[..] else { return None };
    let megabytes = |gbit: f64| gbit * 1e3 / 8.0;
    Some(Said { part: percent / 100.0, compress: megabytes(there), decompress: megabytes(back) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_figures_are_read_and_nothing_else_is() {
        let found = said("           1     1      696283            39.98           0.48            1.20");
        let expected = Said { part: 0.3998, compress: 60.0, decompress: 150.0 };
        let found = found.unwrap();
        assert!((found.part - expected.part).abs() < 1e-9);
        assert_eq!((found.compress, found.decompress), (expected.compress, expected.decompress));
        for other in ["", "lcore id Level   Comp size   Comp ratio [%]", "Burst size = 16", "1 1 5 3.0 2.0"] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
