//! `driver = "ring"`: a port within this process. Two ports that name each other as `peer` are the ends of one cable;
//! a port without a peer is a loop. Packets change hands without a copy.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use serde::Deserialize;
use warpdrive_mempool::{Burst, Mempool, Packet};

use super::{Port, PortError, PortInfo, RxQueue, Takeable, TxQueue};
use crate::stats::{QueueCounters, SharedCounters};

/// Configuration of a ring port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingConfig {
    /// Name of the port at the other end; absent: what is sent comes back.
    pub peer: Option<String>,
    /// Packets a ring holds.
    pub slots: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { peer: None, slots: 1024 }
    }
}

/// An open ring port.
pub struct RingPort {
    info: PortInfo,
    rx: Takeable<dyn RxQueue>,
    tx: Takeable<dyn TxQueue>,
}

/// The far end of a ring port that was opened, waiting for its peer to be opened.
struct FarEnd {
    tx: Producer<Packet>,
    rx: Consumer<Packet>,
    slots: usize,
}

/// Far ends by (own name, peer's name).
static WAITING: Mutex<Option<HashMap<(String, String), FarEnd>>> = Mutex::new(None);

impl RingPort {
    /// Opens one end. The peer may be opened before or after.
    ///
    /// # Errors
    /// [`PortError::Unsupported`] when the two ends disagree on the number of slots, or it is 0.
    pub fn open(name: &str, config: &RingConfig, pool: &Mempool) -> Result<Self, PortError> {
        let refuse = |what: String, remedy: &str| {
            Err(PortError::Unsupported { port: name.to_owned(), what, remedy: remedy.to_owned() })
        };
        if config.slots == 0 || config.slots > 1 << 20 {
            return refuse(
                format!("slots = {} is not between 1 and 1048576", config.slots),
                "for example 1024",
            );
        }
        let (tx, rx) = match &config.peer {
            None => RingBuffer::new(config.slots),
            Some(peer) => {
                let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
                let waiting = waiting.get_or_insert_default();
                if let Some(end) = waiting.remove(&(name.to_owned(), peer.clone())) {
                    if end.slots != config.slots {
                        return refuse(
                            format!("slots = {} but the peer {peer:?} has {}", config.slots, end.slots),
                            "the same number at both ends",
                        );
                    }
                    (end.tx, end.rx)
                } else {
                    let (tx, far_rx) = RingBuffer::new(config.slots);
                    let (far_tx, rx) = RingBuffer::new(config.slots);
                    let end = FarEnd { tx: far_tx, rx: far_rx, slots: config.slots };
                    waiting.insert((peer.clone(), name.to_owned()), end);
                    (tx, rx)
                }
            }
        };
        let (rx, tx) = pair(tx, rx, true);
        Ok(Self {
            info: PortInfo {
                name: name.to_owned(),
                driver: "ring",
                mac: None,
                mtu: pool.data_capacity() - 18,
                rx_queues: 1,
                tx_queues: 1,
                zero_copy: true,
                syscalls: false,
                remarks: Vec::new(),
            },
            rx: Takeable::new(name, "rx", vec![Box::new(rx)]),
            tx: Takeable::new(name, "tx", vec![Box::new(tx)]),
        })
    }
}

impl Drop for RingPort {
    fn drop(&mut self) {
        // An end that nobody opened is gone with this one.
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.retain(|(_, peer), _| *peer != self.info.name);
        }
    }
}

impl Port for RingPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }
    fn rx_queue(&mut self, index: u16) -> Result<Box<dyn RxQueue>, PortError> {
        self.rx.take(index)
    }
    fn tx_queue(&mut self, index: u16) -> Result<Box<dyn TxQueue>, PortError> {
        self.tx.take(index)
    }
}

fn pair(tx: Producer<Packet>, rx: Consumer<Packet>, count_bytes: bool) -> (RingRx, RingTx) {
    (
        RingRx { ring: rx, count_bytes, counters: QueueCounters::shared() },
        RingTx { ring: tx, count_bytes, counters: QueueCounters::shared() },
    )
}

/// One direction of a ring, outside any port: what connects two workers. It counts packets, not bytes: for these it would
/// have to fetch every packet's header from the other core.
#[must_use]
pub fn channel(slots: usize) -> (RingTx, RingRx) {
    let (tx, rx) = RingBuffer::new(slots);
    let (rx, tx) = pair(tx, rx, false);
    (tx, rx)
}

/// Receiving end of a ring.
pub struct RingRx {
    ring: Consumer<Packet>,
    count_bytes: bool,
    counters: SharedCounters,
}

impl RxQueue for RingRx {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let n = self.ring.slots().min(max).min(burst.room());
        if n == 0 {
            return 0;
        }
        let Ok(chunk) = self.ring.read_chunk(n) else {
            return 0; // cannot be: `n` slots were there, and only we take them
        };
        let before = burst.len();
        burst.extend(chunk.into_iter()); // all of them: `n` was limited to the room of the burst
        self.counters.packets.add(n as u64);
        if self.count_bytes {
            self.counters.bytes.add(burst.as_slice()[before..].iter().map(|p| p.len() as u64).sum());
        }
        n
    }

    fn is_finished(&self) -> bool {
        self.ring.is_abandoned() && self.ring.is_empty()
    }

    fn held(&self) -> usize {
        self.ring.slots()
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

impl Drop for RingRx {
    fn drop(&mut self) {
        // Nobody will take what is in the ring now.
        self.counters.missed.add(self.ring.slots() as u64);
    }
}

/// Sending end of a ring.
pub struct RingTx {
    ring: Producer<Packet>,
    count_bytes: bool,
    counters: SharedCounters,
}

impl RingTx {
    /// How many packets the ring takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.ring.slots()
    }
}

impl TxQueue for RingTx {
    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        if self.ring.is_abandoned() {
            // The other side is gone: as with a pulled cable, packets are lost and counted.
            self.counters.errors.add(burst.len() as u64);
            return burst.free_front(burst.len());
        }
        let n = burst.len().min(self.ring.slots());
        if n == 0 {
            return 0;
        }
        let bytes = if self.count_bytes { burst.as_slice()[..n].iter().map(|p| p.len()).sum() } else { 0 };
        let Ok(chunk) = self.ring.write_chunk_uninit(n) else {
            return 0; // cannot be: `n` slots were free, and only we fill them
        };
        chunk.fill_from_iter(burst.drain_front(n));
        self.counters.packets.add(n as u64);
        self.counters.bytes.add(bytes as u64);
        n
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}
