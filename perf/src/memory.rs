//! `memory`: what a started program keeps resident beyond the buffers it was asked for.

use std::process::Command;
use std::time::Duration;

use crate::measure::{Better, Contender, Line, alternate};
use crate::peers::{PageSize, Process};
use crate::testpmd::{Setup, Testpmd};
use crate::{BenchError, Lines, Options};

const CONFIG: &str = include_str!("../../configs/forward-null.toml");
const BUFFERS: usize = 8192;
/// The buffers that both are asked for.
const POOL_BYTES: u64 = BUFFERS as u64 * 2048;
/// What we want to stay under.
const TARGET: f64 = 64.0 * 1024.0 * 1024.0;
/// Time to start up and settle.
const SETTLE: Duration = Duration::from_millis(700);
/// Starting is not noisy, but slow: no more rounds than this.
const ROUNDS: usize = 3;

/// Runs the bench.
pub fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (cpu, main_cpu) = options.two_cpus()?;
    let pages = PageSize::best();
    let mut short = options.clone();
    short.rounds = options.rounds.min(ROUNDS);
    let devices = ["net_null0,size=64".to_owned(), "net_null1,size=64".to_owned()];
    let setup = Setup { cpu, main_cpu, pages, devices: &devices, ports: 2, mbufs: BUFFERS, wrapper: &[] };
    // Once beforehand, to know whether it starts.
    let peer = Testpmd::start(&setup).map(|t| (t.title(), t.command.clone()));
    let mut sides: Vec<Contender<'_>> = vec![Box::new(|_| ours(options, pages, cpu))];
    if peer.is_ok() {
        sides.push(Box::new(|_| {
            let testpmd = Testpmd::start(&setup)
                .map_err(|e| BenchError::Bug(format!("testpmd started before, and now: {e}")))?;
            std::thread::sleep(SETTLE);
            beyond_pool(testpmd.id())
        }));
    }
    let values = alternate(&short, &mut sides)?;
    drop(sides);
    let theirs = peer.as_ref().map(|(title, _)| (title.as_str(), values[1].as_slice()));
    let mut line = Line::compare("memory", ("bytes", Better::Lower), &values[0], theirs)
        .command(options.command("memory"))
        .note(format!(
            "VmRSS + HugetlbPages of /proc/PID/status, less {POOL_BYTES} bytes: {BUFFERS} buffers of 2,048"
        ))
        .note("ours: warpdrive run configs/forward-null.toml")
        .note(pages.note());
    let verdict = if line.value < TARGET { "met" } else { "MISSED" };
    line = line.note(format!("target: under 64 MiB, {verdict}"));
    if pages == PageSize::Small {
        line = line.note(
            "on 4 KiB pages testpmd fills the 256 MiB of its -m option at start: compare with hugepages",
        );
    }
    if let Ok((_, command)) = &peer {
        line = line.note(format!("peer command: {command}"));
    }
    emit(line);
    Ok(())
}

fn ours(options: &Options, pages: PageSize, cpu: usize) -> Result<f64, BenchError> {
    let io = |what: &'static str| {
        move |cause| BenchError::Io {
            what: what.to_owned(),
            cause,
            remedy: "a writable TMPDIR with some space",
        }
    };
    let folder = tempfile::TempDir::with_prefix("warpdrive-perf-").map_err(io("cannot make a folder"))?;
    let config = folder.path().join("forward-null.toml");
    std::fs::write(&config, CONFIG).map_err(io("cannot write a configuration"))?;
    let mut command = Command::new(&options.program);
    // It ends by itself should we be killed.
    command.args(["run", "-l", &cpu.to_string(), "--duration", "2s"]).arg(&config);
    if pages == PageSize::Small {
        command.arg("--no-huge");
    }
    let mut process = Process::start(command)?;
    std::thread::sleep(SETTLE);
    let bytes = beyond_pool(process.id())?;
    process.wait(Duration::from_secs(20))?;
    Ok(bytes)
}

fn beyond_pool(pid: u32) -> Result<f64, BenchError> {
    Ok(resident(pid)?.saturating_sub(POOL_BYTES) as f64)
}

/// Bytes that a process has resident, hugepages included.
pub(crate) fn resident(pid: u32) -> Result<u64, BenchError> {
    let file = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&file).map_err(|cause| BenchError::Io {
        what: format!("cannot read {file}"),
        cause,
        remedy: "did the program end early? Run it by hand",
    })?;
    resident_bytes(&text).ok_or_else(|| BenchError::Bug(format!("{file} has no VmRSS")))
}

/// VmRSS, which leaves out hugepages, and HugetlbPages.
fn resident_bytes(status: &str) -> Option<u64> {
    let kilobytes = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((kilobytes("VmRSS:")? + kilobytes("HugetlbPages:").unwrap_or(0)) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_count_as_resident() {
        let status =
            "Name:\tx\nVmHWM:\t  999 kB\nVmRSS:\t    1000 kB\nRssAnon:\t 5 kB\nHugetlbPages:\t   16384 kB\n";
        assert_eq!(resident_bytes(status), Some((1000 + 16384) * 1024));
        assert_eq!(resident_bytes("VmRSS:\t 4 kB\n"), Some(4096));
        assert_eq!(resident_bytes("Name:\tkernel\n"), None);
    }

    #[test]
    fn this_process_is_resident() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(resident_bytes(&status).unwrap() > 100_000);
    }
}
