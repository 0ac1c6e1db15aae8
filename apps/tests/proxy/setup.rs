//! A proxy under test: its configuration, its process, and that it leaves nothing behind.

use std::collections::HashSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::certificates::certificates;
use crate::common::{Ran, command, cpus, run};
use crate::metrics::Metrics;

/// How long anything may take that takes no time on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a proxy is to be like. Each text is lines of TOML for its table.
pub struct Setup<'a> {
    /// Workers; 0 is one, on whatever core is next.
    pub workers: usize,
    pub drain_ms: u64,
    pub devices: bool,
    /// In `[[proxy]]` itself.
    pub proxy: &'a str,
    /// Names of pairs; without any, the program makes one.
    pub certificates: &'a [&'a str],
    pub tls: &'a str,
    pub limits: &'a str,
    pub timeouts: &'a str,
    pub compress: &'a str,
    pub upstream: &'a str,
    /// Without any, the program's own.
    pub servers: &'a [SocketAddr],
    /// Tables behind all others.
    pub more: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            workers: 0,
            drain_ms: 20_000,
            devices: true,
            proxy: "",
            certificates: &["rsa"],
            tls: "",
            limits: "",
            timeouts: "",
            compress: "",
            upstream: "",
            servers: &[],
            more: "",
        }
    }
}

impl Setup<'_> {
    fn toml(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let cores: Vec<usize> = match self.workers {
            0 => vec![NEXT.fetch_add(1, Ordering::Relaxed) % cpus()],
            n => (0..n).collect(),
        };
        let pairs: Vec<String> = self
            .certificates
            .iter()
            .map(|name| format!("{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}"))
            .collect();
        let pairs = match self.certificates {
            [] => String::new(),
            _ => format!("certificates = [{}]", pairs.join(", ")),
        };
        let servers: Vec<String> = match self.servers {
            [] => vec!["demo".to_owned()],
            servers => servers.iter().map(ToString::to_string).collect(),
        };
        let (devices, uses) = match self.devices {
            true => (
                "[device.rsa0]\ndriver = \"soft-rsa\"\n[device.zip0]\ndriver = \"soft-zip\"\n",
                "rsa = \"rsa0\"\nzip = \"zip0\"\n",
            ),
            false => ("", ""),
        };
        let Self { drain_ms, proxy, tls, limits, timeouts, compress, upstream, more, .. } = self;
        format!(
            "version = 1\n[eal]\nidle = \"sleep\"\ndrain_ms = {drain_ms}\n\
             [mempool.proxy]\nbuffers = 2560\nsize = 16640\n{devices}\
             [[proxy]]\nname = \"tested\"\ncores = {cores:?}\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\n{uses}\
             admin = \"./admin.sock\"\n{proxy}\n\
             [proxy.tls]\n{pairs}\n{tls}\n[proxy.limits]\n{limits}\n[proxy.timeouts]\n{timeouts}\n\
             [proxy.compress]\n{compress}\n[[proxy.upstream]]\nname = \"servers\"\nservers = {servers:?}\n{upstream}\n\
             {more}\n"
        )
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn start(&self) -> Proxy {
        let folder = crate::common::folder();
        certificates().write(folder.path());
        std::fs::write(folder.path().join("proxy.toml"), self.toml()).expect("write the configuration");
        let mut command = command(folder.path(), ["run", "proxy.toml", "--json", "--no-huge"]);
        let file = |name: &str| File::create(folder.path().join(name)).expect("a file");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().expect("the program starts");
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut proxy = Proxy { folder, child, v4: nowhere, v6: nowhere, fds: Vec::new() };
        proxy.wait_for_addresses();
        proxy.fds = proxy.fds_now();
        proxy
    }
}

/// A proxy at work. Killed when the test ends before it does.
pub struct Proxy {
    folder: tempfile::TempDir,
    child: Child,
    /// Where it listens.
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    /// What it had open before the first connection.
    fds: Vec<String>,
}

impl Proxy {
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_addresses(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stderr = self.text("stderr");
            // The line is whole when the next one is there.
            let whole = stderr.contains("admin.sock\n");
            let found: Vec<SocketAddr> = stderr
                .split("https://")
                .skip(1)
                .filter_map(|rest| rest.split('/').next()?.parse().ok())
                .collect();
            if let (true, [v4, v6, ..]) = (whole, &found[..]) {
                (self.v4, self.v6) = (*v4, *v6);
                return;
            }
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none() && Instant::now() < deadline, "it does not listen: {ended:?} {stderr}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The certificate of the authority, for other programs.
    pub fn authority(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its numbers.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.path().join("admin.sock")).expect("its numbers")
    }

    /// Waits until its numbers are as they should be.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics();
            if is_so(&metrics) {
                return metrics;
            }
            assert!(
                Instant::now() < deadline,
                "not so after {PATIENCE:?}: {what}: {:#?}",
                metrics.there_is()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has open, but for connections of its admin socket: of these it keeps some until others come.
    fn fds_now(&self) -> Vec<String> {
        let process = format!("/proc/{}", self.child.id());
        let unix = std::fs::read_to_string(format!("{process}/net/unix")).unwrap_or_default();
        let inodes: HashSet<&str> = unix.lines().filter_map(|line| line.split_whitespace().nth(6)).collect();
        let is_unix = |to: &str| {
            let inode = to.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            inode.is_some_and(|inode| inodes.contains(inode))
        };
        let entries = std::fs::read_dir(format!("{process}/fd")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let to = std::fs::read_link(entry.path()).ok()?.display().to_string();
                (!is_unix(&to)).then(|| format!("{} {to}", entry.file_name().display()))
            })
            .collect()
    }

    /// Its memory, in bytes: now, and at its most.
    pub fn memory(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let of = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) << 10
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Has it load its configuration anew.
    pub fn hang_up(&self) {
        self.signal(libc::SIGHUP);
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for yet, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Changes its configuration, which is not loaded by that.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.path().join("proxy.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        assert!(text.contains(from), "{from:?} is not in {text}");
        std::fs::write(path, text.replacen(from, to, 1)).expect("write the configuration");
    }

    /// `warpdrive reload`.
    pub fn reload(&self) -> Ran {
        run(self.path(), ["reload", "proxy.toml"])
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.text("stderr")
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Insists that nothing is left when all clients and servers have closed their connections, and ends it.
    #[track_caller]
    pub fn leaves_nothing(self) {
        self.has_nothing_left(|_| true);
        self.terminate();
        self.ends_well();
    }

    /// As [`leaves_nothing`](Self::leaves_nothing), and that it has told of a device that was gone for a while.
    #[track_caller]
    pub fn leaves_nothing_but_warnings(self) {
        // Of devices that are gone there are none, in a while.
        self.has_nothing_left(|fd| !fd.contains("/expose/dev/"));
        let devices = |fds: &[String]| fds.iter().filter(|fd| fd.contains("/expose/dev/")).count();
        assert!(devices(&self.fds_now()) <= devices(&self.fds));
        self.terminate();
        let stderr = self.ends();
        let expected =
            |line: &str| line.contains(": no queue yet: ") || line.contains(": a queue was opened anew ");
        let other = stderr.lines().find(|line| line.contains("WARN") && !expected(line));
        assert_eq!(other, None, "{stderr}");
        assert!(stderr.contains("Its queue is opened anew when the device is back"), "{stderr}");
    }

    #[track_caller]
    fn has_nothing_left(&self, counts: impl Fn(&str) -> bool) {
        self.wait_until("no connections, and no handshakes parked", |m| {
            m.sum("connections_open", &[]) == 0 && m.sum("handshakes_parked", &[]) == 0
        });
        let deadline = Instant::now() + PATIENCE;
        let count = |fds: &[String]| fds.iter().filter(|fd| counts(fd)).count();
        while count(&self.fds_now()) != count(&self.fds) {
            let (before, now) = (&self.fds, self.fds_now());
            assert!(Instant::now() < deadline, "descriptors are left\nbefore {before:#?}\nnow {now:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// What it has said at its end.
    #[track_caller]
    pub fn ended(&self) -> Value {
        let stdout = self.text("stdout");
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"))
    }

    /// Insists that it ends as it should, after it was asked to.
    #[track_caller]
    pub fn ends_well(self) {
        let stderr = self.ends();
        assert!(!stderr.contains("WARN"), "{stderr}");
    }

    /// What it said on the way to its end.
    #[track_caller]
    fn ends(mut self) -> String {
        let status = self.wait(PATIENCE);
        let (stdout, stderr) = (self.text("stdout"), self.text("stderr"));
        assert_eq!(status.code(), Some(0), "exit code\n{stdout}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let ended = self.ended();
        assert_eq!(ended["leaked_buffers"], json!([]));
        assert_eq!(ended["abandoned_packets"], 0, "connections were given up");
        let pools = ended["statistics"]["pools"].as_array().expect("pools");
        assert!(pools.iter().all(|pool| pool["in_use"] == 0), "every buffer came back: {pools:?}");
        stderr
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the proxy said: {}", self.text("stderr"));
        }
    }
}
