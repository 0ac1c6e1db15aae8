//! Captures of the tests: written, read and compared without the program's own reader and writer.

use std::path::Path;

/// Writes frames as a little-endian pcap file with microseconds, one a millisecond.
pub fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (i, frame) in frames.iter().enumerate() {
        let i = i as u32;
        for word in [1_700_000_000 + i / 1000, i % 1000 * 1000, frame.len() as u32, frame.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    std::fs::write(path, file).expect("write a capture");
}

/// The frames of a little-endian pcap file.
#[track_caller]
pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    assert!([0xa1b2_c3d4, 0xa1b2_3c4d].contains(&word(0)), "magic of {}", path.display());
    assert_eq!(word(20), 1, "Ethernet");
    let (mut at, mut frames) = (24, Vec::new());
    while at < file.len() {
        let len = word(at + 8) as usize;
        assert_eq!(word(at + 12) as usize, len, "nothing was cut");
        frames.push(file[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    assert_eq!(at, file.len());
    frames
}

/// The ones' complement sum of bytes (RFC 1071): 0xffff over data with a right checksum in it.
pub fn ones_sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The first Ethernet address of the tests, the sender.
pub const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The second.
pub const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&SERVER[..], &CLIENT, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An IPv4 packet in an Ethernet frame.
pub fn ipv4(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut header =
        [&[0x45, 0][..], &len.to_be_bytes(), &[0, 0, 0x40, 0, 64, protocol, 0, 0], &src, &dst].concat();
    let sum = !ones_sum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(0x0800, &[&header, payload].concat())
}

/// A UDP datagram over IPv4.
pub fn udp(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16, body: &[u8]) -> Vec<u8> {
    let len = (8 + body.len()) as u16;
    let mut datagram =
        [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &len.to_be_bytes(), &[0, 0], body].concat();
    let sum = match !ones_sum(&[&src, &dst, &[0, 17], &len.to_be_bytes(), &datagram]) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ipv4(17, src, dst, &datagram)
}

/// An ICMP echo request over IPv4.
pub fn ping(src: [u8; 4], dst: [u8; 4], sequence: u16, body: &[u8]) -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0, 0x12, 0x34][..], &sequence.to_be_bytes(), body].concat();
    let sum = !ones_sum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(1, src, dst, &message)
}

/// An ARP request to everybody: who has `wanted`?
pub fn arp_request(from: [u8; 4], wanted: [u8; 4]) -> Vec<u8> {
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &CLIENT, &from, &[0; 6], &wanted].concat();
    let mut frame = ethernet(0x0806, &arp);
    frame[..6].fill(0xff);
    frame
}

/// Where the UDP payload of a frame is; `None` for other frames. IPv4 and IPv6, with or without a VLAN tag.
pub fn udp_payload(frame: &[u8]) -> Option<std::ops::Range<usize>> {
    let word = |at: usize| usize::from(frame[at]) << 8 | usize::from(frame[at + 1]);
    let l3 = if word(12) == 0x8100 { 18 } else { 14 };
    let udp = match word(l3 - 2) {
        0x0800 if frame[l3 + 9] == 17 => l3 + 20,
        0x86dd if frame[l3 + 6] == 17 => l3 + 40,
        _ => return None,
    };
    Some(udp + 8..udp + word(udp + 4))
}

/// Whether lengths and checksums of a UDP frame agree.
pub fn udp_is_right(frame: &[u8]) -> bool {
    let Some(payload) = udp_payload(frame) else { return false };
    let udp = &frame[payload.start - 8..payload.end];
    let len = (udp.len() as u16).to_be_bytes();
    let l3 = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let v4 = frame[l3] >> 4 == 4;
    let addresses = if v4 { &frame[l3 + 12..l3 + 20] } else { &frame[l3 + 8..l3 + 40] };
    (!v4 || ones_sum(&[&frame[l3..l3 + 20]]) == 0xffff)
        && ones_sum(&[addresses, &[0, 17], &len, udp]) == 0xffff
}
