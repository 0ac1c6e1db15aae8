use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use warpdrive_pipeline::config::Balance;
use warpdrive_pipeline::plan::{CheckPlan, Placed};

use super::*;
use crate::metrics::Metrics;
use crate::upstream::Upstreams;

const PATIENCE: Duration = Duration::from_secs(30);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn check(rise: u32, fall: u32) -> CheckPlan {
    CheckPlan {
        path: "/health?full=1".to_owned(),
        host: None,
        expect: Vec::new(),
        interval: Duration::from_millis(10),
        timeout: PATIENCE,
        rise,
        fall,
    }
}

fn upstream(servers: &[SocketAddr], check: Option<CheckPlan>) -> UpstreamConfig {
    UpstreamConfig {
        name: "u".to_owned(),
        servers: servers.into(),
        balance: Balance::RoundRobin,
        keepalive: 0,
        max_fails: 0,
        fail: Duration::from_secs(1),
        check,
    }
}

fn start(upstreams: &[UpstreamConfig]) -> Checks {
    Checks::start("p", upstreams, None, CpuSet::new()).unwrap()
}

/// A server that gives each connection to `serve`, with the head of its request. It is there until the tests end.
fn server(serve: impl Fn(&mut TcpStream, String) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head, mut byte) = (stream.unwrap(), Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            serve(&mut stream, String::from_utf8(head).unwrap());
        }
    });
    address
}

/// One that says this to everybody.
fn says(text: &'static str) -> SocketAddr {
    server(move |stream, _| drop(stream.write_all(text.as_bytes())))
}

/// One that answers nobody.
fn hangs() -> SocketAddr {
    let kept = Mutex::new(Vec::new());
    server(move |stream, _| kept.lock().unwrap().push(stream.try_clone()))
}

/// One that does not listen.
fn refuses() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_server_goes_down_and_comes_back_by_what_it_answers() {
    let status = Arc::new(AtomicU16::new(200));
    let theirs = Arc::clone(&status);
    let address = server(move |stream, _| {
        let status = theirs.load(Ordering::Relaxed);
        let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
    });
    let checks = start(&[upstream(&[address], Some(check(2, 3)))]);
    let server = checks.health().server(0);
    wait_for("checks pass", || server.checks.get() >= 5);
    assert!(server.is_up() && server.failures.get() == 0);
    for (to, up) in [(500, false), (399, true), (400, false), (200, true)] {
        status.store(to, Ordering::Relaxed);
        wait_for("the state follows", || server.is_up() == up);
    }
    assert!(server.failures.get() >= 6, "three each time");
}

#[test]
fn whatever_is_no_good_answer_is_a_failure_and_holds_up_no_other() {
    let short = CheckPlan { timeout: Duration::from_millis(100), ..check(1, 2) };
    let bad = [
        refuses(),
        hangs(),
        says(""),
        says("garbage\r\n\r\n"),
        says("HTTP/1.1 200 OK\r\nContent-Le"),
        says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ];
    let patient = check(1, 1);
    let others = [says(OK), hangs()];
    let checks = start(&[upstream(&bad, Some(short)), upstream(&others, Some(patient))]);
    let health = checks.health();
    wait_for("all that are bad go down", || (0..bad.len()).all(|place| !health.server(place).is_up()));
    let [well, waited_for] = [0, 1].map(|other| health.server(bad.len() + other));
    let before = well.checks.get();
    wait_for("the one that is well is checked on", || well.checks.get() > before + 10);
    assert_eq!((well.failures.get(), waited_for.checks.get()), (0, 0));
}

#[test]
fn responses_before_the_last_count_for_nothing() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    let address = server(move |stream, _| {
        for piece in [interim, &OK[..10], &OK[10..]] {
            let _ = stream.write_all(piece.as_bytes());
            thread::sleep(Duration::from_millis(5));
        }
    });
    let checks = start(&[upstream(&[address], Some(check(1, 1)))]);
    let server = checks.health().server(0);
    wait_for("checks", || server.checks.get() >= 3);
    assert_eq!(server.failures.get(), 0);
}

#[test]
fn what_is_asked_for_and_what_is_expected_is_as_written() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&asked);
    let address = server(move |stream, head| {
        theirs.lock().unwrap().push(head);
        let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    });
    let once = || CheckPlan { interval: PATIENCE, ..check(1, 1) };
    let named = CheckPlan {
        host: Some(Placed { name: "app.example:81".to_owned(), span: 0..0 }),
        expect: vec![204, 401],
        ..once()
    };
    for (plan, host, up) in [(named, "app.example:81".to_owned(), true), (once(), address.to_string(), false)]
    {
        asked.lock().unwrap().clear();
        let checks = start(&[upstream(&[address], Some(plan))]);
        wait_for("a check", || checks.health().server(0).checks.get() >= 1);
        assert_eq!(checks.health().server(0).is_up(), up);
        let head = asked.lock().unwrap()[0].clone();
        assert!(head.starts_with(&format!("GET /health?full=1 HTTP/1.1\r\nHost: {host}\r\n")), "{head}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    }
}

#[test]
fn a_server_may_say_its_last_word() {
    let (told, ended) = std::sync::mpsc::channel();
    let address = server(move |stream, _| {
        let said = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").and_then(|()| {
            (0..10).try_for_each(|_| {
                thread::sleep(Duration::from_millis(5));
                stream.write_all(&[b'x'; 10_000])
            })
        });
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = told.send((said.is_ok(), stream.read(&mut [0]).map_err(|e| e.kind())));
    });
    let plan = CheckPlan { interval: PATIENCE, ..check(1, 1) };
    let checks = start(&[upstream(&[address], Some(plan))]);
    assert_eq!(ended.recv_timeout(PATIENCE), Ok((true, Ok(0))), "an end in order");
    assert_eq!((checks.health().server(0).checks.get(), checks.health().server(0).is_up()), (1, true));
}

#[test]
fn dropping_them_waits_for_no_server_and_no_interval() {
    let long = CheckPlan {
        interval: Duration::from_secs(3_600),
        timeout: Duration::from_secs(3_600),
        ..check(1, 1)
    };
    let checks = start(&[upstream(&[hangs(), says(OK)], Some(long))]);
    let health = Arc::clone(checks.health());
    wait_for("the other has answered", || health.server(1).checks.get() == 1);
    let start = Instant::now();
    drop(checks);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&health), 1, "the thread is gone");
    assert_eq!((health.server(0).checks.get(), health.server(0).is_up()), (0, true));
}

#[test]
fn what_was_known_before_is_taken_over_of_the_same_servers_alone() {
    let [dead, other] = [refuses(), refuses()];
    let slow = CheckPlan { interval: PATIENCE, ..check(1, 1) };
    let before = start(&[upstream(&[dead, other], Some(slow.clone()))]);
    wait_for("both are down", || !before.health().server(0).is_up() && !before.health().server(1).is_up());
    // Of the same upstream, of another, and of one without checks.
    let again = upstream(&[other], Some(slow.clone()));
    let renamed = UpstreamConfig { name: "v".to_owned(), ..upstream(&[other], Some(slow)) };
    let health = Health::new(&[again, renamed, upstream(&[other], None)], Some(before.health()));
    assert_eq!([0, 1, 2].map(|place| health.server(place).is_up()), [false, true, true]);
    assert_eq!([0, 1, 2].map(|place| health.server(place).checks.get()), [1, 0, 0]);
}

#[test]
fn workers_choose_among_those_that_are_up_and_show_it() {
    let addresses = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let alone = UpstreamConfig { name: "alone".to_owned(), ..upstream(&addresses[..1], None) };
    let configs = vec![alone, upstream(&addresses, None)];
    let metrics = Metrics::new(0, &[]);
    let health = Health::new(&configs, None);
    let mut upstreams = Upstreams::new(Arc::clone(&metrics));
    upstreams.load(&configs, &health, Duration::from_secs(1), |_| ());
    let mut chosen = |up: [bool; 3]| {
        up.iter().enumerate().for_each(|(i, up)| health.server(1 + i).set_up(*up));
        upstreams.publish(0);
        assert_eq!([1, 2, 3].map(|place: usize| metrics.servers()[place].up.get() == 1), up);
        let ids: Vec<_> = (0..6).filter_map(|_| upstreams.choose(1, &[], 0)).collect();
        let mut chosen: Vec<u16> = ids.into_iter().map(|id| upstreams.address(id).port() - 1).collect();
        chosen.sort_unstable();
        chosen
    };
    assert_eq!(chosen([true; 3]), [0, 0, 1, 1, 2, 2]);
    assert_eq!(chosen([true, false, true]), [0, 0, 0, 2, 2, 2]);
    assert_eq!(chosen([false, true, false]), [1; 6]);
    assert_eq!(chosen([false; 3]), [0_u16; 0]);
}

#[test]
fn the_thread_keeps_off_cpus_that_are_busy_if_there_are_others() {
    let all = cores::current().unwrap();
    let on = |busy: CpuSet| {
        let thread = thread::spawn(move || {
            step_aside(&busy);
            cores::current()
        });
        thread.join().unwrap().unwrap()
    };
    assert!(on(all) == all, "nowhere to go");
    let first = CpuSet::of(&[all.iter().next().unwrap()]).unwrap();
    let others = all.minus(&first);
    assert!(on(first) == if others.is_empty() { all } else { others });
}
