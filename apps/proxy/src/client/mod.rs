//! A client's connection: its handshake, its requests one after the other, its end.

use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;

use rustls::ServerConnection;

use crate::core::{Core, Owner};
use crate::http::Refusal;
use crate::http::error::Answer;
use crate::http::request::Peer;
use crate::metrics::HandshakeFailure;
use crate::net::{Close, Flow, would_block};
use crate::timer::Deadline;
use crate::zip::Done;

pub mod exchange;
mod handshake;
mod head;
mod link;
mod record;
mod respond;
mod waits;

use exchange::{Exchange, Next, Trouble};
use head::Looked;
use link::{Link, Wire};
use waits::Waits;

/// Bytes of requests that are kept before they are worked on, beyond which nothing is received.
const INBOX: usize = 64 << 10;
/// Steps of one turn, each of at most 64 KiB in each direction: then it is the others' turn.
const STEPS: usize = 16;
/// What a connection that is idle may keep of its memory.
const KEPT: usize = 2 << 10;
enum State {
    /// TLS is being agreed upon.
    Handshake,
    /// A request is to come, or comes.
    Head,
    /// A request is being answered.
    Exchange(Box<Exchange>),
    /// The last response was given to TLS.
    Closing {
        /// Whether what the client still sends is to be read.
        linger: bool,
        told: Told,
    },
}

/// What the client has been told of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// By TLS, that there will be no more.
    Tls,
    /// By TCP as well.
    Tcp,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Open,
    /// It is to be closed.
    Gone(Close),
}

/// A client's connection.
pub struct Client {
    id: u32,
    /// Tells it from those that had its place before.
    generation: u32,
    flow: Flow,
    address: SocketAddr,
    /// It as servers are told.
    peer: Peer,
    /// When it came, in ticks.
    born: u64,
    /// Whether its handshake asked for a signature of the device.
    asked: bool,
    link: Link,
    /// What came while the handshake was parked.
    held: Vec<u8>,
    /// What was decrypted and not worked on yet.
    inbox: Vec<u8>,
    taken: usize,
    looked: Looked,
    state: State,
    waits: Waits,
    deadline: Deadline,
    /// The client takes nothing now.
    blocked: bool,
    /// It has more to do, and waits for its next turn.
    queued: bool,
    /// The client sends no more.
    ended: bool,
    requests: u64,
    request_id: [u8; 32],
}

impl Client {
    /// A connection that has come.
    pub fn new(id: u32, generation: u32, flow: Flow, peer: SocketAddr, core: &mut Core) -> Option<Self> {
        let connection = ServerConnection::new(core.shared.tls.clone());
        let mut connection = Box::new(connection.inspect_err(|e| tracing::warn!("no TLS: {e}")).ok()?);
        connection.set_buffer_limit(None);
        core.own(flow, Owner::Client(id));
        let mut client = Self {
            id,
            generation,
            flow,
            address: peer,
            peer: Peer::new(peer.ip()),
            born: core.now,
            asked: false,
            link: Link::Open(connection),
            held: Vec::new(),
            inbox: Vec::new(),
            taken: 0,
            looked: Looked::default(),
            state: State::Handshake,
            waits: Waits::Nothing,
            deadline: Deadline::default(),
            blocked: false,
            queued: false,
            ended: false,
            requests: 0,
            request_id: [b'0'; 32],
        };
        client.wait_for(Waits::Handshake, true, core);
        Some(client)
    }

    /// What its requests to devices carry, besides its number.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Goes on where its last turn ended.
    pub fn take_turn(&mut self, core: &mut Core) -> Fate {
        self.queued = false;
        self.advance(core)
    }

    /// Does what can be done now, and no more than others can wait for: two peers that are fast enough would never let it end.
    pub fn advance(&mut self, core: &mut Core) -> Fate {
        let mut moved = false;
        for step in 1.. {
            if step > STEPS {
                if !self.queued {
                    self.queued = true;
                    core.turns.push_back((self.id, self.generation));
                }
                break;
            }
            let step = self.receive(core).and_then(|received| {
                let stepped = self.step(core)?;
                let sent = self.send(core)?;
                Ok(received | stepped | sent)
            });
            match step {
                Ok(true) => moved = true,
                Ok(false) => break,
                Err(close) => return Fate::Gone(close),
            }
        }
        let waits = self.what_for();
        self.wait_for(waits, moved, core);
        Fate::Open
    }

    /// Receives and decrypts.
    fn receive(&mut self, core: &mut Core) -> Result<bool, Close> {
        if self.ended || self.inbox.len() - self.taken >= INBOX || !core.net.is_readable(self.flow) {
            return Ok(false);
        }
        let Link::Open(connection) = &self.link else { return Ok(false) };
        if connection.is_handshaking() && core.signatures.as_ref().is_some_and(|s| !s.has_room()) {
            core.want_room.push(self.id);
            return Ok(false);
        }
        if self.taken >= INBOX {
            self.inbox.drain(..self.taken);
            self.taken = 0;
        }
        let mut scratch = core.scratch();
        let result = core.net.recv(self.flow, &mut scratch);
        let result = match result {
            Ok(0) => {
                self.ended = true;
                if matches!(self.state, State::Handshake) {
                    core.metrics.handshakes_failed.count(HandshakeFailure::Closed);
                    Err(Close::Gracefully)
                } else {
                    Ok(true)
                }
            }
            Ok(n) => self.decrypt(&scratch[..n], core),
            Err(e) if would_block(&e) => Ok(false),
            Err(_) => Err(Close::Reset),
        };
        core.give_back(scratch);
        result
    }

    /// Works on what is there.
    fn step(&mut self, core: &mut Core) -> Result<bool, Close> {
        match &self.state {
            State::Handshake => Ok(false),
            State::Head => self.read_head(core),
            State::Exchange(_) => self.exchange(core),
            State::Closing { linger, told } => self.closing(*linger, *told, core),
        }
    }

    fn exchange(&mut self, core: &mut Core) -> Result<bool, Close> {
        let State::Exchange(exchange) = &mut self.state else { return Ok(false) };
        let Link::Open(connection) = &mut self.link else { return Ok(false) };
        let mut wire = Wire::new(connection, self.blocked);
        let tag = u64::from(self.generation) << 32 | u64::from(self.id);
        let input = exchange::Input { bytes: &self.inbox[self.taken..], ended: self.ended };
        let result = exchange.step(input, &mut wire, tag, self.id, core);
        exchange.wrote(wire.written, core);
        match result {
            Ok((taken, next)) => {
                self.taken += taken;
                core.metrics.client_bytes_in.add(taken as u64);
                if self.taken == self.inbox.len() {
                    self.taken = 0;
                    self.inbox.clear();
                }
                match next {
                    Next::Nothing => Ok(taken > 0),
                    Next::More => Ok(true),
                    Next::Done { keep } => {
                        self.finish_exchange(keep, core);
                        Ok(true)
                    }
                }
            }
            Err(trouble) => self.trouble(trouble, core).map(|()| true),
        }
    }

    fn finish_exchange(&mut self, keep: bool, core: &mut Core) {
        let next =
            if keep { State::Head } else { State::Closing { linger: !self.ended, told: Told::Nothing } };
        if let State::Exchange(exchange) = std::mem::replace(&mut self.state, next) {
            self.record(&exchange, None, core);
            core.recycle(exchange);
        }
    }

    /// An exchange has failed: the client is told, if it has not been told anything yet.
    fn trouble(&mut self, trouble: Trouble, core: &mut Core) -> Result<(), Close> {
        match trouble {
            Trouble::Refuse(refusal) => {
                let mut is_head = false;
                if let State::Exchange(mut exchange) = std::mem::replace(&mut self.state, State::Head) {
                    is_head = exchange.is_head();
                    exchange.abort(core);
                    exchange.refused(refusal.status());
                    self.record(&exchange, Some(refusal.reason()), core);
                    core.recycle(exchange);
                }
                self.refuse(&refusal, is_head, core);
                Ok(())
            }
            // Half a response was sent: an end that looks like one would be a lie.
            Trouble::Broken => {
                self.give_up_exchange("the response broke off", core);
                Err(Close::Reset)
            }
        }
    }

    fn give_up_exchange(&mut self, why: &'static str, core: &mut Core) {
        if matches!(self.state, State::Exchange(_))
            && let State::Exchange(mut exchange) = std::mem::replace(&mut self.state, State::Head)
        {
            exchange.abort(core);
            self.record(&exchange, Some(why), core);
            core.recycle(exchange);
        }
    }

    /// Answers with an error of the proxy's own, and closes. The answer to a HEAD has no content.
    fn refuse(&mut self, refusal: &Refusal, is_head: bool, core: &mut Core) {
        if let Link::Open(connection) = &mut self.link {
            let mut response = Vec::with_capacity(1024);
            let request_id = respond::text(&self.request_id);
            refusal.write(&Answer { request_id, is_head, ..Answer::default() }, &mut response);
            Wire::new(connection, false).write(&[&response]);
            core.metrics.client_bytes_out.add(response.len() as u64);
        }
        self.taken = self.inbox.len();
        self.state = State::Closing { linger: true, told: Told::Nothing };
    }

    /// The device has compressed something for it.
    pub fn compressed(&mut self, done: Done, core: &mut Core) -> Fate {
        let (State::Exchange(exchange), Link::Open(connection)) = (&mut self.state, &mut self.link) else {
            if let Some(zip) = &mut core.zip {
                zip.discard(done);
            }
            return Fate::Open;
        };
        let mut wire = Wire::new(connection, self.blocked);
        let result = exchange.compressed(done, &mut wire, core);
        exchange.wrote(wire.written, core);
        match result {
            Ok(()) => self.advance(core),
            Err(trouble) => match self.trouble(trouble, core) {
                Ok(()) => self.advance(core),
                Err(close) => Fate::Gone(close),
            },
        }
    }

    /// Sends what TLS has encrypted.
    fn send(&mut self, core: &mut Core) -> Result<bool, Close> {
        let Link::Open(connection) = &mut self.link else { return Ok(false) };
        let mut sent = false;
        while connection.wants_write() {
            match connection.write_tls(&mut To { core, flow: self.flow }) {
                Ok(0) => return Err(Close::Reset),
                Ok(_) => sent = true,
                Err(e) if would_block(&e) => break,
                Err(_) => {
                    self.give_up_exchange("the client has gone", core);
                    return Err(Close::Reset);
                }
            }
        }
        self.blocked = connection.wants_write();
        Ok(sent)
    }

    /// The last response is on its way.
    fn closing(&mut self, linger: bool, told: Told, core: &mut Core) -> Result<bool, Close> {
        let Link::Open(connection) = &mut self.link else { return Err(Close::Reset) };
        if told == Told::Nothing {
            connection.send_close_notify();
            self.state = State::Closing { linger, told: Told::Tls };
            return Ok(true);
        }
        if connection.wants_write() {
            return Ok(false); // there is a deadline
        }
        if !linger || self.ended {
            return Err(Close::Gracefully);
        }
        if told == Told::Tls {
            core.net.shutdown(self.flow);
            self.state = State::Closing { linger, told: Told::Tcp };
        }
        Ok(false)
    }

    /// The program ends: a connection with nothing under way is closed.
    pub fn drain(&mut self, core: &mut Core) -> Fate {
        if !matches!(self.state, State::Head) || !self.inbox.is_empty() {
            return Fate::Open;
        }
        self.state = State::Closing { linger: false, told: Told::Nothing };
        self.advance(core)
    }

    /// It is gone: everything it has is given back.
    pub fn dispose(mut self, close: Close, core: &mut Core) {
        self.give_up_exchange("the client has gone", core);
        if let (Link::Parked(ticket), Some(signatures)) = (&self.link, &mut core.signatures) {
            signatures.give_up(*ticket);
        }
        core.close(self.flow, close);
    }
}

/// A connection as something to write to.
struct To<'a> {
    core: &'a mut Core,
    flow: Flow,
}

impl Write for To<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.core.net.send(self.flow, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.core.net.send(self.flow, pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
