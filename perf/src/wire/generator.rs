//! The generator: sends numbered frames out of one queue and knows them again when they come in at another.

use std::sync::Arc;
use std::time::Duration;

use warpdrive_mempool::{BURST, Burst, Mempool};
use warpdrive_pmd::port::{RxQueue, TxQueue};
use warpdrive_pmd::stats::{Counter, SharedCounters};

use super::frame::{Kind, SHORTEST, sequence, set_sequence, template};
use crate::BenchError;
use crate::load::Subject;

/// Frames that can be told apart: a power of two.
const SLOTS: usize = 1 << 20;
/// Buffers taken from the pool at a time.
const TAKE: usize = 32;
/// How long nothing may come back before all that is under way is lost: longer than any queue of a kernel holds a frame.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a generator sends, and where.
pub struct Wiring {
    /// Where frames go out.
    pub tx: Box<dyn TxQueue>,
    /// Where they come back.
    pub rx: Box<dyn RxQueue>,
    /// Buffers to send.
    pub pool: Mempool,
    /// What they are.
    pub kind: Kind,
    /// Their length without the frame check sequence.
    pub size: usize,
    /// The most that may be under way in a closed loop: what is between must not lose any of so many.
    pub depth: usize,
}

/// Frames that were received and are nobody's.
#[derive(Debug, Default)]
pub struct Strays {
    /// Not sent by a generator.
    pub foreign: Counter,
    /// Received a second time, or after they were given up.
    pub late: Counter,
}

/// A frame under way.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u64,
    sequence: u32,
    waiting: bool,
}

/// Sends frames and receives them: a [`Subject`] whose operation is one frame there and back.
///
/// In an open loop as many may be under way as there are buffers: what is lost does not hold up what is due after it.
pub struct Generator {
    tx: Box<dyn TxQueue>,
    rx: Box<dyn RxQueue>,
    /// What is sent, in turn.
    templates: Vec<Box<[u8]>>,
    turn: usize,
    depth: usize,
    patience: Duration,
    /// Buffers to be filled.
    fresh: Burst,
    /// Frames that the port has not taken yet.
    out: Burst,
    /// Whether the port has left some of them when it was asked last.
    refused: bool,
    arrived: Burst,
    slots: Box<[Slot]>,
    /// The number of the next frame, and of the oldest that is not given up.
    next: u32,
    oldest: u32,
    in_flight: usize,
    strays: Arc<Strays>,
    engine: Option<u32>,
    /// Dropped last: when the packets are back.
    pool: Mempool,
}

impl Generator {
    /// Ready to send.
    ///
    /// # Errors
    /// [`BenchError::Frame`] when a frame of this size is none or does not fit a buffer.
    pub fn new(wiring: Wiring) -> Result<Self, BenchError> {
        let Wiring { tx, rx, pool, kind, size, depth } = wiring;
        let most = pool.data_capacity();
        if !(SHORTEST..=most).contains(&size) {
            return Err(BenchError::Frame { size, least: SHORTEST, most });
        }
        Ok(Self {
            tx,
            rx,
            pool,
            templates: vec![template(kind, size)],
            turn: 0,
            depth,
            patience: PATIENCE,
            fresh: Burst::new(),
            out: Burst::new(),
            refused: false,
            arrived: Burst::new(),
            slots: vec![Slot::default(); SLOTS].into(),
            next: 0,
            oldest: 0,
            in_flight: 0,
            strays: Arc::default(),
            engine: None,
        })
    }

    /// With these frames, in turn, in the place of those that it makes.
    ///
    /// # Errors
    /// [`BenchError::Frame`] when one has no place for a number, or does not fit a buffer.
    pub fn with_frames(mut self, frames: Vec<Box<[u8]>>) -> Result<Self, BenchError> {
        let most = self.pool.data_capacity();
        if let Some(wrong) = frames.iter().find(|frame| !(SHORTEST..=most).contains(&frame.len())) {
            return Err(BenchError::Frame { size: wrong.len(), least: SHORTEST, most });
        }
        if !frames.is_empty() {
            self.templates = frames;
        }
        Ok(self)
    }

    /// With the thread that forwards, if it is one of this process.
    #[must_use]
    pub fn with_engine(mut self, thread: Option<u32>) -> Self {
        self.engine = thread;
        self
    }

    /// With another patience than 100 ms, where nothing gets lost but on a machine that is busy.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What was received and is nobody's, also while it runs.
    #[must_use]
    pub fn strays(&self) -> Arc<Strays> {
        Arc::clone(&self.strays)
    }

    /// What its ports count: sending, receiving.
    #[must_use]
    pub fn counters(&self) -> (SharedCounters, SharedCounters) {
        (Arc::clone(self.tx.counters()), Arc::clone(self.rx.counters()))
    }

    /// Gives the port what it takes.
    #[inline]
    fn push(&mut self) {
        if !self.out.is_empty() {
            self.tx.tx_burst(&mut self.out);
            self.refused = !self.out.is_empty();
        }
        self.tx.flush();
    }
}

/// The tag of a frame that was received, if it is one that is waited for: so each counts once.
#[inline]
fn claim(slots: &mut [Slot], oldest: u32, sequence: u32) -> Option<u64> {
    let slot = &mut slots[sequence as usize % SLOTS];
    let given_up = sequence.wrapping_sub(oldest) > u32::MAX / 2;
    if !slot.waiting || slot.sequence != sequence || given_up {
        return None;
    }
    slot.waiting = false;
    Some(slot.tag)
}

impl Subject for Generator {
    #[inline]
    fn send(&mut self, tag: u64) -> bool {
        if self.refused || self.out.room() == 0 {
            return false;
        }
        if self.fresh.is_empty() {
            self.pool.alloc_burst(&mut self.fresh, TAKE);
        }
        let Some(mut packet) = self.fresh.pop() else {
            return false;
        };
        // Cannot fail: the length was checked against the pool's buffers.
        let template = &self.templates[self.turn];
        self.turn = if self.turn + 1 < self.templates.len() { self.turn + 1 } else { 0 };
        let _ = packet.set_len(template.len());
        let frame = packet.data_mut();
        frame.copy_from_slice(template);
        set_sequence(frame, self.next);
        self.slots[self.next as usize % SLOTS] = Slot { tag, sequence: self.next, waiting: true };
        self.next = self.next.wrapping_add(1);
        // Older ones have lost their slots; numbers that are too far apart would change places.
        if self.next.wrapping_sub(self.oldest) > SLOTS as u32 {
            self.oldest = self.next.wrapping_sub(SLOTS as u32);
        }
        self.in_flight += 1;
        // Cannot fail: there was room.
        let _ = self.out.push(packet);
        true
    }

    #[inline]
    fn flush(&mut self) -> Result<(), BenchError> {
        self.push();
        Ok(())
    }

    #[inline]
    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        // What the port did not take before, and what it has to be asked for again.
        self.push();
        if self.rx.rx_burst(&mut self.arrived, BURST) == 0 {
            return Ok(0);
        }
        self.arrived.iter().for_each(|packet| packet.prefetch_data());
        let mut back = 0;
        for packet in self.arrived.iter() {
            let Some(sequence) = sequence(packet.data()) else {
                self.strays.foreign.add(1);
                continue;
            };
            match claim(&mut self.slots, self.oldest, sequence) {
                Some(tag) => {
                    done(tag);
                    back += 1;
                }
                None => self.strays.late.add(1),
            }
        }
        self.arrived.clear();
        self.in_flight -= back;
        Ok(back)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn max_depth(&self) -> usize {
        self.depth
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn give_up(&mut self) -> Result<u64, BenchError> {
        self.out.clear();
        self.refused = false;
        self.oldest = self.next;
        Ok(std::mem::take(&mut self.in_flight) as u64)
    }

    fn engine_thread(&self) -> Option<u32> {
        self.engine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Shape, apply};
    use warpdrive_mempool::{DmaMode, Domain, PageChoice, PageSize, PoolConfig};
    use warpdrive_pmd::port::ring::channel;

    fn pool(buffers: usize) -> Mempool {
        let pages = PageChoice::Exactly(PageSize::Size4K);
        Mempool::new(&PoolConfig { pages, buffers, ..PoolConfig::default() }, &Domain::new(DmaMode::Sva))
            .unwrap()
    }

    /// What it sends comes out of the second ring, what it receives goes into the first.
    fn generator(
        pool: &Mempool,
        slots: usize,
    ) -> (Generator, impl FnMut() -> Burst, impl FnMut(Burst) -> usize) {
        let (tx, mut sent) = channel(slots);
        let (mut back, rx) = channel(slots);
        let wiring = Wiring {
            tx: Box::new(tx),
            rx: Box::new(rx),
            pool: pool.clone(),
            kind: Kind::Udp,
            size: 64,
            depth: slots,
        };
        let take = move || {
            let mut burst = Burst::new();
            sent.rx_burst(&mut burst, BURST);
            burst
        };
        let give = move |mut burst: Burst| back.tx_burst(&mut burst);
        (Generator::new(wiring).unwrap(), take, give)
    }

    fn tags(generator: &mut Generator) -> Vec<u64> {
        let mut tags = Vec::new();
        let n = generator.receive(&mut |tag| tags.push(tag)).unwrap();
        assert_eq!(n, tags.len());
        tags
    }

    #[test]
    fn each_frame_counts_once_whatever_order_it_comes_in() {
        let pool = pool(256);
        let (mut g, mut take, mut give) = generator(&pool, 64);
        for tag in [7, 8, 9] {
            assert!(g.send(tag));
        }
        g.flush().unwrap();
        let mut burst = take();
        assert_eq!((burst.len(), g.in_flight()), (3, 3));
        burst.as_mut_slice().swap(0, 2);
        let mut twice = Burst::new();
        let mut copy = pool.alloc().unwrap();
        copy.extend_from_slice(burst.as_slice()[1].data()).unwrap();
        twice.push(copy).unwrap();
        give(burst);
        give(twice);
        assert_eq!(tags(&mut g), [9, 8, 7]);
        assert_eq!((g.in_flight(), g.strays().late.get(), g.strays().foreign.get()), (0, 1, 0));
    }

    #[test]
    fn frames_of_others_are_counted_and_ignored() {
        let pool = pool(256);
        let (mut g, _take, mut give) = generator(&pool, 64);
        let mut burst = Burst::new();
        let mut packet = pool.alloc().unwrap();
        packet.extend_from_slice(&[0xff; 64]).unwrap();
        burst.push(packet).unwrap();
        give(burst);
        assert!(tags(&mut g).is_empty());
        assert_eq!(g.strays().foreign.get(), 1);
    }

    #[test]
    fn what_is_given_up_counts_as_lost_and_never_again() {
        let pool = pool(256);
        let (mut g, mut take, mut give) = generator(&pool, 64);
        assert!(g.send(1) && g.send(2));
        g.flush().unwrap();
        let late = take();
        assert_eq!(g.give_up().unwrap(), 2);
        assert!(g.send(3));
        g.flush().unwrap();
        give(late);
        give(take());
        assert_eq!(tags(&mut g), [3]);
        assert_eq!((g.in_flight(), g.strays().late.get()), (0, 2));
    }

    #[test]
    fn what_the_port_does_not_take_waits_and_nothing_more_is_sent() {
        let pool = pool(256);
        let (mut g, mut take, mut give) = generator(&pool, 4);
        let sent = (0..10).take_while(|tag| g.send(*tag)).count();
        g.flush().unwrap();
        assert_eq!(sent, 10, "before it is asked, the port has refused nothing");
        assert!(!g.send(10) && g.in_flight() == 10);
        let mut all = Vec::new();
        for _ in 0..3 {
            give(take());
            all.extend(tags(&mut g));
        }
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert!(g.send(10));
    }

    #[test]
    fn with_no_buffer_left_nothing_is_sent() {
        let pool = pool(64);
        let (mut g, _take, _give) = generator(&pool, 256);
        let mut sent = 0;
        while g.send(sent) {
            sent += 1;
            g.flush().unwrap();
        }
        assert!((32..=64).contains(&sent), "{sent}");
        drop(g);
    }

    #[test]
    fn numbers_go_round() {
        let pool = pool(256);
        let (mut g, mut take, mut give) = generator(&pool, 64);
        (g.next, g.oldest) = (u32::MAX, u32::MAX);
        assert!(g.send(1) && g.send(2));
        g.flush().unwrap();
        give(take());
        assert_eq!(tags(&mut g), [1, 2]);
        // After so many that the oldest, which nobody gave up, seems to be ahead.
        (g.next, g.oldest) = (1 << 31, 0);
        assert!(g.send(3) && g.send(4));
        g.flush().unwrap();
        give(take());
        assert_eq!(tags(&mut g), [3, 4]);
    }

    #[test]
    fn a_frame_that_fits_no_buffer_is_refused() {
        let pool = pool(64);
        for size in [SHORTEST - 1, pool.data_capacity() + 1] {
            let (tx, _) = channel(4);
            let (_, rx) = channel(4);
            let (tx, rx) = (Box::new(tx), Box::new(rx));
            let wiring = Wiring { tx, rx, pool: pool.clone(), kind: Kind::Udp, size, depth: 4 };
            assert!(matches!(Generator::new(wiring), Err(BenchError::Frame { .. })), "{size}");
        }
    }

    #[test]
    fn a_wire_that_ends_in_nothing_loses_all_in_either_loop() {
        let pool = pool(2048);
        let (mut g, mut take, _give) = generator(&pool, 1024);
        let length = Duration::from_millis(20);
        for shape in [
            Shape::Closed { depth: 4 },
            Shape::Open { rate: 10_000.0, arrivals: crate::record::Arrivals::Constant },
        ] {
            let load = Load { shape, warm: Duration::ZERO, length, seed: 1, overhead_ns: 0 };
            let outcome = apply(&mut g, &load).unwrap();
            assert!(outcome.sent > 0 && outcome.lost == outcome.sent && outcome.done == 0, "{outcome:?}");
            while !take().is_empty() {}
        }
    }
}
