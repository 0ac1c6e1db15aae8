//! Survives memory of other processes that goes away.
//!
//! What a process gives may have holes by the time that somebody looks: of hugepages, nothing fills them when there are no more, and
//! whoever touches such a page gets SIGBUS. In memory that is guarded here, a page of zeros takes the place of what is not there: the
//! process has lost its bytes by its own doing, and nobody else notices.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use warpdrive_mempool::Mapping;

/// The most ranges. What finds no place is not given to engines.
const MOST: usize = 8192;

/// A range: its first byte (0: none) and the one behind its last, and the size of its pages.
struct Range {
    start: AtomicUsize,
    end: AtomicUsize,
    page: AtomicUsize,
}

static RANGES: [Range; MOST] =
    [const { Range { start: AtomicUsize::new(0), end: AtomicUsize::new(0), page: AtomicUsize::new(0) } };
        MOST];
/// Places that were ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Guards a range as long as it lives. To be dropped before the memory is unmapped.
#[derive(Debug)]
pub(super) struct Guard(usize);

impl Guard {
    /// Guards a mapping; `None`: there are too many.
    pub(super) fn new(mapping: &Mapping) -> Option<Self> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(install);
        let start = mapping.as_ptr() as usize;
        for (place, range) in RANGES.iter().enumerate() {
            // 1 is no address: the place is taken, and matches nothing.
            if range.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                range.end.store(start + mapping.len(), Ordering::Relaxed);
                range.page.store(mapping.page_size().bytes(), Ordering::Relaxed);
                range.start.store(start, Ordering::Release);
                USED.fetch_max(place + 1, Ordering::AcqRel);
                return Some(Self(place));
            }
        }
        None
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        RANGES[self.0].start.store(0, Ordering::Release);
    }
}

fn install() {
    // SAFETY: zeros are a value of this plain structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(_, _, _) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler does what handlers may do; nobody else in this process handles SIGBUS.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
}

/// Only atomics and system calls: nothing that the interrupted code could be in the middle of.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid structure with the address of the access.
    let at = unsafe { (*info).si_addr() } as usize;
    for range in &RANGES[..USED.load(Ordering::Acquire)] {
        let start = range.start.load(Ordering::Acquire);
        if start > 1 && start <= at && at < range.end.load(Ordering::Relaxed) {
            let page = range.page.load(Ordering::Relaxed);
            let first = at & !(page - 1);
            let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let both = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: pages of a range that is guarded, which are not there: anonymous ones take their place.
            let got = unsafe { libc::mmap(first as *mut _, page, both, flags, -1, 0) };
            if got != libc::MAP_FAILED {
                return;
            }
        }
    }
    // Not ours: it ends the program when the access is tried again, as it would have without us.
    // SAFETY: a signal's default is set.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_page_that_is_gone_reads_as_zeros_and_its_neighbours_stay() {
        let fd = rustix::fs::memfd_create("gone", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, 3 * 4096).unwrap();
        rustix::fs::fcntl_add_seals(&fd, rustix::fs::SealFlags::GROW).unwrap();
        // Such a file would be refused: it stands for one of hugepages that has lost them.
        // SAFETY: a new mapping of the file.
        let raw = unsafe {
            let both = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 3 * 4096, both, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        assert_ne!(raw, libc::MAP_FAILED);
        let bytes = raw.cast::<u8>();
        INSTALLED.call_once(install);
        let place = &RANGES[MOST - 1];
        place.end.store(raw as usize + 3 * 4096, Ordering::Relaxed);
        place.page.store(4096, Ordering::Relaxed);
        place.start.store(raw as usize, Ordering::Release);
        USED.store(MOST, Ordering::Release);
        // SAFETY: inside the mapping, of which pages may be gone: that is what is tried.
        unsafe {
            bytes.write_volatile(7);
            bytes.add(5000).write_volatile(8);
            rustix::fs::ftruncate(&fd, 4096).unwrap();
            assert_eq!(bytes.add(5000).read_volatile(), 0);
            bytes.add(9000).write_volatile(9);
            assert_eq!((bytes.read_volatile(), bytes.add(9000).read_volatile()), (7, 9));
            place.start.store(0, Ordering::Release);
            libc::munmap(raw, 3 * 4096);
        }
    }

    static INSTALLED: Once = Once::new();
}
