//! `load-forward-ring`: a pipeline of this process that receives from a ring port and sends back to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use warpdrive_mempool::Mempool;
use warpdrive_pipeline::config::Config;
use warpdrive_pipeline::cores;
use warpdrive_pipeline::launch::{self, launch};
use warpdrive_pipeline::plan::Plan;
use warpdrive_pipeline::running::Running;
use warpdrive_pmd::port::ring::{RingConfig, RingPort};
use warpdrive_pmd::port::{Port, PortConfig};

use super::frame::Kind;
use super::generator::{Generator, Wiring};
use super::{SIZE, UNIT, drive, facts, pool};
use crate::load::modes::About;
use crate::measure::on_cpu;
use crate::peers::PageSize;
use crate::{BenchError, Emit, Options};

/// Slots of either ring.
const SLOTS: usize = 1024;
/// Half of what a ring holds, so that none is ever full.
const DEPTH: usize = SLOTS / 2;
/// Only a stage can lose something here, and only a machine that is busy keeps it for long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs the bench.
pub fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let (forwarder, sender) = options.two_cpus()?;
    let pages = PageSize::best();
    let mut facts = facts(options, pages, sender, forwarder);
    facts.insert("driver".to_owned(), format!("ring, {SLOTS} slots each way: buffers change hands, no copy"));
    let about = About {
        bench: super::RING.name,
        what: "an operation is a frame there and back. Latency: generator -> ring -> pipeline (rx, tx) on a core of its \
               own -> ring -> generator, until the generator has received it"
            .to_owned(),
        unit: UNIT,
        facts,
    };
    let far = Far::launch(forwarder, pages, &[])?;
    let mut generator = far.generator(&pool(pages)?, Kind::Udp)?;
    let done = on_cpu(sender, move || drive(options, &about, &mut generator, emit));
    let ended = far.end();
    done.and(ended)
}

/// A pipeline between the two directions of a ring port.
pub struct Far {
    running: Running,
    port: String,
    engine: Option<u32>,
}

impl Far {
    /// Launches it, with `stages` (as in a configuration) between receiving and sending.
    ///
    /// # Errors
    /// [`BenchError`] when it does not start.
    pub fn launch(cpu: usize, pages: PageSize, stages: &[&str]) -> Result<Self, BenchError> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // Ring ports find each other by name, in the whole process.
        let port = format!("wire{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let tx = format!("{{ tx = {port:?} }}");
        let stages = if stages.is_empty() { tx } else { stages.join(", ").replace("TX", &tx) };
        let text = format!(
            "version = 1
             [eal]
             pages = \"{}\"
             latency = false
             [port.{port}]
             driver = \"ring\"
             [[pipeline]]
             name = \"forward\"
             stages = [ {{ rx = {port:?} }}, {stages} ]",
            pages.config()
        );
        let config = Config::parse("load-forward-ring", &text)?;
        let mut plan = Plan::new(&config, &cores::parse_list(&cpu.to_string())?)?;
        // A configuration has both ends; this end is opened here.
        plan.ports[0].config =
            PortConfig::Ring(RingConfig { peer: Some(format!("{port}-far")), slots: SLOTS });
        let running = launch(&plan, &launch::Options::default())?;
        let engine = running.worker_threads().next();
        Ok(Self { running, port, engine })
    }

    /// A generator at the other end. There is one other end.
    ///
    /// # Errors
    /// [`BenchError`] when the ends do not fit.
    pub fn generator(&self, pool: &Mempool, kind: Kind) -> Result<Generator, BenchError> {
        let config = RingConfig { peer: Some(self.port.clone()), slots: SLOTS };
        let mut port = RingPort::open(&format!("{}-far", self.port), &config, pool)?;
        let wiring = Wiring {
            tx: port.tx_queue(0)?,
            rx: port.rx_queue(0)?,
            pool: pool.clone(),
            kind,
            size: SIZE,
            depth: DEPTH,
        };
        Ok(Generator::new(wiring)?.with_engine(self.engine).with_patience(PATIENCE))
    }

    /// Ends it. The generator must be gone.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when it ended badly.
    pub fn end(self) -> Result<(), BenchError> {
        self.running.stop();
        let ended = self.running.join();
        if ended.panicked || !ended.leaks.is_empty() {
            return Err(BenchError::Bug(format!("the pipeline ended badly: {ended:?}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Outcome, Shape, apply};

    fn outcome(stages: &[&str], kind: Kind, shape: Shape) -> Option<Outcome> {
        let cpus = cores::allowed().unwrap();
        let (Some(&near), Some(&far)) = (cpus.first(), cpus.get(1)) else {
            eprintln!("skipped: two cpus are needed");
            return None;
        };
        let pages = PageSize::Small;
        let far = Far::launch(far, pages, stages).unwrap();
        let pool = pool(pages).unwrap();
        // Workers of other tests have the same name: which is ours cannot be told here.
        let mut generator = far.generator(&pool, kind).unwrap().with_engine(None);
        let outcome = on_cpu(near, move || {
            let length = Duration::from_millis(30);
            let load = Load { shape, warm: Duration::ZERO, length, seed: 1, overhead_ns: 0 };
            let outcome = apply(&mut generator, &load)?;
            assert_eq!(generator.strays().foreign.get() + generator.strays().late.get(), 0);
            let (tx, _) = generator.counters();
            assert!(tx.packets.get() >= outcome.done);
            Ok(outcome)
        });
        far.end().unwrap();
        assert_eq!(pool.stats().in_use, 0, "every buffer came back");
        Some(outcome.unwrap())
    }

    const CLOSED: Shape = Shape::Closed { depth: 32 };
    const OPEN: Shape = Shape::Open { rate: 20_000.0, arrivals: crate::record::Arrivals::Poisson };

    #[test]
    fn a_pipeline_loses_nothing_and_all_are_counted() {
        for (kind, stages) in [
            (Kind::Udp, &[][..]),
            (Kind::Udp, &["{ mac-swap = true }", "TX"]),
            (Kind::Ping, &["{ echo = \"192.0.2.2\", others = \"drop\" }", "TX"]),
        ] {
            let Some(closed) = outcome(stages, kind, CLOSED) else { return };
            // Of what came back after the end only the latency counts.
            assert!(closed.lost == 0 && !closed.latency.is_empty(), "{stages:?}: {closed:?}");
            let open = outcome(stages, kind, OPEN).unwrap();
            assert!(open.lost == 0 && open.done == open.sent && open.done > 0, "{stages:?}: {open:?}");
            assert_eq!(open.latency.len(), open.done);
        }
    }

    #[test]
    fn a_pipeline_that_drops_loses_all() {
        let Some(open) = outcome(&["{ drop = true }"], Kind::Udp, OPEN) else { return };
        assert!(open.done == 0 && open.sent > 0 && open.lost == open.sent, "{open:?}");
        let closed = outcome(&["{ drop = true }"], Kind::Udp, CLOSED).unwrap();
        assert!(closed.done == 0 && closed.lost > 0, "{closed:?}");
    }
}
