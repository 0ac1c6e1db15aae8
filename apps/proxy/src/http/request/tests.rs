use std::net::Ipv4Addr;

use super::*;
use crate::http::MAX_FIELDS;

/// Hands the request in `bytes` to `look`.
pub(super) fn whole<R>(bytes: &str, look: impl FnOnce(&Request<'_, '_>) -> R) -> R {
    let mut room = Room::new();
    match parse(bytes.as_bytes(), &Limits::default(), &mut room) {
        Ok(Parsed::Whole(request)) => look(&request),
        other => panic!("{bytes:?}: {other:?}"),
    }
}

fn refusal(bytes: &str) -> Option<Refusal> {
    parse(bytes.as_bytes(), &Limits::default(), &mut Room::new()).err()
}

fn status(bytes: &str) -> Option<u16> {
    refusal(bytes).map(|refusal| refusal.status())
}

/// A request with these lines between `Host` and the empty line.
pub(super) fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

pub(super) fn forwarded(bytes: &str, change: impl FnOnce(&mut Via<'_>)) -> String {
    let peer = Peer::new(Ipv4Addr::new(192, 0, 2, 1).into());
    let mut via = Via { peer: &peer, proto: "https", request_id: "ours", host: None, identity: false };
    change(&mut via);
    let mut out = Vec::new();
    whole(bytes, |request| forward(request, &via, &mut out));
    String::from_utf8(out).expect("ASCII")
}

/// What is passed on of these lines, without what every request gets.
pub(super) fn passed(lines: &str) -> String {
    let head = forwarded(&with(lines), |_| ());
    let rest = head.strip_prefix("POST / HTTP/1.1\r\nHost: a\r\n").expect("a request line and a host");
    let end =
        "Forwarded: for=192.0.2.1;host=a;proto=https\r\nX-Request-Id: ours\r\nVia: 1.1 warpdrive\r\n\r\n";
    let rest = rest.strip_suffix(end).unwrap_or(rest);
    let end = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n";
    rest.strip_suffix(end).unwrap_or(rest).to_owned()
}

#[test]
fn a_request_is_taken_apart() {
    let text = "\r\nHEAD /a/b?c=d HTTP/1.1\r\nHost: Example.org:8443\r\nAccept-Encoding: br, gzip\r\nTE: trailers\r\n\
        X-Request-Id: abc\r\nUser-Agent: \u{e9}\r\n\r\nrest";
    whole(text, |request| {
        assert_eq!((request.method, request.target), ("HEAD", "/a/b?c=d"));
        assert_eq!((request.path, request.query), ("/a/b", Some("c=d")));
        assert_eq!((request.minor, request.host), (1, Some("Example.org:8443")));
        assert_eq!(request.framing, Framing::None);
        assert!(request.keep_alive && request.idempotent && request.is_head && request.accepts_gzip);
        assert!(request.takes_trailers && !request.expect_continue);
        assert_eq!((request.upgrade, request.request_id), (None, Some("abc")));
        assert_eq!(request.head_len, text.len() - "rest".len());
        assert_eq!(request.fields.get("user-agent"), Some("\u{e9}".as_bytes()));
        assert_eq!(request.to_string(), "HEAD /a/b?c=d HTTP/1.1");
        let client =
            Client { minor: 1, keep_alive: true, is_head: true, accepts_gzip: true, takes_trailers: true };
        assert_eq!(request.client(), client);
    });
}

#[test]
fn a_beginning_is_partial_until_the_empty_line() {
    let text = "\r\nPOST http://example.org/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        let mut room = Room::new();
        let parsed = parse(&text.as_bytes()[..end], &Limits::default(), &mut room);
        assert!(matches!(parsed, Ok(Parsed::Partial)), "{end}: {parsed:?}");
    }
    whole(text, |request| assert_eq!(request.head_len, text.len()));
}

#[test]
fn lengths_that_can_be_read_in_two_ways_are_refused() {
    for (lines, expected) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: chunked;x\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding\t: chunked\r\n", 400),
        ("Transfer-Encoding:\u{b}chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\n x\r\n", 400),
        ("Transfer-Encoding:\r\n chunked\r\n", 400),
    ] {
        assert_eq!(status(&with(lines)), Some(expected), "{lines}");
    }
    assert_eq!(status("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(400));
}

#[test]
fn content_is_framed_in_one_way() {
    for (lines, framing) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("content-length:\t5 \r\n", Framing::Length(5)),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
        ("Transfer_Encoding: chunked\r\nContent-Length: 7\r\n", Framing::Length(7)),
        ("Connection: content-length\r\nContent-Length: 7\r\n", Framing::Length(7)),
    ] {
        whole(&with(lines), |request| assert_eq!(request.framing, framing, "{lines}"));
        let expected = match framing {
            Framing::Length(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            _ => String::new(),
        };
        assert_eq!(passed(lines), expected, "{lines}");
    }
}

#[test]
fn lines_end_in_cr_lf_and_have_no_control_characters() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\rd\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\0d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\x7fd\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\x1bd\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB\0: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB : c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n d\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\u{e9}: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB(: c\r\n\r\n",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\r\nHost: a\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(status(bytes), Some(400), "{bytes:?}");
    }
    // Other bytes above ASCII are nobody's business.
    assert_eq!(passed("B: \u{e9}\tc\r\nC:\r\n"), "B: \u{e9}\tc\r\nC:\r\n");
}

#[test]
fn request_lines_are_right_or_refused_as_soon_as_they_are_wrong() {
    for (bytes, expected) in [
        ("GET /\r\n", 400),
        ("GET / \r\n", 400),
        ("GET  / HTTP/1.1\r\n", 400),
        ("GET /  HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1 \r\n", 400),
        (" GET / HTTP/1.1\r\n", 400),
        ("GET\t/ HTTP/1.1\r\n", 400),
        ("G(T / ", 400),
        ("GET /a#b ", 400),
        ("GET /\u{e9} ", 400),
        ("GET /a\tb ", 400),
        ("GET /a b HTTP/1.1\r\n", 400),
        ("GET example.org:443 ", 400),
        ("GET * ", 400),
        ("GET ftp://example.org/ ", 400),
        ("GET http://user@example.org/ ", 400),
        ("CONNECT example.org:443 ", 405),
        ("CONNECT ", 405),
        ("TRACE ", 405),
        ("GET / HTTP/2.0\r\n", 505),
        ("GET / HTTP/1.2\r\n", 505),
        ("GET / HTTP/0.9\r\n", 505),
        ("GET / HTTP/3", 505),
        ("GET / HTTQ/1.1", 400),
        ("GET / http/1.1", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("\x16\x03\x01\x02\0\x01\0\x01", 400),
        ("HTTP/1.1 200 OK\r\n", 400),
        ("\0", 400),
    ] {
        assert_eq!(status(bytes), Some(expected), "{bytes:?}");
    }
    // These may still become right.
    for bytes in
        ["", "\r", "GET", "CONNECT", "GET / HT", "GET / HTTP/1.", "OPTIONS *", "GET ftp://example.org/"]
    {
        assert_eq!(status(bytes), None, "{bytes:?}");
    }
}

#[test]
fn there_is_one_host_and_it_is_one() {
    for lines in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhOST: b\r\n",
        "Host: a b\r\n",
        "Host: a, b\r\n",
        "Host: a/b\r\n",
        "Host: user@a\r\n",
        "Host: a:b\r\n",
        "Host: \u{e9}\r\n",
    ] {
        for target in ["/", "http://example.org/"] {
            assert_eq!(
                status(&format!("GET {target} HTTP/1.1\r\n{lines}\r\n")),
                Some(400),
                "{target} {lines}"
            );
        }
        // HTTP/1.0 may do without one, but has no wrong one either.
        let old = format!("GET / HTTP/1.0\r\n{lines}\r\n");
        assert_eq!(status(&old), if lines.is_empty() { None } else { Some(400) }, "{lines}");
    }
    whole("GET http://example.org:1/ HTTP/1.1\r\nHost: other\r\n\r\n", |request| {
        assert_eq!(request.host, Some("example.org:1"));
    });
    whole("GET / HTTP/1.0\r\n\r\n", |request| assert_eq!(request.host, None));
}

#[test]
fn connections_stay_by_version_and_wish() {
    for (line, one_one, one_zero) in [
        ("", true, false),
        ("Connection: keep-alive\r\n", true, true),
        ("Connection: Close\r\n", false, false),
        ("Connection: keep-alive, close\r\n", false, false),
        ("Connection: x\r\nConnection: ,Keep-Alive\r\n", true, true),
        ("Connection: closed\r\n", true, false),
        ("Keep-Alive: timeout=5\r\n", true, false),
        ("Proxy-Connection: close\r\n", true, false),
    ] {
        for (minor, stays) in [(1, one_one), (0, one_zero)] {
            let text = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n{line}\r\n");
            whole(&text, |request| assert_eq!(request.keep_alive, stays, "{text}"));
        }
    }
}

#[test]
fn limits_are_kept_to_the_byte() {
    let limits = Limits { head_bytes: 60, target_bytes: 10, fields: 3 };
    let text = |target: usize, fields: usize, filling: usize| {
        let target = "a".repeat(target - 1);
        let (fields, filling) = ("B: c\r\n".repeat(fields - 2), "d".repeat(filling));
        format!("GET /{target} HTTP/1.1\r\nHost: a\r\n{fields}D: {filling}\r\n\r\n")
    };
    let result = |text: &str| match parse(text.as_bytes(), &limits, &mut Room::new()) {
        Ok(Parsed::Whole(_)) => 200,
        Ok(Parsed::Partial) => 100,
        Err(refusal) => refusal.status(),
    };
    let filled = 60 - text(10, 3, 0).len();
    assert_eq!(result(&text(10, 3, filled)), 200);
    assert_eq!(result(&text(10, 3, filled + 1)), 431);
    assert_eq!(result(&text(11, 2, 0)), 414);
    assert_eq!(result(&text(1, 3, 0)), 200);
    assert_eq!(result(&text(1, 4, 0)), 431);
    // Before they are whole.
    assert_eq!(result(&text(10, 3, filled + 1)[..59]), 100);
    assert_eq!(result(&text(10, 3, filled + 1)[..60]), 431);
    assert_eq!(result("GET /aaaaaaaaa"), 100);
    assert_eq!(result("GET /aaaaaaaaaa"), 414);
    assert_eq!(result(&"M".repeat(METHOD_MAX)), 100);
    assert_eq!(result(&"M".repeat(METHOD_MAX + 1)), 501);
    let many = Limits { fields: usize::MAX, ..Limits::default() };
    let text = |fields| format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(fields));
    assert!(parse(text(MAX_FIELDS).as_bytes(), &many, &mut Room::new()).is_ok());
    let refusal = parse(text(MAX_FIELDS + 1).as_bytes(), &many, &mut Room::new()).err();
    assert_eq!(refusal, Some(Refusal::HeadTooLarge));
}

#[test]
fn only_100_continue_can_be_expected_and_only_with_content() {
    for (lines, expects) in [
        ("Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        ("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", true),
        ("Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("Expect: 100-continue\r\n", false),
        ("Content-Length: 1\r\n", false),
    ] {
        whole(&with(lines), |request| assert_eq!(request.expect_continue, expects, "{lines}"));
        assert!(!passed(lines).contains("Expect"));
    }
    for value in ["", "200-ok", "100-continue, x", "100"] {
        assert_eq!(status(&with(&format!("Expect: {value}\r\n"))), Some(417), "{value}");
    }
    for value in ["x", "100-continue"] {
        let old = format!("POST / HTTP/1.0\r\nExpect: {value}\r\nContent-Length: 1\r\n\r\n");
        whole(&old, |request| assert!(!request.expect_continue));
    }
}

#[test]
fn hop_by_hop_fields_stay_here() {
    let lines = "A: 1\r\nConnection: close, X-Own ,te\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nB: 2\r\nProxy-Connection: x\r\n\
        Proxy-Authorization: Basic x\r\nProxy-Authenticate: x\r\nx-own: 2\r\nTE: gzip\r\nUpgrade: websocket\r\nHTTP2-Settings: x\r\n\
        Trailer: D\r\nC: 3\r\n";
    assert_eq!(passed(lines), "A: 1\r\nB: 2\r\nTrailer: D\r\nC: 3\r\n");
    assert_eq!(
        passed("Connection: X-Forwarded-For, Host\r\nA: 1\r\n"),
        "A: 1\r\n",
        "and what is ours is there"
    );
    assert_eq!(passed("TE: deflate, trailers;q=0.5\r\n"), "TE: trailers\r\nConnection: TE\r\n");
    whole("GET / HTTP/1.0\r\nTE: trailers\r\n\r\n", |request| assert!(!request.takes_trailers));
    let many = "x,".repeat(17);
    assert_eq!(status(&with(&format!("Connection: {many}\r\n"))), Some(400));
    assert_eq!(status(&with(&format!("Connection: {}\r\n", &many[2..]))), None);
}

#[test]
fn upgrades_are_passed_on_unless_they_lead_where_we_cannot_read() {
    let line = "Connection: keep-alive, Upgrade\r\n";
    for value in ["websocket", "WebSocket", "foo/2", "a, b/1"] {
        let upgrade = format!("Upgrade: {value}\r\n");
        whole(&with(&format!("{line}{upgrade}")), |request| {
            assert_eq!(request.upgrade, Some(value.as_bytes()));
        });
        let expected = format!("{upgrade}Connection: Upgrade\r\n");
        assert_eq!(passed(&format!("{line}{upgrade}")), expected);
        let with_trailers = format!("{upgrade}TE: trailers\r\n{line}");
        assert!(passed(&with_trailers).ends_with(&format!("{upgrade}Connection: Upgrade, TE\r\n")));
    }
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade:\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: x\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n",
        "Connection: upgrade\r\nUpgrade: TLS/1.3\r\n",
        "Connection: upgrade\r\nUpgrade: web socket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n",
    ] {
        whole(&with(lines), |request| assert_eq!(request.upgrade, None, "{lines}"));
        assert_eq!(passed(lines), "", "{lines}");
    }
    for lines in ["Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"] {
        let text = with(&format!("Connection: upgrade\r\nUpgrade: websocket\r\n{lines}"));
        whole(&text, |request| assert_eq!(request.upgrade, None, "content is in the way"));
    }
    let old = "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    whole(old, |request| assert_eq!(request.upgrade, None));
}

#[test]
fn methods_that_change_something_each_time_are_not_repeated() {
    for (method, idempotent) in [
        ("GET", true),
        ("HEAD", true),
        ("PUT", true),
        ("DELETE", true),
        ("OPTIONS", true),
        ("POST", false),
        ("PATCH", false),
        ("get", false),
    ] {
        whole(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"), |request| {
            assert_eq!(request.idempotent, idempotent, "{method}");
            assert_eq!(request.is_head, method == "HEAD");
        });
    }
}
