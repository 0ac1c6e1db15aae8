//! Blocks through a queue of a device that reaches nothing but memory that was reserved with it.
#![expect(unsafe_code, reason = "blocks are written to memory that a device has as well")]

use std::sync::Arc;

use warpdrive_mempool::{Region, Smm, Va};
use warpdrive_pmd::uacce::abi::zip::{Asked, COMPRESS, Entry, Format, status, window};
use warpdrive_pmd::uacce::{QmQueue, Reserved, Roots, UacceInfo};

use super::{lost, no_queue};
use crate::BenchError;
use crate::load::Subject;
use crate::subjects::zip::buffer;

/// Completions taken at once.
const BURST: usize = 16;

/// A queue with so many blocks, each with its place in the device's memory, which go round.
pub(super) struct Blocks {
    queue: QmQueue<Entry>,
    entries: Vec<Entry>,
    /// Numbers of blocks that are not under way.
    spare: Vec<usize>,
    batch: Vec<Entry>,
    /// The tag of each block that is under way.
    tags: Vec<u64>,
    back: [Entry; BURST],
    read: u64,
    written: u64,
    _memory: Reserved,
}

impl Blocks {
    /// The first `depth` blocks of `bytes`, to be compressed with level 1.
    pub(super) fn open(
        roots: &Roots,
        device: &str,
        bytes: &[u8],
        block: usize,
        depth: usize,
    ) -> Result<Self, BenchError> {
        let info = Arc::new(UacceInfo::read(roots, device).map_err(|e| no_queue(device, e))?);
        let queue = QmQueue::<Entry>::open(&info, COMPRESS, depth).map_err(|e| no_queue(device, e))?;
        let memory = queue.reserve_mem(reserve(block, depth)).map_err(|e| no_queue(device, e))?;
        let no_room = |what: &str| BenchError::Bug(format!("reserved memory: {what}"));
        let mut smm = Smm::init(Arc::clone(memory.region()), 64).map_err(|e| no_room(&e.to_string()))?;
        let mut place = |len: usize| {
            let va = smm.alloc(len).map_err(|e| no_room(&e.to_string()))?;
            Ok::<_, BenchError>((va, smm.iova_of(va).ok_or_else(|| no_room("no DMA address"))?))
        };
        let mut entries = Vec::with_capacity(depth);
        for (i, block) in bytes.chunks_exact(block).cycle().take(depth).enumerate() {
            let room = buffer(block.len());
            let ((source, from), (_, to)) = (place(block.len())?, place(room)?);
            fill(memory.region(), source, block);
            let asked = Asked {
                format: Format::Deflate,
                source: from.0,
                input: block.len() as u32,
                destination: to.0,
                room: room as u32,
                stream: None,
                begins: true,
                finish: true,
            };
            let mut entry = Entry::new(&asked, 3, i as u32);
            entry.set_window(window(15).unwrap_or(0));
            entry.set_level(1);
            entries.push(entry);
        }
        Ok(Self {
            queue,
            spare: (0..entries.len()).collect(),
            batch: Vec::with_capacity(depth),
            tags: vec![0; entries.len()],
            back: [Entry::default(); BURST],
            entries,
            read: 0,
            written: 0,
            _memory: memory,
        })
    }

    /// What part of the input is left.
    pub(super) fn left(&self) -> f64 {
        self.written as f64 / self.read as f64
    }

    fn done(&mut self, entry: &Entry) -> Result<u64, BenchError> {
        let (number, ended) = (entry.tag() as usize, entry.ended());
        let asked = self.entries.get(number).and_then(Entry::asked);
        if ended.status != status::DONE || asked.is_none_or(|asked| asked.input != ended.consumed) {
            return Err(BenchError::Bug(format!("block {number} ended as {ended:?}")));
        }
        (self.read, self.written) =
            (self.read + u64::from(ended.consumed), self.written + u64::from(ended.produced));
        self.spare.push(number);
        Ok(self.tags[number])
    }
}

/// Memory for so many blocks and what comes of them.
pub(super) fn reserve(block: usize, depth: usize) -> usize {
    const MIB: usize = 1 << 20;
    (depth * (block + buffer(block) + 128)).next_multiple_of(MIB)
}

/// Writes a block.
fn fill(region: &Region, at: Va, block: &[u8]) {
    let mapping = region.mapping();
    let offset = at.0 - mapping.va().0;
    assert!(offset + block.len() <= mapping.len());
    // SAFETY: inside the mapping, which `region` keeps; the block is not in it. No entry names these bytes yet, so the device does
    // not read them, and no reference to them exists here.
    unsafe { std::ptr::copy_nonoverlapping(block.as_ptr(), mapping.as_ptr().add(offset), block.len()) };
}

impl Subject for Blocks {
    fn send(&mut self, tag: u64) -> bool {
        let Some(number) = self.spare.pop() else { return false };
        self.tags[number] = tag;
        self.batch.push(self.entries[number]);
        true
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        let sent = self.queue.send(&self.batch).map_err(lost)?;
        self.batch.drain(..sent);
        Ok(())
    }

    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        let n = self.queue.recv(&mut self.back).map_err(lost)?;
        for i in 0..n {
            let entry = self.back[i];
            done(self.done(&entry)?);
        }
        Ok(n)
    }

    fn in_flight(&self) -> usize {
        self.entries.len() - self.spare.len()
    }

    fn max_depth(&self) -> usize {
        self.entries.len()
    }
}
