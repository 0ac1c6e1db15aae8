//! Fields of heads: what their names mean to a proxy, and which of them are passed on.

use std::mem::MaybeUninit;
use std::ops::BitOr;

use httparse::Header;

use super::MAX_FIELDS;

/// Options of `Connection` that are not known to us: so many are taken, because each is looked for in all fields.
const OTHER_OPTIONS_MAX: usize = 16;
/// The longest request id that is kept.
const REQUEST_ID_MAX: usize = 128;

/// Room for the fields of one head. It costs nothing to make: nothing in it is initialised.
pub struct Room<'b>(pub(super) [MaybeUninit<Header<'b>>; MAX_FIELDS]);

impl Room<'_> {
    /// Room for [`MAX_FIELDS`] fields.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_FIELDS])
    }
}

impl Default for Room<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields of a head, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'f, 'b> {
    /// The head that they are slices of, with the empty line at its end.
    head: &'b [u8],
    list: &'f [Header<'b>],
}

impl<'f, 'b> Fields<'f, 'b> {
    pub(super) fn new(head: &'b [u8], list: &'f [Header<'b>]) -> Self {
        Self { head, list }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'f, 'b> {
        self.list.iter().map(|field| (field.name, field.value))
    }

    /// The value of the first field of a name, whose case is ignored.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The values of marked fields.
    pub(super) fn marked(&self, marks: Marks) -> impl Iterator<Item = &'b [u8]> + use<'f, 'b> {
        self.list.iter().enumerate().filter(move |(i, _)| marks.has(*i)).map(|(_, field)| field.value)
    }

    /// Writes all but some as they came. Neighbours are copied at once.
    pub(super) fn copy_except(&self, skip: Marks, out: &mut Vec<u8>) {
        let count = self.list.len();
        let mut at = 0;
        while at < count {
            let first = at + (skip.0 >> at).trailing_ones() as usize;
            if first >= count {
                break;
            }
            let end = (first + (skip.0 >> first).trailing_zeros() as usize).min(count);
            out.extend_from_slice(&self.head[self.line(first)..self.line(end)]);
            at = end;
        }
    }

    /// Where the line of a field begins in the head; of the one past the last, where the empty line does.
    fn line(&self, i: usize) -> usize {
        match self.list.get(i) {
            Some(field) => field.name.as_ptr().addr() - self.head.as_ptr().addr(),
            None => self.head.len() - 2,
        }
    }
}

/// Some of the fields of a head, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u128);

const _: () = assert!(MAX_FIELDS <= u128::BITS as usize);

impl Marks {
    pub(super) fn set(&mut self, i: usize) {
        self.0 |= 1 << i;
    }

    pub(super) fn has(self, i: usize) -> bool {
        self.0 >> i & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a name means to a proxy. Those that mean the same have one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Other,
    AcceptEncoding,
    /// `Accept-Ranges`: of content that is coded on the fly there are none.
    AcceptRanges,
    CacheControl,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    Date,
    /// Checksums of the content as it is coded.
    Digest,
    Etag,
    Expect,
    Forwarded,
    ForwardedFor,
    /// What else a proxy says of the client: `X-Real-IP`, and `X-Forwarded-` with anything behind it.
    ForwardedOther,
    /// Ends at the next hop, and means nothing to us.
    Hop,
    Host,
    RequestId,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Vary,
}

impl Name {
    /// What a name means. It has the characters of a token only, as the parser has seen to.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Self {
        match name.len() {
            2 if is(name, b"te") => Self::Te,
            4 if is(name, b"host") => Self::Host,
            4 if is(name, b"date") => Self::Date,
            4 if is(name, b"etag") => Self::Etag,
            4 if is(name, b"vary") => Self::Vary,
            6 if is(name, b"expect") => Self::Expect,
            6 if is(name, b"digest") => Self::Digest,
            7 if is(name, b"upgrade") => Self::Upgrade,
            7 if is(name, b"trailer") => Self::Trailer,
            9 if is(name, b"forwarded") => Self::Forwarded,
            9 if is(name, b"x-real-ip") => Self::ForwardedOther,
            10 if is(name, b"connection") => Self::Connection,
            10 if is(name, b"keep-alive") => Self::Hop,
            11 if is(name, b"content-md5") || is(name, b"repr-digest") => Self::Digest,
            12 if is(name, b"content-type") => Self::ContentType,
            12 if is(name, b"x-request-id") => Self::RequestId,
            13 if is(name, b"cache-control") => Self::CacheControl,
            13 if is(name, b"accept-ranges") => Self::AcceptRanges,
            14 if is(name, b"content-length") => Self::ContentLength,
            14 if is(name, b"content-digest") => Self::Digest,
            14 if is(name, b"http2-settings") => Self::Hop,
            15 if is(name, b"accept-encoding") => Self::AcceptEncoding,
            15 if is(name, b"x-forwarded-for") => Self::ForwardedFor,
            16 if is(name, b"content-encoding") => Self::ContentEncoding,
            16 if is(name, b"proxy-connection") => Self::Hop,
            17 if is(name, b"transfer-encoding") => Self::TransferEncoding,
            18 if is(name, b"proxy-authenticate") => Self::Hop,
            19 if is(name, b"proxy-authorization") => Self::Hop,
            25 if is(name, b"proxy-authentication-info") => Self::Hop,
            13.. if is(&name[..12], b"x-forwarded-") => Self::ForwardedOther,
            _ => Self::Other,
        }
    }
}

/// Whether a token is `lower`, which has small letters, digits above `0x20` and `-` only. No other character of tokens
/// becomes one of these by setting the bit that tells small letters from capital ones.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    // All at once, without a branch for each.
    name.len() == N && name.iter().zip(lower).fold(0, |all, (a, b)| all | ((a | 0x20) ^ b)) == 0
}

/// Whether a name has a `_`.
#[inline]
pub(super) fn has_underscore(name: &[u8]) -> bool {
    name.iter().fold(false, |any, b| any | (*b == b'_'))
}

/// Whether a field may come behind the content (RFC 9110, 6.5.1): not if it says how to read the message, whom it is for, or
/// who asks; nor if it is ours to set.
pub(super) fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 20] = [
        "age",
        "authorization",
        "content-language",
        "content-location",
        "content-range",
        "cookie",
        "expires",
        "location",
        "max-forwards",
        "origin",
        "pragma",
        "range",
        "retry-after",
        "server",
        "set-cookie",
        "via",
        "warning",
        "www-authenticate",
        "strict-transport-security",
        "content-security-policy",
    ];
    match Name::of(name.as_bytes()) {
        Name::Digest | Name::Etag => true,
        Name::Other => {
            !has_underscore(name.as_bytes())
                && !name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("if-"))
                && !NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
        }
        _ => false,
    }
}

/// The elements of a list (RFC 9110, 5.6.1), without the empty ones.
#[inline]
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether a list has an element, whose case is ignored. What follows a `=` or `;` is not compared.
pub(super) fn lists(value: &[u8], wanted: &[u8]) -> bool {
    elements(value).any(|element| {
        let word = element.split(|b| matches!(b, b'=' | b';')).next().unwrap_or_default();
        word.trim_ascii_end().eq_ignore_ascii_case(wanted)
    })
}

/// Characters of tokens (RFC 9110, 5.6.2).
pub(super) fn is_token(word: &[u8]) -> bool {
    let is_mark = |b| b"!#$%&'*+-.^_`|~".contains(b);
    !word.is_empty() && word.iter().all(|b| b.is_ascii_alphanumeric() || is_mark(b))
}

/// The request id in a field, if it can be kept: it will be in logs, and on pages that show errors.
#[must_use]
pub fn request_id(value: &[u8]) -> Option<&str> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:+/=@".contains(b);
    let fits = !value.is_empty() && value.len() <= REQUEST_ID_MAX && value.iter().all(is_plain);
    if fits { std::str::from_utf8(value).ok() } else { None }
}

/// What `Connection` says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    others: usize,
}

impl Options {
    /// Reads a `Connection`; an error if it names too many fields.
    pub(super) fn read(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for option in elements(value) {
            match option.len() {
                5 if is(option, b"close") => self.close = true,
                10 if is(option, b"keep-alive") => self.keep_alive = true,
                7 if is(option, b"upgrade") => self.upgrade = true,
                2 if is(option, b"te") => {}
                _ => self.others += 1,
            }
        }
        if self.others > OTHER_OPTIONS_MAX { Err("Connection names too many fields") } else { Ok(()) }
    }

    /// Marks the fields that it names.
    pub(super) fn mark_named(&self, fields: &Fields<'_, '_>, marks: &mut Marks) {
        if self.others == 0 {
            return;
        }
        let connections = fields.iter().filter(|(name, _)| Name::of(name.as_bytes()) == Name::Connection);
        for option in connections.flat_map(|(_, value)| elements(value)) {
            for (i, (name, _)) in fields.iter().enumerate() {
                if name.as_bytes().eq_ignore_ascii_case(option) {
                    marks.set(i);
                }
            }
        }
    }

    /// Whether the connection stays, as far as this says.
    pub(super) fn stays(&self, minor: u8) -> bool {
        !self.close && (minor >= 1 || self.keep_alive)
    }
}

/// Writes a number in decimal.
pub(super) fn put_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
