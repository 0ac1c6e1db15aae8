//! What is said beside the figures: facts, who was at the limit, and whether the server has counted the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::certificate::KEY;
use super::super::client::{Client, Counts};
use super::super::options::WebKind;
use super::super::servers::{Served, Server};
use super::Case;
use crate::record::Curve;
use crate::{BenchError, Options};

/// How far the counts of client and server may be apart, as a part.
const TOLERANCE: f64 = 0.05;

impl Case {
    pub(super) fn facts(
        &self,
        options: &Options,
        client: &Client,
        server: Option<&Server>,
        near: usize,
    ) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        let mut fact = |name: &str, value: String| drop(facts.insert(name.to_owned(), value));
        match (server, &options.web.target) {
            (Some(server), _) => {
                fact("server", server.title.clone());
                let far = server.cpu();
                fact("cpus", format!("client pinned to {near}, server, of one thread, to {far}"));
                fact("key", KEY.to_owned());
            }
            (None, target) => {
                fact("server", target.as_ref().map_or(String::new(), ToString::to_string));
                fact("cpus", format!("client pinned to {near}; the server is not the harness'"));
            }
        }
        fact("client", format!("rustls with aws-lc, kernel TCP{}, busy polling", over(client.address())));
        match client.negotiated() {
            None => fact("protocol", "http without TLS".to_owned()),
            Some(found) => {
                fact("protocol", found.protocol.clone());
                fact("cipher", found.suite.clone());
                fact("key exchange", found.group.clone().unwrap_or("none".to_owned()));
                fact("handshake", found.handshake.clone());
            }
        }
        if let Some(content) = client.content() {
            let coding = match (options.web.gzip, client.has_gzip()) {
                (_, true) => ", as gzip",
                (true, false) => ", not compressed although gzip was asked for",
                (false, false) => "",
            };
            fact("content", format!("{} bytes{coding}", content.len()));
        }
        facts
    }

    /// What became of it beside the points.
    pub(super) fn say(&self, curve: &mut Curve, client: &mut Client, before: &Ledger, after: &Ledger) {
        // Without what measured the capacity. The server cannot be asked for its counts in the middle.
        let mark = client.mark();
        let done = after.counts.operations - mark.counts.operations;
        if let (Some(before), Some(after)) = (mark.server_time, after.time)
            && done > 0
        {
            let us = (after - before).as_secs_f64() * 1e6 / done as f64;
            curve.facts.insert("server cpu".to_owned(), format!("{us:.1} us of cpu time for an operation"));
        }
        curve.notes.extend(client.meter.notes());
        curve.notes.extend(after.agree(before, self.kind));
        let closes = |of: fn(&Counts) -> u64| of(&after.counts) - of(&mark.counts);
        let (bare, reset) = (closes(|c| c.bare), closes(|c| c.reset));
        if bare + reset > 0 {
            curve.notes.push(format!(
                "after all was done the server closed {bare} connections without a close_notify and reset {reset}"
            ));
        }
        let renewed = closes(|c| c.renewed);
        if renewed > 0 {
            curve.notes.push(format!("{renewed} connections were closed by the server and made anew"));
        }
        if !mark.losses.is_empty() {
            curve.notes.push(format!("while the capacity was measured: lost {}", mark.losses));
        }
        let losses = client.take_losses();
        if !losses.is_empty() {
            curve.notes.push(format!("LOST: {losses}"));
        }
    }
}

/// Over what a server is reached, as far as its address tells.
fn over(address: SocketAddr) -> &'static str {
    if address.ip().is_loopback() { " over loopback" } else { "" }
}

/// What both sides have counted at a time.
pub(super) struct Ledger {
    counts: Counts,
    time: Option<Duration>,
    served: Option<Served>,
}

impl Ledger {
    pub(super) fn of(client: &Client, server: Option<&mut Server>) -> Result<Self, BenchError> {
        let served = server.map_or(Ok(None), Server::served)?;
        Ok(Self { counts: client.counts(), time: client.meter.server_time(), served })
    }

    /// Whether the server has counted what the client has. Asking the server is a connection and a request too.
    fn agree(&self, before: &Self, kind: WebKind) -> Option<String> {
        let (served_before, served) = (before.served?, self.served?);
        let operations = self.counts.operations - before.counts.operations;
        let client = [
            self.counts.established - before.counts.established,
            if kind.has_request() { operations } else { 0 },
        ];
        let server =
            [served.accepts - served_before.accepts - 1, served.requests - served_before.requests - 1];
        let far = |(a, b): (u64, u64)| a.abs_diff(b) as f64 > TOLERANCE * a.max(b) as f64;
        let warning = if client.into_iter().zip(server).any(far) {
            "THE COUNTS OF CLIENT AND SERVER DIFFER: "
        } else {
            ""
        };
        let ([connections, requests], [accepts, served]) = (client, server);
        Some(format!(
            "{warning}the server counted {accepts} connections and {served} requests, \
             the client {connections} and {requests}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(established: u64, operations: u64, accepts: u64, requests: u64) -> Ledger {
        let counts = Counts { established, operations, ..Counts::default() };
        Ledger { counts, time: None, served: Some(Served { accepts, requests }) }
    }

    #[test]
    fn only_loopback_is_called_so() {
        for (address, said) in
            [("127.0.0.1:1", " over loopback"), ("[::1]:1", " over loopback"), ("10.0.0.1:1", "")]
        {
            assert_eq!(over(address.parse().unwrap()), said, "{address}");
        }
    }

    #[test]
    fn counts_that_differ_are_shouted_about() {
        let start = ledger(10, 10, 20, 20);
        let same = ledger(1010, 510, 1021, 521).agree(&start, WebKind::Request).unwrap();
        let wanted = "the server counted 1000 connections and 500 requests, the client 1000 and 500";
        assert_eq!(same, wanted);
        let differs = |ledger: Ledger, kind| {
            ledger.agree(&start, kind).unwrap().contains("COUNTS OF CLIENT AND SERVER DIFFER")
        };
        assert!(differs(ledger(1010, 510, 900, 521), WebKind::Request));
        assert!(differs(ledger(1010, 510, 2000, 521), WebKind::Request));
        assert!(differs(ledger(1010, 510, 1021, 600), WebKind::Request));
        assert!(!differs(ledger(1010, 1010, 1021, 21), WebKind::Handshake), "handshakes are no requests");
        let unknown = Ledger { served: None, ..ledger(1, 1, 1, 1) };
        assert!(unknown.agree(&start, WebKind::Request).is_none());
    }
}
