//! A server of plain HTTP/1.1 on the loopback, to stand behind the proxy when there is no other: it shows what a proxy has
//! to cope with, and what came to it. Its threads block, one for each connection; it is made to be tried, not to be fast.
//!
//! | path | answers |
//! |---|---|
//! | `/` | a page that says what came, and leads to the rest; `/style.css`, `/script.js` |
//! | `/json` | the request as JSON |
//! | `/large?bytes=N` | deterministic text of a known length, 10 MiB unless told |
//! | `/chunked` | text in chunks, with its SHA-256 as a trailer |
//! | `/events?n=30&ms=1000` | server-sent events |
//! | `/delay?ms=1000` | late |
//! | `/status/NNN` | that status, 200 to 599 |
//! | `POST /echo` | the body, while it comes, framed as it came |
//! | `/websocket` | an echo by WebSocket (RFC 6455) |

mod pages;
mod reply;
mod routes;
mod text;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use crate::blocking::{Connection, Ending, Input, Listener, Request, Server};
use reply::Reply;

/// Connections at a time: a thread each.
const MOST: usize = 1_024;
/// For the next request of a connection. Longer than what a proxy may keep unused, so that it is the proxy who closes.
const IDLE: Duration = Duration::from_secs(75);
/// For the next piece of a body, in either direction.
const PIECE: Duration = Duration::from_secs(30);
/// Of a body that nobody wants, so much is read over, to keep the connection.
const UNWANTED_BYTES: usize = 1 << 20;

/// The demo backend. It ends when this is dropped.
pub struct DemoBackend {
    address: SocketAddr,
    _server: Server,
}

impl DemoBackend {
    /// Starts it on 127.0.0.1, at a port that the kernel chooses.
    ///
    /// # Errors
    /// There is no port, or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = Server::start("demo-backend", Listener::Tcp(listener), MOST, converse)?;
        Ok(Self { address, _server: server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An exchange under way.
struct Exchange<'e, 'c> {
    request: Request,
    input: &'e mut Input<'c>,
    ending: &'e Ending,
}

/// Serves the requests of a connection, one after the other.
fn converse(connection: &Connection, ending: &Ending) {
    let mut input = Input::new(connection);
    loop {
        match input.request(IDLE) {
            Ok(Some(request)) => {
                let exchange = &mut Exchange { request, input: &mut input, ending };
                // An error means that the client has gone, does not go on, or sent what is no body.
                if !matches!(serve(exchange), Ok(true)) {
                    return;
                }
            }
            Ok(None) => return,
            Err(refused) => {
                let _ = Reply::to_stranger(connection).refuse(refused);
                return;
            }
        }
    }
}

/// Answers a request. Whether the connection can serve another.
fn serve(exchange: &mut Exchange<'_, '_>) -> io::Result<bool> {
    exchange.input.connection().set_timeouts(PIECE, PIECE)?;
    let mut reply = Reply::new(exchange.input.connection(), &exchange.request);
    match routes::answer(exchange, &mut reply) {
        Ok(()) => {}
        Err(routes::Failure::Refused(refused)) => reply.refuse(refused)?,
        Err(routes::Failure::Io(e)) => return Err(e),
    }
    // A client that waits to be told will not send its body now, or may: the connection is not worth guessing.
    let waits = exchange.request.get("Expect").is_some();
    Ok(reply.keeps_alive() && !(waits && reply.was_refused()) && skip(exchange)?)
}

/// Reads over what is left of a body. Whether it came to its end.
fn skip(exchange: &mut Exchange<'_, '_>) -> io::Result<bool> {
    let (mut nothing, mut left) = ([0; 4096], UNWANTED_BYTES);
    while left > 0 {
        match exchange.input.body(&mut exchange.request.framing, &mut nothing, PIECE)? {
            0 => return Ok(true),
            n => left = left.saturating_sub(n),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
