//! Which file memory is of, so that it can be given to another process: of memory that the caller has mapped itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

/// A part of a memfd.
#[derive(Debug)]
pub(crate) struct Part {
    /// The file, as a descriptor of our own.
    pub(crate) fd: OwnedFd,
    /// Where the part begins in it.
    pub(crate) offset: u64,
}

/// A file, as the kernel's table of mappings has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    major: u32,
    minor: u32,
    inode: u64,
}

/// A line of that table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    start: usize,
    end: usize,
    offset: u64,
    file: Identity,
    /// Whether it is a memfd that others see what is written to.
    is_shared: bool,
}

/// The memfd that so many bytes from an address are mapped of. `None`: they are not, or not all of one.
///
/// # Errors
/// When the table of mappings cannot be read, or the file is open nowhere any more and needs rights to be opened again.
pub(crate) fn part_of(address: usize, bytes: usize) -> io::Result<Option<Part>> {
    let table = BufReader::new(File::open("/proc/self/maps")?);
    let lines = table.lines().map_while(Result::ok).filter_map(|line| parse(&line));
    let Some((line, offset)) = cover(lines, address, bytes) else { return Ok(None) };
    open(&line).map(|fd| Some(Part { fd, offset }))
}

/// proc(5): `start-end permissions offset major:minor inode path`.
fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let mut next = || words.next();
    let (start, end) = next()?.split_once('-')?;
    let (permissions, offset) = (next()?, next()?);
    let (major, minor) = next()?.split_once(':')?;
    let inode = next()?.parse().ok()?;
    let path = next().unwrap_or_default();
    Some(Line {
        start: usize::from_str_radix(start, 16).ok()?,
        end: usize::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        file: Identity {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode,
        },
        is_shared: permissions.ends_with('s') && path.starts_with("/memfd:"),
    })
}

/// The line that a range begins in, and where in the file; the range may go on in lines that follow without a gap.
fn cover(lines: impl Iterator<Item = Line>, address: usize, bytes: usize) -> Option<(Line, u64)> {
    let end = address.checked_add(bytes)?;
    let (mut at, mut found) = (address, None::<(Line, u64)>);
    for line in lines.skip_while(|line| line.end <= address) {
        if line.start > at || !line.is_shared {
            return None;
        }
        let offset = line.offset + (at - line.start) as u64;
        match &found {
            Some((first, begin)) if first.file != line.file || begin + (at - address) as u64 != offset => {
                return None;
            }
            Some(_) => {}
            None => found = Some((line.clone(), offset)),
        }
        at = line.end;
        if at >= end {
            return found;
        }
    }
    None
}

fn open(line: &Line) -> io::Result<OwnedFd> {
    let is_it = |stat: &fs::Metadata| {
        let (dev, inode) = (stat.dev(), stat.ino());
        Identity { major: libc::major(dev), minor: libc::minor(dev), inode } == line.file
    };
    for entry in fs::read_dir("/proc/self/fd")?.map_while(Result::ok) {
        // Others may open and close files meanwhile, so what was opened is looked at again.
        if fs::metadata(entry.path()).is_ok_and(|stat| is_it(&stat))
            && let Ok(file) = read_write(entry.path())
            && file.metadata().is_ok_and(|stat| is_it(&stat))
        {
            return Ok(file.into());
        }
    }
    read_write(format!("/proc/self/map_files/{:x}-{:x}", line.start, line.end)).map(OwnedFd::from)
}

fn read_write(path: impl AsRef<std::path::Path>) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use warpdrive_mempool::{Mapping, PageChoice, PageSize, Sharing};

    fn mapping(pages: usize, sharing: Sharing) -> Mapping {
        Mapping::new(pages * 4096, PageChoice::Exactly(PageSize::Size4K), sharing, None).unwrap()
    }

    #[test]
    fn the_file_of_a_range_is_found_with_the_place_in_it() {
        let memory = mapping(4, Sharing::Shared);
        let base = memory.va().0;
        for (at, bytes) in [(0, 4 * 4096), (4096, 4096), (8192, 8192), (4096 + 8, 1)] {
            let part = part_of(base + at, bytes).unwrap().unwrap();
            let [ours, found] = [memory.memfd().unwrap(), part.fd.as_fd()]
                .map(|fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap());
            assert_eq!((found, part.offset), (ours, at as u64));
        }
    }

    #[test]
    fn other_memory_has_none() {
        let (memory, boxed) = (mapping(2, Sharing::Shared), vec![0_u8; 64]);
        let (base, private) = (memory.va().0, mapping(1, Sharing::Private));
        assert!(part_of(boxed.as_ptr() as usize, boxed.len()).unwrap().is_none());
        assert!(part_of(private.va().0, 4096).unwrap().is_none());
        assert!(part_of(base, usize::MAX).unwrap().is_none() && part_of(8, 8).unwrap().is_none());
        drop(memory);
        assert!(part_of(base, 4096).unwrap().is_none(), "unmapped");
    }

    #[test]
    fn a_range_may_go_on_in_lines_without_a_gap_and_of_the_same_file() {
        let lines = |text: &str| text.lines().filter_map(parse).collect::<Vec<_>>();
        let find = |text: &str, address, bytes| {
            cover(lines(text).into_iter(), address, bytes).map(|(line, offset)| (line.start, offset))
        };
        let good = "1000-2000 rw-p 00000000 00:00 0\n\
                    4000-5000 rw-s 00001000 00:01 77 /memfd:a (deleted)\n\
                    5000-7000 r--s 00002000 00:01 77 /memfd:a (deleted)\n\
                    7000-8000 rw-s 00000000 00:01 78 /memfd:a (deleted)\n\
                    9000-a000 rw-s 00000000 fe:02 5 /a/file\n";
        assert_eq!(find(good, 0x4800, 0x2800), Some((0x4000, 0x1800)));
        assert_eq!(find(good, 0x5000, 0x1000), Some((0x5000, 0x2000)));
        assert_eq!(find(good, 0x4000, 0x3001), None, "another file behind");
        assert_eq!(find(good, 0x7000, 0x1001), None, "a gap behind");
        assert_eq!(find(good, 0x8800, 0x1000), None, "a gap before");
        assert_eq!((find(good, 0x1000, 8), find(good, 0x9000, 8), find(good, 0xb000, 8)), (None, None, None));
        let moved = good.replace("00002000 00:01 77", "00003000 00:01 77");
        assert_eq!(find(&moved, 0x4800, 0x1000), None, "another place of the file behind");
    }
}
