//! Zero system calls: worker and engine threads, watched by strace while packets flow.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::loads::{linked, load, memory};
use crate::common::{PATIENCE, Started, command, cpus, folder, has, pcap, run, skipped};

const WATCH: Duration = Duration::from_secs(2);

/// How often each system call was made, by thread.
type Calls = BTreeMap<String, BTreeMap<String, usize>>;

/// System calls while packets flowed, and packets in the whole run. `None`, and says so, when strace cannot watch.
fn watched(folder: &Path, toml: &str) -> Option<(Calls, u64)> {
    if !has("strace") {
        return None;
    }
    fs::write(folder.join("test.toml"), toml).expect("write the configuration");
    let mut started = Started::new(command(folder, ["run", "test.toml", "--json", "--no-huge"]));
    started.wait_for_workers();
    std::thread::sleep(Duration::from_millis(500)); // past what is done once: first buffers, tables of an engine
    let threads = started.threads(&["worker-", "engine-"]);
    assert!(!threads.is_empty());
    // One for each thread, without -f, which would attach to all threads of the process.
    let log = fs::File::options().create(true).append(true).open(folder.join("strace.log")).expect("a log");
    let straces = threads.iter().map(|(_, id)| {
        let mut strace = Command::new("strace");
        strace.args(["-o", &format!("trace.{id}"), "-p", &id.to_string()]).current_dir(folder);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().expect("a log"));
        strace.spawn().expect("strace starts")
    });
    let mut straces: Vec<_> = straces.collect();
    let deadline = Instant::now() + PATIENCE;
    let log = || fs::read_to_string(folder.join("strace.log")).unwrap_or_default();
    while log().matches("attached").count() < threads.len() {
        let ended = straces.iter_mut().any(|s| s.try_wait().expect("wait").is_some());
        if ended || Instant::now() > deadline {
            for mut strace in straces {
                let _ = strace.kill();
                let _ = strace.wait();
            }
            skipped(&format!("strace may not attach here: {}", log()));
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(WATCH);
    for mut strace in straces {
        // SAFETY: the child was not waited for yet, so the id is still its own.
        unsafe { libc::kill(strace.id() as i32, libc::SIGINT) };
        strace.wait().expect("strace ends");
    }
    started.signal(libc::SIGTERM);
    let statistics = started.end(PATIENCE).well().statistics();
    let moved =
        statistics.0["statistics"]["pipelines"][0]["stages"][0]["packets_out"].as_u64().expect("packets");
    let calls = threads.into_iter().map(|(name, id)| {
        let text = fs::read_to_string(folder.join(format!("trace.{id}"))).expect("a trace");
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|l| !l.starts_with(['+', '-'])) {
            let name = line.split('(').next().unwrap_or(line).to_owned();
            *counts.entry(name).or_insert(0) += 1;
        }
        (name, counts)
    });
    let calls: BTreeMap<_, _> = calls.collect();
    eprintln!("in {WATCH:?}, {moved} packets in the whole run: {calls:?}");
    Some((calls, moved))
}

#[track_caller]
fn none_at_all(toml: &str) -> Option<Calls> {
    let folder = folder();
    pcap::write(
        &folder.path().join("in.pcap"),
        &[pcap::udp([192, 0, 2, 1], 1, [192, 0, 2, 2], 2, &[7; 300])],
    );
    let (calls, moved) = watched(folder.path(), toml)?;
    assert!(moved > 1_000, "packets flowed: {moved}");
    assert!(calls.keys().any(|k| k.starts_with("worker-")));
    for (thread, calls) in &calls {
        assert!(calls.is_empty(), "{thread}: {calls:?}");
    }
    Some(calls)
}

#[test]
fn forwarding_and_compressing_make_no_system_call() {
    none_at_all(&memory("", r#"{ zip = "zip0", op = "compress" },"#));
}

#[test]
fn a_capture_in_memory_around_a_ring_makes_no_system_call() {
    // A file without end, to another core by a handoff, through a cable, and into memory.
    let stages = r#"{ match = { protocol = "udp" } }, { mac-swap = true },"#;
    none_at_all(&linked("idle = \"spin\"", "file = \"in.pcap\"\nloop = 0", stages));
}

/// [`load`] with these keys of the RSA device, and this scheme, on these cores.
fn signing(device: &str, scheme: &str, cores: &str) -> String {
    let toml = load(&format!("cores = \"{cores}\""), 64).replace("pkcs1-sha256", scheme);
    toml.replace("driver = \"soft-rsa\"\n", &format!("driver = \"soft-rsa\"\n{device}\n"))
}

/// Whether this cpu computes passes; says so if not.
fn has_passes() -> bool {
    let folder = folder();
    let has = run(folder.path(), ["devices", "--force-simd", "avx512-ifma"]).code == Some(0);
    if !has {
        skipped("this cpu computes RSA one at a time, which is not without system calls");
    }
    has
}

#[test]
fn signing_in_passes_on_the_workers_core_makes_no_system_call() {
    if !has_passes() {
        return;
    }
    for scheme in ["pkcs1-sha256", "pss-sha256"] {
        none_at_all(&signing("passes = \"largest\"", scheme, "0"));
    }
    none_at_all(&signing("passes = \"largest\"\nblinding = true", "pss-sha256", "0"));
}

#[test]
fn signing_in_passes_on_an_engine_core_makes_no_system_call() {
    if cpus() < 2 {
        return skipped("one core only");
    }
    if !has_passes() {
        return;
    }
    for scheme in ["pkcs1-sha256", "pss-sha256"] {
        let calls = none_at_all(&signing("passes = \"largest\"", scheme, "0-1"));
        assert!(calls.is_none_or(|calls| calls.keys().any(|k| k.starts_with("engine-"))));
    }
}

/// Operations that are alone are done by aws-lc, which draws in one of 32 for new blinding factors, and once more for each
/// draw that is not below the modulus. Its generator of random numbers is seeded anew, with getrandom, after 4096 draws.
/// PSS salts are drawn elsewhere. Nothing else may call the kernel.
fn only_seeds(scheme: &str, cores: &str) {
    let folder = folder();
    let toml = signing("passes = \"single\"", scheme, cores);
    let Some((calls, moved)) = watched(folder.path(), &toml) else { return };
    // At least half of all draws are below the modulus. Twice as many as expected, and one more: a count is a whole
    // number.
    let seeds = (moved as f64 * 2.0 / 32.0 / 4096.0 * 2.0) as usize + 1;
    for (thread, calls) in &calls {
        for (call, n) in calls {
            assert_eq!(call, "getrandom", "{thread} with {scheme}: {calls:?}");
            assert!(*n <= seeds, "{thread} with {scheme}: {n} getrandom calls for {moved} signatures");
        }
        let signs = !thread.starts_with("worker-") || cores == "0";
        assert!(signs || calls.is_empty(), "{thread} does not sign: {calls:?}");
    }
}

#[test]
fn signing_one_at_a_time_on_the_workers_core_makes_no_system_call_but_for_new_seeds() {
    only_seeds("pkcs1-sha256", "0");
    only_seeds("pss-sha256", "0");
}

#[test]
fn signing_one_at_a_time_on_an_engine_core_leaves_the_worker_without_any_system_call() {
    if cpus() < 2 {
        return skipped("one core only");
    }
    only_seeds("pkcs1-sha256", "0-1");
    only_seeds("pss-sha256", "0-1");
}
