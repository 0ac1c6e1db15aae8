//! How a queue whose device has gone is had again, when the device is back.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use super::{Channel, Lane};
use crate::engine::meter::SharedMeter;
use crate::uacce::driver::{Driver, Parts};
use crate::uacce::error::UacceError;
use crate::uacce::keeper::{Attempt, FIRST, longer};

/// A queue that has lived for so long is no reason to be slow with the next.
const OLD: Duration = Duration::from_secs(10);

/// Where the next queue will be, if there is one.
pub(super) type Place<D> = Arc<ArrayQueue<Channel<D>>>;

/// How long after the loss of a queue the first attempt is made, if before it the last one was made after `pause`.
fn first_pause(lived: Duration, pause: Duration) -> Duration {
    if lived > OLD { FIRST } else { longer(pause) }
}

impl<D: Driver> Channel<D> {
    /// Has the device's keeper open another queue, for one that the device has nothing of any more.
    pub(super) fn ask_for_next(&mut self) {
        let state = &mut *self.kept;
        let place = Arc::new(ArrayQueue::new(1));
        let pause = state.opened.map_or(FIRST, |(since, pause)| first_pause(since.elapsed(), pause));
        let mut order = Order {
            parts: Arc::downgrade(&state.parts),
            depth: self.depth,
            meter: Arc::clone(&state.meter),
            lost: self.lanes.iter_mut().filter_map(Option::take).collect(),
            place: Arc::downgrade(&place),
        };
        state.parts.keeper.ask(pause, move |pause| order.attempt(pause));
        self.next = Some(place);
    }

    /// Becomes the next queue, if it is there. What is to be given back still is.
    #[cold]
    pub(super) fn become_next(&mut self) {
        let Some(mut next) = self.next.as_ref().and_then(|place| place.pop()) else { return };
        std::mem::swap(&mut next.kept.done, &mut self.kept.done);
        next.in_flight = self.in_flight;
        if let Some((since, _)) = &mut next.kept.opened {
            // It may have waited for long, unused.
            *since = Instant::now();
        }
        *self = next;
    }
}

/// What is needed for another queue like one that was lost. It keeps the device no longer than who uses it.
struct Order<D: Driver> {
    parts: Weak<Parts<D::Session>>,
    depth: usize,
    meter: SharedMeter,
    /// What was lost is closed before the first attempt: the next queue may need its place among those of the device.
    lost: Vec<Lane<D>>,
    place: Weak<ArrayQueue<Channel<D>>>,
}

impl<D: Driver> Order<D> {
    fn attempt(&mut self, pause: Duration) -> Attempt {
        // What the device was given it forgets with the file. To take it back, one by one, would be to wait for whatever else it does.
        self.lost.clear();
        let Some(parts) = self.parts.upgrade().filter(|_| self.place.strong_count() > 0) else {
            return Attempt::Unwanted;
        };
        let mut channel = match self.open(&parts) {
            Ok(channel) => channel,
            Err(cause) => return Attempt::Failed(cause),
        };
        channel.kept.opened = Some((Instant::now(), pause));
        // That of the lost queue replaces it; large memory is not for a worker to give back.
        channel.kept.done = VecDeque::new();
        let Some(place) = self.place.upgrade() else { return Attempt::Unwanted };
        // Before anybody can see it.
        parts.keeper.count_reopened();
        // It is empty: an order is done when it is filled, and each has a place of its own.
        let _ = place.push(channel);
        Attempt::Done
    }

    fn open(&self, parts: &Arc<Parts<D::Session>>) -> Result<Channel<D>, UacceError> {
        let now = parts.opener.look(&parts.info)?;
        if let Some(what) = parts.info.difference(&now) {
            return Err(UacceError::Changed { device: parts.info.name.clone(), what });
        }
        Channel::open(parts, self.depth, Arc::clone(&self.meter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_do_not_live_long_are_opened_ever_later_and_those_that_do_at_once() {
        let second = Duration::from_secs(1);
        let mut pause = FIRST;
        let pauses: Vec<_> = std::iter::repeat_with(|| {
            pause = first_pause(second, pause);
            pause.as_millis()
        })
        .take(6)
        .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(first_pause(11 * second, pause), FIRST);
    }
}
