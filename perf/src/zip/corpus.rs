//! What is compressed: files that every Debian has, of several kinds each, the same ones in every run on a machine.

use std::fs;
use std::path::{Path, PathBuf};

use libdeflater::{CompressionLvl, Compressor};
use warpdrive_pmd::engine::zip::Checksum;

use crate::{BenchError, Options};

/// Bytes of a corpus.
const SIZE: usize = 4 << 20;
/// Bytes that one file gives at most, and at least.
const OF_A_FILE: std::ops::RangeInclusive<usize> = 1 << 10..=128 << 10;
/// Folders within folders that are looked into.
const DEPTH: usize = 3;

/// Bytes of one kind.
pub struct Corpus {
    /// The name in lines.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Where it is from, for notes.
    pub origin: String,
}

/// Files that resemble each other.
struct Source {
    folder: &'static str,
    fits: fn(&Path) -> bool,
}

/// Prose, programs, tables.
const TEXT: &[Source] = &[
    Source { folder: "/usr/share/common-licenses", fits: |_| true },
    Source { folder: "/usr/share/doc", fits: |p| p.file_name().is_some_and(|name| name == "copyright") },
    Source {
        folder: "/usr/lib",
        fits: |p| p.iter().any(|part| part == "perl-base") && has(p, &["pm", "pl"]),
    },
    Source { folder: "/var/lib/dpkg/info", fits: |p| has(p, &["list", "postinst", "postrm"]) },
    Source { folder: "/var/lib/dpkg", fits: |p| p.ends_with("status") || p.ends_with("available") },
];
/// Programs, libraries, tables of numbers.
const BINARY: &[Source] = &[
    Source { folder: "/usr/bin", fits: is_elf },
    Source { folder: "/usr/sbin", fits: is_elf },
    Source { folder: "/usr/lib", fits: |p| !p.iter().any(|part| part == "debug") && is_elf(p) },
    Source { folder: "/usr/lib/locale", fits: |_| true },
];
/// What is compressed already.
const COMPRESSED: &[Source] = &[
    Source { folder: "/usr/share/doc", fits: |p| has(p, &["gz", "xz"]) },
    Source { folder: "/usr/share/man", fits: |p| has(p, &["gz"]) },
    Source { folder: "/usr/share/icons", fits: |p| has(p, &["png"]) },
];

fn has(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|e| found == *e))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// The three kinds; or those of the user: each file of the folder is one.
///
/// # Errors
/// [`BenchError`] when there is nothing to read.
pub fn all(options: &Options) -> Result<Vec<Corpus>, BenchError> {
    if let Some(folder) = &options.corpus {
        return of_folder(folder);
    }
    let text = gather("text", TEXT);
    let binary = gather("binary", BINARY);
    let mut compressed = gather("compressed", COMPRESSED);
    fill_up(&mut compressed, &[&text, &binary]);
    let all = vec![text, binary, compressed];
    if all.iter().any(|corpus| corpus.bytes.len() < SIZE / 4) {
        return Err(BenchError::Program {
            program: "zip".to_owned(),
            what: "there are too few files on this machine to make a corpus of".to_owned(),
            remedy: "--corpus FOLDER with files of your own".to_owned(),
        });
    }
    Ok(all)
}

/// Those that can be compressed: what cannot, our queue stores at once, and others do not.
///
/// # Errors
/// [`BenchError`] when there is nothing to read.
pub fn compressible(options: &Options) -> Result<Vec<Corpus>, BenchError> {
    const MOST: f64 = 0.9;
    let mut compressor = Compressor::new(CompressionLvl::default());
    let mut is = |corpus: &Corpus| {
        let mut out = vec![0; compressor.deflate_compress_bound(corpus.bytes.len())];
        let n = compressor.deflate_compress(&corpus.bytes, &mut out).unwrap_or(usize::MAX);
        n as f64 <= MOST * corpus.bytes.len() as f64
    };
    let mut some = all(options)?;
    some.retain(&mut is);
    if some.is_empty() {
        return Err(BenchError::Program {
            program: "zip".to_owned(),
            what: "nothing in the corpus can be compressed".to_owned(),
            remedy: "--corpus FOLDER with files of which some can".to_owned(),
        });
    }
    Ok(some)
}

/// One file of each source in turn, until there is enough.
fn gather(name: &str, sources: &[Source]) -> Corpus {
    let mut bytes = Vec::with_capacity(SIZE);
    let mut files = 0;
    let mut lists: Vec<_> = sources.iter().map(|source| list(source).into_iter()).collect();
    loop {
        let before = bytes.len();
        for file in lists.iter_mut().filter_map(Iterator::next) {
            let Ok(content) = fs::read(&file) else { continue };
            let room = (SIZE - bytes.len()).min(*OF_A_FILE.end());
            bytes.extend_from_slice(&content[..content.len().min(room)]);
            files += 1;
        }
        if bytes.len() == SIZE || bytes.len() == before {
            break;
        }
    }
    let folders = sources.iter().map(|source| source.folder).collect::<Vec<_>>().join(", ");
    let sum = Checksum::Crc32.of(&bytes);
    let origin = format!("{} bytes of {files} files of {folders}; CRC-32 {sum:08x}", bytes.len());
    Corpus { name: name.to_owned(), bytes, origin }
}

/// The files of a source, by name. Links are left out: they would bring a file twice.
fn list(source: &Source) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![(PathBuf::from(source.folder), 0)]);
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() && depth < DEPTH {
                folders.push((path, depth + 1));
            } else if kind.is_file()
                && entry.metadata().is_ok_and(|m| m.len() >= *OF_A_FILE.start() as u64)
                && (source.fits)(&path)
            {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

/// A machine without manuals has few compressed files: then ours, of the best level.
fn fill_up(compressed: &mut Corpus, others: &[&Corpus]) {
    let before = compressed.bytes.len();
    let mut best = Compressor::new(CompressionLvl::best());
    for chunk in others.iter().flat_map(|other| other.bytes.chunks(*OF_A_FILE.end())) {
        if compressed.bytes.len() == SIZE {
            break;
        }
        let mut out = vec![0; best.gzip_compress_bound(chunk.len())];
        let n = best.gzip_compress(chunk, &mut out).unwrap_or(0);
        let room = SIZE - compressed.bytes.len();
        compressed.bytes.extend_from_slice(&out[..n.min(room)]);
    }
    let more = compressed.bytes.len() - before;
    if more > 0 {
        compressed.origin += &format!("; and {more} bytes of the other corpora, compressed by libdeflate 12");
    }
}

fn of_folder(folder: &Path) -> Result<Vec<Corpus>, BenchError> {
    let error = |cause| BenchError::Io {
        what: format!("corpus {}", folder.display()),
        cause,
        remedy: "a folder with files of which each is a corpus",
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)?.flatten() {
        if !entry.path().is_file() {
            continue;
        }
        let mut bytes = fs::read(entry.path()).map_err(error)?;
        bytes.truncate(SIZE);
        if !bytes.is_empty() {
            let origin = format!("the first {} bytes of {}", bytes.len(), entry.path().display());
            all.push(Corpus { name: entry.file_name().to_string_lossy().into_owned(), bytes, origin });
        }
    }
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if all.is_empty() { Err(error(std::io::ErrorKind::NotFound.into())) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there_the_same_each_time_and_what_it_is_called() {
        let options = Options::for_tests(1);
        let all = super::all(&options).unwrap();
        let again = super::all(&options).unwrap();
        let mut sizes = Vec::new();
        for (corpus, same) in all.iter().zip(&again) {
            assert!(corpus.bytes == same.bytes, "{}", corpus.name);
            let mut compressor = Compressor::new(CompressionLvl::default());
            let mut out = vec![0; compressor.deflate_compress_bound(corpus.bytes.len())];
            let n = compressor.deflate_compress(&corpus.bytes, &mut out).unwrap();
            sizes.push(n as f64 / corpus.bytes.len() as f64);
        }
        let some = super::compressible(&options).unwrap();
        assert_eq!(some.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["text", "binary"]);
        assert!(sizes[0] < 0.5 && (0.3..0.7).contains(&sizes[1]) && sizes[2] > 0.9, "{sizes:?}");
    }

    #[test]
    fn a_folder_of_the_user_is_taken_file_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::for_tests(1);
        options.corpus = Some(folder.path().to_owned());
        assert!(super::all(&options).is_err(), "empty");
        fs::write(folder.path().join("b"), b"second").unwrap();
        fs::write(folder.path().join("a"), b"first").unwrap();
        let all = super::all(&options).unwrap();
        let found: Vec<_> = all.iter().map(|c| (c.name.as_str(), &c.bytes[..])).collect();
        assert_eq!(found, [("a", &b"first"[..]), ("b", b"second")]);
    }
}
