//! Ports that need nothing of the machine.

use tempfile::TempDir;
use warpdrive_mempool::Mempool;
use warpdrive_pmd::conformance::{Ends, Medium, PortRig, Receiver};
use warpdrive_pmd::port::PortConfig;
use warpdrive_pmd::port::null::NullConfig;
use warpdrive_pmd::port::pcap::PcapConfig;
use warpdrive_pmd::port::ring::RingConfig;

pub struct Null;

impl PortRig for Null {
    fn name(&self) -> &str {
        "null"
    }
    fn medium(&self) -> Medium {
        Medium { generates: true, ..Medium::default() }
    }
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends {
        let config = PortConfig::Null(NullConfig::default());
        Ends {
            tx: config.open("tx", tx_pool).unwrap(),
            rx: Receiver::Open(config.open("rx", rx_pool).unwrap()),
        }
    }
}

/// Two ends of a cable, with fresh names each time: tests run at once in one process.
#[derive(Default)]
pub struct Ring {
    cables: usize,
}

impl PortRig for Ring {
    fn name(&self) -> &str {
        "ring"
    }
    fn medium(&self) -> Medium {
        Medium { shares_buffers: true, fills_up: true, ..Medium::default() }
    }
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends {
        self.cables += 1;
        let (a, b) = (format!("conformance-a{}", self.cables), format!("conformance-b{}", self.cables));
        let open = |name: &str, peer: &str, pool| {
            let config = RingConfig { peer: Some(peer.to_owned()), slots: 100 };
            PortConfig::Ring(config).open(name, pool).unwrap()
        };
        Ends { tx: open(&a, &b, tx_pool), rx: Receiver::Open(open(&b, &a, rx_pool)) }
    }
}

/// Writes a file, then reads it.
pub struct Pcap {
    dir: TempDir,
    extension: &'static str,
    files: usize,
}

impl Pcap {
    pub fn new(extension: &'static str) -> Self {
        Self { dir: TempDir::new().unwrap(), extension, files: 0 }
    }
}

impl PortRig for Pcap {
    fn name(&self) -> &str {
        self.extension
    }
    fn medium(&self) -> Medium {
        Medium::default()
    }
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends {
        self.files += 1;
        let path = self.dir.path().join(format!("{}.{}", self.files, self.extension));
        let out = PcapConfig { out: Some(path.clone()), ..PcapConfig::default() };
        let pool = rx_pool.clone();
        Ends {
            tx: PortConfig::Pcap(out).open("tx", tx_pool).unwrap(),
            rx: Receiver::Later(Box::new(move || {
                let input = PcapConfig { file: Some(path), ..PcapConfig::default() };
                PortConfig::Pcap(input).open("rx", &pool).unwrap()
            })),
        }
    }
}
