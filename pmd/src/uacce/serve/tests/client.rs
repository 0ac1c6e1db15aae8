//! A user of a queue: rings and doorbells by hand.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warpdrive_mempool::Mapping;

use super::super::*;
use crate::uacce::abi::qm::{Command, Completion, Doorbell, Layout, Version};
use crate::uacce::abi::{self, PUT_Q, START};

pub const PATIENCE: Duration = Duration::from_secs(30);
const PAGE: usize = 4096;

/// This process.
pub fn me() -> Process {
    Process(std::process::id())
}

/// An open queue.
pub struct Client {
    pub file: Box<dyn QueueFile>,
    memory: Mapping,
    layout: Layout,
    version: Version,
    pub number: u16,
    pub tail: u16,
    pub cq_head: u16,
    phase: bool,
}

impl Client {
    /// Opens and starts one.
    pub fn open(device: &dyn Accelerator, kind: u16, words: usize) -> Self {
        Self::open_as(device, me(), kind, words).unwrap()
    }

    pub fn open_as(
        device: &dyn Accelerator,
        process: Process,
        kind: u16,
        words: usize,
    ) -> Result<Self, Errno> {
        let file = device.open(process)?;
        let number = |name: &str| device.attribute(name).unwrap().trim().parse::<usize>().unwrap();
        let dus = number(abi::attribute::REGION_DUS_SIZE);
        let version = Version::of(device.attribute(abi::attribute::API).unwrap().trim()).unwrap();
        let fd = file.memory().try_clone_to_owned().unwrap();
        let bytes = rustix::fs::fstat(&fd).unwrap().st_size as usize;
        assert!(bytes >= PAGE + dus);
        let memory = Mapping::of_memfd(fd, 0, bytes).unwrap();
        let mut argument = vec![0, 0];
        argument.extend(kind.to_ne_bytes());
        let answer = file.ioctl(process, abi::QM_SET_QP_CTX, &argument)?;
        let id = u16::from_ne_bytes([answer[0], answer[1]]);
        let info = file.ioctl(process, abi::QM_SET_QP_INFO, &[0; 16])?;
        let depth = u16::from_ne_bytes([info[4], info[5]]);
        assert_eq!(u32::from_ne_bytes([info[0], info[1], info[2], info[3]]) as usize, words * 4);
        file.ioctl(process, START, &[])?;
        let layout = Layout::new(words * 4, depth, depth, dus).unwrap();
        Ok(Self { file, memory, layout, version, number: id, tail: 0, cq_head: 0, phase: true })
    }

    pub fn depth(&self) -> u16 {
        self.layout.sq_depth
    }

    pub fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.memory.len());
        // SAFETY: inside the mapping.
        unsafe { &*self.memory.as_ptr().add(at).cast() }
    }

    fn double(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the doorbell is inside the mapping.
        unsafe { &*self.memory.as_ptr().add(at).cast() }
    }

    /// Writes an entry, and does not ring.
    pub fn put(&mut self, words: &[u32]) {
        let at = PAGE + self.layout.entry(self.tail);
        for (i, word) in words.iter().enumerate() {
            self.word(at + 4 * i).store(*word, Ordering::Relaxed);
        }
        self.tail = (self.tail + 1) % self.layout.sq_depth;
    }

    pub fn ring(&self, command: Command, index: u16) {
        let word = Doorbell { queue: self.number, command, index, priority: 0 }.word(self.version);
        self.double(self.version.doorbell_at()).store(word, Ordering::Release);
    }

    pub fn send(&mut self, words: &[u32]) {
        self.put(words);
        self.ring(Command::Submitted, self.tail);
    }

    /// The next completion and its entry, if it is there.
    pub fn try_recv(&mut self, words: &mut [u32]) -> Option<u16> {
        let at = PAGE + self.layout.completion(self.cq_head);
        let last = self.word(at + 12).load(Ordering::Acquire);
        if (last >> 16 & 1 == 1) != self.phase {
            return None;
        }
        let mut bytes = [0; 16];
        for (i, chunk) in bytes.chunks_mut(4).enumerate() {
            chunk.copy_from_slice(&self.word(at + 4 * i).load(Ordering::Relaxed).to_le_bytes());
        }
        let done = Completion::of(&bytes);
        assert_eq!(done.queue, self.number);
        let at = PAGE + self.layout.entry(done.entry);
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.word(at + 4 * i).load(Ordering::Relaxed);
        }
        self.cq_head += 1;
        if self.cq_head == self.layout.cq_depth {
            (self.cq_head, self.phase) = (0, !self.phase);
        }
        Some(done.entry)
    }

    pub fn recv(&mut self, words: &mut [u32]) -> u16 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(entry) = self.try_recv(words) {
                return entry;
            }
            assert!(Instant::now() < deadline, "no completion");
            std::thread::yield_now();
        }
    }

    /// Sends an entry and waits for what it becomes.
    pub fn call(&mut self, words: &[u32]) -> Vec<u32> {
        self.send(words);
        let mut done = vec![0; words.len()];
        self.recv(&mut done);
        done
    }

    /// Whether the server says that the queue is out of order.
    pub fn has_failed(&self) -> bool {
        let failed = |at| self.word(PAGE + at).load(Ordering::Acquire) == 1;
        failed(self.layout.tx_failed()) && failed(self.layout.rx_failed())
    }

    pub fn put_back(&self) {
        self.file.ioctl(me(), PUT_Q, &[]).unwrap();
    }
}

/// Waits until something is so.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
