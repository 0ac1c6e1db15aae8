//! Memory for keys and what is computed from them: page-aligned, kept out of core dumps, not inherited by a child
//! process, locked into memory if the process may, and wiped before it is given back.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A slice of plain numbers in memory of its own.
pub(super) struct Secret<T: Plain> {
    first: NonNull<T>,
    len: usize,
    mapped: usize,
}

/// What may stand in secret memory.
///
/// # Safety
/// A value of zero bytes is valid, it has no drop glue, and its alignment is at most a page.
pub(super) unsafe trait Plain {}

// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

/// Makes values zeros, whatever the compiler thinks of writes that nobody reads.
pub(super) fn wipe<T: Plain>(values: &mut [T]) {
    // SAFETY: zero bytes are valid values (`Plain`).
    unsafe { std::ptr::write_bytes(values.as_mut_ptr(), 0, values.len()) };
    // Whoever might look at them afterwards must find the zeros: so they are written.
    std::hint::black_box(&values[..]);
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

impl<T: Plain> Secret<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// When the system has no memory.
    pub(super) fn zeroed(len: usize) -> io::Result<Self> {
        let page = 4096;
        let mapped = (len * size_of::<T>()).max(1).next_multiple_of(page);
        // SAFETY: a new private mapping; nothing is assumed of where it lies.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is ours. Advice that the kernel does not take leaves the memory usable.
        unsafe {
            libc::madvise(memory, mapped, libc::MADV_DONTDUMP);
            libc::madvise(memory, mapped, libc::MADV_WIPEONFORK);
            libc::mlock(memory, mapped);
        }
        let first = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { first, len, mapped })
    }
}

impl<T: Plain> Deref for Secret<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` values, zero at first, which is valid (`Plain`).
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: Plain> Secret<T> {
    /// Makes the first `n` values zeros.
    pub(super) fn wipe_front(&mut self, n: usize) {
        wipe(&mut self[..n]);
    }

    /// Makes all of it zeros.
    pub(super) fn wipe(&mut self) {
        wipe(self);
    }
}

impl<T: Plain> Drop for Secret<T> {
    fn drop(&mut self) {
        self.wipe();
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.mapped) };
    }
}

// SAFETY: the memory is owned, as a box's would be.
unsafe impl<T: Plain + Send> Send for Secret<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Plain + Sync> Sync for Secret<T> {}
