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

    /// Makes a packet of a completion, or says why not.
    fn finish(&mut self, completion: Completion) -> Finished;
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

/// A request that was sent. While the device has it, its tag is its number: completions may overtake each other.
struct Sent {
    /// The operation's own tag.
    tag: u64,
    /// When it has come.
    completion: Option<Completion>,
}

/// A stage in front of an accelerator queue.
pub struct AccelStage<O: Operation> {
    operation: O,
    queue: Box<dyn Queue>,
    depth: usize,
    full: Full,
    requests: Vec<Request>,
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
            requests: Vec::with_capacity(BURST),
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

    /// How many requests were sent, or are about to be.
    fn sent(&self) -> u64 {
        self.finished + self.order.len() as u64
    }

    fn take(&mut self, packet: Packet) {
        let after = self.sent();
        match self.operation.prepare(packet) {
            Prepared::Send(mut request) => {
                let tag = std::mem::replace(&mut request.tag, after);
                self.order.push_back(Sent { tag, completion: None });
                self.requests.push(request);
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

    /// Asks the device for completions.
    fn receive(&mut self, want: usize) {
        self.queue.recv_burst(&mut self.received, want.min(BURST));
        for mut completion in self.received.drain(..) {
            let place = completion.request.tag.wrapping_sub(self.finished);
            // None if it was abandoned.
            if let Some(sent) = usize::try_from(place).ok().and_then(|i| self.order.get_mut(i)) {
                completion.request.tag = sent.tag;
                sent.completion = Some(completion);
            }
        }
    }

    /// The next completion in the order of sending.
    fn next(&mut self) -> Option<Completion> {
        let completion = self.order.front_mut()?.completion.take()?;
        self.pass_front();
        Some(completion)
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
        self.queue.send_burst(&mut self.requests);
        self.queue.flush();
        // The queue is as deep as the stage, so it takes all; and with `hold` no more come than fit.
        let unsent = self.requests.drain(..).count();
        if unsent > 0 {
            // Not so if the device gave a shorter queue. None waits for a request that was never sent.
            self.order.truncate(self.order.len() - unsent);
            let sent = self.sent();
            self.bypass.iter_mut().rev().take_while(|b| b.after > sent).for_each(|b| b.after = sent);
        }
        let lost = unsent + burst.free_front(burst.len());
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
            let missing = self.order.front().is_some_and(|sent| sent.completion.is_none());
            if missing && !std::mem::replace(&mut asked, true) {
                self.receive(max - out.len());
            }
            let Some(completion) = self.next() else {
                if self.order.is_empty() || self.queue.in_flight() > 0 {
                    return;
                }
                // Everything has been received but this: the device has gone with it.
                self.counters.dropped(Reason::Engine, 1);
                self.pass_front();
                continue;
            };
            if let Some(latency) = cx.latency.as_deref_mut() {
                latency.saturating_record(self.clock.ns(ticks().saturating_sub(completion.sent)));
            }
            match self.operation.finish(completion) {
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
        self.finished = self.sent();
        self.order.clear();
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
