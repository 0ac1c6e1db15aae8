//! In the steady state a ZIP device allocates nothing. A program of its own, because it counts what the whole process does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use warpdrive_mempool::{DmaMode, Domain, Mempool, Packet, PageChoice, PageSize, PoolConfig};
use warpdrive_pmd::device::{
    Completion, Device, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream,
};
use warpdrive_pmd::engine::zip::{BackEnd, HAS_ISAL, ZipConfig, ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it is the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations by Rust code in all threads, and bytes in use, which those of C code (libdeflate) are in too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    allocations: usize,
    in_use: usize,
}

impl Memory {
    fn now() -> Self {
        // SAFETY: it only reads counters of the allocator.
        let info = unsafe { libc::mallinfo2() };
        Self { allocations: ALLOCATIONS.load(Ordering::Relaxed), in_use: info.uordblks + info.hblkhd }
    }
}

struct Rig {
    pool: Mempool,
    device: SoftDevice<ZipEngine>,
    queue: Box<dyn Queue>,
    done: Vec<Completion>,
}

/// How a request is made.
#[derive(Clone, Copy)]
struct Way {
    session: SessionId,
    flush: Flush,
    room: usize,
    wanted: Status,
}

impl Rig {
    fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 256, size: 16_384, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::open("zip0", placement, &domain).unwrap();
        let queue = device.request_queue(16).unwrap();
        Self { pool, device, queue, done: Vec::with_capacity(16) }
    }

    fn session(&self, mut config: ZipConfig) -> SessionId {
        if config.op == ZipOp::Decompress && config.back_end == BackEnd::Quick {
            config.back_end = BackEnd::Auto; // it has no way back
        }
        self.device.create_session(SessionSpec::Zip(ZipSession::with(config).unwrap())).unwrap()
    }

    fn chain(&self, bytes: Option<&[u8]>, len: usize) -> Packet {
        let mut chain = None::<Packet>;
        // Two pieces.
        for (from, to) in [(0, len / 2), (len / 2, len)] {
            let mut packet = self.pool.alloc().unwrap();
            let room = packet.append(to - from).unwrap();
            if let Some(bytes) = bytes {
                room.copy_from_slice(&bytes[from..to]);
            }
            match &mut chain {
                Some(first) => first.chain(packet),
                None => chain = Some(packet),
            }
        }
        chain.unwrap()
    }

    /// One request; the stream comes back.
    fn run(&mut self, way: Way, src: &[u8], stream: Option<Stream>) -> Option<Stream> {
        let mut request = Request::new(way.session, self.chain(Some(src), src.len()));
        request.set_src(0..src.len()).unwrap();
        request.set_output(self.chain(None, way.room), 0..way.room).unwrap();
        request.flush = way.flush;
        if let Some(stream) = stream {
            request.set_stream(stream, way.flush);
        }
        self.queue.send(request).unwrap();
        while self.queue.recv_burst(&mut self.done, 16) == 0 {
            std::thread::yield_now();
        }
        let mut completion = self.done.pop().unwrap();
        assert_eq!(std::mem::discriminant(&completion.status), std::mem::discriminant(&way.wanted));
        completion.request.take_stream()
    }
}

fn compressed(config: &ZipConfig, plain: &[u8]) -> Vec<u8> {
    let mut rig = Rig::new(Placement::Inline);
    let session = rig.session(ZipConfig { op: ZipOp::Compress, ..config.clone() });
    let mut request = Request::new(session, rig.chain(Some(plain), plain.len()));
    request.set_src(0..plain.len()).unwrap();
    request.set_output(rig.chain(None, 20_000), 0..20_000).unwrap();
    rig.queue.send(request).unwrap();
    let completion = rig.queue.recv().unwrap();
    assert_eq!(completion.status, Status::Ok);
    let n = completion.produced as usize;
    let output = completion.request.into_packets().1.unwrap();
    output.segments().flat_map(|s| s.data().to_vec()).take(n).collect()
}

/// Runs it a few times, then a few hundred, and says what was allocated meanwhile.
fn allocated(mut once: impl FnMut()) -> Memory {
    (0..3).for_each(|_| once());
    let before = Memory::now();
    (0..TIMES).for_each(|_| once());
    let after = Memory::now();
    let in_use = after.in_use.saturating_sub(before.in_use);
    Memory { allocations: after.allocations - before.allocations, in_use }
}

/// A thousand requests, six each time.
const TIMES: usize = 170;
const NOTHING: Memory = Memory { allocations: 0, in_use: 0 };

fn sessions() -> Vec<ZipConfig> {
    let config =
        |format, level, back_end| ZipConfig { back_end, ..ZipConfig::new(ZipOp::Compress, format, level) };
    let mut all: Vec<_> = (0..=12)
        .map(|level| config(ZipFormat::Gzip, level, BackEnd::Libdeflate))
        .chain((0..=9).map(|level| config(ZipFormat::Zlib, level, BackEnd::ZlibRs)))
        .collect();
    if HAS_ISAL {
        all.extend((0..=3).map(|level| config(ZipFormat::Deflate, level, BackEnd::Isal)));
    }
    all.extend(
        [15, 10].map(|window_bits| ZipConfig { window_bits, ..config(ZipFormat::Zlib, 1, BackEnd::Quick) }),
    );
    // Blocks that are opened.
    all.extend([1, 6, 12].map(|level| config(ZipFormat::Deflate, level, BackEnd::Libdeflate)));
    let dictionary = b"a dictionary that both sides know".to_vec();
    all.push(ZipConfig { dictionary: dictionary.clone(), ..config(ZipFormat::Zlib, 1, BackEnd::Quick) });
    all.push(ZipConfig { dictionary, ..config(ZipFormat::Zlib, 6, BackEnd::Auto) });
    all.push(ZipConfig { window_bits: 10, ..config(ZipFormat::Deflate, 6, BackEnd::Auto) });
    all
}

fn stateless(rig: &mut Rig, config: &ZipConfig, plain: &[u8], noise: &[u8]) {
    let what = format!("{:?}, level {}, {:?}", config.format, config.level, config.back_end);
    let coded = compressed(config, plain);
    let there = rig.session(config.clone());
    let back = rig.session(ZipConfig { op: ZipOp::Decompress, ..config.clone() });
    let open = if config.format == ZipFormat::Deflate { Flush::Full } else { Flush::Finish };
    let way = |session, flush, room, wanted| Way { session, flush, room, wanted };
    let no_space = Status::NoSpace { needed: 0 };
    assert_eq!(
        allocated(|| {
            rig.run(way(there, Flush::Finish, 10_000, Status::Ok), plain, None);
            rig.run(way(there, open, 10_000, Status::Ok), noise, None);
            rig.run(way(there, open, 30, no_space), plain, None);
            rig.run(way(back, Flush::Finish, 10_000, Status::Ok), &coded, None);
            rig.run(way(back, Flush::Finish, 9, no_space), &coded, None);
            rig.run(way(back, Flush::Finish, 9, Status::BadInput), noise, None);
        }),
        NOTHING,
        "{what}"
    );
}

fn streams(rig: &mut Rig, config: &ZipConfig, plain: &[u8], noise: &[u8]) {
    let what = format!("a stream of {:?}, level {}", config.format, config.level);
    let coded = compressed(config, plain);
    let there = rig.session(config.clone());
    let back = rig.session(ZipConfig { op: ZipOp::Decompress, ..config.clone() });
    let way = |session, flush, room, wanted| Way { session, flush, room, wanted };
    // New ones from the first request on: what they need is allocated when they are created.
    let mut fresh: Vec<_> = (0..8)
        .map(|_| (rig.device.create_stream(there).unwrap(), rig.device.create_stream(back).unwrap()))
        .collect();
    let once = |rig: &mut Rig, (mut compress, mut decompress): (Stream, Stream)| {
        for flush in [Flush::None, Flush::Sync, Flush::Full, Flush::Finish] {
            compress = rig.run(way(there, flush, 10_000, Status::Ok), plain, Some(compress)).unwrap();
        }
        compress = rig.run(way(there, Flush::Sync, 40, Status::OutputFull), plain, Some(compress)).unwrap();
        compress.restart();
        let (head, tail) = coded.split_at(coded.len() / 2);
        decompress = rig.run(way(back, Flush::None, 10_000, Status::Ok), head, Some(decompress)).unwrap();
        decompress = rig.run(way(back, Flush::Finish, 10_000, Status::Ok), tail, Some(decompress)).unwrap();
        decompress =
            rig.run(way(back, Flush::None, 9, Status::OutputFull), &coded, Some(decompress)).unwrap();
        decompress.restart();
        decompress = rig.run(way(back, Flush::None, 9, Status::BadInput), noise, Some(decompress)).unwrap();
        decompress.restart();
        (compress, decompress)
    };
    let mut used = Vec::with_capacity(8);
    used.push(once(rig, fresh.pop().unwrap()));
    let before = Memory::now().allocations;
    while let Some(pair) = fresh.pop() {
        used.push(once(rig, pair));
    }
    assert_eq!(Memory::now().allocations - before, 0, "{what}, at first");
    let mut pair = used.pop();
    let steady = allocated(|| pair = pair.take().map(|pair| once(rig, pair)));
    assert_eq!(steady, NOTHING, "{what}");
}

#[test]
fn nothing_is_allocated_in_the_steady_state() {
    let plain = b"some text that is said again and again, ".repeat(30);
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 56) as u8 | 0x80 // no header of anything
    })
    .take(3_000)
    .collect();
    let core = Placement::Core { cpu: 0, idle: IdlePolicy::Pause };
    let one = allocated(|| drop(std::hint::black_box(Box::new(7_u64))));
    assert_eq!(one.allocations, TIMES, "the counter counts");
    let mut rig = Rig::new(Placement::Inline);
    for config in sessions() {
        stateless(&mut rig, &config, &plain, &noise);
        if config.back_end != BackEnd::Libdeflate {
            streams(&mut rig, &config, &plain, &noise);
        }
    }
    // The rings of an engine core too.
    let mut rig = Rig::new(core);
    let config = &sessions()[1];
    stateless(&mut rig, config, &plain, &noise);
    streams(&mut rig, &sessions()[18], &plain, &noise);
}
