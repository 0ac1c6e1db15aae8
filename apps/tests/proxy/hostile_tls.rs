//! Clients that speak TLS badly, or not at all. Those who behave are served all the while.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustls::{ClientConnection, SupportedProtocolVersion};

use crate::backend::reset;
use crate::client::{Client, TLS12, TLS13, config, get, read_all, tcp, tls};
use crate::common::has;
use crate::setup::Setup;
use crate::site::{site, text};

/// A client before its handshake, and its first message.
pub fn hello(version: &'static SupportedProtocolVersion) -> (ClientConnection, Vec<u8>) {
    let (mut tls, mut bytes) = (tls(config(&[version]), "localhost"), Vec::new());
    tls.write_tls(&mut bytes).expect("a hello");
    (tls, bytes)
}

/// Lets TLS go on with what comes until it has something to say, and gives that.
fn next_flight(tls: &mut ClientConnection, tcp: &mut TcpStream) -> Vec<u8> {
    while !tls.wants_write() {
        assert!(tls.read_tls(tcp).expect("an answer") > 0, "the proxy has closed");
        tls.process_new_packets().expect("TLS");
    }
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).expect("bytes");
    }
    bytes
}

#[test]
fn what_is_no_tls_is_turned_away() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut friend = Client::connect(proxy.v4);
    let (_, right) = hello(TLS13);
    let long = [&[0x16, 3, 1, 0xff, 0xff][..], &vec![0; 70_000]].concat();
    let strangers: &[(&str, &[u8])] = &[
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("zeros", &[0; 100]),
        ("a record that is too long", &long),
        ("SSL 2", &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 3, 0, 0x80, 7, 0, 0xc0]),
        ("content before a handshake", &[0x17, 3, 3, 0, 5, b'h', b'e', b'l', b'l', b'o']),
        ("an alert", &[0x15, 3, 3, 0, 2, 2, 80]),
        ("a hello with a hole", &[&right[..60], &[0; 200][..]].concat()),
        ("a hello behind a hello", &[&right[..], &right[..]].concat()),
    ];
    for (what, bytes) in strangers {
        let mut stranger = tcp(proxy.v4);
        // It may be reset before all is sent.
        let _ = stranger.write_all(bytes);
        if *what == "a hello with a hole" {
            let _ = stranger.shutdown(Shutdown::Write);
        }
        let (said, _) = read_all(&mut stranger);
        let is_tls = said.is_empty() || matches!(said[0], 0x15 | 0x16);
        assert!(is_tls && said.len() < 10_000, "{what}: {:?}", String::from_utf8_lossy(&said));
        assert_eq!(friend.get("/text/5").body, text(5));
    }
    let failed = proxy
        .wait_until("all have failed", |m| m.sum("handshakes_failed_total", &[]) == strangers.len() as u64);
    assert_eq!(failed.sum("handshakes_failed_total", &["reason=\"internal\""]), 0);
    drop((friend, backend));
    proxy.leaves_nothing();
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for version in [TLS12, TLS13] {
        let (mut tls, mut bytes) = hello(version);
        let mut tcp = tcp(proxy.v4);
        loop {
            for byte in &bytes {
                tcp.write_all(&[*byte]).expect("send");
            }
            if !tls.is_handshaking() {
                break;
            }
            if tls.wants_read() && !tls.wants_write() {
                bytes = Vec::new();
                assert!(tls.read_tls(&mut tcp).expect("an answer") > 0, "the proxy has closed");
                tls.process_new_packets().expect("TLS");
            }
            if tls.wants_write() {
                bytes = next_flight(&mut tls, &mut tcp);
            }
        }
        tls.writer().write_all(get("/text/3000").as_bytes()).expect("room");
        for byte in next_flight(&mut tls, &mut tcp) {
            tcp.write_all(&[byte]).expect("send");
        }
        assert!(Client::over(tcp, tls).expect("a client").response().body == text(3_000), "{version:?}");
    }
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn records_may_be_as_short_as_a_byte() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for version in [TLS12, TLS13] {
        let (tls, bytes) = hello(version);
        let records: Vec<u8> =
            bytes[5..].iter().flat_map(|byte| [0x16, bytes[1], bytes[2], 0, 1, *byte]).collect();
        let mut tcp = tcp(proxy.v6);
        tcp.write_all(&records).expect("send");
        let mut client = Client::over(tcp, tls).expect("a handshake");
        assert_eq!(client.get("/text/10").body, text(10));
        // And those behind the handshake as short as the library makes them.
        let mut short = config(&[version]);
        short.max_fragment_size = Some(32);
        let mut client = Client::with(proxy.v6, short, "localhost").expect("a handshake");
        client.send("POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n");
        client.send(text(5_000));
        assert!(client.response().body == text(5_000));
    }
    drop(backend);
    proxy.leaves_nothing();
}

/// Where a client goes away.
#[derive(Clone, Copy, Debug)]
pub enum At {
    Connected,
    HalfHello,
    /// Its handshake is with the device, or was a moment ago.
    Hello,
    /// It has what it needs for its last message.
    BeforeFinished,
    Finished,
    HalfRequest,
    Request,
}

pub const PLACES: [At; 7] =
    [At::Connected, At::HalfHello, At::Hello, At::BeforeFinished, At::Finished, At::HalfRequest, At::Request];

/// Goes away at a place, by a reset or in order.
pub fn goes_away(to: SocketAddr, version: &'static SupportedProtocolVersion, at: At, by_reset: bool) {
    let mut tcp = tcp(to);
    let (mut tls, bytes) = hello(version);
    let upto = match at {
        At::Connected => 0,
        At::HalfHello => bytes.len() / 2,
        _ => bytes.len(),
    };
    tcp.write_all(&bytes[..upto]).expect("send");
    match at {
        At::Connected | At::HalfHello | At::Hello => {}
        At::BeforeFinished => {
            let _ = tcp.read(&mut [0; 2_000]).expect("an answer");
        }
        At::Finished | At::HalfRequest | At::Request => {
            while tls.is_handshaking() {
                tls.complete_io(&mut tcp).expect("a handshake");
            }
            let request = get("/text/100000");
            let upto = match at {
                At::HalfRequest => request.len() / 2,
                At::Request => request.len(),
                _ => 0,
            };
            tls.writer().write_all(&request.as_bytes()[..upto]).expect("room");
            while tls.wants_write() {
                tls.write_tls(&mut tcp).expect("send");
            }
        }
    }
    if by_reset {
        reset(&tcp);
    }
}

#[test]
fn clients_may_go_away_at_any_time() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut friend = Client::connect(proxy.v4);
    for version in [TLS12, TLS13] {
        for at in PLACES {
            for i in 0..12 {
                goes_away(proxy.v4, version, at, i % 2 == 0);
            }
            assert_eq!(friend.get("/text/7").body, text(7), "{version:?} {at:?}");
        }
    }
    proxy.wait_until("the friend alone is left", |m| m.sum("connections_open", &[]) == 1);
    drop((friend, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_flood_of_handshakes_leaves_those_alone_who_are_there_already() {
    const FLOOD: usize = 300;
    let backend = site();
    let (tls, timeouts) = ("parked = 4", "handshake_ms = 4000");
    let proxy = Setup { servers: &[backend.address], tls, timeouts, ..Setup::default() }.start();
    let mut friend = Client::connect(proxy.v4);
    assert_eq!(friend.get("/text/5").status, 200);
    let flood: Vec<TcpStream> = (0..FLOOD)
        .map(|_| {
            let mut stranger = tcp(proxy.v4);
            stranger.write_all(&hello(TLS13).1).expect("send");
            stranger
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(friend.get("/text/5").body, text(5));
        assert!(proxy.metrics().sum("handshakes_parked", &[]) <= 4);
    }
    // None is forgotten: each gets its answer, says nothing to it, and is given up.
    for mut stranger in flood {
        let (said, _) = read_all(&mut stranger);
        assert!(said.starts_with(&[0x16, 3, 3]), "no answer: {said:?}");
    }
    assert_eq!(friend.get("/text/5").body, text(5));
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("handshakes_failed_total", &["reason=\"timeout\""]), FLOOD as u64);
    assert_eq!(metrics.sum("signatures_total", &[]), FLOOD as u64 + 1);
    assert!(Client::connect(proxy.v4).get("/text/5").status == 200, "and there is room again");
    drop((friend, backend));
    proxy.leaves_nothing();
}

#[test]
fn who_never_says_hello_is_given_up() {
    let backend = site();
    let timeouts = "handshake_ms = 700";
    let proxy = Setup { servers: &[backend.address], timeouts, ..Setup::default() }.start();
    for upto in [0, 1, 5, 100] {
        let mut silent = tcp(proxy.v4);
        silent.write_all(&hello(TLS12).1[..upto]).expect("send");
        assert!(read_all(&mut silent).0.is_empty());
    }
    assert_eq!(proxy.metrics().sum("handshakes_failed_total", &["reason=\"timeout\""]), 4);
    drop(backend);
    proxy.leaves_nothing();
}

/// `openssl s_client`, to which `lines` are said one after the other.
fn s_client(to: SocketAddr, args: &[&str], lines: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-servername", "localhost", "-connect", &to.to_string()]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let lines: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    let talk = std::thread::spawn(move || {
        for line in lines {
            std::thread::sleep(Duration::from_millis(700));
            // It ends when it is told no.
            let _ = stdin.write_all(&line);
        }
        std::thread::sleep(Duration::from_millis(700));
    });
    let output = child.wait_with_output().expect("it ends");
    talk.join().expect("it ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn nothing_is_negotiated_anew() {
    if !has("openssl") {
        return;
    }
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let said = s_client(proxy.v4, &["-tls1_2"], &["R\n"]);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || said.contains("alert"), "{said}");
    assert_eq!(proxy.metrics().sum("handshakes_total", &[]), 1);
    // New keys are another matter, and TLS 1.3 has them.
    let request = get("/text/20").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let said = s_client(proxy.v4, &["-tls1_3"], &["K\n", "k\n", &request]);
    assert!(said.contains("KEYUPDATE") && said.contains("HTTP/1.1 200 OK"), "{said}");
    assert!(said.contains(&*String::from_utf8_lossy(&text(20))), "{said}");
    drop(backend);
    proxy.leaves_nothing();
}
