//! `tee`: a copy of each packet to another port, without holding up the original.

use warpdrive_mempool::{Burst, Mempool, Packet};
use warpdrive_pmd::port::TxQueue;

use super::{Context, Stage, counted};
use crate::stats::{Reason, SharedStage};

/// Copies packets to a port.
pub struct TeeStage {
    queue: Box<dyn TxQueue>,
    pool: Mempool,
    copies: Burst,
    unsent: usize,
    counters: SharedStage,
}

impl TeeStage {
    /// Sends copies, made in buffers of `pool`, to `queue`. A copy that cannot be made or sent is counted, no more.
    #[must_use]
    pub fn new(queue: Box<dyn TxQueue>, pool: Mempool) -> Self {
        Self { queue, pool, copies: Burst::new(), unsent: 0, counters: SharedStage::default() }
    }
}

fn copy(from: &Packet, to: &mut Packet) -> bool {
    to.set_timestamp(from.timestamp());
    from.segments().all(|s| to.extend_from_slice(s.data()).is_ok())
}

impl Stage for TeeStage {
    fn kind(&self) -> &'static str {
        "tee"
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let n = burst.len();
        let got = self.pool.alloc_burst(&mut self.copies, n);
        let mut originals = burst.iter();
        let mut missed = n - got;
        self.copies.retain_or(|to| originals.next().is_some_and(|from| copy(from, to)), |_| missed += 1);
        self.queue.tx_burst(&mut self.copies);
        missed += self.copies.free_front(self.copies.len());
        if missed > 0 {
            self.counters.passed(Reason::TeeMissed, missed);
        }
    }

    fn needs_maintenance(&self) -> bool {
        true
    }

    fn maintain(&mut self) {
        self.unsent = self.queue.flush();
    }

    fn held(&self) -> usize {
        self.unsent
    }

    counted!();
}
