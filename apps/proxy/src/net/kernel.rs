//! TCP by the kernel: sockets that do not block, and one epoll instance for each worker.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use slab::Slab;

use super::{Accepted, Close, Flow, Net};

/// Connections that wait to be accepted, at most; the kernel has a limit of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// In the token of a listener.
const LISTENER: u64 = 1 << 63;

/// Sockets that listen, one for each address. Each worker has its own, and the kernel shares connections out (`SO_REUSEPORT`).
#[derive(Default)]
pub struct Listeners(Vec<OwnedFd>);

impl Listeners {
    /// Binds and listens.
    ///
    /// # Errors
    /// The place of the address in `addresses`, and why.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self, (usize, io::Error)> {
        let open = |(i, address)| listen(address).map_err(|e| (i, e.into()));
        addresses.iter().enumerate().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Where they listen: with the port that the kernel chose, if it was to choose.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |fd: &OwnedFd| rustix::net::getsockname(fd).ok()?.try_into().ok();
        self.0.iter().filter_map(address).collect()
    }
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn listen(address: &SocketAddr) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(family(address), SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sockopt::set_socket_reuseport(&fd, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    // Connections take it over from the socket that they were accepted by.
    sockopt::set_tcp_nodelay(&fd, true)?;
    rustix::net::bind(&fd, address)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

struct Socket {
    fd: OwnedFd,
    generation: u32,
    /// Whether there may be something to receive, or room to send. An event sets it, an attempt clears it.
    readable: bool,
    writable: bool,
    /// The other side has sent its end, or an error is to be had: what is received short may be followed by it.
    ended: bool,
}

/// What a worker's connections are made of: it can be opened on another thread.
pub struct Opened {
    epoll: OwnedFd,
    listeners: Listeners,
}

impl Opened {
    /// Watches the listeners.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn new(listeners: Listeners) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (i, fd) in listeners.0.iter().enumerate() {
            epoll::add(&epoll, fd, EventData::new_u64(LISTENER | i as u64), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self { epoll, listeners })
    }
}

/// The connections of one worker.
pub struct KernelNet {
    epoll: OwnedFd,
    listeners: Listeners,
    /// Listeners that have, as far as is known, connections to be accepted.
    waiting: Vec<bool>,
    sockets: Slab<Socket>,
    generation: u32,
    events: Vec<epoll::Event>,
}

impl KernelNet {
    /// Without connections.
    #[must_use]
    pub fn new(opened: Opened) -> Self {
        let Opened { epoll, listeners } = opened;
        let waiting = vec![false; listeners.0.len()];
        let events = Vec::with_capacity(EVENTS);
        Self { epoll, listeners, waiting, sockets: Slab::new(), generation: 0, events }
    }

    fn add(&mut self, fd: OwnedFd, is_connected: bool) -> io::Result<Flow> {
        let entry = self.sockets.vacant_entry();
        self.generation = self.generation.wrapping_add(1) & 0x7fff_ffff; // the highest bit is that of listeners
        let flow = Flow { index: entry.key() as u32, generation: self.generation };
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &fd, EventData::new_u64(flow.token()), events)?;
        // Who connects to us sends first, and mostly has by now.
        let (readable, writable) = (is_connected, is_connected);
        entry.insert(Socket { fd, generation: flow.generation, readable, writable, ended: false });
        Ok(flow)
    }

    fn socket(&mut self, flow: Flow) -> io::Result<&mut Socket> {
        let found = self.sockets.get_mut(flow.index());
        found.filter(|s| s.generation == flow.generation).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn take(&mut self, flow: Flow) -> Option<Socket> {
        self.socket(flow).ok()?;
        self.sockets.try_remove(flow.index())
    }
}

impl Net for KernelNet {
    fn poll(&mut self, ready: &mut Vec<Flow>) {
        self.events.clear();
        // Interrupted, or out of memory: the next round asks again.
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now));
        for event in &self.events {
            let (flags, token) = (event.flags, event.data.u64());
            if token & LISTENER != 0 {
                self.waiting[(token & !LISTENER) as usize] = true;
                continue;
            }
            let flow = Flow::of_token(token);
            let Some(socket) = self.sockets.get_mut(flow.index()) else { continue };
            if socket.generation != flow.generation {
                continue;
            }
            let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            socket.ended |= ended;
            socket.readable |= ended || flags.contains(EventFlags::IN);
            socket.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
            ready.push(flow);
        }
    }

    fn accept(&mut self) -> Option<Accepted> {
        for listener in 0..self.waiting.len() {
            if !self.waiting[listener] {
                continue;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&self.listeners.0[listener], flags) {
                Ok((fd, Some(peer))) => {
                    let Ok(peer) = SocketAddr::try_from(peer) else { continue };
                    match self.add(fd, true) {
                        Ok(flow) => return Some(Accepted { flow, peer, listener }),
                        Err(e) => tracing::warn!("a connection cannot be watched: {e}"),
                    }
                }
                // Gone again before it was accepted: there may be others.
                Ok((_, None)) | Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                // No descriptors or no memory: it waits in the backlog, and is tried again in the next round.
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM) => {}
                Err(_) => self.waiting[listener] = false,
            }
        }
        None
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<Flow> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family(&to), SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        let is_connected = match rustix::net::connect(&fd, &to) {
            Ok(()) => true,
            Err(rustix::io::Errno::INPROGRESS) => false,
            Err(e) => return Err(e.into()),
        };
        let flow = self.add(fd, is_connected)?;
        // A server speaks when it was asked.
        self.socket(flow)?.readable = false;
        Ok(flow)
    }

    fn connected(&mut self, flow: Flow) -> io::Result<bool> {
        let socket = self.socket(flow)?;
        if socket.ended {
            sockopt::socket_error(&socket.fd)??;
        }
        Ok(socket.writable)
    }

    fn recv(&mut self, flow: Flow, into: &mut [u8]) -> io::Result<usize> {
        let socket = self.socket(flow)?;
        if !socket.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = rustix::io::read(&socket.fd, &mut *into);
        match result {
            // All there was: the next event says when there is more.
            Ok(n) if n > 0 && n < into.len() && !socket.ended => socket.readable = false,
            Err(rustix::io::Errno::AGAIN) => socket.readable = false,
            _ => {}
        }
        Ok(result?)
    }

    fn send(&mut self, flow: Flow, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = self.socket(flow)?;
        if !socket.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = rustix::io::writev(&socket.fd, pieces);
        let all: usize = pieces.iter().map(|p| p.len()).sum();
        if result.is_ok_and(|n| n < all) || result == Err(rustix::io::Errno::AGAIN) {
            socket.writable = false;
        }
        Ok(result?)
    }

    fn is_readable(&self, flow: Flow) -> bool {
        self.sockets.get(flow.index()).is_some_and(|s| s.generation == flow.generation && s.readable)
    }

    fn shutdown(&mut self, flow: Flow) {
        if let Ok(socket) = self.socket(flow) {
            // If it is gone already, that is what was wanted.
            let _ = rustix::net::shutdown(socket.fd.as_fd(), Shutdown::Write);
        }
    }

    fn close(&mut self, flow: Flow, how: Close) {
        let Some(socket) = self.take(flow) else { return };
        if how == Close::Reset {
            // RFC 9293 calls it ABORT; sockets have it as lingering for no time.
            let _ = sockopt::set_socket_linger(&socket.fd, Some(Duration::ZERO));
        }
    }

    fn stop_listening(&mut self) {
        self.listeners.0.clear();
        self.waiting.clear();
    }
}
