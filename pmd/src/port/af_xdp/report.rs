//! What people read: errors with their remedies, and the remarks of the start-up report.

use std::io;

use super::netlink::{self, Netlink};
use super::socket::{Failed, Step};
use super::umem::Layout;
use super::{AfXdpConfig, Mode, bpf};
use crate::port::PortError;

/// Who speaks.
pub(super) struct Report<'a> {
    pub port: &'a str,
    pub interface: &'a str,
}

const PRIVILEGES: &str = "run as root, or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF \
                          (`setcap cap_net_raw,cap_net_admin,cap_bpf+ep` on the program)";

impl Report<'_> {
    pub(super) fn unsupported(&self, what: impl Into<String>, remedy: &str) -> PortError {
        PortError::Unsupported {
            port: self.port.to_owned(),
            what: format!("af_xdp on interface {:?}: {}", self.interface, what.into()),
            remedy: remedy.to_owned(),
        }
    }

    fn os(&self, action: impl Into<String>, cause: io::Error, remedy: impl Into<String>) -> PortError {
        PortError::Os {
            port: self.port.to_owned(),
            action: format!("{} (af_xdp, interface {:?})", action.into(), self.interface),
            cause,
            remedy: remedy.into(),
        }
    }

    pub(super) fn netlink(&self, cause: io::Error) -> PortError {
        self.os("open a netlink socket", cause, "allow AF_NETLINK sockets to this process")
    }

    /// The interface could not be read.
    pub(super) fn interface(&self, cause: io::Error) -> PortError {
        let remedy = if cause.raw_os_error() == Some(libc::ENODEV) {
            format!("one that exists in this network namespace: {}", netlink::names().join(", "))
        } else {
            "see `ip link`".to_owned()
        };
        self.os("find the interface", cause, remedy)
    }

    pub(super) fn no_nic_queue(&self, queue: u32, count: u32) -> PortError {
        self.unsupported(
            format!("the NIC has no queue {queue}: it receives on {count}, numbered from 0"),
            &format!("queues below {count}, or more of them: `ethtool -L {}`", self.interface),
        )
    }

    /// A call of bpf(2) failed.
    pub(super) fn bpf(&self, action: &str, cause: io::Error) -> PortError {
        let remedy = match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PRIVILEGES,
            Some(libc::ENOMEM) => "more memory for the control group",
            _ => "a kernel of at least 5.9 with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS",
        };
        self.os(action, cause, remedy)
    }

    /// Somebody else's program is there.
    pub(super) fn has_program(&self, id: u32) -> PortError {
        let name = bpf::program_name(id).unwrap_or_else(|e| format!("of unknown name ({e})"));
        self.os(
            format!("attach the XDP program: program {name:?} (id {id}) is attached already"),
            io::Error::from_raw_os_error(libc::EBUSY),
            format!("stop what attached it (`bpftool net`), or `ip link set {} xdp off`", self.interface),
        )
    }

    pub(super) fn attach(&self, netlink: &Netlink, mode: &str, cause: io::Error) -> PortError {
        if matches!(cause.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
            && let Ok(nic) = netlink.interface(self.interface)
            && let Some(id) = nic.xdp_program
        {
            return self.has_program(id);
        }
        let remedy = match cause.raw_os_error() {
            Some(libc::EPERM) => PRIVILEGES,
            Some(libc::EOPNOTSUPP) => "attach = \"generic\"",
            Some(libc::ERANGE | libc::EINVAL) => "a smaller MTU at both ends, or attach = \"generic\"",
            _ => "see the kernel's log",
        };
        self.os(format!("attach the XDP program in {mode} mode"), cause, remedy)
    }

    /// A socket could not be made or bound.
    pub(super) fn socket(&self, config: &AfXdpConfig, queue: u32, failed: Failed) -> PortError {
        let Failed { step, cause } = failed;
        let action = match step {
            Step::Create => "make an AF_XDP socket".to_owned(),
            Step::RegisterMemory => "give the kernel the mempool's memory".to_owned(),
            Step::MakeRings => format!("make rings of {} entries", config.ring_size),
            Step::BusyPoll => format!("set busy polling of {} us", config.busy_poll_us),
            Step::Bind => format!("bind to queue {queue}, mode {:?}", config.mode),
        };
        let remedy = match (step, cause.raw_os_error()) {
            (_, Some(libc::EPERM | libc::EACCES)) => PRIVILEGES,
            (Step::Create, Some(libc::EAFNOSUPPORT)) => "a kernel with CONFIG_XDP_SOCKETS",
            (_, Some(libc::ENOBUFS)) => "a higher limit of locked memory (`ulimit -l`), or CAP_IPC_LOCK",
            (_, Some(libc::ENOMEM)) => "smaller rings, fewer buffers, or more memory for the control group",
            (Step::BusyPoll, _) => "busy_poll_us = 0, or a kernel of at least 5.11",
            (Step::Bind, Some(libc::EBUSY)) => {
                "another queue, or stop the program whose socket has this one (`ss -a --xdp -p`)"
            }
            (Step::Bind, Some(libc::ENETDOWN)) => "set the interface up: `ip link set … up`",
            (Step::Bind, Some(libc::EOPNOTSUPP)) if config.mode == Mode::ZeroCopy => {
                "mode = \"copy\" or \"auto\": this driver cannot do zero-copy"
            }
            (Step::Bind, Some(libc::EINVAL)) => "mode = \"copy\", and queues that the NIC has (`ethtool -l`)",
            _ => "see the kernel's log",
        };
        self.os(action, cause, remedy)
    }
}

/// What was got, for the start-up report.
pub(super) fn remarks(
    config: &AfXdpConfig,
    layout: &Layout,
    nic_queues: u32,
    hold: usize,
    zero_copy: bool,
) -> Vec<String> {
    let mode = match (zero_copy, config.mode) {
        (true, _) => "zero-copy: the NIC reads and writes the mempool",
        (false, Mode::Auto) => "copy mode: zero-copy is not to be had here",
        (false, _) => "copy mode",
    };
    let kind = if layout.unaligned { "unaligned" } else { "aligned" };
    let mut remarks = vec![
        mode.to_owned(),
        format!("queues {:?} of the NIC's {nic_queues}; the others stay with the kernel", config.queues),
        format!(
            "UMEM of {} {kind} chunks of {} bytes, frames of up to {}, {} bytes of headroom",
            layout.buffers,
            layout.chunk_size,
            layout.room,
            layout.in_front()
        ),
        format!("four rings of {} a queue, up to {hold} buffers held to receive into", config.ring_size),
    ];
    if !config.ethertypes.is_empty() || !config.udp_ports.is_empty() {
        let types: Vec<_> = config.ethertypes.iter().map(|t| format!("{t:#06x}")).collect();
        remarks.push(format!(
            "only Ethernet types [{}] and UDP ports {:?}; the rest stays with the kernel",
            types.join(", "),
            config.udp_ports
        ));
    }
    remarks.push(match (config.busy_poll_us, config.need_wakeup) {
        (0, true) => "system calls when the kernel asks for them".to_owned(),
        (0, false) => "a system call for each burst sent".to_owned(),
        (us, _) => format!("busy polling, {us} us: a system call whenever nothing is there"),
    });
    remarks
}
