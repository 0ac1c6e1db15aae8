//! `load-zip`: blocks of text through a queue to an engine core that compresses them.

use warpdrive_mempool::{DmaMode, Domain, Mempool};
use warpdrive_pmd::device::{Device, Request, SessionSpec};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

use super::device::{DeviceRig, unique_name};
use super::{QUICK, ROUNDS, SLICE_S, facts, pool};
use crate::load::modes::{About, drive};
use crate::measure::on_cpu;
use crate::zip::corpus;
use crate::{Bench, BenchError, Emit, Kind, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "load-zip",
    about: "blocks of 4 KiB of text, compressed with level 1 through a queue to an engine core",
    peer: "",
    package: "",
    unit: "op/s",
    seconds: SLICE_S,
    rounds: ROUNDS,
    quick: QUICK,
    run: Kind::Load(run),
};
/// Requests that may be under way.
const DEPTH: usize = 1024;
/// Bytes of a block.
const BLOCK: usize = 4096;

fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let corpora = corpus::all(options)?;
    let corpus = corpora.first().ok_or_else(|| BenchError::Bug("there is no corpus".to_owned()))?;
    let domain = Domain::new(DmaMode::Sva);
    let mut rig = open(&corpus.bytes, far, DEPTH, &domain)?;
    let mut facts = facts(&domain, (near, far));
    facts.extend(rig.facts());
    facts.insert("corpus".to_owned(), format!("{}: {}", corpus.name, corpus.origin));
    let about = About {
        bench: BENCH.name,
        what: "4,096 bytes compressed to raw DEFLATE, level 1; latency until its completion is received"
            .to_owned(),
        unit: BENCH.unit,
        facts,
    };
    on_cpu(near, move || drive(options, &about, &mut rig, emit))
}

/// Compresses blocks of `bytes`, in turn, on `cpu`; up to `depth` requests at once.
fn open(bytes: &[u8], cpu: usize, depth: usize, domain: &Domain) -> Result<DeviceRig, BenchError> {
    let placement = Placement::Core { cpu, idle: IdlePolicy::Pause };
    let device = SoftDevice::<ZipEngine>::open(&unique_name(), placement, domain)?;
    compress(Box::new(device), bytes, BLOCK, depth, pool(2 * depth, buffer(BLOCK), domain)?)
}

/// The size of packets in which a block fits, or what comes of one that cannot be compressed.
#[must_use]
pub fn buffer(block: usize) -> usize {
    block + block / 16 + 512
}

/// Compresses blocks of `bytes` with level 1 by a device, in packets of `pool`, two for each request; up to `depth` requests
/// at once. Each request keeps its block.
///
/// # Errors
/// [`BenchError`] when the device has no queue, or the pool no packets, or there is no block.
pub fn compress(
    device: Box<dyn Device>,
    bytes: &[u8],
    block: usize,
    depth: usize,
    pool: Mempool,
) -> Result<DeviceRig, BenchError> {
    let session = ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1)?;
    let blocks = bytes.len() / block;
    if blocks == 0 {
        return Err(BenchError::Bug(format!(
            "device {}: a corpus of {} bytes has no block",
            device.info().name,
            bytes.len()
        )));
    }
    DeviceRig::new(device, SessionSpec::Zip(session), pool, depth, |pool, session, i| {
        let bug = |what: &str| BenchError::Bug(format!("a packet of the pool: {what}"));
        let from = i % blocks * block;
        let mut packet = pool.alloc().ok_or_else(|| bug("none left"))?;
        packet.extend_from_slice(&bytes[from..from + block]).map_err(|e| bug(&e.to_string()))?;
        let mut output = pool.alloc().ok_or_else(|| bug("none left"))?;
        let room = output.tailroom();
        output.append(room).map_err(|e| bug(&e.to_string()))?;
        let mut request = Request::new(session, packet);
        request
            .set_src(0..block)
            .and_then(|()| request.set_output(output, 0..room))
            .map_err(|e| bug(&e.to_string()))?;
        Ok(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Subject as _;

    #[test]
    fn requests_go_round_and_are_compressed_each_time() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let text = b"a text that repeats itself, as texts do. ".repeat(300);
        let domain = Domain::new(DmaMode::Sva);
        let mut rig = open(&text, *cpus.last().unwrap(), 4, &domain).unwrap();
        let mut tags = Vec::new();
        for round in 0..3 {
            for i in 0..4 {
                assert!(rig.send(round * 4 + i));
            }
            assert!(!rig.send(99), "only four were made");
            rig.flush().unwrap();
            while rig.in_flight() > 0 {
                rig.receive(&mut |tag| tags.push(tag)).unwrap();
            }
        }
        tags.sort_unstable();
        assert_eq!(tags, (0..12).collect::<Vec<_>>());
        let stats = rig.stats();
        assert_eq!((stats.requests, stats.errors, stats.bytes_in), (12, 0, 12 * 4096));
        assert!(stats.bytes_out > 0 && stats.bytes_out < stats.bytes_in / 4, "{stats:?}");
    }
}
