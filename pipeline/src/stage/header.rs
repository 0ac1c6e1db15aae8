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
//!
//! Kind 3 is a packet of a flow that is compressed as one DEFLATE stream, each packet up to a sync flush. It has the
//! packet's number in the flow, modulo 256, in place of the 0, bit 1 of `flags` set if the stream begins here, and four more
//! bytes: CRC-32 of all original payloads of the stream up to this one. So a receiver knows what it missed, and where it
//! can begin again.

use warpdrive_mempool::Packet;

use crate::wire::{MIN_FRAME, NotUdp, Udp};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;
const MAGIC: [u8; 2] = *b"WD";
const PADDED: u8 = 1;
const FRESH: u8 = 2;

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

/// Length of the header of a packet that belongs to a compressed flow, in bytes.
pub const STREAMED_LEN: usize = 12;
const STREAMED: u8 = 3;
/// The only format of flows: raw DEFLATE.
const STREAMED_DEFLATE: u8 = 1;

/// The header of a packet that belongs to a compressed flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// Whether the original frame was padded to the shortest length.
    pub padded: bool,
    /// Whether the stream begins with this packet.
    pub fresh: bool,
    /// The packet's number in its flow.
    pub sequence: u8,
    /// Length of the original payload.
    pub length: u16,
    /// CRC-32 of the stream's original payloads, this one included.
    pub crc: u32,
}

impl Streamed {
    /// Reads such a header at the start of a payload. `None` when there is none.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let h: &[u8; STREAMED_LEN] = payload.first_chunk()?;
        let [w, d, kind, algorithm, flags, sequence, hi, lo, c3, c2, c1, c0] = *h;
        if [w, d] != MAGIC
            || kind != STREAMED
            || algorithm != STREAMED_DEFLATE
            || flags & !(PADDED | FRESH) != 0
        {
            return None;
        }
        Some(Self {
            padded: flags & PADDED != 0,
            fresh: flags & FRESH != 0,
            sequence,
            length: u16::from_be_bytes([hi, lo]),
            crc: u32::from_be_bytes([c3, c2, c1, c0]),
        })
    }

    /// The header as bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; STREAMED_LEN] {
        let [hi, lo] = self.length.to_be_bytes();
        let [c3, c2, c1, c0] = self.crc.to_be_bytes();
        let flags = if self.padded { PADDED } else { 0 } | if self.fresh { FRESH } else { 0 };
        [MAGIC[0], MAGIC[1], STREAMED, STREAMED_DEFLATE, flags, self.sequence, hi, lo, c3, c2, c1, c0]
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
        for (padded, fresh) in [(false, false), (false, true), (true, false), (true, true)] {
            let h = Streamed { padded, fresh, sequence: 0x56, length: 0x1234, crc: 0x789a_bcde };
            assert_eq!(Streamed::read(&h.bytes()), Some(h));
            assert_eq!(Header::read(&h.bytes()), None);
            assert_eq!(Streamed::read(&h.bytes()[..11]), None);
            for (at, wrong) in [(0, b'X'), (2, 2), (3, 2), (4, 4)] {
                let mut bad = h.bytes();
                bad[at] = wrong;
                assert_eq!(Streamed::read(&bad), None);
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
