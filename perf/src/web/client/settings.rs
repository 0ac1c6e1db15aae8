//! What a client is told, and what it tells.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::{ClientConnection, RootCertStore};

use super::super::content::Expected;
use super::super::failure::Losses;
use super::super::options::{Protocol, WebKind};
use super::Client;
use crate::BenchError;

/// What a client is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server is.
    pub address: SocketAddr,
    /// Its name: in its certificate and in requests.
    pub host: String,
    /// What is asked for.
    pub path: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// What one operation is.
    pub kind: WebKind,
    /// Whether gzip is asked for.
    pub gzip: bool,
    /// The most operations under way: up to [`DEPTH_MAX`](super::DEPTH_MAX).
    pub depth: usize,
    /// Whom to trust, with TLS.
    pub trust: RootCertStore,
    /// How long nothing may come before what is under way is taken for lost.
    pub patience: Duration,
    /// Process ids of the server, if they are known.
    pub server: Vec<u32>,
}

/// What a client has done, all set-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that stood, with TLS after the handshake.
    pub established: u64,
    /// Operations that were done.
    pub operations: u64,
    /// Bytes of content of their responses, as it was coded; of requests.
    pub content: u64,
    /// Connections that the server closed as it should.
    pub clean: u64,
    /// Connections with TLS that the server closed without a close_notify after all was done.
    pub bare: u64,
    /// Connections that the server reset after all was done.
    pub reset: u64,
    /// Connections that were made in place of such as the server closed between two requests.
    pub renewed: u64,
}

/// How things stood when what is kept to be said of a curve began.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// What the client had done.
    pub counts: Counts,
    /// Cpu time of the server, if it is known.
    pub server_time: Option<Duration>,
    /// What was lost before.
    pub losses: Losses,
}

/// What was negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The version of TLS.
    pub protocol: String,
    /// The cipher suite.
    pub suite: String,
    /// The group of the key exchange; none when a session of TLS 1.2 was resumed.
    pub group: Option<String>,
    /// Full or resumed.
    pub handshake: String,
}

impl Negotiated {
    pub(super) fn of(tls: &ClientConnection) -> Option<Self> {
        Some(Self {
            protocol: format!("{:?}", tls.protocol_version()?),
            suite: format!("{:?}", tls.negotiated_cipher_suite()?.suite()),
            group: tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            handshake: format!("{:?}", tls.handshake_kind()?),
        })
    }
}

impl Client {
    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.settings.address
    }

    /// How things stood when it was last told to [`restart`](crate::load::Subject::restart).
    #[must_use]
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// What was lost, and why, since this was asked last or since the last [`restart`](crate::load::Subject::restart).
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// What was negotiated.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    /// The content of a response, without any coding.
    #[must_use]
    pub fn content(&self) -> Option<&[u8]> {
        self.desk.expected.plain()
    }

    /// Whether content comes as gzip.
    #[must_use]
    pub fn has_gzip(&self) -> bool {
        matches!(self.desk.expected, Expected::Gzip { .. })
    }
}

/// A request for the content, and for the end of the connection if it is to have one.
pub(in crate::web) fn request(settings: &Settings) -> Vec<u8> {
    let Settings { path, address, host, .. } = settings;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let gzip = if settings.gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    let close = if settings.kind == WebKind::Connection { "Connection: close\r\n" } else { "" };
    let port = address.port();
    format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{gzip}{close}\r\n").into_bytes()
}

pub(in crate::web) fn broken(settings: &Settings, what: String, remedy: &str) -> BenchError {
    BenchError::Program {
        program: format!("the server at {}", settings.address),
        what,
        remedy: remedy.to_owned(),
    }
}
