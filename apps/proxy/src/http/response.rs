//! Responses as servers send them.

use httparse::{ParserConfig, Status};

use super::body::Framing;
use super::error::Refusal;
use super::field::{Fields, Marks, Name, Options, Room, elements, lists};
use super::head::{self, Fault, Length, Limits, Parsed};
use super::negotiate::media_type;

mod forward;

pub use forward::{Plan, forward};

/// The head of a response, a view of the bytes that it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Response<'f, 'b> {
    /// 100 to 599.
    pub status: u16,
    /// Of the version: 0 or 1.
    pub minor: u8,
    /// How its content is framed (RFC 9112, 6.3).
    pub framing: Framing,
    /// Whether the connection may be used again, once the content has been read.
    pub keep_alive: bool,
    /// Bytes of the head.
    pub head_len: usize,
    /// `Content-Length`, which is also there where content is not: in responses to HEAD and with status 304.
    pub content_length: Option<u64>,
    /// `Content-Type`.
    pub content_type: Option<&'b [u8]>,
    /// Whether the content is coded already.
    pub is_encoded: bool,
    /// Whether the content is to stay as it is.
    pub no_transform: bool,
    /// Whether it is a stream of events, each of which is to be passed on at once.
    pub is_event_stream: bool,
    /// The protocol that the connection changes to with status 101, or should with 426.
    pub upgrade: Option<&'b [u8]>,
    /// Its fields.
    pub fields: Fields<'f, 'b>,
    /// What is behind the status in the first line, without the space.
    reason: &'b [u8],
    marks: FieldMarks,
}

/// Fields that are not always passed on as they came.
#[derive(Clone, Copy, Debug, Default)]
struct FieldMarks {
    /// Never.
    skip: Marks,
    /// Not if the content is compressed.
    coded: Marks,
    etag: Marks,
    date: Marks,
    request_id: Marks,
    trailer: Marks,
    vary: Marks,
    /// Whether one of those depends on `Accept-Encoding`, or on everything.
    varies: bool,
}

impl Response<'_, '_> {
    /// Whether another response to the same request follows it. That with status 101 is the last.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Why bytes are no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadResponse {
    /// It breaks a rule, or can be read in two ways.
    #[error("what the server sent is no response of HTTP/1.1 that could be passed on: {0}")]
    Malformed(&'static str),
    /// Its head is too long.
    #[error("the head of the server's response is too long, or has too many fields: see the limits of heads")]
    HeadTooLarge,
}

impl From<Fault> for BadResponse {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(why) | Fault::Coding(why) => Self::Malformed(why),
            Fault::TooManyFields => Self::HeadTooLarge,
            Fault::Version => Self::Malformed("its version is neither HTTP/1.1 nor HTTP/1.0"),
        }
    }
}

impl From<BadResponse> for Refusal {
    fn from(bad: BadResponse) -> Self {
        Self::BadGateway(match bad {
            BadResponse::Malformed(why) => why,
            BadResponse::HeadTooLarge => "the head of the response is too long",
        })
    }
}

/// Reads the head of a response to a request, which was a HEAD or was not.
///
/// # Errors
/// It is not to be passed on, and the connection to be closed.
pub fn parse<'f, 'b>(
    bytes: &'b [u8],
    is_head: bool,
    limits: &Limits,
    room: &'f mut Room<'b>,
) -> Result<Parsed<Response<'f, 'b>>, BadResponse> {
    let bytes = &bytes[..bytes.len().min(limits.head_bytes)];
    if let [first, ..] = bytes
        && *first != b'H'
    {
        // The parser would take empty lines here.
        return Err(Fault::Version.into());
    }
    let mut parsed = httparse::Response::new(&mut []);
    let room = &mut room.0[..limits.room()];
    let status = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, room);
    match status.map_err(Fault::from)? {
        Status::Complete(len) => {
            let head = &bytes[..len];
            head::check_lines(head, parsed.headers.len())?;
            let (status, minor) = (parsed.code.unwrap_or_default(), parsed.version.unwrap_or_default());
            let fields = Fields::new(head, parsed.headers);
            Found::default().read(head, status, minor, is_head, fields).map(Parsed::Whole)
        }
        Status::Partial => {
            head::check_beginning(bytes)?;
            parsed.code.map_or(Ok(()), check_status)?;
            if bytes.len() < limits.head_bytes { Ok(Parsed::Partial) } else { Err(BadResponse::HeadTooLarge) }
        }
    }
}

fn check_status(status: u16) -> Result<(), BadResponse> {
    let is_right = (100..600).contains(&status);
    if is_right { Ok(()) } else { Err(BadResponse::Malformed("its status is not between 100 and 599")) }
}

/// What is found in the fields.
#[derive(Default)]
struct Found<'b> {
    content_type: Option<&'b [u8]>,
    is_encoded: bool,
    length: Length,
    marks: FieldMarks,
    no_transform: bool,
    options: Options,
    upgrade: Option<&'b [u8]>,
}

impl<'b> Found<'b> {
    fn read<'f>(
        mut self,
        head: &'b [u8],
        status: u16,
        minor: u8,
        is_head: bool,
        fields: Fields<'f, 'b>,
    ) -> Result<Response<'f, 'b>, BadResponse> {
        check_status(status)?;
        for (i, (name, value)) in fields.iter().enumerate() {
            self.take(i, name.as_bytes(), value)?;
        }
        self.options.mark_named(&fields, &mut self.marks.skip);
        let said = self.length.framing(minor)?;
        let framing = match status {
            100..=199 | 204 | 304 => Framing::None,
            _ if is_head => Framing::None,
            _ => said.unwrap_or(Framing::UntilClose),
        };
        // Who frames what may not be there may also send it.
        let is_lying = matches!(status, 100..=199 | 204) && !matches!(said, None | Some(Framing::Length(0)));
        Ok(Response {
            status,
            minor,
            framing,
            keep_alive: self.options.stays(minor) && framing != Framing::UntilClose && !is_lying,
            head_len: head.len(),
            content_length: self.length.given,
            content_type: self.content_type,
            is_encoded: self.is_encoded,
            no_transform: self.no_transform,
            is_event_stream: self
                .content_type
                .is_some_and(|value| media_type(value).eq_ignore_ascii_case(b"text/event-stream")),
            upgrade: self.upgrade.filter(|value| matches!(status, 101 | 426) && !value.is_empty()),
            fields,
            reason: reason(head),
            marks: self.marks,
        })
    }

    /// Looks at one field.
    #[inline]
    fn take(&mut self, i: usize, name: &[u8], value: &'b [u8]) -> Result<(), BadResponse> {
        let marks = &mut self.marks;
        match Name::of(name) {
            Name::AcceptRanges | Name::Digest => marks.coded.set(i),
            Name::CacheControl => self.no_transform |= lists(value, b"no-transform"),
            Name::Connection => {
                self.options.read(value).map_err(BadResponse::Malformed)?;
                marks.skip.set(i);
            }
            Name::ContentEncoding => {
                self.is_encoded |= elements(value).any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
                marks.coded.set(i);
            }
            Name::ContentLength => {
                self.length.read_length(value)?;
                marks.skip.set(i);
            }
            Name::ContentType => self.content_type = self.content_type.or(Some(value)),
            Name::Date => marks.date.set(i),
            Name::Etag => {
                marks.etag.set(i);
                marks.coded.set(i);
            }
            Name::Hop | Name::Te => marks.skip.set(i),
            Name::RequestId => marks.request_id.set(i),
            Name::Trailer => marks.trailer.set(i),
            Name::TransferEncoding => {
                self.length.read_codings(value)?;
                marks.skip.set(i);
            }
            Name::Upgrade => {
                self.upgrade = self.upgrade.or(Some(value));
                marks.skip.set(i);
            }
            Name::Vary => {
                marks.vary.set(i);
                marks.varies |= lists(value, b"accept-encoding") || lists(value, b"*");
            }
            _ => {}
        }
        Ok(())
    }
}

/// What is behind `HTTP/1.1 200` and a space in the first line of a head, to its end. Both may be missing.
fn reason(head: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\r', head).unwrap_or(head.len());
    head[..end].get(13..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
