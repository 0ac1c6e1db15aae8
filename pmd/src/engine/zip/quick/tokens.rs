//! The parse of a block: literals and matches, and how often each symbol comes.

#![forbid(unsafe_code)]

/// The most bytes, and so tokens, of a block.
pub(super) const MOST_TOKENS: usize = 1 << 16;
/// The index of length 3 among literals and lengths: 256 literals come before, and lengths to 258 behind.
pub(super) const FIRST_LENGTH: usize = 256;
/// The distance symbol of a literal.
pub(super) const NO_DISTANCE: usize = 31;

use super::symbols::{SHORTEST, dist_symbol};

const DIST_SHIFT: u32 = 9;
const OFFSET_SHIFT: u32 = 14;

/// Tokens and counts of a block. A token is the index of its literal or length (9 bits), its distance symbol
/// (5), and the distance less one (15).
pub(super) struct Tokens {
    all: Box<[u32; MOST_TOKENS]>,
    used: usize,
    /// By literal or length.
    pub(super) litlen: [u32; 512],
    /// By distance symbol.
    pub(super) dist: [u32; 32],
}

impl Tokens {
    pub(super) fn new() -> Self {
        let all =
            vec![0; MOST_TOKENS].into_boxed_slice().try_into().expect("the length is that of the array");
        Self { all, used: 0, litlen: [0; 512], dist: [0; 32] }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.litlen = [0; 512];
        self.dist = [0; 32];
    }

    /// Pushes are at most `MOST_TOKENS`.
    #[inline(always)]
    pub(super) fn push_literal(&mut self, byte: u8) {
        self.push(u32::from(byte) | (NO_DISTANCE as u32) << DIST_SHIFT);
        self.litlen[usize::from(byte)] += 1;
    }

    /// A match of 3 to 258 bytes, 1 to 32,768 back.
    #[inline(always)]
    pub(super) fn push_match(&mut self, len: usize, back: usize) {
        let litlen = (FIRST_LENGTH - SHORTEST).wrapping_add(len) & 511;
        let symbol = dist_symbol(back as u32 - 1) & 31;
        self.push(litlen as u32 | symbol << DIST_SHIFT | (back as u32 - 1) << OFFSET_SHIFT);
        self.litlen[litlen] += 1;
        self.dist[symbol as usize] += 1;
    }

    #[inline(always)]
    fn push(&mut self, token: u32) {
        self.all[self.used & (MOST_TOKENS - 1)] = token;
        self.used += 1;
    }

    pub(super) fn all(&self) -> &[u32] {
        &self.all[..self.used]
    }

    #[inline(always)]
    pub(super) fn litlen(token: u32) -> usize {
        (token & 511) as usize
    }

    #[inline(always)]
    pub(super) fn dist(token: u32) -> usize {
        (token >> DIST_SHIFT & 31) as usize
    }

    #[inline(always)]
    pub(super) fn offset(token: u32) -> u32 {
        token >> OFFSET_SHIFT
    }
}
