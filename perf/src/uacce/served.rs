//! `warpdrive serve` in a process of its own, pinned to a cpu with all its threads.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warpdrive_pipeline::cores::{self, CpuSet};
use warpdrive_pmd::uacce::Roots;
use warpdrive_pmd::uacce::abi::{attribute, extension};

use super::client::{CLIENT, Client, READY};
use crate::peers::{Process, START};
use crate::syscalls::dies_with_us;
use crate::{BenchError, Options, os};

/// Requests of one process at once, unless a bench wants others: as configurations have it.
pub(super) const IN_FLIGHT: usize = 128;
/// Files that a server of many has open, and whoever has started it.
const FILES: u64 = 16_384;

/// A device of a server, as its configuration has it.
#[derive(Clone, Debug)]
pub(super) struct Offer(String);

impl Offer {
    /// RSA, with shared virtual addressing.
    pub(super) fn hpre(name: &str) -> Self {
        Self(format!("[serve.device.{name}]\nfunction = \"hpre\"\nqueues = 512\n"))
    }

    /// DEFLATE, in the same way.
    pub(super) fn zip(name: &str) -> Self {
        Self(format!("[serve.device.{name}]\nfunction = \"zip\"\n"))
    }

    /// With another line.
    pub(super) fn with(self, line: &str) -> Self {
        Self(self.0 + line + "\n")
    }
}

/// A server with its files, until it is dropped.
pub(super) struct Served {
    process: Process,
    folder: TempDir,
}

impl Served {
    /// Starts it.
    pub(super) fn start(
        options: &Options,
        cpu: usize,
        in_flight: usize,
        devices: &[Offer],
    ) -> Result<Self, BenchError> {
        os::allow_files(FILES).map_err(|cause| BenchError::Io {
            what: format!("{FILES} open files"),
            cause,
            remedy: "ulimit -Hn, or root",
        })?;
        let folder = TempDir::with_prefix("warpdrive-perf-").map_err(no_folder)?;
        let devices: String = devices.iter().map(|offer| offer.0.as_str()).collect();
        let config = format!("version = 1\n[serve]\nidle = \"pause\"\nin_flight = {in_flight}\n{devices}");
        let file = folder.path().join("serve.toml");
        std::fs::write(&file, config).map_err(no_folder)?;
        let mut command = Command::new(&options.program);
        command.arg("serve").arg(file).arg("--expose").arg(folder.path().join("at"));
        dies_with_us(&mut command);
        // A child has the cpus of who starts it: so all its threads are there, not only its core. Its death is bound to this thread's.
        cores::pin_current(&CpuSet::of(&[cpu])?)?;
        let started = Process::start(command);
        cores::pin_current(&CpuSet::of(&options.cpus)?)?;
        let mut this = Self { process: started?, folder };
        this.wait_for_devices()?;
        Ok(this)
    }

    fn wait_for_devices(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + START;
        while std::fs::read_dir(self.roots().sysfs).is_err() {
            self.process.alive()?;
            if Instant::now() > deadline {
                return Err(BenchError::Program {
                    program: "warpdrive serve".to_owned(),
                    what: format!("no devices within {START:?}"),
                    remedy: "less load on the machine".to_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The folder of its devices.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().join("at")
    }

    /// The same for who looks for them.
    pub(super) fn roots(&self) -> Roots {
        Roots::below(&self.folder())
    }

    /// As if they could not be given memory: with their attributes in a copy that lacks the word. Whoever finds them there gives
    /// them none, and their server has to copy from and to the process.
    pub(super) fn roots_without_share(&self) -> Result<Roots, BenchError> {
        let (from, to) = (self.roots().sysfs, self.folder.path().join("without"));
        copy(&from, &to).map_err(no_folder)?;
        for device in std::fs::read_dir(&to).map_err(no_folder)? {
            let file = device.map_err(no_folder)?.path().join(attribute::WARPDRIVE);
            let words = std::fs::read_to_string(&file).map_err(no_folder)?;
            let words = words.lines().filter(|word| *word != extension::SHARE);
            std::fs::write(&file, words.map(|word| format!("{word}\n")).collect::<String>())
                .map_err(no_folder)?;
        }
        Ok(Roots { sysfs: to, ..self.roots() })
    }

    /// A file beside its devices, which goes with it.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Has it stand still, or go on. Nobody may open or close its files while it stands still.
    pub(super) fn hold(&self, still: bool) {
        self.process.hold(still);
    }

    /// An error if it has ended.
    pub(super) fn alive(&mut self) -> Result<(), BenchError> {
        self.process.alive()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // What stands still cannot end. Asked to end, it takes its files away.
        self.process.hold(false);
        let _ = self.process.terminate();
    }
}

/// Starts a client of a server, which need not be ready yet.
pub(super) fn begin(options: &Options, client: &Client) -> Result<Process, BenchError> {
    let mut command = Command::new(&options.program);
    command.args(["bench", CLIENT]);
    let mut process = Process::start(command)?;
    let line = serde_json::to_string(client).map_err(|e| BenchError::Bug(format!("{client:?}: {e}")))?;
    process.send(&line)?;
    Ok(process)
}

/// Waits until it is.
pub(super) fn ready(process: &mut Process) -> Result<(), BenchError> {
    process.read(START, "a word that it is ready", |line| (line == READY).then_some(()))
}

/// A folder with all files in it. Attributes say that they are longer than they are.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::write(&target, std::fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn no_folder(cause: io::Error) -> BenchError {
    BenchError::Io {
        what: "a folder for the files of devices".to_owned(),
        cause,
        remedy: "TMPDIR=... names a folder with space left",
    }
}
