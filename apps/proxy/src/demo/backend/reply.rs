//! Responses, written to the client as they are made.

use std::io::{self, Write};

use crate::blocking::{Connection, Refused, Request};

/// A response that is being written.
pub struct Reply<'c> {
    to: &'c Connection,
    /// What is written next, in one piece.
    out: Vec<u8>,
    head_only: bool,
    minor: u8,
    keep_alive: bool,
    chunked: bool,
    refused: bool,
}

/// Names and values.
pub type Fields<'f> = &'f [(&'f str, &'f str)];

impl<'c> Reply<'c> {
    /// The response to a request.
    pub fn new(to: &'c Connection, request: &Request) -> Self {
        let head_only = request.method == "HEAD";
        let (minor, keep_alive) = (request.minor, request.keeps_alive());
        Self { to, out: Vec::new(), head_only, minor, keep_alive, chunked: false, refused: false }
    }

    /// The response to what was no request.
    pub fn to_stranger(to: &'c Connection) -> Self {
        Self {
            to,
            out: Vec::new(),
            head_only: false,
            minor: 1,
            keep_alive: false,
            chunked: false,
            refused: true,
        }
    }

    /// Whether the connection may serve another request.
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether [`refuse`](Self::refuse) was called.
    pub fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether only the head is wanted, which changes nothing in it.
    pub fn is_head_only(&self) -> bool {
        self.head_only
    }

    fn head(&mut self, status: u16, fields: Fields<'_>) {
        self.out.clear();
        let _ = write!(self.out, "HTTP/1.1 {status} {}\r\nServer: warpdrive-demo\r\n", reason(status));
        for (name, value) in fields {
            let _ = write!(self.out, "{name}: {value}\r\n");
        }
        match (self.keep_alive, self.minor) {
            (false, _) => self.out.extend_from_slice(b"Connection: close\r\n"),
            (true, 0) => self.out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, _) => {}
        }
    }

    /// The head of a response whose body, of a known length, follows by [`piece`](Self::piece).
    pub fn begin(&mut self, status: u16, fields: Fields<'_>, len: u64) -> io::Result<()> {
        self.head(status, fields);
        if status != 204 && status != 304 {
            let _ = write!(self.out, "Content-Length: {len}\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        self.send()
    }

    /// The head of a response whose body has a length that is not known: it follows by [`piece`](Self::piece), and ends by
    /// [`end`](Self::end). Clients of HTTP/1.0 get it up to the end of the connection.
    pub fn begin_chunked(&mut self, status: u16, fields: Fields<'_>) -> io::Result<()> {
        self.chunked = self.minor == 1;
        self.keep_alive &= self.chunked;
        self.head(status, fields);
        self.out.extend_from_slice(if self.chunked {
            b"Transfer-Encoding: chunked\r\n\r\n"
        } else {
            b"\r\n"
        });
        self.send()
    }

    /// A piece of the body, sent at once.
    pub fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || self.head_only {
            return Ok(());
        }
        if !self.chunked {
            return self.to.send(bytes);
        }
        let _ = write!(self.out, "{:x}\r\n", bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        self.send()
    }

    /// The end of a chunked body.
    pub fn end(&mut self, trailers: Fields<'_>) -> io::Result<()> {
        if !self.chunked || self.head_only {
            return Ok(());
        }
        self.out.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            let _ = write!(self.out, "{name}: {value}\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        self.send()
    }

    /// A whole response.
    pub fn whole(&mut self, status: u16, fields: Fields<'_>, body: &[u8]) -> io::Result<()> {
        self.head(status, fields);
        if status != 204 && status != 304 {
            let _ = write!(self.out, "Content-Length: {}\r\n", body.len());
        }
        self.out.extend_from_slice(b"\r\n");
        if !self.head_only && status != 204 && status != 304 {
            self.out.extend_from_slice(body);
        }
        self.send()
    }

    /// A response to what is not answered.
    pub fn refuse(&mut self, Refused(status, why): Refused) -> io::Result<()> {
        self.refused = true;
        let fields: Fields<'_> = match status {
            405 => &[("Content-Type", TEXT), ("Allow", "GET, HEAD, POST, OPTIONS")],
            426 => &[("Content-Type", TEXT), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[("Content-Type", TEXT)],
        };
        self.whole(status, fields, format!("{status} {}: {why}\n", reason(status)).as_bytes())
    }

    /// The head of a response after which the connection speaks another protocol.
    pub fn switch(&mut self, fields: Fields<'_>) -> io::Result<()> {
        self.head(101, fields);
        self.out.extend_from_slice(b"\r\n");
        self.keep_alive = false;
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = self.to.send(&self.out);
        self.out.clear();
        sent
    }
}

/// The media type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// What a status means (RFC 9110, 15).
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        418 => "I'm a Teapot",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
