//! From a plan to running workers and back: memory, ports, devices, stages, threads; then an orderly end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rtrb::RingBuffer;
use warpdrive_mempool::{Domain, MemError, Mempool, PageSize};
use warpdrive_pmd::device::{Device, DeviceError, SessionSpec};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaSession};
use warpdrive_pmd::engine::zip::ZipEngine;
use warpdrive_pmd::engine::{Placement, SoftDevice, ThreadWatch};
use warpdrive_pmd::idle::Idle;
use warpdrive_pmd::port::ring::{self, RingRx, RingTx};
use warpdrive_pmd::port::{MacAddr, PortError};

use crate::config::{Require, Strict};
use crate::cores::CoreError;
use crate::diag::ConfigError;
use crate::dictionary;
use crate::keys::{self, Keys};
use crate::plan::{ELSEWHERE_SLOTS, EnginePlan, PipelinePlan, Plan, StagePlan, ZipPlan};
use crate::running::{ObservedPipeline, ObservedQueue, OpenPort, Running, StartReport, WorkerHandle};
use crate::service::{Maker, NoServices, Parts, Seed, ServiceError, WireParts};
use crate::stage::Stage;
use crate::stage::accel::AccelStage;
use crate::stage::classify::MatchStage;
use crate::stage::echo::EchoStage;
use crate::stage::flows::Flows;
use crate::stage::io::{Budget, RxStage, TxStage};
use crate::stage::link::{HandoffStage, MergeStage};
use crate::stage::rsa::Rsa;
use crate::stage::simple::{CountStage, DropStage, MacSwapStage, NamedCounter};
use crate::stage::stall::StallStage;
use crate::stage::tee::TeeStage;
use crate::stage::zip::Zip;
use crate::stage::zip_flows::ZipFlows;
use crate::stats::PipelineLatency;
use crate::strict::{EngineWatch, StrictError, Supervisor, Watched};
use crate::thread::WorkerThread;
use crate::uacce;
use crate::worker::{Mailbox, Pipeline, Worker};

/// Why the program cannot start, or did not end cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemError),
    /// A port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A key, a certificate, a dictionary or a device of others, with the place where the configuration names it.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// A worker's cpus.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A worker thread.
    #[error("cannot start the thread of core {lcore}: {cause}")]
    Thread {
        /// The lcore.
        lcore: usize,
        /// The cause.
        cause: std::io::Error,
    },
    /// Threads that cannot be watched for system calls.
    #[error(transparent)]
    Strict(#[from] StrictError),
    /// A service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What `require` names was not got.
    #[error("required but not got: {}. Remedy: what \"warpdrive doctor\" says, or leave it out of eal.require", .missing.join("; "))]
    Require {
        /// What is missing, each with why.
        missing: Vec<String>,
    },
}

/// What was wished for when starting, besides the plan.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Stop after this many received packets.
    pub packets: Option<u64>,
    /// Where demo keys are kept.
    pub demo_folder: Option<PathBuf>,
}

/// Opens everything the plan names and starts the workers.
///
/// # Errors
/// [`LaunchError`]; what was opened by then is closed again.
pub fn launch(plan: &Plan, options: &Options) -> Result<Running, LaunchError> {
    launch_with(plan, options, &mut NoServices)
}

/// As [`launch`], with who makes the services of the plan.
///
/// # Errors
/// As [`launch`].
pub fn launch_with(plan: &Plan, options: &Options, maker: &mut dyn Maker) -> Result<Running, LaunchError> {
    let mut builder = Builder::new(plan, options)?;
    builder.check_requirements()?;
    let pipelines = builder.pipelines()?;
    let services = builder.services(maker)?;
    builder.start(pipelines, services)
}

struct Builder<'a> {
    plan: &'a Plan,
    pools: Vec<Mempool>,
    ports: Vec<OpenPort>,
    devices: Vec<Arc<dyn Device>>,
    counts: Vec<(String, Arc<NamedCounter>)>,
    keys: Keys<'a>,
    report: StartReport,
    missing: Vec<String>,
    /// Rings between pipelines: receiving ends by target.
    merges: BTreeMap<usize, Vec<RingRx>>,
    budget: Option<Arc<Budget>>,
    /// Who answers strict threads.
    strict: Option<Arc<Supervisor>>,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a Plan, options: &Options) -> Result<Self, LaunchError> {
        let domain = Domain::new(plan.dma);
        let mut builder = Self {
            plan,
            pools: Vec::new(),
            ports: Vec::new(),
            devices: Vec::new(),
            counts: Vec::new(),
            keys: Keys::new(plan, options.demo_folder.clone()),
            report: StartReport::default(),
            missing: Vec::new(),
            merges: BTreeMap::new(),
            budget: options.packets.map(|n| Arc::new(Budget::new(n))),
            strict: None,
        };
        builder.open_strict()?;
        builder.note_idle_policy();
        builder.open_pools(&domain)?;
        builder.open_devices(&domain)?;
        // Opening a port may make a file or take an interface: not when it is clear by now that nothing will start.
        builder.check_requirements()?;
        builder.open_ports()?;
        Ok(builder)
    }

    /// Starts the supervisor of strict threads, before any of them.
    fn open_strict(&mut self) -> Result<(), LaunchError> {
        let plan = &self.plan.strict;
        if plan.mode == Strict::Off {
            return Ok(());
        }
        self.strict = Some(Arc::new(Supervisor::start(plan)?));
        let allowed: Vec<String> = plan.allowed().collect();
        let but = if allowed.is_empty() { String::new() } else { format!(" but {}", allowed.join(", ")) };
        let then = if plan.mode == Strict::Kill { "end the program" } else { "are counted and logged" };
        self.report.got.push(format!("strict workers: system calls{but} {then}"));
        Ok(())
    }

    /// Says when a core cannot wait as it was told to.
    fn note_idle_policy(&mut self) {
        let engines = self.plan.devices.iter().filter_map(|d| match d.placement {
            Placement::Core { idle, .. } => Some(idle),
            Placement::Inline => None,
        });
        if engines.chain([self.plan.idle]).any(|idle| Idle::new(idle).policy() != idle) {
            self.report.without.push(
                "umwait: this cpu does not have it, so idle cores pause instead. Remedy: idle = \"sleep\" saves power too"
                    .to_owned(),
            );
        }
    }

    fn open_pools(&mut self, domain: &Domain) -> Result<(), LaunchError> {
        for plan in &self.plan.pools {
            let pool = Mempool::new(&plan.config, domain)?;
            let mapping = pool.region().mapping();
            let locked = if mapping.is_locked() { "locked" } else { "not locked" };
            self.report.got.push(format!(
                "mempool {:?}: {} buffers of {} bytes in {} pages, {locked}, dma {}{}",
                pool.name(),
                pool.buffers(),
                pool.buffer_size(),
                mapping.page_size(),
                domain.mode(),
                mapping.numa_node().map_or(String::new(), |n| format!(", NUMA node {n}")),
            ));
            if let Some(why) = mapping.fallback() {
                self.report.without.push(format!("hugepages for mempool {:?}: {why}", pool.name()));
            }
            if mapping.page_size() == PageSize::Size4K {
                self.missing_if(Require::Hugepages, format!("hugepages for mempool {:?}", pool.name()));
            }
            if !mapping.is_locked() {
                self.report.without.push(format!(
                    "locked memory for mempool {:?}: RLIMIT_MEMLOCK is smaller than the pool. Remedy: ulimit -l unlimited, or run as root",
                    pool.name()
                ));
                self.missing_if(Require::Locked, format!("locked memory for mempool {:?}", pool.name()));
            }
            self.pools.push(pool);
        }
        Ok(())
    }

    fn open_ports(&mut self) -> Result<(), LaunchError> {
        for plan in &self.plan.ports {
            let port = plan.config.open(&plan.name, &self.pools[plan.pool])?;
            let info = port.info();
            let mac = info.mac.map_or(String::new(), |mac| format!(", {mac}"));
            let remarks = if info.remarks.is_empty() {
                String::new()
            } else {
                format!(", {}", info.remarks.join(", "))
            };
            self.report
                .got
                .push(format!("port {:?}: {}{mac}, mtu {}{remarks}", info.name, info.driver, info.mtu));
            if !info.zero_copy {
                self.missing_if(
                    Require::ZeroCopy,
                    format!("zero copy for port {:?} ({})", plan.name, port.info().driver),
                );
            }
            if port.info().syscalls {
                self.missing_if(
                    Require::NoSyscalls,
                    format!("port {:?} without system calls ({} needs them)", plan.name, port.info().driver),
                );
            }
            self.ports.push(OpenPort { port, rx: Vec::new(), tx: Vec::new() });
        }
        Ok(())
    }

    fn open_devices(&mut self, domain: &Domain) -> Result<(), LaunchError> {
        for plan in &self.plan.devices {
            let (name, placement) = (&plan.name, plan.placement);
            let watch = self.strict.as_ref().map(|supervisor| {
                Box::new(EngineWatch::new(Arc::clone(supervisor), name)) as Box<dyn ThreadWatch>
            });
            let device: Arc<dyn Device> = match &plan.engine {
                EnginePlan::Rsa(options) => {
                    let options = options.clone();
                    Arc::new(SoftDevice::<RsaEngine>::open_watched(name, placement, domain, options, watch)?)
                }
                EnginePlan::Uacce(uacce) => Arc::new(uacce::open(self.plan, uacce, name, domain)?),
                EnginePlan::Zip => {
                    Arc::new(SoftDevice::<ZipEngine>::open_watched(name, placement, domain, (), watch)?)
                }
            };
            let info = device.info();
            let kind = if info.hardware { "hardware" } else { "software" };
            self.report
                .got
                .push(format!("device {:?}: {kind}, {}, {}", info.name, info.implementation, info.placement));
            if !info.hardware {
                self.missing_if(Require::Hardware, format!("hardware for device {:?}", plan.name));
            }
            if plan.core_wished {
                self.report.without.push(format!(
                    "a core for device {:?}: none was left, so it runs inline. Remedy: more cores",
                    plan.name
                ));
                self.missing_if(Require::EngineCores, format!("a core for device {:?}", plan.name));
            }
            self.devices.push(device);
        }
        Ok(())
    }

    fn missing_if(&mut self, what: Require, text: String) {
        if self.plan.require.contains(&what) {
            self.missing.push(text);
        }
    }

    fn check_requirements(&mut self) -> Result<(), LaunchError> {
        match std::mem::take(&mut self.missing) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(LaunchError::Require { missing }),
        }
    }

    /// Builds the stages of all pipelines. Those that give packets to others come first, so that the rings are there.
    fn pipelines(&mut self) -> Result<Vec<Pipeline>, LaunchError> {
        let plan = self.plan;
        let mut stages: Vec<Vec<Option<Box<dyn Stage>>>> = Vec::new();
        for pipeline in &plan.pipelines {
            let built =
                pipeline.stages.iter().map(|stage| self.stage(stage, pipeline)).collect::<Result<_, _>>()?;
            stages.push(built);
        }
        self.report.got.append(&mut self.keys.notes);
        Ok(stages
            .into_iter()
            .enumerate()
            .map(|(i, stages)| {
                let stages = stages.into_iter().zip(&plan.pipelines[i].stages).map(|(stage, plan)| {
                    stage.unwrap_or_else(|| {
                        let burst = if let StagePlan::Merge { burst } = plan { *burst } else { 1 };
                        Box::new(MergeStage::new(self.merges.remove(&i).unwrap_or_default(), burst))
                    })
                });
                Pipeline::new(stages.collect(), plan.latency)
            })
            .collect())
    }

    /// Builds a stage; `None` for a merge, whose rings are not all made yet.
    fn stage(
        &mut self,
        stage: &StagePlan,
        pipeline: &PipelinePlan,
    ) -> Result<Option<Box<dyn Stage>>, LaunchError> {
        Ok(Some(match stage {
            StagePlan::Rx { port, queue, burst } => {
                let port = &mut self.ports[*port];
                let rx = port.port.rx_queue(*queue)?;
                port.rx.push(ObservedQueue { queue: *queue, counters: Arc::clone(rx.counters()) });
                Box::new(RxStage::new(rx, *burst, self.budget.clone()))
            }
            StagePlan::Tx { port, queue, full } => Box::new(TxStage::new(self.tx(*port, *queue)?, *full)),
            StagePlan::Tee { port, queue } => {
                Box::new(TeeStage::new(self.tx(*port, *queue)?, self.pools[pipeline.pool].clone()))
            }
            StagePlan::Rsa { .. } => self.rsa(stage, pipeline)?,
            StagePlan::Zip(zip) => self.zip(zip, pipeline)?,
            StagePlan::Match { rules, elsewhere } => {
                let ring = elsewhere.map(|to| self.ring(to, ELSEWHERE_SLOTS));
                Box::new(MatchStage::new(rules.clone(), ring))
            }
            StagePlan::MacSwap => Box::new(MacSwapStage::default()),
            StagePlan::Echo { address, mac, others } => {
                let mac = mac.or_else(|| self.mac_of(pipeline)).unwrap_or(LOCAL_MAC);
                Box::new(EchoStage::new(*address, mac, *others))
            }
            StagePlan::Count { name } => {
                let counter = Arc::new(NamedCounter::default());
                self.counts.push((name.clone(), Arc::clone(&counter)));
                Box::new(CountStage::new(counter))
            }
            StagePlan::Drop => Box::new(DropStage::default()),
            StagePlan::Stall(stalls) => Box::new(StallStage::new(*stalls)),
            StagePlan::Handoff { to, slots, full } => {
                let rings = to.iter().map(|to| self.ring(*to, *slots)).collect();
                Box::new(HandoffStage::new(rings, *full))
            }
            StagePlan::Merge { .. } => return Ok(None),
        }))
    }

    fn tx(&mut self, port: usize, queue: u16) -> Result<Box<dyn warpdrive_pmd::port::TxQueue>, LaunchError> {
        let port = &mut self.ports[port];
        let tx = port.port.tx_queue(queue)?;
        port.tx.push(ObservedQueue { queue, counters: Arc::clone(tx.counters()) });
        Ok(tx)
    }

    fn ring(&mut self, to: usize, slots: usize) -> RingTx {
        let (tx, rx) = ring::channel(slots);
        self.merges.entry(to).or_default().push(rx);
        tx
    }

    fn mac_of(&self, pipeline: &PipelinePlan) -> Option<MacAddr> {
        pipeline.stages.iter().find_map(|s| match s {
            StagePlan::Rx { port, .. } => self.ports[*port].port.info().mac,
            _ => None,
        })
    }

    /// The smallest MTU of the ports that packets of a pipeline may end at.
    fn mtu(&self, pipeline: &PipelinePlan) -> usize {
        let mtus = pipeline.sinks.iter().map(|p| self.ports[*p].port.info().mtu);
        mtus.min().unwrap_or(usize::from(u16::MAX))
    }

    fn rsa(&mut self, stage: &StagePlan, pipeline: &PipelinePlan) -> Result<Box<dyn Stage>, LaunchError> {
        let StagePlan::Rsa {
            device,
            op,
            scheme,
            key: name,
            certificate,
            allow_1024,
            depth,
            full,
            oversize,
            plain,
        } = stage
        else {
            unreachable!("the caller matched it");
        };
        let mtu = self.mtu(pipeline);
        let key = self.keys.get(name, certificate.as_ref(), *allow_1024)?;
        let session = RsaSession::new(*op, *scheme, key).map_err(|e| keys::refused(self.plan, name, &e))?;
        let signature_len = session.key_bytes();
        let device = &self.devices[*device];
        let session = device.create_session(SessionSpec::Rsa(session))?;
        let operation =
            Rsa { session, op: *op, scheme: *scheme, signature_len, mtu, oversize: *oversize, plain: *plain };
        Ok(Box::new(AccelStage::new(operation, device.request_queue(*depth)?, *depth, *full)))
    }

    fn zip(&mut self, zip: &ZipPlan, pipeline: &PipelinePlan) -> Result<Box<dyn Stage>, LaunchError> {
        let device = &self.devices[zip.device];
        let session = device.create_session(SessionSpec::Zip(dictionary::session(self.plan, zip)?))?;
        let ZipPlan { op, format, streams, refresh, depth, full, oversize, plain, .. } = *zip;
        let pool = self.pools[pipeline.pool].clone();
        let operation = Zip { session, op, format, pool, mtu: self.mtu(pipeline), oversize, plain };
        let queue = device.request_queue(depth)?;
        Ok(if streams > 0 {
            let flows = Flows::new(&**device, session, streams)?;
            Box::new(AccelStage::new(ZipFlows::new(operation, flows, refresh), queue, depth, full))
        } else {
            Box::new(AccelStage::new(operation, queue, depth, full))
        })
    }

    /// Has the services made, each with the lcore it belongs to.
    fn services(&mut self, maker: &mut dyn Maker) -> Result<Vec<(usize, Seed)>, LaunchError> {
        let mut services = Vec::new();
        let plan = self.plan;
        for proxy in &plan.proxies {
            let wire =
                proxy.user.as_ref().map(|user| self.wire(user.port, proxy.lcores.len())).transpose()?;
            let device = |index: Option<usize>| index.map(|i| &self.devices[i]);
            let parts = Parts {
                plan,
                proxy,
                pool: &self.pools[proxy.pool],
                rsa: device(proxy.rsa),
                zip: device(proxy.zip),
                wire,
            };
            let seeds = maker.proxy(parts, &mut self.report.got)?;
            services.extend(proxy.lcores.iter().copied().zip(seeds));
        }
        Ok(services)
    }

    /// The first queues of a port.
    fn wire(&mut self, port: usize, queues: usize) -> Result<WireParts, LaunchError> {
        let pool = self.pools[self.plan.ports[port].pool].clone();
        let mut pairs = Vec::new();
        for queue in 0..queues as u16 {
            let open = &mut self.ports[port];
            let rx = open.port.rx_queue(queue)?;
            open.rx.push(ObservedQueue { queue, counters: Arc::clone(rx.counters()) });
            pairs.push((rx, self.tx(port, queue)?));
        }
        Ok(WireParts { info: self.ports[port].port.info().clone(), pool, queues: pairs })
    }

    /// Starts a thread for each worker; none polls before all are pinned.
    fn start(
        self,
        pipelines: Vec<Pipeline>,
        mut services: Vec<(usize, Seed)>,
    ) -> Result<Running, LaunchError> {
        let plan = self.plan;
        let stop = Arc::new(AtomicBool::new(false));
        let mut observed: Vec<Option<ObservedPipeline>> = Vec::new();
        for (plan, pipeline) in plan.pipelines.iter().zip(&pipelines) {
            let stages = plan.stages.iter().map(StagePlan::kind).zip(pipeline.counters().iter().cloned());
            observed.push(Some(ObservedPipeline {
                name: plan.name.clone(),
                lcore: plan.lcore,
                ports: plan.ports().into_iter().map(|port| self.plan.ports[port].name.clone()).collect(),
                stages: stages.collect(),
                worker: 0,
                place: 0,
            }));
        }
        let mut pipelines: Vec<Option<Pipeline>> = pipelines.into_iter().map(Some).collect();
        let mut running = Running {
            workers: Vec::new(),
            stop: Arc::clone(&stop),
            ports: self.ports,
            devices: self.devices,
            pools: self.pools,
            pipelines: Vec::new(),
            counts: self.counts,
            latency: Vec::new(),
            started: Instant::now(),
            report: self.report,
            panicked: false,
            abandoned: 0,
            rounds: (0, 0),
            strict: self.strict.clone(),
        };
        for (w, worker_plan) in plan.workers.iter().enumerate() {
            for (place, index) in worker_plan.pipelines.iter().enumerate() {
                if let Some(o) = &mut observed[*index] {
                    (o.worker, o.place) = (w, place);
                }
            }
            let own: Vec<Pipeline> =
                worker_plan.pipelines.iter().filter_map(|i| pipelines[*i].take()).collect();
            let fresh: Vec<PipelineLatency> = if plan.latency {
                worker_plan
                    .pipelines
                    .iter()
                    .map(|i| PipelineLatency::new(plan.pipelines[*i].stages.len()))
                    .collect()
            } else {
                Vec::new()
            };
            let (empty, for_worker) = RingBuffer::new(1);
            let (from_worker, full) = RingBuffer::new(1);
            let here = services.extract_if(.., |(lcore, _)| *lcore == worker_plan.lcore);
            let worker = Worker {
                pipelines: own,
                services: here.map(|(_, seed)| seed).collect(),
                idle: plan.idle,
                stop: Arc::clone(&stop),
                drain: plan.drain,
                pools: running.pools.clone(),
                failures: 0,
                mailbox: Mailbox { empty: for_worker, full: from_worker },
                watched: Watched::default(),
            };
            // If this fails, those that wait end without a round when `running` is dropped.
            let thread =
                WorkerThread::prepare(worker, worker_plan.lcore, worker_plan.cpus, self.strict.clone())?;
            running.latency.push(fresh.clone());
            running.workers.push(WorkerHandle { thread, empty, full, spare: Some(fresh) });
        }
        running.pipelines = observed.into_iter().flatten().collect();
        if let Some(supervisor) = &running.strict {
            supervisor.all_is_open();
        }
        running.workers.iter_mut().for_each(|worker| worker.thread.let_go());
        Ok(running)
    }
}

/// An address for ports that have none: locally administered (IEEE 802, bit 1 of the first byte).
const LOCAL_MAC: MacAddr = MacAddr([0x02, b'w', b'a', b'r', b'p', 0]);
