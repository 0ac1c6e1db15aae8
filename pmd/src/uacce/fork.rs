//! What belongs to one process and must not be used by its children.
//!
//! Regions of a queue are not inherited (`MADV_DONTFORK`), so a child that used its copy of a queue would touch memory that is not
//! there, or that is something else by now. A page that the kernel wipes in a child (`MADV_WIPEONFORK`) tells at the price of a load.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, ptr};

/// Knows the process that has made it.
#[derive(Clone, Copy, Debug)]
pub struct Lineage {
    /// In the page that is wiped. 0: nobody has asked in this process yet.
    word: &'static AtomicU64,
    process: u64,
}

impl Lineage {
    /// Of this process.
    ///
    /// # Errors
    /// When there is no memory, or no such advice (Linux before 4.14).
    pub fn of_this_process() -> io::Result<Self> {
        static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();
        // Inherited, and greater than what any of the ancestors had when their children were made.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let word = match WORD.get() {
            Some(word) => word,
            None => {
                let made = wiped_in_children()?;
                // Another thread may have been faster: the page is then not used, and stays.
                WORD.get_or_init(|| made)
            }
        };
        let mut process = word.load(Ordering::Relaxed);
        if process == 0 {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            process = match word.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => new,
                Err(other) => other,
            };
        }
        Ok(Self { word, process })
    }

    /// Whether this is another process than the one that has made it.
    #[must_use]
    #[inline]
    pub fn is_left(self) -> bool {
        self.word.load(Ordering::Relaxed) != self.process
    }
}

/// A word that is zero, and is zero again in each child.
fn wiped_in_children() -> io::Result<&'static AtomicU64> {
    const PAGE: usize = 4096;
    // SAFETY: a new private mapping; nothing is assumed of where it lies.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is ours; the advice changes nothing in this process.
    if unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } != 0 {
        let cause = io::Error::last_os_error();
        // SAFETY: the mapping is ours, and nothing refers to it.
        unsafe { libc::munmap(page, PAGE) };
        return Err(cause);
    }
    let word =
        NonNull::new(page.cast::<AtomicU64>()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
    // SAFETY: aligned, zero, never unmapped, and only accessed as an atomic.
    Ok(unsafe { word.as_ref() })
}

/// A value that is not dropped in a child: its drop would touch memory that the child does not have.
pub(super) struct Kept<T> {
    value: ManuallyDrop<T>,
    lineage: Lineage,
}

impl<T> Kept<T> {
    pub(super) fn new(value: T, lineage: Lineage) -> Self {
        Self { value: ManuallyDrop::new(value), lineage }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if !self.lineage.is_left() {
            // SAFETY: dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Whether `what` holds in a child. It may do little: other threads are not there, nor are their locks ever released.
    pub(in crate::uacce) fn holds_in_a_child(what: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child does what it is given and ends, without unwinding into the harness.
        unsafe {
            let pid = libc::fork();
            assert!(pid >= 0);
            if pid == 0 {
                let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).unwrap_or(false);
                libc::_exit(i32::from(!held));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }

    #[test]
    fn a_child_is_another_process_and_so_is_its_child() {
        let ours = Lineage::of_this_process().unwrap();
        assert!(!ours.is_left() && !Lineage::of_this_process().unwrap().is_left());
        assert!(holds_in_a_child(|| {
            let left = ours.is_left();
            let childs = Lineage::of_this_process().unwrap();
            let both = left && ours.is_left() && !childs.is_left();
            both && holds_in_a_child(|| {
                let grandchilds = Lineage::of_this_process().unwrap();
                ours.is_left() && childs.is_left() && !grandchilds.is_left()
            })
        }));
        assert!(!ours.is_left(), "the parent is who it was");
    }

    #[test]
    fn what_is_kept_is_dropped_here_and_not_in_a_child() {
        struct Told<'a>(&'a std::cell::Cell<bool>);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = std::cell::Cell::new(false);
        let lineage = Lineage::of_this_process().unwrap();
        let kept = Kept::new(Told(&dropped), lineage);
        let childs = Kept::new(Told(&dropped), lineage);
        assert!(holds_in_a_child(|| {
            drop(childs);
            !dropped.get()
        }));
        // Moved into the closure, it was dropped here as well: in the parent, where it counts.
        dropped.set(false);
        drop(kept);
        assert!(dropped.get());
    }
}
