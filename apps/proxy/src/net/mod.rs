//! Connections, as the proxy sees them, whoever does TCP for them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

mod both;
mod kernel;
mod user;

pub use both::Both;
pub use kernel::{KernelNet, Listeners, Opened};
pub use user::{UserConfig, UserNet};

/// A connection. It names nothing once that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    index: u32,
    generation: u32,
}

impl Flow {
    /// A number below the most connections there were at a time; given again when the connection is closed.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn of_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
    }
}

/// A client's connection that has come.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The connection.
    pub flow: Flow,
    /// The client.
    pub peer: SocketAddr,
    /// Which of the addresses listened at it came to.
    pub listener: usize,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What was sent arrives.
    Gracefully,
    /// The other side is told that it failed.
    Reset,
}

/// Who does TCP. Nothing here waits: what cannot be done now is [`io::ErrorKind::WouldBlock`].
pub trait Net {
    /// Learns what has happened. Connections with which something can be done that could not before are appended.
    fn poll(&mut self, ready: &mut Vec<Flow>);

    /// Takes a connection that has come, if there is one.
    fn accept(&mut self) -> Option<Accepted>;

    /// Begins a connection. It can be sent to when [`connected`](Self::connected) says so.
    ///
    /// # Errors
    /// No such address, or no more connections.
    fn connect(&mut self, to: SocketAddr) -> io::Result<Flow>;

    /// Whether a connection that was begun is there.
    ///
    /// # Errors
    /// Why there will be none.
    fn connected(&mut self, flow: Flow) -> io::Result<bool>;

    /// Receives; 0 bytes is the end.
    ///
    /// # Errors
    /// Of the connection, or that there is nothing now.
    fn recv(&mut self, flow: Flow, into: &mut [u8]) -> io::Result<usize>;

    /// Sends from the front of `pieces`, and says how much.
    ///
    /// # Errors
    /// Of the connection, or that it takes nothing now.
    fn send(&mut self, flow: Flow, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether there is, as far as is known, something to be received: bytes, the end, or an error.
    fn is_readable(&self, flow: Flow) -> bool;

    /// Tells the other side that no more will be sent.
    fn shutdown(&mut self, flow: Flow);

    /// Closes a connection.
    fn close(&mut self, flow: Flow, how: Close);

    /// Takes no more connections.
    fn stop_listening(&mut self);

    /// Connections of clients that were not taken so far, because there were too many.
    fn refused(&self) -> u64 {
        0
    }

    /// At the end of each round: what was to be sent goes.
    fn flush(&mut self) {}
}

/// What [`Net`] receives or sends cannot be done now.
#[must_use]
pub fn would_block(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}
