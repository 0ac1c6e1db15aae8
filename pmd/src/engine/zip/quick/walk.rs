//! The walk over the data: at each position that is not inside a match the first match found is taken, unless
//! the next position has a longer one.
//!
//! Inside a match a few positions are entered, the same few for all matches of a kind, so that there is no
//! loop to mispredict: its first ones, and of a long match its last ones.

use std::hint::select_unpredictable;

use super::load::{common, eight, same};
use super::matches::{Finder, READ, hashes};
use super::parse::{LEAST, Scope};
use super::tokens::Tokens;

/// How far before the stop a walk must end: a step searches and enters up to eight positions behind its own.
pub(super) const MARGIN: usize = 2 * READ;
/// How many of a long match's last positions are entered, in large data and in small data, whose time goes
/// elsewhere.
const LAST_OF_LARGE: usize = 4;
const LAST_OF_SMALL: usize = 8;
/// The fewest bits of the long table's hash that tell large data.
const LARGE: u32 = 15;

/// The tables with hashes of `LONG` and `SHORT` bits, over the data. `ALONE` as the finder says.
struct Tables<'a, const LONG: u32, const SHORT: u32, const ALONE: bool> {
    data: &'a [u8],
    finder: &'a mut Finder,
    base: u16,
}

impl<const LONG: u32, const SHORT: u32, const ALONE: bool> Tables<'_, LONG, SHORT, ALONE> {
    #[inline(always)]
    fn position(&self, at: usize) -> u16 {
        if ALONE { at as u16 } else { self.base.wrapping_add(at as u16) }
    }

    /// Where an entry says that the bytes at `at` were last: where there are eight bytes, if there are eight
    /// at `at`.
    #[inline(always)]
    fn guess(&self, at: usize, entry: u16) -> usize {
        if ALONE {
            // Eight bytes are there: that is what being alone means.
            return usize::from(entry);
        }
        let distance = usize::from(self.position(at).wrapping_sub(entry));
        at - select_unpredictable(distance <= at, distance, 0)
    }

    /// The guesses of the long and of the short table for `bytes`, which are those at `at`.
    #[inline(always)]
    fn guesses(&self, bytes: u64, at: usize) -> (usize, usize) {
        let (long, short) = hashes::<LONG, SHORT>(bytes);
        (self.guess(at, self.finder.long[long]), self.guess(at, self.finder.short[short]))
    }

    /// Enters `bytes`, which are those at `at`.
    #[inline(always)]
    fn enter(&mut self, bytes: u64, at: usize) {
        let (long, short) = hashes::<LONG, SHORT>(bytes);
        (self.finder.long[long], self.finder.short[short]) = (self.position(at), self.position(at));
    }

    /// Enters each of `range`.
    ///
    /// # Safety
    /// There are eight bytes at each.
    #[inline(always)]
    unsafe fn enter_all(&mut self, range: std::ops::Range<usize>) {
        for at in range {
            // SAFETY: the caller's promise.
            self.enter(unsafe { eight(self.data, at) }, at);
        }
    }

    /// Enters the positions inside the match of `len` bytes at `at` that are worth it; `end` as in `walk`.
    ///
    /// # Safety
    /// There are 16 bytes at `at`, and at `end`.
    #[inline(always)]
    unsafe fn enter_inside(&mut self, at: usize, len: usize, end: usize) {
        // SAFETY: the last one is at + 7. Each step is unrolled.
        unsafe { self.enter_all(at + 1..at + LEAST) };
        if len < READ {
            for i in LEAST..READ - 1 {
                let inside = at + i.min(len - 1);
                // SAFETY: the last one is at + 6.
                unsafe { self.enter_all(inside..inside + 1) };
            }
            return;
        }
        // SAFETY: the last one is at + 7.
        unsafe { self.enter_all(at + LEAST..at + READ) };
        if at + len < end {
            let first = if LONG >= LARGE { len - LAST_OF_LARGE } else { READ.max(len - LAST_OF_SMALL) };
            // SAFETY: all are before `end`.
            unsafe { self.enter_all(at + first..at + len) };
        }
    }
}

/// Walks from `start` to `end`, which is `MARGIN` before the scope's stop or earlier, or a little farther.
/// Returns where.
///
/// Without `FAR` no distance is checked: the data are alone, `start` is not 0, and `end` is not behind the
/// window. With `PRIMED` the scope's dictionary is searched too.
#[inline(never)]
pub(super) fn walk<
    const LONG: u32,
    const SHORT: u32,
    const ALONE: bool,
    const FAR: bool,
    const PRIMED: bool,
>(
    scope: &Scope<'_>,
    start: usize,
    end: usize,
    finder: &mut Finder,
    tokens: &mut Tokens,
) -> usize {
    assert!(
        start >= end
            || end + MARGIN <= scope.stop && scope.stop <= scope.data.len() && ALONE == finder.alone()
    );
    let data = scope.data;
    // Of a distance less one, the bits that the window rules out; a distance of zero has them too.
    let far = !(scope.window - 1);
    let beyond = |at: usize, from: usize| (at.wrapping_sub(from + 1) & far) as u64;
    let base = finder.position(0);
    let mut tables = Tables::<LONG, SHORT, ALONE> { data, finder, base };
    let mut at = start;
    while at < end {
        // SAFETY: there are MARGIN bytes at `at`, so eight there and at the guesses.
        let bytes = unsafe { eight(data, at) };
        let (long, short) = tables.guesses(bytes, at);
        tables.enter(bytes, at);
        // SAFETY: as above.
        let (mut a, mut b) = unsafe { (eight(data, long) ^ bytes, eight(data, short) ^ bytes) };
        if FAR {
            (a, b) = (a | beyond(at, long), b | beyond(at, short));
        }
        // Where the match is, and in what its first eight bytes differ.
        let (from, differ);
        if a == 0 {
            (from, differ) = (long, a);
        } else if b as u32 == 0 {
            // SAFETY: there are MARGIN bytes at `at`, so eight at the next position and at the guesses for
            // it.
            let bytes_next = unsafe { eight(data, at + 1) };
            let guesses = tables.guesses(bytes_next, at + 1);
            let next = if LONG >= LARGE { guesses.0 } else { guesses.1 };
            // SAFETY: as above.
            let c = unsafe { eight(data, next) } ^ bytes_next | beyond(at + 1, next);
            if same(c) > same(b) {
                tables.enter(bytes_next, at + 1);
                tokens.push_literal(bytes as u8);
                at += 1;
                (from, differ) = (next, c);
            } else {
                (from, differ) = (short, b);
            }
        } else {
            if PRIMED && let Some(found) = scope.in_dictionary(bytes, at) {
                tokens.push_match(found.len, found.distance);
                at += found.len;
                continue;
            }
            tokens.push_literal(bytes as u8);
            at += 1;
            continue;
        }
        let len = if differ == 0 {
            READ + common(&scope.rest(at)[READ..], &data[from + READ..])
        } else {
            same(differ)
        };
        // SAFETY: `at` is at most `end`, and MARGIN bytes are there.
        unsafe { tables.enter_inside(at, len, end) };
        tokens.push_match(len, at - from);
        at += len;
    }
    at
}
