//! What a queue of ZIP does with its entries: blocks of DEFLATE, with the trailers of zlib and gzip.

use std::collections::HashMap;

use arrayvec::ArrayVec;

use super::bounce;
use super::flight::{Destination, Errand, Failure, Flight, Piece};
use super::ring::{Words, ZIP_DONE};
use super::turns;
use super::work::{Context, Engine, Next};
use crate::device::{Completion, Flush, Request, Segment, SessionId, Status, Stream};
use crate::uacce::abi::zip::{Asked, Ended, Entry, Format, MOST, status};

/// The most streams that a queue remembers.
const MOST_STREAMS: usize = 64;

/// Steps of a request.
mod step {
    pub(super) const BEGIN: u8 = 0;
    pub(super) const STAGED: u8 = 1;
    pub(super) const STREAM: u8 = 2;
    pub(super) const COMPUTED: u8 = 3;
    pub(super) const DELIVERED: u8 = 4;
}

/// What a queue remembers between requests of a stream, by the address that its user has for it.
#[derive(Default)]
pub(super) struct Streams(HashMap<u64, Running>);

/// A stream.
struct Running {
    /// `None` while a request has it.
    stream: Option<Stream>,
    /// Whose operation it does.
    session: SessionId,
    /// Uncompressed bytes so far, as gzip counts them.
    length: u32,
    checksum: u32,
    /// What came of the trailer when the blocks had ended.
    trailer: Option<ArrayVec<u8, 8>>,
}

impl Streams {
    /// The stream at an address for the next request, begun anew if that is the first. `Ok(None)`: one has to be made.
    fn take(&mut self, at: u64, begins: bool, session: SessionId) -> Result<Option<Stream>, Failure> {
        match self.0.get_mut(&at) {
            Some(running) if running.session == session => {
                let mut stream = running.stream.take().ok_or(Failure::Parameter)?;
                if begins {
                    stream.restart();
                    (running.length, running.trailer) = (0, None);
                }
                Ok(Some(stream))
            }
            Some(running) if running.stream.is_none() => Err(Failure::Parameter),
            _ if begins => Ok(None),
            _ => Err(Failure::Parameter), // what it continues is not known
        }
    }

    /// Makes a place for a new one; it is with its first request.
    fn add(&mut self, at: u64, session: SessionId) -> Result<(), Failure> {
        if self.0.len() >= MOST_STREAMS && !self.0.contains_key(&at) {
            // One that is not in use has to make room.
            let unused = self.0.iter().find(|(_, running)| running.stream.is_some()).map(|(at, _)| *at);
            self.0.remove(&unused.ok_or(Failure::Parameter)?);
        }
        let running = Running { stream: None, session, length: 0, checksum: 0, trailer: None };
        self.0.insert(at, running);
        Ok(())
    }
}

fn entry(words: &Words) -> Entry {
    Entry(*words)
}

fn asked(words: &Words) -> Result<Asked, Failure> {
    let asked = entry(words).asked().ok_or(Failure::Parameter)?;
    let fits = asked.input as usize <= MOST && asked.room as usize <= MOST;
    fits.then_some(asked).ok_or(Failure::Parameter)
}

/// Bytes behind the blocks.
fn trailer_bytes(format: Format) -> usize {
    match format {
        Format::Deflate => 0,
        Format::Zlib => 4,
        Format::Gzip => 8,
    }
}

fn trailer(format: Format, checksum: u32, length: u32) -> ArrayVec<u8, 8> {
    let mut bytes = ArrayVec::new();
    match format {
        Format::Deflate => {}
        Format::Zlib => bytes.extend(checksum.to_be_bytes()),
        Format::Gzip => {
            bytes.extend(checksum.to_le_bytes());
            bytes.extend(length.to_le_bytes());
        }
    }
    bytes
}

/// A checksum as the device tells it: that of gzip with its bits the other way round, from before the last step.
fn told(format: Format, checksum: u32) -> u32 {
    match format {
        Format::Gzip => (!checksum).reverse_bits(),
        _ => checksum,
    }
}

/// Goes on with a request until somebody else has to do something, or it is done.
pub(super) fn go(flight: &mut Flight, context: &mut Context<'_>) -> Next {
    try_go(flight, context).unwrap_or_else(|failure| {
        put_back(flight, context.streams);
        let status = match failure {
            Failure::Address => status::ADDRESS,
            Failure::Parameter => status::DATA,
        };
        end(flight, &Ended { status, ..Ended::default() }, false);
        Next::Done
    })
}

fn try_go(flight: &mut Flight, context: &mut Context<'_>) -> Result<Next, Failure> {
    if let Some(errno) = flight.outcome.take() {
        return Err(context.failure(errno));
    }
    match flight.step {
        step::BEGIN => begin(flight, context),
        step::STAGED => staged(flight, context),
        step::STREAM => {
            let asked = asked(&flight.words)?;
            context.streams.add(asked.stream.ok_or(Failure::Parameter)?, session(flight, &asked, context))?;
            compute(flight, &asked, context)
        }
        // Delivered: what there is to say was said before.
        _ => Ok(Next::Done),
    }
}

fn session(flight: &Flight, asked: &Asked, context: &Context<'_>) -> SessionId {
    context.engines.zip(context.compress, asked.format, level(flight, context))
}

fn level(flight: &Flight, context: &Context<'_>) -> u8 {
    entry(&flight.words).level().unwrap_or(context.level)
}

fn begin(flight: &mut Flight, context: &mut Context<'_>) -> Result<Next, Failure> {
    let asked = asked(&flight.words)?;
    if (asked.room as usize) < behind(&asked, context) {
        return Ok(no_room(flight, context));
    }
    let piece = Piece { address: asked.source, bytes: asked.input, at: 0, seen: None };
    flight.pieces.push(piece);
    flight.find_pieces(context.table, context.far)?;
    flight.find_destination(context.table, context.far, asked.destination, asked.room)?;
    let in_place = context.in_place && flight.pieces[0].seen.is_some();
    flight.source_bytes = if in_place { 0 } else { asked.input as usize };
    flight.output_bytes = match flight.destination {
        Destination::Far(_) => asked.room as usize,
        _ => 0,
    };
    flight.step = step::STAGED;
    match flight.stage(context.slots) {
        Some(true) => staged(flight, context),
        Some(false) => Ok(Next::Errand),
        None => Err(Failure::Parameter), // the core takes no entry without slots for it
    }
}

fn staged(flight: &mut Flight, context: &mut Context<'_>) -> Result<Next, Failure> {
    let asked = asked(&flight.words)?;
    if let Some(at) = asked.stream {
        let session = session(flight, &asked, context);
        flight.stream = context.streams.take(at, asked.begins, session)?;
        if flight.stream.is_none() {
            flight.step = step::STREAM;
            flight.errand = Errand::Stream(session);
            return Ok(Next::Errand);
        }
        if let Some(next) = rest_of_trailer(flight, &asked, context) {
            return Ok(next);
        }
    }
    compute(flight, &asked, context)
}

/// Bytes of the trailer that the output has to have room for.
fn behind(asked: &Asked, context: &Context<'_>) -> usize {
    if context.compress && asked.finish { trailer_bytes(asked.format) } else { 0 }
}

fn no_room(flight: &mut Flight, context: &mut Context<'_>) -> Next {
    put_back(flight, context.streams);
    end(flight, &Ended { status: status::FULL, ..Ended::default() }, false);
    Next::Done
}

fn compute(flight: &mut Flight, asked: &Asked, context: &mut Context<'_>) -> Result<Next, Failure> {
    flight.step = step::COMPUTED;
    let Some(room) = asked.room.checked_sub(behind(asked, context) as u32) else {
        return Ok(no_room(flight, context));
    };
    let source = match (&flight.source, flight.pieces[0].seen) {
        _ if asked.input == 0 => Segment::default(),
        (Some(source), _) => Segment { iova: source.iova(0), len: asked.input },
        (None, Some(iova)) => Segment { iova, len: asked.input },
        (None, None) => return Err(Failure::Address),
    };
    let output = match (&flight.output, &flight.destination) {
        (Some(output), _) => Segment { iova: output.iova(0), len: room },
        (None, Destination::Seen(iova)) => Segment { iova: *iova, len: room },
        _ => Segment::default(),
    };
    let session = session(flight, asked, context);
    flight.cost = turns::zip(context.compress, level(flight, context), asked.input, room);
    // SAFETY: what is the server's own is the flight's alone. What is the process's may be changed by it at any time, the
    // output always and the input only where that is permitted by `in_place`: engines take whatever bytes they find.
    let mut request = unsafe { Request::raw(session, source, Segment::default(), output) };
    if context.compress && !asked.finish {
        request.flush = Flush::Sync; // blocks to which others are appended
    }
    if let Some(stream) = flight.stream.take() {
        request.set_stream(stream, if asked.finish { Flush::Finish } else { Flush::Sync });
        if !context.compress {
            request.flush = Flush::Sync;
        }
    }
    Ok(Next::Engine(Engine::Zip, request))
}

/// The engine has answered.
pub(super) fn computed(flight: &mut Flight, done: &mut Completion, context: &mut Context<'_>) -> Next {
    flight.stream = done.request.take_stream();
    let Ok(asked) = asked(&flight.words) else { return Next::Done };
    let is_stream = asked.stream.is_some();
    let mut ended = Ended { consumed: done.consumed, produced: done.produced, ..Ended::default() };
    let mut again = false;
    match done.status {
        Status::Ok | Status::OutputFull => {
            again = done.status == Status::OutputFull && done.consumed == asked.input;
            let uncompressed = if context.compress { done.consumed } else { done.produced };
            let length = match asked.stream.and_then(|at| context.streams.0.get_mut(&at)) {
                Some(running) => {
                    running.length = running.length.wrapping_add(uncompressed);
                    running.checksum = done.checksum;
                    running.length
                }
                None => uncompressed,
            };
            (ended.length, ended.checksum) = (length, told(asked.format, done.checksum));
            if done.ended && context.compress {
                close(flight, &asked, &mut ended, done.checksum);
            } else if done.ended {
                open(flight, &asked, &mut ended, done.checksum, context.streams);
            }
        }
        Status::NoSpace { .. } => ended = Ended { status: status::FULL, ..Ended::default() },
        Status::Fault(_) => ended = Ended { status: status::ADDRESS, ..Ended::default() },
        Status::Truncated => ended = Ended { status: status::TRUNCATED, ..Ended::default() },
        _ => ended = Ended { status: status::DATA, ..Ended::default() },
    }
    ended.last_block &= is_stream;
    put_back(flight, context.streams);
    let produced = ended.produced as usize;
    end(flight, &ended, again);
    flight.step = step::DELIVERED;
    let is_there = context.over || flight.output.is_none() || flight.deliver(true, 0, produced);
    if is_there { Next::Done } else { Next::Errand }
}

/// Writes the trailer behind the blocks. There is room for it.
fn close(flight: &mut Flight, asked: &Asked, ended: &mut Ended, checksum: u32) {
    let bytes = trailer(asked.format, checksum, ended.length);
    let at = ended.produced as usize;
    match (&mut flight.output, &flight.destination) {
        (Some(output), _) => output.bytes()[at..at + bytes.len()].copy_from_slice(&bytes),
        (None, Destination::Seen(to)) => {
            let to = warpdrive_mempool::Iova(to.0 + at as u64);
            // SAFETY: the engine had so much less room than was resolved for writing, which is still held.
            unsafe { bounce::put(to, &bytes) };
        }
        _ => {}
    }
    ended.produced += bytes.len() as u32;
}

/// Reads the trailer behind the blocks, as far as it is there.
fn open(flight: &mut Flight, asked: &Asked, ended: &mut Ended, checksum: u32, streams: &mut Streams) {
    let expected = trailer(asked.format, checksum, ended.length);
    let mut found = ArrayVec::new();
    ended.consumed += read_trailer(flight, asked, ended.consumed, expected.len(), &mut found);
    settle(asked, ended, &expected, found, streams);
}

/// Goes on with a trailer of which a part was in the last request.
fn rest_of_trailer(flight: &mut Flight, asked: &Asked, context: &mut Context<'_>) -> Option<Next> {
    let running = context.streams.0.get_mut(&asked.stream?)?;
    let mut found = running.trailer.take()?;
    let expected = trailer(asked.format, running.checksum, running.length);
    let mut ended = Ended { length: running.length, ..Ended::default() };
    ended.checksum = told(asked.format, running.checksum);
    let missing = expected.len() - found.len();
    ended.consumed = read_trailer(flight, asked, 0, missing, &mut found);
    settle(asked, &mut ended, &expected, found, context.streams);
    put_back(flight, context.streams);
    end(flight, &ended, false);
    Some(Next::Done)
}

fn settle(asked: &Asked, ended: &mut Ended, expected: &[u8], found: ArrayVec<u8, 8>, streams: &mut Streams) {
    let running = asked.stream.and_then(|at| streams.0.get_mut(&at));
    (ended.status, ended.last_block) = match running {
        _ if found[..] == *expected => (status::END, true),
        Some(running) if expected.starts_with(&found) => {
            running.trailer = Some(found);
            (status::DONE, false)
        }
        _ => (status::CHECKSUM, false),
    };
}

/// Takes up to `missing` bytes of the input from `at`; returns how many.
fn read_trailer(
    flight: &mut Flight,
    asked: &Asked,
    at: u32,
    missing: usize,
    found: &mut ArrayVec<u8, 8>,
) -> u32 {
    let n = missing.min((asked.input - at) as usize);
    let at = at as usize;
    let mut bytes = [0; 8];
    match (&mut flight.source, flight.pieces[0].seen) {
        (Some(source), _) => bytes[..n].copy_from_slice(&source.bytes()[at..at + n]),
        (None, Some(iova)) => {
            let from = warpdrive_mempool::Iova(iova.0 + at as u64);
            // SAFETY: inside what was resolved for reading, which is still held.
            unsafe { bounce::get(from, &mut bytes[..n]) };
        }
        (None, None) => return 0,
    }
    found.extend(bytes[..n].iter().copied());
    n as u32
}

/// The stream is there for the next request.
fn put_back(flight: &mut Flight, streams: &mut Streams) {
    if let (Some(stream), Ok(Asked { stream: Some(at), .. })) = (flight.stream.take(), asked(&flight.words))
        && let Some(running) = streams.0.get_mut(&at)
    {
        running.stream = Some(stream);
    }
}

/// Ends it. `again`: there is more output than there was room.
fn end(flight: &mut Flight, ended: &Ended, again: bool) {
    let mut entry = entry(&flight.words);
    entry.end(ended);
    entry.set_again(again);
    flight.words = entry.0;
    flight.words[2] |= ZIP_DONE;
}
