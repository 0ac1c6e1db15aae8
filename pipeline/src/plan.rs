//! A validated plan: every name resolved, every queue with one owner, every pool large enough. A [`Plan`] cannot be made
//! from a configuration that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use warpdrive_mempool::{BURST, DmaMode, MemError, PoolConfig};
use warpdrive_pmd::engine::MAX_DEPTH;
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::{RsaOp, RsaScheme};
use warpdrive_pmd::engine::zip::{MAX_LEVEL, ZipFormat, ZipOp};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::port::{MacAddr, PortConfig};

use crate::config::*;
use crate::cores::{CpuSet, LcoreMap};
use crate::demo;
use crate::diag::{ConfigError, Diagnostic, known_names};
use crate::stage::classify::Rules;

/// Requests in flight of a stage that does not say.
pub const DEFAULT_DEPTH: usize = 64;
/// Buffers that the cache of a worker may keep from others.
pub const CACHED_PER_WORKER: usize = 512;

/// What will run where.
#[derive(Debug)]
pub struct Plan {
    /// How devices address memory.
    pub dma: DmaMode,
    /// What must be got.
    pub require: Vec<Require>,
    /// Whether latency is recorded.
    pub latency: bool,
    /// How long draining may take.
    pub drain: Duration,
    /// What workers do without work.
    pub idle: IdlePolicy,
    /// The pools.
    pub pools: Vec<PoolPlan>,
    /// The ports.
    pub ports: Vec<PortPlan>,
    /// The accelerators.
    pub devices: Vec<DevicePlan>,
    /// The pipelines.
    pub pipelines: Vec<PipelinePlan>,
    /// The workers: one for each lcore that has pipelines.
    pub workers: Vec<WorkerPlan>,
    /// What the user should know although it is not wrong.
    pub notes: Vec<String>,
}

/// A pool and who may hold its buffers at most.
#[derive(Debug)]
pub struct PoolPlan {
    /// What it is made from.
    pub config: PoolConfig,
    /// Holders and how many buffers each may hold.
    pub needs: Vec<(String, usize)>,
}

/// A port to be opened.
#[derive(Debug)]
pub struct PortPlan {
    /// Its name.
    pub name: String,
    /// The driver's configuration.
    pub config: PortConfig,
    /// Index of its pool.
    pub pool: usize,
}

/// An accelerator to be opened.
#[derive(Debug)]
pub struct DevicePlan {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: DeviceDriver,
    /// Where it runs.
    pub placement: Placement,
    /// Whether a core of its own was wished for with `"auto"` and none was left.
    pub core_wished: bool,
}

/// One core's work.
#[derive(Debug)]
pub struct WorkerPlan {
    /// The lcore.
    pub lcore: usize,
    /// The cpus it may run on.
    pub cpus: CpuSet,
    /// Indices of its pipelines.
    pub pipelines: Vec<usize>,
}

/// A pipeline.
#[derive(Debug)]
pub struct PipelinePlan {
    /// Its name.
    pub name: String,
    /// Its lcore.
    pub lcore: usize,
    /// Index of the pool that its accelerators' results come from.
    pub pool: usize,
    /// Its stages.
    pub stages: Vec<StagePlan>,
    /// Indices of the ports its packets may end at: the smallest MTU limits results.
    pub sinks: Vec<usize>,
}

/// A stage with its names resolved to indices.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the tables in config.rs")]
pub enum StagePlan {
    Rx {
        port: usize,
        queue: u16,
        burst: usize,
    },
    Tx {
        port: usize,
        queue: u16,
        full: Full,
    },
    Rsa {
        device: usize,
        op: RsaOp,
        scheme: RsaScheme,
        key: String,
        depth: usize,
        full: Full,
        oversize: Otherwise,
        plain: Otherwise,
    },
    Zip {
        device: usize,
        op: ZipOp,
        format: ZipFormat,
        level: u8,
        depth: usize,
        full: Full,
        oversize: Otherwise,
        plain: Otherwise,
    },
    Match {
        rules: Rules,
        elsewhere: Option<usize>,
    },
    MacSwap,
    Echo {
        address: Ipv4Addr,
        mac: Option<MacAddr>,
        others: Otherwise,
    },
    Count {
        name: String,
    },
    Drop,
    Tee {
        port: usize,
        queue: u16,
    },
    Handoff {
        to: Vec<usize>,
        slots: usize,
        full: Full,
    },
    Merge {
        burst: usize,
    },
}

impl StagePlan {
    /// The name used in configurations.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rx { .. } => "rx",
            Self::Tx { .. } => "tx",
            Self::Rsa { .. } => "rsa",
            Self::Zip { .. } => "zip",
            Self::Match { .. } => "match",
            Self::MacSwap => "mac-swap",
            Self::Echo { .. } => "echo",
            Self::Count { .. } => "count",
            Self::Drop => "drop",
            Self::Tee { .. } => "tee",
            Self::Handoff { to, .. } if to.len() == 1 => "handoff",
            Self::Handoff { .. } => "fanout",
            Self::Merge { .. } => "merge",
        }
    }

    fn is_source(&self) -> bool {
        matches!(self, Self::Rx { .. } | Self::Merge { .. })
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::Tx { .. } | Self::Drop | Self::Handoff { .. })
    }
}

impl Plan {
    /// Checks a configuration against the lcores it may use.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn new(config: &Config, lcores: &LcoreMap) -> Result<Self, ConfigError> {
        let mut planner = Planner {
            config,
            lcores,
            errors: Vec::new(),
            notes: Vec::new(),
            rx_owner: BTreeMap::new(),
            tx_owner: BTreeMap::new(),
            counters: BTreeSet::new(),
        };
        let plan = planner.plan();
        if planner.errors.is_empty() { Ok(plan) } else { Err(config.error(planner.errors)) }
    }
}

struct Planner<'a> {
    config: &'a Config,
    lcores: &'a LcoreMap,
    errors: Vec<Diagnostic>,
    notes: Vec<String>,
    /// Which pipeline owns a port's queue.
    rx_owner: BTreeMap<(usize, u16), String>,
    tx_owner: BTreeMap<(usize, u16), String>,
    /// Names of `count` stages.
    counters: BTreeSet<String>,
}

impl Planner<'_> {
    fn plan(&mut self) -> Plan {
        let pools = self.pools();
        let ports = self.ports(&pools);
        let mut pipelines = self.pipelines(&ports);
        self.links(&pipelines);
        self.cables();
        self.sinks(&mut pipelines);
        let devices = self.place(&mut pipelines);
        let workers = self.workers(&pipelines);
        let mut plan = Plan {
            dma: self.config.eal.dma.into(),
            require: self.config.eal.require.iter().map(|r| *r.get_ref()).collect(),
            latency: self.config.eal.latency,
            drain: Duration::from_millis(self.config.eal.drain_ms),
            idle: self.config.eal.idle,
            pools,
            ports,
            devices,
            pipelines,
            workers,
            notes: Vec::new(),
        };
        self.unused(&plan);
        if self.errors.is_empty() {
            self.arithmetic(&mut plan);
        }
        plan.notes = std::mem::take(&mut self.notes);
        plan
    }

    fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(Diagnostic::new(span, message).help(help));
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
    fn resolve<'n>(
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

    fn port(&mut self, name: &Name) -> Option<usize> {
        let config = self.config;
        self.resolve(name, "port", config.ports.iter().map(|p| p.name.get_ref().as_str()))
    }

    fn pipeline_named(&mut self, name: &Name) -> Option<usize> {
        let config = self.config;
        self.resolve(name, "pipeline", config.pipelines.iter().map(|p| p.name.get_ref().as_str()))
    }

    fn device(&mut self, name: &Name, wanted: DeviceDriver) -> Option<usize> {
        let config = self.config;
        let index = self.resolve(name, "device", config.devices.iter().map(|d| d.name.get_ref().as_str()))?;
        let got = *config.devices[index].value.driver.get_ref();
        if got != wanted {
            let (does, needs) = (kind_of(got), kind_of(wanted));
            self.error(
                name.span(),
                format!("device {:?} does {does}, and this stage needs {needs}", name.get_ref()),
                format!("name a device with driver = {:?}", driver_name(wanted)),
            );
            return None;
        }
        Some(index)
    }

    /// Notes that `pipeline` owns a queue; an error if another does.
    fn own(&mut self, rx: bool, port: usize, queue: u16, pipeline: &str, span: Range<usize>) {
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
        if config.pipelines.is_empty() {
            self.error(
                0..0,
                "there is no pipeline",
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

    fn stage(&mut self, pipeline: &str, table: &StageTable) -> Option<StagePlan> {
        Some(match table {
            StageTable::Rx(t) => {
                let burst = self.burst(&t.burst);
                let port = self.port(&t.rx)?;
                self.own(true, port, t.queue, pipeline, t.rx.span());
                StagePlan::Rx { port, queue: t.queue, burst }
            }
            StageTable::Tx(t) => {
                let port = self.port(&t.tx)?;
                self.own(false, port, t.queue, pipeline, t.tx.span());
                StagePlan::Tx { port, queue: t.queue, full: t.full }
            }
            StageTable::Rsa(t) => self.rsa(t)?,
            StageTable::Zip(t) => self.zip(t)?,
            StageTable::Match(t) => {
                let rules = Rules::read(t.r#match.get_ref()).map_err(|e| self.errors.extend(e)).ok()?;
                if rules == Rules::default() {
                    self.error(
                        t.r#match.span(),
                        "there is no condition here",
                        "match = { protocol = \"udp\" }",
                    );
                }
                let elsewhere = match &t.r#else {
                    Some(name) if name.get_ref() != "drop" => Some(self.elsewhere(name)?),
                    _ => None,
                };
                StagePlan::Match { rules, elsewhere }
            }
            StageTable::MacSwap(t) => {
                self.must_be_true(&t.mac_swap);
                StagePlan::MacSwap
            }
            StageTable::Echo(t) => self.echo(t)?,
            StageTable::Count(t) => {
                let name = t.count.get_ref();
                if name.is_empty() {
                    self.error(t.count.span(), "a name cannot be empty", "count = \"…\"");
                } else if !self.counters.insert(name.clone()) {
                    let message = format!("there are two counters {name:?}");
                    self.error(t.count.span(), message, "give each a name of its own");
                }
                StagePlan::Count { name: name.clone() }
            }
            StageTable::Drop(t) => {
                self.must_be_true(&t.drop);
                StagePlan::Drop
            }
            StageTable::Tee(t) => {
                let port = self.port(&t.tee)?;
                self.own(false, port, t.queue, pipeline, t.tee.span());
                StagePlan::Tee { port, queue: t.queue }
            }
            StageTable::Handoff(t) => {
                let slots = self.slots(&t.slots);
                StagePlan::Handoff { to: vec![self.pipeline_named(&t.handoff)?], slots, full: t.full }
            }
            StageTable::Fanout(t) => {
                let slots = self.slots(&t.slots);
                let to: Vec<usize> =
                    t.fanout.get_ref().iter().filter_map(|n| self.pipeline_named(n)).collect();
                for (i, name) in t.fanout.get_ref().iter().enumerate() {
                    if t.fanout.get_ref()[..i].iter().any(|n| n.get_ref() == name.get_ref()) {
                        let message = format!("this fanout names pipeline {:?} twice", name.get_ref());
                        self.error(name.span(), message, "each pipeline once");
                    }
                }
                if t.fanout.get_ref().is_empty() {
                    self.error(t.fanout.span(), "a fanout to nowhere", "name at least one pipeline");
                }
                StagePlan::Handoff { to, slots, full: t.full }
            }
            StageTable::Merge(t) => {
                self.must_be_true(&t.merge);
                StagePlan::Merge { burst: self.burst(&t.burst) }
            }
        })
    }

    /// The pipeline named by the `else` of a `match`.
    fn elsewhere(&mut self, name: &Name) -> Option<usize> {
        let found = self.pipeline_named(name);
        if found.is_none()
            && let Some(Diagnostic { help: Some(help), .. }) = self.errors.last_mut()
        {
            help.push_str(", or \"drop\"");
        }
        found
    }

    /// A key is loaded at start, but a name that can never be one is known now.
    fn key(&mut self, key: &Name) {
        let name = key.get_ref();
        if name.starts_with(demo::PREFIX) && demo::bits(name).is_none() {
            let help = demo::NAMES.join(", ");
            self.error(key.span(), format!("there is no demo key {name:?}"), format!("demo keys: {help}"));
        } else if name.is_empty() {
            self.error(key.span(), "a key has a file name", "a PEM or DER file, or \"demo:rsa2048\"");
        }
    }

    fn rsa(&mut self, t: &RsaTable) -> Option<StagePlan> {
        self.key(&t.key);
        let depth = self.depth(t.depth.as_ref());
        let (op, scheme) = (*t.op.get_ref(), *t.scheme.get_ref());
        if !matches!(op, RsaOp::Sign | RsaOp::Verify) {
            self.error(
                t.op.span(),
                "a pipeline signs and verifies; it does not encrypt",
                "op = \"sign\" or \"verify\"",
            );
            return None;
        }
        if !scheme.is_for(op) {
            self.error(
                t.scheme.span(),
                format!("{:?} is a scheme for encryption", scheme.name()),
                "for signatures: \"pss-sha256\", \"pkcs1-sha256\", and both with sha384 and sha512",
            );
            return None;
        }
        let device = self.device(&t.rsa, DeviceDriver::SoftRsa)?;
        Some(StagePlan::Rsa {
            device,
            op,
            scheme,
            key: t.key.get_ref().clone(),
            depth,
            full: t.full,
            oversize: t.oversize,
            plain: t.plain,
        })
    }

    fn zip(&mut self, t: &ZipTable) -> Option<StagePlan> {
        let depth = self.depth(t.depth.as_ref());
        let level = *t.level.get_ref();
        if level > MAX_LEVEL {
            self.error(
                t.level.span(),
                format!("level {level} is too high"),
                format!("0 (stored) to {MAX_LEVEL} (smallest)"),
            );
        }
        let device = self.device(&t.zip, DeviceDriver::SoftZip)?;
        Some(StagePlan::Zip {
            device,
            op: *t.op.get_ref(),
            format: t.format,
            level,
            depth,
            full: t.full,
            oversize: t.oversize,
            plain: t.plain,
        })
    }

    fn echo(&mut self, t: &EchoTable) -> Option<StagePlan> {
        let Ok(address) = t.echo.get_ref().parse::<Ipv4Addr>() else {
            self.error(
                t.echo.span(),
                format!("{:?} is not an IPv4 address", t.echo.get_ref()),
                "for example \"192.0.2.1\"",
            );
            return None;
        };
        let mac = match &t.mac {
            None => None,
            Some(text) => match text.get_ref().parse::<MacAddr>() {
                Ok(MacAddr([first, ..])) if first & 1 == 1 => {
                    let message =
                        format!("{:?} is a group address: nobody can answer with it", text.get_ref());
                    self.error(text.span(), message, "for example \"02:00:00:00:00:01\"");
                    return None;
                }
                Ok(mac) => Some(mac),
                Err(e) => {
                    self.error(text.span(), e, "for example \"02:00:00:00:00:01\"");
                    return None;
                }
            },
        };
        Some(StagePlan::Echo { address, mac, others: t.others })
    }

    fn must_be_true(&mut self, value: &Spanned<bool>) {
        if !value.get_ref() {
            self.error(value.span(), "this can only be true", "to have no such stage, leave it out");
        }
    }

    fn number(&mut self, value: &Spanned<usize>, what: &str, max: usize) -> usize {
        let n = *value.get_ref();
        if n == 0 || n > max {
            self.error(value.span(), format!("{what} = {n} is not possible"), format!("1 to {max}"));
        }
        n.clamp(1, max)
    }

    fn burst(&mut self, value: &Spanned<usize>) -> usize {
        self.number(value, "burst", BURST)
    }

    fn depth(&mut self, value: Option<&Spanned<usize>>) -> usize {
        value.map_or(DEFAULT_DEPTH, |v| self.number(v, "depth", MAX_DEPTH))
    }

    fn slots(&mut self, value: &Spanned<usize>) -> usize {
        const MOST: usize = 1 << 16;
        let n = *value.get_ref();
        let range = format!("{BURST} to {MOST}");
        if n < BURST {
            self.error(value.span(), format!("slots = {n} is less than a burst"), range);
        } else if n > MOST {
            self.error(value.span(), format!("slots = {n} is not possible"), range);
        }
        n.clamp(BURST, MOST)
    }

    /// A source at the beginning and nowhere else, an end at the end and nowhere else.
    fn order(&mut self, table: &PipelineTable, stages: &[StagePlan]) {
        let name = table.name.get_ref();
        let last = stages.len().wrapping_sub(1);
        if stages.is_empty() {
            self.error(
                table.name.span(),
                format!("pipeline {name:?} has no stages"),
                "at least a source and an end",
            );
        }
        for (i, (stage, written)) in stages.iter().zip(&table.stages).enumerate() {
            let kind = stage.kind();
            if i == 0 && !stage.is_source() {
                self.error(
                    written.span(),
                    format!("pipeline {name:?} begins with {kind}"),
                    "the first stage is rx or merge",
                );
            } else if i > 0 && stage.is_source() {
                self.error(
                    written.span(),
                    format!("{kind} in the middle of a pipeline"),
                    "a source is the first stage of a pipeline",
                );
            }
            if i < last && stage.is_end() {
                self.error(
                    written.span(),
                    format!("no packet gets past this {kind}, so the stages behind it are unreachable"),
                    "tx, drop, handoff and fanout come last; a copy on the way is a tee",
                );
                break;
            }
            if i == last && i > 0 && !stage.is_end() {
                self.error(
                    written.span(),
                    format!("pipeline {name:?} ends with {kind}"),
                    "the last stage is tx, drop, handoff or fanout",
                );
            }
        }
        if stages.len() == 1 && !stages[0].is_end() {
            self.error(
                table.name.span(),
                format!("pipeline {name:?} has no end"),
                "the last stage is tx, drop, handoff or fanout",
            );
        }
    }

    /// Handoffs lead to pipelines that begin with a merge, and to no circle.
    fn links(&mut self, pipelines: &[PipelinePlan]) {
        let config = self.config;
        let mut targeted = vec![false; pipelines.len()];
        // Pipelines of circles that were told of: once is enough.
        let mut circled = vec![false; pipelines.len()];
        for (from, plan) in pipelines.iter().enumerate() {
            for to in links_of(plan) {
                targeted[to] = true;
                let target = &pipelines[to];
                if !matches!(target.stages.first(), Some(StagePlan::Merge { .. })) {
                    self.error(
                        config.pipelines[to].name.span(),
                        format!(
                            "pipeline {:?} is given packets by {:?} but does not begin with a merge",
                            target.name, plan.name
                        ),
                        "its first stage: { merge = true }",
                    );
                }
                if reaches(pipelines, to, from) && !std::mem::replace(&mut circled[from], true) {
                    for (other, seen) in circled.iter_mut().enumerate() {
                        *seen |= reaches(pipelines, from, other) && reaches(pipelines, other, from);
                    }
                    self.error(
                        config.pipelines[from].name.span(),
                        format!(
                            "packets of pipeline {:?} come back to it by way of {:?}",
                            plan.name, target.name
                        ),
                        "a circle never drains: end one of the pipelines with tx or drop",
                    );
                }
            }
        }
        for (i, plan) in pipelines.iter().enumerate() {
            if matches!(plan.stages.first(), Some(StagePlan::Merge { .. })) && !targeted[i] {
                self.error(
                    config.pipelines[i].name.span(),
                    format!("pipeline {:?} begins with a merge but no pipeline gives it packets", plan.name),
                    "name it in a handoff, fanout or match",
                );
            }
        }
    }

    /// Ring ports that name each other, and somebody who receives what is sent into them.
    fn cables(&mut self) {
        let config = self.config;
        let names = || config.ports.iter().map(|p| p.name.get_ref().as_str());
        let peer_of = |i: usize| match &config.ports[i].value.driver {
            PortConfig::Ring(ring) => Some(ring.peer.as_deref()),
            _ => None,
        };
        for (i, port) in config.ports.iter().enumerate() {
            let (name, span) = (port.name.get_ref(), port.name.span());
            let Some(peer) = peer_of(i) else { continue };
            let receiver = match peer {
                None => i,
                Some(peer) if peer == name => {
                    self.error(
                        span,
                        format!("ring port {name:?} is its own peer"),
                        "without a peer it is a loop",
                    );
                    continue;
                }
                Some(peer) => match names().position(|n| n == peer) {
                    None => {
                        let help = known_names(peer, "ports", names());
                        self.error(
                            span,
                            format!("there is no port {peer:?} to be the peer of {name:?}"),
                            help,
                        );
                        continue;
                    }
                    Some(other) if peer_of(other) != Some(Some(name)) => {
                        let help = format!("[port.{peer}] driver = \"ring\", peer = {name:?}");
                        self.error(
                            span,
                            format!("port {peer:?} does not have port {name:?} as its peer"),
                            help,
                        );
                        continue;
                    }
                    Some(other) => other,
                },
            };
            if self.tx_owner.keys().any(|(p, _)| *p == i)
                && !self.rx_owner.keys().any(|(p, _)| *p == receiver)
            {
                let receiver = config.ports[receiver].name.get_ref();
                let message = format!("nobody receives what is sent to ring port {name:?}");
                self.error(span, message, format!("a pipeline that begins with {{ rx = {receiver:?} }}"));
            }
        }
    }

    /// Which ports the packets of each pipeline may end at.
    fn sinks(&mut self, pipelines: &mut [PipelinePlan]) {
        for i in 0..pipelines.len() {
            let mut todo = vec![i];
            let mut seen = vec![false; pipelines.len()];
            let mut sinks = Vec::new();
            while let Some(at) = todo.pop() {
                if std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                for stage in &pipelines[at].stages {
                    if let StagePlan::Tx { port, .. } = stage {
                        sinks.push(*port);
                    }
                }
                todo.extend(links_of(&pipelines[at]));
            }
            sinks.sort_unstable();
            sinks.dedup();
            pipelines[i].sinks = sinks;
        }
    }

    /// Decides which lcore each pipeline and each engine has.
    fn place(&mut self, pipelines: &mut [PipelinePlan]) -> Vec<DevicePlan> {
        let config = self.config;
        // What the configuration says comes first, then engines' wishes, then what is left.
        let mut engine_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (i, device) in config.devices.iter().enumerate() {
            let Some(choice) = &device.value.core else { continue };
            let EngineCoreChoice::Lcore(lcore) = *choice.get_ref() else { continue };
            self.check_lcore(lcore, choice.span());
            if let Some(other) = engine_of.insert(lcore, i) {
                let other = config.devices[other].name.get_ref();
                self.error(
                    choice.span(),
                    format!("core {lcore} is that of device {other:?} already"),
                    "an engine's core is its own",
                );
            }
        }
        for (table, plan) in config.pipelines.iter().zip(pipelines.iter_mut()) {
            let Some(core) = &table.core else { continue };
            plan.lcore = *core.get_ref();
            self.check_lcore(plan.lcore, core.span());
            if let Some(device) = engine_of.get(&plan.lcore) {
                let device = config.devices[*device].name.get_ref();
                self.error(
                    core.span(),
                    format!("core {} is that of device {device:?}", plan.lcore),
                    "an engine's core is its own",
                );
            }
        }
        let taken: Vec<usize> = pipelines.iter().map(|p| p.lcore).filter(|l| *l != usize::MAX).collect();
        let mut free: Vec<usize> = self
            .lcores
            .iter()
            .map(|(l, _)| l)
            .filter(|l| !taken.contains(l) && !engine_of.contains_key(l))
            .collect();
        // Engines take cores from the end, but leave one for pipelines that have none yet.
        let unplaced = pipelines.iter().any(|p| p.lcore == usize::MAX);
        let mut wished = vec![false; config.devices.len()];
        for (i, device) in config.devices.iter().enumerate() {
            let Some(choice) = &device.value.core else { continue };
            if let EngineCoreChoice::Word(AutoWord::Auto) = choice.get_ref() {
                wished[i] = true;
                if free.len() > usize::from(unplaced)
                    && let Some(lcore) = free.pop()
                {
                    engine_of.insert(lcore, i);
                }
            }
        }
        self.place_pipelines(pipelines, &free, &engine_of);
        config
            .devices
            .iter()
            .enumerate()
            .map(|(i, device)| {
                let lcore = engine_of.iter().find(|(_, d)| **d == i).map(|(l, _)| *l);
                let idle = device.value.idle.unwrap_or(config.eal.idle);
                let cpu = lcore.and_then(|l| self.lcores.get(l)).and_then(|cpus| cpus.iter().next());
                DevicePlan {
                    name: device.name.get_ref().clone(),
                    driver: *device.value.driver.get_ref(),
                    placement: cpu.map_or(Placement::Inline, |cpu| Placement::Core { cpu, idle }),
                    core_wished: wished[i] && lcore.is_none(),
                }
            })
            .collect()
    }

    /// Gives pipelines without a core one: free ones in turn, else those of other pipelines.
    fn place_pipelines(
        &mut self,
        pipelines: &mut [PipelinePlan],
        free: &[usize],
        engine_of: &BTreeMap<usize, usize>,
    ) {
        let fallback: Vec<usize> =
            self.lcores.iter().map(|(l, _)| l).filter(|l| !engine_of.contains_key(l)).collect();
        let choices = if free.is_empty() { &fallback[..] } else { free };
        let mut next = 0;
        for (table, plan) in self.config.pipelines.iter().zip(pipelines) {
            if plan.lcore != usize::MAX {
                continue;
            }
            match choices.get(next % choices.len().max(1)) {
                Some(lcore) => plan.lcore = *lcore,
                // A mistake in the cores of engines is told of already.
                None if !self.errors.is_empty() => {}
                None => self.errors.push(
                    Diagnostic::new(
                        table.name.span(),
                        format!("no core is left for pipeline {:?}", plan.name),
                    )
                    .help("give fewer engines a core of their own, or more cores to the program"),
                ),
            }
            next += 1;
        }
    }

    fn check_lcore(&mut self, lcore: usize, span: Range<usize>) {
        if self.lcores.get(lcore).is_none() {
            let lcores = self.lcores.to_string();
            self.error(
                span,
                format!("core {lcore} is not one of the lcores in use"),
                format!("lcores: {lcores} (choose others with -c, -l, --lcores or eal.cores)"),
            );
        }
    }

    fn workers(&mut self, pipelines: &[PipelinePlan]) -> Vec<WorkerPlan> {
        self.lcores
            .iter()
            .map(|(lcore, cpus)| WorkerPlan {
                lcore,
                cpus: *cpus,
                pipelines: (0..pipelines.len()).filter(|i| pipelines[*i].lcore == lcore).collect(),
            })
            .filter(|w| !w.pipelines.is_empty())
            .collect()
    }

    fn unused(&mut self, plan: &Plan) {
        let config = self.config;
        for (i, port) in config.ports.iter().enumerate() {
            let used = self.rx_owner.keys().chain(self.tx_owner.keys()).any(|(p, _)| *p == i);
            if !used {
                self.notes.push(format!("port {:?} is not used by any pipeline", port.name.get_ref()));
            }
        }
        for (i, device) in config.devices.iter().enumerate() {
            let used = plan.pipelines.iter().flat_map(|p| &p.stages).any(
                |s| matches!(s, StagePlan::Rsa { device, .. } | StagePlan::Zip { device, .. } if *device == i),
            );
            if !used {
                self.notes.push(format!("device {:?} is not used by any pipeline", device.name.get_ref()));
            }
        }
    }

    /// Adds up, for each pool, what may be held at once.
    fn arithmetic(&mut self, plan: &mut Plan) {
        for (index, port) in plan.ports.iter().enumerate() {
            let queues =
                |owners: &BTreeMap<(usize, u16), String>| owners.keys().filter(|(p, _)| *p == index).count();
            let (rx, tx) = (queues(&self.rx_owner), queues(&self.tx_owner));
            let held = rx * port.config.buffers_per_rx() + tx * port.config.buffers_per_tx();
            if held > 0 {
                plan.pools[port.pool].needs.push((format!("port {:?}", port.name), held));
            }
        }
        for worker in &plan.workers {
            for pool in &mut plan.pools {
                let cached = CACHED_PER_WORKER.min(pool.config.buffers / 2);
                pool.needs.push((format!("cache of core {}", worker.lcore), cached));
            }
        }
        for device in &plan.devices {
            if let Placement::Core { cpu, .. } = device.placement {
                for pool in &mut plan.pools {
                    let cached = CACHED_PER_WORKER.min(pool.config.buffers / 2);
                    pool.needs.push((format!("cache of engine core {cpu}"), cached));
                }
            }
        }
        for pipeline in &plan.pipelines {
            let needs = &mut plan.pools[pipeline.pool].needs;
            let mut bursts = BURST;
            for stage in &pipeline.stages {
                let (what, n) = match stage {
                    StagePlan::Rsa { depth, .. } => ("rsa in flight", *depth),
                    // The input and the output.
                    StagePlan::Zip { depth, .. } => ("zip in flight", 2 * depth),
                    StagePlan::Handoff { to, slots, .. } => ("handed off", to.len() * slots),
                    StagePlan::Match { elsewhere: Some(_), .. } => ("sent elsewhere", ELSEWHERE_SLOTS),
                    StagePlan::Tx { .. } | StagePlan::Tee { .. } => {
                        bursts += BURST;
                        continue;
                    }
                    _ => continue,
                };
                needs.push((format!("{what} in pipeline {:?}", pipeline.name), n));
            }
            needs.push((format!("bursts of pipeline {:?}", pipeline.name), bursts));
        }
        for (i, pool) in plan.pools.iter().enumerate() {
            let sum: usize = pool.needs.iter().map(|(_, n)| n).sum();
            if sum > pool.config.buffers {
                let list: Vec<String> = pool.needs.iter().map(|(who, n)| format!("{n} {who}")).collect();
                let span = self.config.mempools.get(i).map_or(0..0, |m| m.name.span());
                let message = format!(
                    "mempool {:?} has {} buffers, but {sum} may be needed at once: {}",
                    pool.config.name,
                    pool.config.buffers,
                    list.join(", ")
                );
                self.errors.push(
                    Diagnostic::new(span, message).help(format!("buffers = {}", sum.next_power_of_two())),
                );
            }
        }
    }
}

/// Slots of the ring from a `match` to the pipeline named by its `else`.
pub const ELSEWHERE_SLOTS: usize = 512;

fn driver_name(driver: DeviceDriver) -> &'static str {
    match driver {
        DeviceDriver::SoftRsa => "soft-rsa",
        DeviceDriver::SoftZip => "soft-zip",
    }
}

fn kind_of(driver: DeviceDriver) -> &'static str {
    match driver {
        DeviceDriver::SoftRsa => "RSA",
        DeviceDriver::SoftZip => "ZIP",
    }
}

/// Pipelines that a pipeline gives packets to.
fn links_of(plan: &PipelinePlan) -> Vec<usize> {
    let mut to = Vec::new();
    for stage in &plan.stages {
        match stage {
            StagePlan::Handoff { to: targets, .. } => to.extend(targets),
            StagePlan::Match { elsewhere: Some(target), .. } => to.push(*target),
            _ => {}
        }
    }
    to
}

/// Whether packets of pipeline `from` can get to pipeline `to`.
fn reaches(pipelines: &[PipelinePlan], from: usize, to: usize) -> bool {
    let mut seen = vec![false; pipelines.len()];
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        if at == to {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            todo.extend(links_of(&pipelines[at]));
        }
    }
    false
}
