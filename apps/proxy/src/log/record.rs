//! What a worker says of a request, and how it is kept in a ring: numbers as they are, texts one behind the other in an area
//! of fixed size.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of all texts of a record.
const AREA: usize = 816;
/// Bytes of one text; the target has what the others leave.
const MOST: [usize; TEXTS] = [24, 96, 48, 96, 64, 160, 160, AREA];
const TEXTS: usize = 8;

// The target is never left less than this.
const _: () = assert!(AREA - (24 + 96 + 48 + 96 + 64 + 160 + 160) >= 160);
const _: () = assert!(size_of::<Record>() <= 1_024);

/// A request that has ended. Texts are bytes, for clients send what they like; those that are not there are empty.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the keys of the table in log/mod.rs")]
pub struct Entry<'a> {
    pub time: SystemTime,
    pub client: SocketAddr,
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub host: &'a [u8],
    /// 0: none was sent.
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    pub upstream: Option<Upstream<'a>>,
    pub tls: Option<Tls<'a>>,
    pub request_id: &'a [u8],
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    /// Bytes before and after.
    pub gzip: Option<(u64, u64)>,
    pub error: Option<&'static str>,
}

/// The server that was asked.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the keys of the table in log/mod.rs")]
pub struct Upstream<'a> {
    pub name: &'a str,
    pub address: SocketAddr,
    /// `None`: it did not answer.
    pub duration: Option<Duration>,
}

/// What was agreed in the handshake.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the keys of the table in log/mod.rs")]
pub struct Tls<'a> {
    pub version: &'static str,
    pub cipher: &'static str,
    pub resumed: bool,
    pub sni: &'a [u8],
}

/// Nanoseconds that mean that there was no answer.
const NEVER: u64 = u64::MAX;

/// An [`Entry`] as it waits to be written.
#[derive(Clone)]
pub struct Record {
    pub unix_ms: u64,
    pub client: SocketAddr,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_ns: u64,
    pub upstream: Option<SocketAddr>,
    upstream_ns: u64,
    /// Version, cipher, whether resumed.
    pub tls: Option<(&'static str, &'static str, bool)>,
    pub gzip: Option<(u64, u64)>,
    pub error: Option<&'static str>,
    /// Where each text ends; its uppermost bit says that it was cut.
    ends: [u16; TEXTS],
    area: [u8; AREA],
}

/// The bit of an end that means that the text was longer.
const CUT: u16 = 1 << 15;

/// A text of a record, in the order in which they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Method,
    Host,
    Upstream,
    Sni,
    RequestId,
    UserAgent,
    Referer,
    Target,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            unix_ms: 0,
            client: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            duration_ns: 0,
            upstream: None,
            upstream_ns: NEVER,
            tls: None,
            gzip: None,
            error: None,
            ends: [0; TEXTS],
            area: [0; AREA],
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1)
}

impl Record {
    /// Takes an entry down.
    pub fn fill(&mut self, entry: &Entry<'_>) {
        let since = entry.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.client = entry.client;
        self.status = entry.status;
        self.bytes_in = entry.bytes_in;
        self.bytes_out = entry.bytes_out;
        self.duration_ns = nanoseconds(entry.duration);
        self.upstream = entry.upstream.map(|u| u.address);
        self.upstream_ns = entry.upstream.and_then(|u| u.duration).map_or(NEVER, nanoseconds);
        self.tls = entry.tls.map(|tls| (tls.version, tls.cipher, tls.resumed));
        self.gzip = entry.gzip;
        self.error = entry.error;
        let texts: [&[u8]; TEXTS] = [
            entry.method,
            entry.host,
            entry.upstream.map_or(&[], |u| u.name.as_bytes()),
            entry.tls.map_or(&[], |tls| tls.sni),
            entry.request_id,
            entry.user_agent,
            entry.referer,
            entry.target,
        ];
        let mut at = 0;
        for ((text, most), end) in texts.into_iter().zip(MOST).zip(&mut self.ends) {
            let len = text.len().min(most).min(AREA - at);
            self.area[at..at + len].copy_from_slice(&text[..len]);
            at += len;
            *end = at as u16 | if len < text.len() { CUT } else { 0 };
        }
    }

    /// A text, and whether it was longer.
    pub fn text(&self, which: Text) -> (&[u8], bool) {
        let place = which as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before] & !CUT);
        let end = self.ends[place];
        (&self.area[usize::from(start)..usize::from(end & !CUT)], end & CUT != 0)
    }

    /// How long the server took to answer.
    pub fn upstream_ns(&self) -> Option<u64> {
        Some(self.upstream_ns).filter(|ns| *ns != NEVER)
    }
}
