//! `warpdrive bench`: how fast, how late, compared with what, and is it worse than last time.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use warpdrive_perf::baseline::{self, Change, Verdict};
use warpdrive_perf::record::{Failure, SCHEMA};
use warpdrive_perf::{
    BENCHES, Bench, BenchError, Machine, Options, Record, Report, find, markdown, report, syscalls, uacce,
};
use warpdrive_pipeline::diag::known_names;

use crate::cli::{BenchArgs, OutputArgs};

mod print;

/// Runs benches, or lists them.
pub fn bench(args: &BenchArgs, allowed: &[usize]) -> ExitCode {
    if args.name == "list" {
        return list(args.json);
    }
    if args.name == uacce::CLIENT {
        return ended(uacce::play().map(|()| true));
    }
    if args.name == syscalls::NAME {
        let Some(config) = &args.config else {
            eprintln!(
                "error: bench {:?} needs a configuration. Remedy: warpdrive bench {0} configs/forward-null.toml",
                args.name
            );
            return ExitCode::from(2);
        };
        return ended(audit(args, config, allowed));
    }
    if args.config.is_some() && args.name != "load-pipeline" {
        eprintln!("error: bench {:?} takes no configuration: it makes its own", args.name);
        return ExitCode::from(2);
    }
    let benches: Vec<&'static Bench> = match (args.name.as_str(), find(&args.name)) {
        ("all", _) => BENCHES.iter().filter(|b| !args.quick || b.quick.is_some()).collect(),
        (_, Some(bench)) => vec![bench],
        (name, None) => {
            let names = BENCHES.iter().map(|b| b.name).chain(["all", "list", syscalls::NAME]);
            eprintln!("error: there is no bench {name:?}: {}", known_names(name, "benches", names));
            return ExitCode::from(2);
        }
    };
    ended(Session::new(args, allowed).and_then(|mut session| session.run(&benches)))
}

fn ended(done: Result<bool, BenchError>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The audit of system calls, which is measured against nothing and so has a form of its own.
fn audit(args: &BenchArgs, config: &Path, allowed: &[usize]) -> Result<bool, BenchError> {
    let stop = stopped_by_signals()?;
    let options = options(args, (syscalls::SECONDS, 1), allowed, &stop)?;
    let audit = syscalls::audit(&options, config)?;
    let written = if args.json { json(&audit) } else { writeln!(io::stdout(), "{audit}") };
    written.map(|()| audit.passed()).map_err(unwritten)
}

fn unwritten(cause: io::Error) -> BenchError {
    let what = "cannot write the results".to_owned();
    BenchError::Io { what, cause, remedy: "is there still a reader behind the pipe?" }
}

fn stopped_by_signals() -> Result<Arc<AtomicBool>, BenchError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|cause| BenchError::Io {
            what: format!("cannot handle signal {signal}"),
            cause,
            remedy: "none: report it",
        })?;
    }
    Ok(stop)
}

fn options(
    args: &BenchArgs,
    (seconds, rounds): (f64, usize),
    allowed: &[usize],
    stop: &Arc<AtomicBool>,
) -> Result<Options, BenchError> {
    let program = std::env::current_exe().map_err(|cause| BenchError::Io {
        what: "cannot find this program's own path".to_owned(),
        cause,
        remedy: "is /proc mounted?",
    })?;
    Ok(Options {
        slice: Duration::from_secs_f64(args.seconds.unwrap_or(seconds)),
        rounds: args.rounds.unwrap_or(rounds),
        cpus: allowed.to_vec(),
        program,
        crypto_mb: args.crypto_mb.clone(),
        corpus: args.corpus.clone(),
        seed: args.seed,
        samples: args.samples,
        quick: args.quick,
        load: args.load.options(),
        web: args.web.options(),
        config: args.config.clone(),
        input: args.load.input.clone(),
        output: args.load.output.clone(),
        stop: Arc::clone(stop),
    })
}

/// One run of benches.
struct Session<'a> {
    args: &'a BenchArgs,
    allowed: &'a [usize],
    stop: Arc<AtomicBool>,
    report: Report,
    /// Why nothing more can be printed.
    unwritten: Option<io::Error>,
}

impl<'a> Session<'a> {
    fn new(args: &'a BenchArgs, allowed: &'a [usize]) -> Result<Self, BenchError> {
        let stop = stopped_by_signals()?;
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("warpdrive {}", words.join(" "));
        let mut session = Self { args, allowed, stop, report: Report::default(), unwritten: None };
        // Read before hours of measuring, not after.
        if let Some(name) = &args.output.baseline {
            baseline::load(name)?;
        }
        if let Some(path) = &args.output.markdown {
            markdown::check(path)?;
        }
        session.report = Report::new(command, Machine::examine(&session.options(&BENCHES[0])?)?);
        Ok(session)
    }

    fn options(&self, bench: &Bench) -> Result<Options, BenchError> {
        let usual = (bench.seconds, bench.rounds);
        let lengths = if self.args.quick { bench.quick.unwrap_or(usual) } else { usual };
        options(self.args, lengths, self.allowed, &self.stop)
    }

    /// Runs all and writes what is to be written. False when one failed, or is worse than it was.
    fn run(&mut self, benches: &[&'static Bench]) -> Result<bool, BenchError> {
        self.show(
            |out, this| print::machine(out, &this.report.machine),
            |this| json(&Headed { kind: "machine", schema: SCHEMA, what: &this.report.machine }),
        );
        let measured = self.measure(benches);
        // What was measured until then is written even if the rest was given up; but half a run is no baseline, and no
        // table of a document.
        let written = self.write(&self.args.output, !matches!(measured, Err(BenchError::Interrupted)));
        let well = measured?;
        written?;
        if self.args.name == "all" && self.args.quick {
            let left_out: Vec<&str> = BENCHES.iter().filter(|b| b.quick.is_none()).map(|b| b.name).collect();
            eprintln!("left out by --quick: {}", left_out.join(", "));
        }
        match self.unwritten.take() {
            None => Ok(well),
            Some(cause) => Err(unwritten(cause)),
        }
    }

    fn measure(&mut self, benches: &[&'static Bench]) -> Result<bool, BenchError> {
        let mut well = true;
        for bench in benches {
            well &= self.one(bench)?;
        }
        if let Some(name) = self.args.output.baseline.clone() {
            well &= self.judge(&name, benches)?;
        }
        Ok(well)
    }

    /// Runs one. In a run of several, one that fails is put down as such, and the others go on.
    fn one(&mut self, bench: &Bench) -> Result<bool, BenchError> {
        let options = self.options(bench)?;
        let mut records = Vec::new();
        let (args, unwritten) = (self.args, &mut self.unwritten);
        let done = bench.run(&options, &mut |mut record| {
            if let (true, Some(notes)) = (cfg!(debug_assertions), record.notes_mut()) {
                notes.push("debug build: not a measurement (cargo build --release)".to_owned());
            }
            if unwritten.is_none() {
                *unwritten = shown(args.json, &record).err();
            }
            records.push(record);
        });
        self.report.records.append(&mut records);
        match done {
            Ok(()) => Ok(true),
            Err(BenchError::Interrupted) => Err(BenchError::Interrupted),
            Err(e) => {
                eprintln!("error: bench {:?}: {e}", bench.name);
                let (name, command) = (bench.name.to_owned(), options.command(bench.name));
                let record = Record::Failed(Failure { name, error: e.to_string(), command });
                if self.args.json && self.unwritten.is_none() {
                    self.unwritten = shown(true, &record).err();
                }
                self.report.records.push(record);
                Ok(false)
            }
        }
    }

    /// Compares with a baseline. The benches of what is worse run once more: what is worse only once was chance.
    fn judge(&mut self, name: &str, benches: &[&'static Bench]) -> Result<bool, BenchError> {
        let before = baseline::load(name)?;
        let mut verdicts = baseline::compare(&before, &self.report);
        let worse = |v: &Verdict| v.change == Change::Worse;
        let suspects: Vec<&&Bench> =
            benches.iter().filter(|b| verdicts.iter().any(|v| worse(v) && b.owns(&v.name))).collect();
        if !suspects.is_empty() {
            let first = std::mem::take(&mut self.report.records);
            let repeated = suspects.iter().try_for_each(|bench| {
                eprintln!("{} is worse than in {name:?}: once more", bench.name);
                self.one(bench).map(drop)
            });
            let again = baseline::compare(&before, &self.report);
            let second = std::mem::replace(&mut self.report.records, first);
            repeated?;
            for verdict in verdicts.iter_mut().filter(|v| worse(v)) {
                let same = again.iter().find(|v| v.name == verdict.name && v.figure == verdict.figure);
                if let Some(same) = same.filter(|v| v.change != Change::Missing) {
                    *verdict = same.clone();
                }
            }
            // The later figures are those that were judged.
            for record in second {
                match self.report.records.iter_mut().find(|r| r.name() == record.name()) {
                    Some(old) => *old = record,
                    None => self.report.records.push(record),
                }
            }
        }
        self.show(
            |out, _| print::verdicts(out, name, &verdicts),
            |_| {
                json(&Headed {
                    kind: "verdicts",
                    schema: SCHEMA,
                    what: &Verdicts { baseline: name, verdicts: &verdicts },
                })
            },
        );
        Ok(!verdicts.iter().any(worse))
    }

    /// Writes all that is wished for; what cannot be written does not keep the others from it.
    fn write(&self, output: &OutputArgs, complete: bool) -> Result<(), BenchError> {
        if self.report.records.is_empty() {
            return Ok(());
        }
        let report = &self.report;
        let html = |path: &Path| {
            std::fs::write(path, report::html(report)).map_err(|cause| BenchError::Io {
                what: format!("cannot write {}", path.display()),
                cause,
                remedy: "--html FILE, where this user may write",
            })
        };
        let one = |path: &Path, done: Result<(), BenchError>| done.map(|()| vec![path.to_owned()]);
        let written = [
            output.out.as_ref().map(|folder| report::write(report, folder)),
            output.html.as_ref().map(|path| one(path, html(path))),
            output
                .markdown
                .as_ref()
                .filter(|_| complete)
                .map(|path| one(path, markdown::replace(path, report))),
            output
                .save
                .as_ref()
                .filter(|_| complete)
                .map(|name| baseline::save(report, name).map(|path| vec![path])),
        ];
        let mut first = Ok(());
        for done in written.into_iter().flatten() {
            match done {
                Ok(paths) => paths.iter().for_each(|path| eprintln!("written: {}", path.display())),
                Err(e) if first.is_ok() => first = Err(e),
                Err(e) => eprintln!("error: {e}"),
            }
        }
        first
    }

    fn show(
        &mut self,
        people: impl FnOnce(&mut io::StdoutLock<'_>, &Self) -> io::Result<()>,
        machines: impl FnOnce(&Self) -> io::Result<()>,
    ) {
        if self.unwritten.is_some() {
            return;
        }
        self.unwritten = if self.args.json {
            machines(self).err()
        } else {
            let mut out = io::stdout().lock();
            people(&mut out, self).and_then(|()| out.flush()).err()
        };
    }
}

/// A JSON object that says what it is.
#[derive(Serialize)]
struct Headed<'a, T: Serialize> {
    kind: &'static str,
    schema: &'static str,
    #[serde(flatten)]
    what: &'a T,
}

#[derive(Serialize)]
struct Verdicts<'a> {
    baseline: &'a str,
    verdicts: &'a [Verdict],
}

fn shown(as_json: bool, record: &Record) -> io::Result<()> {
    if as_json {
        return json(record);
    }
    let mut out = io::stdout().lock();
    print::record(&mut out, record)?;
    out.flush()
}

fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut out = io::stdout().lock();
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
            let against = match bench.peer {
                "" => "rate and latency under loads".to_owned(),
                peer => format!("against {peer}"),
            };
            let quick = if bench.quick.is_none() { "; not with --quick" } else { "" };
            writeln!(
                io::stdout(),
                "{:width$}  {}, in {}\n{:width$}  {against}{package}{quick}",
                bench.name,
                bench.about,
                bench.unit,
                "",
            )
        };
        if written.is_err() {
            return ExitCode::FAILURE;
        }
    }
    let written = if as_json {
        json(&syscalls::ENTRY)
    } else {
        writeln!(io::stdout(), "{:width$}  {}", syscalls::NAME, syscalls::ENTRY.about)
    };
    if written.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bench_is_called_list_or_all_and_names_are_unique() {
        for (i, bench) in BENCHES.iter().enumerate() {
            assert!(!["list", "all", syscalls::NAME].contains(&bench.name));
            assert!(BENCHES[..i].iter().all(|b| b.name != bench.name));
        }
    }

    #[test]
    fn every_line_belongs_to_the_bench_with_the_longest_name_that_fits() {
        let owner = |line: &str| BENCHES.iter().find(|b| b.owns(line)).map(|b| b.name);
        assert_eq!(owner("rsa-latency-load-10"), Some("rsa-latency"));
        assert_eq!(owner("zip-isal-two"), Some("zip-isal"));
        assert_eq!(owner("zip-text-4k"), Some("zip"));
        assert_eq!(owner("ring-u64"), Some("ring"));
        assert_eq!(owner("load-ring-open"), Some("load-ring"));
        assert_eq!(owner("nothing"), None);
    }
}
