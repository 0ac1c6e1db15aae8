//! Packet: an owned handle to one buffer of a pool. Dropping it gives the buffer back.

use std::fmt;
use std::mem;
use std::ptr::NonNull;

use crate::pool::Inner;
use crate::shared::{RefCount, SharedPacket};
use crate::{Iova, Va};

/// What is known of one buffer: a cache line apart from the buffer, so that a burst's headers lie side by side and a
/// packet can be forwarded without touching its bytes.
#[repr(C, align(64))]
pub(crate) struct Header {
    // Fixed when the pool is made.
    pub(crate) buf: NonNull<u8>,
    pub(crate) iova: Iova,
    pub(crate) pool: NonNull<Inner>,
    // The owner's.
    pub(crate) next: Option<Packet>,
    pub(crate) timestamp: u64,
    pub(crate) len: u32,
    pub(crate) off: u16,
    pub(crate) port: u16,
    pub(crate) mark: u32,
    /// Above one only while `SharedPacket` clones exist.
    pub(crate) refs: RefCount,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 64);

impl Header {
    /// Makes a free buffer an empty packet.
    ///
    /// # Safety
    /// The header belongs to a buffer that the caller alone owns; its `next` is `None`.
    #[inline]
    pub(crate) unsafe fn reset(this: NonNull<Self>, headroom: usize) {
        // SAFETY: by the caller. The pool checked that the headroom fits the buffer, at most 64 KiB.
        unsafe {
            let header = this.as_ptr();
            (*header).timestamp = 0;
            (*header).len = 0;
            (*header).off = headroom as u16;
            (*header).port = 0;
            (*header).mark = 0;
        }
    }
}

/// One packet, or one segment of a chain: bytes in a pool's buffer, between headroom and tailroom.
///
/// It is owned: it cannot be freed twice, and what drops it returns the buffer to its pool, from any thread.
#[repr(transparent)]
pub struct Packet(NonNull<Header>);

// SAFETY: a Packet is the only handle to its buffer and header; the pool it points to is shared state made for that.
unsafe impl Send for Packet {}
// SAFETY: through a shared reference a packet is only read.
unsafe impl Sync for Packet {}

/// An operation asked for more bytes than the packet has or has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes wanted, {available} available")]
pub struct NoRoom {
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes there are.
    pub available: usize,
}

impl Packet {
    /// # Safety
    /// `header` is that of a free buffer, taken from its pool by the caller alone, with `next` empty.
    #[inline]
    pub(crate) unsafe fn from_free(header: NonNull<Header>, headroom: usize) -> Self {
        // SAFETY: by the caller.
        unsafe { Header::reset(header, headroom) };
        Self(header)
    }

    /// # Safety
    /// `header` came from [`into_header`](Self::into_header) and nothing else was made of it.
    #[inline]
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self(header)
    }

    #[inline]
    pub(crate) fn into_header(self) -> NonNull<Header> {
        let header = self.0;
        mem::forget(self);
        header
    }

    #[inline]
    pub(crate) fn header(&self) -> NonNull<Header> {
        self.0
    }

    /// How many shared handles there are.
    pub(crate) fn refs(&self) -> &RefCount {
        &self.h().refs
    }

    #[inline]
    fn h(&self) -> &Header {
        // SAFETY: headers live as long as the pool's Inner, which outlives every packet; we own this one.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn h_mut(&mut self) -> &mut Header {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    pub(crate) fn pool(&self) -> NonNull<Inner> {
        self.h().pool
    }

    #[inline]
    fn inner(&self) -> &Inner {
        // SAFETY: Inner outlives every packet of the pool.
        unsafe { self.h().pool.as_ref() }
    }

    /// Length of this segment in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.h().len as usize
    }

    /// Whether this segment has no bytes.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.h().len == 0
    }

    /// Length of the whole chain in bytes.
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.segments().map(Packet::len).sum()
    }

    /// The bytes of this segment.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        let h = self.h();
        // SAFETY: off + len <= capacity (kept by every method that sets them), the buffer is zeroed memory from the
        // start, and no device has it while we hold the packet.
        unsafe { std::slice::from_raw_parts(h.buf.add(h.off as usize).as_ptr(), h.len as usize) }
    }

    /// The bytes of this segment, to be changed.
    #[must_use]
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let h = self.h();
        // SAFETY: as in `data`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(h.buf.add(h.off as usize).as_ptr(), h.len as usize) }
    }

    /// DMA address of the first byte: what a descriptor carries.
    #[must_use]
    #[inline]
    pub fn iova(&self) -> Iova {
        Iova(self.h().iova.0 + u64::from(self.h().off))
    }

    /// Virtual address of the first byte.
    #[must_use]
    #[inline]
    pub fn va(&self) -> Va {
        Va(self.h().buf.as_ptr().addr() + self.h().off as usize)
    }

    /// Bytes free in front.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        self.h().off as usize
    }

    /// Bytes free behind.
    #[must_use]
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.inner().capacity() - self.h().off as usize - self.len()
    }

    /// Empties the packet and gives it its pool's headroom again. The chain behind it is dropped.
    pub fn reset(&mut self) {
        let headroom = self.inner().headroom();
        let h = self.h_mut();
        h.next = None;
        h.len = 0;
        h.off = headroom as u16; // fits: checked when the pool was made
    }

    /// Sets where the data starts and how long it is, as a driver does that received into this buffer.
    ///
    /// # Errors
    /// [`NoRoom`] when it would not fit the buffer; nothing is changed.
    #[inline]
    pub fn set_window(&mut self, headroom: usize, len: usize) -> Result<(), NoRoom> {
        let available = self.inner().capacity();
        match headroom.checked_add(len) {
            Some(wanted) if wanted <= available => {
                let h = self.h_mut();
                h.off = headroom as u16; // fits: a buffer has less than 64 KiB
                h.len = len as u32;
                Ok(())
            }
            wanted => Err(NoRoom { wanted: wanted.unwrap_or(usize::MAX), available }),
        }
    }

    /// Sets the length, keeping the start. Bytes that come in are what the buffer held.
    ///
    /// # Errors
    /// [`NoRoom`] when it would not fit the buffer; nothing is changed.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), NoRoom> {
        self.set_window(self.headroom(), len)
    }

    /// Adds `n` bytes in front and returns them, to be written.
    ///
    /// # Errors
    /// [`NoRoom`] when the headroom is smaller; nothing is changed.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Result<&mut [u8], NoRoom> {
        let available = self.headroom();
        if n > available {
            return Err(NoRoom { wanted: n, available });
        }
        let h = self.h_mut();
        h.off -= n as u16;
        h.len += n as u32;
        Ok(&mut self.data_mut()[..n])
    }

    /// Adds `n` bytes behind and returns them, to be written.
    ///
    /// # Errors
    /// [`NoRoom`] when the tailroom is smaller; nothing is changed.
    #[inline]
    pub fn append(&mut self, n: usize) -> Result<&mut [u8], NoRoom> {
        let available = self.tailroom();
        if n > available {
            return Err(NoRoom { wanted: n, available });
        }
        let before = self.len();
        self.h_mut().len += n as u32;
        Ok(&mut self.data_mut()[before..])
    }

    /// Removes `n` bytes in front.
    ///
    /// # Errors
    /// [`NoRoom`] when the segment is shorter; nothing is changed.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> Result<(), NoRoom> {
        let available = self.len();
        if n > available {
            return Err(NoRoom { wanted: n, available });
        }
        let h = self.h_mut();
        h.off += n as u16;
        h.len -= n as u32;
        Ok(())
    }

    /// Removes `n` bytes behind.
    ///
    /// # Errors
    /// [`NoRoom`] when the segment is shorter; nothing is changed.
    #[inline]
    pub fn trim_back(&mut self, n: usize) -> Result<(), NoRoom> {
        let available = self.len();
        if n > available {
            return Err(NoRoom { wanted: n, available });
        }
        self.h_mut().len -= n as u32;
        Ok(())
    }

    /// Appends a copy of `bytes`.
    ///
    /// # Errors
    /// [`NoRoom`] when the tailroom is smaller; nothing is changed.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.append(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Appends `tail` (itself maybe a chain) as the last segments of this packet.
    pub fn chain(&mut self, tail: Packet) {
        let mut last = self;
        while last.h().next.is_some() {
            last = last.h_mut().next.as_mut().expect("just seen");
        }
        last.h_mut().next = Some(tail);
    }

    /// The next segment of the chain.
    #[must_use]
    pub fn next(&self) -> Option<&Packet> {
        self.h().next.as_ref()
    }

    /// Takes the segments behind the first off.
    #[must_use]
    pub fn unchain(&mut self) -> Option<Packet> {
        self.h_mut().next.take()
    }

    /// Whether the packet has more than one segment.
    #[must_use]
    #[inline]
    pub fn is_chained(&self) -> bool {
        self.h().next.is_some()
    }

    /// All segments, this one first.
    pub fn segments(&self) -> impl Iterator<Item = &Packet> {
        std::iter::successors(Some(self), |p| p.next())
    }

    /// When it was received, in ticks of the receiver's clock; 0 if nobody said.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> u64 {
        self.h().timestamp
    }

    /// Notes when it was received.
    #[inline]
    pub fn set_timestamp(&mut self, ticks: u64) {
        self.h_mut().timestamp = ticks;
    }

    /// Which port received it.
    #[must_use]
    #[inline]
    pub fn port(&self) -> u16 {
        self.h().port
    }

    /// Notes which port received it.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.h_mut().port = port;
    }

    /// A number that stages of one pipeline agree on (such as a flow hash).
    #[must_use]
    #[inline]
    pub fn mark(&self) -> u32 {
        self.h().mark
    }

    /// Sets the number that stages agree on.
    #[inline]
    pub fn set_mark(&mut self, mark: u32) {
        self.h_mut().mark = mark;
    }

    /// Asks the cpu to bring the header near: for a packet that will be looked at soon.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch(self.0.as_ptr().cast());
    }

    /// Asks the cpu to bring the first bytes near.
    #[inline]
    pub fn prefetch_data(&self) {
        let h = self.h();
        // SAFETY: within the buffer.
        prefetch(unsafe { h.buf.add(h.off as usize).as_ptr() });
    }

    /// Makes it a read-only packet that can be cloned by reference.
    #[must_use]
    pub fn into_shared(self) -> SharedPacket {
        SharedPacket::new(self)
    }
}

/// Asks the cpu to bring the first `most` bytes near: they will be looked at soon.
#[inline]
pub fn prefetch_bytes(bytes: &[u8], most: usize) {
    const LINE: usize = 64;
    bytes[..bytes.len().min(most)].chunks(LINE).for_each(|line| prefetch(line.as_ptr()));
}

#[inline]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it does not fault whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

impl Drop for Packet {
    #[inline]
    fn drop(&mut self) {
        // A loop, not recursion: a long chain must not overflow the stack.
        let mut next = self.h_mut().next.take();
        // SAFETY: Inner outlives every packet.
        unsafe { self.h().pool.as_ref() }.put(&[self.0]);
        while let Some(mut packet) = next {
            next = packet.h_mut().next.take();
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes at {}", self.len(), self.iova())?;
        if self.is_chained() {
            write!(f, ", {} bytes in {} segments", self.total_len(), self.segments().count())?;
        }
        f.write_str(")")
    }
}
