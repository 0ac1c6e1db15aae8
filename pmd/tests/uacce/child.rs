//! A client in a process of its own, and how it and its test tell each other how far they are.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::lab::LONG;

/// What a client does.
pub type Role = fn(&Stage);

const ROLE: &str = "WARPDRIVE_TEST_ROLE";
const FOLDER: &str = "WARPDRIVE_TEST_FOLDER";
const ARGUMENTS: [&str; 4] = ["--exact", "plays_a_role_in_another_test", "--nocapture", "--test-threads=1"];
/// What lines begin with that are not the test harness's.
const MARK: &str = "> ";

/// A client, as its test sees it. It is killed when this is dropped.
pub struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    input: Option<ChildStdin>,
    role: String,
}

impl Child {
    /// Starts it. What it says in words that begin with `word` is to be heard by [`hears`](Self::hears).
    #[track_caller]
    pub fn start(role: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(ARGUMENTS).env(ROLE, role).env(FOLDER, folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: a system call, nothing else, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // It does not outlive a test that is killed.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The harness's own words may stand before it in its line.
                if let Some((_, said)) = line.split_once(MARK)
                    && send.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { process, lines, input, role: role.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it says `word`; returns what it says behind it.
    #[track_caller]
    pub fn hears(&mut self, word: &str) -> String {
        match self.lines.recv_timeout(LONG) {
            Ok(line) => match line.strip_prefix(word) {
                Some(rest) => rest.trim().to_owned(),
                None => panic!("{}: {line:?} instead of {word:?}", self.role),
            },
            Err(_) => panic!("{}: it does not say {word:?}: {:?}", self.role, self.process.try_wait()),
        }
    }

    /// Says a word to it.
    pub fn say(&mut self, word: &str) {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn ends(mut self) {
        drop(self.input.take());
        let mut ended = None;
        crate::lab::soon("the end of a client", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{}: {ended:?}", self.role);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This client as another program, which plays a role.
pub fn become_another(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(ARGUMENTS).env(ROLE, role);
    command
}

/// A test, as its client sees it.
pub struct Stage {
    pub folder: PathBuf,
}

impl Stage {
    /// The role to be played, if this process is a client.
    pub fn from_environment() -> Option<(String, Self)> {
        let role = std::env::var(ROLE).ok()?;
        Some((role, Self { folder: std::env::var_os(FOLDER)?.into() }))
    }

    /// Says how far it is.
    pub fn tell(&self, what: impl std::fmt::Display) {
        // At once, whatever the harness does with the standard output.
        let line = format!("{MARK}{what}\n");
        rustix::io::write(std::io::stdout(), line.as_bytes()).unwrap();
    }

    /// Waits for a word; ends the process if its test is gone.
    pub fn wait(&self) -> String {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            std::process::exit(0);
        }
        line.trim_end().to_owned()
    }
}
