//! What a server is to offer: cores that exist, devices that are possible, each with a core, and what it all needs.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use warpdrive_pmd::engine::Engine;
use warpdrive_pmd::engine::rsa::RsaEngine;
use warpdrive_pmd::uacce::EXPOSE;
use warpdrive_pmd::uacce::serve::{CoreConfig, DeviceConfig, ServerConfig};

use super::devices::RsaEnginePlanner;
use super::planner::Supports;
use super::proxy::out_of_range;
use crate::config::{Name, Number, ServeConfig};
use crate::cores::LcoreMap;
use crate::diag::{ConfigError, Diagnostic};

mod device;
mod permissions;
#[cfg(test)]
mod tests;

pub use permissions::Accounts;

/// Requests of one process that each core works on at once, unless it is written.
const IN_FLIGHT: u64 = 128;

/// What will be served, where, and by which cores.
#[derive(Debug)]
pub struct ServePlan {
    /// The folder in which devices appear.
    pub expose: PathBuf,
    /// The lcores, each with the cpu it has.
    pub cores: Vec<(usize, usize)>,
    /// What the server is told.
    pub server: ServerConfig,
    /// What the user should know although it is not wrong.
    pub notes: Vec<String>,
}

impl ServePlan {
    /// Checks a configuration against the lcores it may use, what this machine's cpus can do, and the accounts there are.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn new(config: &ServeConfig, lcores: &LcoreMap, accounts: Accounts) -> Result<Self, ConfigError> {
        Self::supported(config, lcores, accounts, RsaEngine::supports)
    }

    /// As [`new`](Self::new), on a machine that can do what `supports` says.
    fn supported(
        config: &ServeConfig,
        lcores: &LcoreMap,
        accounts: Accounts,
        supports: Supports,
    ) -> Result<Self, ConfigError> {
        let mut planner = ServePlanner {
            config,
            lcores,
            accounts,
            supports,
            cores: Vec::new(),
            errors: Vec::new(),
            notes: Vec::new(),
        };
        let plan = planner.plan();
        if planner.errors.is_empty() { Ok(plan) } else { Err(config.error(planner.errors)) }
    }

    /// Bytes of memory of queues if there are as many as there may be.
    #[must_use]
    pub fn most_queue_bytes(&self) -> usize {
        self.server.devices.iter().map(|device| device.queues as usize * device.queue_bytes()).sum()
    }

    /// The lcore that serves a device.
    #[must_use]
    pub fn lcore_of(&self, device: &DeviceConfig) -> usize {
        self.cores.get(device.core).map_or(0, |(lcore, _)| *lcore)
    }
}

/// Walks the configuration once and collects everything that is wrong.
struct ServePlanner<'a> {
    config: &'a ServeConfig,
    lcores: &'a LcoreMap,
    accounts: Accounts,
    supports: Supports,
    /// As in [`ServePlan`].
    cores: Vec<(usize, usize)>,
    errors: Vec<Diagnostic>,
    notes: Vec<String>,
}

impl ServePlanner<'_> {
    fn plan(&mut self) -> ServePlan {
        let table = &self.config.serve;
        let expose = self.folder(table.expose.as_ref());
        self.cores = self.cores();
        let rsa = RsaEnginePlanner {
            whose: "serve",
            span: 0..0,
            supports: self.supports,
            errors: &mut self.errors,
            notes: &mut self.notes,
        }
        .options(&table.rsa());
        let in_flight = self.number("in_flight", table.in_flight.as_ref(), IN_FLIGHT, 1..=4096) as usize;
        if self.config.devices.is_empty() {
            self.error(
                0..0,
                "there is no device to be served",
                "[serve.device.hisi_zip-0] function = \"zip\"",
            );
        }
        let devices: Vec<DeviceConfig> =
            self.config.devices.iter().map(|device| self.device(device)).collect();
        self.idle_cores(&devices);
        let cores = self.cores.iter().map(|(_, cpu)| CoreConfig { cpu: *cpu, idle: table.idle }).collect();
        ServePlan {
            expose,
            cores: std::mem::take(&mut self.cores),
            server: ServerConfig { cores, devices, in_flight, rsa },
            notes: std::mem::take(&mut self.notes),
        }
    }

    fn error(&mut self, span: std::ops::Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(Diagnostic::new(span, message).help(help));
    }

    /// A number within its range, or what it is if nobody said.
    fn number(&mut self, key: &str, number: Option<&Number>, usual: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(number) = number else { return usual };
        let wrong = out_of_range(key, number, range);
        if wrong.is_none() {
            return *number.get_ref();
        }
        self.errors.extend(wrong);
        usual
    }

    fn folder(&mut self, written: Option<&Name>) -> PathBuf {
        let Some(name) = written else { return PathBuf::from(EXPOSE) };
        if name.get_ref().is_empty() {
            self.error(name.span(), "expose cannot be empty", format!("the path of a folder, as {EXPOSE:?}"));
        }
        PathBuf::from(name.get_ref())
    }

    /// The lcores that were chosen, each with its cpu; the last there is if nobody chose.
    fn cores(&mut self) -> Vec<(usize, usize)> {
        let lcores = self.lcores;
        let cpu_of = |lcore: usize| lcores.get(lcore).and_then(|cpus| cpus.iter().next());
        let Some(list) = &self.config.serve.cores else {
            return lcores
                .iter()
                .last()
                .and_then(|(lcore, _)| Some((lcore, cpu_of(lcore)?)))
                .into_iter()
                .collect();
        };
        if list.get_ref().is_empty() {
            self.error(
                list.span(),
                "no core to serve with",
                "cores = [1], or without this key the last there is",
            );
        }
        let mut cores = Vec::new();
        for (i, core) in list.get_ref().iter().enumerate() {
            let lcore = *core.get_ref();
            if list.get_ref()[..i].iter().any(|other| other.get_ref() == core.get_ref()) {
                self.error(core.span(), format!("core {lcore} twice"), "each core once");
            } else if let Some(cpu) = cpu_of(lcore) {
                cores.push((lcore, cpu));
            } else {
                self.errors.push(not_in_use(core, lcores));
            }
        }
        cores
    }

    /// Notes cores that have nothing to do.
    fn idle_cores(&mut self, devices: &[DeviceConfig]) {
        for (place, (lcore, _)) in self.cores.iter().enumerate() {
            if !devices.iter().any(|device| device.core == place) {
                self.notes
                    .push(format!("core {lcore} serves no device. Remedy: core = {lcore} in one of them"));
            }
        }
    }
}

fn not_in_use(core: &Spanned<usize>, lcores: &LcoreMap) -> Diagnostic {
    Diagnostic::new(core.span(), format!("core {} is not one of the lcores in use", core.get_ref()))
        .help(format!("lcores: {lcores} (choose others with -c, -l or --lcores)"))
}
