//! Requests that continue one another. What the device remembers is in memory of ours, and in words that are carried from entry to
//! entry.
//!
//! Every output that is not the last ends at a byte: the device knows flushing and finishing, nothing between. So a stream that ends
//! without any more input is ended here, by an empty block and the trailer.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{Note, Work, Zip, places};
use crate::device::{Flush, Status};
use crate::engine::zip::frame::{self, HeaderReader};
use crate::engine::zip::{ZipFormat, ZipOp};
use crate::engine::{Outcome, Report};
use crate::uacce::abi::zip::{self as abi, Asked, CONTEXT, CONTEXT_AT, Ended, Entry, State, status};
use crate::uacce::driver::{Ask, Begun};
use crate::uacce::operands::{Operands, resolve};
use crate::uacce::scratch::{Arena, Block};

/// What is kept between the requests of a stream.
pub(super) struct Carry {
    context: Block,
    state: State,
    part: Part,
    header: HeaderReader,
    /// Of ours, on its way out: a header, or an end.
    spill: ArrayVec<u8, SPILL>,
    written: usize,
    /// Whether the device has had its first entry, and may have output that there was no room for.
    begun: bool,
    more: bool,
    /// Whether the device was told that the stream ends.
    finishing: bool,
    /// The queue that had it.
    queue: u64,
    consumed: u64,
    produced: u64,
    /// Of raw DEFLATE.
    checksum: u32,
}

/// Room for a header; and for the last block and a trailer.
const SPILL: usize = 16;
const _: () = assert!(frame::MAX_HEADER <= SPILL && LAST_BLOCK.len() + frame::MAX_TRAILER <= SPILL);

/// An empty stored block that is the last (RFC 1951, 3.2.4), from a byte's start.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Of decompression: the header was not read to its end.
    Header,
    Body,
    /// The end is on its way out.
    Tail,
}

/// What is remembered of a request of a stream.
pub(super) struct StreamNote {
    /// Bytes of ours in front of the output, or of a header in front of the input.
    before: u32,
    /// Whether the device was told that the stream ends.
    finish: bool,
}

impl Carry {
    pub(super) fn new(arena: &Arc<Arena>) -> Result<Self, String> {
        Ok(Self {
            context: arena.alloc(CONTEXT)?,
            state: State::default(),
            part: Part::Header,
            header: HeaderReader::new(ZipFormat::Deflate),
            spill: ArrayVec::new(),
            written: 0,
            begun: false,
            more: false,
            finishing: false,
            queue: 0,
            consumed: 0,
            produced: 0,
            checksum: 0,
        })
    }

    fn restart(&mut self, work: &Work) {
        let config = work.config();
        self.spill.clear();
        self.written = 0;
        self.part = match config.op {
            ZipOp::Compress => {
                self.spill.extend(frame::header(&work.session));
                Part::Body
            }
            ZipOp::Decompress => Part::Header,
        };
        self.header = HeaderReader::new(config.format);
        self.state = State::default().with_checksum(work.format, work.session.checksum().start());
        (self.begun, self.more, self.finishing) = (false, false, false);
        (self.consumed, self.produced) = (0, 0);
        self.checksum = work.raw_checksum().start();
    }

    /// Writes what is ours to the front of the output. How much, and whether that was all.
    fn drain(&mut self, dst: &mut [u8]) -> (usize, bool) {
        let left = &self.spill[self.written..];
        let n = left.len().min(dst.len());
        dst[..n].copy_from_slice(&left[..n]);
        self.written += n;
        let all = self.written == self.spill.len();
        if all {
            self.spill.clear();
            self.written = 0;
        }
        (n, all)
    }

    /// Of the uncompressed bytes so far.
    fn checksum(&self, work: &Work) -> u32 {
        match work.format {
            abi::Format::Deflate => self.checksum,
            format => self.state.checksum(format),
        }
    }

    /// An answer without the device.
    fn report(&self, work: &Work, consumed: usize, full: bool, ended: bool) -> Report {
        Report { consumed: Some(consumed as u32), full, ended, checksum: self.checksum(work) }
    }
}

impl Zip {
    /// A request that continues others.
    pub(super) fn begin_stream(&mut self, ask: Ask<'_, Work>) -> Result<Begun<Entry, Note>, Status> {
        let Ask { session: work, request, stream, view } = ask;
        let operands = resolve(view, request)?;
        let carried = stream.ok_or(Status::BadStream)?;
        let carry: &mut Carry = carried.state.downcast_mut().ok_or(Status::BadStream)?;
        if request.flush == Flush::Full {
            return Err(Status::Unsupported); // devices cannot forget what they have seen
        }
        if carried.restart {
            carry.restart(work);
        }
        if work.bound && carry.begun && carry.queue != self.queue {
            return Err(Status::BadStream);
        }
        let before = match work.config().op {
            ZipOp::Compress => carry.before_compression(work, operands, request.flush),
            ZipOp::Decompress => carry.before_decompression(work, operands, request.flush),
        }?;
        let Before { before_input, before_output } = match before {
            Step::Go(before) => before,
            Step::Done(outcome, report) => return Ok(Begun::Done(outcome, report)),
        };
        let whole = request.src_len() as usize - before_input;
        let room = (request.dst_len() as usize - before_output).min(abi::MOST);
        let mut input = whole.min(abi::MOST);
        if work.cut && work.config().op == ZipOp::Compress {
            // Of which a device makes more than there is room for at the worst, it loses some.
            input = input.min((room / 9 * 8) & !3);
            if input == 0 && whole > 0 {
                return Err(Status::NoSpace { needed: work.worst(request) });
            }
        }
        // Where the end might not fit it is ours, once all the rest is out: it may come in pieces then.
        let fits = carry.finishing || room >= input + input / 8 + 64;
        let finish = request.flush == Flush::Finish && input == whole && fits;
        carry.finishing = finish;
        let (source, destination) = places(request, before_input, before_output);
        let tag = self.next_tag();
        let asked = Asked {
            format: work.format,
            source,
            input: input as u32,
            destination,
            room: room as u32,
            stream: Some(carry.context.iova().0 + CONTEXT_AT as u64),
            begins: !carry.begun,
            finish,
        };
        let mut entry = work.entry(&asked, tag);
        entry.set_state(&carry.state);
        (carry.begun, carry.queue) = (true, self.queue);
        let before = (before_input + before_output) as u32;
        let stream = Some(StreamNote { before, finish });
        Ok(Begun::Send(entry, Note { tag, input: asked.input, room: asked.room, header: 0, stream }))
    }
}

/// Bytes that the device does not see.
struct Before {
    before_input: usize,
    before_output: usize,
}

enum Step {
    Go(Before),
    Done(Outcome, Report),
}

impl Carry {
    fn before_compression(
        &mut self,
        work: &Work,
        operands: Operands<'_>,
        flush: Flush,
    ) -> Result<Step, Status> {
        let Operands { src, dst, .. } = operands;
        let (mut n, mut all) = self.drain(dst);
        if all && self.part == Part::Body && src.is_empty() && !self.more && flush == Flush::Finish {
            let length = u64::from(self.state.length);
            self.spill.extend(LAST_BLOCK);
            self.spill.extend(frame::trailer(work.config().format, self.checksum(work), length));
            self.part = Part::Tail;
            let (more, rest) = self.drain(&mut dst[n..]);
            (n, all) = (n + more, rest);
        }
        if self.part == Part::Tail {
            // Nothing can follow the end.
            return if src.is_empty() { Ok(self.done(work, n, !all, all)) } else { Err(Status::BadInput) };
        }
        let nothing = src.is_empty() && !self.more;
        if !all || nothing || dst.len() == n {
            return Ok(self.done(work, n, !all || !nothing, false));
        }
        Ok(Step::Go(Before { before_input: 0, before_output: n }))
    }

    fn done(&self, work: &Work, produced: usize, full: bool, ended: bool) -> Step {
        Step::Done(Ok(produced), self.report(work, 0, full, ended))
    }

    fn before_decompression(
        &mut self,
        work: &Work,
        operands: Operands<'_>,
        flush: Flush,
    ) -> Result<Step, Status> {
        let Operands { src, .. } = operands;
        let mut taken = 0;
        if self.part == Part::Header {
            let (read, opened) = self.header.read(src, work.config().window_bits)?;
            taken = read;
            match opened {
                Some(opened) if opened.dictionary_id.is_some() => return Err(Status::BadInput),
                Some(_) => self.part = Part::Body,
                None => {}
            }
            self.consumed += taken as u64;
        }
        if self.part == Part::Header || taken == src.len() && !self.more {
            // Hungry.
            if flush == Flush::Finish {
                return Err(Status::Truncated);
            }
            return Ok(Step::Done(Ok(0), self.report(work, taken, false, false)));
        }
        Ok(Step::Go(Before { before_input: taken, before_output: 0 }))
    }
}

/// What came of a request that continues others.
pub(super) fn end(
    ask: Ask<'_, Work>,
    note: &Note,
    entry: &Entry,
    ended: &Ended,
) -> Result<(Outcome, Report), Status> {
    let Ask { session: work, request, stream, view } = ask;
    let Operands { src, dst, .. } = resolve(view, request)?;
    let (Some(carried), Some(of_stream)) = (stream, &note.stream) else {
        return Err(Status::BadStream);
    };
    let carry: &mut Carry = carried.state.downcast_mut().ok_or(Status::BadStream)?;
    carry.state = entry.state();
    let (read, written) = (ended.consumed as usize, ended.produced as usize);
    let full = ended.status == status::FULL;
    let more = carry.state.has_more() || full;
    let stuck = read == 0 && written == 0;
    if full && stuck {
        return Err(Status::NoSpace { needed: 0 });
    }
    if stuck && note.input > 0 && note.room > 0 && !more && ended.status != status::END {
        return Err(Status::EngineFailed); // it would never end
    }
    let compress = work.config().op == ZipOp::Compress;
    let before = of_stream.before as usize;
    let (consumed, produced) = if compress { (read, before + written) } else { (before + read, written) };
    carry.consumed += read as u64;
    carry.produced += written as u64;
    let plain = if compress { src.get(..consumed) } else { dst.get(..produced) };
    carry.checksum = work.raw_checksum().update(carry.checksum, plain.ok_or(Status::EngineFailed)?);
    let whole = consumed == src.len();
    let (is_full, has_ended) = if compress {
        carry.more = more;
        let has_ended = of_stream.finish && whole && !more;
        let owed = request.flush == Flush::Finish && !has_ended;
        (more || !whole || owed, has_ended)
    } else {
        if work.config().limits.exceeded(carry.consumed, carry.produced) {
            return Err(Status::LimitExceeded);
        }
        let has_ended = ended.status == status::END;
        // Room that is used up to its end does not tell whether there is more.
        carry.more = !has_ended && (more || ended.produced == note.room);
        if !has_ended && whole && !carry.more && request.flush == Flush::Finish {
            return Err(Status::Truncated);
        }
        (!has_ended && (carry.more || !whole), has_ended)
    };
    Ok((Ok(produced), carry.report(work, consumed, is_full, has_ended)))
}
