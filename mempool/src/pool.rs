//! Mempool: buffers of one size, with a cache for every worker.
//!
//! A free buffer is in one of three places: the cache of a worker (a stack only that worker touches), a magazine in
//! the depot (stacks of pointers that change hands whole, one queue operation for up to 128 buffers), or the strays
//! (a locked list for threads that are no workers). The hot path is the cache: a copy of pointers and one store.
//!
//! The magazine scheme follows Bonwick and Adams, "Magazines and Vmem" (USENIX 2001).

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::packet::{Header, RefCount};
use crate::slot::{self, MAX_WORKER_SLOTS};
use crate::{Access, Burst, Domain, Mapping, MemError, Packet, PageChoice, Region, Sharing, Va};

/// Buffers moved between a cache and the depot at a time, at most.
const MAGAZINE: usize = 128;
/// Room of a worker's cache, in buffers.
const CACHE: usize = 4 * MAGAZINE;
/// Largest number of buffers of one pool.
pub const MAX_BUFFERS: usize = 1 << 24;
/// Guard bytes behind each buffer in debug builds: an overrun is found when the buffer is freed.
const CANARY: usize = if cfg!(debug_assertions) { 16 } else { 0 };
const CANARY_BYTE: u8 = 0xC5;

/// What a pool is to be.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// For people and statistics.
    pub name: String,
    /// How many buffers.
    pub buffers: usize,
    /// Bytes of each, headroom included. A power of two that divides the page keeps buffers off page borders.
    pub size: usize,
    /// Bytes kept free in front of a packet, for headers that are prepended later.
    pub headroom: usize,
    /// Which pages to use.
    pub pages: PageChoice,
    /// The NUMA node, where there are several.
    pub numa_node: Option<u32>,
}

impl PoolConfig {
    /// Checks the numbers, as [`Mempool::new`] will.
    ///
    /// # Errors
    /// [`MemError::BadGeometry`].
    pub fn check(&self) -> Result<(), MemError> {
        let wrong = |what: String| Err(MemError::BadGeometry { pool: self.name.clone(), what });
        if self.buffers == 0 || self.buffers > MAX_BUFFERS {
            return wrong(format!("buffers = {} must be 1 to {MAX_BUFFERS}", self.buffers));
        }
        if !(256..=65_472).contains(&self.size) || !self.size.is_multiple_of(64) {
            return wrong(format!("size = {} must be 256 to 65472 and a multiple of 64", self.size));
        }
        if self.headroom.saturating_add(CANARY + 64) > self.size {
            return wrong(format!("headroom = {} leaves less than 64 bytes of {}", self.headroom, self.size));
        }
        Ok(())
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            name: "pkt".to_owned(),
            buffers: 8192,
            size: 2048,
            headroom: 128,
            pages: PageChoice::Auto,
            numa_node: None,
        }
    }
}

/// A snapshot of a pool's state. Counts of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// All buffers of the pool.
    pub capacity: usize,
    /// Buffers that are somebody's packet now.
    pub in_use: usize,
    /// The most that were in use, as seen at every refill of a cache and every call of [`Mempool::stats`].
    pub peak: usize,
    /// How often fewer buffers were given than asked for.
    pub failures: u64,
}

/// A pool of packet buffers. Cheap to clone; all clones are the same pool.
///
/// When the last clone goes while packets are still out, the memory stays mapped for them (and is not reused).
#[derive(Clone)]
pub struct Mempool {
    owner: Arc<Owner>,
}

struct Owner(NonNull<Inner>);

// SAFETY: Inner is shared state made for access from many threads (see its fields); Owner only frees it.
unsafe impl Send for Owner {}
// SAFETY: as above.
unsafe impl Sync for Owner {}

pub(crate) struct Inner {
    name: String,
    buffers: usize,
    size: usize,
    headroom: usize,
    /// Bytes a packet may use: the size less the canary.
    capacity: usize,
    region: Arc<Region>,
    /// An array of `buffers` headers.
    headers: Mapping,
    domain: Domain,
    magazine_len: usize,
    cache_len: usize,
    full: ArrayQueue<MagazinePtr>,
    empty: ArrayQueue<MagazinePtr>,
    /// Owns what the two queues point to.
    _magazines: Box<[UnsafeCell<Magazine>]>,
    /// Buffers in full magazines. Raised after a magazine is in, lowered before one is out.
    in_depot: AtomicUsize,
    strays: Mutex<Vec<HeaderPtr>>,
    in_strays: AtomicUsize,
    caches: Box<[CachePadded<Cache>]>,
    peak: AtomicUsize,
    failures: AtomicU64,
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

impl Mempool {
    /// Makes a pool and maps its memory, for reading and writing, into `domain`.
    ///
    /// # Errors
    /// [`MemError`] when the numbers are impossible, pages are missing or DMA addresses are not to be had.
    pub fn new(config: &PoolConfig, domain: &Domain) -> Result<Self, MemError> {
        config.check()?;
        let bytes = config.buffers * config.size;
        let mapping = Mapping::new(bytes, config.pages, Sharing::Shared, config.numa_node)?;
        let region = Arc::new(Region::new(mapping, domain)?);
        contiguous(config, &region)?;
        let headers = Mapping::new(
            config.buffers * size_of::<Header>(),
            PageChoice::Auto,
            Sharing::Private,
            config.numa_node,
        )?;
        let magazine_len = (config.buffers / 8).clamp(1, MAGAZINE);
        let count = config.buffers / magazine_len + 1;
        let magazines: Box<[_]> =
            (0..count).map(|_| UnsafeCell::new(Magazine([MaybeUninit::uninit(); MAGAZINE]))).collect();
        let inner = Box::new(Inner {
            name: config.name.clone(),
            buffers: config.buffers,
            size: config.size,
            headroom: config.headroom,
            capacity: config.size - CANARY,
            region,
            headers,
            domain: domain.clone(),
            magazine_len,
            cache_len: 4 * magazine_len,
            full: ArrayQueue::new(count),
            empty: ArrayQueue::new(count),
            _magazines: magazines,
            in_depot: AtomicUsize::new(0),
            strays: Mutex::new(Vec::with_capacity(config.buffers)),
            in_strays: AtomicUsize::new(0),
            caches: (0..MAX_WORKER_SLOTS).map(|_| CachePadded::new(Cache::new())).collect(),
            peak: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
        });
        for m in &inner._magazines {
            let ptr = NonNull::new(m.get()).expect("from a reference");
            assert!(inner.empty.push(MagazinePtr(ptr)).is_ok(), "one place for each magazine");
        }
        let inner = NonNull::from(Box::leak(inner));
        let pool = Self { owner: Arc::new(Owner(inner)) };
        pool.fill();
        domain.map(&pool.inner().region, Access::ReadWrite)?;
        Ok(pool)
    }

    /// Writes the headers and puts every buffer in the depot.
    fn fill(&self) {
        let inner = self.inner();
        for index in 0..inner.buffers {
            // SAFETY: index is below the number of buffers the region was sized for.
            let buf = unsafe { inner.region.mapping().as_ptr().add(index * inner.size) };
            let va = Va::of(buf);
            let iova = inner.region.iova_of(va).expect("inside the region");
            if CANARY > 0 {
                // SAFETY: the last CANARY bytes of this buffer, which nobody else has yet.
                unsafe { buf.add(inner.capacity).write_bytes(CANARY_BYTE, CANARY) };
            }
            let header = Header {
                buf: NonNull::new(buf).expect("a mapping does not start at address 0"),
                iova,
                pool: self.owner.0,
                next: None,
                timestamp: 0,
                len: 0,
                off: 0,
                port: 0,
                mark: 0,
                refs: RefCount::one(),
            };
            // SAFETY: inside the header array, exclusively ours during construction.
            unsafe { inner.header(index).write(header) };
            inner.put_stray(&[inner.header(index)]);
        }
        inner.pack_strays();
    }

    fn inner(&self) -> &Inner {
        // SAFETY: Owner frees Inner only when the last Mempool is gone.
        unsafe { self.owner.0.as_ref() }
    }

    /// One empty packet, or `None` when the pool is exhausted (which is counted).
    #[must_use]
    #[inline]
    pub fn alloc(&self) -> Option<Packet> {
        let mut out = [MaybeUninit::uninit()];
        if self.inner().get(&mut out) == 0 {
            return None;
        }
        // SAFETY: `get` wrote one header of a buffer that is now ours alone.
        Some(unsafe { Packet::from_free(out[0].assume_init(), self.inner().headroom) })
    }

    /// Appends up to `n` empty packets to `burst` and returns how many: fewer when the pool is exhausted (which is
    /// counted) or the burst is full.
    #[inline]
    pub fn alloc_burst(&self, burst: &mut Burst, n: usize) -> usize {
        let inner = self.inner();
        let spare = burst.spare();
        let n = n.min(spare.len());
        let got = inner.get(&mut spare[..n]);
        for header in &spare[..got] {
            // SAFETY: `get` wrote these; each is a free buffer that is now ours alone.
            unsafe { Header::reset(header.assume_init(), inner.headroom) };
        }
        // SAFETY: the first `got` spare places hold packets that were just taken and reset.
        unsafe { burst.grow(got) };
        got
    }

    /// Gives a burst of packets back at once: the fast way to free what a driver has sent.
    #[inline]
    pub fn free_burst(burst: &mut Burst) {
        burst.clear();
    }

    /// Empties the current worker's cache, so that others can have the buffers. For a worker that stops.
    pub fn flush_local_cache(&self) {
        if let Some(slot) = slot::current() {
            self.inner().flush_cache(slot);
        }
    }

    /// Numbers as of now. Also renews the peak.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let inner = self.inner();
        let in_use = inner.note_peak();
        PoolStats {
            capacity: inner.buffers,
            in_use,
            peak: inner.peak.load(Ordering::Relaxed).max(in_use),
            failures: inner.failures.load(Ordering::Relaxed),
        }
    }

    /// How often fewer buffers were given than asked for: one atomic load.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.inner().failures.load(Ordering::Relaxed)
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner().name
    }

    /// How many buffers it has.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.inner().buffers
    }

    /// Bytes of one buffer, headroom included: the distance between two buffers in the region.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        self.inner().size
    }

    /// Bytes in front of a fresh packet.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.inner().headroom
    }

    /// The most bytes a fresh packet can hold.
    #[must_use]
    pub fn data_capacity(&self) -> usize {
        self.inner().capacity - self.inner().headroom
    }

    /// The memory behind the buffers.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.inner().region
    }

    /// The translation domain its memory is mapped in.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.inner().domain
    }

    /// Whether two handles are the same pool.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.owner.0 == other.owner.0
    }

    pub(crate) fn owns(&self, packet: &Packet) -> bool {
        packet.pool() == self.owner.0
    }

    /// Index of a packet's buffer in the region.
    pub(crate) fn index_of(&self, header: NonNull<Header>) -> usize {
        (header.as_ptr().addr() - self.inner().headers.va().0) / size_of::<Header>()
    }

    pub(crate) fn header_at(&self, index: usize) -> NonNull<Header> {
        assert!(index < self.inner().buffers);
        self.inner().header(index)
    }
}

impl std::fmt::Debug for Mempool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mempool({:?}, {:?})", self.name(), self.stats())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: valid until this very drop.
        let inner = unsafe { self.0.as_ref() };
        inner.domain.unmap(&inner.region);
        // A thread without a cache says under the lock that the last packet is free: wait until it has let go of it.
        // One with a cache does not touch Inner after saying so.
        let strays = inner.lock_strays();
        let in_use = inner.in_use();
        drop(strays);
        if in_use > 0 {
            tracing::warn!(
                pool = inner.name,
                in_use,
                "mempool dropped with packets out: its memory is kept for them"
            );
            return;
        }
        // SAFETY: no handle and no packet is left, so nobody can reach Inner; it came from Box::leak.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Checks that a device sees every buffer of a pool in one piece.
fn contiguous(config: &PoolConfig, region: &Region) -> Result<(), MemError> {
    let first = region.mapping().va().0;
    let wrong = |i: &usize| !region.is_contiguous(Va(first + i * config.size), config.size);
    match (0..config.buffers).find(wrong) {
        None => Ok(()),
        Some(index) => Err(MemError::NotContiguous {
            pool: config.name.clone(),
            index,
            size: config.size,
            page: region.mapping().page_size(),
        }),
    }
}

impl Cache {
    fn new() -> Self {
        Self { len: AtomicUsize::new(0), items: UnsafeCell::new([MaybeUninit::uninit(); CACHE]) }
    }
}

impl Inner {
    fn header(&self, index: usize) -> NonNull<Header> {
        let base: NonNull<Header> = NonNull::new(self.headers.as_ptr()).expect("mapped").cast();
        // SAFETY: callers pass an index below `buffers`, for which the array was sized.
        unsafe { base.add(index) }
    }

    #[inline]
    pub(crate) fn headroom(&self) -> usize {
        self.headroom
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The cache of worker slot `slot`.
    ///
    /// # Safety
    /// The current thread holds that slot, and no other reference to the items is alive.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the slot is what makes it exclusive")]
    unsafe fn items(&self, slot: usize) -> &mut [MaybeUninit<NonNull<Header>>; CACHE] {
        // SAFETY: by the caller.
        unsafe { &mut *self.caches[slot].items.get() }
    }

    /// Takes up to `out.len()` free buffers; returns how many places of `out` were written.
    #[inline]
    fn get(&self, out: &mut [MaybeUninit<NonNull<Header>>]) -> usize {
        let Some(slot) = slot::current() else {
            return self.get_stray(out);
        };
        let cache = &self.caches[slot];
        let len = cache.len.load(Ordering::Relaxed);
        if len < out.len() {
            return self.get_slow(slot, out);
        }
        // SAFETY: this thread holds the slot.
        let items = unsafe { self.items(slot) };
        let rest = len - out.len();
        out.copy_from_slice(&items[rest..len]);
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
            let items = unsafe { self.items(slot) };
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
        let items = unsafe { self.items(slot) };
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
        if cfg!(debug_assertions) {
            headers.iter().for_each(|h| self.check_canary(*h));
        }
        let Some(slot) = slot::current() else {
            self.put_stray(headers);
            return;
        };
        let cache = &self.caches[slot];
        let len = cache.len.load(Ordering::Relaxed);
        if len + headers.len() > self.cache_len {
            return self.put_slow(slot, headers);
        }
        // SAFETY: this thread holds the slot.
        let items = unsafe { self.items(slot) };
        for (place, header) in items[len..len + headers.len()].iter_mut().zip(headers) {
            place.write(*header);
        }
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
            let items = unsafe { self.items(slot) };
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
            to[..self.magazine_len].copy_from_slice(&self.items(slot)[rest..len]);
        }
        // Down here before up there: `in_use` may count too many for a moment, never too few.
        cache.len.store(rest, Ordering::Release);
        let pushed = self.full.push(magazine);
        debug_assert!(pushed.is_ok());
        self.in_depot.fetch_add(self.magazine_len, Ordering::Release);
    }

    fn flush_cache(&self, slot: usize) {
        let cache = &self.caches[slot];
        while cache.len.load(Ordering::Relaxed) >= self.magazine_len {
            self.flush_magazine(slot);
        }
        let len = cache.len.load(Ordering::Relaxed);
        // SAFETY: this thread holds the slot, and the first `len` items are written.
        let rest: Vec<_> = unsafe { self.items(slot)[..len].iter().map(|h| h.assume_init()).collect() };
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
    fn put_stray(&self, headers: &[NonNull<Header>]) {
        let mut strays = self.lock_strays();
        strays.extend(headers.iter().map(|h| HeaderPtr(*h)));
        self.in_strays.store(strays.len(), Ordering::Release);
    }

    /// Packs the strays into magazines, as far as they fill them.
    fn pack_strays(&self) {
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
    fn in_use(&self) -> usize {
        let mut free = self.in_depot.load(Ordering::Acquire);
        free += self.in_strays.load(Ordering::Acquire);
        for cache in &self.caches {
            free += cache.len.load(Ordering::Acquire);
        }
        self.buffers.saturating_sub(free)
    }

    fn note_peak(&self) -> usize {
        let in_use = self.in_use();
        if in_use > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_use, Ordering::Relaxed);
        }
        in_use
    }

    fn check_canary(&self, header: NonNull<Header>) {
        // SAFETY: the buffer is being freed, so it is ours; its last CANARY bytes lie behind `capacity`.
        let intact = unsafe {
            let guard = header.as_ref().buf.add(self.capacity);
            std::slice::from_raw_parts(guard.as_ptr(), CANARY).iter().all(|b| *b == CANARY_BYTE)
        };
        assert!(intact, "mempool {:?}: something wrote past the end of a buffer", self.name);
    }
}
