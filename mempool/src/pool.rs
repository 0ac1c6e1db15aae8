//! Mempool: buffers of one size, with a cache for every worker.
//!
//! A pool is a region cut into buffers, an array of headers beside it, and the list of what is free (`free.rs`).

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::free::FreeList;
use crate::packet::Header;
use crate::shared::RefCount;
use crate::{
    Access, Burst, Domain, Mapping, MemError, Packet, PageChoice, PageSize, Region, Sharing, Va, slot,
};

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
    free: FreeList,
}

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
        // Whoever asks for small pages wants no others; a page of 1 GiB would be wasted on headers.
        let small = PageChoice::Exactly(PageSize::Size4K);
        let headers = Mapping::new(
            config.buffers * size_of::<Header>(),
            if config.pages == small { small } else { PageChoice::Auto },
            Sharing::Private,
            config.numa_node,
        )?;
        let inner = Box::new(Inner {
            name: config.name.clone(),
            buffers: config.buffers,
            size: config.size,
            headroom: config.headroom,
            capacity: config.size - CANARY,
            region,
            headers,
            domain: domain.clone(),
            free: FreeList::new(config.buffers),
        });
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
            inner.free.put_stray(&[inner.header(index)]);
        }
        inner.free.pack_strays();
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
        if self.inner().free.get(&mut out) == 0 {
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
        let got = inner.free.get(&mut spare[..n]);
        for header in &spare[..got] {
            // SAFETY: `get` wrote these; each is a free buffer that is now ours alone.
            unsafe { Header::reset(header.assume_init(), inner.headroom) };
        }
        // SAFETY: the first `got` spare places hold packets that were just taken and reset.
        unsafe { burst.grow(got) };
        got
    }

    /// Empties the current worker's cache, so that others can have the buffers. For a worker that stops.
    pub fn flush_local_cache(&self) {
        if let Some(slot) = slot::current() {
            self.inner().free.flush_cache(slot);
        }
    }

    /// Numbers as of now. Also renews the peak.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let inner = self.inner();
        let in_use = inner.free.note_peak();
        PoolStats {
            capacity: inner.buffers,
            in_use,
            peak: inner.free.peak.load(Ordering::Relaxed).max(in_use),
            failures: inner.free.failures.load(Ordering::Relaxed),
        }
    }

    /// How often fewer buffers were given than asked for: one atomic load.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.inner().free.failures.load(Ordering::Relaxed)
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

    #[inline]
    pub(crate) fn free_list(&self) -> &FreeList {
        &self.inner().free
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
        let in_use = inner.free.in_use_at_the_end();
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

    /// Takes headers of buffers that nobody uses any more.
    #[inline]
    pub(crate) fn put(&self, headers: &[NonNull<Header>]) {
        if cfg!(debug_assertions) {
            headers.iter().for_each(|h| self.check_canary(*h));
        }
        self.free.put(headers);
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
