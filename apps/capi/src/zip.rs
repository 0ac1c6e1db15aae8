//! Requests for ZIP: whole pieces. The device does the blocks and the trailer; the header is done here.

use rustix::io::Errno;
use warpdrive_pmd::device::Status;
use warpdrive_pmd::engine::zip::frame::{self, HeaderReader};
use warpdrive_pmd::engine::zip::{MAX_LEVEL, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::uacce::UacceInfo;
use warpdrive_pmd::uacce::abi::zip::{Asked, COMPRESS, Ended, Entry, Format, MOST, status, window};

use crate::border::Failure;
use crate::memory::{Memory, dma};
use crate::ring::Kind;
use crate::types::wd_zip_req;

/// log2 of the window, of both directions.
const WINDOW_BITS: u8 = 15;
/// The kind of entry that all versions of the device know.
const ENTRY_KIND: u32 = 3;

/// What knows them.
pub(crate) struct Zip {
    compress: bool,
    has_levels: bool,
    /// What the device does.
    formats: Vec<Known>,
}

/// A format, and the header of what is written in it.
type Known = (Format, Vec<u8>);

/// What is remembered of a request.
pub(crate) struct Note {
    format: Format,
    /// Of it, bytes that the device reads, and has room for.
    input: u32,
    room: u32,
    /// Bytes of the header, before either.
    header: u32,
}

impl Zip {
    pub(crate) fn new(info: &UacceInfo, kind: u16) -> Self {
        let known = [
            (Format::Deflate, ZipFormat::Deflate, "deflate"),
            (Format::Zlib, ZipFormat::Zlib, "zlib"),
            (Format::Gzip, ZipFormat::Gzip, "gzip"),
        ];
        let done = known.into_iter().filter(|(.., name)| info.does(name));
        let formats = done.map(|(format, kind, _)| {
            let session = ZipSession::new(ZipOp::Compress, kind, 1);
            (format, session.map(|session| frame::header(&session).to_vec()).unwrap_or_default())
        });
        Self { compress: kind == COMPRESS, has_levels: info.extensions().level, formats: formats.collect() }
    }

    /// The format that is asked for, with its header, and the level.
    fn check(&self, asked: &wd_zip_req) -> Result<(&Known, Option<u8>), Failure> {
        let format =
            self.formats.iter().find(|(format, _)| *format as u32 == asked.format).ok_or_else(|| {
                Failure::new(Errno::INVAL, format!("wd_send: the device knows no format {}", asked.format))
            })?;
        let level = u8::try_from(asked.level).ok().filter(|level| *level <= MAX_LEVEL);
        let level = level.ok_or_else(|| {
            Failure::new(Errno::INVAL, format!("wd_send: level {}. Remedy: 0 to {MAX_LEVEL}", asked.level))
        })?;
        if level > 1 && self.compress && !self.has_levels {
            return Err(Failure::new(
                Errno::OPNOTSUPP,
                "wd_send: the device takes no levels. Remedy: level 0",
            ));
        }
        if asked.src_len as usize > MOST {
            let text = format!("wd_send: {} bytes at once. Remedy: up to {MOST}", asked.src_len);
            return Err(Failure::new(Errno::MSGSIZE, text));
        }
        Ok((format, (level > 0 && self.compress && self.has_levels).then_some(level)))
    }

    /// Bytes of the header, which is read or written: before the source, before the destination.
    ///
    /// # Safety
    /// As of [`Kind::begin`].
    unsafe fn header(&self, asked: &wd_zip_req, format: &Known) -> Result<(u32, u32), Failure> {
        let (format, header) = format;
        let bytes = header.len() as u32;
        if bytes == 0 {
            return Ok((0, 0));
        }
        if self.compress {
            if asked.dst_len < bytes {
                return Err(Failure::new(Errno::NOSPC, "wd_send: no room for a header"));
            }
            // SAFETY: by this function's contract there is room, which nobody else accesses.
            unsafe { asked.dst.cast::<u8>().copy_from_nonoverlapping(header.as_ptr(), header.len()) };
            return Ok((0, bytes));
        }
        if asked.src_len == 0 {
            return Err(Failure::new(Errno::NODATA, "wd_send: the source ends before its header"));
        }
        // SAFETY: by this function's contract there are so many bytes, which nobody writes to.
        let source = unsafe { std::slice::from_raw_parts(asked.src.cast::<u8>(), asked.src_len as usize) };
        read_header(*format, source).map(|taken| (taken, 0))
    }
}

/// Bytes of the header at the front of `source`.
fn read_header(format: Format, source: &[u8]) -> Result<u32, Failure> {
    let format = match format {
        Format::Deflate => ZipFormat::Deflate,
        Format::Zlib => ZipFormat::Zlib,
        Format::Gzip => ZipFormat::Gzip,
    };
    let bad = |_: Status| Failure::new(Errno::BADMSG, "wd_send: the source has no header of this format");
    let (taken, opened) = HeaderReader::new(format).read(source, WINDOW_BITS).map_err(bad)?;
    match opened {
        None => Err(Failure::new(Errno::NODATA, "wd_send: the source ends within its header")),
        Some(opened) if opened.dictionary_id.is_some() => {
            Err(Failure::new(Errno::BADMSG, "wd_send: the source wants a dictionary, which devices have not"))
        }
        Some(_) => Ok(taken as u32),
    }
}

impl Kind for Zip {
    type Entry = Entry;
    type Request = wd_zip_req;
    type Note = Note;

    unsafe fn begin(&self, request: *mut wd_zip_req, memory: &Memory) -> Result<(Entry, Note), Failure> {
        // SAFETY: by the contract of the trait; the copy is ours.
        let asked = unsafe { request.read() };
        let (format, level) = self.check(&asked)?;
        if asked.dst.is_null() || asked.dst_len == 0 || asked.src.is_null() && asked.src_len > 0 {
            return Err(Failure::new(Errno::INVAL, "wd_send: no source, or no room for a result"));
        }
        let destination = dma(memory, "dst", asked.dst as usize, asked.dst_len as usize)?;
        // Where nothing is read there must be an address all the same.
        let source = match asked.src_len {
            0 => destination,
            bytes => dma(memory, "src", asked.src as usize, bytes as usize)?,
        };
        // SAFETY: by the contract of the trait.
        let (before_input, before_output) = unsafe { self.header(&asked, format) }?;
        let (input, room) = (asked.src_len - before_input, (asked.dst_len - before_output).min(MOST as u32));
        let mut entry = Entry::new(
            &Asked {
                format: format.0,
                source: source + u64::from(before_input),
                input,
                destination: destination + u64::from(before_output),
                room,
                stream: None,
                begins: true,
                finish: true,
            },
            ENTRY_KIND,
            0,
        );
        window(WINDOW_BITS).into_iter().for_each(|window| entry.set_window(window));
        level.into_iter().for_each(|level| entry.set_level(level));
        // SAFETY: as above; no reference is made.
        unsafe { (&raw mut (*request).status).write(-libc::EINPROGRESS) };
        Ok((entry, Note { format: format.0, input, room, header: before_input + before_output }))
    }

    unsafe fn end(&self, request: *mut wd_zip_req, note: Note, entry: &Entry) {
        let done = done(self.compress, &note, entry);
        let (status, [consumed, produced, checksum]) = match done {
            Ok(numbers) => (0, numbers),
            Err(errno) => (-errno.raw_os_error(), [0; 3]),
        };
        // SAFETY: by the contract of the trait; no reference is made.
        unsafe {
            (&raw mut (*request).consumed).write(consumed);
            (&raw mut (*request).produced).write(produced);
            (&raw mut (*request).checksum).write(checksum);
            (&raw mut (*request).status).write(status);
        }
    }

    unsafe fn cancel(&self, request: *mut wd_zip_req) {
        // SAFETY: by the contract of the trait.
        unsafe { (&raw mut (*request).status).write(-libc::ECANCELED) };
    }
}

/// Consumed, produced, checksum; or why not.
fn done(compress: bool, note: &Note, entry: &Entry) -> Result<[u32; 3], Errno> {
    let Ended { status, consumed, produced, .. } = entry.ended();
    match status {
        status::DONE | status::LONGER | status::END => {}
        status::FULL => return Err(Errno::NOSPC),
        status::ADDRESS => return Err(Errno::FAULT),
        status::DATA | status::CHECKSUM => return Err(Errno::BADMSG),
        status::TRUNCATED => return Err(Errno::NODATA),
        _ => return Err(Errno::IO),
    }
    // Who writes more than there is room for has told nothing.
    if consumed > note.input || produced > note.room || compress && consumed != note.input {
        return Err(Errno::IO);
    }
    if !compress && status != status::END {
        return Err(if produced == note.room { Errno::NOSPC } else { Errno::NODATA });
    }
    let checksum = match note.format {
        Format::Deflate => 0,
        format => entry.state().checksum(format),
    };
    let (consumed, produced) = match compress {
        true => (consumed, note.header + produced),
        false => (note.header + consumed, produced),
    };
    Ok([consumed, produced, checksum])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: Note = Note { format: Format::Zlib, input: 100, room: 50, header: 2 };

    fn ended(compress: bool, status: u32, consumed: u32, produced: u32) -> Result<[u32; 3], Errno> {
        let mut entry = Entry::default();
        entry.end(&Ended { status, consumed, produced, checksum: 7, ..Ended::default() });
        done(compress, &NOTE, &entry)
    }

    #[test]
    fn what_a_device_says_is_checked() {
        assert_eq!(ended(true, status::DONE, 100, 50), Ok([100, 52, 7]));
        assert_eq!(ended(true, status::LONGER, 100, 50), Ok([100, 52, 7]));
        assert_eq!(ended(false, status::END, 60, 50), Ok([62, 50, 7]));
        // More than there is, or less than all of what was to be compressed.
        assert_eq!(ended(true, status::DONE, 99, 50), Err(Errno::IO));
        assert_eq!(ended(true, status::DONE, 100, 51), Err(Errno::IO));
        assert_eq!(ended(false, status::END, 101, 50), Err(Errno::IO));
        // An end that did not come.
        assert_eq!(ended(false, status::DONE, 100, 50), Err(Errno::NOSPC));
        assert_eq!(ended(false, status::DONE, 100, 49), Err(Errno::NODATA));
        let errors = [status::FULL, status::ADDRESS, status::DATA, status::CHECKSUM, status::TRUNCATED, 0x7f];
        let told = errors.map(|status| ended(true, status, 100, 50).unwrap_err());
        assert_eq!(
            told,
            [Errno::NOSPC, Errno::FAULT, Errno::BADMSG, Errno::BADMSG, Errno::NODATA, Errno::IO]
        );
    }

    #[test]
    fn headers_are_read_or_refused() {
        let errno = |format, bytes: &[u8]| read_header(format, bytes).map_err(|failure| failure.errno);
        assert_eq!(errno(Format::Zlib, &[0x78, 0x01, 0]), Ok(2));
        assert_eq!(errno(Format::Zlib, &[0x78]), Err(Errno::NODATA));
        assert_eq!(errno(Format::Zlib, &[0x78, 0x02]), Err(Errno::BADMSG));
        assert_eq!(errno(Format::Zlib, &[0x78, 0x20, 0, 0, 0, 1]), Err(Errno::BADMSG), "a dictionary");
        assert_eq!(errno(Format::Gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1]), Ok(10));
        assert_eq!(errno(Format::Gzip, b"PK"), Err(Errno::BADMSG));
    }
}
