//! Ports under load: a [`Generator`] sends frames to a pipeline and receives what comes out. One operation is one frame
//! there and back.

use std::collections::BTreeMap;

use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};

use crate::load::modes::{self, About};
use crate::peers::PageSize;
use crate::{Bench, BenchError, Emit, Kind, Options, subjects};

mod circle;
pub mod frame;
pub mod generator;
mod kernel;
mod ring;

pub use generator::{Generator, Strays, Wiring};

/// Length of frames, without the frame check sequence.
const SIZE: usize = 64;
const UNIT: &str = "packets/s";
/// Rounds of a load on a port: each has its own spread, and there are many loads.
const ROUNDS: usize = 5;
/// Of a first look.
const QUICK: Option<(f64, usize)> = Some((0.05, 3));
/// Buffers of the generator.
const BUFFERS: usize = 16384;

/// The comparison of ring ports.
pub const FORWARD_RING: Bench = Bench {
    name: "forward-ring",
    about: "64-byte frames round and round between two ring ports through one core, bursts of 32",
    peer: "dpdk-testpmd, io forwarding between two net_ring ports",
    package: "dpdk-dev",
    unit: UNIT,
    seconds: crate::SLICE_S,
    rounds: crate::ROUNDS,
    quick: Some((0.1, 5)),
    run: Kind::Comparison(circle::run),
};
/// The bench of ring ports under load.
pub const RING: Bench = Bench {
    name: "load-forward-ring",
    about: "frames through a pipeline between the ends of a ring port, under loads: rate and latency",
    peer: "",
    package: "",
    unit: UNIT,
    seconds: crate::SLICE_S,
    rounds: ROUNDS,
    quick: QUICK,
    run: Kind::Load(ring::run),
};
/// The bench of AF_XDP ports.
pub const AF_XDP: Bench = Bench {
    name: "load-forward-af_xdp",
    about: "frames through a pipeline between two veth interfaces by AF_XDP, under loads; needs root",
    run: Kind::Load(|options, emit| kernel::run(options, &kernel::AF_XDP, emit)),
    ..RING
};
/// The bench of AF_PACKET ports.
pub const AF_PACKET: Bench = Bench {
    name: "load-forward-af_packet",
    about: "frames through a pipeline between two veth interfaces by AF_PACKET, under loads; needs root",
    run: Kind::Load(|options, emit| kernel::run(options, &kernel::AF_PACKET, emit)),
    ..RING
};
/// The bench of TAP ports.
pub const TAP: Bench = Bench {
    name: "load-forward-tap",
    about: "frames through a pipeline between two TAP interfaces, under loads; needs root",
    run: Kind::Load(|options, emit| kernel::run(options, &kernel::TAP, emit)),
    ..RING
};

/// Puts the generator under the loads that the user wants. What it and its ports count besides is noted in each curve.
fn drive(
    options: &Options,
    about: &About,
    generator: &mut Generator,
    emit: Emit<'_>,
) -> Result<(), BenchError> {
    let strays = generator.strays();
    let (tx, rx) = generator.counters();
    let counted = || {
        [
            ("frames of others were received", strays.foreign.get()),
            ("frames came twice, or after they were given up", strays.late.get()),
            ("frames were not sent by its port", tx.errors.get()),
            ("frames were lost below its port", rx.missed.get()),
            ("frames were lost for want of a buffer", rx.no_buffer.get()),
        ]
    };
    let mut before = counted();
    modes::drive(options, about, generator, &mut |mut record| {
        let now = counted();
        for ((what, n), (_, earlier)) in now.iter().zip(before) {
            if *n > earlier
                && let Some(notes) = record.notes_mut()
            {
                notes.push(format!("the generator: {} {what}", n - earlier));
            }
        }
        before = now;
        emit(record);
    })
}

/// Facts that all have.
fn facts(options: &Options, pages: PageSize, generator: usize, forwarder: usize) -> BTreeMap<String, String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    [
        ("pages", pages.name().to_owned()),
        ("frame", format!("{SIZE} bytes without the frame check sequence: UDP, IPv4")),
        ("cpus", format!("forwarder {forwarder}, generator {generator}")),
        ("kernel", kernel.trim().to_owned()),
        ("seed", options.seed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A pool of the generator's own.
fn pool(pages: PageSize) -> Result<Mempool, BenchError> {
    subjects::pool_on(pages, BUFFERS, PoolConfig::default().size, &Domain::new(DmaMode::Sva))
}
