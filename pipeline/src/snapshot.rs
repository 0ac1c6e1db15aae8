//! All numbers of a running dataplane at one moment, in a form to print or to send.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use warpdrive_pmd::port::Link;
use warpdrive_pmd::stats::{DeviceStats, QueueStats};

use crate::stats::{Reason, StageCounters};
use crate::strict::ThreadCalls;

/// The numbers. Counters only grow; differences of two snapshots are rates.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Seconds since the workers were started.
    pub uptime_seconds: f64,
    /// The ports.
    pub ports: Vec<PortSnapshot>,
    /// The pipelines.
    pub pipelines: Vec<PipelineSnapshot>,
    /// The pools.
    pub pools: Vec<PoolSnapshot>,
    /// The accelerators.
    pub devices: Vec<DeviceSnapshot>,
    /// Counters of `count` stages: packets and bytes.
    pub counts: BTreeMap<String, (u64, u64)>,
    /// Rounds of all poll loops, and those that moved packets. Known at the end only.
    pub rounds: (u64, u64),
    /// With strict workers: the system calls of each thread in its steady state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<Vec<ThreadCalls>>,
}

/// A port.
#[derive(Clone, Debug, Serialize)]
pub struct PortSnapshot {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: &'static str,
    /// Whether its driver needs system calls to move packets.
    pub needs_syscalls: bool,
    /// Its link.
    pub link: Link,
    /// Its receive queues in use.
    pub rx: Vec<QueueSnapshot>,
    /// Its transmit queues in use.
    pub tx: Vec<QueueSnapshot>,
}

/// A queue of a port.
#[derive(Clone, Debug, Serialize)]
pub struct QueueSnapshot {
    /// Its index.
    pub queue: u16,
    /// What it counted.
    #[serde(flatten)]
    pub stats: QueueStats,
}

/// A pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineSnapshot {
    /// Its name.
    pub name: String,
    /// Its lcore.
    pub core: usize,
    /// Names of the ports that its stages drive.
    pub ports: Vec<String>,
    /// Its stages.
    pub stages: Vec<StageSnapshot>,
    /// From receive to transmit.
    pub latency: Option<LatencySnapshot>,
}

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageSnapshot {
    /// Its kind.
    pub kind: &'static str,
    /// Packets that came in.
    pub packets_in: u64,
    /// Packets that went on to the next stage.
    pub packets_out: u64,
    /// Packets it holds.
    pub held: u64,
    /// Buffers it kept from its pool when a pool was last found exhausted; 0 if none was.
    pub held_at_exhaustion: u64,
    /// Rounds in which it had to wait for room behind it.
    pub stalls: u64,
    /// Packets dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Packets passed on untreated, by reason.
    pub passed: BTreeMap<&'static str, u64>,
    /// Time in the stage.
    pub latency: Option<LatencySnapshot>,
}

/// An accelerator.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceSnapshot {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: &'static str,
    /// The kernel's number of its engine's thread; none if the engine runs inline.
    pub thread: Option<u32>,
    /// Requests computed together, at most: lanes.
    pub batch: usize,
    /// Requests computed together on average.
    pub mean_fill: f64,
    /// What it counted.
    #[serde(flatten)]
    pub stats: DeviceStats,
}

/// A pool.
#[derive(Clone, Debug, Serialize)]
pub struct PoolSnapshot {
    /// Its name.
    pub name: String,
    /// All its buffers.
    pub capacity: usize,
    /// Buffers in use.
    pub in_use: usize,
    /// The most that were.
    pub peak: usize,
    /// How often fewer buffers were given than asked for.
    pub failures: u64,
}

/// A latency distribution in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "percentiles")]
pub struct LatencySnapshot {
    pub count: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
}

impl LatencySnapshot {
    /// The percentiles of a histogram; `None` when it is empty.
    #[must_use]
    pub fn of(h: &Histogram<u64>) -> Option<Self> {
        (!h.is_empty()).then(|| Self {
            count: h.len(),
            p50_ns: h.value_at_quantile(0.5),
            p90_ns: h.value_at_quantile(0.9),
            p99_ns: h.value_at_quantile(0.99),
            p999_ns: h.value_at_quantile(0.999),
            p9999_ns: h.value_at_quantile(0.9999),
            max_ns: h.max(),
        })
    }
}

impl StageSnapshot {
    pub(crate) fn of(kind: &'static str, c: &StageCounters, latency: Option<LatencySnapshot>) -> Self {
        let named =
            |reasons: &mut dyn Iterator<Item = (Reason, u64)>| reasons.map(|(r, n)| (r.name(), n)).collect();
        Self {
            kind,
            packets_in: c.packets_in.get(),
            packets_out: c.packets_out.get(),
            held: c.held.get(),
            held_at_exhaustion: c.held_at_exhaustion.get(),
            stalls: c.stalls.get(),
            dropped: named(&mut c.drops()),
            passed: named(&mut c.passes()),
            latency,
        }
    }
}
