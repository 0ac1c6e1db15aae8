//! Handshakes with a client in memory, parked at a real queue.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pipeline::config::{Config, UnknownName};
use warpdrive_pipeline::cores;
use warpdrive_pipeline::plan::Plan;
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::device::{Completion, Device, Queue, Request};
use warpdrive_pmd::engine::rsa::RsaEngine;
use warpdrive_pmd::engine::{Placement, SoftDevice};

use super::*;
use crate::demo::certificate::DemoCertificate;
use crate::metrics::{Metrics, SignedBy};

const SECOND: Duration = Duration::from_secs(1);

/// A certificate, a device that signs for it, and both ends' configurations.
struct Bed {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    device: Arc<dyn Device>,
    pool: Mempool,
    metrics: Arc<Metrics>,
}

/// Made once: a key takes its time.
fn demo() -> &'static DemoCertificate {
    static DEMO: OnceLock<(tempfile::TempDir, DemoCertificate)> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let certificate = DemoCertificate::in_folder(folder.path(), &[]).unwrap();
        (folder, certificate)
    };
    &DEMO.get_or_init(make).1
}

impl Bed {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let demo = demo();
        let text = format!(
            "version = 1\n[[proxy]]\nname = \"p\"\nlisten = [\"127.0.0.1:0\"]\n[proxy.tls]\n\
             certificates = [{{ certificate = {:?}, key = {:?} }}]\n\
             [[proxy.upstream]]\nname = \"u\"\nservers = [\"127.0.0.1:1\"]\n",
            demo.certificate, demo.key
        );
        let config = Config::parse("t.toml", &text).unwrap();
        let plan = Plan::new(&config, &cores::parse_list("0").unwrap()).unwrap();
        let domain = Domain::new(DmaMode::Sva);
        let pool = Mempool::new(&PoolConfig { buffers: 64, ..PoolConfig::default() }, &domain).unwrap();
        let device = SoftDevice::<RsaEngine>::open("rsa", Placement::Inline, &domain).unwrap();
        let device: Arc<dyn Device> = Arc::new(device);
        let tls = &plan.proxies[0].tls;
        let pairs = pairs(&plan, tls).unwrap();
        let certificates = Certificates::new(&pairs, UnknownName::Default, Some(&device)).unwrap();
        let server = super::config(&plan, tls, &Lasting::none(), certificates).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&demo.certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        Self { server, client, device, pool, metrics: Metrics::new(0, &[]) }
    }

    fn signatures(&self, places: usize, deadline: Duration) -> Signatures {
        let queue = self.device.request_queue(places).unwrap();
        self.with(queue, places, deadline)
    }

    fn with(&self, queue: Box<dyn Queue>, places: usize, deadline: Duration) -> Signatures {
        Signatures::new(queue, self.pool.clone(), places, deadline, Arc::clone(&self.metrics))
    }

    /// A client that has said hello, and a server that has heard it.
    fn hello(&self) -> (ClientConnection, Box<ServerConnection>) {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut server = Box::new(ServerConnection::new(Arc::clone(&self.server)).unwrap());
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        (client, server)
    }

    fn count(&self, by: SignedBy) -> u64 {
        self.metrics.signatures.get(by)
    }
}

/// Exchanges what both have to say until the handshake is done.
fn finish(mut client: ClientConnection, mut server: Box<ServerConnection>) {
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets().unwrap();
        bytes.clear();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets().unwrap();
    }
}

fn park(stacks: &mut Stacks, server: Box<ServerConnection>) -> (Parked, Question) {
    match stacks.run(server) {
        Ok(Step::Parked(parked, question)) => (parked, question),
        _ => panic!("it needs a signature"),
    }
}

fn finished(step: Step) -> Box<ServerConnection> {
    match step {
        Step::Finished(Finished { connection, result }) => {
            result.unwrap();
            connection
        }
        _ => panic!("it has its signature"),
    }
}

/// Lets the device work until so many have been answered.
fn answers(signatures: &mut Signatures, count: usize) -> Vec<Answered> {
    let mut answered = Vec::new();
    while answered.len() < count {
        signatures.poll(ticks(), &mut answered);
    }
    answered
}

#[test]
fn a_parked_handshake_ends_with_the_signature_of_the_device() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let bed = Bed::new(version);
        let (mut stacks, mut signatures) = (Stacks::default(), bed.signatures(8, SECOND));
        let (client, server) = bed.hello();
        let (parked, question) = park(&mut stacks, server);
        assert!(signatures.ask(7, parked, &question, ticks()).is_ok());
        assert_eq!((signatures.parked(), stacks.in_use()), (1, 1));
        let answered = answers(&mut signatures, 1).pop().unwrap();
        assert_eq!(answered.owner, Some(7));
        finish(client, finished(stacks.resume(answered.parked, answered.answer)));
        assert_eq!((bed.count(SignedBy::Device), signatures.parked(), stacks.in_use()), (1, 0, 0));
        assert_eq!(bed.pool.stats().in_use, 0);
    }
}

#[test]
fn many_are_parked_at_a_time_and_each_gets_its_own() {
    let bed = Bed::new(&rustls::version::TLS13);
    let (mut stacks, mut signatures) = (Stacks::default(), bed.signatures(32, SECOND));
    let mut clients = Vec::new();
    for owner in 0..32 {
        let (client, server) = bed.hello();
        let (parked, question) = park(&mut stacks, server);
        assert!(signatures.ask(owner, parked, &question, ticks()).is_ok());
        clients.push(Some(client));
    }
    assert!(!signatures.has_room());
    for Answered { owner, parked, answer } in answers(&mut signatures, 32) {
        let client = clients[owner.unwrap() as usize].take().unwrap();
        finish(client, finished(stacks.resume(parked, answer)));
    }
    assert_eq!((bed.count(SignedBy::Device), stacks.in_use()), (32, 0));
    let fill = bed.device.stats().mean_fill();
    assert!(fill > 6.0, "requests are done together: {fill}");
}

#[test]
fn one_that_is_given_up_keeps_its_place_until_its_completion_has_come() {
    let bed = Bed::new(&rustls::version::TLS13);
    let (mut stacks, mut signatures) = (Stacks::default(), bed.signatures(1, SECOND));
    let (parked, question) = park(&mut stacks, bed.hello().1);
    let ticket = signatures.ask(1, parked, &question, ticks()).unwrap_or_else(|_| panic!("there is room"));
    signatures.give_up(ticket);
    assert!(!signatures.has_room());
    let answered = answers(&mut signatures, 1).pop().unwrap();
    assert_eq!(answered.owner, None);
    stacks.abandon(answered.parked);
    assert_eq!((stacks.in_use(), signatures.parked()), (0, 0));
    assert!(signatures.has_room());
}

/// A device that never answers, or answers late.
struct Deaf {
    inner: Box<dyn Queue>,
    deaf: Arc<std::sync::atomic::AtomicBool>,
}

impl Queue for Deaf {
    fn send_burst(&mut self, requests: &mut Vec<Request>) -> usize {
        self.inner.send_burst(requests)
    }

    fn recv_burst(&mut self, out: &mut Vec<Completion>, max: usize) -> usize {
        let deaf = self.deaf.load(std::sync::atomic::Ordering::Relaxed);
        if deaf { 0 } else { self.inner.recv_burst(out, max) }
    }

    fn flush(&mut self) {}

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn send(&mut self, request: Request) -> Result<(), Request> {
        self.inner.send(request)
    }

    fn recv(&mut self) -> Option<Completion> {
        self.inner.recv()
    }
}

#[test]
fn the_library_signs_when_the_device_is_late_and_what_comes_later_is_for_nobody() {
    let bed = Bed::new(&rustls::version::TLS13);
    let deaf = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let queue = Deaf { inner: bed.device.request_queue(64).unwrap(), deaf: Arc::clone(&deaf) };
    let (mut stacks, mut signatures) = (Stacks::default(), bed.with(Box::new(queue), 64, SECOND));
    let soon = ticks();
    let later = soon + Clock::get().ticks_of(2 * SECOND);
    for n in 1..=8 {
        let (client, server) = bed.hello();
        let (parked, question) = park(&mut stacks, server);
        assert!(signatures.ask(n, parked, &question, soon).is_ok());
        let mut answered = Vec::new();
        signatures.poll(soon, &mut answered);
        assert!(answered.is_empty(), "there is time");
        signatures.poll(later, &mut answered);
        let answered = answered.pop().unwrap();
        assert!(matches!(answered.answer, Answer::Library));
        finish(client, finished(stacks.resume(answered.parked, answered.answer)));
        assert_eq!(bed.count(SignedBy::Deadline), u64::from(n));
    }
    // After so many it is left alone for a while.
    let (parked, question) = park(&mut stacks, bed.hello().1);
    let refused = signatures.ask(9, parked, &question, later);
    stacks.abandon(refused.unwrap_err());
    assert_eq!(bed.count(SignedBy::BreakerOpen), 1);
    // What it has done meanwhile finds nobody, and says that it is well again.
    deaf.store(false, std::sync::atomic::Ordering::Relaxed);
    let mut answered = Vec::new();
    (0..64).for_each(|_| signatures.poll(later, &mut answered));
    assert!(answered.is_empty() && bed.pool.stats().in_use == 0);
    let (parked, question) = park(&mut stacks, bed.hello().1);
    assert!(signatures.ask(10, parked, &question, later).is_ok());
    answers(&mut signatures, 1).into_iter().for_each(|a| stacks.abandon(a.parked));
    assert_eq!(stacks.in_use(), 0);
}

#[test]
fn without_a_buffer_the_library_signs() {
    let bed = Bed::new(&rustls::version::TLS12);
    let taken: Vec<_> = std::iter::from_fn(|| bed.pool.alloc()).collect();
    assert_eq!(taken.len(), 64);
    let (mut stacks, mut signatures) = (Stacks::default(), bed.signatures(8, SECOND));
    let (client, server) = bed.hello();
    let (parked, question) = park(&mut stacks, server);
    let parked = signatures.ask(1, parked, &question, ticks()).unwrap_err();
    finish(client, finished(stacks.resume(parked, Answer::Library)));
    assert_eq!(bed.count(SignedBy::PoolEmpty), 1);
}

#[test]
fn outside_of_a_handshake_the_library_signs() {
    let bed = Bed::new(&rustls::version::TLS13);
    let (client, mut server) = bed.hello();
    server.process_new_packets().unwrap();
    finish(client, server);
}
