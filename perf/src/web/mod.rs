//! TLS and HTTP under load, from the client's side: `load-tls` makes handshakes, `load-https` requests, against nginx
//! and haproxy, which the harness starts, or against a server that runs already (`--target`).
//!
//! [`client`] is the [`Subject`](crate::load::Subject): non-blocking sockets of the kernel over loopback, rustls, and
//! [`framing`] for what comes back. [`servers`] has who is asked, [`mod@bench`] which loads are applied.
//!
//! Packets over loopback are received by the kernel on the cpu of who sent them: a part of a server's work for TCP is
//! done on the client's cpu, for every server alike.

use std::io;

use crate::BenchError;

mod behind;
pub mod bench;
pub mod certificate;
pub mod client;
mod connection;
pub mod content;
pub mod failure;
pub mod framing;
pub mod ground;
pub mod idle;
mod meter;
pub mod options;
pub mod proxies;
pub mod servers;
mod socket;
mod tls;

pub use options::{Protocol, Target, Transport, WebKind, WebOptions};

fn no_folder(cause: io::Error) -> BenchError {
    BenchError::Io {
        what: "cannot make files for a server in a folder for temporary files".to_owned(),
        cause,
        remedy: "TMPDIR=... names a folder with space left",
    }
}
