//! Software engines: what computes behind a device's queues.
//!
//! An [`Engine`] knows its algorithm and bytes, nothing of queues or addresses. [`SoftDevice`] puts it behind the
//! [`Device`] trait: **inline** (the engine runs in the caller's `recv`, as DPDK's software
//! drivers do) or on an **engine core** (a pinned thread that serves the rings of all its queues).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;
use warpdrive_mempool::{DmaSlice, Domain, DomainView};

use crate::clock;
use crate::device::{
    Completion, Device, DeviceError, DeviceInfo, DeviceStats, Queue, Request, SessionId, SessionSpec, Status,
};
use crate::idle::IdlePolicy;
use crate::stats::Counter;

mod core;
mod inline;
pub mod rsa;
pub mod zip;

pub use self::core::EngineCore;

/// The most requests that an engine is given at once.
pub const MAX_BATCH: usize = 64;
/// The deepest queue.
pub const MAX_DEPTH: usize = 4096;
/// The most sessions of one device.
pub const MAX_SESSIONS: usize = 1024;

/// One request as an engine sees it: bytes in, bytes out.
pub struct Job<'a, S> {
    /// The session it belongs to.
    pub session: &'a S,
    /// The input.
    pub src: &'a [u8],
    /// The second input.
    pub aux: &'a [u8],
    /// Where the output goes. What it holds before is not to be relied on.
    pub dst: &'a mut [u8],
    /// To be set by the engine: bytes written to `dst`, or why not.
    pub result: Result<usize, Status>,
}

/// An algorithm. Each queue (inline) or engine core has an instance of its own.
pub trait Engine: Send + 'static {
    /// What is prepared once for many requests. Shared by all instances.
    type Session: Send + Sync + 'static;

    /// The most jobs it wants at once: lanes of a SIMD engine, or how long the caller's core may be kept.
    const BATCH: usize;
    /// What it does, for messages: `"RSA"`, `"ZIP"`.
    const KIND: &'static str;
    /// The driver's name in configurations.
    const DRIVER: &'static str;

    /// A new instance with its scratch memory.
    fn new() -> Self;

    /// Its session of a specification, or the specification back if it is of another kind.
    fn session(spec: SessionSpec) -> Result<Self::Session, SessionSpec>;

    /// Does up to [`BATCH`](Self::BATCH) jobs and sets the result of each. Allocates nothing of its own.
    fn run(&mut self, jobs: &mut [Job<'_, Self::Session>]);

    /// Algorithms and implementation, for [`DeviceInfo`].
    fn describe() -> (Vec<&'static str>, String);
}

/// Where a software device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the `recv` calls of whoever owns the queue.
    Inline,
    /// On this cpu, by a thread of its own.
    Core {
        /// The cpu's number.
        cpu: usize,
        /// What the thread does when no queue has work.
        idle: IdlePolicy,
    },
}

/// Sessions of one device: added at any time, looked up without a lock.
struct Sessions<S> {
    slots: Box<[OnceLock<S>]>,
    next: Mutex<usize>,
}

impl<S> Sessions<S> {
    fn new() -> Self {
        Self { slots: (0..MAX_SESSIONS).map(|_| OnceLock::new()).collect(), next: Mutex::new(0) }
    }

    fn add(&self, session: S) -> Option<SessionId> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let id = *next;
        self.slots.get(id)?.set(session).ok()?;
        *next += 1;
        Some(SessionId(id as u32))
    }

    fn get(&self, id: SessionId) -> Option<&S> {
        self.slots.get(id.0 as usize)?.get()
    }
}

/// A software engine as a device.
pub struct SoftDevice<E: Engine> {
    name: String,
    domain: Domain,
    sessions: Arc<Sessions<E::Session>>,
    placement: Placement,
    core: Option<EngineCore<E>>,
    /// Those of every queue ever opened.
    counters: Mutex<Vec<SharedCounters>>,
}

/// What the executor of one queue counts. It alone writes.
#[derive(Default)]
struct ExecutorCounters {
    requests: Counter,
    errors: Counter,
    batches: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
}

type SharedCounters = Arc<CachePadded<ExecutorCounters>>;

impl<E: Engine> SoftDevice<E> {
    /// Opens a device whose queues resolve addresses in `domain`.
    ///
    /// # Errors
    /// [`DeviceError::EngineCore`] when its thread cannot be started on its core.
    pub fn open(name: &str, placement: Placement, domain: &Domain) -> Result<Self, DeviceError> {
        const { assert!(E::BATCH >= 1 && E::BATCH <= MAX_BATCH) };
        let core = match placement {
            Placement::Inline => None,
            Placement::Core { cpu, idle } => Some(EngineCore::start(name, cpu, idle)?),
        };
        Ok(Self {
            name: name.to_owned(),
            domain: domain.clone(),
            sessions: Arc::new(Sessions::new()),
            placement,
            core,
            counters: Mutex::new(Vec::new()),
        })
    }

    fn executor(&self) -> Executor<E> {
        let counters = SharedCounters::default();
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        Executor {
            engine: E::new(),
            view: self.domain.view(),
            sessions: Arc::clone(&self.sessions),
            counters,
        }
    }
}

impl<E: Engine> Device for SoftDevice<E> {
    fn info(&self) -> DeviceInfo {
        let (algorithms, implementation) = E::describe();
        DeviceInfo {
            name: self.name.clone(),
            driver: E::DRIVER,
            hardware: false,
            algorithms,
            implementation,
            batch: E::BATCH,
            placement: match self.placement {
                Placement::Inline => "inline".to_owned(),
                Placement::Core { cpu, .. } => format!("core {cpu}"),
            },
        }
    }

    fn request_queue(&self, depth: usize) -> Result<Box<dyn Queue>, DeviceError> {
        if depth == 0 || depth > MAX_DEPTH {
            return Err(DeviceError::Depth { device: self.name.clone(), depth, max: MAX_DEPTH });
        }
        Ok(match &self.core {
            None => Box::new(inline::InlineQueue::new(self.executor(), depth)),
            Some(core) => Box::new(
                core.add_queue(self.executor(), depth)
                    .ok_or_else(|| DeviceError::Stopped { device: self.name.clone() })?,
            ),
        })
    }

    fn create_session(&self, spec: SessionSpec) -> Result<SessionId, DeviceError> {
        let session = E::session(spec).map_err(|spec| DeviceError::WrongKind {
            device: self.name.clone(),
            does: E::KIND,
            wanted: spec.kind(),
        })?;
        self.sessions
            .add(session)
            .ok_or_else(|| DeviceError::Sessions { device: self.name.clone(), max: MAX_SESSIONS })
    }

    fn stats(&self) -> DeviceStats {
        let mut sum = DeviceStats::default();
        for c in self.counters.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sum.requests += c.requests.get();
            sum.errors += c.errors.get();
            sum.batches += c.batches.get();
            sum.bytes_in += c.bytes_in.get();
            sum.bytes_out += c.bytes_out.get();
        }
        sum
    }
}

/// An engine with what it needs to serve requests: the same inline and on an engine core.
struct Executor<E: Engine> {
    engine: E,
    view: DomainView,
    sessions: Arc<Sessions<E::Session>>,
    counters: SharedCounters,
}

impl<E: Engine> Executor<E> {
    /// Executes up to [`Engine::BATCH`] requests, and gives each to `done` in order.
    fn execute(&mut self, requests: &mut Requests, mut done: impl FnMut(Completion)) {
        self.view.refresh();
        let mut results: ArrayVec<Result<usize, Status>, MAX_BATCH> = ArrayVec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run(requests, &mut results)));
        if outcome.is_err() {
            // Whatever the engine had done by then is not to be trusted.
            results.clear();
            results.extend(requests.iter().map(|_| Err(Status::EngineFailed)));
        }
        self.counters.batches.add(1);
        self.counters.requests.add(requests.len() as u64);
        for (request, result) in requests.drain(..).zip(results) {
            self.counters.bytes_in.add(u64::from(request.src().len));
            match result {
                Ok(n) => self.counters.bytes_out.add(n as u64),
                Err(_) => self.counters.errors.add(1),
            }
            let (status, produced) = match result {
                Ok(n) => (Status::Ok, n as u32),
                Err(status) => (status, 0),
            };
            done(Completion { status, produced, sent: request.sent, request });
        }
    }

    fn run(&mut self, requests: &Requests, results: &mut ArrayVec<Result<usize, Status>, MAX_BATCH>) {
        let mut jobs: ArrayVec<Job<'_, E::Session>, MAX_BATCH> = ArrayVec::new();
        for request in requests {
            match resolve(&mut self.view, &self.sessions, request) {
                Ok(job) => {
                    jobs.push(job);
                    results.push(Ok(0));
                }
                Err(status) => results.push(Err(status)),
            }
        }
        self.engine.run(&mut jobs);
        let mut done = jobs.into_iter();
        for result in results.iter_mut().filter(|r| r.is_ok()) {
            if let Some(job) = done.next() {
                // More than there was room for cannot be: whoever reads the number relies on it.
                *result = match job.result {
                    Ok(n) if n > job.dst.len() => Err(Status::EngineFailed),
                    said => said,
                };
            }
        }
    }
}

/// Requests that are executed together.
type Requests = ArrayVec<Request, MAX_BATCH>;

/// Looks the session up and turns addresses into bytes, or says why not.
fn resolve<'a, S>(
    view: &mut DomainView,
    sessions: &'a Sessions<S>,
    request: &'a Request,
) -> Result<Job<'a, S>, Status> {
    let session = sessions.get(request.session).ok_or(Status::NoSession)?;
    let mut get = |segment: crate::device::Segment, write: bool| match segment.len {
        0 => Ok(None),
        len => view.resolve(segment.iova, len as usize, write).map(Some).map_err(Status::Fault),
    };
    let src = get(request.src(), false)?;
    let aux = get(request.aux(), false)?;
    let dst = get(request.dst(), true)?;
    if overlap(src, dst) || overlap(aux, dst) {
        return Err(Status::Overlap);
    }
    // SAFETY: the request owns the packets the addresses point into (or its maker promised exclusive use, see
    // Request::raw) until its completion is given out, which is after the job is gone. Source and destination do not
    // overlap. The view is not refreshed while jobs exist.
    unsafe {
        Ok(Job {
            session,
            src: src.map_or(&[], |s| s.as_slice()),
            aux: aux.map_or(&[], |s| s.as_slice()),
            dst: dst.map_or(&mut [], |s| s.as_mut_slice()),
            result: Err(Status::EngineFailed),
        })
    }
}

fn overlap(a: Option<DmaSlice>, b: Option<DmaSlice>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return false;
    };
    let (a0, b0) = (a.ptr.addr().get(), b.ptr.addr().get());
    a0 < b0 + b.len && b0 < a0 + a.len
}

/// Marks requests as sent now.
fn stamp(requests: &mut [Request]) {
    let now = clock::ticks();
    for request in requests {
        request.sent = now;
    }
}
