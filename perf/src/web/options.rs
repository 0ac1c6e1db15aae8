//! What the benches of the web are asked to do.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// What one operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebKind {
    /// A connection and a full handshake, up to when the client could send a request.
    Handshake,
    /// A connection and a handshake that resumes a session.
    Resumed,
    /// A request over a connection that stays.
    Request,
    /// A connection, a full handshake if there is TLS, and one request.
    Connection,
}

impl WebKind {
    /// All, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("handshake", Self::Handshake),
        ("resumed", Self::Resumed),
        ("request", Self::Request),
        ("connection", Self::Connection),
    ];

    /// Whether an operation has a request.
    #[must_use]
    pub fn has_request(self) -> bool {
        matches!(self, Self::Request | Self::Connection)
    }
}

/// What is spoken below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS 1.3.
    Tls13,
    /// TLS 1.2.
    Tls12,
    /// Nothing: http.
    Plain,
}

impl Protocol {
    /// All, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 3] =
        [("tls1.3", Self::Tls13), ("tls1.2", Self::Tls12), ("http", Self::Plain)];
}

/// Who does TCP for the proxy that is measured, and over what clients reach it and its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The kernel, over loopback.
    #[default]
    Kernel,
    /// The proxy itself, on frames of AF_XDP. Clients reach it and its peers, whose TCP is the kernel's, over veth pairs.
    Userspace,
}

impl Transport {
    /// All, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 2] = [("kernel", Self::Kernel), ("userspace", Self::Userspace)];

    /// The name of a line of a bench, so that results of one are not taken for those of the other.
    #[must_use]
    pub fn line(self, bench: &str, figure: &str) -> String {
        match self {
            Self::Kernel => format!("{bench}{figure}"),
            Self::Userspace => format!("{bench}-{self}{figure}"),
        }
    }
}

macro_rules! names {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = Self::NAMES.iter().find(|(_, it)| it == self).map_or("", |(name, _)| name);
                f.write_str(name)
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let names = || Self::NAMES.map(|(name, _)| name).join(", ");
                let found = Self::NAMES.iter().find(|(name, _)| *name == text);
                found.map(|(_, it)| *it).ok_or_else(|| format!("{text:?} is none of {}", names()))
            }
        }
    )*};
}

names!(WebKind, Protocol, Transport);

/// A server that somebody else has started: `https://127.0.0.1:8443/index.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is called in the address.
    pub host: String,
    /// What is asked for.
    pub path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let port = self.address.port();
        match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => write!(f, "{scheme}://[{ip}]:{port}{}", self.path),
            Err(_) => write!(f, "{scheme}://{}:{port}{}", self.host, self.path),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Only addresses of this machine and of private networks are taken: a load is nothing to be put on strangers.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no target: {why}. Example: https://127.0.0.1:8443/path");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("no https:// or http://"))?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("neither https nor http")),
        };
        let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("a space or a character that is not ASCII in the path"));
        }
        let usual = if tls { 443 } else { 80 };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?)
            }
            _ => (place, usual),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let ip = match bare {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => bare.parse().map_err(|_| wrong("the host must be localhost or an IP address"))?,
        };
        if !is_near(ip) {
            return Err(wrong("not an address of this machine or of a private network"));
        }
        if port == 0 {
            return Err(wrong("port 0"));
        }
        let (host, path) = (bare.to_owned(), path.to_owned());
        Ok(Self { tls, address: SocketAddr::new(ip, port), host, path })
    }
}

/// Whether an address is of this machine or a private network (RFC 1918, 3927, 4193, 4291).
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// What the benches of the web do, besides what all load benches are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebOptions {
    /// A server that runs already, instead of those that the harness starts.
    pub target: Option<Target>,
    /// A PEM file with whom to trust: of a target with TLS.
    pub ca: Option<PathBuf>,
    /// What one operation is; without it what the bench is about.
    pub kind: Option<WebKind>,
    /// What is spoken; without it what the bench is about.
    pub protocol: Option<Protocol>,
    /// Bytes of a response's content, of the servers that the harness starts; without it 1 KiB and 100 KiB.
    pub body: Option<usize>,
    /// Whether the client asks for gzip.
    pub gzip: bool,
    /// Who does TCP for the proxy, in benches of the proxy.
    pub transport: Transport,
}

impl WebOptions {
    /// The words of the command line that differ from the usual.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words += &format!(" --{name} {value}");
            }
        };
        say("target", self.target.as_ref().map(ToString::to_string));
        say("ca", self.ca.as_ref().map(|file| file.display().to_string()));
        say("op", self.kind.map(|kind| kind.to_string()));
        say("protocol", self.protocol.map(|protocol| protocol.to_string()));
        say("body", self.body.map(|bytes| bytes.to_string()));
        if self.gzip {
            words += " --gzip";
        }
        if self.transport != Transport::default() {
            words += &format!(" --transport {}", self.transport);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_of_this_machine_or_near_it() {
        let target: Target = "https://127.0.0.1:8443/a?b".parse().unwrap();
        assert_eq!((target.tls, target.address.to_string().as_str()), (true, "127.0.0.1:8443"));
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1", "/a?b"));
        for (text, same) in [
            ("http://localhost", "http://localhost:80/"),
            ("https://10.1.2.3/x", "https://10.1.2.3:443/x"),
            ("https://[::1]:444/", "https://[::1]:444/"),
            ("https://[fd00::1]", "https://[fd00::1]:443/"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), same);
            assert_eq!(same.parse(), Ok(target), "{same}");
        }
        for wrong in [
            "",
            "127.0.0.1",
            "ftp://127.0.0.1",
            "https://",
            "https://example.org/",
            "https://8.8.8.8/",
            "https://[2001:db8::1]/",
            "https://127.0.0.1:0/",
            "https://127.0.0.1:65536/",
            "https://127.0.0.1:x/",
            "https://127.0.0.1/a b",
            "https://127.0.0.1/a\r\nb: c",
            "https://0.0.0.0/",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (name, kind) in WebKind::NAMES {
            assert_eq!((kind.to_string().as_str(), name.parse()), (name, Ok(kind)));
        }
        for (name, protocol) in Protocol::NAMES {
            assert_eq!((protocol.to_string().as_str(), name.parse()), (name, Ok(protocol)));
        }
        for (name, transport) in Transport::NAMES {
            assert_eq!((transport.to_string().as_str(), name.parse()), (name, Ok(transport)));
        }
        assert!("usespace".parse::<Transport>().unwrap_err().contains("kernel, userspace"));
        assert!("ssl3".parse::<Protocol>().unwrap_err().contains("tls1.2"));
    }

    #[test]
    fn lines_of_both_transports_have_names_of_their_own() {
        let [kernel, userspace] = Transport::NAMES.map(|(_, it)| it);
        assert_eq!(kernel.line("http-1k", "-p99"), "http-1k-p99");
        assert_eq!(userspace.line("http-1k", "-p99"), "http-1k-userspace-p99");
        assert_eq!(userspace.line("http-100k-gzip", ""), "http-100k-gzip-userspace");
    }

    #[test]
    fn only_what_is_unusual_is_said() {
        assert_eq!(WebOptions::default().words(), "");
        let other = WebOptions {
            target: Some("https://127.0.0.1:8443/x".parse().unwrap()),
            ca: Some("/tmp/ca.pem".into()),
            kind: Some(WebKind::Resumed),
            protocol: Some(Protocol::Tls12),
            body: Some(1024),
            gzip: true,
            transport: Transport::Userspace,
        };
        assert_eq!(
            other.words(),
            " --target https://127.0.0.1:8443/x --ca /tmp/ca.pem --op resumed --protocol tls1.2 --body 1024 --gzip \
             --transport userspace"
        );
    }
}
