//! Servers behind the proxy, as one worker sees them: which is next, which is left out, and connections kept for later.

pub mod check;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use warpdrive_pipeline::config::Balance;
use warpdrive_pipeline::plan::CheckPlan;

use crate::metrics::{Metrics, ServerMetrics};
use crate::net::Flow;
use check::Health;

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

/// A server: which upstream, which of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId {
    /// The upstream.
    pub upstream: u32,
    /// Its server.
    pub server: u32,
}

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
    /// The one that was used last is at the end, and is used next.
    idle: Vec<Idle>,
    under_way: usize,
    failures: u32,
    /// Left out until then.
    down_until_ms: u64,
}

#[derive(Debug)]
struct Upstream {
    config: UpstreamConfig,
    servers: Vec<Server>,
    next: usize,
    /// The place of its first server among those of all.
    first: usize,
}

/// All servers, as one worker sees them.
#[derive(Debug)]
pub struct Upstreams {
    all: Vec<Upstream>,
    /// What checks have found, of the servers of all.
    health: Arc<Health>,
    idle_ms: u64,
    metrics: Arc<Metrics>,
}

impl Upstreams {
    /// Nothing is known of them yet but their `health`. Unused connections are kept for `idle`.
    #[must_use]
    pub fn new(
        configs: Vec<UpstreamConfig>,
        health: Arc<Health>,
        idle: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let server = |address: &SocketAddr| Server {
            address: *address,
            idle: Vec::new(),
            under_way: 0,
            failures: 0,
            down_until_ms: 0,
        };
        let mut first = 0;
        let upstream = |config: UpstreamConfig| {
            let servers: Vec<Server> = config.servers.iter().map(server).collect();
            first += servers.len();
            Upstream { config, first: first - servers.len(), servers, next: 0 }
        };
        let all = configs.into_iter().map(upstream).collect();
        Self { all, health, idle_ms: idle.as_millis() as u64, metrics }
    }

    /// What is counted of a server.
    #[must_use]
    pub fn metrics(&self, id: ServerId) -> &ServerMetrics {
        self.metrics.server(self.all[id.upstream as usize].first + id.server as usize)
    }

    /// Says how they are.
    pub fn publish(&self, now_ms: u64) {
        for upstream in &self.all {
            for (i, server) in upstream.servers.iter().enumerate() {
                let metrics = self.metrics.server(upstream.first + i);
                metrics.connections_idle.set(server.idle.len() as u64);
                metrics.connections_open.set((server.idle.len() + server.under_way) as u64);
                let is_up = server.down_until_ms <= now_ms && self.health.is_up(upstream.first + i);
                metrics.up.set(u64::from(is_up));
            }
        }
    }

    /// Chooses a server for a request, which is under way from now on. `tried` are left out as long as there are others. `None`
    /// when all are left out.
    pub fn choose(&mut self, upstream: usize, tried: &[ServerId], now_ms: u64) -> Option<ServerId> {
        let group = &mut self.all[upstream];
        let id = |server: usize| ServerId { upstream: upstream as u32, server: server as u32 };
        let count = group.servers.len();
        let in_turn = (0..count).map(|i| (group.next + i) % count);
        let up = in_turn.filter(|s| {
            group.servers[*s].down_until_ms <= now_ms
                && self.health.is_up(group.first + s)
                && !tried.contains(&id(*s))
        });
        let chosen = match group.config.balance {
            Balance::RoundRobin => up.into_iter().next(),
            Balance::LeastConnections => up.min_by_key(|s| group.servers[*s].under_way),
        }?;
        group.next = chosen + 1;
        let server = &mut group.servers[chosen];
        server.under_way += 1;
        self.metrics.server(group.first + chosen).requests.add(1);
        // One that was left out is tried by one request at a time.
        if group.config.max_fails > 0 && server.failures >= group.config.max_fails {
            server.down_until_ms = now_ms + group.config.fail.as_millis() as u64;
        }
        Some(id(chosen))
    }

    fn server(&mut self, id: ServerId) -> &mut Server {
        &mut self.all[id.upstream as usize].servers[id.server as usize]
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self, id: ServerId) -> SocketAddr {
        self.all[id.upstream as usize].servers[id.server as usize].address
    }

    /// The name of its upstream.
    #[must_use]
    pub fn name(&self, id: ServerId) -> &str {
        &self.all[id.upstream as usize].config.name
    }

    /// An unused connection to it: the one that was used last.
    pub fn reuse(&mut self, id: ServerId) -> Option<Flow> {
        self.server(id).idle.pop().map(|idle| idle.flow)
    }

    /// A request has ended, and its connection can be used again. Gives back one that is to be closed: there are enough, or
    /// the server is left out by its checks.
    #[must_use]
    pub fn keep(&mut self, id: ServerId, flow: Flow, now_ms: u64) -> Option<Flow> {
        let Upstream { config, first, .. } = &self.all[id.upstream as usize];
        let is_up = self.health.is_up(first + id.server as usize);
        let (keepalive, until_ms) = (config.keepalive, now_ms + self.idle_ms);
        let server = self.server(id);
        if server.idle.len() >= keepalive || !is_up {
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
        let config = &self.all[id.upstream as usize].config;
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
        for (place, server) in self.all.iter_mut().flat_map(|u| &mut u.servers).enumerate() {
            let all = all || !self.health.is_up(place);
            // The oldest are at the front.
            let n = server.idle.iter().take_while(|idle| all || idle.until_ms <= now_ms).count();
            server.idle.drain(..n).for_each(|idle| close(idle.flow));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two servers, one fails with each request it gets. How many requests each got of 20 at one moment.
    fn shares(max_fails: u32) -> [usize; 2] {
        let servers: Vec<SocketAddr> = ["127.0.0.1:1", "127.0.0.1:2"].map(|s| s.parse().unwrap()).into();
        let names: Vec<(String, String)> =
            servers.iter().map(|server| ("u".to_owned(), server.to_string())).collect();
        let config = UpstreamConfig {
            name: "u".to_owned(),
            servers,
            balance: Balance::RoundRobin,
            keepalive: 0,
            max_fails,
            fail: Duration::from_secs(10),
            check: None,
        };
        let configs = vec![config];
        let health = Health::new(&configs, None);
        let mut upstreams = Upstreams::new(configs, health, Duration::from_secs(1), Metrics::new(0, &names));
        let mut shares = [0; 2];
        for _ in 0..20 {
            let id = upstreams.choose(0, &[], 1_000).expect("one is well");
            shares[id.server as usize] += 1;
            if id.server == 0 {
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
}
