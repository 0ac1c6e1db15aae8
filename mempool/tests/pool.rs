//! Behaviour of pools, packets and bursts as their users see it.

use std::sync::Arc;
use std::thread;

use warpdrive_mempool::*;

fn pool(buffers: usize) -> Mempool {
    let config =
        PoolConfig { buffers, pages: PageChoice::Exactly(PageSize::Size4K), ..PoolConfig::default() };
    Mempool::new(&config, &Domain::new(DmaMode::Sva)).unwrap()
}

#[test]
fn exhaustion_is_counted_and_everything_comes_back() {
    for worker in [false, true] {
        let pool = pool(100);
        let _slot = worker.then(|| WorkerSlot::claim().unwrap());
        let mut held = Vec::new();
        while let Some(p) = pool.alloc() {
            held.push(p);
        }
        assert_eq!(held.len(), 100, "every buffer can be had (worker: {worker})");
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.peak, stats.failures), (100, 100, 1));
        let mut vas: Vec<_> = held.iter().map(|p| p.va().0).collect();
        vas.sort_unstable();
        assert!(vas.windows(2).all(|w| w[1] - w[0] >= 2048), "no buffer was given twice");
        drop(held);
        assert_eq!(pool.stats().in_use, 0);
        assert_eq!(pool.stats().peak, 100);
    }
}

#[test]
fn bursts_of_any_size_keep_order_and_lose_nothing() {
    let pool = pool(300);
    let _slot = WorkerSlot::claim().unwrap();
    let mut parked: Vec<Burst> = Vec::new();
    for n in [1, 64, 7, 32, 64, 64, 13] {
        let mut burst = Burst::new();
        assert_eq!(pool.alloc_burst(&mut burst, n), n);
        for (i, p) in burst.iter_mut().enumerate() {
            p.extend_from_slice(&[i as u8]).unwrap();
        }
        parked.push(burst);
    }
    assert_eq!(pool.stats().in_use, 245);
    for burst in &mut parked {
        let order: Vec<u8> = burst.iter().map(|p| p.data()[0]).collect();
        assert_eq!(order, (0..burst.len() as u8).collect::<Vec<_>>());
        let mut half = Burst::new();
        let n = burst.len() / 2;
        assert_eq!(burst.move_front(n, &mut half), n);
        assert!(half.iter().zip(0..).all(|(p, i)| p.data()[0] == i));
        assert!(burst.iter().zip(n as u8..).all(|(p, i)| p.data()[0] == i));
        let seen: Vec<u8> = half.drain_front(3).map(|p| p.data()[0]).collect();
        assert_eq!(seen, (0..n.min(3) as u8).collect::<Vec<_>>());
        burst.retain_or(|p| p.data()[0].is_multiple_of(2), drop);
        assert!(burst.iter().all(|p| p.data()[0].is_multiple_of(2)));
    }
    drop(parked);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_full_burst_gives_the_packet_back() {
    let pool = pool(65);
    let mut burst = Burst::new();
    assert_eq!(pool.alloc_burst(&mut burst, 65), 64);
    let extra = pool.alloc().unwrap();
    assert!(burst.push(extra).is_err());
    let mut other = Burst::new();
    assert_eq!(burst.move_front(64, &mut other), 64);
    assert!(burst.pop().is_none());
    drop(other);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_burst_of_mixed_pools_and_chains_goes_back_to_each_pool() {
    let (a, b) = (pool(64), pool(64));
    let _slot = WorkerSlot::claim().unwrap();
    let mut burst = Burst::new();
    for i in 0..20 {
        let mut p = if i % 3 == 0 { a.alloc() } else { b.alloc() }.unwrap();
        if i % 4 == 0 {
            p.chain(a.alloc().unwrap());
            p.chain(b.alloc().unwrap());
            assert_eq!(p.segments().count(), 3);
        }
        burst.push(p).unwrap();
    }
    assert_eq!(a.stats().in_use + b.stats().in_use, 30);
    burst.clear();
    assert_eq!((a.stats().in_use, b.stats().in_use), (0, 0));
}

#[test]
fn a_long_chain_is_freed_without_recursion() {
    let pool = pool(60_000);
    let mut head = pool.alloc().unwrap();
    for _ in 1..60_000 {
        let mut p = pool.alloc().unwrap();
        p.chain(head);
        head = p;
    }
    assert_eq!(pool.stats().in_use, 60_000);
    drop(head);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn headroom_tailroom_and_data_are_consistent() {
    let pool = pool(8);
    let mut p = pool.alloc().unwrap();
    assert_eq!((p.headroom(), p.len()), (128, 0));
    let capacity = p.tailroom();
    assert_eq!(capacity, pool.data_capacity());
    p.extend_from_slice(b"abc").unwrap();
    let iova = p.iova();
    p.prepend(2).unwrap().copy_from_slice(b"xy");
    assert_eq!(p.iova().0 + 2, iova.0);
    p.trim_back(1).unwrap();
    p.trim_front(1).unwrap();
    assert_eq!(p.data(), b"yab");
    assert_eq!(p.headroom() + p.len() + p.tailroom(), 128 + capacity);
    assert_eq!(p.prepend(128).unwrap_err(), NoRoom { wanted: 128, available: 127 });
    assert!(p.append(capacity).is_err());
    assert!(p.trim_front(4).is_err() && p.trim_back(4).is_err());
    assert!(p.set_window(usize::MAX, 2).is_err());
    assert_eq!(p.data(), b"yab", "what fails changes nothing");
    p.reset();
    assert_eq!((p.headroom(), p.len()), (128, 0));
}

#[test]
fn buffers_are_taken_given_back_and_made_packets_without_loss() {
    for worker in [false, true] {
        let pool = pool(100);
        let _slot = worker.then(|| WorkerSlot::claim().unwrap());
        let mut buffers = Buffers::new(&pool);
        assert_eq!((buffers.take(40), buffers.take(40)), (40, 24), "no more than 64 at once");
        assert_eq!((buffers.len(), pool.stats().in_use), (64, 64));
        let mut burst = Burst::new();
        while burst.room() > 10 {
            burst.push(pool.alloc().unwrap_or_else(|| panic!("only 64 of 100 are taken"))).unwrap();
            if pool.stats().in_use == 90 {
                break;
            }
        }
        let before = burst.len();
        let made = buffers.into_packets(&mut burst);
        assert_eq!(made, 64 - before);
        assert!(burst.iter().all(|p| p.is_empty() && p.headroom() == 128));
        assert_eq!((buffers.len(), pool.stats().in_use), (64 - made, 64 + before));
        buffers.give_back();
        assert!(buffers.is_empty());
        buffers.take(5);
        drop(buffers);
        drop(burst);
        assert_eq!(pool.stats().in_use, 0);
    }
}

#[test]
fn a_burst_is_extended_as_far_as_there_is_room_and_the_iterator_keeps_the_rest() {
    let pool = pool(100);
    let mut numbered = (0..70u8).map(|i| {
        let mut p = pool.alloc().unwrap();
        p.extend_from_slice(&[i]).unwrap();
        p
    });
    let mut burst = Burst::new();
    assert_eq!(burst.extend(numbered.by_ref().take(3)), 3);
    assert_eq!(burst.extend(&mut numbered), 61);
    assert!(burst.iter().zip(0..).all(|(p, i)| p.data() == [i]));
    assert_eq!(numbered.next().unwrap().data(), [64], "none was lost");
    assert_eq!(burst.extend(&mut numbered), 0);
    assert_eq!(numbered.next().unwrap().data(), [65]);
    drop(burst);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_recycled_buffer_remembers_nothing_of_its_last_packet() {
    let pool = pool(1);
    let _slot = WorkerSlot::claim().unwrap();
    let mut p = pool.alloc().unwrap();
    p.extend_from_slice(b"old").unwrap();
    p.set_timestamp(7);
    p.set_port(8);
    p.set_mark(9);
    p.trim_front(1).unwrap();
    drop(p);
    let mut burst = Burst::new();
    assert_eq!(pool.alloc_burst(&mut burst, 1), 1);
    let p = burst.pop().unwrap();
    assert_eq!((p.len(), p.headroom(), p.timestamp(), p.port(), p.mark()), (0, 128, 0, 0, 0));
}

#[test]
fn shared_packets_are_freed_by_the_last_holder_only() {
    let pool = pool(8);
    let mut p = pool.alloc().unwrap();
    p.extend_from_slice(b"read only").unwrap();
    let shared = p.into_shared();
    let holders: Vec<_> = (0..4)
        .map(|_| {
            let mine = shared.clone();
            thread::spawn(move || assert_eq!(mine.get().data(), b"read only"))
        })
        .collect();
    let shared = shared.try_unique().map_or_else(|s| s, |p| p.into_shared());
    for h in holders {
        h.join().unwrap();
    }
    assert_eq!(pool.stats().in_use, 1);
    let mut unique = shared.try_unique().map_err(|_| "others are gone").unwrap();
    unique.data_mut()[0] = b'R';
    drop(unique);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn packets_outlive_the_last_handle_of_their_pool() {
    let mut p = pool(8).alloc().unwrap();
    p.extend_from_slice(b"still here").unwrap();
    assert_eq!(p.data(), b"still here");
}

#[test]
fn buffers_move_between_workers_and_none_is_lost() {
    let pool = pool(2000);
    let ring = Arc::new(crossbeam::queue::ArrayQueue::<Packet>::new(256));
    let producer = {
        let (pool, ring) = (pool.clone(), Arc::clone(&ring));
        thread::spawn(move || {
            let _slot = WorkerSlot::claim().unwrap();
            let mut sent = 0u32;
            let mut burst = Burst::new();
            while sent < 100_000 {
                pool.alloc_burst(&mut burst, 17);
                while let Some(mut p) = burst.pop() {
                    p.extend_from_slice(&sent.to_le_bytes()).unwrap();
                    sent += 1;
                    while let Err(back) = ring.push(p) {
                        p = back;
                        thread::yield_now();
                    }
                }
            }
            pool.flush_local_cache();
            sent
        })
    };
    let consumer = {
        let (pool, ring) = (pool.clone(), Arc::clone(&ring));
        thread::spawn(move || {
            let _slot = WorkerSlot::claim().unwrap();
            let mut got = 0u32;
            while got < 100_000 {
                match ring.pop() {
                    Some(p) => {
                        assert_eq!(p.data(), got.to_le_bytes());
                        got += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            pool.flush_local_cache();
        })
    };
    let sent = producer.join().unwrap();
    consumer.join().unwrap();
    let left = std::iter::from_fn(|| ring.pop()).count() as u32;
    assert_eq!(sent, 100_000 + left);
    assert_eq!(pool.stats().in_use, 0);
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 2000, "nothing is stranded in a cache");
}

#[test]
fn lent_buffers_come_back_once_and_unknown_numbers_are_nothing() {
    let (pool, other) = (pool(16), pool(16));
    let mut lent = Lent::new(&pool);
    let mut p = pool.alloc().unwrap();
    p.extend_from_slice(b"umem").unwrap();
    let va = p.va().0;
    let index = lent.lend(p).unwrap();
    assert_eq!(pool.region().mapping().va().0 + index * pool.buffer_size() + pool.headroom(), va);
    assert!(lent.lend(other.alloc().unwrap()).is_err(), "a packet of another pool is refused");
    assert!(lent.take_back((index + 1) % 16).is_none());
    assert!(lent.take_back(usize::MAX).is_none());
    assert_eq!(lent.take_back(index).unwrap().data(), b"umem");
    assert!(lent.take_back(index).is_none());
    assert_eq!((lent.count(), pool.stats().in_use), (0, 0));
}

#[test]
fn impossible_geometry_is_refused_with_the_numbers() {
    let domain = Domain::new(DmaMode::Sva);
    for (config, word) in [
        (PoolConfig { buffers: 0, ..PoolConfig::default() }, "buffers = 0"),
        (PoolConfig { size: 100, ..PoolConfig::default() }, "size = 100"),
        (PoolConfig { size: 1 << 20, ..PoolConfig::default() }, "size = 1048576"),
        (PoolConfig { headroom: 2040, ..PoolConfig::default() }, "headroom = 2040"),
    ] {
        let e = Mempool::new(&config, &domain).unwrap_err().to_string();
        assert!(e.contains(word), "{e}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_write_past_the_end_is_found_when_the_buffer_is_freed() {
    let pool = pool(4);
    let p = pool.alloc().unwrap();
    let end = p.va().0 - p.headroom() + pool.buffer_size() - 1;
    // SAFETY: the guard byte behind the packet's capacity, still inside the pool's mapping.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(end).write(0) };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(p)));
    assert!(caught.is_err());
}

#[test]
fn without_an_iommu_the_addresses_are_physical_or_refused() {
    let config =
        PoolConfig { buffers: 64, pages: PageChoice::Exactly(PageSize::Size4K), ..PoolConfig::default() };
    match Mempool::new(&config, &Domain::new(DmaMode::NoIommu)) {
        Ok(pool) => {
            let p = pool.alloc().unwrap();
            assert_ne!(p.iova().0, p.va().0 as u64);
            assert_eq!(p.iova().0 % 2048, 128);
            // Buffers that straddle pages are accepted only where every one of them is in one physical piece.
            let straddling = PoolConfig { size: 3072, buffers: 512, ..config };
            match Mempool::new(&straddling, &Domain::new(DmaMode::NoIommu)) {
                Ok(pool) => {
                    for p in std::iter::from_fn(|| pool.alloc()) {
                        assert!(pool.region().is_contiguous(Va(p.va().0 - 128), 3072));
                    }
                }
                Err(e) => assert!(matches!(e, MemError::NotContiguous { size: 3072, .. }), "{e}"),
            }
        }
        Err(e) => assert!(matches!(e, MemError::PhysicalHidden), "{e}"),
    }
}

/// A mapping of any pool of this process, as the kernel lists it.
fn mapped_pools() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|l| l.contains("memfd:warpdrive-mempool")).count()
}

/// In a process of its own (this test again, as a child), where no other test maps pools.
#[test]
fn a_pool_that_is_refused_leaves_no_memory_behind() {
    const CHILD: &str = "WARPDRIVE_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let me = std::env::current_exe().unwrap();
        let name = "a_pool_that_is_refused_leaves_no_memory_behind";
        let run = std::process::Command::new(me).args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        return;
    }
    // Straddles pages, which seldom follow each other physically: one of the two refusals.
    let config = PoolConfig {
        buffers: 4096,
        size: 3072,
        pages: PageChoice::Exactly(PageSize::Size4K),
        ..PoolConfig::default()
    };
    if Mempool::new(&config, &Domain::new(DmaMode::NoIommu)).is_err() {
        assert_eq!(mapped_pools(), 0);
    }
}

#[test]
fn share_domain_addresses_of_one_domain_mean_nothing_in_another() {
    let make = || {
        let config =
            PoolConfig { buffers: 8, pages: PageChoice::Exactly(PageSize::Size4K), ..PoolConfig::default() };
        Mempool::new(&config, &Domain::new(DmaMode::ShareDomain)).unwrap()
    };
    let (a, b) = (make(), make());
    let packet = a.alloc().unwrap();
    assert!(a.domain().view().resolve(packet.iova(), 1, true).is_ok());
    assert!(b.domain().view().resolve(packet.iova(), 1, true).is_err(), "another pool's memory");
}

/// The last buffer is freed by a thread without a cache while the last handle goes: the free must be over before the
/// memory is. The window is a few instructions wide: this exercises it, and a sanitizer would see a use of freed memory.
#[test]
fn a_pool_can_go_while_its_last_packet_is_freed_elsewhere() {
    for worker in [false, true] {
        for _ in 0..300 {
            let pool = pool(1);
            let packet = pool.alloc().unwrap();
            let start = Arc::new(std::sync::Barrier::new(2));
            let go = Arc::clone(&start);
            let free = thread::spawn(move || {
                let _slot = worker.then(|| WorkerSlot::claim().unwrap());
                go.wait();
                drop(packet);
            });
            start.wait();
            drop(pool);
            free.join().unwrap();
        }
    }
}

#[test]
fn lengths_beyond_the_address_space_are_refused() {
    for sharing in [Sharing::Shared, Sharing::Private] {
        for choice in [PageChoice::Auto, PageChoice::Exactly(PageSize::Size4K)] {
            assert!(Mapping::new(usize::MAX, choice, sharing, None).is_err());
        }
    }
}

#[test]
fn a_closure_that_panics_loses_no_packet() {
    let pool = pool(16);
    let mut burst = Burst::new();
    pool.alloc_burst(&mut burst, 16);
    let mut calls = 0;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        burst.retain_or(
            |_| {
                calls += 1;
                assert!(calls < 8);
                calls % 2 == 0
            },
            drop,
        );
    }));
    assert!(caught.is_err());
    assert_eq!(pool.stats().in_use, burst.len(), "what is not in the burst went back");
    burst.clear();
    assert_eq!(pool.stats().in_use, 0);
}

/// Two pools in one burst, and the guard of the second pool's buffer is broken: what was freed before the panic must
/// not be freed again when the burst goes.
#[cfg(debug_assertions)]
#[test]
fn a_panic_in_the_middle_of_freeing_frees_nothing_twice() {
    let (a, b) = (pool(4), pool(4));
    let mut burst = Burst::new();
    burst.push(a.alloc().unwrap()).unwrap();
    let bad = b.alloc().unwrap();
    let end = bad.va().0 - bad.headroom() + b.buffer_size() - 1;
    // SAFETY: the guard byte behind the packet's capacity, still inside the pool's mapping.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(end).write(0) };
    burst.push(bad).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| burst.clear()));
    assert!(caught.is_err());
    assert!(burst.is_empty(), "all were freed or given up");
    drop(burst);
    let all: Vec<_> = std::iter::from_fn(|| a.alloc()).collect();
    assert_eq!(all.len(), 4);
}
