//! HTTP/1.1 messages, read strictly and by nothing of ours.

use std::io::{self, Read};

/// Fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of a field that is there once at most.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let first = all.next();
        assert!(all.next().is_none(), "{name} is there twice: {self:?}");
        first
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub line: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads messages from a stream.
pub struct Reader<S> {
    stream: S,
    have: Vec<u8>,
}

impl<S: Read> Reader<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, have: Vec::new() }
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 << 10];
        let n = self.stream.read(&mut bytes)?;
        self.have.extend_from_slice(&bytes[..n]);
        Ok(n > 0)
    }

    /// What is there, or comes next; nothing at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.have.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.have))
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.have.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8(self.have[..at].to_vec()).map_err(|e| bad(e.to_string()))?;
                self.have.drain(..at + 2);
                return if line.contains(['\r', '\n']) { Err(bad("a bare CR or LF")) } else { Ok(line) };
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fields(&mut self) -> io::Result<Fields> {
        let mut fields = Fields::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("no field: {line:?}")))?;
            fields.0.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The first line and the fields of a message; `None` if the stream ends before it.
    pub fn head(&mut self) -> io::Result<Option<(String, Fields)>> {
        if self.have.is_empty() && !self.fill()? {
            return Ok(None);
        }
        Ok(Some((self.line()?, self.fields()?)))
    }

    /// A body as its fields frame it, a piece at a time, and the trailers behind it. Without framing there is none, unless
    /// `until_end` is set.
    pub fn body(
        &mut self,
        fields: &Fields,
        until_end: bool,
        mut piece: impl FnMut(&[u8]),
    ) -> io::Result<Fields> {
        match (fields.get("transfer-encoding"), fields.get("content-length")) {
            (Some(_), Some(_)) => Err(bad("both framings")),
            (Some("chunked"), None) => loop {
                let line = self.line()?;
                let size = u64::from_str_radix(&line, 16).map_err(|_| bad(format!("no size: {line:?}")))?;
                if size == 0 {
                    return self.fields();
                }
                self.exactly(size, &mut piece)?;
                if !self.line()?.is_empty() {
                    return Err(bad("a chunk does not end"));
                }
            },
            (Some(other), None) => Err(bad(format!("a coding: {other}"))),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| bad(format!("no length: {length:?}")))?;
                self.exactly(length, &mut piece)?;
                Ok(Fields::default())
            }
            (None, None) if until_end => loop {
                let some = self.some()?;
                if some.is_empty() {
                    return Ok(Fields::default());
                }
                piece(&some);
            },
            (None, None) => Ok(Fields::default()),
        }
    }

    fn exactly(&mut self, mut left: u64, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.have.is_empty() && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let n = self.have.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            piece(&self.have[..n]);
            self.have.drain(..n);
            left -= n as u64;
        }
        Ok(())
    }

    /// A response to a request of this method.
    pub fn response(&mut self, method: &str) -> io::Result<Response> {
        let (line, fields) = self.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.ok_or_else(|| bad(format!("no status line: {line:?}")))?;
        let mut body = Vec::new();
        let trailers = if method == "HEAD" || matches!(status, ..200 | 204 | 304) {
            Fields::default()
        } else {
            self.body(&fields, true, |piece| body.extend_from_slice(piece))?
        };
        Ok(Response { status, line, fields, body, trailers })
    }
}
