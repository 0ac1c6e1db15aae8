//! Whether a response is compressed on its way.

use super::field::elements;
use super::response::Response;

/// What clients say with `Accept-Encoding` (RFC 9110, 12.5.3), which may be several fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptEncoding {
    gzip: Option<bool>,
    any: Option<bool>,
    is_malformed: bool,
}

impl AcceptEncoding {
    /// Reads a field.
    pub fn read(&mut self, value: &[u8]) {
        for element in elements(value) {
            let (coding, weight) = match memchr::memchr(b';', element) {
                None => (element, Some(true)),
                Some(at) => (element[..at].trim_ascii_end(), is_wanted(element[at + 1..].trim_ascii_start())),
            };
            let Some(wanted) = weight else {
                self.is_malformed = true;
                continue;
            };
            let said = match coding {
                [b'*'] => &mut self.any,
                _ if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => {
                    &mut self.gzip
                }
                _ => continue,
            };
            // Of two that differ, no is the one that does no harm.
            *said = Some(said.unwrap_or(true) && wanted);
        }
    }

    /// Whether a response may be coded with gzip.
    #[must_use]
    pub fn takes_gzip(&self) -> bool {
        !self.is_malformed && self.gzip.or(self.any).unwrap_or(false)
    }
}

/// Whether a weight is above 0; `None` if it is none.
fn is_wanted(weight: &[u8]) -> Option<bool> {
    let ([b'q' | b'Q', b'=', whole], rest) = weight.split_at_checked(3)? else { return None };
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let is_zero = digits.iter().all(|digit| *digit == b'0');
    match whole {
        b'0' if digits.iter().all(u8::is_ascii_digit) => Some(!is_zero),
        b'1' if is_zero => Some(true),
        _ => None,
    }
}

/// Whether a value of `Accept-Encoding` takes gzip. What is malformed takes nothing.
#[must_use]
pub fn accepts_gzip(value: &[u8]) -> bool {
    let mut accept = AcceptEncoding::default();
    accept.read(value);
    accept.takes_gzip()
}

/// The media type of a `Content-Type`, without its parameters.
#[must_use]
pub fn media_type(content_type: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    content_type[..end].trim_ascii()
}

/// A list of media types: `text/*`, `application/json`, `application/*+json`, `*/*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(Vec<Pattern>);

/// In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exactly(String),
    /// The beginning, with the slash, and the end.
    Between(String, String),
}

/// What is in a list of media types is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no media type: write one as `text/html`, `text/*`, `application/*+json` or `*/*`, without parameters"
)]
pub struct NoMediaType(pub String);

impl Types {
    /// Reads a list.
    ///
    /// # Errors
    /// [`NoMediaType`] names the first entry that is none.
    pub fn parse<T: AsRef<str>>(list: &[T]) -> Result<Self, NoMediaType> {
        list.iter().map(|entry| Pattern::parse(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a `Content-Type` is of one of them. Its parameters and its case are ignored.
    #[must_use]
    pub fn matches(&self, content_type: &[u8]) -> bool {
        let media_type = media_type(content_type);
        self.0.iter().any(|pattern| pattern.matches(media_type))
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, NoMediaType> {
        let wrong = || NoMediaType(entry.to_owned());
        let lower = entry.trim().to_ascii_lowercase();
        let (kind, subtype) = lower.split_once('/').ok_or_else(wrong)?;
        let is_name = |name: &str| super::field::is_token(name.as_bytes()) && !name.contains('*');
        match subtype.strip_prefix('*') {
            Some("") if kind == "*" => Ok(Self::Any),
            Some(end) if is_name(kind) && (end.is_empty() || end.strip_prefix('+').is_some_and(is_name)) => {
                Ok(Self::Between(format!("{kind}/"), end.to_owned()))
            }
            None if is_name(kind) && is_name(subtype) => Ok(Self::Exactly(lower)),
            _ => Err(wrong()),
        }
    }

    fn matches(&self, media_type: &[u8]) -> bool {
        let is =
            |part: Option<&[u8]>, lower: &str| part.is_some_and(|p| p.eq_ignore_ascii_case(lower.as_bytes()));
        match self {
            Self::Any => !media_type.is_empty(),
            Self::Exactly(name) => is(Some(media_type), name),
            Self::Between(start, end) => {
                let (head, tail) = (media_type.get(..start.len()), media_type.get(start.len()..));
                let end_at = tail.and_then(|tail| tail.len().checked_sub(end.len()).filter(|at| *at > 0));
                is(head, start) && is(tail.and_then(|tail| tail.get(end_at?..)), end)
            }
        }
    }
}

/// Which responses are compressed.
#[derive(Clone, Debug, Default)]
pub struct Compression {
    /// Of these types.
    pub types: Types,
    /// With at least so many bytes, if the length is known.
    pub min_bytes: u64,
}

/// What is done with a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It is compressed.
    pub gzip: bool,
    /// It depends on what the client accepts, and says so.
    pub vary: bool,
}

impl Compression {
    /// Whether a response is compressed for a client. That of a HEAD is not, though it varies as that of a GET does.
    #[must_use]
    pub fn decide(&self, accepts_gzip: bool, is_head: bool, response: &Response<'_, '_>) -> Decision {
        // 206 is a part of what is not coded, 205 and the others have no content.
        let has_content = !matches!(response.status, ..200 | 204..=206 | 304);
        let is_long = response.content_length.is_none_or(|length| length >= self.min_bytes.max(1));
        let vary = has_content
            && is_long
            && !response.is_encoded
            && !response.no_transform
            && response.content_type.is_some_and(|content_type| self.types.matches(content_type));
        Decision { gzip: vary && accepts_gzip && !is_head, vary }
    }
}

#[cfg(test)]
mod tests;
