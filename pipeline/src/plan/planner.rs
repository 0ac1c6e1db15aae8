//! Walks the configuration once and collects everything that is wrong; names become indices and queues get owners here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use warpdrive_mempool::{MemError, PoolConfig};
use warpdrive_pmd::engine::rsa::RsaOptions;

use super::uacce::UacceDoes;
use super::{PipelinePlan, Plan, PoolPlan, PortPlan, StagePlan};
use crate::config::{Config, DeviceDriver, MempoolTable, Name, Named};
use crate::cores::LcoreMap;
use crate::diag::{Diagnostic, known_names};

/// Whether this machine can do what the options ask for, or why not and the remedy.
pub(super) type Supports = fn(&RsaOptions) -> Result<(), String>;

pub(super) struct Planner<'a> {
    pub(super) config: &'a Config,
    pub(super) lcores: &'a LcoreMap,
    pub(super) supports: Supports,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) notes: Vec<String>,
    /// Which pipeline owns a port's queue.
    pub(super) rx_owner: BTreeMap<(usize, u16), String>,
    pub(super) tx_owner: BTreeMap<(usize, u16), String>,
    /// Names of `count` stages.
    pub(super) counters: BTreeSet<String>,
    /// What each device that is uacce was named for.
    pub(super) uacce_does: BTreeMap<usize, UacceDoes>,
}

impl Planner<'_> {
    pub(super) fn plan(&mut self) -> Plan {
        let pools = self.pools();
        let ports = self.ports(&pools);
        let mut pipelines = self.pipelines(&ports);
        self.links(&pipelines);
        self.cables();
        self.sinks(&mut pipelines);
        let mut proxies = self.proxies(&pools);
        let devices = self.place(&mut pipelines, &mut proxies);
        self.own_queues(&proxies);
        let on_cores: Vec<(usize, &str)> = pipelines.iter().map(|p| (p.lcore, &*p.name)).collect();
        self.shared_cores(&proxies, &on_cores);
        let workers = self.workers(&pipelines, &proxies);
        let strict = self.strict(&devices);
        let mut plan = Plan {
            dma: (*self.config.eal.dma.get_ref()).into(),
            require: self.config.eal.require.iter().map(|r| *r.get_ref()).collect(),
            latency: self.config.eal.latency,
            drain: Duration::from_millis(self.config.eal.drain_ms),
            idle: self.config.eal.idle,
            strict,
            pools,
            ports,
            devices,
            pipelines,
            proxies,
            workers,
            notes: Vec::new(),
            source: (self.config.file.clone(), self.config.text.clone()),
        };
        self.unused(&plan);
        if self.errors.is_empty() {
            self.arithmetic(&mut plan);
        }
        plan.notes = std::mem::take(&mut self.notes);
        plan
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(Diagnostic::new(span, message).help(help));
    }

    pub(super) fn diagnose(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }

    fn pools(&mut self) -> Vec<PoolPlan> {
        let pages = self.config.eal.pages;
        if self.config.mempools.is_empty() {
            let config = PoolConfig { pages: pages.into(), ..PoolConfig::default() };
            return vec![PoolPlan { config, needs: Vec::new() }];
        }
        let pools = self.config.mempools.iter().map(|m| PoolPlan {
            config: PoolConfig {
                name: m.name.get_ref().clone(),
                buffers: *m.value.buffers.get_ref(),
                size: *m.value.size.get_ref(),
                headroom: *m.value.headroom.get_ref(),
                pages: m.value.pages.unwrap_or(pages).into(),
                numa_node: m.value.numa_node,
            },
            needs: Vec::new(),
        });
        let pools: Vec<PoolPlan> = pools.collect();
        for (pool, m) in pools.iter().zip(&self.config.mempools) {
            if let Err(e) = pool.config.check() {
                self.geometry(m, &e);
            }
        }
        pools
    }

    /// Impossible numbers of a pool, at the number that the message names.
    fn geometry(&mut self, table: &Named<MempoolTable>, e: &MemError) {
        let (message, what) =
            (e.to_string(), if let MemError::BadGeometry { what, .. } = e { what } else { "" });
        let m = &table.value;
        let spans = [("buffers", m.buffers.span()), ("size", m.size.span()), ("headroom", m.headroom.span())];
        let named = spans.into_iter().find(|(key, span)| what.starts_with(key) && !span.is_empty());
        let span = named.map_or(table.name.span(), |(_, span)| span);
        let help = match what.rsplit_once(" must be ") {
            Some((_, range)) => range.to_owned(),
            None => "at least 64 bytes more than the headroom in size".to_owned(),
        };
        self.error(span, message, help);
    }

    fn ports(&mut self, pools: &[PoolPlan]) -> Vec<PortPlan> {
        let config = self.config;
        let names: Vec<&str> = pools.iter().map(|p| p.config.name.as_str()).collect();
        config
            .ports
            .iter()
            .map(|port| {
                let pool = port
                    .value
                    .mempool
                    .as_ref()
                    .map_or(0, |name| self.resolve(name, "mempool", names.iter().copied()).unwrap_or(0));
                PortPlan { name: port.name.get_ref().clone(), config: port.value.driver.clone(), pool }
            })
            .collect()
    }

    /// The index of a name among `names`.
    pub(super) fn resolve<'n>(
        &mut self,
        name: &Name,
        what: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<usize> {
        let found = names.clone().position(|n| n == name.get_ref());
        if found.is_none() {
            let written = name.get_ref();
            let help = known_names(written, &format!("{what}s"), names);
            self.error(name.span(), format!("there is no {what} {written:?}"), help);
        }
        found
    }

    pub(super) fn port(&mut self, name: &Name) -> Option<usize> {
        let config = self.config;
        self.resolve(name, "port", config.ports.iter().map(|p| p.name.get_ref().as_str()))
    }

    pub(super) fn pipeline_named(&mut self, name: &Name) -> Option<usize> {
        let config = self.config;
        self.resolve(name, "pipeline", config.pipelines.iter().map(|p| p.name.get_ref().as_str()))
    }

    pub(super) fn device(&mut self, name: &Name, wanted: DeviceDriver) -> Option<usize> {
        let config = self.config;
        let index = self.resolve(name, "device", config.devices.iter().map(|d| d.name.get_ref().as_str()))?;
        let got = *config.devices[index].value.driver.get_ref();
        if got == DeviceDriver::Uacce {
            return self.uacce_for(index, name, wanted).then_some(index);
        }
        if got != wanted {
            let (does, needs) = (kind_of(got), kind_of(wanted));
            self.error(
                name.span(),
                format!("device {:?} does {does}, and {needs} is needed here", name.get_ref()),
                format!("name a device with driver = {:?}", driver_name(wanted)),
            );
            return None;
        }
        Some(index)
    }

    /// Notes that `pipeline` owns a queue; an error if another does.
    pub(super) fn own(&mut self, rx: bool, port: usize, queue: u16, pipeline: &str, span: Range<usize>) {
        let owners = if rx { &mut self.rx_owner } else { &mut self.tx_owner };
        let Some(other) = owners.insert((port, queue), pipeline.to_owned()) else {
            return;
        };
        let (direction, name) = (if rx { "rx" } else { "tx" }, &self.config.ports[port].name);
        let message = format!(
            "{direction} queue {queue} of port {:?} belongs to pipeline {other:?} already",
            name.get_ref()
        );
        self.error(
            span,
            message,
            "a queue has one owner: take another queue, or join pipelines with handoff and merge",
        );
    }

    fn pipelines(&mut self, ports: &[PortPlan]) -> Vec<PipelinePlan> {
        let config = self.config;
        if config.pipelines.is_empty() && config.proxies.is_empty() {
            self.error(
                0..0,
                "there is no pipeline and no proxy",
                "[[pipeline]] name = \"…\" stages = [ { rx = \"PORT\" }, { tx = \"PORT\" } ]",
            );
        }
        let mut plans: Vec<PipelinePlan> = Vec::new();
        for table in &config.pipelines {
            let name = table.name.get_ref();
            if plans.iter().any(|p| p.name == *name) {
                self.error(
                    table.name.span(),
                    format!("there are two pipelines {name:?}"),
                    "give each a name of its own",
                );
            }
            let stages: Vec<StagePlan> =
                table.stages.iter().filter_map(|stage| self.stage(name, stage.get_ref())).collect();
            if stages.len() == table.stages.len() {
                self.order(table, &stages);
            }
            let pool = stages.iter().find_map(|s| match s {
                StagePlan::Rx { port, .. } => ports.get(*port).map(|p| p.pool),
                _ => None,
            });
            plans.push(PipelinePlan {
                name: name.clone(),
                lcore: usize::MAX, // set by `place`
                pool: pool.unwrap_or(0),
                stages,
                sinks: Vec::new(),
            });
        }
        plans
    }
}

fn driver_name(driver: DeviceDriver) -> &'static str {
    match driver {
        DeviceDriver::SoftRsa => "soft-rsa",
        DeviceDriver::SoftZip => "soft-zip",
        DeviceDriver::Uacce => "uacce",
    }
}

fn kind_of(driver: DeviceDriver) -> &'static str {
    match driver {
        DeviceDriver::SoftRsa => "RSA",
        DeviceDriver::SoftZip => "ZIP",
        DeviceDriver::Uacce => "what a queue file offers",
    }
}
