//! Responses of HTTP/1.0 and 1.1 (RFC 9112), read as they come, in pieces of any length.

use httparse::Status;

/// The longest head, or trailers, that is taken.
pub const HEAD_MAX: usize = 8192;
/// The longest line before a chunk, with its extensions.
const CHUNK_LINE_MAX: usize = 256;
/// Fields of a head.
const FIELDS_MAX: usize = 64;

/// What the head of a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status, such as 200.
    pub status: u16,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
    /// What the content was coded with.
    pub coding: Coding,
}

/// Content codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// None.
    Identity,
    /// gzip.
    Gzip,
    /// One that we did not ask for.
    Other,
}

/// Why bytes are no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// Its head.
    #[error("the head of the response is malformed: {0}")]
    Head(httparse::Error),
    /// Too much of what is not content.
    #[error("a head, a chunk's line or trailers longer than {0} bytes")]
    TooLong(usize),
    /// Its length.
    #[error("Content-Length is no number, or there are two that differ")]
    Length,
    /// Both lengths: RFC 9112, 6.3.
    #[error("both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// Codings.
    #[error("a Transfer-Encoding other than chunked alone in HTTP/1.1")]
    Transfer,
    /// Its chunks.
    #[error("the size or the end of a chunk is malformed")]
    Chunk,
    /// Its trailers.
    #[error("the trailers are malformed")]
    Trailers,
    /// Another protocol.
    #[error("status 101: another protocol, which nobody asked for")]
    Upgrade,
    /// It ended early.
    #[error("the connection ended within a response")]
    Early,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of content are left.
    Length(u64),
    UntilClose,
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailers {
        bytes: usize,
    },
    Done,
}

/// A response that is being read.
#[derive(Debug)]
pub struct Response {
    state: State,
    /// The beginning of a head or a line whose end has not come yet.
    held: Vec<u8>,
    head: Option<Head>,
}

impl Default for Response {
    fn default() -> Self {
        Self { state: State::Head, held: Vec::new(), head: None }
    }
}

impl Response {
    /// Forgets it: another one begins.
    pub fn reset(&mut self) {
        (self.state, self.head) = (State::Head, None);
        self.held.clear();
    }

    /// Its head, once that is there.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Whether it is there as a whole.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes up to the end of the response, or all; returns how many. Content goes to `content`.
    ///
    /// # Errors
    /// [`FramingError`] when they are no response. What was read is of no use then.
    pub fn feed(&mut self, bytes: &[u8], content: &mut dyn FnMut(&[u8])) -> Result<usize, FramingError> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            let rest = &bytes[at..];
            at += match self.state {
                State::Head => self.take_head(rest)?,
                State::Length(left) => {
                    let (n, left) = pass(rest, left, content);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    n
                }
                State::UntilClose => {
                    content(rest);
                    rest.len()
                }
                State::ChunkLine => self.take_line(rest, CHUNK_LINE_MAX, Self::chunk_begins)?,
                State::Chunk(left) => {
                    let (n, left) = pass(rest, left, content);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    n
                }
                State::ChunkEnd => {
                    self.take_line(rest, 2, Self::chunk_ends).map_err(|_| FramingError::Chunk)?
                }
                State::Trailers { .. } => self.take_line(rest, HEAD_MAX, Self::trailer)?,
                State::Done => 0,
            };
        }
        Ok(at)
    }

    /// The connection has ended: so does a response that has no other end.
    ///
    /// # Errors
    /// [`FramingError::Early`] when it should have had more.
    pub fn end(&mut self) -> Result<(), FramingError> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(FramingError::Early),
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, FramingError> {
        if self.held.is_empty() {
            // Most heads come in one piece, and need not be copied.
            if let Some(end) = self.parse_head(bytes)? {
                return Ok(end);
            }
            self.held.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let before = self.held.len();
        let room = (HEAD_MAX + 1).saturating_sub(before).min(bytes.len());
        self.held.extend_from_slice(&bytes[..room]);
        let held = std::mem::take(&mut self.held);
        let end = self.parse_head(&held);
        self.held = held;
        match end? {
            // A head that was not complete before ends in what was added.
            Some(end) => {
                self.held.clear();
                Ok(end.saturating_sub(before))
            }
            None => Ok(room),
        }
    }

    /// Reads a head; returns where it ends, if it does, and sets what comes next.
    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, FramingError> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let end = match response.parse(&bytes[..bytes.len().min(HEAD_MAX)]).map_err(FramingError::Head)? {
            Status::Complete(end) => end,
            Status::Partial if bytes.len() > HEAD_MAX => return Err(FramingError::TooLong(HEAD_MAX)),
            Status::Partial => return Ok(None),
        };
        let status = response.code.unwrap_or(0);
        match status {
            101 => return Err(FramingError::Upgrade),
            // Interim: the response proper follows.
            100..200 => return Ok(Some(end)),
            _ => (),
        }
        let said = Said::of(response.headers)?;
        let modern = response.version == Some(1);
        if said.chunked && said.length.is_some() {
            return Err(FramingError::TwoLengths);
        }
        if said.chunked && !modern {
            return Err(FramingError::Transfer);
        }
        self.state = match said.length {
            _ if matches!(status, 204 | 304) => State::Done,
            _ if said.chunked => State::ChunkLine,
            Some(0) => State::Done,
            Some(length) => State::Length(length),
            None => State::UntilClose,
        };
        let wanted = if modern { !said.close } else { said.keep && !said.close };
        let keep_alive = wanted && self.state != State::UntilClose;
        self.head = Some(Head { status, keep_alive, coding: said.coding });
        Ok(Some(end))
    }

    /// Takes bytes up to the end of a line, or all, and has `whole` look at a line that is there as a whole.
    fn take_line(
        &mut self,
        bytes: &[u8],
        most: usize,
        whole: fn(&mut Self, &[u8]) -> Result<State, FramingError>,
    ) -> Result<usize, FramingError> {
        let end = bytes.iter().position(|b| *b == b'\n');
        let n = end.map_or(bytes.len(), |at| at + 1);
        let len = self.held.len() + n;
        if len > most || (len == most && end.is_none()) {
            return Err(FramingError::TooLong(most));
        }
        self.held.extend_from_slice(&bytes[..n]);
        if end.is_some() {
            let mut line = std::mem::take(&mut self.held);
            self.state = whole(self, &line)?;
            line.clear();
            self.held = line;
        }
        Ok(n)
    }

    fn chunk_begins(&mut self, line: &[u8]) -> Result<State, FramingError> {
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        match httparse::parse_chunk_size(line) {
            // httparse takes a line without digits for one of 0.
            Ok(Status::Complete((n, size))) if n == line.len() && digits > 0 => {
                Ok(if size == 0 { State::Trailers { bytes: 0 } } else { State::Chunk(size) })
            }
            _ => Err(FramingError::Chunk),
        }
    }

    fn chunk_ends(&mut self, line: &[u8]) -> Result<State, FramingError> {
        if line == b"\r\n" { Ok(State::ChunkLine) } else { Err(FramingError::Chunk) }
    }

    fn trailer(&mut self, line: &[u8]) -> Result<State, FramingError> {
        if line == b"\r\n" {
            return Ok(State::Done);
        }
        let State::Trailers { bytes } = self.state else { return Err(FramingError::Trailers) };
        let bytes = bytes + line.len();
        if bytes > HEAD_MAX {
            return Err(FramingError::TooLong(HEAD_MAX));
        }
        let mut closed = line.to_vec();
        closed.extend_from_slice(b"\r\n");
        match httparse::parse_headers(&closed, &mut [httparse::EMPTY_HEADER; 1]) {
            Ok(Status::Complete((n, [_]))) if n == closed.len() => Ok(State::Trailers { bytes }),
            _ => Err(FramingError::Trailers),
        }
    }
}

/// Passes on up to `left` bytes; returns how many, and what is left then.
fn pass(bytes: &[u8], left: u64, content: &mut dyn FnMut(&[u8])) -> (usize, u64) {
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    content(&bytes[..n]);
    (n, left - n as u64)
}

/// What the fields of a head say that concerns us.
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    coding: Coding,
}

impl Said {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, FramingError> {
        let mut said =
            Self { length: None, chunked: false, close: false, keep: false, coding: Coding::Identity };
        for field in fields {
            let value = field.value.trim_ascii();
            if field.name.eq_ignore_ascii_case("content-length") {
                let length = number(value).ok_or(FramingError::Length)?;
                if said.length.is_some_and(|other| other != length) {
                    return Err(FramingError::Length);
                }
                said.length = Some(length);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if said.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingError::Transfer);
                }
                said.chunked = true;
            } else if field.name.eq_ignore_ascii_case("connection") {
                for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    said.close |= token.eq_ignore_ascii_case(b"close");
                    said.keep |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if field.name.eq_ignore_ascii_case("content-encoding") {
                said.coding = match value {
                    _ if said.coding != Coding::Identity => Coding::Other,
                    v if v.eq_ignore_ascii_case(b"gzip") => Coding::Gzip,
                    v if v.eq_ignore_ascii_case(b"identity") => Coding::Identity,
                    _ => Coding::Other,
                };
            }
        }
        Ok(said)
    }
}

/// A number of digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
