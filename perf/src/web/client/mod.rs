//! A client that opens connections and sends requests as it is told: the [`Subject`] of the benches of the web.
//!
//! One thread polls sockets of the kernel without ever waiting. Operations that fail in ways in which an overloaded
//! server lets them fail (reset, closed, alert, a status other than 200, silence) are lost, and counted by reason;
//! anything else ends the run: after it figures would mean nothing.
//!
//! **Ports.** A client that closes thousands of connections a second runs out of ports, each of which TCP would keep for a
//! minute (TIME_WAIT). Here the server closes its side first: with TLS at our close_notify, without at the end of its
//! response (`Connection: close`). Only then the client closes, with SO_LINGER 0: nothing is left to be delivered,
//! the reset that the kernel sends takes away what the server still keeps, and the port is free on both sides at
//! once. Settings of the machine (tcp_tw_reuse) are left as they are. A connection that is saying goodbye is not
//! counted as under way; there may be as many of them. How the server closed is counted ([`Counts`]): nginx, for
//! one, answers the close_notify of a client that asked for nothing by the end of TCP alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use warpdrive_pmd::clock::ticks;

use super::connection::{Connection, Desk, Ending, Looked};
use super::content::Expected;
use super::failure::{Failure, Losses, Stage};
use super::meter::Meter;
use super::options::{Protocol, WebKind};
use super::socket::{self, Watched};
use super::tls::{self, Tickets};
use crate::BenchError;
use crate::load::Subject;

mod settings;
mod setup;

pub use settings::{Counts, Mark, Negotiated, Settings};
pub(super) use settings::{broken, request};

/// The most operations that may be under way.
pub const DEPTH_MAX: usize = 1024;
/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

#[derive(Default)]
struct Slot {
    /// Grows with every connection, so that an event of a former one is known.
    generation: u32,
    connection: Option<Box<Connection>>,
    idle: bool,
}

/// The client.
pub struct Client {
    settings: Settings,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    tickets: Option<Arc<Tickets>>,
    desk: Desk,
    watched: Watched,
    slots: Vec<Slot>,
    free: Vec<usize>,
    idle: Vec<usize>,
    under_way: usize,
    /// Operations that failed since that was last asked.
    lost: u64,
    /// Tags of operations that were done while they were sent.
    early: Vec<u64>,
    losses: Losses,
    fatal: Option<Failure>,
    counts: Counts,
    mark: Mark,
    done_before: u64,
    is_set_up: bool,
    negotiated: Option<Negotiated>,
    /// Who works how much.
    pub meter: Meter,
    /// What else is done in every round.
    beside: Option<Beside>,
}

/// What a client's thread does besides: the server behind a proxy.
pub type Beside = Box<dyn FnMut() -> io::Result<()>>;

impl Client {
    /// Makes it, does one operation to see whether it goes well, and opens connections that are to stay.
    ///
    /// # Errors
    /// [`BenchError::Program`] with the reason, when the operation fails.
    pub fn open(settings: Settings) -> Result<Self, BenchError> {
        Self::open_beside(settings, None)
    }

    /// As [`open`](Self::open), with something else to be done whenever the client looks what has come.
    ///
    /// # Errors
    /// As of `open`.
    pub fn open_beside(settings: Settings, beside: Option<Beside>) -> Result<Self, BenchError> {
        let depth = settings.depth.clamp(1, DEPTH_MAX);
        // Those that say goodbye need a place too.
        let slots = if settings.kind == WebKind::Request { depth } else { 2 * depth };
        let (tls, tickets) = Self::make_tls(&settings, slots)?;
        let desk = Desk {
            kind: settings.kind,
            buffer: vec![0; BUFFER],
            request: request(&settings),
            expected: Expected::default(),
            must_resume: false,
        };
        let mut client = Self {
            tls,
            tickets,
            desk,
            watched: Watched::new().map_err(kernel)?,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            free: (0..slots).rev().collect(),
            idle: Vec::with_capacity(slots),
            under_way: 0,
            lost: 0,
            early: Vec::with_capacity(slots),
            losses: Losses::default(),
            fatal: None,
            counts: Counts::default(),
            mark: Mark::default(),
            done_before: 0,
            is_set_up: false,
            negotiated: None,
            meter: Meter::new(settings.server.clone()),
            beside,
            settings: Settings { depth, ..settings },
        };
        client.set_up()?;
        Ok(client)
    }

    #[expect(clippy::type_complexity, reason = "only used once")]
    fn make_tls(
        settings: &Settings,
        slots: usize,
    ) -> Result<(Option<(Arc<ClientConfig>, ServerName<'static>)>, Option<Arc<Tickets>>), BenchError> {
        let needs_tls = !settings.kind.has_request();
        if settings.protocol == Protocol::Plain {
            let what = format!("{} needs TLS", settings.kind);
            return if needs_tls {
                Err(broken(settings, what, "an https target, or load-https"))
            } else {
                Ok((None, None))
            };
        }
        let tickets = (settings.kind == WebKind::Resumed).then(|| Arc::new(Tickets::new(slots)));
        let config = tls::config(settings.protocol, settings.trust.clone(), tickets.clone())?;
        let name = ServerName::try_from(settings.host.clone()).map_err(|e| {
            broken(settings, format!("{:?}: {e}", settings.host), "a host name or an address")
        })?;
        Ok((Some((Arc::new(config), name)), tickets))
    }

    /// Connections that were begun and have not ended.
    fn begun(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Begins a connection in a free place.
    fn connect(&mut self, tag: Option<u64>) {
        let Some(i) = self.free.pop() else { return };
        match self.begin(i, tag) {
            Ok(()) => self.attend(i, false, &mut |_| ()),
            Err(failure) => {
                self.free.push(i);
                self.fail(failure, tag.is_some());
            }
        }
    }

    fn begin(&mut self, i: usize, tag: Option<u64>) -> Result<(), Failure> {
        let socket = socket::open(self.settings.address).map_err(|e| match e.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::Connect(e),
            _ => Failure::Local(e),
        })?;
        let slot = &mut self.slots[i];
        slot.generation = slot.generation.wrapping_add(1);
        self.watched.add(&socket, u64::from(slot.generation) << 32 | i as u64).map_err(Failure::Local)?;
        let tls = self.tls.as_ref().map(|(config, name)| ClientConnection::new(config.clone(), name.clone()));
        let tls = tls.transpose().map_err(|e| Failure::Tls(Stage::Connecting, e))?;
        slot.connection = Some(Box::new(Connection::new(socket, tls, tag)));
        Ok(())
    }

    /// Looks after a connection to which something happened.
    fn attend(&mut self, i: usize, hangup: bool, done: &mut dyn FnMut(u64)) {
        let Some(connection) = &mut self.slots[i].connection else { return };
        let looked = connection.advance(&mut self.desk, hangup, done);
        self.after(i, looked);
    }

    fn after(&mut self, i: usize, (step, result): Looked) {
        let slot = &mut self.slots[i];
        let Some(connection) = &slot.connection else { return };
        if step.established {
            self.counts.established += 1;
            if let (None, Some(tls)) = (&self.negotiated, connection.tls()) {
                self.negotiated = Negotiated::of(tls);
            }
        }
        if step.done {
            self.counts.operations += 1;
            self.counts.content += step.content as u64;
            self.under_way -= 1;
        }
        if let Err(failure) = result {
            let had_operation = connection.has_operation();
            self.under_way -= usize::from(had_operation);
            self.release(i);
            return self.fail(failure, had_operation);
        }
        if let Some(ending) = step.closed {
            match ending {
                Ending::Clean => self.counts.clean += 1,
                Ending::Bare => self.counts.bare += 1,
                Ending::Reset => self.counts.reset += 1,
            }
            return self.release(i);
        }
        let idle = connection.stage() == Stage::Idle;
        match (std::mem::replace(&mut slot.idle, idle), idle) {
            (false, true) => self.idle.push(i),
            (true, false) => self.idle.retain(|other| *other != i),
            _ => (),
        }
    }

    fn release(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        slot.connection = None;
        if std::mem::take(&mut slot.idle) {
            self.idle.retain(|other| *other != i);
        }
        self.free.push(i);
    }

    fn fail(&mut self, failure: Failure, had_operation: bool) {
        self.lost += u64::from(had_operation);
        if failure.is_fatal() {
            self.fatal.get_or_insert(failure);
        } else {
            self.losses.note(&failure);
        }
    }

    /// Closes all that is waiting for the server.
    fn abandon(&mut self) {
        for i in 0..self.slots.len() {
            if let Some(connection) = &self.slots[i].connection
                && !self.slots[i].idle
            {
                self.losses.note(&Failure::Silence(connection.stage()));
                self.under_way -= usize::from(connection.has_operation());
                self.release(i);
            }
        }
    }

    fn failure(&self, failure: &Failure) -> BenchError {
        broken(&self.settings, failure.to_string(), failure.remedy())
    }

    fn lost_all(&self) -> BenchError {
        broken(&self.settings, format!("nothing was done: {}", self.losses), self.losses.remedy())
    }

    /// Sends a request over a connection that stays. False: there is none to spare.
    fn send_request(&mut self, tag: u64) -> bool {
        let Some(i) = self.idle.pop() else {
            let room = !self.free.is_empty();
            if room {
                self.counts.renewed += u64::from(self.is_set_up);
                self.under_way += 1;
                self.connect_for(tag);
            }
            return room;
        };
        self.under_way += 1;
        let slot = &mut self.slots[i];
        slot.idle = false;
        let early = &mut self.early;
        if let Some(connection) = &mut slot.connection {
            let looked = connection.request(tag, &mut self.desk, &mut |tag| early.push(tag));
            self.after(i, looked);
        }
        true
    }

    fn connect_for(&mut self, tag: u64) {
        let Some(i) = self.free.pop() else { return };
        if let Err(failure) = self.begin(i, Some(tag)) {
            self.free.push(i);
            self.under_way -= 1;
            return self.fail(failure, true);
        }
        let mut early = std::mem::take(&mut self.early);
        self.attend(i, false, &mut |tag| early.push(tag));
        self.early = early;
    }
}

impl Subject for Client {
    fn send(&mut self, tag: u64) -> bool {
        if self.in_flight() >= self.settings.depth || self.fatal.is_some() {
            return false;
        }
        let begin = ticks();
        let sent = if self.settings.kind == WebKind::Request {
            self.send_request(tag)
        } else {
            self.send_connection(tag)
        };
        if sent {
            let now = ticks();
            self.meter.worked(now.saturating_sub(begin), now);
        }
        sent
    }

    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        let begin = ticks();
        let before = self.counts.operations - self.early.len() as u64;
        self.early.drain(..).for_each(&mut *done);
        if let Some(beside) = &mut self.beside {
            beside().map_err(kernel)?;
        }
        let happened = self.watched.poll().map_err(kernel)?;
        for n in 0..happened {
            let Some(event) = self.watched.happened(n) else { break };
            let i = (event.token & u64::from(u32::MAX)) as usize;
            if u64::from(self.slots[i].generation) == event.token >> 32 {
                self.attend(i, event.hangup, done);
            }
        }
        let now = ticks();
        if happened > 0 {
            self.meter.worked(now.saturating_sub(begin), now);
        } else {
            self.meter.look(now);
        }
        match self.fatal.take() {
            Some(failure) => Err(self.failure(&failure)),
            None => Ok((self.counts.operations - before) as usize),
        }
    }

    fn in_flight(&self) -> usize {
        self.under_way
    }

    fn max_depth(&self) -> usize {
        self.settings.depth
    }

    fn patience(&self) -> Duration {
        self.settings.patience
    }

    fn give_up(&mut self) -> Result<u64, BenchError> {
        let lost = self.in_flight() as u64;
        self.abandon();
        // A server that has done nothing since the last time will not do anything.
        if std::mem::replace(&mut self.done_before, self.counts.operations) == self.counts.operations {
            return Err(self.lost_all());
        }
        Ok(lost)
    }

    fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn restart(&mut self) {
        self.meter.restart();
        let losses = std::mem::take(&mut self.losses);
        self.mark = Mark { counts: self.counts, server_time: self.meter.server_time(), losses };
    }
}

impl Client {
    /// Sends an operation that has a connection of its own. False: there is no place for one.
    fn send_connection(&mut self, tag: u64) -> bool {
        if self.free.is_empty() {
            return false;
        }
        if self.desk.must_resume && self.tickets.as_ref().is_some_and(|tickets| tickets.count() == 0) {
            // Connections that are saying goodbye may still bring some.
            if self.begun() == 0 {
                self.fatal = Some(Failure::NoTicket);
            }
            return false;
        }
        self.under_way += 1;
        self.connect_for(tag);
        true
    }
}

pub(super) fn kernel(cause: io::Error) -> BenchError {
    BenchError::Io { what: "cannot watch sockets".to_owned(), cause, remedy: "more open files: ulimit -n" }
}
