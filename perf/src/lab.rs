//! Veth pairs between network namespaces: generator, forwarder, sink. Gone when the bench is, however it ends; what a
//! killed bench left behind, the next one removes.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::peers::{PageSize, Process};
use crate::{BenchError, os};

const PREFIX: &str = "wdbench";
/// Between generator and forwarder; called so at both ends.
pub const IN: &str = "in0";
/// Between forwarder and sink.
pub const OUT: &str = "out0";
const ANSWER: Duration = Duration::from_secs(5);

/// Which of them are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// None: generator, forwarder and sink in a row.
    Row,
    /// Generator and sink: what goes out of it comes back to it.
    Loop,
    /// All, without veth pairs: for interfaces that a forwarder makes.
    Alone,
    /// Forwarder and sink, without veth pairs: they are laid one by one, by [`Lab::cable`].
    Pair,
}

/// The namespaces.
pub struct Lab {
    /// Where the load comes from, by [`IN`].
    pub generator: String,
    /// Has [`IN`] and [`OUT`].
    pub forwarder: String,
    /// Where it arrives, by [`OUT`].
    pub sink: String,
}

impl Lab {
    /// Builds it, in a row.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn new() -> Result<Self, BenchError> {
        Self::of(Shape::Row)
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`BenchError::Program`] with what `ip` says; what was made by then is removed.
    pub fn of(shape: Shape) -> Result<Self, BenchError> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        remove_left_behind();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |role| format!("{PREFIX}-{}-{role}{number}", std::process::id());
        let (generator, forwarder, sink) = match shape {
            Shape::Row => (name("g"), name("f"), name("s")),
            Shape::Loop => (name("g"), name("f"), name("g")),
            Shape::Alone => (name("f"), name("f"), name("f")),
            Shape::Pair => (name("g"), name("f"), name("f")),
        };
        let lab = Self { generator, forwarder, sink };
        for namespace in lab.namespaces() {
            ip(&["netns", "add", namespace])?;
            // So that the kernel sends nothing of its own.
            let quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
            let _ = ip(&["netns", "exec", namespace, "sysctl", "-q", "-w", quiet[0], quiet[1]]);
        }
        let cables = [(&lab.generator, &lab.forwarder, IN), (&lab.forwarder, &lab.sink, OUT)];
        for (left, right, cable) in cables.into_iter().filter(|_| matches!(shape, Shape::Row | Shape::Loop)) {
            lay(left, right, cable)?;
            for namespace in [left, right] {
                up(namespace, cable)?;
            }
        }
        Ok(lab)
    }

    /// Lays a veth pair from the generator to the forwarder, called `name` at both ends, whose ends do what a wire does:
    /// they segment nothing, merge nothing, and compute no checksums.
    ///
    /// # Errors
    /// [`BenchError::Program`] with what `ip` says, [`BenchError::Io`] when an end keeps its offloads.
    pub fn cable(&self, name: &str) -> Result<(), BenchError> {
        lay(&self.generator, &self.forwarder, name)?;
        for namespace in [self.generator.as_str(), &self.forwarder] {
            within(Some(namespace), || {
                os::offloads_off(name).map_err(|cause| BenchError::Io {
                    what: format!("cannot switch the offloads of {name} in {namespace} off"),
                    cause,
                    remedy: "run as root",
                })
            })?;
            up(namespace, name)?;
        }
        Ok(())
    }

    /// Each once.
    fn namespaces(&self) -> Vec<&str> {
        let mut names = vec![self.generator.as_str(), &self.forwarder, &self.sink];
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Starts our program as the forwarder. It ends by itself after `time`, should we be killed.
    ///
    /// # Errors
    /// [`BenchError::Io`] when it cannot be started.
    pub fn forward(
        &self,
        program: &Path,
        config: &Path,
        cpu: usize,
        pages: PageSize,
        time: Duration,
    ) -> Result<Process, BenchError> {
        let [ip, words @ ..] = inside(&self.forwarder);
        let mut command = Command::new(ip);
        command.args(words).arg(program).arg("run").arg(config);
        command.args(["-l", &cpu.to_string(), "--duration", &format!("{}ms", time.as_millis())]);
        if pages == PageSize::Small {
            command.arg("--no-huge");
        }
        Process::start(command)
    }

    /// Takes XDP programs off the forwarder's interfaces that a forwarder which was killed has left there.
    pub fn clear(&self) {
        for cable in [IN, OUT] {
            let _ = ip(&["-n", &self.forwarder, "link", "set", "dev", cable, "xdp", "off"]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.namespaces() {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// The start of a command line that runs in a namespace.
#[must_use]
pub fn inside(namespace: &str) -> [String; 4] {
    ["ip", "netns", "exec", namespace].map(str::to_owned)
}

/// Runs `work` on a thread in a network namespace, or where the calling thread is.
///
/// # Errors
/// [`BenchError`] when it cannot be entered, or what `work` returned.
pub fn within<T: Send>(
    namespace: Option<&str>,
    work: impl FnOnce() -> Result<T, BenchError> + Send,
) -> Result<T, BenchError> {
    let inside = || {
        namespace.map_or(Ok(()), enter)?;
        work()
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(inside).join();
        done.unwrap_or_else(|_| Err(BenchError::Bug("a thread in a network namespace panicked".to_owned())))
    })
}

/// Moves the calling thread to a network namespace.
///
/// # Errors
/// [`BenchError::Io`] when there is none of that name, or without root.
pub fn enter(namespace: &str) -> Result<(), BenchError> {
    os::enter_network(namespace).map_err(|cause| BenchError::Io {
        what: format!("cannot enter network namespace {namespace}"),
        cause,
        remedy: "run as root",
    })
}

/// Gives an end of a cable an address.
///
/// # Errors
/// [`BenchError::Program`] with what `ip` says.
pub fn address(namespace: &str, interface: &str, address: &str) -> Result<(), BenchError> {
    ip(&["-n", namespace, "addr", "add", address, "dev", interface]).map(drop)
}

/// Has an interface carry packets.
///
/// # Errors
/// [`BenchError::Program`] with what `ip` says.
pub fn up(namespace: &str, interface: &str) -> Result<(), BenchError> {
    ip(&["-n", namespace, "link", "set", interface, "up"]).map(drop)
}

fn lay(left: &str, right: &str, name: &str) -> Result<(), BenchError> {
    ip(&["link", "add", name, "netns", left, "type", "veth", "peer", "name", name, "netns", right]).map(drop)
}

/// Reads one counter of an interface, from within its namespace, without starting a program each time.
pub struct Counter {
    shell: Process,
    file: String,
}

impl Counter {
    /// For example `tx_packets` of an interface.
    ///
    /// # Errors
    /// [`BenchError`] when no shell starts there.
    pub fn open(namespace: &str, interface: &str, counter: &str) -> Result<Self, BenchError> {
        let [ip, words @ ..] = inside(namespace);
        let mut command = Command::new(ip);
        command.args(words).args([
            "sh",
            "-c",
            "while read -r file; do read -r n < \"$file\"; echo \"$n\"; done",
        ]);
        let shell = Process::start(command)?;
        Ok(Self { shell, file: format!("/sys/class/net/{interface}/statistics/{counter}") })
    }

    /// The value now.
    ///
    /// # Errors
    /// [`BenchError::Program`] when there is none.
    pub fn read(&mut self) -> Result<u64, BenchError> {
        self.shell.send(&self.file)?;
        self.shell.read(ANSWER, "a counter", |line| line.parse().ok())
    }
}

fn ip(arguments: &[&str]) -> Result<String, BenchError> {
    let wrong = |what: String| BenchError::Program {
        program: format!("ip {}", arguments.join(" ")),
        what,
        remedy: "network namespaces are needed: run as root, with the package iproute2".to_owned(),
    };
    let output = Command::new("ip").args(arguments).output().map_err(|e| wrong(e.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(wrong(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn remove_left_behind() {
    for line in ip(&["netns", "list"]).unwrap_or_default().lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if owner(name).is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// The process that made a namespace of this name, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    let mut parts = name.split('-');
    let ours = parts.next() == Some(PREFIX);
    let pid = parts.next()?.parse().ok()?;
    let role = parts.next()?.trim_end_matches(|c: char| c.is_ascii_digit());
    (ours && matches!(role, "g" | "f" | "s") && parts.next().is_none()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_namespaces_are_recognised() {
        assert_eq!(owner("wdbench-123-g"), Some(123));
        assert_eq!(owner("wdbench-123-s17"), Some(123));
        for other in ["wdbench", "wdbench-1", "wdbench-x-g", "wdbench-1-q", "wdbench-1-g-1", "other-1-g", ""]
        {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn a_lab_has_two_cables_and_leaves_nothing() {
        let Ok(lab) = Lab::new() else {
            eprintln!("skipped: needs root and network namespaces");
            return;
        };
        let mut counter = Counter::open(&lab.sink, OUT, "rx_packets").unwrap();
        assert_eq!(counter.read().unwrap(), 0);
        let name = lab.forwarder.clone();
        assert!(ip(&["-n", &name, "link"]).unwrap().contains(IN));
        drop(lab);
        assert!(!ip(&["netns", "list"]).unwrap().contains(&name));
    }

    #[test]
    fn a_cable_between_two_has_no_offloads_and_frames_as_long_as_a_wire_s() {
        let Ok(lab) = Lab::of(Shape::Pair) else {
            eprintln!("skipped: needs root and network namespaces");
            return;
        };
        lab.cable("wire0").unwrap();
        for namespace in [&lab.generator, &lab.forwarder] {
            let links = ip(&["-d", "-n", namespace, "link", "show", "wire0"]).unwrap();
            assert!(links.contains("mtu 1500") && links.contains("UP"), "{links}");
            assert!(within(Some(namespace), || Ok(os::offloads("wire0"))).unwrap().unwrap().is_empty());
        }
        assert!(within(Some("wdbench-none"), || Ok(())).is_err());
    }

    #[test]
    fn in_a_loop_both_cables_end_at_the_generator() {
        let Ok(lab) = Lab::of(Shape::Loop) else {
            eprintln!("skipped: needs root and network namespaces");
            return;
        };
        for namespace in [&lab.generator, &lab.forwarder] {
            let links = ip(&["-n", namespace, "link"]).unwrap();
            assert!(links.contains(IN) && links.contains(OUT), "{links}");
        }
        assert_eq!(lab.namespaces().len(), 2);
    }
}
