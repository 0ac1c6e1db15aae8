//! How a queue whose device has gone is had again, when the device is back.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::Channel;
use crate::engine::meter::SharedMeter;
use crate::uacce::driver::{Driver, Parts};
use crate::uacce::error::UacceError;
use crate::uacce::keeper::{Attempt, FIRST, longer};

/// A queue that has lived for so long is no reason to be slow with the next.
const OLD: Duration = Duration::from_secs(10);

/// Where the next queue will be, if there is one.
pub(super) type Next<D> = Arc<ArrayQueue<Channel<D>>>;

impl<D: Driver> Channel<D> {
    /// Has the device's keeper open another queue. This one has nothing open any more.
    pub(super) fn ask_for_next(&mut self) {
        let state = &mut *self.kept;
        let next = Arc::new(ArrayQueue::new(1));
        let order = Order {
            parts: Arc::clone(&state.parts),
            depth: self.depth,
            meter: Arc::clone(&state.meter),
            place: Arc::downgrade(&next),
        };
        let pause = if state.opened.elapsed() > OLD { FIRST } else { state.pause };
        state.parts.keeper.ask(pause, move |pause| order.attempt(pause));
        state.next = Some(next);
    }

    /// Becomes the next queue, if it is there. What is to be given back still is.
    #[cold]
    pub(super) fn become_next(&mut self) {
        let Some(mut next) = self.kept.next.as_ref().and_then(|next| next.pop()) else { return };
        std::mem::swap(&mut next.kept.done, &mut self.kept.done);
        next.in_flight = self.in_flight;
        *self = next;
    }
}

/// What is needed for another queue like one that was lost.
struct Order<D: Driver> {
    parts: Arc<Parts<D::Session>>,
    depth: usize,
    meter: SharedMeter,
    place: Weak<ArrayQueue<Channel<D>>>,
}

impl<D: Driver> Order<D> {
    fn attempt(&self, pause: Duration) -> Attempt {
        if self.place.strong_count() == 0 {
            return Attempt::Unwanted;
        }
        let channel = match self.open() {
            Ok(channel) => channel,
            Err(cause) => return Attempt::Failed(cause),
        };
        let Some(place) = self.place.upgrade() else { return Attempt::Unwanted };
        // It is the only one.
        let _ = place.push(channel.slower(longer(pause)));
        Attempt::Done
    }

    fn open(&self) -> Result<Channel<D>, UacceError> {
        let parts = &self.parts;
        let now = parts.opener.look(&parts.info)?;
        if let Some(what) = parts.info.difference(&now) {
            return Err(UacceError::Changed { device: parts.info.name.clone(), what });
        }
        Channel::open(parts, self.depth, Arc::clone(&self.meter))
    }
}

impl<D: Driver> Channel<D> {
    /// If it is lost soon, the next one is to come later.
    fn slower(mut self, pause: Duration) -> Self {
        self.kept.pause = pause;
        self
    }
}
