//! What checks have found, for workers to read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use warpdrive_pmd::stats::Counter;

use crate::upstream::UpstreamConfig;

/// The servers of a proxy as their checks see them, in the order of its upstreams. One thread writes, workers read.
#[derive(Debug, Default)]
pub struct Health {
    servers: Box<[Arc<ServerHealth>]>,
}

/// A server as its checks see it.
#[derive(Debug)]
pub struct ServerHealth {
    /// The name of its upstream.
    pub upstream: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Whether there are checks at all.
    pub is_checked: bool,
    /// Checks that were made.
    pub checks: Counter,
    /// Those of them that failed.
    pub failures: Counter,
    up: AtomicBool,
}

impl Health {
    /// All are up, but for those that were not `before`: a server keeps its state and its counts as long as its upstream has the
    /// same name, and checks it.
    #[must_use]
    pub fn new(upstreams: &[UpstreamConfig], before: Option<&Self>) -> Arc<Self> {
        let of = |upstream: &UpstreamConfig, address: SocketAddr| {
            let server = ServerHealth {
                upstream: upstream.name.clone(),
                address,
                is_checked: upstream.check.is_some(),
                checks: Counter::default(),
                failures: Counter::default(),
                up: AtomicBool::new(true),
            };
            let same =
                |other: &&ServerHealth| (&other.upstream, other.address) == (&server.upstream, address);
            let known = before.and_then(|before| before.checked().find(same)).filter(|_| server.is_checked);
            if let Some(known) = known {
                server.set_up(known.is_up());
                server.checks.set(known.checks.get());
                server.failures.set(known.failures.get());
            }
            Arc::new(server)
        };
        let servers = upstreams.iter().flat_map(|u| u.servers.iter().map(move |address| of(u, *address)));
        Arc::new(Self { servers: servers.collect() })
    }

    /// The server at this place.
    #[must_use]
    pub fn server(&self, place: usize) -> &Arc<ServerHealth> {
        &self.servers[place]
    }

    /// The servers that are checked.
    pub fn checked(&self) -> impl Iterator<Item = &ServerHealth> {
        self.servers.iter().map(|server| &**server).filter(|server| server.is_checked)
    }
}

impl ServerHealth {
    /// Whether it is to be asked.
    #[must_use]
    #[inline]
    pub fn is_up(&self) -> bool {
        // Nothing else is published by it.
        self.up.load(Ordering::Relaxed)
    }

    /// Says whether it is to be asked.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}
