//! Packets that several holders share, read-only.

use std::mem;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::Packet;

/// A reference count like that of `Arc`.
pub(crate) struct RefCount(AtomicU32);

impl RefCount {
    pub(crate) fn one() -> Self {
        Self(AtomicU32::new(1))
    }

    pub(crate) fn add(&self) {
        // Relaxed: a new reference is made from one that is held.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        if before >= u32::MAX / 2 {
            // As Arc: clones that are leaked until the count wraps would make a packet that is free and held. A panic
            // could be caught and the next clone tried.
            std::process::abort();
        }
    }

    /// Gives one reference up; true for the last, whose holder then sees all that the others did.
    fn release(&self) -> bool {
        if self.0.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        fence(Ordering::Acquire);
        // Nobody else is left: ready for the next packet in this buffer.
        self.0.store(1, Ordering::Relaxed);
        true
    }

    /// Whether this is the only reference; if so, all that former holders did is seen.
    fn is_one(&self) -> bool {
        self.0.load(Ordering::Acquire) == 1
    }
}

/// A packet that several holders read and nobody changes. The last one to go frees it.
pub struct SharedPacket(mem::ManuallyDrop<Packet>);

impl SharedPacket {
    pub(crate) fn new(packet: Packet) -> Self {
        Self(mem::ManuallyDrop::new(packet))
    }

    /// The packet.
    #[must_use]
    pub fn get(&self) -> &Packet {
        &self.0
    }

    /// The owned packet again, if nobody else holds it.
    ///
    /// # Errors
    /// Gives itself back while there are other holders.
    pub fn try_unique(self) -> Result<Packet, Self> {
        if self.0.refs().is_one() {
            let header = self.0.header();
            mem::forget(self);
            // SAFETY: ours was the only reference, and it is forgotten.
            Ok(unsafe { Packet::from_header(header) })
        } else {
            Err(self)
        }
    }
}

impl Clone for SharedPacket {
    fn clone(&self) -> Self {
        self.0.refs().add();
        // SAFETY: the count says that one more handle exists, and shared handles only read.
        Self(mem::ManuallyDrop::new(unsafe { Packet::from_header(self.0.header()) }))
    }
}

impl Drop for SharedPacket {
    fn drop(&mut self) {
        if self.0.refs().release() {
            // SAFETY: it was the last handle, and it is not used again.
            unsafe { mem::ManuallyDrop::drop(&mut self.0) }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    #[test]
    fn exactly_one_holder_frees_and_it_sees_all_reads_done() {
        loom::model(|| {
            let refs = Arc::new(RefCount::one());
            refs.add();
            let data = Arc::new(UnsafeCell::new(0u32));
            let hold = |refs: Arc<RefCount>, data: Arc<UnsafeCell<u32>>| {
                // SAFETY: loom checks that no write runs meanwhile.
                data.with(|d| unsafe { assert_eq!(*d, 0) });
                let last = refs.release();
                if last {
                    // SAFETY: loom checks that the access is exclusive.
                    data.with_mut(|d| unsafe { *d = 1 });
                }
                u32::from(last)
            };
            let (r, d) = (Arc::clone(&refs), Arc::clone(&data));
            let other = loom::thread::spawn(move || hold(r, d));
            let freed = hold(refs, data) + other.join().unwrap();
            assert_eq!(freed, 1);
        });
    }

    #[test]
    fn the_only_holder_may_write() {
        loom::model(|| {
            let refs = Arc::new(RefCount::one());
            refs.add();
            let data = Arc::new(UnsafeCell::new(0u32));
            let (r, d) = (Arc::clone(&refs), Arc::clone(&data));
            let other = loom::thread::spawn(move || {
                // SAFETY: loom checks that no write runs meanwhile.
                d.with(|d| unsafe { assert_eq!(*d, 0) });
                r.release();
            });
            if refs.is_one() {
                // SAFETY: loom checks that the access is exclusive.
                data.with_mut(|d| unsafe { *d = 1 });
            }
            other.join().unwrap();
        });
    }
}
