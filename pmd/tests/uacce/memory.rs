//! Memory of clients, at places where something is or is not.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

pub const PAGE: usize = 4096;

const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Pages that are mapped until this is dropped.
pub struct Pages {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: whoever uses the memory does so by atomic operations, or is told that it is alone.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(
        at: usize,
        bytes: usize,
        protection: i32,
        flags: i32,
        file: i32,
        offset: usize,
    ) -> io::Result<Self> {
        let hint = std::ptr::without_provenance_mut(at);
        let flags = if at == 0 { flags } else { flags | libc::MAP_FIXED_NOREPLACE };
        // SAFETY: a new mapping, which replaces none.
        let got = unsafe { libc::mmap(hint, bytes, protection, flags, file, offset as libc::off_t) };
        if got == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at: got.cast(), bytes })
    }

    /// A part of a file, shared with whoever has it.
    pub fn of(file: &impl AsRawFd, offset: usize, bytes: usize) -> io::Result<Self> {
        Self::map(0, bytes, BOTH, libc::MAP_SHARED, file.as_raw_fd(), offset)
    }

    /// A file that only this process changes.
    pub fn private(file: &File, bytes: usize, protection: i32) -> io::Result<Self> {
        Self::map(0, bytes, protection, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    }

    /// Zeros of this process's own.
    pub fn new(bytes: usize) -> Self {
        Self::at(0, bytes)
    }

    /// The same at an address, at which nothing is.
    pub fn at(address: usize, bytes: usize) -> Self {
        Self::map(address, bytes, BOTH, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0).unwrap()
    }

    pub fn address(&self) -> u64 {
        self.at.addr() as u64
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Allows so much (`PROT_…`) of a part.
    pub fn protect(&self, from: usize, bytes: usize, protection: i32) {
        assert!(from + bytes <= self.bytes);
        // SAFETY: pages of this mapping, of which no reference is held.
        assert_eq!(unsafe { libc::mprotect(self.at.add(from).cast(), bytes, protection) }, 0);
    }

    /// Takes away a part; nothing is there afterwards.
    pub fn unmap(&self, from: usize, bytes: usize) {
        assert!(from + bytes <= self.bytes);
        // SAFETY: as above. Dropping the rest passes over what is not there.
        assert_eq!(unsafe { libc::munmap(self.at.add(from).cast(), bytes) }, 0);
    }

    pub fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.bytes);
        // SAFETY: inside the mapping, which lives as long as self, and aligned; others access it by atomics too.
        unsafe { &*self.at.add(at).cast() }
    }

    pub fn double(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.bytes);
        // SAFETY: as above.
        unsafe { &*self.at.add(at).cast() }
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.bytes);
        // SAFETY: as above.
        unsafe { &*self.at.add(at).cast() }
    }

    pub fn put(&self, at: usize, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.byte(at + i).store(*byte, Ordering::Relaxed);
        }
    }

    pub fn get(&self, at: usize, bytes: usize) -> Vec<u8> {
        (at..at + bytes).map(|at| self.byte(at).load(Ordering::Relaxed)).collect()
    }

    /// Fills it all with what can be told from everything else.
    pub fn guard(&self) {
        (0..self.bytes).for_each(|at| self.byte(at).store(canary(at), Ordering::Relaxed));
    }

    /// Whether a part is as it was when it was guarded.
    #[track_caller]
    pub fn is_untouched(&self, from: usize, bytes: usize) {
        let changed = (from..from + bytes).find(|at| self.byte(*at).load(Ordering::Relaxed) != canary(*at));
        assert_eq!(changed, None, "somebody wrote here");
    }
}

fn canary(at: usize) -> u8 {
    (at * 31 / 7 + 0xa5) as u8
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that was made for this value, and no reference to it outlives self.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}

/// A memfd that cannot shrink, as can be given to a device.
pub fn memfd(bytes: usize) -> OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("given", flags).unwrap();
    rustix::fs::ftruncate(&fd, bytes as u64).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    fd
}

/// Brings a page that nobody has brought.
pub fn bring(descriptor: &OwnedFd, pages: &Pages, bytes: &[u8]) {
    const UFFDIO_COPY: libc::Ioctl = 0xc028_aa03_u32 as libc::Ioctl;
    let mut page = [0; PAGE];
    page[..bytes.len()].copy_from_slice(bytes);
    let mut copy = [pages.address(), page.as_ptr() as u64, PAGE as u64, 0, 0];
    // SAFETY: as long as its number says; it names a page of this process to read from, and one that is to be filled.
    assert_eq!(unsafe { libc::ioctl(descriptor.as_raw_fd(), UFFDIO_COPY, copy.as_mut_ptr()) }, 0);
}

/// Waits until somebody has touched a page that nobody has brought.
#[track_caller]
pub fn is_wanted(descriptor: &OwnedFd) {
    let mut one = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, as it is told.
    let heard = unsafe { libc::poll(&raw mut one, 1, 60_000) };
    assert_eq!((heard, one.revents), (1, libc::POLLIN), "nobody wants the page");
}

/// Pages that nobody brings: whoever touches them waits until the descriptor is closed.
pub fn nobody_brings(pages: &Pages) -> OwnedFd {
    const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
    const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
    const API: u64 = 0xaa;
    const MISSING: u64 = 1;
    // SAFETY: a system call that takes a number; the descriptor is owned right away.
    let fd = unsafe {
        let raw = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
        assert!(raw >= 0, "userfaultfd: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(raw as i32)
    };
    let mut api = [API, 0, 0];
    let mut range = [pages.address(), pages.bytes() as u64, MISSING, 0];
    // SAFETY: both are as long as their numbers say.
    unsafe {
        assert_eq!(libc::ioctl(fd.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()), 0);
        assert_eq!(libc::ioctl(fd.as_raw_fd(), UFFDIO_REGISTER, range.as_mut_ptr()), 0);
    }
    fd
}
