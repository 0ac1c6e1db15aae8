//! Counters with one writer and any number of readers, without locks or locked instructions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only one thread may do so: with two, counts are lost (which is not unsafe).
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Replaces the value: for gauges.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a port's queue counts. All packets and bytes of frames without the frame check sequence.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Packets received, or accepted for transmission and sent.
    pub packets: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Packets lost because no buffer was free to receive into.
    pub no_buffer: Counter,
    /// Packets lost below the driver (a full kernel ring, as the kernel counts it).
    pub missed: Counter,
    /// Packets refused: too long for the link or the buffer, or malformed.
    pub errors: Counter,
    /// System calls made by the driver on this queue.
    pub syscalls: Counter,
}

/// The counters of one queue, shared with observers, on cache lines of their own.
pub type SharedCounters = Arc<CachePadded<QueueCounters>>;

/// A copy of [`QueueCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "the fields of QueueCounters")]
pub struct QueueStats {
    pub packets: u64,
    pub bytes: u64,
    pub no_buffer: u64,
    pub missed: u64,
    pub errors: u64,
    pub syscalls: u64,
}

impl QueueCounters {
    /// New counters, to be shared.
    #[must_use]
    pub fn shared() -> SharedCounters {
        Arc::default()
    }

    /// The values now.
    #[must_use]
    pub fn snapshot(&self) -> QueueStats {
        QueueStats {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            no_buffer: self.no_buffer.get(),
            missed: self.missed.get(),
            errors: self.errors.get(),
            syscalls: self.syscalls.get(),
        }
    }
}

/// What a device has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeviceStats {
    /// Requests completed, with whatever status.
    pub requests: u64,
    /// Those whose status was not [`Status::Ok`](crate::device::Status).
    pub errors: u64,
    /// Requests that the engine did a second time on another path.
    pub retried: u64,
    /// Batches given to the engine.
    pub batches: u64,
    /// How many batches had `i` jobs, for `i` from 0 to the most that the engine takes: how well lanes are filled.
    pub fill: Vec<u64>,
    /// Batches lost to a panic of the engine.
    pub panics: u64,
    /// Whether the engine has died, so that every request ends as [`Status::EngineFailed`](crate::device::Status).
    pub failed: bool,
    /// From sending a request to its beginning.
    pub wait: WaitStats,
    /// Bytes of input.
    pub bytes_in: u64,
    /// Bytes of output.
    pub bytes_out: u64,
    /// Times that a queue was lost because its device has gone away, has failed or makes no sense.
    pub queues_lost: u64,
    /// Times that a lost queue was opened anew.
    pub queues_reopened: u64,
}

impl DeviceStats {
    /// Jobs in a batch on average; 0 when there was none.
    #[must_use]
    pub fn mean_fill(&self) -> f64 {
        let jobs: u64 = self.fill.iter().zip(0..).map(|(batches, jobs)| batches * jobs).sum();
        jobs as f64 / self.batches.max(1) as f64
    }
}

/// How long requests waited for an engine: quantiles to a sixteenth, and the exact maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct WaitStats {
    /// Requests.
    pub count: u64,
    /// Half of them waited no longer.
    pub p50_ns: u64,
    /// Nine of ten waited no longer.
    pub p90_ns: u64,
    /// 99 of 100 waited no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}
