//! The client and the benches against servers that count themselves, and (`web/made_up.rs`) against such as do not do
//! what they should.

#[path = "web/held.rs"]
mod held;
#[path = "web/made_up.rs"]
mod made_up;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use warpdrive_perf::load::{Load, Shape, Subject as _, apply};
use warpdrive_perf::peers::NoPeer;
use warpdrive_perf::web::certificate::{Certificate, NAME};
use warpdrive_perf::web::client::{Client, Settings};
use warpdrive_perf::web::ground::Home;
use warpdrive_perf::web::servers::{CONNECTIONS, Server, Site, haproxy, nginx, openssl};
use warpdrive_perf::web::{Protocol, WebKind};
use warpdrive_perf::{Arrivals, BenchError, Curve, LoadOptions, Options, Rate, Record, WebOptions};

type Start = fn(&Site, usize) -> Result<Result<Server, NoPeer>, BenchError>;

/// A server, or none if it is not installed, which is said.
fn server(start: Start, protocol: Protocol, kind: WebKind, body: usize) -> Option<Server> {
    let cpus = warpdrive_pipeline::cores::allowed().unwrap();
    let site = Site {
        protocol,
        kind,
        body,
        log: true,
        gzip: true,
        behind: None,
        connections: CONNECTIONS,
        home: Home::default(),
    };
    match start(&site, *cpus.last().unwrap()).unwrap() {
        Ok(server) => Some(server),
        Err(none) => {
            println!("skipped: {none}");
            None
        }
    }
}

fn settings(server: &Server, protocol: Protocol, kind: WebKind) -> Settings {
    Settings {
        address: server.address,
        host: NAME.to_owned(),
        path: "/index.html".to_owned(),
        protocol,
        kind,
        gzip: false,
        depth: 16,
        trust: server.trust(),
        patience: Duration::from_secs(5),
        server: vec![server.id()],
    }
}

fn load(depth: usize, ms: u64) -> Load {
    let length = Duration::from_millis(ms);
    Load { shape: Shape::Closed { depth }, warm: length / 10, length, seed: 1, overhead_ns: 0 }
}

/// Clients never wait, so that two at a time would be in each other's way, and servers in the way of either.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A closed loop without a loss, after which all connections are closed. On a busy machine little may be done in time,
/// but all that was begun is done at last.
fn clean_run(client: &mut Client, depth: usize, ms: u64) {
    let before = client.counts().operations;
    let outcome = apply(client, &load(depth, ms)).unwrap();
    client.finish().unwrap();
    let losses = client.take_losses();
    assert!(losses.is_empty() && outcome.lost == 0, "{losses}");
    assert!(client.counts().operations >= before + depth as u64 && client.in_flight() == 0);
}

fn time_waits(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let waits = table.lines().skip(1).filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[3] == "06" && (words[1].ends_with(&port) || words[2].ends_with(&port))
    });
    waits.count()
}

#[test]
fn nginx_counts_as_many_handshakes_as_the_client_and_no_port_is_kept() {
    let _alone = alone();
    for protocol in [Protocol::Tls13, Protocol::Tls12] {
        let kind = WebKind::Handshake;
        let Some(mut server) = server(nginx::start, protocol, kind, 1024) else { return };
        let before = server.served().unwrap().unwrap();
        let mut client = Client::open(settings(&server, protocol, kind)).unwrap();
        clean_run(&mut client, 8, 400);
        let (counts, after) = (client.counts(), server.served().unwrap().unwrap());
        // The second question is a connection too.
        assert_eq!(after.accepts - before.accepts - 1, counts.established, "{protocol}");
        assert_eq!(after.requests - before.requests - 1, 0);
        // nginx ends TCP without a close_notify of its own when nothing was asked.
        assert_eq!((counts.operations, counts.clean + counts.bare), (counts.established, counts.established));
        assert_eq!(counts.reset, 0);
        let negotiated = client.negotiated().unwrap();
        let version = if protocol == Protocol::Tls13 { "TLSv1_3" } else { "TLSv1_2" };
        assert_eq!((negotiated.protocol.as_str(), negotiated.handshake.as_str()), (version, "Full"));
        assert!(server.complaint("SSL_do_handshake").is_none());
        assert_eq!(time_waits(server.address.port()), 0);
        server.stop().unwrap();
    }
}

#[test]
fn openssl_counts_as_many_handshakes_as_the_client() {
    let _alone = alone();
    for (protocol, kind) in [
        (Protocol::Tls13, WebKind::Handshake),
        (Protocol::Tls12, WebKind::Handshake),
        (Protocol::Tls13, WebKind::Resumed),
        (Protocol::Tls12, WebKind::Resumed),
    ] {
        let Some(server) = server(openssl::start, protocol, kind, 0) else { return };
        let mut client = Client::open(settings(&server, protocol, kind)).unwrap();
        // It serves one at a time.
        clean_run(&mut client, 2, 300);
        let counts = client.counts();
        let mut look = settings(&server, protocol, WebKind::Connection);
        look.path = "/".to_owned();
        let looker = Client::open(look).unwrap();
        let page = String::from_utf8_lossy(looker.content().unwrap()).into_owned();
        assert_eq!(openssl::accepts(&page), Some(counts.established + 1), "{protocol} {kind}: {page}");
        let resumed = openssl::cache_hits(&page).unwrap();
        if kind == WebKind::Resumed {
            assert_eq!(client.negotiated().unwrap().handshake, "Resumed");
            assert_eq!(resumed, counts.operations, "{protocol}: {page}");
        } else {
            assert_eq!((resumed, counts.operations), (0, counts.established));
        }
    }
}

#[test]
fn nginx_logs_every_connection_with_its_request() {
    let _alone = alone();
    for (protocol, word) in
        [(Protocol::Tls13, "TLSv1.3"), (Protocol::Tls12, "TLSv1.2"), (Protocol::Plain, "-")]
    {
        let kind = WebKind::Connection;
        let Some(mut server) = server(nginx::start, protocol, kind, 1024) else { return };
        let before = server.served().unwrap().unwrap();
        let mut client = Client::open(settings(&server, protocol, kind)).unwrap();
        clean_run(&mut client, 8, 300);
        let (counts, after) = (client.counts(), server.served().unwrap().unwrap());
        assert_eq!(after.accepts - before.accepts - 1, counts.established);
        assert_eq!(after.requests - before.requests - 1, counts.operations);
        let log = server.log().unwrap();
        assert_eq!(log.len() as u64, counts.operations);
        // Version, not resumed, status, first request of its connection.
        let reused = if protocol == Protocol::Plain { "-" } else { "." };
        let wanted = format!("{word} {reused} 200 1");
        assert!(log.iter().all(|line| *line == wanted), "{wanted}: {:?}", log.first());
        assert_eq!(client.content(), Some(server.body()));
        assert_eq!(time_waits(server.address.port()), 0);
    }
}

#[test]
fn nginx_resumes_every_session_that_it_is_asked_to() {
    let _alone = alone();
    for protocol in [Protocol::Tls13, Protocol::Tls12] {
        let kind = WebKind::Resumed;
        let Some(mut server) = server(nginx::start, protocol, kind, 1024) else { return };
        let before = server.served().unwrap().unwrap();
        let mut client = Client::open(settings(&server, protocol, kind)).unwrap();
        let full = client.counts().established - client.counts().operations;
        assert!(full > 0, "tickets come from full handshakes");
        clean_run(&mut client, 16, 300);
        let (counts, after) = (client.counts(), server.served().unwrap().unwrap());
        assert_eq!(counts.established, counts.operations + full, "{counts:?}");
        assert_eq!(after.accepts - before.accepts - 1, counts.established);
        assert_eq!(client.negotiated().unwrap().handshake, "Resumed");
    }
}

#[test]
fn a_server_without_sessions_is_an_error_for_who_wants_to_resume() {
    let _alone = alone();
    let Some(server) = server(nginx::start, Protocol::Tls13, WebKind::Handshake, 1024) else { return };
    let error = Client::open(settings(&server, Protocol::Tls13, WebKind::Resumed)).err().unwrap();
    assert!(error.to_string().contains("tickets"), "{error}");
}

#[test]
fn nginx_counts_as_many_requests_as_the_client_whatever_their_size_and_coding() {
    let _alone = alone();
    for (protocol, body, gzip) in [
        (Protocol::Tls13, 1024, false),
        (Protocol::Tls13, 100 * 1024, false),
        (Protocol::Tls12, 100 * 1024, true),
        (Protocol::Plain, 1024, true),
        (Protocol::Plain, 100 * 1024, false),
    ] {
        let kind = WebKind::Request;
        let Some(mut server) = server(nginx::start, protocol, kind, body) else { return };
        let before = server.served().unwrap().unwrap();
        let mut client = Client::open(Settings { gzip, ..settings(&server, protocol, kind) }).unwrap();
        clean_run(&mut client, 16, 200);
        let (counts, after) = (client.counts(), server.served().unwrap().unwrap());
        assert_eq!(after.requests - before.requests - 1, counts.operations, "{protocol} {body} {gzip}");
        assert_eq!((counts.established, counts.renewed), (16, 0));
        assert_eq!(after.accepts - before.accepts - 1, 16);
        assert_eq!(client.content(), Some(server.body()));
        // As it was coded: nginx compresses text to a half and less, and always the same.
        let each = counts.content / counts.operations;
        assert!(if gzip && body > 1024 { each < body as u64 * 3 / 5 } else { each <= body as u64 }, "{each}");
        assert!(gzip || each == body as u64, "{each} of {body}");
        assert_eq!(counts.content % counts.operations, 0);
        assert_eq!(time_waits(server.address.port()), 0);
    }
}

#[test]
fn haproxy_does_all_that_the_client_asks_it_for() {
    let _alone = alone();
    for (protocol, kind, body) in [
        (Protocol::Tls13, WebKind::Handshake, 1024),
        (Protocol::Tls12, WebKind::Handshake, 1024),
        (Protocol::Tls13, WebKind::Resumed, 1024),
        (Protocol::Tls12, WebKind::Resumed, 1024),
        (Protocol::Tls13, WebKind::Request, 100 * 1024),
        (Protocol::Plain, WebKind::Request, 1024),
        (Protocol::Tls12, WebKind::Connection, 1024),
    ] {
        let Some(server) = server(haproxy::start, protocol, kind, body) else { return };
        let mut client = Client::open(settings(&server, protocol, kind)).unwrap();
        clean_run(&mut client, 8, 200);
        let counts = client.counts();
        assert_eq!(counts.renewed, 0, "{protocol} {kind}: {counts:?}");
        if kind.has_request() {
            assert_eq!(client.content(), Some(server.body()));
        }
        assert_eq!(time_waits(server.address.port()), 0, "{protocol} {kind} {counts:?}");
    }
}

/// Short loads on the cpus of this machine.
fn options() -> Options {
    let mut options = Options {
        slice: Duration::from_millis(150),
        rounds: 1,
        cpus: warpdrive_pipeline::cores::allowed().unwrap(),
        program: "warpdrive".into(),
        crypto_mb: None,
        corpus: None,
        seed: 1,
        samples: 1,
        quick: true,
        load: LoadOptions::default(),
        config: None,
        input: None,
        output: None,
        web: WebOptions::default(),
        stop: Arc::default(),
    };
    options.load.depths = vec![2, 8];
    options.load.rates = vec![Rate::Absolute(200.0)];
    options
}

fn curves(bench: &str, options: &Options) -> Vec<Curve> {
    let mut curves = Vec::new();
    let bench = warpdrive_perf::find(bench).unwrap();
    let ran = bench.run(options, &mut |record| match record {
        Record::Curve(curve) => curves.push(curve),
        other => panic!("{other:?}"),
    });
    ran.unwrap();
    curves
}

#[test]
fn the_benches_give_curves_of_both_servers_with_what_a_reader_must_know() {
    let _alone = alone();
    for (bench, about) in [("load-tls", "Full"), ("load-https", "1024 bytes")] {
        let mut options = options();
        options.web.body = Some(1024);
        let curves = curves(bench, &options);
        let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
        assert_eq!(names[0], format!("{bench}-closed"));
        for curve in &curves {
            if curve.facts["server"].contains("absent") {
                println!("skipped: {}", curve.notes[0]);
                assert!(curve.points.is_empty() && curve.notes[0].contains("apt-get install"));
                continue;
            }
            let depths: Vec<_> = curve.points.iter().filter_map(|point| point.depth).collect();
            assert_eq!(depths, if curve.name.ends_with("closed") { vec![2, 8] } else { vec![] });
            // On a busy machine a short load may have nothing done in time.
            assert!(curve.points.iter().all(|point| point.lost == 0), "{}: {:?}", curve.name, curve.notes);
            assert!(curve.points.iter().any(|point| point.sent > 0), "{}: {:?}", curve.name, curve.notes);
            for fact in ["server", "cpus", "protocol", "cipher", "key exchange", "key", "server cpu"] {
                assert!(!curve.facts[fact].is_empty(), "{fact}: {:?}", curve.facts);
            }
            assert!(curve.facts.values().any(|fact| fact.contains(about)), "{:?}", curve.facts);
            let said = curve.notes.join("; ");
            assert!(said.contains("the client worked") && !said.contains("DIFFER"), "{said}");
            assert_eq!(said.contains("the server counted"), !curve.name.contains("haproxy"), "{said}");
            assert!(
                curve.command.contains(&format!("bench {bench}")) && curve.command.contains("--body 1024")
            );
            assert!(!curve.command.contains("--mode"), "{}", curve.command);
            println!("{}: {:?} {said}", curve.name, curve.facts);
        }
    }
}

#[test]
fn a_target_is_measured_as_it_is_and_needs_somebody_to_trust() {
    let _alone = alone();
    let (protocol, kind) = (Protocol::Tls13, WebKind::Connection);
    let Some(server) = server(nginx::start, protocol, kind, 1024) else { return };
    let mut options = options();
    options.load.mode = Some(warpdrive_perf::Mode::Closed);
    options.web.kind = Some(kind);
    options.web.target = Some(format!("https://{}/index.html", server.address).parse().unwrap());
    let bench = warpdrive_perf::find("load-https").unwrap();
    let error = bench.run(&options, &mut |_| panic!("a result")).unwrap_err().to_string();
    assert!(error.contains("--ca"), "{error}");
    options.web.ca = Some(server.certificate_file());
    let curves = curves("load-https", &options);
    assert_eq!(curves[0].name, "load-https-target-connection-closed");
    assert!(
        curves[0].points[1].lost == 0 && curves[0].facts["content"] == "1024 bytes",
        "{:?}",
        curves[0].facts
    );
    assert_eq!(curves.len(), 1);
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let _alone = alone();
    let (protocol, kind) = (Protocol::Plain, WebKind::Request);
    let Some(server) = server(nginx::start, protocol, kind, 1024) else { return };
    let mut client = Client::open(settings(&server, protocol, kind)).unwrap();
    let shape = Shape::Open { rate: 500.0, arrivals: Arrivals::Constant };
    let outcome = apply(&mut client, &Load { shape, ..load(1, 400) }).unwrap();
    assert!((195..=201).contains(&(outcome.sent + outcome.unsent)), "{} {}", outcome.sent, outcome.unsent);
    assert_eq!((outcome.done, outcome.lost), (outcome.sent, 0));
}

#[test]
fn a_certificate_that_is_not_trusted_is_an_error() {
    let _alone = alone();
    let (protocol, kind) = (Protocol::Tls13, WebKind::Handshake);
    let Some(server) = server(nginx::start, protocol, kind, 1024) else { return };
    let folder = tempfile::tempdir().unwrap();
    let trust = Certificate::new(folder.path()).unwrap().trust().unwrap();
    let error = Client::open(Settings { trust, ..settings(&server, protocol, kind) }).err().unwrap();
    assert!(error.to_string().contains("certificate") && error.to_string().contains("--ca"), "{error}");
    let host = "example.org".to_owned();
    let error = Client::open(Settings { host, ..settings(&server, protocol, kind) }).err().unwrap();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let error = Client::open(settings(&server, Protocol::Tls12, kind)).err().unwrap();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}
