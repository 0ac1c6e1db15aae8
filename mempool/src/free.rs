//! Where the free buffers of a pool are.
//!
//! A free buffer is in one of three places: the cache of a worker (a stack only that worker touches), a magazine in
//! the depot (stacks of pointers that change hands whole, one queue operation for up to 128 buffers), or the strays
//! (a locked list for threads that are no workers). The hot path is the cache: a copy of pointers and one store.
//!
//! The magazine scheme follows Bonwick and Adams, "Magazines and Vmem" (USENIX 2001).

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize as Gauge, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(loom)]
use loom::sync::atomic::AtomicUsize;
#[cfg(not(loom))]
use std::sync::atomic::AtomicUsize;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::packet::Header;
use crate::slot::{self, MAX_WORKER_SLOTS};

/// Buffers moved between a cache and the depot at a time, at most.
const MAGAZINE: usize = 128;
/// Room of a worker's cache, in buffers.
const CACHE: usize = 4 * MAGAZINE;

/// The free buffers of one pool, by their headers.
pub(crate) struct FreeList {
    /// All buffers of the pool, free or not.
    capacity: usize,
    magazine_len: usize,
    cache_len: usize,
    /// Whether the cpu copies 32 bytes at once.
    wide: bool,
    full: ArrayQueue<MagazinePtr>,
    empty: ArrayQueue<MagazinePtr>,
    /// Owns what the two queues point to.
    _magazines: Box<[UnsafeCell<Magazine>]>,
    /// Buffers in full magazines. Raised after a magazine is in, lowered before one is out.
    in_depot: AtomicUsize,
    strays: Mutex<Vec<HeaderPtr>>,
    in_strays: AtomicUsize,
    caches: Box<[CachePadded<Cache>]>,
    /// The most that were in use, and how often fewer were given than asked for.
    pub(crate) peak: Gauge,
    pub(crate) failures: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct HeaderPtr(NonNull<Header>);
// SAFETY: the header of a free buffer; whoever holds the pointer owns the buffer.
unsafe impl Send for HeaderPtr {}

struct Magazine([MaybeUninit<NonNull<Header>>; MAGAZINE]);
struct MagazinePtr(NonNull<Magazine>);
// SAFETY: whoever pops the pointer from a queue is the only one to access the magazine until it is pushed again.
unsafe impl Send for MagazinePtr {}

/// The stack of free buffers of one worker slot.
struct Cache {
    /// Written by the slot's holder alone; read by whoever counts. At most `cache_len`.
    len: AtomicUsize,
    items: UnsafeCell<[MaybeUninit<NonNull<Header>>; CACHE]>,
}

// SAFETY: `items` is accessed only by the thread that holds the cache's worker slot, which is one at a time, and the
// slot's hand-over orders the accesses (slot.rs, with its loom test).
unsafe impl Sync for Cache {}
// SAFETY: it holds pointers to free buffers, which belong to no thread.
unsafe impl Send for Cache {}

impl Cache {
    /// The stack itself.
    ///
    /// # Safety
    /// The current thread holds the slot that this cache belongs to, and no other reference to the items is alive.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the slot is what makes it exclusive")]
    unsafe fn items(&self) -> &mut [MaybeUninit<NonNull<Header>>; CACHE] {
        // SAFETY: by the caller.
        unsafe { &mut *self.items.get() }
    }

    fn new() -> Self {
        Self { len: AtomicUsize::new(0), items: UnsafeCell::new([MaybeUninit::uninit(); CACHE]) }
    }
}

/// Copies pointers between slices of the same length, eight at a time: for the few of a burst, calling `memcpy` costs
/// more than the copy. `wide` says that the cpu has AVX.
#[inline(always)]
fn copy(from: &[MaybeUninit<NonNull<Header>>], to: &mut [MaybeUninit<NonNull<Header>>], wide: bool) {
    assert_eq!(from.len(), to.len());
    let (blocks, rest) = from.as_chunks::<8>();
    let (to_blocks, to_rest) = to.as_chunks_mut::<8>();
    match blocks {
        [] => {}
        [one] => to_blocks[0] = *one,
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the pool has asked the cpu, once; both slices have as many blocks, and `to` is not shared.
        _ if wide => unsafe {
            copy_wide(blocks.as_ptr().cast(), to_blocks.as_mut_ptr().cast(), blocks.len())
        },
        _ => to_blocks.copy_from_slice(blocks),
    }
    for (to, from) in to_rest.iter_mut().zip(rest) {
        *to = *from;
    }
}

/// Copies blocks of 64 bytes with registers of 32: half the stores, which are what limits the copy.
///
/// # Safety
/// The cpu has AVX; `blocks` blocks can be read at `from` and written at `to`, and the two do not overlap.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn copy_wide(from: *const __m256i, to: *mut __m256i, blocks: usize) {
    let mut at = 0;
    while at + 4 <= 2 * blocks {
        // SAFETY: two blocks from `at` are within what the caller vouches for; any alignment will do.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(from.add(at)), _mm256_loadu_si256(from.add(at + 1)));
            let (c, d) = (_mm256_loadu_si256(from.add(at + 2)), _mm256_loadu_si256(from.add(at + 3)));
            _mm256_storeu_si256(to.add(at), a);
            _mm256_storeu_si256(to.add(at + 1), b);
            _mm256_storeu_si256(to.add(at + 2), c);
            _mm256_storeu_si256(to.add(at + 3), d);
        }
        at += 4;
    }
    if at < 2 * blocks {
        // SAFETY: the last block.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(from.add(at)), _mm256_loadu_si256(from.add(at + 1)));
            _mm256_storeu_si256(to.add(at), a);
            _mm256_storeu_si256(to.add(at + 1), b);
        }
    }
}

impl FreeList {
    /// An empty list for a pool of `capacity` buffers.
    pub(crate) fn new(capacity: usize) -> Self {
        let magazine_len = (capacity / 8).clamp(1, MAGAZINE);
        let count = capacity / magazine_len + 1;
        let magazines: Box<[_]> =
            (0..count).map(|_| UnsafeCell::new(Magazine([MaybeUninit::uninit(); MAGAZINE]))).collect();
        let empty = ArrayQueue::new(count);
        for m in &magazines {
            let ptr = NonNull::new(m.get()).expect("from a reference");
            assert!(empty.push(MagazinePtr(ptr)).is_ok(), "one place for each magazine");
        }
        Self {
            capacity,
            magazine_len,
            cache_len: 4 * magazine_len,
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            wide: std::arch::is_x86_feature_detected!("avx"),
            #[cfg(not(all(target_arch = "x86_64", not(miri))))]
            wide: false,
            full: ArrayQueue::new(count),
            empty,
            _magazines: magazines,
            in_depot: AtomicUsize::new(0),
            strays: Mutex::new(Vec::with_capacity(capacity)),
            in_strays: AtomicUsize::new(0),
            // Loom watches every atomic, and one cache is enough for its tests.
            caches: (0..if cfg!(loom) { 1 } else { MAX_WORKER_SLOTS })
                .map(|_| CachePadded::new(Cache::new()))
                .collect(),
            peak: Gauge::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// What is in use when nobody can take buffers any more. Waits for a thread without a cache that is just saying,
    /// under the lock, that its last packet is free; one with a cache does not touch the list after saying so.
    pub(crate) fn in_use_at_the_end(&self) -> usize {
        let strays = self.lock_strays();
        let in_use = self.in_use();
        drop(strays);
        in_use
    }

    /// Takes up to `out.len()` free buffers; returns how many places of `out` were written.
    #[inline]
    pub(crate) fn get(&self, out: &mut [MaybeUninit<NonNull<Header>>]) -> usize {
        let Some(slot) = slot::current() else {
            return self.get_stray(out);
        };
        let cache = &self.caches[slot];
        let len = cache.len.load(Ordering::Relaxed);
        if len < out.len() {
            return self.get_slow(slot, out);
        }
        // SAFETY: this thread holds the slot.
        let items = unsafe { cache.items() };
        let rest = len - out.len();
        copy(&items[rest..len], out, self.wide);
        cache.len.store(rest, Ordering::Release);
        out.len()
    }

    #[cold]
    #[inline(never)]
    fn get_slow(&self, slot: usize, out: &mut [MaybeUninit<NonNull<Header>>]) -> usize {
        let cache = &self.caches[slot];
        let mut got = 0;
        loop {
            let len = cache.len.load(Ordering::Relaxed);
            let n = len.min(out.len() - got);
            // SAFETY: this thread holds the slot.
            let items = unsafe { cache.items() };
            out[got..got + n].copy_from_slice(&items[len - n..len]);
            cache.len.store(len - n, Ordering::Release);
            got += n;
            if got == out.len() {
                break;
            }
            if !self.refill(slot) {
                self.failures.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        self.note_peak();
        got
    }

    /// Moves a magazine (or what the strays have) into the empty cache of `slot`.
    fn refill(&self, slot: usize) -> bool {
        let cache = &self.caches[slot];
        // SAFETY: this thread holds the slot.
        let items = unsafe { cache.items() };
        debug_assert_eq!(cache.len.load(Ordering::Relaxed), 0);
        if let Some(magazine) = self.full.pop() {
            self.in_depot.fetch_sub(self.magazine_len, Ordering::Release);
            // SAFETY: popped, so ours until it is pushed.
            let from = unsafe { &(*magazine.0.as_ptr()).0 };
            items[..self.magazine_len].copy_from_slice(&from[..self.magazine_len]);
            let pushed = self.empty.push(magazine);
            debug_assert!(pushed.is_ok());
            cache.len.store(self.magazine_len, Ordering::Release);
            return true;
        }
        // A worker that is out of buffers anyway may wait for the lock a moment, but not behind a sleeping holder.
        let Ok(mut strays) = self.strays.try_lock() else {
            return false;
        };
        let n = strays.len().min(self.magazine_len);
        for (place, stray) in items.iter_mut().zip(strays.drain(..n)) {
            place.write(stray.0);
        }
        self.in_strays.store(strays.len(), Ordering::Release);
        cache.len.store(n, Ordering::Release);
        n > 0
    }

    /// Takes `headers` of buffers that nobody uses any more.
    #[inline]
    pub(crate) fn put(&self, headers: &[NonNull<Header>]) {
        match slot::current() {
            // SAFETY: this thread holds the slot.
            Some(slot) => unsafe { self.put_at(slot, headers) },
            None => self.put_stray(headers),
        }
    }

    /// # Safety
    /// The current thread holds the worker slot.
    #[inline]
    unsafe fn put_at(&self, slot: usize, headers: &[NonNull<Header>]) {
        let cache = &self.caches[slot];
        let len = cache.len.load(Ordering::Relaxed);
        if len + headers.len() > self.cache_len {
            return self.put_slow(slot, headers);
        }
        // SAFETY: by the caller.
        let items = unsafe { cache.items() };
        // SAFETY: MaybeUninit<T> has T's layout, and initialised items are fit for places that need not be.
        let items_in = unsafe { std::slice::from_raw_parts(headers.as_ptr().cast(), headers.len()) };
        copy(items_in, &mut items[len..len + headers.len()], self.wide);
        cache.len.store(len + headers.len(), Ordering::Release);
    }

    #[cold]
    #[inline(never)]
    fn put_slow(&self, slot: usize, headers: &[NonNull<Header>]) {
        let cache = &self.caches[slot];
        for chunk in headers.chunks(self.magazine_len) {
            while cache.len.load(Ordering::Relaxed) + chunk.len() > self.cache_len {
                self.flush_magazine(slot);
            }
            let len = cache.len.load(Ordering::Relaxed);
            // SAFETY: this thread holds the slot.
            let items = unsafe { cache.items() };
            for (place, header) in items[len..].iter_mut().zip(chunk) {
                place.write(*header);
            }
            cache.len.store(len + chunk.len(), Ordering::Release);
        }
    }

    /// Moves one magazine's worth from the top of a cache that has as much to the depot.
    fn flush_magazine(&self, slot: usize) {
        let cache = &self.caches[slot];
        let len = cache.len.load(Ordering::Relaxed);
        let rest = len - self.magazine_len;
        // There is a magazine for every `magazine_len` buffers of the pool and one more, and these buffers are in none.
        let magazine = self.empty.pop().expect("a magazine for every full set of buffers");
        // SAFETY: this thread holds the slot; the magazine was popped, so it is ours until it is pushed.
        unsafe {
            let to = &mut (*magazine.0.as_ptr()).0;
            to[..self.magazine_len].copy_from_slice(&cache.items()[rest..len]);
        }
        // Down here before up there: `in_use` may count too many for a moment, never too few.
        cache.len.store(rest, Ordering::Release);
        let pushed = self.full.push(magazine);
        debug_assert!(pushed.is_ok());
        self.in_depot.fetch_add(self.magazine_len, Ordering::Release);
    }

    /// Empties the cache of a worker slot, which the current thread holds.
    pub(crate) fn flush_cache(&self, slot: usize) {
        let cache = &self.caches[slot];
        while cache.len.load(Ordering::Relaxed) >= self.magazine_len {
            self.flush_magazine(slot);
        }
        let len = cache.len.load(Ordering::Relaxed);
        // SAFETY: this thread holds the slot, and the first `len` items are written.
        let rest: Vec<_> = unsafe { cache.items()[..len].iter().map(|h| h.assume_init()).collect() };
        cache.len.store(0, Ordering::Release);
        self.put_stray(&rest);
    }

    fn lock_strays(&self) -> MutexGuard<'_, Vec<HeaderPtr>> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn get_stray(&self, out: &mut [MaybeUninit<NonNull<Header>>]) -> usize {
        let mut strays = self.lock_strays();
        while strays.len() < out.len() {
            let Some(magazine) = self.full.pop() else {
                self.failures.fetch_add(1, Ordering::Relaxed);
                break;
            };
            self.in_depot.fetch_sub(self.magazine_len, Ordering::Release);
            // SAFETY: popped, so ours until it is pushed; its first `magazine_len` items are written.
            unsafe {
                let from = &(&(*magazine.0.as_ptr()).0)[..self.magazine_len];
                strays.extend(from.iter().map(|h| HeaderPtr(h.assume_init())));
            }
            let pushed = self.empty.push(magazine);
            debug_assert!(pushed.is_ok());
        }
        let n = strays.len().min(out.len());
        let rest = strays.len() - n;
        for (place, stray) in out.iter_mut().zip(strays.drain(rest..)) {
            place.write(stray.0);
        }
        self.in_strays.store(rest, Ordering::Release);
        drop(strays);
        self.note_peak();
        n
    }

    #[cold]
    pub(crate) fn put_stray(&self, headers: &[NonNull<Header>]) {
        let mut strays = self.lock_strays();
        strays.extend(headers.iter().map(|h| HeaderPtr(*h)));
        self.in_strays.store(strays.len(), Ordering::Release);
    }

    /// Packs the strays into magazines, as far as they fill them.
    pub(crate) fn pack_strays(&self) {
        let mut strays = self.lock_strays();
        while strays.len() >= self.magazine_len {
            let magazine = self.empty.pop().expect("a magazine for every full set of buffers");
            let rest = strays.len() - self.magazine_len;
            // SAFETY: popped, so ours until it is pushed.
            let to = unsafe { &mut (*magazine.0.as_ptr()).0 };
            for (place, stray) in to.iter_mut().zip(strays.drain(rest..)) {
                place.write(stray.0);
            }
            let pushed = self.full.push(magazine);
            debug_assert!(pushed.is_ok());
            self.in_depot.fetch_add(self.magazine_len, Ordering::Release);
        }
        self.in_strays.store(strays.len(), Ordering::Release);
    }

    /// Buffers that are in no free place. Exact when nothing moves; otherwise it may count a buffer on its way
    /// between two free places as used, never the reverse once no more are taken. That needs this order: the depot
    /// before the caches, because buffers move from a cache to the depot when they are freed.
    pub(crate) fn in_use(&self) -> usize {
        let mut free = self.in_depot.load(Ordering::Acquire);
        free += self.in_strays.load(Ordering::Acquire);
        for cache in &self.caches {
            free += cache.len.load(Ordering::Acquire);
        }
        self.capacity.saturating_sub(free)
    }

    /// Renews the peak; returns what is in use.
    pub(crate) fn note_peak(&self) -> usize {
        let in_use = self.in_use();
        if in_use > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_use, Ordering::Relaxed);
        }
        in_use
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell as Watched;
    use loom::sync::Arc;

    /// A worker frees the last two buffers, one by way of the depot, while the last handle of the pool looks whether all
    /// are back. The cell stands for the pool's memory: if the count says so too early, loom sees both access it.
    #[test]
    fn when_all_buffers_are_back_nobody_touches_the_pool_any_more() {
        loom::model(|| {
            let free = Arc::new(FreeList::new(2));
            let memory = Arc::new(Watched::new(true));
            let worker = {
                let (free, memory) = (Arc::clone(&free), Arc::clone(&memory));
                loom::thread::spawn(move || {
                    let header = [NonNull::dangling()];
                    // SAFETY: this thread alone uses slot 0, and nothing looks behind the pointers. Loom checks that
                    // nobody writes the cell meanwhile.
                    unsafe {
                        memory.with(|m| assert!(*m));
                        free.put_at(0, &header);
                        free.flush_magazine(0);
                        memory.with(|m| assert!(*m));
                        free.put_at(0, &header);
                    }
                })
            };
            if free.in_use() == 0 {
                // SAFETY: loom checks that the access is exclusive.
                memory.with_mut(|m| unsafe { *m = false });
            }
            worker.join().unwrap();
            assert_eq!(free.in_use(), 0);
        });
    }
}
