//! A server whose devices are presented in a folder.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::abi::attribute;
use warpdrive_pmd::uacce::serve::fs::Mounted;
use warpdrive_pmd::uacce::serve::{CoreConfig, DeviceConfig, Function, Server, ServerConfig};

use crate::child::Child;
use crate::space::space;

/// The devices that most tests have.
pub const HPRE: &str = "hisi_hpre-0";
pub const ZIP: &str = "hisi_zip-0";

/// Requests that a process may have under way.
pub const IN_FLIGHT: usize = 128;

/// A server, and the folder that it is seen in.
pub struct Lab {
    // In this order: the files go before what is behind them.
    mounted: Option<Mounted>,
    server: Option<Server>,
    pub folder: tempfile::TempDir,
}

impl Lab {
    /// One device of each kind with shared virtual addressing, or says why not.
    pub fn new() -> Option<Self> {
        Self::of(vec![hpre(), zip()])
    }

    /// Of these devices.
    pub fn of(devices: Vec<DeviceConfig>) -> Option<Self> {
        let folder = space()?;
        let (server, mounted) = serve(devices, folder.path());
        Some(Self { mounted: Some(mounted), server: Some(server), folder })
    }

    /// A client that plays a role.
    #[track_caller]
    pub fn child(&self, role: &str) -> Child {
        Child::start(role, self.folder.path())
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it was not stopped")
    }

    /// Ends the server, and leaves its files.
    pub fn stop_server(&mut self) {
        drop(self.server.take());
    }

    /// Takes the files away.
    pub fn unmount(&mut self) {
        drop(self.mounted.take());
    }

    /// Queues of a device that can still be had. Not by the file: who serves files does not use them.
    pub fn available(&self, device: &str) -> u32 {
        let devices = self.server().devices();
        let device = devices.iter().find(|known| known.name() == device).expect("a device");
        device.attribute(attribute::AVAILABLE_INSTANCES).unwrap().trim_end().parse().unwrap()
    }

    /// Waits until all queues of a device are there.
    #[track_caller]
    pub fn all_come_back(&self, device: &str) {
        soon("all queues", || self.available(device) == QUEUES);
    }
}

/// Queues of a device.
pub const QUEUES: u32 = 256;

pub fn available(folder: &Path, device: &str) -> u32 {
    read_attribute(folder, device, attribute::AVAILABLE_INSTANCES).parse().unwrap()
}

/// An attribute, without the end of its line.
pub fn read_attribute(folder: &Path, device: &str, name: &str) -> String {
    let path = folder.join("class/uacce").join(device).join(name);
    let value = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    value.trim_end().to_owned()
}

pub fn hpre() -> DeviceConfig {
    DeviceConfig::new(HPRE, Function::Hpre)
}

pub fn zip() -> DeviceConfig {
    DeviceConfig::new(ZIP, Function::Zip)
}

/// Serves devices in a folder, on one core.
pub fn serve(devices: Vec<DeviceConfig>, folder: &Path) -> (Server, Mounted) {
    let config = ServerConfig {
        cores: vec![CoreConfig { cpu: 0, idle: IdlePolicy::Sleep }],
        devices,
        in_flight: IN_FLIGHT,
        rsa: RsaOptions::default(),
    };
    let server = Server::start(&config).expect("it starts");
    let mounted = Mounted::new(folder, server.devices().iter().map(Arc::clone).collect());
    (server, mounted.expect("it can be mounted"))
}

/// Longer than anything takes.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits for what comes soon.
#[track_caller]
pub fn soon(what: &str, mut it: impl FnMut() -> bool) {
    let start = Instant::now();
    while !it() {
        assert!(start.elapsed() < LONG, "{what}: not so");
        std::thread::sleep(Duration::from_millis(1));
    }
}
