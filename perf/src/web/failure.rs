//! What may go wrong with an operation, and counts of it by reason.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::content::ContentError;
use super::framing::FramingError;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the server to take it.
    Connecting,
    /// In the handshake of TLS.
    Handshake,
    /// Waiting for a response, or for the rest of it.
    Response,
    /// Waiting for a request to send.
    Idle,
    /// Waiting for the server to close its side.
    Closing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "while connecting",
            Self::Handshake => "in the handshake",
            Self::Response => "before the end of the response",
            Self::Idle => "while idle",
            Self::Closing => "while closing",
        })
    }
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server did not take the connection.
    #[error("not connected: {0}")]
    Connect(io::Error),
    /// TCP reset.
    #[error("reset by the server {0}")]
    Reset(Stage),
    /// The end of the stream.
    #[error("closed by the server {0}")]
    Closed(Stage),
    /// An alert of TLS.
    #[error("alert {1:?} from the server {0}")]
    Alert(Stage, rustls::AlertDescription),
    /// A status other than 200.
    #[error("status {0}")]
    Status(u16),
    /// Nothing came for as long as the client had patience.
    #[error("no answer in time {0}")]
    Silence(Stage),
    /// TLS, also a certificate that is not trusted.
    #[error("TLS {0}: {1}")]
    Tls(Stage, rustls::Error),
    /// No response.
    #[error("HTTP: {0}")]
    Http(#[from] FramingError),
    /// Another content.
    #[error("{0}")]
    Content(#[from] ContentError),
    /// More than was asked for.
    #[error("bytes that nobody asked for, {0}")]
    Surplus(Stage),
    /// A full handshake.
    #[error("a full handshake where a session was to be resumed")]
    NotResumed,
    /// No tickets.
    #[error("no session to resume: the server gives no tickets, or fewer than are used")]
    NoTicket,
    /// This machine.
    #[error("a socket of this machine: {0}")]
    Local(io::Error),
}

impl Failure {
    /// Whether figures would mean nothing after it. The others are what an overloaded server does: lost operations.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Reset(_)
            | Self::Closed(_)
            | Self::Alert(..)
            | Self::Status(_)
            | Self::Silence(_) => false,
            Self::Tls(..)
            | Self::Http(_)
            | Self::Content(_)
            | Self::Surplus(_)
            | Self::NotResumed
            | Self::NoTicket
            | Self::Local(_) => true,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(e) | Self::Local(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
                "no port of this machine is free, or it has no address of that family: a lower --rate or --depth, or \
                 more ports (sysctl net.ipv4.ip_local_port_range)"
            }
            Self::Connect(e) | Self::Local(e)
                if matches!(e.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) =>
            {
                "is the address of --target right, and is there a way to it? See `ip route get` with that address"
            }
            Self::Connect(_) => "does the server run, and listen there?",
            Self::Tls(..) => {
                "--ca names a PEM file with the certificate to trust; --protocol what the server speaks"
            }
            Self::Status(_) => "is the path of --target right? It must give status 200",
            Self::Content(_) => "the content must be the same for every request",
            Self::NotResumed | Self::NoTicket => "switch on tickets or a session cache in the server",
            Self::Local(_) => "more open files (ulimit -n), or a lower --depth",
            _ => "what does the server's own log say?",
        }
    }
}

/// Failures by reason.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    reasons: BTreeMap<String, (u64, &'static str)>,
}

impl Losses {
    /// Counts one.
    pub fn note(&mut self, failure: &Failure) {
        self.reasons.entry(failure.to_string()).or_insert((0, failure.remedy())).0 += 1;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.reasons.values().map(|(n, _)| n).sum()
    }

    /// What to do about the most frequent.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.reasons.values().max_by_key(|(n, _)| n).map_or("run it again", |(_, remedy)| remedy)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (reason, (n, _))) in self.reasons.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{n} x {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn failures_are_counted_by_reason() {
        let mut losses = Losses::default();
        assert!(losses.is_empty() && losses.total() == 0);
        for failure in [Failure::Status(503), Failure::Reset(Stage::Handshake), Failure::Status(503)] {
            assert!(!failure.is_fatal());
            losses.note(&failure);
        }
        assert_eq!(losses.to_string(), "1 x reset by the server in the handshake, 2 x status 503");
        assert_eq!((losses.total(), losses.is_empty()), (3, false));
        assert!(losses.remedy().contains("--target"));
        assert!(Failure::Content(ContentError::Gzip).is_fatal());
    }

    #[test]
    fn what_the_kernel_says_has_a_remedy_of_its_own() {
        for (errno, remedy) in [
            (Errno::ADDRNOTAVAIL, "ip_local_port_range"),
            (Errno::HOSTUNREACH, "ip route get"),
            (Errno::NETUNREACH, "ip route get"),
            (Errno::MFILE, "ulimit -n"),
            (Errno::CONNREFUSED, "listen there"),
        ] {
            // The kernel says it at once, or when the connection was under way.
            let failures = match errno {
                Errno::CONNREFUSED => vec![Failure::Connect(errno.into())],
                Errno::MFILE => vec![Failure::Local(errno.into())],
                _ => vec![Failure::Local(errno.into()), Failure::Connect(errno.into())],
            };
            for failure in failures {
                assert!(failure.remedy().contains(remedy), "{failure}: {}", failure.remedy());
            }
        }
    }
}
