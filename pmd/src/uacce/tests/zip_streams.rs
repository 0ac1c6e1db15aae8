use super::zip::{FORMATS, bench, inflate, zip};
use super::*;
use crate::device::{Flush, Stream};
use crate::engine::zip::{Checksum, ZipConfig, ZipFormat, ZipOp, ZipSession};
use crate::uacce::fake::engines;

/// Sends bytes piece by piece, with so much room each time, as often as it takes. What came out, and whether the stream ended.
struct Pipe<'a> {
    bench: &'a Desk,
    queue: &'a mut dyn Queue,
    session: SessionId,
    stream: Option<Stream>,
    room: usize,
    checksum: u32,
    out: Vec<u8>,
    requests: usize,
}

impl<'a> Pipe<'a> {
    fn new(bench: &'a Desk, queue: &'a mut dyn Queue, session: SessionId, room: usize) -> Self {
        let stream = Some(bench.device.create_stream(session).unwrap());
        Self { bench, queue, session, stream, room, checksum: 0, out: Vec::new(), requests: 0 }
    }

    /// Until all of the piece is read; says whether the stream has ended, or how it failed.
    fn push(&mut self, mut piece: &[u8], flush: Flush) -> Result<bool, Status> {
        loop {
            let mut request = self.bench.request(self.session, piece, self.room);
            request.set_stream(self.stream.take().unwrap(), flush);
            let mut done = one(self.queue, request);
            self.requests += 1;
            assert!(self.requests < 100_000, "it never ends");
            self.stream = done.request.take_stream();
            let (status, ended) = (done.status, done.ended);
            piece = &piece[done.consumed as usize..];
            self.checksum = done.checksum;
            if !matches!(status, Status::Ok | Status::OutputFull) {
                return Err(status);
            }
            self.out.extend(output(done));
            if status == Status::Ok {
                assert!(piece.is_empty() || ended, "OK is: all was read");
                return Ok(ended);
            }
        }
    }
}

fn plain() -> Vec<u8> {
    (0..40).flat_map(|n| text(n, 150 + 13 * n as usize)).collect()
}

fn sum(format: ZipFormat) -> Checksum {
    match format {
        ZipFormat::Deflate => Checksum::None,
        ZipFormat::Zlib => Checksum::Adler32,
        ZipFormat::Gzip => Checksum::Crc32,
    }
}

#[test]
fn streams_go_there_and_back_in_pieces_and_rooms_of_any_size() {
    streams(&bench());
}

pub(super) fn streams(bench: &Desk) {
    let mut queue = bench.queue(4);
    let plain = plain();
    for format in FORMATS {
        let (pack, unpack) =
            (bench.session(zip(ZipOp::Compress, format)), bench.session(zip(ZipOp::Decompress, format)));
        for (piece, room) in [(1500, 2000), (700, 64), (97, 7), (1900, 1)] {
            for last in [Flush::None, Flush::Sync] {
                let mut to = Pipe::new(bench, &mut *queue, pack, room);
                let pieces: Vec<&[u8]> = plain.chunks(piece).collect();
                for bytes in &pieces[..pieces.len() - 1] {
                    assert_eq!(to.push(bytes, last), Ok(false));
                }
                assert_eq!(
                    to.push(pieces[pieces.len() - 1], Flush::Finish),
                    Ok(true),
                    "{format:?} {piece} {room}"
                );
                assert_eq!(to.checksum, sum(format).of(&plain), "{format:?} {piece} {room}");
                let packed = std::mem::take(&mut to.out);
                assert_eq!(inflate(format, &packed, plain.len() + 1), plain);
                let mut from = Pipe::new(bench, &mut *queue, unpack, room.max(3));
                let mut ended = false;
                for bytes in packed.chunks(piece) {
                    ended = from.push(bytes, Flush::Sync).unwrap();
                }
                assert!(ended, "{format:?} {piece} {room}");
                assert_eq!((&from.out, from.checksum), (&plain, sum(format).of(&plain)));
            }
        }
    }
}

#[test]
fn a_flush_lets_all_that_was_sent_be_read() {
    flushes(&bench());
}

pub(super) fn flushes(bench: &Desk) {
    let mut queue = bench.queue(4);
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Gzip));
    let unpack = bench.session(zip(ZipOp::Decompress, ZipFormat::Gzip));
    let (mut sent, mut got, mut seen) = (Vec::<u8>::new(), Vec::<u8>::new(), 0);
    let (mut to, mut from) =
        (Some(bench.device.create_stream(pack).unwrap()), Some(bench.device.create_stream(unpack).unwrap()));
    for n in 0..20 {
        let bytes = text(n, 50 + n as usize);
        sent.extend(&bytes);
        let mut request = bench.request(pack, &bytes, 500);
        request.set_stream(to.take().unwrap(), Flush::Sync);
        let mut done = one(&mut *queue, request);
        to = done.request.take_stream();
        let packed = output(done);
        seen += packed.len();
        let mut request = bench.request(unpack, &packed, 500);
        request.set_stream(from.take().unwrap(), Flush::Sync);
        let mut done = one(&mut *queue, request);
        from = done.request.take_stream();
        assert_eq!(done.status, Status::Ok);
        got.extend(output(done));
        assert_eq!(got, sent, "after {n}");
    }
    assert!(seen < sent.len() * 2, "it compresses: {seen}");
}

#[test]
fn a_stream_that_ends_without_input_is_ended_here() {
    let bench = bench();
    let mut queue = bench.queue(4);
    for format in FORMATS {
        let pack = bench.session(zip(ZipOp::Compress, format));
        for (pieces, room) in [(0, 100), (0, 1), (3, 100), (3, 2)] {
            let mut to = Pipe::new(&bench, &mut *queue, pack, room);
            let plain: Vec<u8> = (0..pieces).flat_map(|n| text(n, 100)).collect();
            for n in 0..pieces {
                assert_eq!(to.push(&text(n, 100), Flush::None), Ok(false));
            }
            let before = bench.fake.doorbells.lock().unwrap().len();
            assert_eq!(to.push(&[], Flush::Finish), Ok(true), "{format:?} {pieces} {room}");
            assert_eq!(bench.fake.doorbells.lock().unwrap().len(), before, "without the device");
            assert_eq!(inflate(format, &to.out, 1000), plain, "{format:?} {pieces} {room}");
            assert_eq!(to.checksum, sum(format).of(&plain));
            // The next request begins another.
            to.out.clear();
            assert_eq!(to.push(b"another", Flush::Finish), Ok(true));
            assert_eq!(inflate(format, &to.out, 100), b"another");
        }
    }
}

#[test]
fn raw_streams_have_the_checksum_that_their_session_wants() {
    checksums(&bench());
}

pub(super) fn checksums(bench: &Desk) {
    let mut queue = bench.queue(4);
    for checksum in [Checksum::Crc32, Checksum::Adler32] {
        let session = |op| {
            let config = ZipConfig { checksum, ..ZipConfig::new(op, ZipFormat::Deflate, 1) };
            bench.session(SessionSpec::Zip(ZipSession::with(config).unwrap()))
        };
        let plain = plain();
        let mut to = Pipe::new(bench, &mut *queue, session(ZipOp::Compress), 300);
        for bytes in plain.chunks(1000) {
            to.push(bytes, Flush::Sync).unwrap();
        }
        let packed = to.out.clone();
        assert_eq!(to.checksum, checksum.of(&plain));
        let mut from = Pipe::new(bench, &mut *queue, session(ZipOp::Decompress), 300);
        for bytes in packed.chunks(1000) {
            from.push(bytes, Flush::Sync).unwrap();
        }
        assert_eq!((from.checksum, from.out), (checksum.of(&plain), plain));
    }
}

#[test]
fn hardware_is_given_no_more_than_there_is_room_for_at_the_worst() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, mut compute) = (Arc::clone(&seen), engines::zip());
    let engine: Engine = Box::new(move |kind, words| {
        log.lock().unwrap().push((words[4], words[14], words[7] >> 25 & 1));
        compute(kind, words);
    });
    let hardware = Plan { words: None, algorithms: "deflate\n", ..Plan::zip() };
    let bench = Bench::new(hardware, engine);
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let mut queue = bench.queue(4);
    let mut to = Pipe::new(&bench, &mut *queue, pack, 450);
    assert_eq!(to.push(&text(1, 1000), Flush::Finish), Ok(true));
    assert_eq!(inflate(ZipFormat::Deflate, &to.out, 2000), text(1, 1000));
    for (input, room, finish) in &*seen.lock().unwrap() {
        assert!(input * 9 / 8 <= *room && input % 4 == 0, "{input} into {room}");
        assert_eq!(*finish, u32::from(*input == 1000 - 400 - 400));
    }
    // No room for anything is told, rather than tried again and again.
    let mut to = Pipe::new(&bench, &mut *queue, pack, 8);
    assert!(matches!(to.push(&text(1, 100), Flush::Sync), Err(Status::NoSpace { .. })));
}

#[test]
fn broken_streams_and_those_of_others_are_refused() {
    let bench = bench();
    let mut queue = bench.queue(4);
    let unpack = bench.session(zip(ZipOp::Decompress, ZipFormat::Zlib));
    let other = bench.session(zip(ZipOp::Decompress, ZipFormat::Zlib));
    let mut from = Pipe::new(&bench, &mut *queue, unpack, 100);
    assert_eq!(from.push(&[0x78, 0x9c, 0xff, 0xff], Flush::Sync), Err(Status::BadInput));
    assert_eq!(from.push(&[0x78, 0x9c], Flush::Sync), Err(Status::BadStream), "it failed before");
    from.stream.as_mut().unwrap().restart();
    assert_eq!(from.push(&[0x78], Flush::Sync), Ok(false));
    assert_eq!(from.push(&[0x9c], Flush::Finish), Err(Status::Truncated));
    from.stream.as_mut().unwrap().restart();
    from.session = other;
    assert_eq!(from.push(&[0x78], Flush::Sync), Err(Status::BadStream), "another session's");
    let theirs = self::bench();
    theirs.session(zip(ZipOp::Decompress, ZipFormat::Zlib));
    from.session = unpack;
    from.stream = Some(theirs.device.create_stream(unpack).unwrap());
    assert_eq!(from.push(&[0x78], Flush::Sync), Err(Status::BadStream), "another device's");
    from.stream = Some(bench.device.create_stream(unpack).unwrap());
    assert_eq!(from.push(&[0x78], Flush::Full), Err(Status::Unsupported));
    assert_eq!(from.push(&[0x78], Flush::Sync), Ok(false), "and nothing is lost by it");
}

#[test]
fn contexts_are_given_back_and_used_again() {
    let bench = bench();
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Zlib));
    let stream = || bench.device.create_stream(pack).unwrap();
    let mut queue = bench.queue(4);
    for _ in 0..50 {
        let streams: Vec<_> = (0..7).map(|_| stream()).collect();
        drop(streams);
    }
    let mut request = bench.request(pack, b"bytes", 100);
    request.set_stream(stream(), Flush::Finish);
    assert_eq!(one(&mut *queue, request).status, Status::Ok);
    // The pool and one piece of our own.
    assert_eq!(bench.fake.maps.lock().unwrap().len(), bench.pool.domain().maps().1.len() + 1);
}
