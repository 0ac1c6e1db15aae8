//! Sockets of TCP and of the file system, by one name.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// What listens.
pub enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// At a path.
    Unix(UnixListener),
}

impl Listener {
    /// Waits for a connection.
    pub fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Responses are written in one piece, or as soon as there is something.
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Connection::Unix(listener.accept()?.0)),
        }
    }

    /// Makes [`accept`](Self::accept) fail, now and ever after.
    pub fn shut_down(&self) {
        // It fails only for what is shut down already.
        let _ = match self {
            Self::Tcp(listener) => rustix::net::shutdown(listener, rustix::net::Shutdown::Both),
            Self::Unix(listener) => rustix::net::shutdown(listener, rustix::net::Shutdown::Both),
        };
    }
}

/// A connection, read and written by reference.
pub enum Connection {
    /// Of TCP.
    Tcp(TcpStream),
    /// Of this machine.
    Unix(UnixStream),
}

impl Connection {
    /// How long a read and a write may take; neither may be zero.
    pub fn set_timeouts(&self, read: Duration, write: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_read_timeout(Some(read)).and_then(|()| s.set_write_timeout(Some(write))),
            Self::Unix(s) => s.set_read_timeout(Some(read)).and_then(|()| s.set_write_timeout(Some(write))),
        }
    }

    /// Writes all of it.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        { self }.write_all(bytes)
    }

    /// Reads what there is; 0 at the end.
    pub fn receive(&self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => { stream }.read(to),
            Self::Unix(stream) => { stream }.read(to),
        }
    }

    /// Who is at the other end, if it has an address.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Says that nothing more will be written.
    pub fn finish(&self) {
        self.shut(Shutdown::Write);
    }

    /// Ends it, also for a thread that reads or writes.
    pub fn shut_down(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        // It fails only for what the other end has ended.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => { stream }.write(bytes),
            Connection::Unix(stream) => { stream }.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
