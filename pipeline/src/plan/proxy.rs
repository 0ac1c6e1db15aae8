//! Proxies: names become indices, numbers are looked at, and what they hold is added up.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;

use super::planner::Planner;
use super::{Placed, PoolPlan};
use crate::config::{
    Balance, DeviceDriver, Name, ProxyCertificate, ProxyTable, TlsTable, TlsVersion, Transport, UnknownName,
    UpstreamTable,
};

mod addresses;
mod check;
mod notes;
mod numbers;
mod routes;
#[cfg(test)]
mod tests;
mod user;

pub use check::CheckPlan;
pub(super) use numbers::out_of_range;
pub use numbers::{CompressPlan, LimitsPlan, MOST_FIELDS, TimeoutsPlan};
pub use routes::RoutePlan;
pub use user::UserPlan;

/// The word for the program's own backend among servers.
const DEMO: &str = "demo";
/// Requests to the compressing device that are under way at a time, on one core.
pub const ZIP_DEPTH: usize = 64;
/// What is signed in a handshake (256 bytes at most), and the longest signature, that of RSA-4096.
const SIGNING_BYTES: usize = 256 + 512;

/// A proxy with its names resolved.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct ProxyPlan {
    pub name: String,
    pub lcores: Vec<usize>,
    pub transport: Transport,
    pub user: Option<UserPlan>,
    pub listen: Vec<Placed>,
    pub addresses: Vec<SocketAddr>,
    pub rsa: Option<usize>,
    pub zip: Option<usize>,
    pub pool: usize,
    pub tls: TlsPlan,
    pub limits: LimitsPlan,
    pub timeouts: TimeoutsPlan,
    pub compress: CompressPlan,
    pub access_log: Option<Placed>,
    pub admin: Option<Placed>,
    pub upstreams: Vec<UpstreamPlan>,
    pub routes: Vec<RoutePlan>,
}

/// `[proxy.tls]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct TlsPlan {
    /// The file of the certificate, and that of its key.
    pub certificates: Vec<(Placed, Placed)>,
    pub unknown_name: UnknownName,
    pub min_version: TlsVersion,
    pub cipher_suites: Vec<Placed>,
    pub tickets: bool,
    pub parked: usize,
    pub sign: Duration,
}

/// `[[proxy.upstream]]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct UpstreamPlan {
    pub name: String,
    pub servers: Vec<ServerPlan>,
    pub balance: Balance,
    pub keepalive: usize,
    pub max_fails: u32,
    pub fail: Duration,
    pub check: Option<CheckPlan>,
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPlan {
    /// At an address.
    Address(SocketAddr),
    /// The program's own.
    Demo,
}

impl ProxyPlan {
    /// What one of its workers may hold of its pool, and for what.
    pub(super) fn needs(&self, lcore: usize) -> Vec<(String, usize)> {
        let name = &self.name;
        let mut needs = Vec::new();
        if self.rsa.is_some() {
            needs.push((format!("handshakes of proxy {name:?} on core {lcore}"), self.tls.parked));
        }
        if self.zip.is_some() {
            // The input and the output.
            needs.push((format!("zip in flight of proxy {name:?} on core {lcore}"), 2 * ZIP_DEPTH));
        }
        needs
    }
}

impl Planner<'_> {
    pub(super) fn proxies(&mut self, pools: &[PoolPlan]) -> Vec<ProxyPlan> {
        let config = self.config;
        let mut plans: Vec<ProxyPlan> = Vec::new();
        for table in &config.proxies {
            self.new_name(&table.name, "proxies", plans.iter().map(|p| &*p.name));
            let plan = self.proxy(table, pools);
            self.notes_on(table, &plan);
            plans.push(plan);
        }
        self.places(&config.proxies);
        self.system_calls(&config.proxies);
        plans
    }

    fn proxy(&mut self, table: &ProxyTable, pools: &[PoolPlan]) -> ProxyPlan {
        let name = table.name.get_ref();
        if table.listen.is_empty() {
            let message = format!("proxy {name:?} listens nowhere");
            self.error(table.name.span(), message, "listen = [\"127.0.0.1:8443\"]");
        }
        for (i, core) in table.cores.iter().enumerate() {
            if table.cores[..i].iter().any(|other| other.get_ref() == core.get_ref()) {
                self.error(core.span(), format!("core {} twice", core.get_ref()), "each core once");
            }
        }
        let device = |planner: &mut Self, name: Option<&Name>, driver| {
            name.and_then(|name| planner.device(name, driver))
        };
        let names: Vec<&str> = pools.iter().map(|p| p.config.name.as_str()).collect();
        let pool = table.mempool.as_ref();
        let pool = pool.and_then(|name| self.resolve(name, "mempool", names.iter().copied())).unwrap_or(0);
        if table.rsa.is_some() {
            self.room_to_sign(table, pool, pools);
        }
        let upstreams = self.upstreams(table);
        let written = |a: &Spanned<SocketAddr>| Placed { name: a.get_ref().to_string(), span: a.span() };
        ProxyPlan {
            name: name.clone(),
            lcores: Vec::new(), // set by `place`
            transport: table.transport,
            user: self.user(table),
            listen: table.listen.iter().map(written).collect(),
            addresses: table.listen.iter().map(|a| *a.get_ref()).collect(),
            rsa: device(self, table.rsa.as_ref(), DeviceDriver::SoftRsa),
            zip: device(self, table.zip.as_ref(), DeviceDriver::SoftZip),
            pool,
            tls: self.tls(&table.tls),
            limits: self.limits(&table.limits),
            timeouts: self.timeouts(&table.timeouts),
            compress: self.compress(&table.compress),
            access_log: table.log.access.as_ref().map(Placed::from),
            admin: table.admin.as_ref().map(Placed::from),
            routes: self.routes(table, &upstreams),
            upstreams,
        }
    }

    /// A name that is to be one, and no other's.
    fn new_name<'n>(&mut self, name: &Name, whose: &str, mut others: impl Iterator<Item = &'n str>) {
        let written = name.get_ref();
        if written.is_empty() {
            self.error(name.span(), "a name cannot be empty", "name = \"…\"");
        } else if others.any(|other| other == written) {
            let message = format!("there are two {whose} {written:?}");
            self.error(name.span(), message, "give each a name of its own");
        }
    }

    /// The message and the signature of a handshake have to fit into a buffer.
    fn room_to_sign(&mut self, table: &ProxyTable, pool: usize, pools: &[PoolPlan]) {
        let config = &pools[pool].config;
        if config.size.saturating_sub(config.headroom) >= SIGNING_BYTES {
            return;
        }
        let (pool_name, size, least) = (&config.name, config.size, config.headroom + SIGNING_BYTES);
        let spans = [self.config.mempools.get(pool).map(|m| m.value.size.span()), None];
        let spans = spans.into_iter().flatten().chain(table.mempool.as_ref().map(Name::span));
        let span = spans.into_iter().find(|span| !span.is_empty()).unwrap_or(table.name.span());
        let message = format!(
            "mempool {pool_name:?} has buffers of {size} bytes, and a signature of proxy {:?} needs {least}",
            table.name.get_ref()
        );
        self.error(span, message, format!("size = {} or more", least.next_multiple_of(64)));
    }

    fn tls(&mut self, table: &TlsTable) -> TlsPlan {
        let most = warpdrive_pmd::engine::MAX_DEPTH as u64;
        let pair = |c: &ProxyCertificate| (Placed::from(&c.certificate), Placed::from(&c.key));
        TlsPlan {
            certificates: table.certificates.iter().map(pair).collect(),
            unknown_name: table.unknown_name,
            min_version: table.min_version,
            cipher_suites: table.cipher_suites.iter().map(Placed::from).collect(),
            tickets: table.tickets,
            parked: self.ranged("parked", &table.parked, 1..=most) as usize,
            sign: Duration::from_millis(self.ranged("sign_ms", &table.sign_ms, 1..=60_000)),
        }
    }

    fn upstreams(&mut self, table: &ProxyTable) -> Vec<UpstreamPlan> {
        if table.upstream.is_empty() {
            let message = format!("proxy {:?} has no upstream", table.name.get_ref());
            let help = "[[proxy.upstream]] name = \"…\" servers = [\"127.0.0.1:8080\"]";
            self.error(table.name.span(), message, help);
        }
        let mut plans: Vec<UpstreamPlan> = Vec::new();
        for upstream in &table.upstream {
            self.new_name(&upstream.name, "upstreams", plans.iter().map(|p| &*p.name));
            let plan = self.upstream(upstream);
            plans.push(plan);
        }
        plans
    }

    fn upstream(&mut self, table: &UpstreamTable) -> UpstreamPlan {
        if table.servers.is_empty() {
            let message = format!("upstream {:?} has no servers", table.name.get_ref());
            self.error(table.name.span(), message, "servers = [\"127.0.0.1:8080\"]");
        }
        let mut servers: Vec<ServerPlan> = Vec::new();
        for server in &table.servers {
            let written = server.get_ref().as_str();
            let Some(plan) = server_of(written) else {
                let help = "servers = [\"127.0.0.1:8080\", \"[::1]:8080\"], or \"demo\" for the backend of this program";
                self.error(server.span(), format!("{written:?} is not an address with a port"), help);
                continue;
            };
            if servers.contains(&plan) {
                self.error(server.span(), format!("server {written:?} twice"), "each server once");
            }
            servers.push(plan);
        }
        UpstreamPlan {
            name: table.name.get_ref().clone(),
            servers,
            balance: table.balance,
            keepalive: self.ranged("keepalive", &table.keepalive, 0..=65_536) as usize,
            max_fails: self.ranged("max_fails", &table.max_fails, 0..=1_000_000) as u32,
            fail: Duration::from_millis(self.milliseconds("fail_ms", &table.fail_ms)),
            check: table.check.as_ref().map(|check| self.check(check)),
        }
    }
}

/// Port 0 is for who listens.
fn server_of(written: &str) -> Option<ServerPlan> {
    match written {
        DEMO => Some(ServerPlan::Demo),
        _ => written.parse().ok().filter(|a: &SocketAddr| a.port() != 0).map(ServerPlan::Address),
    }
}
