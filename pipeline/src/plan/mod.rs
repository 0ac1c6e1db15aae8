//! A validated plan: every name resolved, every queue with one owner, every pool large enough. A [`Plan`] cannot be made
//! from a configuration that is wrong.

mod arithmetic;
mod devices;
mod place;
mod planner;
mod proxy;
mod serve;
mod stages;
mod strict;
mod topology;
mod uacce;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use warpdrive_mempool::{DmaMode, PoolConfig};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaOp, RsaScheme};
use warpdrive_pmd::engine::zip::{BackEnd, Checksum, ZipConfig, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Engine, Placement};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::port::{MacAddr, PortConfig};

use crate::config::{Config, Full, Name, Otherwise, Require};
use crate::cores::{CpuSet, LcoreMap};
use crate::diag::{ConfigError, Diagnostic};
use crate::stage::classify::Rules;
use crate::stage::stall::Stalls;
use crate::strict::StrictPlan;

use planner::{Planner, Supports};

pub use devices::EnginePlan;
pub use proxy::{
    CheckPlan, CompressPlan, LimitsPlan, MOST_FIELDS, ProxyPlan, RoutePlan, ServerPlan, TimeoutsPlan,
    TlsPlan, UpstreamPlan, UserPlan, ZIP_DEPTH,
};
pub use serve::{Accounts, ServePlan};
pub use uacce::{UacceDoes, UaccePlan};

/// Requests in flight of a stage that does not say.
pub const DEFAULT_DEPTH: usize = 64;
/// Buffers that the cache of a worker may keep from others.
pub const CACHED_PER_WORKER: usize = 512;
/// Slots of the ring from a `match` to the pipeline named by its `else`.
pub const ELSEWHERE_SLOTS: usize = 512;

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
    /// Whether they are held to making no system calls.
    pub strict: StrictPlan,
    /// The pools.
    pub pools: Vec<PoolPlan>,
    /// The ports.
    pub ports: Vec<PortPlan>,
    /// The accelerators.
    pub devices: Vec<DevicePlan>,
    /// The pipelines.
    pub pipelines: Vec<PipelinePlan>,
    /// The proxies.
    pub proxies: Vec<ProxyPlan>,
    /// The workers: one for each lcore that has pipelines or proxies.
    pub workers: Vec<WorkerPlan>,
    /// What the user should know although it is not wrong.
    pub notes: Vec<String>,
    /// The configuration's file name and text, to show places in it.
    source: (String, String),
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
    /// What computes behind it, and how.
    pub engine: EnginePlan,
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

impl PipelinePlan {
    /// Indices of the ports that its stages drive, each once.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<usize> {
        let driven = self.stages.iter().filter_map(|stage| match stage {
            StagePlan::Rx { port, .. } | StagePlan::Tx { port, .. } | StagePlan::Tee { port, .. } => {
                Some(*port)
            }
            _ => None,
        });
        driven.collect()
    }
}

/// What is looked at only at start, with its place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What is written there.
    pub name: String,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
}

impl From<&Name> for Placed {
    fn from(name: &Name) -> Self {
        Self { name: name.get_ref().clone(), span: name.span() }
    }
}

/// A `zip` stage.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/stages.rs")]
pub struct ZipPlan {
    pub device: usize,
    pub op: ZipOp,
    pub format: ZipFormat,
    pub level: u8,
    pub window_bits: u8,
    pub back_end: BackEnd,
    pub dictionary: Option<Placed>,
    pub streams: usize,
    pub refresh: u32,
    pub depth: usize,
    pub full: Full,
    pub oversize: Otherwise,
    pub plain: Otherwise,
}

impl ZipPlan {
    /// Who computes in the end.
    #[must_use]
    pub fn by(&self) -> BackEnd {
        let stand_in = if self.dictionary.is_some() { vec![0] } else { Vec::new() };
        let session = ZipSession::with(self.session(stand_in));
        session.map_or(self.back_end, |session| {
            let whole = session.back_end();
            if self.streams > 0 { session.stream_back_end().unwrap_or(whole) } else { whole }
        })
    }

    /// What its session is to do, with the dictionary that was read.
    #[must_use]
    pub fn session(&self, dictionary: Vec<u8>) -> ZipConfig {
        ZipConfig {
            window_bits: self.window_bits,
            dictionary,
            back_end: self.back_end,
            // Packets of a stream carry it.
            checksum: if self.streams > 0 { Checksum::Crc32 } else { Checksum::None },
            ..ZipConfig::new(self.op, self.format, self.level)
        }
    }
}

/// A stage with its names resolved to indices.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the tables in config/stages.rs")]
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
        key: Placed,
        certificate: Option<Placed>,
        allow_1024: bool,
        depth: usize,
        full: Full,
        oversize: Otherwise,
        plain: Otherwise,
    },
    Zip(Box<ZipPlan>),
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
    Stall(Stalls),
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
            Self::Zip(_) => "zip",
            Self::Match { .. } => "match",
            Self::MacSwap => "mac-swap",
            Self::Echo { .. } => "echo",
            Self::Count { .. } => "count",
            Self::Drop => "drop",
            Self::Stall(_) => "stall",
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
    /// An error about the configuration that turned out at start.
    #[must_use]
    pub fn error(&self, diagnostic: Diagnostic) -> ConfigError {
        let (file, text) = self.source.clone();
        ConfigError { file, text, diagnostics: vec![diagnostic] }
    }

    /// Checks a configuration against the lcores it may use, and against what this machine's cpus can do.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn new(config: &Config, lcores: &LcoreMap) -> Result<Self, ConfigError> {
        Self::supported(config, lcores, RsaEngine::supports)
    }

    /// As [`new`](Self::new), on a machine that can do what `supports` says.
    fn supported(config: &Config, lcores: &LcoreMap, supports: Supports) -> Result<Self, ConfigError> {
        let mut planner = Planner {
            config,
            lcores,
            supports,
            errors: Vec::new(),
            notes: Vec::new(),
            rx_owner: BTreeMap::new(),
            tx_owner: BTreeMap::new(),
            counters: BTreeSet::new(),
            uacce_does: BTreeMap::new(),
        };
        let plan = planner.plan();
        if planner.errors.is_empty() { Ok(plan) } else { Err(config.error(planner.errors)) }
    }
}
