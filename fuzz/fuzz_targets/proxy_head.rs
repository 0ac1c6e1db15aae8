//! Heads of requests and responses, through the proxy: where the bytes are split makes no difference; what is passed on
//! is read again as the same message with exactly one framing, without a bare CR or LF, and without what ends here.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use warpdrive_proxy::http::field::Room;
use warpdrive_proxy::http::negotiate::{Compression, Types};
use warpdrive_proxy::http::request::{self, Client, Peer, Request, Via};
use warpdrive_proxy::http::response::{self, Plan, Response};
use warpdrive_proxy::http::{Framing, Limits, Parsed};

const LIMITS: Limits = Limits { head_bytes: 1500, target_bytes: 300, fields: 24 };

/// What a head that we wrote says, read without our own code.
struct Written<'a> {
    first: &'a str,
    fields: Vec<(String, &'a [u8])>,
}

impl<'a> Written<'a> {
    fn read(head: &'a [u8]) -> Self {
        let head = head.strip_suffix(b"\r\n\r\n").expect("an end");
        let mut lines = Vec::new();
        let mut rest = head;
        while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        lines.push(rest);
        for line in &lines {
            assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "a line with a bare CR or LF");
            assert!(!line.is_empty() && !line.starts_with(b" ") && !line.starts_with(b"\t"), "a folded line");
        }
        let field = |line: &&'a [u8]| {
            let colon = line.iter().position(|b| *b == b':').expect("a colon");
            let name = std::str::from_utf8(&line[..colon]).expect("a name");
            (name.to_lowercase(), line[colon + 1..].trim_ascii())
        };
        let first = lines[0];
        // Reasons may have any bytes.
        let end = first.iter().position(|b| *b >= 0x80).unwrap_or(first.len());
        Self {
            first: std::str::from_utf8(&first[..end]).expect("ASCII"),
            fields: lines[1..].iter().map(field).collect(),
        }
    }

    fn all(&self, name: &str) -> Vec<&'a [u8]> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect()
    }

    /// Content is framed as `framing` says, and in no other way.
    fn check_framing(&self, framing: Framing) {
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match framing {
            Framing::Length(length) => {
                assert_eq!((lengths, codings), (vec![length.to_string().as_bytes()], vec![]));
            }
            Framing::Chunked => assert_eq!((lengths, codings), (vec![], vec![&b"chunked"[..]])),
            Framing::None | Framing::UntilClose => {
                assert!(codings.is_empty() && lengths.is_empty(), "framing where there is none");
            }
        }
    }

    /// What ends here is not passed on, but what begins here is named.
    fn check_hops(&self, connection: &[&str]) {
        for name in
            ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "http2-settings"]
        {
            assert!(self.all(name).is_empty(), "{name}");
        }
        let written = self.all("connection");
        assert!(written.len() <= 1);
        for option in written.iter().flat_map(|value| value.split(|b| *b == b',')) {
            let option = std::str::from_utf8(option).expect("ASCII").trim().to_lowercase();
            assert!(connection.contains(&option.as_str()), "{option}");
        }
        let is_named = |name: &str| !written.is_empty() && connection.contains(&name);
        assert!(self.all("upgrade").is_empty() || is_named("upgrade"));
    }
}

/// The elements of a list whose strings may have commas.
fn elements(list: &str) -> Vec<String> {
    let mut elements = vec![String::new()];
    let (mut is_quoted, mut characters) = (false, list.chars());
    while let Some(c) = characters.next() {
        match c {
            ',' if !is_quoted => elements.push(String::new()),
            '\\' if is_quoted => drop(characters.next()),
            _ => {
                is_quoted ^= c == '"';
                elements.last_mut().expect("one").push(c);
            }
        }
    }
    assert!(!is_quoted, "a string without an end");
    elements
}

fn check_request(request: &Request<'_, '_>, identity: bool) {
    let peer = Peer::new(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let via = Via { peer: &peer, proto: "https", request_id: "ours", host: None, identity };
    let mut out = Vec::new();
    request::forward(request, &via, &mut out);
    let written = Written::read(&out);
    written.check_framing(request.framing);
    written.check_hops(&["te", "upgrade"]);
    assert!(written.first.starts_with(request.method) && written.first.ends_with(" HTTP/1.1"));
    assert!(written.all("expect").is_empty());
    assert!(written.all("te").iter().all(|value| *value == b"trailers"));
    assert!(written.fields.iter().all(|(name, _)| !name.contains('_')));
    let host = request.host.unwrap_or_default().as_bytes();
    assert_eq!(written.all("host"), [host]);
    for name in ["x-forwarded-for", "x-forwarded-proto", "forwarded", "x-request-id"] {
        assert_eq!(written.all(name).len(), 1, "{name}");
    }
    assert_eq!(written.all("x-forwarded-proto"), [b"https"]);
    assert!(written.all("x-forwarded-for")[0].ends_with(b"::1"));
    let forwarded = String::from_utf8_lossy(written.all("forwarded")[0]);
    // Our element is one of the list, and not within a string of the one before.
    let elements = elements(&forwarded);
    assert!(
        elements
            .last()
            .is_some_and(|last| last.trim().starts_with("for=\"[::1]\"") && last.ends_with(";proto=https"))
    );
    if request.host.is_none() {
        return;
    }
    let mut room = Room::new();
    let limits = Limits { head_bytes: 1 << 20, target_bytes: 1 << 20, fields: 128 };
    let Ok(Parsed::Whole(again)) = request::parse(&out, &limits, &mut room) else {
        panic!("what we write is refused")
    };
    assert_eq!(again.head_len, out.len());
    assert_eq!((again.method, again.path, again.query), (request.method, request.path, request.query));
    assert_eq!((again.host, again.framing, again.upgrade), (request.host, request.framing, request.upgrade));
    assert!(again.keep_alive && again.minor == 1 && again.request_id.is_some());
    assert!(!again.expect_continue && again.takes_trailers == request.takes_trailers);
}

fn check_response(response: &Response<'_, '_>, client: &Client, types: &Types) {
    let compression = Compression { types: types.clone(), min_bytes: 10 };
    let decision = compression.decide(client.accepts_gzip, client.is_head, response);
    let plan = Plan { date: b"now", request_id: "ours", ..Plan::new(client, response, decision) };
    let mut out = Vec::new();
    response::forward(response, &plan, &mut out);
    let written = Written::read(&out);
    let is_told =
        response.status >= 200 && response.status != 204 && plan.framing == Framing::None && !plan.gzip;
    match response.content_length.filter(|_| is_told) {
        Some(length) => written.check_framing(Framing::Length(length)),
        None => written.check_framing(plan.framing),
    }
    written.check_hops(&["close", "keep-alive", "upgrade"]);
    assert!(written.first.starts_with(&format!("HTTP/1.1 {} ", response.status)));
    if plan.gzip {
        assert_eq!(written.all("content-encoding"), [b"gzip"]);
        assert!(written.all("content-length").is_empty(), "a length of what is not sent");
        assert!(
            written.all("etag").iter().all(|tag| tag.starts_with(b"W/"))
                && written.all("accept-ranges").is_empty()
        );
    }
    let mut room = Room::new();
    let limits = Limits { head_bytes: 1 << 20, target_bytes: 0, fields: 128 };
    let Ok(Parsed::Whole(again)) = response::parse(&out, client.is_head, &limits, &mut room) else {
        panic!("what we write is refused")
    };
    assert_eq!((again.head_len, again.status, again.minor), (out.len(), response.status, 1));
    assert_eq!((again.framing, again.upgrade), (plan.framing, response.upgrade));
    assert!(response.status < 200 || again.keep_alive != plan.close);
}

/// Reads beginnings as well: what a beginning is refused for, the whole is.
fn splits<T>(len: usize, parse: impl Fn(usize) -> Result<Option<T>, ()>) -> Option<T> {
    let whole = parse(len);
    for end in [len / 3, len / 2, len.saturating_sub(1)] {
        match (&whole, parse(end)) {
            (Ok(None), Ok(Some(_))) => panic!("whole, then partial"),
            (Ok(_), Err(())) => panic!("refused too early"),
            (Err(()), Ok(Some(_))) => panic!("refused for what comes behind it"),
            _ => {}
        }
    }
    whole.ok().flatten()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (how, bytes) = input;
    let flag = |bit: u8| how >> bit & 1 == 1;
    let client = Client {
        minor: u8::from(flag(0)),
        keep_alive: flag(1),
        is_head: flag(2),
        accepts_gzip: flag(3),
        takes_trailers: flag(4),
    };
    let whole = splits(bytes.len(), |end| match request::parse(&bytes[..end], &LIMITS, &mut Room::new()) {
        Ok(Parsed::Whole(request)) => Ok(Some(request.head_len)),
        Ok(Parsed::Partial) => Ok(None),
        Err(refusal) => {
            assert!(refusal.must_close() && refusal.status() >= 400 && !refusal.to_string().is_empty());
            Err(())
        }
    });
    if whole.is_some() {
        let mut room = Room::new();
        let Ok(Parsed::Whole(request)) = request::parse(bytes, &LIMITS, &mut room) else { unreachable!() };
        check_request(&request, flag(5));
    }
    let whole = splits(bytes.len(), |end| {
        match response::parse(&bytes[..end], client.is_head, &LIMITS, &mut Room::new()) {
            Ok(Parsed::Whole(response)) => Ok(Some(response.head_len)),
            Ok(Parsed::Partial) => Ok(None),
            Err(bad) => Err(assert!(!bad.to_string().is_empty())),
        }
    });
    if whole.is_some() {
        let types = Types::parse(&["text/*", "application/*+json"]).expect("types");
        let mut room = Room::new();
        let parsed = response::parse(bytes, client.is_head, &LIMITS, &mut room);
        let Ok(Parsed::Whole(response)) = parsed else { unreachable!() };
        check_response(&response, &client, &types);
    }
});
