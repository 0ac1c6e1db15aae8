use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::tests::{forwarded, passed, whole, with};
use super::*;

#[test]
fn names_with_an_underscore_and_fields_that_are_ours_to_set_are_dropped() {
    let lines = "X_Forwarded_For: 1\r\nA_B: 1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\n\
        X-Real-IP: 1.1.1.1\r\nA-B: 1\r\n";
    assert_eq!(passed(lines), "A-B: 1\r\n");
}

#[test]
fn chains_go_on_in_one_field() {
    let lines =
        "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nA: b\r\nx-forwarded-for:\r\nX-Forwarded-For: 3.3.3.3\r\n";
    assert!(passed(lines).contains("\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.1\r\n"));
    let lines = "Forwarded: for=1.1.1.1, for=\"[::1]\";by=\"a\\\"b\"\r\nForwarded: for=\"x\r\nForwarded: for=y\\\"\r\n";
    let end = "\r\nForwarded: for=1.1.1.1, for=\"[::1]\";by=\"a\\\"b\", for=192.0.2.1;host=a;proto=https\r\n";
    assert!(passed(lines).contains(end), "without what has no end: {}", passed(lines));
    assert!(passed("Via: 1.0 x\r\n").starts_with("Via: 1.0 x\r\n"));
}

#[test]
fn the_client_is_named_as_it_is() {
    let name = |peer: IpAddr, bytes: &str| {
        let peer = Peer::new(peer);
        let head = forwarded(bytes, |via| via.peer = Box::leak(Box::new(peer)));
        let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        (line("X-Forwarded-For: "), line("Forwarded: "))
    };
    let bytes = "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n";
    let v6 = Ipv6Addr::from(u128::MAX);
    let (chain, forwarded) = name(v6.into(), bytes);
    assert_eq!(chain, Some(v6.to_string()));
    assert_eq!(forwarded, Some(format!("for=\"[{v6}]\";host=\"a:80\";proto=https")));
    let (chain, forwarded) = name("::ffff:192.0.2.7".parse().expect("an address"), bytes);
    assert_eq!(chain.as_deref(), Some("192.0.2.7"));
    assert_eq!(forwarded.as_deref(), Some("for=192.0.2.7;host=\"a:80\";proto=https"));
    let (_, forwarded) = name(Ipv4Addr::LOCALHOST.into(), "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(forwarded.as_deref(), Some("for=127.0.0.1;proto=https"));
}

#[test]
fn an_id_is_kept_or_set() {
    for (lines, expected) in [
        ("", "ours"),
        ("X-Request-Id: theirs-1\r\n", "theirs-1"),
        ("X-Request-Id: <b>\r\n", "ours"),
        ("X-Request-Id: a\r\nX-Request-Id: b\r\n", "ours"),
        ("X-Request-Id: a\r\nX-Request-Id: b\r\nX-Request-Id: c\r\n", "ours"),
        ("X-Request-Id:\r\n", "ours"),
    ] {
        let head = forwarded(&with(lines), |_| ());
        let ids: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("X-Request-Id: ")).collect();
        assert_eq!(ids, [expected], "{lines}");
    }
}

#[test]
fn targets_become_paths_and_hosts_fields() {
    for (target, line) in [
        ("/a?b", "GET /a?b HTTP/1.1"),
        ("http://b/a?c", "GET /a?c HTTP/1.1"),
        ("http://b", "GET / HTTP/1.1"),
        ("http://b?c", "GET /?c HTTP/1.1"),
    ] {
        let head = forwarded(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), |_| ());
        let host = if target.starts_with('/') { "a" } else { "b" };
        assert!(head.starts_with(&format!("{line}\r\nHost: {host}\r\n")), "{head}");
        assert!(head.contains(&format!("X-Forwarded-Host: {host}\r\n")));
    }
    let head = forwarded("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", |_| ());
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
    let head = forwarded("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", |_| ());
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\nHost: b\r\n"), "{head}");
    let head = forwarded("GET / HTTP/1.1\r\nHost: a\r\n\r\n", |via| via.host = Some("inner"));
    assert!(head.starts_with("GET / HTTP/1.1\r\nHost: inner\r\n") && head.contains("Host: a\r\n"), "{head}");
    let head = forwarded("GET / HTTP/1.0\r\n\r\n", |_| ());
    assert!(
        head.starts_with("GET / HTTP/1.1\r\nHost: \r\n") && head.contains("Via: 1.0 warpdrive\r\n"),
        "{head}"
    );
}

#[test]
fn content_that_is_not_compressed_is_asked_for_where_we_compress() {
    let text = with("Accept-Encoding: gzip\r\nA: b\r\n");
    assert!(forwarded(&text, |_| ()).contains("Host: a\r\nAccept-Encoding: gzip\r\nA: b\r\n"));
    let head = forwarded(&text, |via| via.identity = true);
    assert!(head.contains("Host: a\r\nA: b\r\nAccept-Encoding: identity\r\n"), "{head}");
    for (lines, accepts) in [
        ("Accept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: br\r\nAccept-Encoding: x-gzip\r\n", true),
        ("Accept-Encoding: gzip\r\nCache-Control: no-cache, no-transform\r\n", false),
        ("", false),
    ] {
        whole(&with(lines), |request| assert_eq!(request.accepts_gzip, accepts, "{lines}"));
    }
}
