//! Buffers: up to 64 free buffers of one pool, taken and given back without touching their headers.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::free::FreeList;
use crate::packet::Header;
use crate::{BURST, Burst, Mempool};

/// Buffers of one pool that are nobody's packets yet: what `rte_mempool_get_bulk` gives, owned. What is left in it when
/// it is dropped goes back.
///
/// For whoever needs buffers first and packets later, if at all: nothing but pointers is moved.
pub struct Buffers<'p> {
    free: &'p FreeList,
    headroom: usize,
    /// At most `BURST`; the first `len` items are buffers that are ours.
    len: usize,
    items: [MaybeUninit<NonNull<Header>>; BURST],
}

impl<'p> Buffers<'p> {
    /// None yet.
    #[must_use]
    #[inline]
    pub fn new(pool: &'p Mempool) -> Self {
        Self {
            free: pool.free_list(),
            headroom: pool.headroom(),
            len: 0,
            items: [MaybeUninit::uninit(); BURST],
        }
    }

    /// Takes up to `n` more and returns how many: fewer when the pool is exhausted (which is counted) or there is no
    /// room.
    #[inline]
    pub fn take(&mut self, n: usize) -> usize {
        let spare = &mut self.items[self.len..];
        let n = n.min(spare.len());
        let got = self.free.get(&mut spare[..n]);
        self.len += got;
        got
    }

    /// Gives all back.
    #[inline]
    pub fn give_back(&mut self) {
        let len = std::mem::take(&mut self.len);
        // SAFETY: the first `len` items are initialised; MaybeUninit<T> has T's layout.
        let headers = unsafe { std::slice::from_raw_parts(self.items.as_ptr().cast(), len) };
        self.free.put(headers);
    }

    /// Makes empty packets of as many as `burst` has room for, and returns how many.
    #[inline]
    pub fn into_packets(&mut self, burst: &mut Burst) -> usize {
        let spare = burst.spare();
        let n = self.len.min(spare.len());
        let rest = self.len - n;
        for (place, item) in spare.iter_mut().zip(&self.items[rest..self.len]) {
            // SAFETY: the item is a free buffer that is ours, and leaves us below.
            unsafe { Header::reset(item.assume_init(), self.headroom) };
            *place = *item;
        }
        self.len = rest;
        // SAFETY: the first `n` spare places were just written with packets that are now the burst's.
        unsafe { burst.grow(n) };
        n
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Buffers<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.len > 0 {
            self.give_back();
        }
    }
}
