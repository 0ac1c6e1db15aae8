//! One of those that are compared: a server, and a client of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::super::behind::Behind;
use super::super::certificate::NAME;
use super::super::client::{Beside, Client, Settings};
use super::super::options::{Protocol, WebKind};
use super::super::servers::Server;
use crate::load::{Load, Shape, apply};
use crate::measure::{Contender, alternate};
use crate::peers::NoPeer;
use crate::{BenchError, Options};

/// How long a client waits for a server that says nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) struct Ask {
    pub protocol: Protocol,
    pub kind: WebKind,
    pub gzip: bool,
    /// Operations under way, and connections that stay, at most.
    pub depth: usize,
}

impl Ask {
    pub fn settings(&self, server: &Server) -> Settings {
        Settings {
            address: server.address,
            host: NAME.to_owned(),
            path: "/index.html".to_owned(),
            protocol: self.protocol,
            kind: self.kind,
            gzip: self.gzip,
            depth: self.depth,
            trust: server.trust(),
            patience: PATIENCE,
            server: vec![server.id()],
        }
    }
}

/// Has a client's thread look after the server behind proxies.
pub(in crate::web) fn beside(behind: &Rc<RefCell<Behind>>) -> Beside {
    let behind = Rc::clone(behind);
    Box::new(move || behind.borrow_mut().poll())
}

/// A proxy, and a client of it.
pub(in crate::web) struct Side {
    pub server: Server,
    client: RefCell<Client>,
}

/// What a slice of a side gave.
pub(in crate::web) struct Slice {
    pub rate: f64,
    /// Of the server's cpu time, for an operation, in microseconds.
    pub cpu_us: f64,
    pub p99_us: f64,
    /// Bytes of content of a response as it was coded, on average.
    pub content: f64,
}

impl Side {
    /// A client for a server that was started. It makes its connections now, and then both stand still.
    pub fn open(
        ask: &Ask,
        server: Result<Server, NoPeer>,
        behind: &Rc<RefCell<Behind>>,
    ) -> Result<Result<Self, NoPeer>, BenchError> {
        let server = match server {
            Ok(server) => server,
            Err(none) => return Ok(Err(none)),
        };
        let client = Client::open_beside(ask.settings(&server), Some(beside(behind)))?;
        let wrong = |what: &str| BenchError::Program {
            program: server.title.clone(),
            what: what.to_owned(),
            remedy: "run it by hand to see more".to_owned(),
        };
        if ask.kind.has_request() && client.content() != Some(server.body()) {
            return Err(wrong("its content is not that of the server behind it"));
        }
        if ask.gzip && !client.has_gzip() {
            return Err(wrong("it was asked for gzip and does not compress"));
        }
        server.hold(true);
        Ok(Ok(Self { server, client: RefCell::new(client) }))
    }

    fn slice(&self, shape: Shape, length: Duration) -> Result<Slice, BenchError> {
        self.server.hold(false);
        let mut client = self.client.borrow_mut();
        let (before, cpu) = (client.counts(), self.server.cpu_time()?);
        let load = Load { shape, warm: length / 4, length, seed: 7, overhead_ns: 0 };
        let outcome = apply(&mut *client, &load)?;
        client.settle()?;
        let cpu = self.server.cpu_time()? - cpu;
        let after = client.counts();
        self.server.hold(true);
        if outcome.lost > 0 {
            return Err(BenchError::Program {
                program: self.server.title.clone(),
                what: format!("{} operations were lost: {}", outcome.lost, client.take_losses()),
                remedy: "run it again on a quieter machine".to_owned(),
            });
        }
        let done = (after.operations - before.operations).max(1) as f64;
        Ok(Slice {
            rate: outcome.rate(),
            cpu_us: cpu.as_secs_f64() * 1e6 / done,
            p99_us: outcome.latency.value_at_quantile(0.99) as f64 / 1e3,
            content: (after.content - before.content) as f64 / done,
        })
    }
}

/// Puts sides under a load in turn.
pub(in crate::web) fn measure(
    options: &Options,
    sides: &[&Side],
    shape: Shape,
) -> Result<Vec<Vec<Slice>>, BenchError> {
    let slices: Vec<RefCell<Vec<Slice>>> = sides.iter().map(|_| RefCell::default()).collect();
    let contenders = sides.iter().zip(&slices).map(|(side, slices)| {
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

/// Our figures against a peer's, or that there is none.
pub(super) fn peer<'a>(
    side: Result<&'a Side, &'a NoPeer>,
    theirs: &'a [f64],
) -> Result<(&'a str, &'a [f64]), &'a NoPeer> {
    side.map(|side| (side.server.title.as_str(), theirs))
}
