//! `mempool`: packet buffers through the cache of a worker, against rte_mempool and rte_pktmbuf.

use std::hint::black_box;
use std::time::Duration;

use warpdrive_mempool::{Buffers, Burst, DmaMode, Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_pmd::clock::{Clock, ticks};

use crate::cpeers::{CPeer, CPeers, DPDK};
use crate::measure::{Better, Contender, Line, alternate, cpu_time, in_ticks, on_cpu};
use crate::peers::{NoPeer, PageSize};
use crate::{BenchError, Lines, Options};

const PROGRAM: &str = "mempool_peer";
const UNIT: (&str, Better) = ("cycles/object", Better::Lower);
/// Rounds between two looks at the clock, as in the peer.
const ROUNDS: u64 = 64;

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
            for side in [buffers, packets] {
                let cycles = on_cpu(cpu, || side(&pool, bulk, Duration::from_millis(2))).unwrap();
                assert!(cycles > 0.0 && cycles < 1e5, "{bulk}: {cycles}");
            }
        }
        assert_eq!(pool.stats().in_use, 0);
    }
}
