//! `warpdrive serve` for tests: needs root, and a kernel whose FUSE has passthrough.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::serve::fs::{FsError, Mounted};

use super::{PATIENCE, Ran, Started, command, folder, skipped};

/// Queues for both kinds of work, on whatever core is the last.
pub const USUAL: &str = "version = 1\n[serve]\nidle = \"sleep\"\n[serve.device.hisi_hpre-0]\nfunction = \"hpre\"\n\
    [serve.device.hisi_zip-0]\nfunction = \"zip\"\n";

/// Whether devices can be served here; says so if not.
pub fn possible() -> bool {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        skipped("serving devices needs root");
        return false;
    }
    match Mounted::new(folder().path(), vec![]) {
        Err(why @ (FsError::Device { .. } | FsError::Passthrough)) => {
            skipped(&why.to_string());
            false
        }
        _ => true,
    }
}

/// A server at work. Killed when the test ends before it does.
pub struct Served {
    started: Started,
    expose: PathBuf,
    folder: tempfile::TempDir,
}

impl Served {
    /// Starts one with a configuration, and waits until its devices are there. `None`: it cannot be done here, as was said.
    #[track_caller]
    pub fn start(toml: &str, options: &[&str]) -> Option<Self> {
        possible().then_some(())?;
        let folder = folder();
        let expose = folder.path().join("expose");
        Self::start_at(folder, &expose, toml, options)
    }

    /// As [`start`](Self::start), in a folder that is there.
    #[track_caller]
    pub fn start_at(folder: tempfile::TempDir, expose: &Path, toml: &str, options: &[&str]) -> Option<Self> {
        std::fs::write(folder.path().join("serve.toml"), toml).expect("write the configuration");
        let mut command = command(folder.path(), ["serve", "serve.toml", "--expose"]);
        command.arg(expose).args(options);
        let mut started = Started::new(command);
        let deadline = Instant::now() + PATIENCE;
        while !has_devices(expose) {
            if started.has_ended() {
                let ran = started.end(PATIENCE);
                if ran.stderr.contains("has no passthrough") {
                    skipped(&ran.stderr);
                    return None;
                }
                panic!("it does not serve: {}", ran.stderr);
            }
            assert!(Instant::now() < deadline, "no device appears");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { started, expose: expose.to_owned(), folder })
    }

    /// Where its devices are.
    pub fn expose(&self) -> &Path {
        &self.expose
    }

    /// An attribute of a device.
    #[track_caller]
    pub fn attribute(&self, device: &str, name: &str) -> String {
        let path = self.expose.join("class/uacce").join(device).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The queue file of a device.
    pub fn queue_file(&self, device: &str) -> PathBuf {
        self.expose.join("dev").join(device)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        self.started.signal(signal);
    }

    /// Its numbers of threads and the like are those of this process.
    pub fn id(&self) -> i32 {
        self.started.id()
    }

    /// Waits for the end. The folder stays.
    #[track_caller]
    pub fn wait(self) -> (Ran, tempfile::TempDir) {
        (self.started.end(PATIENCE), self.folder)
    }

    /// Asks it to end, and insists that it does so well and leaves nothing in its folder.
    #[track_caller]
    pub fn ends_well(self) -> Ran {
        self.signal(libc::SIGTERM);
        let expose = self.expose.clone();
        let (ran, _folder) = self.wait();
        let left = std::fs::read_dir(&expose).expect("the folder is as it was before").count();
        assert_eq!(left, 0, "something is left in it");
        ran.well()
    }
}

fn has_devices(expose: &Path) -> bool {
    std::fs::read_dir(expose.join("class/uacce")).is_ok_and(|devices| devices.count() > 0)
}
