//! Burst: up to 64 packets in a fixed array, passed from stage to stage by `&mut`.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::Packet;
use crate::packet::Header;

/// The most packets that move at once.
pub const BURST: usize = 64;

/// An ordered set of up to [`BURST`] packets. What is left in it when it is dropped goes back to its pools.
pub struct Burst {
    /// At most `BURST`; the first `len` items hold packets.
    len: usize,
    items: [MaybeUninit<Packet>; BURST],
}

impl Burst {
    /// An empty burst.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { len: 0, items: [const { MaybeUninit::uninit() }; BURST] }
    }

    /// How many packets it has.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more it takes.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        BURST - self.len
    }

    /// The packets, first come first.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[Packet] {
        // SAFETY: the first `len` items are initialised; MaybeUninit<T> has T's layout.
        unsafe { std::slice::from_raw_parts(self.items.as_ptr().cast(), self.len) }
    }

    /// The packets, to be changed.
    #[must_use]
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Packet] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.items.as_mut_ptr().cast(), self.len) }
    }

    /// Iterates over the packets.
    pub fn iter(&self) -> std::slice::Iter<'_, Packet> {
        self.as_slice().iter()
    }

    /// Iterates over the packets, to change them.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Packet> {
        self.as_mut_slice().iter_mut()
    }

    /// Adds a packet behind the others.
    ///
    /// # Errors
    /// Gives it back when the burst is full.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.len == BURST {
            return Err(packet);
        }
        self.items[self.len].write(packet);
        self.len += 1;
        Ok(())
    }

    /// Adds packets behind the others, as many as there is room for, and returns how many. The iterator keeps the rest.
    #[inline]
    pub fn extend(&mut self, packets: impl Iterator<Item = Packet>) -> usize {
        // If the iterator panics, what it gave before is leaked: nothing counts until the end.
        let mut n = 0;
        for (place, packet) in self.items[self.len..].iter_mut().zip(packets) {
            place.write(packet);
            n += 1;
        }
        self.len += n;
        n
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Packet> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was within the initialised part and no longer counts.
        Some(unsafe { self.items[self.len].assume_init_read() })
    }

    /// Frees all packets, those of one pool at once.
    #[inline]
    pub fn clear(&mut self) {
        self.free_front(self.len);
    }

    /// Frees the first `n` packets (all, if fewer) and moves the others up. Returns how many were freed.
    #[inline]
    pub fn free_front(&mut self, n: usize) -> usize {
        let n = n.min(self.len);
        // Nothing counts meanwhile: if a broken guard behind a buffer panics, no packet can be freed twice.
        let len = std::mem::take(&mut self.len);
        // SAFETY: the first `len` items are initialised; MaybeUninit<T> has T's layout.
        let packets = unsafe { std::slice::from_raw_parts_mut(self.items.as_mut_ptr().cast::<Packet>(), n) };
        let mut start = 0;
        while start < n {
            let pool = packets[start].pool();
            let mut end = start;
            while end < n {
                let packet = &mut packets[end];
                if packet.pool() != pool {
                    break;
                }
                if packet.is_chained() {
                    drop(packet.unchain());
                }
                end += 1;
            }
            let headers = &packets[start..end];
            // SAFETY: a Packet is a transparent NonNull<Header>; these ceased to be packets when `len` was lowered, and
            // nothing looks at them again. The pool outlives its packets.
            unsafe {
                let headers = &*(ptr::from_ref(headers) as *const [NonNull<Header>]);
                pool.as_ref().put(headers);
            }
            start = end;
        }
        self.len = len;
        self.forget_front(n);
        n
    }

    /// Moves the first `n` packets (all, if fewer; as many as fit) to the end of `to`. Returns how many.
    #[inline]
    pub fn move_front(&mut self, n: usize, to: &mut Burst) -> usize {
        let n = n.min(self.len).min(to.room());
        // SAFETY: `n` initialised items go to places that are free; `forget_front` makes the move complete.
        unsafe {
            ptr::copy_nonoverlapping(self.items.as_ptr(), to.items.as_mut_ptr().add(to.len), n);
        }
        to.len += n;
        self.forget_front(n);
        n
    }

    /// Takes the first `n` packets (all, if fewer) as an iterator. What it has not yielded when it is dropped is freed.
    #[inline]
    pub fn drain_front(&mut self, n: usize) -> DrainFront<'_> {
        let n = n.min(self.len);
        let len = std::mem::take(&mut self.len);
        DrainFront { burst: self, at: 0, n, len }
    }

    /// Keeps the packets for which `keep` says true, in order, and hands the others to `out`. If one of these panics,
    /// the packet it was looking at is freed and those behind it are kept.
    pub fn retain_or(&mut self, mut keep: impl FnMut(&mut Packet) -> bool, mut out: impl FnMut(Packet)) {
        let len = std::mem::take(&mut self.len);
        let mut rest = Unseen { burst: self, at: 0, len };
        while rest.at < rest.len {
            // SAFETY: initialised, read once; it is either written back in front or handed out.
            let mut packet = unsafe { rest.burst.items[rest.at].assume_init_read() };
            rest.at += 1;
            if keep(&mut packet) {
                rest.burst.items[rest.burst.len].write(packet);
                rest.burst.len += 1;
            } else {
                out(packet);
            }
        }
    }

    /// Drops the first `n` places from the array without dropping what was in them.
    #[inline]
    fn forget_front(&mut self, n: usize) {
        let rest = self.len - n;
        if rest > 0 {
            let base = self.items.as_mut_ptr();
            // SAFETY: both ranges are within the array; `copy` permits overlap.
            unsafe { ptr::copy(base.add(n), base, rest) };
        }
        self.len = rest;
    }

    /// The free places, for a pool to write to.
    #[inline]
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<NonNull<Header>>] {
        let spare = &mut self.items[self.len..];
        // SAFETY: Packet is a transparent NonNull<Header>, and the places are uninitialised either way.
        unsafe { &mut *(ptr::from_mut(spare) as *mut [MaybeUninit<NonNull<Header>>]) }
    }

    /// Counts `n` more packets.
    ///
    /// # Safety
    /// The first `n` spare places were written with headers of packets that belong to the caller.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        self.len += n;
    }
}

/// The packets that [`Burst::retain_or`] has still to look at: items `at` to `len`, behind those it has kept.
struct Unseen<'a> {
    burst: &'a mut Burst,
    at: usize,
    len: usize,
}

impl Drop for Unseen<'_> {
    #[inline]
    fn drop(&mut self) {
        let n = self.len - self.at;
        if n > 0 {
            let base = self.burst.items.as_mut_ptr();
            // SAFETY: both ranges are within the array, what was kept lies in front of both; `copy` permits overlap.
            unsafe { ptr::copy(base.add(self.at), base.add(self.burst.len), n) };
            self.burst.len += n;
        }
    }
}

/// The packets that [`Burst::drain_front`] takes.
pub struct DrainFront<'a> {
    /// Its `len` is 0 while we hold it: packets before `at` are gone, those from `at` to `len` are ours.
    burst: &'a mut Burst,
    at: usize,
    n: usize,
    len: usize,
}

impl Iterator for DrainFront<'_> {
    type Item = Packet;

    #[inline]
    fn next(&mut self) -> Option<Packet> {
        if self.at == self.n {
            return None;
        }
        self.at += 1;
        // SAFETY: initialised, and each place is read once.
        Some(unsafe { self.burst.items[self.at - 1].assume_init_read() })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.n - self.at, Some(self.n - self.at))
    }
}

impl Drop for DrainFront<'_> {
    #[inline]
    fn drop(&mut self) {
        self.by_ref().for_each(drop);
        self.burst.len = self.len;
        self.burst.forget_front(self.n);
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        if self.len > 0 {
            self.clear();
        }
    }
}

impl<'a> IntoIterator for &'a Burst {
    type Item = &'a Packet;
    type IntoIter = std::slice::Iter<'a, Packet>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Burst {
    type Item = &'a mut Packet;
    type IntoIter = std::slice::IterMut<'a, Packet>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
