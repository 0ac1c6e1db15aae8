//! The client's side of TLS: which versions it speaks, whom it trusts, and the tickets that it keeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use super::options::Protocol;
use crate::BenchError;

/// A configuration for one version of TLS, without resumption, or with that of `tickets`.
///
/// # Errors
/// [`BenchError::Bug`].
pub fn config(
    protocol: Protocol,
    trust: RootCertStore,
    tickets: Option<Arc<Tickets>>,
) -> Result<ClientConfig, BenchError> {
    let versions = match protocol {
        Protocol::Tls12 => [&TLS12],
        _ => [&TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&versions)
        .map_err(|e| BenchError::Bug(format!("TLS versions: {e}")))?
        .with_root_certificates(trust)
        .with_no_client_auth();
    config.resumption = tickets.map_or_else(Resumption::disabled, |tickets| Resumption::store(tickets));
    Ok(config)
}

/// Sessions of one server that can be resumed. rustls' own store keeps eight tickets of TLS 1.3 for a server, each of
/// which is good for one connection: too few for many connections at once.
pub struct Tickets {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// None is given out.
    collecting: bool,
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl Tickets {
    /// Room for `most` of TLS 1.3, and one session of TLS 1.2, which is good for any number of connections.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let kept = Kept { tls13: VecDeque::with_capacity(most), ..Kept::default() };
        Self { most, kept: Mutex::new(kept) }
    }

    /// Connections that can be resumed at once.
    #[must_use]
    pub fn count(&self) -> usize {
        self.with(|kept| if kept.tls12.is_some() { self.most } else { kept.tls13.len() })
    }

    /// Whether they are only taken in: connections then make full handshakes.
    pub fn collect(&self, collecting: bool) {
        self.with(|kept| kept.collecting = collecting);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tickets({} of {})", self.count(), self.most)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|kept| kept.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|kept| kept.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|kept| kept.tls12 = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(|kept| if kept.collecting { None } else { kept.tls12.clone() })
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|kept| kept.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        // The newest are the most likely to be still good.
        self.with(|kept| {
            if kept.tls13.len() == self.most {
                kept.tls13.pop_front();
            }
            kept.tls13.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|kept| if kept.collecting { None } else { kept.tls13.pop_back() })
    }
}
