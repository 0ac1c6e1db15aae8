//! Open-loop load: requests that come when they come, whether or not those before are done.

use std::time::Duration;

use warpdrive_pmd::engine::rsa::{RsaKey, RsaOptions};
use warpdrive_pmd::stats::WaitStats;

use super::rig::{Fill, Rig};
use crate::BenchError;
use crate::load::{self, Outcome, Shape, apply};
use crate::measure::on_cpu;
use crate::record::{Arrivals, LEAST_SHARE};

/// Requests that may wait: more than any load that the engine can keep up with makes.
const DEPTH: usize = 2048;
/// Requests before those that count.
const WARM: usize = 16;

/// A load, and who bears it.
#[derive(Clone, Debug)]
pub struct Load {
    /// The cpu of the sender.
    pub near: usize,
    /// The cpu of the engine.
    pub far: usize,
    /// How the engine works.
    pub engine: RsaOptions,
    /// Requests a second, on average.
    pub rate: f64,
    /// Of their times.
    pub seed: u64,
    /// How long they come.
    pub length: Duration,
}

/// What became of a load, and what the engine says of it.
pub struct Borne {
    /// As the sender saw it.
    pub outcome: Outcome,
    /// How batches were filled.
    pub fill: Fill,
    /// How long requests waited for the engine.
    pub wait: WaitStats,
    /// What part of its cpu the sender had, or the engine's thread if that was less, in percent.
    pub share: f64,
}

/// Offers a load to a new engine.
///
/// # Errors
/// [`BenchError`] when the engine cannot be made, or a request failed or got lost.
pub fn offer(key: &RsaKey, load: &Load) -> Result<Borne, BenchError> {
    let mut rig = Rig::open(key, load.far, DEPTH, load.engine.clone())?;
    on_cpu(load.near, || {
        rig.alone(WARM, |_| ())?;
        let before = rig.stats();
        let outcome = apply(
            &mut rig.queue,
            &load::Load {
                shape: Shape::Open { rate: load.rate, arrivals: Arrivals::Poisson },
                warm: Duration::ZERO,
                length: load.length,
                seed: load.seed,
                overhead_ns: 0,
            },
        )?;
        let after = rig.stats();
        let (fill, wait) = (Fill::between(&before, &after), after.wait);
        Ok(Borne { share: outcome.cpu_share, outcome, fill, wait })
    })
}

impl Borne {
    /// Whether both had their cpus: if not, the latencies are those of the scheduler.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.share >= LEAST_SHARE
    }

    /// How much of its cpu either had at least, in words.
    #[must_use]
    pub fn shared(&self) -> String {
        let verdict = if self.is_steady() { "" } else { ": OTHER LOAD ON THE MACHINE, not to be trusted" };
        format!("sender and engine had {:.1} % of their cpus at least{verdict}", self.share)
    }

    /// How long requests waited for the engine, in words.
    #[must_use]
    pub fn waited(&self) -> String {
        let us = |ns: u64| ns as f64 / 1e3;
        let WaitStats { p50_ns, p90_ns, p99_ns, max_ns, .. } = self.wait;
        format!(
            "waited for the engine, us: p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1}",
            us(p50_ns),
            us(p90_ns),
            us(p99_ns),
            us(max_ns)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_load_is_borne_and_told() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let load = Load {
            near: cpus[0],
            far: *cpus.last().unwrap(),
            engine: RsaOptions::default(),
            rate: 1_000.0,
            seed: 1,
            length: Duration::from_millis(50),
        };
        let mut borne = offer(&RsaKey::generate(2048).unwrap(), &load).unwrap();
        let done = borne.outcome.done;
        assert!((20..100).contains(&done), "{done} in 50 ms of 1,000 a second");
        assert!(borne.fill.to_string().starts_with(&format!("{done} requests")), "{}", borne.fill);
        // Those before the load were counted too.
        assert_eq!(borne.wait.count, done + WARM as u64);
        assert!(borne.waited().contains("p50"));
        for (share, trusted) in [(96.9, false), (97.1, true)] {
            borne.share = share;
            assert_ne!(borne.shared().contains("not to be trusted"), trusted, "{share}");
        }
    }
}
