//! Plans, reports and statistics as people read them, and as JSON.

use std::io::IsTerminal;

use serde_json::{Value, json};
use warpdrive_pipeline::config::Strict;
use warpdrive_pipeline::cores::LcoreMap;
use warpdrive_pipeline::plan::{EnginePlan, Plan, StagePlan, ZipPlan};
use warpdrive_pipeline::running::{Ended, StartReport};
use warpdrive_pipeline::snapshot::{
    DeviceSnapshot, LatencySnapshot, PipelineSnapshot, PortSnapshot, Snapshot,
};
use warpdrive_pipeline::strict::ThreadCalls;
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::engine::zip::ZipOp;
use warpdrive_pmd::port::Link;

/// Whether to colour what goes to `stream`.
pub fn colour(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && stream.is_terminal()
}

/// What was got at start, and what was done without.
pub fn start(report: &StartReport, plan: &Plan, lcores: &LcoreMap, name: &str) {
    eprintln!("warpdrive {}: {name}, lcores {lcores}", env!("CARGO_PKG_VERSION"));
    for line in &report.got {
        eprintln!("  {line}");
    }
    for line in pipelines(plan) {
        eprintln!("  {line}");
    }
    for line in plan.notes.iter().map(|n| format!("note: {n}")) {
        eprintln!("  {line}");
    }
    if !report.without.is_empty() {
        eprintln!("running without (\"warpdrive doctor --fix\" mends what it can):");
        for line in &report.without {
            eprintln!("  {line}");
        }
    }
}

fn stage_text(stage: &StagePlan, plan: &Plan) -> String {
    let port = |i: usize| &plan.ports[i].name;
    let device = |i: usize| &plan.devices[i].name;
    match stage {
        StagePlan::Rx { port: p, queue, burst } => format!("rx {}:{queue} (burst {burst})", port(*p)),
        StagePlan::Tx { port: p, queue, .. } => format!("tx {}:{queue}", port(*p)),
        StagePlan::Tee { port: p, queue } => format!("tee {}:{queue}", port(*p)),
        StagePlan::Rsa { device: d, op, scheme, depth, .. } => {
            format!("rsa {} {} {} (depth {depth})", device(*d), op.name(), scheme.name())
        }
        StagePlan::Zip(zip) => zip_text(zip, device(zip.device)),
        StagePlan::Handoff { to, .. } => {
            let names: Vec<&str> = to.iter().map(|i| plan.pipelines[*i].name.as_str()).collect();
            format!("{} to {}", stage.kind(), names.join(", "))
        }
        other => other.kind().to_owned(),
    }
}

fn zip_text(zip: &ZipPlan, device: &str) -> String {
    let ZipPlan { op, format, level, streams, refresh, depth, .. } = zip;
    let level = if *op == ZipOp::Compress { format!(" level {level}") } else { String::new() };
    let streams = match (streams, op) {
        (0, _) => String::new(),
        (n, ZipOp::Compress) => format!(", {n} streams begun anew every {refresh} packets"),
        (n, ZipOp::Decompress) => format!(", {n} streams"),
    };
    let dictionary = if zip.dictionary.is_some() { " with dictionary" } else { "" };
    format!(
        "zip {device} {op:?} {format:?}{level}{dictionary} by {} (depth {depth}{streams})",
        zip.by().name()
    )
    .to_lowercase()
}

fn pipelines(plan: &Plan) -> impl Iterator<Item = String> {
    plan.pipelines.iter().map(|p| {
        let stages: Vec<String> = p.stages.iter().map(|s| stage_text(s, plan)).collect();
        format!("pipeline {:?} on core {}: {}", p.name, p.lcore, stages.join(" -> "))
    })
}

/// How an engine is to work, where there is a choice.
fn options(engine: &EnginePlan) -> String {
    let EnginePlan::Rsa(RsaOptions { simd, passes, deadline, blinding, .. }) = engine else {
        return String::new();
    };
    let passes = format!("{passes:?}").to_lowercase();
    let deadline = match deadline.as_micros() {
        0 => String::new(),
        us => format!(", deadline {us} us"),
    };
    format!("; simd {}, passes {passes}{deadline}{}", simd.name(), if *blinding { ", blinding" } else { "" })
}

/// A plan, for `check`.
pub fn plan(plan: &Plan, lcores: &LcoreMap, name: &str) {
    println!("{name}: ok");
    println!("lcores: {lcores}");
    for d in &plan.devices {
        let place = match d.placement {
            Placement::Inline => "inline".to_owned(),
            Placement::Core { cpu, .. } => format!("on cpu {cpu}, its own"),
        };
        println!("device {:?}: {place}{}", d.name, options(&d.engine));
    }
    for line in pipelines(plan) {
        println!("{line}");
    }
    for pool in &plan.pools {
        let sum: usize = pool.needs.iter().map(|(_, n)| n).sum();
        println!(
            "mempool {:?}: {} buffers of {} bytes, at most {sum} needed at once:",
            pool.config.name, pool.config.buffers, pool.config.size
        );
        for (who, n) in &pool.needs {
            println!("  {n:>6} {who}");
        }
    }
    if plan.strict.mode != Strict::Off {
        let allowed: Vec<String> = plan.strict.allowed().collect();
        println!("strict: {}, allowed: {}", plan.strict.mode.name(), none_or(&allowed));
    }
    for note in &plan.notes {
        println!("note: {note}");
    }
}

fn none_or(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A plan as JSON.
pub fn plan_json(plan: &Plan, lcores: &LcoreMap, name: &str) -> Value {
    json!({
        "schema": "warpdrive.check.v1",
        "config": name,
        "lcores": lcores.to_string(),
        "pipelines": plan.pipelines.iter().map(|p| json!({
            "name": p.name,
            "core": p.lcore,
            "stages": p.stages.iter().map(|s| stage_text(s, plan)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "mempools": plan.pools.iter().map(|p| json!({
            "name": p.config.name,
            "buffers": p.config.buffers,
            "size": p.config.size,
            "needs": p.needs.iter().map(|(who, n)| json!({ "holder": who, "buffers": n })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "strict": { "mode": plan.strict.mode.name(), "allowed": plan.strict.allowed().collect::<Vec<_>>() },
        "notes": plan.notes,
    })
}

/// One line a second: rates and the latency so far.
pub fn second(before: &Snapshot, now: &Snapshot) {
    let seconds = (now.uptime_seconds - before.uptime_seconds).max(1e-9);
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
    eprintln!(
        "{:>7.1}s rx {}/s tx {}/s dropped {} held {held} buffers {in_use} latency {}",
        now.uptime_seconds,
        count(rx),
        count(tx),
        dropped(now).saturating_sub(dropped(before)),
        if latency.is_empty() { "-".to_owned() } else { latency.join(", ") }
    );
}

fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.2}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A time in nanoseconds with a unit that fits.
pub fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
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
    if t.failed {
        warn("its engine has died: see the log".to_owned());
    }
    lines
}

/// The numbers at the end.
pub fn ended(ended: &Ended, asked: Option<&str>) {
    let s = &ended.snapshot;
    let why = asked.map_or("input at its end".to_owned(), |why| format!("stopped by {why}"));
    println!("ran {:.3} s, {why}\n", s.uptime_seconds);
    ports(&s.ports);
    for p in &s.pipelines {
        pipeline(p);
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

/// The numbers of this second, as JSON.
pub fn second_json(now: &Snapshot) -> Value {
    json!({ "schema": "warpdrive.stats.v1", "statistics": now })
}

/// The numbers at the end, as JSON.
pub fn ended_json(ended: &Ended) -> Value {
    json!({
        "schema": "warpdrive.run.v1",
        "statistics": ended.snapshot,
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
        let plain = device(&d, false);
        for (line, part) in
            plain[2..].iter().zip(["3 of its results did not pass", "2 of its batches", "has died"])
        {
            assert!(line.starts_with("  warning: ") && line.contains(part), "{line}");
        }
        assert_eq!(plain.len(), 5);
        let coloured = device(&d, true);
        assert!(coloured[2..].iter().all(|l| l.contains("\x1b[1;31mwarning: ") && l.ends_with("\x1b[0m")));
    }
}
