//! Non-blocking sockets of the kernel, and what has happened to them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// Events taken at a time.
const EVENTS: usize = 256;

/// Begins a connection. Whenever the socket is closed, it is forgotten at once and leaves no TIME_WAIT: the client
/// closes only after the server did.
///
/// # Errors
/// When there are no more sockets or ports, or the server is known not to listen.
pub fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(e) => Err(e.into()),
    }
}

/// How a connection that was begun is getting on.
///
/// # Errors
/// When the server did not take it.
pub fn is_connected(socket: &TcpStream) -> io::Result<bool> {
    sockopt::socket_error(socket)??;
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// The number it was watched by.
    pub token: u64,
    /// The server has closed its side, or the connection is broken: what can be read should be, up to the end.
    pub hangup: bool,
}

/// Sockets that are watched. Each event is reported once (EPOLLET): who is told reads and writes as much as there is.
pub struct Watched {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Watched {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket until it is closed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?)
    }

    /// Asks what has happened, without waiting; returns how much.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn poll(&mut self) -> io::Result<usize> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now)) {
            Ok(n) => Ok(n),
            Err(Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// One of the things that have happened.
    #[must_use]
    pub fn happened(&self, i: usize) -> Option<Happened> {
        let event = self.events.get(i)?;
        let (flags, data) = (event.flags, event.data);
        let hangup = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        Some(Happened { token: data.u64(), hangup })
    }
}
