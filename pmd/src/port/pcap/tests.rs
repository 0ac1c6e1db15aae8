use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warpdrive_mempool::{DmaMode, Domain, PoolConfig};

use super::*;

fn pool(buffers: usize) -> Mempool {
    Mempool::new(&PoolConfig { buffers, ..PoolConfig::default() }, &Domain::new(DmaMode::Sva)).unwrap()
}

fn demo(extra: impl FnOnce(&mut PcapConfig)) -> PcapConfig {
    let mut config = PcapConfig { file: Some(BUILTIN_DEMO.into()), ..PcapConfig::default() };
    extra(&mut config);
    config
}

fn open(config: &PcapConfig, pool: &Mempool) -> PcapPort {
    PcapPort::open("p", config, pool).unwrap()
}

fn refusal(config: &PcapConfig) -> String {
    match PcapPort::open("p", config, &pool(64)) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("{config:?} was accepted"),
    }
}

fn receive_all(rx: &mut dyn RxQueue) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut burst = Burst::new();
    while !rx.is_finished() {
        rx.rx_burst(&mut burst, 32);
        frames.extend(burst.iter().map(|p| p.data().to_vec()));
        burst.clear();
    }
    frames
}

/// Copies the demo to `out` and returns what was sent.
fn copy(config: &PcapConfig) -> Vec<Vec<u8>> {
    let pool = pool(256);
    let mut port = open(config, &pool);
    let (mut rx, mut tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    let mut frames = Vec::new();
    let mut burst = Burst::new();
    while !rx.is_finished() {
        rx.rx_burst(&mut burst, 32);
        frames.extend(burst.iter().map(|p| p.data().to_vec()));
        tx.tx_burst(&mut burst);
    }
    frames
}

#[test]
fn what_is_written_is_read_back_in_both_formats() {
    let dir = TempDir::new().unwrap();
    for name in ["a.pcap", "a.pcapng", "b.PcapNG", "c"] {
        let out = dir.path().join(name);
        let sent = copy(&demo(|c| {
            c.out = Some(out.clone());
            c.passes = 3;
        }));
        assert_eq!(sent.len(), 3 * 64);
        let magic = fs::read(&out).unwrap()[..4].to_vec();
        assert_eq!(magic == [0x0a, 0x0d, 0x0d, 0x0a], name.to_lowercase().ends_with("pcapng"));
        let pool = pool(64);
        let mut port = open(&PcapConfig { file: Some(out), ..PcapConfig::default() }, &pool);
        assert!(port.tx_queue(0).is_err());
        let mut rx = port.rx_queue(0).unwrap();
        assert_eq!(receive_all(&mut *rx), sent);
        assert_eq!(rx.counters().snapshot().syscalls, 0);
    }
}

#[test]
fn a_small_buffer_writes_often_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("x.pcap");
    let pool = pool(256);
    let config = demo(|c| {
        c.out = Some(out.clone());
        c.passes = 20;
        c.snaplen = 2_000;
        c.buffer_bytes = Some(4_096);
    });
    let mut port = open(&config, &pool);
    let (mut rx, mut tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    let mut burst = Burst::new();
    while !rx.is_finished() {
        rx.rx_burst(&mut burst, 64);
        tx.tx_burst(&mut burst);
    }
    let stats = tx.counters().snapshot();
    assert_eq!((stats.packets, stats.errors), (64 * 20, 0));
    assert!(stats.syscalls > 100);
    drop(tx);
    assert_eq!(parse(&fs::read(&out).unwrap()).unwrap().records.len(), 64 * 20);
}

#[test]
fn in_memory_nothing_is_written_before_the_end_and_the_limit_is_kept() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("x.pcap");
    let pool = pool(256);
    let config = demo(|c| {
        c.out = Some(out.clone());
        c.passes = 10;
        c.memory = true;
        c.buffer_bytes = Some(100_000);
    });
    let mut port = open(&config, &pool);
    let (mut rx, mut tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    let mut burst = Burst::new();
    while !rx.is_finished() {
        rx.rx_burst(&mut burst, 64);
        tx.tx_burst(&mut burst);
    }
    let stats = tx.counters().snapshot();
    assert_eq!(stats.packets + stats.errors, 640);
    assert!(stats.errors > 0 && stats.syscalls == 0, "{stats:?}");
    assert_eq!(fs::metadata(&out).unwrap().len(), 0);
    drop(tx);
    assert_eq!(parse(&fs::read(&out).unwrap()).unwrap().records.len() as u64, stats.packets);
}

#[test]
fn a_full_disk_is_counted_and_never_a_panic() {
    let pool = pool(256);
    let config = demo(|c| {
        c.out = Some("/dev/full".into());
        c.passes = 20;
        c.snaplen = 2_000;
        c.buffer_bytes = Some(4_096);
    });
    let mut port = open(&config, &pool);
    let (mut rx, mut tx) = (port.rx_queue(0).unwrap(), port.tx_queue(0).unwrap());
    let mut burst = Burst::new();
    while !rx.is_finished() {
        rx.rx_burst(&mut burst, 64);
        tx.tx_burst(&mut burst);
        assert!(burst.is_empty());
    }
    let stats = tx.counters().snapshot();
    assert!(stats.errors >= 64 * 20, "{stats:?}");
    assert_eq!(stats.syscalls, 1, "no more is tried");
}

#[test]
fn frames_longer_than_a_buffer_are_skipped_and_counted() {
    let small = Mempool::new(
        &PoolConfig { buffers: 64, size: 640, ..PoolConfig::default() },
        &Domain::new(DmaMode::Sva),
    )
    .unwrap();
    for passes in [1, 2] {
        let mut port = open(&demo(|c| c.passes = passes), &small);
        let mut rx = port.rx_queue(0).unwrap();
        let got = receive_all(&mut *rx).len() as u64;
        rx.rx_burst(&mut Burst::new(), 1);
        let errors = rx.counters().snapshot().errors;
        assert!(got > 0 && errors > 0);
        assert_eq!(got + errors, 64 * u64::from(passes));
        assert!(port.info().remarks.iter().any(|r| r.contains("longer than")));
    }
}

#[test]
fn chained_packets_are_written_as_one_frame_and_cut_at_the_snap_length() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("x.pcapng");
    let pool = pool(16);
    let config = PcapConfig { out: Some(out.clone()), snaplen: 100, ..PcapConfig::default() };
    let mut tx = open(&config, &pool).tx_queue(0).unwrap();
    let mut burst = Burst::new();
    for (a, b) in [(60, 33), (60, 70)] {
        let mut head = pool.alloc().unwrap();
        head.extend_from_slice(&vec![1; a]).unwrap();
        let mut tail = pool.alloc().unwrap();
        tail.extend_from_slice(&vec![2; b]).unwrap();
        head.chain(tail);
        burst.push(head).unwrap();
    }
    assert_eq!(tx.tx_burst(&mut burst), 2);
    assert_eq!(tx.counters().snapshot().bytes, 93 + 130);
    drop(tx);
    assert_eq!(pool.stats().in_use, 0);
    let bytes = fs::read(&out).unwrap();
    let capture = parse(&bytes).unwrap();
    assert_eq!(capture.records.iter().map(|r| r.len).collect::<Vec<_>>(), [93, 100]);
    assert_eq!(capture.cut, 1);
    let first = capture.records[0];
    assert_eq!(bytes[first.offset..first.offset + 93], [[1; 60].as_slice(), &[2; 33]].concat());
}

#[test]
fn recorded_gaps_are_kept() {
    let pool = pool(128);
    let mut port = open(&demo(|c| c.rate = Rate::Recorded), &pool);
    let mut rx = port.rx_queue(0).unwrap();
    let start = Instant::now();
    assert_eq!(receive_all(&mut *rx).len(), 64);
    let took = start.elapsed();
    // 63 gaps of 50 us.
    assert!(took >= Duration::from_micros(3_100) && took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn timestamps_are_wall_clock() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("x.pcap");
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let before = now();
    copy(&demo(|c| c.out = Some(out.clone())));
    let after = now();
    let slack = 50_000_000; // the clock is calibrated to about a thousandth
    for r in parse(&fs::read(&out).unwrap()).unwrap().records {
        assert!(r.time_ns + slack >= before && r.time_ns <= after + slack);
    }
}

#[test]
fn refusals_say_what_and_what_to_do() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("bad.pcap");
    assert!(refusal(&PcapConfig::default()).contains("neither a file to receive from nor an out"));
    assert!(
        refusal(&demo(|c| c.file = Some("/nonexistent.pcap".into()))).contains("cannot open the capture")
    );
    assert!(refusal(&demo(|c| c.file = Some("/dev/zero".into()))).contains("not a regular file"));
    fs::write(&path, b"GIF89a").unwrap();
    assert!(refusal(&demo(|c| c.file = Some(path.clone()))).contains("neither pcap nor pcapng"));
    let good = demo_capture();
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    let e = refusal(&demo(|c| c.file = Some(path.clone())));
    assert!(e.contains("bad.pcap") && e.contains("after 63 good packets") && e.contains("at byte"), "{e}");
    fs::write(&path, &good).unwrap();
    let e = refusal(&demo(|c| {
        c.file = Some(path.clone());
        c.max_bytes = 100;
    }));
    assert!(e.contains("max_bytes = 100"), "{e}");
    let e = refusal(&demo(|c| {
        c.file = Some(path.clone());
        c.out = Some(path.clone());
    }));
    assert!(e.contains("both file and out"), "{e}");
    let e = refusal(&demo(|c| {
        c.out = Some(path.clone());
        c.truncate = false;
    }));
    assert!(e.contains("truncate = true overwrites"), "{e}");
    assert_eq!(fs::read(&path).unwrap(), good, "untouched");
    assert!(
        refusal(&demo(|c| {
            c.out = Some(path.clone());
            c.buffer_bytes = Some(10);
        }))
        .contains("buffer_bytes = 10 is not between")
    );
}

#[test]
fn tshark_finds_nothing_wrong_with_the_demo() {
    let dir = TempDir::new().unwrap();
    for name in ["x.pcap", "x.pcapng"] {
        let out = dir.path().join(name);
        copy(&demo(|c| c.out = Some(out.clone())));
        let options = ["ip", "udp", "tcp"].map(|p| format!("{p}.check_checksum:TRUE"));
        let bad = "ip.checksum.status==0 || udp.checksum.status==0 || tcp.checksum.status==0 || \
                   icmp.checksum.status==0 || _ws.malformed || udp.length.bad || ip.bogus_ip_length";
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&out);
        for option in &options {
            command.arg("-o").arg(option);
        }
        let Ok(answer) = command.args(["-Y", bad]).output() else {
            eprintln!("skipped: needs tshark");
            return;
        };
        let text = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(answer.status.success(), "{text}");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "");
    }
}
