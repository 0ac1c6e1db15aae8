//! `warpdrive bench syscalls`: what it finds, what it refuses, and that it leaves nothing behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::loads::{has_sockets, memory, socket};
use crate::common::{PATIENCE, Ran, Started, command, examples, folder, run, skipped};

fn audit(folder: &Path, config: &str) -> Ran {
    run(folder, ["bench", "syscalls", config, "--json", "--seconds", "1"])
}

/// Whether threads may be traced; says so if not.
fn permitted(ran: &Ran) -> bool {
    let eperm = std::io::Error::from_raw_os_error(libc::EPERM);
    let refused = ran.stderr.contains(&format!("cannot trace the workers: {eperm}"));
    if refused {
        skipped(&ran.stderr);
    }
    !refused
}

fn record(ran: &Ran) -> Value {
    let record: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!(record["schema"], "warpdrive.syscalls.v1");
    record
}

#[test]
fn from_memory_to_memory_it_finds_none_and_passes() {
    let folder = folder();
    let config = examples().join("forward-null.toml");
    let ran = audit(folder.path(), config.to_str().expect("UTF-8"));
    if !permitted(&ran) {
        return;
    }
    let ran = ran.well();
    let record = record(&ran);
    assert_eq!(record["verdict"], "pass");
    let worker = &record["threads"][0];
    assert_eq!(worker["name"], "worker-0");
    assert_eq!(worker["calls"], serde_json::json!({}));
    assert!(worker["packets"].as_u64().expect("packets") > 1_000_000, "{worker}");
    let seconds = record["seconds"].as_f64().expect("a time");
    assert!((0.9..5.0).contains(&seconds), "{seconds}");
}

#[test]
fn what_it_finds_is_what_the_driver_counts() {
    let folder = folder();
    if !has_sockets(folder.path()) {
        return;
    }
    fs::write(folder.path().join("socket.toml"), socket("")).expect("write");
    let ran = audit(folder.path(), "socket.toml");
    if !permitted(&ran) {
        return;
    }
    let record = record(&ran.well());
    assert_eq!(record["verdict"], "needed");
    let worker = &record["threads"][0];
    assert_eq!(worker["need_syscalls"], serde_json::json!(["lo"]));
    let found = worker["calls"]["sendto"].as_u64().expect("sendto");
    let counted = record["driver_syscalls"].as_u64().expect("a number");
    assert!(found > 100, "{record}");
    // The numbers are taken a moment before they are read, and calls go on meanwhile.
    let differ = found.abs_diff(counted) as f64 / found as f64;
    assert!(differ < 0.1, "{found} traced, {counted} counted by the driver");
    let packets = worker["packets"].as_u64().expect("packets") as f64;
    let rate = worker["per_million"].as_f64().expect("a rate");
    assert!((rate - found as f64 * 1e6 / packets).abs() < 1e-3, "{record}");
}

#[test]
fn a_worker_that_calls_the_kernel_without_need_fails() {
    // To sleep is a system call, and no driver's.
    let folder = folder();
    let toml = r#"
        version = 1
        [eal]
        idle = "sleep"
        [port.in]
        driver = "pcap"
        file = "builtin:demo"
        loop = 0
        [port.sink]
        driver = "null"
        [port.idle]
        driver = "ring"
        peer = "end"
        [port.end]
        driver = "ring"
        peer = "idle"
        [[pipeline]]
        name = "busy"
        core = 0
        stages = [ { rx = "in" }, { match = { vlan = 99 } }, { tx = "end" } ]
        [[pipeline]]
        name = "idle"
        core = 1
        stages = [ { rx = "idle" }, { tx = "sink" } ]
        "#;
    if crate::common::cpus() < 2 {
        return skipped("one core only");
    }
    fs::write(folder.path().join("sleep.toml"), toml).expect("write");
    let ran = audit(folder.path(), "sleep.toml");
    if !permitted(&ran) {
        return;
    }
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let record = record(&ran);
    assert_eq!(record["verdict"], "fail");
    let threads = record["threads"].as_array().expect("threads");
    assert_eq!(threads[0]["verdict"], "pass", "{record}");
    assert_eq!(threads[1]["verdict"], "fail", "{record}");
    assert!(threads[1]["calls"]["clock_nanosleep"].as_u64().expect("sleeps") > 10, "{record}");
}

#[test]
fn input_that_ends_and_a_wrong_configuration_are_told() {
    let folder = folder();
    let short = examples().join("sign-zip.toml");
    let ran = audit(folder.path(), short.to_str().expect("UTF-8"));
    assert_eq!(ran.code, Some(1));
    for part in ["came to its end before the window did", "Remedy: ", "loop = 0"] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
    fs::write(folder.path().join("wrong.toml"), "version = 1\n[port.a]\ndriver = \"nul\"\n").expect("write");
    let ran = audit(folder.path(), "wrong.toml");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("did you mean \"null\"?"), "{}", ran.stderr);
    for (arguments, part) in [
        (&["bench", "syscalls"][..], "needs a configuration"),
        (&["bench", "ring", "x.toml"], "takes no configuration"),
    ] {
        let ran = run(folder.path(), arguments);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

/// Processes whose parent this is, or was when last looked at.
fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| {
            let id: i32 = process.file_name().to_str()?.parse().ok()?;
            // After the name in parentheses: state and parent.
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let of: i32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            (of == parent).then_some(id)
        })
        .collect()
}

fn is_gone(id: i32) -> bool {
    // One that nobody has waited for yet is a zombie, and does no more harm.
    fs::read_to_string(format!("/proc/{id}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z')))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends an audit by a signal when it has begun, or when it traces; the program that it runs must end as well.
fn ended_by(signal: i32, after: Duration) -> Ran {
    let folder = folder();
    let config = examples().join("forward-null.toml");
    let arguments = ["bench", "syscalls", config.to_str().expect("UTF-8"), "--seconds", "30"];
    let audit = Started::new(command(folder.path(), arguments));
    let mut child = Vec::new();
    wait_until("it starts the program", || {
        child = children(audit.id());
        !child.is_empty()
    });
    std::thread::sleep(after);
    audit.signal(signal);
    let ran = audit.end(PATIENCE);
    wait_until("the program ends with it", || child.iter().all(|id| is_gone(*id)));
    ran
}

#[test]
fn a_program_that_fails_under_the_audit_is_told_as_that() {
    // While other threads of it are traced, too.
    if crate::common::cpus() < 2 {
        return skipped("one core only");
    }
    let folder = folder();
    fs::write(folder.path().join("engine.toml"), memory("", r#"{ zip = "zip0", op = "compress" },"#))
        .expect("write");
    let audit = Started::new(command(folder.path(), ["bench", "syscalls", "engine.toml", "--seconds", "30"]));
    let mut child = Vec::new();
    wait_until("it starts the program", || {
        child = children(audit.id());
        !child.is_empty()
    });
    // Past the first numbers, when threads are traced.
    std::thread::sleep(Duration::from_secs(2));
    // SAFETY: no memory is involved; if it has ended, its parent would have waited for it and ended too.
    unsafe { libc::kill(child[0], libc::SIGKILL) };
    let ran = audit.end(PATIENCE);
    assert_eq!(ran.code, Some(1));
    if permitted(&ran) {
        assert!(ran.stderr.contains("warpdrive: failed"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("came to its end before the window did"), "{}", ran.stderr);
    }
}

#[test]
fn nothing_is_left_behind_however_it_ends() {
    for after in [Duration::from_millis(20), Duration::from_millis(1_500)] {
        let ran = ended_by(libc::SIGINT, after);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("interrupted"), "{}", ran.stderr);
        assert_eq!(ended_by(libc::SIGKILL, after).signal, Some(libc::SIGKILL));
    }
}

#[test]
fn numbers_come_every_second_and_the_last_are_those_of_the_end() {
    let folder = folder();
    let config = examples().join("forward-null.toml");
    let arguments = ["--no-huge", "--stats", "--json", "--duration", "2500ms"];
    let ran = run(folder.path(), ["run", config.to_str().expect("UTF-8")].iter().chain(&arguments)).well();
    let lines: Vec<Value> =
        ran.stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    let (last, seconds) = lines.split_last().expect("lines");
    assert_eq!(last["schema"], "warpdrive.run.v1");
    assert!((1..=2).contains(&seconds.len()), "{}", seconds.len());
    let packets =
        |v: &Value| v["statistics"]["pipelines"][0]["stages"][0]["packets_out"].as_u64().expect("packets");
    for pair in lines.windows(2) {
        assert!(packets(&pair[0]) < packets(&pair[1]), "{pair:?}");
    }
    for second in seconds {
        assert_eq!(second["schema"], "warpdrive.stats.v1");
        assert_eq!(second["statistics"]["ports"][0]["needs_syscalls"], false);
        assert_eq!(second["statistics"]["pipelines"][0]["ports"], serde_json::json!(["source", "sink"]));
    }
}
