//! Statistics, each second and at the end.

use serde_json::{Value, json};
use warpdrive_pipeline::running::Ended;
use warpdrive_pipeline::snapshot::{
    DeviceSnapshot, LatencySnapshot, PipelineSnapshot, PortSnapshot, Snapshot,
};
use warpdrive_pipeline::strict::ThreadCalls;
use warpdrive_pmd::port::Link;
use warpdrive_proxy::metrics::{ProxyMetrics, Totals};

use super::{colour, count, proxy, time};

/// All numbers at one moment.
pub struct Moment {
    /// Those of the dataplane.
    pub all: Snapshot,
    /// Those of the proxies.
    pub proxies: Vec<Totals>,
}

impl Moment {
    /// Reads what the proxies count now.
    pub fn new(all: Snapshot, proxies: &[ProxyMetrics]) -> Self {
        Self { all, proxies: proxies.iter().map(ProxyMetrics::totals).collect() }
    }
}

/// One line a second, and one for each proxy: rates and the latency so far.
pub fn second(before: &Moment, now: &Moment, proxies: &[ProxyMetrics]) {
    let (old, new) = (&before.all, &now.all);
    let seconds = (new.uptime_seconds - old.uptime_seconds).max(1e-9);
    if !new.pipelines.is_empty() {
        eprintln!("{:>7.1}s {}", new.uptime_seconds, packets(old, new, seconds));
    }
    for (proxy, (old, new_totals)) in proxies.iter().zip(before.proxies.iter().zip(&now.proxies)) {
        let line = proxy::second(&proxy.name, old, new_totals, seconds);
        eprintln!("{:>7.1}s {line}", new.uptime_seconds);
    }
}

fn packets(before: &Snapshot, now: &Snapshot, seconds: f64) -> String {
    let rate = |f: fn(&PortSnapshot) -> u64| {
        let sum = |s: &Snapshot| s.ports.iter().map(f).sum::<u64>();
        sum(now).saturating_sub(sum(before)) as f64 / seconds
    };
    let rx = rate(|p| p.rx.iter().map(|q| q.stats.packets).sum());
    let tx = rate(|p| p.tx.iter().map(|q| q.stats.packets).sum());
    let held: u64 = now.pipelines.iter().flat_map(|p| &p.stages).map(|s| s.held).sum();
    let dropped = |s: &Snapshot| -> u64 {
        s.pipelines.iter().flat_map(|p| &p.stages).flat_map(|s| s.dropped.values()).sum()
    };
    let in_use: usize = now.pools.iter().map(|p| p.in_use).sum();
    let latency: Vec<String> = now
        .pipelines
        .iter()
        .filter_map(|p| {
            p.latency.map(|l| format!("{} p50 {} p99 {}", p.name, time(l.p50_ns), time(l.p99_ns)))
        })
        .collect();
    format!(
        "rx {}/s tx {}/s dropped {} held {held} buffers {in_use} latency {}",
        count(rx),
        count(tx),
        dropped(now).saturating_sub(dropped(before)),
        if latency.is_empty() { "-".to_owned() } else { latency.join(", ") }
    )
}

/// The numbers of a device, a line each.
fn device(d: &DeviceSnapshot, colour: bool) -> Vec<String> {
    let t = &d.stats;
    let mut lines = vec![
        format!(
            "device {:?} ({}): {} requests, {} errors, {} bytes in, {} out",
            d.name, d.driver, t.requests, t.errors, t.bytes_in, t.bytes_out
        ),
        format!(
            "  {} batches of {:.1} on average, {} at most; requests waited p50 {} p99 {} max {}",
            t.batches,
            d.mean_fill,
            d.batch,
            time(t.wait.p50_ns),
            time(t.wait.p99_ns),
            time(t.wait.max_ns),
        ),
    ];
    let (on, off) = if colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut warn = |text: String| lines.push(format!("  {on}warning: {text}{off}"));
    if t.retried > 0 {
        warn(format!(
            "{} of its results did not pass their check and were computed again on another path: \
             the cpu or the memory may be faulty",
            t.retried
        ));
    }
    if t.panics > 0 {
        warn(format!("{} of its batches were lost to a panic of the engine", t.panics));
    }
    if t.queues_lost > 0 {
        warn(format!(
            "its queues were lost {} times, and opened anew {} times",
            t.queues_lost, t.queues_reopened
        ));
    }
    if t.failed {
        warn("its engine has died: see the log".to_owned());
    }
    lines
}

/// The numbers at the end.
pub fn ended(ended: &Ended, proxies: &[ProxyMetrics], asked: Option<&str>) {
    let s = &ended.snapshot;
    let why = asked.map_or("input at its end".to_owned(), |why| format!("stopped by {why}"));
    println!("ran {:.3} s, {why}\n", s.uptime_seconds);
    if !s.ports.is_empty() {
        ports(&s.ports);
    }
    for p in &s.pipelines {
        pipeline(p);
    }
    for line in proxies.iter().flat_map(proxy::ended) {
        println!("{line}");
    }
    for (name, (packets, bytes)) in &s.counts {
        println!("count {name:?}: {packets} packets, {bytes} bytes");
    }
    let colour = colour(&std::io::stdout());
    for line in s.devices.iter().flat_map(|d| device(d, colour)) {
        println!("{line}");
    }
    for p in &s.pools {
        println!(
            "mempool {:?}: in use {}, peak {} of {}, exhausted {} times",
            p.name, p.in_use, p.peak, p.capacity, p.failures
        );
    }
    for p in &s.pipelines {
        for stage in p.stages.iter().filter(|s| s.held_at_exhaustion > 0) {
            println!(
                "  when a mempool was exhausted last: {} buffers were with {} of pipeline {:?}",
                stage.held_at_exhaustion, stage.kind, p.name
            );
        }
    }
    for thread in s.strict.iter().flatten() {
        println!("strict: {}", thread_calls(thread));
    }
}

fn thread_calls(thread: &ThreadCalls) -> String {
    let sum: u64 = thread.calls.values().sum();
    let each: Vec<String> = thread.calls.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
    format!("{}: {sum} system calls{each}", thread.thread)
}

fn ports(ports: &[PortSnapshot]) {
    println!(
        "{:<12} {:<10} {:>3} {:>12} {:>14} {:>9} {:>9} {:>9} {:>9}",
        "port", "driver", "q", "packets", "bytes", "nobuffer", "missed", "errors", "syscalls"
    );
    for p in ports {
        for (direction, queues) in [("rx", &p.rx), ("tx", &p.tx)] {
            for q in queues {
                let t = &q.stats;
                println!(
                    "{:<12} {:<10} {direction}{} {:>12} {:>14} {:>9} {:>9} {:>9} {:>9}",
                    p.name,
                    p.driver,
                    q.queue,
                    t.packets,
                    t.bytes,
                    t.no_buffer,
                    t.missed,
                    t.errors,
                    t.syscalls
                );
            }
        }
        if let Link::Down(why) = &p.link {
            println!("{:<12} link down: {why}", p.name);
        }
    }
    println!();
}

fn pipeline(p: &PipelineSnapshot) {
    println!("pipeline {:?} on core {}", p.name, p.core);
    println!(
        "  {:<9} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "stage", "in", "out", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
    for s in &p.stages {
        println!("  {:<9} {:>10} {:>10} {}", s.kind, s.packets_in, s.packets_out, percentiles(s.latency));
        for (verb, reasons) in [("dropped", &s.dropped), ("passed untreated", &s.passed)] {
            for (reason, n) in reasons {
                println!("  {:<9} {n} {verb}: {}", "", reason.replace('_', " "));
            }
        }
    }
    println!(
        "  {:<9} {:>10} {:>10} {}\n",
        "total",
        "",
        p.latency.map_or(0, |l| l.count),
        percentiles(p.latency)
    );
}

fn percentiles(l: Option<LatencySnapshot>) -> String {
    match l {
        None => String::new(),
        Some(l) => [l.p50_ns, l.p90_ns, l.p99_ns, l.p999_ns, l.p9999_ns, l.max_ns]
            .map(|ns| format!("{:>10}", time(ns)))
            .join(" "),
    }
}

/// The numbers of the dataplane with those of the proxies, if there are any.
fn statistics(all: &Snapshot, proxies: &[ProxyMetrics]) -> Value {
    let mut statistics = json!(all);
    if !proxies.is_empty() {
        statistics["proxies"] = proxies.iter().map(ProxyMetrics::to_json).collect();
    }
    statistics
}

/// The numbers of this second, as JSON.
pub fn second_json(now: &Moment, proxies: &[ProxyMetrics]) -> Value {
    json!({ "schema": "warpdrive.stats.v1", "statistics": statistics(&now.all, proxies) })
}

/// The numbers at the end, as JSON.
pub fn ended_json(ended: &Ended, proxies: &[ProxyMetrics]) -> Value {
    json!({
        "schema": "warpdrive.run.v1",
        "statistics": statistics(&ended.snapshot, proxies),
        "leaked_buffers": ended.leaks.iter().map(|(p, n)| json!({ "mempool": p, "buffers": n })).collect::<Vec<_>>(),
        "abandoned_packets": ended.abandoned,
        "failures": ended.failures.iter().map(|(p, what)| json!({ "port": p, "what": what })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpdrive_pmd::stats::{DeviceStats, WaitStats};

    #[test]
    fn the_calls_of_a_strict_thread_are_one_line_also_when_there_are_none() {
        let calls = |calls: &[(&str, u64)]| ThreadCalls {
            thread: "worker-0".to_owned(),
            calls: calls.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        };
        assert_eq!(thread_calls(&calls(&[])), "worker-0: 0 system calls");
        let some = calls(&[("sendto", 3), ("getsockopt", 1)]);
        assert_eq!(thread_calls(&some), "worker-0: 4 system calls: getsockopt 1, sendto 3");
    }

    #[test]
    fn what_should_not_be_overlooked_of_a_device_is_marked() {
        let wait = WaitStats { count: 24, p50_ns: 1_000, p90_ns: 2_000, p99_ns: 30_000, max_ns: 40_000 };
        let stats = DeviceStats { requests: 24, batches: 4, wait, ..DeviceStats::default() };
        let mut d = DeviceSnapshot {
            name: "r".to_owned(),
            driver: "soft-rsa",
            thread: None,
            batch: 8,
            mean_fill: 6.0,
            stats,
        };
        let lines = device(&d, true);
        assert_eq!(lines.len(), 2, "nothing is amiss: {lines:?}");
        assert_eq!(
            lines[1],
            "  4 batches of 6.0 on average, 8 at most; requests waited p50 1000 ns p99 30.0 us max 40.0 us"
        );
        (d.stats.retried, d.stats.panics, d.stats.failed) = (3, 2, true);
        (d.stats.queues_lost, d.stats.queues_reopened) = (5, 4);
        let plain = device(&d, false);
        let parts = [
            "3 of its results did not pass",
            "2 of its batches",
            "lost 5 times, and opened anew 4 times",
            "has died",
        ];
        for (line, part) in plain[2..].iter().zip(parts) {
            assert!(line.starts_with("  warning: ") && line.contains(part), "{line}");
        }
        assert_eq!(plain.len(), 6);
        let coloured = device(&d, true);
        assert!(coloured[2..].iter().all(|l| l.contains("\x1b[1;31mwarning: ") && l.ends_with("\x1b[0m")));
    }
}
