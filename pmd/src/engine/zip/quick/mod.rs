//! A DEFLATE encoder for speed: the level below all others.
//!
//! A block is parsed into tokens ([`walk`], over the tables of [`matches`]) while its symbols are counted;
//! then the smallest kind of block is chosen by exact sizes and written ([`block`]). Data that will not
//! compress are told by samples ([`dull`]) and stored without a parse. The output depends on the input alone:
//! not on the processor, nor on streams before.

mod bits;
mod block;
mod codes;
mod dull;
mod header;
mod huffman;
mod load;
mod matches;
mod parse;
mod primed;
mod symbols;
#[cfg(test)]
mod tests;
mod tokens;
mod walk;

pub use bits::Carry;
pub use primed::Primed;

use bits::BitWriter;
use block::{BlockWriter, STORED, stored_cost, write_stored};
use dull::{CELL, dull, lively};
use matches::Finder;
use parse::{Scope, parse};
use symbols::WIDEST;
use tokens::{MOST_TOKENS, Tokens};

/// How an encoded piece ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At any bit; more follows.
    Open,
    /// With an empty stored block, at a byte: all of the piece can be decoded.
    Sync,
    /// The stream ends, at a byte.
    Final,
}

/// What an encoder may refer to, besides the piece itself.
#[derive(Clone, Copy)]
pub enum Past<'a> {
    /// The bytes before `start`, entered now.
    Fresh,
    /// The bytes before `start`, which are the end of those that earlier calls were given, and entered then.
    Kept,
    /// A dictionary; the bytes before `start` must be none.
    Primed(&'a Primed),
}

/// The encoder: all the room it needs.
pub struct Quick {
    finder: Finder,
    tokens: Tokens,
    block: BlockWriter,
    /// The position in the stream behind the last piece, modulo 65,536.
    seen: u16,
}

impl Default for Quick {
    fn default() -> Self {
        Self::new()
    }
}

impl Quick {
    /// Allocates; nothing does afterwards.
    #[must_use]
    pub fn new() -> Self {
        Self { finder: Finder::new(), tokens: Tokens::new(), block: BlockWriter::new(), seen: 0 }
    }

    /// Encodes `data[start..]` into `out`, behind the bits of `carry`, which becomes the bits left over.
    /// Distances reach at most `window` bytes back (a power of two to 32,768, or the next one below is
    /// taken), and not before `data` or the dictionary.
    ///
    /// Returns the number of bytes written (some behind them may be overwritten too), or `None` where `out`
    /// is too small, which one of [`Quick::bound`] never is: then `carry` is as before, and the same call may
    /// be made with more room.
    ///
    /// # Panics
    /// If `start` is not within `data`.
    #[expect(clippy::too_many_arguments)]
    pub fn encode(
        &mut self,
        past: Past<'_>,
        data: &[u8],
        start: usize,
        window: usize,
        end: End,
        carry: &mut Carry,
        out: &mut [u8],
    ) -> Option<usize> {
        assert!(start <= data.len(), "{start} bytes before the piece, of {}", data.len());
        let window = 1 << window.clamp(1, WIDEST).ilog2();
        let primed = self.prepare(past, data, start, window, end != End::Final);
        let mut writer = BitWriter::new(out, *carry);
        let mut at = start;
        while at < data.len() {
            let most = if data.len() - at > MOST_TOKENS { at + STORED } else { data.len() };
            let dull = if primed.is_none() { dull(data, at, most, &mut self.finder) } else { 0 };
            let stop = if dull > 0 { at + dull } else { at + lively(data, at, most) };
            let last = end == End::Final && stop == data.len();
            if dull > 0 {
                block::write_plain(&data[at..stop], last, &mut writer)?;
            } else {
                let scope = Scope { data, stop, window, primed };
                self.tokens.clear();
                parse(&scope, at, &mut self.finder, &mut self.tokens);
                self.block.write(&self.tokens, &data[at..stop], last, &mut writer)?;
            }
            at = stop;
        }
        finish(end, start == data.len(), &mut writer)?;
        self.seen = self.finder.position(data.len());
        let (len, left) = writer.finish();
        *carry = left;
        Some(len)
    }

    fn prepare<'a>(
        &mut self,
        past: Past<'a>,
        data: &[u8],
        start: usize,
        window: usize,
        followed: bool,
    ) -> Option<&'a Primed> {
        if let Past::Kept = past {
            self.finder.rebase(self.seen, start);
            return None;
        }
        self.finder.clear(data.len(), followed);
        self.finder.insert(data, start.saturating_sub(window), start, 1);
        match past {
            Past::Primed(primed) => Some(primed),
            _ => None,
        }
    }

    /// Room that always suffices for `len` bytes.
    #[must_use]
    pub const fn bound(len: usize) -> usize {
        // Stored blocks at worst, of a cell or more each, and the last one of a piece may take two; the bits
        // carried, the empty block of `Sync`.
        len + (len / CELL + len / STORED + 2) * 5 + 6
    }
}

/// Ends a piece; `nothing` where it had no block.
fn finish(end: End, nothing: bool, writer: &mut BitWriter<'_>) -> Option<()> {
    match end {
        End::Open => {}
        End::Sync => {
            if writer.room() < stored_cost(0, writer.waiting()) {
                return None;
            }
            write_stored(&[], false, writer);
        }
        End::Final => {
            if nothing {
                if writer.room() < 10 {
                    return None;
                }
                // A static block of nothing but its end.
                writer.put(0b011, 10);
            }
            writer.align();
        }
    }
    Some(())
}
