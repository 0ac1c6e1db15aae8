//! Requests that are too long or too slow, and ends that come too soon.

use std::time::{Duration, Instant};

use crate::client::{Client, get, is_broken};
use crate::message::Response;
use crate::setup::{PATIENCE, Setup};
use crate::site::{site, text};

/// Sends bytes one at a time until they are sent or answered.
fn dribble(client: &mut Client, bytes: &str, every: Duration) -> Response {
    client.patience(every);
    let mut all = Vec::new();
    for byte in bytes.as_bytes().iter().cycle() {
        // After its answer it takes no more.
        let _ = client.try_send([*byte]);
        match client.some() {
            Ok(some) if some.is_empty() => break,
            Ok(some) => all.extend(some),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => panic!("{e}"),
        }
    }
    crate::message::Reader::new(&all[..]).response("GET").expect("a response")
}

#[test]
fn a_head_that_comes_byte_by_byte_is_given_up_after_its_time() {
    let backend = site();
    let timeouts = "head_ms = 1500";
    let proxy = Setup { servers: &[backend.address], timeouts, ..Setup::default() }.start();
    let mut slow = Client::connect(proxy.v4);
    slow.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
    let start = Instant::now();
    let response = dribble(&mut slow, "X-Slow: 1\r\n", Duration::from_millis(50));
    let took = start.elapsed();
    assert_eq!((response.status, response.fields.get("connection")), (408, Some("close")));
    assert!(took > Duration::from_millis(1_300) && took < PATIENCE, "{took:?}");
    assert_eq!(proxy.metrics().sum("timeouts_total", &["kind=\"head\""]), 1);
    drop((slow, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_body_that_does_not_go_on_is_given_up_after_its_time() {
    let backend = site();
    let timeouts = "body_ms = 1000";
    let proxy = Setup { servers: &[backend.address], timeouts, ..Setup::default() }.start();
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut slow = Client::connect(proxy.v4);
        slow.send(format!("POST /echo/1 HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n5\r\nhel"));
        let response = slow.response();
        assert_eq!((response.status, response.fields.get("connection")), (408, Some("close")), "{framing}");
        slow.is_closed();
    }
    assert_eq!(proxy.metrics().sum("timeouts_total", &["kind=\"body\""]), 2);
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn what_is_too_long_is_refused_before_a_server_is_asked() {
    let backend = site();
    let limits = "head_bytes = 4096\ntarget_bytes = 1000\nfields = 20\nbody_bytes = 5000";
    let proxy = Setup { servers: &[backend.address], limits, ..Setup::default() }.start();
    let long = "x".repeat(5_000);
    let fields = "X-One: 1\r\n".repeat(30);
    let target = "y".repeat(1_000);
    for (what, request, status) in [
        ("a field", format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"), 431),
        ("half a field", format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}"), 431),
        ("fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431),
        ("the target", format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("a target without end", format!("GET /{long}"), 414),
        ("the body", "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5001\r\n\r\n".to_owned(), 413),
    ] {
        let mut client = Client::connect(proxy.v4);
        client.send(request);
        let response = client.response();
        assert_eq!((response.status, response.fields.get("connection")), (status, Some("close")), "{what}");
        client.is_closed();
    }
    assert!(backend.asked().is_empty());
    let mut client = Client::connect(proxy.v4);
    let chunk = format!("400\r\n{}\r\n", "z".repeat(0x400));
    client.send("POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunk.repeat(5));
    assert_eq!(client.response().status, 413, "chunks");
    client.is_closed();
    // And what is as long as it may be is not.
    let mut client = Client::connect(proxy.v4);
    let body = "x".repeat(5_000);
    client.send(format!("POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{body}"));
    assert_eq!(client.response().body, body.as_bytes());
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_client_that_has_said_its_last_word_is_still_answered() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.send(get("/text/100000"));
    client.end();
    assert!(client.response().body == text(100_000));
    client.is_closed();
    // By TCP alone, as those do who do not know better.
    let mut client = Client::connect(proxy.v4);
    client.send(get("/text/3000"));
    client.tcp().shutdown(std::net::Shutdown::Write).expect("shut down");
    assert!(client.response().body == text(3_000));
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn half_a_request_is_none() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for half in [
        "GET /text/1",
        "GET /text/1 HTTP/1.1\r\nHost: a\r\n",
        "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = Client::connect(proxy.v4);
        client.send(half);
        client.end();
        let (got, how) = client.rest();
        assert!(got.is_empty() && (how.is_ok() || is_broken(&how)), "{half:?}: {how:?}");
    }
    assert_eq!(proxy.metrics().answered(200), 0);
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn idle_and_old_connections_are_closed_in_order_and_those_beyond_the_limit_wait() {
    let backend = site();
    let (limits, timeouts) = ("connections = 2\nrequests = 3", "idle_ms = 1500");
    let proxy = Setup { servers: &[backend.address], limits, timeouts, ..Setup::default() }.start();
    let mut old = Client::connect(proxy.v4);
    for last in [None, None, Some("close")] {
        let response = old.get("/text/1");
        assert_eq!((response.status, response.fields.get("connection")), (200, last));
    }
    old.is_closed();
    drop(old);
    let (mut one, mut two) = (Client::connect(proxy.v4), Client::connect(proxy.v4));
    assert!(one.get("/text/2").status == 200 && two.get("/text/3").status == 200);
    // There is room for it when the others have been idle for too long.
    let mut three = Client::connect(proxy.v4);
    assert_eq!(three.get("/text/4").status, 200);
    assert!(proxy.metrics().sum("timeouts_total", &["kind=\"idle\""]) >= 1);
    one.is_closed();
    two.is_closed();
    three.is_closed();
    drop(backend);
    proxy.leaves_nothing();
}
