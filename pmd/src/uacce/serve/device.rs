//! A device of the server: who has a queue of it, and the calls of its queue files.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use rustix::io::Errno;
use warpdrive_mempool::{DmaMode, Mapping};

use super::memory::{PAGE, QueueMemory};
use super::order::Order;
use super::ring::{EntryKind, Ring};
use super::served::{Parts, Shared, Work};
use super::server::{DeviceConfig, Function, Inputs, Registry, SpaceOwner};
use super::{Accelerator, Permissions, Process, QueueFile, Waker};
use crate::uacce::abi::qm::{Command, DEPTH, Doorbell, Layout, QpContext, QpInfo, Version};
use crate::uacce::abi::{self, Region, Share, attribute};

/// How long the end of what is under way is waited for when a queue is given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queues of a device that are open.
#[derive(Default)]
struct Open {
    /// Numbers of queues that are not in use, the next one last.
    free: Vec<u16>,
    by_process: HashMap<Process, u32>,
    /// What isolates it: errors within an hour. Written by the administrator, as of the kernel's devices.
    strategy: u32,
}

/// A device.
pub(super) struct ServedDevice {
    config: DeviceConfig,
    version: Version,
    layout: Layout,
    core: usize,
    orders: Sender<Order>,
    registry: Arc<Registry>,
    open: Arc<Mutex<Open>>,
}

/// Counts a queue as long as it is there.
pub(super) struct Permit {
    open: Arc<Mutex<Open>>,
    process: Process,
    number: u16,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = locked(&self.open);
        // The number that was unused for the longest is given next.
        open.free.insert(0, self.number);
        if let Some(count) = open.by_process.get_mut(&self.process) {
            *count -= 1;
            if *count == 0 {
                open.by_process.remove(&self.process);
            }
        }
    }
}

impl ServedDevice {
    /// `None`: its queues have no room in their region.
    pub(super) fn new(
        config: DeviceConfig,
        core: usize,
        orders: Sender<Order>,
        registry: Arc<Registry>,
    ) -> Option<Self> {
        let version = Version::of(&config.api())?;
        let bytes = config.dus_bytes();
        let layout = Layout::new(config.kind().words() * 4, config.depth, config.depth, bytes)?;
        let open = Open { free: (1..=config.queues.min(1023) as u16).rev().collect(), ..Open::default() };
        Some(Self { config, version, layout, core, orders, registry, open: Arc::new(Mutex::new(open)) })
    }

    fn permit(&self, process: Process) -> Result<Permit, Errno> {
        let mut open = locked(&self.open);
        if self.config.mode != DmaMode::Sva && open.by_process.keys().any(|other| *other != process) {
            return Err(Errno::BUSY); // one domain, one process
        }
        if open.by_process.get(&process).is_some_and(|count| *count >= self.config.queues_per_process) {
            return Err(Errno::BUSY);
        }
        let number = open.free.pop().ok_or(Errno::BUSY)?;
        *open.by_process.entry(process).or_default() += 1;
        Ok(Permit { open: Arc::clone(&self.open), process, number })
    }

    fn usage(&self) -> usize {
        let open = locked(&self.open);
        let used: u32 = open.by_process.values().sum();
        used as usize * 100 / (used as usize + open.free.len()).max(1)
    }
}

/// Attributes of every device.
const ATTRIBUTES: [&str; 12] = [
    attribute::API,
    attribute::FLAGS,
    attribute::AVAILABLE_INSTANCES,
    attribute::ALGORITHMS,
    attribute::REGION_MMIO_SIZE,
    attribute::REGION_DUS_SIZE,
    attribute::NUMA_NODE,
    attribute::ISOLATE,
    attribute::ISOLATE_STRATEGY,
    attribute::PRIORITY,
    attribute::DEV_USAGE,
    attribute::WARPDRIVE,
];

impl Accelerator for ServedDevice {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn permissions(&self) -> Permissions {
        self.config.permissions
    }

    fn attributes(&self) -> &[&'static str] {
        &ATTRIBUTES
    }

    fn attribute(&self, path: &str) -> Result<String, Errno> {
        let config = &self.config;
        Ok(match path {
            attribute::API => format!("{}\n", config.api()),
            attribute::FLAGS => format!("{}\n", config.flags()),
            attribute::AVAILABLE_INSTANCES => format!("{}\n", locked(&self.open).free.len()),
            attribute::ALGORITHMS => config.algorithms.iter().map(|name| format!("{name}\n")).collect(),
            attribute::REGION_MMIO_SIZE => format!("{}\n", config.mmio_bytes()),
            attribute::REGION_DUS_SIZE => format!("{}\n", config.dus_bytes()),
            attribute::NUMA_NODE => format!("{}\n", config.numa_node),
            attribute::ISOLATE => "0\n".to_owned(),
            attribute::ISOLATE_STRATEGY => format!("{}\n", locked(&self.open).strategy),
            attribute::PRIORITY => format!("{}\n", config.priority),
            attribute::DEV_USAGE => match config.function {
                Function::Hpre => format!("RSA: {}\n", self.usage()),
                Function::Zip => format!("COMPRESS: {0}\nDECOMPRESS: {0}\n", self.usage()),
            },
            attribute::WARPDRIVE => {
                let words: &[&str] = match config.function {
                    Function::Hpre => &["share", "heartbeat", "null"],
                    Function::Zip => &["share", "heartbeat", "level", "zlib", "gzip"],
                };
                words.iter().map(|word| format!("{word}\n")).collect()
            }
            _ => return Err(Errno::NOENT),
        })
    }

    fn set_attribute(&self, path: &str, value: &str) -> Result<(), Errno> {
        if path != attribute::ISOLATE_STRATEGY {
            return Err(Errno::ACCESS);
        }
        // As the kernel has it: up to 65,535 errors.
        let value: u16 = value.trim().parse().map_err(|_| Errno::INVAL)?;
        locked(&self.open).strategy = u32::from(value);
        Ok(())
    }

    fn open(&self, opener: Process) -> Result<Box<dyn QueueFile>, Errno> {
        let permit = self.permit(opener)?;
        let owner = self.registry.space(opener)?;
        let memory = Arc::new(QueueMemory::new(self.config.queue_bytes()).map_err(|_| Errno::NOMEM)?);
        let reserve = match self.config.reserve {
            0 => None,
            bytes => {
                let fd: OwnedFd = memory.fd().try_clone_to_owned().map_err(|_| Errno::NFILE)?;
                let at = Region::Ss as usize * PAGE;
                let mapping = Mapping::of_memfd(fd, at as u64, bytes).map_err(|_| Errno::NOMEM)?;
                let window = self.registry.window(bytes as u64);
                owner.space.adopt(mapping, window)?;
                Some(window)
            }
        };
        let number = permit.number;
        Ok(Box::new(OpenQueue {
            id: self.registry.next_id(),
            config: self.config.clone(),
            version: self.version,
            layout: self.layout,
            core: self.core,
            orders: self.orders.clone(),
            opener,
            number,
            memory,
            shared: Arc::default(),
            reserve,
            state: Mutex::new(State { permit: Some(permit), ..State::default() }),
            owner,
        }))
    }
}

/// An open queue file.
struct OpenQueue {
    id: u64,
    config: DeviceConfig,
    version: Version,
    layout: Layout,
    core: usize,
    orders: Sender<Order>,
    opener: Process,
    number: u16,
    memory: Arc<QueueMemory>,
    shared: Arc<Shared>,
    /// The address of the memory that was reserved with it.
    reserve: Option<u64>,
    state: Mutex<State>,
    owner: Arc<SpaceOwner>,
}

/// How far it is.
#[derive(Default)]
struct State {
    /// What it is for: as of [`QpContext::kind`].
    kind: u16,
    /// Goes with the queue when that is started.
    permit: Option<Permit>,
    started: bool,
    /// Memory that was given by way of this file.
    shares: Vec<u64>,
    /// Of how many completions somebody was told by poll.
    polled: u64,
}

impl OpenQueue {
    fn start(&self) -> Result<(), Errno> {
        let mut state = locked(&self.state);
        let work = match (self.config.function, state.kind) {
            (Function::Hpre, 0) => Work::Hpre,
            (Function::Zip, 0) => Work::Compress(self.config.level),
            (Function::Zip, 1) => Work::Decompress,
            _ => return Err(Errno::INVAL),
        };
        // Started once: after that, and after it was put back, there is none.
        let permit = state.permit.take().ok_or(Errno::INVAL)?;
        let parts = Parts {
            id: self.id,
            memory: Arc::clone(&self.memory),
            ring: Ring::new(self.config.kind(), self.layout, self.version, self.number),
            shared: Arc::clone(&self.shared),
            work,
            far: self.config.mode == DmaMode::Sva,
            in_place: self.config.inputs == Inputs::InPlace,
            weight: self.config.weight(),
            permit,
        };
        self.owner.serve(self.core, Box::new(parts))?;
        state.started = true;
        Ok(())
    }

    /// Gives the queue back. Returns whether it was with its core.
    fn put(&self) -> bool {
        let mut state = locked(&self.state);
        state.permit = None;
        std::mem::take(&mut state.started) && self.orders.send(Order::Remove(self.id)).is_ok()
    }

    /// The same, and waits: who gives a queue back frees its buffers, so that nothing may be under way then.
    ///
    /// # Errors
    /// `EBUSY`: what has begun does not end. It may still write to the memory that its entries name.
    fn put_and_wait(&self) -> Result<(), Errno> {
        self.put();
        // The core has the other reference, if it has the queue.
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&self.shared) > 1 {
            if Instant::now() >= deadline {
                return Err(Errno::BUSY);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    fn share(&self, argument: &[u8], add: bool) -> Result<Vec<u8>, Errno> {
        let share = share_of(argument).ok_or(Errno::INVAL)?;
        let mut state = locked(&self.state);
        if add {
            self.owner.space.share(&share)?;
            state.shares.push(share.address);
        } else {
            let at = state.shares.iter().position(|address| *address == share.address);
            state.shares.swap_remove(at.ok_or(Errno::NOENT)?);
            drop(state);
            self.owner.space.unshare(share.address)?;
        }
        Ok(Vec::new())
    }
}

fn share_of(bytes: &[u8]) -> Option<Share> {
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let fd = word(24)?.cast_signed();
    Some(Share { address: long(0)?, bytes: long(8)?, offset: long(16)?, fd, access: word(28)? })
}

impl QueueFile for OpenQueue {
    fn memory(&self) -> BorrowedFd<'_> {
        self.memory.fd()
    }

    fn ioctl(&self, caller: Process, command: u32, argument: &[u8]) -> Result<Vec<u8>, Errno> {
        if caller != self.opener {
            return Err(Errno::PERM);
        }
        match command {
            abi::START => self.start().map(|()| Vec::new()),
            abi::PUT_Q => self.put_and_wait().map(|()| Vec::new()),
            abi::QM_SET_QP_CTX => {
                let kind = argument.get(2..4).and_then(|kind| kind.try_into().ok()).ok_or(Errno::INVAL)?;
                let kind = u16::from_ne_bytes(kind);
                locked(&self.state).kind = kind;
                let QpContext { id, kind } = QpContext { id: self.number, kind };
                Ok([id.to_ne_bytes(), kind.to_ne_bytes()].concat())
            }
            abi::QM_SET_QP_INFO => {
                let QpInfo { entry_bytes, sq_depth, cq_depth, reserved } = QpInfo {
                    entry_bytes: self.layout.entry_bytes as u32,
                    sq_depth: self.layout.sq_depth,
                    cq_depth: self.layout.cq_depth,
                    reserved: 0,
                };
                let mut bytes = entry_bytes.to_ne_bytes().to_vec();
                bytes.extend(sq_depth.to_ne_bytes());
                bytes.extend(cq_depth.to_ne_bytes());
                bytes.extend(reserved.to_ne_bytes());
                Ok(bytes)
            }
            abi::GET_SS_DMA => {
                let window = self.reserve.ok_or(Errno::INVAL)?;
                // One slice: all of it. Programs go by its length, where there is no IOMMU.
                let granules = match self.config.mode {
                    DmaMode::NoIommu => (self.config.reserve as u64).div_ceil(abi::SS_GRANULE),
                    _ => 0,
                };
                Ok((window | granules).to_ne_bytes().to_vec())
            }
            abi::SHARE => self.share(argument, true),
            abi::UNSHARE => self.share(argument, false),
            _ => Err(Errno::NOTTY),
        }
    }

    fn may_wait(&self, command: u32) -> bool {
        matches!(command, abi::UNSHARE | abi::PUT_Q)
    }

    fn poll(&self, waker: Option<Box<dyn Waker>>) -> Result<bool, Errno> {
        if let Some(waker) = waker {
            self.shared.arm(waker);
        }
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(Errno::IO);
        }
        let given = self.shared.done.load(Ordering::Acquire);
        let place = given % u64::from(self.layout.cq_depth);
        let word = self.memory.double(self.version.doorbell_at()).load(Ordering::Acquire);
        let mut state = locked(&self.state);
        // What was taken is known if the last doorbell says so. If not, each completion is told of once.
        let ready = match Doorbell::of(word, self.version) {
            Some(bell) if bell.queue == self.number && bell.command == Command::Taken => {
                u64::from(bell.index) != place
            }
            _ => state.polled != given,
        };
        state.polled = given;
        Ok(ready)
    }
}

impl Drop for OpenQueue {
    fn drop(&mut self) {
        self.put();
        let shares = std::mem::take(&mut locked(&self.state).shares);
        shares.into_iter().chain(self.reserve).for_each(|address| self.owner.space.forget(address));
    }
}

/// The depth that queues have unless their device says otherwise.
pub(super) const USUAL_DEPTH: u16 = DEPTH;

/// How entries look.
pub(super) fn entry_kind(function: Function) -> EntryKind {
    match function {
        Function::Hpre => EntryKind::Hpre,
        Function::Zip => EntryKind::Zip,
    }
}
