//! Where pages come from: hugepages when the machine has them, 4 KiB pages when not, and always what was really got.
//!
//! Two kinds of mapping exist because `hugepage-rs` maps `MAP_PRIVATE`: a private hugepage moves on the first write
//! after a fork, so memory that a device or another process shares comes from a memfd mapped `MAP_SHARED` instead.
//! `hugepage-rs` serves the large arenas that stay inside this process (buffer headers, tables, captures in memory).

use std::alloc::Layout;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use crate::{MemError, Va};

/// A page size of x86-64 and arm64 (4 KiB granule) Linux.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PageSize {
    /// Ordinary pages, locked in memory where the limit permits.
    Size4K,
    /// 2 MiB hugepages (`vm.nr_hugepages`).
    Size2M,
    /// 1 GiB hugepages.
    Size1G,
}

impl PageSize {
    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        1 << self.shift()
    }

    fn shift(self) -> u32 {
        match self {
            Self::Size4K => 12,
            Self::Size2M => 21,
            Self::Size1G => 30,
        }
    }

    /// The file under `/sys/kernel/mm/hugepages` that sets how many there are, if this is a hugepage size.
    #[must_use]
    pub fn sysfs_dir(self) -> Option<&'static str> {
        match self {
            Self::Size4K => None,
            Self::Size2M => Some("/sys/kernel/mm/hugepages/hugepages-2048kB"),
            Self::Size1G => Some("/sys/kernel/mm/hugepages/hugepages-1048576kB"),
        }
    }

    /// The command that makes enough pages for `bytes`.
    pub(crate) fn remedy(self, bytes: usize) -> String {
        match self.sysfs_dir() {
            None => "free memory, or a smaller pool".to_owned(),
            Some(dir) => format!(
                "add at least {} to {dir}/nr_hugepages (as root), or pages = \"auto\"",
                bytes.div_ceil(self.bytes())
            ),
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size4K => "4 KiB",
            Self::Size2M => "2 MiB",
            Self::Size1G => "1 GiB",
        })
    }
}

/// Which pages to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PageChoice {
    /// The largest that fits the size and is free, else 4 KiB.
    #[default]
    Auto,
    /// This size or an error.
    Exactly(PageSize),
}

/// Who else may see the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// This process alone: never given to a device.
    Private,
    /// Devices and other processes: a memfd mapped `MAP_SHARED`, stable across fork.
    Shared,
}

/// One mapping of zeroed, populated memory. It is not inherited by a forked child, and unmapped on drop.
pub struct Mapping {
    ptr: NonNull<u8>,
    len: usize,
    page: PageSize,
    locked: bool,
    numa_node: Option<u32>,
    fallback: Option<String>,
    source: Source,
}

enum Source {
    /// From `hugepage-rs`, to be returned with the same layout.
    HugepageRs(Layout),
    /// Of our own `mmap`: private memory, or a device's.
    Anonymous,
    Memfd(OwnedFd),
    /// Pages of a file that somebody else has made. It is not kept open: many parts may be mapped, and descriptors are few.
    Foreign,
}

// SAFETY: a Mapping owns its address range; it hands out raw pointers only, whose users answer for their accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method of a shared Mapping touches the mapped bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps at least `bytes` (rounded up to whole pages), on `numa_node` if given.
    ///
    /// # Errors
    /// [`MemError::Pages`] when an exact choice cannot be met, or when not even 4 KiB pages are to be had.
    pub fn new(
        bytes: usize,
        choice: PageChoice,
        sharing: Sharing,
        numa_node: Option<u32>,
    ) -> Result<Self, MemError> {
        match choice {
            PageChoice::Exactly(page) => Self::of_size(bytes, page, sharing, numa_node),
            PageChoice::Auto => {
                let mut why = None;
                // A 1 GiB page for a small pool would waste most of it.
                let candidates: &[PageSize] = if bytes >= PageSize::Size1G.bytes() {
                    &[PageSize::Size1G, PageSize::Size2M]
                } else {
                    &[PageSize::Size2M]
                };
                for &page in candidates {
                    match Self::of_size(bytes, page, sharing, numa_node) {
                        Ok(mut got) => {
                            got.fallback = why;
                            return Ok(got);
                        }
                        Err(e) => why = Some(e.to_string()),
                    }
                }
                let mut got = Self::of_size(bytes, PageSize::Size4K, sharing, numa_node)?;
                got.fallback = why;
                Ok(got)
            }
        }
    }

    /// Maps memory that another process has made: `bytes` of its memfd from `offset`, both whole pages. Nothing is populated,
    /// locked or bound: that is the other's affair.
    ///
    /// # Errors
    /// [`MemError::Foreign`]: it is no memfd, one that could shrink and would then end whoever touches it (`SIGBUS`), or
    /// shorter than that.
    pub fn of_memfd(fd: OwnedFd, offset: u64, bytes: usize) -> Result<Self, MemError> {
        let fail = |cause| MemError::Foreign { bytes, cause };
        let page = memfd_pages(&fd, offset, bytes).map_err(fail)?;
        let offset = libc::off_t::try_from(offset).map_err(|e| fail(io::Error::other(e)))?;
        let ptr = map_at(bytes, libc::MAP_SHARED, fd.as_raw_fd(), offset).map_err(fail)?;
        let locked = page != PageSize::Size4K;
        let this =
            Self { ptr, len: bytes, page, locked, numa_node: None, fallback: None, source: Source::Foreign };
        // SAFETY: the mapping that this value owns; the advice keeps it from children and changes no byte.
        if unsafe { libc::madvise(this.ptr.as_ptr().cast(), bytes, libc::MADV_DONTFORK) } != 0 {
            return Err(fail(io::Error::last_os_error()));
        }
        Ok(this)
    }

    fn of_size(
        bytes: usize,
        page: PageSize,
        sharing: Sharing,
        numa_node: Option<u32>,
    ) -> Result<Self, MemError> {
        let fail = |cause| MemError::Pages { size: page, bytes, cause };
        let len = bytes.max(1).checked_next_multiple_of(page.bytes());
        let len = len.ok_or_else(|| fail(io::ErrorKind::OutOfMemory.into()))?;
        let (ptr, source) = match sharing {
            Sharing::Private => map_private(len, page).map_err(fail)?,
            Sharing::Shared => map_shared(len, page).map_err(fail)?,
        };
        let mut mapping = Self {
            ptr,
            len,
            page,
            locked: page != PageSize::Size4K, // hugetlb pages are never swapped
            numa_node: None,
            fallback: None,
            source,
        };
        mapping.settle(numa_node).map_err(fail)?;
        Ok(mapping)
    }

    /// Binds, locks, hides from children and populates the pages, in this order.
    fn settle(&mut self, numa_node: Option<u32>) -> io::Result<()> {
        let base = self.ptr.as_ptr().cast::<libc::c_void>();
        if let Some(node) = numa_node {
            bind_to_node(base, self.len, node)?;
            self.numa_node = Some(node);
        }
        // SAFETY: base..base+len is the mapping this value owns; neither call touches other memory.
        unsafe {
            if libc::madvise(base, self.len, libc::MADV_DONTFORK) != 0 {
                return Err(io::Error::last_os_error());
            }
            if self.page == PageSize::Size4K {
                // An unprivileged process has RLIMIT_MEMLOCK; being unlocked is reported, not fatal.
                self.locked = libc::mlock(base, self.len) == 0;
            }
            if libc::madvise(base, self.len, libc::MADV_POPULATE_WRITE) != 0 {
                let e = io::Error::last_os_error();
                // Before Linux 5.14 the advice is unknown: touch each page instead. Hugetlb pages were reserved by
                // mmap, so that cannot fault.
                if e.raw_os_error() != Some(libc::EINVAL) {
                    return Err(e);
                }
                for offset in (0..self.len).step_by(self.page.bytes()) {
                    self.ptr.as_ptr().add(offset).write_volatile(0);
                }
            }
        }
        Ok(())
    }

    /// First byte of the mapping. Valid for [`len`](Self::len) bytes as long as the mapping lives.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Virtual address of the first byte.
    #[must_use]
    pub fn va(&self) -> Va {
        Va::of(self.ptr.as_ptr())
    }

    /// Length in bytes, a multiple of the page size.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The page size that was got.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// Whether the pages cannot be swapped out.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// The NUMA node the pages were bound to, if any.
    #[must_use]
    pub fn numa_node(&self) -> Option<u32> {
        self.numa_node
    }

    /// Why larger pages were not used, if they were tried.
    #[must_use]
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// The memfd behind a shared mapping: what another process maps to see the same memory.
    #[must_use]
    pub fn memfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Memfd(fd) => Some(fd.as_fd()),
            _ => None,
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match self.source {
            // SAFETY: the pointer came from hugepage_rs::alloc with this layout and is given back once.
            Source::HugepageRs(layout) => unsafe {
                hugepage_rs::dealloc(self.ptr.as_ptr(), layout);
            },
            // SAFETY: ptr..ptr+len is our own mapping, unmapped once; its users hold it alive.
            Source::Anonymous | Source::Memfd(_) | Source::Foreign => unsafe {
                libc::munmap(self.ptr.as_ptr().cast(), self.len);
            },
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} + {} in {} pages)", self.va(), self.len, self.page)
    }
}

impl Mapping {
    /// Maps memory of a device: `bytes` of its file from `offset`, both whole pages of 4 KiB. It stays what the device makes of
    /// it; nothing is populated, locked or bound.
    ///
    /// # Errors
    /// [`MemError::Foreign`]: what the system call says.
    pub fn of_device(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Self, MemError> {
        let fail = |cause| MemError::Foreign { bytes, cause };
        let page = PageSize::Size4K;
        if bytes == 0 || !bytes.is_multiple_of(page.bytes()) || !offset.is_multiple_of(page.bytes() as u64) {
            let cause = format!("{bytes} bytes from {offset:#x} are not whole pages of {page}");
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, cause)));
        }
        let offset = libc::off_t::try_from(offset).map_err(|e| fail(io::Error::other(e)))?;
        let ptr = map_at(bytes, libc::MAP_SHARED, file.as_raw_fd(), offset).map_err(fail)?;
        let source = Source::Anonymous;
        let this = Self { ptr, len: bytes, page, locked: true, numa_node: None, fallback: None, source };
        // SAFETY: the mapping that this value owns; the advice keeps it from children and changes no byte.
        if unsafe { libc::madvise(this.ptr.as_ptr().cast(), bytes, libc::MADV_DONTFORK) } != 0 {
            return Err(fail(io::Error::last_os_error()));
        }
        Ok(this)
    }
}

fn map_private(len: usize, page: PageSize) -> io::Result<(NonNull<u8>, Source)> {
    // hugepage-rs maps the default hugepage size only, and panics where the kernel has no hugetlb at all.
    if page == PageSize::Size2M && default_hugepage_bytes() == Some(page.bytes()) {
        let layout = Layout::from_size_align(len, page.bytes()).map_err(io::Error::other)?;
        // SAFETY: the layout is not of zero size.
        let ptr = unsafe { hugepage_rs::alloc(layout) };
        return NonNull::new(ptr)
            .map(|p| (p, Source::HugepageRs(layout)))
            .ok_or_else(io::Error::last_os_error);
    }
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    if page != PageSize::Size4K {
        flags |= libc::MAP_HUGETLB | ((page.shift() as i32) << libc::MAP_HUGE_SHIFT);
    }
    map(len, flags, -1).map(|p| (p, Source::Anonymous))
}

fn map_shared(len: usize, page: PageSize) -> io::Result<(NonNull<u8>, Source)> {
    let mut flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    if page != PageSize::Size4K {
        flags |= libc::MFD_HUGETLB | (page.shift() << libc::MFD_HUGE_SHIFT);
    }
    // SAFETY: the name is a NUL-terminated literal; the new descriptor is owned right away.
    let fd = unsafe {
        let raw = libc::memfd_create(c"warpdrive-mempool".as_ptr(), flags);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(raw)
    };
    let bytes = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: plain calls on a descriptor we own.
    unsafe {
        if libc::ftruncate(fd.as_raw_fd(), bytes) != 0 {
            return Err(io::Error::last_os_error());
        }
        // A process that maps the memfd can then rely on its length: no SIGBUS by truncation.
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        if libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    map(len, libc::MAP_SHARED, fd.as_raw_fd()).map(|p| (p, Source::Memfd(fd)))
}

/// The pages of a memfd of at least `offset + bytes` bytes, which stays as long.
fn memfd_pages(fd: &OwnedFd, offset: u64, bytes: usize) -> io::Result<PageSize> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    // SAFETY: a call without pointers on a descriptor we own.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    if seals < 0 {
        return refuse("it is not a memfd".to_owned());
    }
    if seals & libc::F_SEAL_SHRINK == 0 {
        return refuse("it may shrink. Remedy: seal it with F_SEAL_SHRINK".to_owned());
    }
    // SAFETY: zeros are a value of this plain structure.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is there to be written.
    if unsafe { libc::fstat(fd.as_raw_fd(), &raw mut status) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let sizes = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];
    let page = sizes.into_iter().find(|page| page.bytes() as i64 == status.st_blksize);
    let Some(page) = page else {
        return refuse(format!("its pages of {} bytes are not known", status.st_blksize));
    };
    let aligned = |value: u64| value.is_multiple_of(page.bytes() as u64);
    let end = offset.checked_add(bytes as u64);
    if bytes == 0 || !aligned(offset) || !aligned(bytes as u64) {
        return refuse(format!("{bytes} bytes from {offset:#x} are not whole pages of {page}"));
    }
    match end {
        Some(end) if i64::try_from(end).is_ok_and(|end| end <= status.st_size) => Ok(page),
        _ => refuse(format!("it has {} bytes only", status.st_size)),
    }
}

fn map(len: usize, flags: i32, fd: i32) -> io::Result<NonNull<u8>> {
    map_at(len, flags, fd, 0)
}

fn map_at(len: usize, flags: i32, fd: i32, offset: libc::off_t) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is replaced (no MAP_FIXED).
    let p =
        unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
    if p == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(p.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))
}

fn bind_to_node(base: *mut libc::c_void, len: usize, node: u32) -> io::Result<()> {
    const MPOL_BIND: libc::c_ulong = 2; // include/uapi/linux/mempolicy.h
    if node >= u64::BITS {
        return Err(io::Error::other(format!("NUMA node {node} is out of range (0 to 63)")));
    }
    let mask: u64 = 1 << node;
    // SAFETY: the mask outlives the call and maxnode covers its 64 bits (the kernel reads maxnode - 1 of them).
    let r = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            base,
            len,
            MPOL_BIND,
            ptr::from_ref(&mask),
            u64::from(u64::BITS) + 1,
            0u32,
        )
    };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn default_hugepage_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("Hugepagesize:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pages_are_zeroed_and_shared_by_fd() {
        let m = Mapping::new(10_000, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        assert_eq!(m.len(), 12_288);
        assert!(m.memfd().is_some());
        // SAFETY: inside the mapping.
        unsafe {
            assert_eq!(*m.as_ptr().add(9_999), 0);
        }
    }

    #[test]
    fn auto_always_gets_something_and_says_why_not_more() {
        let m = Mapping::new(1 << 20, PageChoice::Auto, Sharing::Private, None).unwrap();
        if m.page_size() == PageSize::Size4K {
            assert!(m.fallback().unwrap().contains("2 MiB"));
        }
    }

    #[test]
    fn memory_of_others_is_the_same_memory() {
        let ours =
            Mapping::new(16_384, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        let fd = || ours.memfd().unwrap().try_clone_to_owned().unwrap();
        let theirs = Mapping::of_memfd(fd(), 4096, 8192).unwrap();
        assert_eq!((theirs.len(), theirs.page_size()), (8192, PageSize::Size4K));
        // SAFETY: inside both mappings.
        unsafe {
            ours.as_ptr().add(4096 + 77).write(5);
            assert_eq!(theirs.as_ptr().add(77).read(), 5);
        }
        for (offset, bytes) in [(0, 0), (1, 4096), (0, 4095), (12_288, 8192), (!4095, 8192), (16_384, 4096)] {
            let e = Mapping::of_memfd(fd(), offset, bytes).unwrap_err();
            assert!(matches!(e, MemError::Foreign { .. }), "{offset} {bytes}: {e}");
        }
    }

    #[test]
    fn memory_of_a_device_is_mapped_where_it_is_and_not_given_on() {
        let ours =
            Mapping::new(16_384, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        let devices = Mapping::of_device(ours.memfd().unwrap(), 8192, 8192).unwrap();
        assert_eq!((devices.len(), devices.memfd().is_none()), (8192, true));
        // SAFETY: inside both mappings.
        unsafe {
            ours.as_ptr().add(8192 + 5).write(7);
            assert_eq!(devices.as_ptr().add(5).read(), 7);
        }
        for (offset, bytes) in [(0, 0), (1, 4096), (4096, 4095)] {
            assert!(Mapping::of_device(ours.memfd().unwrap(), offset, bytes).is_err(), "{offset} {bytes}");
        }
    }

    #[test]
    fn memory_that_may_shrink_and_other_files_are_refused() {
        // SAFETY: the name is a NUL-terminated literal; the new descriptor is owned right away.
        let open = unsafe {
            let raw = libc::memfd_create(c"open".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            OwnedFd::from_raw_fd(raw)
        };
        let e = Mapping::of_memfd(open, 0, 4096).unwrap_err();
        assert!(e.to_string().contains("F_SEAL_SHRINK"), "{e}");
        let file = OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap());
        let e = Mapping::of_memfd(file, 0, 4096).unwrap_err();
        assert!(e.to_string().contains("not a memfd"), "{e}");
    }

    #[test]
    fn impossible_pages_name_the_remedy() {
        let huge = 1usize << 46;
        let e = Mapping::new(huge, PageChoice::Exactly(PageSize::Size1G), Sharing::Shared, None).unwrap_err();
        assert!(e.to_string().contains("nr_hugepages"), "{e}");
    }

    #[test]
    fn a_child_does_not_inherit_the_mapping() {
        let m = Mapping::new(4096, PageChoice::Auto, Sharing::Private, None).unwrap();
        // SAFETY: the child only calls async-signal-safe functions before _exit.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                // mincore answers ENOMEM for an unmapped range.
                let mut vec = 0u8;
                let r = libc::mincore(m.as_ptr().cast(), 4096, &raw mut vec);
                libc::_exit(i32::from(r == 0));
            }
            let mut status = 0;
            libc::waitpid(pid, &raw mut status, 0);
            assert_eq!(libc::WEXITSTATUS(status), 0, "the child saw the mapping");
        }
    }
}
