//! `mempool`: packet buffers through the cache of a worker, against rte_mempool and rte_pktmbuf.

use std::hint::black_box;
use std::time::{Duration, Instant};

use warpdrive_mempool::{Buffers, Burst, DmaMode, Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_pmd::clock::{Clock, ticks};

use crate::cpeers::{CPeer, CPeers, DPDK};
use crate::dpdk_test::{self, DpdkTest, KEEP, PoolFigure};
use crate::measure::{Better, Contender, Line, alternate, cpu_time, in_ticks, on_cpu};
use crate::peers::{NoPeer, PageSize};
use crate::{BenchError, Lines, Options};

const PROGRAM: &str = "mempool_peer";
const UNIT: (&str, Better) = ("cycles/object", Better::Lower);
/// Rounds between two looks at the clock, as in the peer.
const ROUNDS: u64 = 64;
/// Time that dpdk-test has at least: for its first two figures, 5 s each.
const TEST_LEAST: Duration = Duration::from_secs(13);

/// Runs the bench.
pub fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let cpu = options.cpu()?;
    let pages = PageSize::best();
    let page = if pages == PageSize::Huge { Page::Size2M } else { Page::Size4K };
    let config = PoolConfig { pages: PageChoice::Exactly(page), ..PoolConfig::default() };
    let pool = Mempool::new(&config, &Domain::new(DmaMode::Sva))?;
    let built = CPeers::build(PROGRAM, DPDK);
    for bulk in [32, 8, 1] {
        bulks(options, cpu, pages, &pool, built.as_ref(), bulk, emit)?;
    }
    against_dpdk_test(options, cpu, pages, &pool, emit)
}

/// Against DPDK's own measurement of its pool, as far as it comes in the time there is: a figure takes it 5 s, those of a
/// pool with a cache come after half an hour, and none can be chosen.
fn against_dpdk_test(
    options: &Options,
    cpu: usize,
    pages: PageSize,
    pool: &Mempool,
    emit: Lines<'_>,
) -> Result<(), BenchError> {
    let patience = (options.slice * options.rounds as u32 * 4).max(TEST_LEAST);
    let ours = |bulk| on_cpu(cpu, || keep(pool, bulk, options.slice));
    let before = ours(1)?;
    let peer = if options.quick {
        let why = "a figure takes 5 s: left out of a quick run. Remedy: without --quick";
        Err(NoPeer { peer: dpdk_test::NAME, why: why.to_owned() })
    } else {
        test_run(options, cpu, pages, patience)?
    };
    let figures = peer.as_ref().map_or(&[][..], |(_, _, figures)| figures);
    let mut emit_one = |bulk: usize, values: [f64; 2], theirs: Result<(&str, f64), &NoPeer>| {
        let theirs = theirs.map(|(title, cycles)| (title, [cycles; 2]));
        let side = theirs.as_ref().map(|(title, cycles)| (*title, cycles.as_slice())).map_err(|e| *e);
        let mut line = Line::compare(&format!("mempool-dpdk-test-{bulk}"), UNIT, &values, side)
            .command(options.command("mempool"))
            .note(format!("bulk {bulk}: {KEEP} objects are taken, then given back, {bulk} at a time"))
            .note("ours: Buffers::take and give_back, with the cache of a worker. Peer: without a cache, one core")
            .note("ours is measured before and after the test, which has one figure; cycles of the time-stamp counter, of cpu \
                   time: the test's own figure is by the clock, times the part of its cpu that it had")
            .note(format!(
                "the test had {patience:?} (4 x slices x rounds, {TEST_LEAST:?} at least): it comes to bulk 8 in about \
                 200 s, to bulk 32 in 280, to a pool with a cache in half an hour"
            ))
            .note(pages.note());
        if let Ok((_, command, _)) = &peer {
            line = line.note(format!("peer command: {command}; then mempool_perf_autotest"));
        }
        emit(line);
    };
    match &peer {
        Err(none) => emit_one(1, [before, ours(1)?], Err(none)),
        Ok((title, ..)) => {
            for &(bulk, cycles) in figures {
                let first = if bulk == 1 { before } else { ours(bulk)? };
                emit_one(bulk, [first, ours(bulk)?], Ok((title, cycles)));
            }
        }
    }
    Ok(())
}

/// Name and version, command and figures of a run of dpdk-test: bulks, and cycles for an object.
type TestRun = (String, String, Vec<(usize, f64)>);

/// Runs dpdk-test for a time, and keeps the figures that ours can be compared with.
fn test_run(
    options: &Options,
    cpu: usize,
    pages: PageSize,
    time: Duration,
) -> Result<Result<TestRun, NoPeer>, BenchError> {
    let mut test = match DpdkTest::start(&[cpu], pages) {
        Ok(test) => test,
        Err(none) => return Ok(Err(none)),
    };
    let until = Instant::now() + time;
    let mut figures = Vec::new();
    let mut failed = test.begin_pool().err();
    while failed.is_none() && Instant::now() < until {
        options.go_on()?;
        match next_figure(&mut test, until) {
            Ok((figure, cycles)) if is_like_ours(&figure) => figures.push((figure.get, cycles)),
            Ok(_) => {}
            Err(e) => failed = Some(e),
        }
    }
    let known = (test.title(), test.command.clone(), figures);
    test.end();
    // That the time is over is no failure if there is anything.
    Ok(match failed {
        Some(e) if known.2.is_empty() => Err(NoPeer { peer: dpdk_test::NAME, why: e.to_string() }),
        _ => Ok(known),
    })
}

/// The next figure, and cycles for an object. The test goes by the clock, ours by cpu time: what others had of its cpu is
/// taken off.
fn next_figure(test: &mut DpdkTest, until: Instant) -> Result<(PoolFigure, f64), BenchError> {
    let (start, used) = (Instant::now(), test.cpu_time()?);
    let figure = test.pool_figure(until.saturating_duration_since(start))?;
    let share = (test.cpu_time()? - used).as_secs_f64() / start.elapsed().as_secs_f64();
    Ok((figure, share * in_ticks(Duration::from_secs(1)) / figure.rate as f64))
}

/// Same bulk to and fro, known to the compiler, one core, few objects kept.
fn is_like_ours(figure: &PoolFigure) -> bool {
    let PoolFigure { cores, get, put, keep, constant, .. } = *figure;
    cores == 1 && get == put && [1, 8, 32].contains(&get) && keep == KEEP && constant
}

/// One slice in which buffers are taken until there are [`KEEP`], and given back, `bulk` at a time; cycles an object.
fn keep(pool: &Mempool, bulk: usize, slice: Duration) -> Result<f64, BenchError> {
    let until = Clock::get().ticks_of(slice);
    match bulk {
        1 => keep_bulks::<1, 32>(pool, until),
        8 => keep_bulks::<8, 4>(pool, until),
        _ => keep_bulks::<32, 1>(pool, until),
    }
}

#[inline(always)]
fn keep_bulks<const N: usize, const TIMES: usize>(pool: &Mempool, until: u64) -> Result<f64, BenchError> {
    const { assert!(N * TIMES == KEEP) };
    let mut bulks: [Buffers<'_>; TIMES] = std::array::from_fn(|_| Buffers::new(pool));
    time(until, KEEP as u64, || {
        let got: usize = bulks.iter_mut().map(|bulk| bulk.take(N)).sum();
        black_box(&mut bulks).iter_mut().for_each(Buffers::give_back);
        got == KEEP
    })
}

/// All lines of one bulk.
fn bulks(
    options: &Options,
    cpu: usize,
    pages: PageSize,
    pool: &Mempool,
    built: Result<&CPeers, &NoPeer>,
    bulk: usize,
    emit: Lines<'_>,
) -> Result<(), BenchError> {
    let start = |extra: &[&str]| -> Result<CPeer, NoPeer> {
        let mut arguments: Vec<String> =
            ["--core", &cpu.to_string(), "--bulk", &bulk.to_string()].map(str::to_owned).to_vec();
        arguments.extend((pages == PageSize::Huge).then(|| "--huge".to_owned()));
        arguments.extend(extra.iter().map(|&a| a.to_owned()));
        built.map_err(Clone::clone)?.start(PROGRAM, options.slice, &arguments)
    };
    let mut cached = start(&["--cache", "512"]);
    let mut bare = start(&["--cache", "0"]);
    let mut mbufs = if pages == PageSize::Huge {
        start(&["--cache", "512", "--mbuf"])
    } else {
        let why =
            "on 4 KiB pages its buffers collide in the first-level cache. Remedy: sysctl vm.nr_hugepages=256";
        Err(NoPeer { peer: DPDK.name, why: why.to_owned() })
    };
    let mut sides: Vec<Contender<'_>> = vec![
        Box::new(|slice| on_cpu(cpu, || buffers(pool, bulk, slice))),
        Box::new(|slice| on_cpu(cpu, || packets(pool, bulk, slice))),
    ];
    for peer in [&mut cached, &mut bare, &mut mbufs].into_iter().flatten() {
        sides.push(Box::new(|_| peer.cpu_slice()));
    }
    let values = alternate(options, &mut sides)?;
    drop(sides);
    let title = built.map(CPeers::title).unwrap_or_default();
    let mut theirs = values[2..].iter();
    let bare_ones = "Buffers::take and give_back: bare buffers, as the peer's";
    let made_packets =
        if bulk == 1 { "Mempool::alloc and drop" } else { "Mempool::alloc_burst and Burst::clear" };
    let made_packets =
        format!("{made_packets}: packets, reset when taken and checked when given back, as the peer's");
    for (peer, side, how, suffix, what) in [
        (&cached, 0, bare_ones, "", "rte_mempool get_bulk and put_bulk, cache of 512"),
        (
            &bare,
            0,
            bare_ones,
            "-nocache",
            "rte_mempool get_bulk and put_bulk, no cache, multi-producer and multi-consumer",
        ),
        (&mbufs, 1, made_packets.as_str(), "-mbuf", "rte_pktmbuf_alloc_bulk and free_bulk, cache of 512"),
    ] {
        let name = if bulk == 32 { format!("mempool{suffix}") } else { format!("mempool{suffix}-{bulk}") };
        let title = format!("{title} {what}");
        let theirs = peer.as_ref().map(|_| (title.as_str(), theirs.next().map_or(&[][..], Vec::as_slice)));
        emit(
            Line::compare(&name, UNIT, &values[side], theirs)
                .command(options.command("mempool"))
                .note(format!("bulk {bulk}, 8,192 buffers of 2,048 bytes; ours: {how}"))
                .note("cycles of the time-stamp counter, of the thread's cpu time, for one object taken and given back")
                .note(pages.note()),
        );
    }
    Ok(())
}

/// One slice of bare buffers; cycles an object.
fn buffers(pool: &Mempool, bulk: usize, slice: Duration) -> Result<f64, BenchError> {
    let until = Clock::get().ticks_of(slice);
    let mut buffers = Buffers::new(pool);
    match bulk {
        1 => time(until, 1, || bare::<1>(&mut buffers)),
        8 => time(until, 8, || bare::<8>(&mut buffers)),
        _ => time(until, 32, || bare::<32>(&mut buffers)),
    }
}

#[inline(always)]
fn bare<const N: usize>(buffers: &mut Buffers<'_>) -> bool {
    let got = buffers.take(N);
    black_box(&mut *buffers).give_back();
    got == N
}

/// One slice of packets; cycles an object.
fn packets(pool: &Mempool, bulk: usize, slice: Duration) -> Result<f64, BenchError> {
    let until = Clock::get().ticks_of(slice);
    // Bulks of constant size, as the peer and applications have them.
    match bulk {
        1 => time(until, 1, || {
            let packet = black_box(pool.alloc());
            packet.is_some()
        }),
        8 => {
            let mut burst = Burst::new();
            time(until, 8, || take_and_return::<8>(pool, &mut burst))
        }
        _ => {
            let mut burst = Burst::new();
            time(until, 32, || take_and_return::<32>(pool, &mut burst))
        }
    }
}

#[inline(always)]
fn take_and_return<const N: usize>(pool: &Mempool, burst: &mut Burst) -> bool {
    let got = pool.alloc_burst(burst, N);
    black_box(&mut *burst).clear();
    got == N
}

#[inline(always)]
fn time(until: u64, bulk: u64, mut round: impl FnMut() -> bool) -> Result<f64, BenchError> {
    let start = ticks();
    let own = std::process::id();
    let used = cpu_time(own)?;
    let mut objects = 0;
    loop {
        let mut all = true;
        for _ in 0..ROUNDS {
            all &= round();
        }
        if !all {
            return Err(BenchError::Bug("the pool was empty although nobody holds its buffers".to_owned()));
        }
        objects += ROUNDS * bulk;
        if ticks() - start >= until {
            return Ok(in_ticks(cpu_time(own)? - used) / objects as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_side_gives_back_what_it_takes() {
        let cpu = warpdrive_pipeline::cores::allowed().unwrap()[0];
        let config =
            PoolConfig { pages: PageChoice::Exactly(Page::Size4K), buffers: 512, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &Domain::new(DmaMode::Sva)).unwrap();
        for bulk in [1, 8, 32] {
            for side in [buffers, packets, keep] {
                let cycles = on_cpu(cpu, || side(&pool, bulk, Duration::from_millis(2))).unwrap();
                assert!(cycles > 0.0 && cycles < 1e5, "{bulk}: {cycles}");
            }
        }
        assert_eq!(pool.stats().in_use, 0);
    }

    #[test]
    fn only_figures_of_the_same_work_are_compared() {
        let same = PoolFigure { cache: 0, cores: 1, get: 8, put: 8, keep: 32, constant: true, rate: 1 };
        assert!(is_like_ours(&same));
        for other in [
            PoolFigure { cores: 2, ..same },
            PoolFigure { put: 1, ..same },
            PoolFigure { get: 4, put: 4, ..same },
            PoolFigure { keep: 128, ..same },
            PoolFigure { constant: false, ..same },
        ] {
            assert!(!is_like_ours(&other), "{other:?}");
        }
    }
}
