//! `uacce-shadow`: what it costs to take a client for hostile.
//!
//! There is no ring without its shadow here: a server copies each entry before it looks at it, whatever the mode. What can be left out is
//! the copy of inputs, and that is what the device with shared virtual addressing leaves out in this comparison.

use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Domain};

use super::RATE;
use super::reserved::{Blocks, reserve};
use super::rtt::NullQueue;
use super::served::{IN_FLIGHT, Offer, Served};
use super::turns::{Still, compare, device, of_server};
use super::zip::{BLOCK, OF_OPERATION, UNIT, check, left};
use crate::measure::{Contender, Line, alternate, on_cpu};
use crate::rsa::rig::Rig;
use crate::subjects::pool;
use crate::subjects::zip::{buffer, compress};
use crate::turns::{take_turns, target};
use crate::zip::corpus;
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "uacce-shadow",
    about: "blocks of 16 KiB and empty operations by a device without IOMMU, which copies and checks all it is told; needs root",
    peer: "a device with shared virtual addressing, which reads inputs where they are",
    package: "",
    unit: UNIT.0,
    seconds: crate::SLICE_S,
    rounds: crate::ROUNDS,
    quick: Some((0.1, 5)),
    run: Kind::Comparison(run),
};
/// What part of the rate should be left.
const TARGET: f64 = 0.85;
/// Empty operations that are sent at once.
const BURST: usize = 32;
/// Blocks in flight: reserved memory is behind a queue of one page, which has 28 entries.
const DEPTH: usize = 24;
/// For empty operations and for blocks: with shared virtual addressing, and without IOMMU.
const NULL: [&str; 2] = ["hisi_hpre-0", "hisi_hpre-1"];
const ZIP: [&str; 2] = ["hisi_zip-0", "hisi_zip-1"];

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let cpus = options.two_cpus()?;
    let mib = reserve(BLOCK, DEPTH) >> 20;
    let offers = [
        Offer::hpre(NULL[0]),
        Offer::hpre(NULL[1]).with("mode = \"noiommu\""),
        Offer::zip(ZIP[0]).with("inputs = \"in-place\""),
        Offer::zip(ZIP[1]).with(&format!("mode = \"noiommu\"\ndepth = 28\nreserve = \"{mib} MiB\"")),
    ];
    let mut server = Served::start(options, cpus.1, IN_FLIGHT, &offers)?;
    emit(blocks(options, cpus, &server)?);
    emit(empty(options, cpus, &server)?);
    server.alive()
}

/// Blocks of text.
fn blocks(options: &Options, (near, far): (usize, usize), server: &Served) -> Result<Line, BenchError> {
    let corpora = corpus::all(options)?;
    let corpus = corpora.first().ok_or_else(|| BenchError::Bug("there is no corpus".to_owned()))?;
    let mut direct = {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(2 * DEPTH, buffer(BLOCK), &domain)?;
        let device = device(&server.roots(), ZIP[0], &domain)?;
        Rig::of_process(compress(device, &corpus.bytes, BLOCK, DEPTH, pool)?, server.id())
    };
    let shadow = Blocks::open(&server.roots(), ZIP[1], &corpus.bytes, BLOCK, DEPTH)?;
    let mut shadow = Rig::of_process(shadow, server.id());
    let slices = take_turns(
        options,
        &mut [of_server(server, &mut shadow, near), of_server(server, &mut direct, near)],
    )?;
    check(shadow.queue.left(), left(&direct))?;
    let peer = "a device with shared virtual addressing, inputs = \"in-place\"";
    let line = compare(BENCH.name, UNIT, (&slices[0], &slices[1]), peer, OF_OPERATION);
    Ok(target(line, TARGET)
        .command(options.command(BENCH.name))
        .note(
            "ours: addresses in entries are those of memory that the server has reserved with the queue, and nothing else is touched; \
             each entry is copied, what it names is looked up, and inputs are copied into memory that the client does not see",
        )
        .note(
            "peer: addresses in entries are the client's own, of memory that it has given; each entry is copied and what it names is looked \
             up in the same way, but the engine reads inputs where they are. Both write results where they go",
        )
        .note(format!("raw DEFLATE, level 1, {BLOCK} bytes, {DEPTH} in flight from cpu {near}, engine on cpu {far}"))
        .note("seconds of cpu time of the server's process, all threads")
        .note(format!("corpus: {}: {}", corpus.name, corpus.origin)))
}

/// Empty operations: the rings alone.
fn empty(options: &Options, (near, far): (usize, usize), server: &Served) -> Result<Line, BenchError> {
    let roots = server.roots();
    let mut direct = NullQueue::open(&roots, NULL[0])?;
    let mut shadow = NullQueue::open(&roots, NULL[1])?;
    let values = {
        let still = Still::new(server);
        let side = |queue: &mut NullQueue, length: Duration| {
            still.except(|| {
                on_cpu(near, || {
                    let (begun, mut done) = (Instant::now(), 0);
                    while begun.elapsed() < length {
                        queue.burst(BURST)?;
                        done += BURST;
                    }
                    Ok(done as f64 / begun.elapsed().as_secs_f64())
                })
            })
        };
        let mut sides: [Contender<'_>; 2] =
            [Box::new(|length| side(&mut shadow, length)), Box::new(|length| side(&mut direct, length))];
        alternate(options, &mut sides)?
    };
    let peer = "a device with shared virtual addressing";
    let line = Line::compare("uacce-shadow-null", RATE, &values[0], Ok((peer, &values[1])));
    Ok(target(line, TARGET)
        .command(options.command(BENCH.name))
        .note(
            "both copy each entry and check it, and an empty one names no memory: the same is done on both sides, and how far the ratio is \
             from 1 says how well the two can be told apart",
        )
        .note(format!("{BURST} entries at once and all awaited, from cpu {near} to cpu {far}, by the clock")))
}
