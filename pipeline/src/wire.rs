//! What the stages need to know of packets: where a UDP payload is, which flow a packet belongs to, and the
//! arithmetic of lengths and checksums.
//!
//! Sources: Ethernet II and 802.1Q, RFC 791 (IPv4), RFC 8200 (IPv6), RFC 768 (UDP), RFC 1071 (checksum).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// EtherType of IPv4.
pub const ETH_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETH_IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const ETH_ARP: u16 = 0x0806;
const ETH_VLAN: [u16; 2] = [0x8100, 0x88a8];
/// IP protocol number of ICMP.
pub const IP_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const IP_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const IP_UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const IP_ICMPV6: u8 = 58;

/// Length of an Ethernet header without tags.
pub const ETH_LEN: usize = 14;
const UDP_LEN: usize = 8;
const IPV6_LEN: usize = 40;
/// Shorter frames are padded with zeroes on the wire (64 bytes with the check sequence).
pub const MIN_FRAME: usize = 60;

/// Reads a big-endian u16. `None` beyond the end.
#[must_use]
#[inline]
pub fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn put16(b: &mut [u8], at: usize, v: u16) {
    if let Some(place) = b.get_mut(at..at + 2) {
        place.copy_from_slice(&v.to_be_bytes());
    }
}

/// The network header of a frame: behind the Ethernet header and up to two VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L3 {
    /// EtherType behind the tags.
    pub ethertype: u16,
    /// VLAN identifier of the outer tag.
    pub vlan: Option<u16>,
    /// Offset of the network header.
    pub at: usize,
}

/// Finds the network header. `None` when the frame is too short.
#[must_use]
#[inline]
pub fn l3(frame: &[u8]) -> Option<L3> {
    let mut ethertype = be16(frame, 12)?;
    let mut at = ETH_LEN;
    let mut vlan = None;
    for _ in 0..2 {
        if !ETH_VLAN.contains(&ethertype) {
            break;
        }
        let tag = be16(frame, at)?;
        vlan = vlan.or(Some(tag & 0x0fff));
        ethertype = be16(frame, at + 2)?;
        at += 4;
    }
    Some(L3 { ethertype, vlan, at })
}

/// An IP header and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of what follows (IPv6 extension headers are not skipped: they are the protocol then).
    pub protocol: u8,
    /// Offset of the transport header.
    pub l4: usize,
    /// Offset of the end of the IP packet: link padding lies behind.
    pub end: usize,
    /// Whether this is a fragment: only the first has a transport header, and none has the whole of it.
    pub fragment: bool,
}

/// Reads the IP header at `at`. `None` when it is malformed, cut off, or not IP.
#[must_use]
#[inline]
pub fn ip(frame: &[u8], ethertype: u16, at: usize) -> Option<Ip> {
    match ethertype {
        ETH_IPV4 => {
            let h = frame.get(at..at + 20)?;
            let header_len = usize::from(h[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
            if h[0] >> 4 != 4 || header_len < 20 || total < header_len || frame.len() < at + total {
                return None;
            }
            let address = |i: usize| IpAddr::V4(Ipv4Addr::new(h[i], h[i + 1], h[i + 2], h[i + 3]));
            Some(Ip {
                src: address(12),
                dst: address(16),
                protocol: h[9],
                l4: at + header_len,
                end: at + total,
                // More-fragments flag or a non-zero offset.
                fragment: u16::from_be_bytes([h[6], h[7]]) & 0x3fff != 0,
            })
        }
        ETH_IPV6 => {
            let h = frame.get(at..at + IPV6_LEN)?;
            let end = at + IPV6_LEN + usize::from(u16::from_be_bytes([h[4], h[5]]));
            if h[0] >> 4 != 6 || frame.len() < end {
                return None;
            }
            let address = |i: usize| {
                let octets: [u8; 16] = h[i..i + 16].try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            };
            Some(Ip {
                src: address(8)?,
                dst: address(24)?,
                protocol: h[6],
                l4: at + IPV6_LEN,
                end,
                fragment: false,
            })
        }
        _ => None,
    }
}

/// Where the parts of a UDP datagram are, in a frame that holds all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the UDP header.
    pub l4: u16,
    /// End of the UDP payload. Its start is `l4 + 8`.
    pub end: u16,
    /// Whether the IP header is that of IPv6.
    pub v6: bool,
}

/// Why a frame has no UDP payload to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotUdp {
    /// Another protocol.
    Other,
    /// Part of a datagram only.
    Fragment,
    /// Lengths that contradict each other.
    Malformed,
}

impl Udp {
    /// Finds the UDP datagram of a frame.
    ///
    /// # Errors
    /// [`NotUdp`] when there is none that could be changed and mended.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, NotUdp> {
        let l3 = l3(frame).ok_or(NotUdp::Malformed)?;
        if l3.ethertype != ETH_IPV4 && l3.ethertype != ETH_IPV6 {
            return Err(NotUdp::Other);
        }
        let ip = ip(frame, l3.ethertype, l3.at).ok_or(NotUdp::Malformed)?;
        if ip.protocol != IP_UDP {
            return Err(NotUdp::Other);
        }
        if ip.fragment {
            return Err(NotUdp::Fragment);
        }
        let udp_len = usize::from(be16(frame, ip.l4 + 4).ok_or(NotUdp::Malformed)?);
        // The datagram must fill the IP packet: bytes between would be lost when lengths are mended.
        if udp_len < UDP_LEN || ip.l4 + udp_len != ip.end {
            return Err(NotUdp::Malformed);
        }
        let (Ok(at), Ok(l4), Ok(end)) = (u16::try_from(l3.at), u16::try_from(ip.l4), u16::try_from(ip.end))
        else {
            return Err(NotUdp::Malformed);
        };
        Ok(Self { l3: at, l4, end, v6: l3.ethertype == ETH_IPV6 })
    }

    /// The payload's place in the frame.
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        usize::from(self.l4) + UDP_LEN..usize::from(self.end)
    }

    /// Length of all headers in front of the payload.
    #[must_use]
    pub fn headers(&self) -> usize {
        usize::from(self.l4) + UDP_LEN
    }

    /// Length of the IP packet if the payload had `payload` bytes: what the MTU limits.
    #[must_use]
    pub fn ip_len(&self, payload: usize) -> usize {
        usize::from(self.l4 - self.l3) + UDP_LEN + payload
    }

    /// Writes lengths and checksums for a payload of `payload` bytes, which is in the frame already. A UDP checksum of
    /// zero (none, RFC 768) stays zero over IPv4.
    pub fn mend(&self, frame: &mut [u8], payload: usize) {
        let (l3, l4) = (usize::from(self.l3), usize::from(self.l4));
        let udp_len = UDP_LEN + payload;
        let end = l4 + udp_len;
        if frame.len() < end || udp_len > usize::from(u16::MAX) {
            return;
        }
        put16(frame, l4 + 4, udp_len as u16);
        let addresses = if self.v6 {
            put16(frame, l3 + 4, (l4 - l3 - IPV6_LEN + udp_len) as u16);
            l3 + 8..l3 + 40
        } else {
            put16(frame, l3 + 2, (l4 - l3 + udp_len) as u16);
            put16(frame, l3 + 10, 0);
            let sum = finish(sum(0, &frame[l3..l4]));
            put16(frame, l3 + 10, sum);
            l3 + 12..l3 + 20
        };
        if be16(frame, l4 + 6) == Some(0) && !self.v6 {
            return;
        }
        put16(frame, l4 + 6, 0);
        let pseudo = sum(u64::from(IP_UDP) + udp_len as u64, &frame[addresses]);
        let checksum = match finish(sum(pseudo, &frame[l4..end])) {
            0 => 0xffff, // zero would mean "no checksum"
            c => c,
        };
        put16(frame, l4 + 6, checksum);
    }

    /// These places as one number, to travel with a request.
    #[must_use]
    pub fn pack(&self) -> u64 {
        u64::from(self.l3) | u64::from(self.l4) << 16 | u64::from(self.end) << 32 | u64::from(self.v6) << 48
    }

    /// The reverse of [`pack`](Self::pack).
    #[must_use]
    pub fn unpack(n: u64) -> Self {
        Self { l3: n as u16, l4: (n >> 16) as u16, end: (n >> 32) as u16, v6: n >> 48 & 1 == 1 }
    }
}

/// Adds 16-bit big-endian words to a running sum (RFC 1071). An odd last byte counts as the high half of a word, so
/// only the last piece of a message may be odd.
#[must_use]
#[inline]
pub fn sum(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    // 32-bit words fold to the same sum as 16-bit ones, and 2^32 of them fit a u64.
    let mut total = start + words.iter().map(|w| u64::from(u32::from_be_bytes(*w))).sum::<u64>();
    for pair in rest.chunks(2) {
        total += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    total
}

/// Folds a running sum to the checksum field's value.
#[must_use]
#[inline]
pub fn finish(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// What identifies a flow, as far as a packet shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// EtherType behind VLAN tags.
    pub ethertype: u16,
    /// Outer VLAN identifier.
    pub vlan: Option<u16>,
    /// The IP header, if there is a sound one.
    pub ip: Option<Ip>,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// Reads what is there; a malformed packet just shows less.
    #[must_use]
    #[inline]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let l3 = l3(frame)?;
        let ip = ip(frame, l3.ethertype, l3.at);
        let ports = ip
            .filter(|ip| !ip.fragment && (ip.protocol == IP_UDP || ip.protocol == IP_TCP))
            .and_then(|ip| Some((be16(frame, ip.l4)?, be16(frame, ip.l4 + 2)?)));
        Some(Self { ethertype: l3.ethertype, vlan: l3.vlan, ip, ports })
    }

    /// A hash that is the same for both directions of a flow. Fragments of one flow share a hash among themselves.
    #[must_use]
    pub fn symmetric_hash(&self) -> u32 {
        let Some(ip) = self.ip else {
            return u32::from(self.ethertype);
        };
        let fold = |a: IpAddr| match a {
            IpAddr::V4(a) => u64::from(u32::from(a)),
            IpAddr::V6(a) => {
                let n = u128::from(a);
                (n >> 64) as u64 ^ n as u64
            }
        };
        let (a, b) = (fold(ip.src), fold(ip.dst));
        let (p, q) = self.ports.unwrap_or((0, 0));
        // Sums and differences of the sorted pair do not depend on the direction.
        let key = a.wrapping_add(b)
            ^ a.abs_diff(b).rotate_left(23)
            ^ (u64::from(p) + u64::from(q)) << 32
            ^ u64::from(p.abs_diff(q)) << 8
            ^ u64::from(ip.protocol);
        // Finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
        let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as u32
    }
}

#[cfg(test)]
mod tests;
