//! `zip-isal`: ISA-L behind our queue, on one core and on two, against its own program igzip.

use std::path::Path;
use std::time::{Duration, Instant};

use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{BackEnd, HAS_ISAL, ZipConfig, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::idle::IdlePolicy;

use super::lanes::{Lanes, PIECE};
use super::program::{self, Large, Took};
use super::{RATE, Rate, Side, corpus, cpu, passes, size_line, wall};
use crate::measure::{Line, median, on_cpu};
use crate::peers::{NoPeer, which};
use crate::turns::{take_turns, target};
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "zip-isal",
    about: "gzip streams at level 1 by ISA-L behind a queue, on one core and on two (feature isal)",
    peer: "igzip -1 of the same bytes: one, two at once, and one with -T 2",
    package: "isal",
    unit: RATE.0,
    seconds: 1.0,
    rounds: 5,
    quick: None,
    run: Kind::Comparison(run),
};
const PEER: &str = "igzip";
/// Streams of one queue: for an engine core there is work for a millisecond, while its sender sleeps.
const STREAMS: usize = 4;
/// Bytes that igzip compresses in a second, or so: its file is as large as that makes a slice.
const BYTES_A_SECOND: f64 = 256e6;
/// Small enough that starting is all there is to it.
const SMALL: &[u8] = b"x";
/// The sender sleeps when all queues are full: their engines have work for milliseconds.
const NAP: Duration = Duration::from_micros(500);
const ONE_CORE_TARGET: f64 = 0.97;
const TWO_CORES_TARGET: f64 = 1.9;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    if !HAS_ISAL {
        return Err(BenchError::NotBuilt { what: "ISA-L", feature: "isal", package: "libisal-dev" });
    }
    let (one, _) = options.two_cpus()?;
    let corpora = corpus::compressible(options)?;
    let all: Vec<u8> = corpora.iter().flat_map(|corpus| &corpus.bytes).copied().collect();
    let one_input = [&all[..]];
    let inputs: Vec<&[u8]> = all.chunks(all.len().div_ceil(STREAMS)).collect();
    let mut rig = open(Placement::Inline, &one_input)?;
    let stream = rig.keep()?.concat();
    if !is_gzip_of(&stream, &all) {
        return Err(BenchError::Bug("the stream came out wrong".to_owned()));
    }
    let large = Large::new(&corpora, (options.slice.as_secs_f64() * BYTES_A_SECOND) as u64)?;
    let peer = Igzip::new(&large);
    let mut user = Vec::new();
    let rates = {
        let mut sides: Vec<Side<'_>> = vec![
            Box::new(|time| passes(one, time, || Ok(rig.pass()?.0))),
            Box::new(|time| two_cores(options, &inputs, time)),
        ];
        if let Ok(peer) = &peer {
            sides.push(Box::new(|_| {
                // On the cpu that ours has: a program inherits it.
                let took = on_cpu(one, || peer.run(&[]))?;
                user.push(Rate::new(large.bytes, took.user, took.wall).cpu);
                Ok(Rate::new(large.bytes, took.user + took.system, took.wall))
            }));
            sides.push(Box::new(|_| peer.run_two()));
            sides.push(Box::new(|_| {
                let took = peer.run(&["-T", "2"])?;
                Ok(Rate::new(large.bytes, took.user + took.system, took.wall))
            }));
        }
        take_turns(options, &mut sides)?
    };
    let user = user.split_off(user.len().min(1));
    let found = Found { rates, user, size: stream.len() as f64 / all.len() as f64, peer };
    for line in found.lines(large.bytes)? {
        emit(line.command(options.command(BENCH.name)));
    }
    Ok(())
}

fn open(placement: Placement, inputs: &[&[u8]]) -> Result<Lanes, BenchError> {
    let config = ZipConfig { back_end: BackEnd::Isal, ..ZipConfig::new(ZipOp::Compress, ZipFormat::Gzip, 1) };
    Lanes::open(placement, ZipSession::with(config)?, inputs)
}

fn is_gzip_of(stream: &[u8], bytes: &[u8]) -> bool {
    let mut out = vec![0; bytes.len()];
    libdeflater::Decompressor::new().gzip_decompress(stream, &mut out) == Ok(bytes.len()) && out == bytes
}

/// An engine on each of two cpus, and this thread between them. They are made for a slice, and gone in those of others.
fn two_cores(options: &Options, inputs: &[&[u8]], time: Duration) -> Result<Rate, BenchError> {
    let (one, two) = options.two_cpus()?;
    let rigs: Result<Vec<Lanes>, BenchError> = [one, two]
        .map(|cpu| open(Placement::Core { cpu, idle: IdlePolicy::Pause }, inputs))
        .into_iter()
        .collect();
    let mut rigs = rigs?;
    rigs.iter_mut().for_each(Lanes::begin);
    // Tables are made and queues are full before it counts.
    feed(&mut rigs, time / 10)?;
    let start = Instant::now();
    let bytes = feed(&mut rigs, time)?;
    let wall = start.elapsed();
    while !rigs.iter().all(Lanes::is_done) {
        for rig in &mut rigs {
            rig.go_on()?;
        }
    }
    Ok(Rate::new(bytes, wall, wall))
}

/// Keeps all queues full for a time. Returns bytes done.
fn feed(rigs: &mut [Lanes], time: Duration) -> Result<u64, BenchError> {
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < time {
        let before = bytes;
        for rig in rigs.iter_mut() {
            bytes += rig.go_on()?.0;
            if rig.is_done() {
                rig.begin();
            }
        }
        if bytes == before {
            std::thread::sleep(NAP);
        }
    }
    Ok(bytes)
}

/// The peer with its file.
struct Igzip<'a> {
    program: std::path::PathBuf,
    large: &'a Large,
    /// What it takes to start and to end.
    start: Took,
}

impl<'a> Igzip<'a> {
    fn new(large: &'a Large) -> Result<Self, NoPeer> {
        let program = which(PEER).ok_or_else(|| NoPeer::absent(PEER, "isal"))?;
        let no = |e: &dyn std::fmt::Display| NoPeer { peer: PEER, why: e.to_string() };
        let small = large.beside("small");
        std::fs::write(&small, SMALL).map_err(|e| no(&e))?;
        let runs: Result<Vec<Took>, _> =
            (0..5).map(|_| program::run(&program, &["-1", "-c"], &small, Path::new("/dev/null"))).collect();
        let mut runs = runs.map_err(|e| no(&e))?;
        runs.sort_by_key(|took| took.wall);
        Ok(Self { program, large, start: runs[runs.len() / 2] })
    }

    /// One that compresses the file, less what starting takes.
    fn run(&self, more: &[&str]) -> Result<Took, BenchError> {
        let arguments = [&["-1", "-c"], more].concat();
        let took = program::run(&self.program, &arguments, &self.large.file, Path::new("/dev/null"))?;
        Ok(Took {
            wall: took.wall.saturating_sub(self.start.wall),
            user: took.user.saturating_sub(self.start.user),
            system: took.system.saturating_sub(self.start.system),
        })
    }

    /// Two at once, each with the whole file.
    fn run_two(&self) -> Result<Rate, BenchError> {
        let begin = Instant::now();
        let used = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.run(&[]));
            let first = self.run(&[])?;
            let other = other.join().unwrap_or_else(|_| Err(BenchError::Bug("a thread panicked".into())))?;
            Ok::<Duration, BenchError>(first.user + first.system + other.user + other.system)
        })?;
        let wall = begin.elapsed().saturating_sub(self.start.wall);
        Ok(Rate::new(2 * self.large.bytes, used, wall))
    }

    /// Bytes of its output, as a part of the file.
    fn part(&self) -> Result<f64, BenchError> {
        let out = self.large.beside("igzip.gz");
        program::run(&self.program, &["-1", "-c"], &self.large.file, &out)?;
        Ok(program::size(&out)? as f64 / self.large.bytes as f64)
    }
}

/// What came of it.
struct Found<'a> {
    /// Ours on one core and on two; igzip, two of it, and one with two threads.
    rates: Vec<Vec<Rate>>,
    /// Of igzip by the time of its own code.
    user: Vec<f64>,
    size: f64,
    peer: Result<Igzip<'a>, NoPeer>,
}

impl Found<'_> {
    fn lines(&self, bytes: u64) -> Result<Vec<Line>, BenchError> {
        let name = BENCH.name;
        let line = |suffix: &str, ours: Vec<f64>, peer: &str, theirs: &dyn Fn() -> Vec<f64>| {
            let name = format!("{name}{suffix}");
            match &self.peer {
                Ok(_) => Line::compare(&name, RATE, &ours, Ok((peer, &theirs()))),
                Err(none) => Line::compare(&name, RATE, &ours, Err(none)),
            }
        };
        let ours = format!(
            "ours: ISA-L level 1, gzip, pieces of {} KiB in chained packets; one stream on one core, {STREAMS} on each of two",
            PIECE >> 10
        );
        let file =
            format!("igzip: a file of {bytes} bytes in memory, output to /dev/null, its start taken off");
        let one = "seconds of cpu time: the thread of our queue; igzip's process";
        let two = "by the clock; ours: an engine on each of two cpus, the sender on either while it is awake";
        let size = match &self.peer {
            Ok(peer) => size_line(&format!("{name}-size"), self.size, Ok(("igzip -1", peer.part()?))),
            Err(none) => size_line(&format!("{name}-size"), self.size, Err(none)),
        };
        let mut lines = vec![
            line("", cpu(&self.rates[0]), "igzip -1", &|| cpu(&self.rates[2])).note(one),
            line("-user", cpu(&self.rates[0]), "igzip -1", &|| self.user.clone())
                .note("seconds of cpu time, of igzip only that of its own code: as if reading and writing were free"),
            line("-two", wall(&self.rates[1]), "one igzip -1", &|| wall(&self.rates[2])).note(two),
            line("-two-two", wall(&self.rates[1]), "two igzip -1 at once", &|| wall(&self.rates[3])).note(two),
            line("-two-threads", wall(&self.rates[1]), "igzip -1 -T 2", &|| wall(&self.rates[4])).note(two),
        ];
        if self.peer.is_ok() {
            lines[0] = target(lines[0].clone(), ONE_CORE_TARGET);
            let both = median(&wall(&self.rates[3])) / median(&wall(&self.rates[2]));
            lines[2] = target(lines[2].clone(), TWO_CORES_TARGET).note(format!(
                "two igzip at once are {both:.3} times as fast as one: what the second cpu gives"
            ));
        }
        lines.push(size);
        Ok(lines.into_iter().map(|line| line.note(ours.clone()).note(file.clone())).collect())
    }
}
