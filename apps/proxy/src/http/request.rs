//! Requests as clients send them.

use std::fmt;

use httparse::Status;

use super::body::Framing;
use super::error::Refusal;
use super::field::{self, Fields, Marks, Name, Options, Room, has_underscore, lists};
use super::head::{self, Fault, Length, Limits, Parsed};
use super::negotiate::AcceptEncoding;

mod forward;
mod target;

pub use forward::{Peer, Via, forward};
use target::Target;

/// The longest method.
const METHOD_MAX: usize = 32;

/// The head of a request, a view of the bytes that it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'f, 'b> {
    /// The method, whose case matters.
    pub method: &'b str,
    /// The target as it was sent.
    pub target: &'b str,
    /// The path of the target without the query, `*` if it has none.
    pub path: &'b str,
    /// The query, without its `?`.
    pub query: Option<&'b str>,
    /// Of the version: 0 or 1.
    pub minor: u8,
    /// The host that it is for, with its port if there is one. Requests of HTTP/1.0 may do without.
    pub host: Option<&'b str>,
    /// How its content is framed.
    pub framing: Framing,
    /// Whether the client wants to keep the connection.
    pub keep_alive: bool,
    /// Whether the client waits for a `100 Continue` before it sends the content.
    pub expect_continue: bool,
    /// The protocols that it asks for, if it is one of the upgrades that are passed on.
    pub upgrade: Option<&'b [u8]>,
    /// Whether it may be sent a second time (RFC 9110, 9.2.2).
    pub idempotent: bool,
    /// Whether it is a HEAD: its response has no content.
    pub is_head: bool,
    /// Whether the response may be compressed with gzip.
    pub accepts_gzip: bool,
    /// Whether the client reads fields behind the content.
    pub takes_trailers: bool,
    /// The id that it came with.
    pub request_id: Option<&'b str>,
    /// Bytes of the head, with empty lines before it.
    pub head_len: usize,
    /// Its fields.
    pub fields: Fields<'f, 'b>,
    /// The path and query as a server is asked for them.
    origin: &'b str,
    /// Fields that are not passed on as they came.
    skip: Marks,
    accept_encoding: Marks,
    forwarded: Marks,
    forwarded_for: Marks,
}

/// What the response depends on, to be kept when the request itself is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Of the version: 0 or 1.
    pub minor: u8,
    /// Whether the client wants to keep the connection.
    pub keep_alive: bool,
    /// Whether the request is a HEAD.
    pub is_head: bool,
    /// Whether the response may be compressed with gzip.
    pub accepts_gzip: bool,
    /// Whether the client reads fields behind the content.
    pub takes_trailers: bool,
}

impl Request<'_, '_> {
    /// What the response depends on.
    #[must_use]
    pub fn client(&self) -> Client {
        let &Self { minor, keep_alive, is_head, accepts_gzip, takes_trailers, .. } = self;
        Client { minor, keep_alive, is_head, accepts_gzip, takes_trailers }
    }
}

/// Reads the head of a request.
///
/// # Errors
/// It is refused. What comes after it on the connection cannot be told from its content: the connection is to be closed.
pub fn parse<'f, 'b>(
    bytes: &'b [u8],
    limits: &Limits,
    room: &'f mut Room<'b>,
) -> Result<Parsed<Request<'f, 'b>>, Refusal> {
    let bytes = &bytes[..bytes.len().min(limits.head_bytes)];
    let partial = || {
        if bytes.len() < limits.head_bytes { Ok(Parsed::Partial) } else { Err(Refusal::HeadTooLarge) }
    };
    let Some(start) = head::empty_lines(bytes)? else { return partial() };
    let bytes = &bytes[start..];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, &mut room.0[..limits.room()]);
    let httparse::Request { method, path, version, headers } = parsed;
    match status {
        Ok(Status::Complete(len)) => {
            let head = &bytes[..len];
            head::check_lines(head, headers.len())?;
            let (method, target) = (method.unwrap_or_default(), path.unwrap_or_default());
            let target = Target::parse(method, target, limits)?;
            let fields = Fields::new(head, headers);
            let mut request = Found::default().read(method, target, version.unwrap_or_default(), fields)?;
            request.head_len = start + len;
            Ok(Parsed::Whole(request))
        }
        Ok(Status::Partial) => {
            head::check_beginning(bytes)?;
            target::check_beginning(bytes, method, path, limits)?;
            partial()
        }
        Err(error) => Err(refuse(error, bytes, path)),
    }
}

/// A refusal for what the parser does not take.
#[cold]
fn refuse(error: httparse::Error, bytes: &[u8], target: Option<&str>) -> Refusal {
    let fault = Fault::from(error);
    let Some(target) = target.filter(|_| fault == Fault::Version) else { return fault.into() };
    // The version comes one space behind the target. A version that there is may be refused as one that is not ours.
    let at = target.as_ptr().addr() - bytes.as_ptr().addr() + target.len() + 1;
    match bytes.get(at..).unwrap_or_default() {
        [b'H', b'T', b'T', b'P', b'/', major, ..] if major.is_ascii_digit() => Refusal::Version,
        _ => Refusal::BadRequest("the request line is malformed"),
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(why) => Self::BadRequest(why),
            Fault::Coding(why) => Self::NotImplemented(why),
            Fault::TooManyFields => Self::HeadTooLarge,
            Fault::Version => Self::Version,
        }
    }
}

/// What is found in the fields.
#[derive(Default)]
struct Found<'b> {
    accept: AcceptEncoding,
    accept_encoding: Marks,
    expects: bool,
    expects_other: bool,
    forwarded: Marks,
    forwarded_for: Marks,
    host: Option<&'b [u8]>,
    length: Length,
    no_transform: bool,
    options: Options,
    request_id: Option<&'b [u8]>,
    skip: Marks,
    takes_trailers: bool,
    upgrade: Option<&'b [u8]>,
    upgrades: usize,
}

impl<'b> Found<'b> {
    fn read<'f>(
        mut self,
        method: &'b str,
        target: Target<'b>,
        minor: u8,
        fields: Fields<'f, 'b>,
    ) -> Result<Request<'f, 'b>, Refusal> {
        for (i, (name, value)) in fields.iter().enumerate() {
            self.take(i, name.as_bytes(), value)?;
        }
        self.options.mark_named(&fields, &mut self.skip);
        let framing = self.length.framing(minor)?.unwrap_or(Framing::None);
        if self.expects_other && minor > 0 {
            return Err(Refusal::ExpectationFailed);
        }
        let has_content = !matches!(framing, Framing::None | Framing::Length(0));
        Ok(Request {
            method,
            target: target.as_sent,
            path: target.path,
            query: target.query,
            minor,
            host: self.host(&target, minor)?,
            framing,
            keep_alive: self.options.stays(minor),
            expect_continue: self.expects && minor > 0 && has_content,
            upgrade: self.upgrade(minor, framing),
            idempotent: matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS"),
            is_head: method == "HEAD",
            accepts_gzip: self.accept.takes_gzip() && !self.no_transform,
            takes_trailers: self.takes_trailers && minor > 0,
            request_id: self.request_id.and_then(field::request_id),
            head_len: 0,
            fields,
            origin: target.origin,
            skip: self.skip,
            accept_encoding: self.accept_encoding,
            forwarded: self.forwarded,
            forwarded_for: self.forwarded_for,
        })
    }

    /// Looks at one field.
    #[inline]
    fn take(&mut self, i: usize, name: &[u8], value: &'b [u8]) -> Result<(), Refusal> {
        let kind = Name::of(name);
        match kind {
            Name::AcceptEncoding => {
                self.accept.read(value);
                self.accept_encoding.set(i);
                return Ok(());
            }
            Name::CacheControl => {
                self.no_transform |= lists(value, b"no-transform");
                return Ok(());
            }
            Name::Connection => self.options.read(value).map_err(Refusal::BadRequest)?,
            Name::ContentLength => self.length.read_length(value)?,
            Name::Expect => {
                let is_known = value.eq_ignore_ascii_case(b"100-continue");
                self.expects |= is_known;
                self.expects_other |= !is_known;
            }
            Name::Forwarded => self.forwarded.set(i),
            Name::ForwardedFor => self.forwarded_for.set(i),
            Name::ForwardedOther | Name::Hop => {}
            Name::Host => {
                if self.host.replace(value).is_some() {
                    return Err(Refusal::BadRequest("there is more than one Host"));
                }
            }
            // Of two there is none that could be kept.
            Name::RequestId => self.request_id = Some(if self.request_id.is_none() { value } else { b"" }),
            Name::Te => self.takes_trailers |= lists(value, b"trailers"),
            Name::TransferEncoding => self.length.read_codings(value)?,
            Name::Upgrade => {
                self.upgrade = Some(value);
                self.upgrades += 1;
            }
            _ if has_underscore(name) => {}
            _ => return Ok(()),
        }
        self.skip.set(i);
        Ok(())
    }

    /// The host that the request is for (RFC 9112, 3.2).
    fn host(&self, target: &Target<'b>, minor: u8) -> Result<Option<&'b str>, Refusal> {
        let wrong = Refusal::BadRequest("Host is no host");
        let field = match self.host {
            Some(value) => Some(super::host::check(value).ok_or(wrong)?),
            None if minor > 0 => return Err(Refusal::BadRequest("there is no Host")),
            None => None,
        };
        Ok(target.authority.or(field))
    }

    /// The protocols to change to, if we let the client and the server do so.
    fn upgrade(&self, minor: u8, framing: Framing) -> Option<&'b [u8]> {
        let asked = self.options.upgrade && self.upgrades == 1 && minor > 0 && framing == Framing::None;
        let is_ours = |protocol: &[u8]| {
            let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
            [&b"h2c"[..], b"h2", b"h3", b"http", b"tls"].iter().any(|ours| name.eq_ignore_ascii_case(ours))
        };
        let is_right = |protocol: &[u8]| {
            let mut parts = protocol.splitn(2, |b| *b == b'/');
            parts.all(field::is_token) && !is_ours(protocol)
        };
        let passes = |value: &&[u8]| {
            let mut protocols = field::elements(value).peekable();
            protocols.peek().is_some() && protocols.all(is_right)
        };
        self.upgrade.filter(|_| asked).filter(passes)
    }
}

impl fmt::Display for Request<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} HTTP/1.{}", self.method, self.target, self.minor)
    }
}

#[cfg(test)]
mod tests;
