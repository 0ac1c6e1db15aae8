//! Requests that two readers could understand in two ways are refused, and nothing behind them is read as a request.

use crate::client::Client;
use crate::setup::Setup;
use crate::site::{site, text};

/// Behind each of the requests below, for those who are deceived.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub const REFUSED: &[(&str, &str, u16)] = &[
    (
        "both framings",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (
        "two equal lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        400,
    ),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd", 400),
    ("a length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", 400),
    (
        "a length beyond all",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        400,
    ),
    ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n folded\r\n\r\n", 400),
    ("bare LFs", "GET / HTTP/1.1\nHost: a\n\n", 400),
    ("one bare LF", "GET / HTTP/1.1\r\nHost: a\nX-One: 1\r\n\r\n", 400),
    ("a bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\rX-Two: 2\r\n\r\n", 400),
    ("a NUL", "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\0\r\n\r\n", 400),
    (
        "space before a colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "a coding that is none",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ("chunked of HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("a host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    ("another version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("no version", "GET /\r\n\r\n", 400),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
];

/// What comes behind the head of a request in chunks.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("no number", "xyz\r\n"),
    ("a sign", "+3\r\nabc\r\n0\r\n\r\n"),
    ("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
    ("17 digits", "00000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("bare LF behind the size", "3\nabc\r\n0\r\n\r\n"),
    ("bare LF behind the chunk", "3\r\nabc\n0\r\n\r\n"),
    ("longer than it says", "3\r\nabcd\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "3;a=b\nc\r\nabc\r\n0\r\n\r\n"),
    ("a folded trailer", "3\r\nabc\r\n0\r\nX: 1\r\n 2\r\n\r\n"),
];

/// Insists that the answer has this status and is the last: the connection is closed in order behind it.
#[track_caller]
fn is_refused(client: &mut Client, what: &str, status: u16) {
    let response = client.try_response("GET").unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!((response.status, response.fields.get("connection")), (status, Some("close")), "{what}");
    client.is_closed();
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for (what, request, status) in REFUSED {
        let mut client = Client::connect(proxy.v4);
        client.send(format!("{request}{SMUGGLED}"));
        is_refused(&mut client, what, *status);
    }
    // The same behind a request that is right.
    let mut client = Client::connect(proxy.v4);
    client.send(format!("GET /text/9 HTTP/1.1\r\nHost: localhost\r\n\r\n{}{SMUGGLED}", REFUSED[0].1));
    assert_eq!(client.response().body, text(9));
    is_refused(&mut client, "behind another", 400);
    let targets: Vec<String> = backend.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/text/9"], "nothing else has reached the server");
    let refused = proxy.metrics();
    let counted = REFUSED.iter().filter(|(_, _, status)| *status == 400).count() as u64;
    assert_eq!(refused.answered(400), counted + 1);
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn chunks_that_are_none_are_refused() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for (what, chunks) in BAD_CHUNKS {
        let mut client = Client::connect(proxy.v4);
        let head = "POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{chunks}{SMUGGLED}"));
        is_refused(&mut client, what, 400);
    }
    assert!(backend.asked().iter().all(|asked| asked.target == "/echo/1"));
    drop(backend);
    proxy.leaves_nothing();
}
