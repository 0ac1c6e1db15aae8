//! A connection whose TCP is done here.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};

use super::segment::Tuple;
use crate::timer::Deadline;

/// How long the other side may be silent when it is to answer.
pub const SILENCE: Duration = Duration::from_secs(30);

/// A connection.
pub struct Connection {
    pub generation: u32,
    pub tuple: Tuple,
    pub listener: usize,
    pub sockets: SocketSet<'static>,
    pub handle: SocketHandle,
    pub deadline: Deadline,
    /// When something came from the other side, or began to be due from it.
    pub heard: Instant,
    /// Whether the proxy has it, or has had it.
    pub accepted: bool,
    /// The proxy is done with it.
    pub released: bool,
    pub half_open: bool,
    /// It is in the list of those to be looked at.
    pub dirty: bool,
    /// It could not send, perhaps because its neighbour's address is not known.
    pub waits_for_neighbour: bool,
}

impl Connection {
    /// Its socket.
    pub fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The state of its socket.
    pub fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// Until when the other side may be silent. The stack's own timeout is of no use: it also ends connections that have nothing to
    /// say to each other. `None`: it is not for them to speak.
    pub fn patience(&self) -> Option<Instant> {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let ends = matches!(socket.state(), State::FinWait1 | State::Closing | State::LastAck);
        let due = socket.send_queue() > 0 || ends || self.released;
        (due && !self.half_open).then(|| self.heard + SILENCE)
    }
}
