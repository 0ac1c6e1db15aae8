use super::*;
use crate::device::Flush;
use crate::engine::zip::{Checksum, Limits, ZipConfig, ZipFormat, ZipOp, ZipSession};
use crate::uacce::fake::engines;

pub(super) const FORMATS: [ZipFormat; 3] = [ZipFormat::Deflate, ZipFormat::Zlib, ZipFormat::Gzip];

pub(super) fn bench() -> Bench {
    Bench::new(Plan::zip(), engines::zip())
}

pub(super) fn zip(op: ZipOp, format: ZipFormat) -> SessionSpec {
    SessionSpec::Zip(ZipSession::new(op, format, 1).unwrap())
}

/// By another library.
pub(super) fn inflate(format: ZipFormat, bytes: &[u8], room: usize) -> Vec<u8> {
    let mut plain = vec![0; room];
    let mut d = libdeflater::Decompressor::new();
    let n = match format {
        ZipFormat::Deflate => d.deflate_decompress(bytes, &mut plain),
        ZipFormat::Zlib => d.zlib_decompress(bytes, &mut plain),
        ZipFormat::Gzip => d.gzip_decompress(bytes, &mut plain),
    };
    plain.truncate(n.expect("a whole of its format"));
    plain
}

fn deflate(format: ZipFormat, bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; bytes.len() + 100];
    let mut c = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let n = match format {
        ZipFormat::Deflate => c.deflate_compress(bytes, &mut packed),
        ZipFormat::Zlib => c.zlib_compress(bytes, &mut packed),
        ZipFormat::Gzip => c.gzip_compress(bytes, &mut packed),
    };
    packed.truncate(n.unwrap());
    packed
}

fn sum(format: ZipFormat) -> Checksum {
    match format {
        ZipFormat::Deflate => Checksum::None,
        ZipFormat::Zlib => Checksum::Adler32,
        ZipFormat::Gzip => Checksum::Crc32,
    }
}

pub(super) struct Rig {
    desk: Desk,
    sessions: Vec<SessionId>,
}

impl Rig {
    pub(super) fn new(desk: Desk) -> Self {
        let op = |n: usize| if n % 2 == 1 { ZipOp::Decompress } else { ZipOp::Compress };
        let sessions = (0..6).map(|n| desk.session(zip(op(n), FORMATS[n % 3]))).collect();
        Self { desk, sessions }
    }
}

impl DeviceRig for Rig {
    fn name(&self) -> &str {
        "uacce zip"
    }

    fn device(&self) -> &dyn Device {
        &self.desk.device
    }

    fn pool(&self) -> &Mempool {
        &self.desk.pool
    }

    fn request(&self, n: u64) -> Request {
        let bytes = text(n, 100 + n as usize % 700);
        // Both directions, so that both queues of the device are used.
        let (format, back) = (FORMATS[n as usize % 3], n % 2 == 1);
        let input = if back { deflate(format, &bytes) } else { bytes };
        self.desk.request(self.sessions[n as usize % 6], &input, 1000)
    }

    fn verify(&self, n: u64, completion: &Completion) {
        let bytes = text(n, 100 + n as usize % 700);
        let dst = completion.request.dst();
        let view = &mut self.desk.pool.domain().view();
        let slice = view.resolve(dst.iova, completion.produced as usize, false).unwrap();
        // SAFETY: the completion owns the output packet, and nobody writes to it.
        let output = unsafe { slice.as_slice() };
        let plain = if n % 2 == 1 { output.to_vec() } else { inflate(FORMATS[n as usize % 3], output, 1000) };
        assert_eq!(plain, bytes, "request {n}");
        assert_eq!(completion.checksum, sum(FORMATS[n as usize % 3]).of(&bytes));
    }
}

#[test]
fn it_keeps_the_rules_of_devices() {
    let hardware = Plan { words: None, algorithms: "deflate\nzlib\ngzip\n", ..Plan::zip() };
    for plan in [Plan::zip(), hardware] {
        check_device(&Rig::new(Bench::new(plan, engines::zip()).desk));
    }
}

#[test]
fn wholes_go_there_and_back_with_their_checksums() {
    wholes(&bench());
}

pub(super) fn wholes(bench: &Desk) {
    let mut queue = bench.queue(4);
    for format in FORMATS {
        let (pack, unpack) =
            (bench.session(zip(ZipOp::Compress, format)), bench.session(zip(ZipOp::Decompress, format)));
        for len in [0, 1, 100, 1900] {
            let plain = text(3, len);
            let done = one(&mut *queue, bench.request(pack, &plain, 2000));
            assert_eq!(
                (done.status, done.ended, done.consumed),
                (Status::Ok, true, len as u32),
                "{format:?} {len}"
            );
            assert_eq!(done.checksum, sum(format).of(&plain));
            let packed = output(done);
            assert_eq!(inflate(format, &packed, 2000), plain);
            // What is behind it is not touched.
            let more = [&packed[..], b"more"].concat();
            let done = one(&mut *queue, bench.request(unpack, &more, len.max(1)));
            assert_eq!((done.status, done.ended, done.consumed), (Status::Ok, true, packed.len() as u32));
            assert_eq!(done.checksum, sum(format).of(&plain));
            assert_eq!(output(done), plain, "{format:?} {len}");
        }
    }
}

#[test]
fn headers_with_names_are_read_whatever_the_device_knows_of_them() {
    let bench = bench();
    let unpack = bench.session(zip(ZipOp::Decompress, ZipFormat::Gzip));
    let mut queue = bench.queue(4);
    let mut named = deflate(ZipFormat::Gzip, b"plain bytes");
    named[3] = 8;
    named.splice(10..10, b"a name\0".iter().copied());
    let done = one(&mut *queue, bench.request(unpack, &named, 100));
    assert_eq!((done.status, done.consumed), (Status::Ok, named.len() as u32));
    assert_eq!(output(done), b"plain bytes");
}

#[test]
fn what_is_wrong_with_input_and_room_is_told_apart() {
    wrongs(&bench(), 0);
}

/// Fewer than `least` bytes may be taken for damaged ones: the library that decompresses wholes cannot always tell.
pub(super) fn wrongs(bench: &Desk, least: usize) {
    let mut queue = bench.queue(4);
    for format in FORMATS {
        let (pack, unpack) =
            (bench.session(zip(ZipOp::Compress, format)), bench.session(zip(ZipOp::Decompress, format)));
        let plain = text(3, 1000);
        let packed = deflate(format, &plain);
        for cut in [0, 1, 5, packed.len() / 2, packed.len() - 1] {
            let done = one(&mut *queue, bench.request(unpack, &packed[..cut], 2000));
            let may_be_bad = (1..least).contains(&cut);
            assert!(
                done.status == Status::Truncated || may_be_bad && done.status == Status::BadInput,
                "{format:?} cut at {cut}: {:?}",
                done.status
            );
            assert_eq!(done.produced, 0);
        }
        let done = one(&mut *queue, bench.request(unpack, &packed, 999));
        assert_eq!(done.status, Status::NoSpace { needed: 0 });
        if format != ZipFormat::Deflate {
            for at in [0, packed.len() - 2] {
                let mut wrong = packed.clone();
                wrong[at] ^= 0x10;
                let done = one(&mut *queue, bench.request(unpack, &wrong, 2000));
                assert_eq!(done.status, Status::BadInput, "{format:?} at {at}");
            }
        }
        let done = one(&mut *queue, bench.request(unpack, &[0x78, 0xbb, 1, 2, 3, 4, 5], 2000));
        assert_eq!(done.status, Status::BadInput, "{format:?}: a dictionary, or noise");
        for room in [0, 1, 5, 20] {
            let done = one(&mut *queue, bench.request(pack, &plain, room));
            let Status::NoSpace { needed } = done.status else { panic!("{:?}", done.status) };
            assert!(needed as usize >= plain.len() + 18, "{format:?} {room}");
        }
    }
}

#[test]
fn limits_of_decompression_hold() {
    limits(&bench());
}

pub(super) fn limits(bench: &Desk) {
    let session = |limits| {
        let config = ZipConfig { limits, ..ZipConfig::new(ZipOp::Decompress, ZipFormat::Zlib, 1) };
        bench.session(SessionSpec::Zip(ZipSession::with(config).unwrap()))
    };
    let packed = deflate(ZipFormat::Zlib, &text(1, 1000));
    let mut queue = bench.queue(4);
    for (most, status) in [(1000, Status::Ok), (999, Status::LimitExceeded)] {
        let limited = session(Limits { max_output: most, ..Limits::NONE });
        assert_eq!(one(&mut *queue, bench.request(limited, &packed, 2000)).status, status);
    }
}

#[test]
fn a_checksum_is_continued_and_raw_ones_are_made_here() {
    checksums(&bench());
}

pub(super) fn checksums(bench: &Desk) {
    let mut queue = bench.queue(4);
    let (a, b) = (text(1, 500), text(2, 700));
    for (format, checksum) in [
        (ZipFormat::Deflate, Checksum::Crc32),
        (ZipFormat::Deflate, Checksum::Adler32),
        (ZipFormat::Gzip, Checksum::Crc32),
    ] {
        let config = ZipConfig { checksum, ..ZipConfig::new(ZipOp::Compress, format, 1) };
        let session = bench.session(SessionSpec::Zip(ZipSession::with(config).unwrap()));
        let first = one(&mut *queue, bench.request(session, &a, 2000)).checksum;
        let mut request = bench.request(session, &b, 2000);
        request.checksum = Some(first);
        assert_eq!(
            one(&mut *queue, request).checksum,
            checksum.of(&[a.clone(), b.clone()].concat()),
            "{format:?}"
        );
    }
}

#[test]
fn blocks_to_which_others_are_appended_have_no_end() {
    open_blocks(&bench());
}

pub(super) fn open_blocks(bench: &Desk) {
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let gzip = bench.session(zip(ZipOp::Compress, ZipFormat::Gzip));
    let mut queue = bench.queue(4);
    let mut all = Vec::new();
    for (n, flush) in [(1, Flush::Full), (2, Flush::Sync), (3, Flush::Finish)] {
        let mut request = bench.request(pack, &text(n, 600), 2000);
        request.flush = flush;
        let done = one(&mut *queue, request);
        assert_eq!((done.status, done.ended), (Status::Ok, flush == Flush::Finish));
        all.extend(output(done));
    }
    let plain = [text(1, 600), text(2, 600), text(3, 600)].concat();
    assert_eq!(inflate(ZipFormat::Deflate, &all, 2000), plain);
    for (session, flush) in [(gzip, Flush::Full), (pack, Flush::None)] {
        let mut request = bench.request(session, b"bytes", 2000);
        request.flush = flush;
        assert_eq!(one(&mut *queue, request).status, Status::Unsupported);
    }
}

#[test]
fn sessions_that_the_device_cannot_do_are_refused_with_a_remedy() {
    let config = |change: &dyn Fn(&mut ZipConfig)| {
        let mut config = ZipConfig::new(ZipOp::Compress, ZipFormat::Zlib, 1);
        change(&mut config);
        SessionSpec::Zip(ZipSession::with(config).unwrap())
    };
    let ours = bench();
    let hardware = Bench::new(Plan { words: None, ..Plan::zip() }, engines::zip());
    let cases: [(&Bench, SessionSpec, &str); 7] = [
        (&ours, config(&|c| c.dictionary = b"words".to_vec()), "dictionar"),
        (&ours, config(&|c| c.window_bits = 14), "2^14"),
        (
            &hardware,
            config(&|c| {
                c.format = ZipFormat::Deflate;
                c.window_bits = 11;
            }),
            "2^11",
        ),
        (&ours, config(&|c| c.back_end = crate::engine::zip::BackEnd::ZlibRs), "zlib-rs"),
        (&hardware, config(&|c| c.format = ZipFormat::Gzip), "does not do gzip"),
        (&hardware, zip(ZipOp::Decompress, ZipFormat::Zlib), "does not do zlib"),
        (
            &hardware,
            config(&|c| {
                c.format = ZipFormat::Deflate;
                c.level = 6;
            }),
            "level 6",
        ),
    ];
    for (bench, spec, what) in cases {
        let error = bench.device.create_session(spec).expect_err(what);
        assert!(matches!(error, DeviceError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains("Remedy: "), "{error}");
    }
    hardware.session(zip(ZipOp::Decompress, ZipFormat::Deflate));
    hardware.session(zip(ZipOp::Compress, ZipFormat::Deflate));
}

#[test]
fn entries_are_what_drivers_write() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, mut compute) = (Arc::clone(&seen), engines::zip());
    let engine: Engine = Box::new(move |kind, words| {
        log.lock().unwrap().push((kind, words.to_vec()));
        compute(kind, words);
    });
    let bench = Bench::new(Plan::zip(), engine);
    let config = ZipConfig::new(ZipOp::Compress, ZipFormat::Gzip, 7);
    let pack = bench.session(SessionSpec::Zip(ZipSession::with(config).unwrap()));
    let unpack = bench.session(zip(ZipOp::Decompress, ZipFormat::Gzip));
    let mut queue = bench.queue(4);
    let done = one(&mut *queue, bench.request(pack, &text(1, 500), 1000));
    let (src, dst) = (done.request.src().iova.0, done.request.dst().iova.0);
    let packed = output(done);
    let (kind, words) = seen.lock().unwrap()[0].clone();
    let mut expected = [0; 32];
    // Behind a header of ten bytes.
    (expected[4], expected[14], expected[9], expected[10]) = (500, 990, 4 << 12 | 3, 8);
    (expected[7], expected[26]) = (0x3a00_0000, 1);
    (expected[18], expected[19]) = (src as u32, (src >> 32) as u32);
    (expected[20], expected[21]) = ((dst + 10) as u32, ((dst + 10) >> 32) as u32);
    assert_eq!((kind, words), (0, expected.to_vec()));
    let done = one(&mut *queue, bench.request(unpack, &packed, 1000));
    assert_eq!(output(done), text(1, 500));
    let (kind, words) = seen.lock().unwrap()[1].clone();
    assert_eq!((kind, words[4], words[14]), (1, packed.len() as u32 - 10, 1000));
    assert_eq!((words[9], words[10]), (4 << 12 | 3, 0), "no level, and the widest window");
}

#[test]
fn each_direction_has_a_queue_of_its_own_when_it_is_needed() {
    let bench = bench();
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let mut queue = bench.queue(4);
    let open = || bench.fake.open.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(open(), 1);
    let packed = output(one(&mut *queue, bench.request(pack, b"bytes", 100)));
    let unpack = bench.session(zip(ZipOp::Decompress, ZipFormat::Deflate));
    assert_eq!(output(one(&mut *queue, bench.request(unpack, &packed, 100))), b"bytes");
    assert_eq!(open(), 2, "opened by the first request");
    let other = bench.queue(4);
    assert_eq!(open(), 4, "both are known to be needed");
    drop((queue, other));
    assert_eq!(open(), 0);
    // No queue left for a direction that comes late: its requests come back.
    let bench = self::bench();
    bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let mut queue = bench.queue(4);
    bench.fake.refuse.lock().unwrap().insert(0, rustix::io::Errno::BUSY);
    let unpack = bench.session(zip(ZipOp::Decompress, ZipFormat::Deflate));
    assert_eq!(one(&mut *queue, bench.request(unpack, &packed, 100)).status, Status::Cancelled);
}
