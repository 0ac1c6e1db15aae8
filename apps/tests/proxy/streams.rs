//! What is long, and what lasts.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Exchange, Then};
use crate::client::{Client, get, is_broken};
use crate::gunzip::Gunzip;
use crate::setup::{PATIENCE, Proxy, Setup};
use crate::site::{NO_SUM, answer, noise, sum};

const MIB: u64 = 1 << 20;
/// A piece of what is long.
const PIECE: usize = 64 << 10;

/// Sends so many bytes, of which the client may take as much as it likes.
fn long(exchange: &mut Exchange<'_>, bytes: u64) -> io::Result<Then> {
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\n"
    ))?;
    let piece = noise(PIECE);
    for _ in 0..bytes / PIECE as u64 {
        exchange.send(&piece)?;
    }
    Ok(Then::Keep)
}

/// A site with `/long/MIB`.
fn site_with_long() -> Backend {
    Backend::start(|exchange| match exchange.asked.target.strip_prefix("/long/") {
        Some(n) => long(exchange, n.parse::<u64>().expect("a number") * MIB),
        None => answer(exchange),
    })
}

#[test]
fn fifty_megabytes_come_down_in_little_memory() {
    let backend = site_with_long();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.get("/text/1000");
    let (before, _) = proxy.memory();
    client.send(get("/long/50"));
    let (_, fields) = client.reader().head().expect("a head").expect("a head");
    let (mut length, mut of) = (0, NO_SUM);
    let piece = |bytes: &[u8]| {
        length += bytes.len() as u64;
        of = sum(of, bytes);
    };
    client.reader().body(&fields, false, piece).expect("a body");
    let piece = noise(PIECE);
    let expected = (0..50 * MIB / PIECE as u64).fold(NO_SUM, |of, _| sum(of, &piece));
    assert_eq!((length, of), (50 * MIB, expected));
    let (_, most) = proxy.memory();
    assert!(most - before < 8 * MIB, "{} KiB more", (most - before) >> 10);
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn twenty_megabytes_go_up_to_a_slow_server_in_both_framings_in_little_memory() {
    // The server is slower than the client, so that something is left over all the time.
    let backend = Backend::start(|exchange| {
        let (mut length, mut of) = (0, NO_SUM);
        exchange.body(|piece| {
            length += piece.len();
            of = sum(of, piece);
            std::thread::sleep(Duration::from_micros(500));
        })?;
        exchange.respond("text/plain", format!("{length} {of:x}").as_bytes())
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.get("/");
    let (before, _) = proxy.memory();
    let (piece, count) = (noise(PIECE), 20 * MIB as usize / PIECE);
    let expected = (0..count).fold(NO_SUM, |of, _| sum(of, &piece));
    for chunked in [false, true] {
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", count * PIECE),
        };
        client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n"));
        for _ in 0..count {
            match chunked {
                true => client.send([format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat()),
                false => client.send(&piece),
            }
        }
        if chunked {
            client.send("0\r\n\r\n");
        }
        let said = String::from_utf8(client.response().body).expect("text");
        assert_eq!(said, format!("{} {expected:x}", count * PIECE), "{framing}");
    }
    let (_, most) = proxy.memory();
    assert!(most - before < 8 * MIB, "{} KiB more", (most - before) >> 10);
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_client_that_does_not_read_costs_little_and_is_given_up() {
    let backend = site_with_long();
    let timeouts = "body_ms = 1500";
    let proxy = Setup { servers: &[backend.address], timeouts, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.get("/text/1000");
    let (before, _) = proxy.memory();
    client.send(get("/long/64"));
    proxy.wait_until("it is given up", |m| m.sum("timeouts_total", &["kind=\"body\""]) == 1);
    let (_, most) = proxy.memory();
    assert!(most - before < 8 * MIB, "{} KiB more", (most - before) >> 10);
    let (got, how) = client.rest();
    assert!((got.len() as u64) < 64 * MIB && is_broken(&how), "{} bytes, {how:?}", got.len());
    drop(backend);
    proxy.leaves_nothing();
}

/// Downloads much, and says how many requests of another client were answered meanwhile.
fn answered_during_a_download(proxy: &Proxy, others: &mut Client) -> u32 {
    let mut greedy = Client::connect(proxy.v4);
    let (begun, has_begun) = channel();
    let download = std::thread::spawn(move || {
        greedy.send(get("/long/256"));
        let (_, fields) = greedy.reader().head().expect("a head").expect("a head");
        begun.send(()).expect("the test waits");
        let mut length = 0;
        greedy.reader().body(&fields, false, |piece| length += piece.len() as u64).expect("a body");
        length
    });
    has_begun.recv().expect("it begins");
    let mut answered = 0;
    while !download.is_finished() {
        assert_eq!(others.get("/text/10").status, 200);
        answered += 1;
    }
    assert_eq!(download.join().expect("it ends"), 256 * MIB);
    answered
}

#[test]
fn one_who_downloads_all_the_time_leaves_room_for_others() {
    let backend = site_with_long();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut others = Client::connect(proxy.v4);
    others.get("/text/10");
    // A turn of a download is a MiB. Other programs may delay us, but not each time.
    let answered: Vec<u32> = (0..3).map(|_| answered_during_a_download(&proxy, &mut others)).collect();
    println!("{answered:?} others were answered during downloads");
    assert!(answered.iter().filter(|n| **n >= 20).count() >= 2, "only {answered:?} others were answered");
    drop((others, backend));
    proxy.leaves_nothing();
}

const EVENTS: usize = 9;

/// Sends an event whenever it is told to.
fn events(exchange: &mut Exchange<'_>, next: &Receiver<()>) -> io::Result<Then> {
    exchange
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for i in 0..EVENTS {
        next.recv_timeout(PATIENCE).map_err(io::Error::other)?;
        let event = format!("data: number {i}\n\n");
        exchange.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
    }
    exchange.send("0\r\n\r\n")?;
    Ok(Then::Keep)
}

#[test]
fn events_arrive_when_they_are_sent_also_compressed() {
    let (next, told) = channel();
    let told = Mutex::new(told);
    let backend = Backend::start(move |exchange| events(exchange, &told.lock().expect("one at a time")));
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for coding in [None, Some("gzip")] {
        let mut client = Client::connect(proxy.v4);
        let accepts = coding.map(|coding| format!("Accept-Encoding: {coding}\r\n")).unwrap_or_default();
        client.send(format!("GET /events HTTP/1.1\r\nHost: localhost\r\n{accepts}\r\n"));
        let (line, fields) = client.reader().head().expect("a head").expect("a head");
        assert!(line.starts_with("HTTP/1.1 200 ") && fields.get("content-encoding") == coding, "{fields:?}");
        let (mut text, mut gunzip, mut delays) = (String::new(), Gunzip::new(), Vec::new());
        let mut sent = Instant::now();
        next.send(()).expect("the server waits");
        let piece = |bytes: &[u8]| {
            let plain = if coding.is_some() { gunzip.more(bytes) } else { bytes.to_vec() };
            text.push_str(&String::from_utf8(plain).expect("text"));
            // The next one is sent when this one is here: what is kept back would be kept for ever.
            if text.matches("\n\n").count() > delays.len() {
                delays.push(sent.elapsed());
                sent = Instant::now();
                if delays.len() < EVENTS {
                    next.send(()).expect("the server waits");
                }
            }
        };
        client.reader().body(&fields, false, piece).expect("events");
        if coding.is_some() {
            gunzip.is_whole();
        }
        let expected: String = (0..EVENTS).map(|i| format!("data: number {i}\n\n")).collect();
        assert_eq!(text, expected);
        delays.sort();
        assert!(delays[EVENTS / 2] < Duration::from_secs(1), "{coding:?}: {delays:?}");
    }
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn an_upgraded_connection_is_a_tunnel() {
    let backend = Backend::start(|exchange| {
        assert_eq!(exchange.asked.fields.get("upgrade"), Some("echo/1"));
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\nhello ",
        )?;
        loop {
            let bytes = exchange.receive()?;
            if bytes.is_empty() || bytes.ends_with(b"bye") {
                exchange.send(bytes)?;
                return Ok(Then::Close);
            }
            exchange.send(bytes)?;
        }
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    // What is for the other protocol may come at once.
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\nearly ");
    let (line, fields) = client.reader().head().expect("a head").expect("a head");
    assert_eq!((&*line, fields.get("upgrade")), ("HTTP/1.1 101 Switching Protocols", Some("echo/1")));
    let (sent, mut got) = (noise(200_000), Vec::new());
    client.send(&sent);
    let expected = [&b"hello early "[..], &sent].concat();
    while got.len() < expected.len() {
        let some = client.some().expect("more");
        assert!(!some.is_empty(), "it ends after {} bytes", got.len());
        got.extend(some);
    }
    assert!(got == expected);
    client.send("bye");
    let (last, how) = client.rest();
    assert!(last == b"bye" && how.is_ok(), "{last:?} {how:?}");
    // And the client ends one.
    let mut client = Client::connect(proxy.v6);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n");
    assert!(client.reader().head().expect("a head").is_some());
    drop((client, backend));
    proxy.leaves_nothing();
}
