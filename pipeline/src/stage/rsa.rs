//! `rsa`: signs and verifies the UDP payload. The signature covers the payload alone.

use warpdrive_mempool::Packet;
use warpdrive_pmd::device::{Completion, Request, SessionId, Status};
use warpdrive_pmd::engine::rsa::{RsaOp, RsaScheme};

use super::accel::{Finished, Operation, Prepared, reason_of};
use super::header::{self, HEADER_LEN, Header, Kind};
use crate::config::Otherwise;
use crate::stats::Reason;
use crate::wire::{NotUdp, Udp};

/// What an `rsa` stage needs to know.
pub struct Rsa {
    /// The device's session.
    pub session: SessionId,
    /// `Sign` or `Verify`: the plan permits no other.
    pub op: RsaOp,
    /// Which scheme, for the header.
    pub scheme: RsaScheme,
    /// Length of a signature.
    pub signature_len: usize,
    /// The longest IP packet that may result.
    pub mtu: usize,
    /// What to do with a packet that would become longer.
    pub oversize: Otherwise,
    /// What to do with a packet to be verified that has no signature.
    pub plain: Otherwise,
}

/// Applies a policy.
fn otherwise(policy: Otherwise, packet: Packet, reason: Reason) -> Prepared {
    match policy {
        Otherwise::Pass => Prepared::Pass(packet, reason),
        Otherwise::Drop => Prepared::Drop(packet, reason),
    }
}

/// Applies a policy to a packet whose padding was cut off by [`header::locate`]: it is as it came again.
pub(super) fn otherwise_as_it_came(
    policy: Otherwise,
    mut packet: Packet,
    padded: bool,
    reason: Reason,
) -> Prepared {
    if padded {
        header::pad(&mut packet);
    }
    otherwise(policy, packet, reason)
}

/// Packets that have no UDP payload pass untouched.
pub(super) fn pass_not_udp(packet: Packet, why: NotUdp) -> Prepared {
    let reason = match why {
        NotUdp::Other => Reason::NotUdp,
        NotUdp::Fragment => Reason::Fragment,
        NotUdp::Malformed => Reason::Malformed,
    };
    Prepared::Pass(packet, reason)
}

/// The number of a scheme in the header. Never to be changed: the far end reads it.
fn algorithm(scheme: RsaScheme) -> u8 {
    match scheme {
        RsaScheme::Pkcs1Sha256 => 1,
        RsaScheme::Pkcs1Sha384 => 2,
        RsaScheme::Pkcs1Sha512 => 3,
        RsaScheme::PssSha256 => 4,
        RsaScheme::PssSha384 => 5,
        RsaScheme::PssSha512 => 6,
        // Encryption: the plan lets none of these into a pipeline.
        RsaScheme::OaepSha256 | RsaScheme::OaepSha384 | RsaScheme::OaepSha512 | RsaScheme::Pkcs1 => 255,
    }
}

impl Rsa {
    fn sign(&mut self, mut packet: Packet) -> Prepared {
        let (udp, padded) = match header::locate(&mut packet) {
            Ok(found) => found,
            Err(why) => return pass_not_udp(packet, why),
        };
        let payload = udp.payload().len();
        let grown = HEADER_LEN + payload + self.signature_len;
        if udp.ip_len(grown) > self.mtu {
            // Untreated, a payload that looks signed would be misread at the far end.
            let misread = Header::read(&packet.data()[udp.payload()]).is_some_and(|h| h.kind == Kind::Signed);
            let policy = if misread { Otherwise::Drop } else { self.oversize };
            return otherwise_as_it_came(policy, packet, padded, Reason::Oversize);
        }
        let header = Header {
            kind: Kind::Signed,
            algorithm: algorithm(self.scheme),
            padded,
            length: self.signature_len as u16,
        };
        // Tailroom first: what fails must change nothing.
        if packet.append(self.signature_len).is_err() || !header::insert(&mut packet, &udp, header) {
            return Prepared::Drop(packet, Reason::Oversize);
        }
        let start = udp.headers() + HEADER_LEN;
        let end = start + payload;
        let mut request = Request::new(self.session, packet).with_tag(udp.pack());
        let ranges = request.set_src(start..end).and(request.set_dst(end..end + self.signature_len));
        debug_assert!(ranges.is_ok());
        Prepared::Send(request)
    }

    fn verify(&mut self, mut packet: Packet) -> Prepared {
        let (udp, padded) = match header::locate(&mut packet) {
            Ok(found) => found,
            Err(why) => return pass_not_udp(packet, why),
        };
        let payload = udp.payload();
        let signed = Header::read(&packet.data()[payload.clone()]).filter(|h| {
            h.kind == Kind::Signed
                && h.algorithm == algorithm(self.scheme)
                && usize::from(h.length) == self.signature_len
                && payload.len() >= HEADER_LEN + self.signature_len
        });
        if signed.is_none() {
            return otherwise_as_it_came(self.plain, packet, padded, Reason::Plain);
        }
        let (start, end) = (payload.start + HEADER_LEN, payload.end - self.signature_len);
        let mut request = Request::new(self.session, packet).with_tag(udp.pack());
        let ranges = request.set_src(start..end).and(request.set_aux(end..payload.end));
        debug_assert!(ranges.is_ok());
        Prepared::Send(request)
    }

    /// Writes the lengths of the packet that now carries a signature.
    fn signed(&self, mut packet: Packet, udp: Udp) -> Packet {
        let payload = udp.payload().len() + HEADER_LEN + self.signature_len;
        udp.mend(packet.data_mut(), payload);
        packet
    }

    /// Takes header and signature off again.
    fn verified(&self, mut packet: Packet, udp: Udp) -> Packet {
        let padded = Header::read(&packet.data()[udp.payload()]).is_some_and(|h| h.padded);
        let _ = packet.trim_back(self.signature_len); // there: `verify` looked
        header::remove(&mut packet, &udp);
        udp.mend(packet.data_mut(), udp.payload().len() - HEADER_LEN - self.signature_len);
        if padded {
            header::pad(&mut packet);
        }
        packet
    }
}

impl Operation for Rsa {
    const KIND: &'static str = "rsa";

    fn prepare(&mut self, packet: Packet) -> Prepared {
        if packet.is_chained() {
            return Prepared::Pass(packet, Reason::Chained);
        }
        match self.op {
            RsaOp::Sign => self.sign(packet),
            _ => self.verify(packet),
        }
    }

    fn finish(&mut self, completion: Completion, _note: u32) -> Finished {
        let udp = Udp::unpack(completion.request.tag);
        if completion.status != Status::Ok {
            return Finished::Drop(reason_of(completion.status));
        }
        let (Some(packet), _) = completion.request.into_packets() else {
            return Finished::Drop(Reason::Engine);
        };
        Finished::Out(match self.op {
            RsaOp::Sign => self.signed(packet, udp),
            _ => self.verified(packet, udp),
        })
    }
}
