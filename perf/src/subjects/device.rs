//! A queue of an accelerator, with requests that go round: what comes back is sent again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use warpdrive_mempool::Mempool;
use warpdrive_pmd::device::{Completion, Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::stats::DeviceStats;

use crate::BenchError;
use crate::load::Subject;

/// Requests sent, and completions taken, at once.
const BURST: usize = 64;
/// Rigs made so far: each device has a name of its own.
static RIGS: AtomicUsize = AtomicUsize::new(0);

/// A name for a device that no other of this process has.
#[must_use]
pub fn unique_name() -> String {
    format!("b{}", RIGS.fetch_add(1, Ordering::Relaxed))
}

/// A device and a queue of it. Dropping it ends the engine's thread, so that the core is free.
pub struct DeviceRig {
    queue: Box<dyn Queue>,
    depth: usize,
    /// Sent, but not given to the queue yet.
    batch: Vec<Request>,
    /// In the order in which they came back: all take their turn, however few are under way.
    spare: VecDeque<Request>,
    back: Vec<Completion>,
    engine_thread: Option<u32>,
    device: Box<dyn Device>,
    /// Last: all its packets are back by then.
    _pool: Mempool,
}

impl DeviceRig {
    /// A queue of `device` with `depth` requests, which `make` makes of packets of the pool for a session of `spec`.
    ///
    /// # Errors
    /// [`BenchError`] when the device or `make` cannot.
    pub fn new(
        device: Box<dyn Device>,
        spec: SessionSpec,
        pool: Mempool,
        depth: usize,
        mut make: impl FnMut(&Mempool, SessionId, usize) -> Result<Request, BenchError>,
    ) -> Result<Self, BenchError> {
        let session = device.create_session(spec)?;
        let queue = device.request_queue(depth)?;
        let spare = (0..depth).map(|i| make(&pool, session, i)).collect::<Result<_, _>>()?;
        Ok(Self {
            queue,
            depth,
            batch: Vec::with_capacity(BURST),
            spare,
            back: Vec::with_capacity(BURST),
            engine_thread: device.info().thread,
            device,
            _pool: pool,
        })
    }

    /// What the device has counted.
    #[must_use]
    pub fn stats(&self) -> DeviceStats {
        self.device.stats()
    }

    /// The thread of its engine; none if that runs inline.
    #[must_use]
    pub fn engine_thread(&self) -> Option<u32> {
        self.engine_thread
    }

    /// What the device is.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<String, String> {
        let info = self.device.info();
        let kind = if info.hardware { "hardware" } else { "software" };
        let fact = |name: &str, value: String| (name.to_owned(), value);
        BTreeMap::from([
            fact("device", format!("{kind}, {}", info.driver)),
            fact("simd", info.implementation),
            fact("placement", info.placement),
            fact("batch", format!("up to {} requests together", info.batch)),
        ])
    }
}

impl Subject for DeviceRig {
    #[inline]
    fn send(&mut self, tag: u64) -> bool {
        if self.batch.len() == BURST {
            return false;
        }
        let Some(request) = self.spare.pop_front() else { return false };
        self.batch.push(request.with_tag(tag));
        true
    }

    #[inline]
    fn flush(&mut self) -> Result<(), BenchError> {
        if !self.batch.is_empty() {
            self.queue.send_burst(&mut self.batch);
        }
        self.queue.flush();
        Ok(())
    }

    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        // What did not fit waits here.
        if !self.batch.is_empty() {
            self.queue.send_burst(&mut self.batch);
        }
        let n = self.queue.recv_burst(&mut self.back, BURST);
        for completion in self.back.drain(..) {
            if completion.status != Status::Ok {
                return Err(BenchError::Bug(format!("a request ended as {:?}", completion.status)));
            }
            done(completion.request.tag);
            self.spare.push_back(completion.request);
        }
        Ok(n)
    }

    fn in_flight(&self) -> usize {
        self.depth - self.spare.len()
    }

    fn max_depth(&self) -> usize {
        self.depth
    }

    fn engine_thread(&self) -> Option<u32> {
        self.engine_thread
    }
}
