use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use warpdrive_pmd::stats::DeviceStats;

use super::*;
use crate::metrics::parse::parse;
use crate::metrics::{Kind, Metrics};

fn sources() -> Sources {
    let workers = vec![Metrics::new(2, &[("app".into(), "192.0.2.1:80".into())])];
    workers[0].responded(200);
    Sources {
        proxies: vec![ProxyMetrics { name: "web".into(), workers, health: Arc::default() }],
        devices: Box::new(|| {
            let stats = DeviceStats { fill: vec![0, 2], ..Default::default() };
            vec![DeviceReport { name: "rsa0".into(), stats }]
        }),
        more: vec![Box::new(|out| out.family(Kind::Gauge, "answer", "Of another.").add(&[], 42))],
        draining: Arc::default(),
        load: None,
    }
}

fn admin(listen: &str) -> Admin {
    Admin::start(listen, sources()).unwrap()
}

fn refused(listen: &str) -> String {
    Admin::start(listen, sources()).err().expect("it starts").to_string()
}

/// The status, the head and the body of what is answered to `request`.
fn asked(mut stream: impl Read + Write, request: &str) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

fn tcp(admin: &Admin) -> TcpStream {
    let Place::Address(address) = admin.place() else { panic!("no address") };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn get(admin: &Admin, path: &str) -> (u16, String, String) {
    asked(tcp(admin), &format!("GET {path} HTTP/1.1\r\nHost: localhost:1\r\n\r\n"))
}

#[test]
fn metrics_are_what_prometheus_reads_from_all_sources() {
    let (status, head, body) = get(&admin("127.0.0.1:0"), "/metrics");
    assert!(
        status == 200 && head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    let parsed = parse(&body);
    let labels = [("proxy", "web"), ("core", "2"), ("class", "2xx"), ("status", "200")];
    assert_eq!(parsed.value("warpdrive_proxy_requests_total", &labels), 1.0);
    assert_eq!(parsed.value("warpdrive_proxy_device_batch_requests_count", &[("device", "rsa0")]), 2.0);
    assert_eq!(parsed.value("warpdrive_proxy_answer", &[]), 42.0);
}

#[test]
fn the_status_is_json() {
    let (status, head, body) = get(&admin("[::1]:0"), "/status.json?x");
    assert!(status == 200 && head.contains("Content-Type: application/json"), "{head}");
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&json["proxies"][0]["name"], &json["devices"][0]["name"]), (&json!("web"), &json!("rsa0")));
    assert_eq!(json["draining"], false);
    assert!(json["uptime"].as_f64().unwrap() < 60.0);
}

#[test]
fn who_drains_is_not_healthy_and_answers_still() {
    let sources = sources();
    let draining = Arc::clone(&sources.draining);
    let admin = Admin::start("127.0.0.1:0", sources).unwrap();
    assert_eq!(get(&admin, "/healthz").0, 200);
    draining.store(true, Ordering::Relaxed);
    let (status, _, body) = get(&admin, "/healthz");
    assert_eq!((status, &*body), (503, "draining\n"));
    assert!(get(&admin, "/status.json").2.contains("\"draining\":true"));
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_may_not() {
    let (status, head, page) = get(&admin("127.0.0.1:0"), "/");
    assert!(status == 200 && page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(
        head.contains("Content-Security-Policy: default-src 'none';")
            && head.contains("frame-ancestors 'none'"),
        "{head}"
    );
    assert!(!page.contains("src=") && !page.contains("@import"), "it loads something");
    // The one address is the name of a vocabulary, which nobody opens.
    let addresses: Vec<&str> = page.match_indices("://").map(|(at, _)| &page[at - 5..at + 30]).collect();
    assert!(addresses.len() == 1 && addresses[0].contains("www.w3.org/2000/svg"), "{addresses:?}");
}

#[test]
fn only_get_by_a_name_of_this_machine_is_answered() {
    let admin = admin("127.0.0.1:0");
    let cases = [
        ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost: rebound.example.org\r\n\r\n", 421),
        ("GET /healthz HTTP/1.0\r\n\r\n", 421),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
    ];
    for (request, expected) in cases {
        let (status, head, body) = asked(tcp(&admin), request);
        assert_eq!(status, expected, "{request:?}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len()))
                && head.ends_with("Connection: close")
        );
        assert_eq!(head.contains("Allow: GET"), status == 405);
    }
}

#[test]
fn who_says_nothing_keeps_nobody_waiting() {
    let admin = admin("127.0.0.1:0");
    let silent: Vec<TcpStream> = (0..8).map(|_| tcp(&admin)).collect();
    assert_eq!(get(&admin, "/healthz").0, 200);
    let start = Instant::now();
    drop(admin);
    assert!(start.elapsed() < Duration::from_secs(5), "the end waits for who says nothing");
    drop(silent);
}

#[test]
fn others_cannot_reach_it() {
    for address in ["0.0.0.0:9443", "192.0.2.1:1", "[::]:1", "[::ffff:127.0.0.1]:1"] {
        let text = refused(address);
        assert!(text.contains("loopback") && text.contains("Remedy"), "{address}: {text}");
    }
    for neither in ["", "9443", "localhost:9443", "127.0.0.1", "admin.sock"] {
        let text = refused(neither);
        assert!(text.contains("neither") && text.contains(&format!("{neither:?}")), "{text}");
    }
    let first = admin("127.0.0.1:0");
    let Place::Address(address) = first.place() else { panic!() };
    let text = refused(&address.to_string());
    assert!(text.contains(&address.to_string()) && text.contains("cannot be used"), "{text}");
}

fn by_path(path: &Path) -> Result<u16, io::Error> {
    UnixStream::connect(path)
        .map(|stream| asked(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").0)
}

#[test]
fn a_socket_is_this_users_alone_and_goes_with_the_admin_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let admin = admin(path.to_str().unwrap());
    assert_eq!(*admin.place(), Place::Path(path.clone()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(by_path(&path).unwrap(), 200);
    drop(admin);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let text = path.to_str().unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "this is what is left behind");
    let first = admin(text);
    assert_eq!(by_path(&path).unwrap(), 200);
    assert!(refused(text).contains("in use"));
    assert_eq!(by_path(&path).unwrap(), 200, "the first one is still there");
    // Another's socket is not removed at the end.
    fs::remove_file(&path).unwrap();
    let second = UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(refused(text).contains("no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let nowhere = refused("/no/such/folder/admin.sock");
    assert!(nowhere.contains("/no/such/folder/admin.sock") && nowhere.contains("Remedy"), "{nowhere}");
    let long = refused(&format!("/tmp/{}", "x".repeat(200)));
    assert!(long.contains("cannot be made"), "{long}");
}
