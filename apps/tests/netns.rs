//! Real traffic through the program, in network namespaces that each test makes and deletes: ping, iperf3, curl and
//! tcpreplay over af_xdp, af_packet and tap.
//!
//! Needs root and iproute2; each test says so and is skipped where they, or a tool of its own, are missing.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Programs that must be there, or the reason why the test cannot run.
fn missing(tools: &[&str]) -> Option<String> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Some("it needs root".to_owned());
    }
    let absent = tools.iter().find(|t| {
        !std::env::var_os("PATH").is_some_and(|p| std::env::split_paths(&p).any(|d| d.join(t).is_file()))
    });
    absent.map(|t| format!("{t} is not installed"))
}

macro_rules! need {
    ($($tool:literal),*) => {
        if let Some(why) = missing(&["ip", $($tool),*]) {
            eprintln!("skipped: {why}");
            return;
        }
        let probe = Net::new();
        if !probe.made {
            eprintln!("skipped: network namespaces are not permitted here");
            return;
        }
        drop(probe);
        // One at a time: each program keeps whole cores busy.
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    };
}

#[path = "clients/mod.rs"]
mod clients;
#[path = "netns/proxy.rs"]
mod proxy;

static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Network namespaces of one test, deleted when it ends, however it ends.
struct Net {
    prefix: String,
    spaces: Vec<String>,
    made: bool,
}

impl Net {
    /// One namespace, `w`, in which the program runs.
    fn new() -> Self {
        let prefix = format!("wdt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut net = Self { prefix, spaces: Vec::new(), made: false };
        net.made = net.add("w");
        net
    }

    fn name(&self, space: &str) -> String {
        format!("{}-{space}", self.prefix)
    }

    fn add(&mut self, space: &str) -> bool {
        let name = self.name(space);
        let made = run(Command::new("ip").args(["netns", "add", &name])).status.success();
        if made {
            self.spaces.push(name.clone());
            // No chatter of the kernel's own on the links.
            self.exec(
                space,
                "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
            );
            self.exec(space, "ip link set lo up");
        }
        made
    }

    /// A command in a namespace.
    fn command(&self, space: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.name(space)]).arg(program);
        c
    }

    /// Runs words of a command line in a namespace.
    fn exec(&self, space: &str, line: &str) -> Output {
        let mut words = line.split(' ');
        let mut c = self.command(space, words.next().unwrap());
        run(c.args(words))
    }

    fn must(&self, space: &str, line: &str) -> String {
        let out = self.exec(space, line);
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert!(out.status.success(), "{line}: {stdout}{stderr}");
        stdout
    }

    /// Joins two namespaces with a veth pair whose ends behave as a wire's do: no offloads.
    fn veth(&self, (a, at): (&str, &str), (b, bt): (&str, &str)) {
        self.must(a, &format!("ip link add {at} type veth peer name {bt} netns {}", self.name(b)));
        for (space, end) in [(a, at), (b, bt)] {
            self.exec(space, &format!("ethtool -K {end} tx off tso off gso off gro off"));
            self.must(space, &format!("ip link set {end} up"));
        }
    }

    /// A namespace with one interface, `e0`, at the other end of `inside` of another namespace.
    fn host(&mut self, space: &str, at: &str, inside: &str, address: Option<&str>) {
        assert!(self.add(space));
        self.veth((at, inside), (space, "e0"));
        if let Some(address) = address {
            self.must(space, &format!("ip addr add {address} dev e0"));
        }
    }

    /// Starts the program in a namespace and waits until its workers run.
    fn start(&self, space: &str, folder: &Path, arguments: &[&str]) -> Warpdrive {
        let log = folder.join(format!("{space}.log"));
        let out = folder.join(format!("{space}.out"));
        let mut c = self.command(space, env!("CARGO_BIN_EXE_warpdrive"));
        c.arg("run").args(arguments).current_dir(folder).env("WARPDRIVE_DEMO_DIR", demo_keys());
        let child = c
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut started = Warpdrive { child, log, out };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !["pipeline \"", "proxy \""].iter().any(|word| started.said().contains(word)) {
            let ended = started.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended at once: {}", started.said());
            assert!(Instant::now() < deadline, "it did not start: {}", started.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200));
        started
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for space in &self.spaces {
            run(Command::new("ip").args(["netns", "del", space]));
        }
    }
}

/// A running `warpdrive run`. `ip netns exec` becomes the program, so the child's pid is its own.
struct Warpdrive {
    child: Child,
    log: PathBuf,
    out: PathBuf,
}

impl Warpdrive {
    /// What it has written to standard error.
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    fn signal(&self, signal: i32) {
        // SAFETY: the pid is that of our own child, which was not waited for yet.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Ends it with SIGTERM; it must do so cleanly. Returns its statistics.
    fn end(mut self) -> String {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "SIGTERM did not end it: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        };
        let out = fs::read_to_string(&self.out).unwrap();
        assert!(status.success(), "{status}: {}{out}", self.said());
        assert!(out.contains("in use 0"), "{out}");
        out
    }
}

impl Drop for Warpdrive {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn run(c: &mut Command) -> Output {
    c.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{c:?}: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn config(name: &str) -> String {
    format!("{}/../configs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A folder for demo keys that all tests share: both ends of a chain need the same key.
fn demo_keys() -> PathBuf {
    static KEYS: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| tempfile::tempdir().unwrap()).path().to_owned()
}

/// An example configuration with its driver exchanged.
fn with_driver(folder: &Path, name: &str, driver: &str) -> String {
    let text = fs::read_to_string(config(name)).unwrap().replace("af_xdp", driver);
    let path = folder.join(format!("{driver}-{name}"));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The number in a statistics table: of `port`, the packets of `queue`.
fn packets(stats: &str, port: &str, queue: &str) -> u64 {
    let line = stats
        .lines()
        .find(|l| l.split_whitespace().next() == Some(port) && l.contains(&format!(" {queue} ")))
        .unwrap_or_else(|| panic!("no {port} {queue} in {stats}"));
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn ping_is_answered_over_af_xdp_and_af_packet() {
    need!("ping");
    for driver in ["af_xdp", "af_packet"] {
        let folder = tempfile::tempdir().unwrap();
        let mut net = Net::new();
        net.host("far", "w", "wd0", Some("192.0.2.1/24"));
        let program = net.start("w", folder.path(), &[&config(&format!("ping-{driver}.toml"))]);
        let answer = net.must("far", "ping -c 5 -i 0.1 -W 2 192.0.2.2");
        assert!(answer.contains("5 received"), "{driver}: {answer}");
        let big = net.must("far", "ping -c 2 -i 0.1 -W 2 -s 1400 192.0.2.2");
        assert!(big.contains("2 received"), "{driver}: {big}");
        let stats = program.end();
        assert!(packets(&stats, "wire", "tx0") >= 7, "{stats}");
    }
}

#[test]
fn ping_is_answered_over_tap_and_the_interface_goes_with_the_program() {
    need!("ping");
    let folder = tempfile::tempdir().unwrap();
    let net = Net::new();
    let program = net.start("w", folder.path(), &[&config("ping-tap.toml")]);
    let answer = net.must("w", "ping -c 5 -i 0.1 -W 2 192.0.2.2");
    assert!(answer.contains("5 received"), "{answer}");
    program.end();
    assert!(!net.exec("w", "ip link show wdtap0").status.success(), "the tap interface was left behind");
}

/// Plays the built-in capture into `sign-zip`, its output into `unzip-verify`, and compares what comes out with what
/// went in. The namespaces: from - w - x - to.
fn sign_and_verify(driver: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_demo(path);
    let mut net = Net::new();
    net.host("from", "w", "wd0", None);
    assert!(net.add("x"));
    net.veth(("w", "wd1"), ("x", "wd0"));
    net.host("to", "x", "wd1", None);
    let signer = net.start("w", path, &[&with_driver(path, "sign-zip-af_xdp.toml", driver), "--no-huge"]);
    let verifier =
        net.start("x", path, &[&with_driver(path, "unzip-verify-af_xdp.toml", driver), "--no-huge"]);
    let sink = path.join("sink.toml");
    fs::write(
        &sink,
        "version = 1\n[port.in]\ndriver = \"af_packet\"\ninterface = \"e0\"\n[port.out]\ndriver = \"pcap\"\nout = \"got.pcap\"\n\
         [[pipeline]]\nname = \"sink\"\nstages = [ { rx = \"in\" }, { tx = \"out\" } ]\n",
    )
    .unwrap();
    let sink = net.start("to", path, &[&sink.display().to_string()]);
    net.must("from", &format!("tcpreplay -q -p 400 -i e0 {}", path.join("demo.pcap").display()));
    std::thread::sleep(Duration::from_millis(1500));
    let (got, verified, signed) = (sink.end(), verifier.end(), signer.end());
    let (sent, got_frames) = (frames(&path.join("demo.pcap")), frames(&path.join("got.pcap")));
    assert_eq!(sent.len(), got_frames.len(), "{driver}\nsigner: {signed}\nverifier: {verified}\nsink: {got}");
    for (i, (s, g)) in sent.iter().zip(&got_frames).enumerate() {
        assert_eq!(s, g, "{driver}: frame {i} differs");
    }
}

#[test]
fn packets_signed_and_compressed_over_af_xdp_come_out_byte_identical() {
    need!("tcpreplay");
    sign_and_verify("af_xdp");
}

#[test]
fn packets_signed_and_compressed_over_af_packet_come_out_byte_identical() {
    need!("tcpreplay");
    sign_and_verify("af_packet");
}

/// Writes the built-in capture to `demo.pcap`.
fn write_demo(folder: &Path) {
    let copy = folder.join("copy.toml");
    fs::write(
        &copy,
        "version = 1\n[port.in]\ndriver = \"pcap\"\nfile = \"builtin:demo\"\n[port.out]\ndriver = \"pcap\"\nout = \"demo.pcap\"\n\
         [[pipeline]]\nname = \"copy\"\nstages = [ { rx = \"in\" }, { tx = \"out\" } ]\n",
    )
    .unwrap();
    let out = run(Command::new(env!("CARGO_BIN_EXE_warpdrive")).arg("run").arg(copy).current_dir(folder));
    assert!(out.status.success(), "{}", text(&out.stderr));
}

/// The frames of a classic pcap file.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let mut at = 24;
    let mut frames = Vec::new();
    while at + 16 <= bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        frames.push(bytes[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    assert_eq!(at, bytes.len(), "a whole capture");
    frames
}

#[test]
fn iperf3_udp_and_curl_cross_a_wire_of_af_xdp() {
    need!("iperf3", "curl", "python3", "ethtool");
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::new();
    net.host("a", "w", "wd0", Some("192.0.2.1/24"));
    net.host("b", "w", "wd1", Some("192.0.2.2/24"));
    let program = net.start("w", folder.path(), &[&config("wire-af_xdp.toml")]);
    real_traffic(&net, "a", "b", "192.0.2.2", folder.path());
    let stats = program.end();
    assert!(packets(&stats, "b", "tx0") > 1000, "{stats}");
}

#[test]
fn iperf3_udp_and_curl_cross_a_wire_from_tap_to_af_packet() {
    need!("iperf3", "curl", "python3", "ethtool");
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::new();
    net.host("far", "w", "wd0", Some("192.0.2.1/24"));
    let program = net.start("w", folder.path(), &[&config("wire-tap-af_packet.toml")]);
    real_traffic(&net, "w", "far", "192.0.2.1", folder.path());
    let stats = program.end();
    assert!(packets(&stats, "net", "tx0") > 1000, "{stats}");
}

/// iperf3 over UDP, and a page of a local web server by curl, from one namespace to another.
fn real_traffic(net: &Net, from: &str, to: &str, address: &str, folder: &Path) {
    let page: Vec<u8> = (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect();
    fs::write(folder.join("page.bin"), &page).unwrap();
    let mut web = net.command(to, "python3");
    let web = web.args(["-m", "http.server", "--bind", address, "8080"]).current_dir(folder);
    let _web = Killed(web.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let mut iperf = net.command(to, "iperf3");
    let iperf = iperf.args(["-s", "-1", "-B", address]).stdout(Stdio::null()).stderr(Stdio::null());
    let _iperf = Killed(iperf.spawn().unwrap());
    std::thread::sleep(Duration::from_millis(700));
    let report =
        net.must(from, &format!("iperf3 -c {address} -u -b 20M -l 1000 -t 2 --json --connect-timeout 5000"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let lost = report["end"]["sum"]["lost_percent"].as_f64().unwrap();
    assert!(lost < 20.0, "{lost} % of datagrams were lost");
    let got = folder.join("got.bin");
    net.must(from, &format!("curl -sS --max-time 20 -o {} http://{address}:8080/page.bin", got.display()));
    assert_eq!(fs::read(got).unwrap(), page, "the page did not come over whole");
}

/// A child process that is ended with the test.
struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pulled_cable_is_reported_and_survived() {
    need!("ping");
    for driver in ["af_xdp", "af_packet"] {
        let folder = tempfile::tempdir().unwrap();
        let mut net = Net::new();
        net.host("far", "w", "wd0", Some("192.0.2.1/24"));
        let program = net.start("w", folder.path(), &[&config(&format!("ping-{driver}.toml"))]);
        net.must("far", "ping -c 1 -W 2 192.0.2.2");
        net.must("far", "ip link set e0 down");
        let said = |what: &str| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !program.said().contains(what) {
                assert!(Instant::now() < deadline, "{driver}: {what:?} is not in {}", program.said());
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        said("link down");
        net.must("far", "ip link set e0 up");
        said("link up");
        let answer = net.must("far", "ping -c 3 -w 20 -i 0.2 -W 2 192.0.2.2");
        assert!(answer.contains("3 received"), "{driver}: {answer}");
        program.end();
    }
}

#[test]
fn kill_9_leaves_no_xdp_program_and_no_tap_interface() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::new();
    net.host("far", "w", "wd0", None);
    let mut xdp = net.start("w", folder.path(), &[&config("ping-af_xdp.toml")]);
    assert!(net.must("w", "ip -d link show wd0").contains("xdp"), "the program is attached");
    xdp.signal(libc::SIGKILL);
    xdp.child.wait().unwrap();
    let mut tap = net.start("w", folder.path(), &[&config("ping-tap.toml")]);
    assert!(net.must("w", "ip link show").contains("wdtap0"));
    tap.signal(libc::SIGKILL);
    tap.child.wait().unwrap();
    // The kernel cleans up when it closes the files, shortly after the death.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let links = net.must("w", "ip -d link show");
        if !links.contains("xdp") && !links.contains("wdtap0") {
            break;
        }
        assert!(Instant::now() < deadline, "left behind: {links}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_kernel_keeps_the_flows_that_a_filter_does_not_name() {
    need!("ping", "python3");
    let folder = tempfile::tempdir().unwrap();
    let mut net = Net::new();
    net.host("far", "w", "wd0", Some("192.0.2.1/24"));
    net.must("w", "ip addr add 192.0.2.2/24 dev wd0");
    let config = folder.path().join("filter.toml");
    fs::write(
        &config,
        "version = 1\n[port.in]\ndriver = \"af_xdp\"\ninterface = \"wd0\"\nudp_ports = [4433]\n[[pipeline]]\nname = \"p\"\n\
         stages = [ { rx = \"in\" }, { count = \"taken\" }, { drop = true } ]\n",
    )
    .unwrap();
    let program = net.start("w", folder.path(), &[&config.display().to_string()]);
    let send = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor i in range(10):\n s.sendto(b'taken', ('192.0.2.2', 4433))\n s.sendto(b'kept', ('192.0.2.2', 4434))\n";
    let answer = net.must("far", "ping -c 3 -i 0.1 -W 2 192.0.2.2");
    assert!(answer.contains("3 received"), "the kernel still answers: {answer}");
    assert!(run(net.command("far", "python3").args(["-c", send])).status.success());
    std::thread::sleep(Duration::from_millis(300));
    let stats = program.end();
    assert!(stats.contains("count \"taken\": 10 packets"), "{stats}");
}
