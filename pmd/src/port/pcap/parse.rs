//! The bytes of a pcap or pcapng file to an index of frames.
//!
//! The framing, file headers and interface blocks are read by `pcap-file`. Packet records are decoded here from its
//! raw blocks, because version 2.0 refuses frames that were cut at the snap length (it wants `orig_len <= snaplen`) and
//! takes pcapng timestamps for nanoseconds whatever `if_tsresol` says.
//!
//! Formats: draft-ietf-opsawg-pcap (pcap) and draft-ietf-opsawg-pcapng (pcapng).

use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK,
};
use pcap_file::pcapng::{PcapNgParser, RawBlock};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// Longest frame a record may claim, as libpcap has it (MAXIMUM_SNAPLEN): a larger length is damage.
pub const MAX_FRAME: usize = 262_144;

/// Where one frame lies in the bytes of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset of the frame's first byte in the file.
    pub offset: usize,
    /// Captured length in bytes.
    pub len: u32,
    /// When it was captured, in nanoseconds since 1970.
    pub time_ns: u64,
}

/// The index of a capture file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// The frames in the order of the file.
    pub records: Vec<Record>,
    /// How many of them are shorter here than they were on the wire.
    pub cut: usize,
}

impl Capture {
    fn push(&mut self, offset: usize, len: usize, wire_len: u32, time_ns: u64) {
        self.cut += usize::from((wire_len as usize) > len);
        self.records.push(Record { offset, len: len as u32, time_ns });
    }
}

/// Why bytes are not a usable capture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither format.
    #[error("it is neither pcap nor pcapng (it begins with {first:02x?})")]
    NotACapture {
        /// The first bytes, up to four.
        first: Vec<u8>,
    },
    /// Frames of another link layer.
    #[error("its link type is {link} ({number}), and only ETHERNET (1) can be used")]
    LinkType {
        /// Name of the link type.
        link: String,
        /// Its LINKTYPE_ value.
        number: u32,
    },
    /// Cut short or corrupt.
    #[error("at byte {offset}, after {packets} good packets: {what}")]
    Damaged {
        /// Offset of the record or block that cannot be read.
        offset: usize,
        /// Packets before it.
        packets: usize,
        /// What is wrong there.
        what: String,
    },
}

/// Reads a whole capture file of either format.
///
/// # Errors
/// [`ParseError`]; a file that is damaged anywhere is refused as a whole.
pub fn parse(bytes: &[u8]) -> Result<Capture, ParseError> {
    let not_a_capture = || ParseError::NotACapture { first: bytes.iter().take(4).copied().collect() };
    match bytes.first_chunk::<4>().ok_or_else(not_a_capture)? {
        [0x0a, 0x0d, 0x0d, 0x0a] => parse_pcapng(bytes),
        // Microseconds or nanoseconds, in either byte order.
        [0xa1, 0xb2, 0xc3, 0xd4]
        | [0xd4, 0xc3, 0xb2, 0xa1]
        | [0xa1, 0xb2, 0x3c, 0x4d]
        | [0x4d, 0x3c, 0xb2, 0xa1] => parse_pcap(bytes),
        _ => Err(not_a_capture()),
    }
}

fn damaged(capture: &Capture, offset: usize, what: impl Into<String>) -> ParseError {
    ParseError::Damaged { offset, packets: capture.records.len(), what: what.into() }
}

fn reason(e: &PcapError) -> String {
    match e {
        PcapError::IncompleteBuffer => {
            "the file ends in the middle of a record (was it cut short?)".to_owned()
        }
        other => other.to_string(),
    }
}

fn check_link(link: DataLink) -> Result<(), ParseError> {
    if link == DataLink::ETHERNET {
        return Ok(());
    }
    Err(ParseError::LinkType { link: format!("{link:?}"), number: link.into() })
}

fn parse_pcap(bytes: &[u8]) -> Result<Capture, ParseError> {
    let mut capture = Capture::default();
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|e| damaged(&capture, 0, reason(&e)))?;
    let header = parser.header();
    if header.version_major != 2 {
        let what = format!("version {}.{} is not 2.x", header.version_major, header.version_minor);
        return Err(damaged(&capture, 4, what));
    }
    check_link(header.datalink)?;
    let (unit_ns, units) = match header.ts_resolution {
        TsResolution::MicroSecond => (1_000, 1_000_000),
        TsResolution::NanoSecond => (1, 1_000_000_000),
    };
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        // Before the data are looked for: a corrupt length is a better message than "cut short".
        let claimed = rest.get(8..12).map_or(0, |b| field(b, 0, header.endianness));
        if claimed as usize > MAX_FRAME {
            return Err(damaged(&capture, offset, format!("a frame of {claimed} bytes is not believable")));
        }
        let (after, packet) =
            parser.next_raw_packet(rest).map_err(|e| damaged(&capture, offset, reason(&e)))?;
        if packet.ts_frac >= units {
            let what = format!("a timestamp with {} fractions of a second out of {units}", packet.ts_frac);
            return Err(damaged(&capture, offset, what));
        }
        let time_ns = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_frac) * unit_ns;
        capture.push(offset + 16, packet.data.len(), packet.orig_len, time_ns);
        rest = after;
    }
    Ok(capture)
}

/// What packet blocks need to know of their interface.
struct Interface {
    link: DataLink,
    snaplen: u32,
    /// `if_tsresol`: power of ten, or of two with the top bit set.
    resolution: u8,
    /// `if_tsoffset` in seconds.
    offset_s: i64,
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>) -> Self {
        let mut this = Self { link: block.linktype, snaplen: block.snaplen, resolution: 6, offset_s: 0 };
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfTsResol(r) => this.resolution = *r,
                InterfaceDescriptionOption::IfTsOffset(s) => this.offset_s = *s as i64,
                _ => {}
            }
        }
        this
    }

    fn time_ns(&self, units: u64) -> u64 {
        let power = u32::from(self.resolution & 0x7f);
        let ns = if self.resolution & 0x80 != 0 {
            (u128::from(units) * 1_000_000_000).checked_shr(power).unwrap_or(0)
        } else if power <= 9 {
            u128::from(units) * 10u128.pow(9 - power)
        } else {
            u128::from(units) / 10u128.pow((power - 9).min(38))
        };
        // Below 2^94, so both fit.
        let ns = ns as i128 + i128::from(self.offset_s) * 1_000_000_000;
        ns.clamp(0, i128::from(u64::MAX)) as u64
    }
}

fn parse_pcapng(bytes: &[u8]) -> Result<Capture, ParseError> {
    let mut capture = Capture::default();
    let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|e| damaged(&capture, 0, reason(&e)))?;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut section = 0;
    loop {
        if parser.section().major_version != 1 {
            let what = format!("version {} is not 1", parser.section().major_version);
            return Err(damaged(&capture, section, what));
        }
        if rest.is_empty() {
            return Ok(capture);
        }
        let offset = bytes.len() - rest.len();
        let (after, block) =
            parser.next_raw_block(rest).map_err(|e| damaged(&capture, offset, reason(&e)))?;
        match block.type_ {
            pcap_file::pcapng::blocks::SECTION_HEADER_BLOCK => {
                interfaces.clear();
                section = offset;
            }
            INTERFACE_DESCRIPTION_BLOCK => interfaces.extend(parser.interfaces().last().map(Interface::new)),
            ENHANCED_PACKET_BLOCK | PACKET_BLOCK | SIMPLE_PACKET_BLOCK => {
                packet_block(&mut capture, &block, offset, parser.section().endianness, &interfaces)?;
            }
            _ => {} // statistics, names, comments: nothing to replay
        }
        rest = after;
    }
}

/// A 32-bit field of a header.
fn field(bytes: &[u8], at: usize, order: Endianness) -> u32 {
    let b = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    match order {
        Endianness::Big => u32::from_be_bytes(b),
        Endianness::Little => u32::from_le_bytes(b),
    }
}

/// Bytes of the fixed part of an Enhanced Packet Block and of an (obsolete) Packet Block.
const PACKET_FIXED: usize = 20;

fn packet_block(
    capture: &mut Capture,
    block: &RawBlock<'_>,
    offset: usize,
    order: Endianness,
    interfaces: &[Interface],
) -> Result<(), ParseError> {
    let body: &[u8] = &block.body;
    let simple = block.type_ == SIMPLE_PACKET_BLOCK;
    let fixed = if simple { 4 } else { PACKET_FIXED };
    if body.len() < fixed {
        return Err(damaged(capture, offset, "a packet block too short for its fields"));
    }
    let id = match (block.type_, order) {
        (SIMPLE_PACKET_BLOCK, _) => 0,
        (ENHANCED_PACKET_BLOCK, _) => field(body, 0, order),
        // A Packet Block has 16 bits of interface and 16 bits of drop count.
        (_, Endianness::Big) => field(body, 0, order) >> 16,
        (_, Endianness::Little) => field(body, 0, order) & 0xffff,
    };
    let Some(interface) = interfaces.get(id as usize) else {
        return Err(damaged(capture, offset, format!("a packet of interface {id}, which is not described")));
    };
    check_link(interface.link)?;
    let (len, wire_len, time_ns) = if simple {
        let wire_len = field(body, 0, order);
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        // It has no timestamp: the one before will do.
        (wire_len.min(limit), wire_len, capture.records.last().map_or(0, |r| r.time_ns))
    } else {
        let units = u64::from(field(body, 4, order)) << 32 | u64::from(field(body, 8, order));
        (field(body, 12, order), field(body, 16, order), interface.time_ns(units))
    };
    let len = len as usize;
    if len > body.len() - fixed || len > MAX_FRAME {
        let what = format!("a packet of {len} bytes in a block with {} bytes of data", body.len() - fixed);
        return Err(damaged(capture, offset, what));
    }
    capture.push(offset + 8 + fixed, len, wire_len, time_ns);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::demo_capture;
    use super::*;

    #[test]
    fn times_are_read_in_every_resolution() {
        let with =
            |resolution, offset_s| Interface { link: DataLink::ETHERNET, snaplen: 0, resolution, offset_s };
        assert_eq!(with(6, 0).time_ns(1_500_000), 1_500_000_000);
        assert_eq!(with(9, 2).time_ns(7), 2_000_000_007);
        assert_eq!(with(12, 0).time_ns(5_000), 5);
        assert_eq!(with(0x80 | 10, 0).time_ns(1536), 1_500_000_000);
        for resolution in 0..=255 {
            let _ = with(resolution, i64::MIN).time_ns(u64::MAX);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_answer_not_a_panic() {
        let good = demo_capture();
        let all = parse(&good).unwrap().records.len();
        let borders: Vec<usize> =
            parse(&good).unwrap().records.iter().map(|r| r.offset + r.len as usize).collect();
        for end in 0..good.len().min(4_000) {
            match parse(&good[..end]) {
                Ok(c) => assert!(end == 24 || borders.contains(&end), "{end}: {} of {all}", c.records.len()),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
        for at in 0..1_000 {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = parse(&bad);
        }
    }

    #[test]
    fn a_short_file_names_the_byte_and_the_packet() {
        let good = demo_capture();
        let first = parse(&good).unwrap().records[0];
        let e = parse(&good[..first.offset + first.len as usize + 20]).unwrap_err();
        let next = first.offset + first.len as usize;
        assert_eq!(
            e.to_string(),
            format!(
                "at byte {next}, after 1 good packets: the file ends in the middle of a record (was it cut short?)"
            )
        );
    }

    #[test]
    fn another_link_type_is_refused_by_name() {
        let mut raw = demo_capture();
        raw[20] = 101;
        assert_eq!(
            parse(&raw).unwrap_err().to_string(),
            "its link type is RAW (101), and only ETHERNET (1) can be used"
        );
    }
}
