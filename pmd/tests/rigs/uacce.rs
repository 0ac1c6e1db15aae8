//! Devices of a server, by way of queue files.

use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::serve::fs::{FsError, Mounted};
use warpdrive_pmd::uacce::serve::{CoreConfig, DeviceConfig, Function, Server, ServerConfig};
use warpdrive_pmd::uacce::{Roots, UacceDevice, UacceOptions};

/// A server with its files.
pub struct Served {
    folder: tempfile::TempDir,
    _mounted: Mounted,
    _server: Server,
}

impl Served {
    /// Starts one; `None`, and a word about it, where this machine does not permit it.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: queue files need root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        if let Err(e @ (FsError::Device { .. } | FsError::Passthrough)) = Mounted::new(folder.path(), vec![])
        {
            eprintln!("skipped: {e}");
            return None;
        }
        let config = ServerConfig {
            cores: vec![CoreConfig { cpu: 0, idle: IdlePolicy::Sleep }],
            devices: vec![
                DeviceConfig::new("hisi_hpre-0", Function::Hpre),
                DeviceConfig::new("hisi_zip-0", Function::Zip),
            ],
            in_flight: 128,
            rsa: RsaOptions::default(),
        };
        let server = Server::start(&config).unwrap();
        let mounted = Mounted::new(folder.path(), server.devices().to_vec()).unwrap();
        Some(Self { folder, _mounted: mounted, _server: server })
    }

    /// One of its devices, and a pool that it reaches.
    pub fn open(&self, name: &str) -> (Box<UacceDevice>, Mempool) {
        let domain = Domain::new(DmaMode::Sva);
        let pool = Mempool::new(&PoolConfig { buffers: 2048, ..PoolConfig::default() }, &domain).unwrap();
        let roots = Roots::below(self.folder.path());
        let device = UacceDevice::open(name, &roots, &domain, UacceOptions::default()).unwrap();
        (Box::new(device), pool)
    }
}
