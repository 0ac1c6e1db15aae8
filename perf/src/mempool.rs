//! `mempool`: packet buffers through the cache of a worker, against rte_mempool and rte_pktmbuf.

use std::hint::black_box;
use std::time::Duration;

use warpdrive_mempool::{Burst, DmaMode, Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_pmd::clock::{Clock, ticks};

use crate::cpeers::{CPeer, CPeers};
use crate::measure::{Better, Contender, Line, alternate, cpu_time, in_ticks, on_cpu};
use crate::peers::{NoPeer, PageSize};
use crate::{BenchError, Emit, Options};

const PROGRAM: &str = "mempool_peer";
const UNIT: (&str, Better) = ("cycles/object", Better::Lower);
/// Rounds between two looks at the clock, as in the peer.
const ROUNDS: u64 = 64;

/// Runs the bench.
pub fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let cpu = options.cpu()?;
    let pages = PageSize::best();
    let page = if pages == PageSize::Huge { Page::Size2M } else { Page::Size4K };
    let config = PoolConfig { pages: PageChoice::Exactly(page), ..PoolConfig::default() };
    let pool = Mempool::new(&config, &Domain::new(DmaMode::Sva))?;
    let built = CPeers::build(PROGRAM);
    for bulk in [32, 8, 1] {
        bulks(options, cpu, pages, &pool, built.as_ref(), bulk, emit)?;
    }
    Ok(())
}

/// All lines of one bulk.
fn bulks(
    options: &Options,
    cpu: usize,
    pages: PageSize,
    pool: &Mempool,
    built: Result<&CPeers, &NoPeer>,
    bulk: usize,
    emit: Emit<'_>,
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
        Err(NoPeer { peer: CPeers::NAME, why: why.to_owned() })
    };
    let mut sides: Vec<Contender<'_>> = vec![Box::new(|slice| on_cpu(cpu, || ours(pool, bulk, slice)))];
    for peer in [&mut cached, &mut bare, &mut mbufs].into_iter().flatten() {
        sides.push(Box::new(|_| peer.cpu_slice()));
    }
    let values = alternate(options, &mut sides)?;
    drop(sides);
    let title = built.map(CPeers::title).unwrap_or_default();
    let mut theirs = values[1..].iter();
    for (peer, suffix, what) in [
        (&cached, "", "rte_mempool get_bulk and put_bulk, cache of 512"),
        (&bare, "-nocache", "rte_mempool get_bulk and put_bulk, no cache, multi-producer and multi-consumer"),
        (&mbufs, "-mbuf", "rte_pktmbuf_alloc_bulk and free_bulk, cache of 512"),
    ] {
        let name = if bulk == 32 { format!("mempool{suffix}") } else { format!("mempool{suffix}-{bulk}") };
        let title = format!("{title} {what}");
        let theirs = peer.as_ref().map(|_| (title.as_str(), theirs.next().map_or(&[][..], Vec::as_slice)));
        let how = if bulk == 1 { "alloc and drop" } else { "alloc_burst and clear" };
        emit(
            Line::compare(&name, UNIT, &values[0], theirs)
                .command(options.command("mempool"))
                .note(format!("bulk {bulk}, 8,192 buffers of 2,048 bytes; ours: {how}, the packet's length and offset reset"))
                .note("cycles of the time-stamp counter, of the thread's cpu time, for one object taken and given back")
                .note(pages.note()),
        );
    }
    Ok(())
}

/// One slice; cycles an object.
fn ours(pool: &Mempool, bulk: usize, slice: Duration) -> Result<f64, BenchError> {
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
            let cycles = on_cpu(cpu, || ours(&pool, bulk, Duration::from_millis(2))).unwrap();
            assert!(cycles > 0.0 && cycles < 1e5, "{bulk}: {cycles}");
        }
        assert_eq!(pool.stats().in_use, 0);
    }
}
