//! `driver = "null"`: receives empty frames as fast as it is polled, and frees what is sent. For measuring the rest.

use serde::Deserialize;
use warpdrive_mempool::{Burst, Mempool};

use super::{Port, PortError, PortInfo, RxQueue, Takeable, TxQueue};
use crate::stats::{QueueCounters, SharedCounters};

/// Configuration of a null port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NullConfig {
    /// Length of received frames in bytes.
    pub size: usize,
    /// Frames each queue receives before it is finished; 0: no end.
    pub packets: u64,
    /// Copy a prepared UDP frame into each packet. Without it a packet has whatever its buffer had.
    pub copy: bool,
    /// Number of queues in each direction.
    pub queues: u16,
}

impl Default for NullConfig {
    fn default() -> Self {
        Self { size: 64, packets: 0, copy: false, queues: 1 }
    }
}

/// An open null port.
pub struct NullPort {
    info: PortInfo,
    rx: Takeable<dyn RxQueue>,
    tx: Takeable<dyn TxQueue>,
}

impl NullPort {
    /// Opens one.
    ///
    /// # Errors
    /// [`PortError::Unsupported`] when the frame does not fit a buffer of the pool.
    pub fn open(name: &str, config: &NullConfig, pool: &Mempool) -> Result<Self, PortError> {
        if config.size < 60 || config.size > pool.data_capacity() {
            return Err(PortError::Unsupported {
                port: name.to_owned(),
                what: format!(
                    "size = {} is not between 60 and the {} bytes of a buffer of mempool {:?}",
                    config.size,
                    pool.data_capacity(),
                    pool.name()
                ),
                remedy: "another size, or larger buffers".to_owned(),
            });
        }
        let rx = (0..config.queues).map(|_| {
            Box::new(NullRx {
                pool: pool.clone(),
                size: config.size,
                left: if config.packets == 0 { u64::MAX } else { config.packets },
                template: config.copy.then(|| udp_frame(config.size)),
                counters: QueueCounters::shared(),
            }) as Box<dyn RxQueue>
        });
        let tx = (0..config.queues)
            .map(|_| Box::new(NullTx { counters: QueueCounters::shared() }) as Box<dyn TxQueue>);
        Ok(Self {
            info: PortInfo {
                name: name.to_owned(),
                driver: "null",
                mac: None,
                mtu: pool.data_capacity() - 18,
                rx_queues: config.queues,
                tx_queues: config.queues,
                zero_copy: true,
                syscalls: false,
                remarks: Vec::new(),
            },
            rx: Takeable::new(name, "rx", rx.collect()),
            tx: Takeable::new(name, "tx", tx.collect()),
        })
    }
}

impl Port for NullPort {
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

struct NullRx {
    pool: Mempool,
    size: usize,
    left: u64,
    template: Option<Box<[u8]>>,
    counters: SharedCounters,
}

impl RxQueue for NullRx {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let start = burst.len();
        let want = max.min(burst.room()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.pool.alloc_burst(burst, want);
        for packet in &mut burst.as_mut_slice()[start..] {
            // Cannot fail: checked against the pool's capacity when the port was opened.
            let _ = packet.set_len(self.size);
            if let Some(template) = &self.template {
                packet.data_mut().copy_from_slice(template);
            }
        }
        self.left -= got as u64;
        self.counters.packets.add(got as u64);
        self.counters.bytes.add((got * self.size) as u64);
        got
    }

    fn is_finished(&self) -> bool {
        self.left == 0
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

struct NullTx {
    counters: SharedCounters,
}

impl TxQueue for NullTx {
    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let n = burst.len();
        let bytes: usize = burst.iter().map(|p| if p.is_chained() { p.total_len() } else { p.len() }).sum();
        burst.clear();
        self.counters.packets.add(n as u64);
        self.counters.bytes.add(bytes as u64);
        n
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

/// A UDP datagram of zeroes from 192.0.2.1:9 to 192.0.2.2:9 (RFC 5737 addresses, discard port), as an Ethernet frame
/// of `size` bytes with right lengths and IP checksum.
fn udp_frame(size: usize) -> Box<[u8]> {
    let mut f = vec![0u8; size];
    f[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    f[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    f[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    let ip_len = (size - 14) as u16;
    f[14] = 0x45;
    f[16..18].copy_from_slice(&ip_len.to_be_bytes());
    f[22] = 64;
    f[23] = 17;
    f[26..30].copy_from_slice(&[192, 0, 2, 1]);
    f[30..34].copy_from_slice(&[192, 0, 2, 2]);
    let sum: u32 = f[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f[34..36].copy_from_slice(&9u16.to_be_bytes());
    f[36..38].copy_from_slice(&9u16.to_be_bytes());
    f[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
    f.into()
}
