use std::time::Duration;

use warpdrive_pipeline::config::Balance;
use warpdrive_pipeline::plan::CheckPlan;
use warpdrive_pmd::stats::DeviceStats;

use super::parse::{Parsed, parse};
use super::*;
use crate::upstream::UpstreamConfig;

fn servers() -> Vec<(String, String)> {
    vec![("app".into(), "192.0.2.1:80".into()), ("app".into(), "192.0.2.2:80".into())]
}

/// Checks of the first server, of which one has failed.
fn checked() -> Arc<Health> {
    let check = CheckPlan {
        path: "/".into(),
        host: None,
        expect: Vec::new(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 1,
    };
    let upstream = |name: &str, address: &str, check| UpstreamConfig {
        name: name.into(),
        servers: vec![address.parse().unwrap()],
        balance: Balance::RoundRobin,
        keepalive: 0,
        max_fails: 0,
        fail: Duration::ZERO,
        check,
    };
    let health = Health::new(
        &[upstream("app", "192.0.2.1:80", Some(check)), upstream("b", "192.0.2.9:80", None)],
        None,
    );
    health.server(0).checks.add(7);
    health.server(0).failures.add(1);
    health
}

/// A proxy of two workers that have done something.
fn proxy() -> ProxyMetrics {
    let workers = vec![Metrics::new(1, &servers()), Metrics::new(3, &servers())];
    for (i, worker) in workers.iter().enumerate() {
        for _ in 0..=i {
            worker.handshakes.count(Handshake::Full13);
            worker.signatures.count(SignedBy::Device);
        }
        worker.handshakes.count(Handshake::Resumed12);
        worker.signatures.count(SignedBy::QueueFull);
        worker.handshakes_failed.count(HandshakeFailure::Alert);
        worker.handshakes_parked.set(7);
        worker.connections.add(5);
        worker.connections_open.set(4);
        [200, 200, 404, 599, 99, 600, 0].iter().for_each(|status| worker.responded(*status));
        worker.client_bytes_in.add(100);
        worker.client_bytes_out.add(1_000);
        worker.timeouts.count(Timeout::Idle);
        worker.request_duration.record(Duration::from_micros(300));
        worker.request_duration.record(Duration::from_secs(1_000));
    }
    workers[1].set_breaker(Breaker::Open);
    workers[0].servers()[0].requests.add(9);
    workers[1].servers()[0].requests.add(1);
    workers[1].servers()[1].up.set(0);
    ProxyMetrics { name: "web \"1\"\n".into(), workers, health: Arc::new(ArcSwap::new(checked())) }
}

fn text(proxies: &[ProxyMetrics]) -> Parsed {
    let mut out = Prometheus::new();
    proxies.iter().for_each(|proxy| proxy.to_prometheus(&mut out));
    parse(&out.finish())
}

const NAME: (&str, &str) = ("proxy", "web \"1\"\n");

#[test]
fn prometheus_gets_all_by_core() {
    let other =
        ProxyMetrics { name: "other".into(), workers: vec![Metrics::new(0, &[])], health: Arc::default() };
    let parsed = text(&[proxy(), other]);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let all: Vec<_> = [NAME].iter().chain(labels).copied().collect();
        parsed.value(&format!("warpdrive_proxy_{name}"), &all)
    };
    let (one, three) = (("core", "1"), ("core", "3"));
    assert_eq!(value("handshakes_total", &[one, ("version", "1.3"), ("resumed", "false")]), 1.0);
    assert_eq!(value("handshakes_total", &[three, ("version", "1.3"), ("resumed", "false")]), 2.0);
    assert_eq!(value("handshakes_total", &[one, ("version", "1.2"), ("resumed", "true")]), 1.0);
    assert_eq!(value("handshakes_total", &[one, ("version", "1.2"), ("resumed", "false")]), 0.0);
    assert_eq!(value("signatures_total", &[three, ("by", "device")]), 2.0);
    assert_eq!(value("signatures_total", &[three, ("by", "library"), ("reason", "queue_full")]), 1.0);
    assert_eq!(value("breaker_state", &[one, ("state", "closed")]), 1.0);
    assert_eq!(value("breaker_state", &[three, ("state", "closed")]), 0.0);
    assert_eq!(value("breaker_state", &[three, ("state", "open")]), 1.0);
    assert_eq!(value("requests_total", &[one, ("class", "2xx"), ("status", "200")]), 2.0);
    assert_eq!(value("requests_total", &[one, ("class", "5xx"), ("status", "599")]), 1.0);
    assert_eq!(parsed.samples["warpdrive_proxy_requests_total"].len(), 6, "three statuses on two cores");
    assert_eq!(value("sent_bytes_total", &[one, ("to", "client")]), 1_000.0);
    let second = [("upstream", "app"), ("server", "192.0.2.2:80")];
    assert_eq!(value("upstream_up", &[one, second[0], second[1]]), 1.0);
    assert_eq!(value("upstream_up", &[three, second[0], second[1]]), 0.0);
    let first = [("upstream", "app"), ("server", "192.0.2.1:80")];
    assert_eq!(value("upstream_checks_total", &first), 7.0);
    assert_eq!(value("upstream_check_failures_total", &first), 1.0);
    assert_eq!(parsed.samples["warpdrive_proxy_upstream_checks_total"].len(), 1, "only of what is checked");
    assert_eq!(value("request_duration_seconds_bucket", &[one, ("le", "0.00025")]), 0.0);
    assert_eq!(value("request_duration_seconds_bucket", &[one, ("le", "0.0005")]), 1.0);
    assert_eq!(value("request_duration_seconds_bucket", &[one, ("le", "100")]), 1.0);
    assert_eq!(value("request_duration_seconds_count", &[one]), 2.0);
    assert!((value("request_duration_seconds_sum", &[one]) - 1_000.000_3).abs() < 1e-9);
    assert_eq!(parsed.value("warpdrive_proxy_connections_total", &[("proxy", "other"), ("core", "0")]), 0.0);
}

#[test]
fn every_family_is_named_as_the_standard_wants_and_explained() {
    let parsed = text(&[proxy()]);
    assert_eq!(parsed.kinds.len(), FAMILIES.len() + CHECKS.len() + HISTOGRAMS.len(), "no name is used twice");
    for (name, kind) in &parsed.kinds {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert_eq!(name.ends_with("_seconds"), kind == "histogram", "{name}");
    }
    assert!(
        FAMILIES.iter().all(|f| f.help.ends_with('.'))
            && CHECKS.iter().all(|f| f.help.ends_with('.'))
            && HISTOGRAMS.iter().all(|f| f.help.ends_with('.'))
    );
}

#[test]
fn json_adds_up_the_cores() {
    let json = proxy().to_json();
    assert_eq!((&json["name"], &json["cores"]), (&json!("web \"1\"\n"), &json!([1, 3])));
    assert_eq!(json["connections_total"], 10);
    assert_eq!(json["handshakes_parked"], 14);
    assert_eq!(json["handshakes_total"][0], json!({ "version": "1.3", "resumed": "false", "value": 3 }));
    assert_eq!(json["requests_total"].as_array().unwrap().len(), 3);
    assert_eq!(json["requests_total"][0], json!({ "class": "2xx", "status": "200", "value": 4 }));
    assert_eq!(json["upstream_requests_total"][0]["value"], 10);
    assert_eq!(json["upstream_up"][1], json!({ "upstream": "app", "server": "192.0.2.2:80", "value": 1 }));
    let failures = json!([{ "upstream": "app", "server": "192.0.2.1:80", "value": 1 }]);
    assert_eq!(json["upstream_check_failures_total"], failures);
    let latency = &json["request_duration_seconds"];
    assert_eq!(
        (&latency["count"], &latency["p50"], &latency["p99"]),
        (&json!(4), &json!(0.0003), &json!(100.0))
    );
    assert_eq!(latency["buckets_us"], json!([[300, 2], [null, 2]]));
    // Before anything was done there are no statuses, which is an empty list.
    let idle = ProxyMetrics { name: "x".into(), workers: vec![Metrics::new(0, &[])], health: Arc::default() }
        .to_json();
    assert_eq!((&idle["requests_total"], &idle["connections_total"]), (&json!([]), &json!(0)));
}

#[test]
fn samples_of_a_family_stand_together_whoever_adds_them() {
    let mut out = Prometheus::new();
    for i in 0..3_u64 {
        out.family(Kind::Gauge, "a", "One\nline \\ only.").add(&[("x", &i.to_string()), ("empty", "")], i);
        out.family(Kind::Gauge, "b", "Another.")
            .add(&[("y", "\\ \" \n é {}=,"), ("i", &i.to_string())], i as f64 / 2.0);
    }
    out.family(Kind::Gauge, "c", "Alone.").add(&[], f64::INFINITY);
    let text = out.finish();
    let parsed = parse(&text);
    assert!(
        text.starts_with("# HELP warpdrive_proxy_a One\\nline \\\\ only.\n# TYPE warpdrive_proxy_a gauge\n"),
        "{text}"
    );
    assert_eq!(parsed.value("warpdrive_proxy_a", &[("x", "2")]), 2.0);
    assert_eq!(parsed.value("warpdrive_proxy_b", &[("y", "\\ \" \n é {}=,"), ("i", "1")]), 0.5);
    assert_eq!(parsed.value("warpdrive_proxy_c", &[]), f64::INFINITY);
}

#[test]
fn devices_say_how_full_their_batches_were() {
    let stats =
        DeviceStats { requests: 21, batches: 4, fill: vec![0, 1, 0, 0, 1, 0, 0, 0, 2], ..Default::default() };
    let report = DeviceReport { name: "rsa0".into(), stats };
    let mut out = Prometheus::new();
    report.to_prometheus(&mut out);
    DeviceReport { name: "zip0".into(), stats: DeviceStats::default() }.to_prometheus(&mut out);
    let parsed = parse(&out.finish());
    let value = |name: &str, le: Option<&str>| {
        let labels: Vec<_> = [("device", "rsa0")].into_iter().chain(le.map(|le| ("le", le))).collect();
        parsed.value(&format!("warpdrive_proxy_device_batch_requests{name}"), &labels)
    };
    let buckets = ["0", "1", "3", "4", "7", "8", "+Inf"].map(|le| value("_bucket", Some(le)));
    assert_eq!(buckets, [0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]);
    assert_eq!((value("_sum", None), value("_count", None)), (21.0, 4.0));
    assert_eq!(report.to_json()["fill"][8], 2);
}

#[test]
fn workers_do_not_share_cache_lines() {
    assert_eq!(align_of::<Metrics>(), 128);
    let worker = Metrics::new(0, &servers());
    assert_eq!(std::ptr::from_ref(&*worker).addr() % 128, 0);
}
