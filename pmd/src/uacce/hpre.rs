//! Public-key devices: requests to entries and back. It knows no queues.
//!
//! The device does the private operation of RSA on numbers. Padding is ours; so are public operations, which take less than the way to
//! the device and back is worth.

use std::any::Any;

use warpdrive_mempool::Fault;
use zeroize::Zeroizing;

use super::abi::hpre::{Addresses, Algorithm, Entry, error};
use super::discover::UacceInfo;
use super::driver::{Ask, Begun, Driver, NoSession, Parts};
use super::operands::{Operands, resolve};
use super::scratch::Block;
use crate::device::{SessionSpec, Status};
use crate::engine::rsa::coding::Asked;
use crate::engine::rsa::foreign::{Foreign, KeyNumbers};
use crate::engine::rsa::padding::random::Random;
use crate::engine::rsa::{PublicKeySession, RawSession, RsaScheme};
use crate::engine::{Outcome, Report};

/// Bytes of the longest number.
const MOST: usize = 4096 / 8;

/// A session with its key where the device reads it.
pub(super) struct Work {
    session: PublicKeySession,
    /// Of a private operation.
    key: Option<(Algorithm, Block)>,
}

/// The driver of a queue.
pub(super) struct Hpre {
    /// A number for each request in flight, on its way in or out.
    numbers: Block,
    free: Vec<u16>,
    random: Option<Random>,
    tag: u64,
    /// Whether results are checked: servers of ours do it themselves.
    checks: bool,
}

/// What is remembered of a request.
pub(super) struct Note {
    tag: u64,
    place: u16,
}

impl Driver for Hpre {
    type Entry = Entry;
    type Session = Work;
    type Note = Note;
    const KIND: &'static str = "RSA";
    const LANES: &'static [u16] = &[0];

    fn session(parts: &Parts<Work>, spec: SessionSpec) -> Result<Work, NoSession> {
        let session = match spec {
            SessionSpec::Rsa(session) => PublicKeySession::Rsa(session),
            SessionSpec::RawRsa(session) => PublicKeySession::Raw(session),
            SessionSpec::Ec(_) => {
                return Err(NoSession::Unsupported(format!(
                    "{} is used for RSA, not for elliptic curves. Remedy: a device of this process for keys of that kind, \
                     which takes some ten microseconds for each",
                    parts.info.name
                )));
            }
            other => return Err(NoSession::WrongKind(other)),
        };
        let key = session.foreign().map(|foreign| lay_out(parts, foreign)).transpose();
        let key = key.map_err(|cause| NoSession::Unsupported(format!("no memory for a key: {cause}")))?;
        Ok(Work { session, key })
    }

    fn stream(_parts: &Parts<Work>, _work: &Work) -> Result<Box<dyn Any + Send>, String> {
        Err("RSA requests stand alone".to_owned())
    }

    fn open(parts: &Parts<Work>, depth: usize) -> Result<Self, String> {
        Ok(Self {
            numbers: parts.arena.alloc(depth * MOST)?,
            free: (0..depth as u16).rev().collect(),
            random: Random::new().ok(),
            tag: 0,
            checks: parts.info.extensions.is_none(),
        })
    }

    fn describe(_info: &UacceInfo) -> (Vec<&'static str>, &'static str) {
        let names = RsaScheme::ALL.map(RsaScheme::name);
        (
            names.into_iter().chain([RawSession::ALGORITHM]).collect(),
            "private operations by the device; padding, verifying and encrypting by this process",
        )
    }

    fn lane(_work: &Work) -> usize {
        0
    }

    fn begin(&mut self, ask: Ask<'_, Work>) -> Begun<Entry, Note> {
        let Some(place) = self.free.pop() else {
            return Begun::failed(Status::EngineFailed); // there is one for each request in flight
        };
        let begun = self.begin_at(place, ask).unwrap_or_else(Begun::failed);
        if matches!(begun, Begun::Done(..)) {
            self.free.push(place);
        }
        begun
    }

    fn end(&mut self, ask: Ask<'_, Work>, note: Note, entry: &Entry) -> (Outcome, Report) {
        let outcome = self.end_at(&note, ask, entry);
        self.numbers.wipe(usize::from(note.place) * MOST, MOST);
        self.free.push(note.place);
        (outcome, Report::default())
    }
}

/// Puts a key where the device reads it.
fn lay_out(parts: &Parts<Work>, foreign: Foreign<'_>) -> Result<(Algorithm, Block), String> {
    let (algorithm, numbers) = match foreign.numbers().ok_or("its numbers are not to be had")? {
        KeyNumbers::Crt(numbers) => (Algorithm::Crt, numbers),
        KeyNumbers::Exponent(numbers) => (Algorithm::NoCrt, numbers),
    };
    let block = parts.arena.alloc(numbers.len())?;
    block.write(0, &numbers);
    Ok((algorithm, block))
}

impl Hpre {
    fn begin_at(&mut self, place: u16, ask: Ask<'_, Work>) -> Result<Begun<Entry, Note>, Status> {
        let Ask { session: work, request, stream, view } = ask;
        let Operands { src, aux, dst } = resolve(view, request)?;
        if stream.is_some() {
            return Err(Status::BadStream);
        }
        let Some((foreign, (algorithm, key))) = work.session.foreign().zip(work.key.as_ref()) else {
            let outcome = work.session.alone(src, aux, dst);
            return Ok(Begun::Done(outcome, Report::default()));
        };
        let bytes = foreign.key_bytes();
        let mut number = Zeroizing::new([0; MOST]);
        let number = number.get_mut(..bytes).ok_or(Status::EngineFailed)?;
        foreign.encode(Asked { src, aux, room: dst.len() }, self.random.as_mut(), number)?;
        let at = usize::from(place) * MOST;
        self.numbers.write(at, number);
        let scratch = self.numbers.iova().0 + at as u64;
        // What is not the answer yet is no packet's affair.
        let output = if foreign.is_answer() { request.dst().iova.0 } else { scratch };
        let (input, output) =
            if output == scratch { (request.src().iova.0, scratch) } else { (scratch, output) };
        self.tag = self.tag.wrapping_add(1);
        let addresses = Addresses { key: key.iova().0, input, output };
        let entry = Entry::new(*algorithm, bytes, addresses, self.tag);
        Ok(Begun::Send(entry, Note { tag: self.tag, place }))
    }

    fn end_at(&self, note: &Note, ask: Ask<'_, Work>, entry: &Entry) -> Outcome {
        let Ask { session: work, request, view, .. } = ask;
        if entry.tag() != note.tag {
            return Err(Status::EngineFailed);
        }
        match entry.ended() {
            Some(0) => {}
            Some(error::ADDRESS) => {
                let iova = request.dst().iova;
                return Err(Status::Fault(Fault::Unmapped { iova, len: request.dst_len() as usize }));
            }
            _ => return Err(Status::EngineFailed),
        }
        let foreign = work.session.foreign().ok_or(Status::EngineFailed)?;
        let bytes = foreign.key_bytes();
        if foreign.is_answer() && !self.checks {
            return Ok(bytes); // where it belongs
        }
        let Operands { src, aux, dst } = resolve(view, request)?;
        let mut number = Zeroizing::new([0; MOST]);
        let number = number.get_mut(..bytes).ok_or(Status::EngineFailed)?;
        self.numbers.read(usize::from(note.place) * MOST, number);
        if foreign.is_answer() {
            let answer = &mut dst[..bytes];
            if !foreign.is_right(number, answer) {
                answer.fill(0);
                return Err(Status::EngineFailed);
            }
            return Ok(bytes);
        }
        if self.checks && !foreign.is_right(src, number) {
            return Err(Status::EngineFailed);
        }
        foreign.decode(Asked { src, aux, room: dst.len() }, number, dst)
    }
}
