//! Options that do not fit a bench or each other, and what to say instead.

use super::super::options::{Protocol, Transport, WebKind};
use crate::{Bench, BenchError, Options};

/// What one operation is.
pub(super) fn kind(
    options: &Options,
    bench: &Bench,
    usual: WebKind,
    fits: fn(WebKind) -> bool,
) -> Result<WebKind, BenchError> {
    let kind = options.web.kind.unwrap_or(usual);
    let remedy = "load-tls takes --op handshake or resumed, load-https --op request or connection";
    if fits(kind) {
        Ok(kind)
    } else {
        Err(usage(bench, format!("--op {kind} is for the other bench"), remedy))
    }
}

/// Who does TCP for a proxy: here is none.
pub(super) fn transport(options: &Options, bench: &Bench) -> Result<(), BenchError> {
    match options.web.transport {
        Transport::Kernel => Ok(()),
        other => Err(usage(
            bench,
            format!("--transport {other} is for benches of the proxy"),
            "tls13-full, tls12-full, http-1k, http-100k, http-100k-gzip or https-idle with it, or this one without",
        )),
    }
}

/// Whether the target, if there is one, goes with the other options.
pub(super) fn target(options: &Options, bench: &Bench) -> Result<(), BenchError> {
    let Some(target) = &options.web.target else { return Ok(()) };
    match options.web.protocol {
        Some(Protocol::Plain) if target.tls => Err(usage(
            bench,
            format!("--protocol http, but --target {target} is https"),
            "--target http://… for a server without TLS, or --protocol tls1.3 or tls1.2",
        )),
        Some(protocol) if protocol != Protocol::Plain && !target.tls => Err(usage(
            bench,
            format!("--protocol {protocol}, but --target {target} is http"),
            "--target https://… for a server with TLS, or no --protocol",
        )),
        _ if options.web.body.is_some() => Err(usage(
            bench,
            "--body is of servers that the harness starts: with --target the server has its own content"
                .to_owned(),
            "no --body; the path of --target says which content is asked for",
        )),
        _ => Ok(()),
    }
}

/// load-tls without TLS.
pub(super) fn plain(bench: &Bench) -> BenchError {
    usage(
        bench,
        "without TLS there are no handshakes".to_owned(),
        "--protocol tls1.3 or tls1.2 and --target https://…, or load-https",
    )
}

/// A target with TLS that nobody vouches for.
pub(super) fn nobody_to_trust(bench: &Bench) -> BenchError {
    usage(
        bench,
        "--target https://… needs somebody to trust".to_owned(),
        "--ca FILE, a PEM file with the certificate of the server or of who signed it",
    )
}

fn usage(bench: &Bench, what: String, remedy: &str) -> BenchError {
    BenchError::Program { program: bench.name.to_owned(), what, remedy: remedy.to_owned() }
}
