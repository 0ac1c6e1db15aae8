//! What the ports on kernel interfaces do beyond the conformance suite, each test in a network namespace of its own.

#[allow(dead_code, reason = "the rigs are for conformance.rs")]
mod rigs;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rigs::netns::{in_namespace, ip, tap, veth};
use warpdrive_mempool::{Burst, DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pmd::port::af_packet::AfPacketConfig;
use warpdrive_pmd::port::{Link, Port, PortConfig, RxQueue, TxQueue};

fn pool() -> Mempool {
    Mempool::new(&PoolConfig { buffers: 2_048, ..PoolConfig::default() }, &Domain::new(DmaMode::Sva)).unwrap()
}

fn af_packet(interface: &str, pool: &Mempool, change: impl FnOnce(&mut AfPacketConfig)) -> Box<dyn Port> {
    let mut config = AfPacketConfig::new(interface);
    change(&mut config);
    PortConfig::AfPacket(config).open("port", pool).unwrap()
}

/// Frames for which `wanted` is true, until there are `count` or none has come for a while.
fn receive(rx: &mut dyn RxQueue, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    let mut burst = Burst::new();
    let start = Instant::now();
    while got.len() < count && start.elapsed() < Duration::from_secs(2) {
        rx.rx_burst(&mut burst, 64);
        got.extend(burst.iter().map(|p| p.data().to_vec()).filter(|f| wanted(f)));
        burst.clear();
    }
    got
}

fn send(tx: &mut dyn TxQueue, pool: &Mempool, frame: &[u8]) {
    let mut burst = Burst::new();
    let mut packet = pool.alloc().unwrap();
    packet.extend_from_slice(frame).unwrap();
    assert!(burst.push(packet).is_ok());
    assert_eq!(tx.tx_burst(&mut burst), 1);
    tx.flush();
}

fn is_udp4(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0] && frame[23] == 17
}

/// Whether the UDP checksum of an IPv4 frame is right: everything with the pseudo-header adds up to 0xffff (RFC 768).
fn udp_checksum_is_right(frame: &[u8]) -> bool {
    let ip = &frame[14..];
    let udp = &ip[20..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
    let mut sum = 17 + udp.len() as u32;
    for pair in ip[12..20].chunks(2).chain(udp.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff && udp[6..8] != [0, 0]
}

/// An interface whose datagrams to `to` go out without anybody answering ARP.
fn address(interface: &str, own: &str, to: &str) {
    assert!(ip(&format!("addr add {own}/24 dev {interface}")));
    assert!(ip(&format!("neigh add {to} lladdr 02:00:00:00:00:02 dev {interface}")));
}

#[test]
fn af_packet_completes_checksums() {
    in_namespace(|| {
        veth("ve-a", "ve-b");
        address("ve-a", "192.0.2.1", "192.0.2.2");
        let pool = pool();
        let mut port = af_packet("ve-b", &pool, |_| {});
        let mut rx = port.rx_queue(0).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for len in [1usize, 64, 101, 1_000] {
            socket.send_to(&vec![len as u8; len], "192.0.2.2:9").unwrap();
            let got = receive(&mut *rx, 1, is_udp4);
            assert_eq!(got.len(), 1, "{len}");
            assert!(udp_checksum_is_right(&got[0]), "{len}: {:02x?}", got[0]);
        }
        assert_eq!(rx.counters().snapshot().errors, 0);
    });
}

/// The kernel takes the outer tag out of every frame it receives (skb_vlan_untag) and says so beside it.
#[test]
fn af_packet_puts_vlan_tags_back() {
    in_namespace(|| {
        veth("ve-a", "ve-b");
        let pool = pool();
        let (mut a, mut b) = (af_packet("ve-a", &pool, |_| {}), af_packet("ve-b", &pool, |_| {}));
        let (mut tx, mut rx) = (a.tx_queue(0).unwrap(), b.rx_queue(0).unwrap());
        for tpid in [[0x81, 0], [0x88, 0xa8]] {
            for len in [46, 1_500] {
                let frame = [&[2; 12], tpid.as_slice(), &[0x20, 100, 0x88, 0xb5], &vec![7; len]].concat();
                let fits = tpid == [0x81, 0] || frame.len() <= 1_514;
                send(&mut *tx, &pool, &frame);
                let got = receive(&mut *rx, usize::from(fits), |f| f.ends_with(&[7; 40]));
                assert_eq!(got, if fits { vec![frame] } else { vec![] });
            }
        }
        assert_eq!(tx.counters().snapshot().errors, 1);
        assert_eq!(rx.counters().snapshot().errors, 0);
    });
}

#[test]
fn af_packet_does_not_receive_what_it_sends() {
    in_namespace(|| {
        veth("ve-a", "ve-b");
        let pool = pool();
        let (mut a, mut b) = (af_packet("ve-a", &pool, |_| {}), af_packet("ve-b", &pool, |_| {}));
        let (mut a_rx, mut b_rx, mut b_tx) =
            (a.rx_queue(0).unwrap(), b.rx_queue(0).unwrap(), b.tx_queue(0).unwrap());
        let frame = [[0x02; 12].as_slice(), &[0x88, 0xb5], &[7; 50]].concat();
        let mine = |f: &[u8]| f[12..14] == [0x88, 0xb5];
        send(&mut *b_tx, &pool, &frame);
        assert_eq!(receive(&mut *a_rx, 1, mine), [frame]);
        let mut burst = Burst::new();
        b_rx.rx_burst(&mut burst, 64);
        assert!(!burst.iter().any(|p| mine(p.data())));
        let stats = b_tx.counters().snapshot();
        assert_eq!((stats.packets, stats.syscalls), (1, 1));
        assert_eq!(b.info().mtu, 1_500);
        assert!(b.info().mac.is_some());
    });
}

#[test]
fn af_packet_spreads_flows_over_its_queues() {
    in_namespace(|| {
        veth("ve-a", "ve-b");
        address("ve-a", "192.0.2.1", "192.0.2.2");
        let pool = pool();
        let mut port = af_packet("ve-b", &pool, |c| c.queues = 2);
        let mut queues = [port.rx_queue(0).unwrap(), port.rx_queue(1).unwrap()];
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for to in 1_000..1_064 {
            socket.send_to(b"flow", ("192.0.2.2", to)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        let counts = queues.each_mut().map(|q| {
            let mut n = 0;
            for _ in 0..8 {
                let mut burst = Burst::new();
                q.rx_burst(&mut burst, 64);
                n += burst.iter().filter(|p| is_udp4(p.data())).count();
            }
            n
        });
        assert_eq!(counts[0] + counts[1], 64);
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    });
}

#[test]
fn af_packet_counts_what_the_kernel_dropped() {
    in_namespace(|| {
        veth("ve-a", "ve-b");
        address("ve-a", "192.0.2.1", "192.0.2.2");
        let pool = pool();
        let mut port = af_packet("ve-b", &pool, |c| {
            c.block_size = 64 << 10;
            c.blocks = 2;
        });
        let mut rx = port.rx_queue(0).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..500 {
            socket.send_to(&[1; 1_400], "192.0.2.2:9").unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        let mut burst = Burst::new();
        for _ in 0..10_000 {
            rx.rx_burst(&mut burst, 64);
            burst.clear();
        }
        let stats = rx.counters().snapshot();
        assert!(stats.missed > 0, "{stats:?}");
        assert!(stats.packets + stats.missed >= 500, "{stats:?}");
        assert!(stats.syscalls <= 2, "{stats:?}");
    });
}

#[test]
fn refusals_and_the_link_say_what_is_wrong() {
    in_namespace(|| {
        veth("ve-a", "ve-b");
        let pool = pool();
        let open =
            |config: PortConfig| config.open("p", &pool).err().map(|e| e.to_string()).unwrap_or_default();
        let e = open(PortConfig::AfPacket(AfPacketConfig::new("eth7")));
        assert!(e.contains("\"eth7\"") && e.contains("one of: lo") && e.contains("ve-a"), "{e}");
        let e = open(PortConfig::AfPacket(AfPacketConfig { block_size: 3, ..AfPacketConfig::new("ve-a") }));
        assert!(e.contains("block_size = 3"), "{e}");
        let e = open(PortConfig::Tap(tap("much-too-long-a-name")));
        assert!(e.contains("no interface name"), "{e}");
        let e = open(PortConfig::Tap(tap("ve-a")));
        assert!(e.contains("TAP interface \"ve-a\""), "{e}");
        let port = af_packet("ve-a", &pool, |_| {});
        // The kernel works out the carrier a moment later (net/core/link_watch.c).
        let becomes = |right: fn(&Link) -> bool| {
            let start = Instant::now();
            while !right(&port.link()) {
                assert!(start.elapsed() < Duration::from_secs(5), "{:?}", port.link());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        becomes(|l| *l == Link::Up);
        assert!(ip("link set ve-b down"));
        becomes(|l| matches!(l, Link::Down(why) if why.contains("carrier")));
        assert!(ip("link set ve-a down"));
        becomes(|l| matches!(l, Link::Down(why) if why.contains("is down")));
    });
}

#[test]
fn the_kernel_answers_on_a_tap_interface_and_it_goes_with_the_port() {
    in_namespace(|| {
        let pool = pool();
        let mut config = tap("wd0");
        config.mac = Some("02:00:00:00:00:aa".to_owned());
        config.mtu = Some(1_400);
        config.address = Some("192.0.2.1/24".to_owned());
        config.queues = 2;
        let mut port = PortConfig::Tap(config).open("tap", &pool).unwrap();
        assert_eq!((port.info().mtu, port.info().rx_queues), (1_400, 2));
        assert_eq!(port.info().mac.unwrap().to_string(), "02:00:00:00:00:aa");
        let (mut rx, mut tx) =
            ([port.rx_queue(0).unwrap(), port.rx_queue(1).unwrap()], port.tx_queue(0).unwrap());
        let mut arp = vec![0xff; 6];
        arp.extend_from_slice(&[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend_from_slice(&[2, 0, 0, 0, 0, 1, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
        send(&mut *tx, &pool, &arp);
        let start = Instant::now();
        let reply = loop {
            let mut burst = Burst::new();
            for rx in &mut rx {
                rx.rx_burst(&mut burst, 8);
            }
            if let Some(p) = burst.iter().find(|p| p.data()[12..14] == [8, 6] && p.data()[21] == 2) {
                break p.data().to_vec();
            }
            assert!(start.elapsed() < Duration::from_secs(2), "no reply");
        };
        assert_eq!(reply[..12], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xaa]);
        assert!(rx[0].counters().snapshot().syscalls > 0);
        drop((port, rx, tx));
        assert_eq!(pool.stats().in_use, 0);
        assert!(!ip("link show wd0"), "the interface is gone");
    });
}
