//! `forward-af-xdp`: between two veth interfaces by AF_XDP sockets, against testpmd with net_af_xdp.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab::{Counter, IN, Lab, OUT, inside};
use crate::measure::{Better, Contender, Line, alternate, cpu_time, median};
use crate::peers::{NoPeer, PageSize, Process};
use crate::testpmd::{Setup, Testpmd};
use crate::{BenchError, Lines, Options};

/// Buffers of either forwarder: what our plan asks for with two ports.
const BUFFERS: usize = 16384;
/// Less than this says nothing: timers of the kernel's receive path are in milliseconds.
const SHORTEST: Duration = Duration::from_millis(500);
/// Time for the first packet to arrive.
const FIRST: Duration = Duration::from_secs(10);
const WARM: Duration = Duration::from_millis(300);
/// Above this part of the load arriving, the forwarder was not the limit.
const ALL: f64 = 0.99;

const GENERATOR: &str = "version = 1
[port.source]
driver = \"null\"
size = 64
copy = true
[port.load]
driver = \"af_xdp\"
interface = \"in0\"
[[pipeline]]
name = \"load\"
stages = [ { rx = \"source\" }, { tx = \"load\" } ]
";

const FORWARDER: &str = "version = 1
[mempool.pkt]
buffers = 16384
[port.in]
driver = \"af_xdp\"
interface = \"in0\"
[port.out]
driver = \"af_xdp\"
interface = \"out0\"
[[pipeline]]
name = \"there\"
stages = [ { rx = \"in\" }, { tx = \"out\" } ]
[[pipeline]]
name = \"back\"
stages = [ { rx = \"out\" }, { tx = \"in\" } ]
";

/// What one slice showed.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Packets a second at the sink.
    arrived: f64,
    /// Packets a second from the generator.
    offered: f64,
    /// Nanoseconds of the forwarder's cpu time for each that arrived.
    cpu_ns: f64,
}

/// Everything that both sides share.
struct Bench<'a> {
    options: &'a Options,
    pages: PageSize,
    cpus: (usize, usize),
    // Fields are dropped in order: what runs in the namespaces goes before they do.
    sent: Counter,
    arrived: Counter,
    lab: Lab,
    folder: TempDir,
}

/// Runs the bench.
pub fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let mut long = options.clone();
    long.slice = options.slice.max(SHORTEST);
    let options = &long;
    let cpus = options.two_cpus()?;
    let lab = Lab::new()?;
    let folder = TempDir::with_prefix("warpdrive-perf-").map_err(|cause| BenchError::Io {
        what: "cannot make a folder".to_owned(),
        cause,
        remedy: "a writable TMPDIR with some space",
    })?;
    let bench = std::cell::RefCell::new(Bench {
        sent: Counter::open(&lab.generator, IN, "tx_packets")?,
        arrived: Counter::open(&lab.sink, OUT, "rx_packets")?,
        options,
        pages: PageSize::best(),
        cpus,
        lab,
        folder,
    });
    let _generator = bench.borrow().ours("load", GENERATOR, cpus.1, Duration::from_secs(900))?;
    // Once beforehand, to know whether it starts.
    let peer = bench.borrow().testpmd().map(|t| (t.title(), t.command.clone()));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut sides: Vec<Contender<'_>> = vec![Box::new(|slice| {
        let sample = bench.borrow_mut().our_slice(slice)?;
        ours.push(sample);
        Ok(sample.arrived)
    })];
    if peer.is_ok() {
        sides.push(Box::new(|slice| {
            let sample = bench.borrow_mut().their_slice(slice)?;
            theirs.push(sample);
            Ok(sample.arrived)
        }));
    }
    alternate(options, &mut sides)?;
    drop(sides);
    report(&bench.borrow(), &ours[1..], theirs.get(1..).unwrap_or_default(), &peer, emit);
    Ok(())
}

impl Bench<'_> {
    /// Starts our program in the namespace that fits.
    fn ours(&self, name: &str, text: &str, cpu: usize, time: Duration) -> Result<Process, BenchError> {
        let file: PathBuf = self.folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, text).map_err(|cause| BenchError::Io {
            what: format!("cannot write {}", file.display()),
            cause,
            remedy: "a writable TMPDIR with some space",
        })?;
        let namespace = if name == "load" { &self.lab.generator } else { &self.lab.forwarder };
        let [ip, words @ ..] = inside(namespace);
        let mut command = Command::new(ip);
        command.args(words).arg(&self.options.program).arg("run").arg(file);
        command.args(["-l", &cpu.to_string(), "--duration", &format!("{}ms", time.as_millis())]);
        if self.pages == PageSize::Small {
            command.arg("--no-huge");
        }
        Process::start(command)
    }

    fn testpmd(&self) -> Result<Testpmd, NoPeer> {
        Testpmd::start(&Setup {
            cpu: self.cpus.0,
            main_cpu: self.cpus.1,
            pages: self.pages,
            devices: &[format!("net_af_xdp0,iface={IN}"), format!("net_af_xdp1,iface={OUT}")],
            ports: 2,
            mbufs: BUFFERS,
            wrapper: &inside(&self.lab.forwarder),
        })
    }

    fn our_slice(&mut self, slice: Duration) -> Result<Sample, BenchError> {
        let mut process = self.ours("forward", FORWARDER, self.cpus.0, FIRST + WARM + slice)?;
        let sample = self.sample("ours", &mut process, slice)?;
        process.terminate()?;
        Ok(sample)
    }

    fn their_slice(&mut self, slice: Duration) -> Result<Sample, BenchError> {
        let mut testpmd = self.testpmd().map_err(|e| BenchError::Program {
            program: e.peer.to_owned(),
            what: format!("started before, and now: {}", e.why),
            remedy: "run the bench again".to_owned(),
        })?;
        testpmd.forward()?;
        let sample = self.sample("the peer", testpmd.process(), slice);
        drop(testpmd);
        self.lab.clear();
        sample
    }

    /// Waits for the first packets, lets all warm up, and counts.
    fn sample(&mut self, who: &str, process: &mut Process, slice: Duration) -> Result<Sample, BenchError> {
        let pid = process.id();
        let (begin, none) = (Instant::now(), self.arrived.read()?);
        while self.arrived.read()? == none {
            self.options.go_on()?;
            process.alive()?;
            if begin.elapsed() > FIRST {
                return Err(BenchError::Program {
                    program: format!("forwarder ({who})"),
                    what: format!("nothing arrived at the sink within {} s", FIRST.as_secs()),
                    remedy: "run the command of the notes by hand".to_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(WARM);
        let start = (Instant::now(), cpu_time(pid)?, self.sent.read()?, self.arrived.read()?);
        std::thread::sleep(slice);
        let end = (Instant::now(), cpu_time(pid)?, self.sent.read()?, self.arrived.read()?);
        let seconds = (end.0 - start.0).as_secs_f64();
        let arrived = (end.3 - start.3) as f64;
        Ok(Sample {
            arrived: arrived / seconds,
            offered: (end.2 - start.2) as f64 / seconds,
            cpu_ns: (end.1 - start.1).as_nanos() as f64 / arrived,
        })
    }
}

fn report(
    bench: &Bench<'_>,
    ours: &[Sample],
    theirs: &[Sample],
    peer: &Result<(String, String), NoPeer>,
    emit: Lines<'_>,
) {
    let column = |samples: &[Sample], f: fn(&Sample) -> f64| samples.iter().map(f).collect::<Vec<_>>();
    let load = |whose: &str, samples: &[Sample]| {
        let (offered, arrived) =
            (median(&column(samples, |s| s.offered)), median(&column(samples, |s| s.arrived)));
        let limit = if arrived > ALL * offered { "the generator" } else { "the forwarder" };
        format!(
            "{whose}: offered {offered:.0} packets/s, {:.1} % arrived: {limit} is the limit",
            arrived / offered * 100.0
        )
    };
    type Column = fn(&Sample) -> f64;
    let rate: Column = |s| s.arrived;
    let cost: Column = |s| s.cpu_ns;
    let kinds = [
        (
            "forward-af-xdp",
            ("packets/s", Better::Higher),
            rate,
            "received by the sink's interface, by the clock",
        ),
        (
            "forward-af-xdp-cpu",
            ("ns/packet", Better::Lower),
            cost,
            "the forwarder's cpu time for a packet that arrived: with a polling forwarder this is its cost only while it is the limit",
        ),
    ];
    for (name, unit, value, note) in kinds {
        let theirs_now = column(theirs, value);
        let peer_side = peer.as_ref().map(|(title, _)| (title.as_str(), theirs_now.as_slice()));
        let mut line = Line::compare(name, unit, &column(ours, value), peer_side)
            .command(bench.options.command("forward-af-xdp"))
            .note(note)
            .note("64-byte frames: warpdrive run (null, copied, to af_xdp) -> veth -> forwarder -> veth -> sink, both directions polled")
            .note(format!("forwarder on cpu {}, generator on cpu {}, bursts of 32, {BUFFERS} buffers", bench.cpus.0, bench.cpus.1))
            .note(bench.pages.note())
            .note(load("ours", ours));
        if let Ok((_, command)) = peer {
            line = line.note(load("peer", theirs)).note(format!("peer command: {command}"));
        }
        emit(line);
    }
}
