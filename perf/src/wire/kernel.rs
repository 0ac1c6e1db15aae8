//! `load-forward-af_xdp`, `-af_packet` and `-tap`: our program forwards between two interfaces in a network namespace, the
//! generator is in this process, on a thread of its own that is in the namespace of the other ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warpdrive_mempool::Mempool;
use warpdrive_pmd::port::af_packet::AfPacketConfig;
use warpdrive_pmd::port::af_xdp::AfXdpConfig;
use warpdrive_pmd::port::{Port, PortConfig, PortInfo};

use super::frame::Kind;
use super::generator::{Generator, Wiring};
use super::{SIZE, UNIT, drive, facts, pool};
use crate::lab::{self, IN, Lab, OUT, Shape};
use crate::load::Subject;
use crate::load::modes::About;
use crate::measure::on_cpu;
use crate::peers::{PageSize, Process};
use crate::{BenchError, Emit, Options};

/// The most under way: a veth interface with an XDP program queues 256 frames (VETH_RING_SIZE of drivers/net/veth.c).
const DEPTH: usize = 256;
/// Time for the forwarder to open its ports.
const FIRST: Duration = Duration::from_secs(10);
/// Time for what was sent before to arrive or get lost.
const SETTLE: Duration = Duration::from_millis(50);
/// What a bench takes besides its loads.
const BESIDES: Duration = Duration::from_secs(120);
/// More loads than any mode has.
const LOADS: u32 = 100;

/// How a bench is wired.
pub struct Path {
    bench: &'static str,
    /// The forwarder's driver.
    driver: &'static str,
    shape: Shape,
    /// What the generator sends by.
    send: fn(&str) -> PortConfig,
    /// What is between.
    between: &'static str,
}

/// By AF_XDP.
pub const AF_XDP: Path = Path {
    bench: "load-forward-af_xdp",
    driver: "af_xdp",
    shape: Shape::Loop,
    send: af_xdp,
    between: "generator -> AF_XDP socket -> veth pair -> AF_XDP socket -> pipeline (rx, tx) in a process of its own -> \
              AF_XDP socket -> veth pair -> AF_XDP socket -> generator",
};
/// By AF_PACKET. The generator receives by AF_XDP, for a packet socket would keep frames back for up to a millisecond.
pub const AF_PACKET: Path = Path {
    bench: "load-forward-af_packet",
    driver: "af_packet",
    shape: Shape::Loop,
    send: af_xdp,
    between: "generator -> AF_XDP socket -> veth pair -> packet socket (which keeps a block of frames back until it is full \
              or for a millisecond) -> pipeline (rx, tx) in a process of its own -> packet socket -> veth pair -> AF_XDP \
              socket -> generator",
};
/// By TAP interfaces, whose kernel sides the generator uses.
pub const TAP: Path = Path {
    bench: "load-forward-tap",
    driver: "tap",
    shape: Shape::Alone,
    send: |interface| PortConfig::AfPacket(AfPacketConfig::new(interface)),
    between: "generator -> packet socket -> TAP interface -> read() -> pipeline (rx, tx) in a process of its own -> \
              write() -> TAP interface -> AF_XDP socket -> generator",
};

fn af_xdp(interface: &str) -> PortConfig {
    PortConfig::AfXdp(AfXdpConfig::new(interface))
}

/// Runs a bench.
pub fn run(options: &Options, path: &Path, emit: Emit<'_>) -> Result<(), BenchError> {
    let (cpu, sender) = options.two_cpus()?;
    let pages = PageSize::best();
    let lab = Lab::of(path.shape)?;
    let (_folder, config) = config(path, pages)?;
    let time =
        (options.slice + SETTLE) * (options.rounds as u32 + 1) * LOADS + options.load.soak * 2 + BESIDES;
    let mut forwarder = lab.forward(&options.program, &config, cpu, pages, time)?;
    let done = on_cpu(sender, || {
        lab::enter(&lab.generator)?;
        let Ends { mut generator, ports } = Ends::open(path, &pool(pages)?, &mut forwarder)?;
        reach(options, &mut generator, &mut forwarder)?;
        let mut facts = facts(options, pages, sender, cpu);
        facts.insert("driver".to_owned(), path.driver.to_owned());
        facts.insert(
            "forwarder".to_owned(),
            "another process: what part of its cpu it had is not known".to_owned(),
        );
        for (name, port) in [("forwarder-in", "in"), ("forwarder-out", "out")] {
            let said = forwarder.error_line(&format!("port {port:?}:"));
            facts.insert(name.to_owned(), said.unwrap_or_default().trim().to_owned());
        }
        for (name, port) in ["generator-sends", "generator-receives"].into_iter().zip(&ports) {
            facts.insert(name.to_owned(), say(port.info()));
        }
        let what = format!(
            "an operation is a frame there and back. Latency: {}, until the generator has received it",
            path.between
        );
        let about = About { bench: path.bench, what, unit: UNIT, facts };
        drive(options, &about, &mut generator, emit)
    });
    let ended = forwarder.terminate();
    done.and(ended)
}

/// The forwarder's configuration, in a file.
fn config(path: &Path, pages: PageSize) -> Result<(TempDir, PathBuf), BenchError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |cause| BenchError::Io { what, cause, remedy: "a writable TMPDIR with some space" }
    };
    let driver = path.driver;
    let text = format!(
        "version = 1
[eal]
pages = \"{}\"
latency = false
[mempool.pkt]
buffers = 16384
[port.in]
driver = \"{driver}\"
interface = \"{IN}\"
[port.out]
driver = \"{driver}\"
interface = \"{OUT}\"
[[pipeline]]
name = \"forward\"
stages = [ {{ rx = \"in\" }}, {{ tx = \"out\" }} ]
",
        pages.config()
    );
    let folder = TempDir::with_prefix("warpdrive-perf-").map_err(io("cannot make a folder"))?;
    let file = folder.path().join("forward.toml");
    std::fs::write(&file, text).map_err(io("cannot write a configuration"))?;
    Ok((folder, file))
}

/// The generator with its ports.
struct Ends {
    generator: Generator,
    /// That for sending, that for receiving. They hold what their queues need.
    ports: [Box<dyn Port>; 2],
}

impl Ends {
    /// Opens the ports, as soon as their interfaces are there: a TAP interface is made by the forwarder.
    fn open(path: &Path, pool: &Mempool, forwarder: &mut Process) -> Result<Self, BenchError> {
        let since = Instant::now();
        let mut open = |name: &str, config: PortConfig| -> Result<Box<dyn Port>, BenchError> {
            loop {
                match config.open(name, pool) {
                    Ok(port) => return Ok(port),
                    Err(e) if since.elapsed() > FIRST => return Err(e.into()),
                    Err(_) => {
                        forwarder.alive()?;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        };
        let mut send = open("generator-sends", (path.send)(IN))?;
        let mut receive = open("generator-receives", af_xdp(OUT))?;
        let wiring = Wiring {
            tx: send.tx_queue(0)?,
            rx: receive.rx_queue(0)?,
            pool: pool.clone(),
            kind: Kind::Udp,
            size: SIZE,
            depth: DEPTH,
        };
        Ok(Self { generator: Generator::new(wiring)?, ports: [send, receive] })
    }
}

fn say(info: &PortInfo) -> String {
    let PortInfo { driver, zero_copy, remarks, .. } = info;
    let copy = if *zero_copy { "zero-copy" } else { "copy" };
    format!("{driver}, {copy}, {}", remarks.join(", "))
}

/// Sends a frame now and then until one comes back, and lets the others go.
fn reach(options: &Options, generator: &mut Generator, forwarder: &mut Process) -> Result<(), BenchError> {
    let since = Instant::now();
    while !arrives(generator)? {
        options.go_on()?;
        forwarder.alive()?;
        if since.elapsed() > FIRST {
            return Err(BenchError::Program {
                program: "warpdrive run".to_owned(),
                what: format!("no frame came back within {} s", FIRST.as_secs()),
                remedy: "warpdrive run with the driver's example of configs/, by hand".to_owned(),
            });
        }
    }
    generator.give_up()?;
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        generator.receive(&mut |_| ())?;
    }
    Ok(())
}

fn arrives(generator: &mut Generator) -> Result<bool, BenchError> {
    generator.send(0);
    generator.flush()?;
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        if generator.receive(&mut |_| ())? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Curve, Mode, Record};

    /// Our program, if it was built with the tests.
    fn program() -> Option<PathBuf> {
        let tests = std::env::current_exe().ok()?;
        Some(tests.parent()?.parent()?.join("warpdrive")).filter(|file| file.is_file())
    }

    fn curve(path: &Path, depth: usize) -> Option<Curve> {
        let mut options = Options::for_tests(1);
        options.slice = Duration::from_millis(500);
        (options.load.mode, options.load.depths) = (Some(Mode::Closed), vec![depth]);
        let can = options.cpus.len() > 1 && Lab::of(path.shape).is_ok();
        let Some(program) = program().filter(|_| can) else {
            eprintln!("skipped: needs root, network namespaces, two cpus and the warpdrive program");
            return None;
        };
        options.program = program;
        let mut curves = Vec::new();
        run(&options, path, &mut |record| match record {
            Record::Curve(curve) => curves.push(curve),
            other => panic!("{other:?}"),
        })
        .unwrap();
        assert_eq!(curves.len(), 1);
        curves.pop()
    }

    #[test]
    fn frames_come_back_through_each_driver() {
        for path in [&AF_XDP, &AF_PACKET, &TAP] {
            let Some(curve) = curve(path, 4) else { return };
            let point = &curve.points[0];
            // On a busy machine the forwarder may be away for longer than the generator waits.
            assert!(point.done > 0 && point.lost <= point.done, "{}: {point:?}", path.bench);
            assert!(curve.facts["forwarder-in"].contains(path.driver), "{:?}", curve.facts);
            assert!(curve.facts["generator-sends"].contains("copy"), "{:?}", curve.facts);
        }
    }
}
