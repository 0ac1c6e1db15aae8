//! The server behind proxies that are measured: it gives every request the same answer, on the thread of the client.
//!
//! A server in a process of its own would have to share the client's cpu with a client that polls: how long a request takes
//! would then be a matter of the scheduler's slices, for all proxies alike. Here the client's loop asks it in every round.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::servers::text;
use super::socket::Watched;

/// The token of who listens.
const LISTENER: u64 = u64::MAX;
/// Bytes of requests that are not worked on yet, at most.
const REQUESTS: usize = 64 * 1024;

/// A connection of a proxy.
struct Asker {
    socket: TcpStream,
    /// What of a request has come.
    head: Vec<u8>,
    /// Responses that are to be sent.
    owed: usize,
    /// Bytes of the next that were sent.
    sent: usize,
}

/// The server.
pub struct Behind {
    listener: TcpListener,
    address: SocketAddr,
    watched: Watched,
    askers: Vec<Option<Asker>>,
    free: Vec<usize>,
    response: Vec<u8>,
    buffer: Vec<u8>,
}

impl Behind {
    /// With the [`text`] of so many bytes to give to who comes to `listener`.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn new(listener: TcpListener, body: usize) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (address, watched) = (listener.local_addr()?, Watched::new()?);
        watched.add(&listener, LISTENER)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: behind\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/html\r\n\
             Content-Length: {body}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n\
             ETag: \"69552b00-{body:x}\"\r\nAccept-Ranges: bytes\r\n\r\n"
        );
        let response = [head.as_bytes(), &text(body)].concat();
        let buffer = vec![0; REQUESTS];
        Ok(Self { listener, address, watched, askers: Vec::new(), free: Vec::new(), response, buffer })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers who has asked, without waiting for anything.
    ///
    /// # Errors
    /// When the kernel does not say who has; connections that break are forgotten.
    pub fn poll(&mut self) -> io::Result<()> {
        for n in 0..self.watched.poll()? {
            match self.watched.happened(n) {
                Some(event) if event.token == LISTENER => self.accept()?,
                Some(event) => self.attend(event.token as usize),
                None => break,
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    let i = self.free.pop().unwrap_or_else(|| {
                        self.askers.push(None);
                        self.askers.len() - 1
                    });
                    self.watched.add(&socket, i as u64)?;
                    self.askers[i] = Some(Asker { socket, head: Vec::new(), owed: 0, sent: 0 });
                    self.attend(i);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => (),
                Err(e) => return Err(e),
            }
        }
    }

    fn attend(&mut self, i: usize) {
        let Some(Some(asker)) = self.askers.get_mut(i) else { return };
        if !asker.advance(&self.response, &mut self.buffer) {
            self.askers[i] = None;
            self.free.push(i);
        }
    }
}

impl Asker {
    /// Reads what there is and answers it. False: the connection has ended.
    fn advance(&mut self, response: &[u8], buffer: &mut [u8]) -> bool {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    self.take(&buffer[..n]);
                    // All there was: the next event says when there is more.
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while self.owed > 0 {
            match self.socket.write(&response[self.sent..]) {
                Ok(n) if self.sent + n == response.len() => (self.owed, self.sent) = (self.owed - 1, 0),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Requests have no content: each ends with an empty line.
    fn take(&mut self, bytes: &[u8]) {
        const END: &[u8] = b"\r\n\r\n";
        if self.head.is_empty() && bytes.ends_with(END) && memchr::memmem::find_iter(bytes, END).count() == 1
        {
            self.owed += 1;
            return;
        }
        self.head.extend_from_slice(bytes);
        while let Some(at) = memchr::memmem::find(&self.head, END) {
            self.owed += 1;
            self.head.drain(..at + END.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Asks in pieces and two at once, and reads slowly: what has come by the end.
    #[test]
    fn every_request_is_answered_whole() {
        let mut behind = Behind::new(TcpListener::bind("127.0.0.1:0").unwrap(), 300_000).unwrap();
        let mut socket = TcpStream::connect(behind.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (mut came, mut buffer) = (Vec::new(), vec![0; 50_000]);
        let pieces: [&[u8]; 3] =
            [b"GET / HTTP/1.1\r\nHo", b"st: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r", b"\n\r\n"];
        for piece in pieces {
            socket.write_all(piece).unwrap();
            behind.poll().unwrap();
        }
        let (want, until) = (2 * behind.response.len(), Instant::now() + Duration::from_secs(20));
        while came.len() < want && Instant::now() < until {
            behind.poll().unwrap();
            if let Ok(n) = socket.read(&mut buffer) {
                came.extend_from_slice(&buffer[..n]);
            }
        }
        assert_eq!(came.len(), want);
        assert!(came[..want / 2] == behind.response && came[want / 2..] == behind.response);
        assert!(behind.response.ends_with(&text(300_000)));
        drop(socket);
        while behind.free.is_empty() && Instant::now() < until {
            behind.poll().unwrap();
        }
        assert_eq!((behind.askers.len(), behind.free.len()), (1, 1));
    }
}
