//! What is counted and taken down of handshakes and requests.

use std::time::{Duration, SystemTime};

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use super::link::Link;
use super::{Client, respond};
use crate::client::exchange::Exchange;
use crate::core::Core;
use crate::http::Refusal;
use crate::log::{Entry, Tls, Upstream};
use crate::metrics::{Handshake, SignedBy};
use crate::tls;

/// A handshake is done.
pub(super) fn handshake(connection: &ServerConnection, born: u64, asked: bool, core: &Core) {
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let kind = match (connection.protocol_version(), resumed) {
        (Some(ProtocolVersion::TLSv1_2), false) => Handshake::Full12,
        (Some(ProtocolVersion::TLSv1_2), true) => Handshake::Resumed12,
        (_, false) => Handshake::Full13,
        (_, true) => Handshake::Resumed13,
    };
    core.metrics.handshakes.count(kind);
    core.metrics.handshake_duration.record_ns(core.clock.ns(core.now.saturating_sub(born)));
    if !resumed && !asked {
        core.metrics.signatures.count(SignedBy::NoDevice);
    }
}

impl Client {
    /// An exchange is over.
    pub(super) fn record(&self, exchange: &Exchange, error: Option<&'static str>, core: &mut Core) {
        let facts = exchange.facts();
        let since = |from: u64| core.clock.ns(core.now.saturating_sub(from));
        match facts.status {
            0 => core.metrics.requests_unanswered.add(1),
            status => core.metrics.responded(status),
        }
        core.metrics.request_duration.record_ns(since(facts.started));
        if let Some(ns) = facts.upstream_ticks.map(|ticks| core.clock.ns(ticks)) {
            core.metrics.upstream_response.record_ns(ns);
        }
        if core.log.is_none() {
            return;
        }
        let upstream = facts.server.map(|id| Upstream {
            name: core.upstreams.name(id),
            address: core.upstreams.address(id),
            duration: facts.upstream_ticks.map(|ticks| Duration::from_nanos(core.clock.ns(ticks))),
        });
        let entry = Entry {
            status: facts.status,
            bytes_in: facts.bytes_in,
            bytes_out: facts.bytes_out,
            duration: Duration::from_nanos(since(facts.started)),
            upstream,
            gzip: facts.gzip,
            error,
            ..self.entry(facts.head)
        };
        if let Some(log) = &mut core.log {
            log.write(&entry);
        }
    }

    /// A request was refused before it was one.
    pub(super) fn record_refusal(&self, refusal: &Refusal, core: &mut Core) {
        core.metrics.responded(refusal.status());
        if let Some(log) = &mut core.log {
            log.write(&Entry { status: refusal.status(), error: Some(refusal.reason()), ..self.entry(&[]) });
        }
    }

    /// What is known of the client, and of a request by the head that was written for its server.
    fn entry<'a>(&'a self, head: &'a [u8]) -> Entry<'a> {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let [mut host, mut user_agent, mut referer, mut request_id]: [&[u8]; 4] = [b""; 4];
        for line in lines {
            let Some(at) = memchr::memchr(b':', line) else { continue };
            let (name, value) = (&line[..at], line[at + 1..].trim_ascii_start());
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => host = value,
                7 if name.eq_ignore_ascii_case(b"referer") => referer = value,
                10 if name.eq_ignore_ascii_case(b"user-agent") => user_agent = value,
                12 if name.eq_ignore_ascii_case(b"x-request-id") => request_id = value,
                _ => {}
            }
        }
        if request_id.is_empty() {
            request_id = respond::text(&self.request_id).as_bytes();
        }
        let connection = if let Link::Open(connection) = &self.link { Some(connection) } else { None };
        Entry {
            time: SystemTime::now(),
            client: self.address,
            method,
            target,
            host,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            upstream: None,
            tls: connection.map(|connection| agreed(connection)),
            request_id,
            user_agent,
            referer,
            gzip: None,
            error: None,
        }
    }
}

fn agreed(connection: &ServerConnection) -> Tls<'_> {
    Tls {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        cipher: connection.negotiated_cipher_suite().map(tls::suite_name).unwrap_or_default(),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        sni: connection.server_name().unwrap_or_default().as_bytes(),
    }
}
