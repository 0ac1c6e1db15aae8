//! A client with control of every byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};

use crate::certificates::certificates;
use crate::message::{Reader, Response};
use crate::setup::PATIENCE;

/// TLS 1.3 and 1.2.
pub const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
pub const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;

/// A configuration for these versions that trusts the authority of the tests, and resumes nothing.
pub fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(Arc::clone(&certificates().roots)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// TLS for a client, before its handshake.
pub fn tls(config: ClientConfig, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// A connection of TCP that gives up in time.
#[track_caller]
pub fn tcp(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// A client's connection.
pub struct Client(Reader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    /// Connects to `localhost`, full handshake included.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::with(to, config(&[TLS13]), "localhost").expect("a handshake")
    }

    /// The same with another configuration, or for another name.
    pub fn with(to: SocketAddr, config: ClientConfig, name: &str) -> io::Result<Self> {
        Self::over(tcp(to), tls(config, name))
    }

    /// The same over a connection that is there.
    pub fn over(mut stream: TcpStream, mut tls: ClientConnection) -> io::Result<Self> {
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Self(Reader::new(StreamOwned::new(tls, stream))))
    }

    /// TLS.
    pub fn tls(&mut self) -> &mut ClientConnection {
        &mut self.0.stream().conn
    }

    /// TCP.
    pub fn tcp(&mut self) -> &mut TcpStream {
        &mut self.0.stream().sock
    }

    /// Sends.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let stream = self.0.stream();
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Sends.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("send");
    }

    /// The response to a request of this method.
    pub fn try_response(&mut self, method: &str) -> io::Result<Response> {
        self.0.response(method)
    }

    /// The response to a request that was no HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response("GET").expect("a response")
    }

    /// What comes next; nothing at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        self.0.some()
    }

    /// Its messages.
    pub fn reader(&mut self) -> &mut Reader<impl io::Read + use<>> {
        &mut self.0
    }

    /// Asks for something and waits for it.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(get(target));
        self.response()
    }

    /// Says that it sends no more: by TLS, and by TCP.
    pub fn end(&mut self) {
        let stream = self.0.stream();
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = stream.sock.shutdown(Shutdown::Write);
    }

    /// Insists that the proxy has closed the connection in order, by TLS and TCP, without another byte.
    #[track_caller]
    pub fn is_closed(&mut self) {
        match self.some() {
            Ok(bytes) => assert!(bytes.is_empty(), "there is more: {:?}", String::from_utf8_lossy(&bytes)),
            Err(e) => panic!("not closed in order: {e:?}"),
        }
    }

    /// Reads to the end or to an error: what came, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut all = Vec::new();
        loop {
            match self.some() {
                Ok(bytes) if bytes.is_empty() => return (all, Ok(())),
                Ok(bytes) => all.extend(bytes),
                Err(e) => return (all, Err(e)),
            }
        }
    }

    /// Waits no longer than this from now on.
    pub fn patience(&mut self, limit: Duration) {
        self.tcp().set_read_timeout(Some(limit)).expect("a timeout");
    }
}

/// A request without a body.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Reads a TCP connection to its end or an error.
pub fn read_all(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let result = stream.read_to_end(&mut all).map(drop);
    (all, result)
}

/// Whether a connection was broken off rather than ended.
pub fn is_broken(result: &io::Result<()>) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let broken = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    result.as_ref().is_err_and(|e| broken.contains(&e.kind()))
}
