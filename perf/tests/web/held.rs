//! Connections that are held, and servers at the end of a wire.

use warpdrive_perf::lab::within;
use warpdrive_perf::web::ground::Ground;
use warpdrive_perf::web::idle::Crowd;
use warpdrive_perf::web::{Transport, WebKind};

use super::*;

/// A site for requests over TLS 1.3.
fn site() -> Site {
    Site {
        protocol: Protocol::Tls13,
        kind: WebKind::Request,
        body: 1024,
        log: true,
        gzip: false,
        behind: None,
        connections: CONNECTIONS,
        home: Home::default(),
    }
}

fn last_cpu() -> usize {
    *warpdrive_pipeline::cores::allowed().unwrap().last().unwrap()
}

#[test]
fn a_crowd_is_as_many_connections_as_nginx_counts_and_each_is_asked_again() {
    let _alone = alone();
    let Some(mut server) = server(nginx::start, Protocol::Tls13, WebKind::Request, 1024) else { return };
    let before = server.served().unwrap().unwrap();
    let mut crowd =
        Crowd::gather(settings(&server, Protocol::Tls13, WebKind::Request), 100, Box::new(|| Ok(())))
            .unwrap();
    let gathered = server.served().unwrap().unwrap();
    // Each question is a connection and a request too.
    assert_eq!((gathered.accepts - before.accepts - 1, gathered.requests - before.requests - 1), (100, 100));
    crowd.ask().unwrap();
    let asked = server.served().unwrap().unwrap();
    assert_eq!((asked.accepts - gathered.accepts - 1, asked.requests - gathered.requests - 1), (0, 100));
    let log = server.log().unwrap();
    let second = log.iter().filter(|line| line.ends_with(" 200 2")).count();
    assert_eq!(second, 100, "the second request of each, by what nginx logs");
    server.stop().unwrap();
    let gone = crowd.ask().unwrap_err().to_string();
    assert!(gone.contains("to hold"), "nobody holds them any more: {gone}");
}

#[test]
fn a_server_that_takes_fewer_connections_than_are_to_be_held_is_an_error() {
    let _alone = alone();
    let few = Site { connections: 40, ..site() };
    let Ok(server) = nginx::start(&few, last_cpu()).unwrap() else { return };
    let mut settings = settings(&server, Protocol::Tls13, WebKind::Request);
    settings.patience = Duration::from_millis(500);
    assert!(Crowd::gather(settings, 100, Box::new(|| Ok(()))).is_err());
}

#[test]
fn a_server_at_the_end_of_a_wire_serves_who_is_at_the_other_and_goes_with_its_namespace() {
    let _alone = alone();
    let Ok(mut ground) = Ground::new(Transport::Userspace) else {
        println!("skipped: needs root and network namespaces");
        return;
    };
    let site = Site { home: ground.peer().unwrap(), ..site() };
    let namespace = site.home.namespace.clone().unwrap();
    std::thread::scope(|scope| {
        let near = scope.spawn(|| {
            ground.enter().unwrap();
            let Ok(mut server) = nginx::start(&site, last_cpu()).unwrap() else { return };
            let before = server.served().unwrap().unwrap();
            let settings = settings(&server, Protocol::Tls13, WebKind::Request);
            let mut client = Client::open(settings).unwrap();
            clean_run(&mut client, 4, 100);
            let after = server.served().unwrap().unwrap();
            assert_eq!(after.requests - before.requests - 1, client.counts().operations);
            assert_eq!(client.counts().content, 1024 * client.counts().operations);
            server.stop().unwrap();
        });
        near.join().unwrap();
    });
    drop(ground);
    assert!(within(Some(&namespace), || Ok(())).is_err(), "the namespace is gone");
}
