//! `tls13-full`, `tls12-full`, `http-1k`, `http-100k`, `http-100k-gzip`: the proxy against nginx and haproxy as proxies.
//!
//! All three run on one cpu, one thread each, and take turns: who does not is stopped. Client and the server behind them, which
//! has no TLS, are one thread on the other cpu.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::behind::Behind;
use super::bench::depth_of;
use super::certificate::NAME;
use super::client::{Beside, Client, Settings};
use super::options::{Protocol, WebKind};
use super::servers::{Server, Site, haproxy, nginx, warpdrive};
use crate::load::{Load, Shape, apply};
use crate::measure::{Better, Contender, Line, alternate, on_cpu};
use crate::peers::NoPeer;
use crate::record::Arrivals;
use crate::{Bench, BenchError, Kind, Options};

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

/// A proxy, and a client of it.
struct Side {
    server: Server,
    client: RefCell<Client>,
}

/// What a slice of a side gave.
struct Slice {
    rate: f64,
    /// Of the server's cpu time, for an operation, in microseconds.
    cpu_us: f64,
    p99_us: f64,
}

impl Case {
    fn run(&self, options: &Options, emit: &mut dyn FnMut(Line)) -> Result<(), BenchError> {
        let (near, far) = options.two_cpus()?;
        let lines = on_cpu(near, || {
            let behind = Behind::new(self.body).map_err(|cause| BenchError::Io {
                what: "there is no server to stand behind proxies".to_owned(),
                cause,
                remedy: "more open files: ulimit -n",
            })?;
            let site = Site { behind: Some(behind.address()), ..self.site() };
            let behind = Rc::new(RefCell::new(behind));
            let mut lines = Vec::new();
            let ours = match self.side(options, &behind, warpdrive::start(&site, far)?)? {
                Ok(ours) => ours,
                Err(none) => {
                    lines.push(self.against(options, "", self.unit, Better::Higher, &[], (Err(&none), None)));
                    return Ok(lines);
                }
            };
            let nginx = self.side(options, &behind, nginx::start(&site, far)?)?;
            let haproxy = self.side(options, &behind, haproxy::start(&site, far)?)?;
            let peers = [("", nginx.as_ref()), ("-haproxy", haproxy.as_ref())];
            self.compare(options, &ours, peers, &mut |line| lines.push(line))?;
            Ok(lines)
        })?;
        lines.into_iter().for_each(emit);
        Ok(())
    }

    fn site(&self) -> Site {
        Site {
            protocol: self.protocol,
            kind: self.kind,
            body: self.body,
            log: false,
            gzip: true,
            behind: None,
        }
    }

    /// A client for a server that was started. It makes its connections now, and then both stand still.
    fn side(
        &self,
        options: &Options,
        behind: &Rc<RefCell<Behind>>,
        server: Result<Server, NoPeer>,
    ) -> Result<Result<Side, NoPeer>, BenchError> {
        let server = match server {
            Ok(server) => server,
            Err(none) => return Ok(Err(none)),
        };
        let behind = Rc::clone(behind);
        let beside: Beside = Box::new(move || behind.borrow_mut().poll());
        let settings = Settings {
            address: server.address,
            host: NAME.to_owned(),
            path: "/index.html".to_owned(),
            protocol: self.protocol,
            kind: self.kind,
            gzip: self.gzip,
            depth: depth_of(options),
            trust: server.trust(),
            patience: Duration::from_secs(5),
            server: vec![server.id()],
        };
        let client = Client::open_beside(settings, Some(beside))?;
        if self.kind.has_request() && client.content() != Some(server.body()) {
            return Err(BenchError::Program {
                program: server.title.clone(),
                what: "its content is not that of the server behind it".to_owned(),
                remedy: "run it by hand to see more".to_owned(),
            });
        }
        server.hold(true);
        Ok(Ok(Side { server, client: RefCell::new(client) }))
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
        let many = measure(options, &sides, |_| Shape::Closed { depth: DEPTH })?;
        let rates = |i: usize| many[i].iter().map(|s| s.rate).collect::<Vec<f64>>();
        let cpus = |i: usize| many[i].iter().map(|s| s.cpu_us).collect::<Vec<f64>>();
        let mut place = 0;
        for (suffix, side) in peers {
            place += usize::from(side.is_ok());
            let theirs = |of: &dyn Fn(usize) -> Vec<f64>| side.is_ok().then(|| of(place));
            let (rate, cpu) = (theirs(&rates), theirs(&cpus));
            emit(self.against(options, suffix, self.unit, Better::Higher, &rates(0), (side, rate)));
            emit(self.against(options, &format!("-cpu{suffix}"), "us", Better::Lower, &cpus(0), (side, cpu)).note(
                "cpu time of the server's process for an operation; ours polls, so that waiting counts as well",
            ));
        }
        let Ok(nginx) = peers[0].1 else { return Ok(()) };
        let two = [ours, nginx];
        if self.kind == WebKind::Handshake {
            let one = measure(options, &two, |_| Shape::Closed { depth: 1 })?;
            let of = |i: usize| one[i].iter().map(|s| s.rate).collect::<Vec<f64>>();
            let side = (Ok(nginx), Some(of(1)));
            emit(
                self.against(options, "-1", self.unit, Better::Higher, &of(0), side)
                    .note("one connection at a time"),
            );
        }
        let rate = PART * crate::measure::median(&rates(1));
        let at = measure(options, &two, |_| Shape::Open { rate, arrivals: Arrivals::Poisson })?;
        let of = |i: usize| at[i].iter().map(|s| s.p99_us).collect::<Vec<f64>>();
        let line = self.against(options, "-p99", "us", Better::Lower, &of(0), (Ok(nginx), Some(of(1))));
        emit(line.note(format!(
            "99th percentile at {rate:.0} offered a second, 70 % of the most that nginx does"
        )));
        Ok(())
    }

    fn against(
        &self,
        options: &Options,
        suffix: &str,
        unit: &'static str,
        better: Better,
        ours: &[f64],
        (side, theirs): (Result<&Side, &NoPeer>, Option<Vec<f64>>),
    ) -> Line {
        let peer = match (side, &theirs) {
            (Ok(side), Some(theirs)) => Ok((side.server.title.as_str(), &theirs[..])),
            (Err(none), _) => Err(none),
            (Ok(_), None) => Ok(("", &[][..])),
        };
        let name = format!("{}{suffix}", self.name);
        Line::compare(&name, (unit, better), ours, peer).command(options.command(self.name))
    }
}

/// Puts sides under a load in turn.
fn measure(
    options: &Options,
    sides: &[&Side],
    shape: impl Fn(usize) -> Shape,
) -> Result<Vec<Vec<Slice>>, BenchError> {
    let slices: Vec<RefCell<Vec<Slice>>> = sides.iter().map(|_| RefCell::default()).collect();
    let contenders = sides.iter().enumerate().map(|(i, side)| {
        let (shape, slices) = (shape(i), &slices[i]);
        Box::new(move |length: Duration| {
            let slice = side.slice(shape, length)?;
            let rate = slice.rate;
            slices.borrow_mut().push(slice);
            Ok(rate)
        }) as Contender<'_>
    });
    alternate(options, &mut contenders.collect::<Vec<_>>())?;
    // The first round does not count.
    Ok(slices.into_iter().map(|slices| slices.into_inner().into_iter().skip(1).collect()).collect())
}

impl Side {
    fn slice(&self, shape: Shape, length: Duration) -> Result<Slice, BenchError> {
        self.server.hold(false);
        let mut client = self.client.borrow_mut();
        let (before, cpu) = (client.counts().operations, self.server.cpu_time()?);
        let load = Load { shape, warm: length / 4, length, seed: 7, overhead_ns: 0 };
        let outcome = apply(&mut *client, &load)?;
        client.settle()?;
        let cpu = self.server.cpu_time()? - cpu;
        let done = client.counts().operations - before;
        self.server.hold(true);
        if outcome.lost > 0 {
            return Err(BenchError::Program {
                program: self.server.title.clone(),
                what: format!("{} operations were lost: {}", outcome.lost, client.take_losses()),
                remedy: "run it again on a quieter machine".to_owned(),
            });
        }
        Ok(Slice {
            rate: outcome.rate(),
            cpu_us: cpu.as_secs_f64() * 1e6 / (done.max(1)) as f64,
            p99_us: outcome.latency.value_at_quantile(0.99) as f64 / 1e3,
        })
    }
}
