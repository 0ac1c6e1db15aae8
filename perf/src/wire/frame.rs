//! The frames of the generator. A sequence number is in the source address, which no stage changes but those that send a
//! frame back: they move it to the destination address.

/// Two bytes of an Ethernet address (locally administered) before the sequence number: this is a frame of ours.
const MARK: [u8; 2] = [0x02, 0x57];
/// Where addresses are in a frame.
const DESTINATION: usize = 0;
const SOURCE: usize = 6;
/// The least a frame needs: Ethernet, IPv4 and UDP or ICMP headers, and Ethernet's padding.
pub const SHORTEST: usize = 60;
/// The address frames are sent to. Nobody has it, so that a kernel's stack has nothing to do with them.
const TO: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// What frames are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// UDP from 192.0.2.1:9 to 192.0.2.2:9 (addresses of RFC 5737, the discard port).
    #[default]
    Udp,
    /// ICMP echo requests from 192.0.2.1 to 192.0.2.2, for what answers them.
    Ping,
}

/// A frame of `size` bytes (without the frame check sequence, at least [`SHORTEST`]) with right lengths and checksums.
#[must_use]
pub fn template(kind: Kind, size: usize) -> Box<[u8]> {
    let size = size.max(SHORTEST);
    let mut frame = vec![0; size];
    let length = (size - ETHERNET) as u16;
    frame[..6].copy_from_slice(&TO);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip = &mut frame[ETHERNET..];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    ip[8] = 64;
    ip[9] = if kind == Kind::Udp { 17 } else { 1 };
    ip[12..16].copy_from_slice(&[192, 0, 2, 1]);
    ip[16..20].copy_from_slice(&[192, 0, 2, 2]);
    let sum = checksum(&ip[..IPV4]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let payload = &mut ip[IPV4..];
    for (i, byte) in payload.iter_mut().enumerate().skip(8) {
        *byte = i as u8;
    }
    match kind {
        Kind::Udp => {
            payload[..4].copy_from_slice(&[0, 9, 0, 9]);
            payload[4..6].copy_from_slice(&(length - IPV4 as u16).to_be_bytes());
            // A checksum of 0 is none (RFC 768).
        }
        Kind::Ping => {
            payload[0] = 8;
            let sum = checksum(payload);
            payload[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    }
    set_sequence(&mut frame, 0);
    frame.into()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

/// Writes a sequence number into a frame of at least [`SHORTEST`] bytes.
#[inline]
pub fn set_sequence(frame: &mut [u8], sequence: u32) {
    let source = &mut frame[SOURCE..SOURCE + 6];
    source[..2].copy_from_slice(&MARK);
    source[2..].copy_from_slice(&sequence.to_be_bytes());
}

/// The sequence number of a frame, in whichever address it is. `None` if the frame is not ours.
#[must_use]
#[inline]
pub fn sequence(frame: &[u8]) -> Option<u32> {
    let at = |start: usize| match frame.get(start..start + 6)? {
        [a, b, number @ ..] if [*a, *b] == MARK => Some(u32::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    };
    at(SOURCE).or_else(|| at(DESTINATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_either_address() {
        let mut frame = template(Kind::Udp, 64);
        set_sequence(&mut frame, 0xdead_beef);
        assert_eq!(sequence(&frame), Some(0xdead_beef));
        let (to, from) = frame.split_at_mut(6);
        to.swap_with_slice(&mut from[..6]);
        assert_eq!(sequence(&frame), Some(0xdead_beef));
    }

    #[test]
    fn frames_of_others_and_pieces_of_frames_have_none() {
        assert_eq!(sequence(&[0xff; 64]), None);
        let frame = template(Kind::Udp, 64);
        assert_eq!(sequence(&frame[..11]), None);
        assert_eq!(sequence(&[]), None);
    }

    #[test]
    fn lengths_and_checksums_are_right() {
        for (kind, protocol) in [(Kind::Udp, 17), (Kind::Ping, 1)] {
            for size in [60, 64, 65, 1514] {
                let frame = template(kind, size);
                let ip = &frame[14..];
                assert_eq!((frame.len(), ip[9]), (size, protocol));
                assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), size - 14);
                assert_eq!(checksum(&ip[..20]), 0, "a sum over a right checksum is 0");
                match kind {
                    Kind::Udp => {
                        assert_eq!(usize::from(u16::from_be_bytes([ip[24], ip[25]])), size - 34);
                    }
                    Kind::Ping => assert_eq!(checksum(&ip[20..]), 0),
                }
            }
        }
    }
}
