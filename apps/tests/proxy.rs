//! The HTTPS proxy as its clients and servers see it, and as attackers do: each test starts the program, and insists that it
//! leaves no connection, descriptor or buffer behind.

#[path = "clients/mod.rs"]
mod clients;
mod common;

#[path = "proxy/backend.rs"]
mod backend;
#[path = "proxy/certificates.rs"]
mod certificates;
#[path = "proxy/chaos.rs"]
mod chaos;
#[path = "proxy/checks.rs"]
mod checks;
#[path = "proxy/client.rs"]
mod client;
#[path = "proxy/demo.rs"]
mod demo;
#[path = "proxy/device.rs"]
mod device;
#[path = "proxy/drain.rs"]
mod drain;
#[path = "proxy/exchanges.rs"]
mod exchanges;
#[path = "proxy/gunzip.rs"]
mod gunzip;
#[path = "proxy/handshakes.rs"]
mod handshakes;
#[path = "proxy/hostile_tls.rs"]
mod hostile_tls;
#[path = "proxy/limits.rs"]
mod limits;
#[path = "proxy/message.rs"]
mod message;
#[path = "proxy/metrics.rs"]
mod metrics;
#[path = "proxy/programs.rs"]
mod programs;
#[path = "proxy/reload.rs"]
mod reload;
#[path = "proxy/servers.rs"]
mod servers;
#[path = "proxy/setup.rs"]
mod setup;
#[path = "proxy/site.rs"]
mod site;
#[path = "proxy/smuggling.rs"]
mod smuggling;
#[path = "proxy/sslyze.rs"]
mod sslyze;
#[path = "proxy/streams.rs"]
mod streams;
#[path = "proxy/uacce.rs"]
mod uacce;
