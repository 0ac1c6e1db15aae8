//! Handshakes that wait for a signature, and the queue that signs.
//!
//! Each has a place in a table, and the request carries the place's number and how often it was used before: a completion that
//! comes after the deadline finds that nobody waits for it. A client that goes away leaves its handshake parked until its
//! completion or deadline, so that there are never more requests with the device than places.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use warpdrive_mempool::Mempool;
use warpdrive_pmd::clock::Clock;
use warpdrive_pmd::device::{Completion, Queue, Request, Status};

use super::breaker::Breaker;
use super::park::{Answer, Parked, Question};
use crate::metrics::{Metrics, SignedBy};

/// Completions taken at once.
const BURST: usize = 64;

/// Somebody's handshake that waits. Dropping it does not give it up: [`Signatures::give_up`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    place: u32,
    generation: u32,
}

/// A handshake that has its answer.
pub struct Answered {
    /// Whose: as given to [`Signatures::ask`]; `None` if that has been given up.
    pub owner: Option<u32>,
    /// The handshake.
    pub parked: Parked,
    /// What it is to be resumed with.
    pub answer: Answer,
}

struct Waiting {
    parked: Parked,
    owner: Option<u32>,
    generation: u32,
}

/// The queue that signs, and who waits for it.
pub struct Signatures {
    queue: Box<dyn Queue>,
    pool: Mempool,
    waiting: Slab<Waiting>,
    places: usize,
    generation: u32,
    /// Who is to be answered by when (in ticks), the oldest first.
    due: VecDeque<(u64, Ticket)>,
    deadline: u64,
    completions: Vec<Completion>,
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Signatures {
    /// Signs by `queue`, with buffers of `pool`, for up to `places` handshakes at a time.
    #[must_use]
    pub fn new(
        queue: Box<dyn Queue>,
        pool: Mempool,
        places: usize,
        deadline: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            queue,
            pool,
            waiting: Slab::with_capacity(places),
            places,
            generation: 0,
            due: VecDeque::with_capacity(places),
            deadline: Clock::get().ticks_of(deadline),
            completions: Vec::with_capacity(BURST),
            breaker: Breaker::default(),
            metrics,
        }
    }

    /// Handshakes that wait.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.waiting.len()
    }

    /// Says how it is.
    pub fn publish(&self) {
        self.metrics.handshakes_parked.set(self.waiting.len() as u64);
        self.metrics.set_breaker(self.breaker.state());
    }

    /// Whether another handshake can wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.places && self.queue.room() > 0
    }

    /// Has a question answered.
    ///
    /// # Errors
    /// The device cannot be asked: the handshake is to be resumed with [`Answer::Library`] at once.
    pub fn ask(
        &mut self,
        owner: u32,
        parked: Parked,
        question: &Question,
        now: u64,
    ) -> Result<Ticket, Parked> {
        let refused = match () {
            () if !self.has_room() => Some(SignedBy::QueueFull),
            () if !self.breaker.may_try(now) => Some(SignedBy::BreakerOpen),
            () => None,
        };
        if let Some(reason) = refused {
            return Err(self.refuse(reason, parked));
        }
        let Some(request) = self.request(question) else {
            return Err(self.refuse(SignedBy::PoolEmpty, parked));
        };
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let place = self.waiting.insert(Waiting { parked, owner: Some(owner), generation }) as u32;
        let ticket = Ticket { place, generation };
        match self.queue.send(request.with_tag(u64::from(generation) << 32 | u64::from(place))) {
            Ok(()) => {
                self.due.push_back((now + self.deadline, ticket));
                Ok(ticket)
            }
            Err(_) => {
                let waiting = self.waiting.remove(place as usize);
                Err(self.refuse(SignedBy::QueueFull, waiting.parked))
            }
        }
    }

    fn refuse(&mut self, reason: SignedBy, parked: Parked) -> Parked {
        self.metrics.signatures.count(reason);
        parked
    }

    fn request(&self, question: &Question) -> Option<Request> {
        let (message, signature) = (question.message(), question.signature_len);
        let mut packet = self.pool.alloc()?;
        packet.extend_from_slice(message).ok()?;
        packet.append(signature).ok()?;
        let mut request = Request::new(question.session, packet);
        request.set_src(0..message.len()).ok()?;
        request.set_dst(message.len()..message.len() + signature).ok()?;
        Some(request)
    }

    /// Nobody wants the answer any more. The handshake stays until it is there.
    pub fn give_up(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting.get_mut(ticket.place as usize)
            && waiting.generation == ticket.generation
        {
            waiting.owner = None;
        }
    }

    /// Lets the device work and takes what it has done, and what it has not done in time. An engine that runs inline does one
    /// batch in here.
    pub fn poll(&mut self, now: u64, answered: &mut Vec<Answered>) {
        self.late(now, answered);
        if self.queue.in_flight() == 0 {
            return;
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.queue.recv_burst(&mut completions, BURST);
        for completion in completions.drain(..) {
            self.complete(completion, now, answered);
        }
        self.completions = completions;
    }

    fn complete(&mut self, completion: Completion, now: u64, answered: &mut Vec<Answered>) {
        let tag = completion.request.tag;
        let ticket = Ticket { place: tag as u32, generation: (tag >> 32) as u32 };
        let is_ok = completion.status == Status::Ok;
        if is_ok {
            self.breaker.succeeded();
        } else {
            self.breaker.failed(now);
        }
        let Some(Waiting { parked, owner, .. }) = self.take(ticket) else { return };
        let answer = if is_ok {
            self.metrics.signatures.count(SignedBy::Device);
            Answer::Signature(signature(completion))
        } else {
            self.metrics.signatures.count(SignedBy::EngineFailed);
            Answer::Library
        };
        answered.push(Answered { owner, parked, answer });
    }

    fn late(&mut self, now: u64, answered: &mut Vec<Answered>) {
        while let Some((due, ticket)) = self.due.front().copied() {
            let waits =
                self.waiting.get(ticket.place as usize).is_some_and(|w| w.generation == ticket.generation);
            if waits && now < due {
                break;
            }
            self.due.pop_front();
            if let Some(Waiting { parked, owner, .. }) = self.take(ticket) {
                self.breaker.failed(now);
                self.metrics.signatures.count(SignedBy::Deadline);
                answered.push(Answered { owner, parked, answer: Answer::Library });
            }
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.get(ticket.place as usize)?;
        (waiting.generation == ticket.generation).then(|| self.waiting.remove(ticket.place as usize))
    }

    /// All that still wait, to be given up: the program ends.
    pub fn drain(&mut self) -> impl Iterator<Item = Parked> {
        self.waiting.drain().map(|waiting| waiting.parked)
    }
}

fn signature(completion: Completion) -> Vec<u8> {
    let (start, len) = (completion.request.src_len() as usize, completion.produced as usize);
    let (packet, _) = completion.request.into_packets();
    packet.and_then(|p| Some(p.data().get(start..start + len)?.to_vec())).unwrap_or_default()
}
