//! `handoff`, `fanout` and `merge`: packets go from one pipeline to others, through one single-producer ring each.

use warpdrive_mempool::{BURST, Burst};
use warpdrive_pmd::port::ring::{RingRx, RingTx};
use warpdrive_pmd::port::{RxQueue, TxQueue};

use super::{Context, Stage, counted};
use crate::config::Full;
use crate::stats::{Reason, SharedStage};
use crate::wire::Flow;

/// Gives packets to one or several other pipelines; with several, by flow.
pub struct HandoffStage {
    rings: Vec<RingTx>,
    full: Full,
    /// One burst for each ring, filled and emptied within `process`.
    sorted: Vec<Burst>,
    counters: SharedStage,
}

impl HandoffStage {
    /// Gives packets to the pipelines behind `rings`.
    #[must_use]
    pub fn new(rings: Vec<RingTx>, full: Full) -> Self {
        let sorted = rings.iter().map(|_| Burst::new()).collect();
        Self { rings, full, sorted, counters: SharedStage::default() }
    }

    fn sort(&mut self, burst: &mut Burst) {
        let n = self.rings.len() as u64;
        for packet in burst.drain_front(BURST) {
            let hash = Flow::of(packet.data()).map_or(0, |flow| flow.symmetric_hash());
            // Multiply and shift: an even spread without a division.
            let to = ((u64::from(hash) * n) >> 32) as usize;
            let _ = self.sorted[to].push(packet); // fits: each has room for the whole burst
        }
    }
}

impl Stage for HandoffStage {
    fn kind(&self) -> &'static str {
        if self.rings.len() == 1 { "handoff" } else { "fanout" }
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let mut lost = 0;
        if let [ring] = &mut self.rings[..] {
            ring.tx_burst(burst);
            lost = burst.free_front(burst.len());
        } else {
            self.sort(burst);
            for (ring, burst) in self.rings.iter_mut().zip(&mut self.sorted) {
                ring.tx_burst(burst);
                lost += burst.free_front(burst.len());
            }
        }
        if lost > 0 {
            self.counters.dropped(Reason::Full, lost);
        }
    }

    fn room(&self) -> usize {
        match self.full {
            // All packets of a burst may be of one flow.
            Full::Hold => self.rings.iter().map(RingTx::room).min().unwrap_or(0),
            Full::Drop => usize::MAX,
        }
    }

    counted!();
}

/// Takes the packets that other pipelines give.
pub struct MergeStage {
    rings: Vec<RingRx>,
    burst: usize,
    /// Which ring is asked first, so that none is starved.
    first: usize,
    counters: SharedStage,
}

impl MergeStage {
    /// Takes up to `burst` packets at once from `rings`, in turn.
    #[must_use]
    pub fn new(rings: Vec<RingRx>, burst: usize) -> Self {
        Self { rings, burst, first: 0, counters: SharedStage::default() }
    }
}

impl Stage for MergeStage {
    fn kind(&self) -> &'static str {
        "merge"
    }

    fn process(&mut self, _burst: &mut Burst, _cx: &mut Context<'_>) {}

    fn polls(&self) -> bool {
        true
    }

    fn poll(&mut self, out: &mut Burst, max: usize, _cx: &mut Context<'_>) {
        let n = self.rings.len();
        for i in 0..n {
            let want = max.min(self.burst).saturating_sub(out.len());
            if want == 0 {
                break;
            }
            self.rings[(self.first + i) % n].rx_burst(out, want);
        }
        self.first = (self.first + 1) % n.max(1);
    }

    fn held(&self) -> usize {
        self.rings.iter().map(RingRx::held).sum()
    }

    fn is_finished(&self) -> bool {
        self.rings.iter().all(RingRx::is_finished)
    }

    fn abandon(&mut self) -> usize {
        let n = self.held();
        self.rings.clear();
        self.counters.dropped(Reason::Undelivered, n);
        n
    }

    counted!();
}
