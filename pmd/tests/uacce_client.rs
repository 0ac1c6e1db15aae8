//! Devices that another process serves, by files: the whole way, and what becomes of it when that process is killed.
//!
//! Needs root and FUSE with passthrough; each test says so and is skipped where they are missing. Each mounts in a mount
//! namespace of its own, which goes with it.

#[allow(dead_code, reason = "the rigs make devices of this process too")]
#[path = "rigs/rsa.rs"]
mod rsa;
mod space;
#[allow(dead_code, reason = "as above")]
#[path = "rigs/zip.rs"]
mod zip;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use space::space;
use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pmd::conformance::{DeviceRig, check_device};
use warpdrive_pmd::device::{Device, DeviceError, Status};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::serve::fs::Mounted;
use warpdrive_pmd::uacce::serve::{CoreConfig, DeviceConfig, Function, Server, ServerConfig};
use warpdrive_pmd::uacce::{Roots, UacceDevice, UacceError, UacceOptions};

/// Where the test below serves, when another test has it do so.
const SERVE: &str = "WARPDRIVE_TEST_SERVE_DEVICES";
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test, but a server of another test, in a process of its own.
#[test]
fn serves_for_another_test() {
    let Some(folder) = std::env::var_os(SERVE) else { return };
    let shared =
        |name, function| DeviceConfig { mode: DmaMode::ShareDomain, ..DeviceConfig::new(name, function) };
    let config = ServerConfig {
        cores: vec![CoreConfig { cpu: 0, idle: IdlePolicy::Sleep }],
        devices: vec![
            DeviceConfig::new("hisi_hpre-0", Function::Hpre),
            DeviceConfig::new("hisi_zip-0", Function::Zip),
            shared("hisi_hpre-1", Function::Hpre),
            shared("hisi_zip-1", Function::Zip),
        ],
        in_flight: 128,
        rsa: Default::default(),
    };
    let server = Server::start(&config).unwrap();
    let _mounted = Mounted::new(Path::new(&folder), server.devices().to_vec()).unwrap();
    println!("presented");
    loop {
        std::thread::park();
    }
}

/// A server in a process of its own.
struct Serving(Child);

impl Serving {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_for_another_test", "--nocapture"])
            .env(SERVE, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.ends_with("presented"));
        assert!(ready, "the server has not started");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pool(mode: DmaMode) -> Mempool {
    let config = PoolConfig { buffers: 2048, ..PoolConfig::default() };
    Mempool::new(&config, &Domain::new(mode)).unwrap()
}

fn open(folder: &Path, name: &str, pool: &Mempool) -> Result<UacceDevice, DeviceError> {
    UacceDevice::open(name, &Roots::below(folder), pool.domain(), UacceOptions::default())
}

#[test]
fn devices_of_another_process_keep_the_rules_of_devices() {
    let Some(folder) = space() else { return };
    let _serving = Serving::start(folder.path());
    for (mode, number) in [(DmaMode::Sva, 0), (DmaMode::ShareDomain, 1)] {
        let of_rsa = pool(mode);
        let device = open(folder.path(), &format!("hisi_hpre-{number}"), &of_rsa).unwrap();
        let info = device.info();
        assert!(
            !info.hardware && info.implementation.contains(&format!("mode {mode}, memory shared")),
            "{info:?}"
        );
        check_device(&rsa::Rsa::of(Box::new(device), of_rsa));
        let of_zip = pool(mode);
        let device = open(folder.path(), &format!("hisi_zip-{number}"), &of_zip).unwrap();
        check_device(&zip::Zip::of(Box::new(device), of_zip));
    }
}

#[test]
fn a_device_is_found_by_what_it_computes_and_its_queues_are_counted() {
    let Some(folder) = space() else { return };
    let _serving = Serving::start(folder.path());
    let pool = pool(DmaMode::Sva);
    let device = open(folder.path(), "gzip", &pool).unwrap();
    assert_eq!(device.uacce().name, "hisi_zip-0", "gzip is a word of the server");
    let left = || device.uacce().available_instances().unwrap().unwrap();
    let all = left();
    let queues: Vec<_> = (0..3).map(|_| device.request_queue(8).unwrap()).collect();
    assert_eq!(left(), all - 3);
    drop(queues);
    let begun = Instant::now();
    while left() != all {
        assert!(begun.elapsed() < PATIENCE, "{} of {all}", left());
    }
}

#[test]
fn when_the_server_is_killed_requests_come_back_and_the_next_server_serves() {
    let Some(folder) = space() else { return };
    let serving = Serving::start(folder.path());
    let of_rsa = pool(DmaMode::Sva);
    let rig = rsa::Rsa::of(Box::new(open(folder.path(), "hisi_hpre-0", &of_rsa).unwrap()), of_rsa);
    let mut queue = rig.device().request_queue(1000).unwrap();
    let mut requests: Vec<_> = (0..1000).map(|n| rig.request(n).with_tag(n)).collect();
    assert_eq!(queue.send_burst(&mut requests), 1000);
    serving.kill();
    let (mut seen, mut cancelled, begun) = (vec![false; 1000], 0, Instant::now());
    while queue.in_flight() > 0 {
        assert!(begun.elapsed() < PATIENCE, "{cancelled} came back");
        let Some(done) = queue.recv() else { continue };
        let tag = done.request.tag as usize;
        assert!(!std::mem::replace(&mut seen[tag], true), "{tag} came back twice");
        match done.status {
            Status::Ok => rig.verify(tag as u64, &done),
            status => {
                assert_eq!(status, Status::Cancelled);
                cancelled += 1;
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen) && cancelled > 0, "{cancelled}");
    assert_eq!((queue.is_gone(), queue.room(), rig.pool().stats().in_use), (true, 1000, 0));
    let mut lost = queue;
    let refused = rig.device().request_queue(8).err().expect("nobody serves");
    let DeviceError::Uacce { cause: UacceError::Open { .. }, .. } = refused else { panic!("{refused}") };
    let _next = Serving::start(folder.path());
    // The device is the same: sessions are known, and a new queue is one of the new server.
    let mut queue = rig.device().request_queue(8).unwrap();
    assert!(queue.send(rig.request(7).with_tag(7)).is_ok());
    let done = queue.recv_sync(PATIENCE).unwrap();
    assert_eq!(done.status, Status::Ok);
    rig.verify(7, &done);
    // The one that was lost is there again by itself, with the memory and all.
    let begun = Instant::now();
    while lost.is_gone() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut requests: Vec<_> = (0..1000).map(|n| rig.request(n).with_tag(n)).collect();
    assert_eq!(lost.send_burst(&mut requests), 1000);
    for _ in 0..1000 {
        let done = lost.recv_sync(PATIENCE).unwrap();
        assert_eq!(done.status, Status::Ok);
        rig.verify(done.request.tag, &done);
    }
    let stats = rig.device().stats();
    assert_eq!((stats.queues_lost, stats.queues_reopened), (1, 1));
}
