//! The four rings that the kernel and we share (Documentation/networking/af_xdp.rst): cursors over their indices,
//! and the mapped memory.
//!
//! Each ring has one producer and one consumer, and an index of each in shared memory, which runs freely over 32 bits.
//! A side keeps its own index and the last it saw of the other, and touches the shared ones once a burst: an acquire
//! load of the other's, a release store of its own, as the kernel does in net/xdp/xsk_queue.h.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// An index in shared memory: that of the standard library, or loom's in its tests.
pub(super) trait Index {
    fn get(&self, order: Ordering) -> u32;
    fn set(&self, value: u32, order: Ordering);

    /// Reads the other side's index: what it did to the entries before is seen.
    #[inline]
    fn acquire(&self) -> u32 {
        self.get(Ordering::Acquire)
    }

    /// Sets our index: what we did to the entries is seen by the other side.
    #[inline]
    fn release(&self, value: u32) {
        self.set(value, Ordering::Release);
    }
}

impl Index for AtomicU32 {
    #[inline]
    fn get(&self, order: Ordering) -> u32 {
        self.load(order)
    }
    #[inline]
    fn set(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }
}

/// What a producer knows of its ring.
pub(super) struct ProducerCursor {
    /// One less than the number of entries, which is a power of two.
    mask: u32,
    /// Next entry to write.
    own: u32,
    /// The consumer's index as last seen, plus the number of entries: `own` stays at or below it.
    limit: u32,
}

impl ProducerCursor {
    fn new(entries: u32, producer: &impl Index, consumer: &impl Index) -> Self {
        Self { mask: entries - 1, own: producer.acquire(), limit: consumer.acquire().wrapping_add(entries) }
    }

    /// How many entries can be written, at least; asks the other side only if it knows of less than `want`.
    #[inline]
    fn free(&mut self, want: u32, consumer: &impl Index) -> u32 {
        let known = self.limit.wrapping_sub(self.own);
        if known >= want {
            return known;
        }
        self.limit = consumer.acquire().wrapping_add(self.mask + 1);
        // Not more than there are, whatever the other side wrote.
        self.limit.wrapping_sub(self.own).min(self.mask + 1)
    }

    /// Place of the `n`th entry from the cursor.
    #[inline]
    fn slot(&self, n: u32) -> usize {
        (self.own.wrapping_add(n) & self.mask) as usize
    }

    /// Hands `n` written entries to the consumer.
    #[inline]
    fn publish(&mut self, n: u32, producer: &impl Index) {
        self.own = self.own.wrapping_add(n);
        producer.release(self.own);
    }
}

/// What a consumer knows of its ring.
pub(super) struct ConsumerCursor {
    /// One less than the number of entries, which is a power of two.
    mask: u32,
    /// Next entry to read.
    own: u32,
    /// The producer's index as last seen: `own` stays at or below it.
    limit: u32,
}

impl ConsumerCursor {
    fn new(entries: u32, producer: &impl Index, consumer: &impl Index) -> Self {
        Self { mask: entries - 1, own: consumer.acquire(), limit: producer.acquire() }
    }

    /// How many entries can be read, at most `want`; asks the other side only if it knows of less.
    #[inline]
    fn available(&mut self, want: u32, producer: &impl Index) -> u32 {
        let known = self.limit.wrapping_sub(self.own);
        if known >= want {
            return want;
        }
        self.limit = producer.acquire();
        self.limit.wrapping_sub(self.own).min(self.mask + 1).min(want)
    }

    /// Place of the `n`th entry from the cursor.
    #[inline]
    fn slot(&self, n: u32) -> usize {
        (self.own.wrapping_add(n) & self.mask) as usize
    }

    /// Gives `n` read entries back to the producer.
    #[inline]
    fn release(&mut self, n: u32, consumer: &impl Index) {
        self.own = self.own.wrapping_add(n);
        consumer.release(self.own);
    }
}

/// Which of a socket's rings.
#[derive(Clone, Copy)]
pub(super) struct RingKind {
    /// Where its mapping begins in the socket's address space.
    pub page_offset: libc::off_t,
    /// Where in the mapping its parts are, as XDP_MMAP_OFFSETS says.
    pub offsets: libc::xdp_ring_offset,
    /// How many entries it was made with.
    pub entries: u32,
}

/// The memory of one ring with entries of type `T`, mapped from the socket.
struct RingMemory<T> {
    base: NonNull<u8>,
    len: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    _shared: PhantomData<*mut T>,
}

// SAFETY: it owns its mapping; the pointers go nowhere else. `T` is a plain number or descriptor.
unsafe impl<T: Send> Send for RingMemory<T> {}

impl<T: Copy> RingMemory<T> {
    fn map(socket: &OwnedFd, kind: RingKind) -> io::Result<Self> {
        let at = kind.offsets;
        let len = at.desc as usize + kind.entries as usize * size_of::<T>();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                kind.page_offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A forked child would keep the socket, and with it the NIC's queue, after us.
        // SAFETY: our own mapping; the advice changes nothing for this process.
        unsafe { libc::madvise(base, len, libc::MADV_DONTFORK) };
        let base = NonNull::new(base.cast::<u8>()).expect("mmap does not give address 0 unasked");
        // SAFETY: the kernel places the indices and entries inside the mapping, whose length was computed from their
        // offsets, and aligns them to cache lines.
        unsafe {
            Ok(Self {
                base,
                len,
                producer: base.add(at.producer as usize).cast(),
                consumer: base.add(at.consumer as usize).cast(),
                flags: base.add(at.flags as usize).cast(),
                entries: base.add(at.desc as usize).cast(),
                _shared: PhantomData,
            })
        }
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: mapped for as long as self, aligned, and accessed by the kernel as an atomic too.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    /// Whether the kernel sleeps and wants a system call to go on with this ring.
    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

impl<T> Drop for RingMemory<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference into it outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A ring that we fill and the kernel empties: fill, transmit.
pub(super) struct ProducerRing<T> {
    memory: RingMemory<T>,
    cursor: ProducerCursor,
    /// Entries written since the last [`publish`](Self::publish).
    written: u32,
}

impl<T: Copy> ProducerRing<T> {
    pub(super) fn map(socket: &OwnedFd, kind: RingKind) -> io::Result<Self> {
        let memory = RingMemory::map(socket, kind)?;
        let cursor = ProducerCursor::new(kind.entries, memory.producer(), memory.consumer());
        Ok(Self { memory, cursor, written: 0 })
    }

    /// How many more entries can be written, at least; exact when less than `want`.
    #[inline]
    pub(super) fn free(&mut self, want: usize) -> usize {
        // Far below 2^32: a burst and a ring.
        let want = want as u32 + self.written;
        (self.cursor.free(want, self.memory.consumer()) - self.written) as usize
    }

    /// Writes the next entry. The caller knows from [`free`](Self::free) that there is one.
    #[inline]
    pub(super) fn write(&mut self, entry: T) {
        let slot = self.cursor.slot(self.written);
        debug_assert!(self.written <= self.cursor.mask);
        // SAFETY: the slot is below the number of entries. If the caller kept its word the kernel does not read it
        // before it is published; if not, a descriptor is overwritten, which is wrong but harms no memory of ours.
        unsafe { self.memory.entries.add(slot).write(entry) };
        self.written += 1;
    }

    /// Hands what was written to the kernel: one release store.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.written > 0 {
            self.cursor.publish(self.written, self.memory.producer());
            self.written = 0;
        }
    }

    /// Whether the kernel has yet to take entries that were published.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.memory.consumer().load(Ordering::Relaxed) != self.cursor.own
    }

    /// Whether the kernel wants a system call to go on with this ring.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.memory.needs_wakeup()
    }
}

/// A ring that the kernel fills and we empty: receive, completion.
pub(super) struct ConsumerRing<T> {
    memory: RingMemory<T>,
    cursor: ConsumerCursor,
}

impl<T: Copy> ConsumerRing<T> {
    pub(super) fn map(socket: &OwnedFd, kind: RingKind) -> io::Result<Self> {
        let memory = RingMemory::map(socket, kind)?;
        let cursor = ConsumerCursor::new(kind.entries, memory.producer(), memory.consumer());
        Ok(Self { memory, cursor })
    }

    /// How many entries can be read, at most `want`.
    #[inline]
    pub(super) fn available(&mut self, want: usize) -> usize {
        self.cursor.available(want as u32, self.memory.producer()) as usize
    }

    /// The `n`th entry from the front. The caller knows from [`available`](Self::available) that it is there.
    #[inline]
    pub(super) fn read(&self, n: usize) -> T {
        let slot = self.cursor.slot(n as u32);
        // SAFETY: the slot is below the number of entries, and entries are plain numbers: what the kernel may be
        // writing there, if the caller broke its word, is a wrong value, and values are checked where they are used.
        unsafe { self.memory.entries.add(slot).read() }
    }

    /// Gives the first `n` entries back to the kernel: one release store.
    #[inline]
    pub(super) fn release(&mut self, n: usize) {
        self.cursor.release(n as u32, self.memory.consumer());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn cursors_go_round_and_over_the_end_of_32_bits() {
        let (producer, consumer) = (AtomicU32::new(u32::MAX - 2), AtomicU32::new(u32::MAX - 2));
        let mut p = ProducerCursor::new(4, &producer, &consumer);
        let mut c = ConsumerCursor::new(4, &producer, &consumer);
        assert_eq!(c.available(9, &producer), 0);
        for _ in 0..5 {
            assert_eq!(p.free(4, &consumer), 4);
            assert_eq!(p.slot(3), (p.slot(0) + 3) % 4);
            p.publish(3, &producer);
            assert_eq!(p.free(4, &consumer), 1);
            assert_eq!(c.available(2, &producer), 2);
            assert_eq!(c.available(9, &producer), 3);
            c.release(3, &consumer);
        }
        assert_eq!(producer.load(Ordering::Relaxed), (u32::MAX - 2).wrapping_add(15));
    }

    #[test]
    fn an_index_out_of_its_bounds_gives_no_more_entries_than_there_are() {
        let (producer, consumer) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut p = ProducerCursor::new(4, &producer, &consumer);
        let mut c = ConsumerCursor::new(4, &producer, &consumer);
        producer.store(1_000_000, Ordering::Relaxed);
        consumer.store(1_000_000, Ordering::Relaxed);
        assert_eq!(c.available(64, &producer), 4);
        assert_eq!(p.free(64, &consumer), 4);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU32 as LoomU32;

    impl Index for LoomU32 {
        fn get(&self, order: Ordering) -> u32 {
            self.load(order)
        }
        fn set(&self, value: u32, order: Ordering) {
            self.store(value, order);
        }
    }

    struct Shared {
        producer: LoomU32,
        consumer: LoomU32,
        entries: [UnsafeCell<u32>; 2],
    }

    /// One thread plays the kernel's side of a ring with the same cursors. Loom fails the test if an entry is written
    /// while it may be read, or read before it is there; the numbers fail it if one is lost or comes twice. The
    /// indices start where they go over the end of 32 bits.
    #[test]
    fn entries_pass_once_in_order_and_are_not_touched_by_both_sides() {
        const ITEMS: u32 = 3; // one more than there are entries
        let mut model = loom::model::Builder::new();
        // Both sides wait for each other in loops: more switches than this repeat what was tried.
        model.preemption_bound = Some(3);
        model.check(|| {
            let start = u32::MAX - 1;
            let shared = Arc::new(Shared {
                producer: LoomU32::new(start),
                consumer: LoomU32::new(start),
                entries: [UnsafeCell::new(0), UnsafeCell::new(0)],
            });
            let other = Arc::clone(&shared);
            let producer = loom::thread::spawn(move || {
                let mut cursor = ProducerCursor::new(2, &other.producer, &other.consumer);
                let mut sent = 0;
                while sent < ITEMS {
                    let n = cursor.free(1, &other.consumer).min(ITEMS - sent);
                    for i in 0..n {
                        // SAFETY: loom checks that the access is exclusive.
                        other.entries[cursor.slot(i)].with_mut(|e| unsafe { *e = sent + i });
                    }
                    cursor.publish(n, &other.producer);
                    sent += n;
                    if n == 0 {
                        loom::thread::yield_now();
                    }
                }
            });
            let mut cursor = ConsumerCursor::new(2, &shared.producer, &shared.consumer);
            let mut seen = 0;
            while seen < ITEMS {
                let n = cursor.available(2, &shared.producer);
                for i in 0..n {
                    // SAFETY: loom checks that nobody writes meanwhile.
                    shared.entries[cursor.slot(i)].with(|e| assert_eq!(unsafe { *e }, seen + i));
                }
                cursor.release(n, &shared.consumer);
                seen += n;
                if n == 0 {
                    loom::thread::yield_now();
                }
            }
            producer.join().unwrap();
        });
    }
}
