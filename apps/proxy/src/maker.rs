//! From a plan to services: what the plan names is opened here.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use warpdrive_pipeline::diag::{ConfigError, Diagnostic};
use warpdrive_pipeline::plan::{Placed, Plan, ProxyPlan, ServerPlan, UpstreamPlan, ZIP_DEPTH};
use warpdrive_pipeline::service::{Maker, Parts, Seed, ServiceError, WireParts};
use warpdrive_pmd::device::{Device, SessionId};
use warpdrive_pmd::port::MacAddr;

use crate::admin::{Admin, Ask, Asks, Place, Sources};
use crate::core::Latest;
use crate::demo::backend::DemoBackend;
use crate::load::{Kept, Loaded, Running};
use crate::log::AccessLog;
use crate::metrics::{DeviceReport, Metrics, ProxyMetrics};
use crate::net::{Both, KernelNet, Listeners, Opened, UserConfig, UserNet};
use crate::service::{Made, NetMade, Proxy, SignaturesMade};
use crate::tls::{Lasting, Signatures};
use crate::upstream::UpstreamConfig;
use crate::zip::Zip;

/// Of a proxy at a tap: locally administered (IEEE 802, bit 1 of the first byte).
const LOCAL_MAC: MacAddr = MacAddr([0x02, b'w', b'a', b'r', b'p', 1]);
const _: () = assert!(crate::http::MAX_FIELDS == warpdrive_pipeline::plan::MOST_FIELDS);

/// Makes proxies, and keeps what belongs to them beside their workers: it is to live as long as they do.
#[derive(Default)]
pub struct Proxies {
    demo: Option<DemoBackend>,
    logs: Vec<AccessLog>,
    // Goes before those who ask: an answer that will not come is not waited for.
    asks: Asks,
    admins: Vec<Admin>,
    metrics: Vec<ProxyMetrics>,
    running: Vec<Running>,
}

impl Maker for Proxies {
    fn proxy(&mut self, mut parts: Parts<'_>, got: &mut Vec<String>) -> Result<Vec<Seed>, ServiceError> {
        let (plan, proxy, wire) = (parts.plan, parts.proxy, parts.wire.take());
        let parts = &parts;
        let failed = |cause: String| ServiceError::Failed { service: proxy.name.clone(), cause };
        let kept = Kept {
            lasting: Lasting::new(&proxy.tls).map_err(failed)?,
            rsa: parts.rsa.map(Arc::downgrade),
            draining: Arc::new(AtomicBool::new(false)),
        };
        let Loaded { shared, demo, checks } = kept.load(plan, proxy, self.upstreams(proxy)?, None)?;
        let servers = |u: &UpstreamConfig| -> Vec<(String, String)> {
            u.servers.iter().map(|server| (u.name.clone(), server.to_string())).collect()
        };
        let names: Vec<(String, String)> = shared.upstreams.iter().flat_map(servers).collect();
        let metrics: Vec<Arc<Metrics>> =
            proxy.lcores.iter().map(|lcore| Metrics::new(*lcore, &names)).collect();
        let (nets, addresses) = match wire {
            Some(wire) => (user(parts, wire)?, proxy.addresses.clone()),
            None => listen(parts)?,
        };
        let urls: Vec<String> = addresses.iter().map(|a| format!("https://{a}/")).collect();
        got.push(format!("proxy {:?}: {}", proxy.name, urls.join(", ")));
        if let Some(demo) = demo {
            let url = urls.first().map_or("", String::as_str);
            got.push(match demo.made {
                true => demo.instructions(url),
                false => format!(
                    "its certificate is for demonstration: curl --cacert {} {url}",
                    demo.certificate.display()
                ),
            });
        }
        let health = Arc::new(ArcSwap::new(Arc::clone(&shared.health)));
        let metrics_of_all =
            ProxyMetrics { name: proxy.name.clone(), workers: metrics.clone(), health: Arc::clone(&health) };
        self.admin(parts, metrics_of_all.clone(), &kept.draining, got)?;
        let log = proxy.access_log.as_ref().map(|at| access_log(plan, at)).transpose()?;
        let latest = Arc::new(Latest::new(shared));
        let session = parts.zip.map(|device| Zip::session(device, proxy.compress.level));
        let session = session.transpose().map_err(failed)?;
        let mut seeds: Vec<Seed> = Vec::new();
        for (net, metrics) in nets.into_iter().zip(metrics) {
            let made = Made {
                net,
                latest: Arc::clone(&latest),
                signatures: signatures(parts, &metrics).map_err(failed)?,
                zip: zip(parts, session).map_err(failed)?,
                metrics,
                log: log.as_ref().map(AccessLog::writer),
            };
            seeds.push(Box::new(move || Box::new(Proxy::new(made))));
        }
        self.logs.extend(log);
        self.metrics.push(metrics_of_all);
        self.running.push(Running { name: proxy.name.clone(), kept, latest, checks, health });
        Ok(seeds)
    }
}

impl Proxies {
    /// What the proxies that were made count, in the order of the plan. It may be kept longer than they live.
    #[must_use]
    pub fn metrics(&self) -> &[ProxyMetrics] {
        &self.metrics
    }

    /// Has the proxies do what another plan says: certificates, routes, servers, limits and timeouts. Connections stay; what is
    /// under way is done as it was begun. The files of access logs are opened anew. Nothing is changed unless all can be.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn load(&mut self, plan: &Plan) -> Result<(), ServiceError> {
        let upstreams: Vec<_> =
            plan.proxies.iter().map(|proxy| self.upstreams(proxy)).collect::<Result<_, _>>()?;
        let mut loaded = Vec::new();
        for (proxy, upstreams) in plan.proxies.iter().zip(upstreams) {
            let place = self.running.iter().position(|running| running.name == proxy.name);
            let place = place.ok_or_else(|| ServiceError::Failed {
                service: proxy.name.clone(),
                cause: "no proxy of this name runs. Remedy: start the program anew".to_owned(),
            })?;
            let running = &self.running[place];
            let before = running.latest.get();
            let new = running.kept.load(plan, proxy, upstreams, Some(&before))?;
            loaded.push((place, new));
        }
        loaded.into_iter().for_each(|(place, new)| self.running[place].put(new));
        self.logs.iter().for_each(AccessLog::reopen);
        Ok(())
    }

    /// Whether somebody has asked at an admin address to have the configuration loaded. To be answered.
    #[must_use]
    pub fn asked(&self) -> Option<Ask> {
        self.asks.next()
    }

    /// The servers, and the program's own if one of them is.
    fn upstreams(&mut self, proxy: &ProxyPlan) -> Result<Vec<UpstreamConfig>, ServiceError> {
        let wants_demo = proxy.upstreams.iter().any(|u| u.servers.contains(&ServerPlan::Demo));
        if wants_demo && self.demo.is_none() {
            let demo = DemoBackend::start().map_err(|e| ServiceError::Failed {
                service: proxy.name.clone(),
                cause: format!("the demo backend cannot start: {e}"),
            })?;
            self.demo = Some(demo);
        }
        let address = |server: &ServerPlan| match server {
            ServerPlan::Address(address) => Some(*address),
            ServerPlan::Demo => self.demo.as_ref().map(DemoBackend::address),
        };
        let upstream = |plan: &UpstreamPlan| UpstreamConfig {
            name: plan.name.clone(),
            servers: plan.servers.iter().filter_map(address).collect(),
            balance: plan.balance,
            keepalive: plan.keepalive,
            max_fails: plan.max_fails,
            fail: plan.fail,
            check: plan.check.clone(),
        };
        Ok(proxy.upstreams.iter().map(upstream).collect())
    }

    fn admin(
        &mut self,
        parts: &Parts<'_>,
        metrics: ProxyMetrics,
        draining: &Arc<AtomicBool>,
        got: &mut Vec<String>,
    ) -> Result<(), ServiceError> {
        let Some(at) = &parts.proxy.admin else { return Ok(()) };
        // The program ends its devices when the workers have ended, whoever looks at them.
        let devices: Vec<Weak<dyn Device>> =
            parts.rsa.into_iter().chain(parts.zip).map(Arc::downgrade).collect();
        let report =
            |device: Arc<dyn Device>| DeviceReport { name: device.info().name, stats: device.stats() };
        let sources = Sources {
            proxies: vec![metrics],
            devices: Box::new(move || devices.iter().filter_map(Weak::upgrade).map(report).collect()),
            more: Vec::new(),
            draining: Arc::clone(draining),
            load: Some(self.asks.asker()),
        };
        let admin = Admin::start(&at.name, sources)
            .map_err(|e| Box::new(parts.plan.error(Diagnostic::of_error(at.span.clone(), &e.to_string()))))?;
        got.push(match admin.place() {
            Place::Address(address) => format!("proxy {:?}: status at http://{address}/", parts.proxy.name),
            Place::Path(path) => format!("proxy {:?}: status at {}", parts.proxy.name, path.display()),
        });
        self.admins.push(admin);
        Ok(())
    }
}

/// Listens for each worker; all at the same addresses.
fn listen(parts: &Parts<'_>) -> Result<(Vec<NetMade>, Vec<SocketAddr>), ServiceError> {
    let Parts { plan, proxy, .. } = *parts;
    let mut addresses = proxy.addresses.clone();
    let mut nets: Vec<NetMade> = Vec::new();
    for _ in &proxy.lcores {
        let listeners = Listeners::open(&addresses).map_err(|(place, e)| {
            let at = &proxy.listen[place];
            let message = format!("proxy {:?} cannot listen at {}: {e}", proxy.name, at.name);
            let help =
                "an address of this machine with a port that nobody else has; ports below 1024 are for root";
            Box::new(plan.error(Diagnostic::new(at.span.clone(), message).help(help)))
        })?;
        // If the kernel chose ports, the other workers take the same.
        addresses = listeners.addresses();
        let opened = open_kernel(proxy, listeners)?;
        nets.push(Box::new(move || Box::new(KernelNet::new(opened))));
    }
    Ok((nets, addresses))
}

fn open_kernel(proxy: &ProxyPlan, listeners: Listeners) -> Result<Opened, ServiceError> {
    let failed = |e| ServiceError::Failed { service: proxy.name.clone(), cause: format!("epoll: {e}") };
    Opened::new(listeners).map_err(failed)
}

/// TCP in user space for clients, over queues of a port; the kernel's for servers.
fn user(parts: &Parts<'_>, wire: WireParts) -> Result<Vec<NetMade>, ServiceError> {
    let proxy = parts.proxy;
    let Some(plan) = &proxy.user else { return Ok(Vec::new()) };
    let WireParts { info, pool, queues } = wire;
    // The other end of a tap is the kernel's interface, and has the port's address.
    let of_port = info.mac.filter(|_| info.driver != "tap");
    let config = Arc::new(UserConfig {
        mac: plan.mac.or(of_port).unwrap_or(LOCAL_MAC).0,
        addresses: plan.addresses.clone(),
        gateways: plan.gateways.clone(),
        listen: proxy.addresses.clone(),
        mtu: info.mtu,
        connections: proxy.limits.connections,
        half_open: proxy.limits.half_open,
    });
    let mut nets: Vec<NetMade> = Vec::new();
    for (rx, tx) in queues {
        let opened = open_kernel(proxy, Listeners::default())?;
        let (pool, config) = (pool.clone(), Arc::clone(&config));
        nets.push(Box::new(move || {
            Box::new(Both::new(UserNet::new(&config, rx, tx, pool), KernelNet::new(opened)))
        }));
    }
    Ok(nets)
}

fn access_log(plan: &Plan, at: &Placed) -> Result<AccessLog, Box<ConfigError>> {
    AccessLog::open(&at.name).map_err(|e| {
        let message = format!("the access log {:?} cannot be opened: {e}", at.name);
        let help = "a file that can be written to, or \"-\" for standard output";
        Box::new(plan.error(Diagnostic::new(at.span.clone(), message).help(help)))
    })
}

fn zip(parts: &Parts<'_>, session: Option<SessionId>) -> Result<Option<Zip>, String> {
    let (Some(device), Some(session)) = (parts.zip, session) else { return Ok(None) };
    // What handshakes need is left to them.
    let own = parts.pool.buffers() / parts.proxy.lcores.len();
    let pairs = own.saturating_sub(parts.proxy.tls.parked) / 2;
    Zip::new(device, session, parts.pool.clone(), ZIP_DEPTH, pairs).map(Some).map_err(|e| e.to_string())
}

fn signatures(parts: &Parts<'_>, metrics: &Arc<Metrics>) -> Result<Option<SignaturesMade>, String> {
    let Some(device) = parts.rsa else { return Ok(None) };
    let (places, deadline) = (parts.proxy.tls.parked, parts.proxy.tls.sign);
    let queue = device.request_queue(places).map_err(|e| e.to_string())?;
    let (pool, metrics) = (parts.pool.clone(), Arc::clone(metrics));
    Ok(Some(Box::new(move || Signatures::new(queue, pool, places, deadline, metrics))))
}
