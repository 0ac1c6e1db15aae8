//! The proxy on one core: what its worker polls.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;
use warpdrive_pipeline::service::Service;

use crate::client::{Client, Fate};
use crate::core::{Core, Latest, Owner};
use crate::log::LogWriter;
use crate::metrics::Metrics;
use crate::net::{Accepted, Close, Flow, Net};
use crate::tls::{Answered, Signatures};
use crate::zip::{Done, Zip};

/// Connections accepted in one round, at most: those there are have their turn, too.
const ACCEPTS: usize = 64;

/// What a worker's proxy is made of.
pub struct Made {
    /// Who does TCP.
    pub net: NetMade,
    /// What is to be done.
    pub latest: Arc<Latest>,
    /// The device that signs.
    pub signatures: Option<SignaturesMade>,
    /// The device that compresses.
    pub zip: Option<Zip>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are taken down.
    pub log: Option<LogWriter>,
}

/// Connections belong to one thread, and are made there.
pub type NetMade = Box<dyn FnOnce() -> Box<dyn Net> + Send>;

/// What [`Signatures`] are made of: they belong to one thread, and are made there.
pub type SignaturesMade = Box<dyn FnOnce() -> Signatures + Send>;

/// The proxy on one core.
pub struct Proxy {
    core: Core,
    clients: Slab<Client>,
    generation: u32,
    ready: Vec<Flow>,
    answered: Vec<Answered>,
    done: Vec<Done>,
    due: Vec<u32>,
}

impl Proxy {
    /// A proxy without connections.
    #[must_use]
    pub fn new(made: Made) -> Self {
        let Made { net, latest, signatures, zip, metrics, log } = made;
        let signatures = signatures.map(|make| make());
        Self {
            core: Core::new(net(), latest, signatures, zip, metrics, log),
            clients: Slab::new(),
            generation: 0,
            ready: Vec::new(),
            answered: Vec::new(),
            done: Vec::new(),
            due: Vec::new(),
        }
    }

    fn with(&mut self, id: u32, act: impl FnOnce(&mut Client, &mut Core) -> Fate) {
        let Some(client) = self.clients.get_mut(id as usize) else { return };
        if let Fate::Gone(close) = act(client, &mut self.core) {
            self.clients.remove(id as usize).dispose(close, &mut self.core);
        }
    }

    /// Connections that have something.
    fn events(&mut self) -> usize {
        let mut ready = std::mem::take(&mut self.ready);
        self.core.net.poll(&mut ready);
        let n = ready.len();
        for flow in ready.drain(..) {
            match self.core.owner(flow) {
                Owner::None => {}
                Owner::Client(id) => self.with(id, Client::advance),
                Owner::Server(id) => {
                    // A server has nothing to say before it is asked: it closes, or has lost its way.
                    if self.core.net.is_readable(flow) && self.core.upstreams.forget(id, flow) {
                        self.core.close(flow, Close::Gracefully);
                    }
                }
            }
        }
        self.ready = ready;
        n
    }

    fn accept(&mut self) -> usize {
        let mut n = 0;
        while n < ACCEPTS && self.clients.len() < self.core.shared.limits.connections && self.has_room() {
            let Some(Accepted { flow, peer, .. }) = self.core.net.accept() else { break };
            n += 1;
            self.core.metrics.connections.add(1);
            self.generation = self.generation.wrapping_add(1);
            let entry = self.clients.vacant_entry();
            let id = entry.key() as u32;
            match Client::new(id, self.generation, flow, peer, &mut self.core) {
                Some(client) => {
                    entry.insert(client);
                    self.with(id, Client::advance);
                }
                None => self.core.close(flow, Close::Reset),
            }
        }
        n
    }

    /// Whether another handshake can begin.
    fn has_room(&self) -> bool {
        self.core.signatures.as_ref().is_none_or(Signatures::has_room)
    }

    /// Handshakes that have their signature.
    fn signed(&mut self) -> usize {
        let Some(signatures) = &mut self.core.signatures else { return 0 };
        let mut answered = std::mem::take(&mut self.answered);
        signatures.poll(self.core.now, &mut answered);
        let n = answered.len();
        for Answered { owner, parked, answer } in answered.drain(..) {
            match owner {
                Some(id) if self.clients.contains(id as usize) => {
                    self.with(id, |client, core| client.resume(parked, answer, core));
                }
                _ => self.core.stacks.abandon(parked),
            }
        }
        self.answered = answered;
        n
    }

    /// Bodies of which something is compressed.
    fn compressed(&mut self) -> usize {
        let Some(zip) = &mut self.core.zip else { return 0 };
        let mut done = std::mem::take(&mut self.done);
        zip.poll(&mut done);
        let n = done.len();
        for done in done.drain(..) {
            let (id, generation) = (done.tag as u32, (done.tag >> 32) as u32);
            if self.clients.get(id as usize).is_some_and(|client| client.generation() == generation) {
                self.with(id, |client, core| client.compressed(done, core));
            } else if let Some(zip) = &mut self.core.zip {
                zip.discard(done);
            }
        }
        self.done = done;
        n
    }

    /// Those that had their turn and were not done.
    fn turns(&mut self) -> usize {
        let n = self.core.turns.len();
        for _ in 0..n {
            let Some((id, generation)) = self.core.turns.pop_front() else { break };
            if self.clients.get(id as usize).is_some_and(|client| client.generation() == generation) {
                self.with(id, Client::take_turn);
            }
        }
        n
    }

    /// Those that had to wait for somebody else.
    fn waiting(&mut self) {
        for _ in 0..self.core.want_room.count() {
            let Some(id) = self.core.want_room.pop() else { break };
            self.with(id, Client::advance);
        }
    }

    fn deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.core.wheel.due(self.core.now_ms, |id| due.push(id));
        for id in due.drain(..) {
            self.with(id, Client::look);
        }
        self.due = due;
    }

    /// Takes nothing new, and closes what has nothing under way.
    fn stop(&mut self) {
        self.core.stopping = true;
        self.core.shared.draining.store(true, Ordering::Relaxed);
        self.core.net.stop_listening();
        let ids: Vec<u32> = self.clients.iter().map(|(id, _)| id as u32).collect();
        for id in ids {
            self.with(id, Client::drain);
        }
    }
}

impl Service for Proxy {
    fn round(&mut self, now: u64, stopping: bool) -> usize {
        self.core.now = now;
        self.core.now_ms = self.core.clock.ns(now) / 1_000_000;
        if stopping && !self.core.stopping {
            self.stop();
        }
        let moved = self.turns() + self.events() + self.accept() + self.signed() + self.compressed();
        self.waiting();
        self.deadlines();
        self.core.net.flush();
        moved
    }

    fn control(&mut self, _now: u64) {
        self.core.look_for_news();
        let Core { upstreams, net, now_ms, metrics, signatures, zip, .. } = &mut self.core;
        upstreams.expired(*now_ms, false, |flow| net.close(flow, Close::Gracefully));
        upstreams.publish(*now_ms);
        metrics.connections_open.set(self.clients.len() as u64);
        metrics.connections_refused.set(net.refused());
        if let Some(signatures) = signatures {
            signatures.publish();
        }
        if let Some(zip) = zip {
            let counts = zip.counts();
            metrics.compressed_responses.set(counts.bodies);
            metrics.compression_bytes_in.set(counts.bytes_in);
            metrics.compression_bytes_out.set(counts.bytes_out);
        }
    }

    fn is_done(&self) -> bool {
        self.clients.is_empty()
    }

    fn close(mut self: Box<Self>) -> usize {
        let given_up = self.clients.len();
        // What was counted since is not to be lost.
        self.control(self.core.now);
        let core = &mut self.core;
        for client in self.clients.drain() {
            client.dispose(Close::Reset, core);
        }
        if let Some(mut signatures) = core.signatures.take() {
            signatures.drain().for_each(|parked| core.stacks.abandon(parked));
        }
        let Core { upstreams, net, now_ms, .. } = core;
        upstreams.expired(*now_ms, true, |flow| net.close(flow, Close::Gracefully));
        given_up
    }
}
