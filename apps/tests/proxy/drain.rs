//! The end of the program.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Then};
use crate::client::{Client, get, is_broken};
use crate::setup::{PATIENCE, Setup};
use crate::site::{answer, text};

#[test]
fn what_is_under_way_is_finished_and_nothing_new_is_begun() {
    let (go_on, told) = channel::<()>();
    let told = Mutex::new(told);
    let backend = Backend::start(move |exchange| {
        let wait = || {
            let told = told.lock().expect("one at a time");
            told.recv_timeout(PATIENCE).map_err(std::io::Error::other)
        };
        match exchange.asked.target.as_str() {
            "/body" => {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")?;
                wait()?;
                exchange.send("ended")?;
                Ok(Then::Keep)
            }
            "/head" => {
                wait()?;
                exchange.respond("text/plain", b"late")
            }
            _ => answer(exchange),
        }
    });
    let mut proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut idle = Client::connect(proxy.v4);
    assert_eq!(idle.get("/text/4").body, text(4));
    let mut unused = Client::connect(proxy.v6);
    let (mut body, mut head) = (Client::connect(proxy.v4), Client::connect(proxy.v4));
    body.send(get("/body"));
    head.send(get("/head"));
    let (line, fields) = body.reader().head().expect("a head").expect("a head");
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    while backend.asked().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.terminate();
    idle.is_closed();
    unused.is_closed();
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(proxy.v4).is_ok() {
        assert!(Instant::now() < deadline, "connections are still taken");
    }
    assert!(TcpStream::connect(proxy.v6).is_err());
    assert!(proxy.is_running(), "requests are under way");
    go_on.send(()).and_then(|()| go_on.send(())).expect("the server waits");
    let mut rest = Vec::new();
    body.reader().body(&fields, false, |piece| rest.extend_from_slice(piece)).expect("a body");
    assert_eq!(rest, b"begunended");
    body.is_closed();
    let late = head.response();
    assert_eq!((&*late.body, late.fields.get("connection")), (&b"late"[..], Some("close")));
    head.is_closed();
    drop((idle, unused, body, head));
    proxy.ends_well();
}

#[test]
fn what_does_not_end_is_given_up_when_its_time_is_over() {
    let backend = Backend::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")?;
        while !exchange.receive()?.is_empty() {}
        Ok(Then::Close)
    });
    let setup = Setup { servers: &[backend.address], drain_ms: 1_000, ..Setup::default() };
    let mut proxy = setup.start();
    let mut client = Client::connect(proxy.v4);
    client.send(get("/"));
    client.reader().head().expect("a head").expect("a head");
    let start = Instant::now();
    proxy.terminate();
    let status = proxy.wait(PATIENCE);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(900), "it was not waited for: {took:?}");
    let (rest, how) = client.rest();
    assert!(rest == b"begun" && is_broken(&how), "{rest:?} {how:?}");
    let ended = proxy.ended();
    assert_eq!((status.code(), &ended["abandoned_packets"]), (Some(0), &1.into()), "{ended}");
    assert_eq!(ended["leaked_buffers"], serde_json::json!([]));
}
