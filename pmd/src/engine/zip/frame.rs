//! The wrappings around DEFLATE: zlib (RFC 1950) and gzip (RFC 1952) headers and trailers.

use arrayvec::ArrayVec;

use super::checksum::Checksum;
use super::session::{ZipFormat, ZipSession};
use crate::device::Status;

/// Bytes of the longest header that is written.
pub const MAX_HEADER: usize = 10;
/// Bytes of the longest trailer.
pub(crate) const MAX_TRAILER: usize = 8;

/// The header of what a session compresses.
#[must_use]
pub fn header(session: &ZipSession) -> ArrayVec<u8, MAX_HEADER> {
    let mut out = ArrayVec::new();
    let level = session.config.level;
    match session.config.format {
        ZipFormat::Deflate => {}
        ZipFormat::Zlib => {
            let flevel = match level {
                0..=1 => 0,
                2..=5 => 1,
                6 => 2,
                _ => 3,
            };
            let cmf = (session.config.window_bits - 8) << 4 | DEFLATE;
            let flags = flevel << 6 | u8::from(session.dictionary_id.is_some()) << 5;
            let check = 31 - (u16::from(cmf) * 256 + u16::from(flags)) % 31;
            out.extend([cmf, flags + check as u8]);
            out.extend(session.dictionary_id.into_iter().flat_map(u32::to_be_bytes));
        }
        ZipFormat::Gzip => {
            let extra = match level {
                0..=1 => 4,
                9.. => 2,
                _ => 0,
            };
            const UNKNOWN_OS: u8 = 255;
            out.extend([ID1, ID2, DEFLATE, 0, 0, 0, 0, 0, extra, UNKNOWN_OS]);
        }
    }
    out
}

/// The trailer behind `len` bytes with a checksum.
pub(crate) fn trailer(format: ZipFormat, checksum: u32, len: u64) -> ArrayVec<u8, MAX_TRAILER> {
    let mut out = ArrayVec::new();
    match format {
        ZipFormat::Deflate => {}
        ZipFormat::Zlib => out.extend(checksum.to_be_bytes()),
        ZipFormat::Gzip => {
            out.extend(checksum.to_le_bytes());
            out.extend((len as u32).to_le_bytes());
        }
    }
    out
}

const ID1: u8 = 0x1f;
const ID2: u8 = 0x8b;
const DEFLATE: u8 = 8;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// What a header has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Adler-32 of the dictionary that it needs.
    pub dictionary_id: Option<u32>,
}

/// Reads a header that may come in pieces of any size.
#[derive(Clone, Debug)]
pub struct HeaderReader {
    part: Part,
    /// The first bytes of zlib's or gzip's header, or of a number in it.
    fixed: ArrayVec<u8, 10>,
    flags: u8,
    /// Of all bytes so far, for FHCRC.
    crc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Zlib,
    ZlibDictionary,
    Gzip,
    ExtraLength,
    Extra(u16),
    Name,
    Comment,
    HeaderCrc,
    Done(Option<u32>),
}

impl HeaderReader {
    /// For the header of this format.
    #[must_use]
    pub fn new(format: ZipFormat) -> Self {
        let part = match format {
            ZipFormat::Deflate => Part::Done(None),
            ZipFormat::Zlib => Part::Zlib,
            ZipFormat::Gzip => Part::Gzip,
        };
        Self { part, fixed: ArrayVec::new(), flags: 0, crc: 0 }
    }

    /// Takes bytes from `input`. The number taken, and what the header says once it is complete.
    ///
    /// # Errors
    /// [`Status::BadInput`]: it is no header, or asks for a larger window than `2^window_bits` bytes.
    pub fn read(&mut self, input: &[u8], window_bits: u8) -> Result<(usize, Option<Opened>), Status> {
        let mut taken = 0;
        loop {
            if let Part::Done(dictionary_id) = self.part {
                return Ok((taken, Some(Opened { dictionary_id })));
            }
            let Some(&byte) = input.get(taken) else {
                return Ok((taken, None));
            };
            taken += 1;
            self.take(byte, window_bits)?;
        }
    }

    fn take(&mut self, byte: u8, window_bits: u8) -> Result<(), Status> {
        if self.part != Part::HeaderCrc {
            self.crc = Checksum::Crc32.update(self.crc, &[byte]);
        }
        match self.part {
            Part::Extra(left) => {
                self.part = Part::Extra(left - 1);
                return self.advance();
            }
            Part::Name | Part::Comment if byte != 0 => return Ok(()),
            Part::Name => {
                self.flags &= !FNAME;
                return self.advance();
            }
            Part::Comment => {
                self.flags &= !FCOMMENT;
                return self.advance();
            }
            _ => self.fixed.push(byte),
        }
        let whole = match self.part {
            Part::Zlib | Part::ExtraLength | Part::HeaderCrc => 2,
            Part::ZlibDictionary => 4,
            _ => MAX_HEADER,
        };
        if self.fixed.len() < whole {
            return self.early();
        }
        self.number(window_bits)?;
        self.fixed.clear();
        Ok(())
    }

    /// Refuses what is no gzip file at its first bytes, rather than at its tenth.
    fn early(&self) -> Result<(), Status> {
        let wrong = self.part == Part::Gzip && !MAGIC.starts_with(&self.fixed[..self.fixed.len().min(3)]);
        if wrong { Err(Status::BadInput) } else { Ok(()) }
    }

    /// A part of fixed length is complete.
    fn number(&mut self, window_bits: u8) -> Result<(), Status> {
        let fixed = std::mem::take(&mut self.fixed);
        match self.part {
            Part::Zlib => {
                let [cmf, flags] = [fixed[0], fixed[1]];
                let sound =
                    cmf & 0xf == DEFLATE && (u16::from(cmf) * 256 + u16::from(flags)).is_multiple_of(31);
                if !sound || (cmf >> 4) + 8 > window_bits {
                    return Err(Status::BadInput);
                }
                self.part = if flags & 1 << 5 != 0 { Part::ZlibDictionary } else { Part::Done(None) };
                Ok(())
            }
            Part::ZlibDictionary => {
                self.part = Part::Done(Some(fixed.iter().fold(0, |id, byte| id << 8 | u32::from(*byte))));
                Ok(())
            }
            Part::Gzip => {
                if !fixed.starts_with(&MAGIC) || fixed[3] & RESERVED != 0 {
                    return Err(Status::BadInput);
                }
                self.flags = fixed[3];
                self.advance()
            }
            Part::ExtraLength => {
                self.flags &= !FEXTRA;
                self.part = Part::Extra(u16::from_le_bytes([fixed[0], fixed[1]]));
                self.advance()
            }
            _ => {
                if u16::from_le_bytes([fixed[0], fixed[1]]) != self.crc as u16 {
                    return Err(Status::BadInput);
                }
                self.part = Part::Done(None);
                Ok(())
            }
        }
    }

    /// On to the next part that the flags promise.
    fn advance(&mut self) -> Result<(), Status> {
        self.part = match self.part {
            Part::Extra(left) if left > 0 => return Ok(()),
            _ if self.flags & FEXTRA != 0 => Part::ExtraLength,
            _ if self.flags & FNAME != 0 => Part::Name,
            _ if self.flags & FCOMMENT != 0 => Part::Comment,
            _ if self.flags & FHCRC != 0 => Part::HeaderCrc,
            _ => Part::Done(None),
        };
        Ok(())
    }
}

const MAGIC: [u8; 3] = [ID1, ID2, DEFLATE];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: ZipFormat, bytes: &[u8], piece: usize) -> Result<(usize, Option<Opened>), Status> {
        let mut reader = HeaderReader::new(format);
        let mut total = 0;
        for piece in bytes.chunks(piece) {
            let (taken, opened) = reader.read(piece, 15)?;
            total += taken;
            if opened.is_some() {
                return Ok((total, opened));
            }
        }
        Ok((total, None))
    }

    /// A gzip header with every optional part.
    fn full() -> Vec<u8> {
        let mut bytes = vec![ID1, ID2, DEFLATE, FHCRC | FEXTRA | FNAME | FCOMMENT, 1, 2, 3, 4, 0, 3];
        bytes.extend([3, 0, 7, 8, 9]);
        bytes.extend(b"name\0a comment\0");
        let crc = Checksum::Crc32.of(&bytes) as u16;
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_gzip_header_with_every_part_is_read_in_pieces_of_any_size() {
        let mut bytes = full();
        let len = bytes.len();
        bytes.extend(b"data");
        for piece in 1..=bytes.len() {
            let opened = Some(Opened { dictionary_id: None });
            assert_eq!(read(ZipFormat::Gzip, &bytes, piece), Ok((len, opened)), "pieces of {piece}");
        }
        for cut in 0..len {
            assert_eq!(read(ZipFormat::Gzip, &bytes[..cut], 5), Ok((cut, None)), "cut at {cut}");
        }
        // The parts without each other.
        for flags in [0, FEXTRA, FNAME, FCOMMENT] {
            let mut bytes = vec![ID1, ID2, DEFLATE, flags, 0, 0, 0, 0, 0, 3];
            if flags == FEXTRA {
                bytes.extend([0, 0]);
            } else if flags != 0 {
                bytes.push(0);
            }
            let len = bytes.len();
            bytes.extend(b"data");
            assert_eq!(read(ZipFormat::Gzip, &bytes, 3), Ok((len, Some(Opened { dictionary_id: None }))));
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        let mut wrong_crc = full();
        *wrong_crc.last_mut().unwrap() ^= 1;
        assert_eq!(read(ZipFormat::Gzip, &wrong_crc, 4), Err(Status::BadInput));
        for (at, value) in [(0, 0x1e), (1, 0x8a), (2, 7), (3, 0x20)] {
            let mut bytes = full();
            bytes[at] = value;
            assert_eq!(read(ZipFormat::Gzip, &bytes, 100), Err(Status::BadInput), "byte {at}");
        }
        assert_eq!(read(ZipFormat::Gzip, b"PK", 1), Err(Status::BadInput), "at once");
        assert_eq!(read(ZipFormat::Zlib, &[0x78, 0x9d], 1), Err(Status::BadInput), "check bits");
        assert_eq!(read(ZipFormat::Zlib, &[0x77, 0x9c], 1), Err(Status::BadInput), "method 7");
        assert_eq!(read(ZipFormat::Zlib, &[0x88, 0x1c], 1), Err(Status::BadInput), "window of 64 KiB");
        let mut reader = HeaderReader::new(ZipFormat::Zlib);
        assert_eq!(reader.read(&[0x78, 0x9c], 14), Err(Status::BadInput), "window beyond the session's");
    }

    #[test]
    fn zlib_headers_are_those_of_zlib_itself() {
        use crate::engine::zip::{ZipConfig, ZipOp};
        for (level, bytes) in [(1, [0x78, 0x01]), (5, [0x78, 0x5e]), (6, [0x78, 0x9c]), (9, [0x78, 0xda])] {
            let session = ZipSession::new(ZipOp::Compress, ZipFormat::Zlib, level).unwrap();
            assert_eq!(header(&session).as_slice(), bytes);
            assert_eq!(read(ZipFormat::Zlib, &bytes, 1), Ok((2, Some(Opened { dictionary_id: None }))));
        }
        let mut config = ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, 6);
        config.dictionary = b"Wikipedia".to_vec();
        let session = ZipSession::with(config).unwrap();
        let bytes = header(&session);
        assert_eq!(bytes.as_slice(), [0x78, 0xbb, 0x11, 0xe6, 0x03, 0x98]);
        let opened = Opened { dictionary_id: Some(0x11e6_0398) };
        assert_eq!(read(ZipFormat::Zlib, &bytes, 1), Ok((6, Some(opened))));
    }
}
