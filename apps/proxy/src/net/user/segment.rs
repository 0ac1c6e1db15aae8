//! What is to be known of a frame before the stack sees it.

use std::net::SocketAddr;

use warpdrive_pipeline::wire;

/// What is to be known of a TCP segment before the stack sees it.
pub struct Segment {
    /// Which connection it belongs to.
    pub tuple: Tuple,
    /// RFC 9293, 3.1.
    pub flags: u8,
}

/// Which connection a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Theirs.
    pub from: SocketAddr,
    /// Ours.
    pub to: SocketAddr,
}

impl Segment {
    /// Of a frame that has one.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let l3 = wire::l3(frame)?;
        let ip = wire::ip(frame, l3.ethertype, l3.at)?;
        if ip.protocol != wire::IP_TCP || ip.fragment || l3.vlan.is_some() {
            return None;
        }
        let port = |at| wire::be16(frame, ip.l4 + at);
        let tuple = Tuple { from: SocketAddr::new(ip.src, port(0)?), to: SocketAddr::new(ip.dst, port(2)?) };
        Some(Self { tuple, flags: *frame.get(ip.l4 + 13)? })
    }
}

/// Whether a frame is about the Ethernet addresses of neighbours: ARP, or a neighbour advertisement (RFC 4861, 4.4).
pub fn tells_of_neighbours(frame: &[u8]) -> bool {
    const ADVERTISEMENT: u8 = 136;
    let Some(l3) = wire::l3(frame) else { return false };
    if l3.ethertype == wire::ETH_ARP {
        return true;
    }
    wire::ip(frame, l3.ethertype, l3.at)
        .is_some_and(|ip| ip.protocol == wire::IP_ICMPV6 && frame.get(ip.l4) == Some(&ADVERTISEMENT))
}
