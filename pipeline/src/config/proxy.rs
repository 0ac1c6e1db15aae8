//! `[[proxy]]`: which keys it has, and what those left out mean.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use toml::Spanned;

use super::{CheckTable, Name};

/// A number as it was written, with its place.
pub type Number = Spanned<u64>;

/// A number that is not written.
pub(super) fn number(n: u64) -> Number {
    Spanned::new(0..0, n)
}

/// `[[proxy]]`: an HTTPS reverse proxy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyTable {
    /// For people and statistics.
    pub name: Name,
    /// The lcores it runs on, a worker on each; absent: one that nothing else has, if there is one.
    #[serde(default)]
    pub cores: Vec<Spanned<usize>>,
    /// Who does TCP.
    #[serde(default)]
    pub transport: Transport,
    /// With `transport = "userspace"`, the port whose frames it lives on: queue N for the worker on the Nth core.
    pub port: Option<Name>,
    /// With `transport = "userspace"`, its Ethernet address; absent: that of the port, or one of its own at a tap.
    pub mac: Option<Name>,
    /// With `transport = "userspace"`, its addresses, each with the length of its prefix: `"192.0.2.7/24"`.
    #[serde(default)]
    pub addresses: Vec<Name>,
    /// With `transport = "userspace"`, where packets for others go: one address of IPv4, one of IPv6.
    #[serde(default)]
    pub gateways: Vec<Spanned<IpAddr>>,
    /// Where it listens for HTTPS.
    pub listen: Vec<Spanned<SocketAddr>>,
    /// The device that signs handshakes; absent: a library does, on the worker's core, one at a time.
    pub rsa: Option<Name>,
    /// The device that compresses; absent: nothing is compressed.
    pub zip: Option<Name>,
    /// The pool of what devices work on; absent: the first.
    pub mempool: Option<Name>,
    /// `[proxy.tls]`.
    #[serde(default)]
    pub tls: TlsTable,
    /// `[proxy.limits]`.
    #[serde(default)]
    pub limits: LimitsTable,
    /// `[proxy.timeouts]`.
    #[serde(default)]
    pub timeouts: TimeoutsTable,
    /// `[proxy.compress]`.
    #[serde(default)]
    pub compress: CompressTable,
    /// `[proxy.log]`.
    #[serde(default)]
    pub log: LogTable,
    /// Where metrics and the status page are: an address such as `"127.0.0.1:9443"`, or the path of a Unix socket; absent:
    /// nowhere.
    pub admin: Option<Name>,
    /// `[[proxy.upstream]]`.
    #[serde(default)]
    pub upstream: Vec<UpstreamTable>,
    /// `[[proxy.route]]`, the first that fits counts; absent: all to the first upstream.
    #[serde(default)]
    pub route: Vec<RouteTable>,
}

/// Who does TCP for the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// The kernel, by sockets.
    #[default]
    Kernel,
    /// The proxy itself, on frames of a port. Servers are reached by sockets of the kernel.
    Userspace,
}

/// `[proxy.tls]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsTable {
    /// Certificates with their keys; the first is for names that no other has. Absent: one for demonstration, made at the
    /// first start.
    pub certificates: Vec<ProxyCertificate>,
    /// What a client gets that asks for a name which no certificate has, or for none.
    pub unknown_name: UnknownName,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Cipher suites by their IANA names, the best first; absent: all that are sound.
    pub cipher_suites: Vec<Name>,
    /// Whether clients may resume sessions, by tickets.
    pub tickets: bool,
    /// Handshakes that may wait for their signature at a time, on one core. Beyond, connections are not accepted.
    pub parked: Number,
    /// How long a signature may take before the library computes it instead, in milliseconds.
    pub sign_ms: Number,
}

impl Default for TlsTable {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            unknown_name: UnknownName::Default,
            min_version: TlsVersion::Tls12,
            cipher_suites: Vec::new(),
            tickets: true,
            parked: number(512),
            sign_ms: number(1_000),
        }
    }
}

/// A certificate and its key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyCertificate {
    /// A PEM file: the certificate, and those that vouch for it behind it.
    pub certificate: Name,
    /// A PEM file with the private key, which nobody else may read.
    pub key: Name,
}

/// What a client gets that asks for a name which is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownName {
    /// The first certificate.
    Default,
    /// An alert.
    Reject,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[proxy.limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    /// Connections of clients at a time, on one core.
    pub connections: Number,
    /// Those of them that TCP is still to establish, with `transport = "userspace"`. What is asked for beyond gets no answer.
    pub half_open: Number,
    /// Bytes of the head of a request (else 431).
    pub head_bytes: Number,
    /// Bytes of the target of a request (else 414).
    pub target_bytes: Number,
    /// Fields of the head of a request (else 431).
    pub fields: Number,
    /// Bytes of the body of a request (else 413); 0: no limit.
    pub body_bytes: Number,
    /// Requests of one connection, after which it is closed.
    pub requests: Number,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            connections: number(16_384),
            half_open: number(1_024),
            head_bytes: number(16 << 10),
            target_bytes: number(8 << 10),
            fields: number(100),
            body_bytes: number(64 << 20),
            requests: number(1_000_000),
        }
    }
}

/// `[proxy.timeouts]`, in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsTable {
    /// From accepting a connection to the end of its handshake.
    pub handshake_ms: Number,
    /// From the first byte of a request to the end of its head (else 408).
    pub head_ms: Number,
    /// Between two requests of a connection.
    pub idle_ms: Number,
    /// Between two pieces of a body, in either direction.
    pub body_ms: Number,
    /// For a connection to a server; then another is tried.
    pub connect_ms: Number,
    /// From the end of a request to the head of its response (else 504).
    pub response_ms: Number,
    /// How long a connection to a server is kept unused.
    pub upstream_idle_ms: Number,
    /// Between two pieces of a connection that was upgraded.
    pub upgrade_ms: Number,
}

impl Default for TimeoutsTable {
    fn default() -> Self {
        Self {
            handshake_ms: number(10_000),
            head_ms: number(10_000),
            idle_ms: number(60_000),
            body_ms: number(30_000),
            connect_ms: number(5_000),
            response_ms: number(60_000),
            upstream_idle_ms: number(60_000),
            upgrade_ms: number(3_600_000),
        }
    }
}

/// `[proxy.compress]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressTable {
    /// Level, 1 to 9.
    pub level: Number,
    /// Shorter bodies are left as they are.
    pub min_bytes: Number,
    /// Media types that are compressed; `"text/*"` is all of that kind.
    pub types: Spanned<Vec<Name>>,
}

impl Default for CompressTable {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/javascript",
            "application/json",
            "application/ld+json",
            "application/manifest+json",
            "application/rss+xml",
            "application/xhtml+xml",
            "application/xml",
            "application/wasm",
            "image/svg+xml",
        ];
        Self {
            level: number(1),
            min_bytes: number(256),
            types: Spanned::new(0..0, types.map(|t| Spanned::new(0..0, t.to_owned())).into()),
        }
    }
}

/// `[proxy.log]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogTable {
    /// The file of the access log, a JSON object a line; `"-"` is standard output; absent: none.
    pub access: Option<Name>,
}

/// `[[proxy.upstream]]`: servers that do the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTable {
    /// For routes, messages and statistics.
    pub name: Name,
    /// Addresses, or `"demo"` for the backend of this program.
    pub servers: Vec<Name>,
    /// How one of them is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// Unused connections that are kept for each server, on one core.
    #[serde(default = "thirty_two")]
    pub keepalive: Number,
    /// So many failures in a row, and a server is left out for `fail_ms`; 0: never.
    #[serde(default = "three")]
    pub max_fails: Number,
    /// How long a server is left out, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub fail_ms: Number,
    /// Requests sent to all servers from time to time, whether there is traffic or not.
    pub check: Option<CheckTable>,
}

fn thirty_two() -> Number {
    number(32)
}

pub(super) fn three() -> Number {
    number(3)
}

fn ten_seconds() -> Number {
    number(10_000)
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way on this core.
    LeastConnections,
}

/// `[[proxy.route]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// The host that is asked for, without a port; `"*.example.org"` is all below it; absent: any.
    pub host: Option<Name>,
    /// What the path begins with.
    #[serde(default = "everything")]
    pub path: Name,
    /// Where to.
    pub upstream: Name,
    /// Whether responses may be compressed. Not where secrets stand beside what clients send (BREACH).
    #[serde(default = "yes")]
    pub compress: bool,
}

fn everything() -> Name {
    Spanned::new(0..0, "/".to_owned())
}

fn yes() -> bool {
    true
}
