//! `rx` and `tx`: the ends of a pipeline at ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use warpdrive_mempool::Burst;
use warpdrive_pmd::port::{RxQueue, TxQueue};

use super::{Context, Stage, counted};
use crate::config::Full;
use crate::stats::{Reason, SharedStage};

/// How many more packets the program may receive; shared by all `rx` stages when a limit was given.
pub type Budget = Arc<AtomicI64>;

/// Receives from a port.
pub struct RxStage {
    queue: Box<dyn RxQueue>,
    burst: usize,
    budget: Option<Budget>,
    exhausted: bool,
    counters: SharedStage,
}

impl RxStage {
    /// Takes up to `burst` packets at once, and no more than `budget` has left.
    #[must_use]
    pub fn new(queue: Box<dyn RxQueue>, burst: usize, budget: Option<Budget>) -> Self {
        Self { queue, burst, budget, exhausted: false, counters: SharedStage::default() }
    }

    /// Takes up to `n` from the budget.
    fn reserve(&mut self, n: usize) -> usize {
        let Some(budget) = &self.budget else {
            return n;
        };
        let left = budget.fetch_sub(n as i64, Ordering::Relaxed);
        let granted = left.clamp(0, n as i64);
        if granted < n as i64 {
            budget.fetch_add(n as i64 - granted, Ordering::Relaxed);
            self.exhausted = left <= 0;
        }
        granted as usize
    }

    fn give_back(&self, n: usize) {
        if let Some(budget) = &self.budget
            && n > 0
        {
            budget.fetch_add(n as i64, Ordering::Relaxed);
        }
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
        let want = self.reserve(max.min(self.burst));
        if want == 0 {
            return;
        }
        let got = self.queue.rx_burst(out, want);
        self.give_back(want - got);
        for packet in out.iter_mut() {
            packet.set_timestamp(cx.now);
        }
    }

    fn buffers(&self) -> usize {
        self.queue.held()
    }

    fn is_finished(&self) -> bool {
        self.exhausted || self.queue.is_finished()
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
