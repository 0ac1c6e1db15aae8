//! What requests are given on their way, besides what the client sent.

use crate::http::request::Peer;

/// Where a request came from.
pub(super) struct From<'a> {
    pub(super) peer: &'a Peer,
    /// Its number, if the client gave it none.
    pub(super) id: &'a [u8; 32],
    /// Whether its connection is closed after it.
    pub(super) close: bool,
}

/// Makes a number for a request: 128 random bits in hexadecimal. It is no secret.
pub(super) fn make_id(id: &mut [u8; 32]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = fastrand::u128(..);
    for digit in id {
        *digit = DIGITS[(bits & 15) as usize];
        bits >>= 4;
    }
}

/// It as text.
pub(super) fn text(id: &[u8; 32]) -> &str {
    std::str::from_utf8(id).unwrap_or_default()
}
