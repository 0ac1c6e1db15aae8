//! Memory: hugepages got, demanded and given back; pools that run low.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::loads::load;
use crate::common::{PATIENCE, Started, command, folder, meminfo, run, run_config, skipped};

/// For tests that reserve hugepages, and for those that rely on what there are.
pub fn hugepages() -> MutexGuard<'static, ()> {
    static HUGEPAGES: Mutex<()> = Mutex::new(());
    HUGEPAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

const RESERVE: &str = "/proc/sys/vm/nr_hugepages";

/// Hugepages reserved for a test, given back at its end.
struct Reserved {
    before: String,
}

impl Reserved {
    /// At least `n` free ones; `None`, and says so, when they are not to be had.
    fn at_least(n: u64) -> Option<Self> {
        let before = fs::read_to_string(RESERVE).ok()?.trim().to_owned();
        let total: u64 = before.parse().ok()?;
        let wanted = (total + n).to_string();
        if meminfo("HugePages_Free") < n
            && (fs::write(RESERVE, wanted).is_err() || meminfo("HugePages_Free") < n)
        {
            let _ = fs::write(RESERVE, &before);
            skipped("no hugepages, and none can be reserved");
            return None;
        }
        Some(Self { before })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::write(RESERVE, &self.before);
    }
}

#[test]
fn killed_under_load_it_leaves_no_hugepage_behind() {
    let _huge = hugepages();
    let Some(_reserved) = Reserved::at_least(64) else { return };
    let free = meminfo("HugePages_Free");
    let folder = folder();
    fs::write(folder.path().join("test.toml"), load("", 64).replace("32768", "8192")).expect("write");
    let mut started = Started::new(command(folder.path(), ["run", "test.toml"]));
    started.wait_for_workers();
    assert!(meminfo("HugePages_Free") < free, "the pool lies in hugepages");
    started.signal(libc::SIGKILL);
    let ran = started.end(PATIENCE);
    assert_eq!(ran.signal, Some(libc::SIGKILL));
    let deadline = Instant::now() + Duration::from_secs(5);
    while meminfo("HugePages_Free") != free && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20)); // the kernel takes the memory apart
    }
    assert_eq!(meminfo("HugePages_Free"), free);
    assert_eq!(meminfo("HugePages_Rsvd"), 0);
}

#[test]
fn hugepages_are_used_where_there_are_any_and_not_when_told_so() {
    let _huge = hugepages();
    let Some(_reserved) = Reserved::at_least(64) else { return };
    let folder = folder();
    let ran = run(folder.path(), ["run"]).well();
    assert!(ran.stderr.contains("8192 buffers of 2048 bytes in 2 MiB pages"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hugepages for mempool"), "{}", ran.stderr);
    let ran = run(folder.path(), ["run", "--no-huge"]).well();
    assert!(ran.stderr.contains("8192 buffers of 2048 bytes in 4 KiB pages"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("MiB pages"), "neither for captures: {}", ran.stderr);
}

#[test]
fn what_is_required_and_not_there_is_named_and_nothing_is_started() {
    let folder = folder();
    for (require, pool, named) in [
        // What --no-huge forbids cannot be had, whatever the machine has.
        ("hugepages", "", "hugepages for mempool \"pkt\""),
        ("hardware", "", "hardware for device \"rsa0\""),
    ] {
        let toml = load(&format!("require = [{require:?}]\n{pool}"), 64);
        let ran = run_config(folder.path(), &toml, &[]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains("required but not got: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(named) && ran.stderr.contains("Remedy: "), "{}", ran.stderr);
        assert!(ran.stdout.is_empty());
        assert!(!folder.path().join("warpdrive-demo").exists(), "no key was made");
    }
}

#[test]
fn an_output_is_not_made_or_cut_when_a_requirement_fails() {
    let folder = folder();
    fs::write(folder.path().join("out.pcap"), b"precious").expect("write");
    let toml = r#"
        version = 1
        [eal]
        require = ["hugepages"]
        [port.in]
        driver = "null"
        packets = 1
        [port.out]
        driver = "pcap"
        out = "out.pcap"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { tx = "out" } ]
    "#;
    assert_eq!(run_config(folder.path(), toml, &[]).code, Some(1));
    assert_eq!(fs::read(folder.path().join("out.pcap")).expect("still there"), b"precious");
}

#[test]
fn pages_that_were_demanded_and_cannot_be_had_are_an_error_with_the_remedy() {
    let _huge = hugepages();
    if meminfo("HugePages_Total") > 0 {
        return skipped("there are hugepages");
    }
    let folder = folder();
    fs::write(folder.path().join("test.toml"), load("pages = \"2M\"", 64)).expect("write");
    let ran = run(folder.path(), ["run", "test.toml", "--packets", "1"]);
    assert_eq!(ran.code, Some(1));
    for part in ["cannot map", "2 MiB pages", "Remedy: "] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    run(folder.path(), ["run", "test.toml", "--packets", "1", "--no-huge"]).well();
}

#[test]
fn a_full_accelerator_drops_and_counts_when_told_so() {
    let toml = r#"
        version = 1
        [mempool.pkt]
        buffers = 512
        [port.in]
        driver = "null"
        packets = 20000
        copy = true
        [port.out]
        driver = "null"
        [device.zip0]
        driver = "soft-zip"
        [[pipeline]]
        name = "p"
        stages = [
          { rx = "in" },
          { zip = "zip0", op = "compress", depth = 1, full = "drop" },
          { tx = "out" },
        ]
    "#;
    let folder = folder();
    let s = run_config(folder.path(), toml, &["-l", "0"]).well().statistics();
    let (full, sent) = (s.dropped("p", 1, "full"), s.port("out", "tx", "packets"));
    assert!(full > 0 && sent > 0, "{full} dropped, {sent} sent");
    assert_eq!(full + sent, 20_000);
}

#[test]
fn a_full_accelerator_holds_the_port_back_by_default_and_loses_nothing() {
    let toml = r#"
        version = 1
        [mempool.pkt]
        buffers = 512
        [port.in]
        driver = "null"
        packets = 20000
        copy = true
        [port.out]
        driver = "null"
        [device.zip0]
        driver = "soft-zip"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { zip = "zip0", op = "compress", depth = 1 }, { tx = "out" } ]
    "#;
    let folder = folder();
    let s = run_config(folder.path(), toml, &["-l", "0"]).well().statistics();
    assert_eq!(s.port("out", "tx", "packets"), 20_000);
    assert_eq!(s.all_dropped(), 0);
}

#[test]
fn a_full_handoff_drops_and_counts_when_told_so() {
    let toml = r#"
        version = 1
        [mempool.pkt]
        buffers = 1024
        [port.in]
        driver = "null"
        packets = 20000
        copy = true
        size = 512
        [port.out]
        driver = "null"
        [device.zip0]
        driver = "soft-zip"
        [[pipeline]]
        name = "front"
        core = 0
        stages = [ { rx = "in" }, { handoff = "back", slots = 64, full = "drop" } ]
        [[pipeline]]
        name = "back"
        core = 0
        stages = [ { merge = true, burst = 1 }, { zip = "zip0", op = "compress", depth = 1 }, { tx = "out" } ]
    "#;
    let folder = folder();
    let s = run_config(folder.path(), toml, &["-l", "0"]).well().statistics();
    let (full, sent) = (s.dropped("front", 1, "full"), s.port("out", "tx", "packets"));
    assert!(full > 0 && sent > 0, "{full} dropped, {sent} sent");
    assert_eq!(full + sent, 20_000);
}

#[test]
fn a_capture_that_cannot_be_written_is_an_error_at_the_end() {
    let folder = folder();
    let toml = r#"
        version = 1
        [port.in]
        driver = "pcap"
        file = "builtin:demo"
        [port.out]
        driver = "pcap"
        out = "/dev/full"
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { tx = "out" } ]
    "#;
    let ran = run_config(folder.path(), toml, &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for part in ["error: port \"out\": cannot write the capture \"/dev/full\"", "No space left on device"] {
        assert!(ran.stderr.contains(part), "{part:?} is not in {}", ran.stderr);
    }
}

#[test]
fn an_idle_policy_that_the_cpu_does_not_have_is_said() {
    let folder = folder();
    let toml = r#"
        version = 1
        [eal]
        idle = "umwait"
        [port.in]
        driver = "null"
        packets = 1
        [[pipeline]]
        name = "p"
        stages = [ { rx = "in" }, { drop = true } ]
    "#;
    let ran = run_config(folder.path(), toml, &[]).well();
    let has_it = fs::read_to_string("/proc/cpuinfo").is_ok_and(|t| t.contains(" waitpkg"));
    assert_eq!(ran.stderr.contains("umwait: this cpu does not have it"), !has_it, "{}", ran.stderr);
}
