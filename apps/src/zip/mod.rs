//! `warpdrive zip`: compresses and decompresses files as gzip does, by the queues of the ZIP devices.
//!
//! Exit codes are gzip's: 0 done, 1 an error, 2 a warning.

mod args;
mod chain;
mod compress;
mod decompress;
mod engines;
mod failure;
mod files;
mod header;
mod list;
mod nap;
mod partial;
mod progress;
mod run;
mod sink;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use warpdrive_pipeline::cores;

pub use self::args::ZipArgs;
use self::engines::Choice;
use self::run::Run;

/// The longest that the thread which reads and writes sleeps at once: much less than the blocks that devices have in
/// store will take.
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// How exactly it sleeps. The kernel's default, 50 us, is as long as a small request takes.
const TIMER_SLACK_NS: u64 = 5_000;

/// What came in the way of a file.
enum Trouble {
    /// It was left alone, or there is something to be said about it: exit code 2.
    Warned(String),
    /// It did not work: exit code 1.
    Failed(String),
    /// Nobody reads standard output any more.
    Unread,
}

/// The worst that came of the files so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    Nothing,
    Warning,
    Error,
}

impl Worst {
    fn code(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Warning => 2,
            Self::Error => 1,
        }
    }
}

/// `warpdrive zip`.
pub fn zip(args: &ZipArgs, allowed: &[usize]) -> ExitCode {
    let choice = match choose(args, allowed) {
        Ok(choice) => choice,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(e) = partial::remove_on_signals() {
        eprintln!("error: cannot handle signals: {e}");
        return ExitCode::FAILURE;
    }
    let standard_input = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &standard_input[..] } else { &args.files };
    let mut run = Run::new(args, choice);
    let mut worst = Worst::Nothing;
    for path in files {
        let code = match run.one(path) {
            Ok(()) => Worst::Nothing,
            Err(Trouble::Warned(what)) => {
                warn(args, &what);
                Worst::Warning
            }
            Err(Trouble::Failed(what)) => {
                eprintln!("error: {what}");
                Worst::Error
            }
            Err(Trouble::Unread) => return unread(),
        };
        worst = worst.max(code);
    }
    match run.totals() {
        Ok(()) => ExitCode::from(worst.code()),
        Err(_) => unread(),
    }
}

fn warn(args: &ZipArgs, what: &str) {
    if !args.quiet {
        eprintln!("warning: {what}");
    }
}

/// Ends as programs do whose output nobody reads.
fn unread() -> ExitCode {
    let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    ExitCode::FAILURE
}

/// The device and its cores.
fn choose(args: &ZipArgs, allowed: &[usize]) -> Result<Choice, String> {
    let mut cpus = match &args.cores {
        None => allowed.to_vec(),
        Some(list) => {
            let map = cores::parse_list(list).map_err(|e| format!("--cores: {e}"))?;
            map.validate(allowed).map_err(|e| format!("--cores: {e}"))?;
            map.cpus().iter().collect()
        }
    };
    cpus.truncate(args.processes.unwrap_or(usize::MAX));
    Choice::new(&args.device, cpus)
}

/// A path as people know it.
fn shown(path: &Path) -> String {
    if is_standard(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}
