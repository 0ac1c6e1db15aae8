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
//! into until it comes back in a [`Completion`]: nobody can touch the bytes while the device has them.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;
use warpdrive_mempool::{Fault, Iova, Packet};

use crate::engine::rsa::{EcSession, RsaSession};
use crate::engine::zip::ZipSession;
use crate::stats::DeviceStats;

/// Names a session (a key with its operation, a compression setting) of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

/// Bytes as a device sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// DMA address of the first byte.
    pub iova: Iova,
    /// Length in bytes.
    pub len: u32,
}

/// One operation for a device. What the segments mean is said by the session's operation:
///
/// | operation | `src` | `aux` | `dst` |
/// |---|---|---|---|
/// | RSA sign | message | – | signature: key-size bytes |
/// | RSA verify | message | signature | – |
/// | RSA encrypt, decrypt | input | – | output |
/// | ECDSA sign | message | – | signature: room for 72 bytes, `produced` says how many |
/// | ECDSA verify | message | signature | – |
/// | X25519 agree | the peer's public key | – | shared secret: 32 bytes |
/// | ZIP compress, decompress | input | – | output |
#[derive(Debug)]
pub struct Request {
    /// Which session of the device.
    pub session: SessionId,
    /// The sender's own number, given back unchanged.
    pub tag: u64,
    src: Segment,
    aux: Segment,
    dst: Segment,
    /// Ticks when it was sent; set by the queue.
    pub(crate) sent: u64,
    packet: Option<Packet>,
    output: Option<Packet>,
}

/// A byte range that is not inside the packet it is meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("range {range:?} is not within the packet's {len} bytes")]
pub struct OutOfPacket {
    /// The range.
    pub range: Range<usize>,
    /// The packet's length.
    pub len: usize,
}

impl Request {
    /// A request about (the first segment of) `packet`. Say with the methods below which bytes.
    #[must_use]
    pub fn new(session: SessionId, packet: Packet) -> Self {
        let none = Segment::default();
        Self { session, tag: 0, src: none, aux: none, dst: none, sent: 0, packet: Some(packet), output: None }
    }

    /// A request about memory that no packet stands for.
    ///
    /// # Safety
    /// Until the completion is back (or the queue is dropped), nobody else writes to the source segments and nobody
    /// accesses the destination, as far as the device's domain maps them. Addresses outside are harmless: they fault.
    #[must_use]
    pub unsafe fn raw(session: SessionId, src: Segment, aux: Segment, dst: Segment) -> Self {
        Self { session, tag: 0, src, aux, dst, sent: 0, packet: None, output: None }
    }

    /// Sets the sender's own number.
    #[must_use]
    pub fn with_tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }

    fn segment(&self, range: Range<usize>) -> Result<Segment, OutOfPacket> {
        let (iova, len) = self.packet.as_ref().map_or((Iova(0), 0), |p| (p.iova(), p.len()));
        if range.start > range.end || range.end > len {
            return Err(OutOfPacket { range, len });
        }
        Ok(Segment { iova: Iova(iova.0 + range.start as u64), len: range.len() as u32 })
    }

    /// The input: these bytes of the packet.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_src(&mut self, range: Range<usize>) -> Result<(), OutOfPacket> {
        self.src = self.segment(range)?;
        Ok(())
    }

    /// The second input: these bytes of the packet.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_aux(&mut self, range: Range<usize>) -> Result<(), OutOfPacket> {
        self.aux = self.segment(range)?;
        Ok(())
    }

    /// The output: these bytes of the same packet, apart from the inputs.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_dst(&mut self, range: Range<usize>) -> Result<(), OutOfPacket> {
        self.dst = self.segment(range)?;
        Ok(())
    }

    /// The output: these bytes of a second packet, which comes back with the completion.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_output(&mut self, packet: Packet, range: Range<usize>) -> Result<(), OutOfPacket> {
        let len = packet.len();
        if range.start > range.end || range.end > len {
            return Err(OutOfPacket { range, len });
        }
        self.dst = Segment { iova: Iova(packet.iova().0 + range.start as u64), len: range.len() as u32 };
        self.output = Some(packet);
        Ok(())
    }

    /// The input segment.
    #[must_use]
    pub fn src(&self) -> Segment {
        self.src
    }

    /// The second input segment.
    #[must_use]
    pub fn aux(&self) -> Segment {
        self.aux
    }

    /// The output segment.
    #[must_use]
    pub fn dst(&self) -> Segment {
        self.dst
    }

    /// The packets it owned: the one it is about, and the output.
    #[must_use]
    pub fn into_packets(self) -> (Option<Packet>, Option<Packet>) {
        (self.packet, self.output)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done; the completion says how many bytes were produced.
    Ok,
    /// An address is not mapped or not permitted.
    Fault(Fault),
    /// Source and destination overlap.
    Overlap,
    /// No such session on this device.
    NoSession,
    /// The destination is too small. `needed` bytes would do, or 0 if that is not known.
    NoSpace {
        /// Bytes needed.
        needed: u32,
    },
    /// The input is not what the operation takes: a corrupt stream, a message of the wrong length.
    BadInput,
    /// A signature does not match.
    Mismatch,
    /// The engine failed on this request (a bug or a fault of the machine); nothing was released.
    EngineFailed,
    /// The device went away before the request was begun.
    Cancelled,
}

impl Status {
    /// A short name, for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fault(_) => "fault",
            Self::Overlap => "overlap",
            Self::NoSession => "no_session",
            Self::NoSpace { .. } => "no_space",
            Self::BadInput => "bad_input",
            Self::Mismatch => "mismatch",
            Self::EngineFailed => "engine_failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A request that the device is done with.
#[derive(Debug)]
pub struct Completion {
    /// How it ended.
    pub status: Status,
    /// Bytes written to the destination.
    pub produced: u32,
    /// Ticks when it was sent.
    pub sent: u64,
    /// The request, with its packets.
    pub request: Request,
}

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
            Self::Rsa(_) => "RSA",
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
