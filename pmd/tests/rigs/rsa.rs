//! The RSA engine: signatures written behind the message, in the same packet.

use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pmd::conformance::DeviceRig;
use warpdrive_pmd::device::{Completion, Device, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};

pub struct Rsa {
    pool: Mempool,
    device: Box<dyn Device>,
    /// Checks what `device` signs.
    checker: SoftDevice<RsaEngine>,
    sign: Vec<SessionId>,
    verify: Vec<SessionId>,
}

const SCHEMES: [RsaScheme; 2] = [RsaScheme::Pkcs1Sha256, RsaScheme::PssSha512];
const SIGNATURE: usize = 256;

impl Rsa {
    pub fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pool = Mempool::new(&PoolConfig { buffers: 2048, ..PoolConfig::default() }, &domain).unwrap();
        let device = SoftDevice::<RsaEngine>::open("rsa0", placement, &domain).unwrap();
        Self::of(Box::new(device), pool)
    }

    /// Another device that signs, and a pool of which it reaches the memory.
    pub fn of(device: Box<dyn Device>, pool: Mempool) -> Self {
        let checker = SoftDevice::open("checker", Placement::Inline, pool.domain()).unwrap();
        let key = RsaKey::generate(2048).unwrap();
        let session = |device: &dyn Device, op| -> Vec<SessionId> {
            let make = |scheme| {
                device.create_session(SessionSpec::Rsa(RsaSession::new(op, scheme, &key).unwrap())).unwrap()
            };
            SCHEMES.map(make).into()
        };
        let (sign, verify) = (session(&*device, RsaOp::Sign), session(&checker, RsaOp::Verify));
        Self { pool, device, checker, sign, verify }
    }

    fn message(n: u64) -> Vec<u8> {
        format!("message {n} ").repeat(1 + n as usize % 60).into_bytes()
    }
}

impl DeviceRig for Rsa {
    fn name(&self) -> &str {
        "rsa"
    }

    fn device(&self) -> &dyn Device {
        &*self.device
    }

    fn pool(&self) -> &Mempool {
        &self.pool
    }

    fn request(&self, n: u64) -> Request {
        let message = Self::message(n);
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(&message).unwrap();
        packet.append(SIGNATURE).unwrap();
        let mut request = Request::new(self.sign[n as usize % SCHEMES.len()], packet);
        request.set_src(0..message.len()).unwrap();
        request.set_dst(message.len()..message.len() + SIGNATURE).unwrap();
        request
    }

    fn verify(&self, n: u64, completion: &Completion) {
        assert_eq!(completion.produced as usize, SIGNATURE);
        let message = Self::message(n);
        let dst = completion.request.dst();
        let signature = self.pool.domain().view().resolve(dst.iova, SIGNATURE, false).unwrap();
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(&message).unwrap();
        // SAFETY: the completion owns the packet the signature is in, and nobody writes to it.
        packet.extend_from_slice(unsafe { signature.as_slice() }).unwrap();
        let mut request = Request::new(self.verify[n as usize % SCHEMES.len()], packet);
        request.set_src(0..message.len()).unwrap();
        request.set_aux(message.len()..message.len() + SIGNATURE).unwrap();
        let mut queue = self.checker.request_queue(1).unwrap();
        queue.send(request).unwrap();
        assert_eq!(queue.recv().unwrap().status, Status::Ok, "the signature of message {n} is wrong");
    }
}
