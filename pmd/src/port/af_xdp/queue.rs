//! The hot path: the two halves of a queue. The receive half has the fill and receive rings, the transmit half the
//! transmit and completion rings; they may be on different threads.

use std::mem;
use std::sync::Arc;

use arrayvec::ArrayVec;
use warpdrive_mempool::{BURST, Burst, Lent, Mempool, Packet};

use super::rings::{ConsumerRing, ProducerRing};
use super::socket::{Desc, Socket};
use super::umem::Layout;
use crate::port::{RxQueue, TxQueue};
use crate::stats::{QueueCounters, SharedCounters};

/// Buffers lent for receiving at a time.
const REFILL: usize = BURST / 2;
/// An Ethernet header: less than that is no frame, and the kernel would never complete it.
const MIN_FRAME: usize = 14;

/// How a queue talks to the kernel.
#[derive(Clone, Copy)]
pub(super) struct Wakeups {
    /// The kernel says in the rings when it wants a call; without it every transmission takes one.
    pub on_demand: bool,
    /// Receiving polls the NIC by a call when nothing is there.
    pub busy_poll: bool,
}

/// Receive half.
pub(super) struct Rx {
    // Unmapped before the socket goes: a mapping holds the socket open.
    ring: ConsumerRing<Desc>,
    fill: ProducerRing<u64>,
    lent: Lent,
    layout: Layout,
    wakeups: Wakeups,
    /// The most buffers the kernel gets to receive into.
    limit: usize,
    counters: SharedCounters,
    socket: Arc<Socket>,
}

impl Rx {
    pub(super) fn new(
        ring: ConsumerRing<Desc>,
        fill: ProducerRing<u64>,
        pool: &Mempool,
        layout: Layout,
        wakeups: Wakeups,
        limit: usize,
        socket: &Arc<Socket>,
    ) -> Self {
        let mut rx = Self {
            ring,
            fill,
            lent: Lent::new(pool),
            layout,
            wakeups,
            limit: limit.max(REFILL),
            counters: QueueCounters::shared(),
            socket: Arc::clone(socket),
        };
        rx.refill();
        rx
    }

    /// Lends the kernel buffers to receive into, as many as its ring takes, we may and the pool has.
    #[inline]
    fn refill(&mut self) {
        while self.lent.count() + REFILL <= self.limit && self.fill.free(REFILL) >= REFILL {
            let mut fresh = Burst::new();
            let got = self.lent.pool().alloc_burst(&mut fresh, REFILL);
            for packet in fresh.drain_front(got) {
                // Cannot fail: it is of this pool and new, so of one piece.
                if let Ok(index) = self.lent.lend(packet) {
                    self.fill.write(self.layout.fill_address(index));
                }
            }
            if got < REFILL {
                self.counters.no_buffer.add(1);
                break;
            }
        }
        self.fill.publish();
    }
}

impl RxQueue for Rx {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let n = self.ring.available(max.min(burst.room()));
        let start = burst.len();
        let mut wrong = 0;
        // First all headers are called for, then the packets are made: their cache lines come meanwhile.
        let mut windows = ArrayVec::<(usize, usize), BURST>::new();
        for i in 0..n {
            let desc = self.ring.read(i);
            let (index, offset) = self.layout.locate(desc.addr);
            match self.lent.take_back(index) {
                Some(packet) => {
                    packet.prefetch_header();
                    windows.push((offset, desc.len as usize));
                    // Cannot fail: `n` was limited to the room of the burst.
                    let _ = burst.push(packet);
                }
                None => wrong += 1,
            }
        }
        let mut bytes = 0;
        let mut bad = 0;
        for (packet, (offset, len)) in burst.as_mut_slice()[start..].iter_mut().zip(windows) {
            if packet.set_window(offset, len).is_err() {
                let _ = packet.set_len(0);
                bad += 1;
                continue;
            }
            packet.prefetch_data();
            bytes += len;
        }
        if n > 0 {
            self.ring.release(n);
        }
        if bad > 0 {
            discard_empty(burst, start);
        }
        let got = burst.len() - start;
        self.refill();
        if (got == 0 && self.wakeups.busy_poll) || (self.wakeups.on_demand && self.fill.needs_wakeup()) {
            self.socket.kick_rx();
            self.counters.syscalls.add(1);
        }
        if wrong + bad > 0 {
            self.counters.errors.add(wrong + bad);
        }
        if got > 0 {
            self.counters.packets.add(got as u64);
            self.counters.bytes.add(bytes as u64);
        }
        got
    }

    fn held(&self) -> usize {
        self.lent.count()
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

/// Frees the packets without bytes from place `start` on: those the kernel described wrongly.
#[cold]
fn discard_empty(burst: &mut Burst, start: usize) {
    let mut place = 0;
    burst.retain_or(
        |packet| {
            place += 1;
            place <= start || !packet.is_empty()
        },
        drop,
    );
}

/// Brings the counts of what the kernel lost up to date: frames for which no buffer or no place in the receive ring was
/// there, and descriptors it refused to send. How often a driver found the fill ring empty is no number of packets: in
/// copy mode each such frame is among the dropped.
pub(super) fn count_missed(socket: &Socket, rx: Option<&QueueCounters>, tx: Option<&QueueCounters>) {
    if let Some(s) = socket.statistics() {
        if let Some(rx) = rx {
            rx.missed.set(s.rx_dropped + s.rx_ring_full);
        }
        if let Some(tx) = tx {
            tx.missed.set(s.tx_invalid_descs);
        }
    }
}

impl Drop for Rx {
    fn drop(&mut self) {
        count_missed(&self.socket, Some(&self.counters), None);
        let nothing = Lent::new(self.lent.pool());
        self.socket.keep_until_close(mem::replace(&mut self.lent, nothing));
    }
}

/// Transmit half.
pub(super) struct Tx {
    // Unmapped before the socket goes: a mapping holds the socket open.
    ring: ProducerRing<Desc>,
    completion: ConsumerRing<u64>,
    lent: Lent,
    layout: Layout,
    wakeups: Wakeups,
    max_frame: usize,
    counters: SharedCounters,
    socket: Arc<Socket>,
}

impl Tx {
    pub(super) fn new(
        ring: ProducerRing<Desc>,
        completion: ConsumerRing<u64>,
        pool: &Mempool,
        layout: Layout,
        wakeups: Wakeups,
        max_frame: usize,
        socket: &Arc<Socket>,
    ) -> Self {
        Self {
            ring,
            completion,
            lent: Lent::new(pool),
            layout,
            wakeups,
            max_frame: max_frame.min(layout.chunk_size),
            counters: QueueCounters::shared(),
            socket: Arc::clone(socket),
        }
    }

    /// Frees what the kernel has sent.
    #[inline]
    fn reap(&mut self) {
        loop {
            let n = self.completion.available(BURST);
            if n == 0 {
                return;
            }
            let mut sent = Burst::new();
            for i in 0..n {
                let (index, _) = self.layout.locate(self.completion.read(i));
                match self.lent.take_back(index) {
                    // Cannot fail: at most BURST.
                    Some(packet) => drop(sent.push(packet)),
                    None => self.counters.errors.add(1),
                }
            }
            self.completion.release(n);
            // All at once, by the drop of `sent`.
        }
    }

    /// Puts a packet that the ring has room for into it. The caller checked that it is of this pool and in one piece.
    #[inline]
    fn put(&mut self, packet: Packet) {
        let (offset, len) = (packet.headroom(), packet.len());
        if let Ok(index) = self.lent.lend(packet) {
            let addr = self.layout.packet_address(index, offset);
            self.ring.write(Desc { addr, len: len as u32, options: 0 });
        }
    }

    /// Makes the kernel send, if it does not look by itself.
    #[inline]
    fn kick(&self) {
        if !self.wakeups.on_demand || self.ring.needs_wakeup() {
            self.socket.kick_tx();
            self.counters.syscalls.add(1);
        }
    }

    /// A copy in a buffer of this pool; `None` when it is exhausted.
    #[cold]
    fn copy(&self, packet: &Packet) -> Option<Packet> {
        let mut copy = self.lent.pool().alloc()?;
        for segment in packet.segments() {
            // Cannot fail: the frame's length was checked against the room of a buffer.
            copy.extend_from_slice(segment.data()).ok()?;
        }
        Some(copy)
    }
}

impl TxQueue for Tx {
    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        if burst.is_empty() {
            return 0;
        }
        self.reap();
        let mut room = self.ring.free(burst.len());
        let (mut taken, mut sent, mut bytes, mut errors) = (0, 0, 0, 0);
        while !burst.is_empty() && room > 0 {
            // As many as can go as they are.
            let run = burst.as_slice().iter().take(room).take_while(|p| {
                let fits = (MIN_FRAME..=self.max_frame).contains(&p.len()) && self.lent.accepts(p);
                bytes += if fits { p.len() } else { 0 };
                fits
            });
            let run = run.count();
            for packet in burst.drain_front(run) {
                self.put(packet);
            }
            (taken, sent, room) = (taken + run, sent + run, room - run);
            let Some(odd) = burst.as_slice().first().filter(|_| room > 0) else {
                break;
            };
            // One that cannot: never, or as a copy.
            let len = odd.total_len();
            if !(MIN_FRAME..=self.max_frame.min(self.lent.pool().data_capacity())).contains(&len) {
                errors += 1;
            } else if let Some(copy) = self.copy(odd) {
                self.put(copy);
                (sent, bytes, room) = (sent + 1, bytes + len, room - 1);
            } else {
                break;
            }
            taken += burst.free_front(1);
        }
        if sent > 0 {
            self.ring.publish();
            self.counters.packets.add(sent as u64);
            self.counters.bytes.add(bytes as u64);
        }
        if sent > 0 || room == 0 {
            self.kick();
        }
        if errors > 0 {
            self.counters.errors.add(errors);
        }
        taken
    }

    #[inline]
    fn flush(&mut self) -> usize {
        if self.lent.count() == 0 {
            return 0;
        }
        if self.ring.is_pending() {
            self.kick();
        }
        self.reap();
        self.lent.count()
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        self.reap();
        count_missed(&self.socket, None, Some(&self.counters));
        let nothing = Lent::new(self.lent.pool());
        self.socket.keep_until_close(mem::replace(&mut self.lent, nothing));
    }
}
