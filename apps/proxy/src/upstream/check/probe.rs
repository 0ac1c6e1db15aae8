//! One check of one server: a connection of its own, a request, the head of the response. Nothing here waits.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::http::field::Room;
use crate::http::response::{self, BadResponse};
use crate::http::{Limits, Parsed};

/// Of a body, which nobody wants, so much is read over: a server whose connection ends in the middle would take that for an
/// error, and complain.
const UNWANTED_BYTES: usize = 256 << 10;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be connected to: {0}")]
    Unreachable(io::Error),
    #[error("the connection broke before it answered: {0}")]
    Broken(io::Error),
    #[error("it closed the connection before it answered")]
    Closed,
    #[error("timeout: no {0} within {1:?}")]
    Timeout(&'static str, Duration),
    #[error("status {0}")]
    Status(u16),
    #[error(transparent)]
    Response(#[from] BadResponse),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connecting,
    /// So many bytes of the request are sent.
    Asking(usize),
    Listening,
    /// There was an answer, and so many bytes may still be read over.
    Leaving(usize),
    Over,
}

/// A check under way.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    step: Step,
    timeout: Duration,
    until: Instant,
    /// What came and is not understood yet.
    got: Vec<u8>,
}

/// A socket for a probe. That there is none says nothing of the server.
pub fn socket(to: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

impl Probe {
    /// Begins to connect.
    pub fn begin(socket: OwnedFd, to: &SocketAddr, timeout: Duration, now: Instant) -> Result<Self, Fault> {
        let step = match rustix::net::connect(&socket, to) {
            Ok(()) => Step::Asking(0),
            Err(Errno::INPROGRESS | Errno::INTR) => Step::Connecting,
            Err(e) => return Err(Fault::Unreachable(e.into())),
        };
        Ok(Self { stream: socket.into(), step, timeout, until: now + timeout, got: Vec::new() })
    }

    /// Until when it may wait.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// What it waits for.
    pub fn wants(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = match self.step {
            Step::Connecting | Step::Asking(_) => PollFlags::OUT,
            Step::Listening | Step::Leaving(_) | Step::Over => PollFlags::IN,
        };
        (self.stream.as_fd(), flags)
    }

    /// Whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// Goes on: because the socket is ready, or because of the time. Tells what became of the check, once. `scratch` is to
    /// receive into.
    pub fn advance(
        &mut self,
        request: &[u8],
        is_ready: bool,
        now: Instant,
        scratch: &mut [u8],
    ) -> Option<Result<u16, Fault>> {
        let told = if is_ready { self.step(request, scratch).transpose() } else { None };
        match &told {
            Some(Ok(_)) => self.step = Step::Leaving(UNWANTED_BYTES),
            Some(Err(_)) => self.step = Step::Over,
            None if now >= self.until => return self.late().map(Err),
            None => {}
        }
        told
    }

    /// Its time is over.
    fn late(&mut self) -> Option<Fault> {
        let missing = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Connecting => "connection",
            Step::Asking(_) | Step::Listening => "answer",
            Step::Leaving(_) | Step::Over => return None,
        };
        Some(Fault::Timeout(missing, self.timeout))
    }

    /// Does what can be done now. The status, when it is known.
    fn step(&mut self, request: &[u8], scratch: &mut [u8]) -> Result<Option<u16>, Fault> {
        if self.step == Step::Connecting {
            if let Some(e) = self.stream.take_error().map_err(Fault::Unreachable)? {
                return Err(Fault::Unreachable(e));
            }
            self.step = Step::Asking(0);
        }
        if let Step::Asking(sent) = self.step {
            let n = or_none(self.stream.write(&request[sent..])).map_err(Fault::Broken)?;
            let sent = sent + n.unwrap_or(0);
            self.step = if sent == request.len() { Step::Listening } else { Step::Asking(sent) };
        }
        match self.step {
            Step::Listening => self.listen(scratch),
            Step::Leaving(left) => {
                // Reading once, and coming again: others have their turn, too.
                self.step = match or_none(self.stream.read(scratch)) {
                    Ok(None) => Step::Leaving(left),
                    Ok(Some(n)) if n > 0 && n < left => Step::Leaving(left - n),
                    Ok(Some(_)) | Err(_) => Step::Over,
                };
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn listen(&mut self, scratch: &mut [u8]) -> Result<Option<u16>, Fault> {
        match or_none(self.stream.read(scratch)).map_err(Fault::Broken)? {
            None => Ok(None),
            Some(0) => Err(Fault::Closed),
            Some(n) => {
                self.got.extend_from_slice(&scratch[..n]);
                Ok(self.status()?)
            }
        }
    }

    /// The status of the last response: others may come before it (RFC 9110, 15.2).
    fn status(&mut self) -> Result<Option<u16>, BadResponse> {
        loop {
            let mut room = Room::new();
            let Parsed::Whole(head) = response::parse(&self.got, false, &Limits::default(), &mut room)?
            else {
                return Ok(None);
            };
            let (status, len) = (head.status, head.head_len);
            if !head.is_interim() {
                return Ok(Some(status));
            }
            self.got.drain(..len);
        }
    }
}

/// Nothing, where a socket would wait.
fn or_none(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}
