//! Requests of HTTP/1.1 from a blocking connection, as strict as RFC 9112 allows: what could be read in two ways is refused.

use std::io;
use std::time::{Duration, Instant};

use super::Connection;

/// Bytes of a head.
const HEAD_BYTES: usize = 16 << 10;
/// Fields of a head.
const FIELDS: usize = 100;
/// Bytes of the line before a chunk, and of all trailers.
const LINE_BYTES: usize = 256;
const TRAILER_BYTES: usize = 8 << 10;
/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;
/// Nobody waits longer than this for a byte of a head that has begun.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A request that is refused: the status, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub u16, pub &'static str);

/// How the end of a body is known, and what is still to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or all of it was read.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Chunks; so many bytes of the present one, and whether it is the first.
    Chunks {
        /// Bytes left.
        left: u64,
        /// Nothing of it has been read.
        first: bool,
    },
}

/// The head of a request.
#[derive(Debug)]
pub struct Request {
    /// As sent.
    pub method: String,
    /// As sent; it begins with a slash, or is a star.
    pub target: String,
    /// 0 or 1, of HTTP/1.
    pub minor: u8,
    /// Names and values, in order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Of the body.
    pub framing: Framing,
}

impl Request {
    /// The target without what is behind a question mark.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// What is behind the question mark, or nothing.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The values of a field. Its name is given in any case.
    pub fn all<'r, 'n>(&'r self, name: &'n str) -> impl Iterator<Item = &'r [u8]> + use<'r, 'n> {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// The first value of a field, if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether a list, such as `Connection`, has a word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|b| *b == b','))
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether the connection may serve another request after this one.
    pub fn keeps_alive(&self) -> bool {
        !self.lists("Connection", "close") && (self.minor == 1 || self.lists("Connection", "keep-alive"))
    }
}

/// What comes from a client: what was read, and what is still to be read.
pub struct Input<'c> {
    from: &'c Connection,
    bytes: Vec<u8>,
}

impl<'c> Input<'c> {
    /// Nothing is read yet.
    pub fn new(from: &'c Connection) -> Self {
        Self { from, bytes: Vec::new() }
    }

    /// The next request; `None` if there is none before `idle` has passed, or the client has gone.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn request(&mut self, idle: Duration) -> Result<Option<Request>, Refused> {
        let mut until = (!self.bytes.is_empty()).then(|| Instant::now() + HEAD_TIME);
        loop {
            if let Some((request, len)) = parse(&self.bytes)? {
                self.bytes.drain(..len);
                return Ok(Some(request));
            }
            if self.bytes.len() > HEAD_BYTES {
                return Err(Refused(431, "the head of the request is too long"));
            }
            let time = until.map_or(idle, |until| until.saturating_duration_since(Instant::now()));
            let late = Refused(408, "the head of the request did not come in time");
            if time.is_zero() {
                return Err(late);
            }
            match self.more(time) {
                Ok(0) => return Ok(None),
                Ok(_) => until = until.or_else(|| Some(Instant::now() + HEAD_TIME)),
                Err(e) if is_late(&e) && until.is_some() => return Err(late),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads what there is; 0 at the end.
    fn more(&mut self, time: Duration) -> io::Result<usize> {
        self.from.set_timeouts(time, time)?;
        let len = self.bytes.len();
        self.bytes.resize(len + PIECE, 0);
        let read = loop {
            match self.from.receive(&mut self.bytes[len..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.bytes.truncate(len + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Reads a piece of a body, waiting at most `time`; 0 at its end, and ever after.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is no body; an error if it ends early or does not go on.
    pub fn body(&mut self, framing: &mut Framing, to: &mut [u8], time: Duration) -> io::Result<usize> {
        loop {
            match framing {
                Framing::Nothing | Framing::Length(0) => return Ok(0),
                Framing::Length(left) | Framing::Chunks { left: left @ 1.., .. } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(to.len());
                    let n = self.take(&mut to[..most], time)?;
                    *left -= n as u64;
                    return Ok(n);
                }
                Framing::Chunks { left, first } => {
                    if !*first && !self.line(time, LINE_BYTES)?.is_empty() {
                        return Err(no_body("a chunk is longer than it says"));
                    }
                    (*left, *first) = (chunk_size(&self.line(time, LINE_BYTES)?)?, false);
                    if *left == 0 {
                        self.trailers(time)?;
                        *framing = Framing::Nothing;
                    }
                }
            }
        }
    }

    /// Reads bytes whatever they mean; never none unless `to` is empty.
    ///
    /// # Errors
    /// Those of the connection; [`io::ErrorKind::UnexpectedEof`].
    pub fn take(&mut self, to: &mut [u8], time: Duration) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        if self.bytes.is_empty() && self.more(time)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n = self.bytes.len().min(to.len());
        to[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes.drain(..n);
        Ok(n)
    }

    /// A line without its end.
    fn line(&mut self, time: Duration, most: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.bytes) {
                let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
                line.pop();
                return match line.pop() {
                    Some(b'\r') if !line.contains(&b'\r') && line.len() <= most => Ok(line),
                    _ => Err(no_body("a line does not end as it should")),
                };
            }
            if self.bytes.len() > most {
                return Err(no_body("a line is too long"));
            }
            if self.more(time)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads over trailers.
    fn trailers(&mut self, time: Duration) -> io::Result<()> {
        let mut left = TRAILER_BYTES;
        loop {
            let line = self.line(time, TRAILER_BYTES)?;
            if line.is_empty() {
                return Ok(());
            }
            left = left.checked_sub(line.len()).ok_or_else(|| no_body("the trailers are too long"))?;
        }
    }

    /// Whether bytes have come that nobody has read.
    pub fn has_more(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Where responses go.
    pub fn connection(&self) -> &'c Connection {
        self.from
    }

    /// Tells a client that wants to hear it that the body may come.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn go_ahead(&self, request: &Request) -> io::Result<()> {
        let wanted = request.minor == 1
            && request.framing != Framing::Nothing
            && !self.has_more()
            && request.get("Expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue"));
        if wanted { self.from.send(b"HTTP/1.1 100 Continue\r\n\r\n") } else { Ok(()) }
    }
}

/// Whether an error is that of a timeout.
pub fn is_late(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn no_body(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The number before a chunk; what is behind a semicolon means nothing to us.
fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    let wrong = || no_body("the size of a chunk is none");
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let text = std::str::from_utf8(digits).map_err(|_| wrong())?;
    u64::from_str_radix(text, 16).map_err(|_| wrong())
}

/// A head and its length, if `bytes` have a whole one.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refused> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(len)) => len,
        Err(httparse::Error::TooManyHeaders) => return Err(Refused(431, "there are too many fields")),
        Err(httparse::Error::Version) => return Err(Refused(505, "this server speaks HTTP/1.1")),
        Err(_) => return Err(Refused(400, "this is no request of HTTP/1.1")),
    };
    if len > HEAD_BYTES {
        return Err(Refused(431, "the head of the request is too long"));
    }
    let bare = |end: usize| end == 0 || bytes[end - 1] != b'\r';
    if memchr::memchr_iter(b'\n', &bytes[..len]).any(bare) {
        return Err(Refused(400, "a line ends in a line feed alone"));
    }
    // A complete head has all three.
    let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        minor: head.version.unwrap_or_default(),
        fields: head.headers.iter().map(|f| (f.name.to_owned(), f.value.to_vec())).collect(),
        framing: Framing::Nothing,
    };
    if !(target.starts_with('/') || target == "*" && method == "OPTIONS") {
        return Err(Refused(400, "the target is no path"));
    }
    if !target.bytes().all(|b| b.is_ascii_graphic()) || target.contains('#') {
        return Err(Refused(400, "the target has characters that no target may have"));
    }
    let hosts = request.all("Host").count();
    if hosts > 1 || request.minor == 1 && hosts == 0 {
        return Err(Refused(400, "a request has one Host"));
    }
    request.framing = framing(&request)?;
    Ok(Some((request, len)))
}

fn framing(request: &Request) -> Result<Framing, Refused> {
    let mut codings = request.all("Transfer-Encoding");
    let mut lengths = request.all("Content-Length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::Nothing),
        (Some(_), Some(_)) => {
            Err(Refused(400, "a body has a Content-Length or a Transfer-Encoding, not both"))
        }
        (Some(_), None) if request.minor == 0 => Err(Refused(400, "HTTP/1.0 has no Transfer-Encoding")),
        (Some(coding), None) => {
            if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused(501, "the one transfer coding here is chunked"));
            }
            Ok(Framing::Chunks { left: 0, first: true })
        }
        (None, Some(length)) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            match (lengths.next(), digits, number) {
                (None, true, Some(0)) => Ok(Framing::Nothing),
                (None, true, Some(number)) => Ok(Framing::Length(number)),
                _ => Err(Refused(400, "the Content-Length is no number")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
