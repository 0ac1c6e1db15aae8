//! A queue to an engine core, with requests that go round: what comes back is sent again.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_pmd::clock::ticks;
use warpdrive_pmd::device::{Completion, Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::stats::DeviceStats;

use super::contenders::Run;
use super::failed;
use crate::measure::thread_time;
use crate::peers::PageSize;
use crate::{BenchError, os};

/// Bytes that are signed.
const MESSAGE: usize = 32;
/// Completions taken at once.
const BURST: usize = 64;
/// Filling the queue, and what is slow at first, does not count.
const WARM: Duration = Duration::from_millis(3);
/// Rigs made so far: each has a name of its own, by which its engine's thread is found.
static RIGS: AtomicUsize = AtomicUsize::new(0);
/// What all requests in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// A device on an engine core, and a queue of it. Dropping it ends the engine's thread, so that the core is free.
pub struct Rig {
    queue: Box<dyn Queue>,
    session: SessionId,
    device: SoftDevice<RsaEngine>,
    engine_thread: u32,
    key_bytes: usize,
    spare: Vec<Request>,
    back: Vec<Completion>,
    /// Last: all its packets are back by then.
    pool: Mempool,
}

impl Rig {
    /// Signs with `key` on `cpu`, in the way that the options say; up to `depth` requests at once.
    ///
    /// # Errors
    /// [`BenchError`] when there is no memory or the engine's thread does not start there.
    pub fn open(key: &RsaKey, cpu: usize, depth: usize, options: RsaOptions) -> Result<Self, BenchError> {
        let domain = Domain::new(DmaMode::Sva);
        let page = if PageSize::best() == PageSize::Huge { Page::Size2M } else { Page::Size4K };
        let config = PoolConfig {
            pages: PageChoice::Exactly(page),
            buffers: depth.next_power_of_two().max(512),
            ..PoolConfig::default()
        };
        let pool = Mempool::new(&config, &domain)?;
        // Names of threads are cut off after 15 bytes.
        let name = format!("b{}", RIGS.fetch_add(1, Ordering::Relaxed));
        let placement = Placement::Core { cpu, idle: IdlePolicy::Pause };
        let device = SoftDevice::open_with(&name, placement, &domain, options)?;
        let session = RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key)?;
        let session = device.create_session(SessionSpec::Rsa(session))?;
        let queue = device.request_queue(depth)?;
        let engine_thread = os::thread_named(&format!("engine-{name}"))
            .ok_or_else(|| BenchError::Bug("the engine's thread has another name".to_owned()))?;
        let mut rig = Self {
            queue,
            session,
            device,
            engine_thread,
            key_bytes: key.bits() / 8,
            spare: Vec::with_capacity(depth),
            back: Vec::with_capacity(BURST),
            pool,
        };
        for _ in 0..depth {
            let request = rig.request()?;
            rig.spare.push(request);
        }
        Ok(rig)
    }

    fn request(&self) -> Result<Request, BenchError> {
        let bug = |what: &str| BenchError::Bug(format!("a packet of the pool: {what}"));
        let mut packet = self.pool.alloc().ok_or_else(|| bug("none left"))?;
        packet.append(MESSAGE + self.key_bytes).map_err(|e| bug(&e.to_string()))?.fill(7);
        let mut request = Request::new(self.session, packet);
        request
            .set_src(0..MESSAGE)
            .and_then(|()| request.set_dst(MESSAGE..MESSAGE + self.key_bytes))
            .map_err(|e| bug(&e.to_string()))?;
        Ok(request)
    }

    /// Sends one, marked with `tag`, if one is to spare and the queue has room.
    pub fn send(&mut self, tag: u64) -> bool {
        let Some(request) = self.spare.pop() else { return false };
        match self.queue.send(request.with_tag(tag)) {
            Ok(()) => true,
            Err(request) => {
                self.spare.push(request);
                false
            }
        }
    }

    /// Takes what has come back; calls `done` with the tag of each. Returns how many.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when one failed.
    pub fn receive(&mut self, mut done: impl FnMut(u64)) -> Result<usize, BenchError> {
        let n = self.queue.recv_burst(&mut self.back, BURST);
        for completion in self.back.drain(..) {
            if completion.status != Status::Ok {
                return Err(failed(completion.status));
            }
            done(completion.request.tag);
            self.spare.push(completion.request);
        }
        Ok(n)
    }

    /// Keeps the queue full until completions come back, and returns how many.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when one failed, or none came back for seconds.
    fn next_batch(&mut self) -> Result<u64, BenchError> {
        let deadline = Instant::now() + DRAIN;
        let mut batch = 0;
        loop {
            while self.send(0) {}
            match self.receive(|_| ())? {
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
            if !self.send(start) {
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
        self.queue.flush();
        let deadline = Instant::now() + DRAIN;
        while self.queue.in_flight() > 0 {
            if self.receive(&mut done)? == 0 && Instant::now() > deadline {
                let left = self.queue.in_flight();
                return Err(BenchError::Bug(format!("{left} requests did not come back")));
            }
        }
        Ok(())
    }

    /// Keeps the queue full until the engine's thread had its cpu for `length`; returns what it did in that time, from
    /// one completion to another, and what part of its own cpu the sender had, in percent: with less than all of it,
    /// the queue was not kept full.
    ///
    /// # Errors
    /// [`BenchError`] when a request failed, or the engine's thread is gone.
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

    /// The cpu time of the engine's thread so far. It never sleeps, so this is also the time that it had its cpu.
    ///
    /// # Errors
    /// [`BenchError::CpuTime`].
    pub fn engine_time(&self) -> Result<Duration, BenchError> {
        let pid = self.engine_thread;
        os::thread_time_of(pid).map_err(|cause| BenchError::CpuTime { pid, cause })
    }

    /// What the device has counted.
    pub fn stats(&self) -> DeviceStats {
        self.device.stats()
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
            assert!(rig.send(tag));
        }
        assert!(!rig.send(14), "only four were made");
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
