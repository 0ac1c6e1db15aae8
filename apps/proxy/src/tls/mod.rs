//! TLS: what is spoken, whose certificates are shown, and who signs.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{ServerConfig, SupportedProtocolVersion};
use warpdrive_pipeline::config::TlsVersion;
use warpdrive_pipeline::diag::{ConfigError, Diagnostic, known_names};
use warpdrive_pipeline::plan::{Plan, TlsPlan};

mod breaker;
mod certificates;
mod failure;
mod park;
mod signatures;
mod signer;

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
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(|e| {
        let span = tls.cipher_suites.first().map_or(0..0, |suite| suite.span.clone());
        let help = "a suite for each version that is spoken";
        Box::new(plan.error(Diagnostic::new(span, format!("TLS: {e}")).help(help)))
    })?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
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
    let name_of = |suite: &rustls::SupportedCipherSuite| suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_");
    let mut chosen = Vec::new();
    for written in &tls.cipher_suites {
        let Some(suite) = provider.cipher_suites.iter().find(|suite| name_of(suite) == written.name) else {
            let names: Vec<String> = provider.cipher_suites.iter().map(name_of).collect();
            let help = known_names(&written.name, "cipher suites", names.iter().map(String::as_str));
            let message = format!("there is no cipher suite {:?}", written.name);
            return Err(Box::new(plan.error(Diagnostic::new(written.span.clone(), message).help(help))));
        };
        chosen.push(*suite);
    }
    provider.cipher_suites = chosen;
    Ok(provider)
}
