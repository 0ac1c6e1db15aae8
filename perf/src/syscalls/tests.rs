//! What calls and packets together mean.

use super::*;
use serde_json::json;

fn numbers(uptime: f64, packets: u64, requests: u64, needs: bool) -> Value {
    json!({
        "uptime_seconds": uptime,
        "ports": [
            { "name": "a", "needs_syscalls": needs, "rx": [{ "syscalls": packets / 10 }], "tx": [] },
            { "name": "b", "needs_syscalls": false, "rx": [], "tx": [{ "syscalls": 0 }] },
        ],
        "pipelines": [{ "core": 1, "ports": ["a", "b"], "stages": [{ "packets_out": packets }, {}] }],
        "devices": [
            { "name": "a-long-name", "requests": requests, "thread": 2 },
            { "name": "a-long-name-too", "requests": 10 * requests, "thread": 3 },
            { "name": "inline", "requests": requests, "thread": null },
        ],
    })
}

fn evaluated(packets: u64, calls: &[(i64, u64)], needs: bool) -> Audit {
    let calls = calls.iter().map(|(call, n)| ((names::ARCH, *call as u64), *n)).collect();
    let thread = |name: &str, id, calls| Called { name: name.to_owned(), id, calls };
    // The kernel keeps 15 bytes of a name.
    let called = vec![
        thread("worker-1", 1, calls),
        thread("engine-a-long-n", 3, BTreeMap::new()),
        thread("engine-a-long-n", 2, BTreeMap::new()),
    ];
    let (before, after) =
        (numbers(1.0, 100, 50, needs), numbers(3.0, 100 + packets, 50 + packets / 2, needs));
    evaluate("c.toml", &before, &after, called)
}

#[test]
fn packets_without_calls_pass() {
    let audit = evaluated(4_000_000, &[], false);
    assert_eq!(audit.verdict, Verdict::Pass);
    assert!(audit.passed());
    assert_eq!((audit.packets, audit.seconds), (4_000_000, 2.0));
    assert_eq!(audit.threads[0].per_million, Some(0.0));
}

#[test]
fn engines_whose_names_begin_alike_are_told_apart() {
    let audit = evaluated(4_000_000, &[], false);
    let engines = audit.threads[1..].iter().map(|t| (&*t.name, t.packets));
    let expected = [("engine-a-long-name-too", 20_000_000), ("engine-a-long-name", 2_000_000)];
    assert_eq!(engines.collect::<Vec<_>>(), expected);
}

#[test]
fn calls_where_none_are_needed_fail_also_without_packets() {
    for packets in [0, 1_000] {
        let audit = evaluated(packets, &[(libc::SYS_futex, 2)], false);
        assert_eq!(audit.verdict, Verdict::Fail);
        assert!(!audit.passed());
    }
}

#[test]
fn calls_of_drivers_that_need_them_are_a_figure() {
    let audit = evaluated(1_000, &[(libc::SYS_sendto, 40), (libc::SYS_getsockopt, 2)], true);
    assert_eq!(audit.verdict, Verdict::Needed);
    assert!(audit.passed());
    assert_eq!(audit.driver_syscalls, 100);
    let worker = &audit.threads[0];
    assert_eq!(worker.per_million, Some(42_000.0));
    assert_eq!(worker.need_syscalls, ["a"]);
    let text = audit.to_string();
    for part in ["sendto", "40 sendto", "2 getsockopt", "42000.000 in a million", "ports that need them: a"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_window_without_packets_says_nothing() {
    for needs in [false, true] {
        let audit = evaluated(0, &[], needs);
        assert_eq!(audit.verdict, Verdict::NoPackets);
        assert!(!audit.passed());
    }
    assert_eq!(evaluated(0, &[(libc::SYS_sendto, 1)], true).verdict, Verdict::NoPackets);
}
