//! `warpdrive bench`: our code and a neighbour's in turn.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use warpdrive_perf::{BENCHES, Line, Machine, Options, find, syscalls};
use warpdrive_pipeline::diag::known_names;

use crate::cli::BenchArgs;

/// Runs one bench, or lists them.
pub fn bench(args: &BenchArgs, allowed: &[usize]) -> ExitCode {
    if args.name == "list" {
        return list(args.json);
    }
    if args.name == syscalls::NAME {
        return audit(args, allowed);
    }
    if args.config.is_some() {
        eprintln!("error: bench {:?} takes no configuration: it makes its own", args.name);
        return ExitCode::from(2);
    }
    let Some(bench) = find(&args.name) else {
        let names = BENCHES.iter().map(|b| b.name).chain([syscalls::NAME]);
        let help = known_names(&args.name, "benches", names);
        eprintln!("error: there is no bench {:?}: {help}", args.name);
        return ExitCode::from(2);
    };
    let options = match options(args, (bench.seconds, bench.rounds), allowed) {
        Ok(options) => options,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut written = Ok(());
    let done = Machine::examine(&options).and_then(|machine| {
        written = if args.json { json(&machine) } else { print_machine(&machine) };
        bench.run(&options, &mut |mut line| {
            if cfg!(debug_assertions) {
                line.notes.push("debug build: not a measurement (cargo build --release)".to_owned());
            }
            if written.is_ok() {
                written = if args.json { json(&line) } else { print(&line) };
            }
        })
    });
    match (done, written) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        (Err(e), _) => {
            eprintln!("error: bench {:?}: {e}", bench.name);
            ExitCode::FAILURE
        }
        (Ok(()), Err(e)) => {
            eprintln!("error: cannot write the results: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The audit of system calls, which is measured against nothing and so has a form of its own.
fn audit(args: &BenchArgs, allowed: &[usize]) -> ExitCode {
    let Some(config) = &args.config else {
        eprintln!(
            "error: bench {:?} needs a configuration. Remedy: warpdrive bench {0} configs/forward-null.toml",
            args.name
        );
        return ExitCode::from(2);
    };
    let audited = options(args, (syscalls::SECONDS, 1), allowed)
        .map_err(|e| e.to_string())
        .and_then(|options| {
            syscalls::audit(&options, config).map_err(|e| format!("bench {:?}: {e}", args.name))
        })
        .and_then(|audit| {
            let written = if args.json { json(&audit) } else { writeln!(std::io::stdout(), "{audit}") };
            written.map(|()| audit.passed()).map_err(|e| format!("cannot write the results: {e}"))
        });
    match audited {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: &BenchArgs, (seconds, rounds): (f64, usize), allowed: &[usize]) -> std::io::Result<Options> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(Options {
        slice: Duration::from_secs_f64(args.seconds.unwrap_or(seconds)),
        rounds: args.rounds.unwrap_or(rounds),
        cpus: allowed.to_vec(),
        program: std::env::current_exe()?,
        crypto_mb: args.crypto_mb.clone(),
        corpus: args.corpus.clone(),
        seed: args.seed,
        samples: args.samples,
        stop,
    })
}

fn json(value: &impl Serialize) -> std::io::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn list(as_json: bool) -> ExitCode {
    let width = BENCHES.iter().map(|b| b.name.len()).max().unwrap_or(0);
    for bench in BENCHES {
        let written = if as_json {
            json(bench)
        } else {
            let package = match bench.package {
                "" => String::new(),
                package => format!(" (apt-get install {package})"),
            };
            writeln!(
                std::io::stdout(),
                "{:width$}  {}, in {}\n{:width$}  against {}{package}",
                bench.name,
                bench.about,
                bench.unit,
                "",
                bench.peer
            )
        };
        if written.is_err() {
            return ExitCode::FAILURE;
        }
    }
    let written = if as_json {
        json(&syscalls::ENTRY)
    } else {
        writeln!(std::io::stdout(), "{:width$}  {}", syscalls::NAME, syscalls::ENTRY.about)
    };
    if written.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print_machine(machine: &Machine) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}, tsc {:.3} GHz, kernel {}, load {:.2}, {} free hugepages of 2 MiB",
        machine.cpu,
        machine.tsc_hz as f64 / 1e9,
        machine.kernel,
        machine.load,
        machine.free_hugepages
    )?;
    for gaps in &machine.gaps {
        writeln!(
            out,
            "cpu {}: in {} ms {} gaps > 1 us, {} > 10 us, {} > 100 us; longest {:.1} us, {:.2} % lost",
            gaps.cpu,
            gaps.spun_ms,
            gaps.over_1us,
            gaps.over_10us,
            gaps.over_100us,
            gaps.longest_us,
            gaps.lost_percent
        )?;
    }
    writeln!(out)?;
    out.flush()
}

fn print(line: &Line) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:24} {:>12} {}", line.name, number(line.value), line.unit)?;
    let theirs = line.peer_value.map_or("-".to_owned(), number);
    writeln!(out, "{:24} {theirs:>12} {}", "", line.peer)?;
    match (line.ratio, line.spread) {
        (Some(ratio), Some([least, most])) => {
            let verdict = if ratio >= 1.0 { "ours is better" } else { "the peer is better" };
            writeln!(
                out,
                "{:24} {ratio:>12.3} {least:.3} to {most:.3} in {} rounds: {verdict}",
                "", line.rounds
            )?;
        }
        _ => writeln!(out, "{:24} {:>12} nothing to compare with", "", "-")?,
    }
    for note in &line.notes {
        writeln!(out, "{:24}   {note}", "")?;
    }
    writeln!(out)?;
    out.flush()
}

/// A number with a prefix for thousands, to four digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{:.3} G", value / 1e9),
        v if v >= 1e6 => format!("{:.3} M", value / 1e6),
        v if v >= 1e4 => format!("{:.2} k", value / 1e3),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(61_234_567.0), "61.235 M");
        assert_eq!(number(0.7301), "0.730");
        assert_eq!(number(375_000.0), "375.00 k");
    }

    #[test]
    fn no_bench_is_called_list_and_names_are_unique() {
        for (i, bench) in BENCHES.iter().enumerate() {
            assert_ne!(bench.name, "list");
            assert!(BENCHES[..i].iter().all(|b| b.name != bench.name));
        }
    }
}
