//! Servers that are checked, whether there is traffic or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::{Backend, Then};
use crate::client::Client;
use crate::setup::{PATIENCE, Proxy, Setup};
use crate::site::answer;

const CHECK: &str =
    "check = { path = \"/health\", interval_ms = 100, timeout_ms = 1500, rise = 2, fall = 2 }";
/// Instead of a status: no answer.
const HANGS: u16 = 0;

/// A site whose checks get a status that can be changed.
struct Site {
    backend: Backend,
    status: Arc<AtomicU16>,
}

impl Site {
    fn start(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let theirs = Arc::clone(&status);
        let backend = Backend::start(move |exchange| {
            if exchange.asked.target != "/health" {
                return answer(exchange);
            }
            match theirs.load(Ordering::SeqCst) {
                // Until the proxy has had enough.
                HANGS => drop(exchange.receive()?),
                status => exchange.send(format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n"))?,
            }
            Ok(Then::Close)
        });
        Self { backend, status }
    }

    fn turn(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn label(&self) -> String {
        format!("server=\"{}\"", self.backend.address)
    }

    /// Requests of clients that came to it.
    fn served(&self) -> usize {
        self.backend.asked().iter().filter(|asked| asked.target != "/health").count()
    }
}

/// On how many cores it is asked.
#[track_caller]
fn wait_until_up(proxy: &Proxy, site: &Site, cores: u64) {
    proxy.wait_until(&format!("up on {cores} cores"), |m| m.sum("upstream_up", &[&site.label()]) == cores);
}

/// Requests by several clients, on whatever cores.
#[track_caller]
fn requests(proxy: &Proxy, status: u16) {
    for _ in 0..8 {
        let mut client = Client::connect(proxy.v4);
        assert_eq!(client.get("/text/10").status, status);
        // A proxy that has no server closes the connection.
        if status == 200 {
            assert_eq!(client.get("/text/20").status, status);
        }
    }
}

/// Ends it, and insists that it complains of servers alone. What it has said of them.
#[track_caller]
pub fn ends(mut proxy: Proxy) -> Vec<String> {
    proxy.terminate();
    let status = proxy.wait(PATIENCE);
    let stderr = std::fs::read_to_string(proxy.path().join("stderr")).expect("what it said");
    assert_eq!(status.code(), Some(0), "{stderr}");
    let ended = proxy.ended();
    assert_eq!((&ended["leaked_buffers"], &ended["abandoned_packets"]), (&json!([]), &json!(0)));
    let of_servers = |line: &&str| line.contains("of upstream \"servers\" is ");
    assert!(
        !stderr.contains("panicked") && stderr.lines().all(|l| of_servers(&l) || !l.contains("WARN")),
        "{stderr}"
    );
    stderr.lines().filter(of_servers).map(str::to_owned).collect()
}

#[test]
fn a_server_whose_checks_fail_is_left_out_by_all_workers_and_comes_back() {
    let (well, sick) = (Site::start(200), Site::start(204));
    let servers = [well.backend.address, sick.backend.address];
    // Kept for as long as the test takes, unless there is another reason.
    let timeouts = "upstream_idle_ms = 600000";
    let proxy =
        Setup { workers: 2, servers: &servers, upstream: CHECK, timeouts, ..Setup::default() }.start();
    requests(&proxy, 200);
    assert!(sick.served() > 0);
    let mut expected = Vec::new();
    for (turn, cause) in [(500, "status 500"), (HANGS, "timeout: no answer within 1.5s")] {
        sick.turn(turn);
        wait_until_up(&proxy, &sick, 0);
        proxy.wait_until("its connections are closed", |m| {
            m.sum("upstream_connections_open", &[&sick.label()]) == 0
        });
        let before = sick.served();
        requests(&proxy, 200);
        assert_eq!(sick.served(), before, "{cause}");
        sick.turn(200);
        wait_until_up(&proxy, &sick, 2);
        requests(&proxy, 200);
        assert!(sick.served() > before, "{cause}");
        expected.extend([format!("failed, the last one: {cause}"), "is asked again".to_owned()]);
    }
    let metrics = proxy.metrics();
    assert!(metrics.sum("upstream_check_failures_total", &[&sick.label()]) >= 4);
    assert_eq!(metrics.sum("upstream_check_failures_total", &[&well.label()]), 0);
    assert!(metrics.sum("upstream_checks_total", &[&well.label()]) >= 8);
    assert_eq!(metrics.sum("upstream_failures_total", &[]), 0, "no request has failed");
    let said = ends(proxy);
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(&expected) {
        let server = format!("server {} of upstream", sick.backend.address);
        assert!(said.contains(expected) && said.contains(&server), "{said}: no {expected}");
    }
}

#[test]
fn without_a_server_that_passes_its_checks_clients_are_told_so() {
    let sites = [Site::start(503), Site::start(HANGS)];
    let servers = [sites[0].backend.address, sites[1].backend.address];
    let proxy = Setup { servers: &servers, upstream: CHECK, ..Setup::default() }.start();
    proxy.wait_until("all are out", |m| m.sum("upstream_up", &[]) == 0);
    requests(&proxy, 503);
    assert_eq!(sites[0].served() + sites[1].served(), 0);
    sites[0].turn(200);
    wait_until_up(&proxy, &sites[0], 1);
    requests(&proxy, 200);
    assert_eq!(ends(proxy).len(), 3);
}

#[test]
fn checks_do_not_hold_up_the_end() {
    let site = Site::start(HANGS);
    let upstream = "check = { path = \"/health\", interval_ms = 3600000, timeout_ms = 3600000 }";
    let proxy = Setup { servers: &[site.backend.address], upstream, ..Setup::default() }.start();
    let deadline = Instant::now() + PATIENCE;
    while site.backend.asked().is_empty() {
        assert!(Instant::now() < deadline, "it is never checked");
        std::thread::sleep(Duration::from_millis(5));
    }
    requests(&proxy, 200);
    let start = Instant::now();
    assert_eq!(ends(proxy), [""; 0]);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
