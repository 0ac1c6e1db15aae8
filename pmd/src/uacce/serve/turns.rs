//! The order in which an engine gets requests: each queue has its share of the engine's time, whatever it asks for.
//!
//! Self-clocked fair queueing (Golestani, INFOCOM 1994), with the time that a request will take as its length: whoever's share of the
//! engine would have done it first goes first. A queue that was idle does not save its turns up, and one that is new has no more than others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::device::Request;
use crate::engine::zip::MAX_LEVEL;
use crate::uacce::abi::hpre::Algorithm;

/// As much as the engine has at once, in nanoseconds: enough to fill its lanes, little for others to wait for.
const MOST: u64 = 8_000_000;

/// What a queue has used of its engine: the time at which its last request ends, if it has its share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent(u64);

/// Requests that wait for an engine.
pub(super) struct Turns {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// The end of the turn that began last.
    now: u64,
    /// Requests so far: those of the same turn go in the order in which they came.
    count: u64,
    /// What the engine has, in nanoseconds.
    load: u64,
}

struct Waiting {
    /// When it would be done, if its queue has its share.
    end: u64,
    count: u64,
    cost: u64,
    request: Request,
}

impl Waiting {
    fn order(&self) -> (u64, u64) {
        (self.end, self.count)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), now: 0, count: 0, load: 0 }
    }

    /// Makes room for so many requests: so that none is made later.
    pub(super) fn reserve(&mut self, requests: usize) {
        self.waiting.reserve(requests.saturating_sub(self.waiting.len()));
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A request of a queue that has spent so much, and has `weight` shares.
    #[inline]
    pub(super) fn push(&mut self, request: Request, cost: u64, spent: &mut Spent, weight: u64) {
        spent.0 = spent.0.max(self.now) + cost / weight;
        self.count += 1;
        self.waiting.push(Reverse(Waiting { end: spent.0, count: self.count, cost, request }));
    }

    /// The next one for the engine, unless it has enough. An engine that has nothing gets one in any case.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Request> {
        let Reverse(next) = self.waiting.peek()?;
        if self.load > 0 && self.load + next.cost > MOST {
            return None;
        }
        let Reverse(next) = self.waiting.pop()?;
        self.now = self.now.max(next.end);
        self.load += next.cost;
        Some(next.request)
    }

    /// The engine is done with what costs so much.
    #[inline]
    pub(super) fn done(&mut self, cost: u64) {
        self.load -= cost;
    }
}

/// About the time of an RSA operation in a full batch, in nanoseconds. `exponent` has so many bits, if it is no CRT key.
pub(super) fn rsa(algorithm: Algorithm, operand: usize, exponent: usize) -> u64 {
    // 0.32 and 23 ms at 4096 bits.
    let (most, bits) = match algorithm {
        Algorithm::Crt => (320_000, 4096),
        Algorithm::NoCrt => (23_000_000, 512 * exponent as u64 / (operand as u64).max(1)),
    };
    let size = operand as u64;
    (most * size * size / (512 * 512) * size / 512 * bits / 4096).max(1_000)
}

/// About the time of a ZIP request, in nanoseconds.
pub(super) fn zip(compress: bool, level: u8, input: u32, room: u32) -> u64 {
    /// Nanoseconds a byte, by level.
    const COMPRESS: [u64; MAX_LEVEL as usize + 1] = [1, 3, 4, 5, 6, 8, 10, 14, 20, 28, 60, 90, 130];
    let bytes = match compress {
        true => u64::from(input) * COMPRESS[usize::from(level.min(MAX_LEVEL))],
        // A bit becomes 258 bytes at most; and input that becomes nothing takes its time as well.
        false => u64::from(room).min(u64::from(input) * 2064).max(u64::from(input) * 10),
    };
    bytes + 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Segment, SessionId};

    const BIG: u64 = 100_000_000;
    const SMALL: u64 = 10_000;

    fn request(tag: u64) -> Request {
        let none = Segment::default();
        // SAFETY: no memory is named.
        unsafe { Request::raw(SessionId(0), none, none, none) }.with_tag(tag)
    }

    /// Tags in the order of their turns, of an engine that does one at a time.
    fn all(turns: &mut Turns, cost: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(request) = turns.pop() {
            order.push(request.tag);
            turns.done(cost(request.tag));
        }
        assert!(turns.is_empty() && turns.load == 0);
        order
    }

    #[test]
    fn who_comes_later_and_asks_for_little_goes_before_what_others_have_waiting() {
        let mut turns = Turns::new();
        let (mut greedy, mut modest) = (Spent::default(), Spent::default());
        (0..8).for_each(|_| turns.push(request(0), BIG, &mut greedy, 1));
        assert_eq!(turns.pop().map(|r| r.tag), Some(0));
        (0..50).for_each(|_| turns.push(request(1), SMALL, &mut modest, 1));
        assert!(turns.pop().is_none(), "the engine has enough");
        turns.done(BIG);
        let order = all(&mut turns, |tag| [BIG, SMALL][tag as usize]);
        assert_eq!(order[..50], [1; 50]);
        assert_eq!(order[50..], [0; 7]);
    }

    #[test]
    fn queues_that_are_always_new_have_no_more_than_others() {
        let mut turns = Turns::new();
        let mut old = Spent::default();
        (0..20).for_each(|_| turns.push(request(0), SMALL, &mut old, 1));
        let mut order = Vec::new();
        turns.push(request(1), SMALL, &mut Spent::default(), 1);
        while let Some(next) = turns.pop() {
            turns.done(SMALL);
            order.push(next.tag);
            if next.tag == 1 && order.len() < 40 {
                turns.push(request(1), SMALL, &mut Spent::default(), 1);
            }
        }
        let of_old = order[..20].iter().filter(|tag| **tag == 0).count();
        assert!((9..=11).contains(&of_old), "{order:?}");
    }

    #[test]
    fn shares_are_by_weight_and_nobody_saves_them_up() {
        let mut turns = Turns::new();
        let mut spent = [Spent::default(); 2];
        // The second one was idle all that time.
        for _ in 0..100 {
            turns.push(request(0), SMALL, &mut spent[0], 1);
        }
        assert_eq!(all(&mut turns, |_| SMALL).len(), 100);
        for _ in 0..40 {
            turns.push(request(0), SMALL, &mut spent[0], 1);
            turns.push(request(1), SMALL, &mut spent[1], 3);
        }
        let order = all(&mut turns, |_| SMALL);
        let of_second = order[..40].iter().filter(|tag| **tag == 1).count();
        assert!((28..=32).contains(&of_second), "{of_second} of 40");
    }

    #[test]
    fn requests_of_a_queue_stay_in_order() {
        let mut turns = Turns::new();
        let mut spent = Spent::default();
        (0..100).for_each(|tag| turns.push(request(tag), tag % 3, &mut spent, 8));
        assert!(all(&mut turns, |tag| tag % 3).is_sorted());
    }

    #[test]
    fn an_engine_gets_enough_for_its_lanes() {
        let mut turns = Turns::new();
        let cost = rsa(Algorithm::Crt, 256, 0);
        let mut spent = Spent::default();
        (0..100).for_each(|tag| turns.push(request(tag), cost, &mut spent, 1));
        assert_eq!(std::iter::from_fn(|| turns.pop()).count(), 100);
    }

    #[test]
    fn times_are_about_right() {
        assert_eq!(rsa(Algorithm::Crt, 256, 0), 40_000);
        assert_eq!(rsa(Algorithm::NoCrt, 512, 4096), 23_000_000);
        assert!(rsa(Algorithm::NoCrt, 256, 17) < 30_000);
        assert!(zip(true, 1, 16384, 0) < 100_000 && zip(true, 12, 8 << 20, 0) > 1_000_000_000);
        assert!(zip(false, 1, 10, 8 << 20) < 30_000, "ten bytes do not become more");
        assert!(zip(false, 1, 1 << 20, 8 << 20) > 8_000_000);
    }
}
