//! A small pool, devices, frames with right checksums, and pipelines between two rings.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use warpdrive_mempool::*;
use warpdrive_pipeline::config::{Full, Otherwise};
use warpdrive_pipeline::stage::Stage;
use warpdrive_pipeline::stage::accel::AccelStage;
use warpdrive_pipeline::stage::io::{RxStage, TxStage};
use warpdrive_pipeline::stage::rsa::Rsa;
use warpdrive_pipeline::stage::zip::Zip;
use warpdrive_pipeline::stats::Reason;
use warpdrive_pipeline::worker::Pipeline;
use warpdrive_pmd::clock::ticks;
use warpdrive_pmd::device::{Device, Queue, SessionId, SessionSpec};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaScheme, RsaSession};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::port::ring::{RingRx, RingTx, channel};
use warpdrive_pmd::port::{RxQueue, TxQueue};

pub const SIGNATURE: usize = 256;
pub const HEADER: usize = 8;
pub const MTU: usize = 1500;
pub const SCHEME: RsaScheme = RsaScheme::Pkcs1Sha256;
pub const CORE: Placement = Placement::Core { cpu: 0, idle: IdlePolicy::Sleep };

pub fn pool_of(buffers: usize, domain: &Domain) -> Mempool {
    let pages = PageChoice::Exactly(PageSize::Size4K);
    Mempool::new(&PoolConfig { buffers, pages, ..PoolConfig::default() }, domain).unwrap()
}

pub fn pool(buffers: usize) -> Mempool {
    pool_of(buffers, &Domain::new(DmaMode::Sva))
}

pub fn packet(pool: &Mempool, bytes: &[u8]) -> Packet {
    let mut p = pool.alloc().unwrap();
    p.extend_from_slice(bytes).unwrap();
    p
}

/// A pool with a device of each kind.
pub struct Lab {
    pub pool: Mempool,
    pub zip: SoftDevice<ZipEngine>,
    pub rsa: SoftDevice<RsaEngine>,
    pub format: ZipFormat,
    pub oversize: Otherwise,
    pub plain: Otherwise,
    pub full: Full,
    pub depth: usize,
}

fn key() -> &'static RsaKey {
    static KEY: OnceLock<RsaKey> = OnceLock::new();
    KEY.get_or_init(|| RsaKey::generate(2048).unwrap())
}

impl Lab {
    pub fn new(placement: Placement, buffers: usize) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        Self {
            pool: pool_of(buffers, &domain),
            zip: SoftDevice::open("zip0", placement, &domain).unwrap(),
            rsa: SoftDevice::open("rsa0", placement, &domain).unwrap(),
            format: ZipFormat::Deflate,
            oversize: Otherwise::Pass,
            plain: Otherwise::Pass,
            full: Full::Hold,
            depth: 16,
        }
    }

    pub fn zip_operation(&self, op: ZipOp) -> Zip {
        let spec = ZipSession::new(op, self.format, 1).unwrap();
        Zip {
            session: self.zip.create_session(SessionSpec::Zip(spec)).unwrap(),
            op,
            format: self.format,
            pool: self.pool.clone(),
            mtu: MTU,
            oversize: self.oversize,
            plain: self.plain,
        }
    }

    pub fn zip(&self, op: ZipOp) -> Box<dyn Stage> {
        let queue = self.zip.request_queue(self.depth).unwrap();
        Box::new(AccelStage::new(self.zip_operation(op), queue, self.depth, self.full))
    }

    pub fn rsa(&self, op: RsaOp) -> Box<dyn Stage> {
        let spec = RsaSession::new(op, SCHEME, key()).unwrap();
        let session = self.rsa.create_session(SessionSpec::Rsa(spec)).unwrap();
        self.rsa_on(session, op, self.rsa.request_queue(self.depth).unwrap())
    }

    pub fn rsa_on(&self, session: SessionId, op: RsaOp, queue: Box<dyn Queue>) -> Box<dyn Stage> {
        let (oversize, plain) = (self.oversize, self.plain);
        let rsa = Rsa { session, op, scheme: SCHEME, signature_len: SIGNATURE, mtu: MTU, oversize, plain };
        Box::new(AccelStage::new(rsa, queue, self.depth, self.full))
    }
}

/// A pipeline between two rings.
pub struct Line {
    pub pipeline: Pipeline,
    pub input: RingTx,
    pub output: RingRx,
    given: usize,
    pub frames: Vec<Vec<u8>>,
}

impl Line {
    pub fn new(middle: Vec<Box<dyn Stage>>) -> Self {
        let (output_tx, output) = channel(1024);
        Self::ending(middle, Box::new(output_tx), output, Full::Hold)
    }

    /// With a sink of the test's own.
    pub fn ending(middle: Vec<Box<dyn Stage>>, sink: Box<dyn TxQueue>, output: RingRx, full: Full) -> Self {
        let (input, rx) = channel(1024);
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(RxStage::new(Box::new(rx), 32, None))];
        stages.extend(middle);
        stages.push(Box::new(TxStage::new(sink, full)));
        Self { pipeline: Pipeline::new(stages, true), input, output, given: 0, frames: Vec::new() }
    }

    pub fn give(&mut self, packet: Packet) {
        let mut burst = Burst::new();
        burst.push(packet).unwrap();
        assert_eq!(self.input.tx_burst(&mut burst), 1);
        self.given += 1;
    }

    pub fn round(&mut self) {
        self.pipeline.round(ticks(), false);
        self.collect();
    }

    pub fn collect(&mut self) {
        let mut burst = Burst::new();
        self.output.rx_burst(&mut burst, BURST);
        for p in burst.drain_front(BURST) {
            self.frames.push(p.segments().flat_map(|s| s.data()).copied().collect());
        }
    }

    pub fn dropped(&self) -> u64 {
        self.pipeline.counters().iter().flat_map(|c| c.drops()).map(|(_, n)| n).sum()
    }

    /// Rounds until every packet has come out or was dropped and counted.
    pub fn settle(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.frames.len() + (self.dropped() as usize) < self.given {
            self.round();
            assert!(Instant::now() < deadline, "{} of {} came out", self.frames.len(), self.given);
        }
        assert_eq!(self.frames.len() + self.dropped() as usize, self.given);
    }

    pub fn drops(&self, stage: usize) -> Vec<(Reason, u64)> {
        self.pipeline.counters()[stage].drops().collect()
    }

    pub fn passes(&self, stage: usize) -> Vec<(Reason, u64)> {
        self.pipeline.counters()[stage].passes().collect()
    }
}

/// Sends frames through stages and returns what comes out, with the line for its counters.
pub fn run(pool: &Mempool, middle: Vec<Box<dyn Stage>>, frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, Line) {
    let mut line = Line::new(middle);
    for frame in frames {
        line.give(packet(pool, frame));
    }
    line.settle();
    (std::mem::take(&mut line.frames), line)
}

/// What a datagram is to look like.
#[derive(Clone, Debug)]
pub struct Spec {
    pub v6: bool,
    pub tags: usize,
    pub checksum: bool,
    pub id: u16,
    pub payload: Vec<u8>,
}

impl Spec {
    pub fn v4(id: u16, payload: &[u8]) -> Self {
        Self { v6: false, tags: 0, checksum: true, id, payload: payload.to_vec() }
    }

    /// Offset of the IP header.
    pub fn l3(&self) -> usize {
        14 + 4 * self.tags
    }

    /// Offset of the payload.
    pub fn headers(&self) -> usize {
        self.l3() + if self.v6 { 40 } else { 20 } + 8
    }

    /// The frame, padded to 60 bytes.
    pub fn frame(&self) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for tag in 0..self.tags {
            f.extend(if tag == 0 && self.tags == 2 { [0x88, 0xa8, 0, 5] } else { [0x81, 0, 0, 7] });
        }
        let udp_len = (8 + self.payload.len()) as u16;
        let [id0, id1] = self.id.to_be_bytes();
        if self.v6 {
            f.extend([0x86, 0xdd, 0x60, 0, id0, id1]);
            f.extend(udp_len.to_be_bytes());
            f.extend([17, 64]);
            f.extend((0..32).map(|i| i * 7));
        } else {
            f.extend([8, 0, 0x45, 0]);
            f.extend((udp_len + 20).to_be_bytes());
            f.extend([id0, id1, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            let sum = naive(&f[self.l3()..]);
            f[self.l3() + 10..self.l3() + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let l4 = f.len();
        f.extend([0x11, 0x51, 0x11, 0x52]);
        f.extend(udp_len.to_be_bytes());
        f.extend([0, 0]);
        f.extend(&self.payload);
        if self.checksum {
            let sum = match naive(&pseudo(self.v6, &f, self.l3(), l4, f.len())) {
                0 => 0xffff,
                sum => sum,
            };
            f[l4 + 6..l4 + 8].copy_from_slice(&sum.to_be_bytes());
        }
        f.resize(f.len().max(60), 0);
        f
    }

    /// Checks lengths and checksums of a frame made from this one and returns its payload.
    pub fn check<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let (l3, headers) = (self.l3(), self.headers());
        let be = |at: usize| usize::from(frame[at]) << 8 | usize::from(frame[at + 1]);
        let end = if self.v6 { l3 + 40 + be(l3 + 4) } else { l3 + be(l3 + 2) };
        assert_eq!(be(headers - 4), end - (headers - 8), "the UDP length fills the IP packet");
        assert!(frame.len() == end || (end < 60 && frame.len() == 60), "{} bytes, end {end}", frame.len());
        if !self.v6 {
            assert_eq!(naive(&frame[l3..l3 + 20]), 0, "IPv4 header checksum");
        }
        if self.checksum {
            assert_ne!(be(headers - 2), 0);
            assert_eq!(naive(&pseudo(self.v6, frame, l3, headers - 8, end)), 0, "UDP checksum");
        } else {
            assert_eq!(be(headers - 2), 0, "no checksum stays none");
        }
        &frame[headers..end]
    }
}

/// RFC 1071 by the definition.
pub fn naive(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// The pseudo header (RFC 768, RFC 8200 section 8.1) and the datagram.
fn pseudo(v6: bool, frame: &[u8], l3: usize, l4: usize, end: usize) -> Vec<u8> {
    let mut bytes = if v6 { frame[l3 + 8..l3 + 40].to_vec() } else { frame[l3 + 12..l3 + 20].to_vec() };
    bytes.extend([0, 17]);
    bytes.extend(((end - l4) as u16).to_be_bytes());
    bytes.extend(&frame[l4..end]);
    bytes
}

/// A frame of an experimental EtherType (IEEE 802), with a number where a datagram has its IPv4 identification.
pub fn other(id: u16) -> Vec<u8> {
    let mut f = vec![0xee; 64];
    f[12..14].copy_from_slice(&[0x88, 0xb5]);
    f[18..20].copy_from_slice(&id.to_be_bytes());
    f
}

/// The number of a frame from [`Spec::v4`] or [`other`].
pub fn id_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[18], frame[19]])
}

/// Bytes without a pattern (SplitMix64).
pub fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 24) as u8
    };
    std::iter::repeat_with(&mut next).take(n).collect()
}
