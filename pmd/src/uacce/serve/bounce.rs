//! Memory of the server's own in which requests of one process are worked on: what the process cannot change meanwhile.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use warpdrive_mempool::{Access, Domain, Iova, Mapping, Region};
use zeroize::Zeroize;

/// Bytes of a slot: what most requests need at most.
pub(super) const SLOT: usize = 64 << 10;

/// Memory that the engines reach. Pages come when they are first touched.
struct Block {
    region: Arc<Region>,
    domain: Domain,
    /// What it counts in, if it does.
    budget: Option<Arc<AtomicUsize>>,
}

impl Block {
    fn new(bytes: usize, domain: &Domain) -> Result<Self, Errno> {
        let fd =
            rustix::fs::memfd_create("warpdrive-bounce", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, bytes as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Mapping::of_memfd(fd, 0, bytes).map_err(|_| Errno::NOMEM)?;
        let region = Arc::new(Region::new(mapping, domain).map_err(|_| Errno::NOMEM)?);
        domain.map(&region, Access::ReadWrite).map_err(|_| Errno::NOMEM)?;
        Ok(Self { region, domain: domain.clone(), budget: None })
    }

    fn start(&self) -> NonNull<u8> {
        NonNull::new(self.region.mapping().as_ptr()).expect("a mapping does not start at address 0")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.domain.unmap(&self.region);
        if let Some(budget) = &self.budget {
            budget.fetch_add(self.region.mapping().len(), Ordering::Relaxed);
        }
    }
}

/// The slots of one process.
pub(super) struct Slots {
    block: Arc<Block>,
    free: Vec<u32>,
}

impl Slots {
    /// So many of them.
    pub(super) fn new(count: u32, domain: &Domain) -> Result<Self, Errno> {
        let block = Arc::new(Block::new(count as usize * SLOT, domain)?);
        Ok(Self { block, free: (0..count).rev().collect() })
    }

    /// One of at least so many bytes; `None`: they are all in use, or none is as large.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<Bounce> {
        if bytes > SLOT {
            return None;
        }
        let slot = self.free.pop()?;
        // SAFETY: inside the block, which has a slot of this number.
        let start = unsafe { self.block.start().add(slot as usize * SLOT) };
        Some(Bounce { start, bytes: SLOT, slot: Some(slot), _block: Arc::clone(&self.block) })
    }

    /// Takes one back; of others the memory is freed.
    #[inline]
    pub(super) fn put(&mut self, bounce: Bounce) {
        if let Some(slot) = bounce.slot {
            self.free.push(slot);
        }
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }
}

/// Memory for one request. Whoever has it is the only one who touches its bytes; while an engine works on them nobody looks.
pub(super) struct Bounce {
    start: NonNull<u8>,
    bytes: usize,
    slot: Option<u32>,
    _block: Arc<Block>,
}

// SAFETY: the memory is the owner's alone, as that of a Box, and the block lives as long.
unsafe impl Send for Bounce {}

impl Bounce {
    /// One that is larger than a slot, out of a budget of bytes.
    ///
    /// # Errors
    /// `ENOMEM`, also when the budget does not suffice.
    pub(super) fn large(bytes: usize, domain: &Domain, budget: &Arc<AtomicUsize>) -> Result<Self, Errno> {
        let bytes = bytes.next_multiple_of(4096);
        let enough = |left: usize| left.checked_sub(bytes);
        budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).map_err(|_| Errno::NOMEM)?;
        let mut block = Block::new(bytes, domain).inspect_err(|_| {
            budget.fetch_add(bytes, Ordering::Relaxed);
        })?;
        block.budget = Some(Arc::clone(budget));
        let block = Arc::new(block);
        Ok(Self { start: block.start(), bytes, slot: None, _block: block })
    }

    /// Where the engines find a byte of it.
    #[inline]
    pub(super) fn iova(&self, at: usize) -> Iova {
        Iova((self.start.addr().get() + at) as u64)
    }

    /// Its bytes, none of which is with an engine.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the owner's own memory for as long as it is borrowed; what was written there by engines is done.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Forgets the first so many bytes.
    pub(super) fn wipe(&mut self, bytes: usize) {
        self.bytes()[..bytes].zeroize();
    }

    /// Copies in what the process has at a resolved address, as it is at this moment.
    ///
    /// # Safety
    /// `from` was resolved for reading so many bytes, and what keeps it there is held.
    #[inline]
    pub(super) unsafe fn copy_in(&mut self, at: usize, from: Iova, bytes: usize) {
        let to = &mut self.bytes()[at..at + bytes];
        // SAFETY: `to` is ours, and `from` is mapped, by the caller. The process may write to it meanwhile: what is copied
        // is then a mixture, which is all that it gets for that.
        unsafe { std::ptr::copy_nonoverlapping(pointer(from), to.as_mut_ptr(), bytes) };
    }

    /// Copies out to a resolved address of the process.
    ///
    /// # Safety
    /// As [`copy_in`](Self::copy_in), for writing.
    #[inline]
    pub(super) unsafe fn copy_out(&mut self, at: usize, to: Iova, bytes: usize) {
        let from = &self.bytes()[at..at + bytes];
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), pointer(to), bytes) };
    }
}

/// Writes a few bytes to a resolved address of the process.
///
/// # Safety
/// `to` was resolved for writing so many bytes, and what keeps it there is held.
pub(super) unsafe fn put(to: Iova, bytes: &[u8]) {
    // SAFETY: by the caller; the process may read or write there meanwhile, which is its own affair.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(to), bytes.len()) };
}

/// Reads a few bytes from a resolved address of the process.
///
/// # Safety
/// `from` was resolved for reading so many bytes, and what keeps it there is held.
pub(super) unsafe fn get(from: Iova, bytes: &mut [u8]) {
    // SAFETY: by the caller; the process may write there meanwhile, and gets a mixture for that.
    unsafe { std::ptr::copy_nonoverlapping(pointer(from), bytes.as_mut_ptr(), bytes.len()) };
}

fn pointer(at: Iova) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(at.0 as usize)
}
