//! Loading the configuration anew while the proxy works.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use serde_json::Value;

use crate::backend::{Backend, Exchange, Then};
use crate::client::{Client, TLS12, TLS13, config, get};
use crate::setup::{PATIENCE, Proxy, Setup};
use crate::site::{answer, site, text};

/// A site that says with each answer which one it is.
fn named(name: &'static str) -> Backend {
    Backend::start(move |exchange: &mut Exchange<'_>| exchange.respond("text/plain", name.as_bytes()))
}

#[track_caller]
fn reloaded(proxy: &Proxy) {
    let ran = proxy.reload();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("reloaded proxy.toml: tested\n"), "{ran:?}");
}

/// Workers look for what is new when they find the time, within 10 ms on a quiet machine.
#[track_caller]
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether it is the certificate for `ec.example` that a client is shown who asks for that.
fn is_renewed(proxy: &Proxy) -> bool {
    Client::with(proxy.v4, config(&[TLS13]), "ec.example").is_ok()
}

#[test]
fn certificates_change_and_who_is_connected_stays() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], workers: 2, ..Setup::default() }.start();
    let mut resuming = config(&[TLS13]);
    resuming.resumption = Resumption::in_memory_sessions(8);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(proxy.v4)).collect();
    let with_ticket = |resuming: &rustls::ClientConfig| {
        let mut client = Client::with(proxy.v4, resuming.clone(), "localhost").expect("a handshake");
        assert_eq!(client.get("/text/1").body, text(1));
        client.end();
    };
    with_ticket(&resuming);
    // The files are others, as after a renewal; only the configuration's are read.
    for kind in ["pem", "key"] {
        let from = proxy.path().join("ecdsa").with_extension(kind);
        fs::rename(from, proxy.path().join("rsa").with_extension(kind)).expect("rename");
    }
    assert!(!is_renewed(&proxy));
    reloaded(&proxy);
    soon("the new certificate is shown", || is_renewed(&proxy));
    for client in &mut clients {
        assert_eq!(client.get("/text/1000").body, text(1000));
    }
    let before = proxy.metrics().handshakes(true);
    with_ticket(&resuming);
    assert_eq!(proxy.metrics().handshakes(true), before + 1, "tickets are good for what is loaded anew");
    drop((clients, backend));
    proxy.leaves_nothing();
}

#[test]
fn full_handshakes_go_on_while_keys_change() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let over = AtomicBool::new(false);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Client::connect(proxy.v4);
                    assert_eq!(client.get("/text/9").body, text(9));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..20 {
            reloaded(&proxy);
            soon("handshakes are made", || done.load(Ordering::Relaxed) > 4 * round);
        }
        over.store(true, Ordering::Relaxed);
    });
    let metrics = proxy.metrics();
    assert_eq!(metrics.by_device(), metrics.handshakes(false), "each was signed by the device");
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn servers_change_under_load_and_no_request_fails() {
    let (one, two) = (named("one"), named("two"));
    let proxy = Setup { servers: &[one.address], workers: 2, ..Setup::default() }.start();
    let over = AtomicBool::new(false);
    let (ones, twos) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(proxy.v4);
                while !over.load(Ordering::Relaxed) {
                    let response = client.get("/");
                    assert_eq!(response.status, 200);
                    let of = if response.body == b"one" { &ones } else { &twos };
                    of.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (mut from, mut to) = ((&one, &ones), (&two, &twos));
        for _ in 0..10 {
            proxy.edit(
                &format!("servers = [\"{}\"]", from.0.address),
                &format!("servers = [\"{}\"]", to.0.address),
            );
            reloaded(&proxy);
            let before = to.1.load(Ordering::Relaxed);
            soon("the other server is asked", || to.1.load(Ordering::Relaxed) > before + 8);
            let before = from.1.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
            assert!(from.1.load(Ordering::Relaxed) <= before + 8, "the old one is asked no more");
            (from, to) = (to, from);
        }
        over.store(true, Ordering::Relaxed);
    });
    // Who was left has nothing open any more, and is not spoken of.
    let two_is = format!("server=\"{}\"", two.address);
    let metrics = proxy.wait_until("one server is left", |m| {
        m.names("upstream_up").len() == 2 && m.sum("upstream_connections_open", &[&two_is]) == 0
    });
    assert!(metrics.names("upstream_up").iter().all(|name| !name.contains(&two_is)));
    assert_eq!(metrics.sum("connections_total", &[]), 4, "no client had to come again");
    assert_eq!(metrics.answered(200), (ones.into_inner() + twos.into_inner()) as u64);
    drop((one, two));
    proxy.leaves_nothing();
}

#[test]
fn routes_and_limits_change_and_what_is_under_way_ends_as_it_was_begun() {
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let slow = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&slow);
    let old = Backend::start(move |exchange: &mut Exchange<'_>| {
        if exchange.asked.target != "/slow" {
            return answer(exchange);
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nol")?;
        seen.fetch_add(1, Ordering::Relaxed);
        told.lock().expect("one").recv_timeout(PATIENCE).map_err(std::io::Error::other)?;
        exchange.send("d!")?;
        Ok(Then::Keep)
    });
    let new = named("new");
    let proxy = Setup { servers: &[old.address], ..Setup::default() }.start();
    let (mut under_way, mut other) = (Client::connect(proxy.v4), Client::connect(proxy.v4));
    under_way.send(get("/slow"));
    soon("the request has begun", || slow.load(Ordering::Relaxed) == 1);
    proxy.edit("name = \"servers\"", "name = \"others\"");
    proxy.edit(&old.address.to_string(), &new.address.to_string());
    proxy.edit("[proxy.limits]", "[proxy.limits]\nbody_bytes = 10");
    proxy.edit("[proxy.compress]", "[[proxy.route]]\npath = \"/a\"\nupstream = \"others\"\n[proxy.compress]");
    reloaded(&proxy);
    soon("routes are others", || other.get("/a").body == b"new");
    go_on.send(()).expect("the server waits");
    assert_eq!(under_way.response().body, b"old!");
    // A route that there is no more.
    other.send(get("/b"));
    assert_eq!(other.response().status, 421);
    under_way.send("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(under_way.response().status, 413);
    drop((under_way, other, old, new));
    proxy.leaves_nothing();
}

#[test]
fn what_cannot_be_loaded_changes_nothing() {
    let backend = site();
    let log = "[proxy.log]\naccess = \"access.log\"";
    let proxy = Setup { servers: &[backend.address], more: log, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    let sound = fs::read_to_string(proxy.path().join("proxy.toml")).expect("the configuration");
    let mut refused = |from: &str, to: &str, code: i32, says: &str| {
        fs::write(proxy.path().join("proxy.toml"), sound.replacen(from, to, 1)).expect("write");
        let ran = proxy.reload();
        assert!(ran.code == Some(code) && ran.stderr.contains(says), "{from} -> {to}: {ran:?}");
        assert_eq!(client.get("/text/7").body, text(7));
    };
    refused("drain_ms = 20000", "drain_ms = 1", 1, "eal.drain_ms cannot change while the program runs");
    refused("\"127.0.0.1:0\"", "\"127.0.0.2:0\"", 1, "proxy[0].listen[0] cannot change");
    refused("version = 1", "version = ", 78, "proxy.toml:1:");
    refused("rsa.key", "ecdsa.key", 78, "does not belong to certificate");
    refused("rsa.pem", "none.pem", 78, "cannot be read");
    refused("./admin.sock", "./another.sock", 1, "nobody answers at \"./another.sock\"");
    refused("admin = \"./admin.sock\"", "", 1, "kill -HUP");
    // By signal, with nobody to answer: it is said where the program runs.
    proxy.hang_up();
    soon("it is said", || {
        proxy.said().contains("not reloaded, all goes on as before: proxy.toml: proxy[0].admin")
    });
    fs::write(proxy.path().join("proxy.toml"), &sound).expect("write");
    // Access logs are opened anew: what was moved away is left alone.
    let log_lines =
        |name: &str| fs::read_to_string(proxy.path().join(name)).unwrap_or_default().lines().count();
    soon("seven are in the log", || log_lines("access.log") == 7);
    fs::rename(proxy.path().join("access.log"), proxy.path().join("access.log.1")).expect("rename");
    proxy.hang_up();
    soon("it is said", || proxy.said().contains("reloaded proxy.toml: tested\n"));
    soon("there is a new log", || proxy.path().join("access.log").exists());
    assert_eq!(client.get("/text/8").body, text(8));
    soon("it is in the new log", || log_lines("access.log") == 1);
    assert_eq!(log_lines("access.log.1"), 7);
    let line: Value = serde_json::from_str(
        fs::read_to_string(proxy.path().join("access.log")).expect("a log").lines().next().expect("a line"),
    )
    .expect("JSON");
    assert_eq!(line["status"], 200);
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn versions_change_for_who_comes_later() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let old = |proxy: &Proxy| Client::with(proxy.v4, config(&[TLS12]), "localhost");
    let mut stays = old(&proxy).expect("TLS 1.2");
    proxy.edit("[proxy.tls]", "[proxy.tls]\nmin_version = \"1.3\"");
    reloaded(&proxy);
    soon("TLS 1.2 is refused", || old(&proxy).is_err());
    assert_eq!(stays.get("/text/3").body, text(3));
    assert_eq!(Client::connect(proxy.v4).get("/text/3").body, text(3));
    drop((stays, backend));
    proxy.leaves_nothing();
}

#[test]
fn checks_begin_and_end_with_what_is_loaded() {
    let backend = Backend::start(|exchange: &mut Exchange<'_>| match exchange.asked.target.as_str() {
        "/health" => {
            exchange.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")?;
            Ok(Then::Keep)
        }
        _ => answer(exchange),
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    assert_eq!(client.get("/text/5").body, text(5));
    let servers = format!("servers = [\"{}\"]", backend.address);
    let checked = format!(
        "{servers}\ncheck = {{ path = \"/health\", interval_ms = 100, timeout_ms = 1500, fall = 1 }}"
    );
    proxy.edit(&servers, &checked);
    reloaded(&proxy);
    soon("the server is left out", || Client::connect(proxy.v4).get("/text/5").status == 503);
    proxy.edit(&checked, &servers);
    reloaded(&proxy);
    soon("it is asked again", || Client::connect(proxy.v4).get("/text/5").status == 200);
    let asked = backend.asked().len();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(backend.asked().len(), asked, "checks have ended");
    drop((client, backend));
    assert!(!crate::checks::ends(proxy).is_empty(), "the server was left out, and that was said");
}
