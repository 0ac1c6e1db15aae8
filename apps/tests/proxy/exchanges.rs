//! Requests and responses, one after the other on a connection.

use crate::client::{Client, TLS12, TLS13, config, get};
use crate::message::Fields;
use crate::setup::Setup;
use crate::site::{NO_SUM, site, sum, text};

#[test]
fn a_request_arrives_as_it_was_sent_with_what_proxies_add() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.send(
        "GET /none/7?a=b HTTP/1.1\r\nHost: localhost:8443\r\nX-One: 1\r\nx_under: score\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nTE: gzip\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: gopher\r\n\r\n",
    );
    assert_eq!(client.response().status, 404);
    let asked = backend.asked().pop().expect("a request");
    let get = |name: &str| asked.fields.get(name);
    assert_eq!((&*asked.method, &*asked.target), ("GET", "/none/7?a=b"));
    assert_eq!(get("host"), Some("localhost:8443"));
    assert_eq!(get("x-one"), Some("1"));
    for dropped in ["x_under", "x-hop", "te", "connection"] {
        assert_eq!(get(dropped), None, "{dropped}");
    }
    assert_eq!(get("x-forwarded-for"), Some("10.1.2.3, 127.0.0.1"));
    assert_eq!(get("x-forwarded-proto"), Some("https"));
    assert_eq!(get("forwarded"), Some("for=127.0.0.1;host=\"localhost:8443\";proto=https"));
    assert_eq!(get("via"), Some("1.1 warpdrive"));
    assert_eq!(get("x-request-id").map(str::len), Some(32));
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn head_not_modified_and_parts_are_passed_on_without_a_body_that_is_none() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for versions in [TLS12, TLS13] {
        let mut client = Client::with(proxy.v6, config(&[versions]), "localhost").expect("a handshake");
        client.send("HEAD /text/5000 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
        let head = client.try_response("HEAD").expect("a response");
        assert_eq!((head.status, head.fields.get("content-length")), (200, Some("5000")));
        assert_eq!(head.fields.get("vary"), Some("Accept-Encoding"));
        client.send("GET /tagged/1 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
        let first = client.response();
        let tag = first.fields.get("etag").expect("a tag").to_owned();
        assert_eq!((&*tag, first.fields.get("content-encoding")), ("W/\"one\"", Some("gzip")));
        client.send(format!("GET /tagged/1 HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"));
        let second = client.response();
        assert_eq!((second.status, &*second.body), (304, &b""[..]));
        client.send(
            "GET /part/1 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nRange: bytes=500-2499\r\n\r\n",
        );
        let part = client.response();
        assert_eq!((part.status, part.fields.get("content-range")), (206, Some("bytes 500-2499/4000")));
        assert_eq!(part.fields.get("content-encoding"), None);
        assert!(part.body == text(4_000)[500..2_500]);
    }
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn chunks_come_as_chunks_with_their_trailers() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.send("GET /chunks/30000 HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let response = client.response();
    assert_eq!(response.fields.get("transfer-encoding"), Some("chunked"));
    assert!(response.body == text(30_000));
    let expected = Fields(vec![("X-Sum".to_owned(), format!("{:x}", sum(NO_SUM, &text(30_000))))]);
    assert_eq!(response.trailers, expected);
    // Upwards as well.
    client.send(
        "POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().body, b"hello!");
    assert_eq!(backend.asked()[1].fields.get("transfer-encoding"), Some("chunked"));
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    let sizes: Vec<usize> = (0..60).map(|i| (i * 977) % 20_000 + i).collect();
    client.send(sizes.iter().map(|size| get(&format!("/text/{size}"))).collect::<String>());
    for size in sizes {
        let response = client.response();
        assert!(response.status == 200 && response.body == text(size), "{size}: {}", response.line);
    }
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn connections_are_kept_on_both_sides() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    for _ in 0..20 {
        assert_eq!(client.get("/text/10").body, text(10));
    }
    drop(client);
    let mut another = Client::connect(proxy.v6);
    assert_eq!(another.get("/text/11").body, text(11));
    assert_eq!((backend.asked().len(), backend.connections()), (21, 1));
    let metrics = proxy.metrics();
    assert_eq!((metrics.answered(200), metrics.sum("connections_total", &[])), (21, 2));
    another.send("GET /text/12 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let last = another.response();
    assert_eq!((last.body, last.fields.get("connection")), (text(12), Some("close")));
    another.is_closed();
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for target in ["/chunks/9000", "/until-close/9000", "/text/9000"] {
        let mut client = Client::connect(proxy.v4);
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let response = client.try_response("GET").unwrap_or_else(|e| panic!("{target}: {e}"));
        assert_eq!((response.status, response.fields.get("transfer-encoding")), (200, None), "{target}");
        assert!(response.body == text(9_000), "{target}: {} bytes", response.body.len());
        client.is_closed();
    }
    let mut client = Client::connect(proxy.v4);
    for _ in 0..2 {
        client.send("GET /text/30 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(
            response.fields.get("connection").map(str::to_ascii_lowercase).as_deref(),
            Some("keep-alive")
        );
        assert_eq!(response.body, text(30));
    }
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn routes_lead_to_their_servers() {
    let (one, two) =
        (site(), crate::backend::Backend::start(|exchange| exchange.respond("text/plain", b"two")));
    let more = format!(
        "[[proxy.upstream]]\nname = \"two\"\nservers = [\"{}\"]\n\
         [[proxy.route]]\nhost = \"*.two.example\"\nupstream = \"two\"\n\
         [[proxy.route]]\npath = \"/two\"\nupstream = \"two\"\n[[proxy.route]]\nhost = \"localhost\"\nupstream = \"servers\"\n",
        two.address
    );
    let proxy = Setup { servers: &[one.address], more: &more, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    assert_eq!(client.get("/two/x").body, b"two");
    assert_eq!(client.get("/text/5").body, text(5));
    client.send("GET /text/5 HTTP/1.1\r\nHost: www.TWO.example:443\r\n\r\n");
    assert_eq!(client.response().body, b"two");
    client.send("GET /text/5 HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
    assert_eq!(client.response().status, 421);
    drop((client, one, two));
    proxy.leaves_nothing();
}
