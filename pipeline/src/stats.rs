//! What stages count, and the histograms of latency. Written by one worker, read by whoever wants to know.

use std::sync::Arc;

use crossbeam::utils::CachePadded;
use hdrhistogram::Histogram;
use warpdrive_pmd::stats::Counter;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet was dropped or passed on untreated.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        /// All reasons.
        pub const REASONS: &[Reason] = &[$(Reason::$name,)*];

        impl Reason {
            /// The name in statistics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The stage or the ring behind it takes no more.
    Full = "full",
    /// No buffer was free for the result.
    NoBuffer = "no_buffer",
    /// Not UDP over IPv4 or IPv6.
    NotUdp = "not_udp",
    /// Part of a fragmented datagram.
    Fragment = "fragment",
    /// Lengths that contradict each other, or bytes behind the packet that are no padding.
    Malformed = "malformed",
    /// The result would exceed the MTU or a buffer.
    Oversize = "oversize",
    /// No warpdrive header where one is needed, or one of another operation.
    Plain = "plain",
    /// The signature does not match.
    BadSignature = "bad_signature",
    /// The compressed data is corrupt.
    BadData = "bad_data",
    /// A packet of a compressed flow before it was missed or damaged; the flow goes on where its stream begins anew.
    LostSync = "lost_sync",
    /// All streams of the stage belong to other flows that are busy.
    NoStream = "no_stream",
    /// The engine reported an error.
    Engine = "engine",
    /// A condition does not hold.
    NoMatch = "no_match",
    /// The purpose of the stage.
    Discarded = "discarded",
    /// Still in the stage when the program had to stop.
    Undelivered = "undelivered",
    /// The packet has several segments, which this stage does not take.
    Chained = "chained",
    /// A copy for a tee could not be made or sent.
    TeeMissed = "tee_missed",
}

/// What one stage counts.
#[derive(Debug, Default)]
pub struct StageCounters {
    /// Packets that came in.
    pub packets_in: Counter,
    /// Packets that went out.
    pub packets_out: Counter,
    /// Packets the stage holds now.
    pub held: Counter,
    /// Buffers the stage kept from its pool when a pool was last found exhausted.
    pub held_at_exhaustion: Counter,
    /// Rounds in which the stage kept what is before it waiting.
    pub stalls: Counter,
    drops: [Counter; REASONS.len()],
    passes: [Counter; REASONS.len()],
}

impl StageCounters {
    /// Counts packets that end here.
    pub fn dropped(&self, reason: Reason, n: usize) {
        self.drops[reason as usize].add(n as u64);
    }

    /// Counts packets that go on untreated.
    pub fn passed(&self, reason: Reason, n: usize) {
        self.passes[reason as usize].add(n as u64);
    }

    /// Packets dropped for one reason.
    #[must_use]
    #[inline]
    pub fn drops_for(&self, reason: Reason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Packets dropped, by reason; those of zero are left out.
    pub fn drops(&self) -> impl Iterator<Item = (Reason, u64)> {
        by_reason(&self.drops)
    }

    /// Packets passed on untreated, by reason; those of zero are left out.
    pub fn passes(&self) -> impl Iterator<Item = (Reason, u64)> {
        by_reason(&self.passes)
    }
}

fn by_reason(counters: &[Counter]) -> impl Iterator<Item = (Reason, u64)> {
    REASONS.iter().zip(counters).map(|(r, c)| (*r, c.get())).filter(|(_, n)| *n > 0)
}

/// The counters of one stage, shared.
pub type SharedStage = Arc<CachePadded<StageCounters>>;

/// The longest latency a histogram keeps apart, in nanoseconds; longer ones count as this.
pub const LONGEST_NS: u64 = 60_000_000_000;

/// A latency histogram in nanoseconds, three significant digits, of fixed size: recording allocates nothing.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // Cannot fail: 1 <= low, 2 * low <= high and at most 5 digits.
    Histogram::new_with_bounds(1, LONGEST_NS, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// The histograms of one pipeline.
#[derive(Clone, Debug)]
pub struct PipelineLatency {
    /// From receive to transmit.
    pub end_to_end: Histogram<u64>,
    /// Of each stage: from taking a packet to giving it on.
    pub stages: Vec<Histogram<u64>>,
}

impl PipelineLatency {
    /// Empty histograms for `stages` stages.
    #[must_use]
    pub fn new(stages: usize) -> Self {
        Self { end_to_end: histogram(), stages: (0..stages).map(|_| histogram()).collect() }
    }

    /// Adds what another has recorded.
    pub fn add(&mut self, other: &Self) {
        // Cannot fail: all have the same bounds.
        let _ = self.end_to_end.add(&other.end_to_end);
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            let _ = mine.add(theirs);
        }
    }

    /// Empties them, keeping the memory.
    pub fn reset(&mut self) {
        self.end_to_end.reset();
        self.stages.iter_mut().for_each(Histogram::reset);
    }
}
