//! The neighbours: whether they are installed, starting them, talking to them, and ending what was started.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{BenchError, os};

/// Time a peer has to start.
pub(crate) const START: Duration = Duration::from_secs(30);
/// Time a program has to end by itself.
const END: Duration = Duration::from_secs(3);
/// Time that what a program wrote to stderr may still be on its way after its end.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Lines of errors that are kept for messages: the first ten and the last ten.
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

    /// What it is, and why.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Huge => "2 MiB",
            Self::Small => "4 KiB, for want of hugepages (sysctl vm.nr_hugepages=256)",
        }
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
            std::thread::spawn(move || keep_some(stderr, &errors));
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
                    std::thread::sleep(LAST_WORDS);
                    return Err(self.broken(format!("ended before it gave {what}")));
                }
            }
        }
    }

    /// The next line, if there is one by now.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it has ended and all its lines were read.
    pub fn try_line(&mut self) -> Result<Option<String>, BenchError> {
        match self.lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                std::thread::sleep(LAST_WORDS);
                Err(self.broken("ended early".to_owned()))
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
        if self.ends_within(limit)? {
            return Ok(());
        }
        Err(self.broken(format!("still runs after {} s", limit.as_secs())))
    }

    /// Whether it ends within `limit`.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it does and fails.
    pub fn ends_within(&mut self, limit: Duration) -> Result<bool, BenchError> {
        match ended(&mut self.child, limit) {
            Some(true) => Ok(true),
            Some(false) => Err(self.broken("failed".to_owned())),
            None => Ok(false),
        }
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it does not, or fails.
    pub fn terminate(&mut self) -> Result<(), BenchError> {
        os::terminate(&self.child);
        self.wait(END)
    }

    /// Has it stand still, or go on.
    pub fn hold(&self, still: bool) {
        os::hold(&self.child, still);
    }

    /// An error if it has ended.
    ///
    /// # Errors
    /// [`BenchError::Program`] with its last words.
    pub fn alive(&mut self) -> Result<(), BenchError> {
        match ended(&mut self.child, Duration::ZERO) {
            None => Ok(()),
            Some(_) => {
                std::thread::sleep(LAST_WORDS);
                Err(self.broken("ended early".to_owned()))
            }
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
    /// Closes its stdin, at which peers end; asks it to end, by its id; kills it if that took more than 3 s.
    fn drop(&mut self) {
        self.stdin = None;
        if ended(&mut self.child, END / 3).is_none() {
            os::terminate(&self.child);
        }
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

fn keep_some(stderr: ChildStderr, errors: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() == ERROR_LINES {
            errors.remove(ERROR_LINES / 2);
        }
        errors.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
