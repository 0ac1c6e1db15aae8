//! What goes into the stream for each token.

#![forbid(unsafe_code)]

use super::bits::BitWriter;
use super::symbols::{DIST, END_OF_BLOCK, LENGTH_BASE, LENGTH_EXTRA, SHORTEST, dist_extra};
use super::tokens::{FIRST_LENGTH, Tokens};

/// The codes of a block by token, with the extra bits where the token says them.
pub(super) struct Codes {
    /// By index of a token: how many bits, and above `LITLEN_BITS` code and extra bits.
    litlen: [u32; 512],
    /// By symbol, see the constants.
    dist: [u64; 32],
    end: (u16, u8),
}

/// Of a literal's or length's entry.
const LITLEN_BITS: u32 = 8;
/// Of a distance's entry: bits in all from bit 0, length of the code, mask of the token's bits behind it,
/// code.
const DIST_LENGTH: u32 = 8;
const DIST_MASK: u32 = 16;
const DIST_CODE: u32 = 32;

impl Codes {
    pub(super) fn new() -> Self {
        Self { litlen: [0; 512], dist: [0; 32], end: (0, 0) }
    }

    /// From codes and their lengths by symbol.
    pub(super) fn set_litlen(&mut self, codes: &[u16], lengths: &[u8]) {
        for ((entry, &code), &length) in self.litlen[..FIRST_LENGTH].iter_mut().zip(codes).zip(lengths) {
            *entry = u32::from(code) << LITLEN_BITS | u32::from(length);
        }
        for (symbol, (&code, &length)) in
            codes.iter().zip(lengths).skip(END_OF_BLOCK + 1).take(29).enumerate()
        {
            if length == 0 {
                continue;
            }
            let first = FIRST_LENGTH + usize::from(LENGTH_BASE[symbol]) - SHORTEST;
            let bits = LENGTH_EXTRA[symbol];
            // Length 258 has a symbol of its own, later.
            for (extra, entry) in self.litlen[first..].iter_mut().take(1 << bits).enumerate() {
                let both = u32::from(code) | (extra as u32) << length;
                *entry = both << LITLEN_BITS | u32::from(length + bits);
            }
        }
    }

    /// From the code that ends the block and its length.
    pub(super) fn set_end(&mut self, code: u16, length: u8) {
        self.end = (code, length);
    }

    /// From codes and their lengths by symbol.
    pub(super) fn set_dist(&mut self, codes: &[u16; DIST], lengths: &[u8; DIST]) {
        // The last two stay nothing: they stand for no distance.
        for (symbol, entry) in self.dist[..DIST].iter_mut().enumerate() {
            let (extra, length) = (dist_extra(symbol), lengths[symbol]);
            let mask = ((1 << extra) - 1) as u16;
            *entry = u64::from(codes[symbol]) << DIST_CODE
                | u64::from(mask) << DIST_MASK
                | u64::from(length) << DIST_LENGTH
                | u64::from(length + extra as u8);
        }
    }

    /// Writes the tokens and the end of the block.
    pub(super) fn write(&self, tokens: &[u32], out: &mut BitWriter<'_>) {
        out.put_all(tokens.iter().map(|&token| {
            let litlen = self.litlen[Tokens::litlen(token)];
            let dist = self.dist[Tokens::dist(token)];
            let offset = u64::from(Tokens::offset(token) & (dist >> DIST_MASK) as u32 & 0xffff);
            let behind = dist >> DIST_CODE | offset << (dist >> DIST_LENGTH & 63);
            (u64::from(litlen >> LITLEN_BITS) | behind << (litlen & 63), litlen.wrapping_add(dist as u32))
        }));
        out.put(u64::from(self.end.0), u32::from(self.end.1));
    }
}
