//! Against the server itself, in one process: what each side takes for granted, the other does.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::io::Errno;

use super::*;
use crate::device::Flush;
use crate::engine::rsa::RsaScheme;
use crate::engine::zip::{ZipFormat, ZipOp};
use crate::uacce::discover::{DiscoverError, Roots};
use crate::uacce::file::{Heard, QueueFile};
use crate::uacce::serve::{
    Accelerator, CoreConfig, DeviceConfig, Function, Process, QueueFile as ServedFile, Server, ServerConfig,
    Waker,
};

/// Opens queues of a server without files in between.
struct Direct(Arc<dyn Accelerator>);

struct DirectFile(Box<dyn ServedFile>);

struct Wake(Sender<()>);

impl Waker for Wake {
    fn wake(self: Box<Self>) {
        let _ = self.0.send(());
    }
}

fn me() -> Process {
    Process(std::process::id())
}

impl Opener for Direct {
    fn open(&self, _path: &Path) -> io::Result<Box<dyn QueueFile>> {
        Ok(Box::new(DirectFile(self.0.open(me())?)))
    }

    fn look(&self, info: &UacceInfo) -> Result<UacceInfo, DiscoverError> {
        Ok(info.clone())
    }
}

impl QueueFile for DirectFile {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.memory()
    }

    fn call(&self, command: u32, argument: &mut [u8]) -> Result<u32, Errno> {
        let answer = self.0.ioctl(me(), command, argument)?;
        argument[..answer.len()].copy_from_slice(&answer);
        Ok(0)
    }

    fn wait(&self, timeout: Duration) -> Heard {
        let (sender, woken): (_, Receiver<()>) = channel();
        match self.0.poll(Some(Box::new(Wake(sender)))) {
            Ok(true) => return Heard::Ready,
            Ok(false) => {}
            Err(_) => return Heard::Failed,
        }
        let _ = woken.recv_timeout(timeout);
        match self.0.poll(None) {
            Ok(true) => Heard::Ready,
            Ok(false) => Heard::Nothing,
            Err(_) => Heard::Failed,
        }
    }
}

/// A server with one device, and a desk at it.
fn served(config: DeviceConfig) -> (Server, Desk) {
    let config = ServerConfig {
        cores: vec![CoreConfig { cpu: 0, idle: crate::idle::IdlePolicy::Sleep }],
        devices: vec![config],
        in_flight: 128,
        rsa: crate::engine::rsa::RsaOptions::default(),
    };
    let server = Server::start(&config).unwrap();
    let device = Arc::clone(&server.devices()[0]);
    let read = |name: &str| device.attribute(name).map_err(io::Error::from);
    let info = UacceInfo::of(device.name(), &Roots::below(Path::new("/none")), read).unwrap();
    let desk = Desk::new(Arc::new(info), Arc::new(Direct(Arc::clone(&device))));
    (server, desk)
}

fn hpre(mode: DmaMode) -> (Server, Desk) {
    served(DeviceConfig { mode, ..DeviceConfig::new("hisi_hpre-0", Function::Hpre) })
}

fn zip(mode: DmaMode) -> (Server, Desk) {
    served(DeviceConfig { mode, ..DeviceConfig::new("hisi_zip-0", Function::Zip) })
}

#[test]
fn rsa_keeps_the_rules_of_devices() {
    for mode in [DmaMode::Sva, DmaMode::ShareDomain] {
        let (server, desk) = hpre(mode);
        check_device(&super::hpre::Rig::new(desk, RsaScheme::Pkcs1Sha256));
        assert!(server.entries() > 0);
    }
}

#[test]
fn zip_keeps_the_rules_of_devices() {
    for mode in [DmaMode::Sva, DmaMode::ShareDomain] {
        let (server, desk) = zip(mode);
        check_device(&super::zip::Rig::new(desk));
        assert!(server.entries() > 0);
    }
}

#[test]
fn rsa_in_all_its_ways() {
    let (_server, desk) = hpre(DmaMode::Sva);
    super::hpre::signatures(&desk);
    super::hpre::encryption(&desk);
    super::hpre::numbers(&desk);
}

#[test]
fn zip_in_all_its_ways() {
    let (_server, desk) = zip(DmaMode::Sva);
    super::zip::wholes(&desk);
    super::zip::wrongs(&desk, usize::MAX);
    super::zip::limits(&desk);
    super::zip::checksums(&desk);
    super::zip::open_blocks(&desk);
    super::zip_streams::streams(&desk);
    super::zip_streams::flushes(&desk);
    super::zip_streams::checksums(&desk);
}

#[test]
fn who_waits_by_a_call_is_woken() {
    let (_server, desk) = hpre(DmaMode::Sva);
    let sign = desk.session(super::hpre::rsa(
        crate::engine::rsa::RsaOp::Sign,
        RsaScheme::Pkcs1Sha256,
        &super::hpre::key(super::hpre::RSA_2048),
    ));
    let mut queue = desk.queue(8);
    for _ in 0..50 {
        queue.send(desk.request(sign, b"message", 256)).unwrap();
        let done = queue.recv_sync(PATIENCE).expect("it comes");
        assert_eq!(done.status, Status::Ok);
    }
}

#[test]
fn a_dropped_queue_has_let_go_of_its_packets() {
    let (_server, desk) = zip(DmaMode::Sva);
    let pack = desk.session(super::zip::zip(ZipOp::Compress, ZipFormat::Gzip));
    for _ in 0..20 {
        let mut queue = desk.queue(64);
        for n in 0..40 {
            queue.send(desk.request(pack, &text(n, 1500), 2000)).unwrap();
        }
        drop(queue);
        assert_eq!(desk.pool.stats().in_use, 0);
        // Nobody writes to them any more.
        let packets: Vec<_> = (0..100).map(|_| desk.packet(&[0xa5; 2000])).collect();
        std::thread::sleep(Duration::from_millis(2));
        assert!(packets.iter().all(|packet| packet.data() == [0xa5; 2000]));
    }
}

#[test]
fn a_stream_stays_with_its_queue() {
    let (_server, desk) = zip(DmaMode::Sva);
    let pack = desk.session(super::zip::zip(ZipOp::Compress, ZipFormat::Gzip));
    let (mut a, mut b) = (desk.queue(8), desk.queue(8));
    let send = |queue: &mut dyn Queue, stream| {
        let mut request = desk.request(pack, b"bytes", 100);
        request.set_stream(stream, Flush::Sync);
        let mut done = one(queue, request);
        (done.status, done.request.take_stream().unwrap())
    };
    let (status, stream) = send(&mut *a, desk.device.create_stream(pack).unwrap());
    assert_eq!(status, Status::Ok);
    let (status, stream) = send(&mut *b, stream);
    assert_eq!((status, stream.is_broken()), (Status::BadStream, false), "the other's");
    let (status, mut stream) = send(&mut *a, stream);
    assert_eq!(status, Status::Ok);
    stream.restart();
    assert_eq!(send(&mut *b, stream).0, Status::Ok, "a new one may begin anywhere");
}
