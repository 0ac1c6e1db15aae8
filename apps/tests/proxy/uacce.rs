//! Devices of another process: handshakes are signed and responses compressed by way of queue files.

use std::net::SocketAddr;
use std::time::Instant;

use crate::client::{Client, TLS12, TLS13, config};
use crate::common::PATIENCE;
use crate::common::served::{Served, USUAL};
use crate::gunzip::Gunzip;
use crate::setup::{Proxy, Setup};
use crate::site::{site, text};

/// What a proxy has of the devices at a place.
fn devices(served: &Served) -> String {
    let device = |name: &str, device: &str| {
        format!("[device.{name}]\ndriver = \"uacce\"\ndevice = {device:?}\nexpose = {:?}\n", served.expose())
    };
    device("rsa0", "hisi_hpre-0") + &device("zip0", "hisi_zip-0")
}

/// A proxy in front of a backend that uses the devices at a place.
fn start(served: &Served, backend: SocketAddr) -> Proxy {
    let more = devices(served);
    Setup { servers: &[backend], devices: false, proxy: USES, more: &more, ..Setup::default() }.start()
}

const USES: &str = "rsa = \"rsa0\"\nzip = \"zip0\"\n";

#[test]
fn handshakes_are_signed_and_responses_compressed_by_devices_of_a_server() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let backend = site();
    let proxy = start(&served, backend.address);
    for i in 0..20 {
        let version = [TLS12, TLS13][i % 2];
        let mut client = Client::with(proxy.v4, config(&[version]), "localhost").expect("a handshake");
        assert_eq!(client.get("/text/1").status, 200);
        client.send("GET /text/300000 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
        let response = client.response();
        assert_eq!(response.fields.get("content-encoding"), Some("gzip"));
        let mut gunzip = Gunzip::new();
        assert!(gunzip.more(&response.body) == text(300_000), "what was compressed is not what comes out");
        gunzip.is_whole();
    }
    let metrics = proxy.metrics();
    assert_eq!((metrics.handshakes(false), metrics.by_device()), (20, 20));
    assert_eq!(metrics.sum("signatures_total", &["by=\"library\""]), 0);
    drop(backend);
    proxy.leaves_nothing();
    let ended = served.ends_well();
    assert!(ended.stdout.contains("rsa: 20 requests, 0 failed"), "{}", ended.stdout);
}

/// A response that may be compressed: whether it is. `None` if it breaks off.
fn compressed(proxy: &Proxy) -> Option<bool> {
    let mut client = Client::connect(proxy.v4);
    client.send("GET /text/5000 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    let response = client.try_response("GET").ok()?;
    Some(response.fields.get("content-encoding").is_some())
}

#[test]
fn when_the_server_goes_the_library_signs_and_responses_go_as_they_are() {
    let Some(served) = Served::start(USUAL, &[]) else { return };
    let backend = site();
    let proxy = start(&served, backend.address);
    let get = || {
        let mut client = Client::connect(proxy.v4);
        assert_eq!(client.get("/text/1").status, 200);
    };
    let get_compressed = || compressed(&proxy);
    get();
    assert_eq!(get_compressed(), Some(true));
    served.ends_well();
    (0..3).for_each(|_| get());
    // By the first one it learns that nobody compresses any more, if not before.
    assert_ne!(get_compressed(), Some(true));
    (0..3).for_each(|_| assert_eq!(get_compressed(), Some(false)));
    let metrics = proxy.metrics();
    assert_eq!((metrics.handshakes(false), metrics.by_device()), (9, 2));
    assert_eq!(metrics.sum("signatures_total", &["by=\"library\""]), 7);
    drop(backend);
    proxy.leaves_nothing_but_warnings();
}

#[test]
fn when_another_server_comes_its_devices_sign_and_compress_again() {
    let Some(mut served) = Served::start(USUAL, &[]) else { return };
    let backend = site();
    let proxy = start(&served, backend.address);
    let expose = served.expose().to_owned();
    let mut handshakes = 1;
    assert_eq!(compressed(&proxy), Some(true));
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        served.signal(signal);
        let (_, folder) = served.wait();
        // Until it has noticed, which takes it a second if the server was killed.
        let deadline = Instant::now() + PATIENCE;
        while compressed(&proxy) != Some(false) {
            handshakes += 1;
            assert!(Instant::now() < deadline, "it has not noticed");
        }
        handshakes += 1;
        served = Served::start_at(folder, &expose, USUAL, &[]).expect("it could before");
        let by_device = proxy.metrics().by_device();
        let mut compresses = false;
        while !compresses || proxy.metrics().by_device() == by_device {
            compresses |= compressed(&proxy) == Some(true);
            handshakes += 1;
            assert!(Instant::now() < deadline, "the devices are not used again");
        }
    }
    let metrics = proxy.metrics();
    assert_eq!(metrics.handshakes(false), handshakes, "whoever signs, each is answered");
    for device in ["device=\"rsa0\"", "device=\"zip0\""] {
        let counts =
            ["lost", "reopened"].map(|what| metrics.sum(&format!("device_queues_{what}_total"), &[device]));
        assert_eq!(counts, [2, 2], "{device}");
    }
    drop(backend);
    proxy.leaves_nothing_but_warnings();
    served.ends_well();
}
