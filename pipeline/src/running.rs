//! Workers at work: observed, stopped, and brought to an orderly end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rtrb::{Consumer, Producer};
use warpdrive_mempool::Mempool;
use warpdrive_pmd::device::{Device, DeviceInfo};
use warpdrive_pmd::port::{Port, PortInfo};
use warpdrive_pmd::stats::SharedCounters;

use crate::snapshot::{
    DeviceSnapshot, LatencySnapshot, PipelineSnapshot, PoolSnapshot, PortSnapshot, QueueSnapshot, Snapshot,
    StageSnapshot,
};
use crate::stage::simple::NamedCounter;
use crate::stats::{PipelineLatency, SharedStage};
use crate::strict::{Supervisor, ThreadCalls};
use crate::thread::WorkerThread;

/// What was got, and what was done without.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StartReport {
    /// Facts, one a line.
    pub got: Vec<String>,
    /// What would be better and how to get it.
    pub without: Vec<String>,
}

/// A port's queue that somebody observes.
pub(crate) struct ObservedQueue {
    pub(crate) queue: u16,
    pub(crate) counters: SharedCounters,
}

/// A port that is open.
pub(crate) struct OpenPort {
    pub(crate) port: Box<dyn Port>,
    pub(crate) rx: Vec<ObservedQueue>,
    pub(crate) tx: Vec<ObservedQueue>,
}

/// A pipeline that runs, as an observer sees it.
pub(crate) struct ObservedPipeline {
    pub(crate) name: String,
    pub(crate) lcore: usize,
    pub(crate) ports: Vec<String>,
    pub(crate) stages: Vec<(&'static str, SharedStage)>,
    /// Which worker runs it, and its place there.
    pub(crate) worker: usize,
    pub(crate) place: usize,
}

/// The control plane's ends of a worker.
pub(crate) struct WorkerHandle {
    pub(crate) thread: WorkerThread,
    pub(crate) empty: Producer<Vec<PipelineLatency>>,
    pub(crate) full: Consumer<Vec<PipelineLatency>>,
    /// The set that is not with the worker now.
    pub(crate) spare: Option<Vec<PipelineLatency>>,
}

/// Workers at work. Observe them with [`snapshot`](Self::snapshot), end them with [`stop`](Self::stop) and
/// [`join`](Self::join). Dropping them instead ends them as well, and nobody learns how that went.
pub struct Running {
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) ports: Vec<OpenPort>,
    pub(crate) devices: Vec<Arc<dyn Device>>,
    pub(crate) pools: Vec<Mempool>,
    pub(crate) pipelines: Vec<ObservedPipeline>,
    pub(crate) counts: Vec<(String, Arc<NamedCounter>)>,
    pub(crate) latency: Vec<Vec<PipelineLatency>>,
    pub(crate) started: Instant,
    /// What was got at start.
    pub report: StartReport,
    /// Whether any worker's thread panicked.
    pub(crate) panicked: bool,
    pub(crate) abandoned: usize,
    pub(crate) rounds: (u64, u64),
    /// The last field: it answers the threads of all others.
    pub(crate) strict: Option<Arc<Supervisor>>,
}

impl Running {
    /// Takes a snapshot. Reads what workers publish; they are not disturbed.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            ports: self.ports.iter().map(port).collect(),
            pipelines: (0..self.pipelines.len()).map(|i| self.pipeline(i)).collect(),
            pools: self.pool_snapshots(),
            devices: self.devices.iter().map(|d| device(&**d)).collect(),
            counts: self.counts.iter().map(|(n, c)| (n.clone(), (c.packets.get(), c.bytes.get()))).collect(),
            rounds: self.rounds,
            strict: self.strict_calls(),
        }
    }

    fn strict_calls(&self) -> Option<Vec<ThreadCalls>> {
        self.strict.as_ref().map(|supervisor| supervisor.calls())
    }

    pub(crate) fn pool_snapshots(&self) -> Vec<PoolSnapshot> {
        let pool = |p: &Mempool| {
            let s = p.stats();
            PoolSnapshot {
                name: p.name().to_owned(),
                capacity: s.capacity,
                in_use: s.in_use,
                peak: s.peak,
                failures: s.failures,
            }
        };
        self.pools.iter().map(pool).collect()
    }

    fn pipeline(&self, i: usize) -> PipelineSnapshot {
        let p = &self.pipelines[i];
        let latency = self.latency.get(p.worker).and_then(|w| w.get(p.place));
        PipelineSnapshot {
            name: p.name.clone(),
            core: p.lcore,
            ports: p.ports.clone(),
            stages: p
                .stages
                .iter()
                .enumerate()
                .map(|(s, (kind, c))| {
                    StageSnapshot::of(kind, c, latency.and_then(|l| LatencySnapshot::of(l.stages.get(s)?)))
                })
                .collect(),
            latency: latency.and_then(|l| LatencySnapshot::of(&l.end_to_end)),
        }
    }
}

impl Running {
    /// Asks the workers to end: sources give no more, what is in flight is drained.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether all workers have ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(|w| w.thread.is_finished())
    }

    /// What has failed for good at a port, with the port's name.
    #[must_use]
    pub fn failures(&self) -> Vec<(String, String)> {
        let failure = |p: &OpenPort| Some((p.port.info().name.clone(), p.port.failure()?));
        self.ports.iter().filter_map(failure).collect()
    }

    /// The kernel's numbers of the workers' threads, in the order of the plan.
    pub fn worker_threads(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(|w| w.thread.id())
    }

    /// The pools, in the order of the plan.
    #[must_use]
    pub fn pools(&self) -> &[Mempool] {
        &self.pools
    }

    /// Facts about the open ports.
    pub fn port_infos(&self) -> impl Iterator<Item = &PortInfo> {
        self.ports.iter().map(|p| p.port.info())
    }

    /// Facts about the open devices.
    pub fn device_infos(&self) -> impl Iterator<Item = DeviceInfo> {
        self.devices.iter().map(|d| d.info())
    }

    /// Takes over the histograms that workers have filled since the last call. Allocates nothing on their side.
    pub fn collect_latency(&mut self) {
        for (worker, total) in self.workers.iter_mut().zip(&mut self.latency) {
            if let Ok(mut set) = worker.full.pop() {
                for (total, part) in total.iter_mut().zip(&mut set) {
                    total.add(part);
                    part.reset();
                }
                worker.spare = Some(set);
            }
            if let Some(set) = worker.spare.take()
                && let Err(rtrb::PushError::Full(set)) = worker.empty.push(set)
            {
                worker.spare = Some(set);
            }
        }
    }

    /// Forgets the latency that was collected so far.
    pub fn reset_latency(&mut self) {
        self.latency.iter_mut().flatten().for_each(PipelineLatency::reset);
    }

    /// Waits for the workers to end, closes ports and devices, and says whether every buffer came back.
    pub fn join(mut self) -> Ended {
        for w in 0..self.workers.len() {
            let Some(result) = self.workers[w].thread.join() else { continue };
            match result {
                Ok(report) => {
                    self.abandoned += report.abandoned;
                    self.rounds.0 += report.rounds;
                    self.rounds.1 += report.busy_rounds;
                    for (total, part) in self.latency[w].iter_mut().zip(&report.latency) {
                        total.add(part);
                    }
                }
                Err(_) => self.panicked = true,
            }
            if let Ok(set) = self.workers[w].full.pop() {
                for (total, part) in self.latency[w].iter_mut().zip(&set) {
                    total.add(part);
                }
            }
        }
        // Counters are read while ports are open; pools after, when drivers have given their buffers back.
        let mut snapshot = self.snapshot();
        let failures = self.failures();
        self.ports.clear();
        self.devices.clear();
        snapshot.pools = self.pool_snapshots();
        // The engines' threads have ended, too.
        if let Some(supervisor) = &self.strict {
            supervisor.end();
            snapshot.strict = self.strict_calls();
        }
        let leaks = self
            .pools
            .iter()
            .map(|p| (p.name().to_owned(), p.stats().in_use))
            .filter(|(_, in_use)| *in_use > 0)
            .collect();
        Ended { snapshot, leaks, failures, abandoned: self.abandoned, panicked: self.panicked }
    }
}

impl Drop for Running {
    /// After an error between the start and [`join`](Self::join) nobody goes on polling, and devices and ports, which
    /// are closed next, have no queues in use.
    fn drop(&mut self) {
        self.stop();
        self.workers.clear();
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The last numbers, taken when the workers had ended.
    pub snapshot: Snapshot,
    /// Pools that did not get every buffer back, and how many are missing.
    pub leaks: Vec<(String, usize)>,
    /// What failed for good at a port, with the port's name.
    pub failures: Vec<(String, String)>,
    /// Packets given up because draining took too long.
    pub abandoned: usize,
    /// Whether a worker panicked.
    pub panicked: bool,
}

fn device(d: &dyn Device) -> DeviceSnapshot {
    let (info, stats) = (d.info(), d.stats());
    DeviceSnapshot {
        name: info.name,
        driver: info.driver,
        thread: info.thread,
        batch: info.batch,
        mean_fill: stats.mean_fill(),
        stats,
    }
}

fn port(p: &OpenPort) -> PortSnapshot {
    let queues = |queues: &[ObservedQueue]| {
        queues.iter().map(|q| QueueSnapshot { queue: q.queue, stats: q.counters.snapshot() }).collect()
    };
    PortSnapshot {
        name: p.port.info().name.clone(),
        driver: p.port.info().driver,
        needs_syscalls: p.port.info().syscalls,
        link: p.port.link(),
        rx: queues(&p.rx),
        tx: queues(&p.tx),
    }
}
