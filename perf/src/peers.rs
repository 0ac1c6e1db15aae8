//! The neighbours: whether they are installed, starting them, talking to them, and ending what was started.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::BenchError;
use crate::measure::{cpu_time, in_ticks};

/// Time a peer has to start.
const START: Duration = Duration::from_secs(30);
/// Time a program has to end by itself.
const END: Duration = Duration::from_secs(3);
/// Lines of errors that are kept for messages.
const ERROR_LINES: usize = 20;

/// A peer that cannot be measured, and why.
#[derive(Clone, Debug)]
pub struct NoPeer {
    /// Its name.
    pub peer: &'static str,
    /// Why, and what to do.
    pub why: String,
}

impl std::fmt::Display for NoPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "peer {}: {}", self.peer, self.why)
    }
}

impl NoPeer {
    /// One that is not installed.
    #[must_use]
    pub fn absent(peer: &'static str, package: &str) -> Self {
        Self { peer, why: format!("not installed. Remedy: apt-get install {package}") }
    }
}

/// Where a program is, as a shell would find it.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Free pages of 2 MiB.
#[must_use]
pub fn free_hugepages() -> usize {
    let file = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The page size both sides get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// 2 MiB.
    Huge,
    /// 4 KiB.
    Small,
}

impl PageSize {
    /// Huge if there are enough for both sides at once, 128 MiB each: what a peer does not get it may crash over.
    #[must_use]
    pub fn best() -> Self {
        if free_hugepages() >= 128 { Self::Huge } else { Self::Small }
    }

    /// The value of `eal.pages`.
    #[must_use]
    pub fn config(self) -> &'static str {
        if self == Self::Huge { "2M" } else { "4K" }
    }

    /// For the notes of a line.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Self::Huge => "pages: 2 MiB on both sides",
            Self::Small => "pages: 4 KiB on both sides, for want of hugepages (sysctl vm.nr_hugepages=256)",
        }
    }

    /// DPDK's options for it.
    #[must_use]
    pub fn dpdk(self) -> &'static [&'static str] {
        match self {
            Self::Huge => &["--in-memory"],
            Self::Small => &["--no-huge", "--no-shconf", "-m", "256"],
        }
    }
}

/// A program that we started, with lines in and out. It is ended when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// [`BenchError::Io`] when it cannot be started.
    pub fn start(mut command: Command) -> Result<Self, BenchError> {
        let name =
            Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cause = |cause| BenchError::Io {
            what: format!("cannot start {name:?}"),
            cause,
            remedy: "is the program installed and may it be executed?",
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(cause)?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let errors = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let errors = Arc::clone(&errors);
            std::thread::spawn(move || keep_last(stderr, &errors));
        }
        Ok(Self { name, stdin: child.stdin.take(), child, lines, errors })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to it.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it does not read any more.
    pub fn send(&mut self, line: &str) -> Result<(), BenchError> {
        let sent = self.stdin.as_mut().map(|stdin| stdin.write_all(format!("{line}\n").as_bytes()));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.broken(format!("does not read {line:?}"))),
        }
    }

    /// Reads lines until `wanted` makes something of one.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it ends, or takes longer than `limit`.
    pub fn read<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.broken(format!("no {what} within {} s", limit.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Its last words may still be on their way.
                    std::thread::sleep(Duration::from_millis(50));
                    return Err(self.broken(format!("ended before it gave {what}")));
                }
            }
        }
    }

    /// Whether a line with `text` was among the last it wrote to stderr; returns it.
    #[must_use]
    pub fn error_line(&self, text: &str) -> Option<String> {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().find(|line| line.contains(text)).cloned()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it takes longer than `limit` or fails.
    pub fn wait(&mut self, limit: Duration) -> Result<(), BenchError> {
        match ended(&mut self.child, limit) {
            Some(true) => Ok(()),
            Some(false) => Err(self.broken("failed".to_owned())),
            None => Err(self.broken(format!("still runs after {} s", limit.as_secs()))),
        }
    }

    fn broken(&self, what: String) -> BenchError {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let said =
            if errors.is_empty() { String::new() } else { format!("; it said: {}", errors.join(" | ")) };
        BenchError::Program {
            program: self.name.clone(),
            what: format!("{what}{said}"),
            remedy: "run it by hand to see more".to_owned(),
        }
    }
}

impl Drop for Process {
    /// Closes its stdin, at which peers end; kills it by its id if it has not ended after 3 s.
    fn drop(&mut self) {
        self.stdin = None;
        if ended(&mut self.child, END).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a child ended well, if it ended within `limit`.
fn ended(child: &mut Child, limit: Duration) -> Option<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return None,
            Err(_) => return Some(false),
        }
    }
}

fn keep_last(stderr: ChildStderr, errors: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() == ERROR_LINES {
            errors.remove(0);
        }
        errors.push(line);
    }
}

/// The sources of the C peers.
const SOURCES: &[(&str, &str)] = &[
    ("peer.h", include_str!("../peers/peer.h")),
    ("mempool_peer.c", include_str!("../peers/mempool_peer.c")),
    ("ring_peer.c", include_str!("../peers/ring_peer.c")),
];

/// A folder with C peers that were built, gone with this.
pub struct CPeers {
    folder: TempDir,
    version: String,
}

impl CPeers {
    /// The name in lines.
    pub const NAME: &str = "DPDK";

    /// Builds one program. Takes a few seconds.
    ///
    /// # Errors
    /// [`NoPeer`] when DPDK's headers or the compiler are missing or do not work.
    pub fn build(program: &str) -> Result<Self, NoPeer> {
        let no = |why: String| NoPeer { peer: Self::NAME, why };
        if which("gcc").is_none() || which("pkg-config").is_none() {
            return Err(NoPeer::absent(Self::NAME, "gcc pkg-config libdpdk-dev"));
        }
        let output = |arguments: &[&str]| {
            let output = Command::new("pkg-config").args(arguments).arg("libdpdk").output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let (Some(version), Some(flags)) = (output(&["--modversion"]), output(&["--cflags", "--libs"]))
        else {
            return Err(NoPeer::absent(Self::NAME, "libdpdk-dev"));
        };
        let folder =
            TempDir::with_prefix("warpdrive-perf-").map_err(|e| no(format!("no folder to build in: {e}")))?;
        for (file, text) in SOURCES {
            std::fs::write(folder.path().join(file), text)
                .map_err(|e| no(format!("cannot write {file}: {e}")))?;
        }
        let built = Command::new("gcc")
            .current_dir(folder.path())
            .args(["-O3", "-march=native", "-o", program, &format!("{program}.c")])
            .args(flags.split_whitespace())
            .output()
            .map_err(|e| no(format!("gcc does not start: {e}")))?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            return Err(no(format!("{program}.c does not compile: {}", said.lines().next().unwrap_or("?"))));
        }
        Ok(Self { folder, version })
    }

    /// Name and version.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", Self::NAME, self.version)
    }

    /// Starts the program; it waits for its slices without using the cpu.
    ///
    /// # Errors
    /// [`NoPeer`] when it does not start.
    pub fn start(&self, program: &str, slice: Duration, arguments: &[String]) -> Result<CPeer, NoPeer> {
        let mut command = Command::new(self.folder.path().join(program));
        command.args(["--ms", &slice.as_millis().clamp(1, 60_000).to_string()]).args(arguments);
        let started = Process::start(command).and_then(|mut process| {
            process.read(START, "the line \"ready\"", |line| line.contains("\"ready\"").then_some(()))?;
            Ok(process)
        });
        started
            .map(|process| CPeer { process, limit: slice + START })
            .map_err(|e| NoPeer { peer: Self::NAME, why: e.to_string() })
    }
}

/// A C peer that runs.
pub struct CPeer {
    process: Process,
    limit: Duration,
}

#[derive(Deserialize)]
struct PeerSlice {
    cycles_per_object: f64,
    objects: u64,
}

impl CPeer {
    /// Has it measure one slice; returns cycles an object, by the clock.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn slice(&mut self) -> Result<f64, BenchError> {
        Ok(self.measure()?.cycles_per_object)
    }

    /// The same by its cpu time: for a peer of one thread.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn cpu_slice(&mut self) -> Result<f64, BenchError> {
        let before = cpu_time(self.process.id())?;
        let slice = self.measure()?;
        let used = cpu_time(self.process.id())? - before;
        Ok(in_ticks(used) / slice.objects as f64)
    }

    fn measure(&mut self) -> Result<PeerSlice, BenchError> {
        self.process.send("go")?;
        self.process.read(self.limit, "a slice", peer_slice)
    }
}

fn peer_slice(line: &str) -> Option<PeerSlice> {
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_c_peer_is_read() {
        let line = r#"{"name":"mempool-cache-32","bulk":32,"cycles_per_object":0.730,"objects":355923968}"#;
        let slice = peer_slice(line).unwrap();
        assert_eq!((slice.cycles_per_object, slice.objects), (0.73, 355_923_968));
        for other in ["", r#"{"ready":true}"#, "EAL: something", r#"{"cycles_per_object":"x"}"#] {
            assert!(peer_slice(other).is_none());
        }
    }

    #[test]
    fn lines_go_in_and_come_out_and_silence_is_bounded() {
        let mut process = Process::start(Command::new("cat")).unwrap();
        process.send("hello").unwrap();
        let long = process.read(START, "an echo", |l| (l == "hello").then_some(l.len())).unwrap();
        assert_eq!(long, 5);
        let error = process.read(Duration::from_millis(20), "more", |_| Some(())).unwrap_err();
        assert!(error.to_string().contains("no more within"), "{error}");
    }

    #[test]
    fn a_program_that_ends_is_reported_with_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo it is broken >&2; exit 3"]);
        let mut process = Process::start(command).unwrap();
        let error = process.read(START, "a result", |_| Some(())).unwrap_err().to_string();
        assert!(error.contains("ended before it gave a result") && error.contains("it is broken"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_with_its_name() {
        let Err(error) = Process::start(Command::new("/no/such/program")) else { panic!() };
        assert!(error.to_string().contains("\"program\""), "{error}");
    }
}
