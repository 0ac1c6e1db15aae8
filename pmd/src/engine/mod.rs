//! Software engines: what computes behind a device's queues.
//!
//! An [`Engine`] knows its algorithm and bytes, nothing of queues or addresses. [`SoftDevice`] puts it behind the
//! [`Device`] trait: **inline** (the engine runs in the caller's `recv`, as DPDK's software drivers do) or on an
//! **engine core** (a pinned thread that serves the rings of all its queues).
//!
//! There is one instance of the engine for each engine core, or for each inline queue. It is fed from a window of up to
//! 64 requests, which is filled from all queues in turn, and it [chooses](Engine::choose) which of them to do together:
//! so lanes fill across queues and sessions. What it does not choose waits, so completions may overtake each other,
//! also within a queue.
//!
//! A panic in [`Engine::run`] costs the batch: its requests end as [`Status::EngineFailed`](crate::device::Status) and a
//! new instance goes on. After a panic anywhere else every request ends so, [`DeviceStats::failed`] says it, and nothing
//! is lost.

use std::sync::Arc;

use warpdrive_mempool::Domain;

use self::exec::Executor;
use self::meter::Meters;
use self::sessions::Sessions;
use crate::clock;
use crate::device::{
    Device, DeviceError, DeviceInfo, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream,
};
use crate::idle::IdlePolicy;
use crate::stats::DeviceStats;

mod core;
mod exec;
mod inline;
pub(crate) mod meter;
mod pieces;
pub mod rsa;
pub(crate) mod sessions;
mod window;
pub mod zip;

pub(crate) use self::exec::{Outcome, completion};
pub(crate) use self::pieces::overlap;
pub use self::pieces::{Gather, Scatter};
pub use self::window::Waiting;

/// The most requests that an engine is given at once, and the most that it chooses from.
pub const MAX_BATCH: usize = 64;
/// The deepest queue.
pub const MAX_DEPTH: usize = 4096;
/// The most sessions of one device.
pub const MAX_SESSIONS: usize = 1024;

/// One request as an engine sees it: bytes in, bytes out.
pub struct Job<'a, S, T = NoStream> {
    /// The session it belongs to.
    pub session: &'a S,
    /// The input, or the first piece of it.
    pub src: &'a [u8],
    /// The other pieces of the input: none unless [`Engine::CHAINS`].
    pub src_rest: Gather<'a>,
    /// The second input.
    pub aux: &'a [u8],
    /// Where the output goes, or the first piece of that. What it holds before is not to be relied on.
    pub dst: &'a mut [u8],
    /// Where more output goes: nowhere unless [`Engine::CHAINS`].
    pub dst_rest: Scatter<'a>,
    /// What it continues, if it belongs to a stream.
    pub stream: Option<Continued<'a, T>>,
    /// How far it goes.
    pub flush: Flush,
    /// The checksum to continue, if one was given.
    pub checksum: Option<u32>,
    /// To be set by the engine: bytes written to the output, or why not. After an error the stream is broken.
    pub result: Result<usize, Status>,
    /// To be set by the engine if it had to do the job again on another path: it is counted.
    pub retried: bool,
    /// To be set by the engine where the usual does not hold.
    pub report: Report,
}

impl<'a, S, T> Job<'a, S, T> {
    /// A job that stands alone, its input and output in one piece each.
    #[must_use]
    #[inline(always)]
    pub fn new(session: &'a S, src: &'a [u8], aux: &'a [u8], dst: &'a mut [u8]) -> Self {
        Self {
            session,
            src,
            src_rest: Gather::default(),
            aux,
            dst,
            dst_rest: Scatter::default(),
            stream: None,
            flush: Flush::Finish,
            checksum: None,
            result: Err(Status::EngineFailed),
            retried: false,
            report: Report::default(),
        }
    }
}

/// A stream as an engine sees it.
pub struct Continued<'a, T> {
    /// What the engine keeps of it.
    pub state: &'a mut T,
    /// Whether it is to begin anew.
    pub restart: bool,
}

/// The stream of an engine that has none.
pub enum NoStream {}

/// What there is to say of a job that was done, beyond how many bytes came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes read; `None` for all.
    pub consumed: Option<u32>,
    /// Whether more room for output is needed: [`Status::OutputFull`].
    pub full: bool,
    /// Whether a compressed stream ended.
    pub ended: bool,
    /// Of the uncompressed bytes.
    pub checksum: u32,
}

/// An algorithm. Each engine core, or inline queue, has an instance of its own.
pub trait Engine: Send + 'static {
    /// What is prepared once for many requests. Shared by all instances.
    type Session: Send + Sync + 'static;
    /// What is kept from one request of a stream to the next; [`NoStream`] if each stands alone.
    type Stream: Send + 'static;
    /// How instances are to work.
    type Options: Clone + Send + Sync + Default + 'static;

    /// The most jobs of one [`run`](Self::run): lanes of a SIMD engine, or how long the caller's core may be kept.
    const BATCH: usize;
    /// Whether input and output may lie in several pieces.
    const CHAINS: bool = false;
    /// What it does, for messages: `"RSA"`, `"ZIP"`.
    const KIND: &'static str;
    /// The driver's name in configurations.
    const DRIVER: &'static str;

    /// A new instance with its scratch memory. Made on the core that will use it, and again after a panic.
    fn new(options: &Self::Options) -> Self;

    /// Whether this machine can do what the options ask for; if not, why, and what to do about it.
    ///
    /// # Errors
    /// The reason and the remedy, for a message.
    fn supports(_options: &Self::Options) -> Result<(), String> {
        Ok(())
    }

    /// Its session of a specification, or the specification back if it is of another kind.
    fn session(spec: SessionSpec) -> Result<Self::Session, SessionSpec>;

    /// What is to be kept of a stream of this session's operation. Everything it will need is allocated here.
    ///
    /// # Errors
    /// Why there can be none and what to do, for a message.
    fn stream(_session: &Self::Session) -> Result<Self::Stream, String> {
        Err(format!("{} requests stand alone", Self::KIND))
    }

    /// Which of the waiting requests to do together now: bit `i` for number `i`, the first [`BATCH`](Self::BATCH) of
    /// them count. 0 is to wait for more, and the engine is asked again at once: it must have a deadline of its own, by
    /// [`Waiting::age`]. Nothing can be waited for when [`Waiting::draining`]; 0 is then taken for the oldest.
    #[inline]
    fn choose(&mut self, waiting: &Waiting<'_, Self::Session>) -> u64 {
        waiting.oldest(Self::BATCH)
    }

    /// Does up to [`BATCH`](Self::BATCH) jobs and sets the result of each. Allocates nothing of its own.
    fn run(&mut self, jobs: &mut [Job<'_, Self::Session, Self::Stream>]);

    /// Algorithms and implementation, for [`DeviceInfo`].
    fn describe(options: &Self::Options) -> (Vec<&'static str>, String);
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

/// Follows the thread of an engine core, for who must know when it does nothing but serve its queues.
pub trait ThreadWatch: Send {
    /// Called on the thread, when it is pinned and has its engine. An error is the reason why it must not go on.
    ///
    /// # Errors
    /// The reason and the remedy, for a message.
    fn started(&mut self) -> Result<(), String>;

    /// Called on the thread: `true` when from now on it only serves, also when its engine has recovered from a panic;
    /// `false` when it takes over a queue, lets go of one, or ends.
    fn steady(&mut self, steady: bool);
}

/// A software engine as a device.
pub struct SoftDevice<E: Engine> {
    name: String,
    domain: Domain,
    options: E::Options,
    sessions: Arc<Sessions<E::Session>>,
    placement: Placement,
    core: Option<core::EngineCore>,
    meters: Meters,
}

impl<E: Engine> SoftDevice<E> {
    /// Opens a device whose queues resolve addresses in `domain`, with the engine's usual options.
    ///
    /// # Errors
    /// [`DeviceError::EngineCore`] when its thread cannot be started on its core, [`DeviceError::Unsupported`] when this
    /// machine cannot do what the options ask for.
    pub fn open(name: &str, placement: Placement, domain: &Domain) -> Result<Self, DeviceError> {
        Self::open_with(name, placement, domain, E::Options::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        name: &str,
        placement: Placement,
        domain: &Domain,
        options: E::Options,
    ) -> Result<Self, DeviceError> {
        Self::open_watched(name, placement, domain, options, None)
    }

    /// As [`open_with`](Self::open_with), with somebody who follows the thread, if there is one.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`DeviceError::EngineCore`] also when `watch` does not want the thread to go on.
    pub fn open_watched(
        name: &str,
        placement: Placement,
        domain: &Domain,
        options: E::Options,
        watch: Option<Box<dyn ThreadWatch>>,
    ) -> Result<Self, DeviceError> {
        const { assert!(E::BATCH >= 1 && E::BATCH <= MAX_BATCH) };
        E::supports(&options).map_err(|cause| DeviceError::Unsupported { device: name.to_owned(), cause })?;
        let (sessions, meters) = (Arc::new(Sessions::new()), Meters::default());
        let core = match placement {
            Placement::Inline => None,
            Placement::Core { cpu, idle } => {
                let (device, options) = (name.to_owned(), options.clone());
                let (reader, meter) = (sessions.reader(), meters.register());
                let executor = move || Executor::<E>::new(&device, options, meter);
                Some(core::EngineCore::start(name, cpu, idle, executor, reader, watch)?)
            }
        };
        Ok(Self { name: name.to_owned(), domain: domain.clone(), options, sessions, placement, core, meters })
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.count()
    }
}

impl<E: Engine> Device for SoftDevice<E> {
    fn info(&self) -> DeviceInfo {
        let (algorithms, implementation) = E::describe(&self.options);
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
            thread: self.core.as_ref().map(core::EngineCore::thread_id),
        }
    }

    fn request_queue(&self, depth: usize) -> Result<Box<dyn Queue>, DeviceError> {
        if depth == 0 || depth > MAX_DEPTH {
            return Err(DeviceError::Depth { device: self.name.clone(), depth, max: MAX_DEPTH });
        }
        let view = self.domain.view();
        Ok(match &self.core {
            None => {
                let meter = self.meters.register();
                let executor = Executor::<E>::new(&self.name, self.options.clone(), meter);
                Box::new(inline::InlineQueue::new(executor, view, Arc::clone(&self.sessions), depth))
            }
            Some(core) => Box::new(
                core.add_queue(view, depth)
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

    fn create_stream(&self, session: SessionId) -> Result<Stream, DeviceError> {
        let device = || self.name.clone();
        let table = self.sessions.now();
        let found = table.get(session).ok_or_else(|| DeviceError::NoSession { device: device(), session })?;
        let state = E::stream(found).map_err(|cause| DeviceError::NoStream { device: device(), cause })?;
        Ok(Stream::new(table.device, session, Box::new(state)))
    }

    fn remove_session(&self, id: SessionId) -> bool {
        self.sessions.remove(id)
    }

    fn stats(&self) -> DeviceStats {
        self.meters.stats(E::BATCH)
    }
}

/// Marks requests as sent now.
fn stamp(requests: &mut [Request]) {
    let now = clock::ticks();
    for request in requests {
        request.sent = now;
    }
}
