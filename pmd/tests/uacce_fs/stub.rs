//! A device that computes nothing and remembers everything.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use warpdrive_pmd::uacce::abi;
use warpdrive_pmd::uacce::serve::{Accelerator, Permissions, Process, QueueFile, Waker};

use crate::client::Map;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Pages of a queue.
pub const PAGES: usize = 40;
/// A call that lasts until [`State::end_slow`], or [`PATIENCE`].
pub const SLOW: u32 = 0x5790;
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// A call that panics.
pub const PANIC: u32 = 0x5791;

/// The device.
pub struct Stub {
    name: String,
    pub permissions: Mutex<Permissions>,
    pub priority: Mutex<u32>,
    /// Its open queues, and those that were opened ever.
    pub queues: Arc<Mutex<Vec<Arc<State>>>>,
    pub openers: Mutex<Vec<Process>>,
    pub limit: AtomicUsize,
}

/// What is known of a queue.
pub struct State {
    memory: File,
    pub map: Map,
    pub calls: Mutex<Vec<(Process, u32, Vec<u8>)>>,
    pub ready: AtomicBool,
    pub failed: AtomicBool,
    waker: Mutex<Option<Box<dyn Waker>>>,
    /// Slow calls under way, and whether they may end.
    slow: Mutex<(usize, bool)>,
    slow_changes: Condvar,
    /// How often somebody polled.
    pub polls: AtomicUsize,
}

impl Stub {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            permissions: Mutex::new(Permissions { mode: 0o660, uid: 0, gid: 0 }),
            priority: Mutex::new(3),
            queues: Arc::default(),
            openers: Mutex::default(),
            limit: AtomicUsize::new(usize::MAX),
        }
    }

    /// The newest of its open queues.
    #[track_caller]
    pub fn newest(&self) -> Arc<State> {
        Arc::clone(self.queues.lock().unwrap().last().expect("a queue is open"))
    }

    /// How many queues are open.
    pub fn open_queues(&self) -> usize {
        self.queues.lock().unwrap().len()
    }
}

impl State {
    fn new() -> Self {
        let memory = rustix::fs::memfd_create("queue", MemfdFlags::CLOEXEC).unwrap();
        let memory = File::from(memory);
        memory.set_len((PAGES * PAGE) as u64).unwrap();
        let map = Map::new(&memory, 0, PAGES * PAGE).unwrap();
        Self {
            memory,
            map,
            calls: Mutex::default(),
            ready: AtomicBool::default(),
            failed: AtomicBool::default(),
            waker: Mutex::default(),
            slow: Mutex::default(),
            slow_changes: Condvar::default(),
            polls: AtomicUsize::default(),
        }
    }

    /// A completion comes.
    pub fn complete(&self) {
        self.ready.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub fn wake(&self) {
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn be_slow(&self) {
        let mut slow = self.slow.lock().unwrap();
        slow.0 += 1;
        let wait = self.slow_changes.wait_timeout_while(slow, PATIENCE, |slow| !slow.1);
        wait.unwrap().0.0 -= 1;
    }

    /// How many slow calls are under way.
    pub fn slow_calls(&self) -> usize {
        self.slow.lock().unwrap().0
    }

    /// Lets them end.
    pub fn end_slow(&self) {
        self.slow.lock().unwrap().1 = true;
        self.slow_changes.notify_all();
    }

    pub fn has_waker(&self) -> bool {
        self.waker.lock().unwrap().is_some()
    }
}

/// What is given out.
struct Queue {
    state: Arc<State>,
    of: Arc<Mutex<Vec<Arc<State>>>>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.of.lock().unwrap().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

impl Accelerator for Stub {
    fn name(&self) -> &str {
        &self.name
    }

    fn permissions(&self) -> Permissions {
        *self.permissions.lock().unwrap()
    }

    fn attributes(&self) -> &[&'static str] {
        &["api", "available_instances", "priority", "device/numa_node", "device/empty"]
    }

    fn attribute(&self, path: &str) -> Result<String, Errno> {
        let limit = self.limit.load(Ordering::SeqCst);
        match path {
            "api" => Ok("hisi_qm_v1\n".to_owned()),
            "available_instances" => Ok(format!("{}\n", limit.min(1000) - self.open_queues())),
            "priority" => Ok(format!("{}\n", self.priority.lock().unwrap())),
            "device/numa_node" => Ok("0\n".to_owned()),
            "device/empty" => Ok(String::new()),
            _ => Err(Errno::NOENT),
        }
    }

    fn set_attribute(&self, path: &str, value: &str) -> Result<(), Errno> {
        if path != "priority" {
            return Err(Errno::ACCESS);
        }
        *self.priority.lock().unwrap() = value.parse().map_err(|_| Errno::INVAL)?;
        Ok(())
    }

    fn open(&self, opener: Process) -> Result<Box<dyn QueueFile>, Errno> {
        let mut queues = self.queues.lock().unwrap();
        if queues.len() >= self.limit.load(Ordering::SeqCst) {
            return Err(Errno::BUSY);
        }
        let mut openers = self.openers.lock().unwrap();
        openers.push(opener);
        let state = Arc::new(State::new());
        state.map.store(state.map.bytes() - 8, openers.len() as u64);
        queues.push(Arc::clone(&state));
        Ok(Box::new(Queue { state, of: Arc::clone(&self.queues) }))
    }
}

impl QueueFile for Queue {
    fn memory(&self) -> BorrowedFd<'_> {
        self.state.memory.as_fd()
    }

    fn ioctl(&self, caller: Process, command: u32, argument: &[u8]) -> Result<Vec<u8>, Errno> {
        self.state.calls.lock().unwrap().push((caller, command, argument.to_vec()));
        match command {
            abi::START | abi::PUT_Q | abi::SHARE => Ok(Vec::new()),
            abi::GET_SS_DMA => Ok(0x1122_3344_5566_7788_u64.to_le_bytes().to_vec()),
            // All bits the other way round.
            abi::QM_SET_QP_CTX | abi::QM_SET_QP_INFO => Ok(argument.iter().map(|byte| !byte).collect()),
            SLOW => {
                self.state.be_slow();
                Ok(Vec::new())
            }
            PANIC => panic!("as it was told"),
            _ => Err(Errno::NOTTY),
        }
    }

    fn poll(&self, waker: Option<Box<dyn Waker>>) -> Result<bool, Errno> {
        if let Some(waker) = waker {
            *self.state.waker.lock().unwrap() = Some(waker);
        }
        self.state.polls.fetch_add(1, Ordering::SeqCst);
        match self.state.failed.load(Ordering::SeqCst) {
            true => Err(Errno::IO),
            false => Ok(self.state.ready.load(Ordering::SeqCst)),
        }
    }
}
