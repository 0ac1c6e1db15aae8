//! Network interfaces: what AF_XDP and AF_PACKET will find.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::netlink::{self, XdpMode};
use super::{Area, Fact, Fix, Roots, names, read};

/// What only the kernel can say of an interface.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) driver: Option<String>,
    pub(super) tx_checksum: Option<bool>,
    pub(super) xdp: Option<XdpMode>,
}

/// The facts of the interfaces `live`, those of this network namespace. A /sys that was mounted in another namespace
/// shows that one's.
pub(super) fn facts(roots: &Roots, live: &[String], ask: impl Fn(&str, u32) -> Answers) -> Vec<Fact> {
    let fact = |name: &String| {
        interface(roots, name, &ask).unwrap_or_else(|| {
            let why = "driver, queues and MTU are unknown: /sys belongs to another network namespace";
            let fact = Fact::new(Area::Network, name, "not in /sys/class/net", why);
            fact.note_if(true, "mount -t sysfs sysfs /sys   # or enter the namespace with ip netns exec")
        })
    };
    live.iter().map(fact).collect()
}

fn interface(roots: &Roots, name: &str, ask: &impl Fn(&str, u32) -> Answers) -> Option<Fact> {
    let folder = roots.sys.join("class/net").join(name);
    let index = read(&folder.join("ifindex"))?.parse().ok()?;
    let answers = ask(name, index);
    let bound = std::fs::read_link(folder.join("device/driver")).ok();
    let bound = bound.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let driver = bound.or(answers.driver).unwrap_or_else(|| "no driver".to_owned());
    let queues = names(&folder.join("queues"));
    let count = |prefix: &str| queues.iter().filter(|q| q.starts_with(prefix)).count();
    let mtu: Option<u32> = read(&folder.join("mtu")).and_then(|text| text.parse().ok());
    // lo and others without a carrier of their own are "unknown" though they work.
    let state = read(&folder.join("operstate")).unwrap_or_else(|| "unknown".to_owned());
    let mut found = format!(
        "{driver}, {} rx {} tx queues, mtu {}, link {state}",
        count("rx-"),
        count("tx-"),
        mtu.map_or("unknown".to_owned(), |mtu| mtu.to_string())
    );
    match answers.xdp {
        None | Some(XdpMode::None) => {}
        Some(mode) => found.push_str(&format!(", {mode}")),
    }
    if driver == "veth" && answers.tx_checksum == Some(true) {
        found.push_str(", tx checksum offload on");
        let why = "a veth leaves checksums to a device that never comes: AF_XDP peers see wrong ones";
        let fact = Fact::new(Area::Network, name, found, why);
        let fix = Fix::TxChecksumOff { interface: name.to_owned() };
        return Some(fact.note_if(true, format!("ethtool -K {name} tx off")).fixed_by(fix));
    }
    let why = match answers.xdp {
        Some(XdpMode::Generic) => {
            "an XDP program in generic mode runs after the kernel has copied the packet"
        }
        Some(XdpMode::None) | None => {
            "each queue can be polled by one core; AF_XDP sees frames of a page at most"
        }
        Some(_) => "an XDP program is attached: a second one, as that of an AF_XDP port, is refused",
    };
    let fact = Fact::new(Area::Network, name, found, why);
    if answers.xdp.is_some_and(|mode| mode != XdpMode::None) {
        return Some(fact.note_if(true, format!("ip link set dev {name} xdp off   # unless it is wanted")));
    }
    // 4096 less 256 of headroom and 14 of Ethernet header; lo carries no foreign traffic.
    Some(fact.note_if(
        name != "lo" && mtu.is_some_and(|mtu| mtu > 3826),
        format!("ip link set dev {name} mtu 3498"),
    ))
}

/// The interfaces of this network namespace, by index.
pub(super) fn live() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: the array that if_nameindex returns ends with an entry of index 0, its names are NUL-terminated, and
    // all is read before it is freed, once.
    unsafe {
        let array = libc::if_nameindex();
        let mut at = array;
        while !at.is_null() && (*at).if_index != 0 && !(*at).if_name.is_null() {
            names.push(CStr::from_ptr((*at).if_name).to_string_lossy().into_owned());
            at = at.add(1);
        }
        if !array.is_null() {
            libc::if_freenameindex(array);
        }
    }
    names
}

/// Asks by ethtool and netlink; what is not answered stays unknown.
pub(super) fn ask_kernel(name: &str, index: u32) -> Answers {
    Answers {
        driver: driver(name).ok().flatten(),
        tx_checksum: ethtool_value(name, ETHTOOL_GTXCSUM, 0).ok().map(|on| on != 0),
        xdp: netlink::xdp_mode(index).ok(),
    }
}

/// Switches the transmit checksum offload off.
pub(super) fn tx_checksum_off(name: &str) -> io::Result<()> {
    ethtool_value(name, ETHTOOL_STXCSUM, 0)?;
    match ethtool_value(name, ETHTOOL_GTXCSUM, 0)? {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("{name} keeps its tx checksum offload on"))),
    }
}

// include/uapi/linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const SIOCETHTOOL: libc::Ioctl = 0x8946; // include/uapi/linux/sockios.h
/// `struct ethtool_drvinfo`: the command, then the driver's name of 32 bytes and more.
const DRVINFO_BYTES: usize = 196;

fn driver(name: &str) -> io::Result<Option<String>> {
    let mut info = [0u32; DRVINFO_BYTES / 4];
    info[0] = ETHTOOL_GDRVINFO;
    // SAFETY: the buffer has the size of the structure that ETHTOOL_GDRVINFO writes.
    unsafe { ethtool(name, &mut info) }?;
    let text: Vec<u8> =
        info[1..9].iter().flat_map(|word| word.to_ne_bytes()).take_while(|&b| b != 0).collect();
    Ok(String::from_utf8(text).ok().filter(|text| !text.is_empty()))
}

/// Gets or sets a `struct ethtool_value`.
fn ethtool_value(name: &str, command: u32, value: u32) -> io::Result<u32> {
    let mut data = [command, value];
    // SAFETY: the buffer is a struct ethtool_value, which both of the commands used take.
    unsafe { ethtool(name, &mut data) }?;
    Ok(data[1])
}

/// # Safety
/// `data` begins with an ethtool command and is as long as the structure of that command.
unsafe fn ethtool(name: &str, data: &mut [u32]) -> io::Result<()> {
    // SAFETY: all-zero bits are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("interface name {name:?} is too long"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
    // SAFETY: no memory is passed; the new descriptor is owned at once.
    let fd = unsafe {
        let raw = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(raw)
    };
    // SAFETY: the request and, by the caller's promise, the buffer it points to are what the ioctl expects.
    if unsafe { libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{named, tree};
    use super::*;

    fn of(name: &str, mtu: &str) -> Vec<(String, String)> {
        let at = |file: &str| format!("sys/class/net/{name}/{file}");
        vec![
            (at("ifindex"), "7\n".to_owned()),
            (at("mtu"), format!("{mtu}\n")),
            (at("operstate"), "up\n".to_owned()),
            (at("queues/rx-0/rps_cpus"), "0".to_owned()),
            (at("queues/tx-0/xps_cpus"), "0".to_owned()),
            (at("queues/tx-1/xps_cpus"), "0".to_owned()),
        ]
    }

    fn facts_of(interfaces: &[(&str, &str)], ask: impl Fn(&str, u32) -> Answers) -> Vec<Fact> {
        let files: Vec<_> = interfaces.iter().flat_map(|(name, mtu)| of(name, mtu)).collect();
        let files: Vec<_> = files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
        let (_dir, roots) = tree(&files);
        let live: Vec<_> = interfaces.iter().map(|(name, _)| (*name).to_owned()).collect();
        facts(&roots, &live, ask)
    }

    #[test]
    fn interfaces_are_listed_with_what_was_found() {
        let facts = facts_of(&[("eth0", "1500"), ("lo", "65536"), ("big", "9000")], |_, index| {
            assert_eq!(index, 7);
            Answers { driver: Some("virtio_net".to_owned()), ..Answers::default() }
        });
        assert_eq!(facts.len(), 3);
        assert_eq!(named(&facts, "eth0").found, "virtio_net, 1 rx 2 tx queues, mtu 1500, link up");
        assert_eq!(named(&facts, "lo").verdict, Verdict::Good);
        assert_eq!(named(&facts, "big").verdict, Verdict::Note);
    }

    #[test]
    fn a_veth_with_checksum_offload_is_mended() {
        let veth = |on| Answers { driver: Some("veth".to_owned()), tx_checksum: Some(on), xdp: None };
        let facts = facts_of(&[("v0", "1500")], |_, _| veth(true));
        assert_eq!(facts[0].remedy.as_deref(), Some("ethtool -K v0 tx off"));
        assert_eq!(facts[0].fix, Some(Fix::TxChecksumOff { interface: "v0".to_owned() }));
        assert_eq!(facts_of(&[("v0", "1500")], |_, _| veth(false))[0].verdict, Verdict::Good);
    }

    #[test]
    fn an_attached_program_is_named_by_mode() {
        let xdp = |mode| move |_: &str, _| Answers { xdp: Some(mode), ..Answers::default() };
        let facts = facts_of(&[("e", "1500")], xdp(XdpMode::Generic));
        assert!(facts[0].found.ends_with("xdp generic"), "{facts:?}");
        assert_eq!(facts[0].remedy.as_deref(), Some("ip link set dev e xdp off   # unless it is wanted"));
        assert_eq!(facts_of(&[("e", "1500")], xdp(XdpMode::None))[0].verdict, Verdict::Good);
    }

    #[test]
    fn the_sys_of_another_namespace_is_noticed() {
        let files = of("eth0", "1500");
        let files: Vec<_> = files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
        let (_dir, roots) = tree(&files);
        let facts = facts(&roots, &["v0".to_owned()], |_, _| Answers::default());
        assert_eq!(facts.len(), 1);
        assert_eq!((facts[0].name.as_str(), facts[0].verdict), ("v0", Verdict::Note));
        assert!(live().contains(&"lo".to_owned()));
    }

    #[test]
    fn the_loopback_of_this_machine_answers() {
        let answers = ask_kernel("lo", 1);
        assert_eq!(answers.xdp, Some(XdpMode::None));
        assert!(ethtool_value("a-name-that-is-far-too-long", ETHTOOL_GTXCSUM, 0).is_err());
        assert!(ethtool_value("absent", ETHTOOL_GTXCSUM, 0).is_err());
    }
}
