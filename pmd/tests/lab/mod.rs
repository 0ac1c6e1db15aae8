//! Two network namespaces with a veth pair between them, gone when the test is, however it ends.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The namespaces `left` and `right`; in each, one end of the cable, called `veth0`.
pub struct Lab {
    pub left: String,
    pub right: String,
}

/// The name of the interface in each namespace.
pub const VETH: &str = "veth0";

impl Lab {
    /// Builds one with `queues` receive and transmit queues at each end, or says why not.
    pub fn new(queues: u32) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: no arguments, no memory.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: needs root");
            return None;
        }
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("wd{}-{n}{side}", std::process::id());
        let lab = Self { left: name('l'), right: name('r') };
        for ns in [&lab.left, &lab.right] {
            if let Err(e) = ip(&["netns", "add", ns]) {
                eprintln!("skipped: needs network namespaces: {e}");
                return None;
            }
            let _entered = enter(ns);
            // So that no frame comes unasked.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        }
        let q = queues.to_string();
        let numbers = ["numrxqueues", &q, "numtxqueues", &q];
        let mut add = vec!["link", "add", VETH, "netns", &lab.left];
        add.extend(numbers);
        add.extend(["type", "veth", "peer", "name", VETH, "netns", &lab.right]);
        add.extend(numbers);
        ip(&add).unwrap();
        for ns in [&lab.left, &lab.right] {
            ip(&["-n", ns, "link", "set", VETH, "up"]).unwrap();
        }
        Some(lab)
    }

    /// Gives both ends an address for the kernel's stack: 192.0.2.1 left, 192.0.2.2 right (RFC 5737).
    pub fn addresses(&self) {
        ip(&["-n", &self.left, "addr", "add", "192.0.2.1/24", "dev", VETH]).unwrap();
        ip(&["-n", &self.right, "addr", "add", "192.0.2.2/24", "dev", VETH]).unwrap();
    }

    /// Whether an XDP program is attached.
    pub fn has_program(ns: &str) -> bool {
        ip(&["-n", ns, "link", "show", VETH]).unwrap().contains("prog/xdp")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for ns in [&self.left, &self.right] {
            let _ = ip(&["netns", "del", ns]);
        }
    }
}

/// Runs `ip`.
pub fn ip(args: &[&str]) -> Result<String, String> {
    let out = Command::new("ip").args(args).output().map_err(|e| format!("ip: {e}"))?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr)))
    }
}

/// Puts the current thread into a namespace until the guard is dropped.
pub fn enter(ns: &str) -> Entered {
    let before = File::open("/proc/thread-self/ns/net").unwrap();
    set_ns(&File::open(format!("/var/run/netns/{ns}")).unwrap());
    Entered(before)
}

/// See [`enter`].
pub struct Entered(File);

impl Drop for Entered {
    fn drop(&mut self) {
        set_ns(&self.0);
    }
}

fn set_ns(ns: &File) {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
}
