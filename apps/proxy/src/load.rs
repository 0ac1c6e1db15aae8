//! What a proxy is to do, as a plan says: when it is made, and again when it is loaded anew.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use warpdrive_pipeline::cores::CpuSet;
use warpdrive_pipeline::demo;
use warpdrive_pipeline::diag::ConfigError;
use warpdrive_pipeline::plan::{Placed, Plan, ProxyPlan, RoutePlan};
use warpdrive_pipeline::service::ServiceError;
use warpdrive_pmd::device::Device;
use warpdrive_pmd::engine::Placement;

use crate::core::{Latest, Route, Shared};
use crate::demo::certificate::{CertificateError, DemoCertificate};
use crate::http::Limits;
use crate::http::negotiate::{Compression, Types};
use crate::tls::{self, Certificates, Lasting, Pair};
use crate::upstream::UpstreamConfig;
use crate::upstream::check::{Checks, Health};

/// What stays while a proxy runs, whatever is loaded.
pub struct Kept {
    /// Keys of tickets.
    pub lasting: Lasting,
    /// The device that signs. The program ends its devices when the workers have ended, whoever could load something else.
    pub rsa: Option<Weak<dyn Device>>,
    /// Set when the program ends.
    pub draining: Arc<AtomicBool>,
}

/// A proxy that runs.
pub struct Running {
    /// Its name.
    pub name: String,
    /// What stays.
    pub kept: Kept,
    /// Where its workers look.
    pub latest: Arc<Latest>,
    /// The checks of its servers, and what they find for who asks for numbers.
    pub checks: Checks,
    pub health: Arc<ArcSwap<Health>>,
}

impl Running {
    /// Does what was loaded from now on.
    pub fn put(&mut self, loaded: Loaded) {
        self.health.store(Arc::clone(&loaded.shared.health));
        self.latest.put(loaded.shared);
        self.checks = loaded.checks;
    }
}

/// What was loaded.
pub struct Loaded {
    /// For workers.
    pub shared: Shared,
    /// The certificate for demonstration, if the plan has no other.
    pub demo: Option<DemoCertificate>,
    /// They have begun.
    pub checks: Checks,
}

impl Kept {
    /// Reads and checks all that a plan names. `before` is what the proxy does now.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing has changed.
    pub fn load(
        &self,
        plan: &Plan,
        proxy: &ProxyPlan,
        upstreams: Vec<UpstreamConfig>,
        before: Option<&Shared>,
    ) -> Result<Loaded, ServiceError> {
        let failed = |cause: String| ServiceError::Failed { service: proxy.name.clone(), cause };
        let (pairs, demo) = pairs(plan, proxy).map_err(Failure::into_error(proxy))?;
        let rsa = self.rsa.as_ref().and_then(Weak::upgrade);
        let certificates = Certificates::new(&pairs, proxy.tls.unknown_name, rsa.as_ref()).map_err(failed)?;
        let config = tls::config(plan, &proxy.tls, &self.lasting, certificates)?;
        let (upstreams, places) = placed(before.map_or(&[], |shared| &shared.upstreams), upstreams);
        let route = |route: &RoutePlan| Route {
            host: route.host.clone(),
            path: route.path.clone(),
            upstream: places[route.upstream],
            compress: route.compress,
        };
        let health = before.map(|shared| &*shared.health);
        let checks = Checks::start(&proxy.name, &upstreams, health, polled(plan))
            .map_err(|e| failed(format!("checks of servers cannot start: {e}")))?;
        let types: Vec<&str> = proxy.compress.types.iter().map(|t| &*t.name).collect();
        let shared = Shared {
            name: proxy.name.clone(),
            tls: config,
            routes: proxy.routes.iter().map(route).collect(),
            upstreams,
            health: Arc::clone(checks.health()),
            heads: Limits {
                head_bytes: proxy.limits.head_bytes,
                target_bytes: proxy.limits.target_bytes,
                fields: proxy.limits.fields,
            },
            limits: proxy.limits.clone(),
            timeouts: proxy.timeouts.clone(),
            compression: Compression {
                // Looked at by `check`.
                types: Types::parse(&types).unwrap_or_default(),
                min_bytes: proxy.compress.min_bytes,
            },
            draining: Arc::clone(&self.draining),
        };
        Ok(Loaded { shared, demo, checks })
    }
}

/// Upstreams with those in their old places that there were before: requests that are under way know them by these. One that
/// is no more has no servers. Also says where each came.
fn placed(before: &[UpstreamConfig], now: Vec<UpstreamConfig>) -> (Vec<UpstreamConfig>, Vec<usize>) {
    let gone = |old: &UpstreamConfig| UpstreamConfig { servers: Vec::new(), ..old.clone() };
    let mut all: Vec<UpstreamConfig> = before.iter().map(gone).collect();
    let place = |new: UpstreamConfig| match all.iter().position(|old| old.name == new.name) {
        Some(place) => {
            all[place] = new;
            place
        }
        None => {
            all.push(new);
            all.len() - 1
        }
    };
    let places = now.into_iter().map(place).collect();
    (all, places)
}

/// Cpus that workers and engines poll on.
fn polled(plan: &Plan) -> CpuSet {
    let engines = plan.devices.iter().filter_map(|device| match device.placement {
        Placement::Core { cpu, .. } => Some(cpu),
        Placement::Inline => None,
    });
    let engines = CpuSet::of(&engines.collect::<Vec<_>>()).unwrap_or_default();
    plan.workers.iter().fold(engines, |all, worker| all.union(&worker.cpus))
}

/// What can go wrong with certificates.
enum Failure {
    Config(Box<ConfigError>),
    Demo(CertificateError),
}

impl Failure {
    fn into_error(proxy: &ProxyPlan) -> impl Fn(Self) -> ServiceError {
        |failure| match failure {
            Self::Config(e) => e.into(),
            Self::Demo(e) => ServiceError::Failed { service: proxy.name.clone(), cause: e.to_string() },
        }
    }
}

/// The certificates of the plan, or the one for demonstration.
fn pairs(plan: &Plan, proxy: &ProxyPlan) -> Result<(Vec<Pair>, Option<DemoCertificate>), Failure> {
    if !proxy.tls.certificates.is_empty() {
        return Ok((tls::pairs(plan, &proxy.tls).map_err(Failure::Config)?, None));
    }
    // Those of this machine's loopback are in it anyway.
    let others =
        proxy.addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let others: Vec<String> = others.map(|ip| ip.to_string()).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let demo = DemoCertificate::in_folder(&demo::folder(), &others).map_err(Failure::Demo)?;
    let placed = |path: &std::path::Path| Placed { name: path.display().to_string(), span: 0..0 };
    let pair = Pair::load(plan, &placed(&demo.certificate), &placed(&demo.key)).map_err(Failure::Config)?;
    Ok((vec![pair], Some(demo)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warpdrive_pipeline::config::Balance;

    use super::*;

    #[test]
    fn upstreams_keep_their_places() {
        let config = |name: &str, servers: usize| UpstreamConfig {
            name: name.to_owned(),
            servers: (0..servers).map(|port| SocketAddr::from(([127, 0, 0, 1], port as u16))).collect(),
            balance: Balance::RoundRobin,
            keepalive: 0,
            max_fails: 0,
            fail: Duration::ZERO,
            check: None,
        };
        let names = |all: &[UpstreamConfig]| -> Vec<(String, usize)> {
            all.iter().map(|u| (u.name.clone(), u.servers.len())).collect()
        };
        let (all, places) = placed(&[], vec![config("a", 1), config("b", 2)]);
        assert_eq!(places, [0, 1]);
        let (all, places) = placed(&all, vec![config("c", 1), config("b", 3)]);
        assert_eq!(places, [2, 1]);
        assert_eq!(names(&all), [("a".to_owned(), 0), ("b".to_owned(), 3), ("c".to_owned(), 1)]);
        let (all, places) = placed(&all, vec![config("a", 4)]);
        assert_eq!(places, [0]);
        assert_eq!(names(&all), [("a".to_owned(), 4), ("b".to_owned(), 0), ("c".to_owned(), 0)]);
    }
}
