//! `mac-swap`, `count` and `drop`.

use warpdrive_mempool::Burst;
use warpdrive_pmd::stats::Counter;

use super::{Context, Stage, counted};
use crate::stats::{Reason, SharedStage};

use std::sync::Arc;

/// Exchanges source and destination Ethernet address: what comes in can go out at the same port.
#[derive(Default)]
pub struct MacSwapStage {
    counters: SharedStage,
}

impl Stage for MacSwapStage {
    fn kind(&self) -> &'static str {
        "mac-swap"
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        for packet in burst.iter_mut() {
            if let Some(addresses) = packet.data_mut().first_chunk_mut::<12>() {
                addresses.rotate_left(6);
            }
        }
    }

    counted!();
}

/// Packets and bytes under a name, for statistics.
#[derive(Debug, Default)]
pub struct NamedCounter {
    /// Packets that passed.
    pub packets: Counter,
    /// Their bytes.
    pub bytes: Counter,
}

/// Counts what passes.
#[derive(Default)]
pub struct CountStage {
    named: Arc<NamedCounter>,
    counters: SharedStage,
}

impl CountStage {
    /// Counts into `named`.
    #[must_use]
    pub fn new(named: Arc<NamedCounter>) -> Self {
        Self { named, counters: SharedStage::default() }
    }
}

impl Stage for CountStage {
    fn kind(&self) -> &'static str {
        "count"
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        self.named.packets.add(burst.len() as u64);
        self.named.bytes.add(burst.iter().map(|p| p.total_len() as u64).sum());
    }

    counted!();
}

/// Drops everything.
#[derive(Default)]
pub struct DropStage {
    counters: SharedStage,
}

impl Stage for DropStage {
    fn kind(&self) -> &'static str {
        "drop"
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let n = burst.free_front(burst.len());
        self.counters.dropped(Reason::Discarded, n);
    }

    counted!();
}
