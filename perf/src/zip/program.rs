//! Programs that compress a file: how long they take.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::corpus::Corpus;
use crate::peers::which;
use crate::{BenchError, os};

/// What a run of a program took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// By the clock.
    pub wall: Duration,
    /// Its threads' own work.
    pub user: Duration,
    /// The kernel's work for it.
    pub system: Duration,
}

/// Runs a program to its end; what it writes goes to `output`.
///
/// # Errors
/// [`BenchError`] when it does not start, or fails.
pub fn run(program: &Path, arguments: &[&str], input: &Path, output: &Path) -> Result<Took, BenchError> {
    let error = |what: &str| {
        let what = format!("{}: {what}", program.display());
        move |cause| BenchError::Io { what, cause, remedy: "is it there, and room for its output?" }
    };
    let out = File::create(output).map_err(error("its output"))?;
    let begin = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .arg(input)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .map_err(error("its start"))?;
    let used = os::wait_used(child).map_err(error("its end"))?;
    let wall = begin.elapsed();
    if !used.success {
        return Err(BenchError::Program {
            program: program.display().to_string(),
            what: format!("{} {} failed", arguments.join(" "), input.display()),
            remedy: "run it by hand to see more".to_owned(),
        });
    }
    Ok(Took { wall, user: used.user, system: used.system })
}

/// The first of these that is installed.
#[must_use]
pub fn installed(programs: &[&str]) -> Option<PathBuf> {
    programs.iter().find_map(|program| which(program))
}

/// A folder in memory, gone with this, and a large file in it.
pub struct Large {
    folder: TempDir,
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// What must stay free in memory besides.
const SPARE: u64 = 512 << 20;

impl Large {
    /// The corpora over and over, `bytes` or so; less if there is not room for three times that.
    ///
    /// # Errors
    /// [`BenchError::Io`] when there is no room.
    pub fn new(corpora: &[Corpus], bytes: u64) -> Result<Self, BenchError> {
        let error = |cause| BenchError::Io {
            what: "a large file in memory".to_owned(),
            cause,
            remedy: "room in /dev/shm, or in the folder TMPDIR",
        };
        let shm = Path::new("/dev/shm");
        let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let free = os::free_bytes(&place).map_err(error)?;
        let most = free.saturating_sub(SPARE) / 3;
        if most < 1 << 20 {
            return Err(error(std::io::ErrorKind::StorageFull.into()));
        }
        let folder = TempDir::with_prefix_in("warpdrive-perf-", place).map_err(error)?;
        let file = folder.path().join("corpus");
        let mut out = File::create(&file).map_err(error)?;
        let (wanted, mut written) = (bytes.min(most), 0);
        for corpus in corpora.iter().cycle() {
            let n = (wanted - written).min(corpus.bytes.len() as u64);
            out.write_all(&corpus.bytes[..n as usize]).map_err(error)?;
            written += n;
            if written == wanted {
                break;
            }
        }
        Ok(Self { folder, file, bytes: written })
    }

    /// A path for output beside it.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Bytes of a file.
///
/// # Errors
/// [`BenchError::Io`].
pub fn size(path: &Path) -> Result<u64, BenchError> {
    std::fs::metadata(path).map(|m| m.len()).map_err(|cause| BenchError::Io {
        what: path.display().to_string(),
        cause,
        remedy: "did something delete it?",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_timed_and_its_output_kept_and_failing_is_an_error() {
        let corpora = [("a", &b"one "[..]), ("b", b"two ")].map(|(name, b)| Corpus {
            name: name.into(),
            bytes: b.to_vec(),
            origin: String::new(),
        });
        let large = Large::new(&corpora, 4_000_003).unwrap();
        assert_eq!((large.bytes, size(&large.file).unwrap()), (4_000_003, 4_000_003));
        let out = large.beside("out");
        let took = run(Path::new("/bin/cat"), &[], &large.file, &out).unwrap();
        assert!(took.wall > Duration::ZERO && took.wall + Duration::from_millis(50) > took.user);
        let bytes = std::fs::read(&out).unwrap();
        assert!(bytes.starts_with(b"one two one ") && bytes.len() == 4_000_003);
        let error = run(Path::new("/bin/cat"), &["--no-such-option"], &large.file, &out).unwrap_err();
        assert!(error.to_string().contains("--no-such-option"), "{error}");
        let folder = large.file.parent().unwrap().to_owned();
        drop(large);
        assert!(!folder.exists(), "nothing is left behind");
    }
}
