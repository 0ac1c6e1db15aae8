//! The requests that an engine chooses from.

use arrayvec::ArrayVec;

use super::MAX_BATCH;
use super::sessions::Table;
use crate::device::{Request, Stream};

/// Names a request as long as it is there.
pub(super) type Slot = u8;

const SLOTS: usize = MAX_BATCH;

/// Up to [`MAX_BATCH`] requests in the order in which they came in. A request stays in its slot until its completion
/// is made, so that none is lost if a panic comes in between.
pub(super) struct Window {
    requests: Box<[Option<Request>; SLOTS]>,
    /// The place of each request's queue.
    queues: [usize; SLOTS],
    /// Slots of those that wait: the oldest first.
    order: ArrayVec<Slot, SLOTS>,
    /// Slots without a request.
    free: ArrayVec<Slot, SLOTS>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            requests: Box::new([const { None }; SLOTS]),
            queues: [0; SLOTS],
            order: ArrayVec::new(),
            free: (0..SLOTS as Slot).rev().collect(),
        }
    }

    /// How many wait to be chosen.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    #[inline]
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// Takes a request in. There must be room.
    #[inline]
    pub(super) fn push(&mut self, queue: usize, request: Request) {
        let slot = self.free[self.free.len() - 1];
        self.queues[at(slot)] = queue;
        self.requests[at(slot)] = Some(request);
        self.free.truncate(self.free.len() - 1);
        self.order.push(slot);
    }

    /// Takes those whose bit is set out of the order; their requests are still there.
    #[inline]
    pub(super) fn choose(&mut self, chosen: u64) -> ArrayVec<Slot, MAX_BATCH> {
        let n = chosen.count_ones() as usize;
        if chosen.trailing_ones() as usize == n {
            return self.order.drain(..n).collect();
        }
        let mut taken = ArrayVec::new();
        let mut place = 0;
        self.order.retain(|slot| {
            let take = chosen >> place & 1 == 1;
            place += 1;
            if take {
                taken.push(*slot);
            }
            !take
        });
        taken
    }

    /// One that is there.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&Request> {
        self.requests[at(slot)].as_ref()
    }

    /// The place of its queue.
    #[inline]
    pub(super) fn queue(&self, slot: Slot) -> usize {
        self.queues[at(slot)]
    }

    /// Takes the stream out of a chosen one, to be put back soon.
    #[inline]
    pub(super) fn take_stream(&mut self, slot: Slot) -> Option<Stream> {
        self.requests[at(slot)].as_mut()?.take_stream()
    }

    pub(super) fn put_stream(&mut self, slot: Slot, stream: Stream) {
        if let Some(request) = &mut self.requests[at(slot)] {
            request.put_stream(stream);
        }
    }

    /// Takes a chosen one out for good.
    #[inline]
    pub(super) fn take(&mut self, slot: Slot) -> Option<Request> {
        let request = self.requests[at(slot)].take()?;
        self.free.push(slot);
        Some(request)
    }

    /// The bits of those that `which` is true of, from number `first` on.
    #[inline]
    pub(super) fn bits(&self, first: usize, which: impl Fn(&Request) -> bool) -> u64 {
        let is = |slot: Slot| u64::from(self.get(slot).is_some_and(&which));
        (first..self.order.len()).fold(0, |bits, place| bits | is(self.order[place]) << place)
    }

    /// Every request that is there, waiting or chosen, whatever happened before, with the place of its queue.
    pub(super) fn clear(&mut self, mut each: impl FnMut(usize, Request)) {
        self.order.clear();
        for (request, queue) in self.requests.iter_mut().zip(&self.queues) {
            if let Some(request) = request.take() {
                each(*queue, request);
            }
        }
        self.free = (0..SLOTS as Slot).rev().collect();
    }

    /// Drops the requests of a queue, whose place is then taken by the one behind it, and so on.
    pub(super) fn forget(&mut self, queue: usize) {
        let Self { requests, queues, order, free } = self;
        order.retain(|slot| queues[at(*slot)] != queue);
        for slot in 0..SLOTS as Slot {
            if queues[at(slot)] == queue && requests[at(slot)].take().is_some() {
                free.push(slot);
            }
        }
        queues.iter_mut().filter(|q| **q > queue).for_each(|q| *q -= 1);
    }
}

/// The slot's index. All there are, so that the compiler need not check it.
#[inline]
fn at(slot: Slot) -> usize {
    usize::from(slot) % SLOTS
}

/// The requests that wait for an engine: of all queues that it serves, up to 64, in the order in which they reached it,
/// which within a queue is that of sending.
pub struct Waiting<'a, S> {
    pub(super) window: &'a Window,
    pub(super) sessions: &'a Table<S>,
    pub(super) now: u64,
    pub(super) draining: bool,
}

impl<'a, S> Waiting<'a, S> {
    /// How many there are; at least one when an engine is asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of input of number `i`, or 0 beyond the last.
    #[must_use]
    pub fn src_len(&self, i: usize) -> usize {
        let slot = self.window.order.get(i).copied();
        slot.and_then(|slot| self.window.get(slot)).map_or(0, |request| request.src_len() as usize)
    }

    /// The session of number `i`; 0 is the oldest. `None` beyond the last, and if the session is gone (when an engine
    /// is asked, such requests are answered already).
    #[must_use]
    pub fn session(&self, i: usize) -> Option<&'a S> {
        self.sessions.get(self.request(i)?.session)
    }

    /// [Ticks](crate::clock) since number `i` was sent; 0 beyond the last.
    #[must_use]
    pub fn age(&self, i: usize) -> u64 {
        self.request(i).map_or(0, |r| self.now.saturating_sub(r.sent))
    }

    /// Whether nothing more comes, so that waiting for it is in vain: the device is being closed.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining
    }

    /// The bits of the `n` oldest, or of all if there are fewer.
    #[must_use]
    #[inline]
    pub fn oldest(&self, n: usize) -> u64 {
        match n.min(self.len()) {
            0 => 0,
            n => u64::MAX >> (64 - n),
        }
    }

    fn request(&self, i: usize) -> Option<&'a Request> {
        self.window.get(*self.window.order.get(i)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Segment, SessionId};

    /// Of the queue that the hundreds say.
    fn push(window: &mut Window, tag: u64) {
        let none = Segment::default();
        // SAFETY: it has no memory.
        let request = unsafe { Request::raw(SessionId(0), none, none, none) };
        window.push(tag as usize / 100, request.with_tag(tag));
    }

    fn tags(window: &Window) -> Vec<u64> {
        window.order.iter().map(|s| window.get(*s).unwrap().tag).collect()
    }

    fn take(window: &mut Window, chosen: u64) -> Vec<u64> {
        let slots = window.choose(chosen);
        slots.iter().map(|s| window.take(*s).unwrap().tag).collect()
    }

    #[test]
    fn any_choice_comes_out_in_order_and_the_rest_keeps_its() {
        let mut window = Window::new();
        (0..64).for_each(|tag| push(&mut window, tag));
        assert_eq!((window.len(), window.room()), (64, 0));
        assert_eq!(take(&mut window, 0b111), [0, 1, 2], "the oldest");
        assert_eq!(take(&mut window, 1 << 60 | 0b1010), [4, 6, 63]);
        assert_eq!(tags(&window)[..4], [3, 5, 7, 8]);
        assert_eq!((window.len(), window.room()), (58, 6));
        push(&mut window, 64);
        assert_eq!(tags(&window).last(), Some(&64));
        assert_eq!(take(&mut window, (1 << 59) - 1).len(), 59);
        assert_eq!((window.len(), window.room()), (0, 64));
        assert!(take(&mut window, 0).is_empty());
    }

    #[test]
    fn a_queue_that_goes_takes_its_own_requests_and_those_behind_move_up() {
        let mut window = Window::new();
        [0, 100, 200, 1, 101, 201].into_iter().for_each(|tag| push(&mut window, tag));
        window.forget(1);
        assert_eq!(tags(&window), [0, 200, 1, 201]);
        let queues = window.order.iter().map(|s| window.queue(*s));
        assert_eq!(queues.collect::<Vec<_>>(), [0, 1, 0, 1]);
    }

    #[test]
    fn clearing_finds_those_that_were_chosen_too() {
        let mut window = Window::new();
        (0..10).for_each(|tag| push(&mut window, tag));
        let chosen = window.choose(0b11_0000_0011);
        assert_eq!(window.take(chosen[0]).unwrap().tag, 0);
        let mut found = Vec::new();
        window.clear(|_, r| found.push(r.tag));
        found.sort_unstable();
        assert_eq!(found, (1..10).collect::<Vec<_>>());
        assert_eq!((window.len(), window.room()), (0, 64));
    }
}
