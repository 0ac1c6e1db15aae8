//! Content, and where it ends (RFC 9112, 6 and 7).

use std::ops::Range;

use httparse::Status;

use super::error::Refusal;
use super::field::may_trail;

/// Digits of a size.
const SIZE_DIGITS: u8 = 16;
/// The longest extensions of a chunk.
const EXTENSION_MAX: u32 = 1024;
/// Bytes of the extensions of all chunks beyond 16 for each and two for each byte of content. Without a limit, they would be
/// a way to send much that counts for nothing.
const EXCESS_MAX: u64 = 16 << 10;
/// The longest trailers.
const TRAILERS_MAX: usize = 4096;
/// Fields of trailers.
const TRAILER_FIELDS_MAX: usize = 32;

/// The end of content in chunks, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The end of a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// How content is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// All until the server closes the connection. Responses only.
    UntilClose,
}

/// A part of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These of the bytes that were given are content.
    Data(Range<usize>),
    /// The content is whole. What follows is another message.
    End,
}

/// Why bytes are no content as it was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadBody {
    /// The size of a chunk.
    #[error("the size of a chunk is not a hexadecimal number of at most 16 digits")]
    Size,
    /// What is behind a size.
    #[error("the extensions of chunks are malformed or too long")]
    Extension,
    /// Ends of lines.
    #[error("a chunk, or a line of chunked content, does not end in CR LF where it should")]
    Ending,
    /// Fields behind the content.
    #[error("the trailers are malformed or too long")]
    Trailers,
    /// The connection ended.
    #[error("the connection ended before the content did")]
    Early,
}

impl BadBody {
    /// The same in the words of [`Refusal`].
    fn why(self) -> &'static str {
        match self {
            Self::Size => "the size of a chunk is malformed",
            Self::Extension => "the extensions of a chunk are malformed or too long",
            Self::Ending => "a chunk or a line does not end in CR LF",
            Self::Trailers => "the trailers are malformed or too long",
            Self::Early => "the connection ended within the content",
        }
    }

    /// The refusal of a request with such content.
    #[must_use]
    pub fn of_request(self) -> Refusal {
        Refusal::BadRequest(self.why())
    }

    /// The refusal that a client gets for a response with such content, as long as nothing of it was passed on.
    #[must_use]
    pub fn of_response(self) -> Refusal {
        Refusal::BadGateway(self.why())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of content are left, and more than none.
    Length(u64),
    UntilClose,
    /// In the size of a chunk.
    Size {
        digits: u8,
        size: u64,
    },
    /// In space behind the size, which only an extension may follow.
    Space(u64),
    Extension(u64),
    /// Behind the CR of that line.
    SizeCr(u64),
    /// So many bytes of a chunk are left, and more than none.
    Chunk(u64),
    ChunkEnd,
    ChunkCr,
    /// At the beginning of a line behind the last chunk.
    TrailerStart,
    Trailer,
    TrailerCr,
    /// Behind the CR of the empty line.
    LastCr,
    Done,
    Broken(BadBody),
}

/// Finds the content in what comes after a head. It keeps no byte but trailers, and takes pieces of any length.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the extensions before the next chunk.
    extension: u32,
    /// See [`EXCESS_MAX`].
    excess: u64,
    trailers: Vec<u8>,
}

impl Default for Decoder {
    /// For content that is not there.
    fn default() -> Self {
        Self::new(Framing::None)
    }
}

impl Decoder {
    /// For content that is framed so.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { digits: 0, size: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extension: 0, excess: 0, trailers: Vec::new() }
    }

    /// Takes bytes, and says how many, up to the end of the next piece. `None` if all were taken and none is content.
    ///
    /// # Errors
    /// They are not what was announced, nor is anything after them.
    #[inline]
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Option<Piece>), BadBody> {
        match self.state {
            State::Done => Ok((0, Some(Piece::End))),
            _ if bytes.is_empty() => Ok((0, None)),
            State::UntilClose => Ok((bytes.len(), Some(Piece::Data(0..bytes.len())))),
            State::Length(left) => Ok(self.data(0, bytes, left, State::Length, State::Done)),
            _ => self.next_chunk(bytes),
        }
    }

    /// Takes content from `at` on.
    fn data(
        &mut self,
        at: usize,
        bytes: &[u8],
        left: u64,
        within: fn(u64) -> State,
        behind: State,
    ) -> (usize, Option<Piece>) {
        let here = bytes.len() - at;
        let count = usize::try_from(left).map_or(here, |left| left.min(here));
        let left = left - count as u64;
        self.state = if left == 0 { behind } else { within(left) };
        (at + count, Some(Piece::Data(at..at + count)))
    }

    fn next_chunk(&mut self, bytes: &[u8]) -> Result<(usize, Option<Piece>), BadBody> {
        for (at, byte) in bytes.iter().enumerate() {
            if let State::Chunk(left) = self.state {
                return Ok(self.data(at, bytes, left, State::Chunk, State::ChunkEnd));
            }
            self.state = self.step(*byte).inspect_err(|bad| self.state = State::Broken(*bad))?;
            if self.state == State::Done {
                return Ok((at + 1, Some(Piece::End)));
            }
        }
        Ok((bytes.len(), None))
    }

    /// Takes a byte of what is around the chunks.
    fn step(&mut self, byte: u8) -> Result<State, BadBody> {
        match (self.state, byte) {
            (State::Size { digits, size }, _) => self.size(digits, size, byte),
            (State::Space(size), b'\t' | b' ') => self.extension(State::Space(size)),
            (State::Space(size), b';') => self.extension(State::Extension(size)),
            (State::Space(_), _) => Err(BadBody::Size),
            (State::Extension(size), b'\r') => Ok(State::SizeCr(size)),
            (State::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => self.extension(State::Extension(size)),
            (State::Extension(_), b'\n') => Err(BadBody::Ending),
            (State::Extension(_), _) => Err(BadBody::Extension),
            (State::SizeCr(size), b'\n') => self.size_ends(size),
            (State::ChunkEnd, b'\r') => Ok(State::ChunkCr),
            (State::ChunkCr, b'\n') => Ok(State::Size { digits: 0, size: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::LastCr),
            (State::TrailerStart | State::Trailer, b'\n') => Err(BadBody::Ending),
            (State::Trailer, b'\r') => self.keep(byte, State::TrailerCr),
            (State::TrailerStart | State::Trailer, _) => self.keep(byte, State::Trailer),
            (State::TrailerCr, b'\n') => self.keep(byte, State::TrailerStart),
            (State::LastCr, b'\n') => self.end(),
            (State::Broken(bad), _) => Err(bad),
            _ => Err(BadBody::Ending),
        }
    }

    /// Takes a digit of a size, or what is behind them.
    fn size(&mut self, digits: u8, size: u64, byte: u8) -> Result<State, BadBody> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err(BadBody::Size),
            b'\r' => return Ok(State::SizeCr(size)),
            b'\n' => return Err(BadBody::Ending),
            b'\t' | b' ' => return self.extension(State::Space(size)),
            b';' => return self.extension(State::Extension(size)),
            _ => return Err(BadBody::Size),
        };
        let size = size << 4 | u64::from(digit);
        if digits < SIZE_DIGITS { Ok(State::Size { digits: digits + 1, size }) } else { Err(BadBody::Size) }
    }

    /// Counts a byte of the extensions.
    fn extension(&mut self, state: State) -> Result<State, BadBody> {
        self.extension += 1;
        if self.extension <= EXTENSION_MAX { Ok(state) } else { Err(BadBody::Extension) }
    }

    fn size_ends(&mut self, size: u64) -> Result<State, BadBody> {
        let free = size.saturating_mul(2).saturating_add(16);
        self.excess = (self.excess + u64::from(self.extension)).saturating_sub(free);
        self.extension = 0;
        match size {
            _ if self.excess > EXCESS_MAX => Err(BadBody::Extension),
            0 => Ok(State::TrailerStart),
            _ => Ok(State::Chunk(size)),
        }
    }

    /// Keeps a byte of the trailers.
    fn keep(&mut self, byte: u8, state: State) -> Result<State, BadBody> {
        if self.trailers.len() == TRAILERS_MAX {
            return Err(BadBody::Trailers);
        }
        self.trailers.push(byte);
        Ok(state)
    }

    fn end(&mut self) -> Result<State, BadBody> {
        if !self.trailers.is_empty() {
            self.trailers.extend_from_slice(b"\r\n");
            self.trailers = passed_trailers(&self.trailers)?;
        }
        Ok(State::Done)
    }

    /// Whether the content is whole.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes are to come, if that was announced.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// To be told when the connection has ended: the content is whole then if it was to last until now.
    ///
    /// # Errors
    /// It is not whole.
    pub fn end_of_input(&mut self) -> Result<(), BadBody> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Broken(bad) => Err(bad),
            _ => Err(BadBody::Early),
        }
    }

    /// The fields behind the content, as lines, without those that may not come there.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() { &self.trailers } else { b"" }
    }
}

/// Reads trailers, whose lines end as they should, and writes those that are passed on.
#[cold]
fn passed_trailers(lines: &[u8]) -> Result<Vec<u8>, BadBody> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(lines, &mut fields) else {
        return Err(BadBody::Trailers);
    };
    let mut passed = Vec::with_capacity(lines.len());
    for field in fields.iter().filter(|field| may_trail(field.name)) {
        for part in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
            passed.extend_from_slice(part);
        }
    }
    Ok(passed)
}

/// What comes before a chunk of so many bytes. Behind them comes [`CHUNK_END`].
///
/// # Panics
/// If there are none: that would be the end.
#[must_use]
pub fn chunk_head(len: usize, room: &mut [u8; 18]) -> &[u8] {
    assert!(len > 0, "a chunk without bytes is the end of the content");
    let mut at = room.len() - 2;
    room[at..].copy_from_slice(b"\r\n");
    let mut left = len;
    while left > 0 {
        at -= 1;
        room[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    &room[at..]
}

/// Writes the end of content in chunks, with trailers as [`Decoder::trailers`] gives them.
pub fn last_chunk(trailers: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
