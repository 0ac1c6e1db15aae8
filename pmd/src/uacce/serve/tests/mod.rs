//! The server against a user of its queues that is in the same process.

mod client;
mod hostile;
mod rsa_queue;
mod zip_queue;

use super::*;

/// A server of one core, with devices that are called by what they do.
fn server(devices: Vec<DeviceConfig>) -> Server {
    let config = ServerConfig {
        cores: vec![CoreConfig { cpu: 0, idle: crate::idle::IdlePolicy::Sleep }],
        devices,
        in_flight: 128,
        rsa: crate::engine::rsa::RsaOptions::default(),
    };
    Server::start(&config).unwrap()
}

fn hpre() -> DeviceConfig {
    DeviceConfig::new("hisi_hpre-0", Function::Hpre)
}

fn zip() -> DeviceConfig {
    DeviceConfig::new("hisi_zip-0", Function::Zip)
}
