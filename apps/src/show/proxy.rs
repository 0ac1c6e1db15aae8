//! Proxies: what they are to do, and what they did.

use serde_json::{Value, json};
use warpdrive_pipeline::plan::{Plan, ProxyPlan, ServerPlan};
use warpdrive_proxy::metrics::{Kinds, Label, ProxyMetrics, Snapshot, Totals, sum};

use super::{count, time};

/// The lines of a plan's proxies.
pub(super) fn plan(plan: &Plan) -> impl Iterator<Item = String> {
    plan.proxies.iter().flat_map(|proxy| {
        let listen: Vec<&str> = proxy.listen.iter().map(|at| &*at.name).collect();
        let [rsa, zip] = devices(plan, proxy);
        let rsa = rsa.map_or_else(|| "signed by the library".to_owned(), |rsa| format!("signed by {rsa}"));
        let zip = zip.map_or_else(|| "not compressed".to_owned(), |zip| format!("compressed by {zip}"));
        let port = port(plan, proxy).map_or_else(String::new, |port| format!(" of port {port}"));
        let (name, cores, listen) = (&proxy.name, cores(&proxy.lcores), listen.join(", "));
        let first = format!("proxy {name:?} on {cores} at {listen}{port}: {rsa}, {zip}");
        std::iter::once(first).chain(routes(proxy))
    })
}

fn routes(proxy: &ProxyPlan) -> impl Iterator<Item = String> {
    proxy.routes.iter().map(|route| {
        let upstream = &proxy.upstreams[route.upstream];
        let (host, servers) =
            (route.host.as_deref().unwrap_or("any host"), upstream.servers.iter().map(server));
        let plain = if route.compress { "" } else { ", never compressed" };
        let servers = servers.collect::<Vec<_>>().join(", ");
        format!("  {host} {} -> {:?} ({servers}){plain}", route.path, upstream.name)
    })
}

fn cores(lcores: &[usize]) -> String {
    let list: Vec<String> = lcores.iter().map(ToString::to_string).collect();
    format!("core{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
}

fn devices<'p>(plan: &'p Plan, proxy: &ProxyPlan) -> [Option<&'p str>; 2] {
    [proxy.rsa, proxy.zip].map(|device| device.map(|i| &*plan.devices[i].name))
}

/// The port whose frames it lives on, if the kernel does not do TCP for it.
fn port<'p>(plan: &'p Plan, proxy: &ProxyPlan) -> Option<&'p str> {
    proxy.user.as_ref().map(|user| &*plan.ports[user.port].name)
}

fn server(server: &ServerPlan) -> String {
    match server {
        ServerPlan::Address(address) => address.to_string(),
        ServerPlan::Demo => "demo".to_owned(),
    }
}

/// A plan's proxies as JSON.
pub(super) fn plan_json(plan: &Plan) -> Value {
    let one = |proxy: &ProxyPlan| {
        let [rsa, zip] = devices(plan, proxy);
        let routes = proxy.routes.iter().map(|route| {
            let upstream = &proxy.upstreams[route.upstream];
            json!({
                "host": route.host,
                "path": route.path,
                "upstream": upstream.name,
                "servers": upstream.servers.iter().map(server).collect::<Vec<_>>(),
                "compress": route.compress,
            })
        });
        json!({
            "name": proxy.name,
            "cores": proxy.lcores,
            "listen": proxy.listen.iter().map(|at| &at.name).collect::<Vec<_>>(),
            "port": port(plan, proxy),
            "rsa": rsa,
            "zip": zip,
            "admin": proxy.admin.as_ref().map(|at| &at.name),
            "routes": routes.collect::<Vec<_>>(),
        })
    };
    plan.proxies.iter().map(one).collect()
}

/// One line about a second.
pub(super) fn second(name: &str, before: &Totals, now: &Totals, seconds: f64) -> String {
    let rate = |of: &dyn Fn(&Totals) -> u64| count(of(now).saturating_sub(of(before)) as f64 / seconds);
    format!(
        "proxy {name:?} handshakes {}/s parked {} requests {}/s in {}B/s out {}B/s connections {}",
        rate(&|t| sum(&t.handshakes)),
        now.handshakes_parked,
        rate(&Totals::requests),
        rate(&|t| t.client_bytes_in),
        rate(&|t| t.client_bytes_out),
        now.connections_open,
    )
}

/// The numbers at the end.
pub(super) fn ended(proxy: &ProxyMetrics) -> Vec<String> {
    let t = proxy.totals();
    let classes = (1..=5).zip(t.responses).filter(|(_, n)| *n > 0).map(|(class, n)| format!("{class}xx {n}"));
    let unanswered = (t.requests_unanswered > 0).then(|| format!("unanswered {}", t.requests_unanswered));
    let mut lines = vec![
        format!("proxy {:?} on {}", proxy.name, cores(&t.cores)),
        format!("  connections  {}", t.connections),
        format!("  handshakes   {}{}", kinds(&t.handshakes), quantiles(&t.handshake_duration)),
        format!("  signatures   {}", kinds(&t.signatures)),
        format!(
            "  requests     {}{}",
            list(t.requests(), classes.chain(unanswered)),
            quantiles(&t.request_duration)
        ),
        format!(
            "  bytes        clients {} in, {} out; servers {} in, {} out",
            t.client_bytes_in, t.client_bytes_out, t.server_bytes_in, t.server_bytes_out
        ),
        format!("  compression  {}", compression(&t)),
    ];
    let mut if_any = |what: &str, kinds: String| {
        if kinds != "0" {
            lines.push(format!("  {what:<12} {kinds}"));
        }
    };
    if_any("failed", kinds(&t.handshakes_failed));
    if_any("timeouts", kinds(&t.timeouts));
    lines.extend(t.servers.iter().map(|s| {
        let (requests, failures, retries) = (s.requests, s.failures, s.retries);
        format!(
            "  upstream {:?} {}: {requests} requests, {failures} failures, {retries} retries",
            s.upstream, s.server
        )
    }));
    lines
}

fn compression(t: &Totals) -> String {
    let (before, after) = (t.compression_bytes_in, t.compression_bytes_out);
    let ratio =
        if after > 0 { format!(" ({:.2} to 1)", before as f64 / after as f64) } else { String::new() };
    format!("{} responses, {before} bytes to {after}{ratio}", t.compressed_responses)
}

fn kinds<L: Label>(kinds: &Kinds<L>) -> String {
    let some = kinds.iter().filter(|(_, n)| *n > 0);
    list(sum(kinds), some.map(|(kind, n)| format!("{} {n}", kind.name().replace('_', " "))))
}

fn list(sum: u64, parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { sum.to_string() } else { format!("{sum}: {}", parts.join(", ")) }
}

fn quantiles(times: &Snapshot) -> String {
    match (times.quantile(0.5), times.quantile(0.99)) {
        (Some(p50), Some(p99)) => {
            let [p50, p99] = [p50, p99].map(|t| time(u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)));
            format!("; p50 {p50} p99 {p99}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use warpdrive_proxy::metrics::{Handshake, HandshakeFailure, Metrics, SignedBy, Timeout};

    use super::*;

    fn some() -> ProxyMetrics {
        let worker = Metrics::new(2, &[("u".to_owned(), "127.0.0.1:1".to_owned())]);
        worker.connections.add(5);
        for kind in [Handshake::Full13, Handshake::Full13, Handshake::Resumed12] {
            worker.handshakes.count(kind);
        }
        worker.handshake_duration.record_ns(1_000_000);
        worker.signatures.count(SignedBy::Device);
        worker.signatures.count(SignedBy::QueueFull);
        [200, 204, 404].into_iter().for_each(|status| worker.responded(status));
        worker.requests_unanswered.add(1);
        worker.client_bytes_in.add(10_000);
        worker.handshakes_parked.set(7);
        ProxyMetrics { name: "p".to_owned(), workers: vec![worker], health: std::sync::Arc::default() }
    }

    #[test]
    fn the_end_says_what_there_was_and_leaves_out_what_there_was_not() {
        let proxy = some();
        let text = ended(&proxy).join("\n");
        let expected = "proxy \"p\" on core 2\n  connections  5\n  \
             handshakes   3: 1.3 2, 1.2 resumed 1; p50 1000.0 us p99 1000.0 us\n  \
             signatures   2: device 1, queue full 1\n  \
             requests     4: 2xx 2, 4xx 1, unanswered 1\n  \
             bytes        clients 10000 in, 0 out; servers 0 in, 0 out\n  \
             compression  0 responses, 0 bytes to 0\n  \
             upstream \"u\" 127.0.0.1:1: 0 requests, 0 failures, 0 retries";
        assert_eq!(text, expected);
        let worker = &proxy.workers[0];
        worker.handshakes_failed.count(HandshakeFailure::NotTls);
        worker.timeouts.count(Timeout::Idle);
        worker.compression_bytes_in.add(300);
        worker.compression_bytes_out.add(100);
        let text = ended(&proxy).join("\n");
        for line in
            ["  failed       1: not tls 1", "  timeouts     1: idle 1", "300 bytes to 100 (3.00 to 1)"]
        {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_second_shows_differences_of_counters_and_gauges_as_they_are() {
        let proxy = some();
        let before = proxy.totals();
        (0..10).for_each(|_| proxy.workers[0].handshakes.count(Handshake::Full13));
        proxy.workers[0].responded(500);
        proxy.workers[0].client_bytes_out.add(3_000_000);
        assert_eq!(
            second("p", &before, &proxy.totals(), 2.0),
            "proxy \"p\" handshakes 5/s parked 7 requests 0/s in 0B/s out 1.50MB/s connections 0"
        );
    }
}
