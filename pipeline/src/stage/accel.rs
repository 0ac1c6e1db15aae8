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

/// A stage in front of an accelerator queue.
pub struct AccelStage<O: Operation> {
    operation: O,
    queue: Box<dyn Queue>,
    depth: usize,
    full: Full,
    requests: Vec<Request>,
    received: Vec<Completion>,
    /// Received, not given on yet.
    ready: VecDeque<Completion>,
    bypass: VecDeque<Bypass>,
    sent: u64,
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
            ready: VecDeque::with_capacity(depth),
            bypass: VecDeque::with_capacity(depth),
            sent: 0,
            finished: 0,
            clock: Clock::get(),
            counters: SharedStage::default(),
        }
    }

    /// How many packets may come in.
    fn space(&self) -> usize {
        self.depth.saturating_sub(self.held())
    }

    fn take(&mut self, packet: Packet) {
        let after = self.sent + self.requests.len() as u64;
        match self.operation.prepare(packet) {
            Prepared::Send(request) => self.requests.push(request),
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
        self.ready.extend(self.received.drain(..));
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
        let sent = self.queue.send_burst(&mut self.requests);
        self.sent += sent as u64;
        self.queue.flush();
        // The queue is as deep as the stage, so it takes all; and with `hold` no more come than fit.
        let unsent = self.requests.drain(..).count();
        if unsent > 0 {
            // Not so if the device gave a shorter queue. None waits for a request that was never sent.
            let late = self.bypass.iter_mut().rev().take_while(|b| b.after > self.sent);
            late.for_each(|b| b.after = self.sent);
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
            if self.ready.is_empty() && !std::mem::replace(&mut asked, true) {
                self.receive(max - out.len());
            }
            let Some(completion) = self.ready.pop_front() else {
                return;
            };
            self.finished += 1;
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
        self.queue.in_flight() + self.ready.len() + self.bypass.len()
    }

    fn abandon(&mut self) -> usize {
        // Requests in the device come back to their pools when the queue is dropped.
        let n = self.held();
        self.ready.clear();
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
