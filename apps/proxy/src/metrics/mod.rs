//! What a proxy counts. A worker has its own [`Metrics`], and is the only one who writes to them; whoever wants to know reads
//! those of all workers ([`ProxyMetrics`]), and nobody waits for anybody.
//!
//! What there is, by which name, and what it means, is one table (`families.rs`): it makes the text for Prometheus
//! ([`Prometheus`]) and the numbers of the status page ([`ProxyMetrics::to_json`]).

mod device;
mod families;
mod histogram;
mod label;
#[cfg(test)]
pub(crate) mod parse;
mod prometheus;
mod totals;

use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use warpdrive_pmd::stats::Counter;

pub use device::DeviceReport;
pub use histogram::{Histogram, Snapshot};
pub use label::{Breaker, Counters, Handshake, HandshakeFailure, Label, SignedBy, Timeout};
pub use prometheus::{Kind, Prometheus, Samples};
pub use totals::{Kinds, ServerTotals, Totals, sum};

use crate::upstream::check::{Health, ServerHealth};
use families::{CHECKS, FAMILIES, HISTOGRAMS};

/// Statuses that are counted one by one.
const STATUSES: std::ops::Range<u16> = 100..600;

/// What one worker of a proxy counts. What it has at the moment is [`set`](Counter::set), the rest is
/// [`add`](Counter::add)ed to.
#[derive(Debug)]
// A worker writes to this all the time: no other worker's numbers are on its cache lines.
#[repr(align(128))]
pub struct Metrics {
    core: usize,
    /// Handshakes that were completed.
    pub handshakes: Counters<Handshake>,
    /// Handshakes that failed.
    pub handshakes_failed: Counters<HandshakeFailure>,
    /// Handshakes that wait for their signature now.
    pub handshakes_parked: Counter,
    /// How long handshakes took that were completed.
    pub handshake_duration: Histogram,
    /// Signatures, by who computed them and why.
    pub signatures: Counters<SignedBy>,
    breaker: Counter,
    /// Connections of clients that are open now.
    pub connections_open: Counter,
    /// Connections of clients that were accepted.
    pub connections: Counter,
    /// Connections of clients that TCP in user space did not take, because there were too many.
    pub connections_refused: Counter,
    statuses: Box<[Counter]>,
    /// Requests that got no response: the client has gone before.
    pub requests_unanswered: Counter,
    /// From the first byte of a request to the last of its response.
    pub request_duration: Histogram,
    /// Bytes from clients, without TLS.
    pub client_bytes_in: Counter,
    /// Bytes to clients, without TLS.
    pub client_bytes_out: Counter,
    /// Bytes from servers.
    pub server_bytes_in: Counter,
    /// Bytes to servers.
    pub server_bytes_out: Counter,
    /// Responses that were compressed.
    pub compressed_responses: Counter,
    /// Bytes that were compressed.
    pub compression_bytes_in: Counter,
    /// Bytes that they became.
    pub compression_bytes_out: Counter,
    /// What took too long.
    pub timeouts: Counters<Timeout>,
    /// From the end of a request to the head of its response.
    pub upstream_response: Histogram,
    servers: RwLock<Vec<Arc<ServerMetrics>>>,
}

/// What one worker counts of one server.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    /// The name of its upstream.
    pub upstream: String,
    /// Its address.
    pub server: String,
    /// Requests sent, also those sent again.
    pub requests: Counter,
    /// Requests that failed: no connection, no response, or a broken one.
    pub failures: Counter,
    /// Requests that were sent to this server after another one had failed.
    pub retries: Counter,
    /// Connections that are open now.
    pub connections_open: Counter,
    /// Those of them that are not in use.
    pub connections_idle: Counter,
    /// 1 if it is asked, 0 if it is left out after failures, of requests or of its checks.
    pub up: Counter,
}

impl Metrics {
    /// For the worker on lcore `core`, with the servers of all upstreams: the name of the upstream, and the server's.
    #[must_use]
    pub fn new(core: usize, servers: &[(String, String)]) -> Arc<Self> {
        let this = Arc::new(Self {
            core,
            handshakes: Counters::default(),
            handshakes_failed: Counters::default(),
            handshakes_parked: Counter::default(),
            handshake_duration: Histogram::default(),
            signatures: Counters::default(),
            breaker: Counter::default(),
            connections_open: Counter::default(),
            connections: Counter::default(),
            connections_refused: Counter::default(),
            statuses: STATUSES.map(|_| Counter::default()).collect(),
            requests_unanswered: Counter::default(),
            request_duration: Histogram::default(),
            client_bytes_in: Counter::default(),
            client_bytes_out: Counter::default(),
            server_bytes_in: Counter::default(),
            server_bytes_out: Counter::default(),
            compressed_responses: Counter::default(),
            compression_bytes_in: Counter::default(),
            compression_bytes_out: Counter::default(),
            timeouts: Counters::default(),
            upstream_response: Histogram::default(),
            servers: RwLock::default(),
        });
        servers.iter().for_each(|(upstream, server)| drop(this.server(upstream, server)));
        this
    }

    /// Counts a response by its status. One that no response can have is not counted.
    #[inline]
    pub fn responded(&self, status: u16) {
        let place = status.checked_sub(STATUSES.start).map(usize::from);
        if let Some(counter) = place.and_then(|place| self.statuses.get(place)) {
            counter.add(1);
        }
    }

    /// Says whether the device is used.
    #[inline]
    pub fn set_breaker(&self, state: Breaker) {
        self.breaker.set(state.index() as u64);
    }

    /// Of a server of an upstream, which is known from now on.
    #[must_use]
    pub fn server(&self, upstream: &str, server: &str) -> Arc<ServerMetrics> {
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        let known = servers.iter().find(|s| s.upstream == upstream && s.server == server);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let (upstream, server) = (upstream.to_owned(), server.to_owned());
        let new = Arc::new(ServerMetrics { upstream, server, ..ServerMetrics::default() });
        new.up.set(1);
        servers.push(Arc::clone(&new));
        new
    }

    /// A server is no longer one: nothing is said of it any more.
    pub fn forget(&self, server: &Arc<ServerMetrics>) {
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|known| !Arc::ptr_eq(known, server));
    }

    /// Of all servers.
    #[must_use]
    pub fn servers(&self) -> Vec<Arc<ServerMetrics>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The metrics of all workers of a proxy.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    /// The proxy's name.
    pub name: String,
    /// Of each worker.
    pub workers: Vec<Arc<Metrics>>,
    /// Of the checks of its servers.
    pub health: Arc<ArcSwap<Health>>,
}

impl ProxyMetrics {
    /// Adds all to a text for Prometheus, by proxy and core.
    pub fn to_prometheus(&self, out: &mut Prometheus) {
        let cores: Vec<String> = self.workers.iter().map(|w| w.core.to_string()).collect();
        let each = || self.workers.iter().zip(&cores);
        for family in FAMILIES {
            let mut samples = out.family(family.kind, family.name, family.help);
            for (worker, core) in each() {
                (family.each)(worker, &mut |labels, value| {
                    let mut all = vec![("proxy", &*self.name), ("core", core)];
                    all.extend_from_slice(labels);
                    samples.add(&all, value);
                });
            }
        }
        for family in CHECKS {
            let mut samples = out.family(Kind::Counter, family.name, family.help);
            for server in self.health.load().checked() {
                let (upstream, address) = (&*server.upstream, server.address.to_string());
                let labels = [("proxy", &*self.name), ("upstream", upstream), ("server", &address)];
                samples.add(&labels, (family.of)(server).get());
            }
        }
        for family in HISTOGRAMS {
            let mut samples = out.family(Kind::Histogram, family.name, family.help);
            for (worker, core) in each() {
                let snapshot = Snapshot::of([(family.of)(worker)]);
                samples.histogram(&[("proxy", &self.name), ("core", core)], &snapshot);
            }
        }
    }

    /// All as JSON, added up over the workers. A family without labels is a number; one with labels is a list of objects with
    /// these and a `value`; a latency has a count, quantiles, and buckets as pairs of the upper end in microseconds (null: more
    /// than 100 s) and a count, without those of 0.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        all.insert("name".to_owned(), json!(self.name));
        all.insert("cores".to_owned(), self.workers.iter().map(|w| w.core).collect());
        for family in FAMILIES {
            let mut sums: Vec<(Vec<(&str, String)>, u64)> = Vec::new();
            for worker in &self.workers {
                (family.each)(worker, &mut |labels, value| {
                    let same = |(known, _): &&mut (Vec<(&str, String)>, u64)| {
                        known.iter().map(|(name, value)| (*name, &**value)).eq(labels.iter().copied())
                    };
                    match sums.iter_mut().find(same) {
                        Some((_, sum)) => *sum += value,
                        None => {
                            sums.push((labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(), value))
                        }
                    }
                });
            }
            let value = match &sums[..] {
                [(labels, sum)] if labels.is_empty() => json!(sum),
                sums => sums.iter().map(|(labels, sum)| labelled(labels, *sum)).collect(),
            };
            all.insert(family.name.to_owned(), value);
        }
        for family in CHECKS {
            let number = |server: &ServerHealth| {
                let address = server.address.to_string();
                let labels = [("upstream", server.upstream.clone()), ("server", address)];
                labelled(&labels, (family.of)(server).get())
            };
            all.insert(family.name.to_owned(), self.health.load().checked().map(number).collect());
        }
        for family in HISTOGRAMS {
            let snapshot = Snapshot::of(self.workers.iter().map(|w| (family.of)(w)));
            all.insert(family.name.to_owned(), snapshot.to_json());
        }
        Value::Object(all)
    }
}

fn labelled(labels: &[(&str, String)], value: u64) -> Value {
    let mut object: Map<String, Value> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    object.insert("value".to_owned(), json!(value));
    Value::Object(object)
}

#[cfg(test)]
mod tests;
