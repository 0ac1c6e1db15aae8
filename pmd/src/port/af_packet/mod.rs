//! `driver = "af_packet"`: any Ethernet interface of the kernel, through packet sockets with mapped rings (packet(7)).
//!
//! Receiving makes no system call: the kernel writes frames into blocks of the ring, and hands a block over when it is
//! full or after a millisecond. A frame is copied to a packet of the pool; VLAN tags that the kernel took out are put
//! back, and checksums that a local sender left open are filled in. Sending copies into a ring and makes one `send` for
//! each burst. The kernel keeps its own copy of what is received: its stack still sees (and answers) the frames.
//!
//! Frames that the kernel dropped because the ring was full are counted as `missed`. It is asked for them after 4,096
//! empty polls in a row, by one system call.

use std::io;
use std::os::fd::OwnedFd;

use serde::Deserialize;
use warpdrive_mempool::Mempool;

use self::ring::{Ring, bind, get_option, set_option};
use super::netdev::{NetDev, failed, interfaces, socket};
use super::{Link, Port, PortError, PortInfo, RxQueue, Takeable, TxQueue};

mod csum;
mod ring;
mod rx;
mod tx;

/// Configuration of an af_packet port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfPacketConfig {
    /// Name of the interface.
    pub interface: String,
    /// Number of queues in each direction. With more than one, the kernel spreads flows by their hash.
    #[serde(default = "defaults::queues")]
    pub queues: u16,
    /// Size of a receive block in bytes: a power of two of at least 64 KiB.
    #[serde(default = "defaults::block_size")]
    pub block_size: u32,
    /// Receive blocks of each queue.
    #[serde(default = "defaults::blocks")]
    pub blocks: u32,
    /// Frames of the transmit ring of each queue.
    #[serde(default = "defaults::tx_frames")]
    pub tx_frames: u32,
    /// Receive frames for other stations too.
    #[serde(default = "defaults::yes")]
    pub promiscuous: bool,
    /// Send past the traffic control of the interface: faster, but a full interface drops.
    #[serde(default = "defaults::yes")]
    pub qdisc_bypass: bool,
}

mod defaults {
    pub(super) fn queues() -> u16 {
        1
    }
    pub(super) fn block_size() -> u32 {
        128 << 10
    }
    pub(super) fn blocks() -> u32 {
        32
    }
    pub(super) fn tx_frames() -> u32 {
        512
    }
    pub(super) fn yes() -> bool {
        true
    }
}

impl AfPacketConfig {
    /// The defaults for an interface.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            queues: defaults::queues(),
            block_size: defaults::block_size(),
            blocks: defaults::blocks(),
            tx_frames: defaults::tx_frames(),
            promiscuous: true,
            qdisc_bypass: true,
        }
    }
}

/// PACKET_FANOUT_MAX of kernels before 5.10; enough.
const MAX_QUEUES: u16 = 256;
const MAX_RING_BYTES: u64 = 1 << 30;
/// The smallest time after which a block that is not full is handed over, in milliseconds.
const RETIRE_MS: u32 = 1;
/// A size the kernel checks against but V3 does not use: frames are packed.
const V3_FRAME: u32 = 2_048;

/// An open af_packet port.
pub struct AfPacketPort {
    info: PortInfo,
    netdev: NetDev,
    rx: Takeable<dyn RxQueue>,
    tx: Takeable<dyn TxQueue>,
}

impl AfPacketPort {
    /// Opens the sockets and maps their rings.
    ///
    /// # Errors
    /// [`PortError`]: no such interface, no rights, sizes that cannot be.
    pub fn open(name: &str, config: &AfPacketConfig, pool: &Mempool) -> Result<Self, PortError> {
        check_sizes(name, config)?;
        let interface = &config.interface;
        let look = |what: &str| format!("ask the {what} of interface {interface:?}");
        let found = NetDev::new(interface).and_then(|n| n.index().map(|index| (n, index)));
        let (netdev, index) = found.map_err(|cause| {
            let remedy = format!("one of: {}", interfaces().join(", "));
            PortError::Os { port: name.to_owned(), action: look("index"), cause, remedy }
        })?;
        let mtu = netdev.mtu().map_err(failed(name, look("mtu"), "does it still exist?"))?;
        let opener = Opener { config, index, mtu };
        let mut rx: Vec<Box<dyn RxQueue>> = Vec::new();
        let mut tx: Vec<Box<dyn TxQueue>> = Vec::new();
        let mut fanout = None;
        let remedy = "smaller rings, more memory, or a newer kernel (4.20 at least)";
        for queue in 0..config.queues {
            let open = |what: &str| {
                failed(name, format!("open {what} queue {queue} on interface {interface:?}"), remedy)
            };
            rx.push(Box::new(opener.rx(pool, &mut fanout).map_err(open("receive"))?));
            tx.push(Box::new(opener.tx().map_err(open("transmit"))?));
        }
        let mut info = PortInfo {
            name: name.to_owned(),
            driver: "af_packet",
            mac: netdev.mac().ok(),
            mtu,
            rx_queues: config.queues,
            tx_queues: config.queues,
            zero_copy: false,
            syscalls: true,
            remarks: vec![format!(
                "interface {interface:?}: TPACKET_V3, {} blocks of {} KiB to receive, {} frames to send",
                config.blocks,
                config.block_size / 1024,
                config.tx_frames
            )],
        };
        if info.max_frame() > pool.data_capacity() {
            info.remarks.push(format!(
                "frames longer than the {} bytes of a buffer of mempool {:?} are dropped and counted",
                pool.data_capacity(),
                pool.name()
            ));
        }
        info.remarks.push(format!(
            "frames merged by the kernel are too long and counted as errors (ethtool -K {interface} gro off, \
             and tso off gso off at a veth's other end)"
        ));
        Ok(Self { rx: Takeable::new(name, "rx", rx), tx: Takeable::new(name, "tx", tx), info, netdev })
    }
}

fn check_sizes(name: &str, config: &AfPacketConfig) -> Result<(), PortError> {
    let refuse = |what: String, remedy: &str| {
        Err(PortError::Unsupported { port: name.to_owned(), what, remedy: remedy.to_owned() })
    };
    if config.queues == 0 || config.queues > MAX_QUEUES {
        return refuse(
            format!("queues = {} is not between 1 and {MAX_QUEUES}", config.queues),
            "for example 1",
        );
    }
    if !config.block_size.is_power_of_two() || config.block_size < 64 << 10 {
        return refuse(
            format!("block_size = {} is not a power of two of at least 65536", config.block_size),
            "for example 131072",
        );
    }
    let bytes = u64::from(config.block_size) * u64::from(config.blocks);
    if config.blocks < 2 || bytes > MAX_RING_BYTES {
        return refuse(
            format!("blocks = {} of {} bytes are not 2 to 1 GiB in all", config.blocks, config.block_size),
            "for example 32",
        );
    }
    if !config.tx_frames.is_power_of_two() || !(16..=65_536).contains(&config.tx_frames) {
        return refuse(
            format!("tx_frames = {} is not a power of two from 16 to 65536", config.tx_frames),
            "for example 512",
        );
    }
    Ok(())
}

struct Opener<'a> {
    config: &'a AfPacketConfig,
    index: i32,
    mtu: usize,
}

impl Opener<'_> {
    /// A socket that receives nothing until it is bound.
    fn socket(&self) -> io::Result<OwnedFd> {
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
    }

    fn rx(&self, pool: &Mempool, fanout: &mut Option<u16>) -> io::Result<rx::PacketRx> {
        let config = self.config;
        let socket = self.socket()?;
        set_option(&socket, libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V3 as libc::c_int)?;
        // What this process (or anybody here) sends out of the interface is not received.
        set_option(&socket, libc::PACKET_IGNORE_OUTGOING, 1)?;
        let bytes = config.block_size as usize * config.blocks as usize;
        let request = libc::tpacket_req3 {
            tp_block_size: config.block_size,
            tp_block_nr: config.blocks,
            tp_frame_size: V3_FRAME,
            tp_frame_nr: config.block_size / V3_FRAME * config.blocks,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(&socket, libc::PACKET_RX_RING, request)?;
        let ring = Ring::map(socket, bytes)?;
        bind(&ring.socket, self.index, libc::ETH_P_ALL as u16)?;
        if config.promiscuous {
            let request = libc::packet_mreq {
                mr_ifindex: self.index,
                mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            set_option(&ring.socket, libc::PACKET_ADD_MEMBERSHIP, request)?;
        }
        if config.queues > 1 {
            self.join_fanout(&ring.socket, fanout)?;
        }
        Ok(rx::PacketRx::new(ring, config.block_size as usize, config.blocks as usize, pool.clone()))
    }

    /// The first socket makes a group with a number of the kernel's choice, the others join it.
    fn join_fanout(&self, socket: &OwnedFd, group: &mut Option<u16>) -> io::Result<()> {
        let word = |id: u16, kind: u32| u32::from(id) | kind << 16;
        match *group {
            Some(id) => set_option(socket, libc::PACKET_FANOUT, word(id, libc::PACKET_FANOUT_HASH)),
            None => {
                let kind = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_UNIQUEID;
                set_option(socket, libc::PACKET_FANOUT, word(0, kind))?;
                let [id] = get_option::<1>(socket, libc::PACKET_FANOUT)?;
                *group = Some(id as u16);
                Ok(())
            }
        }
    }

    fn tx(&self) -> io::Result<tx::PacketTx> {
        let config = self.config;
        let socket = self.socket()?;
        set_option(&socket, libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as libc::c_int)?;
        // A frame the kernel refuses is skipped, instead of stopping all behind it.
        set_option(&socket, libc::PACKET_LOSS, 1)?;
        set_option(&socket, libc::PACKET_QDISC_BYPASS, libc::c_int::from(config.qdisc_bypass))?;
        let frame = (self.mtu + 18 + tx::OVERHEAD).next_power_of_two();
        // Blocks of whole pages and whole frames.
        let block = frame.max(64 << 10);
        let bytes = (frame * config.tx_frames as usize).next_multiple_of(block);
        let request = libc::tpacket_req {
            tp_block_size: block as u32,
            tp_block_nr: (bytes / block) as u32,
            tp_frame_size: frame as u32,
            tp_frame_nr: (bytes / frame) as u32,
        };
        set_option(&socket, libc::PACKET_TX_RING, request)?;
        let ring = Ring::map(socket, bytes)?;
        bind(&ring.socket, self.index, 0)?;
        Ok(tx::PacketTx::new(ring, frame, bytes / frame, self.mtu))
    }
}

impl Port for AfPacketPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }
    fn link(&self) -> Link {
        self.netdev.link()
    }
    fn rx_queue(&mut self, index: u16) -> Result<Box<dyn RxQueue>, PortError> {
        self.rx.take(index)
    }
    fn tx_queue(&mut self, index: u16) -> Result<Box<dyn TxQueue>, PortError> {
        self.tx.take(index)
    }
}
