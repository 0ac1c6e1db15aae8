//! One stream in pieces of 64 KiB: ours against zlib's, both ways.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tempfile::NamedTempFile;
use warpdrive_mempool::{DmaMode, Domain, Packet};
use warpdrive_pmd::device::{Device, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};

use super::corpus::Corpus;
use super::direct::is_of;
use super::rig::{Packets, bytes_of};
use super::{RATE, Rate, Side, cpu, passes, size_line};
use crate::cpeers::{CPeer, CPeers, ZLIB};
use crate::measure::Line;
use crate::peers::NoPeer;
use crate::turns::take_turns;
use crate::{BenchError, Lines, Options};

/// Bytes of a piece, and of the room for its output.
const PIECE: usize = 64 << 10;
const LEVELS: [u8; 2] = [1, 6];
const PEER: &str = "zip_peer";

/// A corpus as a file, for peers.
///
/// # Errors
/// [`BenchError::Io`].
pub fn file(corpus: &Corpus) -> Result<NamedTempFile, BenchError> {
    let error = |cause| BenchError::Io {
        what: "a temporary file of a corpus".to_owned(),
        cause,
        remedy: "room in /tmp, or another folder as TMPDIR",
    };
    let mut file = NamedTempFile::with_prefix("warpdrive-perf-").map_err(error)?;
    file.write_all(&corpus.bytes).map_err(error)?;
    Ok(file)
}

/// What the C peer says of a slice.
#[derive(Clone, Debug, Deserialize)]
struct Slice {
    name: String,
    bytes: u64,
    compressed: u64,
    cpu_ns: u64,
    wall_ns: u64,
}

/// Emits the lines of one corpus.
///
/// # Errors
/// [`BenchError`] when ours failed, or a peer broke off.
pub fn run(options: &Options, corpus: &Corpus, file: &Path, emit: Lines<'_>) -> Result<(), BenchError> {
    let built = CPeers::build(PEER, ZLIB);
    for level in LEVELS {
        let name = format!("zip-stream-{}-l{level}", corpus.name);
        let mut ours = Pieces::open(ZipOp::Compress, level, &corpus.bytes)?;
        let stream = ours.keep()?;
        let mut back = Pieces::open(ZipOp::Decompress, level, &stream)?;
        if !is_of(&stream, &corpus.bytes) || back.keep()? != corpus.bytes {
            return Err(BenchError::Bug(format!("{name}: the stream came out wrong")));
        }
        let part = stream.len() as f64 / corpus.bytes.len() as f64;
        let how =
            format!("ours: {}, pieces of 64 KiB in chained packets, one after the other", ours.back_end);
        let against = |inflate| start(built.as_ref().map_err(Clone::clone), options, file, level, inflate);
        let (rates, theirs) = contest(options, &mut ours, against(false)?)?;
        emit(compare(&name, &rates, &theirs).note(how));
        let size = theirs
            .as_ref()
            .map(|slice| (slice.name.as_str(), slice.compressed as f64 / corpus.bytes.len() as f64));
        emit(size_line(&format!("{name}-size"), part, size));
        let how = format!("ours: {}; each decompresses its own", back.back_end);
        let (rates, theirs) = contest(options, &mut back, against(true)?)?;
        emit(compare(&format!("{name}-unzip"), &rates, &theirs).note(how));
    }
    Ok(())
}

fn start(
    built: Result<&CPeers, NoPeer>,
    options: &Options,
    file: &Path,
    level: u8,
    inflate: bool,
) -> Result<Result<CPeer, NoPeer>, BenchError> {
    let mut arguments = vec!["--core".to_owned(), options.cpu()?.to_string()];
    arguments.extend(["--level".to_owned(), level.to_string(), "--piece".to_owned(), PIECE.to_string()]);
    arguments.extend(["--file".to_owned(), file.display().to_string()]);
    if inflate {
        arguments.push("--inflate".to_owned());
    }
    Ok(built.and_then(|built| built.start(PEER, options.slice, &arguments)))
}

/// Rates of ours, and of the peer if there is one; and what it said last.
type Outcome = (Vec<Vec<Rate>>, Result<Slice, NoPeer>);

/// Ours and the peer in turn.
fn contest(
    options: &Options,
    ours: &mut Pieces,
    mut peer: Result<CPeer, NoPeer>,
) -> Result<Outcome, BenchError> {
    let on = options.cpu()?;
    let mut last = None;
    let rates = {
        let mut sides: Vec<Side<'_>> =
            vec![Box::new(|time: Duration| passes(on, time, || ours.pass(&mut Forget)))];
        if let Ok(peer) = &mut peer {
            sides.push(Box::new(|_| {
                let slice: Slice = peer.measure()?;
                let of = Duration::from_nanos;
                let rate = Rate::new(slice.bytes, of(slice.cpu_ns), of(slice.wall_ns));
                last = Some(slice);
                Ok(rate)
            }));
        }
        take_turns(options, &mut sides)?
    };
    let nothing = || NoPeer { peer: ZLIB.name, why: "it had no slice".to_owned() };
    Ok((rates, peer.and_then(|_| last.ok_or_else(nothing))))
}

fn compare(name: &str, rates: &[Vec<Rate>], theirs: &Result<Slice, NoPeer>) -> Line {
    let values = rates.get(1).map(|rates| cpu(rates)).unwrap_or_default();
    let theirs = theirs.as_ref().map(|slice| (slice.name.as_str(), values.as_slice()));
    Line::compare(name, RATE, &cpu(&rates[0]), theirs).note("seconds of cpu time; in whole streams")
}

/// A stream of ours, whose pieces lie in packets.
struct Pieces {
    queue: Box<dyn Queue>,
    session: SessionId,
    /// `None` only while a request has it.
    stream: Option<Stream>,
    pieces: Vec<Option<Packet>>,
    output: Option<Packet>,
    op: ZipOp,
    back_end: &'static str,
    _device: SoftDevice<ZipEngine>,
    _packets: Packets,
}

impl Pieces {
    fn open(op: ZipOp, level: u8, bytes: &[u8]) -> Result<Self, BenchError> {
        let domain = Domain::new(DmaMode::Sva);
        let count = bytes.len().div_ceil(PIECE);
        let packets = Packets::new(&domain, count + 1, PIECE)?;
        let device = SoftDevice::<ZipEngine>::open("zip", Placement::Inline, &domain)?;
        let session = ZipSession::new(op, ZipFormat::Deflate, level)?;
        let back_end = session.stream_back_end().map_err(BenchError::Bug)?.name();
        let session = device.create_session(SessionSpec::Zip(session))?;
        let pieces: Result<Vec<_>, _> = bytes.chunks(PIECE).map(|b| packets.filled(b).map(Some)).collect();
        Ok(Self {
            queue: device.request_queue(1)?,
            session,
            stream: Some(device.create_stream(session)?),
            pieces: pieces?,
            output: Some(packets.packet(PIECE)?),
            op,
            back_end,
            _device: device,
            _packets: packets,
        })
    }

    /// The whole stream once; what came out.
    fn keep(&mut self) -> Result<Vec<u8>, BenchError> {
        let mut all = Keep(Vec::new());
        self.pass(&mut all)?;
        Ok(all.0)
    }

    /// The whole stream once; `seen` gets what came out. Returns bytes of the side that is not compressed.
    fn pass(&mut self, seen: &mut dyn Sink) -> Result<u64, BenchError> {
        let (mut read, mut written, mut ended) = (0, 0, false);
        for i in 0..self.pieces.len() {
            let flush = if i + 1 == self.pieces.len() { Flush::Finish } else { Flush::None };
            let mut at = 0;
            loop {
                let (status, consumed, produced) = self.step(i, at, flush, seen, &mut ended)?;
                (read, written) = (read + u64::from(consumed), written + u64::from(produced));
                at += consumed as usize;
                match status {
                    Status::Ok => break,
                    Status::OutputFull => {}
                    other => return Err(failed(other.name())),
                }
            }
        }
        if !ended {
            return Err(failed("no end of the stream"));
        }
        Ok(if self.op == ZipOp::Compress { read } else { written })
    }

    /// One request: piece `i` from `at` on.
    fn step(
        &mut self,
        i: usize,
        at: usize,
        flush: Flush,
        seen: &mut dyn Sink,
        ended: &mut bool,
    ) -> Result<(Status, u32, u32), BenchError> {
        let gone = || failed("a packet or the stream that did not come back");
        let packet = self.pieces[i].take().ok_or_else(gone)?;
        let (output, stream) = self.output.take().zip(self.stream.take()).ok_or_else(gone)?;
        let len = packet.total_len();
        let mut request = Request::new(self.session, packet);
        request
            .set_src(at..len)
            .and_then(|()| request.set_output(output, 0..PIECE))
            .map_err(|e| failed(&e.to_string()))?;
        request.set_stream(stream, flush);
        self.queue.send(request).map_err(|_| failed("a queue that is full"))?;
        let mut completion = self.queue.recv_sync(Duration::from_secs(10)).ok_or_else(gone)?;
        self.stream = completion.request.take_stream();
        *ended = completion.ended;
        let (packet, output) = completion.request.into_packets();
        if let Some(output) = &output {
            seen.take(output, completion.produced as usize);
        }
        (self.pieces[i], self.output) = (packet, output);
        Ok((completion.status, completion.consumed, completion.produced))
    }
}

/// Where output goes.
trait Sink {
    fn take(&mut self, output: &Packet, len: usize);
}

/// Keeps everything.
struct Keep(Vec<u8>);

impl Sink for Keep {
    fn take(&mut self, output: &Packet, len: usize) {
        self.0.extend(bytes_of(output, len));
    }
}

/// Keeps nothing: what is measured is not to copy.
struct Forget;

impl Sink for Forget {
    fn take(&mut self, _: &Packet, _: usize) {}
}

fn failed(what: &str) -> BenchError {
    BenchError::Bug(format!("a stream: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_go_round_and_without_a_peer_that_is_said() {
        let bytes = include_bytes!("stream.rs").repeat(50);
        let corpus = Corpus { name: "own".into(), bytes, origin: String::new() };
        let mut lines = Vec::new();
        let none = Path::new("/no/such/file");
        run(&Options::for_tests(1), &corpus, none, &mut |line| lines.push(line)).unwrap();
        let names: Vec<&str> = lines.iter().map(|l| l.name.as_str()).collect();
        let [one, six] = ["zip-stream-own-l1", "zip-stream-own-l6"];
        let expected = [one, six].map(|n| [n.to_owned(), format!("{n}-size"), format!("{n}-unzip")]);
        assert_eq!(names, expected.concat());
        assert!(lines.iter().all(|l| l.ratio.is_none() && l.peer == "zlib (absent)"), "{lines:?}");
        assert!(lines[0].value > 0.0 && [1, 4].iter().all(|i| lines[*i].value < 0.5), "sizes: {lines:?}");
    }
}
