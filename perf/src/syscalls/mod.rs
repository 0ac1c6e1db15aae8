//! The audit of system calls: a pipeline as a child, its workers and engines traced for a while, and what they called
//! next to the packets that went through meanwhile. It needs no strace.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use warpdrive_pipeline::strict::names;

use self::trace::{Call, Tracer};
use crate::peers::{Process, START};
use crate::{BenchError, Options};

#[cfg(test)]
mod tests;
mod trace;

pub(crate) use self::trace::dies_with_us;

/// What it is called on the command line.
pub const NAME: &str = "syscalls";
/// What it does, for a list.
pub const ENTRY: Entry = Entry {
    name: NAME,
    about: "system calls of the workers and engines of CONFIG while packets flow",
    peer: "nothing",
    package: "",
    unit: "calls in a million packets",
    seconds: SECONDS,
    rounds: 1,
};
/// Length of the window in seconds, unless the user says another.
pub const SECONDS: f64 = 2.0;

/// How long the program may be without a word: it gives numbers every second.
const SILENCE: Duration = Duration::from_secs(15);
/// After this long without a stop, the tracer looks less often.
const BUSY: Duration = Duration::from_millis(2);
/// How often then.
const LOOK_EVERY: Duration = Duration::from_micros(300);
/// From when a thread was seized until it goes on as before.
const SETTLE: Duration = Duration::from_millis(10);

/// A line of the list of benches: as [`Bench`](crate::Bench), which gives other results.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields of Bench")]
pub struct Entry {
    pub name: &'static str,
    pub about: &'static str,
    pub peer: &'static str,
    pub package: &'static str,
    pub unit: &'static str,
    pub seconds: f64,
    pub rounds: usize,
}

/// What the calls of a thread mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// None, with packets.
    Pass,
    /// The drivers of its ports move packets by system calls.
    Needed,
    /// Nothing can be said.
    NoPackets,
    /// It should have made none.
    Fail,
}

/// A thread in the window.
#[derive(Clone, Debug, Serialize)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// The ports that it drives.
    pub ports: Vec<String>,
    /// Those of them whose drivers need system calls.
    pub need_syscalls: Vec<String>,
    /// Packets that it received; of an engine, requests.
    pub packets: u64,
    /// How often it made each call.
    pub calls: BTreeMap<String, u64>,
    /// Calls in a million packets; none without packets.
    pub per_million: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// The form of this record.
    pub schema: &'static str,
    /// The configuration.
    pub config: String,
    /// Length of the window, by the program's own clock.
    pub seconds: f64,
    /// Packets received in the window.
    pub packets: u64,
    /// System calls in the window as the drivers count them.
    pub driver_syscalls: u64,
    /// The threads.
    pub threads: Vec<Thread>,
    /// What all that means.
    pub verdict: Verdict,
}

impl Audit {
    /// Whether it is as it should be.
    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Needed)
    }
}

/// Runs a configuration and counts what its workers and engines call, for `options.slice` or up to a second longer.
///
/// # Errors
/// [`BenchError`] when the program does not run long enough, or may not be traced.
pub fn audit(options: &Options, config: &Path) -> Result<Audit, BenchError> {
    let mut command = Command::new(&options.program);
    command.arg("run").arg(config).args(["--stats", "--json"]);
    dies_with_us(&mut command);
    let mut run = Run { process: Process::start(command)?, options, config };
    // The first numbers come after a second: what is done once is done by then.
    run.next(None, START)?;
    let mut tracer = Tracer::seize(run.threads()?).map_err(refused)?;
    let before = run.next(Some(&mut tracer), SILENCE)?;
    let uncounted: Vec<BTreeMap<Call, u64>> = tracer.threads.iter().map(|t| t.calls.clone()).collect();
    let window = options.slice.as_secs_f64();
    let after = loop {
        let now = run.next(Some(&mut tracer), SILENCE)?;
        // Numbers that come every second are not a second apart to the microsecond.
        if uptime(&now) - uptime(&before) >= window - 0.1 {
            break now;
        }
    };
    let called = tracer.threads.iter().zip(&uncounted).map(|(thread, before)| {
        let since = thread.calls.iter().map(|(call, n)| (*call, n - before.get(call).copied().unwrap_or(0)));
        let calls = since.filter(|(_, n)| *n > 0).collect();
        Called { name: thread.name.clone(), id: thread.id.unsigned_abs(), calls }
    });
    let audit = evaluate(&config.display().to_string(), &before, &after, called.collect());
    drop(tracer);
    // How long it takes to drain is nothing to this; if too long, it is killed.
    let _ = run.process.terminate();
    Ok(audit)
}

/// How often threads of other processes made each call in a `window`, in the order in which they are named. They should be
/// busy already: what they are at when this begins is not counted.
pub(crate) fn calls_within(
    threads: Vec<(String, libc::pid_t)>,
    window: Duration,
) -> Result<Vec<BTreeMap<String, u64>>, BenchError> {
    let mut tracer = Tracer::seize(threads).map_err(refused)?;
    let mut serve = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if !tracer.turn().map_err(refused)? {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok::<_, BenchError>(tracer.threads.iter().map(|t| (by_name(&t.calls), t.ended)).collect::<Vec<_>>())
    };
    let before = serve(SETTLE)?;
    let mut counted = Vec::new();
    for ((mut calls, ended), (earlier, _)) in serve(window)?.into_iter().zip(before) {
        if ended {
            return Err(BenchError::Bug("a thread ended while its calls were counted".to_owned()));
        }
        calls.iter_mut().for_each(|(call, n)| *n -= earlier.get(call).copied().unwrap_or(0));
        calls.retain(|_, n| *n > 0);
        counted.push(calls);
    }
    Ok(counted)
}

/// Why threads cannot be traced.
fn refused(cause: std::io::Error) -> BenchError {
    BenchError::Io {
        what: "cannot trace the workers".to_owned(),
        cause,
        remedy: "root, or sysctl kernel.yama.ptrace_scope=1 or 0; a container needs the capability SYS_PTRACE and a \
                 seccomp profile with ptrace; a kernel of version 5.3 or later; no other tracer",
    }
}

/// The program at work.
struct Run<'a> {
    process: Process,
    options: &'a Options,
    config: &'a Path,
}

impl Run<'_> {
    /// Its next numbers. Traced threads are served meanwhile.
    fn next(&mut self, mut tracer: Option<&mut Tracer>, limit: Duration) -> Result<Value, BenchError> {
        let deadline = Instant::now() + limit;
        let mut last_stop = Instant::now();
        loop {
            self.options.go_on()?;
            while let Some(line) = self.process.try_line()? {
                let Ok(numbers) = serde_json::from_str::<Value>(&line) else { continue };
                match numbers["schema"].as_str() {
                    Some("warpdrive.stats.v1") => return Ok(numbers["statistics"].clone()),
                    Some("warpdrive.run.v1") => return Err(self.too_short("it")),
                    _ => {}
                }
            }
            if let Some(tracer) = &mut tracer {
                if tracer.turn().map_err(refused)? {
                    last_stop = Instant::now();
                }
                if let Some(ended) = tracer.threads.iter().find(|t| t.ended) {
                    let name = ended.name.clone();
                    tracer.let_go();
                    return Err(self.last_words(&name));
                }
            }
            if Instant::now() > deadline {
                return self.process.read(Duration::ZERO, "numbers", |_| None::<Value>);
            }
            if last_stop.elapsed() < BUSY && tracer.is_some() {
                std::thread::yield_now();
            } else {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// Why a thread ended: a program that fails says so, else its input was at its end. No thread is traced any more.
    fn last_words(&mut self, thread: &str) -> BenchError {
        match self.process.ends_within(Duration::from_secs(1)) {
            Err(e) => e,
            Ok(_) => self.too_short(thread),
        }
    }

    fn too_short(&self, who: &str) -> BenchError {
        BenchError::Program {
            program: format!("warpdrive run {}", self.config.display()),
            what: format!("{who} came to its end before the window did"),
            remedy:
                "a configuration whose input has no end: a null port, a pcap port with loop = 0, a network"
                    .to_owned(),
        }
    }

    /// Its workers and engines.
    fn threads(&self) -> Result<Vec<(String, libc::pid_t)>, BenchError> {
        let folder = format!("/proc/{}/task", self.process.id());
        let io = |cause| BenchError::Io {
            what: format!("cannot read {folder}"),
            cause,
            remedy: "mount /proc; did the program end?",
        };
        let mut threads = Vec::new();
        for task in std::fs::read_dir(&folder).map_err(io)?.flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let (name, id) = (name.trim_end(), task.file_name().to_string_lossy().parse());
            if let (true, Ok(id)) = (name.starts_with("worker-") || name.starts_with("engine-"), id) {
                threads.push((name.to_owned(), id));
            }
        }
        threads.sort();
        if threads.is_empty() { Err(self.too_short("every worker")) } else { Ok(threads) }
    }
}

/// The members of a list.
fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn uptime(numbers: &Value) -> f64 {
    numbers["uptime_seconds"].as_f64().unwrap_or(0.0)
}

/// A thread, and what it called.
struct Called {
    /// Its name, of which the kernel keeps 15 bytes.
    name: String,
    id: u32,
    calls: BTreeMap<Call, u64>,
}

impl Called {
    /// The pipelines that it runs, if it is a worker.
    fn pipelines<'a>(&self, numbers: &'a Value) -> impl Iterator<Item = &'a Value> {
        list(numbers, "pipelines").filter(|p| self.name == format!("worker-{}", number(&p["core"])))
    }

    /// The device whose engine it is, if it is one. Names of engines may begin alike.
    fn device<'a>(&self, numbers: &'a Value) -> Option<&'a Value> {
        list(numbers, "devices").find(|d| d["thread"].as_u64() == Some(u64::from(self.id)))
    }

    /// Packets of a worker, requests of an engine.
    fn packets(&self, numbers: &Value) -> u64 {
        let requests = self.device(numbers).map_or(0, |d| number(&d["requests"]));
        self.pipelines(numbers).map(received).sum::<u64>() + requests
    }

    /// Its whole name.
    fn full_name(&self, numbers: &Value) -> String {
        self.device(numbers).map_or_else(|| self.name.clone(), |d| format!("engine-{}", text(&d["name"])))
    }
}

/// Puts calls and packets together.
fn evaluate(config: &str, before: &Value, after: &Value, called: Vec<Called>) -> Audit {
    let since = |of: &dyn Fn(&Value) -> u64| of(after).saturating_sub(of(before));
    let needy: Vec<String> =
        list(after, "ports").filter(|p| p["needs_syscalls"] == true).map(|p| text(&p["name"])).collect();
    let threads: Vec<Thread> = called
        .into_iter()
        .map(|thread| {
            let name = thread.full_name(after);
            let ports: Vec<String> =
                thread.pipelines(after).flat_map(|p| list(p, "ports")).map(text).collect();
            let packets = since(&|numbers| thread.packets(numbers));
            let calls = by_name(&thread.calls);
            let need_syscalls = ports.iter().filter(|p| needy.contains(p)).cloned().collect::<Vec<_>>();
            let sum: u64 = calls.values().sum();
            let verdict = match (packets, sum, need_syscalls.is_empty()) {
                (_, 1.., true) => Verdict::Fail,
                (0, ..) => Verdict::NoPackets,
                (_, 0, _) => Verdict::Pass,
                _ => Verdict::Needed,
            };
            let per_million = (packets > 0).then(|| sum as f64 * 1e6 / packets as f64);
            Thread { name, ports, need_syscalls, packets, calls, per_million, verdict }
        })
        .collect();
    let has = |verdict| threads.iter().any(|t| t.verdict == verdict);
    let verdict = match () {
        () if has(Verdict::Fail) => Verdict::Fail,
        () if threads.iter().all(|t| t.packets == 0) => Verdict::NoPackets,
        () if has(Verdict::Needed) => Verdict::Needed,
        () => Verdict::Pass,
    };
    let received = |numbers: &Value| list(numbers, "pipelines").map(received).sum();
    let counted = |numbers: &Value| {
        let queues = list(numbers, "ports").flat_map(|p| list(p, "rx").chain(list(p, "tx")));
        queues.map(|q| number(&q["syscalls"])).sum()
    };
    Audit {
        schema: "warpdrive.syscalls.v1",
        config: config.to_owned(),
        seconds: uptime(after) - uptime(before),
        packets: since(&received),
        driver_syscalls: since(&counted),
        threads,
        verdict,
    }
}

/// What a pipeline has received: what its first stage has given on.
fn received(pipeline: &Value) -> u64 {
    number(&pipeline["stages"][0]["packets_out"])
}

fn by_name(calls: &BTreeMap<Call, u64>) -> BTreeMap<String, u64> {
    let mut named = BTreeMap::new();
    for ((arch, call), n) in calls {
        *named.entry(names::name_in(*arch, *call)).or_default() += n;
    }
    named
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS: no system calls",
            Self::Needed => "system calls, by drivers that need them",
            Self::NoPackets => "no packets, so nothing can be said",
            Self::Fail => "FAIL: system calls where none are needed",
        })
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} packets in {:.2} s", self.config, self.packets, self.seconds)?;
        for t in &self.threads {
            let sum: u64 = t.calls.values().sum();
            let rate = t.per_million.map_or(String::new(), |r| format!(", {r:.3} in a million"));
            let unit = if t.name.starts_with("engine-") { "requests" } else { "packets" };
            writeln!(f, "{:<15} {} {unit}, {sum} system calls{rate}: {}", t.name, t.packets, t.verdict)?;
            for (name, n) in &t.calls {
                writeln!(f, "{:<15} {n:>10} {name}", "")?;
            }
            if !t.need_syscalls.is_empty() {
                writeln!(f, "{:<15} ports that need them: {}", "", t.need_syscalls.join(", "))?;
            }
        }
        if self.driver_syscalls > 0 {
            writeln!(f, "by the drivers' own count: {} system calls", self.driver_syscalls)?;
        }
        write!(f, "{}", self.verdict)
    }
}
