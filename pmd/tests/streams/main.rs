//! Streams and chained packets, with an engine that does as its input says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use warpdrive_mempool::*;
use warpdrive_pmd::device::*;
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Engine, Job, Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

mod lifetime;
mod pieces;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Sleep }];

/// Copies input to output, as far as either goes, except when the first byte says otherwise.
struct Tape<const CHAINS: bool>;

/// How many requests of a stream there were since it began.
#[derive(Default)]
struct Turns(u32);

/// Instances that were made, and whether no more can be.
#[derive(Clone, Default)]
struct Makers {
    made: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
}

impl<const CHAINS: bool> Engine for Tape<CHAINS> {
    type Session = ();
    type Stream = Turns;
    type Options = Makers;
    const BATCH: usize = 4;
    const CHAINS: bool = CHAINS;
    const KIND: &'static str = "ZIP";
    const DRIVER: &'static str = "tape";

    fn new(makers: &Makers) -> Self {
        makers.made.fetch_add(1, Ordering::Relaxed);
        assert!(!makers.broken.load(Ordering::Relaxed), "on purpose, anew");
        Self
    }

    fn session(_: SessionSpec) -> Result<(), SessionSpec> {
        Ok(())
    }

    fn stream(_: &()) -> Result<Turns, String> {
        Ok(Turns(1_000)) // what it is before it begins does not count
    }

    fn run(&mut self, jobs: &mut [Job<'_, (), Turns>]) {
        for job in jobs {
            copy(job);
        }
    }

    fn describe(_: &Makers) -> (Vec<&'static str>, String) {
        (Vec::new(), String::new())
    }
}

fn copy(job: &mut Job<'_, (), Turns>) {
    let input: Vec<u8> = job.src.iter().chain(job.src_rest.iter().flatten()).copied().collect();
    let mut rest = &input[..];
    for piece in std::iter::once(&mut *job.dst).chain(job.dst_rest.iter_mut()) {
        let (now, later) = rest.split_at(rest.len().min(piece.len()));
        piece[..now.len()].copy_from_slice(now);
        rest = later;
    }
    let n = input.len() - rest.len();
    job.report.consumed = Some(n as u32);
    job.report.full = !rest.is_empty();
    job.result = Ok(n);
    let turn = job.stream.as_mut().map_or(0, |continued| {
        if continued.restart {
            continued.state.0 = 0;
        }
        continued.state.0 += 1;
        continued.state.0
    });
    job.report.checksum = turn * 100 + job.checksum.unwrap_or(0) * 10 + job.flush as u32;
    match input.first() {
        Some(b'!') => panic!("on purpose"),
        Some(b'0') => job.result = Err(Status::BadInput),
        Some(b'+') => job.result = Ok(job.dst.len() + job.dst_rest.len() + 1),
        Some(b'>') => job.report.consumed = Some(input.len() as u32 + 1),
        Some(b'.') => job.report.ended = true,
        _ => {}
    }
}

struct Bench<E: Engine> {
    pool: Mempool,
    device: SoftDevice<E>,
    queue: Box<dyn Queue>,
    session: SessionId,
}

fn pool(domain: &Domain) -> Mempool {
    let pages = PageChoice::Exactly(PageSize::Size4K);
    Mempool::new(
        &PoolConfig { buffers: 1200, size: 512, headroom: 0, pages, ..PoolConfig::default() },
        domain,
    )
    .unwrap()
}

impl<E: Engine> Bench<E> {
    fn new(placement: Placement, options: E::Options) -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(&domain);
        let device = SoftDevice::open_with("tape", placement, &domain, options).unwrap();
        let session = ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1).unwrap();
        let session = device.create_session(SessionSpec::Zip(session)).unwrap();
        let queue = device.request_queue(16).unwrap();
        Self { pool, device, queue, session }
    }

    fn stream(&self) -> Stream {
        self.device.create_stream(self.session).unwrap()
    }

    /// All of a chain to all of another.
    fn request(&self, src: &[&[u8]], dst: &[usize]) -> Request {
        let (input, output) = (chain(&self.pool, src), room(&self.pool, dst));
        let (from, to) = (input.total_len(), output.total_len());
        let mut request = Request::new(self.session, input);
        request.set_src(0..from).unwrap();
        request.set_output(output, 0..to).unwrap();
        request
    }

    fn run(&mut self, request: Request) -> Completion {
        self.queue.send(request).unwrap();
        self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s")
    }

    /// The next request of a stream: its status, which one the engine took it for, and the stream.
    fn step(&mut self, stream: Stream, bytes: &[u8], flush: Flush) -> (Status, u32, Stream) {
        let mut request = self.request(&[bytes], &[bytes.len()]);
        request.set_stream(stream, flush);
        let mut completion = self.run(request);
        let stream = completion.request.take_stream().expect("it comes back");
        (completion.status, completion.checksum, stream)
    }
}

fn chain(pool: &Mempool, pieces: &[&[u8]]) -> Packet {
    let mut packets = pieces.iter().map(|bytes| {
        let mut packet = pool.alloc().unwrap();
        packet.extend_from_slice(bytes).unwrap();
        packet
    });
    let mut first = packets.next().unwrap();
    packets.for_each(|packet| first.chain(packet));
    first
}

fn room(pool: &Mempool, lens: &[usize]) -> Packet {
    let zeros = [0; 512];
    chain(pool, &lens.iter().map(|len| &zeros[..*len]).collect::<Vec<_>>())
}

fn bytes(packet: &Packet) -> Vec<u8> {
    packet.segments().flat_map(|segment| segment.data().to_vec()).collect()
}
