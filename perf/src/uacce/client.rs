//! What this program does when a bench needs clients in processes of their own: it starts itself once more, as `warpdrive bench
//! uacce-client` with a line of JSON on its standard input that says what to do. A client ends when that input does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, Timespec};
use serde::{Deserialize, Serialize};
use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize, PoolConfig};
use warpdrive_pipeline::cores::{self, CpuSet};
use warpdrive_pmd::engine::rsa::RsaKey;
use warpdrive_pmd::uacce::{Roots, UacceDevice, UacceOptions};

use super::rtt::NullQueue;
use crate::load::Subject as _;
use crate::subjects::device::DeviceRig;
use crate::{BenchError, subjects};

/// What it is called on the command line.
pub const CLIENT: &str = "uacce-client";
/// What a client says when it is prepared.
pub(super) const READY: &str = "ready";
/// What all requests in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(30);

/// A client on a cpu.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) cpu: usize,
    /// Where devices are.
    pub(super) folder: PathBuf,
    pub(super) device: String,
    pub(super) work: Work,
}

/// What a client does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// Null operations, one at a time, waiting for each by looking.
    RoundTrips,
    /// Signatures with this key, so many in flight. It looks for answers, sends as many anew, and sleeps.
    Signatures { key: PathBuf, in_flight: usize, sleep_us: u64 },
}

/// When to work, by `CLOCK_MONOTONIC`, in nanoseconds: a line to a client, as often as there is work.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) start: u64,
    /// From when on answers count.
    pub(super) from: u64,
    /// Until when, and until when requests are sent.
    pub(super) end: u64,
}

/// What a client did in a window: a line from it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Did {
    /// Answers that count.
    pub(super) counted: u64,
    /// All requests, from start to end.
    pub(super) sent: u64,
    /// All answers.
    pub(super) received: u64,
}

/// Nanoseconds of `CLOCK_MONOTONIC`: one clock for all processes.
pub(super) fn now() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps until then.
pub(super) fn sleep_until(time: u64) {
    let at = Timespec { tv_sec: (time / 1_000_000_000) as i64, tv_nsec: (time % 1_000_000_000) as i64 };
    // Who is woken early looks at the clock.
    while now() < time && rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &at).is_err() {}
}

/// Is the client that standard input asks for, until its end.
///
/// # Errors
/// [`BenchError`], which whoever has started it reads on standard error.
pub fn play() -> Result<(), BenchError> {
    let mut lines = std::io::stdin().lines();
    let mut line = || lines.next().transpose().map_err(|e| refused("reading", e));
    let Some(said) = line()? else { return Ok(()) };
    let client: Client = serde_json::from_str(&said).map_err(|e| refused("what is asked for", e.into()))?;
    cores::pin_current(&CpuSet::of(&[client.cpu])?)?;
    let mut worker = Worker::open(&client)?;
    say(READY)?;
    while let Some(window) = line()? {
        let window: Window = serde_json::from_str(&window).map_err(|e| refused("a window", e.into()))?;
        let did = worker.work(window)?;
        say(&serde_json::to_string(&did).map_err(|e| refused("answering", e.into()))?)?;
    }
    Ok(())
}

fn refused(what: &str, cause: std::io::Error) -> BenchError {
    BenchError::Io {
        what: format!("{CLIENT}: {what}"),
        cause,
        remedy: "none: benches start it, it is not for people",
    }
}

fn say(line: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| refused("saying something", e))
}

/// A client at work.
enum Worker {
    RoundTrips(Box<NullQueue>),
    Signatures { rig: Box<DeviceRig>, sleep: Duration },
}

impl Worker {
    fn open(part: &Client) -> Result<Self, BenchError> {
        let roots = Roots::below(&part.folder);
        match &part.work {
            Work::RoundTrips => Ok(Self::RoundTrips(Box::new(NullQueue::open(&roots, &part.device)?))),
            Work::Signatures { key, in_flight, sleep_us } => {
                let rig = signatures(&roots, part, key, *in_flight)?;
                Ok(Self::Signatures { rig: Box::new(rig), sleep: Duration::from_micros(*sleep_us) })
            }
        }
    }

    fn work(&mut self, window: Window) -> Result<Did, BenchError> {
        sleep_until(window.start);
        match self {
            Self::RoundTrips(queue) => round_trips(queue, window),
            Self::Signatures { rig, sleep } => sign(rig, *sleep, window),
        }
    }
}

fn signatures(roots: &Roots, part: &Client, key: &Path, in_flight: usize) -> Result<DeviceRig, BenchError> {
    let domain = Domain::new(DmaMode::Sva);
    // Small pages: hundreds of clients would take all large ones.
    let config = PoolConfig {
        pages: PageChoice::Exactly(PageSize::Size4K),
        buffers: in_flight.next_power_of_two().max(64),
        size: 1024,
        ..PoolConfig::default()
    };
    let pool = Mempool::new(&config, &domain)?;
    let device = UacceDevice::open(&part.device, roots, &domain, UacceOptions::default())?;
    subjects::rsa::sign(Box::new(device), &RsaKey::load(key)?, in_flight, pool)
}

fn round_trips(queue: &mut NullQueue, window: Window) -> Result<Did, BenchError> {
    let mut did = Did::default();
    loop {
        did.sent += 1;
        queue.round_trip()?;
        did.received += 1;
        let now = now();
        did.counted += u64::from((window.from..window.end).contains(&now));
        if now >= window.end {
            return Ok(did);
        }
    }
}

fn sign(rig: &mut DeviceRig, sleep: Duration, window: Window) -> Result<Did, BenchError> {
    let mut did = Did::default();
    loop {
        let is_over = now() >= window.end;
        while !is_over && rig.in_flight() < rig.max_depth() {
            while rig.send(0) {
                did.sent += 1;
            }
            rig.flush()?;
        }
        if is_over && (rig.in_flight() == 0 || now() > window.end + DRAIN.as_nanos() as u64) {
            return Ok(did);
        }
        std::thread::sleep(sleep);
        let now = now();
        let counts = (window.from..window.end).contains(&now);
        loop {
            let n = rig.receive(&mut |_| ())? as u64;
            did.received += n;
            did.counted += if counts { n } else { 0 };
            if n == 0 {
                break;
            }
        }
    }
}
