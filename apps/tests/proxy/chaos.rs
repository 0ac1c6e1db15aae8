//! Everybody at once, for a while: those who behave get what they asked for, and nothing is left of those who do not.
//! `WARPDRIVE_CHAOS_SECONDS` says how long, `WARPDRIVE_CHAOS_SEED` how the dice fall.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::backend::{Backend, Exchange, Then, reset};
use crate::client::{Client, TLS12, TLS13, config, get, is_broken, tcp};
use crate::gunzip::Gunzip;
use crate::hostile_tls::{PLACES, goes_away, hello};
use crate::setup::{PATIENCE, Setup};
use crate::site::{answer, noise, text};
use crate::smuggling::REFUSED;

/// Those who come at a time.
const THREADS: u64 = 6;
/// How much more memory there may be at the end than after a quarter of the time.
const MORE: u64 = 16 << 20;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

/// The site, but for `/evil/…`.
fn server(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    match exchange.asked.target.as_str() {
        "/evil/0" => Ok(Then::Close),
        "/evil/1" => Ok(Then::Reset),
        "/evil/2" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
            exchange.send(text(30_000))?;
            Ok(Then::Reset)
        }
        "/evil/3" => {
            exchange.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n9000\r\n",
            )?;
            exchange.send(text(30_000))?;
            Ok(Then::Close)
        }
        "/evil/4" => {
            exchange.send("no HTTP at all\r\n\r\n")?;
            Ok(Then::Close)
        }
        _ => answer(exchange),
    }
}

/// Asks for several things on one connection, and insists on every byte.
fn behaves(to: SocketAddr, random: &mut Rng) {
    let version = [TLS12, TLS13][random.usize(..2)];
    let mut client = Client::with(to, config(&[version]), "localhost").expect("a handshake");
    for _ in 0..random.usize(1..8) {
        let length = random.usize(..200_000);
        match random.usize(..4) {
            0 => assert!(client.get(&format!("/text/{length}")).body == text(length)),
            1 => assert!(client.get(&format!("/chunks/{length}")).body == text(length)),
            2 => {
                let body = noise(length);
                client.send(format!(
                    "POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
                ));
                client.send(&body);
                assert!(client.response().body == body);
            }
            _ => {
                let length = length + 256;
                client.send(format!(
                    "GET /text/{length} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
                ));
                let response = client.response();
                assert_eq!(response.fields.get("content-encoding"), Some("gzip"));
                let mut gunzip = Gunzip::new();
                assert!(gunzip.more(&response.body) == text(length));
                gunzip.is_whole();
            }
        }
    }
}

/// Asks for what its server does not give.
fn is_let_down(to: SocketAddr, random: &mut Rng) {
    let which = random.usize(..5);
    let accepts = ["", "Accept-Encoding: gzip\r\n"][random.usize(..2)];
    let mut client = Client::connect(to);
    client.send(format!("GET /evil/{which} HTTP/1.1\r\nHost: localhost\r\n{accepts}\r\n"));
    let (got, how) = client.rest();
    if got.starts_with(b"HTTP/1.1 502 ") {
        assert!(how.is_ok(), "{which}: {how:?}");
    } else {
        assert!(
            matches!(which, 2 | 3) && is_broken(&how),
            "{which}: {how:?} {}",
            String::from_utf8_lossy(&got)
        );
    }
}

/// Does harm.
fn misbehaves(to: SocketAddr, random: &mut Rng) {
    let version = [TLS12, TLS13][random.usize(..2)];
    match random.usize(..5) {
        0 => goes_away(to, version, PLACES[random.usize(..PLACES.len())], random.bool()),
        1 => {
            let (_, mut bytes) = hello(version);
            let at = random.usize(..bytes.len());
            bytes[at] ^= random.u8(1..);
            let mut stranger = tcp(to);
            // What it is told is of no interest, nor how.
            let _ = stranger.write_all(&bytes);
            stranger.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            let _ = stranger.read(&mut [0; 4_096]);
        }
        2 => {
            let (what, request, status) = REFUSED[random.usize(..REFUSED.len())];
            let mut client = Client::connect(to);
            client.send(request);
            assert_eq!(client.response().status, status, "{what}");
        }
        3 => {
            // Leaves while it is answered, or while it asks.
            let mut client = Client::connect(to);
            client.send(get("/text/1000000"));
            let _ = client.some();
            if random.bool() {
                reset(client.tcp());
            }
        }
        _ => {
            let mut client = Client::connect(to);
            client.send("POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
            let _ = client.try_send(noise(random.usize(..90_000)));
            if random.bool() {
                client.end();
            }
        }
    }
}

#[test]
fn after_a_while_of_all_that_there_is_nothing_is_left() {
    let time = Duration::from_secs(number("WARPDRIVE_CHAOS_SECONDS", 20));
    let seed = number("WARPDRIVE_CHAOS_SEED", fastrand::u64(..));
    println!("WARPDRIVE_CHAOS_SEED={seed}");
    let backend = Backend::start(server);
    let (upstream, tls) = ("max_fails = 0", "parked = 16");
    let timeouts = "handshake_ms = 30000";
    let proxy = Setup { servers: &[backend.address], upstream, tls, timeouts, ..Setup::default() }.start();
    let start = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|i| {
            let (mut random, to) = (Rng::with_seed(seed.wrapping_add(i)), [proxy.v4, proxy.v6]);
            std::thread::spawn(move || {
                let mut rounds = 0_u64;
                while start.elapsed() < time {
                    let to = to[random.usize(..2)];
                    match random.usize(..5) {
                        0 | 1 => behaves(to, &mut random),
                        2 => is_let_down(to, &mut random),
                        _ => misbehaves(to, &mut random),
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    std::thread::sleep(time / 4);
    let (before, _) = proxy.memory();
    let rounds: u64 = threads.into_iter().map(|thread| thread.join().expect("all went as it should")).sum();
    let (after, most) = proxy.memory();
    println!(
        "{rounds} rounds; memory {} KiB, then {} KiB, at most {} KiB",
        before >> 10,
        after >> 10,
        most >> 10
    );
    assert!(after < before + MORE, "memory grows: {before} bytes, then {after}");
    let metrics = proxy.metrics();
    assert_eq!(metrics.answered(500), 0);
    assert!(metrics.answered(200) > 0 && metrics.answered(502) > 0 && metrics.answered(400) > 0);
    assert_eq!(
        metrics.sum("signatures_total", &["reason=\"engine_failed\""]),
        0,
        "signatures are computed by the device, or not at all in time"
    );
    drop(backend);
    assert!(start.elapsed() < time + 2 * PATIENCE, "and all end soon");
    proxy.leaves_nothing();
}
