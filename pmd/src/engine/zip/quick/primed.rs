//! A preset dictionary, hashed once.

#![forbid(unsafe_code)]

use super::load::common;
use super::matches::{READ, hashes};
use super::parse::LEAST;
use super::symbols::WIDEST;

const LONG_BITS: u32 = 15;
const SHORT_BITS: u32 = 14;

/// A preset dictionary and where in it each hash comes last: made once, shared by many encoders.
pub struct Primed {
    /// Followed by bytes that are not part of it, as many as are read at once.
    dictionary: Box<[u8]>,
    len: usize,
    long: Box<[u16; 1 << LONG_BITS]>,
    short: Box<[u16; 1 << SHORT_BITS]>,
}

/// A match.
pub(super) struct InDictionary {
    pub(super) len: usize,
    pub(super) distance: usize,
}

impl std::fmt::Debug for Primed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primed").finish_non_exhaustive()
    }
}

impl Primed {
    /// Of a longer dictionary the last 32 KiB count.
    #[must_use]
    pub fn new(dictionary: &[u8]) -> Self {
        let used = &dictionary[dictionary.len().saturating_sub(WIDEST)..];
        let mut padded = used.to_vec();
        padded.resize(used.len() + READ, 0);
        let (mut long, mut short) = (Box::new([0; 1 << LONG_BITS]), Box::new([0; 1 << SHORT_BITS]));
        // The last ones have neighbours for their hashes that a search rejects.
        for at in 0..used.len() {
            let (l, s) = hashes::<LONG_BITS, SHORT_BITS>(eight(&padded, at));
            (long[l], short[s]) = (at as u16, at as u16);
        }
        Self { dictionary: padded.into_boxed_slice(), len: used.len(), long, short }
    }

    /// A match in the dictionary for `rest`, which begins with `bytes` and is `at` bytes behind the
    /// dictionary's end: of eight bytes at least, or else of four.
    #[inline(always)]
    pub(super) fn find(&self, bytes: u64, rest: &[u8], at: usize, window: usize) -> Option<InDictionary> {
        let (long, short) = hashes::<LONG_BITS, SHORT_BITS>(bytes);
        let (long, short) = (usize::from(self.long[long]), usize::from(self.short[short]));
        let distance = |from: usize| at + self.len - from;
        let from = if eight(&self.dictionary, long) == bytes && distance(long) <= window {
            long
        } else if eight(&self.dictionary, short) as u32 == bytes as u32 && distance(short) <= window {
            short
        } else {
            return None;
        };
        let len = common(rest, &self.dictionary[from..self.len]);
        (len >= LEAST).then_some(InDictionary { len, distance: distance(from) })
    }
}

fn eight(padded: &[u8], at: usize) -> u64 {
    padded[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
