//! The numbers of a proxy, added up over its workers, for who prints them.

use warpdrive_pmd::stats::Counter;

use super::{
    Counters, Handshake, HandshakeFailure, Histogram, Label, Metrics, ProxyMetrics, STATUSES, SignedBy,
    Snapshot, Timeout,
};

/// How many of each kind.
pub type Kinds<L> = Vec<(L, u64)>;

/// The numbers of a proxy at one moment.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of `Metrics`")]
pub struct Totals {
    pub cores: Vec<usize>,
    pub handshakes: Kinds<Handshake>,
    pub handshakes_failed: Kinds<HandshakeFailure>,
    pub handshakes_parked: u64,
    pub handshake_duration: Snapshot,
    pub signatures: Kinds<SignedBy>,
    pub connections_open: u64,
    pub connections: u64,
    /// Responses by the hundreds of their status: 1 to 5.
    pub responses: [u64; 5],
    pub requests_unanswered: u64,
    pub request_duration: Snapshot,
    pub client_bytes_in: u64,
    pub client_bytes_out: u64,
    pub server_bytes_in: u64,
    pub server_bytes_out: u64,
    pub compressed_responses: u64,
    pub compression_bytes_in: u64,
    pub compression_bytes_out: u64,
    pub timeouts: Kinds<Timeout>,
    pub servers: Vec<ServerTotals>,
}

/// The numbers of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of `ServerMetrics`")]
pub struct ServerTotals {
    pub upstream: String,
    pub server: String,
    pub requests: u64,
    pub failures: u64,
    pub retries: u64,
}

impl Totals {
    /// Requests that are over: with a response, or without.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.responses.iter().sum::<u64>() + self.requests_unanswered
    }
}

/// All of them together.
#[must_use]
pub fn sum<L>(kinds: &Kinds<L>) -> u64 {
    kinds.iter().map(|(_, n)| n).sum()
}

impl ProxyMetrics {
    /// The numbers of all workers together, as they are now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let number = |of: fn(&Metrics) -> &Counter| self.workers.iter().map(|w| of(w).get()).sum();
        let times = |of: fn(&Metrics) -> &Histogram| Snapshot::of(self.workers.iter().map(|w| of(w)));
        Totals {
            cores: self.workers.iter().map(|w| w.core).collect(),
            handshakes: self.kinds(|m| &m.handshakes),
            handshakes_failed: self.kinds(|m| &m.handshakes_failed),
            handshakes_parked: number(|m| &m.handshakes_parked),
            handshake_duration: times(|m| &m.handshake_duration),
            signatures: self.kinds(|m| &m.signatures),
            connections_open: number(|m| &m.connections_open),
            connections: number(|m| &m.connections),
            responses: self.responses(),
            requests_unanswered: number(|m| &m.requests_unanswered),
            request_duration: times(|m| &m.request_duration),
            client_bytes_in: number(|m| &m.client_bytes_in),
            client_bytes_out: number(|m| &m.client_bytes_out),
            server_bytes_in: number(|m| &m.server_bytes_in),
            server_bytes_out: number(|m| &m.server_bytes_out),
            compressed_responses: number(|m| &m.compressed_responses),
            compression_bytes_in: number(|m| &m.compression_bytes_in),
            compression_bytes_out: number(|m| &m.compression_bytes_out),
            timeouts: self.kinds(|m| &m.timeouts),
            servers: self.servers(),
        }
    }

    fn kinds<L: Label>(&self, of: fn(&Metrics) -> &Counters<L>) -> Kinds<L> {
        let all = |kind: L| self.workers.iter().map(|w| of(w).get(kind)).sum();
        L::ALL.iter().map(|kind| (*kind, all(*kind))).collect()
    }

    fn responses(&self) -> [u64; 5] {
        let mut classes = [0; 5];
        for worker in &self.workers {
            for (status, counter) in STATUSES.zip(&worker.statuses) {
                classes[usize::from(status / 100 - 1)] += counter.get();
            }
        }
        classes
    }

    fn servers(&self) -> Vec<ServerTotals> {
        let mut all: Vec<ServerTotals> = Vec::new();
        for server in self.workers.iter().flat_map(|worker| worker.servers()) {
            let known = all.iter().position(|t| t.upstream == server.upstream && t.server == server.server);
            let place = known.unwrap_or_else(|| {
                let (upstream, server) = (server.upstream.clone(), server.server.clone());
                all.push(ServerTotals { upstream, server, requests: 0, failures: 0, retries: 0 });
                all.len() - 1
            });
            let total = &mut all[place];
            total.requests += server.requests.get();
            total.failures += server.failures.get();
            total.retries += server.retries.get();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_those_of_all_workers() {
        let servers = [("a", "127.0.0.1:1"), ("b", "127.0.0.1:2")].map(|(u, s)| (u.to_owned(), s.to_owned()));
        let workers = [3, 5].map(|core| Metrics::new(core, &servers));
        for (worker, n) in workers.iter().zip([1_u64, 10]) {
            (0..n).for_each(|_| worker.handshakes.count(Handshake::Full12));
            (0..2 * n).for_each(|_| worker.signatures.count(SignedBy::Deadline));
            (0..3 * n).for_each(|_| worker.responded(204));
            worker.responded(599);
            worker.requests_unanswered.add(n);
            worker.client_bytes_out.add(100 * n);
            worker.request_duration.record_ns(1_000);
            worker.servers()[1].retries.add(n);
        }
        let totals =
            ProxyMetrics { name: "p".to_owned(), workers: workers.into(), health: std::sync::Arc::default() }
                .totals();
        assert_eq!(totals.cores, [3, 5]);
        assert_eq!(totals.handshakes[Handshake::Full12.index()], (Handshake::Full12, 11));
        assert_eq!((sum(&totals.handshakes), sum(&totals.signatures)), (11, 22));
        assert_eq!((totals.responses, totals.requests()), ([0, 33, 0, 0, 2], 46));
        assert_eq!((totals.client_bytes_out, totals.request_duration.count()), (1_100, 2));
        assert_eq!(totals.servers[0].retries, 0);
        assert_eq!((&*totals.servers[1].upstream, totals.servers[1].retries), ("b", 11));
    }
}
