//! `load-pipeline`: any configuration, with the generator in the place of the network.
//!
//! Two ports of the plan, where packets come in and where they go out, become ends of rings; the harness has the other
//! ends. Everything else is as the configuration says: stages, devices, pools, cores. Frames are those that the input
//! port would have given, if it is a capture file, or UDP frames.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warpdrive_pipeline::config::Config;
use warpdrive_pipeline::cores;
use warpdrive_pipeline::launch::{self, launch};
use warpdrive_pipeline::plan::{Plan, StagePlan};
use warpdrive_pipeline::running::Running;
use warpdrive_pipeline::snapshot::LatencySnapshot;
use warpdrive_pmd::port::pcap::{self, PcapConfig};
use warpdrive_pmd::port::ring::{RingConfig, RingPort};
use warpdrive_pmd::port::{Port as _, PortConfig};

use super::{QUICK, ROUNDS, SLICE_S};
use crate::load::Subject;
use crate::load::modes::{About, drive};
use crate::measure::on_cpu;
use crate::record::StageTime;
use crate::statistics::rounded;
use crate::wire::frame::{Kind as Frame, SHORTEST};
use crate::wire::{Generator, Wiring};
use crate::{Bench, BenchError, Emit, Kind, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "load-pipeline",
    about: "frames through the pipelines of a configuration, from one of its ports to another",
    peer: "",
    package: "",
    unit: "packets/s",
    seconds: SLICE_S,
    rounds: ROUNDS,
    quick: QUICK,
    run: Kind::Load(run),
};
/// The configuration of a user who names none.
const BUILT_IN: (&str, &str) =
    ("configs/sign-zip.toml (built in)", include_str!("../../../configs/sign-zip.toml"));
/// Slots of each ring between harness and pipeline.
const SLOTS: usize = 2048;
/// Half of what a ring holds, so that none is ever full.
const DEPTH: usize = SLOTS / 2;
/// Buffers that the harness may hold, besides those that the plan has counted.
const BUFFERS: usize = 4 * SLOTS;
/// The most frames that are taken from a capture.
const FRAMES: usize = 4096;
/// Bytes of a frame, if there is no capture.
const SIZE: usize = 512;
/// How long a frame may take: an accelerator may have a thousand before it.
const PATIENCE: Duration = Duration::from_secs(2);
/// In which workers look for what the control plane wants, twice.
const EXCHANGE: Duration = Duration::from_millis(50);

fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let mut plan = match &options.config {
        None => plan(BUILT_IN.0, BUILT_IN.1, far)?,
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|cause| BenchError::Io {
                what: format!("cannot read {name}"),
                cause,
                remedy: "the path of a configuration; examples are in configs/",
            })?;
            plan(&name, &text, far)?
        }
    };
    let ends = Ends::of(&plan, options.input.as_deref(), options.output.as_deref())?;
    let what = format!(
        "a frame through pipeline {:?}: from port {:?} (was {}) to port {:?} (was {}), both in memory",
        ends.pipeline(&plan),
        plan.ports[ends.input].name,
        plan.ports[ends.input].config.driver(),
        plan.ports[ends.output].name,
        plan.ports[ends.output].config.driver()
    );
    let (mut subject, facts) = InMemory::launch(&mut plan, &ends)?;
    let mut facts: BTreeMap<String, String> = facts;
    facts.insert("cpus".to_owned(), format!("generator on cpu {near}, pipelines on cpu {far}"));
    let about = About { bench: BENCH.name, what, unit: BENCH.unit, facts };
    let done = on_cpu(near, || drive(options, &about, &mut subject, emit));
    let ended = subject.end();
    done.and(ended)
}

/// The plan of a configuration on one cpu.
///
/// # Errors
/// [`BenchError::Config`] when it is wrong, or needs more cores.
pub fn plan(name: &str, text: &str, cpu: usize) -> Result<Plan, BenchError> {
    let config = Config::parse(name, text)?;
    Ok(Plan::new(&config, &cores::parse_list(&cpu.to_string())?)?)
}

/// The ports that the harness takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    input: usize,
    output: usize,
}

impl Ends {
    /// The pipeline that receives.
    fn pipeline<'a>(&self, plan: &'a Plan) -> &'a str {
        let receives = |s: &StagePlan| matches!(s, StagePlan::Rx { port, .. } if *port == self.input);
        plan.pipelines.iter().find(|p| p.stages.iter().any(receives)).map_or("", |p| &p.name)
    }

    /// Those of these names; without names the first port that is received from and the first that is sent to.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when there is none.
    pub fn of(plan: &Plan, input: Option<&str>, output: Option<&str>) -> Result<Self, BenchError> {
        let stages = || plan.pipelines.iter().flat_map(|p| &p.stages);
        let received =
            stages().filter_map(|s| if let StagePlan::Rx { port, .. } = s { Some(*port) } else { None });
        let sent =
            stages().filter_map(|s| if let StagePlan::Tx { port, .. } = s { Some(*port) } else { None });
        let choose = |ports: &mut dyn Iterator<Item = usize>, name: Option<&str>, verb: &str| {
            let ports: Vec<usize> = ports.collect();
            let found = ports.iter().find(|p| name.is_none_or(|name| plan.ports[**p].name == name));
            found.copied().ok_or_else(|| {
                let names: Vec<&str> = ports.iter().map(|p| plan.ports[*p].name.as_str()).collect();
                BenchError::Program {
                    program: "the configuration".to_owned(),
                    what: format!("no pipeline {verb} port {:?}", name.unwrap_or_default()),
                    remedy: format!("one of: {}", names.join(", ")),
                }
            })
        };
        Ok(Self {
            input: choose(&mut received.into_iter(), input, "receives from")?,
            output: choose(&mut sent.into_iter(), output, "sends to")?,
        })
    }
}

/// A dataplane that runs, with the generator at two of its ports.
pub struct InMemory {
    generator: Generator,
    running: Running,
    /// Packets that each stage had given when last asked.
    counted: BTreeMap<String, u64>,
}

impl InMemory {
    /// Launches a plan with rings in the place of two ports. Returns also facts about it.
    ///
    /// # Errors
    /// [`BenchError`] when it does not start.
    pub fn launch(plan: &mut Plan, ends: &Ends) -> Result<(Self, BTreeMap<String, String>), BenchError> {
        let prefix = super::device::unique_name();
        let frames = frames(plan, ends.input)?;
        let mut ports = vec![ends.input];
        ports.extend((ends.output != ends.input).then_some(ends.output));
        let far = |port: usize| format!("{prefix}-far-{port}");
        for &port in &ports {
            plan.ports[port].config = PortConfig::Ring(RingConfig { peer: Some(far(port)), slots: SLOTS });
            plan.ports[port].name = format!("{prefix}-{port}");
        }
        let pool = plan.ports[ends.input].pool;
        plan.pools[pool].config.buffers += BUFFERS;
        let demo = TempDir::with_prefix("warpdrive-perf-").map_err(|cause| BenchError::Io {
            what: "cannot make a folder for demo keys".to_owned(),
            cause,
            remedy: "TMPDIR=... names a folder with space left",
        })?;
        let options = launch::Options { packets: None, demo_folder: Some(demo.path().to_owned()) };
        let running = launch(plan, &options)?;
        let pool = running.pools()[pool].clone();
        let open = |port: usize| {
            let config = RingConfig { peer: Some(plan.ports[port].name.clone()), slots: SLOTS };
            RingPort::open(&far(port), &config, &pool)
        };
        let mut input = open(ends.input)?;
        let tx = input.tx_queue(0)?;
        let rx =
            if ends.output == ends.input { input.rx_queue(0)? } else { open(ends.output)?.rx_queue(0)? };
        let wiring = Wiring { tx, rx, pool, kind: Frame::Udp, size: SIZE, depth: DEPTH };
        let engine = running.worker_threads().next();
        let generator = Generator::new(wiring)?.with_frames(frames)?.with_engine(engine);
        let facts = running.report.got.iter().filter_map(|fact| fact.split_once(": "));
        let facts = facts.map(|(what, is)| (what.replace('"', ""), is.to_owned())).collect();
        Ok((Self { generator, running, counted: BTreeMap::new() }, facts))
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when it ended badly.
    pub fn end(self) -> Result<(), BenchError> {
        let Self { generator, running, .. } = self;
        drop(generator);
        running.stop();
        let ended = running.join();
        if ended.panicked || !ended.leaks.is_empty() {
            return Err(BenchError::Bug(format!("the pipeline ended badly: {:?}", ended.leaks)));
        }
        Ok(())
    }
}

impl Subject for InMemory {
    #[inline]
    fn send(&mut self, tag: u64) -> bool {
        self.generator.send(tag)
    }

    #[inline]
    fn flush(&mut self) -> Result<(), BenchError> {
        self.generator.flush()
    }

    #[inline]
    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        self.generator.receive(done)
    }

    fn in_flight(&self) -> usize {
        self.generator.in_flight()
    }

    fn max_depth(&self) -> usize {
        self.generator.max_depth()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn give_up(&mut self) -> Result<u64, BenchError> {
        self.generator.give_up()
    }

    fn engine_thread(&self) -> Option<u32> {
        self.generator.engine_thread()
    }

    fn stages(&mut self) -> Vec<StageTime> {
        // What workers recorded comes by exchange: once for what they have, and an empty set for later.
        let until = Instant::now() + EXCHANGE;
        while Instant::now() < until {
            self.running.collect_latency();
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut times = Vec::new();
        for pipeline in self.running.snapshot().pipelines {
            let mut add = |name: String, packets: u64, latency: Option<LatencySnapshot>| {
                let us = |ns: u64| rounded(ns as f64 / 1e3);
                let before = self.counted.insert(name.clone(), packets).unwrap_or(0);
                let packets = packets - before;
                times.extend(latency.map(|l| StageTime {
                    name,
                    packets,
                    p50: us(l.p50_ns),
                    p99: us(l.p99_ns),
                    max: us(l.max_ns),
                }));
            };
            let sent = pipeline.stages.last().map_or(0, |s| s.packets_in);
            for (i, stage) in pipeline.stages.into_iter().enumerate() {
                add(
                    format!("{} {i} {}", pipeline.name, stage.kind),
                    stage.packets_in.max(stage.packets_out),
                    stage.latency,
                );
            }
            add(format!("{} rx to tx", pipeline.name), sent, pipeline.latency);
        }
        self.running.reset_latency();
        times
    }
}

/// The frames that the input port would have given, if it is a capture.
fn frames(plan: &Plan, input: usize) -> Result<Vec<Box<[u8]>>, BenchError> {
    let PortConfig::Pcap(PcapConfig { file: Some(file), .. }) = &plan.ports[input].config else {
        return Ok(Vec::new());
    };
    let wrong = |cause| BenchError::Io {
        what: format!("cannot take frames from {}", file.display()),
        cause,
        remedy: "a capture of Ethernet frames, as pcap or pcapng",
    };
    let bytes = if file.as_os_str() == pcap::BUILTIN_DEMO {
        pcap::demo_capture()
    } else {
        std::fs::read(file).map_err(wrong)?
    };
    let capture = pcap::parse(&bytes).map_err(|e| wrong(std::io::Error::other(e)))?;
    // Those that are too short have no place for a number.
    let long = capture.records.iter().filter(|r| r.len as usize >= SHORTEST).take(FRAMES);
    let frames: Vec<Box<[u8]>> = long.map(|r| bytes[r.offset..][..r.len as usize].into()).collect();
    if frames.is_empty() {
        return Err(wrong(std::io::Error::other("there is none of 60 bytes or more in it")));
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Outcome, Shape, apply};

    const NULL: &str = "version = 1
        [port.in]
        driver = \"null\"
        [port.out]
        driver = \"null\"
        [[pipeline]]
        name = \"p\"
        stages = [ { rx = \"in\" }, { tx = \"out\" } ]";

    fn cpus() -> Option<(usize, usize)> {
        let cpus = cores::allowed().unwrap();
        if cpus.len() < 2 {
            println!("skipped: two cpus are needed");
            return None;
        }
        Some((cpus[0], cpus[1]))
    }

    fn outcome(text: &str, shape: Shape, length: Duration) -> Option<(Outcome, Vec<StageTime>)> {
        let (near, far) = cpus()?;
        let mut plan = plan("test", text, far).unwrap();
        let ends = Ends::of(&plan, None, None).unwrap();
        let (mut subject, facts) = InMemory::launch(&mut plan, &ends).unwrap();
        assert!(facts.keys().any(|k| k.starts_with("mempool")), "{facts:?}");
        let outcome = crate::measure::on_cpu(near, || {
            apply(&mut subject, &Load { shape, warm: Duration::ZERO, length, seed: 1, overhead_ns: 0 })
        });
        let stages = subject.stages();
        subject.end().unwrap();
        Some((outcome.unwrap(), stages))
    }

    #[test]
    fn frames_go_through_accelerators_and_come_back_by_their_numbers() {
        let Some((outcome, stages)) =
            outcome(BUILT_IN.1, Shape::Closed { depth: 16 }, Duration::from_millis(200))
        else {
            return;
        };
        assert!(outcome.is_complete() && outcome.done > 32, "{} {}", outcome.done, outcome.lost);
        let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
        for kind in ["rsa", "zip", "rx to tx"] {
            assert!(names.iter().any(|n| n.ends_with(kind)), "{kind}: {names:?}");
        }
    }

    #[test]
    fn ports_are_found_by_name_and_others_refused() {
        let Some((_, far)) = cpus() else { return };
        let plan = plan("test", NULL, far).unwrap();
        assert_eq!(Ends::of(&plan, Some("in"), Some("out")).unwrap(), Ends { input: 0, output: 1 });
        let error = Ends::of(&plan, Some("out"), None).unwrap_err().to_string();
        assert!(error.contains("\"out\"") && error.contains("one of: in"), "{error}");
    }
}
