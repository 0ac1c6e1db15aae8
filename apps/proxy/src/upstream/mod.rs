//! Servers behind the proxy, as one worker sees them: which is next, which is left out, and connections kept for later.

pub mod check;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use warpdrive_pipeline::config::Balance;
use warpdrive_pipeline::plan::CheckPlan;

use crate::metrics::{Metrics, ServerMetrics};
use crate::net::Flow;
use check::{Health, ServerHealth};

/// What is known of a group of servers that do the same.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Its name.
    pub name: String,
    /// Where its servers are.
    pub servers: Vec<SocketAddr>,
    /// How one is chosen.
    pub balance: Balance,
    /// Unused connections kept for each.
    pub keepalive: usize,
    /// Failures in a row after which a server is left out; 0: never.
    pub max_fails: u32,
    /// How long.
    pub fail: Duration,
    /// What its servers are asked from time to time.
    pub check: Option<CheckPlan>,
}

/// A server: its place among all that there ever were, so that it stays good when others are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId(u32);

/// An unused connection.
#[derive(Clone, Copy, Debug)]
struct Idle {
    flow: Flow,
    /// When it is closed.
    until_ms: u64,
}

/// A server and its state.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// The place of its upstream.
    upstream: usize,
    metrics: Arc<ServerMetrics>,
    /// What checks have found.
    health: Arc<ServerHealth>,
    /// The one that was used last is at the end, and is used next.
    idle: Vec<Idle>,
    under_way: usize,
    failures: u32,
    /// Left out until then.
    down_until_ms: u64,
    state: State,
}

impl Server {
    /// Whether it is to be asked, for all that is known.
    fn is_up(&self, now_ms: u64) -> bool {
        self.down_until_ms <= now_ms && self.health.is_up()
    }
}

/// Whether a server is one of those that are chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listed,
    /// No longer, but requests to it are still under way.
    Leaving,
    /// No longer. Who had to do with it may still ask for its name.
    Gone,
}

#[derive(Debug)]
struct Upstream {
    config: UpstreamConfig,
    servers: Vec<ServerId>,
    next: usize,
}

/// All servers, as one worker sees them.
#[derive(Debug)]
pub struct Upstreams {
    all: Vec<Upstream>,
    servers: Vec<Server>,
    idle_ms: u64,
    metrics: Arc<Metrics>,
}

impl Upstreams {
    /// None yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { all: Vec::new(), servers: Vec::new(), idle_ms: 0, metrics }
    }

    /// These are the upstreams from now on: each in its place, if there was one of its name before. What is known of servers
    /// that stay is kept, and so are requests to those that do not. Unused connections are kept for `idle`; those to servers
    /// that are no longer any are closed.
    pub fn load(
        &mut self,
        configs: &[UpstreamConfig],
        health: &Health,
        idle: Duration,
        mut close: impl FnMut(Flow),
    ) {
        self.idle_ms = idle.as_millis() as u64;
        for server in self.servers.iter_mut().filter(|s| s.state == State::Listed) {
            server.state = State::Leaving;
        }
        let mut first = 0;
        for (place, config) in configs.iter().enumerate() {
            let addresses = config.servers.iter().enumerate();
            let servers = addresses
                .map(|(i, address)| self.listed(place, &config.name, *address, health.server(first + i)));
            let servers: Vec<ServerId> = servers.collect();
            first += servers.len();
            match self.all.get_mut(place) {
                Some(upstream) => (upstream.config, upstream.servers) = (config.clone(), servers),
                None => self.all.push(Upstream { config: config.clone(), servers, next: 0 }),
            }
        }
        for server in self.servers.iter_mut().filter(|s| s.state == State::Leaving) {
            server.idle.drain(..).for_each(|idle| close(idle.flow));
        }
        self.part();
    }

    /// A server of an upstream, which may have been one before.
    fn listed(
        &mut self,
        upstream: usize,
        name: &str,
        address: SocketAddr,
        health: &Arc<ServerHealth>,
    ) -> ServerId {
        let health = Arc::clone(health);
        let known = self.servers.iter().position(|s| s.upstream == upstream && s.address == address);
        if let Some(place) = known {
            let server = &mut self.servers[place];
            if server.state == State::Gone {
                server.metrics = self.metrics.server(name, &address.to_string());
                (server.failures, server.down_until_ms) = (0, 0);
            }
            (server.state, server.health) = (State::Listed, health);
            return ServerId(place as u32);
        }
        self.servers.push(Server {
            address,
            upstream,
            metrics: self.metrics.server(name, &address.to_string()),
            health,
            idle: Vec::new(),
            under_way: 0,
            failures: 0,
            down_until_ms: 0,
            state: State::Listed,
        });
        ServerId(self.servers.len() as u32 - 1)
    }

    /// Servers that are no longer any, and have nothing under way, are gone.
    fn part(&mut self) {
        let leaving = |s: &&mut Server| s.state == State::Leaving && s.under_way == 0;
        for server in self.servers.iter_mut().filter(leaving) {
            server.state = State::Gone;
            self.metrics.forget(&server.metrics);
        }
    }

    /// What is counted of a server.
    #[must_use]
    pub fn metrics(&self, id: ServerId) -> &ServerMetrics {
        &self.servers[id.0 as usize].metrics
    }

    /// Says how they are.
    pub fn publish(&mut self, now_ms: u64) {
        self.part();
        for server in self.servers.iter().filter(|s| s.state != State::Gone) {
            let metrics = &server.metrics;
            metrics.connections_idle.set(server.idle.len() as u64);
            metrics.connections_open.set((server.idle.len() + server.under_way) as u64);
            metrics.up.set(u64::from(server.state == State::Listed && server.is_up(now_ms)));
        }
    }

    /// Chooses a server for a request, which is under way from now on. `tried` are left out as long as there are others. `None`
    /// when all are left out.
    pub fn choose(&mut self, upstream: usize, tried: &[ServerId], now_ms: u64) -> Option<ServerId> {
        let Self { all, servers, .. } = self;
        let group = all.get_mut(upstream)?;
        let count = group.servers.len();
        let in_turn = (0..count).map(|i| (group.next + i) % count);
        let of = |place: &usize| &servers[group.servers[*place].0 as usize];
        let up = in_turn.filter(|s| of(s).is_up(now_ms) && !tried.contains(&group.servers[*s]));
        let chosen = match group.config.balance {
            Balance::RoundRobin => up.into_iter().next(),
            Balance::LeastConnections => up.min_by_key(|s| of(s).under_way),
        }?;
        group.next = chosen + 1;
        let id = group.servers[chosen];
        let server = &mut servers[id.0 as usize];
        server.under_way += 1;
        server.metrics.requests.add(1);
        // One that was left out is tried by one request at a time.
        if group.config.max_fails > 0 && server.failures >= group.config.max_fails {
            server.down_until_ms = now_ms + group.config.fail.as_millis() as u64;
        }
        Some(id)
    }

    fn server(&mut self, id: ServerId) -> &mut Server {
        &mut self.servers[id.0 as usize]
    }

    fn config(&self, id: ServerId) -> &UpstreamConfig {
        &self.all[self.servers[id.0 as usize].upstream].config
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self, id: ServerId) -> SocketAddr {
        self.servers[id.0 as usize].address
    }

    /// The name of its upstream.
    #[must_use]
    pub fn name(&self, id: ServerId) -> &str {
        &self.config(id).name
    }

    /// An unused connection to it: the one that was used last.
    pub fn reuse(&mut self, id: ServerId) -> Option<Flow> {
        self.server(id).idle.pop().map(|idle| idle.flow)
    }

    /// A request has ended, and its connection can be used again. Gives back one that is to be closed: there are enough, or
    /// the server is left out by its checks.
    #[must_use]
    pub fn keep(&mut self, id: ServerId, flow: Flow, now_ms: u64) -> Option<Flow> {
        let (keepalive, until_ms) = (self.config(id).keepalive, now_ms + self.idle_ms);
        let server = self.server(id);
        let is_asked = server.state == State::Listed && server.health.is_up();
        if server.idle.len() >= keepalive || !is_asked {
            return Some(flow);
        }
        server.idle.push(Idle { flow, until_ms });
        None
    }

    /// A request has ended, in whatever way.
    pub fn ended(&mut self, id: ServerId) {
        let server = self.server(id);
        server.under_way = server.under_way.saturating_sub(1);
    }

    /// A server has answered.
    pub fn succeeded(&mut self, id: ServerId) {
        let server = self.server(id);
        (server.failures, server.down_until_ms) = (0, 0);
    }

    /// A server could not be reached, or has not answered.
    pub fn failed(&mut self, id: ServerId, now_ms: u64) {
        let config = self.config(id);
        let (max_fails, fail_ms) = (config.max_fails, config.fail.as_millis() as u64);
        self.metrics(id).failures.add(1);
        let server = self.server(id);
        server.failures = server.failures.saturating_add(1);
        if max_fails > 0 && server.failures >= max_fails {
            server.down_until_ms = now_ms + fail_ms;
        }
    }

    /// Something has come on an unused connection, and that can only be its end. Says whether it was one.
    pub fn forget(&mut self, id: ServerId, flow: Flow) -> bool {
        let idle = &mut self.server(id).idle;
        let place = idle.iter().position(|i| i.flow == flow);
        place.map(|place| idle.remove(place)).is_some()
    }

    /// Takes out connections that were unused for too long, those of servers that are left out by their checks, or all.
    pub fn expired(&mut self, now_ms: u64, all: bool, mut close: impl FnMut(Flow)) {
        for server in &mut self.servers {
            let all = all || !server.health.is_up();
            // The oldest are at the front.
            let n = server.idle.iter().take_while(|idle| all || idle.until_ms <= now_ms).count();
            server.idle.drain(..n).for_each(|idle| close(idle.flow));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, servers: &[u16], max_fails: u32) -> UpstreamConfig {
        UpstreamConfig {
            name: name.to_owned(),
            servers: servers.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect(),
            balance: Balance::RoundRobin,
            keepalive: 1,
            max_fails,
            fail: Duration::from_secs(10),
            check: None,
        }
    }

    fn load(upstreams: &mut Upstreams, configs: &[UpstreamConfig]) -> Vec<Flow> {
        let mut closed = Vec::new();
        upstreams
            .load(configs, &Health::new(configs, None), Duration::from_secs(1), |flow| closed.push(flow));
        closed
    }

    /// Of two servers, one fails with each request it gets. How many requests each got of 20 at one moment.
    fn shares(max_fails: u32) -> [usize; 2] {
        let mut upstreams = Upstreams::new(Metrics::new(0, &[]));
        load(&mut upstreams, &[config("u", &[1, 2], max_fails)]);
        let mut shares = [0; 2];
        for _ in 0..20 {
            let id = upstreams.choose(0, &[], 1_000).expect("one is well");
            let place = usize::from(upstreams.address(id).port() - 1);
            shares[place] += 1;
            if place == 0 {
                upstreams.failed(id, 1_000);
            }
            upstreams.ended(id);
        }
        shares
    }

    #[test]
    fn a_server_is_left_out_after_so_many_failures_and_never_with_0() {
        assert_eq!(shares(3), [3, 17]);
        assert_eq!(shares(1), [1, 19]);
        assert_eq!(shares(0), [10, 10]);
    }

    fn listed(metrics: &Metrics) -> Vec<String> {
        metrics.servers().iter().map(|s| s.server.clone()).collect()
    }

    #[test]
    fn servers_come_and_go_and_requests_to_them_end_well() {
        let metrics = Metrics::new(0, &[]);
        let mut upstreams = Upstreams::new(Arc::clone(&metrics));
        let flow = |index: u64| Flow::of_token((1 << 32) | index);
        load(&mut upstreams, &[config("u", &[1, 2], 1), config("v", &[1], 1)]);
        let one = upstreams.choose(0, &[], 0).unwrap();
        let two = upstreams.choose(0, &[], 0).unwrap();
        upstreams.failed(two, 0);
        upstreams.ended(two);
        assert_eq!(upstreams.keep(one, flow(7), 0), None);
        let asked = upstreams.choose(0, &[], 0).unwrap();
        assert_eq!((asked, upstreams.reuse(asked)), (one, Some(flow(7))));
        assert_eq!(upstreams.keep(one, flow(8), 0), None);
        // The first leaves while it has work; the second, which is left out, stays so; a third comes.
        let closed = load(&mut upstreams, &[config("u", &[2, 3], 1), config("v", &[], 1)]);
        assert_eq!(closed, [flow(8)]);
        let three = upstreams.choose(0, &[], 0).unwrap();
        assert_eq!((upstreams.address(three).port(), upstreams.choose(0, &[three], 0)), (3, None));
        assert_eq!(upstreams.choose(1, &[], 0), None, "all are gone");
        upstreams.publish(0);
        assert_eq!(listed(&metrics), ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
        assert_eq!((upstreams.address(one).port(), upstreams.name(one)), (1, "u"));
        // What was under way ends: its connection is of no use, and nothing is said of it any more.
        assert_eq!(upstreams.keep(one, flow(9), 0), Some(flow(9)));
        upstreams.ended(one);
        upstreams.ended(one);
        upstreams.publish(0);
        assert_eq!(listed(&metrics), ["127.0.0.1:2", "127.0.0.1:3"]);
        // It comes back as itself.
        load(&mut upstreams, &[config("u", &[1], 1), config("v", &[], 1)]);
        assert_eq!(upstreams.choose(0, &[], 0), Some(one));
        upstreams.publish(0);
        assert_eq!(listed(&metrics), ["127.0.0.1:3", "127.0.0.1:1"], "3 still has a request under way");
    }
}
