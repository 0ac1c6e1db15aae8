//! The af_xdp driver over a veth pair between network namespaces. Each test needs root, and says so if it is not.
#![cfg(not(loom))]

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use warpdrive_mempool::*;
use warpdrive_pmd::port::af_xdp::{AfXdpConfig, AfXdpPort, Attach, Mode};
use warpdrive_pmd::port::{Link, Port, PortError, RxQueue, TxQueue};

mod lab;
use lab::{Lab, VETH, enter, ip};

const DEADLINE: Duration = Duration::from_secs(10);

fn pool(buffers: usize, size: usize) -> Mempool {
    let pages = PageChoice::Exactly(PageSize::Size4K);
    let config = PoolConfig { buffers, size, pages, ..PoolConfig::default() };
    Mempool::new(&config, &Domain::new(DmaMode::Sva)).unwrap()
}

fn config() -> AfXdpConfig {
    AfXdpConfig { ring_size: 256, ..AfXdpConfig::new(VETH) }
}

/// Opens a port in a namespace, and takes queue 0 of it.
fn open(ns: &str, config: &AfXdpConfig, pool: &Mempool) -> (AfXdpPort, Box<dyn RxQueue>, Box<dyn TxQueue>) {
    let _entered = enter(ns);
    let mut port = AfXdpPort::open("test", config, pool).unwrap_or_else(|e| panic!("{e}"));
    let (rx, tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    (port, rx, tx)
}

/// Repeats `step` until it is true.
fn wait(what: &str, mut step: impl FnMut() -> bool) {
    let start = Instant::now();
    while !step() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

/// Frame number `n`, `len` bytes, of an Ethernet type for experiments (IEEE 802).
fn bytes_of(n: usize, len: usize) -> Vec<u8> {
    let mut f: Vec<u8> = (0..len).map(|i| (i * 7 + n * 13) as u8).collect();
    f[..6].fill(0xff);
    f[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    f
}

fn frame(pool: &Mempool, n: usize, len: usize) -> Packet {
    let mut p = pool.alloc().unwrap();
    p.extend_from_slice(&bytes_of(n, len)).unwrap();
    p
}

fn send_all(tx: &mut dyn TxQueue, burst: &mut Burst) {
    wait("the burst is taken", || {
        tx.tx_burst(burst);
        tx.flush();
        burst.is_empty()
    });
}

/// Sends frames of all lengths in both directions in uneven bursts, some as foreign packets and chains.
fn exchange(config: &AfXdpConfig, size: usize) {
    let Some(lab) = Lab::new(1) else { return };
    let pools = [pool(1500, size), pool(1500, size)];
    let foreign = pool(64, 2048);
    {
        let (left, mut left_rx, mut left_tx) = open(&lab.left, config, &pools[0]);
        let (right, mut right_rx, mut right_tx) = open(&lab.right, config, &pools[1]);
        assert_eq!((left.link(), right.link()), (Link::Up, Link::Up));
        assert_eq!(left.info().mtu, 1500);
        assert!(left.info().mac.is_some());
        let says = |what: &str| left.info().remarks.iter().any(|r| r.contains(what));
        assert!(says(if config.attach == Attach::Generic { "(generic)" } else { "(native)" }));
        assert!(says("copy mode") && !left.info().zero_copy);
        let paths = [(&pools[0], &mut left_tx, &mut right_rx), (&pools[1], &mut right_tx, &mut left_rx)];
        for (pool, tx, rx) in paths {
            let lens: Vec<usize> = (60..=1514).collect();
            let mut expected = lens.iter().enumerate();
            for (round, chunk) in lens.chunks(37).enumerate() {
                let mut burst = Burst::new();
                for (i, len) in chunk.iter().enumerate() {
                    let n = round * 37 + i;
                    let packet = match i {
                        5 => frame(&foreign, n, *len),
                        9 => {
                            let whole = bytes_of(n, *len);
                            let (mut head, mut tail) = (pool.alloc().unwrap(), foreign.alloc().unwrap());
                            head.extend_from_slice(&whole[..20]).unwrap();
                            tail.extend_from_slice(&whole[20..]).unwrap();
                            head.chain(tail);
                            head
                        }
                        _ => frame(pool, n, *len),
                    };
                    burst.push(packet).unwrap();
                }
                send_all(tx.as_mut(), &mut burst);
                let mut left = chunk.len();
                wait("the frames arrive", || {
                    let mut got = Burst::new();
                    left -= rx.rx_burst(&mut got, BURST);
                    for p in &got {
                        let (n, len) = expected.next().unwrap();
                        assert_eq!(p.data(), bytes_of(n, *len), "frame {n}");
                        assert!(p.headroom() >= 128);
                    }
                    left == 0
                });
            }
            wait("all is sent", || tx.flush() == 0);
            let bytes: usize = lens.iter().sum();
            for counters in [tx.counters().snapshot(), rx.counters().snapshot()] {
                assert_eq!((counters.packets, counters.bytes), (lens.len() as u64, bytes as u64));
                assert_eq!((counters.errors, counters.missed), (0, 0));
            }
        }
        drop((left, right));
    }
    assert_eq!(pools.each_ref().map(|p| p.stats().in_use), [0, 0]);
    assert_eq!(foreign.stats().in_use, 0);
}

#[test]
fn frames_arrive_in_order_and_unchanged() {
    exchange(&config(), 2048);
}

#[test]
fn frames_arrive_with_the_program_behind_the_driver() {
    exchange(&AfXdpConfig { attach: Attach::Generic, ..config() }, 4096);
}

#[test]
fn frames_arrive_with_buffers_that_are_no_power_of_two() {
    exchange(&config(), 2304);
}

#[test]
fn frames_arrive_with_buffers_larger_than_a_page() {
    exchange(&AfXdpConfig { mode: Mode::Copy, ..config() }, 9216);
}

#[test]
fn frames_arrive_without_wakeup_flags_and_with_busy_polling() {
    exchange(&AfXdpConfig { need_wakeup: false, ..config() }, 2048);
    exchange(&AfXdpConfig { busy_poll_us: 20, ..config() }, 2048);
}

#[test]
fn queues_share_the_pool_and_those_not_named_stay_with_the_kernel() {
    let Some(lab) = Lab::new(3) else { return };
    let pools = [pool(2048, 2048), pool(2048, 2048)];
    {
        let (mut left, rx0, tx0) =
            open(&lab.left, &AfXdpConfig { queues: vec![0, 1, 2], ..config() }, &pools[0]);
        let (mut right, mut right0, _tx) =
            open(&lab.right, &AfXdpConfig { queues: vec![2, 0], ..config() }, &pools[1]);
        let mut right1 = right.rx_queue(1).unwrap();
        assert!(matches!(right.rx_queue(1).err(), Some(PortError::QueueTaken { .. })));
        assert!(matches!(right.rx_queue(2).err(), Some(PortError::NoSuchQueue { .. })));
        drop(rx0);
        // A veth hands a frame of transmit queue n to receive queue n of the other end.
        let mut all = [tx0, left.tx_queue(1).unwrap(), left.tx_queue(2).unwrap()];
        for (queue, tx) in all.iter_mut().enumerate() {
            let mut burst = Burst::new();
            for n in 0..10 + queue {
                burst.push(frame(&pools[0], n, 100)).unwrap();
            }
            send_all(tx.as_mut(), &mut burst);
            wait("all is sent", || tx.flush() == 0);
        }
        let mut got = (Burst::new(), Burst::new());
        wait("both queues received", || {
            right0.rx_burst(&mut got.0, BURST);
            right1.rx_burst(&mut got.1, BURST);
            (got.0.len(), got.1.len()) == (12, 10)
        });
    }
    assert_eq!(pools.each_ref().map(|p| p.stats().in_use), [0, 0]);
}

#[test]
fn an_exhausted_pool_is_counted_and_receiving_goes_on_when_buffers_come_back() {
    let Some(lab) = Lab::new(1) else { return };
    let pools = [pool(512, 2048), pool(96, 2048)];
    let (_left, _rx, mut tx) = open(&lab.left, &config(), &pools[0]);
    let (right, mut rx, _tx) = open(&lab.right, &config(), &pools[1]);
    assert!((20..=48).contains(&rx.held()), "not more than half of the pool: {}", rx.held());
    let mut send = |numbers: std::ops::Range<usize>| {
        let count = numbers.len();
        for n in numbers {
            let mut burst = Burst::new();
            burst.push(frame(&pools[0], n, 64)).unwrap();
            send_all(tx.as_mut(), &mut burst);
        }
        wait("all is sent", || tx.flush() == 0);
        count
    };
    let (mut kept, mut sent, mut missed) = (Vec::new(), 0, 0);
    while sent < 200 {
        sent += send(sent..sent + 20);
        wait("each frame is received or counted", || {
            let mut burst = Burst::new();
            rx.rx_burst(&mut burst, 10);
            kept.extend(burst.drain_front(BURST));
            assert_eq!(right.link(), Link::Up);
            missed = rx.counters().missed.get() as usize;
            kept.len() + missed == sent
        });
    }
    assert_eq!((kept.len(), missed, rx.held()), (96, 104, 0));
    assert!(rx.counters().no_buffer.get() > 0);
    assert!(kept.iter().enumerate().all(|(n, p)| p.data() == bytes_of(n, 64)));
    kept.clear();
    rx.rx_burst(&mut Burst::new(), BURST);
    assert!(rx.held() >= 20);
    send(0..5);
    let mut burst = Burst::new();
    wait("more frames", || {
        rx.rx_burst(&mut burst, BURST);
        burst.len() == 5
    });
}

#[test]
fn a_full_ring_leaves_the_rest_in_the_burst_and_frames_are_sent_when_the_link_is_back() {
    let Some(lab) = Lab::new(1) else { return };
    let pools = [pool(512, 2048), pool(512, 2048)];
    let config = AfXdpConfig { ring_size: 64, ..config() };
    {
        let (left, _rx, mut tx) = open(&lab.left, &config, &pools[0]);
        let (_right, mut rx, _tx) = open(&lab.right, &config, &pools[1]);
        ip(&["-n", &lab.left, "link", "set", VETH, "down"]).unwrap();
        assert!(matches!(left.link(), Link::Down(why) if why.contains("set down")));
        let mut burst = Burst::new();
        (0..40).for_each(|n| burst.push(frame(&pools[0], n, 64)).unwrap());
        assert_eq!(tx.tx_burst(&mut burst), 40);
        (40..80).for_each(|n| burst.push(frame(&pools[0], n, 64)).unwrap());
        assert_eq!(tx.tx_burst(&mut burst), 24);
        assert_eq!(tx.tx_burst(&mut burst), 0);
        assert_eq!((burst.len(), tx.flush()), (16, 64));
        assert!(burst.iter().enumerate().all(|(n, p)| p.data() == bytes_of(64 + n, 64)));
        assert_eq!(tx.counters().packets.get(), 64);

        ip(&["-n", &lab.left, "link", "set", VETH, "up"]).unwrap();
        let mut n = 0;
        wait("all frames arrive", || {
            tx.tx_burst(&mut burst);
            tx.flush();
            let mut got = Burst::new();
            rx.rx_burst(&mut got, BURST);
            for p in &got {
                assert_eq!(p.data(), bytes_of(n, 64));
                n += 1;
            }
            n == 80
        });
        // Dropped with packets under way: they come back too.
        (0..40).for_each(|n| burst.push(frame(&pools[0], n, 64)).unwrap());
        ip(&["-n", &lab.left, "link", "set", VETH, "down"]).unwrap();
        assert_eq!(tx.tx_burst(&mut burst), 40);
    }
    assert_eq!(pools.each_ref().map(|p| p.stats().in_use), [0, 0]);
}

#[test]
fn frames_that_cannot_be_sent_are_counted_and_the_others_go() {
    let Some(lab) = Lab::new(1) else { return };
    let pools = [pool(1024, 2048), pool(1024, 2048)];
    let (_left, _rx, mut tx) = open(&lab.left, &config(), &pools[0]);
    let (_right, mut rx, _tx) = open(&lab.right, &config(), &pools[1]);
    let mut burst = Burst::new();
    for (n, len) in [(0, 60), (1, 1519), (2, 61), (3, 14)] {
        burst.push(frame(&pools[0], n, len)).unwrap();
    }
    burst.as_mut_slice()[3].set_len(13).unwrap();
    let mut chain = frame(&pools[0], 4, 1000);
    chain.chain(frame(&pools[0], 4, 1000));
    burst.push(chain).unwrap();
    burst.push(frame(&pools[0], 5, 62)).unwrap();
    assert_eq!(tx.tx_burst(&mut burst), 6);
    let counters = tx.counters().snapshot();
    assert_eq!((counters.packets, counters.bytes, counters.errors), (3, 60 + 61 + 62, 3));
    let mut got = Burst::new();
    wait("three frames", || {
        rx.rx_burst(&mut got, BURST);
        got.len() == 3
    });
    assert_eq!(got.iter().map(Packet::len).collect::<Vec<_>>(), [60, 61, 62]);
}

#[test]
fn a_foreign_packet_waits_in_the_burst_while_there_is_no_buffer_to_copy_it_to() {
    let Some(lab) = Lab::new(1) else { return };
    let (own, foreign) = (pool(200, 2048), pool(8, 2048));
    let (_port, rx, mut tx) = open(&lab.left, &config(), &own);
    let rest: Vec<_> = std::iter::from_fn(|| own.alloc()).collect();
    assert_eq!(rest.len() + rx.held(), 200);
    let mut burst = Burst::new();
    burst.push(frame(&foreign, 0, 60)).unwrap();
    assert_eq!(tx.tx_burst(&mut burst), 0);
    assert_eq!(burst.len(), 1);
    drop(rest);
    assert_eq!(tx.tx_burst(&mut burst), 1);
    assert_eq!((tx.counters().packets.get(), tx.counters().bytes.get()), (1, 60));
    wait("it is sent", || tx.flush() == 0);
    assert_eq!((foreign.stats().in_use, own.stats().in_use), (0, rx.held()));
}

#[test]
fn a_filter_takes_its_flows_and_leaves_the_rest_to_the_kernel() {
    let Some(lab) = Lab::new(1) else { return };
    lab.addresses();
    let pool = pool(1024, 2048);
    let config = AfXdpConfig { udp_ports: vec![4433], ethertypes: vec![0x88b5], ..config() };
    let (_port, mut rx, _tx) = open(&lab.right, &config, &pool);
    let kernel = {
        let _entered = enter(&lab.right);
        UdpSocket::bind("192.0.2.2:4434").unwrap()
    };
    kernel.set_read_timeout(Some(DEADLINE)).unwrap();
    let _entered = enter(&lab.left);
    // ARP and ICMP reach the stack.
    let ping = Command::new("ping").args(["-c", "2", "-i", "0.2", "-W", "5", "192.0.2.2"]).output().unwrap();
    assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
    let client = UdpSocket::bind("192.0.2.1:0").unwrap();
    for n in 0..10u8 {
        client.send_to(&[n; 32], "192.0.2.2:4433").unwrap();
        client.send_to(&[n; 32], "192.0.2.2:4434").unwrap();
    }
    let mut buffer = [0; 64];
    for n in 0..10u8 {
        assert_eq!(kernel.recv(&mut buffer).unwrap(), 32);
        assert_eq!(buffer[0], n);
    }
    let mut got = Burst::new();
    wait("ten datagrams", || {
        rx.rx_burst(&mut got, BURST);
        got.len() == 10
    });
    assert!(got.iter().enumerate().all(|(n, p)| p.data()[42..] == [n as u8; 32]));
    assert_eq!(rx.rx_burst(&mut Burst::new(), BURST), 0);
}

#[test]
fn the_program_goes_with_the_port_and_its_queues_and_the_port_can_be_opened_again() {
    let Some(lab) = Lab::new(1) else { return };
    let pool = pool(512, 2048);
    for _ in 0..3 {
        let (port, rx, tx) = open(&lab.left, &config(), &pool);
        assert!(Lab::has_program(&lab.left));
        drop((tx, port));
        assert!(Lab::has_program(&lab.left), "the receive queue is in use");
        drop(rx);
        wait("the program is gone", || !Lab::has_program(&lab.left));
        assert_eq!(pool.stats().in_use, 0);
    }
}

#[test]
fn errors_name_the_cause_and_the_remedy() {
    let Some(lab) = Lab::new(1) else { return };
    let pool_2k = pool(64, 2048);
    let _entered = enter(&lab.left);
    let fails = |config: AfXdpConfig, pool: &Mempool, parts: &[&str]| {
        let message = AfXdpPort::open("in", &config, pool).err().expect("it cannot be").to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    };
    fails(AfXdpConfig::new("eth7"), &pool_2k, &["\"in\"", "eth7", "veth0, ", "No such device"][..2]);
    fails(AfXdpConfig::new("eth7"), &pool_2k, &["No such device", "namespace: lo, veth0"]);
    fails(AfXdpConfig { queues: vec![3], ..config() }, &pool_2k, &["no queue 3", "receives on 1"]);
    fails(AfXdpConfig { queues: vec![0, 0], ..config() }, &pool_2k, &["queue 0 twice"]);
    fails(AfXdpConfig { ring_size: 1000, ..config() }, &pool_2k, &["1000", "power of two"]);
    fails(
        AfXdpConfig { mode: Mode::ZeroCopy, ..config() },
        &pool_2k,
        &["ZeroCopy", "not supported", "\"copy\""],
    );
    fails(config(), &pool(64, 1024), &["1024 bytes", "size = 2048"]);
    let (_port, _rx, _tx) = open(&lab.left, &config(), &pool_2k);
    fails(config(), &pool_2k, &["warpdrive_xdp", "attached already", "bpftool net"]);
    drop((_port, _rx, _tx));
    ip(&["-n", &lab.left, "link", "set", VETH, "mtu", "3000"]).unwrap();
    fails(config(), &pool_2k, &["MTU of 3000", "size = 4096"]);
}

#[test]
fn without_privileges_the_error_names_those_that_are_missing() {
    let Some(lab) = Lab::new(1) else { return };
    let pool = pool(64, 2048);
    let message = std::thread::scope(|s| {
        let unprivileged = || {
            let _kept = std::mem::ManuallyDrop::new(enter(&lab.left)); // coming back is for root alone
            // SAFETY: no memory is involved. The bare system call changes this thread only.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) }, 0);
            AfXdpPort::open("in", &config(), &pool).err().expect("not for nobody").to_string()
        };
        s.spawn(unprivileged).join().unwrap()
    });
    for part in ["XSKMAP", "CAP_NET_RAW", "CAP_BPF", "CAP_NET_ADMIN", "root"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

const CHILD: &str = "WARPDRIVE_TEST_AF_XDP_CHILD";

/// Not a test of its own: the process that the next one kills.
#[test]
fn child_that_holds_a_port_until_it_is_killed() {
    let Ok(ns) = std::env::var(CHILD) else { return };
    let _open = open(&ns, &config(), &pool(512, 2048));
    println!("\nopen");
    std::thread::sleep(2 * DEADLINE);
}

#[test]
fn a_killed_process_leaves_no_program_behind() {
    let Some(lab) = Lab::new(1) else { return };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_a_port_until_it_is_killed", "--nocapture"])
        .env(CHILD, &lab.left)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let opened = lines.map_while(Result::ok).any(|line| line == "open");
    let attached = Lab::has_program(&lab.left);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(opened && attached);
    wait("the program is gone", || !Lab::has_program(&lab.left));
    drop(open(&lab.left, &config(), &pool(512, 2048)));
}
