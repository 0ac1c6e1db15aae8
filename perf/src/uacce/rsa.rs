//! `uacce-rsa2048`: signatures by an engine core of another process.

use warpdrive_mempool::{DmaMode, Domain};
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOptions};

use super::RATE;
use super::served::{IN_FLIGHT, Offer, Served};
use super::turns::{compare, device, of_server, of_thread};
use crate::rsa::rig::Rig;
use crate::subjects::{self, pool};
use crate::turns::{take_turns, target};
use crate::{Bench, BenchError, Kind, Lines, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "uacce-rsa2048",
    about: "RSA-2048 signatures by an engine core of another process, 64 requests in flight; needs root",
    peer: "the same engine core in this process",
    package: "",
    unit: RATE.0,
    seconds: crate::SLICE_S,
    rounds: crate::ROUNDS,
    quick: Some((0.1, 5)),
    run: Kind::Comparison(run),
};
const DEVICE: &str = "hisi_hpre-0";
/// Requests of the bench.
const DEPTH: usize = 64;
/// What part of the rate should be left, by memory that both processes map and by copies of the kernel.
const TARGETS: [f64; 2] = [0.90, 0.60];

/// The sides, in the order of their slices.
const GIVEN: usize = 0;
const WITHIN: usize = 1;
const COPIED: usize = 2;

fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let key = RsaKey::generate(2048)?;
    let mut server = Served::start(options, far, IN_FLIGHT, &[Offer::hpre(DEVICE)])?;
    let open = |roots| {
        let domain = Domain::new(DmaMode::Sva);
        let pool = pool(DEPTH, 2048, &domain)?;
        let rig = subjects::rsa::sign(device(&roots, DEVICE, &domain)?, &key, DEPTH, pool)?;
        Ok::<_, BenchError>(Rig::of_process(rig, server.id()))
    };
    let mut given = open(server.roots())?;
    let mut copied = open(server.roots_without_share()?)?;
    let within = || subjects::rsa::open(&key, far, DEPTH, RsaOptions::default(), &Domain::new(DmaMode::Sva));
    let slices = take_turns(
        options,
        &mut [
            of_server(&server, &mut given, near),
            of_thread(near, within),
            of_server(&server, &mut copied, near),
        ],
    )?;
    drop((given, copied));
    server.alive()?;
    for ((suffix, ours, how), least) in [
        ("", GIVEN, "packets, keys and numbers are in memory that was given to the server"),
        (
            "-sva",
            COPIED,
            "no memory was given: a thread of the server for this process, on the cpu of its core, copies keys, numbers and \
             results by way of /proc/PID/mem",
        ),
    ]
    .into_iter()
    .zip(TARGETS)
    {
        let line = compare(
            &format!("{}{suffix}", BENCH.name),
            RATE,
            (&slices[ours], &slices[WITHIN]),
            "the same engine on a core of this process",
            1.0,
        );
        emit(
            target(line, least)
                .command(options.command(BENCH.name))
                .note(format!("ours: {how}"))
                .note(format!("PKCS#1 with SHA-256, {DEPTH} in flight from cpu {near}, engine on cpu {far}"))
                .note("seconds of cpu time of who works: all threads of the server's process; the engine's thread"),
        );
    }
    Ok(())
}
