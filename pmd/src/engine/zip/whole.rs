//! Requests that stand alone.

use super::back::{self, Deflater, Inflater, Step};
use super::frame::{self, HeaderReader};
use super::libdeflate::{Compressors, Decompressor};
use super::quick::{Carry, End, Past, Quick};
use super::session::{BackEnd, WINDOW_BITS, ZipFormat, ZipOp, ZipSession};
use super::stream::ZipStream;
use super::{join, probe, stored};
use crate::device::{Flush, Status};
use crate::engine::{Job, Report};

/// All that requests which stand alone need, shared by all sessions.
pub(super) struct Whole {
    quick: Quick,
    compressors: Compressors,
    decompressor: Decompressor,
    #[cfg(feature = "isal")]
    isal: super::isal::Whole,
    /// Made when they are first used.
    deflaters: Vec<(Setting, Box<dyn Deflater>)>,
    inflaters: Vec<(BackEnd, Box<dyn Inflater>)>,
    joiner: join::Joiner,
    /// Input and output of chained requests, in one piece each.
    gathered: Vec<u8>,
    scattered: Vec<u8>,
}

/// Back end, level and window of a compressor.
type Setting = (BackEnd, u8, u8);

/// What was read, what was written, and the checksum of the uncompressed side.
struct Done {
    consumed: usize,
    produced: usize,
    checksum: u32,
}

/// Writes to the pieces of a job's output.
fn scatter(mut bytes: &[u8], job: &mut Job<'_, ZipSession, ZipStream>) {
    for piece in std::iter::once(&mut *job.dst).chain(job.dst_rest.iter_mut()) {
        let (now, later) = bytes.split_at(bytes.len().min(piece.len()));
        piece[..now.len()].copy_from_slice(now);
        bytes = later;
    }
}

/// Not enough; how much would be is said later.
const NO_ROOM: Status = Status::NoSpace { needed: 0 };

impl Whole {
    pub(super) fn new() -> Self {
        Self {
            quick: Quick::new(),
            compressors: Compressors::new(),
            decompressor: Decompressor::new(),
            #[cfg(feature = "isal")]
            isal: super::isal::Whole::new(),
            deflaters: Vec::new(),
            inflaters: Vec::new(),
            joiner: join::Joiner::new(),
            gathered: Vec::new(),
            scattered: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, job: &mut Job<'_, ZipSession, ZipStream>) -> Result<usize, Status> {
        if job.src_rest.is_empty() && job.dst_rest.is_empty() {
            let dst = std::mem::take(&mut job.dst);
            return self.run_flat(job.session, job.src, dst, job.flush, job.checksum, &mut job.report);
        }
        // The back ends want one piece: copying costs a tenth of what they do, at the very most.
        let (mut gathered, mut scattered) =
            (std::mem::take(&mut self.gathered), std::mem::take(&mut self.scattered));
        let mut src = job.src;
        if !job.src_rest.is_empty() {
            gathered.clear();
            gathered.extend_from_slice(job.src);
            job.src_rest.iter().for_each(|piece| gathered.extend_from_slice(piece));
            src = &gathered;
        }
        let result = if job.dst_rest.is_empty() {
            let dst = std::mem::take(&mut job.dst);
            self.run_flat(job.session, src, dst, job.flush, job.checksum, &mut job.report)
        } else {
            let room = job.dst.len() + job.dst_rest.len();
            if scattered.len() < room {
                scattered.resize(room, 0);
            }
            let dst = &mut scattered[..room];
            self.run_flat(job.session, src, dst, job.flush, job.checksum, &mut job.report)
                .inspect(|produced| scatter(&scattered[..*produced], job))
        };
        (self.gathered, self.scattered) = (gathered, scattered);
        result
    }

    fn run_flat(
        &mut self,
        session: &ZipSession,
        src: &[u8],
        dst: &mut [u8],
        flush: Flush,
        checksum: Option<u32>,
        report: &mut Report,
    ) -> Result<usize, Status> {
        let done = match session.config.op {
            ZipOp::Compress => self.compress(session, src, dst, flush),
            ZipOp::Decompress => self.decompress(session, src, dst),
        }?;
        let plain = match session.config.op {
            ZipOp::Compress => done.consumed,
            ZipOp::Decompress => done.produced,
        };
        // Behind it, because the trailer is about this stream alone.
        let checksum = checksum
            .map_or(done.checksum, |first| session.checksum().combine(first, done.checksum, plain as u64));
        *report = Report {
            consumed: Some(done.consumed as u32),
            full: false,
            ended: flush == Flush::Finish,
            checksum,
        };
        Ok(done.produced)
    }

    fn compress(
        &mut self,
        session: &ZipSession,
        src: &[u8],
        dst: &mut [u8],
        flush: Flush,
    ) -> Result<Done, Status> {
        let finish = match flush {
            Flush::Finish => true,
            // A wrapping has an end; blocks that others are appended to have none.
            Flush::Sync | Flush::Full if session.config.format == ZipFormat::Deflate => false,
            _ => return Err(Status::Unsupported),
        };
        let checksum = session.checksum().of(src);
        let header = frame::header(session);
        let trailer = frame::trailer(session.config.format, checksum, src.len() as u64);
        let around = header.len() + trailer.len();
        let room = dst.len().checked_sub(around).ok_or(NO_ROOM);
        let body = room.and_then(|room| self.body(session, src, &mut dst[header.len()..][..room], finish));
        let body = body.map_err(|status| match status {
            NO_ROOM => Status::NoSpace { needed: self.bound(session, src.len(), around) },
            other => other,
        })?;
        dst[..header.len()].copy_from_slice(&header);
        dst[header.len() + body..][..trailer.len()].copy_from_slice(&trailer);
        Ok(Done { consumed: src.len(), produced: body + around, checksum })
    }

    /// Raw DEFLATE of all the input.
    fn body(
        &mut self,
        session: &ZipSession,
        src: &[u8],
        dst: &mut [u8],
        finish: bool,
    ) -> Result<usize, Status> {
        let level = session.config.level;
        if session.whole == BackEnd::Quick {
            return self.quick_body(session, src, dst, finish);
        }
        if level > 0 && session.dictionary_id.is_none() && probe::is_noise(src) {
            let stored = if finish { stored::store(src, dst, true) } else { stored::store_open(src, dst) };
            return stored.ok_or(NO_ROOM);
        }
        match session.whole {
            #[cfg(feature = "isal")]
            BackEnd::Isal if is_plain(session) => {
                return self.isal.compress(level, src, dst, finish).ok_or(NO_ROOM);
            }
            BackEnd::Isal | BackEnd::ZlibRs => return self.stream_body(session, src, dst, finish),
            _ => {}
        }
        let n = self.compressors.compress(level, src, dst).ok_or(NO_ROOM)?;
        if finish {
            return Ok(n);
        }
        // What libdeflate has written is sound.
        self.joiner.open(dst, n).map_err(|_| Status::EngineFailed)?.ok_or(NO_ROOM)
    }

    /// By the quick encoder, which tells noise by itself.
    fn quick_body(
        &mut self,
        session: &ZipSession,
        src: &[u8],
        dst: &mut [u8],
        finish: bool,
    ) -> Result<usize, Status> {
        let past = session.primed.as_deref().map_or(Past::Fresh, Past::Primed);
        let (window, end) = (1 << session.config.window_bits, if finish { End::Final } else { End::Sync });
        self.quick.encode(past, src, 0, window, end, &mut Carry::default(), dst).ok_or(NO_ROOM)
    }

    /// By a back end's streams.
    fn stream_body(
        &mut self,
        session: &ZipSession,
        src: &[u8],
        dst: &mut [u8],
        finish: bool,
    ) -> Result<usize, Status> {
        let of = (session.whole, session.config.level, session.config.window_bits);
        let place = self.deflaters.iter().position(|(key, _)| *key == of).unwrap_or_else(|| {
            self.deflaters.push((of, back::deflater(of.0, of.1, of.2)));
            self.deflaters.len() - 1
        });
        let deflater = &mut self.deflaters[place].1;
        deflater.restart(&session.config.dictionary)?;
        let step = deflater.deflate(src, dst, if finish { Flush::Finish } else { Flush::Full })?;
        if step.done { Ok(step.produced) } else { Err(NO_ROOM) }
    }

    /// Room that suffices for any input of this length.
    fn bound(&mut self, session: &ZipSession, len: usize, around: usize) -> u32 {
        let bound = match session.whole {
            // zlib's own worst case: nine bits for each byte, which is what level 1 makes of noise.
            BackEnd::ZlibRs => len + len.div_ceil(8) + len.div_ceil(64) + 64,
            // A code of at most 15 bits for each byte, if it is never stored.
            BackEnd::Isal if !is_plain(session) => 2 * len + 512,
            BackEnd::Isal => stored::bound(len),
            BackEnd::Quick => Quick::bound(len),
            _ => self.compressors.bound(session.config.level, len) + join::MARK,
        };
        (bound.max(stored::bound(len)) + around) as u32
    }

    fn decompress(&mut self, session: &ZipSession, src: &[u8], dst: &mut [u8]) -> Result<Done, Status> {
        let mut reader = HeaderReader::new(session.config.format);
        let (header, opened) = reader.read(src, session.config.window_bits)?;
        let opened = opened.ok_or(Status::Truncated)?;
        let raw = session.config.format == ZipFormat::Deflate;
        let dictionary = match opened.dictionary_id {
            Some(id) if session.dictionary_id == Some(id) => &session.config.dictionary[..],
            Some(_) => return Err(Status::BadInput),
            None if raw => &session.config.dictionary[..],
            None => &[],
        };
        let body = &src[header..];
        let (read, written) = match session.whole {
            BackEnd::Libdeflate if dictionary.is_empty() => self.decompressor.decompress(body, dst)?,
            #[cfg(feature = "isal")]
            BackEnd::Isal if dictionary.is_empty() => self.isal.decompress(body, dst)?,
            back_end => self.inflate(back_end, dictionary, body, dst)?,
        };
        let checksum = session.checksum().of(&dst[..written]);
        let trailer = frame::trailer(session.config.format, checksum, written as u64);
        let found = &body[read..];
        if found.len() < trailer.len() {
            return Err(Status::Truncated);
        }
        if !found.starts_with(&trailer) {
            return Err(Status::BadInput);
        }
        let consumed = header + read + trailer.len();
        if session.config.limits.exceeded(consumed as u64, written as u64) {
            return Err(Status::LimitExceeded);
        }
        Ok(Done { consumed, produced: written, checksum })
    }

    fn inflate(
        &mut self,
        back_end: BackEnd,
        dictionary: &[u8],
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<(usize, usize), Status> {
        let place = self.inflaters.iter().position(|(key, _)| *key == back_end).unwrap_or_else(|| {
            self.inflaters.push((back_end, back::inflater(back_end)));
            self.inflaters.len() - 1
        });
        let inflater = &mut self.inflaters[place].1;
        inflater.restart()?;
        if !dictionary.is_empty() {
            inflater.dictionary(dictionary)?;
        }
        let (mut consumed, mut produced) = (0, 0);
        loop {
            let was_full = produced == dst.len();
            let step: Step = inflater.inflate(&src[consumed..], &mut dst[produced..])?;
            consumed += step.consumed;
            produced += step.produced;
            if step.done {
                return Ok((consumed, produced));
            }
            if was_full {
                return Err(Status::NoSpace { needed: 0 });
            }
            if produced < dst.len() {
                return Err(Status::Truncated); // room is left, so it is input that is missing
            }
        }
    }
}

/// Whether it compresses without what only streams have.
fn is_plain(session: &ZipSession) -> bool {
    session.dictionary_id.is_none() && session.config.window_bits == *WINDOW_BITS.end()
}
