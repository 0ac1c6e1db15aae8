//! Receiving: blocks of frames that the kernel fills and hands over whole (TPACKET_V3).

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use libc::{tpacket_block_desc, tpacket3_hdr};
use warpdrive_mempool::{Burst, Mempool};

use super::csum;
use super::ring::{Ring, get_option};
use crate::clock;
use crate::port::RxQueue;
use crate::stats::{QueueCounters, SharedCounters};

// struct tpacket_block_desc: version, offset_to_priv, then struct tpacket_hdr_v1.
const BLOCK_STATUS: usize = offset_of!(tpacket_block_desc, hdr);
const BLOCK_PACKETS: usize = BLOCK_STATUS + 4;
const BLOCK_FIRST: usize = BLOCK_STATUS + 8;
// struct tpacket3_hdr.
const NEXT: usize = offset_of!(tpacket3_hdr, tp_next_offset);
const SNAPLEN: usize = offset_of!(tpacket3_hdr, tp_snaplen);
const LEN: usize = offset_of!(tpacket3_hdr, tp_len);
const STATUS: usize = offset_of!(tpacket3_hdr, tp_status);
const MAC: usize = offset_of!(tpacket3_hdr, tp_mac);
/// hv1: tp_rxhash, tp_vlan_tci, tp_vlan_tpid.
const VLAN_TCI: usize = offset_of!(tpacket3_hdr, hv1) + 4;
const VLAN_TPID: usize = offset_of!(tpacket3_hdr, hv1) + 8;

const TP_STATUS_KERNEL: u32 = 0;
const TP_STATUS_USER: u32 = 1;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
/// struct tpacket_stats_v3: tp_packets, tp_drops, tp_freeze_q_cnt.
const STATS_WORDS: usize = 3;

/// The kernel is asked for its drops after so many empty polls in a row …
const FIRST_ASK: u32 = 4_096;
/// … and again after so many more: about once a second when a core polls this queue alone.
const NEXT_ASK: u32 = 1 << 24;

/// A receive queue.
pub(super) struct PacketRx {
    ring: Ring,
    block_size: usize,
    blocks: usize,
    /// The block we read or wait for.
    block: usize,
    /// Frames of this block not yet read, and the offset of the next in the ring.
    left: u32,
    next: usize,
    pool: Mempool,
    empty_polls: u32,
    counters: SharedCounters,
}

/// One frame's place in the ring.
struct Frame {
    data: usize,
    len: usize,
    cut: bool,
    status: u32,
    vlan: Option<[u8; 4]>,
}

impl PacketRx {
    pub(super) fn new(ring: Ring, block_size: usize, blocks: usize, pool: Mempool) -> Self {
        let counters = QueueCounters::shared();
        Self { ring, block_size, blocks, block: 0, left: 0, next: 0, pool, empty_polls: 0, counters }
    }

    /// Whether there is a frame to read; takes over the next block if this one is done.
    #[inline]
    fn ready(&mut self) -> bool {
        if self.left > 0 {
            return true;
        }
        let base = self.block * self.block_size;
        // Acquire: the frames were written before the kernel set the status (prb_flush_block).
        if self.ring.status(base + BLOCK_STATUS).load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            return false;
        }
        self.left = self.ring.u32(base + BLOCK_PACKETS);
        self.next = base + self.ring.u32(base + BLOCK_FIRST) as usize;
        if self.left == 0 {
            self.release(); // a block whose time ran out with nothing in it
        }
        self.left > 0
    }

    /// Gives the block back to the kernel.
    fn release(&mut self) {
        let base = self.block * self.block_size;
        self.left = 0;
        // Release: our reads are done before the kernel may write again.
        self.ring.status(base + BLOCK_STATUS).store(TP_STATUS_KERNEL, Ordering::Release);
        self.block = (self.block + 1) % self.blocks;
    }

    #[inline]
    fn frame(&self) -> Frame {
        let at = self.next;
        let status = self.ring.u32(at + STATUS);
        let len = self.ring.u32(at + SNAPLEN) as usize;
        let vlan = (status & TP_STATUS_VLAN_VALID != 0).then(|| {
            let tpid =
                if status & TP_STATUS_VLAN_TPID_VALID != 0 { self.ring.u16(at + VLAN_TPID) } else { 0x8100 };
            let ([a, b], [c, d]) = (tpid.to_be_bytes(), (self.ring.u32(at + VLAN_TCI) as u16).to_be_bytes());
            [a, b, c, d]
        });
        let cut = len < self.ring.u32(at + LEN) as usize;
        Frame { data: at + usize::from(self.ring.u16(at + MAC)), len, cut, status, vlan }
    }

    #[inline]
    fn advance(&mut self) {
        self.next += self.ring.u32(self.next + NEXT) as usize;
        self.left -= 1;
        if self.left == 0 {
            self.release();
        }
    }

    /// Copies the frame into the packet; false if it does not fit.
    #[inline]
    fn copy(&self, frame: &Frame, packet: &mut warpdrive_mempool::Packet) -> bool {
        // The addresses come first; then the tag that the kernel took out.
        let (head, tag) = if frame.vlan.is_some() { (12.min(frame.len), 4) } else { (0, 0) };
        if frame.cut || packet.set_len(frame.len + tag).is_err() {
            return false;
        }
        let data = packet.data_mut();
        let whole = self.ring.read(frame.data, &mut data[..head])
            && self.ring.read(frame.data + head, &mut data[head + tag..]);
        if let Some(vlan) = frame.vlan {
            data[head..head + tag].copy_from_slice(&vlan);
        }
        if frame.status & TP_STATUS_CSUMNOTREADY != 0 {
            csum::complete(data);
        }
        whole
    }

    /// Adds the kernel's drops since it was last asked.
    #[cold]
    fn ask_for_drops(&mut self) {
        self.counters.syscalls.add(1);
        if let Ok([_, drops, _]) = get_option::<STATS_WORDS>(&self.ring.socket, libc::PACKET_STATISTICS) {
            self.counters.missed.add(u64::from(drops));
        }
    }
}

impl RxQueue for PacketRx {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let want = max.min(burst.room());
        let (mut got, mut bytes) = (0, 0);
        let now = clock::ticks();
        let mut seen = 0;
        while seen < want && self.ready() {
            seen += 1;
            let frame = self.frame();
            match self.pool.alloc() {
                None => self.counters.no_buffer.add(1),
                Some(mut packet) => {
                    if self.copy(&frame, &mut packet) {
                        packet.set_timestamp(now);
                        bytes += packet.len();
                        got += 1;
                        // Cannot fail: `want` was limited to the room of the burst.
                        let _ = burst.push(packet);
                    } else {
                        self.counters.errors.add(1);
                    }
                }
            }
            self.advance();
        }
        if seen > 0 {
            self.empty_polls = 0;
            self.counters.packets.add(got as u64);
            self.counters.bytes.add(bytes as u64);
        } else if want > 0 {
            self.empty_polls += 1;
            if self.empty_polls == FIRST_ASK {
                self.ask_for_drops();
            } else if self.empty_polls == NEXT_ASK {
                self.empty_polls = FIRST_ASK - 1;
            }
        }
        got
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}
