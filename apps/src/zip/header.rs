//! Headers and trailers of gzip (RFC 1952) and zlib (RFC 1950), with the name and the time that gzip's may hold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use warpdrive_pmd::engine::zip::{Checksum, ZipFormat};

use super::failure::Failure;
use super::source::Source;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const UNIX: u8 = 3;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// zlib's flag for a dictionary that both sides know.
const FDICT: u8 = 1 << 5;

/// An empty final block of DEFLATE.
pub(super) const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The name of the file, as bytes.
    pub(super) name: Option<Vec<u8>>,
    /// When it was changed.
    pub(super) time: Option<SystemTime>,
}

/// The header of a format.
pub(super) fn write(format: ZipFormat, level: u8, origin: &Origin) -> Vec<u8> {
    match format {
        ZipFormat::Deflate => Vec::new(),
        ZipFormat::Zlib => {
            const WINDOW_32K: u8 = 7 << 4;
            let speed = match level {
                0..=1 => 0,
                2..=5 => 1,
                6 => 2,
                _ => 3,
            };
            let (cmf, flags) = (WINDOW_32K | DEFLATE, speed << 6);
            let check = 31 - (u16::from(cmf) * 256 + u16::from(flags)) % 31;
            vec![cmf, flags + check as u8]
        }
        ZipFormat::Gzip => {
            let extra = match level {
                0..=1 => 4,
                9.. => 2,
                _ => 0,
            };
            // A name with a zero byte cannot be told.
            let name = origin.name.as_ref().filter(|name| !name.contains(&0));
            let mut out = vec![GZIP[0], GZIP[1], DEFLATE, if name.is_some() { FNAME } else { 0 }];
            out.extend(seconds(origin.time).to_le_bytes());
            out.extend([extra, UNIX]);
            if let Some(name) = name {
                out.extend(name);
                out.push(0);
            }
            out
        }
    }
}

/// The time of a header: 0 for one that it cannot tell.
fn seconds(time: Option<SystemTime>) -> u32 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u32::try_from(since.as_secs()).ok()).unwrap_or(0)
}

/// What follows `len` bytes with a checksum.
pub(super) fn trailer(format: ZipFormat, checksum: u32, len: u64) -> Vec<u8> {
    match format {
        ZipFormat::Deflate => Vec::new(),
        ZipFormat::Zlib => checksum.to_be_bytes().to_vec(),
        ZipFormat::Gzip => [checksum.to_le_bytes(), (len as u32).to_le_bytes()].concat(),
    }
}

/// What there is where a stream may begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// A stream, whose header was read.
    Stream(ZipFormat, Origin),
    /// Something else: its first bytes.
    Other(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// Reads the header of the format that is `wanted`, or of that which its first bytes tell.
pub(super) fn read(source: &mut Source<'_>, wanted: Option<ZipFormat>) -> Result<Begins, Failure> {
    if wanted == Some(ZipFormat::Deflate) {
        return Ok(Begins::Stream(ZipFormat::Deflate, Origin::default()));
    }
    match source.byte()? {
        Some(first) => read_behind(source, first, wanted),
        None => Ok(Begins::Nothing),
    }
}

/// As [`read`], behind the first byte, for a format that has a header.
pub(super) fn read_behind(
    source: &mut Source<'_>,
    first: u8,
    wanted: Option<ZipFormat>,
) -> Result<Begins, Failure> {
    let at = source.offset() - 1;
    let Some(second) = source.byte()? else { return Ok(Begins::Other(vec![first])) };
    let is = |format| wanted.is_none_or(|wanted| wanted == format);
    if [first, second] == GZIP && is(ZipFormat::Gzip) {
        return Ok(Begins::Stream(ZipFormat::Gzip, gzip(source, at)?));
    }
    let zlib = first & 0xf == DEFLATE
        && first >> 4 <= 7
        && (u16::from(first) * 256 + u16::from(second)).is_multiple_of(31);
    if zlib && is(ZipFormat::Zlib) {
        if second & FDICT != 0 {
            return Err(Failure::Header { at, what: "it needs a dictionary, and there is none to be given" });
        }
        return Ok(Begins::Stream(ZipFormat::Zlib, Origin::default()));
    }
    Ok(Begins::Other(vec![first, second]))
}

/// The rest of a gzip header, behind its first two bytes.
fn gzip(source: &mut Source<'_>, at: u64) -> Result<Origin, Failure> {
    let mut header = Header { source, crc: Checksum::Crc32.of(&GZIP) };
    let [method, flags] = header.array()?;
    let time = u32::from_le_bytes(header.array()?);
    let [_extra, _system] = header.array()?;
    if method != DEFLATE {
        return Err(Failure::Header { at, what: "its method is not DEFLATE" });
    }
    if flags & RESERVED != 0 {
        return Err(Failure::Header { at, what: "it has flags that are not known" });
    }
    if flags & FEXTRA != 0 {
        for _ in 0..u16::from_le_bytes(header.array()?) {
            header.byte()?;
        }
    }
    let name = if flags & FNAME != 0 { Some(header.text()?) } else { None };
    if flags & FCOMMENT != 0 {
        header.text()?;
    }
    if flags & FHCRC != 0 {
        let computed = header.crc as u16;
        if u16::from_le_bytes(header.array()?) != computed {
            return Err(Failure::Header { at, what: "its checksum is wrong" });
        }
    }
    let time = (time != 0).then(|| UNIX_EPOCH + Duration::from_secs(time.into()));
    Ok(Origin { name, time })
}

struct Header<'a, 's> {
    source: &'a mut Source<'s>,
    crc: u32,
}

impl Header<'_, '_> {
    fn byte(&mut self) -> Result<u8, Failure> {
        let byte = self.source.need("header")?;
        self.crc = Checksum::Crc32.update(self.crc, &[byte]);
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// Bytes up to a zero. No file's name is longer than 4 KiB: what is beyond is read and forgotten.
    fn text(&mut self) -> Result<Vec<u8>, Failure> {
        const LONGEST: usize = 4 << 10;
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                0 => return Ok(text),
                byte if text.len() < LONGEST => text.push(byte),
                _ => {}
            }
        }
    }
}

/// Reads what follows `len` bytes with a checksum, and compares.
pub(super) fn check(
    source: &mut Source<'_>,
    format: ZipFormat,
    checksum: u32,
    len: u64,
) -> Result<(), Failure> {
    let at = source.offset();
    let mut number = || {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            *byte = source.need("checksum")?;
        }
        Ok::<_, Failure>(bytes)
    };
    let stored = match format {
        ZipFormat::Deflate => return Ok(()),
        ZipFormat::Zlib => u32::from_be_bytes(number()?),
        ZipFormat::Gzip => u32::from_le_bytes(number()?),
    };
    if stored != checksum {
        return Err(Failure::Checksum { at, stored, computed: checksum });
    }
    if format == ZipFormat::Gzip {
        let (stored, computed) = (u32::from_le_bytes(number()?), len as u32);
        if stored != computed {
            return Err(Failure::Length { at, stored, computed });
        }
    }
    Ok(())
}
