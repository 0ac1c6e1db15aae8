//! Blocks of bytes in chained packets, read and written by single system calls.

use std::array;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::Range;

use warpdrive_mempool::{Mempool, Packet};
use warpdrive_pmd::device::MAX_SEGMENTS;

/// Bytes of a buffer: the largest that a mempool has.
pub(super) const BUFFER: usize = 65_472;
/// Bytes of a buffer that are used, in debug builds too, which guard its end.
const USED: usize = BUFFER - 64;
/// The smallest block; smaller ones cost much and gain nothing.
pub(super) const MIN_BLOCK: usize = 16 << 10;
/// The largest: what comes out of it may be longer by a segment.
pub(super) const MAX_BLOCK: usize = (MAX_SEGMENTS - 1) * USED;

/// Packets in a row that are used as one buffer, again and again.
pub(super) struct Chain {
    /// All of full length; none while a device has them.
    segments: Vec<Packet>,
    capacity: usize,
    len: usize,
}

/// How many buffers a chain of this capacity takes.
pub(super) fn buffers(capacity: usize) -> usize {
    capacity.div_ceil(USED)
}

impl Chain {
    /// `None` when the pool has not that many buffers, or they are smaller.
    pub(super) fn new(pool: &Mempool, capacity: usize) -> Option<Self> {
        let mut segments = Vec::with_capacity(buffers(capacity));
        while segments.len() < buffers(capacity) {
            let mut packet = pool.alloc()?;
            packet.set_len(USED).ok()?;
            segments.push(packet);
        }
        Some(Self { segments, capacity, len: 0 })
    }

    /// The most bytes it holds.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that were read into it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Reads once. How many bytes came; 0 is the end of the input, unless the chain is full.
    pub(super) fn read(&mut self, input: &mut impl Read) -> io::Result<usize> {
        let (mut skip, mut room) = (self.len, self.capacity - self.len);
        let mut parts = self.segments.iter_mut().map(|packet| {
            let data = packet.data_mut();
            let from = skip.min(data.len());
            skip -= from;
            let n = room.min(data.len() - from);
            room -= n;
            IoSliceMut::new(&mut data[from..][..n])
        });
        let mut parts: [IoSliceMut<'_>; MAX_SEGMENTS] =
            array::from_fn(|_| parts.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        loop {
            match input.read_vectored(&mut parts) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(n) => {
                    self.len += n;
                    return Ok(n);
                }
            }
        }
    }

    /// Writes `before`, and a range of the bytes behind it.
    pub(super) fn write(
        &self,
        before: &[u8],
        range: Range<usize>,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let (mut skip, mut left) = (range.start, range.len());
        let data = self.segments.iter().map(|packet| {
            let data = packet.data();
            let from = skip.min(data.len());
            skip -= from;
            let n = left.min(data.len() - from);
            left -= n;
            &data[from..][..n]
        });
        let mut parts = [before].into_iter().chain(data).map(IoSlice::new);
        let mut parts: [IoSlice<'_>; MAX_SEGMENTS + 1] =
            array::from_fn(|_| parts.next().unwrap_or_else(|| IoSlice::new(&[])));
        let mut parts = &mut parts[..];
        // Empty parts go away.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match output.write_vectored(parts) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut parts, n),
            }
        }
        Ok(())
    }

    /// One of its bytes.
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.segments[at / USED].data()[at % USED]
    }

    /// The packets as one, for a request. Until they are [back](Self::give_back) there is nothing else to be done with it.
    pub(super) fn lend(&mut self) -> Option<Packet> {
        // From the end, so that none has to look for the last.
        let mut chained = self.segments.pop()?;
        while let Some(mut before) = self.segments.pop() {
            before.chain(chained);
            chained = before;
        }
        Some(chained)
    }

    /// What was lent is back.
    pub(super) fn give_back(&mut self, packet: Packet) {
        let mut next = Some(packet);
        while let Some(mut packet) = next {
            next = packet.unchain();
            self.segments.push(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpdrive_mempool::{DmaMode, Domain, PoolConfig};

    #[test]
    fn what_was_read_is_written_in_pieces_of_any_size() {
        let domain = Domain::new(DmaMode::Sva);
        let config = PoolConfig { buffers: 4, size: BUFFER, headroom: 0, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
        assert!(Chain::new(&pool, 5 * USED).is_none());
        let mut chain = Chain::new(&pool, 200_000).unwrap();
        for piece in [1, 999, USED, 2 * USED + 1, 300_000] {
            chain.clear();
            let mut input = &bytes[..];
            while !chain.is_full() {
                assert!(chain.read(&mut input.by_ref().take(piece as u64)).unwrap() > 0);
                // `take` moved on by what it gave.
                input = &bytes[chain.len()..];
            }
            assert_eq!(chain.read(&mut &b"more"[..]).unwrap(), 0);
            let lent = chain.lend().unwrap();
            assert_eq!(lent.segments().count(), 4);
            chain.give_back(lent);
            let mut output = Vec::new();
            chain.write(b"head", 0..200_000, &mut output).unwrap();
            assert!(output.starts_with(b"head") && output[4..] == bytes, "pieces of {piece}");
            let (mut output, range) = (Vec::new(), USED - 1..2 * USED + 7);
            chain.write(&[], range.clone(), &mut output).unwrap();
            assert!(output == bytes[range]);
            assert!((0..200_000).step_by(777).all(|at| chain.byte(at) == bytes[at]));
        }
    }
}
