//! Memory of ours that a device reads and writes: keys, padded numbers, what streams remember.
//!
//! It is cut from shared mappings by the allocator of small blocks, wiped when it is given back, and kept out of core dumps and of
//! children.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use warpdrive_mempool::{
    Access, DmaMode, Domain, Iova, Mapping, PageChoice, PageSize, Region, Sharing, Smm, Va,
};

use super::fork::{Kept, Lineage};

/// Blocks begin at multiples of this.
const ALIGN: usize = 64;
/// Bytes of a mapping, unless a block wants more.
const CHUNK: usize = 512 << 10;

/// Where blocks come from. What devices may access of it is in a domain of its own.
pub(super) struct Arena {
    domain: Domain,
    chunks: Mutex<Vec<Smm>>,
    numa_node: Option<u32>,
    lineage: Lineage,
}

impl Arena {
    /// An empty one, for devices that address memory in this mode. Pages are taken from the node, if it has some.
    pub(super) fn new(mode: DmaMode, numa_node: Option<u32>, lineage: Lineage) -> Arc<Self> {
        Arc::new(Self { domain: Domain::new(mode), chunks: Mutex::default(), numa_node, lineage })
    }

    /// What is mapped.
    pub(super) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Maps memory for the first blocks, so that whoever needs them does not wait for that.
    pub(super) fn prepare(self: &Arc<Self>) -> Result<(), String> {
        self.alloc(ALIGN).map(drop)
    }

    /// A block of zeros.
    pub(super) fn alloc(self: &Arc<Self>, bytes: usize) -> Result<Block, String> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            chunks.iter_mut().enumerate().find_map(|(i, chunk)| chunk.alloc(bytes).ok().map(|va| (va, i)));
        let (va, place) = match found {
            Some(found) => found,
            None => {
                let mut chunk = self.chunk(bytes)?;
                let va = chunk.alloc(bytes).map_err(|e| e.to_string())?;
                chunks.push(chunk);
                (va, chunks.len() - 1)
            }
        };
        let chunk = &chunks[place];
        let iova = chunk.iova_of(va).ok_or("the block has no DMA address")?;
        let region = Arc::clone(chunk.region());
        let block = Block { va, bytes, iova, owner: Kept::new((region, Arc::clone(self)), self.lineage) };
        Ok(block)
    }

    fn chunk(&self, bytes: usize) -> Result<Smm, String> {
        // Without an IOMMU a block is in one piece within one page only.
        let pages = match self.domain.mode() {
            DmaMode::NoIommu => PageChoice::Auto,
            _ => PageChoice::Exactly(PageSize::Size4K),
        };
        let mapping = |node| Mapping::new(bytes.max(CHUNK), pages, Sharing::Shared, node);
        let mapping = mapping(self.numa_node).or_else(|_| mapping(None)).map_err(|e| e.to_string())?;
        // SAFETY: the mapping is ours; the advice changes no byte.
        unsafe { libc::madvise(mapping.as_ptr().cast(), mapping.len(), libc::MADV_DONTDUMP) };
        let region = Arc::new(Region::new(mapping, &self.domain).map_err(|e| e.to_string())?);
        self.domain.map(&region, Access::ReadWrite).map_err(|e| e.to_string())?;
        Smm::init(region, ALIGN).map_err(|e| e.to_string())
    }

    fn free(&self, va: Va) {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        // Of exactly one of them.
        let _ = chunks.iter_mut().find_map(|chunk| chunk.free(va).ok());
    }
}

/// A piece of an arena. A device may write to it at any time, so it is only accessed by atomics. Dropping it wipes it.
pub(super) struct Block {
    va: Va,
    bytes: usize,
    iova: Iova,
    owner: Kept<(Arc<Region>, Arc<Arena>)>,
}

impl Block {
    /// Its address for devices.
    #[inline]
    pub(super) fn iova(&self) -> Iova {
        self.iova
    }

    /// The file that it lies in, for tests.
    #[cfg(test)]
    pub(super) fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.owner.0.mapping().memfd()
    }

    /// A byte of it.
    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.bytes);
        let offset = self.va.0 - self.owner.0.mapping().va().0 + at;
        // SAFETY: inside the region, which the block keeps mapped and which no other block overlaps; accessed by atomics only.
        unsafe { &*self.owner.0.mapping().as_ptr().add(offset).cast::<AtomicU8>() }
    }

    /// Eight bytes of it, `at` being a multiple of eight: blocks are aligned.
    fn double(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.bytes);
        let offset = self.va.0 - self.owner.0.mapping().va().0 + at;
        // SAFETY: as above, and aligned.
        unsafe { &*self.owner.0.mapping().as_ptr().add(offset).cast::<AtomicU64>() }
    }

    /// Writes bytes from `at` on, a multiple of eight.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let (doubles, rest) = bytes.as_chunks::<8>();
        for (i, double) in doubles.iter().enumerate() {
            self.double(at + 8 * i).store(u64::from_ne_bytes(*double), Ordering::Relaxed);
        }
        for (i, byte) in rest.iter().enumerate() {
            self.byte(at + 8 * doubles.len() + i).store(*byte, Ordering::Relaxed);
        }
    }

    /// Reads bytes from `at` on, a multiple of eight, each once.
    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) {
        let (doubles, rest) = bytes.as_chunks_mut::<8>();
        let end = at + 8 * doubles.len();
        for (i, double) in doubles.iter_mut().enumerate() {
            *double = self.double(at + 8 * i).load(Ordering::Relaxed).to_ne_bytes();
        }
        for (i, byte) in rest.iter_mut().enumerate() {
            *byte = self.byte(end + i).load(Ordering::Relaxed);
        }
    }

    /// Makes bytes from `at` on zeros.
    pub(super) fn wipe(&self, at: usize, bytes: usize) {
        // Others see this memory, so the stores are not left out.
        let doubles = bytes / 8;
        for i in 0..doubles {
            self.double(at + 8 * i).store(0, Ordering::Relaxed);
        }
        for i in 8 * doubles..bytes {
            self.byte(at + i).store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // In a child the memory is not there.
        if !self.owner.1.lineage.is_left() {
            self.wipe(0, self.bytes);
            self.owner.1.free(self.va);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Arc<Arena> {
        Arena::new(DmaMode::Sva, None, Lineage::of_this_process().unwrap())
    }

    #[test]
    fn blocks_are_what_devices_may_access_and_are_wiped() {
        let arena = arena();
        let bytes: Vec<u8> = (1..=203).collect();
        let (a, b) = (arena.alloc(203).unwrap(), arena.alloc(203).unwrap());
        a.write(0, &bytes);
        b.write(0, &[0xee; 203]);
        let mut read = [0; 203];
        a.read(0, &mut read);
        assert_eq!(read, *bytes);
        let mut view = arena.domain().view();
        // SAFETY: nobody writes meanwhile.
        let seen = |view: &mut warpdrive_mempool::DomainView, block: Iova| unsafe {
            view.resolve(block, 203, true).unwrap().as_slice().to_vec()
        };
        assert_eq!(seen(&mut view, a.iova()), bytes);
        let (mut tail, at) = ([0; 3], a.iova());
        a.read(200, &mut tail);
        assert_eq!(tail, [201, 202, 203]);
        a.wipe(0, 11);
        assert_eq!(seen(&mut view, at)[..13], [&[0; 11][..], &[12, 13]].concat());
        drop(a);
        assert_eq!(seen(&mut view, at), [0; 203]);
        b.read(0, &mut read);
        assert_eq!(read, [0xee; 203], "its neighbour stays");
        assert_eq!(arena.alloc(10).unwrap().iova(), at, "it is used again");
    }

    #[test]
    fn more_is_mapped_when_it_is_needed() {
        let arena = arena();
        assert_eq!(arena.domain().maps().1.len(), 0, "nothing costs nothing");
        let blocks: Vec<_> = (0..9).map(|_| arena.alloc(64 << 10).unwrap()).collect();
        assert_eq!(arena.domain().maps().1.len(), 2);
        let large = arena.alloc(2 * CHUNK).unwrap();
        assert_eq!(arena.domain().maps().1.len(), 3);
        drop((blocks, large));
        let again: Vec<_> = (0..9).map(|_| arena.alloc(64 << 10).unwrap()).collect();
        assert_eq!((arena.domain().maps().1.len(), again.len()), (3, 9));
    }

    #[test]
    fn nothing_beyond_a_block_is_touched() {
        let arena = arena();
        let block = arena.alloc(100).unwrap();
        let panics = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
        assert!(panics(&|| block.write(0, &[0; 101])) && panics(&|| block.read(96, &mut [0; 8])));
        assert!(panics(&|| block.wipe(8, 93)) && panics(&|| block.write(4, &[0; 8])));
    }

    #[test]
    fn a_child_drops_blocks_without_touching_them() {
        let arena = arena();
        let block = arena.alloc(8).unwrap();
        block.write(0, &[7; 8]);
        let kept = arena.alloc(8).unwrap();
        kept.write(0, &[9; 8]);
        let fd = kept.fd().unwrap().try_clone_to_owned().unwrap();
        assert!(super::super::fork::tests::holds_in_a_child(|| {
            drop(block);
            true
        }));
        let mapping =
            Mapping::new(4096, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        drop((fd, mapping));
        let mut read = [0; 8];
        kept.read(0, &mut read);
        assert_eq!(read, [9; 8]);
    }
}
