//! What the tests of the program share: running it, folders, captures, and tools that may be missing.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod pcap;
pub mod served;

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a run that ends by itself may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder with the examples.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").canonicalize().expect("configs/ is there")
}

/// A folder that is removed at the end of the test.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Says why a test cannot be made here.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether a command can be found; says so if not.
pub fn has(tool: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()));
    if !found {
        skipped(&format!("{tool} is not installed"));
    }
    found
}

/// The program, to be run in `folder`.
pub fn command<I: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warpdrive"));
    command.current_dir(folder).args(args).env_remove("WARPDRIVE_DEMO_DIR").env("NO_COLOR", "1");
    command
}

/// What a finished run has left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Insists on exit code 0.
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "exit code\n{}\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// The statistics of a run with `--json`.
    #[track_caller]
    pub fn statistics(&self) -> Statistics {
        let all: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout));
        assert_eq!(all["schema"], "warpdrive.run.v1");
        assert_eq!(all["leaked_buffers"], serde_json::json!([]));
        for pool in all["statistics"]["pools"].as_array().expect("pools") {
            assert_eq!(pool["in_use"], 0, "every buffer came back: {pool}");
        }
        Statistics(all)
    }
}

/// The JSON of a run, with ways to its numbers.
#[derive(Debug)]
pub struct Statistics(pub Value);

impl Statistics {
    /// A counter of a port, over all its queues: `direction` is `"rx"` or `"tx"`.
    #[track_caller]
    pub fn port(&self, name: &str, direction: &str, counter: &str) -> u64 {
        let ports = self.0["statistics"]["ports"].as_array().expect("ports");
        let port = ports.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no port {name}"));
        let queues = port[direction].as_array().expect("queues");
        queues.iter().map(|q| q[counter].as_u64().expect("a counter")).sum()
    }

    /// A stage: pipeline and position.
    #[track_caller]
    pub fn stage(&self, pipeline: &str, at: usize) -> &Value {
        let pipelines = self.0["statistics"]["pipelines"].as_array().expect("pipelines");
        let found = pipelines.iter().find(|p| p["name"] == pipeline);
        &found.unwrap_or_else(|| panic!("no pipeline {pipeline}"))["stages"][at]
    }

    /// Packets that a stage dropped for a reason.
    #[track_caller]
    pub fn dropped(&self, pipeline: &str, at: usize, reason: &str) -> u64 {
        self.stage(pipeline, at)["dropped"][reason].as_u64().unwrap_or(0)
    }

    /// Packets that a stage passed on untreated for a reason.
    #[track_caller]
    pub fn passed(&self, pipeline: &str, at: usize, reason: &str) -> u64 {
        self.stage(pipeline, at)["passed"][reason].as_u64().unwrap_or(0)
    }

    /// Packets that all stages dropped, for all reasons.
    pub fn all_dropped(&self) -> u64 {
        let pipelines = self.0["statistics"]["pipelines"].as_array().expect("pipelines");
        let stages = pipelines.iter().flat_map(|p| p["stages"].as_array().expect("stages"));
        stages
            .flat_map(|s| s["dropped"].as_object().expect("reasons").values())
            .map(|n| n.as_u64().expect("a counter"))
            .sum()
    }
}

/// Runs the program to its end.
#[track_caller]
pub fn run<I: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = I>) -> Ran {
    Started::new(command(folder, args)).end(PATIENCE)
}

/// Writes a configuration and runs it to its end, with `--json` and `options`.
#[track_caller]
pub fn run_config(folder: &Path, toml: &str, options: &[&str]) -> Ran {
    std::fs::write(folder.join("test.toml"), toml).expect("write the configuration");
    run(folder, ["run", "test.toml", "--json", "--no-huge"].iter().chain(options))
}

/// The program at work. Killed when the test ends before it does.
pub struct Started {
    child: Child,
    readers: Vec<std::thread::JoinHandle<Vec<u8>>>,
}

impl Started {
    /// Starts it. Its output is read all the time, so that it never has to wait for a reader.
    pub fn new(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|p| Box::new(p) as _), child.stderr.take().map(|p| Box::new(p) as _)];
        let readers = pipes.into_iter().flatten().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = pipe.read_to_end(&mut text);
                text
            })
        });
        Self { child, readers: readers.collect() }
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether it has ended; [`end`](Self::end) shows how.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for yet, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.id(), signal) }, 0);
    }

    /// Threads whose names begin with one of `prefixes`: name and kernel id.
    pub fn threads(&self, prefixes: &[&str]) -> Vec<(String, i32)> {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else {
            return Vec::new();
        };
        let named = tasks.flatten().filter_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
            let id = task.file_name().to_str()?.parse().ok()?;
            prefixes.iter().any(|p| name.starts_with(p)).then_some((name, id))
        });
        named.collect()
    }

    /// Waits until the workers poll.
    #[track_caller]
    pub fn wait_for_workers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.threads(&["worker-"]).is_empty() {
            assert!(Instant::now() < deadline, "no worker was started");
            if self.child.try_wait().expect("wait").is_some() {
                return; // `end` shows why
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Pinned, and over its first packets.
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Waits for the end, no longer than `limit`.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> Ran {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut texts = std::mem::take(&mut self.readers).into_iter().map(|r| r.join().unwrap_or_default());
        let (stdout, stderr) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        Output { status, stdout, stderr }.into()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of /proc/meminfo.
pub fn meminfo(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = text.lines().find(|l| l.starts_with(&format!("{key}:")));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// How many cpus there are for the program.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
