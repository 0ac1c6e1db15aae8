//! The translation domain: what an IOMMU is for hardware, for the engines of this process.
//!
//! A device is given DMA addresses only. It resolves each through a [`DomainView`], which checks that the whole range
//! is mapped and that the access is permitted; anything else is a [`Fault`] and becomes an error completion.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{DmaMode, Fault, Iova, MemError, Region, Run, Va};

/// What a device may do with a mapped range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read only.
    Read,
    /// Write only.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    fn permits(self, write: bool) -> bool {
        match self {
            Self::ReadWrite => true,
            Self::Read => !write,
            Self::Write => write,
        }
    }
}

/// One address space of devices. Cheap to clone; all clones are the same domain.
#[derive(Clone)]
pub struct Domain {
    shared: Arc<Shared>,
}

struct Shared {
    mode: DmaMode,
    /// Grows with every change, so that views know when to look again.
    generation: AtomicU64,
    table: Mutex<Arc<[Entry]>>,
}

#[derive(Clone)]
struct Entry {
    start: u64,
    len: usize,
    base: NonNull<u8>,
    access: Access,
    region: Arc<Region>,
}

// SAFETY: `base` points into `region`, which the entry keeps alive; it is only handed out as a raw pointer.
unsafe impl Send for Entry {}
// SAFETY: as above; an Entry is never changed once in a table.
unsafe impl Sync for Entry {}

/// Share Domain addresses start here: recognisably neither a user-space nor a physical address of a small machine.
const FIRST_SHARED_IOVA: u64 = 0x10_0000_0000;
/// Next free address for Share Domain regions. One for all domains of the process: an address of one domain that a
/// device of another is given by mistake must fault there, not hit memory that somebody else owns.
static NEXT_SHARED_IOVA: AtomicU64 = AtomicU64::new(FIRST_SHARED_IOVA);

impl Domain {
    /// An empty domain in the given mode.
    #[must_use]
    pub fn new(mode: DmaMode) -> Self {
        Self {
            shared: Arc::new(Shared { mode, generation: AtomicU64::new(0), table: Mutex::new(Arc::new([])) }),
        }
    }

    /// How addresses of this domain are made.
    #[must_use]
    pub fn mode(&self) -> DmaMode {
        self.shared.mode
    }

    /// Takes a range of `len` DMA addresses, with an unmapped guard of 2 MiB behind it.
    pub(crate) fn reserve_range(len: usize) -> Iova {
        const ALIGN: u64 = 2 << 20;
        let step = (len as u64).next_multiple_of(ALIGN) + ALIGN;
        Iova(NEXT_SHARED_IOVA.fetch_add(step, Ordering::Relaxed))
    }

    /// Lets devices of this domain access `region`.
    ///
    /// # Errors
    /// [`MemError::AlreadyMapped`] when any of its addresses is mapped already.
    pub fn map(&self, region: &Arc<Region>, access: Access) -> Result<(), MemError> {
        let mut table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = table.to_vec();
        for run in region.runs() {
            let base = NonNull::new(std::ptr::with_exposed_provenance_mut(run.va.0))
                .expect("a mapping does not start at address 0");
            entries.push(Entry { start: run.iova.0, len: run.len, base, access, region: Arc::clone(region) });
        }
        entries.sort_by_key(|e| e.start);
        for pair in entries.windows(2) {
            if pair[0].start + pair[0].len as u64 > pair[1].start {
                return Err(MemError::AlreadyMapped(Iova(pair[1].start)));
            }
        }
        *table = entries.into();
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes the right to access `region` back. A device sees this before its next batch.
    pub fn unmap(&self, region: &Arc<Region>) {
        let mut table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        *table = table.iter().filter(|e| !Arc::ptr_eq(&e.region, region)).cloned().collect();
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    /// How often the domain has changed. Who has taken over [`maps`](Self::maps) of this generation has seen all changes.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// What devices may access now, by address, and the generation it is of: for a device that keeps a table of its own.
    #[must_use]
    pub fn maps(&self) -> (u64, Vec<Map>) {
        let table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Changed under the lock alone.
        let generation = self.shared.generation.load(Ordering::Acquire);
        let map = |e: &Entry| {
            let run = Run { iova: Iova(e.start), va: Va::of(e.base.as_ptr()), len: e.len };
            Map { run, access: e.access, region: Arc::clone(&e.region) }
        };
        (generation, table.iter().map(map).collect())
    }

    /// A device's own view of this domain.
    #[must_use]
    pub fn view(&self) -> DomainView {
        let mut view =
            DomainView { domain: self.clone(), generation: u64::MAX, table: Arc::new([]), last: 0 };
        view.refresh();
        view
    }
}

/// A stretch of memory that the devices of a domain may access. It stays mapped in this process as long as this lives.
#[derive(Clone, Debug)]
pub struct Map {
    run: Run,
    access: Access,
    region: Arc<Region>,
}

impl Map {
    /// Its addresses and length.
    #[must_use]
    pub fn run(&self) -> Run {
        self.run
    }

    /// What devices may do with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// The file that another process maps to see the same bytes, and where they begin in it. `None`: memory of this process
    /// alone.
    #[must_use]
    pub fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        let mapping = self.region.mapping();
        let offset = self.run.va.0 - mapping.va().0;
        mapping.memfd().map(|fd| (fd, offset as u64))
    }
}

/// The same stretch of the same memory, with the same rights.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        (self.run, self.access) == (other.run, other.access) && Arc::ptr_eq(&self.region, &other.region)
    }
}

impl Eq for Map {}

/// A device's copy of the translation table: looked up without a lock, renewed by [`refresh`](Self::refresh).
pub struct DomainView {
    domain: Domain,
    generation: u64,
    table: Arc<[Entry]>,
    /// The entry of the last hit: nearly always the next one too.
    last: usize,
}

/// `len` bytes that a device may access in the way it asked for. Valid until the view is refreshed.
#[derive(Clone, Copy, Debug)]
pub struct DmaSlice {
    /// First byte.
    pub ptr: NonNull<u8>,
    /// Length in bytes.
    pub len: usize,
}

impl DmaSlice {
    /// The bytes.
    ///
    /// # Safety
    /// The requester gave the bytes to the device and nobody writes them meanwhile; the view is not refreshed while
    /// the slice is used.
    #[must_use]
    pub unsafe fn as_slice<'a>(self) -> &'a [u8] {
        // SAFETY: mapped and populated memory of `len` bytes; exclusivity and lifetime by the caller.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    ///
    /// # Safety
    /// As [`as_slice`](Self::as_slice), and nobody else reads the bytes meanwhile either.
    #[must_use]
    pub unsafe fn as_mut_slice<'a>(self) -> &'a mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl DomainView {
    /// Takes over changes of the domain. One atomic load when there are none; call it once a batch.
    pub fn refresh(&mut self) {
        let now = self.domain.shared.generation.load(Ordering::Acquire);
        if now != self.generation {
            self.take_over(now);
        }
    }

    #[cold]
    fn take_over(&mut self, generation: u64) {
        let table = self.domain.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.table = Arc::clone(&table);
        self.generation = generation;
        self.last = 0;
    }

    /// Resolves `len` bytes from `iova` for reading (or writing): all of them mapped, and permitted.
    ///
    /// # Errors
    /// [`Fault`], to be reported in the completion.
    pub fn resolve(&mut self, iova: Iova, len: usize, write: bool) -> Result<DmaSlice, Fault> {
        let unmapped = Fault::Unmapped { iova, len };
        let hit = |e: &Entry| iova.0 >= e.start && iova.0 - e.start < e.len as u64;
        if !self.table.get(self.last).is_some_and(hit) {
            let after = self.table.partition_point(|e| e.start <= iova.0);
            self.last = after.checked_sub(1).ok_or(unmapped)?;
        }
        let entry = self.table.get(self.last).filter(|e| hit(e)).ok_or(unmapped)?;
        // Fits: `hit` says it is below `entry.len`, a usize.
        let offset = (iova.0 - entry.start) as usize;
        if len > entry.len - offset {
            return Err(unmapped);
        }
        if !entry.access.permits(write) {
            return Err(Fault::Access { iova, write });
        }
        // SAFETY: offset is within the region that `base` starts and the entry keeps alive.
        let ptr = unsafe { entry.base.add(offset) };
        Ok(DmaSlice { ptr, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mapping, PageChoice, PageSize, Sharing};

    fn region(domain: &Domain) -> Arc<Region> {
        let m = Mapping::new(8192, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None);
        Arc::new(Region::new(m.unwrap(), domain).unwrap())
    }

    #[test]
    fn only_whole_mapped_ranges_with_the_right_access_resolve() {
        for mode in [DmaMode::Sva, DmaMode::ShareDomain] {
            let domain = Domain::new(mode);
            let r = region(&domain);
            domain.map(&r, Access::Read).unwrap();
            let mut view = domain.view();
            let base = r.runs()[0].iova;
            assert!(view.resolve(base, 8192, false).is_ok());
            assert!(view.resolve(Iova(base.0 + 8191), 1, false).is_ok());
            assert!(matches!(view.resolve(base, 8193, false), Err(Fault::Unmapped { .. })));
            assert!(matches!(view.resolve(Iova(base.0 - 1), 2, false), Err(Fault::Unmapped { .. })));
            assert!(view.resolve(Iova(base.0 + 8192), 0, false).is_err());
            assert!(view.resolve(Iova(u64::MAX), 2, false).is_err());
            assert!(matches!(view.resolve(base, 1, true), Err(Fault::Access { .. })));
        }
    }

    #[test]
    fn use_after_unmap_is_a_fault() {
        let domain = Domain::new(DmaMode::Sva);
        let r = region(&domain);
        domain.map(&r, Access::ReadWrite).unwrap();
        assert!(matches!(domain.map(&r, Access::Read), Err(MemError::AlreadyMapped(_))));
        let mut view = domain.view();
        let base = r.runs()[0].iova;
        assert!(view.resolve(base, 16, true).is_ok());
        domain.unmap(&r);
        view.refresh();
        assert!(view.resolve(base, 16, true).is_err());
    }

    #[test]
    fn maps_say_what_another_process_has_to_map() {
        use std::os::fd::{AsFd, AsRawFd};
        let domain = Domain::new(DmaMode::ShareDomain);
        assert_eq!(domain.maps(), (0, Vec::new()));
        let (a, b) = (region(&domain), region(&domain));
        domain.map(&b, Access::Write).unwrap();
        domain.map(&a, Access::Read).unwrap();
        let (generation, maps) = domain.maps();
        assert_eq!((generation, domain.generation(), maps.len()), (2, 2, 2));
        assert_eq!((maps[0].run(), maps[0].access()), (a.runs()[0], Access::Read), "by address");
        assert_eq!((maps[1].run(), maps[1].access()), (b.runs()[0], Access::Write));
        let (fd, offset) = maps[1].file().unwrap();
        let expected = b.mapping().memfd().unwrap();
        assert_eq!((fd.as_fd().as_raw_fd(), offset), (expected.as_raw_fd(), 0));
        domain.unmap(&b);
        let (generation, fewer) = domain.maps();
        assert_eq!((generation, fewer.as_slice()), (3, &maps[..1]));
        assert_ne!(fewer[0], maps[1]);

        let m = Mapping::new(4096, PageChoice::Exactly(PageSize::Size4K), Sharing::Private, None).unwrap();
        let private = Arc::new(Region::new(m, &domain).unwrap());
        domain.map(&private, Access::Read).unwrap();
        assert!(domain.maps().1[1].file().is_none(), "of this process alone");
    }
}
