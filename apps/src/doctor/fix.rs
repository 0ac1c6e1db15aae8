//! What `doctor --fix` does.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Fact, net};

/// A change that mends a fact. All need root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    /// Write a value into each file.
    Set {
        /// The files.
        paths: Vec<PathBuf>,
        /// What they shall hold.
        value: String,
    },
    /// Raise a number to at least this; a greater one stays.
    AtLeast {
        /// The file.
        path: PathBuf,
        /// The least value.
        value: u64,
    },
    /// Switch the transmit checksum offload of an interface off.
    TxChecksumOff {
        /// The interface.
        interface: String,
    },
}

/// What became of a fix.
#[derive(Clone, Debug, Serialize)]
pub struct FixResult {
    /// The fact's name.
    pub name: String,
    /// Whether it is mended now.
    pub done: bool,
    /// What was done, or why not and what to do.
    pub message: String,
}

/// Does the fix of every fact that has one, and reads back whether it took.
#[must_use]
pub fn fix(facts: &[Fact]) -> Vec<FixResult> {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    fix_as(facts, root)
}

fn fix_as(facts: &[Fact], root: bool) -> Vec<FixResult> {
    let one = |fact: &Fact| {
        let fix = fact.fix.as_ref()?;
        let command = fact.remedy.as_deref().unwrap_or("warpdrive doctor --fix");
        let (done, message) = if root {
            match apply(fix) {
                Ok(done) => (true, done),
                Err(e) => (false, format!("{e}. By hand: {command}")),
            }
        } else {
            (false, format!("needs root: sudo sh -c {}", quoted(command)))
        };
        Some(FixResult { name: fact.name.clone(), done, message })
    };
    facts.iter().filter_map(one).collect()
}

fn quoted(command: &str) -> String {
    format!("'{}'", command.replace('\'', "'\\''"))
}

fn apply(fix: &Fix) -> io::Result<String> {
    match fix {
        Fix::Set { paths, value } => {
            for path in paths {
                write(path, value)?;
                let now = std::fs::read_to_string(path)?;
                // Files of choices show the chosen one in brackets: "always [madvise] never".
                if now.trim() != value && !now.contains(&format!("[{value}]")) {
                    return Err(refused(path, value, &now));
                }
            }
            let count = if paths.len() == 1 {
                paths[0].display().to_string()
            } else {
                format!("{} files", paths.len())
            };
            Ok(format!("{count} = {value}"))
        }
        Fix::AtLeast { path, value } => {
            let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
            let before = number(&std::fs::read_to_string(path)?);
            if before >= *value {
                return Ok(format!("{} is {before} already", path.display()));
            }
            write(path, &value.to_string())?;
            let now = std::fs::read_to_string(path)?;
            if number(&now) < *value {
                return Err(refused(path, &value.to_string(), &now));
            }
            Ok(format!("{}: {before} -> {value}", path.display()))
        }
        Fix::TxChecksumOff { interface } => {
            net::tx_checksum_off(interface)?;
            Ok("tx checksum offload is off".to_owned())
        }
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    std::fs::write(path, value)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot write {value} to {}: {e}", path.display())))
}

fn refused(path: &Path, value: &str, now: &str) -> io::Error {
    let now = now.trim();
    io::Error::other(format!("{} took {now} and not {value}: is memory too fragmented?", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::super::{Area, Verdict};
    use super::*;

    fn fact(fix: Fix) -> Fact {
        Fact::new(Area::Memory, "pages", "few", "speed")
            .judged(Verdict::Note, "echo '64' > pages")
            .fixed_by(fix)
    }

    #[test]
    fn numbers_are_raised_and_never_lowered() {
        let (dir, _) = tree(&[("few", "3\n"), ("many", "100\n")]);
        let at_least = |name: &str| fact(Fix::AtLeast { path: dir.path().join(name), value: 64 });
        let results = fix_as(&[at_least("few"), at_least("many"), at_least("none")], true);
        assert_eq!(results.iter().map(|r| r.done).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(std::fs::read_to_string(dir.path().join("few")).unwrap(), "64");
        assert_eq!(std::fs::read_to_string(dir.path().join("many")).unwrap(), "100\n");
        assert!(results[2].message.contains("By hand: echo '64' > pages"), "{results:?}");
    }

    #[test]
    fn every_file_is_set() {
        let (dir, _) = tree(&[("a", "powersave\n"), ("b", "performance\n")]);
        let paths = vec![dir.path().join("a"), dir.path().join("b")];
        let results =
            fix_as(&[fact(Fix::Set { paths: paths.clone(), value: "performance".to_owned() })], true);
        assert!(results[0].done, "{results:?}");
        assert!(paths.iter().all(|p| std::fs::read_to_string(p).unwrap() == "performance"));
    }

    #[test]
    fn without_root_nothing_is_touched_and_the_command_is_named() {
        let (dir, _) = tree(&[("few", "3\n")]);
        let results = fix_as(&[fact(Fix::AtLeast { path: dir.path().join("few"), value: 64 })], false);
        assert!(!results[0].done);
        assert_eq!(results[0].message, r"needs root: sudo sh -c 'echo '\''64'\'' > pages'");
        assert_eq!(std::fs::read_to_string(dir.path().join("few")).unwrap(), "3\n");
    }
}
