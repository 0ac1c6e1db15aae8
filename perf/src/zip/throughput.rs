//! `zip`: blocks and streams of three kinds through our queue, against libdeflate, zlib and DPDK.

use std::time::Duration;

use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{BackEnd, MAX_LEVEL, ZipConfig, ZipFormat, ZipOp, ZipSession};

use super::corpus::{self, Corpus};
use super::direct::{Direct, Inverse, is_of};
use super::dpdk::{self, Said};
use super::rig::{DEPTH, Rig, bound};
use super::{RATE, Rate, Side, cpu, passes, size_line, stream, wall};
use crate::measure::{Line, median};
use crate::peers::{NoPeer, PageSize};
use crate::turns::{take_turns, target};
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "zip",
    about: "blocks of 1.5, 4, 16 and 64 KiB of text, programs and compressed files, and streams, on one core",
    peer: "libdeflate called directly; dpdk-test-compress-perf with zlib; zlib's streams",
    package: "dpdk zlib1g-dev gcc pkg-config",
    unit: RATE.0,
    seconds: 0.2,
    rounds: 7,
    quick: Some((0.01, 3)),
    run: Kind::Comparison(run),
};
/// Bytes of a block, and what that is called.
const BLOCKS: [(usize, &str); 4] = [(1_536, "1.5k"), (4 << 10, "4k"), (16 << 10, "16k"), (64 << 10, "64k")];
/// What of libdeflate's rate a queue should leave.
const QUEUE_TARGET: f64 = 0.97;
/// How many times as fast as DPDK's driver of zlib.
const DPDK_TARGET: f64 = 1.5;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    for corpus in corpus::all(options)? {
        let file = stream::file(&corpus)?;
        for (block, label) in BLOCKS {
            let mut peer = dpdk::Peer {
                file: file.path(),
                bytes: corpus.bytes.len(),
                block,
                cpus: options.two_cpus().unwrap_or((options.cpu()?, options.cpu()?)),
                rounds: 1,
            };
            let name = format!("zip-{}-{label}", corpus.name);
            for line in blocks(options, &corpus, &mut peer)?.lines(&name) {
                emit(line.command(options.command(BENCH.name)));
            }
        }
        stream::run(options, &corpus, file.path(), &mut |line| {
            emit(line.command(options.command(BENCH.name)));
        })?;
    }
    Ok(())
}

/// The sides of a comparison, in the order of their slices.
const OURS: usize = 0;
const DIRECT: usize = 1;
const QUEUE: usize = 2;
const OURS_6: usize = 3;
const DIRECT_6: usize = 4;
const UNZIP: usize = 5;
const DIRECT_UNZIP: usize = 6;
/// Only if there is DPDK to compare with, and a level of ours that is as small.
const AS_SMALL: usize = 7;

/// What came of blocks of one size.
struct Blocks {
    rates: Vec<Vec<Rate>>,
    /// One a round, or why there are none.
    dpdk: Result<Vec<Said>, NoPeer>,
    dpdk_block: usize,
    /// Our fastest level whose output is as small as DPDK's, and how small that is.
    as_small: Option<(u8, f64)>,
    /// Parts of the input that are left: ours and libdeflate's.
    level_1: (f64, f64),
    level_6: (f64, f64),
    back_ends: [BackEnd; 3],
    origin: String,
}

fn blocks(options: &Options, corpus: &Corpus, peer: &mut dpdk::Peer<'_>) -> Result<Blocks, BenchError> {
    let on = options.cpu()?;
    let plain: Vec<&[u8]> = corpus.bytes.chunks(peer.block).collect();
    let lens: Vec<usize> = plain.iter().map(|block| block.len()).collect();
    let mut direct = Direct::new(1, &plain)?;
    let mut direct_6 = Direct::new(6, &plain)?;
    direct.pass()?;
    direct_6.pass()?;
    let (level_1, level_6) = (direct.part(), direct_6.part());
    let compressed: Vec<Vec<u8>> = direct.compressed().into_iter().map(<[u8]>::to_vec).collect();
    let compressed: Vec<&[u8]> = compressed.iter().map(Vec::as_slice).collect();
    let mut inverse = Inverse::new(&compressed, &lens);

    let mut ours = compressing(&plain, session(ZipOp::Compress, 1, BackEnd::Auto)?)?;
    let mut queue = compressing(&plain, session(ZipOp::Compress, 1, BackEnd::Libdeflate)?)?;
    let mut ours_6 = compressing(&plain, session(ZipOp::Compress, 6, BackEnd::Auto)?)?;
    let unzips = session(ZipOp::Decompress, 1, BackEnd::Auto)?;
    let mut unzip = Rig::open(Placement::Inline, unzips.clone(), &compressed, &lens)?;
    let part = |(read, written): (u64, u64)| written as f64 / read as f64;
    let sizes = part(ours.verify(|i, out| is_of(out, plain[i]))?);
    let sizes_6 = part(ours_6.verify(|i, out| is_of(out, plain[i]))?);
    queue.verify(|i, out| is_of(out, plain[i]))?;
    unzip.verify(|i, out| out == plain[i])?;

    let tried = peer.try_it(options.slice);
    let mut as_small = match &tried {
        Ok(said) => as_small(&plain, said.part)?,
        Err(_) => None,
    };
    let mut said = Vec::new();
    let rates = {
        let mut sides: Vec<Side<'_>> = vec![
            side(on, || Ok(ours.pass()?.0)),
            side(on, || direct.pass()),
            side(on, || Ok(queue.pass()?.0)),
            side(on, || Ok(ours_6.pass()?.0)),
            side(on, || direct_6.pass()),
            side(on, || Ok(unzip.pass()?.1)),
            side(on, || inverse.pass()),
        ];
        if let Some((_, _, rig)) = &mut as_small {
            sides.push(side(on, || Ok(rig.pass()?.0)));
        }
        if tried.is_ok() {
            sides.push(Box::new(|_| {
                let found = peer.run()?;
                said.push(found);
                Ok(Rate { cpu: found.compress, wall: found.compress })
            }));
        }
        take_turns(options, &mut sides)?
    };
    // What was measured is still right.
    ours.verify(|i, out| is_of(out, plain[i]))?;
    unzip.verify(|i, out| out == plain[i])?;
    let back_end = |op, level| Ok::<_, BenchError>(session(op, level, BackEnd::Auto)?.back_end());
    Ok(Blocks {
        rates,
        dpdk: tried.map(|_| said.split_off(1)),
        dpdk_block: peer.segment(),
        as_small: as_small.map(|(level, part, _)| (level, part)),
        level_1: (sizes, level_1),
        level_6: (sizes_6, level_6),
        back_ends: [back_end(ZipOp::Compress, 1)?, back_end(ZipOp::Compress, 6)?, unzips.back_end()],
        origin: corpus.origin.clone(),
    })
}

/// A level, what it leaves of the input, and a queue of it.
type AsSmall = (u8, f64, Rig);

/// Our lowest level that leaves no more than `part` of the input, if one does.
fn as_small(plain: &[&[u8]], part: f64) -> Result<Option<AsSmall>, BenchError> {
    for level in 1..=MAX_LEVEL {
        let mut rig = compressing(plain, session(ZipOp::Compress, level, BackEnd::Auto)?)?;
        let (read, written) = rig.verify(|i, out| is_of(out, plain[i]))?;
        let left = written as f64 / read as f64;
        if left <= part {
            return Ok(Some((level, left, rig)));
        }
    }
    Ok(None)
}

fn session(op: ZipOp, level: u8, back_end: BackEnd) -> Result<ZipSession, BenchError> {
    Ok(ZipSession::with(ZipConfig { back_end, ..ZipConfig::new(op, ZipFormat::Deflate, level) })?)
}

fn compressing(plain: &[&[u8]], session: ZipSession) -> Result<Rig, BenchError> {
    let rooms: Vec<usize> = plain.iter().map(|block| bound(block.len())).collect();
    Rig::open(Placement::Inline, session, plain, &rooms)
}

fn side<'a>(cpu: usize, mut pass: impl FnMut() -> Result<u64, BenchError> + Send + 'a) -> Side<'a> {
    Box::new(move |time: Duration| passes(cpu, time, &mut pass))
}

impl Blocks {
    fn lines(&self, name: &str) -> Vec<Line> {
        let of = |side: usize| cpu(&self.rates[side]);
        let compare = |suffix: &str, ours: usize, (peer, theirs): (&str, usize)| {
            Line::compare(&format!("{name}{suffix}"), RATE, &of(ours), Ok((peer, &of(theirs))))
        };
        let [one, six, unzip] = self.back_ends.map(BackEnd::name);
        let cpu_time = "seconds of cpu time; in whole passes over the corpus";
        let mut lines = vec![
            compare("", OURS, ("libdeflate level 1, called directly", DIRECT))
                .note(format!("ours: the default session of level 1 ({one}), raw, inline, {DEPTH} in flight; all output checked"))
                .note(cpu_time)
                .note(format!("packets in pages of {}", PageSize::best().config()))
                .note(format!("corpus: {}", self.origin)),
            size_line(&format!("{name}-size"), self.level_1.0, Ok(("libdeflate level 1", self.level_1.1)))
                .note(format!("ours: {one}")),
            target(
                compare("-queue", QUEUE, ("libdeflate level 1, called directly", DIRECT)),
                QUEUE_TARGET,
            )
            .note("ours: libdeflate level 1 behind a queue; what is lost is what the queue costs")
            .note(cpu_time),
            compare("-l6", OURS_6, ("libdeflate level 6, called directly", DIRECT_6))
                .note(format!("ours: the default session of level 6 ({six})"))
                .note(format!(
                    "left of the input: ours {:.4}, libdeflate {:.4}",
                    self.level_6.0, self.level_6.1
                )),
            compare("-unzip", UNZIP, ("libdeflate, called directly", DIRECT_UNZIP))
                .note(format!("ours: {unzip}; decompression of libdeflate's output of level 1, MB/s of what comes out")),
        ];
        lines.extend(self.against_dpdk(name));
        lines
    }

    fn against_dpdk(&self, name: &str) -> Vec<Line> {
        let title = dpdk::title();
        let said = |value: fn(&Said) -> f64| self.dpdk.as_ref().map(|all| all.iter().map(value).collect());
        let line = |suffix: &str, ours: usize, theirs: Result<Vec<f64>, &NoPeer>| {
            let theirs = theirs.as_deref().map(|values| (title.as_str(), values)).map_err(|none| *none);
            Line::compare(&format!("{name}-dpdk{suffix}"), RATE, &wall(&self.rates[ours]), theirs)
                .note(format!("by the clock on both sides; its blocks have {} bytes", self.dpdk_block))
        };
        let size = said(|s| s.part).map(|parts: Vec<f64>| (title.as_str(), median(&parts)));
        let mut lines = vec![
            line("", OURS, said(|s| s.compress)),
            size_line(&format!("{name}-dpdk-size"), self.level_1.0, size),
            line("-unzip", UNZIP, said(|s| s.decompress)),
        ];
        if let Some((level, part)) = self.as_small {
            let same = line("-as-small", AS_SMALL, said(|s| s.compress));
            lines.push(target(same, DPDK_TARGET).note(format!(
                "ours: level {level}, the lowest that leaves no more of the input than the peer: {part:.4}"
            )));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_there_also_without_a_peer_and_sizes_are_those_of_the_library() {
        let bytes = include_bytes!("throughput.rs").repeat(3);
        let corpus = Corpus { name: "own".into(), bytes, origin: "this file".into() };
        let none = std::path::Path::new("/no/such/file");
        let options = Options::for_tests(2);
        let cpus = (options.cpu().unwrap(), options.cpu().unwrap());
        let mut peer = dpdk::Peer { file: none, bytes: corpus.bytes.len(), block: 4_096, cpus, rounds: 1 };
        let done = blocks(&options, &corpus, &mut peer).unwrap();
        let lines = done.lines("zip-own-4k");
        let names: Vec<&str> = lines.iter().map(|l| l.name.strip_prefix("zip-own-4k").unwrap()).collect();
        assert_eq!(names, ["", "-size", "-queue", "-l6", "-unzip", "-dpdk", "-dpdk-size", "-dpdk-unzip"]);
        assert!(lines[..5].iter().all(|l| l.ratio.is_some_and(|r| r > 0.0)), "{lines:?}");
        assert!(lines[5..].iter().all(|l| l.ratio.is_none() && l.peer.ends_with("(absent)")), "{lines:?}");
        assert_eq!(lines[0].rounds, 2);
        assert!(done.level_6.0 < done.level_1.1, "level 6 is smaller");
        assert!((done.level_6.0 - done.level_6.1).abs() < 1e-12, "the same library");
    }
}
