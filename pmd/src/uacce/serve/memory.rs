//! The memory behind a queue file, which its user and the server both map.
//!
//! The user may write to it at any time and whatever it likes: everything in here is read by single loads of atomics, and what
//! was read is what counts, not what is there a moment later.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use warpdrive_mempool::{Mapping, MemError, PageChoice, PageSize, Sharing};

/// The page of the ABI: regions are at multiples of it in the file.
pub(super) const PAGE: usize = 4096;

/// Where a word is that changes as long as the server lives: in the page of the doorbells, which is no register of Kunpeng's.
pub(super) const HEARTBEAT: usize = crate::uacce::abi::HEARTBEAT_AT;

/// Pages of a queue file.
pub(super) struct QueueMemory {
    mapping: Mapping,
}

impl QueueMemory {
    /// So many bytes of zeros, in whole pages.
    pub(super) fn new(bytes: usize) -> Result<Self, MemError> {
        let mapping = Mapping::new(bytes, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None)?;
        Ok(Self { mapping })
    }

    /// The file.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // A shared mapping always has one.
        self.mapping.memfd().expect("a shared mapping is of a memfd")
    }

    /// A word of 32 bits. `at` is a multiple of 4 inside the file.
    #[inline]
    pub(super) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at < self.mapping.len());
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned; both sides may write at any time, so it is
        // only ever accessed by atomics.
        unsafe { &*self.mapping.as_ptr().add(at).cast::<AtomicU32>() }
    }

    /// A word of 64 bits. `at` is a multiple of 8 inside the file.
    #[inline]
    pub(super) fn double(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.mapping.len());
        // SAFETY: as above: pages are multiples of 8 bytes.
        unsafe { &*self.mapping.as_ptr().add(at).cast::<AtomicU64>() }
    }

    /// The words of an entry, each read once. What was stored before the doorbell that was loaded with `Acquire` is seen.
    #[inline]
    pub(super) fn read(&self, at: usize, words: &mut [u32]) {
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.word(at + 4 * i).load(Ordering::Relaxed);
        }
    }

    /// Writes the words of an entry, to be followed by a store with `Release` that tells of it.
    #[inline]
    pub(super) fn write(&self, at: usize, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            self.word(at + 4 * i).store(*word, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for QueueMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueueMemory({:?}, {:?})", self.mapping, self.fd().as_fd())
    }
}
