//! Servers that fail, and what their clients are told.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Then};
use crate::client::{Client, get, is_broken};
use crate::setup::{PATIENCE, Setup};
use crate::site::{answer, site, text};

const POST: &str = "POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

/// An address that nobody listens at.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port")
}

#[test]
fn a_server_that_dies_before_it_answers_is_a_bad_gateway() {
    for how in [Then::Close, Then::Reset] {
        let backend = Backend::start(move |exchange| {
            if exchange.asked.target == "/half" {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Le")?;
            }
            Ok(how)
        });
        let upstream = "max_fails = 0";
        let proxy = Setup { servers: &[backend.address], upstream, ..Setup::default() }.start();
        for request in [get("/"), get("/half"), POST.to_owned()] {
            let mut client = Client::connect(proxy.v4);
            client.send(&request);
            let response = client.response();
            assert_eq!(
                (response.status, response.fields.get("connection")),
                (502, Some("close")),
                "{request}"
            );
            client.is_closed();
        }
        // A HEAD has no content, whoever answers it.
        let mut client = Client::connect(proxy.v4);
        client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.try_response("HEAD").expect("a response").status, 502);
        client.is_closed();
        drop(backend);
        proxy.leaves_nothing();
    }
}

#[test]
fn what_may_be_sent_twice_is_when_a_kept_connection_dies() {
    let backend = Backend::start(|exchange| {
        // The first connection answers once and then dies of the next request.
        let dies = exchange.asked.connection == 0 && exchange.asked.target != "/text/1";
        if dies { Ok(Then::Reset) } else { answer(exchange) }
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    assert_eq!(client.get("/text/1").body, text(1));
    assert_eq!(client.get("/text/20").body, text(20));
    let targets: Vec<(usize, String)> =
        backend.asked().into_iter().map(|asked| (asked.connection, asked.target)).collect();
    let of = |connection, target: &str| (connection, target.to_owned());
    assert_eq!(targets, [of(0, "/text/1"), of(0, "/text/20"), of(1, "/text/20")]);
    assert_eq!(proxy.metrics().sum("upstream_retries_total", &[]), 1);
    drop((client, backend));
    proxy.leaves_nothing();
    // A POST might be done twice.
    let backend =
        Backend::start(
            |exchange| {
                if exchange.asked.method == "POST" { Ok(Then::Reset) } else { answer(exchange) }
            },
        );
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    assert_eq!(client.get("/text/1").body, text(1));
    client.send(POST);
    assert_eq!(client.response().status, 502);
    assert_eq!(backend.asked().len(), 2);
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_response_that_breaks_off_does_not_look_whole() {
    let heads = [
        "Content-Type: text/plain\r\nContent-Length: 100000\r\n\r\n",
        "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n",
    ];
    for how in [Then::Close, Then::Reset] {
        let backend = Backend::start(move |exchange| {
            let head = heads[exchange.asked.target.len() - 1];
            exchange.send(format!("HTTP/1.1 200 OK\r\n{head}"))?;
            exchange.send(text(40_000))?;
            // Time for it to be passed on.
            std::thread::sleep(Duration::from_millis(100));
            Ok(how)
        });
        let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
        for target in ["/", "/2"] {
            for accepts in ["", "Accept-Encoding: gzip\r\n"] {
                let mut client = Client::connect(proxy.v4);
                client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{accepts}\r\n"));
                let (got, ended) = client.rest();
                assert!(got.starts_with(b"HTTP/1.1 200 "), "{target} {accepts}");
                assert!(is_broken(&ended), "{target} {accepts} {how:?}: {ended:?}");
                assert!(!got.ends_with(b"0\r\n\r\n"), "{target} {accepts} {how:?}: it looks whole");
            }
        }
        drop(backend);
        proxy.leaves_nothing();
    }
}

#[test]
fn a_server_that_refuses_connections_is_left_out_and_comes_back() {
    let (dead, alive) = (nobody(), site());
    let upstream = "max_fails = 2\nfail_ms = 2000";
    let proxy = Setup { servers: &[dead, alive.address], upstream, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    for _ in 0..10 {
        assert_eq!(client.get("/text/1").status, 200, "another one takes it");
    }
    let of_dead = format!("server=\"{dead}\"");
    let metrics = proxy.wait_until("it is left out", |m| m.sum("upstream_up", &[&of_dead]) == 0);
    assert_eq!(metrics.sum("upstream_failures_total", &[&of_dead]), 2);
    let Ok(listener) = TcpListener::bind(dead) else {
        return crate::common::skipped("another program has taken the port of the dead server");
    };
    let revived = Backend::at(listener, answer);
    let deadline = Instant::now() + PATIENCE;
    while revived.asked().is_empty() {
        assert!(Instant::now() < deadline, "it is never asked again");
        assert_eq!(client.get("/text/1").status, 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.wait_until("it is back", |m| m.sum("upstream_up", &[&of_dead]) == 1);
    drop((client, alive, revived));
    proxy.leaves_nothing();
}

#[test]
fn without_a_server_clients_are_told_so() {
    let upstream = "max_fails = 1\nfail_ms = 60000";
    let proxy = Setup { servers: &[nobody()], upstream, ..Setup::default() }.start();
    for status in [502, 503, 503] {
        let mut client = Client::connect(proxy.v4);
        let response = client.get("/");
        assert_eq!(response.status, status);
        assert_eq!(response.fields.get("retry-after"), (status == 503).then_some("1"));
    }
    proxy.leaves_nothing();
    // Who says never means never.
    let backend = Backend::start(|exchange| match exchange.asked.target.as_str() {
        "/dies" => Ok(Then::Close),
        _ => {
            std::thread::sleep(Duration::from_millis(300));
            answer(exchange)
        }
    });
    let upstream = "max_fails = 0\nfail_ms = 60000";
    let proxy = Setup { servers: &[backend.address], upstream, ..Setup::default() }.start();
    for _ in 0..3 {
        assert_eq!(Client::connect(proxy.v4).get("/dies").status, 502);
    }
    let (mut one, mut two) = (Client::connect(proxy.v4), Client::connect(proxy.v4));
    one.send(get("/text/1"));
    two.send(get("/text/2"));
    assert_eq!((one.response().status, two.response().status), (200, 200));
    drop((one, two, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_server_that_is_too_slow_is_a_gateway_timeout() {
    let backend = Backend::start(|exchange| {
        std::thread::sleep(Duration::from_secs(3));
        answer(exchange)
    });
    let timeouts = "response_ms = 500";
    let proxy = Setup { servers: &[backend.address], timeouts, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    assert_eq!(client.get("/text/1").status, 504);
    client.is_closed();
    assert_eq!(proxy.metrics().sum("timeouts_total", &["kind=\"response\""]), 1);
    drop(backend);
    proxy.leaves_nothing();
}

/// A listener whose queue is full: who connects gets no answer.
fn full() -> (TcpListener, Vec<TcpStream>) {
    use std::os::fd::AsRawFd as _;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // SAFETY: the descriptor is open while `listener` is there.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 100, "its queue is never full");
    }
    (listener, queued)
}

#[test]
fn a_server_that_takes_no_connections_is_a_gateway_timeout() {
    let (listener, _queued) = full();
    let timeouts = "connect_ms = 700";
    let servers = [listener.local_addr().expect("an address")];
    let proxy = Setup { servers: &servers, timeouts, ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    assert_eq!(client.get("/").status, 504);
    client.is_closed();
    assert_eq!(proxy.metrics().sum("timeouts_total", &["kind=\"connect\""]), 1);
    drop(client);
    proxy.leaves_nothing();
}

#[test]
fn responses_that_are_none_are_a_bad_gateway() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    let bad: Vec<String> = [
        "garbage\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 2000 High\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-One: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-One: 1\0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        &long,
    ]
    .map(str::to_owned)
    .into();
    let count = bad.len();
    let backend = Backend::start(move |exchange| {
        let which: usize = exchange.asked.target[1..].parse().expect("a number");
        exchange.send(&bad[which])?;
        // The proxy closes.
        exchange.receive()?;
        Ok(Then::Close)
    });
    let upstream = "max_fails = 0";
    let proxy = Setup { servers: &[backend.address], upstream, ..Setup::default() }.start();
    for which in 0..count {
        let mut client = Client::connect(proxy.v4);
        let response = client.get(&format!("/{which}"));
        assert_eq!((response.status, response.fields.get("connection")), (502, Some("close")), "{which}");
        client.is_closed();
    }
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn what_a_server_sends_too_much_reaches_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let backend = Backend::start(move |exchange| match exchange.asked.target.as_str() {
        "/behind" => {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{evil}"))?;
            Ok(Then::Keep)
        }
        "/later" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            std::thread::sleep(Duration::from_millis(300));
            exchange.send(evil)?;
            Ok(Then::Keep)
        }
        "/head" => {
            exchange.send("HTTP/1.1 204 No Content\r\n\r\nevil")?;
            Ok(Then::Keep)
        }
        _ => answer(exchange),
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    for (target, status, body) in [("/behind", 200, &b"ok"[..]), ("/later", 200, b"ok"), ("/head", 204, b"")]
    {
        let response = client.get(target);
        assert_eq!((response.status, &*response.body), (status, body), "{target}");
        if target == "/later" {
            proxy.wait_until("its connection is dropped", |m| m.sum("upstream_connections_open", &[]) == 0);
        }
        let next = Client::connect(proxy.v4).get("/text/30");
        assert!(next.status == 200 && next.body == text(30), "{target}: {next:?}");
        // Numbers are told now and then: an older one must not be taken for what the next round waits for.
        proxy.wait_until("its connection is kept", |m| m.sum("upstream_connections_open", &[]) == 1);
    }
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_connection_that_its_server_closes_behind_the_response_is_not_kept() {
    let backend = Backend::start(|exchange| {
        exchange.respond("text/plain", b"the last")?;
        Ok(Then::Close)
    });
    let timeouts = "upstream_idle_ms = 600000";
    let proxy = Setup { servers: &[backend.address], timeouts, ..Setup::default() }.start();
    for _ in 0..20 {
        let mut client = Client::connect(proxy.v4);
        assert_eq!(client.get("/").body, b"the last");
        proxy.wait_until("it is closed", |m| m.sum("upstream_connections_open", &[]) == 0);
    }
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn a_server_may_answer_before_it_was_asked_to_the_end() {
    let backend = Backend::start(|exchange| {
        exchange.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")?;
        Ok(Then::Close)
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.send("POST /echo/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.fields.get("connection")), (413, Some("close")));
    assert_eq!(response.body, b"no");
    drop((client, backend));
    proxy.leaves_nothing();
}

#[test]
fn a_request_that_goes_wrong_after_its_response_has_begun_adds_nothing_to_it() {
    let backend = Backend::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nbegun")?;
        while !exchange.receive()?.is_empty() {}
        Ok(Then::Close)
    });
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    let mut client = Client::connect(proxy.v4);
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    let mut got = Vec::new();
    while !got.ends_with(b"begun") {
        got.extend(client.some().expect("the beginning"));
    }
    client.send("not a size\r\n");
    let (rest, how) = client.rest();
    assert!(rest.is_empty() && is_broken(&how), "{:?} {how:?}", String::from_utf8_lossy(&rest));
    drop(backend);
    proxy.leaves_nothing();
}
