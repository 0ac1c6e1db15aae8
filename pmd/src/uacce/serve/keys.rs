//! Keys of one process that were prepared, by their bytes.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use super::engines::Engines;
use crate::device::SessionId;

/// The most keys of one process.
const MOST: usize = 64;

struct Key {
    bytes: Zeroizing<Vec<u8>>,
    /// `None`: it was let go of, and its place is free.
    session: Option<SessionId>,
    /// Requests that use it.
    in_use: u32,
    /// When it was used last.
    used: u64,
}

impl Key {
    fn is_unused(&self) -> bool {
        self.in_use == 0 && self.session.is_some()
    }
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
        let is_it = |key: &Key| key.session.is_some() && verify_slices_are_equal(&key.bytes, bytes).is_ok();
        let place = match self.keys.get(self.last) {
            Some(key) if is_it(key) => self.last,
            _ => self.keys.iter().position(is_it)?,
        };
        self.take(place)
    }

    fn take(&mut self, place: usize) -> Option<(usize, SessionId)> {
        self.now += 1;
        self.last = place;
        let key = &mut self.keys[place];
        key.in_use += 1;
        key.used = self.now;
        Some((place, key.session?))
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
        let key = Key { bytes, session: Some(session), in_use: 0, used: 0 };
        let place = match self.keys.iter().position(|key| key.session.is_none()) {
            Some(free) => free,
            None if self.keys.len() < MOST => {
                self.keys.push(Key { bytes: Zeroizing::default(), session: None, in_use: 0, used: 0 });
                self.keys.len() - 1
            }
            None => match self.drop_oldest(engines) {
                Some(place) => place,
                None => {
                    engines.forget(session);
                    return None;
                }
            },
        };
        self.keys[place] = key;
        self.take(place)
    }

    /// Lets go of the key that was not used for the longest time, and says where it was. `None`: all are in use.
    pub(super) fn drop_oldest(&mut self, engines: &Engines) -> Option<usize> {
        let unused = self.keys.iter().enumerate().filter(|(_, key)| key.is_unused());
        let (place, _) = unused.min_by_key(|(_, key)| key.used)?;
        let key = &mut self.keys[place];
        engines.forget(key.session.take()?);
        key.bytes = Zeroizing::default();
        Some(place)
    }

    /// A request does not use it any more.
    #[inline]
    pub(super) fn done(&mut self, place: usize) {
        self.keys[place].in_use -= 1;
    }

    /// Whether another one can be kept.
    pub(super) fn has_room(&self) -> bool {
        self.keys.len() < MOST || self.keys.iter().any(|key| key.in_use == 0)
    }

    /// How many are not in use.
    pub(super) fn unused(&self) -> usize {
        self.keys.iter().filter(|key| key.is_unused()).count()
    }

    /// Lets go of all of them.
    pub(super) fn clear(&mut self, engines: &Engines) {
        for key in self.keys.drain(..) {
            key.session.into_iter().for_each(|session| engines.forget(session));
        }
    }
}
