//! From a plan to services: what the plan names is opened here.

use std::sync::Arc;
use std::time::Duration;

use warpdrive_pipeline::diag::{ConfigError, Diagnostic};
use warpdrive_pipeline::plan::{Plan, ProxyPlan, ServerPlan, UpstreamPlan, ZIP_DEPTH};
use warpdrive_pipeline::service::{Maker, Parts, Seed, ServiceError};

use crate::core::{Route, Shared};
use crate::http::Limits;
use crate::http::negotiate::{Compression, Types};
use crate::net::{KernelNet, Listeners, Net, Opened};
use crate::service::{Made, Proxy, SignaturesMade};
use crate::tls::{self, Certificates, Lasting, Signatures};
use crate::upstream::UpstreamConfig;
use crate::zip::Zip;

/// Makes proxies.
#[derive(Default)]
pub struct Proxies {}

impl Maker for Proxies {
    fn proxy(&mut self, parts: &Parts<'_>, got: &mut Vec<String>) -> Result<Vec<Seed>, ServiceError> {
        let proxy = parts.proxy;
        let failed = |cause: String| ServiceError::Failed { service: proxy.name.clone(), cause };
        let pairs = tls::pairs(parts.plan, &proxy.tls)?;
        let lasting = Lasting::new(&proxy.tls).map_err(failed)?;
        let certificates = Certificates::new(&pairs, proxy.tls.unknown_name, parts.rsa).map_err(failed)?;
        let config = tls::config(parts.plan, &proxy.tls, &lasting, certificates)?;
        let zip = parts.zip.map(|device| Ok((device, Zip::session(device, *proxy.compress.level.get_ref())?)));
        let zip = zip.transpose().map_err(failed)?;
        let mut addresses = proxy.addresses.clone();
        let mut seeds: Vec<Seed> = Vec::new();
        let mut shared: Option<Arc<Shared>> = None;
        for _ in &proxy.lcores {
            let listeners = Listeners::open(&addresses).map_err(|(place, e)| {
                let at = &proxy.listen[place];
                let message = format!("proxy {:?} cannot listen at {}: {e}", proxy.name, at.name);
                let help = "an address of this machine and a port that nobody else has; ports below 1024 are for root";
                Box::new(parts.plan.error(Diagnostic::new(at.span.clone(), message).help(help)))
            })?;
            // If the kernel chose ports, the other workers take the same.
            addresses = listeners.addresses();
            let shared = shared.get_or_insert_with(|| {
                let listen: Vec<String> = addresses.iter().map(|a| format!("https://{a}")).collect();
                got.push(format!("proxy {:?}: {}", proxy.name, listen.join(", ")));
                Arc::new(self::shared(proxy, &addresses, &config))
            });
            let signatures = parts.rsa.map(|device| signatures(device, parts)).transpose()?;
            let zip = zip.as_ref().map(|(device, session)| {
                let pairs = (parts.pool.buffers() / proxy.lcores.len()).saturating_sub(proxy.tls.parked) / 2;
                Zip::new(device, *session, parts.pool.clone(), ZIP_DEPTH, pairs)
            });
            let zip = zip.transpose().map_err(|e| failed(e.to_string()))?;
            let opened = Opened::new(listeners).map_err(|e| failed(format!("epoll: {e}")))?;
            let net = Box::new(move || Box::new(KernelNet::new(opened)) as Box<dyn Net>);
            let made = Made { net, shared: Arc::clone(shared), signatures, zip };
            seeds.push(Box::new(move || Box::new(Proxy::new(made))));
        }
        Ok(seeds)
    }
}

fn signatures(
    device: &Arc<dyn warpdrive_pmd::device::Device>,
    parts: &Parts<'_>,
) -> Result<SignaturesMade, ServiceError> {
    let (places, deadline) = (parts.proxy.tls.parked, parts.proxy.tls.sign);
    let queue = device.request_queue(places).map_err(|e| ServiceError::Failed {
        service: parts.proxy.name.clone(),
        cause: e.to_string(),
    })?;
    let pool = parts.pool.clone();
    Ok(Box::new(move || Signatures::new(queue, pool, places, deadline)))
}

fn shared(proxy: &ProxyPlan, addresses: &[std::net::SocketAddr], tls: &Arc<rustls::ServerConfig>) -> Shared {
    let route = |route: &warpdrive_pipeline::plan::RoutePlan| Route {
        host: route.host.clone(),
        path: route.path.clone(),
        upstream: route.upstream,
        compress: route.compress,
    };
    Shared {
        name: proxy.name.clone(),
        tls: Arc::clone(tls),
        routes: proxy.routes.iter().map(route).collect(),
        upstreams: proxy.upstreams.iter().map(upstream).collect(),
        heads: Limits {
            head_bytes: proxy.limits.head_bytes,
            target_bytes: proxy.limits.target_bytes,
            fields: proxy.limits.fields,
        },
        limits: proxy.limits.clone(),
        timeouts: proxy.timeouts.clone(),
        compression: Compression {
            types: Types::parse(&proxy.compress.types).unwrap_or_default(),
            min_bytes: proxy.compress.min_bytes,
        },
        listen: addresses.to_vec(),
    }
}

fn upstream(plan: &UpstreamPlan) -> UpstreamConfig {
    let address = |server: &ServerPlan| match server {
        ServerPlan::Address(address) => Some(*address),
        ServerPlan::Demo => None,
    };
    UpstreamConfig {
        name: plan.name.clone(),
        servers: plan.servers.iter().filter_map(address).collect(),
        balance: plan.balance,
        keepalive: plan.keepalive,
        max_fails: plan.max_fails,
        fail: Duration::from_millis(plan.fail.as_millis() as u64),
    }
}

/// Looks at what the proxies of a plan name besides addresses: certificates, keys, suites.
///
/// # Errors
/// [`ConfigError`] at the place of what is wrong.
pub fn check(plan: &Plan) -> Result<(), Box<ConfigError>> {
    for proxy in &plan.proxies {
        let pairs = tls::pairs(plan, &proxy.tls)?;
        let certificates = Certificates::new(&pairs, proxy.tls.unknown_name, None);
        let certificates = certificates.map_err(|e| Box::new(plan.error(Diagnostic::new(0..0, e))))?;
        tls::config(plan, &proxy.tls, &Lasting::none(), certificates)?;
    }
    Ok(())
}
