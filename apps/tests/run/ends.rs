//! How a run ends: by itself, by a limit, by a signal.

use std::time::{Duration, Instant};

use super::loads::load;
use crate::common::{PATIENCE, Started, command, cpus, folder, run, run_config, skipped};

/// Empty frames from a null port to a null port, without end.
const FORWARD: &str = r#"
    version = 1
    [port.source]
    driver = "null"
    [port.sink]
    driver = "null"
    [[pipeline]]
    name = "p"
    stages = [ { rx = "source" }, { tx = "sink" } ]
"#;

fn start(folder: &std::path::Path, toml: &str) -> Started {
    std::fs::write(folder.join("test.toml"), toml).expect("write the configuration");
    let mut started = Started::new(command(folder, ["run", "test.toml", "--json", "--no-huge"]));
    started.wait_for_workers();
    started
}

#[test]
fn one_signal_under_load_drains_everything_and_ends_well() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let folder = folder();
        let started = start(folder.path(), &load("", 64));
        std::thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        started.signal(signal);
        let ran = started.end(PATIENCE).well();
        assert!(asked.elapsed() < Duration::from_secs(5), "longer than eal.drain_ms");
        let s = ran.statistics();
        assert!(s.port("source", "rx", "packets") > 0);
        assert_eq!(s.port("source", "rx", "packets"), s.port("sink", "tx", "packets"), "none was lost");
        assert_eq!(s.all_dropped(), 0);
        assert_eq!(s.0["abandoned_packets"], 0);
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    if cpus() < 2 {
        return skipped("an engine core is needed to have that much in flight");
    }
    let folder = folder();
    // 4096 signatures in flight take seconds to drain.
    let started = start(folder.path(), &load("drain_ms = 60000", 4096));
    std::thread::sleep(Duration::from_millis(1200));
    started.signal(libc::SIGINT);
    std::thread::sleep(Duration::from_millis(200));
    let again = Instant::now();
    started.signal(libc::SIGINT);
    let ran = started.end(PATIENCE);
    assert!(again.elapsed() < Duration::from_secs(1), "{:?}", again.elapsed());
    assert_eq!(ran.code, Some(1));
}

#[test]
fn what_cannot_be_drained_in_time_is_given_up_counted_and_leaves_no_buffer_behind() {
    if cpus() < 2 {
        return skipped("an engine core is needed to have that much in flight");
    }
    let folder = folder();
    let started = start(folder.path(), &load("drain_ms = 100", 4096));
    std::thread::sleep(Duration::from_millis(800));
    started.signal(libc::SIGTERM);
    let asked = Instant::now();
    let ran = started.end(PATIENCE).well();
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(ran.stderr.contains("packets were given up because draining took longer than eal.drain_ms"));
    let s = ran.statistics();
    let given_up = s.0["abandoned_packets"].as_u64().expect("a number");
    assert!(given_up > 0);
    assert_eq!(s.dropped("p", 1, "undelivered") + s.dropped("p", 2, "undelivered"), given_up);
    assert_eq!(s.port("source", "rx", "packets"), s.port("sink", "tx", "packets") + given_up);
}

#[test]
fn a_signal_is_heeded_soon_while_an_engine_keeps_the_worker_busy() {
    // Each round of the loop signs a burst of 32 on the worker's own core: 10 ms and more.
    let folder = folder();
    let started = start(folder.path(), &load("cores = \"0\"", 64));
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    started.signal(libc::SIGTERM);
    started.end(PATIENCE).well().statistics();
    assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
}

#[test]
fn a_duration_is_kept() {
    let folder = folder();
    let started = Instant::now();
    let ran = run_config(folder.path(), FORWARD, &["--duration", "300ms"]).well();
    assert!(started.elapsed() >= Duration::from_millis(300));
    let uptime = ran.statistics().0["statistics"]["uptime_seconds"].as_f64().expect("seconds");
    assert!((0.3..5.0).contains(&uptime), "{uptime}");
}

#[test]
fn exactly_as_many_packets_are_received_as_were_asked_for() {
    for n in [1, 31, 32, 33, 1_000, 123_457] {
        let folder = folder();
        let s = run_config(folder.path(), FORWARD, &["--packets", &n.to_string()]).well().statistics();
        assert_eq!(s.port("source", "rx", "packets"), n);
        assert_eq!(s.port("sink", "tx", "packets"), n);
    }
}

#[test]
fn a_limit_of_packets_is_shared_by_all_pipelines() {
    let second = r#"
        [port.source2]
        driver = "null"
        [port.sink2]
        driver = "null"
        [[pipeline]]
        name = "q"
        stages = [ { rx = "source2" }, { tx = "sink2" } ]
    "#;
    for _ in 0..5 {
        let folder = folder();
        let toml = format!("{FORWARD}{second}");
        let s = run_config(folder.path(), &toml, &["--packets", "10000"]).well().statistics();
        assert_eq!(s.port("source", "rx", "packets") + s.port("source2", "rx", "packets"), 10_000);
    }
}

#[test]
fn a_port_that_has_nothing_does_not_keep_the_limit_from_being_reached() {
    let quiet = r#"
        [port.loop]
        driver = "ring"
        [[pipeline]]
        name = "quiet"
        stages = [ { rx = "loop" }, { tx = "loop" } ]
    "#;
    for n in 1..=64 {
        let folder = folder();
        let toml = format!("{FORWARD}{quiet}");
        let s = run_config(folder.path(), &toml, &["--packets", &n.to_string()]).well().statistics();
        assert_eq!(s.port("source", "rx", "packets"), n);
    }
}

#[test]
fn the_json_of_a_run_has_the_keys_that_programs_rely_on() {
    let folder = folder();
    let all = run_config(folder.path(), FORWARD, &["--packets", "100"]).well().statistics().0;
    let keys = |v: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = v.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&all), ["abandoned_packets", "failures", "leaked_buffers", "schema", "statistics"]);
    let s = &all["statistics"];
    assert_eq!(keys(s), ["counts", "devices", "pipelines", "pools", "ports", "rounds", "uptime_seconds"]);
    assert_eq!(keys(&s["ports"][0]), ["driver", "link", "name", "needs_syscalls", "rx", "tx"]);
    for key in ["queue", "packets", "bytes", "no_buffer", "missed", "errors", "syscalls"] {
        assert!(s["ports"][0]["rx"][0][key].is_u64(), "{key}");
    }
    assert_eq!(keys(&s["pipelines"][0]), ["core", "latency", "name", "ports", "stages"]);
    assert_eq!(
        keys(&s["pipelines"][0]["stages"][0]),
        [
            "dropped",
            "held",
            "held_at_exhaustion",
            "kind",
            "latency",
            "packets_in",
            "packets_out",
            "passed",
            "stalls"
        ]
    );
    let percentiles = ["count", "max_ns", "p50_ns", "p90_ns", "p9999_ns", "p999_ns", "p99_ns"];
    assert_eq!(keys(&s["pipelines"][0]["latency"]), percentiles);
    assert_eq!(s["pipelines"][0]["latency"]["count"], 100);
    assert_eq!(keys(&s["pools"][0]), ["capacity", "failures", "in_use", "name", "peak"]);
    let check = run(folder.path(), ["check", "test.toml", "--json"]).well();
    let check: serde_json::Value = serde_json::from_str(&check.stdout).expect("JSON");
    assert_eq!(keys(&check), ["config", "lcores", "mempools", "notes", "pipelines", "schema", "strict"]);
}

#[test]
fn cores_are_chosen_by_one_option_and_must_exist() {
    let folder = folder();
    let usage = |args: &[&str], parts: &[&str]| {
        let ran = run(folder.path(), args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "{args:?}: no {part:?} in {}", ran.stderr);
        }
        assert!(ran.stdout.is_empty());
    };
    usage(&["run", "-c", "0x1", "-l", "0"], &["cannot be used with"]);
    usage(&["check", "-l", "0", "--lcores", "0@0"], &["cannot be used with"]);
    usage(&["check", "-c", "0x1", "--lcores", "0@0"], &["cannot be used with"]);
    usage(&["run", "-l", "999"], &["999", "this process may run on cpu", "Remedy"]);
    usage(&["run", "--lcores", "0@999"], &["999", "this process may run on cpu", "Remedy"]);
    usage(&["run", "-c", "0xzz"], &["-c", "^"]);
    usage(&["run", "-l", "1-"], &["-l", "^"]);
    usage(&["run", "--duration", "1d"], &["ms, s, m or h"]);
    usage(&["run", "--packets", "many"], &["many"]);
    usage(&["wobble"], &["wobble"]);
    assert!(std::fs::read_dir(folder.path()).expect("the folder").next().is_none(), "nothing was started");
}

#[test]
fn with_one_core_the_engine_runs_inline_and_says_so() {
    let folder = folder();
    let ran = run(folder.path(), ["run", "-c", "0x1"]).well();
    assert!(
        ran.stderr.contains("a core for device \"rsa0\": none was left, so it runs inline"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("device \"rsa0\": software"), "{}", ran.stderr);
    assert!(
        ran.stderr.lines().any(|l| l.contains("device \"rsa0\"") && l.ends_with("inline")),
        "{}",
        ran.stderr
    );
}
