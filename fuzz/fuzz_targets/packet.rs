//! Frames from the wire, through everything that looks into them: nothing panics, nothing writes past a buffer (each
//! has a guard behind it in debug builds), no buffer is lost.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use warpdrive_mempool::{BURST, Burst, DmaMode, Domain, Mempool, PageChoice, PageSize, PoolConfig};
use warpdrive_pipeline::config::{Config, Full, Otherwise};
use warpdrive_pipeline::cores::parse_list;
use warpdrive_pipeline::plan::{Plan, StagePlan};
use warpdrive_pipeline::stage::accel::AccelStage;
use warpdrive_pipeline::stage::classify::MatchStage;
use warpdrive_pipeline::stage::echo::EchoStage;
use warpdrive_pipeline::stage::flows::Flows;
use warpdrive_pipeline::stage::header::{self, Header, Kind};
use warpdrive_pipeline::stage::rsa::Rsa;
use warpdrive_pipeline::stage::simple::MacSwapStage;
use warpdrive_pipeline::stage::zip::Zip;
use warpdrive_pipeline::stage::zip_flows::ZipFlows;
use warpdrive_pipeline::stage::{Context, Stage};
use warpdrive_pipeline::wire::{Flow, Udp};
use warpdrive_pmd::device::{Device, SessionSpec};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaScheme, RsaSession};
use warpdrive_pmd::engine::zip::{Checksum, ZipConfig, ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::port::MacAddr;

const RULES: &str = r#"
version = 1
[port.a]
driver = "null"
[[pipeline]]
name = "p"
stages = [
  { rx = "a" },
  { match = { vlan = 7, ethertype = "ipv4", protocol = "udp", src = "192.0.2.0/24", dport = "1-5000" } },
  { tx = "a" },
]
"#;

/// One pool and one of each stage, used for all inputs of the process.
struct Bench {
    pool: Mempool,
    /// Each alone.
    single: Vec<Box<dyn Stage>>,
    /// The near end and the far end, in their order.
    near: Vec<Box<dyn Stage>>,
    far: Vec<Box<dyn Stage>>,
    /// The same with streams across packets, without signatures. What came before matters here.
    near_flows: Vec<Box<dyn Stage>>,
    far_flows: Vec<Box<dyn Stage>>,
    /// A far end that only ever sees hostile frames.
    hostile_flows: Vec<Box<dyn Stage>>,
}

impl Bench {
    fn new() -> Self {
        let domain = Domain::new(DmaMode::Sva);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let pool = Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, &domain)
            .expect("a pool");
        let zip_device = SoftDevice::<ZipEngine>::open("zip", Placement::Inline, &domain).expect("inline");
        let rsa_device = SoftDevice::<RsaEngine>::open("rsa", Placement::Inline, &domain).expect("inline");
        let key = RsaKey::generate(2048).expect("a key");
        let zip = |op| -> Box<dyn Stage> {
            let spec = ZipSession::new(op, ZipFormat::Deflate, 1).expect("a level");
            let session = zip_device.create_session(SessionSpec::Zip(spec)).expect("a session");
            let (oversize, plain) = (Otherwise::Pass, Otherwise::Pass);
            let format = ZipFormat::Deflate;
            let zip = Zip { session, op, format, pool: pool.clone(), mtu: 1500, oversize, plain };
            Box::new(AccelStage::new(zip, zip_device.request_queue(8).expect("a queue"), 8, Full::Drop))
        };
        let flows = |op| -> Box<dyn Stage> {
            let usual = ZipConfig::new(op, ZipFormat::Deflate, 1);
            let spec = ZipSession::with(ZipConfig { checksum: Checksum::Crc32, ..usual }).expect("right");
            let session = zip_device.create_session(SessionSpec::Zip(spec)).expect("a session");
            let (oversize, plain) = (Otherwise::Pass, Otherwise::Drop);
            let format = ZipFormat::Deflate;
            let zip = Zip { session, op, format, pool: pool.clone(), mtu: 1500, oversize, plain };
            let flows = ZipFlows::new(zip, Flows::new(&zip_device, session, 3).expect("streams"), 5);
            Box::new(AccelStage::new(flows, zip_device.request_queue(8).expect("a queue"), 8, Full::Drop))
        };
        let rsa = |op| -> Box<dyn Stage> {
            let scheme = RsaScheme::PssSha256;
            let spec = RsaSession::new(op, scheme, &key).expect("a private key");
            let session = rsa_device.create_session(SessionSpec::Rsa(spec)).expect("a session");
            let (oversize, plain) = (Otherwise::Pass, Otherwise::Pass);
            let rsa = Rsa { session, op, scheme, signature_len: 256, mtu: 1500, oversize, plain };
            Box::new(AccelStage::new(rsa, rsa_device.request_queue(8).expect("a queue"), 8, Full::Drop))
        };
        let address = [192, 0, 2, 1].into();
        let config = Config::parse("rules", RULES).expect("right");
        let plan = Plan::new(&config, &parse_list("0").expect("right")).expect("right");
        let StagePlan::Match { rules, .. } = &plan.pipelines[0].stages[1] else { unreachable!() };
        let single: Vec<Box<dyn Stage>> = vec![
            Box::new(EchoStage::new(address, MacAddr([2; 6]), Otherwise::Drop)),
            Box::new(MatchStage::new(rules.clone(), None)),
            Box::new(MacSwapStage::default()),
        ];
        let near = vec![rsa(RsaOp::Sign), zip(ZipOp::Compress)];
        let far = vec![zip(ZipOp::Decompress), rsa(RsaOp::Verify)];
        let (near_flows, far_flows) = (vec![flows(ZipOp::Compress)], vec![flows(ZipOp::Decompress)]);
        let hostile_flows = vec![flows(ZipOp::Decompress)];
        Self { pool, single, near, far, near_flows, far_flows, hostile_flows }
    }

    fn burst(&self, frame: &[u8]) -> Burst {
        let mut burst = Burst::new();
        let mut packet = self.pool.alloc().expect("none is lost");
        if packet.extend_from_slice(frame).is_ok() {
            let _ = burst.push(packet);
        }
        burst
    }

    /// A burst through stages one after the other.
    fn through(stages: &mut [Box<dyn Stage>], mut burst: Burst) -> Burst {
        for stage in stages {
            let mut cx = Context { now: 0, latency: None };
            stage.process(&mut burst, &mut cx);
            if stage.polls() {
                let mut out = Burst::new();
                while stage.held() > 0 {
                    stage.poll(&mut out, BURST, &mut cx);
                }
                burst = out;
            }
        }
        burst
    }

    fn run(&mut self, frame: &[u8]) {
        if let Some(flow) = Flow::of(frame) {
            let _ = flow.symmetric_hash();
        }
        let mut copy = frame.to_vec();
        if let Ok(udp) = Udp::parse(frame) {
            assert_eq!(Udp::unpack(udp.pack()), udp);
            udp.mend(&mut copy, udp.payload().len());
            assert_eq!(Udp::parse(&copy), Ok(udp), "mending moves nothing");
            udp.mend(&mut copy, usize::from(u16::MAX));
        }
        // The 8-byte header, in and out again.
        let mut burst = self.burst(frame);
        for packet in burst.iter_mut() {
            let before = packet.data().to_vec();
            let Ok((udp, _)) = header::locate(packet) else {
                assert_eq!(packet.data(), before, "what is not located is not touched");
                continue;
            };
            let located = packet.data().to_vec();
            let header = Header { kind: Kind::Signed, algorithm: 1, padded: false, length: 7 };
            if header::insert(packet, &udp, header) {
                assert_eq!(Header::read(&packet.data()[udp.headers()..]), Some(header));
                header::remove(packet, &udp);
            }
            assert_eq!(packet.data(), located);
        }
        drop(burst);
        for i in 0..self.single.len() {
            let burst = self.burst(frame);
            drop(Self::through(&mut self.single[i..=i], burst));
        }
        // Hostile frames at the far end.
        let burst = self.burst(frame);
        for packet in &Self::through(&mut self.far, burst) {
            assert!(packet.len() <= frame.len().max(1514 + 8));
        }
        // Whatever the near end makes of a frame, the far end takes back.
        let burst = self.burst(frame);
        let there = Self::through(&mut self.near, burst);
        let signed = there.iter().next().is_some_and(|p| p.data() != frame);
        let back = Self::through(&mut self.far, there);
        if signed && let (Some(packet), Ok(udp)) = (back.iter().next(), Udp::parse(frame)) {
            assert_eq!(&packet.data()[udp.payload()], &frame[udp.payload()]);
        }
        drop(back);
        let burst = self.burst(frame);
        drop(Self::through(&mut self.hostile_flows, burst));
        let burst = self.burst(frame);
        let there = Self::through(&mut self.near_flows, burst);
        let is_treated = there.iter().next().is_some_and(|p| p.data() != frame);
        let back = Self::through(&mut self.far_flows, there);
        if is_treated && let Ok(udp) = Udp::parse(frame) {
            let packet = back.iter().next().expect("a flow that nothing is missing of");
            assert_eq!(&packet.data()[udp.payload()], &frame[udp.payload()]);
        }
        drop(back);
        assert_eq!(self.pool.stats().in_use, 0, "no buffer is lost");
    }
}

/// Puts `payload` into a datagram with right lengths, so that the fuzzer need not find them.
fn datagram(v6: bool, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let ip = f.len() + 2;
    if v6 {
        f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64]);
        f.extend(0..32);
    } else {
        f.extend([8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    }
    let l4 = f.len();
    f.extend([0x11, 0x51, 0x11, 0x52, 0, 0, 0xff, 0xff]);
    f.extend(payload);
    let udp = Udp { l3: ip as u16, l4: l4 as u16, end: f.len() as u16, v6 };
    udp.mend(&mut f, payload.len());
    f
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(1900)];
    let frame = match how % 5 {
        0 => bytes.to_vec(),
        1 => datagram(false, bytes),
        2 => datagram(true, bytes),
        // A compressed payload: the header's magic and kind, the rest as it comes.
        3 => datagram(false, &[b"WD\x02", bytes].concat()),
        // One of a compressed flow.
        _ => datagram(false, &[b"WD\x03\x01", bytes].concat()),
    };
    BENCH.with_borrow_mut(|bench| bench.run(&frame));
});
