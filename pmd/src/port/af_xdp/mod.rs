//! `driver = "af_xdp"`: queues of a network interface by AF_XDP sockets (Documentation/networking/af_xdp.rst), next to
//! the kernel's stack, which keeps the interface and the frames that a filter does not name.
//!
//! The kernel writes received frames into buffers of the pool, and sends from them: the pool's region is the UMEM. In
//! copy mode it copies between these and its own; with a driver that can, the NIC itself reads and writes them. Packets
//! of another pool, and chained ones, are copied into a buffer of this pool on transmission.
//!
//! The XDP program is held by a BPF link, so it goes when the port and its queues are dropped, or the process dies.
//! The queues hold buffers to receive into: up to `ring_size` each, and not more than half of the pool together. What
//! is on its way out comes on top, up to twice `ring_size`. Frames lost below us are counted by the kernel, and copied
//! to `missed` when [`Port::link`] is called and when a queue is dropped.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

use serde::Deserialize;
use warpdrive_mempool::{BURST, Mempool};

use self::netlink::{Interface, Netlink};
use self::program::Filter;
use self::queue::{Rx, Tx, Wakeups};
use self::report::Report;
use self::socket::{Socket, Unbound};
use self::umem::Layout;
use super::{Link, Port, PortError, PortInfo, RxQueue, Takeable, TxQueue};
use crate::stats::SharedCounters;

mod abi;
mod bpf;
mod netlink;
mod program;
mod queue;
mod report;
mod rings;
mod socket;
mod umem;

/// Most queues of one port.
const MAX_QUEUES: usize = 64;
/// Most entries of each list of a filter: the program compares them one by one.
const MAX_FILTER: usize = 64;
/// Most entries of a ring.
const MAX_RING: u32 = 1 << 16;

/// Configuration of an AF_XDP port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfXdpConfig {
    /// The network interface, such as `"eth0"`.
    pub interface: String,
    /// Queues of the NIC to take: the port's queue 0 is the first named here. Others stay with the kernel.
    #[serde(default = "first_queue")]
    pub queues: Vec<u32>,
    /// How frames come into the pool's buffers.
    #[serde(default)]
    pub mode: Mode,
    /// Where the XDP program runs.
    #[serde(default)]
    pub attach: Attach,
    /// Make system calls only when the kernel asks for them in its rings.
    #[serde(default = "yes")]
    pub need_wakeup: bool,
    /// Poll the NIC from our system calls instead of waiting for its interrupts, for this many microseconds of which
    /// we come again; 0: do not.
    #[serde(default)]
    pub busy_poll_us: u32,
    /// Entries of each of the four rings of a queue, a power of two.
    #[serde(default = "default_ring")]
    pub ring_size: u32,
    /// Take frames of these Ethernet types only (and of `udp_ports`). ARP is 0x0806: unless it is named, the kernel
    /// goes on answering it.
    #[serde(default)]
    pub ethertypes: Vec<u16>,
    /// Take UDP datagrams to these ports only (and frames of `ethertypes`), of IPv4 and of IPv6 without extension
    /// headers, untagged. Fragments stay with the kernel.
    #[serde(default)]
    pub udp_ports: Vec<u16>,
}

/// How frames come into the pool's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By the NIC if its driver can, else by the kernel.
    #[default]
    Auto,
    /// The kernel copies.
    Copy,
    /// The NIC writes and reads them, or the port is not opened.
    ZeroCopy,
}

/// Where the XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// In the driver if it can, else behind it.
    #[default]
    Auto,
    /// In the driver, before the kernel makes a packet of a frame.
    Native,
    /// In the kernel's common receive path: with every driver, slower, and always with a copy.
    Generic,
}

fn first_queue() -> Vec<u32> {
    vec![0]
}
fn yes() -> bool {
    true
}
fn default_ring() -> u32 {
    2048
}

impl AfXdpConfig {
    /// The defaults for an interface.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            queues: first_queue(),
            mode: Mode::default(),
            attach: Attach::default(),
            need_wakeup: yes(),
            busy_poll_us: 0,
            ring_size: default_ring(),
            ethertypes: Vec::new(),
            udp_ports: Vec::new(),
        }
    }

    fn check(&self, report: &Report<'_>) -> Result<(), PortError> {
        let refuse = |what: String, remedy: &str| Err(report.unsupported(what, remedy));
        if !netlink::is_name(&self.interface) {
            return refuse(
                format!("{:?} is no name of an interface", self.interface),
                "1 to 15 bytes, see `ip link`",
            );
        }
        if self.queues.is_empty() || self.queues.len() > MAX_QUEUES {
            return refuse(format!("queues names {} queues", self.queues.len()), "1 to 64, such as [0]");
        }
        if let Some(twice) = self.queues.iter().enumerate().find(|(i, q)| self.queues[..*i].contains(q)) {
            return refuse(format!("queues names queue {} twice", twice.1), "name each once");
        }
        if !self.ring_size.is_power_of_two() || !(BURST as u32..=MAX_RING).contains(&self.ring_size) {
            return refuse(
                format!("ring_size = {} is not a power of two from {BURST} to {MAX_RING}", self.ring_size),
                "for example 2048",
            );
        }
        for (what, list) in [("ethertypes", &self.ethertypes), ("udp_ports", &self.udp_ports)] {
            if list.len() > MAX_FILTER {
                return refuse(
                    format!("{what} has {} entries, and at most {MAX_FILTER} are compared", list.len()),
                    "fewer, or take all and sort in the pipeline",
                );
            }
        }
        if self.busy_poll_us > i32::MAX as u32 {
            return refuse(format!("busy_poll_us = {} is too much", self.busy_poll_us), "for example 20");
        }
        Ok(())
    }
}

/// An open AF_XDP port.
pub struct AfXdpPort {
    info: PortInfo,
    interface: String,
    /// Of the network namespace in which the port was opened.
    netlink: Netlink,
    /// The sockets, while their queues are in use, with the queues' counters.
    sockets: Vec<(Weak<Socket>, SharedCounters, SharedCounters)>,
    rx: Takeable<dyn RxQueue>,
    tx: Takeable<dyn TxQueue>,
    _attachment: Arc<OwnedFd>,
}

impl AfXdpPort {
    /// Opens one, in the network namespace of the current thread.
    ///
    /// # Errors
    /// [`PortError::Unsupported`] when the pool's buffers, the interface or the driver cannot do what is asked for;
    /// [`PortError::Os`] when the kernel refuses: no such interface, privileges, a queue or an interface that
    /// another program has.
    pub fn open(name: &str, config: &AfXdpConfig, pool: &Mempool) -> Result<Self, PortError> {
        let report = Report { port: name, interface: &config.interface };
        config.check(&report)?;
        let netlink = Netlink::open().map_err(|e| report.netlink(e))?;
        let nic = netlink.interface(&config.interface).map_err(|e| report.interface(e))?;
        let nic_queues = netlink.active_rx_queues(&config.interface).unwrap_or(nic.rx_queues);
        if let Some(queue) = config.queues.iter().find(|q| **q >= nic_queues) {
            return Err(report.no_nic_queue(*queue, nic_queues));
        }
        let page = warpdrive_mempool::PageSize::Size4K.bytes();
        let layout = Layout::plan(pool, nic.mtu, page).map_err(|m| report.unsupported(m.what, &m.remedy))?;
        let mut remarks = Vec::new();

        let filter = Filter {
            ethertypes: &config.ethertypes,
            udp_ports: &config.udp_ports,
            max_frame: layout.guarded.then_some(layout.room),
        };
        let entries = config.queues.iter().max().map_or(1, |q| q + 1);
        let map = bpf::create_xskmap(entries).map_err(|e| report.bpf("create an XSKMAP", e))?;
        let program = program::assemble(&filter, map.as_raw_fd(), abi::XDP_PASS);
        let program = bpf::load_xdp(&program).map_err(|e| report.bpf("load the XDP program", e))?;
        let (attachment, generic) = attach(&report, &netlink, &nic, &program, config.attach, &mut remarks)?;
        let attachment = Arc::new(attachment);

        let flags = bind_flags(&report, config, &layout, generic, &mut remarks)?;
        let wakeups = Wakeups { on_demand: config.need_wakeup, busy_poll: config.busy_poll_us > 0 };
        let max_frame = nic.mtu + 18;
        // Half of the pool is left to those who work on the packets and send them.
        let hold = (pool.buffers() / 2 / config.queues.len()).min(config.ring_size as usize);
        let (mut rx, mut tx) = (Vec::<Box<dyn RxQueue>>::new(), Vec::<Box<dyn TxQueue>>::new());
        let mut sockets: Vec<(Weak<Socket>, _, _)> = Vec::new();
        let mut first: Option<Arc<Socket>> = None;
        for queue in &config.queues {
            let failed = |e| report.socket(config, *queue, e);
            let socket = Unbound::new(config.ring_size).map_err(failed)?;
            if first.is_none() {
                socket.register(pool.region().mapping().va().0, &layout).map_err(failed)?;
            }
            if config.busy_poll_us > 0 {
                socket.busy_poll(config.busy_poll_us).map_err(failed)?;
            }
            let (socket, rings) =
                socket.bind((nic.index, *queue), flags, first.as_deref(), &attachment).map_err(failed)?;
            let rx_half = Rx::new(rings.rx, rings.fill, pool, layout, wakeups, hold, &socket);
            let tx_half = Tx::new(rings.tx, rings.completion, pool, layout, wakeups, max_frame, &socket);
            bpf::set_socket(&map, *queue, socket.fd()).map_err(|e| report.bpf("fill the XSKMAP", e))?;
            let counters = (Arc::clone(rx_half.counters()), Arc::clone(tx_half.counters()));
            sockets.push((Arc::downgrade(&socket), counters.0, counters.1));
            rx.push(Box::new(rx_half));
            tx.push(Box::new(tx_half));
            first.get_or_insert(socket);
        }
        let zero_copy = first.as_ref().is_some_and(|s| s.zero_copy());
        remarks.extend(report::remarks(config, &layout, nic_queues, hold, zero_copy));
        let info = PortInfo {
            name: name.to_owned(),
            driver: "af_xdp",
            mac: nic.mac,
            mtu: nic.mtu,
            rx_queues: config.queues.len() as u16,
            tx_queues: config.queues.len() as u16,
            zero_copy,
            syscalls: true,
            remarks,
        };
        Ok(Self {
            info,
            interface: config.interface.clone(),
            netlink,
            sockets,
            rx: Takeable::new(name, "rx", rx),
            tx: Takeable::new(name, "tx", tx),
            _attachment: attachment,
        })
    }
}

/// Attaches the program, and says whether in generic mode.
fn attach(
    report: &Report<'_>,
    netlink: &Netlink,
    nic: &Interface,
    program: &OwnedFd,
    wanted: Attach,
    remarks: &mut Vec<String>,
) -> Result<(OwnedFd, bool), PortError> {
    if let Some(id) = nic.xdp_program {
        return Err(report.has_program(id));
    }
    let native = match wanted {
        Attach::Generic => None,
        _ => Some(bpf::attach(program, nic.index, abi::XDP_FLAGS_DRV_MODE)),
    };
    let why = match native {
        Some(Ok(link)) => {
            remarks.push("XDP program in the driver (native)".to_owned());
            return Ok((link, false));
        }
        Some(Err(e)) if wanted == Attach::Native || is_final(&e) => {
            return Err(report.attach(netlink, "native", e));
        }
        Some(Err(e)) => format!(": the driver does not take it ({e})"),
        None => String::new(),
    };
    let link = bpf::attach(program, nic.index, abi::XDP_FLAGS_SKB_MODE)
        .map_err(|e| report.attach(netlink, "generic", e))?;
    remarks.push(format!("XDP program behind the driver (generic){why}"));
    Ok((link, true))
}

/// Whether trying another mode would lead to the same answer, or hide the reason.
fn is_final(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM))
}

/// What to ask for when the first socket is bound. Without COPY or ZEROCOPY the kernel tries both.
fn bind_flags(
    report: &Report<'_>,
    config: &AfXdpConfig,
    layout: &Layout,
    generic: bool,
    remarks: &mut Vec<String>,
) -> Result<u16, PortError> {
    let obstacle = if generic {
        Some("the XDP program runs behind the driver".to_owned())
    } else if !layout.contiguous {
        Some(format!("buffers of {} bytes cross pages, which a NIC cannot address", layout.buffer_size))
    } else {
        None
    };
    let mode = match (config.mode, obstacle) {
        (Mode::Copy, _) => libc::XDP_COPY,
        (Mode::ZeroCopy, None) => libc::XDP_ZEROCOPY,
        (Mode::ZeroCopy, Some(why)) => {
            return Err(report.unsupported(
                format!("zero-copy cannot be: {why}"),
                "mode = \"copy\", or attach = \"native\" with buffers of 2048 or 4096 bytes",
            ));
        }
        (Mode::Auto, None) => 0,
        (Mode::Auto, Some(why)) => {
            remarks.push(format!("zero-copy was not tried: {why}"));
            libc::XDP_COPY
        }
    };
    Ok(mode | if config.need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 })
}

impl Port for AfXdpPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn link(&self) -> Link {
        for (socket, rx, tx) in &self.sockets {
            if let Some(socket) = socket.upgrade() {
                queue::count_missed(&socket, Some(rx), Some(tx));
            }
        }
        match self.netlink.interface(&self.interface) {
            Err(e) => Link::Down(format!("interface {}: {e}", self.interface)),
            Ok(nic) if nic.flags & libc::IFF_UP as u32 == 0 => {
                Link::Down(format!("interface {} is set down: `ip link set {0} up`", self.interface))
            }
            Ok(nic) if nic.carrier == Some(false) || nic.flags & libc::IFF_RUNNING as u32 == 0 => {
                Link::Down(format!("interface {} has no carrier: cable or other end", self.interface))
            }
            Ok(_) => Link::Up,
        }
    }

    fn rx_queue(&mut self, index: u16) -> Result<Box<dyn RxQueue>, PortError> {
        self.rx.take(index)
    }

    fn tx_queue(&mut self, index: u16) -> Result<Box<dyn TxQueue>, PortError> {
        self.tx.take(index)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};

    fn read(table: &[(&'static str, &'static str)]) -> Result<AfXdpConfig, Error> {
        AfXdpConfig::deserialize(MapDeserializer::new(table.iter().copied()))
    }

    #[test]
    fn only_the_interface_is_required_and_unknown_keys_are_refused() {
        let c = read(&[("interface", "eth0")]).unwrap();
        assert_eq!(
            (c.queues.as_slice(), c.mode, c.attach, c.ring_size),
            (&[0][..], Mode::Auto, Attach::Auto, 2048)
        );
        assert!(c.need_wakeup && c.busy_poll_us == 0 && c.ethertypes.is_empty() && c.udp_ports.is_empty());
        let c = read(&[("interface", "eth0"), ("mode", "zero-copy"), ("attach", "generic")]).unwrap();
        assert_eq!((c.mode, c.attach), (Mode::ZeroCopy, Attach::Generic));
        assert!(read(&[]).unwrap_err().to_string().contains("interface"));
        assert!(read(&[("interface", "eth0"), ("queue", "0")]).unwrap_err().to_string().contains("queue"));
        assert!(
            read(&[("interface", "eth0"), ("mode", "zc")]).unwrap_err().to_string().contains("zero-copy")
        );
    }
}
