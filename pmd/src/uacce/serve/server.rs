//! The server: its cores, its devices, and the processes that have queues.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam::channel::Sender;
use rustix::io::Errno;
use serde::Deserialize;
use warpdrive_mempool::{DmaMode, Domain};

use super::agent::LARGE;
use super::bounce::SLOT;
use super::device::{ServedDevice, USUAL_DEPTH, entry_kind};
use super::engines::Engines;
use super::handle::CoreHandle;
use super::memory::PAGE;
use super::order::Order;
use super::ring::EntryKind;
use super::served::Parts;
use super::space::Space;
use super::tenant::Tenant;
use super::{Accelerator, Permissions, Process};
use crate::device::{Device, DeviceError, DeviceInfo};
use crate::engine::rsa::RsaOptions;
use crate::idle::IdlePolicy;
use crate::stats::DeviceStats;
use crate::uacce::abi::qm::COMPLETION;
use crate::uacce::abi::{FLAG_SVA, NO_IOMMU, Region, SS_GRANULE, SS_GRANULES};

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// RSA, with queues as Kunpeng's HPRE has them.
    Hpre,
    /// DEFLATE, zlib and gzip, with queues as Kunpeng's ZIP has them.
    Zip,
}

/// Where engines read the inputs of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inputs {
    /// In a copy that the server makes first: a process that changes its bytes meanwhile harms nobody.
    #[default]
    Copied,
    /// Where the process has them, if it has given that memory: for processes that are trusted to leave them alone.
    InPlace,
}

/// A device to be served.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Its name: `hisi_zip-0`, `hisi_hpre-0`.
    pub name: String,
    /// What it does.
    pub function: Function,
    /// The version of its queues (`hisi_qm_vN`): 1, or 3 with a depth of 2 (its doorbell lies in the first entry of the queue).
    pub version: u32,
    /// What it says it computes, a name each.
    pub algorithms: Vec<String>,
    /// How its addresses are to be understood.
    pub mode: DmaMode,
    /// The place of its core in [`ServerConfig::cores`].
    pub core: usize,
    /// Entries of a queue.
    pub depth: u16,
    /// Queues at once.
    pub queues: u32,
    /// Queues of one process at once.
    pub queues_per_process: u32,
    /// Bytes that are reserved with each queue, for modes in which it cannot reach all memory.
    pub reserve: usize,
    /// What a queue of it counts against one of another device: 1 to 8.
    pub priority: u32,
    /// The level of compression.
    pub level: u8,
    /// Where engines read.
    pub inputs: Inputs,
    /// Who may open it.
    pub permissions: Permissions,
    /// The node of memory that is next to it; negative: none.
    pub numa_node: i32,
}

impl DeviceConfig {
    /// The usual one: version 1, shared virtual addressing, 64 queues, for everybody.
    #[must_use]
    pub fn new(name: &str, function: Function) -> Self {
        Self {
            name: name.to_owned(),
            function,
            version: 1,
            algorithms: match function {
                Function::Hpre => vec!["rsa".to_owned()],
                Function::Zip => vec!["deflate".to_owned()],
            },
            mode: DmaMode::Sva,
            core: 0,
            depth: USUAL_DEPTH,
            queues: 256,
            queues_per_process: 64,
            reserve: 0,
            priority: 1,
            level: 1,
            inputs: Inputs::Copied,
            permissions: Permissions { mode: 0o666, uid: 0, gid: 0 },
            numa_node: 0,
        }
    }

    pub(super) fn kind(&self) -> EntryKind {
        entry_kind(self.function)
    }

    /// What its attribute `api` says.
    #[must_use]
    pub fn api(&self) -> String {
        let suffix = if self.mode == DmaMode::NoIommu { NO_IOMMU } else { "" };
        format!("hisi_qm_v{}{suffix}", self.version)
    }

    /// As programs that know UADK expect them: bit 7 for an IOMMU without shared virtual addressing.
    pub(super) fn flags(&self) -> u32 {
        match self.mode {
            DmaMode::Sva => FLAG_SVA,
            DmaMode::ShareDomain => 1 << 7,
            DmaMode::NoIommu => 0,
        }
    }

    pub(super) fn mmio_bytes(&self) -> usize {
        if self.version == 1 { PAGE } else { 2 * PAGE }
    }

    /// Both rings and the two words at the end, in whole pages.
    pub(super) fn dus_bytes(&self) -> usize {
        let entry = self.kind().words() * 4 + COMPLETION;
        (entry * usize::from(self.depth) + 8).next_multiple_of(PAGE)
    }

    /// Bytes of memory behind each of its queue files, there as long as the file is open.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        Region::Dus as usize * PAGE + self.dus_bytes() + self.reserve
    }

    /// The most entries with which its rings have one page: what is behind them is at its place then.
    #[must_use]
    pub fn one_page_depth(&self) -> usize {
        (PAGE - 8) / (self.kind().words() * 4 + COMPLETION)
    }

    /// The shares of an engine that a queue has.
    pub(super) fn weight(&self) -> u64 {
        self.priority.clamp(1, 8).into()
    }
}

/// A core of the server.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The cpu's number.
    pub cpu: usize,
    /// What it does when no queue has work.
    pub idle: IdlePolicy,
}

/// What is to be served, and where.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its cores.
    pub cores: Vec<CoreConfig>,
    /// Its devices.
    pub devices: Vec<DeviceConfig>,
    /// Requests that a process may have under way at once, at each core.
    pub in_flight: usize,
    /// How RSA is computed.
    pub rsa: RsaOptions,
}

impl ServerConfig {
    /// Bytes of memory, for each process at each core at which it has queues: what requests of up to 64 KiB are worked on in, touched
    /// only as far as it is used; and the most for those that are larger.
    #[must_use]
    pub fn process_bytes(&self) -> [usize; 2] {
        [2 * self.in_flight * SLOT, LARGE]
    }
}

/// A running server. Dropping it fails all queues and ends its threads.
pub struct Server {
    devices: Vec<Arc<dyn Accelerator>>,
    cores: Vec<CoreHandle>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// [`DeviceError`]: a core cannot be had, or a device cannot be as it is described.
    pub fn start(config: &ServerConfig) -> Result<Self, DeviceError> {
        let domain = Domain::new(DmaMode::Sva);
        let mut cores = Vec::new();
        for core in &config.cores {
            let engines = Arc::new(Engines::new("serve", &domain, &config.rsa)?);
            cores.push(CoreHandle::start(core.cpu, core.idle, &engines)?);
        }
        let ways = cores
            .iter()
            .map(|core| Way { orders: core.sender(), engines: Arc::clone(&core.engines) })
            .collect();
        let registry = Arc::new(Registry {
            domain,
            ways,
            in_flight: config.in_flight,
            spaces: Mutex::default(),
            ids: AtomicU64::new(0),
            windows: AtomicU64::new(FIRST_WINDOW),
        });
        let mut devices = Vec::<Arc<dyn Accelerator>>::new();
        for device in &config.devices {
            let refused = |cause: &str| DeviceError::Unsupported {
                device: device.name.clone(),
                cause: cause.to_owned(),
            };
            let Some(way) = registry.ways.get(device.core) else {
                return Err(refused("there is no such core"));
            };
            if device.version != 1 && device.depth != 2 {
                return Err(refused(
                    "the doorbell of these queues lies in their first entry. Remedy: depth = 2, or version = 1",
                ));
            }
            if device.reserve > 0 && device.dus_bytes() > PAGE {
                return Err(refused(
                    "memory is reserved behind the queue, which must have one page then. Remedy: depth = 16",
                ));
            }
            // The number of a slice is not in the call, so there can be but one.
            if device.mode == DmaMode::NoIommu && device.reserve as u64 > SS_GRANULE * SS_GRANULES {
                return Err(refused(
                    "its calls cannot tell programs of so much memory at once. Remedy: reserve = \"255 MiB\"",
                ));
            }
            let orders = way.orders.clone();
            let served = ServedDevice::new(device.clone(), device.core, orders, Arc::clone(&registry));
            devices.push(Arc::new(served.ok_or_else(|| refused("there are no such queues"))?));
        }
        Ok(Self { devices, cores })
    }

    /// Its devices, for whoever presents them.
    #[must_use]
    pub fn devices(&self) -> &[Arc<dyn Accelerator>] {
        &self.devices
    }

    /// What computes at each core: RSA and ZIP.
    #[must_use]
    pub fn engines(&self) -> Vec<[DeviceInfo; 2]> {
        self.cores.iter().map(|core| core.engines.devices().map(Device::info)).collect()
    }

    /// The place of a core whose thread has ended though nobody has told it to, if there is one.
    #[must_use]
    pub fn broken(&self) -> Option<usize> {
        self.cores.iter().position(CoreHandle::is_finished)
    }

    /// Fails all queues and ends the threads: who has a queue is told so, and who opens one gets `ENODEV`. Its numbers can still be
    /// asked for.
    pub fn stop(&mut self) {
        // Each may have to wait for somebody: at the same time.
        self.cores.iter().for_each(|core| core.tell(Order::Stop));
        self.cores.iter_mut().for_each(CoreHandle::stop);
    }

    /// Entries that were done so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.cores.iter().map(|core| core.counts.entries.load(Ordering::Relaxed)).sum()
    }

    /// What the engines of each core have counted: RSA and ZIP.
    #[must_use]
    pub fn stats(&self) -> Vec<[DeviceStats; 2]> {
        self.cores.iter().map(|core| core.engines.devices().map(Device::stats)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where addresses of reserved memory begin: neither addresses of processes nor of small machines.
const FIRST_WINDOW: u64 = 0x100_0000_0000;

/// The way to a core.
struct Way {
    orders: Sender<Order>,
    engines: Arc<Engines>,
}

/// What devices have in common: who has queues.
pub(super) struct Registry {
    domain: Domain,
    ways: Vec<Way>,
    in_flight: usize,
    spaces: Mutex<HashMap<Process, Weak<SpaceOwner>>>,
    ids: AtomicU64,
    windows: AtomicU64,
}

impl Registry {
    /// The address space of a process: the same for all its queues.
    pub(super) fn space(self: &Arc<Self>, process: Process) -> Result<Arc<SpaceOwner>, Errno> {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let known = spaces.get(&process).and_then(Weak::upgrade);
        // One that is kept by a child of a process that had the number before is another's.
        if let Some(owner) = known.filter(|owner| owner.space.is_current()) {
            return Ok(owner);
        }
        spaces.retain(|_, owner| owner.strong_count() > 0);
        let space = Arc::new(Space::of(process, &self.domain, self.ways.len())?);
        let owner = Arc::new(SpaceOwner { space, registry: Arc::clone(self), tenant_of: Mutex::default() });
        spaces.insert(process, Arc::downgrade(&owner));
        Ok(owner)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Addresses that were never given before, for so many bytes.
    pub(super) fn window(&self, bytes: u64) -> u64 {
        const ALIGN: u64 = 2 << 20;
        self.windows.fetch_add(bytes.next_multiple_of(ALIGN) + ALIGN, Ordering::Relaxed)
    }
}

/// The address space of a process as long as it has queues.
pub(super) struct SpaceOwner {
    pub(super) space: Arc<Space>,
    registry: Arc<Registry>,
    /// Cores at which it is a tenant.
    tenant_of: Mutex<Vec<usize>>,
}

impl SpaceOwner {
    /// Lets a core serve a queue of the process, which becomes a tenant there unless it is one.
    pub(super) fn serve(&self, core: usize, queue: Box<Parts>) -> Result<(), Errno> {
        // Held until the core is told: the tenant comes before queues that others start meanwhile.
        let mut cores = self.tenant_of.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !cores.contains(&core);
        let Registry { domain, ways, in_flight, .. } = &*self.registry;
        let way = &ways[core];
        let tenant = match is_new {
            true => Some(Box::new(Tenant::new(&self.space, core, &way.engines, domain, *in_flight)?)),
            false => None,
        };
        let order = Order::Add(queue, Arc::clone(&self.space), tenant);
        way.orders.send(order).map_err(|_| Errno::NODEV)?;
        if is_new {
            cores.push(core);
        }
        Ok(())
    }
}

impl Drop for SpaceOwner {
    fn drop(&mut self) {
        for core in self.tenant_of.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let _ = self.registry.ways[*core].orders.send(Order::End(Arc::clone(&self.space)));
        }
    }
}
