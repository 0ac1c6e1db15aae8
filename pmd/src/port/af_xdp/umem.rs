//! How a pool's buffers look to the kernel: the UMEM of AF_XDP is the pool's own region.

use warpdrive_mempool::Mempool;

use super::abi::{XDP_PACKET_HEADROOM, XDP_UMEM_MIN_CHUNK_SIZE};

/// The lower 48 bits of an address in unaligned mode are that of the buffer, the upper 16 the offset within.
const OFFSET_SHIFT: u32 = libc::XSK_UNALIGNED_BUF_OFFSET_SHIFT as u32;
const BASE_MASK: u64 = (1 << OFFSET_SHIFT) - 1;
/// Ethernet header and one VLAN tag: how much longer than the MTU a frame may be.
const FRAME_OVERHEAD: usize = 18;

/// The geometry of a UMEM over a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub buffers: usize,
    pub buffer_size: usize,
    /// What the kernel uses of each buffer: all of it, up to a page.
    pub chunk_size: usize,
    /// Whether chunks are something else than a power of two that divides a page.
    pub unaligned: bool,
    /// Asked for in front of a received frame on top of what the kernel keeps anyway.
    pub extra_headroom: usize,
    /// The longest frame that can be received.
    pub room: usize,
    /// Whether the kernel's idea of a chunk's end lies behind the pool's, who keeps guard bytes there in debug builds.
    pub guarded: bool,
    /// Whether every chunk lies within one physically contiguous page, as a NIC needs it.
    pub contiguous: bool,
    /// log2 of the buffer size, if it is a power of two.
    shift: Option<u32>,
}

/// Why a pool will not do, and what would.
#[derive(Debug)]
pub(super) struct Misfit {
    pub what: String,
    pub remedy: String,
}

impl Layout {
    /// Lays a UMEM over `pool` for frames of an interface with this MTU.
    pub(super) fn plan(pool: &Mempool, mtu: usize, system_page: usize) -> Result<Self, Misfit> {
        let (size, capacity) = (pool.buffer_size(), pool.headroom() + pool.data_capacity());
        if size < XDP_UMEM_MIN_CHUNK_SIZE {
            return Err(Misfit {
                what: format!(
                    "buffers of mempool {:?} have {size} bytes, and the kernel wants {XDP_UMEM_MIN_CHUNK_SIZE} \
                     to {system_page} for AF_XDP",
                    pool.name()
                ),
                remedy: format!("size = {XDP_UMEM_MIN_CHUNK_SIZE} for this mempool"),
            });
        }
        let chunk_size = size.min(system_page);
        let unaligned = !(size.is_power_of_two() && size <= system_page);
        // The kernel's own headroom counts for ours.
        let extra_headroom = pool.headroom().saturating_sub(XDP_PACKET_HEADROOM).next_multiple_of(64);
        let in_front = XDP_PACKET_HEADROOM + extra_headroom;
        let room = chunk_size.min(capacity).saturating_sub(in_front);
        let frame = mtu + FRAME_OVERHEAD;
        if frame > room {
            let whole_page = system_page.saturating_sub(in_front + size - capacity);
            let smaller = room.saturating_sub(FRAME_OVERHEAD);
            return Err(Misfit {
                what: format!(
                    "its MTU of {mtu} makes frames of up to {frame} bytes, and a buffer of mempool {:?} \
                     (size = {size}) has room for {room} behind {in_front} bytes of headroom",
                    pool.name()
                ),
                remedy: if frame <= whole_page && chunk_size < system_page {
                    format!("size = {system_page} for this mempool, or an MTU of at most {smaller}")
                } else {
                    format!(
                        "an MTU of at most {smaller}: the kernel gives AF_XDP no more than a page per frame"
                    )
                },
            });
        }
        Ok(Self {
            buffers: pool.buffers(),
            buffer_size: size,
            chunk_size,
            unaligned,
            extra_headroom,
            room,
            guarded: capacity < chunk_size,
            contiguous: !unaligned || pool.region().mapping().page_size().bytes().is_multiple_of(size),
            shift: size.is_power_of_two().then(|| size.trailing_zeros()),
        })
    }

    /// Bytes in front of a received frame.
    pub(super) fn in_front(&self) -> usize {
        XDP_PACKET_HEADROOM + self.extra_headroom
    }

    /// Address of an empty buffer, for the fill ring.
    #[inline]
    pub(super) fn fill_address(&self, index: usize) -> u64 {
        (index * self.buffer_size) as u64
    }

    /// Address of a packet that starts `offset` bytes into a buffer, for the transmit ring.
    #[inline]
    pub(super) fn packet_address(&self, index: usize, offset: usize) -> u64 {
        let base = self.fill_address(index);
        if self.unaligned { base | (offset as u64) << OFFSET_SHIFT } else { base + offset as u64 }
    }

    /// Buffer and offset of an address from the kernel. The index may be beyond the pool: it is checked by whoever
    /// lent the buffer.
    #[inline]
    pub(super) fn locate(&self, address: u64) -> (usize, usize) {
        let address =
            if self.unaligned { (address & BASE_MASK) + (address >> OFFSET_SHIFT) } else { address } as usize;
        match self.shift {
            Some(shift) => (address >> shift, address & (self.buffer_size - 1)),
            None => (address / self.buffer_size, address % self.buffer_size),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use warpdrive_mempool::{DmaMode, Domain, PageChoice, PageSize, PoolConfig};

    fn plan(size: usize, headroom: usize, mtu: usize) -> Result<Layout, Misfit> {
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 16, size, headroom, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &Domain::new(DmaMode::Sva)).unwrap();
        Layout::plan(&pool, mtu, 4096)
    }

    #[test]
    fn usual_buffers_are_aligned_chunks() {
        for size in [2048, 4096] {
            let l = plan(size, 128, 1500).unwrap();
            assert_eq!((l.chunk_size, l.unaligned, l.extra_headroom, l.contiguous), (size, false, 0, true));
        }
        assert_eq!(plan(2048, 384, 1200).unwrap().extra_headroom, 128);
    }

    #[test]
    fn other_sizes_are_unaligned_chunks_of_up_to_a_page() {
        let l = plan(2304, 128, 1500).unwrap();
        assert_eq!((l.chunk_size, l.unaligned, l.contiguous), (2304, true, false));
        let l = plan(9216, 128, 1500).unwrap();
        assert_eq!((l.chunk_size, l.room, l.guarded), (4096, 3840, false));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let e = plan(1024, 128, 1500).unwrap_err();
        assert!(e.what.contains("1024") && e.remedy.contains("2048"), "{e:?}");
        let e = plan(2048, 128, 3000).unwrap_err();
        assert!(e.what.contains("3000") && e.remedy.contains("size = 4096"), "{e:?}");
        let e = plan(4096, 128, 9000).unwrap_err();
        assert!(e.what.contains("9000") && e.remedy.contains("MTU of at most"), "{e:?}");
    }

    #[test]
    fn addresses_lead_back_to_buffer_and_offset() {
        for size in [2048, 2304, 4096, 8192] {
            let l = plan(size, 128, 1500).unwrap();
            for (index, offset) in [(0, 0), (3, 256), (15, 1000)] {
                assert_eq!(l.locate(l.packet_address(index, offset)), (index, offset), "size {size}");
                assert_eq!(l.locate(l.fill_address(index)), (index, 0));
            }
            // Whatever the kernel says, it is a number.
            let (index, offset) = l.locate(u64::MAX);
            assert!(index >= l.buffers && offset < size);
        }
    }
}
