//! A queue to an engine core, with requests that go round: what comes back is sent again.

use std::fmt;
use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Domain};
use warpdrive_pmd::clock::ticks;
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOptions};
use warpdrive_pmd::stats::DeviceStats;

use super::contenders::Run;
use crate::load::Subject;
use crate::measure::{cpu_time, thread_time};
use crate::subjects::device::DeviceRig;
use crate::{BenchError, os, subjects};

/// Filling the queue, and what is slow at first, does not count.
const WARM: Duration = Duration::from_millis(3);
/// What all requests in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Who does the work of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A thread of this process.
    Thread(u32),
    /// Another process, with all its threads on one cpu.
    Process(u32),
}

/// A queue to an engine core. Dropping it ends the engine's thread, so that the core is free.
pub struct Rig<S = DeviceRig> {
    /// As a subject of loads.
    pub queue: S,
    engine: Engine,
}

impl Rig {
    /// Signs with `key` on `cpu`, in the way that the options say; up to `depth` requests at once.
    ///
    /// # Errors
    /// [`BenchError`] when there is no memory or the engine's thread does not start there.
    pub fn open(key: &RsaKey, cpu: usize, depth: usize, options: RsaOptions) -> Result<Self, BenchError> {
        Self::of_thread(subjects::rsa::open(key, cpu, depth, options, &Domain::new(DmaMode::Sva))?)
    }

    /// Of a queue whose engine has a thread of this process.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when it has none.
    pub fn of_thread(queue: DeviceRig) -> Result<Self, BenchError> {
        let thread = queue
            .engine_thread()
            .ok_or_else(|| BenchError::Bug("the engine's thread has another name".to_owned()))?;
        Ok(Self { queue, engine: Engine::Thread(thread) })
    }

    /// What the device has counted.
    pub fn stats(&self) -> DeviceStats {
        self.queue.stats()
    }
}

impl<S: Subject> Rig<S> {
    /// Of a queue whose engine is another process.
    pub fn of_process(queue: S, process: u32) -> Self {
        Self { queue, engine: Engine::Process(process) }
    }

    /// Sends one, marked with `tag`, if one is to spare and the queue has room.
    ///
    /// # Errors
    /// [`BenchError`] as the queue.
    fn send(&mut self, tag: u64) -> Result<bool, BenchError> {
        let sent = self.queue.send(tag);
        self.queue.flush()?;
        Ok(sent)
    }

    /// Keeps the queue full until completions come back, and returns how many.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when one failed, or none came back for seconds.
    fn next_batch(&mut self) -> Result<u64, BenchError> {
        let deadline = Instant::now() + DRAIN;
        let mut batch = 0;
        loop {
            while self.send(0)? {}
            match self.queue.receive(&mut |_| ())? {
                // Completions of a batch come one shortly after the other: none more, and it is complete.
                0 if batch > 0 => return Ok(batch),
                0 if Instant::now() > deadline => {
                    return Err(BenchError::Bug(format!("no request came back within {DRAIN:?}")));
                }
                0 => std::hint::spin_loop(),
                n => batch += n as u64,
            }
        }
    }

    /// Sends one alone and waits for it, `times` times; calls `done` with the ticks of each.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when one failed, or did not come back.
    pub fn alone(&mut self, times: usize, mut done: impl FnMut(u64)) -> Result<(), BenchError> {
        for _ in 0..times {
            let start = ticks();
            if !self.send(start)? {
                return Err(BenchError::Bug("an empty queue takes no request".to_owned()));
            }
            self.drain(|start| done(ticks() - start))?;
        }
        Ok(())
    }

    /// Waits for what is in flight; calls `done` with the tag of each.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when that takes longer than seconds.
    pub fn drain(&mut self, mut done: impl FnMut(u64)) -> Result<(), BenchError> {
        let deadline = Instant::now() + DRAIN;
        while self.queue.in_flight() > 0 {
            if self.queue.receive(&mut done)? == 0 && Instant::now() > deadline {
                let left = self.queue.in_flight();
                return Err(BenchError::Bug(format!("{left} requests did not come back")));
            }
        }
        Ok(())
    }

    /// Keeps the queue full until the engine had its cpu for `length`; returns what it did in that time, from
    /// one completion to another, and what part of its own cpu the sender had, in percent: with less than all of it,
    /// the queue was not kept full.
    ///
    /// # Errors
    /// [`BenchError`] when a request failed, or the engine is gone.
    pub fn rate(&mut self, length: Duration) -> Result<(Run, f64), BenchError> {
        let warm = self.engine_time()? + WARM;
        while self.engine_time()? < warm {
            self.next_batch()?;
        }
        let (own, wall) = (thread_time()?, Instant::now());
        let start = self.engine_time()?;
        let mut run = Run::default();
        while run.time < length {
            run.ops += self.next_batch()?;
            run.time = self.engine_time()? - start;
        }
        let share = (thread_time()? - own).as_secs_f64() / wall.elapsed().as_secs_f64();
        self.drain(|_| ())?;
        Ok((run, 100.0 * share))
    }

    /// The cpu time of the engine so far. It never sleeps, so this is also the time that it had its cpu. That of another
    /// process grows by ticks of the scheduler: who waits for it to pass a mark has it exact at that moment.
    ///
    /// # Errors
    /// [`BenchError::CpuTime`].
    pub fn engine_time(&self) -> Result<Duration, BenchError> {
        match self.engine {
            Engine::Thread(pid) => {
                os::thread_time_of(pid).map_err(|cause| BenchError::CpuTime { pid, cause })
            }
            Engine::Process(pid) => cpu_time(pid),
        }
    }
}

/// How well batches were filled: how many had so many requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fill(Vec<u64>);

impl Fill {
    /// Between two readings.
    pub fn between(before: &DeviceStats, after: &DeviceStats) -> Self {
        let before = before.fill.iter().copied().chain(std::iter::repeat(0));
        Self(after.fill.iter().zip(before).map(|(after, before)| after - before).collect())
    }

    /// Requests in a batch on average; 0 when there was none.
    pub fn mean(&self) -> f64 {
        let requests: u64 = self.0.iter().zip(0..).map(|(batches, size)| batches * size).sum();
        requests as f64 / self.0.iter().sum::<u64>().max(1) as f64
    }

    /// Batches of so many requests.
    #[cfg(test)]
    pub fn of(&self, requests: usize) -> u64 {
        self.0.get(requests).copied().unwrap_or(0)
    }

    /// With others.
    pub fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(sum, n)| *sum += n);
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_size = || self.0.iter().zip(0u64..).filter(|(batches, _)| **batches > 0);
        let batches: u64 = of_size().map(|(batches, _)| batches).sum();
        let requests: u64 = of_size().map(|(batches, size)| batches * size).sum();
        write!(f, "{requests} requests in {batches} batches, {:.2} in each", self.mean())?;
        let mut before = ": ";
        for (n, size) in of_size() {
            write!(f, "{before}{n} of {size}")?;
            before = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_round_and_their_tags_come_back() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let key = RsaKey::generate(2048).unwrap();
        let mut rig = Rig::open(&key, *cpus.last().unwrap(), 4, RsaOptions::default()).unwrap();
        for tag in 10..14 {
            assert!(rig.send(tag).unwrap());
        }
        assert!(!rig.send(14).unwrap(), "only four were made");
        let mut tags = Vec::new();
        rig.drain(|tag| tags.push(tag)).unwrap();
        tags.sort_unstable();
        assert_eq!(tags, [10, 11, 12, 13]);
        let mut times = Vec::new();
        rig.alone(3, |ticks| times.push(ticks)).unwrap();
        assert!(times.len() == 3 && times.iter().all(|t| *t > 0), "{times:?}");
        let before = rig.stats();
        let (run, share) = rig.rate(Duration::from_millis(5)).unwrap();
        assert!((0.1..101.0).contains(&share), "{share}");
        let after = rig.stats();
        assert!(run.ops > 0 && run.time >= Duration::from_millis(5), "{run:?}");
        assert!(after.requests - before.requests >= run.ops, "{run:?}");
        assert_eq!((before.requests, before.errors, after.errors), (7, 0, 0));
    }

    #[test]
    fn the_filling_of_batches_is_that_of_the_time_between() {
        let stats = |fill: &[u64]| DeviceStats { fill: fill.to_vec(), ..DeviceStats::default() };
        let mut fill = Fill::between(&stats(&[0, 5, 0, 1]), &stats(&[0, 7, 0, 5]));
        assert_eq!(fill.to_string(), "14 requests in 6 batches, 2.33 in each: 2 of 1, 4 of 3");
        fill.add(&Fill::between(&stats(&[]), &stats(&[0, 0, 0, 0, 10])));
        assert_eq!(fill.to_string(), "54 requests in 16 batches, 3.38 in each: 2 of 1, 4 of 3, 10 of 4");
        assert_eq!(Fill::default().to_string(), "0 requests in 0 batches, 0.00 in each");
    }
}
