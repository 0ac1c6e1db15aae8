//! What there is: names, meanings, and where the numbers come from.

use warpdrive_pmd::stats::Counter;

use super::prometheus::Kind;
use super::{Breaker, Handshake, Histogram, Label as _, Metrics, STATUSES, ServerMetrics, SignedBy};
use crate::upstream::check::ServerHealth;

/// Takes labels and a number.
type Sink<'s> = dyn FnMut(&[(&'static str, &str)], u64) + 's;

/// A name with numbers.
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub each: fn(&Metrics, &mut Sink<'_>),
}

/// A name with a distribution.
pub struct Distribution {
    pub name: &'static str,
    pub help: &'static str,
    pub of: fn(&Metrics) -> &Histogram,
}

const fn counter(name: &'static str, help: &'static str, each: fn(&Metrics, &mut Sink<'_>)) -> Family {
    Family { name, kind: Kind::Counter, help, each }
}

const fn gauge(name: &'static str, help: &'static str, each: fn(&Metrics, &mut Sink<'_>)) -> Family {
    Family { name, kind: Kind::Gauge, help, each }
}

/// All with numbers.
pub const FAMILIES: &[Family] = &[
    counter("handshakes_total", "TLS handshakes completed.", |m, sink| {
        for (kind, n) in m.handshakes.iter() {
            let (version, resumed) = match kind {
                Handshake::Full13 => ("1.3", "false"),
                Handshake::Resumed13 => ("1.3", "true"),
                Handshake::Full12 => ("1.2", "false"),
                Handshake::Resumed12 => ("1.2", "true"),
            };
            sink(&[("version", version), ("resumed", resumed)], n);
        }
    }),
    counter("handshakes_failed_total", "TLS handshakes that failed.", |m, sink| {
        m.handshakes_failed.iter().for_each(|(reason, n)| sink(&[("reason", reason.name())], n));
    }),
    gauge("handshakes_parked", "TLS handshakes that wait for their signature.", |m, sink| {
        sink(&[], m.handshakes_parked.get());
    }),
    counter(
        "signatures_total",
        "Signatures of handshakes, by who computed them; if the library, why.",
        |m, sink| {
            for (who, n) in m.signatures.iter() {
                match who {
                    SignedBy::Device => sink(&[("by", "device"), ("reason", "")], n),
                    why => sink(&[("by", "library"), ("reason", why.name())], n),
                }
            }
        },
    ),
    gauge(
        "breaker_state",
        "1 for the state of the breaker between the workers and the RSA device.",
        |m, sink| {
            let now = m.breaker.get();
            for state in Breaker::ALL {
                sink(&[("state", state.name())], u64::from(state.index() as u64 == now));
            }
        },
    ),
    gauge("connections_open", "Connections of clients.", |m, sink| sink(&[], m.connections_open.get())),
    counter("connections_total", "Connections of clients accepted.", |m, sink| {
        sink(&[], m.connections.get())
    }),
    counter(
        "connections_refused_total",
        "Connections of clients that TCP in user space did not take because there were too many; the kernel keeps them waiting.",
        |m, sink| {
            sink(&[], m.connections_refused.get());
        },
    ),
    counter("requests_total", "Requests answered, by the status of the response.", |m, sink| {
        for (status, counter) in STATUSES.zip(&m.statuses) {
            let (n, class) =
                (counter.get(), ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status / 100 - 1)]);
            if n > 0 {
                sink(&[("class", class), ("status", &status.to_string())], n);
            }
        }
    }),
    counter(
        "requests_unanswered_total",
        "Requests whose client has gone before there was a response.",
        |m, sink| {
            sink(&[], m.requests_unanswered.get());
        },
    ),
    counter("received_bytes_total", "Bytes received, without TLS.", |m, sink| {
        sink(&[("from", "client")], m.client_bytes_in.get());
        sink(&[("from", "server")], m.server_bytes_in.get());
    }),
    counter("sent_bytes_total", "Bytes sent, without TLS.", |m, sink| {
        sink(&[("to", "client")], m.client_bytes_out.get());
        sink(&[("to", "server")], m.server_bytes_out.get());
    }),
    counter("compressed_responses_total", "Responses that were compressed.", |m, sink| {
        sink(&[], m.compressed_responses.get());
    }),
    counter("compression_input_bytes_total", "Bytes of responses before they were compressed.", |m, sink| {
        sink(&[], m.compression_bytes_in.get());
    }),
    counter("compression_output_bytes_total", "Bytes of responses after they were compressed.", |m, sink| {
        sink(&[], m.compression_bytes_out.get());
    }),
    counter("timeouts_total", "What took too long.", |m, sink| {
        m.timeouts.iter().for_each(|(kind, n)| sink(&[("kind", kind.name())], n));
    }),
    gauge(
        "upstream_up",
        "1 if the server is asked, 0 if it is left out after failures, of requests or of its checks.",
        |m, sink| {
            servers(m, sink, |s| &s.up);
        },
    ),
    counter("upstream_requests_total", "Requests sent to the server, also those sent again.", |m, sink| {
        servers(m, sink, |s| &s.requests);
    }),
    counter("upstream_failures_total", "Requests to the server that failed.", |m, sink| {
        servers(m, sink, |s| &s.failures);
    }),
    counter(
        "upstream_retries_total",
        "Requests sent to the server after another one had failed.",
        |m, sink| {
            servers(m, sink, |s| &s.retries);
        },
    ),
    gauge("upstream_connections_open", "Connections to the server.", |m, sink| {
        servers(m, sink, |s| &s.connections_open);
    }),
    gauge("upstream_connections_idle", "Connections to the server that are not in use.", |m, sink| {
        servers(m, sink, |s| &s.connections_idle);
    }),
];

fn servers(m: &Metrics, sink: &mut Sink<'_>, of: fn(&ServerMetrics) -> &Counter) {
    for server in m.servers() {
        sink(&[("upstream", &server.upstream), ("server", &server.server)], of(&server).get());
    }
}

/// A name with numbers of servers that are checked.
pub struct CheckFamily {
    pub name: &'static str,
    pub help: &'static str,
    pub of: fn(&ServerHealth) -> &Counter,
}

/// All of these. They are of no core: it is one thread that checks.
pub const CHECKS: &[CheckFamily] = &[
    CheckFamily { name: "upstream_checks_total", help: "Checks of the server.", of: |s| &s.checks },
    CheckFamily {
        name: "upstream_check_failures_total",
        help: "Checks of the server that failed.",
        of: |s| &s.failures,
    },
];

/// All with distributions.
pub const HISTOGRAMS: &[Distribution] = &[
    Distribution {
        name: "request_duration_seconds",
        help: "From the first byte of a request to the last of its response.",
        of: |m| &m.request_duration,
    },
    Distribution {
        name: "handshake_duration_seconds",
        help: "From accepting a connection to the end of its TLS handshake.",
        of: |m| &m.handshake_duration,
    },
    Distribution {
        name: "upstream_response_seconds",
        help: "From the end of a request to the head of the server's response.",
        of: |m| &m.upstream_response,
    },
];
