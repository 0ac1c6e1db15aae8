//! ZIP devices: requests to entries and back. It knows no queues.
//!
//! The device does the blocks of DEFLATE and what is behind them; headers are ours. So is the checksum of raw DEFLATE, where a session
//! wants one.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use warpdrive_mempool::{Fault, Iova};

use super::abi::zip::{self as abi, Asked, Ended, Entry, status};
use super::discover::UacceInfo;
use super::driver::{Ask, Begun, Driver, NoSession, Parts};
use super::operands::{Operands, resolve};
use crate::device::{Flush, Request, SessionSpec, Status};
use crate::engine::zip::frame::{self, HeaderReader};
use crate::engine::zip::{BackEnd, Checksum, ZipConfig, ZipFormat, ZipOp, ZipSession};
use crate::engine::{Outcome, Report};

mod stream;

use self::stream::{Carry, StreamNote};

/// The only level of a device that takes none: it does what it does, for speed.
const ONE_LEVEL: u8 = 1;

/// What a session does, as the device wants it.
pub(super) struct Work {
    session: ZipSession,
    format: abi::Format,
    /// As entries have it.
    window: u32,
    level: Option<u8>,
    /// Whether a request without an end is understood: blocks to which others are to be appended.
    open_blocks: bool,
    /// Whether input is cut where the output might have no room for it.
    cut: bool,
    /// Whether streams are remembered by the queue that they began with, rather than by their context alone.
    bound: bool,
}

/// The driver of a queue.
pub(super) struct Zip {
    /// Given to the next entry.
    tag: u32,
    /// Which queue it is, among all of this process.
    queue: u64,
}

/// What is remembered of a request.
pub(super) struct Note {
    tag: u32,
    /// Bytes of the input behind the header, and of room.
    input: u32,
    room: u32,
    /// Bytes of the header, before the output or the input.
    header: u32,
    stream: Option<StreamNote>,
}

impl Driver for Zip {
    type Entry = Entry;
    type Session = Work;
    type Note = Note;
    const KIND: &'static str = "ZIP";
    const LANES: &'static [u16] = &[abi::COMPRESS, abi::DECOMPRESS];

    fn session(parts: &Parts<Work>, spec: SessionSpec) -> Result<Work, NoSession> {
        match spec {
            SessionSpec::Zip(session) => Work::new(session, &parts.info).map_err(NoSession::Unsupported),
            other => Err(NoSession::WrongKind(other)),
        }
    }

    fn stream(parts: &Parts<Work>, work: &Work) -> Result<Box<dyn Any + Send>, String> {
        work.session.stream_back_end()?;
        Ok(Box::new(Carry::new(&parts.arena)?))
    }

    fn open(_parts: &Parts<Work>, _depth: usize) -> Result<Self, String> {
        static QUEUES: AtomicU64 = AtomicU64::new(0);
        Ok(Self { tag: 0, queue: QUEUES.fetch_add(1, Ordering::Relaxed) })
    }

    fn describe(info: &UacceInfo) -> (Vec<&'static str>, &'static str) {
        let all = [ZipFormat::Deflate, ZipFormat::Zlib, ZipFormat::Gzip].map(name);
        (all.into_iter().filter(|name| info.does(name)).collect(), "headers by this process")
    }

    fn lane(work: &Work) -> usize {
        match work.config().op {
            ZipOp::Compress => 0,
            ZipOp::Decompress => 1,
        }
    }

    fn begin(&mut self, ask: Ask<'_, Work>) -> Begun<Entry, Note> {
        let begun = if ask.stream.is_some() { self.begin_stream(ask) } else { self.begin_alone(ask) };
        begun.unwrap_or_else(Begun::failed)
    }

    fn end(&mut self, ask: Ask<'_, Work>, note: Note, entry: &Entry) -> (Outcome, Report) {
        let ended = entry.ended();
        // Who writes more than there is room for, or another's answer, has told nothing.
        if entry.tag() != note.tag || ended.consumed > note.input || ended.produced > note.room {
            return (Err(Status::EngineFailed), Report::default());
        }
        let (request, work) = (ask.request, ask.session);
        let done = match failure(&ended, request) {
            Err(status) => Err(status),
            Ok(()) if note.stream.is_some() => stream::end(ask, &note, entry, &ended),
            Ok(()) => end_alone(ask, &note, &ended),
        };
        match done {
            Ok(done) => done,
            // What would have sufficed, if nothing remains secret: compression alone knows.
            Err(Status::NoSpace { .. }) => {
                (Err(Status::NoSpace { needed: work.worst(request) }), Report::default())
            }
            Err(status) => (Err(status), Report::default()),
        }
    }
}

/// Names of formats in `algorithms`.
fn name(format: ZipFormat) -> &'static str {
    match format {
        ZipFormat::Deflate => "deflate",
        ZipFormat::Zlib => "zlib",
        ZipFormat::Gzip => "gzip",
    }
}

impl Work {
    fn new(session: ZipSession, info: &UacceInfo) -> Result<Self, String> {
        let config = session.config();
        let name = name(config.format);
        if !info.does(name) {
            return Err(format!(
                "{} does not do {name}. Remedy: one of {}",
                info.name,
                info.algorithms.join(", ")
            ));
        }
        if !config.dictionary.is_empty() {
            return Err(format!(
                "{} has no dictionaries. Remedy: no dictionary, or a device of this process",
                info.name
            ));
        }
        if config.back_end != BackEnd::Auto {
            return Err(format!(
                "{} decides itself who computes, and was asked for {:?}. Remedy: back end \"auto\"",
                info.name,
                config.back_end.name()
            ));
        }
        let compress = config.op == ZipOp::Compress;
        let takes_levels = info.extensions().level;
        if compress && !takes_levels && config.level != ONE_LEVEL {
            return Err(format!(
                "{} compresses in one way, and was asked for level {}. Remedy: level {ONE_LEVEL}",
                info.name, config.level
            ));
        }
        // Whoever decompresses takes any, and the header says which it is.
        let window = abi::window(if compress { config.window_bits } else { 15 }).ok_or_else(|| {
            format!(
                "{} has no window of 2^{} bytes. Remedy: 12, 13, 14 or 15 as its logarithm",
                info.name, config.window_bits
            )
        })?;
        let is_hardware = info.extensions.is_none();
        if compress && !is_hardware && config.window_bits != 15 {
            return Err(format!(
                "{} looks 2^15 bytes back at any rate, and was asked for 2^{}. Remedy: 15 as the window's logarithm",
                info.name, config.window_bits
            ));
        }
        let format = match config.format {
            ZipFormat::Deflate => abi::Format::Deflate,
            ZipFormat::Zlib => abi::Format::Zlib,
            ZipFormat::Gzip => abi::Format::Gzip,
        };
        let level = (compress && takes_levels).then_some(config.level);
        Ok(Self {
            format,
            window,
            level,
            open_blocks: !is_hardware,
            cut: is_hardware,
            bound: !is_hardware,
            session,
        })
    }

    fn config(&self) -> &ZipConfig {
        self.session.config()
    }

    /// Room that suffices, or 0 if that is not known.
    fn worst(&self, request: &Request) -> u32 {
        match self.config().op {
            // Nine bits for each byte are the worst, as the fixed code has them; headers and trailers have 18 bytes.
            ZipOp::Compress => request.src_len().saturating_add(request.src_len() / 8).saturating_add(64),
            ZipOp::Decompress => 0,
        }
    }

    /// Of the uncompressed bytes, of raw DEFLATE: the device tells of others.
    fn raw_checksum(&self) -> Checksum {
        match self.format {
            abi::Format::Deflate => self.session.checksum(),
            _ => Checksum::None,
        }
    }

    fn entry(&self, asked: &Asked, tag: u32) -> Entry {
        // The kind that has the tag where all versions of the library have it for DEFLATE.
        const KIND: u32 = 3;
        let mut entry = Entry::new(asked, KIND, tag);
        entry.set_window(self.window);
        self.level.into_iter().for_each(|level| entry.set_level(level));
        entry
    }
}

impl Zip {
    fn next_tag(&mut self) -> u32 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    /// A request that stands alone.
    fn begin_alone(&mut self, ask: Ask<'_, Work>) -> Result<Begun<Entry, Note>, Status> {
        let Ask { session: work, request, view, .. } = ask;
        let Operands { src, dst, .. } = resolve(view, request)?;
        let (compress, src_len, room) = (work.config().op == ZipOp::Compress, src.len(), dst.len());
        let (before_input, before_output, finish) = if compress {
            let finish = ends(work, request.flush)?;
            let header = frame::header(&work.session);
            let start = dst.get_mut(..header.len()).ok_or(Status::NoSpace { needed: work.worst(request) })?;
            start.copy_from_slice(&header);
            (0, header.len(), finish)
        } else {
            let (taken, opened) =
                HeaderReader::new(work.config().format).read(src, work.config().window_bits)?;
            if opened.ok_or(Status::Truncated)?.dictionary_id.is_some() {
                return Err(Status::BadInput);
            }
            if taken == src.len() {
                return Err(Status::Truncated);
            }
            (taken, 0, true)
        };
        let input = u32::try_from(src_len - before_input).ok().filter(|n| *n as usize <= abi::MOST);
        let input = input.ok_or(Status::Unsupported)?;
        let room = (room - before_output).min(abi::MOST) as u32;
        let (source, destination) = places(request, before_input, before_output);
        let tag = self.next_tag();
        let asked = Asked {
            format: work.format,
            source,
            input,
            destination,
            room,
            stream: None,
            begins: true,
            finish,
        };
        let header = (before_input + before_output) as u32;
        Ok(Begun::Send(work.entry(&asked, tag), Note { tag, input, room, header, stream: None }))
    }
}

/// Whether a request that stands alone has an end.
fn ends(work: &Work, flush: Flush) -> Result<bool, Status> {
    match flush {
        Flush::Finish => Ok(true),
        Flush::Sync | Flush::Full if work.open_blocks && work.format == abi::Format::Deflate => Ok(false),
        _ => Err(Status::Unsupported),
    }
}

/// Addresses of input and output, some bytes on. Where one of them is empty, that of the other: there must be one.
fn places(request: &Request, before_input: usize, before_output: usize) -> (u64, u64) {
    let at = |iova: Iova, offset: usize| iova.0 + offset as u64;
    let source = (request.src_len() > 0).then(|| at(request.src().iova, before_input));
    let destination = (request.dst_len() > 0).then(|| at(request.dst().iova, before_output));
    (source.or(destination).unwrap_or(0), destination.or(source).unwrap_or(0))
}

/// What an entry's status is in every way of using it.
fn failure(ended: &Ended, request: &Request) -> Result<(), Status> {
    match ended.status {
        status::DONE | status::LONGER | status::END | status::FULL => Ok(()),
        status::ADDRESS => {
            Err(Status::Fault(Fault::Unmapped { iova: request.src().iova, len: request.src_len() as usize }))
        }
        status::DATA | status::CHECKSUM => Err(Status::BadInput),
        status::TRUNCATED => Err(Status::Truncated),
        _ => Err(Status::EngineFailed),
    }
}

/// What came of a request that stands alone.
fn end_alone(ask: Ask<'_, Work>, note: &Note, ended: &Ended) -> Result<(Outcome, Report), Status> {
    let Ask { session: work, request, view, .. } = ask;
    let Operands { src, dst, .. } = resolve(view, request)?;
    let no_space = Err(Status::NoSpace { needed: 0 });
    let (header, compress) = (note.header as usize, work.config().op == ZipOp::Compress);
    let (consumed, produced, wrapped) = if compress {
        if ended.status == status::FULL {
            return no_space;
        }
        if ended.consumed != note.input {
            return Err(Status::EngineFailed);
        }
        let produced = header + ended.produced as usize;
        (src.len(), produced, dst.get(..produced))
    } else {
        match ended.status {
            status::END => {}
            _ if ended.status == status::FULL || ended.produced == note.room => return no_space,
            _ => return Err(Status::Truncated),
        }
        let consumed = header + ended.consumed as usize;
        if work.config().limits.exceeded(consumed as u64, ended.produced.into()) {
            return Err(Status::LimitExceeded);
        }
        (consumed, ended.produced as usize, src.get(..consumed))
    };
    let plain = if compress { Some(src) } else { dst.get(..produced) };
    let (Some(plain), Some(wrapped)) = (plain, wrapped) else {
        return Err(Status::EngineFailed);
    };
    let checksum = checksum_of(work, plain, wrapped)?;
    let kind = work.session.checksum();
    let checksum =
        request.checksum.map_or(checksum, |first| kind.combine(first, checksum, plain.len() as u64));
    let finish = !compress || request.flush == Flush::Finish;
    Ok((Ok(produced), Report { consumed: Some(consumed as u32), full: false, ended: finish, checksum }))
}

/// The checksum of plain bytes: as the trailer around them has it, if there is one.
fn checksum_of(work: &Work, plain: &[u8], wrapped: &[u8]) -> Result<u32, Status> {
    let short = Status::EngineFailed;
    match work.format {
        abi::Format::Deflate => Ok(work.raw_checksum().of(plain)),
        abi::Format::Zlib => wrapped.last_chunk().map(|sum| u32::from_be_bytes(*sum)).ok_or(short),
        abi::Format::Gzip => {
            let trailer: &[u8; 8] = wrapped.last_chunk().ok_or(short)?;
            Ok(u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]))
        }
    }
}
