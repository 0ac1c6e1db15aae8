//! `rx` and `tx`: the ends of a pipeline at ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use warpdrive_mempool::Burst;
use warpdrive_pmd::port::{RxQueue, TxQueue};

use super::{Context, Stage, counted};
use crate::config::Full;
use crate::stats::{Reason, SharedStage};

/// How many packets the program may receive in all; shared by all `rx` stages when a limit was given.
#[derive(Debug)]
pub struct Budget {
    limit: i64,
    /// Not reserved by anybody. Below 0 for moments.
    left: AtomicI64,
    /// Received. Reservations do not count: a port that has nothing gives them back.
    received: AtomicI64,
}

impl Budget {
    /// A budget of `limit` packets.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Self { limit, left: AtomicI64::new(limit), received: AtomicI64::new(0) }
    }

    /// Takes up to `n`; [`settle`](Self::settle) is to follow.
    fn reserve(&self, n: usize) -> usize {
        let n = n as i64;
        let granted = self.left.fetch_sub(n, Ordering::Relaxed).clamp(0, n);
        if granted < n {
            self.left.fetch_add(n - granted, Ordering::Relaxed);
        }
        granted as usize
    }

    /// Says how many of the reserved packets were received.
    fn settle(&self, reserved: usize, received: usize) {
        if received < reserved {
            self.left.fetch_add((reserved - received) as i64, Ordering::Relaxed);
        }
        self.received.fetch_add(received as i64, Ordering::Relaxed);
    }

    fn is_used_up(&self) -> bool {
        self.received.load(Ordering::Relaxed) >= self.limit
    }
}

/// Receives from a port.
pub struct RxStage {
    queue: Box<dyn RxQueue>,
    burst: usize,
    budget: Option<Arc<Budget>>,
    counters: SharedStage,
}

impl RxStage {
    /// Takes up to `burst` packets at once, and no more than `budget` has left.
    #[must_use]
    pub fn new(queue: Box<dyn RxQueue>, burst: usize, budget: Option<Arc<Budget>>) -> Self {
        Self { queue, burst, budget, counters: SharedStage::default() }
    }
}

impl Stage for RxStage {
    fn kind(&self) -> &'static str {
        "rx"
    }

    fn process(&mut self, _burst: &mut Burst, _cx: &mut Context<'_>) {}

    fn polls(&self) -> bool {
        true
    }

    #[inline]
    fn poll(&mut self, out: &mut Burst, max: usize, cx: &mut Context<'_>) {
        let wanted = max.min(self.burst);
        match &self.budget {
            None => {
                self.queue.rx_burst(out, wanted);
            }
            Some(budget) => {
                let granted = budget.reserve(wanted);
                let got = if granted > 0 { self.queue.rx_burst(out, granted) } else { 0 };
                budget.settle(granted, got);
            }
        }
        for packet in out.iter_mut() {
            packet.set_timestamp(cx.now);
        }
    }

    fn buffers(&self) -> usize {
        self.queue.held()
    }

    fn is_finished(&self) -> bool {
        self.queue.is_finished() || self.budget.as_ref().is_some_and(|b| b.is_used_up())
    }

    counted!();
}

/// Sends to a port.
pub struct TxStage {
    queue: Box<dyn TxQueue>,
    full: Full,
    /// What the port did not take yet, with `hold`.
    backlog: Burst,
    /// Packets the driver has taken and not sent, as of the last round.
    unsent: usize,
    counters: SharedStage,
}

impl TxStage {
    /// Sends to `queue`; `full` says what happens when it takes no more.
    #[must_use]
    pub fn new(queue: Box<dyn TxQueue>, full: Full) -> Self {
        Self { queue, full, backlog: Burst::new(), unsent: 0, counters: SharedStage::default() }
    }
}

impl Stage for TxStage {
    fn kind(&self) -> &'static str {
        "tx"
    }

    #[inline]
    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        if self.backlog.is_empty() {
            self.queue.tx_burst(burst);
        }
        if !burst.is_empty() {
            if self.full == Full::Hold {
                burst.move_front(burst.len(), &mut self.backlog);
            }
            let lost = burst.free_front(burst.len());
            if lost > 0 {
                self.counters.dropped(Reason::Full, lost);
            }
        }
    }

    #[inline]
    fn room(&self) -> usize {
        match self.full {
            Full::Hold if !self.backlog.is_empty() => 0,
            _ => usize::MAX,
        }
    }

    fn needs_maintenance(&self) -> bool {
        true
    }

    #[inline]
    fn maintain(&mut self) {
        if !self.backlog.is_empty() {
            self.queue.tx_burst(&mut self.backlog);
        }
        self.unsent = self.queue.flush();
    }

    fn held(&self) -> usize {
        self.backlog.len() + self.unsent
    }

    fn is_sink(&self) -> bool {
        true
    }

    fn abandon(&mut self) -> usize {
        let n = self.held();
        self.backlog.clear();
        self.counters.dropped(Reason::Undelivered, n);
        n
    }

    counted!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_that_is_given_back_does_not_end_the_others() {
        let budget = Budget::new(32);
        let quiet = budget.reserve(32);
        assert_eq!(budget.reserve(32), 0, "all is reserved");
        assert!(!budget.is_used_up(), "but nothing was received");
        budget.settle(quiet, 0);
        let busy = budget.reserve(64);
        assert_eq!(busy, 32);
        budget.settle(busy, 32);
        assert!(budget.is_used_up());
    }
}
