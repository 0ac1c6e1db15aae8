//! Inputs that are larger than 32 bits can count or memory can hold, and ends that come early.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::{PATIENCE, folder};
use super::zip;

/// The most memory that a process has had at once, in KiB; `None` when it has ended.
fn peak_kib(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Waits for a process; the most memory it has had.
#[track_caller]
fn end(child: &mut Child) -> u64 {
    let mut peak = 0;
    loop {
        peak = peak_kib(child).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().expect("wait") {
            assert!(status.success(), "{status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = super::common::command(folder, ["zip"].iter().chain(args));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    // Signals that whoever started the tests ignores, as nohup does, would be ignored by the program as well.
    let heed = || {
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM] {
            // SAFETY: a call that may be made between fork and exec, and installs no function.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: what runs in the child is signal-safe and allocates nothing.
    unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, heed) };
    command
}

/// More than 32 bits count, through pipes.
#[test]
fn beyond_4_gib_everything_is_exact_and_memory_stays_constant() {
    const LEN: u64 = (4 << 30) + 12_345;
    const MOST_KIB: u64 = 64 << 10;
    let folder = folder();
    let mut zeros = Command::new("head")
        .args(["-c", &LEN.to_string(), "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("head starts");
    let mut packing = program(folder.path(), &["-1"])
        .stdin(zeros.stdout.take().expect("a pipe"))
        .stdout(File::create(folder.path().join("z.gz")).expect("create"))
        .spawn()
        .expect("it starts");
    let peak = end(&mut packing);
    assert!((1..MOST_KIB).contains(&peak), "{peak} KiB");
    zeros.wait().expect("wait");
    let trailer = fs::read(folder.path().join("z.gz")).expect("read");
    assert_eq!(trailer[trailer.len() - 4..], 12_345_u32.to_le_bytes(), "the length modulo 2^32");
    let mut listing =
        program(folder.path(), &["-l", "z.gz"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let peak = end(&mut listing);
    assert!((1..MOST_KIB).contains(&peak), "{peak} KiB");
    let text = String::from_utf8(listing.wait_with_output().expect("output").stdout).expect("text");
    assert!(text.contains(&LEN.to_string()), "{text}");
}

#[test]
fn a_signal_leaves_the_input_and_nothing_else() {
    let folder = folder();
    let plain = File::create(folder.path().join("a")).expect("create");
    // So much that it cannot be done before the signal comes, however busy the machine is.
    plain.set_len(1 << 36).expect("a sparse file");
    let packed = File::create(folder.path().join("b.gz")).expect("create");
    let small = zip(folder.path(), &["-n"], &vec![0; 64 << 20]).well();
    for _ in 0..100 {
        std::io::Write::write_all(&mut &packed, &small).expect("write");
    }
    for (signal, args, output) in [
        (libc::SIGINT, &["-9k", "-p1", "a"][..], "a.gz"),
        (libc::SIGTERM, &["-dk", "b.gz"], "b"),
        (libc::SIGHUP, &["-9k", "-p1", "a"], "a.gz"),
    ] {
        let output = folder.path().join(output);
        let mut child = program(folder.path(), args).spawn().expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        while !fs::metadata(&output).is_ok_and(|data| data.len() > 0) {
            assert!(Instant::now() < deadline, "no output");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: the child was not waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
        let status = child.wait().expect("wait");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal));
        assert!(!output.exists(), "{args:?}");
    }
    assert!(folder.path().join("a").exists() && folder.path().join("b.gz").exists());
}
