//! Lent: packets that a device holds by number, with a check on what it gives back.

use crate::{Mempool, Packet};

/// The buffers of one pool that are lent to a device (a kernel ring, say) which knows them by index only.
///
/// What comes back is checked: an index that was not lent, or came back already, yields nothing.
pub struct Lent {
    pool: Mempool,
    out: Box<[bool]>,
    count: usize,
}

impl Lent {
    /// Nothing is lent yet.
    #[must_use]
    pub fn new(pool: &Mempool) -> Self {
        Self { pool: pool.clone(), out: vec![false; pool.buffers()].into(), count: 0 }
    }

    /// Whether [`lend`](Self::lend) takes this packet: it is of this pool and in one piece.
    #[must_use]
    #[inline]
    pub fn accepts(&self, packet: &Packet) -> bool {
        self.pool.owns(packet) && !packet.is_chained()
    }

    /// Gives a packet of this pool to the device and returns its buffer's index: it starts at
    /// `index * buffer_size` in the pool's region. Its length and headroom are kept for [`take_back`](Self::take_back).
    ///
    /// # Errors
    /// Gives the packet back when it is of another pool or has more than one segment.
    #[inline]
    pub fn lend(&mut self, packet: Packet) -> Result<usize, Packet> {
        if !self.accepts(&packet) {
            return Err(packet);
        }
        let index = self.pool.index_of(packet.into_header());
        self.out[index] = true;
        self.count += 1;
        Ok(index)
    }

    /// The packet with this buffer index, back from the device; `None` when it does not have it.
    #[inline]
    pub fn take_back(&mut self, index: usize) -> Option<Packet> {
        let out = self.out.get_mut(index)?;
        if !std::mem::take(out) {
            return None;
        }
        self.count -= 1;
        // SAFETY: the flag says that `lend` took this packet apart and nobody has put it together since.
        Some(unsafe { Packet::from_header(self.pool.header_at(index)) })
    }

    /// Takes all buffers back. Only when the device can no longer touch them.
    pub fn take_back_all(&mut self) {
        for index in 0..self.out.len() {
            drop(self.take_back(index));
        }
    }

    /// How many buffers the device has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The pool they are from.
    #[must_use]
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }
}
