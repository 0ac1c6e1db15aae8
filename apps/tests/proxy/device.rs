//! Who signs.

use std::io::Write as _;
use std::net::TcpStream;

use rustls::ClientConnection;

use crate::client::{Client, TLS12, TLS13, config, tcp, tls};
use crate::metrics::Metrics;
use crate::setup::Setup;
use crate::site::site;

/// Clients that come at once.
const CROWD: usize = 64;
/// How often they come until lanes were full enough: other programs may delay them.
const TRIES: usize = 10;

#[test]
fn each_full_handshake_is_signed_by_the_device() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for i in 0..40 {
        let version = [TLS12, TLS13][i % 2];
        let to = [proxy.v4, proxy.v6][i / 2 % 2];
        let mut client = Client::with(to, config(&[version]), "localhost").expect("a handshake");
        assert_eq!(client.get("/text/1").status, 200);
    }
    let metrics = proxy.metrics();
    assert_eq!((metrics.handshakes(false), metrics.handshakes(true), metrics.by_device()), (40, 0, 40));
    assert_eq!(metrics.sum("signatures_total", &["by=\"library\""]), 0);
    assert_eq!(metrics.sum("device_requests_total", &["device=\"rsa0\""]), 40);
    drop(backend);
    proxy.leaves_nothing();
}

/// Sends the first message of all clients, and then finishes their handshakes.
fn crowd(to: std::net::SocketAddr) {
    let mut clients: Vec<(TcpStream, ClientConnection, Vec<u8>)> = (0..CROWD)
        .map(|_| {
            let (mut tls, mut hello) = (tls(config(&[TLS13]), "localhost"), Vec::new());
            tls.write_tls(&mut hello).expect("a hello");
            (tcp(to), tls, hello)
        })
        .collect();
    for (tcp, _, hello) in &mut clients {
        tcp.write_all(hello).expect("send");
    }
    for (tcp, tls, _) in clients {
        let mut client = Client::over(tcp, tls).expect("a handshake");
        assert_eq!(client.get("/text/1").status, 200);
    }
}

#[test]
fn clients_that_come_together_fill_the_lanes() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let of = |metrics: &Metrics, what: &str| {
        metrics.sum(&format!("device_batch_requests_{what}"), &["device=\"rsa0\""]) as f64
    };
    let mut means = Vec::new();
    for _ in 0..TRIES {
        let before = proxy.metrics();
        crowd(proxy.v4);
        let after = proxy.metrics();
        let requests = of(&after, "sum") - of(&before, "sum");
        assert_eq!(requests, CROWD as f64);
        means.push(requests / (of(&after, "count") - of(&before, "count")));
        if means.last().is_some_and(|mean| *mean > 6.0) {
            break;
        }
    }
    println!("requests in a batch: {means:.2?}");
    assert!(means.iter().any(|mean| *mean > 6.0), "{CROWD} clients at once: batches of {means:.2?}");
    let metrics = proxy.metrics();
    assert_eq!(metrics.by_device(), metrics.handshakes(false));
    assert_eq!(metrics.by_device() as usize, CROWD * means.len());
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn without_devices_the_library_signs_and_nothing_is_compressed() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], devices: false, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.send("GET /text/5000 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = client.response();
    assert_eq!((response.fields.get("content-encoding"), response.fields.get("vary")), (None, None));
    assert_eq!(proxy.metrics().sum("signatures_total", &["reason=\"no_device\""]), 1);
    drop((client, backend));
    proxy.leaves_nothing();
}
