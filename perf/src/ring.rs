//! `ring`: from core to core, against rte_ring.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rtrb::RingBuffer;
use warpdrive_mempool::{Burst, DmaMode, Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::port::ring::channel;
use warpdrive_pmd::port::{RxQueue, TxQueue};

use crate::cpeers::{CPeers, DPDK};
use crate::dpdk_test::{self, DpdkTest, RingFigures};
use crate::measure::{Better, Contender, Line, alternate, on_cpu};
use crate::peers::{NoPeer, PageSize};
use crate::{BenchError, Lines, Options};

const PROGRAM: &str = "ring_peer";
const UNIT: (&str, Better) = ("cycles/object", Better::Lower);
/// Slots of every ring, as the peer's.
const SLOTS: usize = 1024;
const BULK: usize = 32;
/// Packets that go to and fro: half of what the rings hold.
const PACKETS: usize = 512;
/// RING_SIZE of DPDK's app/test/test_ring_perf.c.
const TEST_SLOTS: usize = 4096;
/// A run of dpdk-test takes 3 s: no more of them than this.
const TEST_RUNS: usize = 5;

/// Runs the bench.
pub fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let cpus = options.two_cpus()?;
    let pages = PageSize::best();
    let page = if pages == PageSize::Huge { Page::Size2M } else { Page::Size4K };
    let config = PoolConfig { pages: PageChoice::Exactly(page), ..PoolConfig::default() };
    let pool = Mempool::new(&config, &Domain::new(DmaMode::Sva))?;
    let built = CPeers::build(PROGRAM, DPDK);
    let mut peer = built.as_ref().map_err(Clone::clone).and_then(|built| {
        let arguments =
            ["--producer", &cpus.0.to_string(), "--consumer", &cpus.1.to_string(), "--bulk", "32"];
        built.start(PROGRAM, options.slice, &arguments.map(str::to_owned))
    });
    let mut sides: Vec<Contender<'_>> =
        vec![Box::new(|slice| packets(&pool, cpus, slice)), Box::new(|slice| words(cpus, SLOTS, slice))];
    if let Ok(peer) = &mut peer {
        sides.push(Box::new(|_| peer.slice()));
    }
    let values = alternate(options, &mut sides)?;
    drop(sides);
    let title = built.map(|b| b.title()).unwrap_or_default() + " rte_ring SP/SC";
    let lines = [
        (
            "ring",
            &values[0],
            "ours: 512 owned packets go to and fro over two channels, each core receives and sends on; an object is one \
             packet that crossed once. Peer: bare pointers one way, \
             summed by the consumer",
        ),
        (
            "ring-u64",
            &values[1],
            "ours: an rtrb ring of u64 in chunks, one way, summed by the consumer: like for like. Peer: pointers, the same",
        ),
    ];
    for (name, ours, how) in lines {
        let theirs = peer.as_ref().map(|_| (title.as_str(), values[2].as_slice()));
        emit(
            Line::compare(name, UNIT, ours, theirs)
                .command(options.command("ring"))
                .note(how)
                .note(format!("bulk {BULK}, {SLOTS} slots, cpus {} and {}", cpus.0, cpus.1))
                .note("cycles of the time-stamp counter, wall time, for one object sent and received"),
        );
    }
    against_dpdk_test(options, cpus, pages, emit)
}

/// Against DPDK's own measurement of its ring.
fn against_dpdk_test(
    options: &Options,
    cpus: (usize, usize),
    pages: PageSize,
    emit: Lines<'_>,
) -> Result<(), BenchError> {
    let mut peer = Ok(String::new());
    let mut command = String::new();
    let (mut two, mut one) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..if options.quick { 1 } else { options.rounds.clamp(1, TEST_RUNS) } {
        options.go_on()?;
        // What dpdk-test says is of both cores together.
        two[0].push(2.0 * words(cpus, TEST_SLOTS, options.slice)?);
        one[0].push(on_cpu(cpus.0, || words_on_one(TEST_SLOTS, options.slice))?);
        if peer.is_ok() {
            peer = test_run([cpus.0, cpus.1], pages).map(|(title, said, figures)| {
                command = said;
                two[1].push(figures.two_cores);
                one[1].push(figures.one_core);
                title
            });
        }
    }
    let lines = [
        ("ring-dpdk-test", two, "cycles of both cores together: one sends, the other receives"),
        ("ring-dpdk-test-same-core", one, "one core sends a bulk and receives it, and so on"),
    ];
    for (name, [ours, theirs], how) in lines {
        let title = peer.as_ref().map(|title| format!("{title} ring_perf_autotest, SP/SC bulk"));
        let side = title.as_ref().map(|t| (t.as_str(), theirs.as_slice())).map_err(|e| *e);
        let mut line = Line::compare(name, UNIT, &ours, side)
            .command(options.command("ring"))
            .note(how)
            .note("ours: an rtrb ring of u64 in chunks. Peer: rte_ring of pointers, which are neither made nor looked at")
            .note(format!("bulk {BULK}, {TEST_SLOTS} slots, cpus {} and {}", cpus.0, cpus.1))
            .note("cycles of the time-stamp counter, wall time. A round of the peer's is a run of the test: its figure of two cores \
                 is of a million objects, 10 ms on a machine that has nothing else to do");
        if peer.is_ok() {
            line = line.note(format!("peer command: {command}; then ring_perf_autotest"));
        }
        emit(line);
    }
    Ok(())
}

/// One run of dpdk-test: name and version, command, what it says.
fn test_run(cpus: [usize; 2], pages: PageSize) -> Result<(String, String, RingFigures), NoPeer> {
    let mut test = DpdkTest::start(&cpus, pages)?;
    let figures = test.ring().map_err(|e| NoPeer { peer: dpdk_test::NAME, why: e.to_string() })?;
    let known = (test.title(), test.command.clone(), figures);
    test.end();
    Ok(known)
}

/// Numbers in bulks into a ring and out of it, on one core; cycles for one.
fn words_on_one(slots: usize, slice: Duration) -> Result<f64, BenchError> {
    let length = Clock::get().ticks_of(slice);
    let (mut to, mut from) = RingBuffer::<u64>::new(slots);
    let (mut sent, mut total) = (0u64, 0u64);
    let start = ticks();
    while ticks() - start < length {
        for _ in 0..64 {
            if let Ok(chunk) = to.write_chunk_uninit(BULK) {
                sent += chunk.fill_from_iter(std::iter::repeat_n(1u64, BULK)) as u64;
            }
            if let Ok(chunk) = from.read_chunk(BULK) {
                total += std::hint::black_box(chunk).into_iter().sum::<u64>();
            }
        }
    }
    let ticks = ticks() - start;
    if sent != total {
        return Err(BenchError::Bug(format!("the ring gave {total} of {sent}")));
    }
    Ok(ticks as f64 / sent as f64)
}

/// Runs `near` and `far`, each on its cpu, from a common start. Returns ticks from there to the end of both, and what
/// `near` returned.
fn both<T: Send>(
    cpus: (usize, usize),
    near: impl FnOnce(u64) -> T + Send,
    far: impl FnOnce() + Send,
) -> Result<(u64, T), BenchError> {
    let ready = AtomicUsize::new(0);
    // If the other cannot be pinned, it never comes.
    let failed = AtomicBool::new(false);
    let meet = || {
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < 2 {
            if failed.load(Ordering::Relaxed) {
                return Err(BenchError::Bug("the other thread could not be pinned".to_owned()));
            }
            spin_loop();
        }
        Ok(())
    };
    let watched = |result: Result<(), BenchError>| {
        failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    };
    std::thread::scope(|scope| {
        let far = scope.spawn(|| {
            watched(on_cpu(cpus.1, || {
                meet()?;
                far();
                Ok(())
            }))
        });
        let near = on_cpu(cpus.0, || {
            meet()?;
            let start = ticks();
            Ok((start, near(start)))
        });
        failed.fetch_or(near.is_err(), Ordering::Relaxed);
        let far = far.join().unwrap_or_else(|_| Err(BenchError::Bug("the far thread panicked".to_owned())));
        let end = ticks();
        let (start, value) = near?;
        far?;
        Ok((end - start, value))
    })
}

/// Owned packets to and fro; cycles for one crossing.
fn packets(pool: &Mempool, cpus: (usize, usize), slice: Duration) -> Result<f64, BenchError> {
    let length = Clock::get().ticks_of(slice);
    let (mut there, mut arrive) = channel(SLOTS);
    let (mut back, mut home) = channel(SLOTS);
    let near = move |start: u64| {
        let mut burst = Burst::new();
        let mut out = 0;
        for _ in 0..PACKETS / BULK {
            pool.alloc_burst(&mut burst, BULK);
            out += there.tx_burst(&mut burst);
        }
        let mut crossings = out as u64;
        while ticks() - start < length {
            for _ in 0..64 {
                if home.rx_burst(&mut burst, BULK) == 0 {
                    spin_loop();
                } else {
                    crossings += burst.len() as u64;
                    crossings += there.tx_burst(&mut burst) as u64;
                }
            }
        }
        drop(there);
        // What is still out comes home once more.
        while !home.is_finished() {
            let n = home.rx_burst(&mut burst, BULK);
            crossings += n as u64;
            burst.clear();
        }
        crossings
    };
    let far = move || {
        let mut burst = Burst::new();
        while !arrive.is_finished() {
            if arrive.rx_burst(&mut burst, BULK) == 0 {
                spin_loop();
            } else {
                back.tx_burst(&mut burst);
            }
        }
    };
    let (ticks, crossings) = both(cpus, near, far)?;
    let lost = pool.stats().in_use;
    if lost > 0 {
        return Err(BenchError::Bug(format!("{lost} packets did not come home")));
    }
    Ok(ticks as f64 / crossings as f64)
}

/// Numbers one way, as the peer does it; cycles for one.
fn words(cpus: (usize, usize), slots: usize, slice: Duration) -> Result<f64, BenchError> {
    let length = Clock::get().ticks_of(slice);
    let (mut to, mut from) = RingBuffer::<u64>::new(slots);
    let sum = AtomicUsize::new(0);
    let near = move |start: u64| {
        let mut sent = 0;
        while ticks() - start < length {
            for _ in 0..64 {
                if to.slots() < BULK {
                    spin_loop();
                } else if let Ok(chunk) = to.write_chunk_uninit(BULK) {
                    sent += chunk.fill_from_iter(std::iter::repeat_n(1u64, BULK));
                }
            }
        }
        sent
    };
    let far = || {
        let mut total = 0;
        // The producer's last numbers are seen before its end is.
        loop {
            let over = from.is_abandoned();
            let n = from.slots().min(BULK);
            if n == 0 {
                if over {
                    break;
                }
                spin_loop();
            } else if let Ok(chunk) = from.read_chunk(n) {
                total += chunk.into_iter().sum::<u64>();
            }
        }
        sum.store(total as usize, Ordering::Relaxed);
    };
    let (ticks, sent) = both(cpus, near, far)?;
    let got = sum.load(Ordering::Relaxed);
    if got != sent {
        return Err(BenchError::Bug(format!("the ring gave {got} of {sent}")));
    }
    Ok(ticks as f64 / sent as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus() -> Option<(usize, usize)> {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        (cpus.len() > 1).then(|| (cpus[0], cpus[1]))
    }

    #[test]
    fn packets_cross_and_come_home() {
        let Some(cpus) = cpus() else { return };
        let config = PoolConfig { pages: PageChoice::Exactly(Page::Size4K), ..PoolConfig::default() };
        let pool = Mempool::new(&config, &Domain::new(DmaMode::Sva)).unwrap();
        assert!(packets(&pool, cpus, Duration::from_millis(5)).unwrap() > 0.0);
    }

    #[test]
    fn words_arrive_in_full() {
        let Some(cpus) = cpus() else { return };
        assert!(words(cpus, SLOTS, Duration::from_millis(5)).unwrap() > 0.0);
        assert!(words_on_one(SLOTS, Duration::from_millis(5)).unwrap() > 0.0);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error_and_no_hang() {
        let Some((near, _)) = cpus() else { return };
        assert!(words((near, 1023), SLOTS, Duration::from_millis(1)).is_err());
    }
}
