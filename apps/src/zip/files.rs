//! Names and properties of files: gzip's rules about what is done, what is left alone, and what is carried over.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use warpdrive_pmd::engine::zip::ZipFormat;

use super::Trouble;
use super::Trouble::{Failed, Warned};

/// What compressed files are called: the suffix, and what stands in its place when they are decompressed.
const SUFFIXES: [(&str, &str); 9] = [
    (".gz", ""),
    (".zlib", ""),
    (".zz", ""),
    (".deflate", ""),
    (".tgz", ".tar"),
    (".taz", ".tar"),
    (".z", ""),
    ("-gz", ""),
    ("-z", ""),
];

/// The suffix of a format.
pub(super) fn suffix(format: ZipFormat) -> &'static str {
    match format {
        ZipFormat::Gzip => ".gz",
        ZipFormat::Zlib => ".zlib",
        ZipFormat::Deflate => ".deflate",
    }
}

/// The name without its suffix, or with what stands for it; `None` if it has none that is known.
pub(super) fn without_suffix(path: &Path, own: Option<&OsStr>) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    let own = own.into_iter().map(|own| (own.as_bytes(), ""));
    let known = SUFFIXES.iter().map(|(suffix, instead)| (suffix.as_bytes(), *instead));
    let (stem, instead) = own.chain(known).find_map(|(suffix, instead)| {
        let (stem, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
        (!stem.is_empty() && end.eq_ignore_ascii_case(suffix)).then_some((stem, instead))
    })?;
    Some(path.with_file_name(OsStr::from_bytes(&[stem, instead.as_bytes()].concat())))
}

/// The name with a suffix.
pub(super) fn with_suffix(path: &Path, suffix: &OsStr) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// An input file.
pub(super) struct Input {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) data: Metadata,
}

/// How input files are looked for.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Links of all kinds are followed.
    pub(super) force: bool,
    /// The file stays and so may be a link, or no file at all.
    pub(super) stays: bool,
    /// Suffixes to try where there is no such file.
    pub(super) try_suffixes: Option<&'a OsStr>,
}

/// Opens a file, if it is one that is to be done.
pub(super) fn open(path: &Path, rules: Rules<'_>) -> Result<Input, Trouble> {
    let shown = path.display();
    let follow = rules.force || rules.stays;
    let look = |path: &Path| if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let (path, data) = match (look(path), rules.try_suffixes) {
        (Err(e), Some(first)) if e.kind() == io::ErrorKind::NotFound => {
            let others = SUFFIXES.iter().map(|(suffix, _)| OsStr::new(suffix));
            let mut tries = [first].into_iter().chain(others).map(|suffix| with_suffix(path, suffix));
            let found = tries.find_map(|path| Some((look(&path).ok()?, path)));
            found.map(|(data, path)| (path, data)).ok_or(e)
        }
        (looked, _) => looked.map(|data| (path.to_owned(), data)),
    }
    .map_err(|e| Failed(format!("{shown}: {e}")))?;
    if data.is_dir() {
        return Err(Warned(format!("{shown} is a directory -- ignored")));
    }
    if data.is_symlink() {
        return Err(Warned(format!("{shown} is a symbolic link -- ignored (-f or -c follows it)")));
    }
    if !data.is_file() && !rules.stays {
        return Err(Warned(format!("{shown} is not a directory or a regular file -- ignored")));
    }
    if !follow && data.nlink() > 1 {
        let (n, s) = (data.nlink() - 1, if data.nlink() > 2 { "s" } else { "" });
        return Err(Warned(format!("{shown} has {n} other link{s} -- ignored (-f does it all the same)")));
    }
    // A link that was put there after the look is not followed.
    let flags = if follow { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path);
    let opened = file.and_then(|file| Ok((file.metadata()?, file)));
    let (data, file) = opened.map_err(|e| Failed(format!("{shown}: {e}")))?;
    Ok(Input { file, path, data })
}

/// Whether there is a file and it is the one that this is known of.
pub(super) fn is_same(path: &Path, data: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (data.dev(), data.ino()))
}

/// Gives an output file owner, mode and times of the input. What is not permitted is left out, as gzip does.
pub(super) fn carry_over(from: &Metadata, to: &File, time: Option<SystemTime>) -> io::Result<()> {
    let _ = fchown(to, None, Some(from.gid()));
    let _ = fchown(to, Some(from.uid()), None);
    // Not those bits that lend rights to others: the owner may be another one.
    to.set_permissions(Permissions::from_mode(from.mode() & 0o777))?;
    let times =
        FileTimes::new().set_accessed(from.accessed()?).set_modified(time.map_or(from.modified(), Ok)?);
    to.set_times(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_taken_off_as_gzip_does() {
        let plain = |name: &str| without_suffix(Path::new(name), Some(OsStr::new(".own")));
        for (name, expected) in [
            ("a.gz", "a"),
            ("d/a.GZ", "d/a"),
            ("d.gz/a.zz", "d.gz/a"),
            ("a.zlib", "a"),
            ("a.deflate", "a"),
            ("a.tgz", "a.tar"),
            ("a.taz", "a.tar"),
            ("a.tar.gz", "a.tar"),
            ("a-gz", "a"),
            ("a.own", "a"),
        ] {
            assert_eq!(plain(name), Some(PathBuf::from(expected)), "{name}");
        }
        for name in ["a", ".gz", "d/.gz", "a.gzip", "a.txt", "", "d.gz/a"] {
            assert_eq!(plain(name), None, "{name}");
        }
    }
}
