//! Accelerator devices and their queues: the calls of WarpDrive/uacce.
//!
//! | WarpDrive | here |
//! |---|---|
//! | `wd_request_queue` | [`Device::request_queue`] |
//! | `wd_send`, burst form | [`Queue::send`], [`Queue::send_burst`] |
//! | `wd_recv`, burst form | [`Queue::recv`], [`Queue::recv_burst`] |
//! | `wd_recv_sync` | [`Queue::recv_sync`], the only call that may block |
//! | `wd_flush` | [`Queue::flush`] |
//! | `wd_release_queue` | drop |
//!
//! A [`Request`] carries DMA addresses, which the device resolves and checks, and owns the packets that they point
//! into until it comes back in a [`Completion`]: nobody can touch the bytes while the device has them. What belongs to a
//! longer stream of bytes carries its [`Stream`] along in the same way.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine::rsa::{EcSession, RawSession, RsaSession};
use crate::engine::zip::ZipSession;
use crate::stats::DeviceStats;

mod request;
mod stream;

pub use self::request::{Completion, Flush, MAX_SEGMENTS, OutOfPacket, Request, Segment, Status};
pub(crate) use self::stream::Phase;
pub use self::stream::Stream;

/// Names a session (a key with its operation, a compression setting) of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

/// An accelerator queue. One owner; dropping it releases it, and the packets of requests still in flight go back to
/// their pools.
///
/// Completions need not come in the order of sending: a device may do requests together that suit each other. Who needs
/// the order restores it by [`Request::tag`].
pub trait Queue: Send {
    /// Sends requests from the front of `requests` and removes them; the rest did not fit. Returns how many.
    fn send_burst(&mut self, requests: &mut Vec<Request>) -> usize;

    /// Appends up to `max` completions to `out` and returns how many. Allocates nothing while `out` has capacity, and
    /// gives no more than that. A software engine that runs inline does its work in here.
    fn recv_burst(&mut self, out: &mut Vec<Completion>, max: usize) -> usize;

    /// Makes sure that the device knows of everything sent so far (rings the doorbell).
    fn flush(&mut self);

    /// How many more requests it takes now.
    fn room(&self) -> usize;

    /// Requests sent whose completions were not received yet.
    fn in_flight(&self) -> usize;

    /// Whether the device has gone away: the queue gives back what it had, and whatever it is sent from then on, as
    /// [`Status::Cancelled`]. The queue of a device of another process may come
    /// back, with the device.
    fn is_gone(&self) -> bool {
        false
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Gives it back when the queue is full.
    fn send(&mut self, request: Request) -> Result<(), Request>;

    /// Receives one completion, if there is one.
    fn recv(&mut self) -> Option<Completion>;

    /// Receives one completion, waiting up to `timeout` for it. `None` at once when nothing is in flight.
    fn recv_sync(&mut self, timeout: Duration) -> Option<Completion> {
        let deadline = Instant::now().checked_add(timeout);
        self.flush();
        let mut polls = 0u32;
        loop {
            if let Some(completion) = self.recv() {
                return Some(completion);
            }
            if self.in_flight() == 0 || deadline.is_some_and(|d| Instant::now() >= d) {
                return None;
            }
            // Most completions are there within microseconds; a longer wait gives the core away.
            polls += 1;
            if polls < 1_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// What a session does. A device takes those of its own kind.
pub enum SessionSpec {
    /// An RSA operation with a key.
    Rsa(RsaSession),
    /// An RSA operation without padding, with a key of numbers.
    RawRsa(RawSession),
    /// An operation on an elliptic curve with a key.
    Ec(EcSession),
    /// A DEFLATE operation.
    Zip(ZipSession),
}

impl SessionSpec {
    /// The kind, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) | Self::RawRsa(_) => "RSA",
            Self::Ec(_) => "EC",
            Self::Zip(_) => "ZIP",
        }
    }
}

/// An accelerator: hands out queues and keeps sessions.
pub trait Device: Send + Sync {
    /// Facts about it.
    fn info(&self) -> DeviceInfo;

    /// Opens a queue that takes up to `depth` requests in flight.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn request_queue(&self, depth: usize) -> Result<Box<dyn Queue>, DeviceError>;

    /// Prepares a session: keys are loaded, tables made. All queues of the device can use it.
    ///
    /// # Errors
    /// [`DeviceError`].
    fn create_session(&self, spec: SessionSpec) -> Result<SessionId, DeviceError>;

    /// Begins a stream of a session's operation, for requests that continue one another. What it needs is allocated here.
    ///
    /// # Errors
    /// [`DeviceError`]: no such session, or one whose operation knows no streams.
    fn create_stream(&self, session: SessionId) -> Result<Stream, DeviceError>;

    /// Removes a session, also while queues are in use, and says whether it was there. Requests that name it and are not
    /// begun yet end as [`Status::NoSession`]; it is dropped when those that are have ended. Its id is not given again.
    fn remove_session(&self, id: SessionId) -> bool;

    /// What all its queues have counted so far.
    fn stats(&self) -> DeviceStats;
}

/// Facts about a device: it says what it is.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceInfo {
    /// The name it was given.
    pub name: String,
    /// The driver's name.
    pub driver: &'static str,
    /// Whether silicon made for it does the work (else this machine's cores do).
    pub hardware: bool,
    /// What it computes.
    pub algorithms: Vec<&'static str>,
    /// The library or kernels behind it, with the SIMD path in use.
    pub implementation: String,
    /// Requests computed together, at most.
    pub batch: usize,
    /// Where it runs: `"inline"` or `"core N"`.
    pub placement: String,
    /// The kernel's number of the thread that it runs on, if it has one of its own. Names of threads are cut off.
    pub thread: Option<u32>,
}

/// Why a device cannot be opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The depth is impossible.
    #[error("device {device:?}: a queue of depth {depth} is not possible: 1 to {max}")]
    Depth {
        /// The device.
        device: String,
        /// The depth asked for.
        depth: usize,
        /// The largest possible.
        max: usize,
    },
    /// All session slots are taken.
    #[error("device {device:?}: all {max} sessions are in use")]
    Sessions {
        /// The device.
        device: String,
        /// How many there are.
        max: usize,
    },
    /// The session is of another kind.
    #[error("device {device:?} does {does}, not {wanted}")]
    WrongKind {
        /// The device.
        device: String,
        /// What it does.
        does: &'static str,
        /// What was asked of it.
        wanted: &'static str,
    },
    /// The engine's thread could not be started or pinned.
    #[error("device {device:?}: cannot start its engine on core {core}: {cause}")]
    EngineCore {
        /// The device.
        device: String,
        /// The core.
        core: usize,
        /// The cause.
        cause: String,
    },
    /// There is no such session, or no longer.
    #[error("device {device:?}: there is no session {session:?}")]
    NoSession {
        /// The device.
        device: String,
        /// The session asked for.
        session: SessionId,
    },
    /// The session's operation cannot be done in pieces.
    #[error("device {device:?}: no stream: {cause}")]
    NoStream {
        /// The device.
        device: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// A uacce device, or a queue of it, cannot be had.
    #[error("device {device:?}: {cause}")]
    Uacce {
        /// The device.
        device: String,
        /// The cause and the remedy.
        cause: crate::uacce::UacceError,
    },
    /// This machine cannot do it so.
    #[error("device {device:?}: {cause}")]
    Unsupported {
        /// The device.
        device: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// The device has stopped.
    #[error("device {device:?} has stopped")]
    Stopped {
        /// The device.
        device: String,
    },
}
