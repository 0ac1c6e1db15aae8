//! Requests that continue one another: the wrapping, the checksum and the limits around a back end's stream.

use arrayvec::ArrayVec;

use super::back::{self, Deflater, Inflater};
use super::cursor::{self, Input, Output};
use super::frame::{self, HeaderReader, MAX_HEADER, MAX_TRAILER, Opened};
use super::session::{ZipOp, ZipSession};
use crate::device::{Flush, Status};
use crate::engine::{Job, Report};

/// What is kept between the requests of a stream.
pub struct ZipStream(Way);

enum Way {
    Compress(Compressing),
    Decompress(Decompressing),
}

impl ZipStream {
    pub(super) fn new(session: &ZipSession) -> Result<Self, String> {
        let back_end = session.stream_back_end()?;
        let config = session.config();
        Ok(Self(match config.op {
            ZipOp::Compress => {
                let deflater = back::deflater(back_end, config.level, config.window_bits);
                Way::Compress(Compressing::new(deflater))
            }
            ZipOp::Decompress => Way::Decompress(Decompressing::new(session, back::inflater(back_end))),
        }))
    }

    pub(super) fn run(job: &mut Job<'_, ZipSession, Self>) -> Result<usize, Status> {
        let Some(continued) = job.stream.take() else {
            return Err(Status::BadStream);
        };
        let (mut input, mut output) = cursor::of(job);
        let session = job.session;
        let (full, ended, checksum) = match &mut continued.state.0 {
            Way::Compress(way) => {
                if continued.restart {
                    way.restart(session)?;
                }
                let full = way.run(session, &mut input, &mut output, job.flush)?;
                (full, way.part == Part::Ended, way.sum.value)
            }
            Way::Decompress(way) => {
                if continued.restart {
                    way.restart(session)?;
                }
                let full = way.run(session, &mut input, &mut output, job.flush)?;
                (full, way.part == Part::Ended, way.sum.value)
            }
        };
        job.report = Report { consumed: Some(input.consumed as u32), full, ended, checksum };
        Ok(output.produced)
    }
}

/// Of the uncompressed bytes.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: u32,
    len: u64,
}

impl Sum {
    fn new(session: &ZipSession) -> Self {
        Self { value: session.checksum().start(), len: 0 }
    }

    fn add(&mut self, session: &ZipSession, bytes: &[u8]) {
        self.value = session.checksum().update(self.value, bytes);
        self.len += bytes.len() as u64;
    }

    fn trailer(&self, session: &ZipSession) -> ArrayVec<u8, MAX_TRAILER> {
        frame::trailer(session.config.format, self.value, self.len)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Body,
    Trailer,
    Ended,
}

/// Room below this is given to the back end by way of [`Spill`]: a flush mark fits into it with room to spare, and room to
/// spare is how a back end tells that it is complete.
const SMALL: usize = 64;

/// What was produced where there was not room enough.
#[derive(Default)]
struct Spill {
    bytes: ArrayVec<u8, SMALL>,
    written: usize,
}

impl Spill {
    /// Whether all of it is out.
    fn drain(&mut self, output: &mut Output<'_>) -> bool {
        self.written += output.write(&self.bytes[self.written..]);
        let all = self.written == self.bytes.len();
        if all {
            self.clear();
        }
        all
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().copied());
    }
}

const _: () = assert!(MAX_HEADER <= SMALL && MAX_TRAILER <= SMALL);

struct Compressing {
    deflater: Box<dyn Deflater>,
    part: Part,
    /// Whether all input is read, and nothing is left but to write.
    is_closed: bool,
    sum: Sum,
    /// Comes before anything else.
    spill: Spill,
}

impl Compressing {
    fn new(deflater: Box<dyn Deflater>) -> Self {
        Self { deflater, part: Part::Header, is_closed: false, sum: Sum::default(), spill: Spill::default() }
    }

    fn restart(&mut self, session: &ZipSession) -> Result<(), Status> {
        self.deflater.restart(&session.config.dictionary)?;
        (self.part, self.is_closed, self.sum) = (Part::Header, false, Sum::new(session));
        self.spill.clear();
        Ok(())
    }

    /// Whether more room is needed.
    fn run(
        &mut self,
        session: &ZipSession,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        flush: Flush,
    ) -> Result<bool, Status> {
        if self.is_closed && !(input.bytes().is_empty() && flush == Flush::Finish) {
            return Err(Status::BadStream); // it was to be finished
        }
        if self.part == Part::Header {
            self.spill.put(&frame::header(session));
            self.part = Part::Body;
        }
        if !self.spill.drain(output) {
            return Ok(true);
        }
        if self.part == Part::Body && !self.body(session, input, output, flush)? {
            return Ok(true);
        }
        if self.part == Part::Body && flush == Flush::Finish {
            self.spill.put(&self.sum.trailer(session));
            self.part = Part::Trailer;
        }
        if self.part == Part::Trailer {
            if !self.spill.drain(output) {
                return Ok(true);
            }
            self.part = Part::Ended;
        }
        Ok(false)
    }

    /// Whether all was done that the request asks for.
    fn body(
        &mut self,
        session: &ZipSession,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        flush: Flush,
    ) -> Result<bool, Status> {
        loop {
            let bytes = input.bytes();
            let last = input.is_last();
            let flush = if last { flush } else { Flush::None };
            let room = output.room();
            let step = if room.len() < SMALL {
                let mut small = [0; SMALL];
                let step = self.deflater.deflate(bytes, &mut small, flush)?;
                self.spill.put(&small[..step.produced]);
                step
            } else {
                let step = self.deflater.deflate(bytes, room, flush)?;
                output.advance(step.produced);
                step
            };
            self.sum.add(session, &bytes[..step.consumed]);
            input.advance(step.consumed);
            let drained = self.spill.drain(output);
            self.is_closed = flush == Flush::Finish && input.bytes().is_empty();
            if last && step.done {
                return Ok(drained);
            }
            if !drained || output.is_full() {
                return Ok(false);
            }
            if step.consumed == 0 && step.produced == 0 {
                return Err(Status::EngineFailed); // it would never end
            }
        }
    }
}

struct Decompressing {
    inflater: Box<dyn Inflater>,
    part: Part,
    header: HeaderReader,
    trailer: ArrayVec<u8, MAX_TRAILER>,
    sum: Sum,
    consumed: u64,
}

impl Decompressing {
    fn new(session: &ZipSession, inflater: Box<dyn Inflater>) -> Self {
        let header = HeaderReader::new(session.config.format);
        Self {
            inflater,
            part: Part::Header,
            header,
            trailer: ArrayVec::new(),
            sum: Sum::default(),
            consumed: 0,
        }
    }

    fn restart(&mut self, session: &ZipSession) -> Result<(), Status> {
        self.inflater.restart()?;
        self.part = Part::Header;
        self.header = HeaderReader::new(session.config.format);
        self.trailer.clear();
        (self.sum, self.consumed) = (Sum::new(session), 0);
        Ok(())
    }

    /// Whether more room is needed.
    fn run(
        &mut self,
        session: &ZipSession,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
        flush: Flush,
    ) -> Result<bool, Status> {
        while self.part == Part::Header {
            let bytes = input.bytes();
            if bytes.is_empty() {
                return self.hungry(flush);
            }
            let (taken, opened) = self.header.read(bytes, session.config.window_bits)?;
            input.advance(taken);
            if let Some(opened) = opened {
                self.open(session, opened)?;
                self.part = Part::Body;
            }
        }
        if self.part == Part::Body {
            match self.body(session, input, output)? {
                Paused::Ended => self.part = Part::Trailer,
                Paused::Full => return Ok(true),
                Paused::Hungry => return self.hungry(flush),
            }
        }
        let expected = self.sum.trailer(session);
        while self.part == Part::Trailer {
            let bytes = input.bytes();
            let n = (expected.len() - self.trailer.len()).min(bytes.len());
            self.trailer.extend(bytes[..n].iter().copied());
            input.advance(n);
            if self.trailer.len() == expected.len() {
                if self.trailer != expected {
                    return Err(Status::BadInput);
                }
                self.part = Part::Ended;
            } else if n == 0 {
                return self.hungry(flush);
            }
        }
        Ok(false)
    }

    /// The input is used up and the stream has not ended.
    fn hungry(&self, flush: Flush) -> Result<bool, Status> {
        if flush == Flush::Finish { Err(Status::Truncated) } else { Ok(false) }
    }

    fn open(&mut self, session: &ZipSession, opened: Opened) -> Result<(), Status> {
        let wanted = match opened.dictionary_id {
            Some(id) if session.dictionary_id == Some(id) => true,
            Some(_) => return Err(Status::BadInput), // of a dictionary that is not ours
            // Raw streams do not say; both sides know. A zlib stream without one has said so.
            None => session.config.format == super::ZipFormat::Deflate && session.dictionary_id.is_some(),
        };
        if wanted { self.inflater.dictionary(&session.config.dictionary) } else { Ok(()) }
    }

    fn body(
        &mut self,
        session: &ZipSession,
        input: &mut Input<'_>,
        output: &mut Output<'_>,
    ) -> Result<Paused, Status> {
        let limits = session.config.limits;
        loop {
            let bytes = input.bytes();
            let room = output.room();
            // One byte beyond the limit is enough to see that it is exceeded.
            let left = limits.max_output.saturating_sub(self.sum.len).saturating_add(1);
            let allowed = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = &mut room[..allowed];
            // With no room too: it may be that nothing is missing but the end.
            let was_full = room.is_empty();
            let step = self.inflater.inflate(bytes, room)?;
            self.sum.add(session, &room[..step.produced]);
            self.consumed += step.consumed as u64;
            input.advance(step.consumed);
            output.advance(step.produced);
            if limits.exceeded(self.consumed, self.sum.len) {
                return Err(Status::LimitExceeded);
            }
            if step.done {
                return Ok(Paused::Ended);
            }
            if was_full {
                return Ok(Paused::Full);
            }
            // Room that was left says that nothing is held back: a piece that is full says nothing of the next.
            if input.bytes().is_empty() && step.produced < allowed {
                return Ok(Paused::Hungry);
            }
            if step.consumed == 0 && step.produced == 0 {
                return Err(Status::EngineFailed); // it would never end
            }
        }
    }
}

/// Why decompression pauses.
enum Paused {
    Ended,
    Full,
    Hungry,
}
