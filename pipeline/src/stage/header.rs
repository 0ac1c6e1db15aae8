//! The 8-byte header in front of a payload that was signed or compressed, so that the far end knows.
//!
//! ```text
//!  0       2         3         4         5         6         8
//! +-------+---------+---------+---------+---------+---------+----------------
//! | "WD"  | kind    | algo    | flags   | 0       | length  | payload …
//! +-------+---------+---------+---------+---------+---------+----------------
//! ```
//! `kind` is 1 (signed: payload, then `length` bytes of signature) or 2 (compressed: `length` is that of the original
//! payload). `algo` is the scheme or format, 0 a payload that is stored as it was. Bit 0 of `flags` says that the
//! original frame was padded with zeroes to 60 bytes, the shortest Ethernet frame. All numbers are big-endian.

use warpdrive_mempool::Packet;

use crate::wire::{MIN_FRAME, NotUdp, Udp};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;
const MAGIC: [u8; 2] = *b"WD";
const PADDED: u8 = 1;

/// What was done to a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signature follows the payload.
    Signed = 1,
    /// The payload is a DEFLATE stream, or stored.
    Compressed = 2,
}

/// The header's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was done.
    pub kind: Kind,
    /// How: the number of the scheme or format; 0: stored.
    pub algorithm: u8,
    /// Whether the original frame was padded to the shortest length.
    pub padded: bool,
    /// Signature length, or length of the original payload.
    pub length: u16,
}

impl Header {
    /// Reads a header at the start of a payload. `None` when there is none.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let h: &[u8; HEADER_LEN] = payload.first_chunk()?;
        if h[..2] != MAGIC || h[4] & !PADDED != 0 || h[5] != 0 {
            return None;
        }
        let kind = match h[2] {
            1 => Kind::Signed,
            2 => Kind::Compressed,
            _ => return None,
        };
        Some(Self {
            kind,
            algorithm: h[3],
            padded: h[4] & PADDED != 0,
            length: u16::from_be_bytes([h[6], h[7]]),
        })
    }

    /// The header as bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let [hi, lo] = self.length.to_be_bytes();
        [MAGIC[0], MAGIC[1], self.kind as u8, self.algorithm, u8::from(self.padded), 0, hi, lo]
    }
}

/// Finds the UDP payload of a packet and cuts link padding off. Returns whether there was padding.
///
/// # Errors
/// Why the packet has no payload to work on. A frame with other bytes behind the IP packet than the padding of a
/// shortest frame is [`NotUdp::Malformed`]: they could not be restored.
pub fn locate(packet: &mut Packet) -> Result<(Udp, bool), NotUdp> {
    let udp = Udp::parse(packet.data())?;
    let (end, len) = (usize::from(udp.end), packet.len());
    if end == len {
        return Ok((udp, false));
    }
    let is_padding = len == MIN_FRAME && packet.data()[end..].iter().all(|b| *b == 0);
    if !is_padding || packet.trim_back(len - end).is_err() {
        return Err(NotUdp::Malformed);
    }
    Ok((udp, true))
}

/// Opens a gap of [`HEADER_LEN`] bytes between the packet's headers and its payload, and writes `header` there.
/// Returns false, with nothing changed, when the packet has no headroom for it.
#[must_use]
pub fn insert(packet: &mut Packet, udp: &Udp, header: Header) -> bool {
    if packet.prepend(HEADER_LEN).is_err() {
        return false;
    }
    let headers = udp.headers();
    let data = packet.data_mut();
    data.copy_within(HEADER_LEN..HEADER_LEN + headers, 0);
    data[headers..headers + HEADER_LEN].copy_from_slice(&header.bytes());
    true
}

/// Takes the header behind the packet's own headers out again.
pub fn remove(packet: &mut Packet, udp: &Udp) {
    let headers = udp.headers();
    packet.data_mut().copy_within(0..headers, HEADER_LEN);
    // Cannot fail: the packet has its headers and ours.
    let _ = packet.trim_front(HEADER_LEN);
}

/// Restores the padding of a shortest frame.
pub fn pad(packet: &mut Packet) {
    if let Some(missing) = MIN_FRAME.checked_sub(packet.len())
        && let Ok(tail) = packet.append(missing)
    {
        tail.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_nothing_else_is_one() {
        for kind in [Kind::Signed, Kind::Compressed] {
            for padded in [false, true] {
                let h = Header { kind, algorithm: 3, padded, length: 0x1234 };
                assert_eq!(Header::read(&h.bytes()), Some(h));
            }
        }
        let good = Header { kind: Kind::Signed, algorithm: 3, padded: false, length: 1 }.bytes();
        assert_eq!(Header::read(&good[..7]), None);
        for (at, wrong) in [(0, b'X'), (2, 3), (4, 2), (5, 1)] {
            let mut bad = good;
            bad[at] = wrong;
            assert_eq!(Header::read(&bad), None);
        }
    }
}
