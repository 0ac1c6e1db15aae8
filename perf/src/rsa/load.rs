//! Open-loop load: requests that come when they come, whether or not those before are done.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOptions};
use warpdrive_pmd::stats::WaitStats;

use super::rig::{Fill, Rig};
use crate::BenchError;
use crate::measure::{on_cpu, thread_time};

/// The longest latency that is told apart.
const LONGEST_NS: u64 = 60_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// Requests that may wait: more than any load that the engine can keep up with makes.
const DEPTH: usize = 2048;
/// Requests before those that count.
const WARM: usize = 16;
/// What part of their cpus, in percent, sender and engine must have had.
const LEAST_SHARE: f64 = 97.0;

/// When requests are due: a Poisson process, that is, gaps of exponential distribution.
pub struct Poisson {
    random: fastrand::Rng,
    mean: f64,
    at: f64,
}

impl Poisson {
    /// Arrivals with `mean` ticks between two.
    #[must_use]
    pub fn new(seed: u64, mean: f64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), mean, at: 0.0 }
    }
}

impl Iterator for Poisson {
    type Item = u64;

    /// Ticks from the start to the next arrival.
    fn next(&mut self) -> Option<u64> {
        // In (0, 1]: the logarithm of 0 is none.
        let u = 1.0 - self.random.f64();
        self.at += -u.ln() * self.mean;
        Some(self.at as u64)
    }
}

/// What became of a load.
pub struct Outcome {
    /// From the time a request was due to the time its completion was received, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Requests that came back.
    pub done: u64,
    /// The longest time a request was sent after it was due, in nanoseconds: the sender's own delay.
    pub late_ns: u64,
}

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
        let due = Poisson::new(load.seed, Clock::get().hz() as f64 / load.rate);
        // Both threads spin, so their cpu time is the time that they had their cpus.
        let (before, engine, own, start) = (rig.stats(), rig.engine_time()?, thread_time()?, Instant::now());
        let outcome = run(&mut rig, due, load.length)?;
        let had = (rig.engine_time()? - engine).min(thread_time()? - own);
        let share = 100.0 * had.as_secs_f64() / start.elapsed().as_secs_f64();
        let after = rig.stats();
        let (fill, wait) = (Fill::between(&before, &after), after.wait);
        Ok(Borne { outcome, fill, wait, share })
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

/// Sends at the times of `due` for `length`, and waits for all. A request that cannot be sent when it is due, because
/// none is to spare or the sender was late, is sent as soon as possible; its latency counts from the time it was due.
///
/// # Errors
/// [`BenchError::Bug`] when a request failed or got lost.
pub fn run(rig: &mut Rig, due: impl Iterator<Item = u64>, length: Duration) -> Result<Outcome, BenchError> {
    let clock = Clock::get();
    let end = clock.ticks_of(length);
    let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
    let mut latency = histogram.map_err(|e| BenchError::Bug(e.to_string()))?;
    let (mut sent, mut late) = (0, 0);
    let start = ticks();
    // Ticks since the start are a request's tag. What came back is looked at between any two sends.
    let mut note = |due: u64| latency.saturating_record(clock.ns((ticks() - start).saturating_sub(due)));
    for due in due.take_while(|due| *due < end) {
        loop {
            rig.receive(&mut note)?;
            if ticks() - start >= due && rig.send(due) {
                break;
            }
            std::hint::spin_loop();
        }
        late = late.max((ticks() - start).saturating_sub(due));
        sent += 1;
    }
    rig.drain(&mut note)?;
    let done = latency.len();
    if done != sent {
        return Err(BenchError::Bug(format!("{done} of {sent} requests came back")));
    }
    Ok(Outcome { latency, done, late_ns: clock.ns(late) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_mean_and_the_spread_of_a_poisson_process() {
        let times: Vec<u64> = Poisson::new(7, 1000.0).take(100_000).collect();
        assert!(times.is_sorted());
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1000.0 - 1.0).abs() < 0.02, "{mean}");
        // Of an exponential distribution the standard deviation is the mean, and 1/e of the gaps are longer.
        assert!((variance.sqrt() / 1000.0 - 1.0).abs() < 0.03, "{}", variance.sqrt());
        let longer = gaps.iter().filter(|g| **g > 1000.0).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1f64).exp()).abs() < 0.01, "{longer}");
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_others() {
        let some = |seed| Poisson::new(seed, 50.0).take(10).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn what_is_sent_late_is_counted_from_when_it_was_due() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let mut rig =
            Rig::open(&RsaKey::generate(2048).unwrap(), *cpus.last().unwrap(), 1, RsaOptions::default())
                .unwrap();
        // Eight at once, of which only one can be under way: the last waits for seven others.
        let due = std::iter::repeat_n(0, 8);
        let outcome = run(&mut rig, due, Duration::from_millis(1)).unwrap();
        assert_eq!(outcome.done, 8);
        // Whatever the scheduler does: the last was sent after the first was back, and came back later still.
        let (first, last) = (outcome.latency.min(), outcome.latency.max());
        assert!(first <= outcome.late_ns && outcome.late_ns <= last, "{first} {} {last}", outcome.late_ns);
    }

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
