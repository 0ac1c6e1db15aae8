//! Responses as clients get them.

use super::Response;
use crate::http::body::Framing;
use crate::http::field::put_decimal;
use crate::http::head::put_framing;
use crate::http::negotiate::Decision;
use crate::http::request::Client;

/// How a response is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    /// How its content is framed then.
    pub framing: Framing,
    /// Whether we compress it.
    pub gzip: bool,
    /// Whether it depends on what the client accepts, and is to say so.
    pub vary: bool,
    /// Whether the connection to the client ends with it.
    pub close: bool,
    /// Of the client's version: 0 or 1.
    pub client_minor: u8,
    /// Written as `Date` if the server has sent none, unless empty (RFC 9110, 6.6.1).
    pub date: &'a [u8],
    /// Written as `X-Request-Id` if the server has sent none, unless empty.
    pub request_id: &'a str,
}

impl Plan<'_> {
    /// The plan for a response and the client that it is for. Without a date and an id of the request.
    #[must_use]
    pub fn new(client: &Client, response: &Response<'_, '_>, decision: Decision) -> Self {
        // Of a length that is not known, or not before the end.
        let open = if client.minor == 0 { Framing::UntilClose } else { Framing::Chunked };
        let framing = match response.framing {
            Framing::None => Framing::None,
            Framing::Length(length) if !decision.gzip => Framing::Length(length),
            _ => open,
        };
        Self {
            framing,
            gzip: decision.gzip,
            vary: decision.vary,
            close: !client.keep_alive || framing == Framing::UntilClose,
            client_minor: client.minor,
            date: b"",
            request_id: "",
        }
    }
}

/// Writes the head of a response for a client.
pub fn forward(response: &Response<'_, '_>, plan: &Plan<'_>, out: &mut Vec<u8>) {
    // Room for what is added, so that it is looked for once.
    out.reserve(response.head_len + 256);
    put_status_line(response, out);
    let marks = &response.marks;
    let mut skip = marks.skip;
    if plan.gzip {
        skip = skip | marks.coded;
    }
    let adds_vary = plan.vary && !marks.varies;
    if adds_vary {
        skip = skip | marks.vary;
    }
    if plan.framing != Framing::Chunked && response.framing != Framing::None {
        // Nothing comes behind the content.
        skip = skip | marks.trailer;
    }
    response.fields.copy_except(skip, out);
    if plan.gzip {
        put_gzip(response, out);
    }
    if adds_vary {
        put_vary(response, out);
    }
    put_length(response, plan, out);
    put_connection(response, plan, out);
    if response.status >= 200 {
        put_missing(response, plan, out);
    }
    let via = if response.minor == 0 { b"Via: 1.0 warpdrive\r\n\r\n" } else { b"Via: 1.1 warpdrive\r\n\r\n" };
    out.extend_from_slice(via);
}

fn put_status_line(response: &Response<'_, '_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_decimal(response.status.into(), out);
    // The space is not optional, what follows it is.
    out.push(b' ');
    out.extend_from_slice(response.reason);
    out.extend_from_slice(b"\r\n");
}

/// What compressed content is called. It has the same meaning, but not the same bytes: its tag becomes a weak one.
fn put_gzip(response: &Response<'_, '_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Encoding: gzip\r\n");
    for tag in response.fields.marked(response.marks.etag) {
        let weak: &[u8] = match tag {
            [b'W', b'/', b'"', ..] => b"",
            [b'"', ..] => b"W/",
            _ => continue,
        };
        out.extend_from_slice(b"ETag: ");
        out.extend_from_slice(weak);
        out.extend_from_slice(tag);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_vary(response: &Response<'_, '_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Vary: ");
    for value in response.fields.marked(response.marks.vary).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"Accept-Encoding\r\n");
}

/// The framing of the content; of content that is not there, but that a GET would have got, its length.
fn put_length(response: &Response<'_, '_>, plan: &Plan<'_>, out: &mut Vec<u8>) {
    let may_tell = response.status >= 200 && response.status != 204 && !plan.gzip;
    match (plan.framing, response.content_length) {
        (Framing::None, Some(length)) if may_tell => put_framing(Framing::Length(length), out),
        (framing, _) => put_framing(framing, out),
    }
}

fn put_connection(response: &Response<'_, '_>, plan: &Plan<'_>, out: &mut Vec<u8>) {
    if let Some(protocol) = response.upgrade {
        out.extend_from_slice(b"Upgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n");
    }
    // An interim response says nothing of the connection.
    let is_final = response.status >= 200;
    let connection: &[u8] = match (response.upgrade.is_some(), plan.close) {
        (true, true) if is_final => b"Connection: Upgrade, close\r\n",
        (true, _) => b"Connection: Upgrade\r\n",
        (false, true) if is_final => b"Connection: close\r\n",
        (false, false) if is_final && plan.client_minor == 0 => b"Connection: keep-alive\r\n",
        _ => b"",
    };
    out.extend_from_slice(connection);
}

fn put_missing(response: &Response<'_, '_>, plan: &Plan<'_>, out: &mut Vec<u8>) {
    let marks = &response.marks;
    if marks.date.is_empty() && !plan.date.is_empty() {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(plan.date);
        out.extend_from_slice(b"\r\n");
    }
    if marks.request_id.is_empty() && !plan.request_id.is_empty() {
        out.extend_from_slice(b"X-Request-Id: ");
        out.extend_from_slice(plan.request_id.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
