//! A ZIP device with one queue, for the targets that use it. Each request's packets are in pieces with margins around them.

use std::cell::RefCell;

use warpdrive_mempool::{DmaMode, Domain, Mempool, Packet, PageChoice, PageSize, PoolConfig};
use warpdrive_pmd::device::{
    Completion, Device, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream,
};
use warpdrive_pmd::engine::zip::{ZipConfig, ZipEngine, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};

const MARGIN: usize = 16;
const CANARY: u8 = 0xc7;
/// The longest piece: what a buffer has without its margins and what a debug build keeps for itself.
const LONGEST: usize = 65_472 - 2 * MARGIN - 16;

pub struct Rig {
    pool: Mempool,
    device: SoftDevice<ZipEngine>,
    queue: Box<dyn Queue>,
    sessions: Vec<SessionId>,
}

pub struct Call<'a> {
    pub session: SessionId,
    pub src: &'a [u8],
    pub room: usize,
    /// Lengths of the first pieces of both sides.
    pub cuts: &'a [usize],
    pub flush: Flush,
    pub stream: Option<Stream>,
}

pub struct Done {
    pub status: Status,
    pub consumed: usize,
    pub output: Vec<u8>,
    pub ended: bool,
    pub checksum: u32,
    pub stream: Option<Stream>,
}

impl Rig {
    fn new() -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 64, size: 65_472, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).expect("a pool");
        let device = SoftDevice::open("zip", Placement::Inline, &domain).expect("a device");
        let queue = device.request_queue(4).expect("a queue");
        Self { pool, device, queue, sessions: Vec::new() }
    }

    /// The process's own, with no sessions.
    pub fn with(f: impl FnOnce(&mut Self)) {
        thread_local!(static RIG: RefCell<Rig> = RefCell::new(Rig::new()));
        RIG.with_borrow_mut(|rig| {
            for session in std::mem::take(&mut rig.sessions) {
                assert!(rig.device.remove_session(session));
            }
            f(rig);
            assert_eq!(rig.device.stats().panics, 0, "the engine has panicked");
            assert_eq!(rig.pool.stats().in_use, 0, "a packet is lost");
        });
    }

    pub fn session(&mut self, config: ZipConfig) -> SessionId {
        let session = ZipSession::with(config).expect("a sound configuration");
        let id = self.device.create_session(SessionSpec::Zip(session)).expect("room for a session");
        self.sessions.push(id);
        id
    }

    pub fn stream(&self, session: SessionId) -> Stream {
        self.device.create_stream(session).expect("a stream")
    }

    fn chain(&self, bytes: Option<&[u8]>, len: usize, cuts: &[usize]) -> Packet {
        let (mut chain, mut at, mut cuts) = (None::<Packet>, 0, cuts.iter());
        while chain.is_none() || at < len {
            let n = cuts.next().copied().unwrap_or(LONGEST).min(LONGEST).min(len - at);
            let mut packet = self.pool.alloc().expect("a buffer");
            packet.set_window(0, n + 2 * MARGIN).expect("it fits");
            packet.data_mut().fill(CANARY);
            packet.set_window(MARGIN, n).expect("it fits");
            if let Some(bytes) = bytes {
                packet.data_mut().copy_from_slice(&bytes[at..at + n]);
            }
            at += n;
            match &mut chain {
                Some(first) => first.chain(packet),
                None => chain = Some(packet),
            }
        }
        chain.expect("at least one piece")
    }

    /// Runs a request and checks what holds for all of them.
    pub fn run(&mut self, call: Call<'_>) -> Done {
        let Call { session, src, room, cuts, flush, stream } = call;
        let is_stream = stream.is_some();
        let mut request = Request::new(session, self.chain(Some(src), src.len(), cuts));
        request.set_src(0..src.len()).expect("within the packet");
        request.set_output(self.chain(None, room, cuts), 0..room).expect("within the packet");
        request.flush = flush;
        if let Some(stream) = stream {
            request.set_stream(stream, flush);
        }
        assert!(self.queue.send(request).is_ok());
        let completion = self.queue.recv().expect("done at once");
        let Completion { status, consumed, produced, ended, checksum, mut request, .. } = completion;
        let stream = request.take_stream();
        let (consumed, produced) = (consumed as usize, produced as usize);
        let (input, output) = request.into_packets();
        assert_eq!(unspoilt(input.expect("it comes back")), src);
        let mut output = unspoilt(output.expect("it comes back"));
        assert!(consumed <= src.len() && produced <= room && stream.is_some() == is_stream);
        match status {
            Status::Ok => assert!(ended || consumed == src.len()),
            Status::OutputFull => assert!(is_stream && produced == room && !ended),
            Status::EngineFailed => panic!("a bug"),
            _ => assert_eq!((consumed, produced, ended), (0, 0, false)),
        }
        output.truncate(produced);
        Done { status, consumed, output, ended, checksum, stream }
    }
}

/// The bytes of a chain whose margins nobody has touched.
fn unspoilt(chain: Packet) -> Vec<u8> {
    let (mut bytes, mut next) = (Vec::new(), Some(chain));
    while let Some(mut packet) = next {
        let n = packet.len();
        bytes.extend_from_slice(packet.data());
        next = packet.unchain();
        packet.set_window(0, n + 2 * MARGIN).expect("as before");
        let (before, rest) = packet.data().split_at(MARGIN);
        assert!(before.iter().chain(&rest[n..]).all(|b| *b == CANARY), "bytes beside it were written");
    }
    bytes
}
