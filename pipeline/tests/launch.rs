//! What is left of a start that fails, and of workers that nobody joins: nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use warpdrive_pipeline::config::Config;
use warpdrive_pipeline::cores::{CpuSet, MAX_CPUS, allowed, parse_lcores};
use warpdrive_pipeline::launch::{LaunchError, Options, launch};
use warpdrive_pipeline::plan::Plan;

/// Threads are found by their names, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two workers on one cpu.
fn plan(text: &str) -> Plan {
    let cpu = allowed().unwrap()[0];
    let config = Config::parse("test.toml", text).unwrap();
    Plan::new(&config, &parse_lcores(&format!("0@{cpu},1@{cpu}")).unwrap()).unwrap()
}

fn workers() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("worker-")).collect()
}

/// A thread that was joined may be in the list for a moment.
#[track_caller]
fn no_worker_is_left() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !workers().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", workers());
        std::thread::sleep(Duration::from_millis(1));
    }
}

const ENDLESS: &str = r#"
    version = 1
    [mempool.pkt]
    buffers = 4096
    [port.source]
    driver = "null"
    [port.sink]
    driver = "null"
    [[pipeline]]
    name = "endless"
    core = 0
    stages = [ { rx = "source" }, { tx = "sink" } ]
"#;

#[test]
fn a_worker_that_cannot_start_ends_those_before_it_and_none_has_polled() {
    let _alone = alone();
    let out = std::env::temp_dir().join(format!("warpdrive-launch-{}.pcap", std::process::id()));
    for strict in ["", "[eal]\nstrict = \"log\""] {
        let text = format!(
            r#"{ENDLESS}
            [port.in]
            driver = "pcap"
            file = "builtin:demo"
            [port.out]
            driver = "pcap"
            out = {out:?}
            [port.source1]
            driver = "null"
            [port.sink1]
            driver = "null"
            [[pipeline]]
            name = "copies"
            core = 0
            stages = [ {{ rx = "in" }}, {{ tx = "out" }} ]
            [[pipeline]]
            name = "later"
            core = 1
            stages = [ {{ rx = "source1" }}, {{ tx = "sink1" }} ]
            {strict}
            "#
        );
        let mut plan = plan(&text);
        plan.workers[1].cpus = CpuSet::of(&[MAX_CPUS - 1]).unwrap();
        match launch(&plan, &Options::default()).map(drop) {
            Err(LaunchError::Core(_)) => {}
            Err(LaunchError::Strict(e)) => return println!("skipped: {e}"),
            other => panic!("{other:?}"),
        }
        no_worker_is_left();
        // Its header is 24 bytes long.
        let len = std::fs::metadata(&out).map_or(0, |file| file.len());
        let _ = std::fs::remove_file(&out);
        assert!(len <= 24, "a worker polled before all were pinned: {len} bytes");
    }
}

#[test]
fn workers_that_are_dropped_have_ended() {
    let _alone = alone();
    let running = launch(&plan(ENDLESS), &Options::default()).unwrap();
    assert_eq!(workers().len(), 1);
    drop(running);
    no_worker_is_left();
}
