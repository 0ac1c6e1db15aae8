//! What a queue of HPRE does with its entries: RSA with keys that the entries bring.

use rustix::io::Errno;

use super::engines::asked;
use super::flight::{Errand, Failure, Flight, Piece};
use super::ring::Words;
use super::turns;
use super::work::{Context, Engine, Next};
use crate::device::{Completion, Request, Segment, SessionId, Status};
use crate::uacce::abi::hpre::{ENTRY, Entry, NULL, error, key_bytes};

/// Where the number is in the source, behind the longest key.
const INPUT: usize = 2560;
/// Where the result is in it.
const OUTPUT: usize = 3072;
/// Bytes of the source.
const SOURCE: usize = 3584;

/// How often a key is prepared in vain, each time for some hundred microseconds.
const MOST_TRIES: u16 = 10_000;

/// Steps of a request.
mod step {
    pub(super) const BEGIN: u8 = 0;
    pub(super) const STAGED: u8 = 1;
    pub(super) const KEYED: u8 = 2;
    pub(super) const COMPUTED: u8 = 3;
    pub(super) const DELIVERED: u8 = 4;
}

/// The entry of these words.
pub(super) fn entry(words: &Words) -> Entry {
    let mut entry = Entry::default();
    entry.0.copy_from_slice(&words[..ENTRY / 4]);
    entry
}

/// Goes on with a request until somebody else has to do something, or it is done.
pub(super) fn go(flight: &mut Flight, context: &mut Context<'_>) -> Next {
    match try_go(flight, context) {
        Ok(next) => next,
        Err(failure) => {
            end(flight, failure_code(failure));
            Next::Done
        }
    }
}

fn try_go(flight: &mut Flight, context: &mut Context<'_>) -> Result<Next, Failure> {
    match flight.outcome.take() {
        // Keys of others that are not in use can be prepared again; but if it is not that, it must have an end.
        Some(Errno::NOSPC) if flight.step == step::KEYED && flight.tries < MOST_TRIES => {
            flight.tries += 1;
            return Ok(Next::Crowded);
        }
        Some(errno) => return Err(context.failure(errno)),
        None => {}
    }
    match flight.step {
        step::BEGIN => begin(flight, context),
        step::STAGED => staged(flight, context),
        step::KEYED => {
            let (key, session) = flight.key.take().ok_or(Failure::Parameter)?;
            match context.keys.add(key, session, context.engines) {
                Some((place, session)) => compute(flight, place, session),
                // All are in use, by requests that will end. Then it is looked for anew.
                None => {
                    flight.step = step::STAGED;
                    Ok(Next::Held)
                }
            }
        }
        _ => {
            debug_assert_eq!(flight.step, step::DELIVERED);
            end(flight, 0);
            Ok(Next::Done)
        }
    }
}

fn begin(flight: &mut Flight, context: &mut Context<'_>) -> Result<Next, Failure> {
    let entry = entry(&flight.words);
    if entry.algorithm() == NULL {
        end(flight, 0);
        return Ok(Next::Done);
    }
    let (algorithm, operand) = asked(&flight.words)?;
    let addresses = entry.addresses();
    let key = key_bytes(algorithm, operand) as u32;
    flight.pieces.push(Piece { address: addresses.key, bytes: key, at: 0, seen: None });
    flight.pieces.push(Piece { address: addresses.input, bytes: operand as u32, at: INPUT, seen: None });
    flight.source_bytes = SOURCE;
    flight.find_pieces(context.table, context.far)?;
    flight.find_destination(context.table, context.far, addresses.output, operand as u32)?;
    flight.step = step::STAGED;
    match flight.stage(context.slots) {
        Some(true) => staged(flight, context),
        Some(false) => Ok(Next::Errand),
        None => Err(Failure::Parameter), // the core takes no entry without a slot for it
    }
}

fn staged(flight: &mut Flight, context: &mut Context<'_>) -> Result<Next, Failure> {
    let (algorithm, operand) = asked(&flight.words)?;
    let source = flight.source.as_mut().ok_or(Failure::Parameter)?;
    let key = &source.bytes()[..key_bytes(algorithm, operand)];
    match context.keys.find(key) {
        Some((place, session)) => compute(flight, place, session),
        None => {
            flight.step = step::KEYED;
            flight.errand = Errand::Key;
            Ok(Next::Errand)
        }
    }
}

fn compute(flight: &mut Flight, place: usize, session: SessionId) -> Result<Next, Failure> {
    let (algorithm, operand) = asked(&flight.words)?;
    let source = flight.source.as_mut().ok_or(Failure::Parameter)?;
    // How long an exponent is is no secret: those of private keys are as long as the modulus.
    let zeros = source.bytes()[..operand].iter().take_while(|byte| **byte == 0).count();
    flight.cost = turns::rsa(algorithm, operand, 8 * (operand - zeros));
    flight.key_place = Some(place);
    flight.step = step::COMPUTED;
    let segment = |at| Segment { iova: source.iova(at), len: operand as u32 };
    // SAFETY: the memory is the flight's alone, which keeps it until the completion is back.
    let request = unsafe { Request::raw(session, segment(INPUT), Segment::default(), segment(OUTPUT)) };
    Ok(Next::Engine(Engine::Rsa, request))
}

/// The engine has answered.
pub(super) fn computed(flight: &mut Flight, done: &Completion, context: &mut Context<'_>) -> Next {
    if let Some(place) = flight.key_place.take() {
        context.keys.done(place);
    }
    flight.step = step::DELIVERED;
    let code = match done.status {
        Status::Ok if context.over => 0,
        Status::Ok => {
            let bytes = done.produced as usize;
            if !flight.deliver(false, OUTPUT, bytes) {
                return Next::Errand;
            }
            0
        }
        Status::Fault(_) => error::ADDRESS,
        _ => error::PARAMETER,
    };
    end(flight, code);
    Next::Done
}

fn failure_code(failure: Failure) -> u32 {
    match failure {
        Failure::Address => error::ADDRESS,
        Failure::Parameter => error::PARAMETER,
    }
}

/// Ends it, and forgets the key and the numbers.
fn end(flight: &mut Flight, code: u32) {
    let mut entry = entry(&flight.words);
    entry.end(code);
    flight.words[..ENTRY / 4].copy_from_slice(&entry.0);
    if let Some(source) = &mut flight.source {
        source.wipe(SOURCE);
    }
}
