//! From bytes to tokens: at each position that is not inside a match the first match found is taken.
//!
//! Inside a match a few positions are entered, the same few for all lengths of a kind, so that there is no loop to
//! mispredict: its first ones, and of a long match its last ones.

use std::hint::select_unpredictable;

use super::load::{common, eight, same};
use super::matches::{Finder, READ, Size, hashes};
use super::primed::Primed;
use super::symbols::LONGEST;
use super::tokens::Tokens;

/// Matches begin with four equal bytes, as these are hashed.
pub(super) const LEAST: usize = 4;
/// The last positions before the stop, which are searched with care: a step of the quick walk enters up to seven
/// positions behind its own.
const LAST: usize = 2 * READ;

/// What a search may look at.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) data: &'a [u8],
    /// Matches end here.
    pub(super) stop: usize,
    /// The greatest distance, a power of two.
    pub(super) window: usize,
    pub(super) primed: Option<&'a Primed>,
}

impl Scope<'_> {
    /// What a match at `at` may cover.
    #[inline(always)]
    fn rest(&self, at: usize) -> &[u8] {
        &self.data[at..self.stop.min(at + LONGEST)]
    }
}

/// Parses from `start` to the scope's stop.
pub(super) fn parse(scope: &Scope<'_>, start: usize, finder: &mut Finder, tokens: &mut Tokens) {
    match finder.size() {
        Size::Small => parse_sized::<10, 10>(scope, start, finder, tokens),
        Size::Medium => parse_sized::<12, 12>(scope, start, finder, tokens),
        Size::Large => parse_sized::<15, 14>(scope, start, finder, tokens),
    }
}

fn parse_sized<const LONG: u32, const SHORT: u32>(
    scope: &Scope<'_>,
    start: usize,
    finder: &mut Finder,
    tokens: &mut Tokens,
) {
    let end = scope.stop.saturating_sub(LAST);
    let mut at = start;
    if !finder.alone() {
        at = walk::<LONG, SHORT, false, true, false>(scope, at, end, finder, tokens);
    } else if scope.primed.is_some() {
        at = walk::<LONG, SHORT, true, true, true>(scope, at, end, finder, tokens);
    } else {
        if at == 0 && end > 0 {
            // The walk takes each guess for an earlier position, and there is none.
            tokens.push_literal(scope.data[0]);
            at = 1;
        }
        at = walk::<LONG, SHORT, true, false, false>(scope, at, end.min(scope.window), finder, tokens);
        at = walk::<LONG, SHORT, true, true, false>(scope, at, end, finder, tokens);
    }
    while at < scope.stop {
        at += last_step::<LONG, SHORT>(scope, at, finder, tokens);
    }
}

/// Walks to `end` or a little farther. `ALONE` as the finder says; `FAR` where distances may exceed the window, which is
/// in doubt for positions behind it only.
#[inline(never)]
fn walk<const LONG: u32, const SHORT: u32, const ALONE: bool, const FAR: bool, const PRIMED: bool>(
    scope: &Scope<'_>,
    start: usize,
    end: usize,
    finder: &mut Finder,
    tokens: &mut Tokens,
) -> usize {
    let data = scope.data;
    // Of a distance less one, the bits that the window rules out.
    let far = !(scope.window - 1);
    let base = finder.position(0);
    let position = |at: usize| if ALONE { at as u16 } else { base.wrapping_add(at as u16) };
    let guess = |at: usize, entry: u16| {
        if ALONE {
            return usize::from(entry);
        }
        let distance = usize::from(position(at).wrapping_sub(entry));
        at - select_unpredictable(distance <= at, distance, 0)
    };
    let (long, short) = (&mut finder.long, &mut finder.short);
    let mut at = start;
    macro_rules! enter {
        ($at:expr) => {{
            let at = $at;
            // SAFETY: TODO
            let (l, s) = hashes::<LONG, SHORT>(unsafe { eight(data, at) });
            (long[l], short[s]) = (position(at), position(at));
        }};
    }
    while at < end {
        // SAFETY: TODO
        let bytes = unsafe { eight(data, at) };
        let (l, s) = hashes::<LONG, SHORT>(bytes);
        let (far_back, back) = (guess(at, long[l]), guess(at, short[s]));
        (long[l], short[s]) = (position(at), position(at));
        // SAFETY: TODO
        let (mut a, mut b) = unsafe { (eight(data, far_back) ^ bytes, eight(data, back) ^ bytes) };
        let eight_equal = b == 0;
        if FAR || !ALONE {
            a |= (at.wrapping_sub(far_back + 1) & far) as u64;
        }
        if FAR || !ALONE {
            b |= (at.wrapping_sub(back + 1) & far) as u64;
        }
        let from = if a == 0 {
            far_back
        } else if b as u32 == 0 {
            back
        } else {
            if PRIMED
                && let Some((len, back)) =
                    scope.primed.and_then(|p| p.find(bytes, scope.rest(at), at, scope.window))
            {
                tokens.push_match(len, back);
                at += len;
                continue;
            }
            tokens.push_literal(bytes as u8);
            at += 1;
            continue;
        };
        let len;
        if a == 0 || eight_equal {
            len = READ + common(&scope.rest(at)[READ..], &data[from + READ..]);
            for i in 1..8 {
                enter!(at + i);
            }
            if at + len < end {
                for i in 1..5 {
                    enter!(at + len - i);
                }
            }
        } else {
            len = same(b);
            for i in 1..LEAST {
                enter!(at + i);
            }
            for i in LEAST..7 {
                enter!(at + i.min(len - 1));
            }
        }
        tokens.push_match(len, at - from);
        at += len;
    }
    at
}

/// One of the steps near the stop, where eight bytes may not be left. How far it went.
fn last_step<const LONG: u32, const SHORT: u32>(
    scope: &Scope<'_>,
    at: usize,
    finder: &Finder,
    tokens: &mut Tokens,
) -> usize {
    let rest = scope.rest(at);
    if rest.len() >= LEAST {
        let mut padded = [0; READ];
        let n = rest.len().min(READ);
        padded[..n].copy_from_slice(&rest[..n]);
        let bytes = u64::from_le_bytes(padded);
        let (_, s) = hashes::<LONG, SHORT>(bytes);
        let back = usize::from(finder.position(at).wrapping_sub(finder.short[s]));
        if back.wrapping_sub(1) < scope.window.min(at) {
            let len = common(rest, &scope.data[at - back..]);
            if len >= LEAST {
                tokens.push_match(len, back);
                return len;
            }
        }
        if let Some((len, back)) = scope.primed.and_then(|p| p.find(bytes, rest, at, scope.window)) {
            tokens.push_match(len, back);
            return len;
        }
    }
    tokens.push_literal(rest[0]);
    1
}
