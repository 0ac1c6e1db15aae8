//! Transport checksums that the sending kernel left for the "hardware" (CHECKSUM_PARTIAL): over veth nobody fills them
//! in, so the receiver must, or the packet is useless to anybody else.

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Fills in the TCP or UDP checksum of an Ethernet frame (with up to two VLAN tags) with IPv4 or IPv6. Leaves anything
/// else, fragments, and packets that are not whole alone. Says whether it did.
pub(super) fn complete(frame: &mut [u8]) -> bool {
    try_complete(frame).is_some()
}

fn word(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*b.get(at)?, *b.get(at + 1)?]))
}

fn try_complete(frame: &mut [u8]) -> Option<()> {
    let mut at = 12;
    while matches!(word(frame, at)?, 0x8100 | 0x88a8) && at < 20 {
        at += 4;
    }
    let kind = word(frame, at)?;
    let ip = frame.get_mut(at + 2..)?;
    let (start, end, protocol, addresses) = match kind {
        0x0800 => {
            let header = usize::from(*ip.first()? & 0xf) * 4;
            let total = usize::from(word(ip, 2)?);
            // More fragments, or not the first: the checksum is over all of them.
            if word(ip, 6)? & 0x3fff != 0 || header < 20 {
                return None;
            }
            (header, total, *ip.get(9)?, 12..20)
        }
        0x86dd => (40, 40 + usize::from(word(ip, 4)?), *ip.get(6)?, 8..40),
        _ => return None,
    };
    let place = start
        + match protocol {
            TCP => 16,
            UDP => 6,
            _ => return None,
        };
    if start > end || end > ip.len() || place + 2 > end {
        return None;
    }
    ip[place..place + 2].fill(0);
    let sum = sum(&ip[addresses]) + sum(&ip[start..end]) + u64::from(protocol) + (end - start) as u64;
    let folded = match !fold(sum) {
        0 if protocol == UDP => 0xffff, // 0 would mean "none" (RFC 768)
        sum => sum,
    };
    ip[place..place + 2].copy_from_slice(&folded.to_be_bytes());
    Some(())
}

/// The sum of big-endian 16-bit words (RFC 1071), not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let mut sum = 0u64;
    for c in &mut chunks {
        // 2^16 = 1 modulo 2^16 - 1, so four bytes count as two words.
        sum += u64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]]));
    }
    let rest = chunks.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::pcap::{demo_capture, parse};

    /// The demo has right checksums, made by other code: destroyed, they must come back.
    #[test]
    fn right_checksums_come_back() {
        let bytes = demo_capture();
        let mut done = 0;
        for record in parse(&bytes).unwrap().records {
            let good = &bytes[record.offset..record.offset + record.len as usize];
            let mut frame = good.to_vec();
            let l3 = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
            let (l4, protocol) = match good[l3 - 2..l3] {
                [8, 0] => (l3 + 20, good[l3 + 9]),
                [0x86, 0xdd] => (l3 + 40, good[l3 + 6]),
                _ => (0, 0),
            };
            let at = match protocol {
                TCP => l4 + 16,
                UDP => l4 + 6,
                _ => {
                    assert!(!complete(&mut frame));
                    assert_eq!(frame, good);
                    continue;
                }
            };
            frame[at..at + 2].copy_from_slice(&[0xab, 0xcd]);
            assert!(complete(&mut frame));
            assert_eq!(frame, good);
            done += 1;
        }
        assert!(done > 50);
    }

    #[test]
    fn damaged_packets_are_left_alone_and_never_a_panic() {
        let bytes = demo_capture();
        for record in parse(&bytes).unwrap().records.iter().take(16) {
            let good = &bytes[record.offset..record.offset + record.len as usize];
            for end in 0..good.len().min(100) {
                let _ = complete(&mut good[..end].to_vec());
            }
            for at in 12..60 {
                for value in [0, 0x40, 0x4f, 0xff] {
                    let mut frame = good.to_vec();
                    frame[at] = value;
                    let _ = complete(&mut frame);
                }
            }
        }
    }
}
