//! Decompression: one stream on one device. While that works on a piece, the next is read and the last is written.

use std::fs::File;

use warpdrive_mempool::Mempool;
use warpdrive_pmd::device::{Completion, Flush, Request, SessionId, Status, Stream};
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp};

use super::chain::{self, Chain};
use super::engines::{self, Choice, Lane, Refused};
use super::failure::Failure;
use super::header::{self, Begins, Origin};
use super::nap::Nap;
use super::progress::Progress;
use super::sink::Sink;
use super::source::{self, Pieces, Source};

/// Room for the output of a request. A stream has one request in flight: the longer it takes, the less is lost between it
/// and the next.
const OUTPUT: usize = 512 << 10;
const FORMATS: [ZipFormat; 3] = [ZipFormat::Gzip, ZipFormat::Zlib, ZipFormat::Deflate];

/// Decompresses one file after the other.
pub(super) struct Decompressor {
    lane: Lane,
    /// Each with its stream, which is out while a request of it is.
    sessions: [(SessionId, Option<Stream>); FORMATS.len()],
    pieces: Pieces,
    free: Vec<Chain>,
    /// Produced and not yet written.
    ready: Option<(Chain, usize)>,
    // After all that has its packets.
    _pool: Mempool,
}

/// What an input began with.
pub(super) struct Begun<'a> {
    engine: Engine<'a>,
    source: Source<'a>,
    /// The first header.
    pub(super) begins: Begins,
    /// Bytes of it.
    pub(super) header: u64,
    wanted: Option<ZipFormat>,
}

/// What was found behind the last stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    Zeros,
    Garbage,
}

/// What was decompressed.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Bytes of all streams.
    pub(super) plain: u64,
    /// Bytes of the input that they were in.
    pub(super) packed: u64,
    /// Of all uncompressed bytes.
    pub(super) checksum: u32,
    pub(super) behind: Behind,
}

/// The decompressor without its pieces, which the source has.
struct Engine<'a> {
    lane: &'a mut Lane,
    sessions: &'a mut [(SessionId, Option<Stream>); FORMATS.len()],
    free: &'a mut Vec<Chain>,
    ready: &'a mut Option<(Chain, usize)>,
}

impl Decompressor {
    pub(super) fn new(choice: &Choice) -> Result<Self, Refused> {
        const OUTPUTS: usize = 2;
        let buffers = source::buffers() + OUTPUTS * chain::buffers(OUTPUT);
        let (lanes, pool) = engines::open(choice, 1, 1, buffers)?;
        let missing = || warpdrive_mempool::MemError::BadGeometry {
            pool: "zip".to_owned(),
            what: "no cpu, or no buffers".to_owned(),
        };
        let lane = lanes.into_iter().next().ok_or_else(missing)?;
        let mut made = FORMATS.into_iter().map(|format| {
            let session = lane.session(ZipOp::Decompress, 0, engines::checksum(format))?;
            Ok::<_, Refused>((session, Some(lane.device.create_stream(session)?)))
        });
        let mut next = || made.next().unwrap_or_else(|| Err(missing().into()));
        let sessions = [next()?, next()?, next()?];
        drop(made);
        let pieces = Pieces::new(&pool).ok_or_else(missing)?;
        let free = (0..OUTPUTS).map_while(|_| Chain::new(&pool, OUTPUT)).collect();
        Ok(Self { lane, sessions, pieces, free, ready: None, _pool: pool })
    }

    /// Reads the header of the first stream.
    pub(super) fn begin<'a>(
        &'a mut self,
        input: &'a File,
        wanted: Option<ZipFormat>,
    ) -> Result<Begun<'a>, Failure> {
        let Self { lane, sessions, pieces, free, ready, .. } = self;
        if let Some((chain, _)) = ready.take() {
            free.push(chain); // of a file that failed
        }
        let mut source = Source::new(input, pieces);
        let begins = header::read(&mut source, wanted)?;
        let header = source.offset();
        Ok(Begun { engine: Engine { lane, sessions, free, ready }, source, begins, header, wanted })
    }
}

impl Begun<'_> {
    /// What the first header says; an error if there is none.
    pub(super) fn origin(&self) -> Result<Origin, Failure> {
        match &self.begins {
            Begins::Stream(_, origin) => Ok(origin.clone()),
            Begins::Nothing => Err(Failure::Truncated { at: 0, what: "header" }),
            Begins::Other(first) if first.len() < 2 => Err(Failure::Truncated { at: 1, what: "header" }),
            Begins::Other(first) => {
                let hint = match (self.wanted, &first[..]) {
                    (_, [0x1f, 0x9d]) => "; that is what compress(1) makes: try uncompress",
                    (Some(_), _) => "",
                    (None, _) => "; raw DEFLATE has to be asked for with -r",
                };
                Err(Failure::NotThis { wanted: self.wanted, first: first.clone(), hint })
            }
        }
    }

    /// Decompresses the streams, one after the other.
    pub(super) fn run(mut self, output: &mut Sink, progress: &mut Progress) -> Result<Unpacked, Failure> {
        let Begins::Stream(format, _) = self.begins else {
            return Err(self.origin().err().unwrap_or(Failure::Truncated { at: 0, what: "header" }));
        };
        let kind = engines::checksum(format);
        let mut all = Unpacked { plain: 0, packed: 0, checksum: kind.start(), behind: Behind::Nothing };
        loop {
            let (len, sum) = self.engine.stream(&mut self.source, format, output, progress)?;
            header::check(&mut self.source, format, sum, len)?;
            all.plain += len;
            all.checksum = kind.combine(all.checksum, sum, len);
            all.packed = self.source.offset();
            match next(&mut self.source, format)? {
                Some(behind) => all.behind = behind,
                None => continue,
            }
            self.engine.write_ready(output)?;
            return Ok(all);
        }
    }

    /// Copies what is not compressed at all.
    pub(super) fn copy(mut self, output: &mut Sink, progress: &mut Progress) -> Result<Unpacked, Failure> {
        if let Begins::Other(first) = &self.begins {
            output.write_bytes(first)?;
        }
        while self.source.fill()? {
            let (chain, left) = self.source.current();
            output.write(&[], chain, left.clone())?;
            self.source.advance(left.len());
            progress.at(self.source.offset());
        }
        let at = self.source.offset();
        Ok(Unpacked { plain: at, packed: at, checksum: 0, behind: Behind::Nothing })
    }
}

/// Looks for another stream behind one. `None` if there is; its header was read.
fn next(source: &mut Source<'_>, format: ZipFormat) -> Result<Option<Behind>, Failure> {
    let Some(mut first) = source.byte()? else { return Ok(Some(Behind::Nothing)) };
    if first == 0 {
        while first == 0 {
            match source.byte()? {
                Some(byte) => first = byte,
                None => return Ok(Some(Behind::Zeros)),
            }
        }
        return Ok(Some(Behind::Garbage));
    }
    // Only gzip says how to go on: members one behind the other are one file.
    let more = format == ZipFormat::Gzip
        && matches!(header::read_behind(source, first, Some(format))?, Begins::Stream(..));
    Ok((!more).then_some(Behind::Garbage))
}

impl Engine<'_> {
    /// One stream: its length and checksum.
    fn stream(
        &mut self,
        source: &mut Source<'_>,
        format: ZipFormat,
        output: &mut Sink,
        progress: &mut Progress,
    ) -> Result<(u64, u32), Failure> {
        let kind = FORMATS.iter().position(|known| *known == format).unwrap_or(0);
        if let Some(stream) = &mut self.sessions[kind].1 {
            stream.restart();
        }
        let mut produced = 0;
        loop {
            if !source.fill()? {
                self.write_ready(output)?;
                return Err(Failure::Truncated { at: source.offset(), what: "compressed data" });
            }
            let done = self.piece(kind, source, output)?;
            progress.at(source.offset());
            produced += u64::from(done.produced);
            if done.ended {
                return Ok((produced, done.checksum));
            }
        }
    }

    /// One request, and what can be done while the device has it.
    fn piece(&mut self, kind: usize, source: &mut Source<'_>, output: &mut Sink) -> Result<Done, Failure> {
        let (from, to) = self.send(kind, source)?;
        let meanwhile = self.write_ready(output);
        // Also after a failure: what was lent must come back.
        let (completion, ahead) = self.wait(source);
        let Some(completion) = completion else {
            return Err(Failure::Device { status: Status::Cancelled, at: from });
        };
        let Completion { status, consumed, produced, ended, checksum, mut request, .. } = completion;
        self.sessions[kind].1 = request.take_stream();
        let (input, filled) = request.into_packets();
        if let Some(input) = input {
            source.current().0.give_back(input);
        }
        if let (Some(filled), Some(mut chain)) = (filled, self.free.pop()) {
            chain.give_back(filled);
            *self.ready = Some((chain, produced as usize));
        }
        source.advance(consumed as usize);
        meanwhile?;
        ahead?;
        match status {
            Status::Ok | Status::OutputFull => Ok(Done { produced, ended, checksum }),
            Status::BadInput => Err(Failure::Corrupt { from, to }),
            status => Err(Failure::Device { status, at: from }),
        }
    }

    /// Sends what is left of the current piece. From and to which byte of the input that is.
    fn send(&mut self, kind: usize, source: &mut Source<'_>) -> Result<(u64, u64), Failure> {
        let from = source.offset();
        let gone = || Failure::Device { status: Status::Cancelled, at: from };
        let (input, left) = source.current();
        let to = from + left.len() as u64;
        let output = self.free.last_mut().ok_or_else(gone)?;
        let room = output.capacity();
        let (packet, filled) = input.lend().zip(output.lend()).ok_or_else(gone)?;
        let (session, stream) = &mut self.sessions[kind];
        let mut request = Request::new(*session, packet);
        request.set_src(left)?;
        request.set_output(filled, 0..room)?;
        request.set_stream(stream.take().ok_or_else(gone)?, Flush::None);
        self.lane.queue.send(request).map_err(|_| gone())?;
        Ok((from, to))
    }

    /// Waits for the completion, and reads ahead.
    fn wait(&mut self, source: &mut Source<'_>) -> (Option<Completion>, Result<(), Failure>) {
        let mut ahead = Ok(());
        let mut nap = Nap::new(super::LONGEST_NAP);
        loop {
            if let Some(completion) = self.lane.queue.recv() {
                return (Some(completion), ahead);
            }
            if self.lane.queue.in_flight() == 0 {
                return (None, ahead);
            }
            match ahead.as_ref().map_or(Ok(false), |()| source.read_ahead()) {
                Ok(true) => nap.reset(),
                Ok(false) => nap.wait(),
                Err(e) => ahead = Err(e),
            }
        }
    }

    fn write_ready(&mut self, output: &mut Sink) -> Result<(), Failure> {
        let Some((chain, len)) = self.ready.take() else { return Ok(()) };
        let written = output.write(&[], &chain, 0..len);
        // The one that a device has is the last.
        self.free.insert(0, chain);
        written
    }
}

/// What a request has done.
struct Done {
    produced: u32,
    ended: bool,
    checksum: u32,
}
