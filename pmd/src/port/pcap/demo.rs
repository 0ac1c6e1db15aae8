//! The built-in capture `builtin:demo`: made by code, the same at every run.

use super::write::{Format, encode_header, encode_record};

/// 2026-01-01 00:00:00 UTC.
const START_NS: u64 = 1_767_225_600_000_000_000;
/// Frames are recorded this far apart.
const GAP_NS: u64 = 50_000;
const FRAMES: u64 = 64;

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// RFC 5737 (TEST-NET-1).
const CLIENT4: [u8; 4] = [192, 0, 2, 1];
const SERVER4: [u8; 4] = [192, 0, 2, 2];
/// RFC 3849 (2001:db8::/32).
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A pcap file in memory with 64 Ethernet frames: UDP over IPv4 and IPv6, some with a VLAN tag, with text and JSON of
/// 100 to 1000 bytes that compress well, and a few ARP, ICMP echo and TCP frames. Lengths and checksums are right.
#[must_use]
pub fn demo_capture() -> Vec<u8> {
    let mut out = Vec::new();
    encode_header(Format::Pcap, 65_535, &mut out);
    for n in 0..FRAMES {
        let frame = frame(n);
        let (time_ns, len) = (START_NS + n * GAP_NS, frame.len());
        encode_record(Format::Pcap, time_ns, len, &mut out, len, |to| to.extend_from_slice(&frame));
    }
    out
}

/// Frame `n`: of every 16, thirteen are UDP.
fn frame(n: u64) -> Vec<u8> {
    match n % 16 {
        5 => arp(n % 32 == 5),
        10 => {
            let echo = icmp_echo(n as u16, n % 32 == 10);
            ethernet(None, 0x0800, &ipv4(ICMP, &echo))
        }
        15 => {
            let body = text(n, 200);
            ethernet(None, 0x0800, &ipv4(TCP, &transport(TCP, &pseudo4(), n, &body)))
        }
        k => {
            let len = 100 + (n * 229 % 901) as usize;
            let body = if n.is_multiple_of(2) { text(n, len) } else { json(n, len) };
            let vlan = k.is_multiple_of(4).then_some(100 + (n % 3) as u16);
            if k % 3 == 1 {
                ethernet(vlan, 0x86dd, &ipv6(UDP, &transport(UDP, &pseudo6(), n, &body)))
            } else {
                ethernet(vlan, 0x0800, &ipv4(UDP, &transport(UDP, &pseudo4(), n, &body)))
            }
        }
    }
}

/// `len` bytes of log lines.
fn text(n: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 80);
    let mut line = 0;
    while out.len() < len {
        let text = format!(
            "<134>Jan  1 00:00:00 gw{} flow: request {} accepted, {line} in queue\n",
            n % 4,
            n + line
        );
        out.extend_from_slice(text.as_bytes());
        line += 1;
    }
    out.truncate(len);
    out
}

/// A JSON document of exactly `len` bytes (at least 40).
fn json(n: u64, len: usize) -> Vec<u8> {
    let mut out = format!("{{\"sensor\":{n},\"values\":[0").into_bytes();
    let mut value = n * 37;
    while out.len() + 24 < len {
        value = value * 31 % 1_009;
        out.extend_from_slice(format!(",{}.{}", value / 10, value % 10).as_bytes());
    }
    out.extend_from_slice(b"],\"pad\":\"");
    while out.len() + 2 < len {
        out.push(b'.');
    }
    out.extend_from_slice(b"\"}");
    out
}

/// The ones' complement sum of `parts`, which count as one byte string (RFC 1071). All but the last have even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn ethernet(vlan: Option<u16>, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = Vec::with_capacity(18 + payload.len());
    f.extend_from_slice(&SERVER_MAC);
    f.extend_from_slice(&CLIENT_MAC);
    if let Some(id) = vlan {
        f.extend_from_slice(&0x8100u16.to_be_bytes());
        f.extend_from_slice(&id.to_be_bytes());
    }
    f.extend_from_slice(&kind.to_be_bytes());
    f.extend_from_slice(payload);
    f.resize(f.len().max(60), 0); // the shortest Ethernet frame, without its check sequence
    f
}

fn arp(request: bool) -> Vec<u8> {
    let mut a = vec![0, 1, 8, 0, 6, 4, 0, if request { 1 } else { 2 }];
    a.extend_from_slice(&CLIENT_MAC);
    a.extend_from_slice(&CLIENT4);
    a.extend_from_slice(if request { &[0; 6] } else { &SERVER_MAC });
    a.extend_from_slice(&SERVER4);
    let mut f = ethernet(None, 0x0806, &a);
    if request {
        f[..6].fill(0xff);
    }
    f
}

fn icmp_echo(sequence: u16, request: bool) -> Vec<u8> {
    let mut m = vec![if request { 8 } else { 0 }, 0, 0, 0, 0x12, 0x34];
    m.extend_from_slice(&sequence.to_be_bytes());
    m.extend(b"abcdefghijklmnopqrstuvwabcdefghi");
    let sum = checksum(&[&m]);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    m
}

fn pseudo4() -> Vec<u8> {
    [CLIENT4, SERVER4].concat()
}

fn pseudo6() -> Vec<u8> {
    [CLIENT6, SERVER6].concat()
}

/// A UDP datagram or a TCP segment (PSH, ACK) with `body`. `addresses` begin the pseudo-header; the protocol and the
/// length that follow add up the same for IPv4 and IPv6.
fn transport(protocol: u8, addresses: &[u8], n: u64, body: &[u8]) -> Vec<u8> {
    let (from, to) = if protocol == UDP { (40_000 + (n % 16) as u16, 9999u16) } else { (50_000, 5140) };
    let mut t = [from.to_be_bytes(), to.to_be_bytes()].concat();
    let at = if protocol == UDP {
        t.extend_from_slice(&((8 + body.len()) as u16).to_be_bytes());
        t.extend_from_slice(&[0; 2]);
        6
    } else {
        t.extend_from_slice(&(n as u32 * 200).to_be_bytes());
        t.extend_from_slice(&1u32.to_be_bytes());
        t.extend_from_slice(&[0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        16
    };
    t.extend_from_slice(body);
    let tail = [[0, protocol], (t.len() as u16).to_be_bytes()].concat();
    let sum = match checksum(&[addresses, &tail, &t]) {
        0 => 0xffff, // in UDP 0 means "none"; for TCP both are zero
        sum => sum,
    };
    t[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    t
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0];
    p.extend_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
    p.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    p.extend_from_slice(&pseudo4());
    let sum = checksum(&[&p]);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend_from_slice(payload);
    p
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    p.extend_from_slice(&[next, 64]);
    p.extend_from_slice(&pseudo6());
    p.extend_from_slice(payload);
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_what_it_says() {
        let bytes = demo_capture();
        assert_eq!(bytes, demo_capture());
        let capture = super::super::parse(&bytes).unwrap();
        assert_eq!(capture.records.len(), 64);
        let frames: Vec<&[u8]> =
            capture.records.iter().map(|r| &bytes[r.offset..r.offset + r.len as usize]).collect();
        let count = |f: &dyn Fn(&[u8]) -> bool| frames.iter().filter(|x| f(x)).count();
        assert!(frames.iter().all(|f| (60..=1_100).contains(&f.len())));
        assert_eq!(count(&|f| f[12..14] == [8, 6]), 4, "ARP");
        assert!(count(&|f| f[12..14] == [0x81, 0]) >= 8, "VLAN");
        assert!(count(&|f| f[12..14] == [0x86, 0xdd]) >= 8, "IPv6");
        assert_eq!(count(&|f| f[12..14] == [8, 0] && f[23] == ICMP), 4);
        assert_eq!(count(&|f| f[12..14] == [8, 0] && f[23] == TCP), 4);
        assert_eq!(count(&|f| f.windows(2).any(|w| w == b"{\"") && f.ends_with(b"\"}")), 32 - 8);
    }

    #[test]
    fn json_is_as_long_as_asked() {
        for len in 100..=1_000 {
            let j = json(len as u64, len);
            assert_eq!(j.len(), len);
        }
    }
}
