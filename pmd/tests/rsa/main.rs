//! RSA through the device traits, as a pipeline uses it, and keys as a user gives them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use warpdrive_mempool::*;
use warpdrive_pmd::device::{Completion, Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

mod decryption;
mod device;
mod files;
mod openssl;
mod operations;
mod raw;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Pause }];
const MESSAGE: &[u8] = b"known answer";

/// Made once for all tests: 4096 bits take seconds.
fn keys() -> &'static [RsaKey; 3] {
    static KEYS: OnceLock<[RsaKey; 3]> = OnceLock::new();
    KEYS.get_or_init(|| [2048, 3072, 4096].map(|bits| RsaKey::generate(bits).unwrap()))
}

/// A device with one queue and the packets for it.
struct Bench {
    pool: Mempool,
    queue: Box<dyn Queue>,
    device: SoftDevice<RsaEngine>,
    /// Of sessions that write as much whatever they produce: how much.
    always_written: HashMap<SessionId, usize>,
}

impl Bench {
    fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let pool =
            Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, &domain).unwrap();
        let device = SoftDevice::open("rsa0", placement, &domain).unwrap();
        let queue = device.request_queue(16).unwrap();
        Self { pool, queue, device, always_written: HashMap::new() }
    }

    fn session(&mut self, op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> SessionId {
        let session = RsaSession::new(op, scheme, key).unwrap();
        assert_eq!((session.key_bytes(), session.op(), session.scheme()), (key.bits() / 8, op, scheme));
        let id = self.device.create_session(SessionSpec::Rsa(session)).unwrap();
        if (op, scheme) == (RsaOp::Decrypt, RsaScheme::Pkcs1) {
            self.always_written.insert(id, longest(scheme, key));
        }
        id
    }

    fn complete(&mut self, request: Request) -> Completion {
        self.queue.send(request).unwrap();
        self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s")
    }

    /// A request with `src` and `aux` in one packet, and `room` bytes for output in another.
    fn request(&self, session: SessionId, src: &[u8], aux: &[u8], room: usize) -> Request {
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(src).unwrap();
        packet.extend_from_slice(aux).unwrap();
        let mut output = self.pool.alloc().unwrap();
        output.append(room).unwrap().fill(0xee);
        let mut request = Request::new(session, packet);
        request.set_src(0..src.len()).unwrap();
        request.set_aux(src.len()..src.len() + aux.len()).unwrap();
        request.set_output(output, 0..room).unwrap();
        request
    }

    fn run(&mut self, session: SessionId, src: &[u8], aux: &[u8], room: usize) -> Result<Vec<u8>, Status> {
        let request = self.request(session, src, aux, room).with_tag(77);
        let done = self.complete(request);
        assert_eq!(done.request.tag, 77);
        let (packet, output) = done.request.into_packets();
        assert_eq!(packet.unwrap().len(), src.len() + aux.len());
        let output = output.unwrap();
        match done.status {
            Status::Ok => {
                let (produced, rest) = output.data().split_at(done.produced as usize);
                let always = self.always_written.get(&session).copied().unwrap_or(produced.len());
                let (zeros, rest) = rest.split_at(always - produced.len());
                assert!(zeros.iter().all(|&b| b == 0), "behind a message whose length is secret are zeros");
                assert!(rest.iter().all(|&b| b == 0xee), "nothing is written beyond the output");
                Ok(produced.to_vec())
            }
            status => {
                assert_eq!(done.produced, 0);
                assert!(output.data().iter().all(|&b| b == 0xee), "a failed request writes nothing");
                Err(status)
            }
        }
    }
}

fn signature_schemes() -> impl Iterator<Item = RsaScheme> {
    RsaScheme::ALL.into_iter().filter(|s| s.is_for(RsaOp::Sign))
}

fn encryption_schemes() -> impl Iterator<Item = RsaScheme> {
    RsaScheme::ALL.into_iter().filter(|s| s.is_for(RsaOp::Encrypt))
}

/// The longest message that a scheme encrypts (RFC 8017, 7.1.1 and 7.2.1).
fn longest(scheme: RsaScheme, key: &RsaKey) -> usize {
    key.bits() / 8
        - match scheme {
            RsaScheme::OaepSha256 => 2 * 32 + 2,
            RsaScheme::OaepSha384 => 2 * 48 + 2,
            RsaScheme::OaepSha512 => 2 * 64 + 2,
            _ => 11,
        }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name)
}

fn known_key() -> RsaKey {
    RsaKey::from_pem(&fs::read_to_string(data("rsa2048.pem")).unwrap(), "known").unwrap()
}

fn weak_key() -> RsaKey {
    RsaKey::from_pem(&fs::read_to_string(data("rsa1024.pem")).unwrap(), "old.pem").unwrap()
}
