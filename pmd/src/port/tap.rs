//! `driver = "tap"`: a TAP interface of the kernel, whose other side is this port. What the kernel sends out of the
//! interface is received here, and what is sent here the kernel receives.
//!
//! Each frame is one readv or writev between the kernel and the pool's buffer (Documentation/networking/tuntap.rst).
//! When the pool is exhausted, frames wait in the interface's queue, where the kernel drops (and counts) what is too
//! much. The interface goes with the port, unless it was there before and is persistent.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use arrayvec::ArrayVec;
use serde::Deserialize;
use warpdrive_mempool::{Burst, Mempool, Packet};

use super::netdev::{NetDev, check, failed};
use super::{Link, MacAddr, Port, PortError, PortInfo, RxQueue, Takeable, TxQueue};
use crate::clock;
use crate::stats::{QueueCounters, SharedCounters};

/// Configuration of a tap port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapConfig {
    /// Name of the interface; it is made if it is not there.
    pub interface: String,
    /// Ethernet address of the kernel's side, as `"02:00:00:00:00:01"`; absent: the kernel chooses.
    #[serde(default)]
    pub mac: Option<String>,
    /// Largest packet in bytes; absent: as it is, 1500 for a new interface.
    #[serde(default)]
    pub mtu: Option<usize>,
    /// IP address of the kernel's side with the length of the prefix, as `"192.0.2.1/24"`.
    #[serde(default)]
    pub address: Option<String>,
    /// Number of queues in each direction (IFF_MULTI_QUEUE when more than one).
    #[serde(default = "one")]
    pub queues: u16,
}

fn one() -> u16 {
    1
}

/// MAX_TAP_QUEUES of the kernel.
const MAX_QUEUES: u16 = 256;
/// Segments of a chained packet that one writev takes here; longer chains are errors.
const MAX_SEGMENTS: usize = 16;
const TUN: &str = "/dev/net/tun";

/// An open tap port.
pub struct TapPort {
    info: PortInfo,
    netdev: NetDev,
    rx: Takeable<dyn RxQueue>,
    tx: Takeable<dyn TxQueue>,
}

impl TapPort {
    /// Makes or attaches to the interface, and brings it up.
    ///
    /// # Errors
    /// [`PortError`]: no rights, no TUN driver, or values the kernel refuses.
    pub fn open(name: &str, config: &TapConfig, pool: &Mempool) -> Result<Self, PortError> {
        let refuse = |what: String, remedy: &str| PortError::Unsupported {
            port: name.to_owned(),
            what,
            remedy: remedy.to_owned(),
        };
        if config.queues == 0 || config.queues > MAX_QUEUES {
            return Err(refuse(
                format!("queues = {} is not between 1 and {MAX_QUEUES}", config.queues),
                "for example 1",
            ));
        }
        let mac = match &config.mac {
            None => None,
            Some(text) => Some(parse_mac(text).ok_or_else(|| {
                refuse(
                    format!("mac = {text:?} is no unicast Ethernet address"),
                    "for example \"02:00:00:00:00:01\"",
                )
            })?),
        };
        let address = match &config.address {
            None => None,
            Some(text) => Some(parse_cidr(text).ok_or_else(|| {
                refuse(
                    format!("address = {text:?} is no address with a prefix"),
                    "for example \"192.0.2.1/24\"",
                )
            })?),
        };
        let interface = &config.interface;
        let os = |action: String, remedy: &str| failed(name, action, remedy);
        let netdev = NetDev::new(interface)
            .map_err(os(format!("use interface {interface:?}"), "a name of 1 to 15 bytes"))?;
        let mut files = Vec::new();
        for _ in 0..config.queues {
            files.push(Arc::new(attach(name, &netdev, config.queues > 1)?));
        }
        let set =
            |what: String| os(format!("set {what} of interface {interface:?}"), "a value the kernel takes");
        if let Some(mac) = mac {
            netdev.set_mac(mac).map_err(set(format!("mac = {mac}")))?;
        }
        if let Some(mtu) = config.mtu {
            netdev.set_mtu(mtu).map_err(set(format!("mtu = {mtu}")))?;
        }
        if let Some((ip, prefix)) = address {
            netdev.set_address(ip, prefix).map_err(set(format!("address = {ip}/{prefix}")))?;
        }
        netdev.bring_up().map_err(set("the state up".to_owned()))?;
        let mtu =
            netdev.mtu().map_err(os(format!("ask the mtu of {interface:?}"), "does it still exist?"))?;
        let mut info = PortInfo {
            name: name.to_owned(),
            driver: "tap",
            mac: netdev.mac().ok(),
            mtu,
            rx_queues: config.queues,
            tx_queues: config.queues,
            zero_copy: false,
            syscalls: true,
            remarks: vec![format!("interface {interface:?}, one system call a packet")],
        };
        if info.max_frame() > pool.data_capacity() {
            info.remarks.push(format!(
                "frames longer than the {} bytes of a buffer of mempool {:?} are dropped and counted",
                pool.data_capacity(),
                pool.name()
            ));
        }
        let max_frame = info.max_frame();
        let rx = files.iter().map(|file| {
            let counters = QueueCounters::shared();
            Box::new(TapRx { file: Arc::clone(file), pool: pool.clone(), spare: None, counters })
                as Box<dyn RxQueue>
        });
        let tx = files.iter().map(|file| {
            let counters = QueueCounters::shared();
            Box::new(TapTx { file: Arc::clone(file), max_frame, counters }) as Box<dyn TxQueue>
        });
        Ok(Self {
            rx: Takeable::new(name, "rx", rx.collect()),
            tx: Takeable::new(name, "tx", tx.collect()),
            info,
            netdev,
        })
    }
}

/// Opens one queue of the interface.
fn attach(port: &str, netdev: &NetDev, multi: bool) -> Result<File, PortError> {
    let remedy = "load the driver (modprobe tun); in a container, pass /dev/net/tun in";
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(TUN)
        .map_err(failed(port, format!("open {TUN}"), remedy))?;
    let mut request = netdev.request();
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | if multi { libc::IFF_MULTI_QUEUE } else { 0 };
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF (linux/if_tun.h) reads and writes one ifreq, which lives on.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, std::ptr::from_mut(&mut request)) };
    let remedy =
        "EBUSY: another program has it; EINVAL: it exists and is no TAP interface, or has other queues";
    check(result).map_err(failed(
        port,
        format!("make or attach TAP interface {:?}", netdev.name()),
        remedy,
    ))?;
    Ok(file)
}

fn parse_mac(text: &str) -> Option<MacAddr> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6]).then_some(MacAddr(mac))
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, prefix))
}

impl Port for TapPort {
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

struct TapRx {
    file: Arc<File>,
    pool: Mempool,
    /// The buffer for the next frame: an empty poll takes none from the pool.
    spare: Option<Packet>,
    counters: SharedCounters,
}

impl TapRx {
    /// Reads one frame into a buffer of the whole tailroom. `None`: it was longer.
    fn read(&self, packet: &mut Packet) -> io::Result<Option<usize>> {
        let room = packet.len() + packet.tailroom();
        // Cannot fail: it is what there is.
        let _ = packet.set_len(room);
        // The kernel cuts what does not fit and does not say so: a byte more tells.
        let mut beyond = [0];
        let mut parts = [IoSliceMut::new(packet.data_mut()), IoSliceMut::new(&mut beyond)];
        let n = (&*self.file).read_vectored(&mut parts)?;
        let _ = packet.set_len(n.min(room));
        Ok((n <= room).then_some(n))
    }
}

impl RxQueue for TapRx {
    fn rx_burst(&mut self, burst: &mut Burst, max: usize) -> usize {
        let want = max.min(burst.room());
        let (mut got, mut bytes, mut tries) = (0, 0, 0);
        let now = clock::ticks();
        while got < want && tries < want {
            let Some(mut packet) = self.spare.take().or_else(|| self.pool.alloc()) else {
                break;
            };
            tries += 1;
            match self.read(&mut packet) {
                Ok(Some(n)) => {
                    packet.set_timestamp(now);
                    bytes += n;
                    got += 1;
                    // Cannot fail: `want` was limited to the room of the burst.
                    let _ = burst.push(packet);
                }
                Ok(None) => {
                    self.counters.errors.add(1);
                    self.spare = Some(packet);
                }
                Err(e) => {
                    // EAGAIN: nothing there. EBADFD: the interface was deleted. Either way nothing now.
                    if e.kind() != ErrorKind::WouldBlock && e.kind() != ErrorKind::Interrupted {
                        self.counters.errors.add(1);
                    }
                    self.spare = Some(packet);
                    break;
                }
            }
        }
        if let Some(packet) = &mut self.spare {
            packet.reset();
        }
        self.counters.syscalls.add(tries as u64);
        self.counters.packets.add(got as u64);
        self.counters.bytes.add(bytes as u64);
        got
    }

    fn held(&self) -> usize {
        usize::from(self.spare.is_some())
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

struct TapTx {
    file: Arc<File>,
    max_frame: usize,
    counters: SharedCounters,
}

impl TapTx {
    fn write(&self, packet: &Packet) -> io::Result<usize> {
        let mut parts: ArrayVec<IoSlice<'_>, MAX_SEGMENTS> = ArrayVec::new();
        let mut len = 0;
        for segment in packet.segments() {
            len += segment.len();
            if parts.try_push(IoSlice::new(segment.data())).is_err() {
                return Err(ErrorKind::InvalidInput.into());
            }
        }
        // Shorter than an Ethernet header the kernel answers EINVAL itself.
        if len > self.max_frame {
            return Err(ErrorKind::InvalidInput.into());
        }
        (&*self.file).write_vectored(&parts)
    }
}

impl TxQueue for TapTx {
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let (mut taken, mut packets, mut bytes, mut errors) = (0, 0, 0, 0);
        for packet in burst.iter() {
            match self.write(packet) {
                Ok(n) => {
                    packets += 1;
                    bytes += n as u64;
                }
                // The socket's send buffer is full: later.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                // Too long, or the interface is down or gone (EIO, EBADFD): lost, as on a pulled cable.
                Err(_) => errors += 1,
            }
            taken += 1;
        }
        self.counters.syscalls.add(packets + errors);
        self.counters.packets.add(packets);
        self.counters.bytes.add(bytes);
        self.counters.errors.add(errors);
        burst.free_front(taken)
    }

    fn counters(&self) -> &SharedCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        assert_eq!(parse_mac("02:00:00:00:00:fF"), Some(MacAddr([2, 0, 0, 0, 0, 255])));
        for bad in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "03:00:00:00:00:01", "00:00:00:00:00:00", "x"]
        {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
        assert_eq!(parse_cidr("192.0.2.1/24"), Some(([192, 0, 2, 1].into(), 24)));
        assert!(parse_cidr("2001:db8::1/64").is_some());
        for bad in ["192.0.2.1", "192.0.2.1/33", "2001:db8::1/129", "a/1"] {
            assert_eq!(parse_cidr(bad), None, "{bad}");
        }
    }
}
