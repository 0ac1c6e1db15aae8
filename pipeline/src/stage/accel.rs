//! The frame of an accelerator stage: packets become requests, are polled back, and leave in the order they came.

use std::collections::VecDeque;

use warpdrive_mempool::{BURST, Burst, Packet};
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::device::{Completion, Queue, Request, Status};

use super::{Context, Stage, counted};
use crate::config::Full;
use crate::stats::{Reason, SharedStage};

/// What an accelerator stage does with single packets: the part that differs between RSA and ZIP.
pub trait Operation: Send {
    /// The name used in configurations.
    const KIND: &'static str;

    /// Makes a request of a packet, or says why not.
    fn prepare(&mut self, packet: Packet) -> Prepared;

    /// The last look at a request before it is sent, in the order of [`prepare`](Self::prepare). It has its own tag still.
    /// What is returned is kept for the completion; `None` if it must wait until an earlier one is back.
    fn ready(&mut self, _request: &mut Request) -> Option<u32> {
        Some(0)
    }

    /// A request is back, in the order in which the device is done: before others that have to wait for it are asked for
    /// again. Also called for one that the device did not take.
    fn returned(&mut self, _request: &mut Request, _note: u32, _status: Status) {}

    /// Makes a packet of a completion, or says why not. In the order of [`prepare`](Self::prepare).
    fn finish(&mut self, completion: Completion, note: u32) -> Finished;
}

/// The outcome of [`Operation::prepare`].
pub enum Prepared {
    /// To be sent to the device.
    Send(Request),
    /// Done without the device.
    Done(Packet),
    /// To go on untreated.
    Pass(Packet, Reason),
    /// To be dropped.
    Drop(Packet, Reason),
}

/// The outcome of [`Operation::finish`].
pub enum Finished {
    /// Treated.
    Out(Packet),
    /// To go on untreated.
    Pass(Packet, Reason),
    /// To be dropped.
    Drop(Reason),
}

/// A packet that does not need the device, waiting for those before it.
struct Bypass {
    /// How many requests had been sent before it.
    after: u64,
    packet: Packet,
}

/// A request that was made. While the device has it, its tag is its number: completions may overtake each other.
struct Sent {
    /// The operation's own tag.
    tag: u64,
    /// What the operation wants to know later.
    note: u32,
    /// Ticks when it was held back, or 0.
    since: u64,
    state: State,
}

/// Where a request is.
enum State {
    /// With the device, or held back.
    Out,
    /// The device did not take it.
    Refused,
    Back(Completion),
}

/// A request that cannot be sent yet.
struct Held {
    number: u64,
    request: Request,
}

/// A stage in front of an accelerator queue.
pub struct AccelStage<O: Operation> {
    operation: O,
    queue: Box<dyn Queue>,
    depth: usize,
    full: Full,
    /// About to be sent.
    requests: Vec<Request>,
    /// They wait for others that the device has.
    held_back: VecDeque<Held>,
    received: Vec<Completion>,
    /// Number `finished` and those after it.
    order: VecDeque<Sent>,
    bypass: VecDeque<Bypass>,
    /// Requests whose packets have gone on.
    finished: u64,
    clock: Clock,
    pub(crate) counters: SharedStage,
}

impl<O: Operation> AccelStage<O> {
    /// A stage with up to `depth` packets in it.
    #[must_use]
    pub fn new(operation: O, queue: Box<dyn Queue>, depth: usize, full: Full) -> Self {
        Self {
            operation,
            queue,
            depth,
            full,
            requests: Vec::with_capacity(depth.max(BURST)),
            held_back: VecDeque::with_capacity(depth),
            received: Vec::with_capacity(BURST),
            order: VecDeque::with_capacity(depth),
            bypass: VecDeque::with_capacity(depth),
            finished: 0,
            clock: Clock::get(),
            counters: SharedStage::default(),
        }
    }

    /// How many packets may come in.
    fn space(&self) -> usize {
        self.depth.saturating_sub(self.held())
    }

    /// How many requests were made.
    fn made(&self) -> u64 {
        self.finished + self.order.len() as u64
    }

    fn take(&mut self, packet: Packet) {
        let after = self.made();
        match self.operation.prepare(packet) {
            Prepared::Send(request) => {
                self.order.push_back(Sent { tag: request.tag, note: 0, since: 0, state: State::Out });
                if let Some(request) = self.make_ready(after, request) {
                    if let Some(sent) = self.order.back_mut() {
                        sent.since = ticks();
                    }
                    self.held_back.push_back(Held { number: after, request });
                }
            }
            Prepared::Done(packet) => self.bypass.push_back(Bypass { after, packet }),
            Prepared::Pass(packet, reason) => {
                self.counters.passed(reason, 1);
                self.bypass.push_back(Bypass { after, packet });
            }
            Prepared::Drop(packet, reason) => {
                self.counters.dropped(reason, 1);
                drop(packet);
            }
        }
    }

    /// Puts a request among those to be sent, or gives it back if it has to wait.
    fn make_ready(&mut self, number: u64, mut request: Request) -> Option<Request> {
        let Some(note) = self.operation.ready(&mut request) else {
            return Some(request);
        };
        self.go(number, request, note);
        None
    }

    fn go(&mut self, number: u64, mut request: Request, note: u32) {
        if let Some(sent) = self.order.get_mut((number - self.finished) as usize) {
            sent.note = note;
        }
        request.tag = number;
        self.requests.push(request);
    }

    /// Asks the device for completions, and sends what waited for them.
    fn receive(&mut self, want: usize) {
        self.queue.recv_burst(&mut self.received, want.min(BURST));
        if self.received.is_empty() {
            return;
        }
        for mut completion in self.received.drain(..) {
            let place = completion.request.tag.wrapping_sub(self.finished);
            // None if it was abandoned.
            if let Some(sent) = usize::try_from(place).ok().and_then(|i| self.order.get_mut(i)) {
                completion.request.tag = sent.tag;
                self.operation.returned(&mut completion.request, sent.note, completion.status);
                sent.state = State::Back(completion);
            }
        }
        self.release();
    }

    /// Sends what was held back and need not be any longer.
    fn release(&mut self) {
        let mut i = 0;
        while let Some(held) = self.held_back.get_mut(i) {
            // Most stay where they are: looking costs little, moving them all would not.
            let Some(note) = self.operation.ready(&mut held.request) else {
                i += 1;
                continue;
            };
            if let Some(Held { number, request }) = self.held_back.remove(i) {
                self.go(number, request, note);
            }
        }
        if !self.requests.is_empty() {
            self.send();
        }
    }

    /// Sends what is ready. The queue is as deep as the stage, so it takes all; but a device may have given a shorter one.
    fn send(&mut self) {
        self.queue.send_burst(&mut self.requests);
        self.queue.flush();
        let refused = self.requests.len();
        for mut request in self.requests.drain(..) {
            if let Some(sent) = self.order.get_mut((request.tag - self.finished) as usize) {
                request.tag = sent.tag;
                self.operation.returned(&mut request, sent.note, Status::Cancelled);
                sent.state = State::Refused;
            }
        }
        if refused > 0 {
            self.counters.dropped(Reason::Full, refused);
        }
    }

    /// The next in the order in which the packets came, if it is back.
    fn next(&mut self) -> Option<(Completion, Sent)> {
        let back = self.order.pop_front_if(|sent| matches!(sent.state, State::Back(_)))?;
        self.finished += 1;
        let Sent { tag, note, since, state } = back;
        match state {
            State::Back(completion) => Some((completion, Sent { tag, note, since, state: State::Out })),
            State::Out | State::Refused => None,
        }
    }

    fn front(&self) -> Option<&State> {
        self.order.front().map(|sent| &sent.state)
    }

    fn pass_front(&mut self) {
        self.order.pop_front();
        self.finished += 1;
    }
}

impl<O: Operation> Stage for AccelStage<O> {
    fn kind(&self) -> &'static str {
        O::KIND
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let takes = burst.len().min(self.space());
        for packet in burst.drain_front(takes) {
            self.take(packet);
        }
        self.send();
        // With `hold` no more come than fit.
        let lost = burst.free_front(burst.len());
        if lost > 0 {
            self.counters.dropped(Reason::Full, lost);
        }
    }

    fn polls(&self) -> bool {
        true
    }

    fn poll(&mut self, out: &mut Burst, max: usize, cx: &mut Context<'_>) {
        // The device is asked once: an inline engine computes in there, and receiving must not wait for more than a batch.
        let mut asked = false;
        while out.len() < max {
            if self.bypass.front().is_some_and(|b| b.after <= self.finished) {
                if let Some(bypass) = self.bypass.pop_front() {
                    let _ = out.push(bypass.packet); // fits: below max
                }
                continue;
            }
            if matches!(self.front(), Some(State::Refused)) {
                self.pass_front(); // counted when it was
                continue;
            }
            let missing = matches!(self.front(), Some(State::Out));
            if missing && !std::mem::replace(&mut asked, true) {
                self.receive(max - out.len());
            }
            let Some((completion, Sent { note, since, .. })) = self.next() else {
                if self.order.is_empty() {
                    return;
                }
                if self.queue.in_flight() == 0 {
                    self.release();
                }
                if self.queue.in_flight() > 0 {
                    return;
                }
                // Everything has been received but this: the device has gone with it.
                self.counters.dropped(Reason::Engine, 1);
                let number = self.finished;
                self.held_back.retain(|held| held.number != number);
                self.pass_front();
                continue;
            };
            if let Some(latency) = cx.latency.as_deref_mut() {
                let since = if since > 0 { since } else { completion.sent };
                latency.saturating_record(self.clock.ns(ticks().saturating_sub(since)));
            }
            match self.operation.finish(completion, note) {
                Finished::Out(packet) => {
                    let _ = out.push(packet); // fits: below max
                }
                Finished::Pass(packet, reason) => {
                    self.counters.passed(reason, 1);
                    let _ = out.push(packet); // fits: below max
                }
                Finished::Drop(reason) => self.counters.dropped(reason, 1),
            }
        }
    }

    fn room(&self) -> usize {
        match self.full {
            Full::Hold => self.space(),
            Full::Drop => usize::MAX,
        }
    }

    fn held(&self) -> usize {
        self.order.len() + self.bypass.len()
    }

    fn abandon(&mut self) -> usize {
        // Requests in the device come back to their pools when the queue is dropped.
        let n = self.held();
        self.finished = self.made();
        self.order.clear();
        self.held_back.clear();
        self.bypass.clear();
        self.counters.dropped(Reason::Undelivered, n);
        n
    }

    counted!();
}

/// The reason for which a completion that is not [`Status::Ok`] costs its packet.
#[must_use]
pub fn reason_of(status: Status) -> Reason {
    match status {
        Status::Mismatch => Reason::BadSignature,
        Status::BadInput => Reason::BadData,
        Status::NoSpace { .. } => Reason::Oversize,
        _ => Reason::Engine,
    }
}
