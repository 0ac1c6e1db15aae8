//! A device with a queue, packets in pieces with canaries around them, and what every completion has to keep to.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use warpdrive_mempool::{DmaMode, Domain, Mempool, Packet, PageChoice, PageSize, PoolConfig};
use warpdrive_pmd::device::{
    Completion, Device, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream,
};
use warpdrive_pmd::engine::zip::{BackEnd, ZipConfig, ZipEngine, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

pub const CORE: Placement = Placement::Core { cpu: 0, idle: IdlePolicy::Pause };
pub const PLACEMENTS: [Placement; 2] = [Placement::Inline, CORE];

/// Bytes before and behind each piece that nobody may write to.
const MARGIN: usize = 32;
pub const CANARY: u8 = 0xc7;
/// The longest piece that fits into a buffer with its margins, and the bytes that a debug build keeps for itself.
const LONGEST: usize = 65_472 - 2 * MARGIN - 16;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Rig {
    pub pool: Mempool,
    pub device: SoftDevice<ZipEngine>,
    pub queue: Box<dyn Queue>,
    sessions: RefCell<Vec<SessionId>>,
}

/// A request as a test describes it.
pub struct Call<'a> {
    pub session: SessionId,
    pub src: &'a [u8],
    /// Lengths of the pieces; what they do not cover is in pieces as long as possible.
    pub src_cuts: &'a [usize],
    pub room: usize,
    pub dst_cuts: &'a [usize],
    pub flush: Flush,
    pub checksum: Option<u32>,
    pub stream: Option<Stream>,
}

impl<'a> Call<'a> {
    /// A stateless request in one piece, if it fits.
    pub fn new(session: SessionId, src: &'a [u8], room: usize) -> Self {
        let (flush, checksum, stream) = (Flush::Finish, None, None);
        Self { session, src, src_cuts: &[], room, dst_cuts: &[], flush, checksum, stream }
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Done {
    pub status: Status,
    pub consumed: usize,
    pub output: Vec<u8>,
    /// The room behind the output, which was full of [`CANARY`].
    pub behind: Vec<u8>,
    pub ended: bool,
    pub checksum: u32,
    pub stream: Option<Stream>,
}

impl Rig {
    pub fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 150, size: 65_472, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::open("zip0", placement, &domain).unwrap();
        let queue = device.request_queue(32).unwrap();
        Self { pool, device, queue, sessions: RefCell::default() }
    }

    pub fn session(&self, mut config: ZipConfig) -> SessionId {
        if config.op == ZipOp::Decompress && config.back_end == BackEnd::Quick {
            config.back_end = BackEnd::Auto; // it has no way back
        }
        let session = ZipSession::with(config).unwrap();
        let id = self.device.create_session(SessionSpec::Zip(session)).unwrap();
        self.sessions.borrow_mut().push(id);
        id
    }

    pub fn stream(&self, session: SessionId) -> Stream {
        self.device.create_stream(session).unwrap()
    }

    /// Forgets all sessions, and what a failed test left in the queue.
    pub fn clear(&mut self) {
        for session in self.sessions.take() {
            self.device.remove_session(session);
        }
        if self.queue.in_flight() > 0 {
            self.queue = self.device.request_queue(32).unwrap();
        }
        assert_eq!(self.pool.stats().in_use, 0, "a packet is lost");
    }

    /// Packets in a chain, each with margins; all their bytes are canaries.
    fn chain(&self, len: usize, cuts: &[usize]) -> Packet {
        let piece = |len: usize| {
            let mut packet = self.pool.alloc().expect("a buffer");
            packet.set_window(0, len + 2 * MARGIN).unwrap();
            packet.data_mut().fill(CANARY);
            packet.set_window(MARGIN, len).unwrap();
            packet
        };
        let mut chain = None::<Packet>;
        for len in pieces(len, cuts) {
            match &mut chain {
                Some(first) => first.chain(piece(len)),
                None => chain = Some(piece(len)),
            }
        }
        chain.expect("at least one piece")
    }

    pub fn request(&self, call: Call<'_>) -> Request {
        let input = fill(self.chain(call.src.len(), call.src_cuts), call.src);
        let mut request = Request::new(call.session, input);
        request.set_src(0..call.src.len()).unwrap();
        request.set_output(self.chain(call.room, call.dst_cuts), 0..call.room).unwrap();
        request.checksum = call.checksum;
        request.flush = call.flush;
        if let Some(stream) = call.stream {
            request.set_stream(stream, call.flush);
        }
        request
    }

    pub fn complete(&mut self, request: Request) -> Completion {
        self.queue.send(request).unwrap();
        self.queue.recv_sync(PATIENCE).expect("an answer within 30 s")
    }

    /// Runs a request and checks what holds for all of them.
    pub fn run(&mut self, call: Call<'_>) -> Done {
        let (src, room, is_stream, flush) = (call.src, call.room, call.stream.is_some(), call.flush);
        let request = self.request(call);
        let mut completion = self.complete(request);
        let stream = completion.request.take_stream();
        assert_eq!(stream.is_some(), is_stream, "a stream comes back");
        let Completion { status, consumed, produced, ended, checksum, request, .. } = completion;
        let (consumed, produced) = (consumed as usize, produced as usize);
        let (input, output) = request.into_packets();
        assert!(unspoilt(input.unwrap()) == src, "the input is as it was");
        let mut output = unspoilt(output.unwrap());
        assert!(consumed <= src.len() && produced <= room && output.len() == room);
        match status {
            Status::Ok => assert!(ended || consumed == src.len(), "done, but {consumed} of {}", src.len()),
            Status::OutputFull => assert!(is_stream && produced == room && !ended, "no room was left"),
            _ => assert_eq!((consumed, produced, ended), (0, 0, false), "{status:?} counts for nothing"),
        }
        if is_stream {
            let failed = !matches!(status, Status::Ok | Status::OutputFull);
            assert_eq!(stream.as_ref().unwrap().is_broken(), failed, "{status:?}, {flush:?}");
        }
        let behind = output.split_off(produced);
        Done { status, consumed, output, behind, ended, checksum, stream }
    }
}

/// Lengths of pieces.
fn pieces(len: usize, cuts: &[usize]) -> Vec<usize> {
    let mut left = len;
    let mut cut = |n: usize| {
        let n = n.min(left).min(LONGEST);
        left -= n;
        n
    };
    let mut pieces: Vec<usize> = cuts.iter().map(|n| cut(*n)).collect();
    pieces.extend(std::iter::repeat_with(|| cut(LONGEST)).take_while(|n| *n > 0));
    if pieces.is_empty() {
        pieces.push(0);
    }
    pieces
}

fn fill(mut packet: Packet, bytes: &[u8]) -> Packet {
    let (now, later) = bytes.split_at(packet.len());
    packet.data_mut().copy_from_slice(now);
    if let Some(rest) = packet.unchain() {
        packet.chain(fill(rest, later));
    }
    packet
}

/// The bytes of a chain whose margins nobody has touched.
fn unspoilt(chain: Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = Some(chain);
    while let Some(mut packet) = next {
        bytes.extend_from_slice(packet.data());
        let len = packet.len();
        next = packet.unchain();
        packet.set_window(0, len + 2 * MARGIN).unwrap();
        let (before, rest) = packet.data().split_at(MARGIN);
        let is_margin = |bytes: &[u8]| bytes.iter().all(|b| *b == CANARY);
        assert!(is_margin(before) && is_margin(&rest[len..]), "bytes beside the output were written");
    }
    bytes
}

/// A property, with one rig for all its cases.
pub fn check<S: Strategy>(
    placement: Placement,
    cases: u32,
    strategy: S,
    property: impl Fn(&mut Rig, S::Value),
) {
    let rig = RefCell::new(Rig::new(placement));
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_time: 20_000,
        ..ProptestConfig::default()
    };
    let run = TestRunner::new(config).run(&strategy, |value| {
        let mut rig = rig.borrow_mut();
        rig.clear();
        property(&mut rig, value);
        Ok(())
    });
    run.unwrap_or_else(|e| panic!("{e}"));
    rig.borrow_mut().clear();
}
