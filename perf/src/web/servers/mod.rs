//! The servers that are measured, each started by the harness: one process with one thread, pinned to a cpu, with a
//! configuration and files in a folder that is gone with it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use tempfile::TempDir;

use super::certificate::Certificate;
use super::framing::Response;
use super::ground::Home;
use super::options::{Protocol, WebKind};
use crate::BenchError;
use crate::measure::on_cpu;
use crate::peers::{Process, which};

pub mod haproxy;
pub mod nginx;
pub mod openssl;
pub mod warpdrive;

/// Time a server has to listen.
const START: Duration = Duration::from_secs(10);
/// Time a server has for a page about itself.
const PAGE: Duration = Duration::from_secs(5);
/// A port that was free may be taken by somebody else before the server has it.
const TRIES: usize = 3;
/// In memory, if the machine has that.
const IN_MEMORY: &str = "/dev/shm";

/// Connections of clients at a time, unless a bench holds more.
pub const CONNECTIONS: usize = 8192;

/// What a server is to serve, and how.
#[derive(Clone, Debug)]
pub struct Site {
    /// What is spoken.
    pub protocol: Protocol,
    /// What operations are: whether sessions may be resumed.
    pub kind: WebKind,
    /// Bytes of content.
    pub body: usize,
    /// Whether requests and connections are logged, for tests: see [`Server::log`].
    pub log: bool,
    /// Whether content is compressed for who takes it so.
    pub gzip: bool,
    /// A server without TLS to ask, for a proxy. Without it, the content is the server's own.
    pub behind: Option<SocketAddr>,
    /// Connections of clients at a time, at most.
    pub connections: usize,
    /// Where it is to live. The thread that starts it is where its clients are.
    pub home: Home,
}

impl Site {
    /// Content of its own on this machine, compressed for who takes it so, nothing logged.
    #[must_use]
    pub fn new(protocol: Protocol, kind: WebKind, body: usize) -> Self {
        Self {
            protocol,
            kind,
            body,
            log: false,
            gzip: true,
            behind: None,
            connections: CONNECTIONS,
            home: Home::default(),
        }
    }
}

/// A server that runs.
pub struct Server {
    process: Process,
    /// Name and version.
    pub title: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it tells about itself, if it does.
    status: Option<SocketAddr>,
    /// Whether it asks another.
    is_proxy: bool,
    cpu: usize,
    body: Vec<u8>,
    roots: RootCertStore,
    folder: TempDir,
}

/// What a server counts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Connections taken.
    pub accepts: u64,
    /// Requests.
    pub requests: u64,
}

impl Server {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Has it stand still, or go on: so that a server which polls takes no time from the one that is measured.
    pub fn hold(&self, still: bool) {
        self.process.hold(still);
    }

    /// Its cpu time so far.
    ///
    /// # Errors
    /// [`BenchError::CpuTime`].
    pub fn cpu_time(&self) -> Result<Duration, BenchError> {
        crate::measure::cpu_time(self.process.id())
    }

    /// The cpu that it may use.
    #[must_use]
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    /// The content that it gives.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Trust in its certificate.
    #[must_use]
    pub fn trust(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// Its certificate as a file, for who is told whom to trust.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.path().join(Certificate::FILE)
    }

    /// What it counts itself, this question not included; `None` if it does not tell.
    ///
    /// # Errors
    /// [`BenchError`] when it should and does not.
    pub fn served(&mut self) -> Result<Option<Served>, BenchError> {
        let Some(status) = self.status else { return Ok(None) };
        self.process.alive()?;
        let page = page(status, "/").map_err(|cause| BenchError::Io {
            what: format!("{} does not tell what it counts", self.title),
            cause,
            remedy: "run it again",
        })?;
        let page = String::from_utf8_lossy(&page).into_owned();
        nginx::counts(&page).map(Some).ok_or_else(|| BenchError::Program {
            program: self.title.clone(),
            what: format!("a page of counts that is none: {page:?}"),
            remedy: "another version?".to_owned(),
        })
    }

    /// The lines of its log.
    ///
    /// # Errors
    /// When there is none.
    pub fn log(&self) -> io::Result<Vec<String>> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// A line with `text` that it wrote to stderr, if there is one.
    #[must_use]
    pub fn complaint(&self, text: &str) -> Option<String> {
        self.process.error_line(text)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it does not end as it should.
    pub fn stop(mut self) -> Result<(), BenchError> {
        // At the signal it ends in a way that need not be a success; before it must not have ended.
        self.process.alive()
    }
}

impl Drop for Server {
    /// What reads its stdin would end by itself; the others wait for a signal.
    fn drop(&mut self) {
        if self.process.alive().is_ok() {
            self.process.hold(false);
            let _ = self.process.terminate();
        }
    }
}

/// How a program is made a server.
struct Plan<'a> {
    title: String,
    site: &'a Site,
    cpu: usize,
    /// Makes files in a folder for a server at the first address, which tells about itself at the second.
    command: &'a dyn Fn(&Place<'_>) -> io::Result<Command>,
    tells: bool,
}

/// Where a server is to be.
struct Place<'a> {
    folder: &'a Path,
    certificate: &'a Certificate,
    address: SocketAddr,
    status: SocketAddr,
    body: &'a [u8],
    site: &'a Site,
}

impl Plan<'_> {
    fn start(&self) -> Result<Server, BenchError> {
        let mut tries = 1;
        loop {
            match self.try_to_start() {
                Err(BenchError::Program { what, .. }) if tries < TRIES && what.contains("in use") => {
                    tries += 1
                }
                done => return done,
            }
        }
    }

    fn try_to_start(&self) -> Result<Server, BenchError> {
        let (site, cpu) = (self.site, self.cpu);
        let folder = folder().map_err(crate::web::no_folder)?;
        let certificate = Certificate::new(folder.path())?;
        let body = text(site.body);
        let [address, status] = site.home.free_ports()?;
        let place =
            Place { folder: folder.path(), certificate: &certificate, address, status, body: &body, site };
        let command = (self.command)(&place).map_err(crate::web::no_folder)?;
        let command = site.home.command(command);
        // A child may use the cpus that its parent's thread may.
        let process = on_cpu(cpu, || Process::start(command))?;
        let status = self.tells.then_some(status);
        let roots = certificate.trust()?;
        let title = self.title.clone();
        let is_proxy = site.behind.is_some();
        let mut server = Server { process, title, address, status, is_proxy, cpu, body, roots, folder };
        server.wait()?;
        Ok(server)
    }
}

impl Server {
    /// Waits until it listens.
    fn wait(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + START;
        loop {
            self.process.alive()?;
            match TcpStream::connect_timeout(&self.address, Duration::from_millis(100)) {
                Ok(socket) => {
                    // Not to be left in TIME_WAIT.
                    let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
                    return self.process.alive();
                }
                Err(cause) if Instant::now() > deadline => {
                    let what = format!("{} does not listen at {}", self.title, self.address);
                    return Err(BenchError::Io { what, cause, remedy: "run it by hand to see more" });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn folder() -> io::Result<TempDir> {
    let mut named = tempfile::Builder::new();
    let named = named.prefix("warpdrive-web-");
    named.tempdir_in(IN_MEMORY).or_else(|_| named.tempdir())
}

/// So many bytes of text, always the same, which can be compressed as web pages can.
#[must_use]
pub fn text(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "<p>", "</p>\n", "packet", "queue", "the", "a", "of", "ring", "and", "burst", "to", "core", "is",
        "in", "poll", "device", "memory", "<b>", "</b>", "frame", "that", "lane", "pool", "page",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.extend_from_slice(WORDS[random.usize(..WORDS.len())].as_bytes());
        text.extend_from_slice(if random.u8(..8) == 0 { b". " } else { b" " });
        if random.u8(..10) == 0 {
            text.extend_from_slice(random.u32(..).to_string().as_bytes());
        }
    }
    text.truncate(bytes);
    text
}

/// A page of a server without TLS.
///
/// # Errors
/// When there is none.
pub fn page(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&address, PAGE)?;
    socket.set_read_timeout(Some(PAGE))?;
    socket.set_write_timeout(Some(PAGE))?;
    socket.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let (mut response, mut content, mut buffer) = (Response::default(), Vec::new(), [0; 4096]);
    while !response.is_done() {
        match socket.read(&mut buffer)? {
            0 => response.end().map_err(io::Error::other)?,
            n => {
                let taken = response.feed(&buffer[..n], &mut |part| content.extend_from_slice(part));
                taken.map_err(io::Error::other)?;
            }
        }
    }
    match response.head() {
        Some(head) if head.status == 200 => Ok(content),
        head => Err(io::Error::other(format!("status {}", head.map_or(0, |h| h.status)))),
    }
}

/// Where a server's program is: also where only root's PATH has it.
fn program(name: &str) -> Option<PathBuf> {
    which(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// What a program says of its version, on either output.
fn version(program: &Path, argument: &str, marker: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let at = said.find(marker)? + marker.len();
    said[at..].split_whitespace().next().map(str::to_owned)
}

fn file(place: &Place<'_>, name: &str, text: &[u8]) -> io::Result<PathBuf> {
    let path = place.folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_always_the_same_and_compresses_like_text() {
        let (some, more) = (text(1000), text(100_000));
        assert_eq!((some.len(), &some[..]), (1000, &more[..1000]));
        let mut packer = libdeflater::Compressor::default();
        let mut packed = vec![0; packer.gzip_compress_bound(more.len())];
        let n = packer.gzip_compress(&more, &mut packed).unwrap();
        assert!((2 * n..20 * n).contains(&more.len()), "{n}");
    }
}
