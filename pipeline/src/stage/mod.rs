//! Stages: what happens to packets between ports. One file each.

use hdrhistogram::Histogram;
use warpdrive_mempool::Burst;

pub mod accel;
pub mod classify;
pub mod echo;
pub mod flows;
pub mod header;
pub mod io;
pub mod link;
pub mod rsa;
pub mod simple;
pub mod stall;
pub mod tee;
pub mod zip;
pub mod zip_flows;

/// What a stage is given besides the packets.
pub struct Context<'a> {
    /// Ticks at the beginning of this round of the poll loop.
    pub now: u64,
    /// Where a stage that holds packets records how long, in nanoseconds.
    pub latency: Option<&'a mut Histogram<u64>>,
}

/// One step of a pipeline. A worker owns it; nothing in it allocates, locks, logs or makes system calls per packet.
///
/// A stage is of one of three kinds. A **plain** stage edits the burst in `process`. A **source** gives packets in
/// `poll`. An **accelerator** stage takes packets in `process` and gives them in a later `poll`.
pub trait Stage: Send {
    /// The name used in configurations.
    fn kind(&self) -> &'static str;

    /// Treats packets. What is left in `burst` goes on to the next stage; what is not was kept, dropped or sent on.
    fn process(&mut self, burst: &mut Burst, cx: &mut Context<'_>);

    /// Whether `poll` is to be called.
    fn polls(&self) -> bool {
        false
    }

    /// Appends up to `max` packets to `out`.
    fn poll(&mut self, _out: &mut Burst, _max: usize, _cx: &mut Context<'_>) {}

    /// How many packets `process` takes now without losing any.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Whether `maintain` is to be called in every round.
    fn needs_maintenance(&self) -> bool {
        false
    }

    /// Work that is due whether or not packets come: pushing out what a driver was given.
    fn maintain(&mut self) {}

    /// Packets the stage holds.
    fn held(&self) -> usize {
        0
    }

    /// Buffers that are kept from their pool here: packets held, and buffers a driver has to receive into.
    fn buffers(&self) -> usize {
        self.held()
    }

    /// For sources: whether nothing will ever come again.
    fn is_finished(&self) -> bool {
        false
    }

    /// Whether packets end here by being sent: where end-to-end latency is taken.
    fn is_sink(&self) -> bool {
        false
    }

    /// Gives up all packets the stage holds; returns how many. Called once, when draining took too long.
    fn abandon(&mut self) -> usize {
        0
    }

    /// Called when the statistics counter block of the stage is known, before the first packet.
    fn attach(&mut self, counters: crate::stats::SharedStage);
}

/// The counters field and `attach` of a stage.
macro_rules! counted {
    () => {
        fn attach(&mut self, counters: $crate::stats::SharedStage) {
            self.counters = counters;
        }
    };
}
pub(crate) use counted;
