//! Keys of one process that were prepared, by their bytes.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use super::engines::Engines;
use crate::device::SessionId;

/// The most keys of one process.
const MOST: usize = 32;

struct Key {
    bytes: Zeroizing<Vec<u8>>,
    session: SessionId,
    /// Requests that use it.
    in_use: u32,
    /// When it was used last.
    used: u64,
}

/// The keys of a process.
#[derive(Default)]
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Where the last one was found: mostly the next one too.
    last: usize,
    now: u64,
}

impl Keys {
    /// The session of a key, and where it is: it is in use until [`done`](Self::done).
    #[inline]
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<(usize, SessionId)> {
        let is_it = |key: &Key| verify_slices_are_equal(&key.bytes, bytes).is_ok();
        let place = match self.keys.get(self.last) {
            Some(key) if is_it(key) => self.last,
            _ => self.keys.iter().position(is_it)?,
        };
        Some(self.take(place))
    }

    fn take(&mut self, place: usize) -> (usize, SessionId) {
        self.now += 1;
        self.last = place;
        let key = &mut self.keys[place];
        key.in_use += 1;
        key.used = self.now;
        (place, key.session)
    }

    /// Keeps a new one, in the place of that which was not used for the longest time. `None`: all are in use.
    pub(super) fn add(
        &mut self,
        bytes: Zeroizing<Vec<u8>>,
        session: SessionId,
        engines: &Engines,
    ) -> Option<(usize, SessionId)> {
        // Several requests may have had it made at once.
        if let Some(found) = self.find(&bytes) {
            engines.forget(session);
            return Some(found);
        }
        let key = Key { bytes, session, in_use: 0, used: 0 };
        let place = if self.keys.len() < MOST {
            self.keys.push(key);
            self.keys.len() - 1
        } else {
            let unused = self.keys.iter().enumerate().filter(|(_, key)| key.in_use == 0);
            let Some((place, _)) = unused.min_by_key(|(_, key)| key.used) else {
                engines.forget(session);
                return None;
            };
            engines.forget(std::mem::replace(&mut self.keys[place], key).session);
            place
        };
        Some(self.take(place))
    }

    /// A request does not use it any more.
    #[inline]
    pub(super) fn done(&mut self, place: usize) {
        self.keys[place].in_use -= 1;
    }

    /// Lets go of all of them.
    pub(super) fn clear(&mut self, engines: &Engines) {
        for key in self.keys.drain(..) {
            engines.forget(key.session);
        }
    }
}
