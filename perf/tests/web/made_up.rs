//! Servers that are slow, rude or wrong.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warpdrive_perf::load::{Load, Shape, Subject as _, apply};
use warpdrive_perf::web::certificate::NAME;
use warpdrive_perf::web::client::{Client, Settings};
use warpdrive_perf::web::{Protocol, WebKind};
use warpdrive_perf::{Arrivals, Rate};

use super::{alone, curves, load, options};

/// Settings for a server without TLS that is made up.
fn plain(address: SocketAddr, kind: WebKind) -> Settings {
    Settings {
        address,
        host: NAME.to_owned(),
        path: "/".to_owned(),
        protocol: Protocol::Plain,
        kind,
        gzip: false,
        depth: 4,
        trust: rustls::RootCertStore::empty(),
        patience: Duration::from_secs(1),
        gives_way: false,
        server: vec![],
    }
}

/// A server without TLS that has `serve` handle each connection, which is told how many there were before.
fn made_up(serve: impl Fn(&mut TcpStream, u64) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (serve, number) = (Arc::new(serve), AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, serve) = (stream.unwrap(), serve.clone());
            let n = number.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || serve(&mut stream, n));
        }
    });
    address
}

/// Reads a request; false at the end of the connection.
fn asked(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn answer(stream: &mut TcpStream, status: &str, content: &str) {
    let length = content.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{content}");
    let _ = stream.write_all(text.as_bytes());
}

fn error(settings: Settings) -> String {
    let start = Instant::now();
    let error = Client::open(settings).err().expect("an error").to_string();
    assert!(start.elapsed() < Duration::from_secs(10), "{error} took {:?}", start.elapsed());
    error
}

#[test]
fn a_server_that_never_answers_is_an_error_in_time() {
    let _alone = alone();
    let silent = || made_up(|stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let said = error(plain(silent(), WebKind::Request));
    assert!(said.contains("no answer in time before the end of the response"), "{said}");
    let tls = Settings { protocol: Protocol::Tls13, ..plain(silent(), WebKind::Handshake) };
    assert!(error(tls).contains("no answer in time in the handshake"));
}

#[test]
fn a_server_that_is_not_there_or_says_no_is_an_error_with_the_reason() {
    let _alone = alone();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = error(plain(nobody, WebKind::Connection));
    assert!(said.contains("not connected") && said.contains("refused"), "{said}");
    let resets = made_up(|stream, _| {
        let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
        asked(stream);
    });
    assert!(error(plain(resets, WebKind::Request)).contains("reset by the server"));
    let closes = made_up(|stream, _| {
        asked(stream);
    });
    assert!(error(plain(closes, WebKind::Request)).contains("closed by the server before the end"));
    let missing = made_up(|stream, _| {
        asked(stream);
        answer(stream, "404 Not Found", "nothing here");
    });
    assert!(error(plain(missing, WebKind::Request)).contains("status 404"));
    let no_tls = made_up(|stream, _| answer(stream, "400 Bad Request", ""));
    let tls = Settings { protocol: Protocol::Tls13, ..plain(no_tls, WebKind::Handshake) };
    assert!(error(tls).contains("TLS in the handshake"));
}

#[test]
fn what_a_server_loses_is_counted_with_the_reason_and_no_more_than_once() {
    let _alone = alone();
    // Every fifth connection is reset, every seventh gets another status.
    let address = made_up(|stream, n| {
        asked(stream);
        if n % 5 == 4 {
            let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
        } else if n % 7 == 6 {
            answer(stream, "503 Service Unavailable", "");
        } else {
            answer(stream, "200 OK", "hello");
        }
    });
    let mut client = Client::open(plain(address, WebKind::Connection)).unwrap();
    let before = client.counts().operations;
    let shape = Shape::Open { rate: 100.0, arrivals: Arrivals::Constant };
    let load = Load { shape, warm: Duration::ZERO, ..load(1, 100) };
    let outcome = apply(&mut client, &load).unwrap();
    let losses = client.take_losses();
    assert!(outcome.lost > 0 && outcome.lost == losses.total(), "{losses}");
    assert_eq!(outcome.done, client.counts().operations - before);
    assert_eq!(outcome.sent, outcome.done + outcome.lost);
    assert!(losses.to_string().contains("reset by the server"), "{losses}");
    assert_eq!(client.in_flight(), 0);
}

/// A server without TLS that resets every n-th connection after its request.
fn resetting_every(nth: u64) -> SocketAddr {
    made_up(move |stream, n| {
        asked(stream);
        if n % nth == nth - 1 {
            let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
        } else {
            answer(stream, "200 OK", "hello");
        }
    })
}

#[test]
fn a_closed_loop_goes_on_after_a_loss() {
    let _alone = alone();
    let mut client = Client::open(plain(resetting_every(5), WebKind::Connection)).unwrap();
    let start = Instant::now();
    for _ in 0..2 {
        let outcome = apply(&mut client, &Load { warm: Duration::ZERO, ..load(1, 300) }).unwrap();
        let losses = client.take_losses();
        assert!(outcome.lost >= 3 && outcome.lost == losses.total(), "{outcome:?} {losses}");
        // The first of all was that of the set-up, or the last under way came too late for the rate.
        let came = outcome.done + outcome.lost;
        assert!((came..=came + 1).contains(&outcome.sent), "{outcome:?}");
        assert!(outcome.done.abs_diff(4 * outcome.lost) <= 8, "{outcome:?}");
    }
    // Nothing was waited for: not even once as long as there is patience.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn what_is_kept_to_be_said_begins_anew_when_told() {
    let _alone = alone();
    let mut client = Client::open(plain(resetting_every(5), WebKind::Connection)).unwrap();
    apply(&mut client, &load(2, 300)).unwrap();
    assert!(client.meter.notes()[0].contains("of the time at most"), "{:?}", client.meter.notes());
    assert_eq!(client.mark().counts.operations, 0);
    client.restart();
    assert_eq!(client.mark().counts, client.counts());
    assert!(!client.mark().losses.is_empty() && client.take_losses().is_empty());
    assert!(client.meter.notes()[0].contains("none of which was complete"), "{:?}", client.meter.notes());
}

#[test]
fn an_open_loop_goes_on_after_more_losses_than_may_be_under_way() {
    let _alone = alone();
    let mut client = Client::open(plain(resetting_every(2), WebKind::Connection)).unwrap();
    let start = Instant::now();
    let shape = Shape::Open { rate: 100.0, arrivals: Arrivals::Constant };
    let outcome = apply(&mut client, &Load { shape, warm: Duration::ZERO, ..load(1, 400) }).unwrap();
    assert!(outcome.unsent == 0 && outcome.sent >= 39, "{outcome:?}");
    assert!(outcome.lost.abs_diff(outcome.done) <= 1 && outcome.lost == client.take_losses().total());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_lets_all_fail_ends_the_run() {
    let _alone = alone();
    for shape in [Shape::Closed { depth: 2 }, Shape::Open { rate: 100.0, arrivals: Arrivals::Constant }] {
        let address = made_up(|stream, n| {
            asked(stream);
            answer(stream, if n == 0 { "200 OK" } else { "503 Service Unavailable" }, "hello");
        });
        let mut client = Client::open(plain(address, WebKind::Connection)).unwrap();
        let error = apply(&mut client, &Load { shape, ..load(1, 100) }).unwrap_err().to_string();
        assert!(error.contains("nothing was done") && error.contains("status 503"), "{error}");
    }
}

#[test]
fn what_was_lost_while_the_capacity_was_measured_is_not_said_of_the_curve() {
    let _alone = alone();
    // The first is that of the set-up; the closed loop has all of 256 connections under way at once.
    let asks = AtomicU64::new(0);
    let address = made_up(move |stream, _| {
        while asked(stream) {
            let busy = (100..120).contains(&asks.fetch_add(1, Ordering::Relaxed));
            answer(stream, if busy { "503 Service Unavailable" } else { "200 OK" }, "hello");
        }
    });
    let mut options = options();
    options.load.mode = Some(warpdrive_perf::Mode::Open);
    options.load.rates = vec![Rate::Percent(1.0)];
    options.web.target = Some(format!("http://{address}/").parse().unwrap());
    let curve = &curves("load-https", &options)[0];
    assert_eq!(curve.points[0].lost, 0);
    assert!(curve.notes.iter().all(|note| !note.starts_with("LOST")), "{:?}", curve.notes);
    let said = "while the capacity was measured: lost 20 x status 503";
    assert!(curve.notes.iter().any(|note| note == said), "{:?}", curve.notes);
    assert!(curve.notes.iter().all(|note| !note.contains("the server had")), "{:?}", curve.notes);
}

#[test]
fn a_server_that_stops_answering_loses_what_was_under_way_and_then_ends_the_run() {
    let _alone = alone();
    let answers = AtomicU64::new(0);
    let address = made_up(move |stream, _| {
        while asked(stream) {
            if answers.fetch_add(1, Ordering::Relaxed) < 20 {
                answer(stream, "200 OK", "hello");
            }
        }
    });
    let mut client = Client::open(plain(address, WebKind::Request)).unwrap();
    let start = Instant::now();
    let first = apply(&mut client, &Load { warm: Duration::ZERO, ..load(4, 100) }).unwrap();
    assert_eq!((client.counts().operations, first.lost), (20, 4));
    let losses = client.take_losses().to_string();
    assert!(losses.contains("4 x no answer in time before the end of the response"), "{losses}");
    let error = apply(&mut client, &load(4, 100)).unwrap_err().to_string();
    assert!(error.contains("nothing was done") && error.contains("no answer in time"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn content_that_changes_ends_the_run() {
    let _alone = alone();
    for (other, said) in [("hallo", "differs from that of the first response at byte 1"), ("hell", "4 bytes")]
    {
        let address = made_up(move |stream, n| {
            let mut answers = 0;
            while asked(stream) {
                answers += 1;
                answer(stream, "200 OK", if n == 0 && answers == 1 { "hello" } else { other });
            }
        });
        let mut client = Client::open(plain(address, WebKind::Request)).unwrap();
        let error = apply(&mut client, &load(2, 100)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn connections_that_the_server_closes_between_requests_are_made_anew_and_counted() {
    let _alone = alone();
    let address = made_up(|stream, _| {
        for status in ["200 OK", "200 OK", "200 OK\r\nConnection: close"] {
            if !asked(stream) {
                return;
            }
            answer(stream, status, "hello");
        }
    });
    let mut client = Client::open(plain(address, WebKind::Request)).unwrap();
    let shape = Shape::Open { rate: 100.0, arrivals: Arrivals::Constant };
    let outcome = apply(&mut client, &Load { shape, warm: Duration::ZERO, ..load(1, 400) }).unwrap();
    let counts = client.counts();
    assert!(outcome.sent >= 30 && outcome.lost == 0, "{counts:?}");
    // Four connections bear twelve operations, the first of the set-up among them.
    assert!(counts.renewed >= (counts.operations - 12) / 3, "{counts:?}");
    assert_eq!(client.in_flight(), 0);
}
