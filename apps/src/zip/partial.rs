//! Output files that are not complete: gone when something goes wrong, or a signal ends the program.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The one that is being written.
static NOW: Mutex<Option<PathBuf>> = Mutex::new(None);

fn now() -> MutexGuard<'static, Option<PathBuf>> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An output file that is removed unless it is [kept](Self::keep).
pub(super) struct Partial(());

impl Partial {
    /// Makes the file, in place of another one if `force`. Only this user may read it as yet.
    pub(super) fn create(path: &Path, force: bool) -> io::Result<(File, Self)> {
        // Held until the path is noted: a signal finds the file or there is none.
        let mut now = now();
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = match open() {
            Err(e) if force && e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(path)?;
                open()
            }
            opened => opened,
        }?;
        *now = Some(path.to_owned());
        Ok((file, Self(())))
    }

    /// It is complete.
    pub(super) fn keep(self) {
        *now() = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        remove(&mut now());
    }
}

fn remove(now: &mut Option<PathBuf>) {
    if let Some(path) = now.take() {
        // What cannot be removed stays; the message about what went wrong comes anyway.
        let _ = fs::remove_file(path);
    }
}

/// From now on signals that end the program remove the file before.
pub(super) fn remove_on_signals() -> io::Result<()> {
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & 1 << (signal - 1) == 0);
    let mut signals = Signals::new(wanted)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            // Held to the end, so that no other file is begun.
            let mut now = now();
            remove(&mut now);
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Signals that whoever started the program wants ignored, as nohup does: one bit each, the first for signal 1.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
