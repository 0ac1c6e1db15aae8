//! A device inside the test process: a thread that plays the server on the memory of each queue file, by the bare rules of the ABI.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::io::Errno;
use warpdrive_mempool::{Mapping, PageChoice, PageSize, Sharing};

use super::abi::qm::{self, Command, Completion, Doorbell, Layout, QpContext, QpInfo, Version};
use super::abi::{self, Region, Share, attribute};
use super::discover::{DiscoverError, Roots, UacceInfo};
use super::file::{Heard, Mapped, Opener, QueueFile};
use super::fork::Lineage;

pub(super) mod engines;

/// What computes: the entry's words come in, and go out as the device would leave them.
pub(super) type Engine = Box<dyn FnMut(u16, &mut [u32]) + Send>;

/// How a device is made.
pub(super) struct Plan {
    pub(super) api: &'static str,
    pub(super) flags: u32,
    pub(super) algorithms: &'static str,
    /// Words of a device of ours; `None`: hardware.
    pub(super) words: Option<&'static str>,
    pub(super) entry_bytes: usize,
    /// What the driver says of depths; `None`: it does not.
    pub(super) info: Option<QpInfo>,
    /// Answers to GET_SS_DMA, one by one.
    pub(super) slices: Vec<u64>,
    /// Bytes behind the queue, for memory that is reserved.
    pub(super) reserve: usize,
}

impl Plan {
    pub(super) fn hpre() -> Self {
        Self {
            api: "hisi_qm_v1",
            flags: 1,
            algorithms: "rsa\ndh\n",
            words: Some("share heartbeat null"),
            entry_bytes: 64,
            info: None,
            slices: Vec::new(),
            reserve: 0,
        }
    }

    pub(super) fn zip() -> Self {
        let words = Some("share heartbeat zlib gzip level");
        Self { algorithms: "deflate\n", words, entry_bytes: 128, ..Self::hpre() }
    }

    /// Rings of so many places.
    pub(super) fn depth(self, sq_depth: u16, cq_depth: u16) -> Self {
        let entry_bytes = self.entry_bytes as u32;
        Self { info: Some(QpInfo { entry_bytes, sq_depth, cq_depth, reserved: 0 }), ..self }
    }
}

/// The device.
#[derive(Clone)]
pub(super) struct Fake(Arc<Shared>);

pub(super) struct Shared {
    plan: Plan,
    engine: Mutex<Engine>,
    /// Calls that fail.
    pub(super) refuse: Mutex<HashMap<u32, Errno>>,
    /// Calls so far.
    pub(super) calls: Mutex<Vec<(u32, Vec<u8>)>>,
    /// Memory that was given.
    pub(super) maps: Mutex<Vec<Share>>,
    /// Doorbells so far, as far as they were seen.
    pub(super) doorbells: Mutex<Vec<u64>>,
    pub(super) open: AtomicUsize,
    /// The server is gone.
    pub(super) killed: AtomicBool,
    /// It says that it has failed.
    pub(super) failed: AtomicBool,
    /// Nothing is taken for now.
    pub(super) held: AtomicBool,
    /// Completions of a burst come backwards.
    pub(super) backwards: AtomicBool,
    /// Completions name these entries instead.
    pub(super) lie: Mutex<Option<u16>>,
    /// Who serves it next says this of it.
    pub(super) next: Mutex<Option<UacceInfo>>,
}

impl std::ops::Deref for Fake {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

const PAGE: usize = 4096;
/// The queue's number in doorbells.
pub(super) const NUMBER: u16 = 0x123;

impl Fake {
    pub(super) fn new(plan: Plan, engine: Engine) -> Self {
        Self(Arc::new(Shared {
            plan,
            engine: Mutex::new(engine),
            refuse: Mutex::default(),
            calls: Mutex::default(),
            maps: Mutex::default(),
            doorbells: Mutex::default(),
            open: AtomicUsize::new(0),
            killed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            held: AtomicBool::new(false),
            backwards: AtomicBool::new(false),
            lie: Mutex::default(),
            next: Mutex::default(),
        }))
    }

    fn layout(&self) -> Layout {
        let told = self.plan.info.unwrap_or(QpInfo {
            sq_depth: qm::DEPTH,
            cq_depth: qm::DEPTH,
            ..QpInfo::default()
        });
        let (sq, cq) = (usize::from(told.sq_depth), usize::from(told.cq_depth));
        let bytes = (sq * self.plan.entry_bytes + cq * qm::COMPLETION + 8).next_multiple_of(PAGE);
        Layout::new(self.plan.entry_bytes, told.sq_depth, told.cq_depth, bytes).unwrap()
    }

    fn version(&self) -> Version {
        Version::of(self.plan.api).unwrap()
    }

    /// As it would be found.
    pub(super) fn info(&self) -> Arc<UacceInfo> {
        let plan = &self.plan;
        // With queues of version 2 only a file that is served has its regions one over the other.
        let mmio = if self.version() == Version::V1 { PAGE } else { 2 * PAGE };
        let read = |name: &str| {
            Ok(match name {
                attribute::API => plan.api.to_owned(),
                attribute::FLAGS => plan.flags.to_string(),
                attribute::ALGORITHMS => plan.algorithms.to_owned(),
                attribute::REGION_MMIO_SIZE => mmio.to_string(),
                attribute::REGION_DUS_SIZE => self.layout().bytes.to_string(),
                attribute::NUMA_NODE => "-1".to_owned(),
                attribute::WARPDRIVE if plan.words.is_some() => plan.words.unwrap_or_default().to_owned(),
                _ => return Err(io::ErrorKind::NotFound.into()),
            })
        };
        Arc::new(UacceInfo::of("fake-0", &Roots::below(Path::new("/fake")), read).unwrap())
    }

    /// How often a call was made.
    pub(super) fn count(&self, command: u32) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.0 == command).count()
    }

    /// The server dies; later another one may come.
    pub(super) fn kill(&self, dead: bool) {
        self.killed.store(dead, Ordering::SeqCst);
    }

    /// Who has it: its queues, their threads and devices, and the test.
    pub(super) fn users(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }
}

impl Opener for Fake {
    fn look(&self, info: &UacceInfo) -> Result<UacceInfo, DiscoverError> {
        Ok(self.next.lock().unwrap().clone().unwrap_or_else(|| info.clone()))
    }

    fn open(&self, _path: &Path) -> io::Result<Box<dyn QueueFile>> {
        if self.killed.load(Ordering::SeqCst) {
            return Err(Errno::NOTCONN.into());
        }
        if let Some(errno) = self.refuse.lock().unwrap().get(&0) {
            return Err((*errno).into());
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let bytes = PAGE * 2 + self.layout().bytes + self.plan.reserve;
        let memory =
            Mapping::new(bytes, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        let file = FakeFile {
            device: self.clone(),
            memory,
            server: Mutex::new(None),
            stop: Arc::default(),
            kind: Mutex::new(0),
            // A server that comes later knows nothing of this file.
            dead: Arc::default(),
            given: Arc::default(),
            polled: AtomicUsize::new(0),
            lineage: Lineage::of_this_process().unwrap(),
        };
        Ok(Box::new(file))
    }
}

struct FakeFile {
    device: Fake,
    memory: Mapping,
    server: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
    kind: Mutex<u16>,
    dead: Arc<AtomicBool>,
    /// Completions so far, and up to which somebody was told by poll.
    given: Arc<AtomicUsize>,
    polled: AtomicUsize,
    lineage: Lineage,
}

impl FakeFile {
    fn is_dead(&self) -> bool {
        if self.device.killed.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.dead.load(Ordering::SeqCst)
    }

    fn halt(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(server) = self.server.lock().unwrap().take() {
            let _ = server.join();
        }
    }

    fn regions(&self) -> Mapped {
        let lineage = Lineage::of_this_process().unwrap();
        Mapped::new(self.memory.memfd().unwrap(), 0, self.memory.len(), lineage).unwrap()
    }
}

impl QueueFile for FakeFile {
    fn fd(&self) -> BorrowedFd<'_> {
        self.memory.memfd().unwrap()
    }

    fn call(&self, command: u32, argument: &mut [u8]) -> Result<u32, Errno> {
        if self.is_dead() {
            return Err(Errno::NOTCONN);
        }
        assert_eq!(argument.len(), (command >> 16 & 0x3fff) as usize, "as many bytes as the number says");
        self.device.calls.lock().unwrap().push((command, argument.to_vec()));
        if let Some(errno) = self.device.refuse.lock().unwrap().get(&command) {
            return Err(*errno);
        }
        match command {
            abi::QM_SET_QP_CTX => {
                *self.kind.lock().unwrap() = QpContext::of(argument.try_into().unwrap()).kind;
                argument[..2].copy_from_slice(&NUMBER.to_ne_bytes());
            }
            abi::QM_SET_QP_INFO => match self.device.plan.info {
                Some(info) => argument.copy_from_slice(&info.bytes()),
                None => return Err(Errno::INVAL),
            },
            abi::START => {
                let server = Server {
                    device: self.device.clone(),
                    regions: self.regions(),
                    layout: self.device.layout(),
                    kind: *self.kind.lock().unwrap(),
                    stop: Arc::clone(&self.stop),
                    dead: Arc::clone(&self.dead),
                    given: Arc::clone(&self.given),
                };
                *self.server.lock().unwrap() = Some(std::thread::spawn(move || server.serve()));
            }
            abi::PUT_Q => self.halt(),
            abi::SHARE => self.device.maps.lock().unwrap().push(Share::of(argument).unwrap()),
            abi::UNSHARE => {
                let address = Share::of(argument).unwrap().address;
                let mut maps = self.device.maps.lock().unwrap();
                let at = maps.iter().position(|map| map.address == address).ok_or(Errno::NOENT)?;
                maps.remove(at);
            }
            abi::GET_SS_DMA => {
                let index = u64::from_ne_bytes(argument.try_into().unwrap()) as usize;
                let slices = &self.device.plan.slices;
                let slice = slices.get(index).ok_or(Errno::INVAL)?;
                argument.copy_from_slice(&slice.to_ne_bytes());
                return Ok(u32::from(index + 1 < slices.len()));
            }
            _ => return Err(Errno::NOTTY),
        }
        Ok(0)
    }

    fn wait(&self, timeout: Duration) -> Heard {
        let (begun, regions) = (Instant::now(), self.regions());
        let version = self.device.version();
        loop {
            if self.is_dead() {
                return Heard::Failed;
            }
            let given = self.given.load(Ordering::SeqCst);
            // What was taken is known if the last doorbell says so. If not, each completion is told of once.
            let bell = regions.double(version.doorbell_at()).load(Ordering::Acquire);
            let taken = Doorbell::of(bell, version).filter(|bell| bell.command == Command::Taken);
            let ready = match taken {
                Some(bell) => usize::from(bell.index) != given % usize::from(self.device.layout().cq_depth),
                None => self.polled.swap(given, Ordering::SeqCst) != given,
            };
            if ready {
                return Heard::Ready;
            }
            if begun.elapsed() >= timeout {
                return Heard::Nothing;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        if self.lineage.is_left() {
            // The thread is the parent's.
            std::mem::forget(self.server.lock().unwrap().take());
            return;
        }
        self.halt();
        self.device.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn dus() -> usize {
    Region::Dus.offset(PAGE as u64) as usize
}

/// The server's side of one queue.
struct Server {
    device: Fake,
    regions: Mapped,
    layout: Layout,
    kind: u16,
    stop: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
    given: Arc<AtomicUsize>,
}

impl Server {
    fn serve(self) {
        let (mut head, mut tail, mut cq_tail, mut phase, mut beat, mut seen) = (0, 0, 0, true, 0, 0);
        let version = self.device.version();
        while !self.stop.load(Ordering::SeqCst) && !self.dead.load(Ordering::SeqCst) {
            if self.device.killed.load(Ordering::SeqCst) {
                self.dead.store(true, Ordering::SeqCst);
                break;
            }
            if self.device.failed.load(Ordering::SeqCst) {
                for at in [self.layout.tx_failed(), self.layout.rx_failed()] {
                    self.regions.word(dus() + at).store(1, Ordering::Release);
                }
            }
            beat += 1;
            self.regions.word(abi::HEARTBEAT_AT).store(beat, Ordering::Relaxed);
            let word = self.regions.double(version.doorbell_at()).load(Ordering::Acquire);
            if word != seen {
                seen = word;
                self.device.doorbells.lock().unwrap().push(word);
            }
            let bell = Doorbell::of(word, version).filter(|bell| bell.queue == NUMBER && word != 0);
            if let Some(bell) = bell.filter(|bell| bell.command == Command::Submitted) {
                tail = bell.index;
            }
            if self.device.held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            if tail == head && bell.is_some_and(|bell| bell.command == Command::Taken) && self.is_new(head) {
                // It has hidden another. Once more, when the writer has surely finished.
                std::thread::sleep(Duration::from_millis(1));
                tail = self.after(head);
            }
            if tail == head {
                std::thread::yield_now();
                continue;
            }
            let mut burst = Vec::new();
            while head != tail {
                burst.push(head);
                head = self.after(head);
            }
            if self.device.backwards.load(Ordering::SeqCst) {
                burst.reverse();
            }
            for place in burst {
                self.work(place);
                let entry = self.device.lie.lock().unwrap().unwrap_or(place);
                let bytes = Completion { entry, queue: NUMBER, phase }.bytes();
                let half = u64::from_le_bytes(*bytes.last_chunk().unwrap());
                self.regions
                    .double(dus() + self.layout.completion(cq_tail) + 8)
                    .store(half, Ordering::Release);
                cq_tail += 1;
                if cq_tail == self.layout.cq_depth {
                    (cq_tail, phase) = (0, !phase);
                }
                self.given.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn after(&self, place: u16) -> u16 {
        (place + 1) % self.layout.sq_depth
    }

    fn work(&self, place: u16) {
        let mut words = vec![0; self.layout.entry_bytes / 4];
        let at = dus() + self.layout.entry(place);
        self.regions.read(at, &mut words);
        (self.device.engine.lock().unwrap())(self.kind, &mut words);
        if words.len() == 32 {
            words[2] |= 1 << 31; // done, for `is_new`
        }
        self.regions.write(at, &words);
    }

    fn is_new(&self, place: u16) -> bool {
        let mut words = vec![0; self.layout.entry_bytes / 4];
        self.regions.read(dus() + self.layout.entry(place), &mut words);
        if words.len() == 32 { words[9] != 0 && words[2] >> 31 == 0 } else { words[0] >> 30 == 1 }
    }
}
