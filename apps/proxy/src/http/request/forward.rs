//! Requests as servers get them.

use std::fmt;
use std::io::{Cursor, Write};
use std::net::IpAddr;

use super::Request;
use crate::http::field::Marks;
use crate::http::head::put_framing;

/// The longest text of an IPv6 address.
const ADDRESS_MAX: usize = 39;

/// The address of a client as text, made once for each connection.
#[derive(Clone, Copy)]
pub struct Peer {
    text: [u8; ADDRESS_MAX],
    len: u8,
    is_v6: bool,
}

impl Peer {
    /// The text of an address. IPv4 addresses in IPv6 clothes are undressed.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let mut text = [0; ADDRESS_MAX];
        let mut cursor = Cursor::new(&mut text[..]);
        // Canonical addresses have no longer text, for what would be longer is an IPv4 address.
        let written = write!(cursor, "{address}").is_ok();
        let len = if written { cursor.position() as u8 } else { 0 };
        Self { text, len, is_v6: address.is_ipv6() }
    }

    fn bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes()))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({self})")
    }
}

/// What the server is told besides what the client says.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The client.
    pub peer: &'a Peer,
    /// The scheme the client used: `https`.
    pub proto: &'a str,
    /// An id for a request that came without one; it is to have the characters that [`crate::http::field::request_id`] takes.
    pub request_id: &'a str,
    /// The host to name instead of that of the request.
    pub host: Option<&'a str>,
    /// Whether to ask the server for content that is not compressed, because we do so.
    pub identity: bool,
}

/// Writes the head of a request for a server.
pub fn forward(request: &Request<'_, '_>, via: &Via<'_>, out: &mut Vec<u8>) {
    // Room for what is added, so that it is looked for once.
    out.reserve(request.head_len + 512);
    put_request_line(request, out);
    out.extend_from_slice(b"Host: ");
    out.extend_from_slice(via.host.or(request.host).unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let skip = if via.identity { request.skip | request.accept_encoding } else { request.skip };
    request.fields.copy_except(skip, out);
    if via.identity {
        // Without the field, any coding would do (RFC 9110, 12.5.3).
        out.extend_from_slice(b"Accept-Encoding: identity\r\n");
    }
    put_framing(request.framing, out);
    put_connection(request, out);
    put_forwarded_for(request, via, out);
    put_forwarded(request, via, out);
    put_request_id(request, via, out);
    let via = if request.minor == 0 { b"Via: 1.0 warpdrive\r\n\r\n" } else { b"Via: 1.1 warpdrive\r\n\r\n" };
    out.extend_from_slice(via);
}

fn put_request_line(request: &Request<'_, '_>, out: &mut Vec<u8>) {
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    if !request.origin.starts_with(['/', '*']) {
        out.push(b'/');
    }
    out.extend_from_slice(request.origin.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Connections to servers are kept, which is the default. `Connection` names what is meant for the next hop only.
fn put_connection(request: &Request<'_, '_>, out: &mut Vec<u8>) {
    if request.takes_trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    if let Some(protocols) = request.upgrade {
        out.extend_from_slice(b"Upgrade: ");
        out.extend_from_slice(protocols);
        out.extend_from_slice(b"\r\n");
    }
    match (request.upgrade, request.takes_trailers) {
        (Some(_), true) => out.extend_from_slice(b"Connection: Upgrade, TE\r\n"),
        (Some(_), false) => out.extend_from_slice(b"Connection: Upgrade\r\n"),
        (None, true) => out.extend_from_slice(b"Connection: TE\r\n"),
        (None, false) => {}
    }
}

/// The chain of clients goes on in one field: not all servers read a second one.
fn put_forwarded_for(request: &Request<'_, '_>, via: &Via<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    put_values(request, request.forwarded_for, |_| true, out);
    out.extend_from_slice(via.peer.bytes());
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    out.extend_from_slice(via.proto.as_bytes());
    if let Some(host) = request.host {
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        out.extend_from_slice(host.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The same as RFC 7239 has it.
fn put_forwarded(request: &Request<'_, '_>, via: &Via<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Forwarded: ");
    // What ends within a quoted string would take our element into it.
    put_values(request, request.forwarded, quotes_end, out);
    out.extend_from_slice(if via.peer.is_v6 { b"for=\"[" } else { b"for=" });
    out.extend_from_slice(via.peer.bytes());
    out.extend_from_slice(if via.peer.is_v6 { b"]\"" } else { b"" });
    if let Some(host) = request.host {
        // Hosts have no character that would have to be escaped, but those of ports and of IPv6 are not of tokens.
        let quote: &[u8] = if host.contains(':') { b"\"" } else { b"" };
        out.extend_from_slice(b";host=");
        out.extend_from_slice(quote);
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(quote);
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(via.proto.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the values of fields that are lists, with a comma behind each.
fn put_values(request: &Request<'_, '_>, marks: Marks, is_right: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    if marks.is_empty() {
        return;
    }
    for value in request.fields.marked(marks).filter(|value| !value.is_empty() && is_right(value)) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

fn quotes_end(value: &[u8]) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for byte in value {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
    }
    !is_quoted
}

fn put_request_id(request: &Request<'_, '_>, via: &Via<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Request-Id: ");
    out.extend_from_slice(request.request_id.unwrap_or(via.request_id).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
