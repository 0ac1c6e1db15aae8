//! From bytes to tokens.

#![forbid(unsafe_code)]

use super::load::common;
use super::matches::{Finder, READ, Size, hashes};
use super::primed::{InDictionary, Primed};
use super::symbols::LONGEST;
use super::tokens::Tokens;
use super::walk::{MARGIN, walk};

/// Matches begin with four equal bytes, as these are hashed.
pub(super) const LEAST: usize = 4;

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
    pub(super) fn rest(&self, at: usize) -> &[u8] {
        &self.data[at..self.stop.min(at + LONGEST)]
    }

    /// A match in the dictionary for the data at `at`, which begin with `bytes`.
    #[inline(always)]
    pub(super) fn in_dictionary(&self, bytes: u64, at: usize) -> Option<InDictionary> {
        self.primed.and_then(|primed| primed.find(bytes, self.rest(at), at, self.window))
    }
}

/// Parses from `start` to the scope's stop.
pub(super) fn parse(scope: &Scope<'_>, start: usize, finder: &mut Finder, tokens: &mut Tokens) {
    match finder.size() {
        Size::Small => parse_sized::<10, 10>(scope, start, finder, tokens),
        Size::Medium => parse_sized::<13, 13>(scope, start, finder, tokens),
        Size::Large => parse_sized::<15, 14>(scope, start, finder, tokens),
    }
}

fn parse_sized<const LONG: u32, const SHORT: u32>(
    scope: &Scope<'_>,
    start: usize,
    finder: &mut Finder,
    tokens: &mut Tokens,
) {
    let end = scope.stop.saturating_sub(MARGIN);
    let mut at = start;
    if !finder.alone() {
        at = walk::<LONG, SHORT, false, true, false>(scope, at, end, finder, tokens);
    } else if scope.primed.is_some() {
        at = walk::<LONG, SHORT, true, true, true>(scope, at, end, finder, tokens);
    } else {
        if at == 0 && end > 0 {
            // The first position has none before it, and the first walk does not check that.
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

/// One of the steps near the stop, where eight bytes may not be left. How far it went.
fn last_step<const LONG: u32, const SHORT: u32>(
    scope: &Scope<'_>,
    at: usize,
    finder: &mut Finder,
    tokens: &mut Tokens,
) -> usize {
    let rest = scope.rest(at);
    if rest.len() >= LEAST {
        let mut padded = [0; READ];
        let n = rest.len().min(READ);
        padded[..n].copy_from_slice(&rest[..n]);
        let bytes = u64::from_le_bytes(padded);
        let (_, short) = hashes::<LONG, SHORT>(bytes);
        let back = usize::from(finder.position(at).wrapping_sub(finder.short[short]));
        finder.insert(scope.data, at, at + 1, 1);
        if back.wrapping_sub(1) < scope.window.min(at) {
            let len = common(rest, &scope.data[at - back..]);
            if len >= LEAST {
                tokens.push_match(len, back);
                return len;
            }
        }
        if let Some(found) = scope.in_dictionary(bytes, at) {
            tokens.push_match(found.len, found.distance);
            return found.len;
        }
    }
    tokens.push_literal(rest[0]);
    1
}
