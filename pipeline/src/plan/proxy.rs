//! Proxies: names become indices, numbers are looked at, and what they hold is added up.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use toml::Spanned;
use warpdrive_pmd::port::MacAddr;

use super::planner::Planner;
use super::{Placed, PoolPlan};
use crate::config::{
    Balance, CheckTable, CompressTable, DeviceDriver, LimitsTable, Name, ProxyTable, RouteTable,
    TimeoutsTable, TlsTable, TlsVersion, Transport, UnknownName, UpstreamTable,
};
use crate::diag::known_names;

/// The word for the program's own backend among servers.
const DEMO: &str = "demo";
/// Requests to the compressing device that are under way at a time, on one core.
pub const ZIP_DEPTH: usize = 64;

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
    pub limits: LimitsTable,
    pub timeouts: TimeoutsTable,
    pub compress: CompressTable,
    pub access_log: Option<Placed>,
    pub admin: Option<Placed>,
    pub upstreams: Vec<UpstreamPlan>,
    pub routes: Vec<RoutePlan>,
}

/// What `transport = "userspace"` needs.
#[derive(Debug, Clone)]
pub struct UserPlan {
    /// Index of the port.
    pub port: usize,
    /// Ethernet address, if not that of the port.
    pub mac: Option<MacAddr>,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where packets for others go.
    pub gateways: Vec<IpAddr>,
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
    pub check: Option<CheckTable>,
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPlan {
    /// At an address.
    Address(SocketAddr),
    /// The program's own.
    Demo,
}

/// `[[proxy.route]]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct RoutePlan {
    /// In lower case.
    pub host: Option<String>,
    pub path: String,
    pub upstream: usize,
    pub compress: bool,
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
            let name = table.name.get_ref();
            if plans.iter().any(|p| p.name == *name) {
                let message = format!("there are two proxies {name:?}");
                self.error(table.name.span(), message, "give each a name of its own");
            }
            let plan = self.proxy(table, pools);
            plans.push(plan);
        }
        plans
    }

    fn proxy(&mut self, table: &ProxyTable, pools: &[PoolPlan]) -> ProxyPlan {
        let name = table.name.get_ref();
        if table.listen.is_empty() {
            let message = format!("proxy {name:?} listens nowhere");
            self.error(table.name.span(), message, "listen = [\"127.0.0.1:8443\"]");
        }
        let device = |planner: &mut Self, name: &Option<_>, driver| {
            name.as_ref().and_then(|name| planner.device(name, driver))
        };
        let names: Vec<&str> = pools.iter().map(|p| p.config.name.as_str()).collect();
        let pool = table.mempool.as_ref();
        let pool = pool.and_then(|name| self.resolve(name, "mempool", names.iter().copied())).unwrap_or(0);
        let upstreams = self.upstreams(table);
        let written = |a: &Spanned<SocketAddr>| Placed { name: a.get_ref().to_string(), span: a.span() };
        ProxyPlan {
            name: name.clone(),
            lcores: Vec::new(), // set by `place`
            transport: table.transport,
            user: self.user(table),
            listen: table.listen.iter().map(written).collect(),
            addresses: table.listen.iter().map(|a| *a.get_ref()).collect(),
            rsa: device(self, &table.rsa, DeviceDriver::SoftRsa),
            zip: device(self, &table.zip, DeviceDriver::SoftZip),
            pool,
            tls: self.tls(&table.tls),
            limits: table.limits.clone(),
            timeouts: table.timeouts.clone(),
            compress: self.compress(&table.compress),
            access_log: table.log.access.as_ref().map(Placed::from),
            admin: table.admin.as_ref().map(Placed::from),
            routes: self.routes(table, &upstreams),
            upstreams,
        }
    }

    /// What TCP in user space needs. Its port's queues are owned when the cores are known.
    fn user(&mut self, table: &ProxyTable) -> Option<UserPlan> {
        if table.transport == Transport::Kernel {
            let given = [table.port.as_ref(), table.mac.as_ref(), table.addresses.first()];
            for name in given.into_iter().flatten() {
                let message = "this is for transport = \"userspace\", and the transport is the kernel's";
                self.error(name.span(), message, "leave it out, or transport = \"userspace\"");
            }
            return None;
        }
        let name = table.name.get_ref();
        let Some(port) = &table.port else {
            let message = format!("proxy {name:?} does TCP by itself and has no port");
            self.error(table.name.span(), message, "port = \"NAME\" of a [port.NAME]");
            return None;
        };
        if table.addresses.is_empty() {
            let message = format!("proxy {name:?} does TCP by itself and has no addresses");
            self.error(table.name.span(), message, "addresses = [\"192.0.2.7/24\", \"2001:db8::7/64\"]");
        }
        let addresses = table.addresses.iter().filter_map(|a| self.prefix(a)).collect();
        let mac = table.mac.as_ref().and_then(|written| {
            let parsed = written.get_ref().parse();
            if let Err(e) = &parsed {
                self.error(
                    written.span(),
                    format!("{:?}: {e}", written.get_ref()),
                    "mac = \"02:00:00:00:00:07\"",
                );
            }
            parsed.ok()
        });
        let port = self.port(port)?;
        Some(UserPlan {
            port,
            mac,
            addresses,
            gateways: table.gateways.iter().map(|g| *g.get_ref()).collect(),
        })
    }

    fn prefix(&mut self, written: &Name) -> Option<(IpAddr, u8)> {
        let parsed = written.get_ref().split_once('/').and_then(|(address, bits)| {
            let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
        });
        if parsed.is_none() {
            let message = format!("{:?} is not an address with the length of its prefix", written.get_ref());
            self.error(written.span(), message, "addresses = [\"192.0.2.7/24\", \"2001:db8::7/64\"]");
        }
        parsed
    }

    /// Gives each worker of a proxy its queues.
    pub(super) fn own_queues(&mut self, proxies: &[ProxyPlan]) {
        let config = self.config;
        for (table, plan) in config.proxies.iter().zip(proxies) {
            let (Some(user), Some(port)) = (&plan.user, &table.port) else { continue };
            for queue in 0..plan.lcores.len() as u16 {
                self.own(true, user.port, queue, &plan.name, port.span());
                self.own(false, user.port, queue, &plan.name, port.span());
            }
        }
    }

    fn tls(&mut self, table: &TlsTable) -> TlsPlan {
        let parked = *table.parked.get_ref();
        if parked == 0 || parked > warpdrive_pmd::engine::MAX_DEPTH {
            let help = format!("parked = 1 to {}", warpdrive_pmd::engine::MAX_DEPTH);
            self.error(table.parked.span(), format!("parked = {parked} is not possible"), help);
        }
        let pair = |c: &crate::config::ProxyCertificate| (Placed::from(&c.certificate), Placed::from(&c.key));
        TlsPlan {
            certificates: table.certificates.iter().map(pair).collect(),
            unknown_name: table.unknown_name,
            min_version: table.min_version,
            cipher_suites: table.cipher_suites.iter().map(Placed::from).collect(),
            tickets: table.tickets,
            parked,
            sign: Duration::from_millis(table.sign_ms),
        }
    }

    fn compress(&mut self, table: &CompressTable) -> CompressTable {
        let level = *table.level.get_ref();
        if !(1..=9).contains(&level) {
            self.error(table.level.span(), format!("level = {level} is not possible"), "level = 1 to 9");
        }
        table.clone()
    }

    fn upstreams(&mut self, table: &ProxyTable) -> Vec<UpstreamPlan> {
        if table.upstream.is_empty() {
            let message = format!("proxy {:?} has no upstream", table.name.get_ref());
            let help = "[[proxy.upstream]] name = \"…\" servers = [\"127.0.0.1:8080\"]";
            self.error(table.name.span(), message, help);
        }
        let mut plans: Vec<UpstreamPlan> = Vec::new();
        for upstream in &table.upstream {
            let name = upstream.name.get_ref();
            if plans.iter().any(|p| p.name == *name) {
                let message = format!("there are two upstreams {name:?}");
                self.error(upstream.name.span(), message, "give each a name of its own");
            }
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
        if let Some(check) = table.check.as_ref().filter(|c| !c.path.get_ref().starts_with('/')) {
            let message = format!("{:?} is not a path", check.path.get_ref());
            self.error(check.path.span(), message, "a path begins with /");
        }
        let mut servers = Vec::new();
        for server in &table.servers {
            match (server.get_ref().as_str(), server.get_ref().parse()) {
                (DEMO, _) => servers.push(ServerPlan::Demo),
                (_, Ok(address)) => servers.push(ServerPlan::Address(address)),
                (written, Err(_)) => self.error(
                    server.span(),
                    format!("{written:?} is not an address with a port"),
                    "servers = [\"127.0.0.1:8080\", \"[::1]:8080\"], or \"demo\" for the backend of this program",
                ),
            }
        }
        UpstreamPlan {
            name: table.name.get_ref().clone(),
            servers,
            balance: table.balance,
            keepalive: table.keepalive,
            max_fails: table.max_fails,
            fail: Duration::from_millis(table.fail_ms),
            check: table.check.clone(),
        }
    }

    fn routes(&mut self, table: &ProxyTable, upstreams: &[UpstreamPlan]) -> Vec<RoutePlan> {
        if table.route.is_empty() {
            return vec![RoutePlan { host: None, path: "/".to_owned(), upstream: 0, compress: true }];
        }
        table.route.iter().filter_map(|route| self.route(route, upstreams)).collect()
    }

    fn route(&mut self, table: &RouteTable, upstreams: &[UpstreamPlan]) -> Option<RoutePlan> {
        let path = table.path.get_ref();
        if !path.starts_with('/') {
            self.error(table.path.span(), format!("{path:?} is not a path"), "a path begins with /");
        }
        let names = || upstreams.iter().map(|u| u.name.as_str());
        let wanted = table.upstream.get_ref();
        let Some(upstream) = names().position(|name| name == wanted) else {
            let help = known_names(wanted, "upstreams", names());
            self.error(table.upstream.span(), format!("there is no upstream {wanted:?}"), help);
            return None;
        };
        Some(RoutePlan {
            host: table.host.as_ref().map(|host| host.get_ref().to_ascii_lowercase()),
            path: path.clone(),
            upstream,
            compress: table.compress,
        })
    }
}
