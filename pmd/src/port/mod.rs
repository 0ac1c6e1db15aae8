//! Network ports: the traits, and the table of drivers.

use std::fmt;

use serde::{Deserialize, Serialize};
use warpdrive_mempool::{Burst, MemError, Mempool};

use crate::stats::SharedCounters;

pub mod af_packet;
pub mod af_xdp;
pub(crate) mod netdev;
pub mod null;
pub mod pcap;
pub mod ring;
pub mod tap;

/// The receive half of a port's queue. One worker owns it.
pub trait RxQueue: Send {
    /// Appends up to `max` received packets to `burst` (no more than fit) and returns how many.
    ///
    /// Never blocks. A packet for which there is no buffer is counted, not waited for.
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize;

    /// Whether nothing will ever come again: a file at its end, a ring whose other side is gone.
    fn is_finished(&self) -> bool {
        false
    }

    /// Buffers of the pool that the driver holds to receive into.
    fn held(&self) -> usize {
        0
    }

    /// What this queue counts.
    fn counters(&self) -> &SharedCounters;
}

/// The transmit half of a port's queue. One worker owns it.
pub trait TxQueue: Send {
    /// Takes packets from the front of `burst` and returns how many; the rest stays in the burst, in order.
    ///
    /// A packet that can never be sent (too long, say) is taken, freed and counted as an error. Never blocks.
    fn tx_burst(&mut self, burst: &mut Burst) -> usize;

    /// Pushes out what was taken so far and frees what was sent. Returns how many packets are still with the driver.
    ///
    /// A worker calls this on every round and, at the end, until it returns 0 or a deadline passes.
    fn flush(&mut self) -> usize {
        0
    }

    /// What this queue counts.
    fn counters(&self) -> &SharedCounters;
}

/// A network port: facts about it, and its queues.
pub trait Port: Send {
    /// Facts that do not change while the port is open.
    fn info(&self) -> &PortInfo;

    /// Whether the link is up now. May make system calls: for the control plane.
    fn link(&self) -> Link {
        Link::Up
    }

    /// What has failed for good since the port was opened, so that packets were lost: a disk that is full, say.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Takes receive queue `index`. Each can be taken once.
    ///
    /// # Errors
    /// [`PortError::NoSuchQueue`], [`PortError::QueueTaken`], or what the driver says.
    fn rx_queue(&mut self, index: u16) -> Result<Box<dyn RxQueue>, PortError>;

    /// Takes transmit queue `index`. Each can be taken once.
    ///
    /// # Errors
    /// As [`rx_queue`](Self::rx_queue).
    fn tx_queue(&mut self, index: u16) -> Result<Box<dyn TxQueue>, PortError>;
}

/// Facts about an open port.
#[derive(Clone, Debug, Serialize)]
pub struct PortInfo {
    /// The name it was given.
    pub name: String,
    /// The driver's name.
    pub driver: &'static str,
    /// Its address, where it has one.
    pub mac: Option<MacAddr>,
    /// Largest network-layer packet it carries, in bytes: a frame may be 14 (18 with a VLAN tag) longer.
    pub mtu: usize,
    /// Number of receive queues.
    pub rx_queues: u16,
    /// Number of transmit queues.
    pub tx_queues: u16,
    /// Whether packets go between buffers and device without a copy.
    pub zero_copy: bool,
    /// Whether moving a burst needs system calls.
    pub syscalls: bool,
    /// What else was got, for the start-up report: modes, sizes, what was fallen back to.
    pub remarks: Vec<String>,
}

impl PortInfo {
    /// Bytes of the longest frame the port carries, with one VLAN tag and without the frame check sequence.
    #[must_use]
    pub fn max_frame(&self) -> usize {
        self.mtu + 18
    }
}

/// The state of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Link {
    /// Packets can pass.
    Up,
    /// They cannot, and why as far as is known.
    Down(String),
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for MacAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).and_then(|p| u8::from_str_radix(p, 16).ok());
            *byte = part.ok_or_else(|| format!("{text:?} is not an Ethernet address"))?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(format!("{text:?} is not an Ethernet address")),
        }
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacAddr({self})")
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

/// Why a port cannot be opened or used. Every message names the port, the cause and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The queue index is beyond what the port has.
    #[error("port {port:?} has no {direction} queue {index}: it has {count}")]
    NoSuchQueue {
        /// The port.
        port: String,
        /// `"rx"` or `"tx"`.
        direction: &'static str,
        /// The index asked for.
        index: u16,
        /// How many there are.
        count: u16,
    },
    /// A queue has one owner, and it has one already.
    #[error("port {port:?}: {direction} queue {index} has an owner already")]
    QueueTaken {
        /// The port.
        port: String,
        /// `"rx"` or `"tx"`.
        direction: &'static str,
        /// The index asked for.
        index: u16,
    },
    /// A system call or a file operation failed.
    #[error("port {port:?}: cannot {action}: {cause}. Remedy: {remedy}")]
    Os {
        /// The port.
        port: String,
        /// What was tried, with the file or interface.
        action: String,
        /// The answer.
        cause: std::io::Error,
        /// What to do.
        remedy: String,
    },
    /// The configuration asks for something the driver or the machine cannot do.
    #[error("port {port:?}: {what}. Remedy: {remedy}")]
    Unsupported {
        /// The port.
        port: String,
        /// What cannot be done and why.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Memory for the port's own buffers.
    #[error("port {port:?}: {source}")]
    Memory {
        /// The port.
        port: String,
        /// The cause.
        source: MemError,
    },
}

/// Hands out the queues of a port, each once: for drivers that make all their queues at opening.
pub(crate) struct Takeable<T: ?Sized> {
    port: String,
    direction: &'static str,
    queues: Vec<Option<Box<T>>>,
}

impl<T: ?Sized> Takeable<T> {
    pub(crate) fn new(port: &str, direction: &'static str, queues: Vec<Box<T>>) -> Self {
        Self { port: port.to_owned(), direction, queues: queues.into_iter().map(Some).collect() }
    }

    pub(crate) fn take(&mut self, index: u16) -> Result<Box<T>, PortError> {
        let count = self.queues.len() as u16;
        match self.queues.get_mut(usize::from(index)) {
            None => Err(PortError::NoSuchQueue {
                port: self.port.clone(),
                direction: self.direction,
                index,
                count,
            }),
            Some(queue) => queue.take().ok_or_else(|| PortError::QueueTaken {
                port: self.port.clone(),
                direction: self.direction,
                index,
            }),
        }
    }
}

/// The configuration of a port: one variant for each driver, named as in `driver = "…"`.
#[derive(Clone, Debug)]
pub enum PortConfig {
    /// [`af_packet`].
    AfPacket(af_packet::AfPacketConfig),
    /// [`af_xdp`].
    AfXdp(af_xdp::AfXdpConfig),
    /// [`null`].
    Null(null::NullConfig),
    /// [`pcap`].
    Pcap(pcap::PcapConfig),
    /// [`ring`].
    Ring(ring::RingConfig),
    /// [`tap`].
    Tap(tap::TapConfig),
}

/// Names of all drivers, for messages and completion.
pub const DRIVERS: &[&str] = &["af_packet", "af_xdp", "null", "pcap", "ring", "tap"];

impl PortConfig {
    /// Reads the table of a port whose `driver` key is `driver` (and has been removed from the table). `None` when
    /// there is no such driver.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        driver: &str,
        table: D,
    ) -> Option<Result<Self, D::Error>> {
        Some(match driver {
            "af_packet" => Deserialize::deserialize(table).map(Self::AfPacket),
            "af_xdp" => Deserialize::deserialize(table).map(Self::AfXdp),
            "null" => Deserialize::deserialize(table).map(Self::Null),
            "pcap" => Deserialize::deserialize(table).map(Self::Pcap),
            "ring" => Deserialize::deserialize(table).map(Self::Ring),
            "tap" => Deserialize::deserialize(table).map(Self::Tap),
            _ => return None,
        })
    }

    /// Its name in configurations: one of [`DRIVERS`].
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self {
            Self::AfPacket(_) => "af_packet",
            Self::AfXdp(_) => "af_xdp",
            Self::Null(_) => "null",
            Self::Pcap(_) => "pcap",
            Self::Ring(_) => "ring",
            Self::Tap(_) => "tap",
        }
    }

    /// Buffers of the pool that each receive queue may hold.
    #[must_use]
    pub fn buffers_per_rx(&self) -> usize {
        match self {
            Self::AfXdp(c) => c.ring_size as usize,
            Self::Ring(c) => c.slots,
            Self::AfPacket(_) | Self::Null(_) | Self::Pcap(_) | Self::Tap(_) => 0,
        }
    }

    /// Buffers of the pool that each transmit queue may hold.
    #[must_use]
    pub fn buffers_per_tx(&self) -> usize {
        match self {
            Self::AfXdp(c) => c.ring_size as usize,
            Self::AfPacket(_) | Self::Null(_) | Self::Pcap(_) | Self::Tap(_) | Self::Ring(_) => 0, // a ring's buffers are counted where they are received
        }
    }

    /// Opens the port. Received packets come from `pool`.
    ///
    /// # Errors
    /// What the driver says, see [`PortError`].
    pub fn open(&self, name: &str, pool: &Mempool) -> Result<Box<dyn Port>, PortError> {
        Ok(match self {
            Self::AfPacket(c) => Box::new(af_packet::AfPacketPort::open(name, c, pool)?),
            Self::AfXdp(c) => Box::new(af_xdp::AfXdpPort::open(name, c, pool)?),
            Self::Null(c) => Box::new(null::NullPort::open(name, c, pool)?),
            Self::Pcap(c) => Box::new(pcap::PcapPort::open(name, c, pool)?),
            Self::Ring(c) => Box::new(ring::RingPort::open(name, c, pool)?),
            Self::Tap(c) => Box::new(tap::TapPort::open(name, c, pool)?),
        })
    }
}
