//! `warpdrive doctor`: what this machine offers a poll-mode dataplane, why it matters, and the command that mends it.
//!
//! Files below /proc, /sys and /dev are read under [`Roots`], so that the tests bring their own; what only the kernel
//! can answer (may this process open an AF_XDP socket?) is tried in earnest.

mod cpu;
mod fix;
mod kernel;
mod memory;
mod net;
mod netlink;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use fix::{Fix, FixResult, fix};

/// How long [`facts`] spins to measure the gaps in a core's time.
pub const SPIN: Duration = Duration::from_millis(50);

/// Where the kernel's files are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Roots {
    /// `proc`, `sys` and `dev` below a folder; `/` is this machine.
    #[must_use]
    pub fn under(root: &Path) -> Self {
        Self { proc: root.join("proc"), sys: root.join("sys"), dev: root.join("dev") }
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

/// What part of the machine a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Cores and their time.
    Cpu,
    /// Pages and limits.
    Memory,
    /// What the kernel has and permits.
    Kernel,
    /// Interfaces.
    Network,
}

/// How good a fact is for the dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, slower or without some feature.
    Note,
    /// Something will not work or will measure wrong.
    Bad,
}

/// One fact about the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// The part of the machine.
    pub area: Area,
    /// What was looked at.
    pub name: String,
    /// What was found.
    pub found: String,
    /// What that means.
    pub verdict: Verdict,
    /// Why it matters.
    pub why: &'static str,
    /// The exact command, or the setting, that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What `--fix` would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Fact {
    fn new(area: Area, name: impl Into<String>, found: impl Into<String>, why: &'static str) -> Self {
        let (name, found) = (name.into(), found.into());
        Self { area, name, found, verdict: Verdict::Good, why, remedy: None, fix: None }
    }

    fn judged(mut self, verdict: Verdict, remedy: impl Into<String>) -> Self {
        self.verdict = verdict;
        self.remedy = Some(remedy.into());
        self
    }

    fn note_if(self, wrong: bool, remedy: impl Into<String>) -> Self {
        if wrong { self.judged(Verdict::Note, remedy) } else { self }
    }

    fn fixed_by(mut self, fix: Fix) -> Self {
        if self.verdict != Verdict::Good {
            self.fix = Some(fix);
        }
        self
    }
}

/// Examines the machine. Takes the time of `spin` on the calling core; nothing is changed.
#[must_use]
pub fn facts(roots: &Roots, spin: Duration) -> Vec<Fact> {
    let mut facts = cpu::facts(roots, spin);
    facts.extend(memory::facts(roots));
    facts.extend(kernel::facts(roots));
    facts.extend(net::facts(roots, &net::live(), net::ask_kernel));
    facts
}

/// 0 when nothing is bad, else 1.
#[must_use]
pub fn exit_code(facts: &[Fact]) -> u8 {
    u8::from(facts.iter().any(|f| f.verdict == Verdict::Bad))
}

/// Facts and, after `--fix`, what was done, as JSON.
#[must_use]
pub fn to_json(facts: &[Fact], fixes: Option<&[FixResult]>) -> serde_json::Value {
    let mut json = serde_json::json!({ "version": 1, "good": exit_code(facts) == 0, "facts": facts });
    if let Some(fixes) = fixes {
        json["fixes"] = serde_json::json!(fixes);
    }
    json
}

/// Prints the facts for a person: in colour on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(facts: &[Fact]) -> io::Result<()> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let colour = io::stdout().is_terminal() && !no_color;
    io::stdout().lock().write_all(render(facts, colour).as_bytes())
}

/// The text of [`print()`].
#[must_use]
pub fn render(facts: &[Fact], colour: bool) -> String {
    let width = facts.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    let (dim, bold, reset) = if colour { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = String::new();
    let mut area = None;
    for fact in facts {
        if area != Some(fact.area) {
            let gap = if area.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}{bold}{:?}{reset}", fact.area);
            area = Some(fact.area);
        }
        let (word, hue) = match fact.verdict {
            Verdict::Good => ("good", "\x1b[32m"),
            Verdict::Note => ("note", "\x1b[33m"),
            Verdict::Bad => ("BAD ", "\x1b[1;31m"),
        };
        let hue = if colour { hue } else { "" };
        let (name, found) = (shown(&fact.name), shown(&fact.found));
        let _ = writeln!(text, "  {hue}{word}{reset}  {name:width$}  {found}");
        let _ = writeln!(text, "        {:width$}  {dim}{}{reset}", "", fact.why);
        if let Some(remedy) = &fact.remedy {
            let mark = if fact.fix.is_some() { "--fix does" } else { "remedy" };
            let _ = writeln!(text, "        {:width$}  {mark}: {bold}{}{reset}", "", shown(remedy));
        }
    }
    let count = |verdict| facts.iter().filter(|f| f.verdict == verdict).count();
    let _ = writeln!(
        text,
        "\n{} good, {} to note, {} bad; --fix mends {}",
        count(Verdict::Good),
        count(Verdict::Note),
        count(Verdict::Bad),
        facts.iter().filter(|f| f.fix.is_some()).count()
    );
    text
}

/// Text from files and devices, without what would steer the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A small file of the kernel, trimmed.
fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The names in a folder, sorted; none if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The value of `key:` in a file like /proc/self/status.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_start().strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixture tree: files by path and content.
    pub fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let roots = Roots::under(dir.path());
        (dir, roots)
    }

    /// The fact of a name.
    pub fn named<'a>(facts: &'a [Fact], name: &str) -> &'a Fact {
        facts.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("no fact {name:?} in {facts:#?}"))
    }

    #[test]
    fn nothing_readable_is_survived() {
        let (_dir, roots) = tree(&[]);
        let facts = facts(&roots, Duration::from_millis(1));
        assert!(facts.len() > 20);
        assert!(facts.iter().all(|f| !f.name.is_empty() && !f.found.is_empty() && !f.why.is_empty()));
    }

    #[test]
    fn this_machine_is_examined_without_being_changed() {
        let facts = facts(&Roots::default(), Duration::from_millis(5));
        for fact in facts.iter().filter(|f| f.verdict != Verdict::Good) {
            assert!(fact.remedy.is_some(), "{fact:?} has no remedy");
        }
        let json = to_json(&facts, None);
        assert_eq!(json["facts"].as_array().unwrap().len(), facts.len());
        assert!(json.get("fixes").is_none());
    }

    #[test]
    fn the_table_is_aligned_and_plain_without_colour() {
        let facts = [
            Fact::new(Area::Cpu, "a", "x", "because"),
            Fact::new(Area::Cpu, "longer", "evil \x1b[2J", "why").judged(Verdict::Bad, "mend it"),
        ];
        let text = render(&facts, false);
        assert!(!text.contains('\x1b'));
        let columns: Vec<_> =
            text.lines().filter_map(|l| l.find("x").or(l.find("evil")).map(|c| (c, l))).collect();
        assert_eq!(columns[0].0, columns[1].0, "{text}");
        assert!(text.contains("remedy: mend it") && text.contains("1 good, 0 to note, 1 bad"), "{text}");
        assert!(render(&facts, true).contains("\x1b[1;31m"));
        assert_eq!((exit_code(&facts), exit_code(&facts[..1])), (1, 0));
    }
}
