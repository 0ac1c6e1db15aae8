//! `warpdrive bench uacce-…`: with a server and clients in processes of their own, in short slices.

mod common;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{Started, command, folder, served, skipped};
use serde_json::Value;

/// The longest of them starts fifty clients.
const PATIENCE: Duration = Duration::from_secs(180);

/// Each wants both cpus.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a bench; its records by name, or `None` where it cannot be run.
#[track_caller]
fn bench(name: &str, seconds: &str) -> Option<Vec<Value>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    served::possible().then_some(())?;
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
        skipped("it needs two cpus");
        return None;
    }
    // Servers have their files here, so that what they leave is seen.
    let folder = folder();
    let mut command =
        command(folder.path(), ["bench", name, "--json", "--quick", "--rounds", "2", "--seconds", seconds]);
    command.env("TMPDIR", folder.path());
    let ran = Started::new(command).end(PATIENCE);
    if ran.stderr.contains("has no passthrough") {
        skipped(&ran.stderr);
        return None;
    }
    let ran = ran.well();
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{name} has left {left:?}");
    let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object"));
    Some(lines.filter(|line| line["kind"] == "comparison").collect())
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["name"].as_str().expect("a name")).collect()
}

/// Insists on figures of both sides, and that each line says what its target is.
#[track_caller]
fn compared(lines: &[Value]) {
    for line in lines {
        let figures = [&line["value"], &line["peer_value"], &line["ratio"]];
        assert!(figures.iter().all(|n| n.as_f64().is_some_and(|n| n > 0.0)), "{line}");
        let notes = line["notes"].as_array().expect("notes");
        let say = |what: &str| notes.iter().any(|n| n.as_str().is_some_and(|n| n.contains(what)));
        assert!(say("target: ") && say("cpu "), "{line}");
    }
}

#[test]
fn an_empty_operation_goes_there_and_back_without_a_system_call() {
    let Some(lines) = bench("uacce-rtt", "0.02") else { return };
    let socket = ["uacce-rtt-socket", "uacce-rtt-socket-p999"];
    let eventfd = ["uacce-rtt-eventfd", "uacce-rtt-eventfd-p999"];
    assert_eq!(names(&lines), [&socket[..], &eventfd, &["uacce-rtt-syscalls"]].concat());
    for pair in lines[..4].chunks(2) {
        compared(&pair[..1]);
        let value = |line: &Value, side: &str| line[side].as_f64().expect("a number");
        for side in ["value", "peer_value"] {
            assert!(value(&pair[1], side) >= value(&pair[0], side), "{pair:?}");
        }
    }
    let calls = &lines[4];
    assert_eq!(calls["value"].as_f64(), Some(0.0), "{calls}");
    let said = calls["notes"].to_string();
    assert!(said.contains("round trips in its") && !said.contains("which had 0 round trips"), "{calls}");
}

#[test]
fn signatures_are_made_with_and_without_shared_memory() {
    let Some(lines) = bench("uacce-rsa2048", "0.03") else { return };
    assert_eq!(names(&lines), ["uacce-rsa2048", "uacce-rsa2048-sva"]);
    compared(&lines);
}

#[test]
fn blocks_are_compressed_in_all_three_ways() {
    let Some(lines) = bench("uacce-zip", "0.03") else { return };
    assert_eq!(names(&lines), ["uacce-zip", "uacce-zip-in-place", "uacce-zip-sva"]);
    compared(&lines);
}

#[test]
fn a_device_without_an_iommu_is_compared_with_one_that_reads_in_place() {
    let Some(lines) = bench("uacce-shadow", "0.03") else { return };
    assert_eq!(names(&lines), ["uacce-shadow", "uacce-shadow-null"]);
    compared(&lines);
}

#[test]
fn a_crowd_of_clients_is_served() {
    let Some(lines) = bench("uacce-many", "0.6") else { return };
    assert_eq!(names(&lines), ["uacce-many", "uacce-many-fair"]);
    compared(&lines[..1]);
    assert!(lines[0]["notes"].to_string().contains("requests was lost"), "{}", lines[0]);
    assert!(lines[1]["ratio"].as_f64().is_some_and(|ratio| (0.0..=1.0).contains(&ratio)), "{}", lines[1]);
}
