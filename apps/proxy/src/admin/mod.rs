//! Where a proxy says how it is: metrics for Prometheus, the same as JSON, a page with curves, and whether it is well. Only
//! this machine can ask, by an address of the loopback or by a Unix socket that is this user's.
//!
//! | path | answers |
//! |---|---|
//! | `/` | the page, which asks for `/status.json` every second |
//! | `/status.json` | [`ProxyMetrics::to_json`], and [`DeviceReport::to_json`] |
//! | `/metrics` | text for Prometheus |
//! | `/healthz` | 200, or 503 while the proxy drains |
//! | `POST /reload` with `Warpdrive: reload` | what was loaded anew, or 409 and why nothing was |
//!
//! Nothing else can be changed here, and a page in a browser cannot send that field to who does not allow it. A page of somebody else cannot read it: browsers ask by the host's name, and other names
//! than those of this machine are refused, whatever address they lead to.

mod ask;
mod error;
mod listen;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::blocking::Server;
use crate::metrics::{DeviceReport, Prometheus, ProxyMetrics};

pub use ask::{Ask, Asks, Load, Outcome};
pub use error::AdminError;
use listen::SocketFile;

/// Connections at a time: browsers open more than they use.
const MOST: usize = 32;

/// What else has numbers.
pub type Provider = Box<dyn Fn(&mut Prometheus) + Send + Sync>;
/// What devices there are.
pub type Devices = Box<dyn Fn() -> Vec<DeviceReport> + Send + Sync>;

/// Where the numbers come from.
pub struct Sources {
    /// The proxies.
    pub proxies: Vec<ProxyMetrics>,
    /// The devices that work for them.
    pub devices: Devices,
    /// More for Prometheus.
    pub more: Vec<Provider>,
    /// Whether the proxy ends as soon as what is under way is done.
    pub draining: Arc<AtomicBool>,
    /// Has the configuration loaded anew.
    pub load: Option<Load>,
}

impl Sources {
    /// The text for Prometheus.
    fn metrics(&self) -> String {
        let mut out = Prometheus::new();
        self.proxies.iter().for_each(|proxy| proxy.to_prometheus(&mut out));
        (self.devices)().iter().for_each(|device| device.to_prometheus(&mut out));
        self.more.iter().for_each(|provider| provider(&mut out));
        out.finish()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// All as JSON. `started` is when the admin address was opened.
    fn status(&self, started: Instant) -> Value {
        json!({
            "program": concat!("warpdrive-proxy ", env!("CARGO_PKG_VERSION")),
            "uptime": started.elapsed().as_secs_f64(),
            "draining": self.is_draining(),
            "proxies": self.proxies.iter().map(ProxyMetrics::to_json).collect::<Value>(),
            "devices": (self.devices)().iter().map(DeviceReport::to_json).collect::<Value>(),
        })
    }
}

/// Where it can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By an address of this machine.
    Address(SocketAddr),
    /// By a Unix socket.
    Path(PathBuf),
}

/// The admin address. It is gone when this is dropped.
pub struct Admin {
    place: Place,
    // In this order: nobody connects to a socket that is not there.
    _file: Option<SocketFile>,
    _server: Server,
}

impl Admin {
    /// Listens at an address of the loopback, such as `127.0.0.1:9443`, or at a path, which has a slash: there a Unix socket
    /// is made that this user alone can open. One that was left behind is replaced.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn start(listen: &str, sources: Sources) -> Result<Self, AdminError> {
        let (listener, place, file) = listen::open(listen)?;
        let started = Instant::now();
        let serve = move |connection: &_, _: &_| serve::serve(connection, &sources, started);
        let server = Server::start("admin", listener, MOST, serve)
            .map_err(|cause| AdminError::Thread { listen: listen.to_owned(), cause })?;
        Ok(Self { place, _file: file, _server: server })
    }

    /// Where it can be asked: with the port that the kernel has chosen, if it was to choose.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// Whether an admin address can be one, without listening there.
///
/// # Errors
/// [`AdminError`].
pub fn check(listen: &str) -> Result<(), AdminError> {
    listen::read(listen).map(drop)
}

/// Whether an error means that nobody listens any more.
fn is_nobody(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests;
