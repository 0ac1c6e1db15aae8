//! Sending: frames are copied into a ring (TPACKET_V2) and one `send` for a burst makes the kernel take them.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use libc::{sockaddr_ll, tpacket2_hdr};
use warpdrive_mempool::{Burst, Packet};

use super::ring::{Ring, kick};
use crate::port::TxQueue;
use crate::stats::{QueueCounters, SharedCounters};

const STATUS: usize = offset_of!(tpacket2_hdr, tp_status);
const LEN: usize = offset_of!(tpacket2_hdr, tp_len);
/// Where the kernel looks for the frame: TPACKET2_HDRLEN - sizeof(struct sockaddr_ll) (tpacket_parse_header in
/// net/packet/af_packet.c).
const DATA: usize = size_of::<tpacket2_hdr>().next_multiple_of(16);
/// Bytes of a ring frame before the data, at most.
pub(super) const OVERHEAD: usize = DATA + size_of::<sockaddr_ll>();

const TP_STATUS_AVAILABLE: u32 = 0;
const TP_STATUS_SEND_REQUEST: u32 = 1;
const TP_STATUS_WRONG_FORMAT: u32 = 1 << 2;

/// A transmit queue.
pub(super) struct PacketTx {
    ring: Ring,
    frame_size: usize,
    frames: usize,
    mtu: usize,
    /// The next frame of the ring to fill, and how many before it are with the kernel.
    head: usize,
    in_flight: usize,
    /// Frames that no `send` has told the kernel of with success.
    kick_needed: bool,
    counters: SharedCounters,
}

impl PacketTx {
    pub(super) fn new(ring: Ring, frame_size: usize, frames: usize, mtu: usize) -> Self {
        let counters = QueueCounters::shared();
        Self { ring, frame_size, frames, mtu, head: 0, in_flight: 0, kick_needed: false, counters }
    }

    /// Takes back frames that the kernel is done with, in order.
    #[inline]
    fn reap(&mut self) {
        while self.in_flight > 0 {
            let oldest = (self.head + self.frames - self.in_flight) % self.frames;
            let status = self.ring.status(oldest * self.frame_size + STATUS);
            match status.load(Ordering::Acquire) {
                TP_STATUS_AVAILABLE => {}
                s if s & TP_STATUS_WRONG_FORMAT != 0 => {
                    // Cannot be while lengths are checked here, but a frame must not stop the queue for ever.
                    self.counters.errors.add(1);
                    status.store(TP_STATUS_AVAILABLE, Ordering::Release);
                }
                _ => return,
            }
            self.in_flight -= 1;
        }
    }

    /// Whether the kernel takes a frame of this length: the MTU, or four bytes more with a VLAN tag
    /// (packet_extra_vlan_len_allowed).
    #[inline]
    fn fits(&self, packet: &Packet, len: usize) -> bool {
        let tagged = packet.data().get(12..14) == Some(&[0x81, 0]);
        (14..=self.mtu + 14 + if tagged { 4 } else { 0 }).contains(&len)
    }

    #[inline]
    fn put(&mut self, packet: &Packet, len: usize) {
        let base = self.head * self.frame_size;
        let mut at = base + DATA;
        for segment in packet.segments() {
            self.ring.write(at, segment.data());
            at += segment.len();
        }
        self.ring.set_u32(base + LEN, len as u32);
        // Release: the kernel sees the frame when it sees the status.
        self.ring.status(base + STATUS).store(TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.head = (self.head + 1) % self.frames;
        self.in_flight += 1;
        self.kick_needed = true;
    }

    /// Makes the kernel send. When it cannot now (no memory, the interface is down), `flush` tries again.
    fn kick(&mut self) {
        self.counters.syscalls.add(1);
        self.kick_needed = kick(&self.ring.socket).is_err();
    }
}

impl TxQueue for PacketTx {
    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        self.reap();
        let (mut taken, mut packets, mut bytes, mut errors) = (0, 0, 0, 0);
        for packet in burst.iter() {
            let len = if packet.is_chained() { packet.total_len() } else { packet.len() };
            if !self.fits(packet, len) {
                errors += 1;
            } else if self.in_flight < self.frames {
                self.put(packet, len);
                packets += 1;
                bytes += len as u64;
            } else {
                break;
            }
            taken += 1;
        }
        if packets > 0 {
            self.kick();
        }
        self.counters.packets.add(packets);
        self.counters.bytes.add(bytes);
        self.counters.errors.add(errors);
        burst.free_front(taken)
    }

    fn flush(&mut self) -> usize {
        if self.in_flight > 0 {
            if self.kick_needed {
                self.kick();
            }
            self.reap();
        }
        self.in_flight
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}
