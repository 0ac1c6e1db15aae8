//! Records as lines of JSON.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_millis;
use serde::{Serialize, Serializer};

use super::record::{Record, Text};

/// Behind a text that was longer.
const MARK: char = '\u{2026}';
/// The latest time that has four digits for its year: 9999-12-31T23:59:59.999Z.
const LATEST_MS: u64 = 253_402_300_799_999;

#[derive(Serialize)]
struct Line<'r> {
    time: Time,
    client: SocketAddr,
    method: Words<'r>,
    target: Words<'r>,
    host: Words<'r>,
    #[serde(skip_serializing_if = "is_zero")]
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    duration: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamLine<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsLine<'r>>,
    #[serde(skip_serializing_if = "Words::is_empty")]
    request_id: Words<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gzip: Option<Gzip>,
    #[serde(skip_serializing_if = "Words::is_empty")]
    user_agent: Words<'r>,
    #[serde(skip_serializing_if = "Words::is_empty")]
    referer: Words<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Serialize)]
struct UpstreamLine<'r> {
    name: Words<'r>,
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Seconds>,
}

#[derive(Serialize)]
struct TlsLine<'r> {
    version: &'static str,
    cipher: &'static str,
    resumed: bool,
    #[serde(skip_serializing_if = "Words::is_empty")]
    sni: Words<'r>,
}

#[derive(Serialize)]
struct Gzip {
    r#in: u64,
    out: u64,
}

#[derive(Serialize)]
struct Lost {
    time: Time,
    lost: u64,
    why: &'static str,
}

fn is_zero(status: &u16) -> bool {
    *status == 0
}

/// Bytes of a client, as text.
struct Words<'r> {
    bytes: &'r [u8],
    cut: bool,
}

impl Words<'_> {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.bytes;
        if self.cut {
            bytes = without_part_of_a_letter(bytes);
        }
        for chunk in bytes.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{FFFD}")?;
            }
        }
        if self.cut { write!(f, "{MARK}") } else { Ok(()) }
    }
}

/// Where a text was cut, a letter may have been.
fn without_part_of_a_letter(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(e) if e.error_len().is_none() => &bytes[..e.valid_up_to()],
        _ => bytes,
    }
}

impl Serialize for Words<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Milliseconds since 1970, as a date.
struct Time(u64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(LATEST_MS));
        to.collect_str(&format_rfc3339_millis(time))
    }
}

/// Nanoseconds, as seconds to the microsecond.
struct Seconds(u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64((self.0 / 1_000) as f64 / 1e6)
    }
}

/// Adds a record as a line.
pub fn line(record: &Record, out: &mut Vec<u8>) {
    let text = |which| {
        let (bytes, cut) = record.text(which);
        Words { bytes, cut }
    };
    let line = Line {
        time: Time(record.unix_ms),
        client: record.client,
        method: text(Text::Method),
        target: text(Text::Target),
        host: text(Text::Host),
        status: record.status,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        duration: Seconds(record.duration_ns),
        upstream: record.upstream.map(|address| UpstreamLine {
            name: text(Text::Upstream),
            address,
            duration: record.upstream_ns().map(Seconds),
        }),
        tls: record.tls.map(|(version, cipher, resumed)| TlsLine {
            version,
            cipher,
            resumed,
            sni: text(Text::Sni),
        }),
        request_id: text(Text::RequestId),
        gzip: record.gzip.map(|(r#in, out)| Gzip { r#in, out }),
        user_agent: text(Text::UserAgent),
        referer: text(Text::Referer),
        error: record.error,
    };
    append(&line, out);
}

/// Adds a line that says how many are missing before it.
pub fn lost(time: SystemTime, lost: u64, why: &'static str, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Time(u64::try_from(since.as_millis()).unwrap_or(LATEST_MS));
    append(&Lost { time, lost, why }, out);
}

fn append(line: &impl Serialize, out: &mut Vec<u8>) {
    // Cannot fail: a Vec takes all, and no key of a map is anything but text.
    if serde_json::to_writer(&mut *out, line).is_ok() {
        out.push(b'\n');
    }
}
