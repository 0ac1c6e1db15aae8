//! The numbers of a proxy, as its admin socket gives them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A text for Prometheus, taken apart.
#[derive(Debug)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Asks for them; `None` if nobody answers.
    pub fn read(socket: &Path) -> Option<Self> {
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        let lines = text.lines().filter(|line| line.starts_with("warpdrive_proxy_"));
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.strip_prefix("warpdrive_proxy_")?.to_owned(), value.parse().ok()?))
        };
        Some(Self(lines.filter_map(number).collect()))
    }

    /// The sum of what has this name and all these labels, such as `by="device"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let is_it = |full: &str| {
            let (of, rest) = full.split_once('{').unwrap_or((full, ""));
            of == name && labels.iter().all(|label| rest.contains(label))
        };
        assert!(self.has(name), "there is no {name}");
        self.0.iter().filter(|(full, _)| is_it(full)).map(|(_, value)| *value as u64).sum()
    }

    /// All of this name, with their labels.
    pub fn names(&self, name: &str) -> Vec<&str> {
        let of = |full: &&str| full.split('{').next() == Some(name);
        self.0.iter().map(|(full, _)| &**full).filter(of).collect()
    }

    /// What is not 0, for messages.
    pub fn there_is(&self) -> Vec<&(String, f64)> {
        self.0.iter().filter(|(_, value)| *value > 0.0).collect()
    }

    fn has(&self, name: &str) -> bool {
        // Statuses that never were are not listed.
        name == "requests_total" || self.0.iter().any(|(full, _)| full.split('{').next() == Some(name))
    }

    /// Requests that were answered with this status.
    pub fn answered(&self, status: u16) -> u64 {
        self.sum("requests_total", &[&format!("status=\"{status}\"")])
    }

    /// Full and resumed handshakes.
    pub fn handshakes(&self, resumed: bool) -> u64 {
        self.sum("handshakes_total", &[&format!("resumed=\"{resumed}\"")])
    }

    /// Signatures computed by the device.
    pub fn by_device(&self) -> u64 {
        self.sum("signatures_total", &["by=\"device\""])
    }
}
