//! TCP in this process: the queues of a port, and a TCP stack that is polled.
//!
//! The stack (smoltcp) walks over all sockets of a set for every packet. So each connection has a set of its own, all share
//! one interface, and a packet is brought to its connection by a hash of our own over addresses and ports: the cost of a
//! packet does not depend on how many connections there are. Nor does that of time: when a connection wants to be looked at
//! is kept in a wheel.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};
use warpdrive_mempool::{BURST, Mempool, Packet};
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::port::{RxQueue, TxQueue};

use super::{Accepted, Close, Flow, Net};
use crate::timer::{Deadline, Wheel};

mod connection;
mod device;
mod segment;

use connection::Connection;
use device::Wire;
use segment::{Segment, Tuple, tells_of_neighbours};

/// Bytes of a connection that were received and not taken yet, at most: the window that it offers.
const RECEIVE: usize = 16 << 10;
/// Bytes of a connection that were sent and not acknowledged yet, at most.
const SEND: usize = 64 << 10;
/// Connections whose buffers are allocated together, so that the kernel gives memory for what is used of them alone.
const LOT: usize = 16;
/// How long a connection may be half open.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// TCP flags (RFC 9293, 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What an interface in user space is.
pub struct UserConfig {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its addresses, with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where packets for others go.
    pub gateways: Vec<IpAddr>,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Packets that the port carries, in bytes.
    pub mtu: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Connections that have been asked for and are not there yet.
    pub half_open: usize,
}

/// The connections of one worker, over queues of a port.
pub struct UserNet {
    wire: Wire,
    interface: Interface,
    /// For packets that belong to no connection: the stack answers them by itself.
    nobody: SocketSet<'static>,
    connections: slab::Slab<Connection>,
    by_tuple: HashMap<Tuple, u32>,
    /// Sockets that can be used again, with their buffers.
    spare: Vec<(SocketSet<'static>, SocketHandle)>,
    listen: Vec<SocketAddr>,
    most: usize,
    half_open: usize,
    most_half_open: usize,
    /// Established, for the proxy to take.
    arrived: std::collections::VecDeque<Flow>,
    /// To be looked at: something was written, or time has come.
    dirty: Vec<u32>,
    neighbourless: Vec<u32>,
    ready: Vec<Flow>,
    due: Vec<u32>,
    wheel: Wheel,
    clock: Clock,
    now: Instant,
    generation: u32,
    /// Connections that were asked for and not answered, because there were too many.
    refused: u64,
}

impl UserNet {
    /// An interface on queues of a port, with buffers of `pool` for what it sends.
    #[must_use]
    pub fn new(config: &UserConfig, rx: Box<dyn RxQueue>, tx: Box<dyn TxQueue>, pool: Mempool) -> Self {
        let mut wire = Wire::new(rx, tx, pool, config.mtu);
        let clock = Clock::get();
        let now = instant(clock);
        let mut settings = Config::new(HardwareAddress::Ethernet(EthernetAddress(config.mac)));
        settings.random_seed = fastrand::u64(..);
        let mut interface = Interface::new(settings, &mut wire, now);
        interface.update_ip_addrs(|addresses| {
            for (address, prefix) in &config.addresses {
                // The plan has seen to it that there are not too many.
                let _ = addresses.push(IpCidr::new(IpAddress::from(*address), *prefix));
            }
        });
        for gateway in &config.gateways {
            let routes = interface.routes_mut();
            let _ = match gateway {
                IpAddr::V4(gateway) => routes.add_default_ipv4_route(*gateway).map(drop),
                IpAddr::V6(gateway) => routes.add_default_ipv6_route(*gateway).map(drop),
            };
        }
        Self {
            wire,
            interface,
            nobody: SocketSet::new(Vec::new()),
            connections: slab::Slab::new(),
            by_tuple: HashMap::new(),
            spare: Vec::new(),
            listen: config.listen.clone(),
            most: config.connections,
            half_open: 0,
            most_half_open: config.half_open,
            arrived: std::collections::VecDeque::new(),
            dirty: Vec::new(),
            neighbourless: Vec::new(),
            ready: Vec::new(),
            due: Vec::new(),
            wheel: Wheel::new(millis(now)),
            clock,
            now,
            generation: 0,
            refused: 0,
        }
    }

    /// A frame has come.
    fn frame(&mut self, frame: Packet) {
        let Some(segment) = Segment::of(frame.data()) else { return self.for_nobody(frame) };
        let Some(listener) = self.listener(&segment.tuple) else { return self.for_nobody(frame) };
        if let Some(index) = self.by_tuple.get(&segment.tuple).copied() {
            return self.ingress(index, frame);
        }
        if segment.flags & (SYN | ACK | RST | FIN) != SYN {
            // The stack answers with a reset.
            return self.for_nobody(frame);
        }
        if self.half_open >= self.most_half_open || self.connections.len() >= self.most {
            self.refused += 1;
            return;
        }
        let index = self.open(segment.tuple, listener);
        self.ingress(index, frame);
    }

    fn listener(&self, tuple: &Tuple) -> Option<usize> {
        let fits = |listen: &SocketAddr| {
            listen.port() == tuple.to.port() && (listen.ip() == tuple.to.ip() || listen.ip().is_unspecified())
        };
        self.listen
            .iter()
            .position(fits)
            .filter(|_| self.interface.has_ip_addr(IpAddress::from(tuple.to.ip())))
    }

    /// Neighbours, echo requests, and what belongs to no connection.
    fn for_nobody(&mut self, frame: Packet) {
        let neighbours = tells_of_neighbours(frame.data());
        self.wire.offer(frame);
        self.interface.poll_ingress_single(self.now, &mut self.wire, &mut self.nobody);
        if neighbours {
            for index in std::mem::take(&mut self.neighbourless) {
                if let Some(connection) = self.connections.get_mut(index as usize) {
                    connection.waits_for_neighbour = false;
                    self.mark(index);
                }
            }
        }
    }

    /// A socket that nobody uses.
    fn spare(&mut self) -> (SocketSet<'static>, SocketHandle) {
        loop {
            match self.spare.pop() {
                Some(spare) => return spare,
                None => self.spare.extend(lot()),
            }
        }
    }

    /// A socket for a connection that is asked for.
    fn open(&mut self, tuple: Tuple, listener: usize) -> u32 {
        let (mut sockets, handle) = self.spare();
        let socket = sockets.get_mut::<Socket<'_>>(handle);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(Some(HALF_OPEN));
        let to = IpListenEndpoint { addr: Some(IpAddress::from(tuple.to.ip())), port: tuple.to.port() };
        let listens = socket.listen(to);
        debug_assert!(listens.is_ok());
        self.generation = self.generation.wrapping_add(1);
        let index = self.connections.insert(Connection {
            generation: self.generation,
            tuple,
            listener,
            sockets,
            handle,
            deadline: Deadline::default(),
            heard: self.now,
            accepted: false,
            released: false,
            half_open: true,
            dirty: false,
            waits_for_neighbour: false,
        }) as u32;
        self.half_open += 1;
        self.by_tuple.insert(tuple, index);
        index
    }

    /// A frame for a connection.
    fn ingress(&mut self, index: u32, frame: Packet) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.heard = self.now;
        self.wire.offer(frame);
        self.interface.poll_ingress_single(self.now, &mut self.wire, &mut connection.sockets);
        self.mark(index);
        self.changed(index);
    }

    fn mark(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index as usize)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    /// Something may have changed for the proxy, or for us.
    fn changed(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let flow = Flow { index, generation: connection.generation };
        let socket = connection.sockets.get_mut::<Socket<'_>>(connection.handle);
        let state = socket.state();
        if connection.half_open && !matches!(state, State::Listen | State::SynReceived) {
            connection.half_open = false;
            self.half_open -= 1;
            socket.set_timeout(None);
            if state != State::Closed {
                self.arrived.push_back(flow);
            }
        }
        if connection.accepted && !connection.released {
            self.ready.push(flow);
        }
    }

    /// Sends what a connection has to send, and finds out when it is to be looked at again.
    fn egress(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.dirty = false;
        if connection.patience().is_some_and(|until| until <= self.now) {
            connection.socket().abort();
        }
        let before = self.wire.written;
        while self.interface.poll_egress(self.now, &mut self.wire, &mut connection.sockets)
            != PollResult::None
        {}
        let sent = self.wire.written != before;
        let at = self.interface.poll_at(self.now, &connection.sockets);
        let soonest = [at, connection.patience()].into_iter().flatten().min();
        match soonest {
            Some(at) if at > self.now => {
                connection.deadline.set(millis(at), index, &mut self.wheel);
                let soon = at < self.now + Duration::from_millis(1_001);
                if !sent && soon && !std::mem::replace(&mut connection.waits_for_neighbour, true) {
                    self.neighbourless.push(index);
                }
            }
            // There was no room for it.
            Some(_) => {
                connection.deadline.set(millis(self.now) + 1, index, &mut self.wheel);
            }
            None => {}
        }
        let state = connection.state();
        let over = matches!(state, State::Closed | State::TimeWait);
        if over && (connection.released || !connection.accepted) {
            self.remove(index);
        } else if over && connection.accepted {
            self.changed(index);
        }
    }

    /// It is over, or never was. Its socket is used again.
    fn remove(&mut self, index: u32) {
        let Some(connection) = self.connections.try_remove(index as usize) else { return };
        self.half_open -= usize::from(connection.half_open);
        self.by_tuple.remove(&connection.tuple);
        let Connection { mut sockets, handle, .. } = connection;
        sockets.get_mut::<Socket<'_>>(handle).abort();
        self.spare.push((sockets, handle));
    }

    fn connection(&mut self, flow: Flow) -> Option<&mut Connection> {
        let found = self.connections.get_mut(flow.index as usize)?;
        (found.generation == flow.generation && !found.released).then_some(found)
    }

    fn socket(&mut self, flow: Flow) -> io::Result<&mut Socket<'static>> {
        let connection = self.connection(flow).ok_or(io::ErrorKind::NotConnected)?;
        Ok(connection.sockets.get_mut(connection.handle))
    }
}

impl Net for UserNet {
    fn poll(&mut self, ready: &mut Vec<Flow>) {
        self.now = instant(self.clock);
        let mut came = self.wire.receive();
        for frame in came.drain_front(BURST) {
            self.frame(frame);
        }
        self.wire.give_back(came);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.due(millis(self.now), |index| due.push(index));
        for index in due.drain(..) {
            let over = self.connections.get_mut(index as usize).is_some_and(|connection| {
                connection.deadline.is_over(millis(self.now), index, &mut self.wheel)
            });
            if over {
                self.mark(index);
            }
        }
        self.due = due;
        ready.append(&mut self.ready);
    }

    fn accept(&mut self) -> Option<Accepted> {
        loop {
            let flow = self.arrived.pop_front()?;
            if let Some(connection) = self.connection(flow) {
                connection.accepted = true;
                return Some(Accepted { flow, peer: connection.tuple.from, listener: connection.listener });
            }
        }
    }

    fn connect(&mut self, _to: SocketAddr) -> io::Result<Flow> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connected(&mut self, _flow: Flow) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn recv(&mut self, flow: Flow, into: &mut [u8]) -> io::Result<usize> {
        let socket = self.socket(flow)?;
        let was_full = socket.recv_queue() > RECEIVE / 2;
        match socket.recv_slice(into) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(n) => {
                if was_full {
                    self.mark(flow.index); // the window is open again
                }
                Ok(n)
            }
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn send(&mut self, flow: Flow, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let now = self.now;
        let connection = self.connection(flow).ok_or(io::ErrorKind::NotConnected)?;
        let socket = connection.sockets.get_mut::<Socket<'_>>(connection.handle);
        if socket.send_queue() == 0 {
            connection.heard = now;
        }
        let mut sent = 0;
        for piece in pieces {
            let n = socket.send_slice(piece).map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset))?;
            sent += n;
            if n < piece.len() {
                break;
            }
        }
        if sent == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.mark(flow.index);
        Ok(sent)
    }

    fn is_readable(&self, flow: Flow) -> bool {
        let found = self.connections.get(flow.index as usize);
        found.filter(|connection| connection.generation == flow.generation).is_some_and(|connection| {
            let socket = connection.sockets.get::<Socket<'_>>(connection.handle);
            socket.can_recv() || !socket.may_recv()
        })
    }

    fn shutdown(&mut self, flow: Flow) {
        let now = self.now;
        if let Some(connection) = self.connection(flow) {
            connection.heard = now;
            connection.socket().close();
            self.mark(flow.index);
        }
    }

    fn close(&mut self, flow: Flow, how: Close) {
        let now = self.now;
        let Some(connection) = self.connection(flow) else { return };
        (connection.released, connection.heard) = (true, now);
        let socket = connection.socket();
        match how {
            Close::Gracefully => socket.close(),
            Close::Reset => socket.abort(),
        }
        self.mark(flow.index);
    }

    fn stop_listening(&mut self) {
        self.listen.clear();
    }

    fn refused(&self) -> u64 {
        self.refused
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            self.egress(index);
        }
        // Those that were marked meanwhile have their turn in the next round.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        self.wire.flush();
    }
}

fn instant(clock: Clock) -> Instant {
    Instant::from_micros((clock.ns(ticks()) / 1_000) as i64)
}

fn millis(at: Instant) -> u64 {
    at.total_millis().unsigned_abs()
}

/// Sockets whose buffers lie side by side, and are never freed: they are used again.
fn lot() -> Vec<(SocketSet<'static>, SocketHandle)> {
    let bytes: &'static mut [u8] = vec![0; LOT * (RECEIVE + SEND)].leak();
    bytes
        .chunks_exact_mut(RECEIVE + SEND)
        .map(|buffers| {
            let (receive, send) = buffers.split_at_mut(RECEIVE);
            one(receive, send)
        })
        .collect()
}

fn one(receive: &'static mut [u8], send: &'static mut [u8]) -> (SocketSet<'static>, SocketHandle) {
    let mut sockets = SocketSet::new(Vec::with_capacity(1));
    let handle = sockets.add(Socket::new(SocketBuffer::new(receive), SocketBuffer::new(send)));
    (sockets, handle)
}
