//! What the connections of one worker share.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use rustls::ServerConfig;
use warpdrive_pipeline::plan::{LimitsPlan, TimeoutsPlan};
use warpdrive_pmd::clock::{Clock, ticks};

use crate::client::exchange::Exchange;
use crate::http::Limits;
use crate::http::negotiate::Compression;
use crate::log::LogWriter;
use crate::metrics::Metrics;
use crate::net::{Close, Flow, Net};
use crate::timer::Wheel;
use crate::tls::{Signatures, Stacks};
use crate::upstream::check::Health;
use crate::upstream::{ServerId, UpstreamConfig, Upstreams};
use crate::zip::Zip;

/// Bytes received at once.
pub const SCRATCH: usize = 64 << 10;
/// Exchanges that are kept for later.
const SPARE_EXCHANGES: usize = 256;

/// What the proxy is to do. It is replaced as a whole when it is loaded anew.
pub struct Shared {
    /// The name of the proxy.
    pub name: String,
    /// TLS.
    pub tls: Arc<ServerConfig>,
    /// Which requests go where.
    pub routes: Vec<Route>,
    /// The servers.
    pub upstreams: Vec<UpstreamConfig>,
    /// What their checks find.
    pub health: Arc<Health>,
    /// Limits.
    pub limits: LimitsPlan,
    /// Those of heads.
    pub heads: Limits,
    /// Timeouts.
    pub timeouts: TimeoutsPlan,
    /// What is compressed.
    pub compression: Compression,
    /// Set when the program ends.
    pub draining: Arc<AtomicBool>,
}

/// What was loaded last: whoever loads puts it here, workers look for it from time to time.
pub struct Latest(ArcSwap<Shared>);

impl Latest {
    /// The first.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(ArcSwap::from_pointee(shared))
    }

    /// Another one.
    pub fn put(&self, shared: Shared) {
        self.0.store(Arc::new(shared));
    }

    /// The last.
    #[must_use]
    pub fn get(&self) -> Arc<Shared> {
        self.0.load_full()
    }

    /// The last, if it is another than `known`.
    #[must_use]
    pub fn newer(&self, known: &Arc<Shared>) -> Option<Arc<Shared>> {
        let last = self.0.load();
        (!Arc::ptr_eq(&last, known)).then(|| Guard::into_inner(last))
    }
}

/// Where requests go.
pub struct Route {
    /// For this host, in lower case; `"*.example.org"` for all below.
    pub host: Option<String>,
    /// What the path begins with.
    pub path: String,
    /// Which upstream.
    pub upstream: usize,
    /// Whether responses may be compressed.
    pub compress: bool,
}

impl Shared {
    /// The first route that fits.
    #[must_use]
    pub fn route(&self, host: Option<&str>, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.fits(host, path))
    }
}

impl Route {
    fn fits(&self, host: Option<&str>, path: &str) -> bool {
        // `OPTIONS *` is about the whole of a server (RFC 9110, 9.3.7).
        let path = if path == "*" { "/" } else { path };
        path.starts_with(self.path.as_str())
            && self.host.as_deref().is_none_or(|wanted| host.is_some_and(|host| fits_host(wanted, host)))
    }
}

/// Whether a host, with or without port, is the one that is wanted.
fn fits_host(wanted: &str, host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    match wanted.strip_prefix('*') {
        Some(below) => {
            let at = name.len().saturating_sub(below.len());
            at > 0 && name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(below))
        }
        None => name.eq_ignore_ascii_case(wanted),
    }
}

/// Whose a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's.
    None,
    /// A client's: its own, or that to its server.
    Client(u32),
    /// It is kept for later.
    Server(ServerId),
}

/// Clients that wait for something, in the order in which they came, each once.
#[derive(Debug, Default)]
pub struct Waiters {
    ids: VecDeque<u32>,
    /// By the client's number, whether it is among them.
    waits: Vec<bool>,
}

impl Waiters {
    /// Another one, unless it waits already.
    pub fn push(&mut self, id: u32) {
        let place = id as usize;
        if self.waits.len() <= place {
            self.waits.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.waits[place], true) {
            self.ids.push_back(id);
        }
    }

    /// The one that has waited longest.
    pub fn pop(&mut self) -> Option<u32> {
        let id = self.ids.pop_front()?;
        self.waits[id as usize] = false;
        Some(id)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ids.len()
    }
}

/// What the connections of one worker share.
pub struct Core {
    /// Who does TCP.
    pub net: Box<dyn Net>,
    /// What is to be done. Counted by this worker alone: its own use of it is no concern of other cores' caches.
    pub shared: Rc<Arc<Shared>>,
    latest: Arc<Latest>,
    /// Stacks of handshakes.
    pub stacks: Stacks,
    /// The device that signs.
    pub signatures: Option<Signatures>,
    /// The device that compresses.
    pub zip: Option<Zip>,
    /// The servers.
    pub upstreams: Upstreams,
    /// Deadlines.
    pub wheel: Wheel,
    /// The time in ticks.
    pub now: u64,
    /// The time in milliseconds.
    pub now_ms: u64,
    /// Whether nothing new is begun.
    pub stopping: bool,
    /// Clients that cannot go on before a handshake has ended.
    pub want_room: Waiters,
    /// Clients that have more to do, and had their turn: which, and which of those that had the number.
    pub turns: VecDeque<(u32, u32)>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are taken down.
    pub log: Option<LogWriter>,
    /// Ticks to time.
    pub clock: Clock,
    owners: Vec<Owner>,
    scratch: Vec<u8>,
    #[expect(clippy::vec_box, reason = "clients have them in boxes, and they change hands as such")]
    exchanges: Vec<Box<Exchange>>,
}

impl Core {
    /// With nothing in it.
    #[must_use]
    pub fn new(
        net: Box<dyn Net>,
        latest: Arc<Latest>,
        signatures: Option<Signatures>,
        zip: Option<Zip>,
        metrics: Arc<Metrics>,
        log: Option<LogWriter>,
    ) -> Self {
        let clock = Clock::get();
        let now = ticks();
        let now_ms = clock.ns(now) / 1_000_000;
        let mut this = Self {
            net,
            upstreams: Upstreams::new(Arc::clone(&metrics)),
            shared: Rc::new(latest.get()),
            latest,
            stacks: Stacks::default(),
            signatures,
            zip,
            wheel: Wheel::new(now_ms),
            now,
            now_ms,
            stopping: false,
            want_room: Waiters::default(),
            turns: VecDeque::new(),
            metrics,
            log,
            clock,
            owners: Vec::new(),
            scratch: vec![0; SCRATCH],
            exchanges: Vec::new(),
        };
        this.load_upstreams();
        this
    }

    /// Does from now on what was loaded last.
    pub fn look_for_news(&mut self) {
        if let Some(shared) = self.latest.newer(&self.shared) {
            self.shared = Rc::new(shared);
            self.load_upstreams();
        }
    }

    fn load_upstreams(&mut self) {
        let Self { upstreams, net, shared, .. } = self;
        let idle = Duration::from_millis(shared.timeouts.upstream_idle_ms);
        upstreams.load(&shared.upstreams, &shared.health, idle, |flow| net.close(flow, Close::Gracefully));
    }

    /// Says whose a flow is from now on.
    pub fn own(&mut self, flow: Flow, owner: Owner) {
        if self.owners.len() <= flow.index() {
            self.owners.resize(flow.index() + 1, Owner::None);
        }
        self.owners[flow.index()] = owner;
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self, flow: Flow) -> Owner {
        self.owners.get(flow.index()).copied().unwrap_or(Owner::None)
    }

    /// Closes a flow.
    pub fn close(&mut self, flow: Flow, how: Close) {
        self.own(flow, Owner::None);
        self.net.close(flow, how);
    }

    /// Bytes to receive into. They are to be given back.
    #[must_use]
    pub fn scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Gives them back.
    pub fn give_back(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    /// An exchange with nothing in it.
    #[must_use]
    pub fn exchange(&mut self) -> Box<Exchange> {
        self.exchanges.pop().unwrap_or_default()
    }

    /// Keeps an exchange for later.
    pub fn recycle(&mut self, mut exchange: Box<Exchange>) {
        exchange.clear();
        if self.exchanges.len() < SPARE_EXCHANGES {
            self.exchanges.push(exchange);
        }
    }
}
