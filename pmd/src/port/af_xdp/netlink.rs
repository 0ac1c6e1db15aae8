//! What the kernel knows of an interface: one RTM_GETLINK request (RFC 3549, include/uapi/linux/rtnetlink.h).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::abi::*;
use crate::port::MacAddr;

/// An interface as it is now.
#[derive(Debug, Default)]
pub(super) struct Interface {
    pub index: u32,
    pub mac: Option<MacAddr>,
    pub mtu: usize,
    /// `ifi_flags`: netdevice(7).
    pub flags: u32,
    pub carrier: Option<bool>,
    /// Receive queues it was made with; not all need be in use.
    pub rx_queues: u32,
    /// Id of an XDP program that is attached, in any mode.
    pub xdp_program: Option<u32>,
}

/// A netlink socket. It stays in the network namespace in which it was opened.
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: no memory is involved; the result is checked and owned here alone.
        unsafe {
            let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Asks for one interface by name.
    pub(super) fn interface(&self, name: &str) -> io::Result<Interface> {
        const HEADER: usize = 16; // struct nlmsghdr
        const INFO: usize = 16; // struct ifinfomsg
        let mut request = vec![0u8; HEADER + INFO];
        request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
        request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend((4 + name.len() as u16 + 1).to_ne_bytes());
        request.extend(libc::IFLA_IFNAME.to_ne_bytes());
        request.extend(name.bytes().chain([0]));
        request.resize(request.len().next_multiple_of(4), 0);
        let len = request.len() as u32;
        request[..4].copy_from_slice(&len.to_ne_bytes());
        let mut answer = vec![0u8; 64 << 10];
        // SAFETY: both buffers are valid for the lengths given; a netlink request is answered within the call of
        // send, so recv has something to return.
        let got = unsafe {
            if libc::send(self.0.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::recv(self.0.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        let answer = &answer[..got as usize];
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        if u16_at(answer, 4).ok_or_else(short)? == libc::NLMSG_ERROR as u16 {
            let errno = u32_at(answer, HEADER).ok_or_else(short)? as i32;
            return Err(io::Error::from_raw_os_error(-errno));
        }
        let mut found = Interface {
            index: u32_at(answer, HEADER + 4).ok_or_else(short)?,
            flags: u32_at(answer, HEADER + 8).ok_or_else(short)?,
            ..Interface::default()
        };
        for (kind, value) in attributes(answer.get(HEADER + INFO..).unwrap_or_default()) {
            match kind {
                libc::IFLA_ADDRESS => found.mac = value.try_into().ok().map(MacAddr),
                libc::IFLA_MTU => found.mtu = u32_at(value, 0).unwrap_or_default() as usize,
                libc::IFLA_NUM_RX_QUEUES => found.rx_queues = u32_at(value, 0).unwrap_or_default(),
                IFLA_CARRIER => found.carrier = value.first().map(|c| *c != 0),
                IFLA_XDP => {
                    let ids =
                        [IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID, IFLA_XDP_HW_PROG_ID];
                    found.xdp_program = attributes(value)
                        .find(|(kind, _)| ids.contains(kind))
                        .and_then(|(_, value)| u32_at(value, 0))
                        .filter(|id| *id != 0);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// How many channels of an interface receive now (ethtool -l); `None` where its driver does not say.
    pub(super) fn active_rx_queues(&self, name: &str) -> Option<u32> {
        let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..EthtoolChannels::default() };
        // SAFETY: all-zero bytes are a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut channels).cast();
        // SAFETY: the request carries a name that ends in 0 and points to an ethtool_channels, both alive.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) };
        (result == 0).then_some(channels.rx_count + channels.combined_count).filter(|n| *n > 0)
    }
}

/// Names of the interfaces there are, for messages.
pub(super) fn names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: the list ends with an entry of index 0 and is freed once, after the last use.
    unsafe {
        let list = libc::if_nameindex();
        let mut at = list;
        while !at.is_null() && (*at).if_index != 0 {
            names.push(std::ffi::CStr::from_ptr((*at).if_name).to_string_lossy().into_owned());
            at = at.add(1);
        }
        if !list.is_null() {
            libc::if_freenameindex(list);
        }
    }
    names
}

/// Whether a name can be that of an interface at all.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() < libc::IFNAMSIZ && CString::new(name).is_ok()
}

/// The attributes (`struct rtattr`: length, type, value, padded to 4) of a message, as far as it is well formed.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const TYPE_MASK: u16 = 0x3fff; // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_known() {
        let netlink = Netlink::open().unwrap();
        let lo = netlink.interface("lo").unwrap();
        assert!(lo.index > 0 && lo.mtu > 0 && lo.rx_queues > 0, "{lo:?}");
        assert!(names().contains(&"lo".to_owned()));
        assert_eq!(netlink.interface("no-such-if").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn malformed_attributes_end_the_list() {
        let good = [8, 0, 4, 0, 1, 2, 3, 4];
        assert_eq!(attributes(&good).collect::<Vec<_>>(), [(4, &[1, 2, 3, 4][..])]);
        for bad in [&[0, 0, 4, 0][..], &[9, 0, 4, 0, 1], &[4, 0, 1], &[]] {
            assert_eq!(attributes(bad).count(), 0, "{bad:?}");
        }
    }
}
