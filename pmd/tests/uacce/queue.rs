//! A user of queues: system calls and stores, step by step.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use warpdrive_pmd::uacce::abi::qm::{Command, Completion, Doorbell, Layout, Version};
use warpdrive_pmd::uacce::abi::{self, Region, attribute};

use crate::child::Stage;
use crate::lab::{LONG, read_attribute};
use crate::memory::{PAGE, Pages};

/// Opens a queue file.
pub fn open(stage: &Stage, device: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(stage.folder.join("dev").join(device))
}

/// A call with what is in `argument`, which holds the answer afterwards.
pub fn call(file: &impl AsRawFd, command: u32, argument: &mut [u8]) -> io::Result<()> {
    // SAFETY: the kernel reads and writes as many bytes as the number of the command says, which callers provide.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), command.into(), argument.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number of an error; `None`: there was none.
pub fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().map(|e| e.raw_os_error().unwrap_or(-1))
}

/// Says what a queue is for; returns its number.
pub fn context(file: &File, kind: u16) -> io::Result<u16> {
    let mut argument = [0; 4];
    argument[2..].copy_from_slice(&kind.to_ne_bytes());
    call(file, abi::QM_SET_QP_CTX, &mut argument)?;
    Ok(u16::from_ne_bytes([argument[0], argument[1]]))
}

/// Gives a part of a memfd to the device, or takes it back (`abi::UNSHARE`).
pub fn give(
    file: &File,
    command: u32,
    address: u64,
    bytes: usize,
    fd: &OwnedFd,
    access: u32,
) -> io::Result<()> {
    let mut argument = [0; 32];
    argument[..8].copy_from_slice(&address.to_ne_bytes());
    argument[8..16].copy_from_slice(&(bytes as u64).to_ne_bytes());
    argument[24..28].copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
    argument[28..].copy_from_slice(&access.to_ne_bytes());
    call(file, command, &mut argument)
}

/// poll(2) for POLLIN: how many are ready, and what of it.
pub fn poll(file: &impl AsRawFd, timeout_ms: i32) -> (i32, i16) {
    let mut one = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, as it is told.
    let ready = unsafe { libc::poll(&raw mut one, 1, timeout_ms) };
    (ready, one.revents)
}

/// A queue that was opened and mapped.
pub struct Queue {
    pub file: File,
    pub mmio: Pages,
    pub dus: Pages,
    pub layout: Layout,
    version: Version,
    pub number: u16,
    pub tail: u16,
    pub cq_head: u16,
    phase: bool,
}

impl Queue {
    /// All steps up to its start.
    pub fn start(stage: &Stage, device: &str, kind: u16) -> Self {
        let queue = Self::map(stage, device, kind).unwrap_or_else(|e| panic!("{device}: {e}"));
        call(&queue.file, abi::START, &mut []).unwrap();
        queue
    }

    /// All steps before its start.
    pub fn map(stage: &Stage, device: &str, kind: u16) -> io::Result<Self> {
        let file = open(stage, device)?;
        let number = context(&file, kind)?;
        let size = |name| read_attribute(&stage.folder, device, name).parse::<usize>().unwrap();
        let (mmio, dus) = (size(attribute::REGION_MMIO_SIZE), size(attribute::REGION_DUS_SIZE));
        let mut info = [0; 16];
        call(&file, abi::QM_SET_QP_INFO, &mut info)?;
        let [entry_bytes, depths] = [0, 4].map(|at| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap()));
        let depth = depths as u16;
        let layout = Layout::new(entry_bytes as usize, depth, (depths >> 16) as u16, dus);
        let version = Version::of(&read_attribute(&stage.folder, device, attribute::API));
        Ok(Self {
            mmio: Pages::of(&file, Region::Mmio.offset(PAGE as u64) as usize, mmio)?,
            dus: Pages::of(&file, Region::Dus.offset(PAGE as u64) as usize, dus)?,
            file,
            layout: layout.expect("queues that fit into their region"),
            version: version.expect("a known version"),
            number,
            tail: 0,
            cq_head: 0,
            phase: true,
        })
    }

    /// The same queue once more, to write to it from another thread.
    pub fn view(&self) -> Self {
        let map = |region: Region, pages: &Pages| {
            Pages::of(&self.file, region.offset(PAGE as u64) as usize, pages.bytes()).unwrap()
        };
        Self {
            file: self.file.try_clone().unwrap(),
            mmio: map(Region::Mmio, &self.mmio),
            dus: map(Region::Dus, &self.dus),
            ..*self
        }
    }

    /// Writes an entry, and does not ring.
    pub fn put(&mut self, words: &[u32]) {
        self.write(self.tail, words);
        self.tail = (self.tail + 1) % self.layout.sq_depth;
    }

    /// Writes an entry anywhere.
    pub fn write(&self, index: u16, words: &[u32]) {
        let at = self.layout.entry(index);
        for (i, word) in words.iter().enumerate() {
            self.dus.word(at + 4 * i).store(*word, Ordering::Relaxed);
        }
    }

    pub fn ring(&self, command: Command, index: u16) {
        self.ring_as(self.number, command, index);
    }

    /// Rings with another queue's number.
    pub fn ring_as(&self, queue: u16, command: Command, index: u16) {
        let word = Doorbell { queue, command, index, priority: 0 }.word(self.version);
        self.bell(word);
    }

    /// Rings with any word.
    pub fn bell(&self, word: u64) {
        self.mmio.double(self.version.doorbell_at()).store(word, Ordering::Release);
    }

    pub fn send(&mut self, words: &[u32]) {
        self.put(words);
        self.ring(Command::Submitted, self.tail);
    }

    /// The next completion: the entry as it is now, if it is done. The taking is not told to the device.
    pub fn try_recv(&mut self) -> Option<Vec<u32>> {
        let at = self.layout.completion(self.cq_head);
        let last = self.dus.word(at + 12).load(Ordering::Acquire);
        if (last >> 16 & 1 == 1) != self.phase {
            return None;
        }
        let done = Completion::of(&self.dus.get(at, 16).try_into().unwrap());
        assert_eq!(done.queue, self.number);
        let at = self.layout.entry(done.entry);
        let words =
            (0..self.layout.entry_bytes / 4).map(|i| self.dus.word(at + 4 * i).load(Ordering::Relaxed));
        self.cq_head += 1;
        if self.cq_head == self.layout.cq_depth {
            (self.cq_head, self.phase) = (0, !self.phase);
        }
        Some(words.collect())
    }

    #[track_caller]
    pub fn recv(&mut self) -> Vec<u32> {
        let start = Instant::now();
        loop {
            if let Some(words) = self.try_recv() {
                return words;
            }
            assert!(start.elapsed() < LONG, "no completion");
            std::thread::yield_now();
        }
    }

    /// Sends an entry and waits for what it becomes.
    #[track_caller]
    pub fn call(&mut self, words: &[u32]) -> Vec<u32> {
        self.send(words);
        self.recv()
    }

    /// Tells the device what was taken.
    pub fn taken(&self) {
        self.ring(Command::Taken, self.cq_head);
    }

    /// The words that say that it takes, and gives, nothing any more.
    pub fn has_failed(&self) -> (bool, bool) {
        let is_1 = |at| self.dus.word(at).load(Ordering::Acquire) == 1;
        (is_1(self.layout.tx_failed()), is_1(self.layout.rx_failed()))
    }
}
