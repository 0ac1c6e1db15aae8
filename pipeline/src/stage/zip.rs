//! `zip`: compresses and decompresses the UDP payload. The result is written to a second buffer of the pool; the first
//! goes back.

use warpdrive_mempool::{Mempool, Packet};
use warpdrive_pmd::device::{Completion, Request, SessionId, Status};
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp};

use super::accel::{Finished, Operation, Prepared, reason_of};
use super::header::{self, HEADER_LEN, Header, Kind};
use super::rsa::{otherwise_as_it_came, pass_not_udp};
use crate::config::Otherwise;
use crate::stats::Reason;
use crate::wire::Udp;

/// What a `zip` stage needs to know.
pub struct Zip {
    /// The device's session.
    pub session: SessionId,
    /// Which way.
    pub op: ZipOp,
    /// Which wrapping, for the header.
    pub format: ZipFormat,
    /// Where buffers for the results come from.
    pub pool: Mempool,
    /// The longest IP packet that may result.
    pub mtu: usize,
    /// What to do with a packet that would become longer.
    pub oversize: Otherwise,
    /// What to do with a packet to be decompressed that is not compressed.
    pub plain: Otherwise,
}

/// `algorithm` of a payload that is stored as it was.
pub(super) const STORED: u8 = 0;
/// In a request's tag, above the 49 bits of [`Udp::pack`]: the original frame was padded.
const PADDED_TAG: u64 = 1 << 63;

impl Zip {
    /// The number of the format in the header. Never to be changed: the far end reads it.
    fn algorithm(&self) -> u8 {
        match self.format {
            ZipFormat::Deflate => 1,
            ZipFormat::Zlib => 2,
            ZipFormat::Gzip => 3,
        }
    }

    /// A second packet with the headers of the first and `payload` more bytes behind them. `None` when the pool is
    /// exhausted or a buffer too small.
    pub(super) fn output(&self, packet: &Packet, headers: usize, payload: usize) -> Option<Packet> {
        let mut out = self.pool.alloc()?;
        out.extend_from_slice(&packet.data()[..headers]).ok()?;
        out.append(payload).ok()?;
        out.set_timestamp(packet.timestamp());
        out.set_port(packet.port());
        out.set_mark(packet.mark());
        Some(out)
    }

    /// The longest result that is of use: shorter than the payload, and with a header within the MTU.
    pub(super) fn room(&self, udp: &Udp, header: usize) -> usize {
        let within = self.mtu.saturating_sub(udp.ip_len(header));
        within.min(udp.payload().len().saturating_sub(1))
    }

    fn compress(&mut self, mut packet: Packet) -> Prepared {
        let (udp, padded) = match header::locate(&mut packet) {
            Ok(found) => found,
            Err(why) => return pass_not_udp(packet, why),
        };
        let payload = udp.payload();
        if payload.is_empty() {
            return self.store(packet, udp, padded);
        }
        let start = udp.headers() + HEADER_LEN;
        let room = self.room(&udp, HEADER_LEN);
        let Some(out) = self.output(&packet, udp.headers(), HEADER_LEN + room) else {
            return Prepared::Drop(packet, Reason::NoBuffer);
        };
        let tag = udp.pack() | if padded { PADDED_TAG } else { 0 };
        let dst = start..start + room;
        let mut request = Request::new(self.session, packet).with_tag(tag);
        let ranges = request.set_src(payload).and(request.set_output(out, dst));
        debug_assert!(ranges.is_ok());
        Prepared::Send(request)
    }

    /// Marks a payload as stored: compression does not make it shorter.
    pub(super) fn store(&self, mut packet: Packet, udp: Udp, padded: bool) -> Prepared {
        let payload = udp.payload().len();
        let header = Header { kind: Kind::Compressed, algorithm: STORED, padded, length: payload as u16 };
        if udp.ip_len(HEADER_LEN + payload) > self.mtu {
            // Untreated, a payload that looks compressed would be misread at the far end.
            let misread =
                Header::read(&packet.data()[udp.payload()]).is_some_and(|h| h.kind == Kind::Compressed);
            let policy = if misread { Otherwise::Drop } else { self.oversize };
            return otherwise_as_it_came(policy, packet, padded, Reason::Oversize);
        }
        if !header::insert(&mut packet, &udp, header) {
            return Prepared::Drop(packet, Reason::Oversize);
        }
        udp.mend(packet.data_mut(), HEADER_LEN + payload);
        Prepared::Done(packet)
    }

    fn decompress(&mut self, mut packet: Packet) -> Prepared {
        let (udp, padded) = match header::locate(&mut packet) {
            Ok(found) => found,
            Err(why) => return pass_not_udp(packet, why),
        };
        let payload = udp.payload();
        let header = Header::read(&packet.data()[payload.clone()]).filter(|h| h.kind == Kind::Compressed);
        let Some(header) = header else {
            return otherwise_as_it_came(self.plain, packet, padded, Reason::Plain);
        };
        let original = usize::from(header.length);
        if header.algorithm == STORED {
            return unstore(packet, udp, header);
        }
        if header.algorithm != self.algorithm() {
            return otherwise_as_it_came(self.plain, packet, padded, Reason::Plain);
        }
        if udp.ip_len(original) > self.mtu {
            return Prepared::Drop(packet, Reason::Oversize);
        }
        let Some(out) = self.output(&packet, udp.headers(), original) else {
            return Prepared::Drop(packet, Reason::NoBuffer);
        };
        let tag = udp.pack() | if header.padded { PADDED_TAG } else { 0 };
        let start = udp.headers();
        let mut request = Request::new(self.session, packet).with_tag(tag);
        let ranges = request
            .set_src(payload.start + HEADER_LEN..payload.end)
            .and(request.set_output(out, start..start + original));
        debug_assert!(ranges.is_ok());
        Prepared::Send(request)
    }

    /// Completes a packet that was compressed into its second buffer.
    fn compressed(&self, completion: Completion, udp: Udp, padded: bool) -> Finished {
        let produced = completion.produced as usize;
        let original = completion.request.src().len;
        let (packet, out) = completion.request.into_packets();
        let (Some(packet), Some(mut out)) = (packet, out) else {
            return Finished::Drop(Reason::Engine);
        };
        match completion.status {
            Status::Ok => {}
            Status::NoSpace { .. } => {
                drop(out);
                return match self.store(packet, udp, padded) {
                    Prepared::Done(packet) => Finished::Out(packet),
                    Prepared::Pass(packet, reason) => Finished::Pass(packet, reason),
                    Prepared::Drop(_, reason) => Finished::Drop(reason),
                    Prepared::Send(_) => Finished::Drop(Reason::Engine), // `store` sends nothing
                };
            }
            other => return Finished::Drop(reason_of(other)),
        }
        let header =
            Header { kind: Kind::Compressed, algorithm: self.algorithm(), padded, length: original as u16 };
        let headers = udp.headers();
        let _ = out.set_len(headers + HEADER_LEN + produced); // shorter than it was
        out.data_mut()[headers..headers + HEADER_LEN].copy_from_slice(&header.bytes());
        udp.mend(out.data_mut(), HEADER_LEN + produced);
        Finished::Out(out)
    }

    fn decompressed(&self, completion: Completion, udp: Udp, padded: bool) -> Finished {
        if completion.status != Status::Ok {
            return Finished::Drop(match completion.status {
                Status::NoSpace { .. } => Reason::BadData, // longer than its header says
                other => reason_of(other),
            });
        }
        let (produced, expected) = (completion.produced, completion.request.dst().len);
        let (_, Some(mut out)) = completion.request.into_packets() else {
            return Finished::Drop(Reason::Engine);
        };
        if produced != expected {
            return Finished::Drop(Reason::BadData);
        }
        udp.mend(out.data_mut(), produced as usize);
        if padded {
            header::pad(&mut out);
        }
        Finished::Out(out)
    }
}

pub(super) fn unstore(mut packet: Packet, udp: Udp, header: Header) -> Prepared {
    let payload = udp.payload().len() - HEADER_LEN;
    if payload != usize::from(header.length) {
        return Prepared::Drop(packet, Reason::BadData);
    }
    header::remove(&mut packet, &udp);
    udp.mend(packet.data_mut(), payload);
    if header.padded {
        header::pad(&mut packet);
    }
    Prepared::Done(packet)
}

impl Operation for Zip {
    const KIND: &'static str = "zip";

    fn prepare(&mut self, packet: Packet) -> Prepared {
        if packet.is_chained() {
            return Prepared::Pass(packet, Reason::Chained);
        }
        match self.op {
            ZipOp::Compress => self.compress(packet),
            ZipOp::Decompress => self.decompress(packet),
        }
    }

    fn finish(&mut self, completion: Completion, _note: u32) -> Finished {
        let tag = completion.request.tag;
        let (udp, padded) = (Udp::unpack(tag), tag & PADDED_TAG != 0);
        match self.op {
            ZipOp::Compress => self.compressed(completion, udp, padded),
            ZipOp::Decompress => self.decompressed(completion, udp, padded),
        }
    }
}
