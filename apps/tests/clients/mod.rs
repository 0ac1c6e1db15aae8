//! Programs that others have written, as clients of the demo behind a proxy. Each does the same over every transport: it is told
//! where the proxy is, and how to run a command that can reach it.

pub mod browser;
pub mod curl;
pub mod openssl;
pub mod requests;
pub mod wrk;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use warpdrive_proxy::demo::backend::DemoBackend;
use warpdrive_proxy::demo::certificate::DemoCertificate;

/// A proxy with the demo behind it.
pub struct Place<'a> {
    /// Where it listens, by IPv4 and by IPv6: hosts as they are in a URL, with ports.
    pub hosts: [String; 2],
    /// What clients are to trust.
    pub certificate: DemoCertificate,
    /// For files of the clients.
    pub folder: &'a Path,
    /// Makes a command that can reach it.
    pub command: &'a dyn Fn(&Path) -> Command,
}

impl Place<'_> {
    /// A command by its name in the path.
    fn program(&self, name: &str) -> Command {
        (self.command)(Path::new(name))
    }

    /// The file that clients are to trust, for a command line.
    fn trusted(&self) -> &str {
        self.certificate.certificate.to_str().expect("UTF-8")
    }

    /// A file of the clients.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Runs a command to its end, with a file as its input.
#[track_caller]
fn run_with(command: &mut Command, input: Stdio) -> Output {
    // No client is to go by way of a proxy of this machine's.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.stdin(input).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Runs a command to its end, which has to be a good one; what it has written.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = run_with(command, Stdio::null());
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}{complained}", output.status);
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the demo answers to a GET when no proxy stands between.
#[track_caller]
fn original(target: &str) -> Vec<u8> {
    let backend = DemoBackend::start().expect("a backend");
    let mut stream = TcpStream::connect(backend.address()).expect("connect");
    // By HTTP/1.0 bodies are not in chunks.
    write!(stream, "GET {target} HTTP/1.0\r\nHost: original\r\n\r\n").expect("send");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("receive");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    assert!(all.starts_with(b"HTTP/1.1 200 "), "{target}: {}", text(&all[..end]));
    all.split_off(end + 4)
}

/// Bytes that cannot be compressed, in a file.
fn noise(place: &Place<'_>, length: usize) -> (PathBuf, Vec<u8>) {
    let mut random = fastrand::Rng::with_seed(length as u64);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    let path = place.file("noise");
    let written = File::create(&path).and_then(|mut file| file.write_all(&bytes));
    written.expect("write");
    (path, bytes)
}
