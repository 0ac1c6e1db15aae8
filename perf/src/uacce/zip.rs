//! `uacce-zip`: blocks that an engine core of another process compresses.

use warpdrive_mempool::{DmaMode, Domain};
use warpdrive_pmd::engine::zip::ZipEngine;
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

use super::served::{IN_FLIGHT, Offer, Served};
use super::turns::{compare, device, of_server, of_thread};
use crate::measure::{Better, on_cpu};
use crate::rsa::rig::Rig;
use crate::subjects::device::{DeviceRig, unique_name};
use crate::subjects::pool;
use crate::subjects::zip::{buffer, compress};
use crate::turns::{take_turns, target};
use crate::zip::corpus;
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "uacce-zip",
    about: "blocks of 16 KiB of text, compressed with level 1 by an engine core of another process, 32 in flight; needs root",
    peer: "the same engine core in this process",
    package: "",
    unit: UNIT.0,
    seconds: crate::SLICE_S,
    rounds: crate::ROUNDS,
    quick: Some((0.1, 5)),
    run: Kind::Comparison(run),
};
/// Of bytes that are not compressed.
pub(super) const UNIT: (&str, Better) = ("MB/s", Better::Higher);
/// Whose inputs are copied, and whose are read in place.
const DEVICES: [&str; 2] = ["hisi_zip-0", "hisi_zip-1"];
/// Bytes of a block.
pub(super) const BLOCK: usize = 16 << 10;
/// Requests in flight.
pub(super) const DEPTH: usize = 32;
/// Megabytes of an operation.
pub(super) const OF_OPERATION: f64 = BLOCK as f64 / 1e6;

/// The sides, in the order of their slices.
const COPIED: usize = 0;
const WITHIN: usize = 1;
const IN_PLACE: usize = 2;
const SVA: usize = 3;

/// Lines: suffix, whose, least part of the peer's rate, and how.
const LINES: [(&str, usize, f64, &str); 3] = [
    (
        "",
        COPIED,
        0.90,
        "packets are in memory that was given to the server, which copies inputs before it reads them",
    ),
    ("-in-place", IN_PLACE, 0.90, "the same with inputs = \"in-place\": read where they are"),
    (
        "-sva",
        SVA,
        0.60,
        "no memory was given: a thread of the server for this process, on the cpu of its core, copies inputs and results by \
         way of /proc/PID/mem",
    ),
];

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let corpora = corpus::all(options)?;
    let corpus = corpora.first().ok_or_else(|| BenchError::Bug("there is no corpus".to_owned()))?;
    let [copied, in_place] = DEVICES.map(Offer::zip);
    let offers = [copied, in_place.with("inputs = \"in-place\"")];
    let mut server = Served::start(options, far, IN_FLIGHT, &offers)?;
    let open = |roots, name: &str| {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(2 * DEPTH, buffer(BLOCK), &domain)?;
        let rig = compress(device(&roots, name, &domain)?, &corpus.bytes, BLOCK, DEPTH, pool)?;
        Ok::<_, BenchError>(Rig::of_process(rig, server.id()))
    };
    let mut rigs = [
        open(server.roots(), DEVICES[0])?,
        open(server.roots(), DEVICES[1])?,
        open(server.roots_without_share()?, DEVICES[0])?,
    ];
    let part = {
        let mut rig = Rig::of_thread(within(&corpus.bytes, far)?)?;
        on_cpu(near, || rig.rate(options.slice))?;
        left(&rig)
    };
    let slices = {
        let [first, second, third] = &mut rigs;
        let within = of_thread(near, || within(&corpus.bytes, far));
        take_turns(
            options,
            &mut [
                of_server(&server, first, near),
                within,
                of_server(&server, second, near),
                of_server(&server, third, near),
            ],
        )?
    };
    rigs.iter().try_for_each(|rig| check(left(rig), part))?;
    drop(rigs);
    server.alive()?;
    for (suffix, ours, least, how) in LINES {
        let name = format!("{}{suffix}", BENCH.name);
        let pair = (&slices[ours][..], &slices[WITHIN][..]);
        let line = compare(&name, UNIT, pair, "the same engine on a core of this process", OF_OPERATION);
        emit(
            target(line, least)
                .command(options.command(BENCH.name))
                .note(format!("ours: {how}"))
                .note(format!("raw DEFLATE, {DEPTH} in flight from cpu {near}, engine on cpu {far}"))
                .note("seconds of cpu time of who works: all threads of the server's process; the engine's thread")
                .note(format!("corpus: {}: {}; {part:.4} of it is left", corpus.name, corpus.origin)),
        );
    }
    Ok(())
}

/// An engine core of this process.
pub(super) fn within(bytes: &[u8], cpu: usize) -> Result<DeviceRig, BenchError> {
    let domain = Domain::new(DmaMode::Sva);
    let placement = Placement::Core { cpu, idle: IdlePolicy::Pause };
    let device = SoftDevice::<ZipEngine>::open(&unique_name(), placement, &domain)?;
    compress(Box::new(device), bytes, BLOCK, DEPTH, pool(2 * DEPTH, buffer(BLOCK), &domain)?)
}

/// What part of the input is left.
pub(super) fn left(rig: &Rig) -> f64 {
    let stats = rig.stats();
    stats.bytes_out as f64 / stats.bytes_in as f64
}

/// An error if another part of the same input is left than elsewhere: then what was measured is not the same.
pub(super) fn check(part: f64, elsewhere: f64) -> Result<(), BenchError> {
    // Not every block was compressed as often as the others.
    const TOLERANCE: f64 = 0.05;
    if (part / elsewhere - 1.0).abs() < TOLERANCE {
        return Ok(());
    }
    Err(BenchError::Bug(format!("{part:.4} of the input is left, and {elsewhere:.4} elsewhere")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_another_size_are_not_the_same() {
        assert!(check(0.300, 0.301).is_ok());
        assert!(
            check(0.300, 0.350).is_err() && check(0.350, 0.300).is_err() && check(f64::NAN, 0.3).is_err()
        );
    }
}
