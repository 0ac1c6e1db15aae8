//! `tls13-full`, `tls12-full`, `http-1k`, `http-100k`, `http-100k-gzip`: the proxy against nginx and haproxy as proxies.
//!
//! All three run on one cpu, one thread each, and take turns: who does not is stopped. Client and the server behind them, which
//! has no TLS, are one thread on the other cpu. [`Ground`] is what they reach each other over: see `--transport`.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;

use super::behind::Behind;
use super::bench::depth_of;
use super::ground::Ground;
use super::options::{Protocol, Transport, WebKind};
use super::servers::{Server, Site, haproxy, nginx, warpdrive};
use crate::lab::within;
use crate::load::Shape;
use crate::measure::{Better, Line, median, on_cpu};
use crate::peers::NoPeer;
use crate::record::Arrivals;
use crate::{Bench, BenchError, Kind, Options};

mod side;

pub(super) use side::{Ask, Side, beside, measure};
use side::{Slice, peer};

/// Starts a server, if it is installed.
type Start = fn(&Site, usize) -> Result<Result<Server, NoPeer>, BenchError>;

/// Connections, or operations, under way.
const DEPTH: usize = 64;
/// The part of nginx's rate at which latencies are compared.
const PART: f64 = 0.7;

macro_rules! bench {
    ($($const:ident $name:literal $about:literal $unit:literal $case:expr;)*) => {$(
        #[doc = $about]
        pub const $const: Bench = Bench {
            name: $name,
            about: $about,
            peer: "nginx and haproxy as proxies, one thread each",
            package: "nginx-light haproxy",
            unit: $unit,
            seconds: 0.5,
            rounds: 7,
            quick: Some((0.1, 3)),
            run: Kind::Comparison(|options, emit| Case { name: $name, unit: $unit, ..$case }.run(options, emit)),
        };
    )*};
}

bench! {
    TLS13 "tls13-full" "full TLS 1.3 handshakes (x25519, RSA-2048) of a proxy on one core, 64 connections at a time" "handshakes/s"
        Case { protocol: Protocol::Tls13, ..HANDSHAKES };
    TLS12 "tls12-full" "full TLS 1.2 handshakes (x25519, RSA-2048) of a proxy on one core, 64 connections at a time" "handshakes/s"
        Case { protocol: Protocol::Tls12, ..HANDSHAKES };
    HTTP_1K "http-1k" "requests for 1 KiB over TLS 1.3 connections that stay, through a proxy on one core" "requests/s"
        REQUESTS;
    HTTP_100K "http-100k" "requests for 100 KiB over TLS 1.3 connections that stay, through a proxy on one core" "requests/s"
        Case { body: 100 << 10, ..REQUESTS };
    HTTP_100K_GZIP "http-100k-gzip" "as http-100k, compressed by the proxy at level 1" "requests/s"
        Case { body: 100 << 10, gzip: true, ..REQUESTS };
}

const HANDSHAKES: Case = Case {
    name: "",
    unit: "",
    protocol: Protocol::Tls13,
    kind: WebKind::Handshake,
    body: 1 << 10,
    gzip: false,
};
const REQUESTS: Case = Case { kind: WebKind::Request, ..HANDSHAKES };

/// What is compared.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    unit: &'static str,
    protocol: Protocol,
    kind: WebKind,
    body: usize,
    gzip: bool,
}

impl Case {
    fn run(&self, options: &Options, emit: &mut dyn FnMut(Line)) -> Result<(), BenchError> {
        let (near, far) = options.two_cpus()?;
        let mut ground = Ground::new(options.web.transport)?;
        let lines = on_cpu(near, || {
            let behind = behind(self.body, &ground)?;
            let site = Site { behind: Some(behind.borrow().address()), ..self.site() };
            ground.enter()?;
            let mut lines = Vec::new();
            let ask = self.ask(options);
            let ours = Site { home: ground.ours()?, ..site.clone() };
            let ours = match Side::open(&ask, warpdrive::start(&ours, far)?, &behind)? {
                Ok(ours) => ours,
                Err(none) => {
                    lines.push(self.against(options, "", self.unit, Better::Higher, &[], Err(&none)));
                    return Ok(lines);
                }
            };
            let mut peer = |start: Start| {
                let site = Site { home: ground.peer()?, ..site.clone() };
                Side::open(&ask, start(&site, far)?, &behind)
            };
            let (nginx, haproxy) = (peer(nginx::start)?, peer(haproxy::start)?);
            let peers = [("", nginx.as_ref()), ("-haproxy", haproxy.as_ref())];
            self.compare(options, &ours, peers, &mut |line| lines.push(line))?;
            Ok(lines)
        })?;
        lines.into_iter().for_each(emit);
        Ok(())
    }

    fn site(&self) -> Site {
        Site::new(self.protocol, self.kind, self.body)
    }

    fn ask(&self, options: &Options) -> Ask {
        let depth = depth_of(options);
        Ask { protocol: self.protocol, kind: self.kind, gzip: self.gzip, depth }
    }

    fn compare(
        &self,
        options: &Options,
        ours: &Side,
        peers: [(&str, Result<&Side, &NoPeer>); 2],
        emit: &mut dyn FnMut(Line),
    ) -> Result<(), BenchError> {
        let sides: Vec<&Side> =
            std::iter::once(ours).chain(peers.iter().filter_map(|(_, p)| p.ok())).collect();
        let many = measure(options, &sides, Shape::Closed { depth: DEPTH })?;
        let mut place = 0;
        for (suffix, side) in peers {
            place += usize::from(side.is_ok());
            let against = |figure: &str, unit, better, of: fn(&Slice) -> f64| {
                let theirs = all(&many[place], of);
                let name = format!("{figure}{suffix}");
                self.against(options, &name, unit, better, &all(&many[0], of), peer(side, &theirs))
            };
            emit(against("", self.unit, Better::Higher, |s| s.rate));
            emit(against("-cpu", "us", Better::Lower, |s| s.cpu_us).note(
                "cpu time of the server's process for an operation; ours polls, so that waiting counts as well",
            ));
            if self.gzip {
                let line = against("-size", "bytes", Better::Lower, |s| s.content);
                emit(size_target(line));
            }
        }
        let Ok(nginx) = peers[0].1 else { return Ok(()) };
        let two = [ours, nginx];
        if self.kind == WebKind::Handshake {
            let one = measure(options, &two, Shape::Closed { depth: 1 })?;
            let [of_ours, theirs] = [0, 1].map(|i| all(&one[i], |s| s.rate));
            let line =
                self.against(options, "-1", self.unit, Better::Higher, &of_ours, peer(Ok(nginx), &theirs));
            emit(line.note("one connection at a time"));
        }
        let rate = PART * median(&all(&many[1], |s| s.rate));
        let at = measure(options, &two, Shape::Open { rate, arrivals: Arrivals::Poisson })?;
        let [of_ours, theirs] = [0, 1].map(|i| all(&at[i], |s| s.p99_us));
        let line = self.against(options, "-p99", "us", Better::Lower, &of_ours, peer(Ok(nginx), &theirs));
        emit(line.note(format!(
            "99th percentile at {rate:.0} offered a second, 70 % of the most that nginx does"
        )));
        Ok(())
    }

    fn against(
        &self,
        options: &Options,
        figure: &str,
        unit: &'static str,
        better: Better,
        ours: &[f64],
        theirs: Result<(&str, &[f64]), &NoPeer>,
    ) -> Line {
        let name = options.web.transport.line(self.name, figure);
        let line = Line::compare(&name, (unit, better), ours, theirs).command(options.command(self.name));
        over(line, options.web.transport)
    }
}

/// What is behind proxies, to be looked after by the thread of a client.
pub(super) fn behind(body: usize, ground: &Ground) -> Result<Rc<RefCell<Behind>>, BenchError> {
    let failed = |cause| BenchError::Io {
        what: "there is no server to stand behind proxies".to_owned(),
        cause,
        remedy: "more open files: ulimit -n",
    };
    // It listens where the proxies are; who looks after it may be elsewhere.
    let home = ground.behind();
    let listen = || TcpListener::bind((home.ip, 0)).map_err(failed);
    let listener = within(home.namespace.as_deref(), listen)?;
    Ok(Rc::new(RefCell::new(Behind::new(listener, body).map_err(failed)?)))
}

/// Says over what a line was measured, if that is not loopback.
pub(super) fn over(line: Line, transport: Transport) -> Line {
    match transport {
        Transport::Kernel => line,
        Transport::Userspace => line.note(
            "each server at a veth pair of its own, 1,500 bytes, no offloads at either end; ours does TCP by itself over \
             AF_XDP, the others' is the kernel's",
        ),
    }
}

/// Whether our content is no larger.
fn size_target(line: Line) -> Line {
    let line = line.note("content of a response as it was coded, on average, without the framing of chunks");
    let Some(theirs) = line.peer_value else { return line };
    let verdict = if line.value <= theirs { "met" } else { "MISSED" };
    line.note(format!("target: no larger, {verdict}"))
}

fn all(slices: &[Slice], of: fn(&Slice) -> f64) -> Vec<f64> {
    slices.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_transport_say_so_and_have_the_name_of_their_bench() {
        let mut options = Options::for_tests(1);
        let line = |options: &Options| {
            let case = Case { name: HTTP_1K.name, unit: HTTP_1K.unit, ..REQUESTS };
            case.against(options, "-p99", "us", Better::Lower, &[1.0], Ok(("nginx", &[2.0])))
        };
        let kernel = line(&options);
        assert_eq!((kernel.name.as_str(), kernel.notes.len()), ("http-1k-p99", 0));
        options.web.transport = Transport::Userspace;
        let userspace = line(&options);
        assert_eq!(userspace.name, "http-1k-userspace-p99");
        assert!(HTTP_1K.owns(&userspace.name) && userspace.notes[0].contains("AF_XDP"));
        assert!(userspace.command.ends_with("--transport userspace"), "{}", userspace.command);
    }

    #[test]
    fn content_may_be_as_large_as_the_peer_s_and_no_larger() {
        let verdict = |ours: f64, theirs: f64| {
            let line = Line::compare("x", ("bytes", Better::Lower), &[ours], Ok(("nginx", &[theirs])));
            size_target(line).notes.pop().unwrap()
        };
        assert!(verdict(100.0, 100.0).ends_with("met"));
        assert!(verdict(99.0, 100.0).ends_with("met"));
        assert!(verdict(101.0, 100.0).ends_with("MISSED"));
        let none = NoPeer::absent("nginx", "nginx-light");
        let line = Line::compare("x", ("bytes", Better::Lower), &[1.0], Err(&none));
        assert!(!size_target(line).notes.iter().any(|note| note.contains("target")));
    }
}
