//! The ZIP engine: compression into a second packet.

use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pmd::conformance::DeviceRig;
use warpdrive_pmd::device::{Completion, Device, Request, SessionId, SessionSpec};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};

pub struct Zip {
    pool: Mempool,
    device: Box<dyn Device>,
    sessions: Vec<SessionId>,
}

const FORMATS: [ZipFormat; 3] = [ZipFormat::Deflate, ZipFormat::Zlib, ZipFormat::Gzip];

impl Zip {
    pub fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pool = Mempool::new(&PoolConfig { buffers: 1024, ..PoolConfig::default() }, &domain).unwrap();
        let device = SoftDevice::<ZipEngine>::open("zip0", placement, &domain).unwrap();
        Self::of(Box::new(device), pool)
    }

    /// Another device that compresses, and a pool of which it reaches the memory.
    pub fn of(device: Box<dyn Device>, pool: Mempool) -> Self {
        let session = |format| {
            let spec = SessionSpec::Zip(ZipSession::new(ZipOp::Compress, format, 1).unwrap());
            device.create_session(spec).unwrap()
        };
        let sessions = FORMATS.map(session).into();
        Self { pool, device, sessions }
    }
}

fn text(n: u64) -> Vec<u8> {
    format!("request {n} of many ").repeat(4 + (n as usize * 7) % 50).into_bytes()
}

impl DeviceRig for Zip {
    fn name(&self) -> &str {
        "zip"
    }

    fn device(&self) -> &dyn Device {
        &*self.device
    }

    fn pool(&self) -> &Mempool {
        &self.pool
    }

    fn request(&self, n: u64) -> Request {
        let text = text(n);
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(&text).unwrap();
        let mut output = self.pool.alloc().unwrap();
        output.set_len(1024).unwrap();
        let mut request = Request::new(self.sessions[n as usize % self.sessions.len()], packet);
        request.set_src(0..text.len()).unwrap();
        request.set_output(output, 0..1024).unwrap();
        request
    }

    fn verify(&self, n: u64, completion: &Completion) {
        let text = text(n);
        assert!(completion.produced > 0 && (completion.produced as usize) < text.len());
        let dst = completion.request.dst();
        assert_eq!(dst.len, 1024);
        let view = &mut self.pool.domain().view();
        let slice = view.resolve(dst.iova, completion.produced as usize, false).unwrap();
        // SAFETY: the completion owns the output packet, and nobody writes to it.
        let stream = unsafe { slice.as_slice() };
        let mut plain = vec![0; text.len()];
        let mut d = libdeflater::Decompressor::new();
        let got = match FORMATS[n as usize % FORMATS.len()] {
            ZipFormat::Deflate => d.deflate_decompress(stream, &mut plain),
            ZipFormat::Zlib => d.zlib_decompress(stream, &mut plain),
            ZipFormat::Gzip => d.gzip_decompress(stream, &mut plain),
        };
        assert_eq!(got, Ok(text.len()));
        assert_eq!(plain, text);
    }
}
