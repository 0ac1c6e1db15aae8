//! What can be wrong with a choice of cores.

use std::fmt;
use std::io;

use super::{CpuSet, MAX_CPUS};

/// An error of the core choice. Each says what is wrong, where, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The text of an option does not follow its grammar.
    #[error(transparent)]
    Syntax(Box<SyntaxError>),
    /// Two options choose the cores.
    #[error("{first} and {second} both choose the cores. Remedy: keep one of -c, -l and --lcores")]
    MoreThanOne {
        /// One of the options given.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// A number is beyond the kernel's cpu sets.
    #[error("cpu {cpu} is out of range: cpus are 0 to {}", MAX_CPUS - 1)]
    OutOfRange {
        /// The number.
        cpu: usize,
    },
    /// An lcore wants cpus that this process may not run on.
    #[error(
        "lcore {lcore} wants cpu {missing}, which is not usable here: this process may run on cpu {allowed}. \
         Remedy: choose from these, or start with a wider mask (taskset, the cgroup's cpuset.cpus)"
    )]
    NotAllowed {
        /// The lcore.
        lcore: usize,
        /// Those of its cpus that are unknown or forbidden.
        missing: Box<CpuSet>,
        /// The cpus that may be used.
        allowed: Box<CpuSet>,
    },
    /// There is no cpu to choose from, or none was chosen.
    #[error("no cpu to run on. Remedy: name at least one, for example -l 0")]
    Empty,
    /// The kernel would not tell which cpus may be used.
    #[error(
        "cannot learn which cpus this process may use: {0}. Remedy: at most {MAX_CPUS} cpus are supported; on a \
         larger machine start with taskset"
    )]
    Unknown(io::Error),
    /// The kernel refused to pin a thread.
    #[error(
        "cannot pin a thread to cpu {cpus}: {cause}. Remedy: choose cpus of `warpdrive doctor`'s list of those \
         allowed"
    )]
    Pin {
        /// Where it should have run.
        cpus: Box<CpuSet>,
        /// What the system call answered.
        cause: io::Error,
    },
    /// The kernel accepted the cpus but keeps the thread elsewhere.
    #[error(
        "a thread was to run on cpu {wanted} and the kernel has it on cpu {got}. Remedy: the cgroup's cpuset.cpus \
         must hold all of {wanted}"
    )]
    PinnedElsewhere {
        /// What was asked for.
        wanted: Box<CpuSet>,
        /// What `sched_getaffinity` says.
        got: Box<CpuSet>,
    },
}

/// A mistake in the text of an option, displayed with the place marked.
#[derive(Debug)]
pub struct SyntaxError {
    pub(super) option: &'static str,
    pub(super) example: &'static str,
    pub(super) text: Vec<char>,
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) what: String,
}

impl SyntaxError {
    /// Where the mistake begins: a character of the text, the first being 1.
    #[must_use]
    pub fn character(&self) -> usize {
        self.at + 1
    }

    /// What is wrong there.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

/// How much of a text is shown around a mistake, so that the caret's line fits a terminal.
const SHOWN: usize = 60;

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.at.saturating_sub(SHOWN / 2);
        let to = self.text.len().min(from + SHOWN);
        // A tab or an escape sequence would move the caret, or worse.
        let shown = self.text[from..to].iter().map(|&c| if c.is_control() { '\u{fffd}' } else { c });
        let lead = if from > 0 { "..." } else { "" };
        let tail = if to < self.text.len() { "..." } else { "" };
        let indent = lead.len() + (self.at - from);
        let carets = self.len.clamp(1, (from + SHOWN).saturating_sub(self.at).max(1));
        writeln!(f, "{}: {} (character {})", self.option, self.what, self.character())?;
        writeln!(f, "  {lead}{}{tail}", shown.collect::<String>())?;
        writeln!(f, "  {:indent$}{}", "", "^".repeat(carets))?;
        write!(f, "  right: {}", self.example)
    }
}

impl std::error::Error for SyntaxError {}
