//! TLS: what is spoken, whose certificates are shown, and who signs.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use warpdrive_pipeline::config::TlsVersion;
use warpdrive_pipeline::diag::{ConfigError, Diagnostic, known_names};
use warpdrive_pipeline::plan::{Plan, TlsPlan};

mod breaker;
mod certificates;
mod failure;
mod park;
mod signatures;
mod signer;
#[cfg(test)]
mod tests;

pub use certificates::{Certificates, Pair};
pub use failure::why;
pub use park::{Answer, Finished, Parked, Question, Stacks, Step};
pub use signatures::{Answered, Signatures, Ticket};

/// The protocol that is spoken inside (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// What is the same for all configurations of one proxy while it runs: tickets of clients outlive a reload.
pub struct Lasting {
    tickets: Option<Arc<dyn ProducesTickets>>,
}

impl Lasting {
    /// Without tickets.
    #[must_use]
    pub fn none() -> Self {
        Self { tickets: None }
    }

    /// Keys of tickets are made here, shared by all workers, and change by themselves every six hours.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn new(tls: &TlsPlan) -> Result<Self, String> {
        let tickets = tls.tickets.then(Ticketer::new).transpose();
        Ok(Self { tickets: tickets.map_err(|e| format!("no keys for tickets: {e}"))? })
    }
}

/// Reads the certificates of a plan.
///
/// # Errors
/// [`ConfigError`] at the place of what cannot be read or does not belong together.
pub fn pairs(plan: &Plan, tls: &TlsPlan) -> Result<Vec<Pair>, Box<ConfigError>> {
    tls.certificates.iter().map(|(certificate, key)| Pair::load(plan, certificate, key)).collect()
}

/// What is spoken, with these certificates.
///
/// # Errors
/// [`ConfigError`] at the place of a suite that is not known.
pub fn config(
    plan: &Plan,
    tls: &TlsPlan,
    lasting: &Lasting,
    certificates: Certificates,
) -> Result<Arc<ServerConfig>, Box<ConfigError>> {
    let provider = Arc::new(provider(plan, tls)?);
    let both: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let versions = match tls.min_version {
        TlsVersion::Tls12 => both,
        TlsVersion::Tls13 => &both[..1],
    };
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(|e| {
            let span = tls.cipher_suites.first().map_or(0..0, |suite| suite.span.clone());
            let help = "a suite for each version that is spoken";
            Box::new(plan.error(Diagnostic::new(span, format!("TLS: {e}")).help(help)))
        })?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
    // Who lists suites wants them in this order.
    config.ignore_client_order = !tls.cipher_suites.is_empty();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match &lasting.tickets {
        Some(tickets) => config.ticketer = Arc::clone(tickets),
        None => config.send_tls13_tickets = 0,
    }
    Ok(Arc::new(config))
}

/// The library's algorithms, with the suites that were chosen.
fn provider(plan: &Plan, tls: &TlsPlan) -> Result<CryptoProvider, Box<ConfigError>> {
    let mut provider = aws_lc_rs::default_provider();
    if tls.cipher_suites.is_empty() {
        return Ok(provider);
    }
    let mut chosen = Vec::new();
    for written in &tls.cipher_suites {
        let Some(suite) = provider.cipher_suites.iter().find(|suite| suite_name(**suite) == written.name)
        else {
            let names: Vec<&str> = provider.cipher_suites.iter().map(|suite| suite_name(*suite)).collect();
            let help = known_names(&written.name, "cipher suites", names);
            let message = format!("there is no cipher suite {:?}", written.name);
            return Err(Box::new(plan.error(Diagnostic::new(written.span.clone(), message).help(help))));
        };
        chosen.push(*suite);
    }
    provider.cipher_suites = chosen;
    Ok(provider)
}

/// The name of a suite as IANA has it: the library's names of those of TLS 1.3 have a version in them.
#[must_use]
pub fn suite_name(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}
