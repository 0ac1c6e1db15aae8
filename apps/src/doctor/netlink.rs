//! One question to rtnetlink: is an XDP program attached to an interface, and how?

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How an XDP program is attached (`IFLA_XDP_ATTACHED`, include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XdpMode {
    None,
    Native,
    Generic,
    Offloaded,
    Several,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no xdp",
            Self::Native => "xdp native",
            Self::Generic => "xdp generic",
            Self::Offloaded => "xdp offloaded",
            Self::Several => "several xdp programs",
        })
    }
}

const HEADER_BYTES: usize = 16; // struct nlmsghdr
const IFINFO_BYTES: usize = 16; // struct ifinfomsg
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
/// The two highest bits of an attribute's type are flags.
const TYPE: u16 = 0x3fff;

/// Asks the kernel.
pub(super) fn xdp_mode(index: u32) -> io::Result<XdpMode> {
    // SAFETY: no memory is passed; the new descriptor is owned at once.
    let fd = unsafe {
        let raw = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(raw)
    };
    let request = request(index);
    // SAFETY: the buffer lives across the call and its length is given.
    let sent = unsafe { libc::send(fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut reply = vec![0u8; 32 * 1024];
    // SAFETY: the kernel writes at most the given length; it answers a request before send returns.
    let got =
        unsafe { libc::recv(fd.as_raw_fd(), reply.as_mut_ptr().cast(), reply.len(), libc::MSG_DONTWAIT) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    parse(&reply[..got.min(reply.len())])
}

fn request(index: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + IFINFO_BYTES);
    message.extend(((HEADER_BYTES + IFINFO_BYTES) as u32).to_ne_bytes());
    message.extend(RTM_GETLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]); // sequence, port
    message.extend([0; 4]); // family, padding, type
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]); // flags, change
    message
}

fn parse(reply: &[u8]) -> io::Result<XdpMode> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "rtnetlink: malformed answer");
    let kind = u16_at(reply, 4).ok_or_else(malformed)?;
    if kind == NLMSG_ERROR {
        let code = reply
            .get(HEADER_BYTES..HEADER_BYTES + 4)
            .and_then(|b| b.try_into().ok())
            .ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code).saturating_neg()));
    }
    if kind != RTM_NEWLINK {
        return Err(malformed());
    }
    let attributes = reply.get(HEADER_BYTES + IFINFO_BYTES..).ok_or_else(malformed)?;
    let attached = attribute(attributes, IFLA_XDP).and_then(|xdp| attribute(xdp, IFLA_XDP_ATTACHED));
    match attached.and_then(<[u8]>::first) {
        None | Some(0) => Ok(XdpMode::None),
        Some(1) => Ok(XdpMode::Native),
        Some(2) => Ok(XdpMode::Generic),
        Some(3) => Ok(XdpMode::Offloaded),
        Some(_) => Ok(XdpMode::Several),
    }
}

/// The content of the first attribute of a type.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, kind) = (usize::from(u16_at(rest, 0)?), u16_at(rest, 2)?);
        let content = rest.get(4..len)?;
        if kind & TYPE == wanted {
            return Some(content);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + content.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(attributes: &[u8]) -> Vec<u8> {
        let mut reply = vec![0; HEADER_BYTES + IFINFO_BYTES];
        reply[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        reply.extend(attributes);
        reply
    }

    #[test]
    fn the_mode_is_found_among_other_attributes() {
        for (code, mode) in
            [(0, XdpMode::None), (1, XdpMode::Native), (2, XdpMode::Generic), (4, XdpMode::Several)]
        {
            let nested = [attr(1, &[1, 2, 3, 4]), attr(IFLA_XDP_ATTACHED, &[code])].concat();
            let attributes = [attr(3, b"veth0\0"), attr(IFLA_XDP | 0x8000, &nested)].concat();
            assert_eq!(parse(&link(&attributes)).unwrap(), mode);
        }
        assert_eq!(parse(&link(&attr(3, b"lo\0"))).unwrap(), XdpMode::None);
    }

    #[test]
    fn foreign_bytes_do_not_panic_or_loop() {
        let nested = attr(IFLA_XDP_ATTACHED, &[2]);
        let whole = link(&[attr(3, b"veth0\0"), attr(IFLA_XDP, &nested)].concat());
        for len in 0..whole.len() {
            let _ = parse(&whole[..len]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 255] {
                let mut bent = whole.clone();
                bent[at] = value;
                let _ = parse(&bent);
            }
        }
        let mut error = link(&[]);
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(parse(&error).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn an_absent_interface_is_an_error() {
        assert!(xdp_mode(0x7fff_fff0).is_err());
    }
}
