//! `zip` with `streams`: each flow is one DEFLATE stream across its packets, so that packets can refer to those before.
//!
//! A packet is compressed up to a sync flush, and says its number, whether the stream begins with it, and the CRC-32 of
//! all so far. A receiver that missed one, or to whom they came in another order, drops those behind it
//! ([`Reason::LostSync`]) until the stream begins anew, as it does every `refresh` packets. What compression does not make
//! shorter goes as it was, and the next begins a new stream.
//!
//! Of each flow one packet is with the device at a time: it has the stream.

use warpdrive_mempool::Packet;
use warpdrive_pmd::device::{Completion, Flush, Request, Status};
use warpdrive_pmd::engine::zip::ZipOp;

use super::accel::{Finished, Operation, Prepared, reason_of};
use super::flows::{self, Flows};
use super::header::{self, Header, Kind, STREAMED_LEN, Streamed};
use super::rsa::{otherwise_as_it_came, pass_not_udp};
use super::zip::{self, Zip};
use crate::stats::Reason;
use crate::wire::Udp;

/// What a `zip` stage with `streams` needs to know.
pub struct ZipFlows {
    zip: Zip,
    flows: Flows,
    refresh: u32,
}

/// In a request's tag, above the 49 bits of [`Udp::pack`]: the flow's slot, 12 bits.
const SLOT_SHIFT: u32 = 49;
/// The stream is to begin with this packet. (Decompression: its header says so.)
const FRESH_TAG: u64 = 1 << 61;
/// Decompression: [`Flow::turn`](flows::Flow::turn) when the packet came.
const TURN_TAG: u64 = 1 << 62;
/// The original frame was padded.
const PADDED_TAG: u64 = 1 << 63;

/// What is known of a packet when it is sent.
#[derive(Clone, Copy)]
struct Note {
    fresh: bool,
    sequence: u8,
}

impl Note {
    fn pack(self) -> u32 {
        u32::from(self.fresh) << 8 | u32::from(self.sequence)
    }

    fn unpack(note: u32) -> Self {
        Self { fresh: note >> 8 & 1 == 1, sequence: note as u8 }
    }
}

fn slot(tag: u64) -> u16 {
    (tag >> SLOT_SHIFT & 0xfff) as u16
}

fn tag_of(udp: &Udp, slot: u16, padded: bool) -> u64 {
    udp.pack() | u64::from(slot) << SLOT_SHIFT | if padded { PADDED_TAG } else { 0 }
}

impl ZipFlows {
    /// A stage's operation on these flows, whose streams begin anew every `refresh` packets.
    #[must_use]
    pub fn new(zip: Zip, flows: Flows, refresh: u32) -> Self {
        Self { zip, flows, refresh }
    }

    fn compress(&mut self, mut packet: Packet) -> Prepared {
        let (udp, padded) = match header::locate(&mut packet) {
            Ok(found) => found,
            Err(why) => return pass_not_udp(packet, why),
        };
        let payload = udp.payload();
        if payload.is_empty() {
            return self.alone(packet, udp, padded);
        }
        let Some(slot) = flows::key(packet.data(), &udp).and_then(|key| self.flows.find(key)) else {
            return match self.alone(packet, udp, padded) {
                Prepared::Done(packet) => Prepared::Pass(packet, Reason::NoStream),
                other => other,
            };
        };
        let start = udp.headers() + STREAMED_LEN;
        let room = self.zip.room(&udp, STREAMED_LEN);
        let Some(out) = self.zip.output(&packet, udp.headers(), STREAMED_LEN + room) else {
            return Prepared::Drop(packet, Reason::NoBuffer);
        };
        let mut request = Request::new(self.zip.session, packet).with_tag(tag_of(&udp, slot, padded));
        let dst = start..start + room;
        let ranges = request.set_src(payload).and(request.set_output(out, dst));
        debug_assert!(ranges.is_ok());
        self.busy(slot);
        Prepared::Send(request)
    }

    /// A packet without a stream.
    fn alone(&mut self, packet: Packet, udp: Udp, padded: bool) -> Prepared {
        match self.zip.store(packet, udp, padded) {
            Prepared::Pass(packet, _) if Streamed::read(&packet.data()[udp.payload()]).is_some() => {
                Prepared::Drop(packet, Reason::Oversize) // it would be misread at the far end
            }
            other => other,
        }
    }

    fn busy(&mut self, slot: u16) {
        if let Some(flow) = self.flows.get(slot) {
            flow.busy += 1;
        }
    }

    fn decompress(&mut self, mut packet: Packet) -> Prepared {
        let (udp, padded) = match header::locate(&mut packet) {
            Ok(found) => found,
            Err(why) => return pass_not_udp(packet, why),
        };
        let payload = udp.payload();
        let Some(header) = Streamed::read(&packet.data()[payload.clone()]) else {
            return self.plain(packet, udp, padded);
        };
        let original = usize::from(header.length);
        if udp.ip_len(original) > self.zip.mtu {
            return Prepared::Drop(packet, Reason::Oversize);
        }
        let Some(slot) = flows::key(packet.data(), &udp).and_then(|key| self.flows.find(key)) else {
            return Prepared::Drop(packet, Reason::NoStream);
        };
        if !self.follows(slot, header) {
            return Prepared::Drop(packet, Reason::LostSync);
        }
        let start = udp.headers();
        let Some(out) = self.zip.output(&packet, start, original) else {
            self.flows.get(slot).into_iter().for_each(|flow| flow.age = None);
            return Prepared::Drop(packet, Reason::NoBuffer);
        };
        let turn = self.flows.get(slot).is_some_and(|flow| flow.turn);
        let tag = tag_of(&udp, slot, header.padded)
            | if header.fresh { FRESH_TAG } else { 0 }
            | if turn { TURN_TAG } else { 0 };
        let mut request = Request::new(self.zip.session, packet).with_tag(tag);
        let ranges = request
            .set_src(payload.start + STREAMED_LEN..payload.end)
            .and(request.set_output(out, start..start + original));
        debug_assert!(ranges.is_ok());
        self.busy(slot);
        Prepared::Send(request)
    }

    /// What has no stream's header: a packet that was stored, or one that nobody compressed.
    fn plain(&mut self, packet: Packet, udp: Udp, padded: bool) -> Prepared {
        match Header::read(&packet.data()[udp.payload()]) {
            Some(header) if header.kind == Kind::Compressed && header.algorithm == zip::STORED => {
                zip::unstore(packet, udp, header)
            }
            _ => otherwise_as_it_came(self.zip.plain, packet, padded, Reason::Plain),
        }
    }

    /// Whether a packet is the next of its flow, or a beginning.
    fn follows(&mut self, slot: u16, header: Streamed) -> bool {
        let Some(flow) = self.flows.get(slot) else {
            return false;
        };
        let follows = header.fresh || flow.age.is_some() && flow.sequence == header.sequence;
        flow.age = follows.then_some(0);
        flow.turn ^= header.fresh;
        flow.sequence = header.sequence.wrapping_add(1);
        follows
    }

    /// A packet is lost: the next of the flow must be a beginning, unless one has come since.
    fn lose(&mut self, tag: u64) {
        if let Some(flow) = self.flows.get(slot(tag))
            && flow.turn == (tag & TURN_TAG != 0)
        {
            flow.age = None;
        }
    }

    fn compressed(&self, completion: Completion, note: Note) -> Finished {
        let tag = completion.request.tag;
        let (udp, padded) = (Udp::unpack(tag), tag & PADDED_TAG != 0);
        let (produced, crc) = (completion.produced as usize, completion.checksum);
        let original = completion.request.src_len();
        let (Some(packet), Some(mut out)) = completion.request.into_packets() else {
            return Finished::Drop(Reason::Engine);
        };
        match completion.status {
            Status::Ok => {}
            Status::OutputFull => {
                drop(out);
                return match self.zip.store(packet, udp, padded) {
                    Prepared::Done(packet) => Finished::Out(packet),
                    Prepared::Pass(packet, reason) => Finished::Pass(packet, reason),
                    Prepared::Drop(_, reason) => Finished::Drop(reason),
                    Prepared::Send(_) => Finished::Drop(Reason::Engine), // `store` sends nothing
                };
            }
            other => return Finished::Drop(reason_of(other)),
        }
        let Note { fresh, sequence } = note;
        let header = Streamed { padded, fresh, sequence, length: original as u16, crc };
        let headers = udp.headers();
        let _ = out.set_len(headers + STREAMED_LEN + produced); // shorter than it was
        out.data_mut()[headers..headers + STREAMED_LEN].copy_from_slice(&header.bytes());
        udp.mend(out.data_mut(), STREAMED_LEN + produced);
        Finished::Out(out)
    }

    fn decompressed(&mut self, completion: Completion) -> Finished {
        let tag = completion.request.tag;
        let (udp, padded) = (Udp::unpack(tag), tag & PADDED_TAG != 0);
        match completion.status {
            // Room for the payload exactly is full when it is complete.
            Status::Ok | Status::OutputFull => {}
            Status::BadStream => return Finished::Drop(Reason::LostSync),
            other => return Finished::Drop(reason_of(other)),
        }
        let whole = completion.consumed == completion.request.src_len();
        let exact = completion.produced == completion.request.dst_len();
        let checksum = completion.checksum;
        let (Some(packet), Some(mut out)) = completion.request.into_packets() else {
            return Finished::Drop(Reason::Engine);
        };
        let header = Streamed::read(&packet.data()[udp.payload()]);
        if !whole || !exact || header.is_none_or(|h| h.crc != checksum) {
            self.lose(tag);
            return Finished::Drop(Reason::BadData);
        }
        udp.mend(out.data_mut(), usize::from(header.map_or(0, |h| h.length)));
        if padded {
            header::pad(&mut out);
        }
        Finished::Out(out)
    }
}

impl Operation for ZipFlows {
    const KIND: &'static str = "zip";

    fn prepare(&mut self, packet: Packet) -> Prepared {
        if packet.is_chained() {
            return Prepared::Pass(packet, Reason::Chained);
        }
        match self.zip.op {
            ZipOp::Compress => self.compress(packet),
            ZipOp::Decompress => self.decompress(packet),
        }
    }

    fn ready(&mut self, request: &mut Request) -> Option<u32> {
        let flow = self.flows.get(slot(request.tag))?;
        if !flow.has_stream() {
            return None;
        }
        let note = match self.zip.op {
            ZipOp::Compress => {
                let fresh = flow.age.is_none_or(|age| age >= self.refresh);
                flow.age = Some(if fresh { 1 } else { flow.age.unwrap_or(0) + 1 });
                flow.sequence = flow.sequence.wrapping_add(1);
                Note { fresh, sequence: flow.sequence }
            }
            ZipOp::Decompress => Note { fresh: request.tag & FRESH_TAG != 0, sequence: 0 },
        };
        request.set_stream(flow.take(note.fresh)?, Flush::Sync);
        Some(note.pack())
    }

    fn returned(&mut self, request: &mut Request, _note: u32, status: Status) {
        let Some(flow) = self.flows.get(slot(request.tag)) else { return };
        flow.give(request.take_stream());
        flow.busy -= 1;
        match self.zip.op {
            // Compressed bytes that are not sent will be missing at the far end.
            ZipOp::Compress if status != Status::Ok => flow.age = None,
            ZipOp::Decompress if !matches!(status, Status::Ok | Status::OutputFull) => self.lose(request.tag),
            _ => {}
        }
    }

    fn finish(&mut self, completion: Completion, note: u32) -> Finished {
        match self.zip.op {
            ZipOp::Compress => self.compressed(completion, Note::unpack(note)),
            ZipOp::Decompress => self.decompressed(completion),
        }
    }
}
