//! How fast frames go through a veth pair between two af_xdp ports, and with how many system calls.
#![cfg(not(loom))]

use std::time::{Duration, Instant};

use warpdrive_mempool::*;
use warpdrive_pmd::port::af_xdp::{AfXdpConfig, AfXdpPort, Attach};
use warpdrive_pmd::port::{Port, RxQueue, TxQueue};

mod lab;
use lab::{Lab, VETH, enter};

fn open(ns: &str, config: &AfXdpConfig, pool: &Mempool) -> (AfXdpPort, Box<dyn RxQueue>, Box<dyn TxQueue>) {
    let _entered = enter(ns);
    let mut port = AfXdpPort::open("rate", config, pool).unwrap_or_else(|e| panic!("{e}"));
    let (rx, tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    (port, rx, tx)
}

/// Not a pass or fail: `cargo test --release -p warpdrive-pmd --test af_xdp_rate -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn rate_through_a_veth_pair() {
    for (what, config, size) in [
        ("native, bursts of 32", AfXdpConfig::new(VETH), 32),
        ("native, bursts of 64", AfXdpConfig::new(VETH), 64),
        ("native, bursts of 4", AfXdpConfig::new(VETH), 4),
        ("native, busy poll", AfXdpConfig { busy_poll_us: 20, ..AfXdpConfig::new(VETH) }, 32),
        ("generic", AfXdpConfig { attach: Attach::Generic, ..AfXdpConfig::new(VETH) }, 32),
    ] {
        let Some(lab) = Lab::new(1) else { return };
        let big = PoolConfig { buffers: 16384, ..PoolConfig::default() };
        let pools = [(); 2].map(|()| Mempool::new(&big, &Domain::new(DmaMode::Sva)).unwrap());
        let (_left, mut left_rx, mut tx) = open(&lab.left, &config, &pools[0]);
        let (right, mut rx, _tx) = open(&lab.right, &config, &pools[1]);
        let end = Instant::now() + Duration::from_secs(2);
        let sender_pool = pools[0].clone();
        let sender = std::thread::spawn(move || {
            let _slot = WorkerSlot::claim().unwrap();
            let mut burst = Burst::new();
            while Instant::now() < end {
                let start = burst.len();
                sender_pool.alloc_burst(&mut burst, usize::saturating_sub(size, start));
                burst.as_mut_slice()[start..].iter_mut().for_each(|p| {
                    p.set_len(64).unwrap();
                    p.data_mut()[12..14].copy_from_slice(&[0x88, 0xb5]);
                });
                tx.tx_burst(&mut burst);
                tx.flush();
                left_rx.rx_burst(&mut Burst::new(), 1);
            }
            tx.counters().snapshot()
        });
        let _slot = WorkerSlot::claim().unwrap();
        let begin = Instant::now();
        while Instant::now() < end {
            rx.rx_burst(&mut Burst::new(), BURST);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let sent = sender.join().unwrap();
        right.link();
        let got = rx.counters().snapshot();
        println!(
            "{what}, pages {:?}: sent {:.0}/s with {:.3} system calls a packet, received {:.0}/s with {:.3}, missed {}",
            pools[0].region().mapping().page_size(),
            sent.packets as f64 / seconds,
            sent.syscalls as f64 / sent.packets as f64,
            got.packets as f64 / seconds,
            got.syscalls as f64 / got.packets.max(1) as f64,
            got.missed
        );
    }
}
