//! Slices, medians and pairs; the machine's own noise; the lines that come out.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use warpdrive_mempool::WorkerSlot;
use warpdrive_pipeline::cores::{self, CpuSet};
use warpdrive_pmd::clock::{Clock, ticks};

use crate::peers::NoPeer;
pub use crate::statistics::median;
use crate::statistics::{Summary, rounded};
use crate::{BenchError, Options, os};

/// Which way a unit is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better: a rate.
    Higher,
    /// Less is better: cycles, bytes.
    Lower,
}

/// Ours against a peer's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What was measured.
    pub name: String,
    /// Our median.
    pub value: f64,
    /// What `value` and `peer_value` count.
    pub unit: String,
    /// Which way that is good.
    pub better: Better,
    /// How our slices spread.
    pub ours: Summary,
    /// The peer's name and version, or that it is absent.
    pub peer: String,
    /// The peer's median.
    pub peer_value: Option<f64>,
    /// The median of the paired ratios: above 1, ours is better, whatever the unit.
    pub ratio: Option<f64>,
    /// The smallest and the largest of the paired ratios.
    pub spread: Option<[f64; 2]>,
    /// In which the median of the ratios would lie in 95 of 100 such runs.
    pub interval: Option<[f64; 2]>,
    /// How many slices each side had.
    pub rounds: usize,
    /// The command that repeats this.
    pub command: String,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Line {
    /// Compares our slices with a peer's: slice by slice, so that both of a pair saw the same machine.
    #[must_use]
    pub fn compare(
        name: &str,
        (unit, better): (&'static str, Better),
        ours: &[f64],
        theirs: Result<(&str, &[f64]), &NoPeer>,
    ) -> Self {
        let mut line = Self {
            name: name.to_owned(),
            value: rounded(median(ours)),
            unit: unit.to_owned(),
            better,
            ours: Summary::of(ours),
            peer: String::new(),
            peer_value: None,
            ratio: None,
            spread: None,
            interval: None,
            rounds: ours.len(),
            command: String::new(),
            notes: Vec::new(),
        };
        match theirs {
            Ok((peer, theirs)) => {
                let ratios: Vec<f64> = ours
                    .iter()
                    .zip(theirs)
                    .map(|(ours, theirs)| match better {
                        Better::Higher => ours / theirs,
                        Better::Lower => theirs / ours,
                    })
                    .collect();
                line.peer = peer.to_owned();
                line.peer_value = Some(rounded(median(theirs)));
                let ratios = Summary::of(&ratios);
                if ratios.n > 0 {
                    line.ratio = Some(ratios.median);
                    line.spread = Some([ratios.min, ratios.max]);
                    line.interval = ratios.interval;
                }
            }
            Err(none) => {
                line.peer = format!("{} (absent)", none.peer);
                line.notes.push(none.to_string());
            }
        }
        line
    }

    /// With the command that repeats it.
    #[must_use]
    pub fn command(mut self, command: String) -> Self {
        self.command = command;
        self
    }

    /// With something a reader must know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// One side of a comparison: measures for about as long as it is told and returns the slice's value.
pub type Contender<'a> = Box<dyn FnMut(Duration) -> Result<f64, BenchError> + 'a>;

/// Gives each contender a slice in turn, `rounds` times, after a round that does not count. The result has a list of
/// values for each contender; values of one index are of one round.
///
/// # Errors
/// The first error of a contender, or [`BenchError::Interrupted`].
pub fn alternate(options: &Options, contenders: &mut [Contender<'_>]) -> Result<Vec<Vec<f64>>, BenchError> {
    let mut values = vec![Vec::with_capacity(options.rounds); contenders.len()];
    for round in 0..=options.rounds {
        for (contender, values) in contenders.iter_mut().zip(&mut values) {
            options.go_on()?;
            let value = contender(options.slice)?;
            if round > 0 {
                values.push(value);
            }
        }
    }
    Ok(values)
}

/// Runs `work` on a thread that is pinned to `cpu` and is a worker with caches of its own.
///
/// # Errors
/// [`BenchError`] when it cannot be pinned, or what `work` returned.
pub fn on_cpu<T: Send>(
    cpu: usize,
    work: impl FnOnce() -> Result<T, BenchError> + Send,
) -> Result<T, BenchError> {
    let pinned = || {
        cores::pin_current(&CpuSet::of(&[cpu])?)?;
        let _slot = WorkerSlot::claim()?;
        work()
    };
    std::thread::scope(|scope| {
        scope
            .spawn(pinned)
            .join()
            .unwrap_or_else(|_| Err(BenchError::Bug("a measuring thread panicked".into())))
    })
}

/// The cpu time of the calling thread so far.
///
/// # Errors
/// [`BenchError::CpuTime`].
pub fn thread_time() -> Result<Duration, BenchError> {
    os::thread_time().map_err(|cause| BenchError::CpuTime { pid: std::process::id(), cause })
}

/// The cpu time of a process so far.
///
/// # Errors
/// [`BenchError::CpuTime`].
pub fn cpu_time(pid: u32) -> Result<Duration, BenchError> {
    os::cpu_time(pid).map_err(|cause| BenchError::CpuTime { pid, cause })
}

/// A time in ticks of the time-stamp counter.
#[must_use]
pub fn in_ticks(time: Duration) -> f64 {
    time.as_secs_f64() * Clock::get().hz() as f64
}

/// How often, and how long, a spinning thread was not running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gaps {
    /// The cpu.
    pub cpu: usize,
    /// Longer than 1 us.
    pub over_1us: u32,
    /// Longer than 10 us.
    pub over_10us: u32,
    /// Longer than 100 us.
    pub over_100us: u32,
    /// The longest, in microseconds.
    pub longest_us: f64,
    /// The part of the time that gaps above 1 us took, in percent.
    pub lost_percent: f64,
    /// How long the thread spun, in milliseconds.
    pub spun_ms: u64,
}

impl Gaps {
    /// Spins for `spin` on this thread.
    #[must_use]
    pub fn measure(cpu: usize, spin: Duration) -> Self {
        let clock = Clock::get();
        let until = clock.ticks_of(spin);
        let start = ticks();
        let (mut last, mut lost_ns) = (start, 0);
        let mut gaps = Self { cpu, ..Self::default() };
        while last - start < until {
            let now = ticks().max(last);
            lost_ns += gaps.count(clock.ns(now - last));
            last = now;
        }
        let spun_ns = clock.ns(last - start).max(1);
        gaps.spun_ms = spun_ns / 1_000_000;
        gaps.lost_percent = rounded(lost_ns as f64 / spun_ns as f64 * 100.0);
        gaps
    }

    /// Counts one interval; returns how much of it was lost.
    fn count(&mut self, ns: u64) -> u64 {
        if ns <= 1_000 {
            return 0;
        }
        self.over_1us += 1;
        self.over_10us += u32::from(ns > 10_000);
        self.over_100us += u32::from(ns > 100_000);
        self.longest_us = self.longest_us.max(ns as f64 / 1_000.0);
        ns
    }
}

/// The machine, as it was before measuring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The cpu's model.
    pub cpu: String,
    /// Ticks of the time-stamp counter in a second.
    pub tsc_hz: u64,
    /// Whether it runs at one rate in all states of the cpu.
    pub tsc_invariant: bool,
    /// How far it was from `CLOCK_MONOTONIC` in the spin tests, in parts per million.
    pub tsc_drift_ppm: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The load average of the last minute: what else runs.
    pub load: f64,
    /// Free pages of 2 MiB.
    pub free_hugepages: usize,
    /// A spin test on each cpu that benches use.
    pub gaps: Vec<Gaps>,
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cpu {}: in {} ms {} gaps > 1 us, {} > 10 us, {} > 100 us; longest {:.1} us, {:.2} % lost",
            self.cpu,
            self.spun_ms,
            self.over_1us,
            self.over_10us,
            self.over_100us,
            self.longest_us,
            self.lost_percent
        )
    }
}

/// Above this part of a spin test lost, in percent, a machine is noisy.
const NOISY_LOST: f64 = 2.0;
/// Gaps longer than 100 us in a spin test, above which it is.
const NOISY_GAPS: u32 = 5;

impl Machine {
    /// Why results should be doubted, if they should.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.tsc_invariant {
            doubts.push("the time-stamp counter is not known to run at one rate".to_owned());
        }
        for gaps in &self.gaps {
            if gaps.lost_percent > NOISY_LOST || gaps.over_100us > NOISY_GAPS {
                doubts.push(format!(
                    "cpu {} lost {} % of its time, in gaps of up to {:.0} us",
                    gaps.cpu, gaps.lost_percent, gaps.longest_us
                ));
            }
        }
        doubts
    }

    /// Asks the machine; takes 50 ms for each of two cpus.
    ///
    /// # Errors
    /// [`BenchError`] when a thread cannot be pinned.
    pub fn examine(options: &Options) -> Result<Self, BenchError> {
        const SPIN: Duration = Duration::from_millis(50);
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let flags = info.lines().find(|l| l.starts_with("flags")).unwrap_or_default();
        let invariant = ["constant_tsc", "nonstop_tsc"].iter().all(|f| flags.split(' ').any(|has| has == *f));
        let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
        let (wall, start) = (Instant::now(), ticks());
        let gaps = options.cpus.iter().take(2).map(|&cpu| on_cpu(cpu, || Ok(Gaps::measure(cpu, SPIN))));
        let gaps = gaps.collect::<Result<_, _>>()?;
        let by_tsc = Clock::get().ns(ticks() - start) as f64;
        let drift = (by_tsc / wall.elapsed().as_nanos() as f64 - 1.0) * 1e6;
        Ok(Self {
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            tsc_hz: Clock::get().hz(),
            tsc_invariant: invariant,
            tsc_drift_ppm: rounded(drift),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
            free_hugepages: crate::peers::free_hugepages(),
            gaps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rounds: usize) -> Options {
        Options { cpus: vec![0], ..Options::for_tests(rounds) }
    }

    #[test]
    fn a_ratio_above_one_means_ours_is_better_in_either_direction() {
        let rate =
            Line::compare("x", ("packets/s", Better::Higher), &[20.0, 30.0, 20.0], Ok(("p 1", &[10.0; 3])));
        assert_eq!((rate.value, rate.peer_value), (20.0, Some(10.0)));
        assert_eq!((rate.ratio, rate.spread), (Some(2.0), Some([2.0, 3.0])));
        let cost = Line::compare("x", ("cycles", Better::Lower), &[2.0], Ok(("p 1", &[5.0])));
        assert_eq!((cost.ratio, cost.spread), (Some(2.5), Some([2.5, 2.5])));
    }

    #[test]
    fn an_absent_peer_is_said_and_has_no_ratio() {
        let none = NoPeer { peer: "dpdk-testpmd", why: "not installed. Remedy: apt-get install dpdk".into() };
        let line = Line::compare("x", ("packets/s", Better::Higher), &[1.0], Err(&none));
        assert_eq!(line.peer, "dpdk-testpmd (absent)");
        assert!(line.notes[0].contains("apt-get install dpdk"));
        let json = serde_json::to_value(&line).unwrap();
        assert!(json["ratio"].is_null() && json["peer_value"].is_null() && json["spread"].is_null());
    }

    #[test]
    fn a_slice_of_nothing_gives_no_infinite_ratio() {
        let line = Line::compare("x", ("packets/s", Better::Higher), &[1.0, 2.0], Ok(("p", &[0.0, 1.0])));
        assert_eq!(line.spread, Some([2.0, 2.0]));
    }

    #[test]
    fn contenders_take_turns_and_the_first_round_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let mut turns: Vec<Contender<'_>> = ["a", "b"]
            .into_iter()
            .map(|name| {
                let (order, mut n) = (&order, 0.0);
                Box::new(move |_: Duration| {
                    order.borrow_mut().push_str(name);
                    n += 1.0;
                    Ok(n)
                }) as Contender<'_>
            })
            .collect();
        let values = alternate(&options(2), &mut turns).unwrap();
        assert_eq!(values, [[2.0, 3.0], [2.0, 3.0]]);
        drop(turns);
        assert_eq!(order.into_inner(), "ababab");
    }

    #[test]
    fn a_signal_ends_it() {
        let options = options(1);
        options.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut never: [Contender<'_>; 1] = [Box::new(|_| panic!("must not run"))];
        assert!(matches!(alternate(&options, &mut never), Err(BenchError::Interrupted)));
    }

    #[test]
    fn the_machine_says_what_it_is() {
        let machine = Machine::examine(&options(1)).unwrap();
        assert!(machine.tsc_hz > 100_000_000 && machine.gaps.len() == 1 && !machine.kernel.is_empty());
        assert!(machine.tsc_drift_ppm.abs() < 20_000.0, "{}", machine.tsc_drift_ppm);
    }

    #[test]
    fn gaps_are_counted_by_length() {
        let mut gaps = Gaps::default();
        let lost: u64 = [500, 1_500, 50_000, 200_000].into_iter().map(|ns| gaps.count(ns)).sum();
        assert_eq!((gaps.over_1us, gaps.over_10us, gaps.over_100us, gaps.longest_us), (3, 2, 1, 200.0));
        assert_eq!(lost, 251_500);
    }
}
