//! A queue file: the calls that go by the kernel, and the pages that do not.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::discover::{DiscoverError, UacceInfo};
use super::fork::Lineage;

/// What there is to hear of a queue file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A completion waits, or may wait.
    Ready,
    /// Nothing, in the time that was given.
    Nothing,
    /// The queue has failed, or who serves it is gone.
    Failed,
}

/// An open queue file. Closing it gives the queue back.
pub(super) trait QueueFile: Send + Sync {
    /// The file whose pages are the regions.
    fn fd(&self) -> BorrowedFd<'_>;

    /// A call, with as many bytes of argument as the number of the command says. Some return a number.
    fn call(&self, command: u32, argument: &mut [u8]) -> Result<u32, Errno>;

    /// Waits for a completion.
    fn wait(&self, timeout: Duration) -> Heard;
}

/// Opens queue files.
pub(super) trait Opener: Send + Sync {
    /// A new queue.
    fn open(&self, path: &Path) -> io::Result<Box<dyn QueueFile>>;

    /// What is said now of a device that was found before.
    fn look(&self, info: &UacceInfo) -> Result<UacceInfo, DiscoverError>;
}

/// Those of the kernel.
pub(super) struct Kernel;

impl Opener for Kernel {
    fn open(&self, path: &Path) -> io::Result<Box<dyn QueueFile>> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(path)?;
        Ok(Box::new(KernelFile(file.into())))
    }

    fn look(&self, info: &UacceInfo) -> Result<UacceInfo, DiscoverError> {
        info.read_again()
    }
}

struct KernelFile(OwnedFd);

impl QueueFile for KernelFile {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn call(&self, command: u32, argument: &mut [u8]) -> Result<u32, Errno> {
        // The size is in the command (asm-generic/ioctl.h): drivers read and write no more.
        let bytes = (command >> 16 & 0x3fff) as usize;
        if argument.len() != bytes {
            return Err(Errno::INVAL);
        }
        let pointer = if bytes == 0 { std::ptr::null_mut() } else { argument.as_mut_ptr() };
        // SAFETY: the descriptor is open, and the argument has as many bytes as the command says, to be read and written.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), command.into(), pointer) };
        u32::try_from(result)
            .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    }

    fn wait(&self, timeout: Duration) -> Heard {
        let timeout = Timespec::try_from(timeout).ok();
        let mut files = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut files, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Heard::Nothing,
            Ok(_) => {
                let heard = files[0].revents();
                let bad = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
                if heard.intersects(bad) { Heard::Failed } else { Heard::Ready }
            }
            Err(_) => Heard::Failed,
        }
    }
}

/// A region of a queue file, mapped. Whoever is on the other side may write to it at any time, so it is only accessed by atomics.
pub(super) struct Mapped {
    first: NonNull<u8>,
    bytes: usize,
    lineage: Lineage,
}

// SAFETY: it owns its range of addresses, which is accessed by atomics only.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `bytes` of a file from `offset`. A child does not inherit it.
    pub(super) fn new(fd: BorrowedFd<'_>, offset: u64, bytes: usize, lineage: Lineage) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is replaced (no MAP_FIXED).
        let first = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset,
            )
        };
        if first == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(first.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        let this = Self { first, bytes, lineage };
        // SAFETY: the mapping is ours; the advice keeps it from children and changes no byte.
        if unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_DONTFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(this)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Whose it is.
    pub(super) fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Whether the process that maps it is another.
    #[inline]
    pub(super) fn is_left(&self) -> bool {
        self.lineage.is_left()
    }

    /// A word of 32 bits. `at` is a multiple of 4.
    ///
    /// # Panics
    /// When it is not within the region.
    #[inline]
    pub(super) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at < self.bytes && self.bytes - at >= 4);
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned; it is accessed by atomics only.
        unsafe { self.first.add(at).cast::<AtomicU32>().as_ref() }
    }

    /// A word of 64 bits. `at` is a multiple of 8.
    ///
    /// # Panics
    /// When it is not within the region.
    #[inline]
    pub(super) fn double(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.bytes && self.bytes - at >= 8);
        // SAFETY: as above.
        unsafe { self.first.add(at).cast::<AtomicU64>().as_ref() }
    }

    /// Writes words from `at` on, which nobody is told of yet.
    #[inline]
    pub(super) fn write(&self, at: usize, words: &[u32]) {
        let (doubles, last) = words.as_chunks::<2>();
        for (place, [low, high]) in (at..).step_by(8).zip(doubles) {
            self.double(place).store(u64::from(*low) | u64::from(*high) << 32, Ordering::Relaxed);
        }
        if let [last] = last {
            self.word(at + 8 * doubles.len()).store(*last, Ordering::Relaxed);
        }
    }

    /// Reads words from `at` on, each once.
    #[inline]
    pub(super) fn read(&self, at: usize, words: &mut [u32]) {
        let (doubles, last) = words.as_chunks_mut::<2>();
        let end = at + 8 * doubles.len();
        for (place, [low, high]) in (at..).step_by(8).zip(doubles) {
            let double = self.double(place).load(Ordering::Relaxed);
            (*low, *high) = (double as u32, (double >> 32) as u32);
        }
        if let [last] = last {
            *last = self.word(end).load(Ordering::Relaxed);
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // In a child nothing is there, or something else.
        if !self.is_left() {
            // SAFETY: our own mapping, unmapped once, and nothing refers to it any more.
            unsafe { libc::munmap(self.first.as_ptr().cast(), self.bytes) };
        }
    }
}

/// What was written before is there for a device that hears of what is written after. The architecture's own fence orders
/// memory for other cpus; devices beyond them want more where the architecture says so.
#[inline]
pub(super) fn device_fence() {
    std::sync::atomic::fence(Ordering::Release);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier (Linux calls it wmb), which reads and writes nothing.
    unsafe {
        std::arch::asm!("dsb st", options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpdrive_mempool::{Mapping, PageChoice, PageSize, Sharing};

    fn memory(pages: usize) -> Mapping {
        Mapping::new(pages * 4096, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap()
    }

    fn map(of: &Mapping, page: u64, bytes: usize) -> Mapped {
        Mapped::new(of.memfd().unwrap(), page * 4096, bytes, Lineage::of_this_process().unwrap()).unwrap()
    }

    #[test]
    fn regions_are_the_pages_of_the_file() {
        let memory = memory(4);
        let (second, all) = (map(&memory, 1, 4096), map(&memory, 0, 4 * 4096));
        second.write(8, &[1, 2, 3]);
        let mut words = [0; 3];
        all.read(4096 + 8, &mut words);
        assert_eq!((words, second.word(16).load(Ordering::Relaxed)), ([1, 2, 3], 3));
        all.double(4096 + 4088).store(7 << 32, Ordering::Relaxed);
        assert_eq!(second.word(4092).load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nothing_beyond_a_region_is_touched() {
        let (memory, panics) =
            (memory(1), |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err());
        let region = map(&memory, 0, 4096);
        assert!(panics(&|| _ = region.word(4096)) && panics(&|| _ = region.double(4096)));
        assert!(panics(&|| _ = region.word(usize::MAX - 3)) && panics(&|| _ = region.word(2)));
        assert!(panics(&|| _ = region.double(4)) && panics(&|| region.write(4088, &[0; 4])));
        assert!(panics(&|| region.read(4092, &mut [0; 2])));
    }

    #[test]
    fn a_child_has_no_region_and_unmaps_nothing() {
        let memory = memory(1);
        let region = map(&memory, 0, 4096);
        let first = region.first;
        // Held by both: the parent's drop comes after the child has ended.
        let held = super::super::fork::tests::holds_in_a_child(|| {
            let mut resident = 0;
            // SAFETY: asks only; the address need not be mapped.
            let absent = unsafe { libc::mincore(first.as_ptr().cast(), 4096, &raw mut resident) } != 0;
            // SAFETY: a mapping of the child's own where nothing is.
            let other = unsafe {
                libc::mmap(
                    first.as_ptr().cast(),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                    -1,
                    0,
                )
            };
            let left = region.is_left();
            drop(region);
            // SAFETY: asks only.
            let there = unsafe { libc::mincore(first.as_ptr().cast(), 4096, &raw mut resident) } == 0;
            absent && left && other == first.as_ptr().cast() && there
        });
        assert!(held);
    }

    #[test]
    fn calls_with_arguments_of_another_length_are_refused() {
        let file = Kernel.open(Path::new("/dev/null")).unwrap();
        assert_eq!(file.call(super::super::abi::GET_SS_DMA, &mut [0; 4]), Err(Errno::INVAL));
        assert_eq!(file.call(super::super::abi::START, &mut []), Err(Errno::NOTTY));
        assert_eq!(file.wait(Duration::ZERO), Heard::Ready, "of this file, always");
    }
}
