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

    /// Whether nothing of it has come.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.state == State::Head && self.head.is_none() && self.held.is_empty()
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
mod tests {
    use super::*;

    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n\
        5;name=value\r\nhello\r\n00a\r\n, world!!!\r\n0\r\nExpires: never\r\n\r\n";
    const INTERIM: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// All that is read of bytes that come in the pieces given.
    fn read(pieces: &[&[u8]]) -> Result<(Response, Vec<u8>, usize), FramingError> {
        let (mut response, mut content, mut taken) = (Response::default(), Vec::new(), 0);
        for piece in pieces {
            taken += response.feed(piece, &mut |c| content.extend_from_slice(c))?;
        }
        Ok((response, content, taken))
    }

    fn head(bytes: &[u8]) -> Head {
        read(&[bytes]).unwrap().0.head().unwrap()
    }

    fn error(head: &str) -> FramingError {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        read(&[text.as_bytes()]).err().unwrap_or_else(|| panic!("{head} is taken"))
    }

    #[test]
    fn content_comes_out_wherever_the_bytes_are_split() {
        for (whole, content) in [(LENGTH, &b"hello"[..]), (CHUNKED, b"hello, world!!!"), (INTERIM, b"ok")] {
            for first in 0..=whole.len() {
                for second in first..=whole.len() {
                    let pieces = [&whole[..first], &whole[first..second], &whole[second..]];
                    let (response, found, taken) = read(&pieces).unwrap();
                    assert!(response.is_done(), "{first} {second}");
                    assert_eq!((&found[..], taken), (content, whole.len()), "{first} {second}");
                }
            }
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(read(&bytes).unwrap().1, content);
        }
    }

    #[test]
    fn a_response_is_not_done_before_its_last_byte_and_takes_nothing_beyond() {
        for whole in [LENGTH, CHUNKED, INTERIM] {
            for end in 0..whole.len() {
                let (mut response, ..) = read(&[&whole[..end]]).unwrap();
                assert!(!response.is_done(), "{end}");
                assert_eq!(response.end(), Err(FramingError::Early), "{end}");
            }
            let mut more = whole.to_vec();
            more.extend_from_slice(b"HTTP/1.1");
            let (response, _, taken) = read(&[&more]).unwrap();
            assert!(response.is_done() && taken == whole.len());
        }
    }

    #[test]
    fn a_response_without_a_length_ends_with_the_connection() {
        let (mut response, content, _) = read(&[b"HTTP/1.0 200 ok\r\n\r\nhel", b"lo"]).unwrap();
        assert!(!response.is_done() && content == b"hello" && !response.head().unwrap().keep_alive);
        response.end().unwrap();
        assert!(response.is_done());
        response.reset();
        assert!(response.is_fresh() && response.end().is_err());
    }

    #[test]
    fn heads_say_whether_the_connection_stays_and_how_content_is_coded() {
        let keeps = |text: &str| head(format!("{text}\r\nContent-Length: 0\r\n\r\n").as_bytes()).keep_alive;
        assert!(keeps("HTTP/1.1 200 OK") && !keeps("HTTP/1.0 200 OK"));
        assert!(keeps("HTTP/1.0 200 OK\r\nConnection: Keep-Alive"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nConnection: te, Close"));
        assert_eq!(head(CHUNKED).coding, Coding::Gzip);
        assert_eq!(head(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").status, 404);
        let twice =
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(head(twice).coding, Coding::Other);
        let (response, ..) = read(&[b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"]).unwrap();
        assert!(response.is_done(), "it has no content whatever it says");
    }

    #[test]
    fn lengths_that_could_be_read_in_two_ways_are_refused() {
        for wrong in ["", "-1", "+1", "0x1", "1, 1", "99999999999999999999", "1 1"] {
            assert_eq!(error(&format!("Content-Length: {wrong}")), FramingError::Length, "{wrong}");
        }
        assert_eq!(error("Content-Length: 1\r\nContent-Length: 2"), FramingError::Length);
        assert_eq!(error("Content-Length: 1\r\nTransfer-Encoding: chunked"), FramingError::TwoLengths);
        for wrong in ["gzip, chunked", "identity", "", "chunked\r\nTransfer-Encoding: chunked"] {
            assert_eq!(error(&format!("Transfer-Encoding: {wrong}")), FramingError::Transfer, "{wrong}");
        }
        let old = read(&[b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]);
        assert_eq!(old.err(), Some(FramingError::Transfer));
        assert_eq!(read(&[b"HTTP/1.1 101 x\r\n\r\n"]).err(), Some(FramingError::Upgrade));
    }

    #[test]
    fn chunks_that_are_none_are_refused() {
        let chunks = |text: &str| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            read(&[head.as_bytes(), text.as_bytes()]).err()
        };
        for wrong in
            ["\r\n", "x\r\n", "5\n", ";a=b\r\n", "-5\r\n", "11112222333344445\r\n", "1\r\nabc", "1\r\na\n"]
        {
            assert!(chunks(wrong).is_some(), "{wrong:?}");
        }
        assert_eq!(chunks("0\r\nno field\r\n\r\n"), Some(FramingError::Trailers));
        assert_eq!(chunks("0\r\n folded: x\r\n\r\n"), Some(FramingError::Trailers));
        assert_eq!(chunks(&"1".repeat(CHUNK_LINE_MAX + 1)), Some(FramingError::TooLong(CHUNK_LINE_MAX)));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(HEAD_MAX / 6 + 1));
        assert_eq!(chunks(&trailers), Some(FramingError::TooLong(HEAD_MAX)));
    }

    #[test]
    fn a_head_without_an_end_is_not_kept_for_ever() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(2 * HEAD_MAX));
        assert_eq!(read(&[long.as_bytes()]).err(), Some(FramingError::TooLong(HEAD_MAX)));
        let bytes: Vec<&[u8]> = long.as_bytes().chunks(1000).collect();
        assert_eq!(read(&bytes).err(), Some(FramingError::TooLong(HEAD_MAX)));
    }
}
