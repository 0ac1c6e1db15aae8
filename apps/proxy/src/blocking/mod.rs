//! Small servers of blocking threads, for what is not on the hot path: the demo backend and the admin address. One thread
//! listens, each connection has one of its own, and there is a limit to everything.
//!
//! Threads run where the thread that starts the server may run: start it before that one is pinned.

mod request;
mod stream;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use request::{Framing, Input, Refused, Request};
pub use stream::{Connection, Listener};

/// Bytes of the stack of a thread.
const STACK: usize = 256 << 10;
/// How long to wait when there are no more file descriptors, or no more threads.
const NO_ROOM: Duration = Duration::from_millis(50);
/// How long a client may take to see that it is over, and what it may still send meanwhile.
const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_BYTES: usize = 256 << 10;
/// For who comes when there are too many connections.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// Tells threads that the server ends.
#[derive(Default)]
pub struct Ending {
    over: Mutex<bool>,
    told: Condvar,
}

impl Ending {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        *self.lock() = true;
        self.told.notify_all();
    }

    /// Whether it has been told.
    pub fn is_over(&self) -> bool {
        *self.lock()
    }

    /// Sleeps, but not beyond the end. Whether the server goes on.
    pub fn sleep(&self, time: Duration) -> bool {
        let wait = self.told.wait_timeout_while(self.lock(), time, |over| !*over);
        !*wait.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A server, until it is dropped: then connections are cut, and all threads have ended.
pub struct Server {
    listener: Arc<Listener>,
    ending: Arc<Ending>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves up to `most` connections at a time, each by a call of `serve`. `name` is that of the threads.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        name: &'static str,
        listener: Listener,
        most: usize,
        serve: impl Fn(&Connection, &Ending) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (listener, ending) = (Arc::new(listener), Arc::new(Ending::default()));
        let mut listening = Listening {
            name,
            listener: Arc::clone(&listener),
            ending: Arc::clone(&ending),
            serve: Arc::new(serve),
            most,
            open: Vec::new(),
        };
        let thread = thread(name).spawn(move || listening.run())?;
        Ok(Self { listener, ending, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.tell();
        // Wakes the thread that accepts.
        self.listener.shut_down();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn thread(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// What the thread that listens has.
struct Listening<F> {
    name: &'static str,
    listener: Arc<Listener>,
    ending: Arc<Ending>,
    serve: Arc<F>,
    most: usize,
    open: Vec<(Arc<Connection>, JoinHandle<()>)>,
}

impl<F: Fn(&Connection, &Ending) + Send + Sync + 'static> Listening<F> {
    fn run(&mut self) {
        while !self.ending.is_over() {
            match self.listener.accept() {
                Ok(connection) => self.begin(connection),
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(_) => drop(self.ending.sleep(NO_ROOM)),
            }
        }
        for (connection, _) in &self.open {
            connection.shut_down();
        }
        for (_, thread) in self.open.drain(..) {
            let _ = thread.join();
        }
    }

    fn begin(&mut self, connection: Connection) {
        self.open.retain(|(_, thread)| !thread.is_finished());
        let connection = Arc::new(connection);
        if self.open.len() >= self.most {
            // It has room for this: nothing was sent before.
            let _ = connection.set_timeouts(NO_ROOM, NO_ROOM).and_then(|()| connection.send(BUSY));
            return;
        }
        let (serve, ending, theirs) =
            (Arc::clone(&self.serve), Arc::clone(&self.ending), Arc::clone(&connection));
        let spawned = thread(self.name).spawn(move || {
            serve(&theirs, &ending);
            part(&theirs, &ending);
        });
        match spawned {
            Ok(thread) => self.open.push((connection, thread)),
            Err(_) => drop(self.ending.sleep(NO_ROOM)),
        }
    }
}

/// Ends a connection such that what was written arrives: bytes that nobody has read would make the kernel take it back.
fn part(connection: &Connection, ending: &Ending) {
    connection.finish();
    let start = Instant::now();
    let mut left = FAREWELL_BYTES;
    let mut nothing = [0; 4096];
    while left > 0 && !ending.is_over() {
        let time = FAREWELL.saturating_sub(start.elapsed());
        if time.is_zero() || connection.set_timeouts(time, time).is_err() {
            break;
        }
        match connection.receive(&mut nothing) {
            Ok(n) if n > 0 => left = left.saturating_sub(n),
            _ => break,
        }
    }
    // The thread that listens keeps it until it accepts the next.
    connection.shut_down();
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn server(
        most: usize,
        serve: impl Fn(&Connection, &Ending) + Send + Sync + 'static,
    ) -> (Server, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Server::start("test", Listener::Tcp(listener), most, serve).unwrap(), address)
    }

    fn all(mut stream: &TcpStream) -> String {
        let mut text = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn dropping_it_ends_those_who_sleep_and_those_who_wait_for_bytes() {
        let (server, address) = server(8, |connection, ending| {
            let _ = connection.send(b"x");
            if connection.receive(&mut [0]).is_ok_and(|n| n == 1) {
                ending.sleep(Duration::from_secs(3_600));
            }
        });
        let (sleeping, waiting) =
            (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
        (&sleeping).write_all(b"y").unwrap();
        for mut stream in [&sleeping, &waiting] {
            stream.read_exact(&mut [0]).unwrap();
        }
        let start = Instant::now();
        drop(server);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }

    #[test]
    fn too_many_connections_are_told_so_and_room_comes_back() {
        let (_server, address) = server(1, |connection, _| {
            let _ = connection.send(b"served");
            let _ = connection.receive(&mut [0]);
        });
        let first = TcpStream::connect(address).unwrap();
        (&first).read_exact(&mut [0; 6]).unwrap();
        assert!(all(&TcpStream::connect(address).unwrap()).starts_with("HTTP/1.1 503 "));
        drop(first);
        let start = Instant::now();
        loop {
            let next = TcpStream::connect(address).unwrap();
            next.shutdown(std::net::Shutdown::Write).unwrap();
            if all(&next) == "served" {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "there is room no more");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_was_written_arrives_though_the_client_was_not_heard_to_the_end() {
        let (_server, address) = server(8, |connection, _| drop(connection.send(b"no")));
        let mut stream = TcpStream::connect(address).unwrap();
        for _ in 0..3 {
            stream.write_all(&[b'x'; 50_000]).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(all(&stream), "no");
    }
}
