//! Compression as a state machine: pieces of any kind, flushes, rooms, restarts, chained packets, requests that stand alone
//! in between. Whatever was completed comes back.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use warpdrive_pmd::device::{Flush, SessionId, Status, Stream};
use warpdrive_pmd::engine::zip::{BackEnd, Checksum, ZipConfig, ZipFormat, ZipOp};

mod zip_rig;

use zip_rig::{Call, Rig};

#[derive(Arbitrary, Debug)]
struct Plan<'a> {
    format: u8,
    level: u8,
    window_bits: u8,
    dictionary: Option<u8>,
    back_end: bool,
    /// Windows of the way back.
    back: (u8, u16),
    cuts: [u8; 3],
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A piece of the stream. What finds no room is sent again, up to so many times.
    Piece { data: Data<'a>, flush: FlushKind, room: u16, again: u8 },
    /// The stream begins anew.
    Restart,
    /// A request that stands alone.
    Whole { data: Data<'a>, open: bool, room: u16 },
}

#[derive(Arbitrary, Debug)]
enum Data<'a> {
    Bytes(&'a [u8]),
    Run(u8, u16),
    /// Of no order.
    Noise(u16, u8),
    /// What was before, so far back.
    Copy(u16, u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum FlushKind {
    None,
    Sync,
    Full,
    Finish,
}

impl FlushKind {
    fn flush(self) -> Flush {
        match self {
            Self::None => Flush::None,
            Self::Sync => Flush::Sync,
            Self::Full => Flush::Full,
            Self::Finish => Flush::Finish,
        }
    }
}

impl Data<'_> {
    fn bytes(&self, before: &[u8]) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Run(byte, n) => vec![*byte; usize::from(*n)],
            Self::Noise(n, seed) => {
                let mut state = u64::from(*seed) + 1;
                let next = || {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    (state >> 56) as u8
                };
                std::iter::repeat_with(next).take(usize::from(*n)).collect()
            }
            Self::Copy(back, n) => {
                let from = before.len().saturating_sub(usize::from(*back));
                before[from..]
                    .iter()
                    .cycle()
                    .take(if from < before.len() { usize::from(*n) } else { 0 })
                    .copied()
                    .collect()
            }
        }
    }
}

struct Machine<'r> {
    rig: &'r mut Rig,
    config: ZipConfig,
    session: SessionId,
    stream: Option<Stream>,
    cuts: Vec<usize>,
    back: (usize, usize),
    /// Of the stream that is under way: what went in, and what came out.
    plain: Vec<u8>,
    coded: Vec<u8>,
}

impl Machine<'_> {
    fn begin(&mut self) {
        self.plain.clear();
        self.coded.clear();
    }

    fn piece(&mut self, data: &[u8], flush: Flush, room: usize, again: usize) {
        let mut rest = data;
        for turn in 0.. {
            // In the end there is room.
            let room = if turn < again { room } else { 60_000 };
            let stream = self.stream.take();
            let done = self.rig.run(Call {
                session: self.session,
                src: rest,
                room,
                cuts: &self.cuts,
                flush,
                stream,
            });
            self.stream = done.stream;
            self.plain.extend(&rest[..done.consumed]);
            self.coded.extend(done.output);
            rest = &rest[done.consumed..];
            if done.status == Status::Ok {
                assert_eq!((done.ended, rest.len()), (flush == Flush::Finish, 0));
                assert_eq!(done.checksum, self.checksum().of(&self.plain));
                break;
            }
            assert_eq!(done.status, Status::OutputFull);
        }
        match flush {
            Flush::Finish => {
                self.read(&self.coded.clone(), &self.plain.clone(), true);
                self.begin();
            }
            // All of it is there.
            Flush::Sync | Flush::Full => self.read(&self.coded.clone(), &self.plain.clone(), false),
            Flush::None => {}
        }
    }

    fn checksum(&self) -> Checksum {
        match self.config.format {
            ZipFormat::Deflate => self.config.checksum,
            ZipFormat::Zlib => Checksum::Adler32,
            ZipFormat::Gzip => Checksum::Crc32,
        }
    }

    /// Reads a stream, complete or up to a flush, in windows; and as a whole if it is complete.
    fn read(&mut self, coded: &[u8], plain: &[u8], complete: bool) {
        let session = self.rig.session(ZipConfig { op: ZipOp::Decompress, ..self.config.clone() });
        let (piece, window) = (self.back.0.max(coded.len() / 40), self.back.1.max(plain.len() / 40));
        let (mut stream, mut at, mut read) = (Some(self.rig.stream(session)), 0, Vec::new());
        let mut ended = false;
        while !ended {
            let bytes = &coded[at..coded.len().min(at + piece)];
            let cuts = &self.cuts;
            let done =
                self.rig.run(Call { session, src: bytes, room: window, cuts, flush: Flush::None, stream });
            assert!(matches!(done.status, Status::Ok | Status::OutputFull), "{:?}", done.status);
            (stream, ended) = (done.stream, done.ended);
            at += done.consumed;
            read.extend(done.output);
            if done.status == Status::Ok && at == coded.len() {
                break;
            }
        }
        assert_eq!((ended, at), (complete, coded.len()));
        assert!(read == plain, "other bytes");
        if complete {
            self.read_whole(coded, plain);
        }
    }

    fn read_whole(&mut self, coded: &[u8], plain: &[u8]) {
        let session = self.rig.session(ZipConfig { op: ZipOp::Decompress, ..self.config.clone() });
        let (room, cuts) = (plain.len(), &self.cuts[..]);
        let done = self.rig.run(Call { session, src: coded, room, cuts, flush: Flush::Finish, stream: None });
        assert_eq!((done.status, done.consumed, done.ended), (Status::Ok, coded.len(), true));
        assert!(done.output == plain, "other bytes");
        assert_eq!(done.checksum, self.checksum().of(plain));
    }

    fn whole(&mut self, plain: &[u8], open: bool, room: usize, back_end: BackEnd) {
        let open = open && self.config.format == ZipFormat::Deflate;
        let flush = if open { Flush::Full } else { Flush::Finish };
        let session = self.rig.session(ZipConfig { back_end, ..self.config.clone() });
        let cuts = self.cuts.clone();
        let mut run =
            |room| self.rig.run(Call { session, src: plain, room, cuts: &cuts, flush, stream: None });
        let mut done = run(room);
        if let Status::NoSpace { needed } = done.status {
            done = run(needed as usize);
        }
        assert_eq!((done.status, done.ended), (Status::Ok, !open));
        if open {
            done.output.extend([3, 0]);
        }
        self.read_whole(&done.output, plain);
    }
}

fuzz_target!(|plan: Plan<'_>| {
    let format = [ZipFormat::Deflate, ZipFormat::Zlib, ZipFormat::Gzip][usize::from(plan.format) % 3];
    let mut config = ZipConfig::new(ZipOp::Compress, format, plan.level % 10);
    config.window_bits = 9 + plan.window_bits % 7;
    config.checksum = [Checksum::None, Checksum::Crc32, Checksum::Adler32][usize::from(plan.level / 10) % 3];
    if format != ZipFormat::Gzip {
        config.dictionary = plan.dictionary.map_or_else(Vec::new, |seed| Data::Noise(500, seed).bytes(&[]));
    }
    let libdeflate = plan.back_end && config.dictionary.is_empty() && config.window_bits == 15;
    let whole = if libdeflate { BackEnd::Libdeflate } else { BackEnd::ZlibRs };
    Rig::with(|rig| {
        let session = rig.session(config.clone());
        let stream = Some(rig.stream(session));
        let cuts = plan.cuts.iter().map(|n| usize::from(*n) * 4).collect();
        let back = (usize::from(plan.back.0) + 1, usize::from(plan.back.1) + 1);
        let (plain, coded) = (Vec::new(), Vec::new());
        let mut machine = Machine { rig, config, session, stream, cuts, back, plain, coded };
        let mut before = Vec::new();
        for step in plan.steps.iter().take(20) {
            match step {
                Step::Piece { data, flush, room, again } => {
                    let data = data.bytes(&before);
                    machine.piece(&data, flush.flush(), usize::from(*room), usize::from(*again));
                    before.extend(data);
                }
                Step::Restart => {
                    machine.stream.as_mut().expect("it comes back").restart();
                    machine.begin();
                }
                Step::Whole { data, open, room } => {
                    let data = data.bytes(&before);
                    machine.whole(&data, *open, usize::from(*room), whole);
                    before.extend(data);
                }
            }
        }
        machine.piece(b"", Flush::Finish, 10, 100);
    });
});
