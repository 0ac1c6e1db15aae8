//! Strict workers: who moves packets without the kernel runs, who does not is named, or ended before the call is made.

use std::path::Path;

use serde_json::Value;

use super::loads::{SHORT, has_sockets, linked, load, memory, socket};
use crate::common::{Ran, Statistics, cpus, folder, run_config, skipped};

const ZIP: &str = r#"{ zip = "zip0", op = "compress" }, { zip = "zip1", op = "decompress" },"#;

/// Runs it, if threads can be watched here; says so if not.
fn watched(folder: &Path, toml: &str, options: &[&str]) -> Option<Ran> {
    let ran = run_config(folder, toml, options);
    if ran.code == Some(1) && ran.stderr.contains("error: eal.strict: ") {
        assert!(ran.stderr.contains("Remedy: "), "{}", ran.stderr);
        skipped(&format!("this machine does not let threads be watched: {}", ran.stderr));
        return None;
    }
    Some(ran)
}

/// How often a thread called what.
fn calls<'a>(statistics: &'a Statistics, thread: &str) -> &'a serde_json::Map<String, Value> {
    let threads = statistics.0["statistics"]["strict"].as_array().expect("strict threads");
    let found = threads.iter().find(|t| t["thread"] == thread);
    found.unwrap_or_else(|| panic!("no {thread} in {threads:?}"))["calls"].as_object().expect("calls")
}

#[test]
fn from_memory_to_memory_no_call_is_made_and_the_end_is_orderly() {
    let folder = folder();
    for stage in ["", ZIP] {
        let Some(ran) = watched(folder.path(), &memory("strict = \"kill\"", stage), SHORT) else { return };
        let statistics = ran.well().statistics();
        assert!(statistics.port("sink", "tx", "packets") > 1_000);
        assert!(calls(&statistics, "worker-0").is_empty(), "{statistics:?}");
        if cpus() > 1 {
            assert!(calls(&statistics, "engine-zip0").is_empty(), "{statistics:?}");
        }
    }
}

#[test]
fn input_that_ends_is_no_breach() {
    // Queues are released, threads end: all that is system calls, and none of it is the steady state.
    let folder = folder();
    for _ in 0..10 {
        let toml = memory("strict = \"kill\"", ZIP);
        let Some(ran) = watched(folder.path(), &toml, &["--packets", "20000"]) else { return };
        let statistics = ran.well().statistics();
        assert!(statistics.port("source", "rx", "packets") >= 20_000);
    }
    let linked = linked("strict = \"kill\"", "file = \"builtin:demo\"", "");
    for _ in 0..10 {
        let statistics = watched(folder.path(), &linked, &[]).expect("as above").well().statistics();
        assert_eq!(statistics.port("sink", "tx", "packets"), 64);
    }
}

#[test]
fn what_is_given_up_at_the_end_is_no_breach() {
    // Signatures take longer than they are given; then their queue is released, by calls that are not in the list.
    let strict = "strict = \"kill\"\ndrain_ms = 0\ncores = \"0\"\n\
                  strict_allow = [\"futex\", \"getrandom\", \"madvise\", \"mlock\", \"mmap\", \"mprotect\"]";
    let folder = folder();
    let toml = load(strict, 4096).replace("rsa2048", "rsa4096");
    let Some(ran) = watched(folder.path(), &toml, SHORT) else { return };
    let ran = ran.well();
    ran.statistics();
    assert!(ran.stderr.contains("packets were given up"), "{}", ran.stderr);
}

#[test]
fn without_strict_nobody_counts() {
    let folder = folder();
    let statistics = run_config(folder.path(), &memory("", ""), SHORT).well().statistics();
    assert!(statistics.0["statistics"].get("strict").is_none());
}

#[test]
fn a_call_is_counted_and_named_once_in_the_log() {
    let folder = folder();
    if !has_sockets(folder.path()) {
        return;
    }
    let Some(ran) = watched(folder.path(), &socket("strict = \"log\""), SHORT) else { return };
    let ran = ran.well();
    let statistics = ran.statistics();
    let counted = calls(&statistics, "worker-0")["sendto"].as_u64().expect("a number");
    let by_driver = statistics.port("lo", "tx", "syscalls");
    assert!(by_driver > 10, "{by_driver}");
    assert_eq!(counted, by_driver, "the filter sees what the driver counts");
    let logged: Vec<&str> = ran.stderr.lines().filter(|l| l.contains("WARN")).collect();
    assert_eq!(
        logged.iter().filter(|l| l.contains("worker-0") && l.contains("sendto")).count(),
        1,
        "{logged:?}"
    );
}

#[test]
fn a_call_ends_the_program_before_it_is_made() {
    let folder = folder();
    if !has_sockets(folder.path()) {
        return;
    }
    let Some(ran) = watched(folder.path(), &socket("strict = \"kill\""), SHORT) else { return };
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let error = ran.stderr.lines().find(|l| l.starts_with("error: ")).expect("an error");
    for part in ["worker-0", "sendto", "not executed", "Remedy: strict_allow = [\"sendto\"]"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert_eq!(ran.stdout, "", "it ends at once");
}

#[test]
fn what_is_allowed_is_no_breach() {
    let folder = folder();
    if !has_sockets(folder.path()) {
        return;
    }
    let toml = socket("strict = \"kill\"\nstrict_allow = [\"sendto\"]");
    let Some(ran) = watched(folder.path(), &toml, SHORT) else { return };
    let statistics = ran.well().statistics();
    assert!(statistics.port("lo", "tx", "syscalls") > 10);
    assert!(calls(&statistics, "worker-0").is_empty(), "{statistics:?}");
}

#[test]
fn zero_is_said_too() {
    let folder = folder();
    std::fs::write(folder.path().join("s.toml"), memory("strict = \"log\"", "")).expect("write");
    let ran = crate::common::run(folder.path(), ["run", "s.toml", "--no-huge", "--duration", "100ms"]);
    if ran.stderr.contains("error: eal.strict: ") {
        return skipped("this machine does not let threads be watched");
    }
    let ran = ran.well();
    assert!(ran.stdout.contains("strict: worker-0: 0 system calls\n"), "{}", ran.stdout);
}

#[test]
fn a_worker_that_sleeps_cannot_be_strict_and_a_call_must_have_its_name() {
    let folder = folder();
    for (eal, place, message, help) in [
        (
            "strict = \"kill\"\nidle = \"sleep\"",
            "test.toml:4:18: ",
            "idle = \"sleep\" of workers",
            "idle = \"pause\"",
        ),
        (
            "strict = \"log\"\nstrict_allow = [\"sendtoo\"]",
            "test.toml:5:17: ",
            "there is no system call \"sendtoo\"",
            "did you mean \"sendto\"?",
        ),
        ("strict = \"fatal\"", "test.toml:4:18: ", "\"fatal\"", "off, log, kill"),
    ] {
        let ran = run_config(folder.path(), &memory(eal, ""), SHORT);
        assert_eq!(ran.code, Some(78), "{}", ran.stderr);
        for part in [place, message, help] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
    run_config(folder.path(), &memory("idle = \"sleep\"", ""), SHORT).well();
}

#[test]
fn an_engine_that_sleeps_cannot_be_strict_either() {
    if cpus() < 2 {
        return skipped("one core only");
    }
    let folder = folder();
    let toml =
        memory("strict = \"log\"", ZIP).replacen("core = \"auto\"", "core = 1\n        idle = \"sleep\"", 1);
    let ran = run_config(folder.path(), &toml, SHORT);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    assert!(ran.stderr.contains("of the engine of device \"zip0\""), "{}", ran.stderr);
}
