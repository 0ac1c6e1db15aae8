//! What heads of requests and responses have in common: limits, ends of lines, the length of the content.

use httparse::Error;

use super::MAX_FIELDS;
use super::body::Framing;
use super::field::{elements, is_token};

/// Empty lines that may come before a request (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 4;

/// How much of a head is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, with the empty line at its end.
    pub head_bytes: usize,
    /// Bytes of a request's target.
    pub target_bytes: usize,
    /// Fields, at most [`MAX_FIELDS`].
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 32 << 10, target_bytes: 8 << 10, fields: 100 }
    }
}

impl Limits {
    pub(super) fn room(&self) -> usize {
        self.fields.min(MAX_FIELDS)
    }
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// Its end has not come yet, and nothing is wrong with its beginning. Fields are judged once it is whole.
    Partial,
    /// It is whole.
    Whole(T),
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(&'static str),
    /// A transfer coding that we do not know.
    Coding(&'static str),
    TooManyFields,
    Version,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Malformed(match error {
            Error::HeaderName => "a field's name is malformed, or a line is folded",
            Error::HeaderValue => "a field's value has a control character",
            Error::NewLine => "a line ends in something else than CR LF",
            Error::Status => "the status line is malformed",
            Error::Token => "the request line is malformed",
            Error::TooManyHeaders => return Self::TooManyFields,
            Error::Version => return Self::Version,
        })
    }
}

/// How many bytes of empty lines there are before a request; `None` if its first line has not begun.
pub(super) fn empty_lines(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let mut at = 0;
    loop {
        at = match bytes[at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] if at < EMPTY_LINES_MAX * 2 => at + 2,
            [b'\r' | b'\n', ..] => return Err(Fault::Malformed("there are empty lines before the request")),
            _ => return Ok(Some(at)),
        }
    }
}

/// Whether all lines of a head that the parser has taken end in CR LF: it takes bare LFs as well. It takes CRs only before
/// LFs, and so there is one for each line if there are no bare LFs.
pub(super) fn check_lines(head: &[u8], fields: usize) -> Result<(), Fault> {
    // The first line, the fields, and the empty line.
    let lines = fields + 2;
    if memchr::memchr_iter(b'\r', head).count() == lines {
        Ok(())
    } else {
        Err(Fault::Malformed("a line ends in a bare LF"))
    }
}

/// The same of the beginning of a head.
pub(super) fn check_beginning(bytes: &[u8]) -> Result<(), Fault> {
    let is_right = |at: usize| at > 0 && bytes[at - 1] == b'\r';
    if memchr::memchr_iter(b'\n', bytes).all(is_right) {
        Ok(())
    } else {
        Err(Fault::Malformed("a line ends in a bare LF"))
    }
}

/// What a head says of the length of the content.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Length {
    pub(super) given: Option<u64>,
    chunked: bool,
}

impl Length {
    /// Reads a `Content-Length`.
    pub(super) fn read_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.given.is_some() {
            return Err(Fault::Malformed("there is more than one Content-Length"));
        }
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        let number = if is_number { value.iter().try_fold(0, add) } else { None };
        self.given = Some(number.ok_or(Fault::Malformed("Content-Length is not a number below 2^64"))?);
        Ok(())
    }

    /// Reads a `Transfer-Encoding`.
    pub(super) fn read_codings(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(Fault::Malformed("there is more than one Transfer-Encoding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Self::refuse_codings(value));
        }
        self.chunked = true;
        Ok(())
    }

    #[cold]
    fn refuse_codings(value: &[u8]) -> Fault {
        let is = |coding: &[u8], name: &[u8]| coding.eq_ignore_ascii_case(name);
        let count = elements(value).count();
        let chunked = elements(value).position(|coding| is(coding, b"chunked"));
        let is_right = count == value.split(|b| *b == b',').count()
            && elements(value).all(|coding| is_token(coding) && !is(coding, b"identity"))
            // Once, and around all others.
            && chunked.is_none_or(|at| at + 1 == count);
        if is_right && count > usize::from(chunked.is_some()) {
            Fault::Coding("a Transfer-Encoding other than chunked")
        } else {
            Fault::Malformed("Transfer-Encoding is malformed")
        }
    }

    /// How the content is framed, if the head says so.
    pub(super) fn framing(&self, minor: u8) -> Result<Option<Framing>, Fault> {
        match (self.given, self.chunked) {
            (Some(_), true) => Err(Fault::Malformed("there are both Content-Length and Transfer-Encoding")),
            (None, true) if minor == 0 => Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Ok(Some(Framing::Chunked)),
            (Some(length), false) => Ok(Some(Framing::Length(length))),
            (None, false) => Ok(None),
        }
    }
}

/// Writes the field that frames the content.
pub(super) fn put_framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            super::field::put_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

#[cfg(test)]
mod tests;
