//! What the kernel knows of a network interface: asked and set by ioctl (netdevice(7)), in the network namespace of the
//! thread that opens the port. For the drivers of kernel interfaces; none of this is on the data path.

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{Link, MacAddr, PortError};

/// A control socket and the interface it is about. It stays in its namespace wherever the thread goes.
pub(crate) struct NetDev {
    socket: OwnedFd,
    name: String,
}

/// `struct in6_ifreq` of linux/ipv6.h.
#[repr(C)]
struct In6Ifreq {
    addr: libc::in6_addr,
    prefix: u32,
    index: libc::c_int,
}

impl NetDev {
    /// For the interface `name`, which need not exist yet.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', '\0']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no interface name: 1 to 15 bytes without a slash"),
            ));
        }
        Ok(Self { socket: socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?, name: name.to_owned() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An ifreq with the name filled in.
    pub(crate) fn request(&self) -> libc::ifreq {
        // SAFETY: a plain C structure, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn call(&self, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every code used in this file reads and writes one ifreq.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, std::ptr::from_mut(request)) })
    }

    pub(crate) fn index(&self) -> io::Result<i32> {
        let mut request = self.request();
        self.call(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: SIOCGIFINDEX sets this member.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    pub(crate) fn mac(&self) -> io::Result<MacAddr> {
        let mut request = self.request();
        self.call(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR sets this member.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Ok(MacAddr(mac))
    }

    pub(crate) fn set_mac(&self, mac: MacAddr) -> io::Result<()> {
        let mut request = self.request();
        // SAFETY: all zeroes is a sockaddr.
        let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
        address.sa_family = libc::ARPHRD_ETHER;
        for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = address;
        self.call(libc::SIOCSIFHWADDR, &mut request)
    }

    pub(crate) fn mtu(&self) -> io::Result<usize> {
        let mut request = self.request();
        self.call(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU sets this member.
        Ok(unsafe { request.ifr_ifru.ifru_mtu }.max(0) as usize)
    }

    pub(crate) fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = libc::c_int::try_from(mtu).map_err(io::Error::other)?;
        self.call(libc::SIOCSIFMTU, &mut request)
    }

    fn flags(&self) -> io::Result<libc::c_int> {
        let mut request = self.request();
        self.call(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS sets this member.
        Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
    }

    pub(crate) fn bring_up(&self) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_flags = (self.flags()? | libc::IFF_UP) as libc::c_short;
        self.call(libc::SIOCSIFFLAGS, &mut request)
    }

    /// Gives the kernel's side an address.
    pub(crate) fn set_address(&self, address: IpAddr, prefix: u8) -> io::Result<()> {
        match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                self.set_v4(libc::SIOCSIFADDR, v4.octets())?;
                self.set_v4(libc::SIOCSIFNETMASK, mask.to_be_bytes())
            }
            IpAddr::V6(v6) => {
                let socket = socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
                let mut request = In6Ifreq {
                    addr: libc::in6_addr { s6_addr: v6.octets() },
                    prefix: u32::from(prefix),
                    index: self.index()?,
                };
                let request = std::ptr::from_mut(&mut request);
                // SAFETY: on an AF_INET6 socket SIOCSIFADDR reads one in6_ifreq.
                check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR as _, request) })
            }
        }
    }

    fn set_v4(&self, code: libc::c_ulong, octets: [u8; 4]) -> io::Result<()> {
        let mut request = self.request();
        // SAFETY: all zeroes is a sockaddr.
        let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
        address.sa_family = libc::AF_INET as libc::sa_family_t;
        // struct sockaddr_in: the address is behind two bytes of port.
        for (to, from) in address.sa_data[2..6].iter_mut().zip(octets) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_addr = address;
        self.call(code, &mut request)
    }

    pub(crate) fn link(&self) -> Link {
        match self.flags() {
            Err(e) => Link::Down(format!("interface {:?}: {e}", self.name)),
            Ok(f) if f & libc::IFF_UP == 0 => {
                Link::Down(format!("interface {:?} is down (ip link set {} up)", self.name, self.name))
            }
            Ok(f) if f & libc::IFF_RUNNING == 0 => {
                Link::Down(format!("interface {:?} has no carrier", self.name))
            }
            Ok(_) => Link::Up,
        }
    }
}

/// A new socket, closed on exec.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; the new descriptor is owned right away.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The error of a system call that returned less than 0.
pub(crate) fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Names of the interfaces of this network namespace.
pub(crate) fn interfaces() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: if_nameindex returns null or an array that ends with a null name; it is freed once, after the last use.
    unsafe {
        let list = libc::if_nameindex();
        let mut at = list;
        while !at.is_null() && !(*at).if_name.is_null() {
            names.push(CStr::from_ptr((*at).if_name).to_string_lossy().into_owned());
            at = at.add(1);
        }
        if !list.is_null() {
            libc::if_freenameindex(list);
        }
    }
    names
}

/// A port error for a failed system call; the remedy for missing rights is the same everywhere.
pub(crate) fn failed(
    port: &str,
    action: String,
    remedy: &str,
) -> impl FnOnce(io::Error) -> PortError + use<> {
    let remedy = remedy.to_owned();
    let port = port.to_owned();
    move |cause| {
        let remedy = match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "run as root, or with CAP_NET_ADMIN and CAP_NET_RAW in this network namespace".to_owned()
            }
            _ => remedy,
        };
        PortError::Os { port, action, cause, remedy }
    }
}
