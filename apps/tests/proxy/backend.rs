//! A server behind the proxy that does what a test tells it, byte by byte, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::message::{Fields, Reader};

/// A request, as the proxy sent it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which of its connections, from 0.
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub fields: Fields,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    /// With a reset.
    Reset,
}

/// A request to be answered.
pub struct Exchange<'a> {
    pub asked: Asked,
    reader: &'a mut Reader<TcpStream>,
}

impl Exchange<'_> {
    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream().write_all(bytes.as_ref())
    }

    /// Sends a response with a body of this type.
    pub fn respond(&mut self, media: &str, body: &[u8]) -> io::Result<Then> {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n");
        let body = if self.asked.method == "HEAD" { &[] } else { body };
        self.send([head.as_bytes(), body].concat())?;
        Ok(Then::Keep)
    }

    /// The request's body, a piece at a time, and its trailers at the end.
    pub fn body(&mut self, piece: impl FnMut(&[u8])) -> io::Result<Fields> {
        let fields = self.asked.fields.clone();
        self.reader.body(&fields, false, piece)
    }

    /// The request's body.
    pub fn whole_body(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.body(|piece| all.extend_from_slice(piece))?;
        Ok(all)
    }

    /// Whatever comes next on the connection; nothing at its end.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.reader.some()
    }
}

/// Answers a request.
pub type Script = dyn Fn(&mut Exchange<'_>) -> io::Result<Then> + Send + Sync;

struct Inner {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    /// Connections that are open, to be closed.
    open: Mutex<HashMap<usize, TcpStream>>,
    connections: AtomicUsize,
    stopping: AtomicBool,
}

/// A server.
pub struct Backend {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    /// Serves at a port of its own.
    pub fn start(script: impl Fn(&mut Exchange<'_>) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a port"), script)
    }

    /// Serves at a listener.
    pub fn at(
        listener: TcpListener,
        script: impl Fn(&mut Exchange<'_>) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner {
            script: Box::new(script),
            asked: Mutex::default(),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || accept(&listener, &shared));
        Self { address, inner }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.inner.asked).clone()
    }

    /// Connections it has had.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// Closes all connections, as a server does that is tired of waiting.
    pub fn close_connections(&self) {
        for (_, stream) in locked(&self.inner.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // It waits for a connection: this is one.
        let _ = TcpStream::connect(self.address);
        self.close_connections();
    }
}

fn accept(listener: &TcpListener, inner: &Arc<Inner>) {
    for stream in listener.incoming() {
        if inner.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = inner.connections.fetch_add(1, Ordering::SeqCst);
        let inner = Arc::clone(inner);
        std::thread::spawn(move || {
            let ended = serve(&stream, number, &inner);
            locked(&inner.open).remove(&number);
            if matches!(ended, Ok(Then::Reset)) {
                reset(&stream);
            } else {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

fn serve(stream: &TcpStream, number: usize, inner: &Inner) -> io::Result<Then> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.set_write_timeout(Some(Duration::from_secs(120)))?;
    locked(&inner.open).insert(number, stream.try_clone()?);
    let mut reader = Reader::new(stream.try_clone()?);
    loop {
        let Some((line, fields)) = reader.head()? else { return Ok(Then::Close) };
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let asked = Asked { connection: number, method, target, fields };
        locked(&inner.asked).push(asked.clone());
        let then = (inner.script)(&mut Exchange { asked, reader: &mut reader })?;
        if then != Then::Keep {
            return Ok(then);
        }
    }
}

/// Makes closing the last descriptor of a connection a reset.
pub fn reset(stream: &TcpStream) {
    use std::os::fd::AsRawFd as _;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as u32;
    let value = std::ptr::from_ref(&linger).cast();
    // SAFETY: the descriptor is open while `stream` is borrowed, and `value` is a linger of `size` bytes.
    let result =
        unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
