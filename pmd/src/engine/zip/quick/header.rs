//! The head of a dynamic block: the lengths of its codes, run-length and prefix coded (RFC 1951, 3.2.7).

#![forbid(unsafe_code)]

use super::bits::BitWriter;
use super::huffman::{Builder, at_least_two};
use super::load::same;
use super::symbols::{DIST, LITLEN, LONGEST_PRECODE, PRECODE, PRECODE_ORDER};

/// Repeats the length before 3 to 6 times; zero 3 to 10, and 11 to 138 times.
const REPEAT: u16 = 16;
const ZEROS: u16 = 17;
const MANY_ZEROS: u16 = 18;
/// No length.
const PAST_THE_END: u8 = 0xff;
/// Extra bits by symbol.
const EXTRA: [u8; PRECODE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7];

pub(super) struct Header {
    litlen: usize,
    dist: usize,
    /// How many lengths of `PRECODE_ORDER` are stated.
    stated: usize,
    /// Symbols, and their extra bits above bit 5.
    items: [u16; LITLEN + DIST + 2],
    used: usize,
    lengths: [u8; PRECODE],
    codes: [u16; PRECODE],
    bits: usize,
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            litlen: 0,
            dist: 0,
            stated: 0,
            items: [0; LITLEN + DIST + 2],
            used: 0,
            lengths: [0; PRECODE],
            codes: [0; PRECODE],
            bits: 0,
        }
    }

    /// How many bits `write` writes.
    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    /// For `lengths`, of which the first `litlen` are those of literals and lengths.
    pub(super) fn plan(&mut self, lengths: &[u8], litlen: usize, builder: &mut Builder) {
        (self.litlen, self.dist) = (litlen, lengths.len() - litlen);
        let mut freqs = [0; PRECODE];
        self.run_lengths(lengths, &mut freqs);
        let mut enough = freqs;
        at_least_two(&mut enough);
        builder.lengths(&enough, LONGEST_PRECODE, &mut self.lengths);
        builder.codes(&self.lengths, &mut self.codes);
        let last = PRECODE_ORDER.iter().rposition(|&symbol| self.lengths[usize::from(symbol)] != 0);
        self.stated = last.map_or(4, |last| (last + 1).max(4));
        let each = |i: usize| freqs[i] as usize * usize::from(self.lengths[i] + EXTRA[i]);
        self.bits = 14 + 3 * self.stated + (0..PRECODE).map(each).sum::<usize>();
    }

    fn run_lengths(&mut self, lengths: &[u8], freqs: &mut [u32; PRECODE]) {
        self.used = 0;
        let mut padded = [PAST_THE_END; LITLEN + DIST + 8];
        padded[..lengths.len()].copy_from_slice(lengths);
        let mut at = 0;
        while at < lengths.len() {
            let length = padded[at];
            let mut left = run(&padded[at..]);
            at += left;
            if length == 0 {
                while left >= 11 {
                    let n = left.min(138);
                    self.item(MANY_ZEROS, n - 11, freqs);
                    left -= n;
                }
                if left >= 3 {
                    self.item(ZEROS, left - 3, freqs);
                    left = 0;
                }
            } else {
                self.item(u16::from(length), 0, freqs);
                left -= 1;
                while left >= 3 {
                    let n = left.min(6);
                    self.item(REPEAT, n - 3, freqs);
                    left -= n;
                }
            }
            // Two at most, without a branch.
            self.items[self.used..self.used + 2].fill(u16::from(length));
            self.used += left;
            freqs[usize::from(length)] += left as u32;
        }
    }

    #[inline(always)]
    fn item(&mut self, symbol: u16, extra: usize, freqs: &mut [u32; PRECODE]) {
        self.items[self.used] = symbol | (extra as u16) << 5;
        self.used += 1;
        freqs[usize::from(symbol)] += 1;
    }

    pub(super) fn write(&self, out: &mut BitWriter<'_>) {
        out.put((self.litlen - 257) as u64, 5);
        out.put((self.dist - 1) as u64, 5);
        out.put((self.stated - 4) as u64, 4);
        for &symbol in &PRECODE_ORDER[..self.stated] {
            out.put(u64::from(self.lengths[usize::from(symbol)]), 3);
        }
        for &item in &self.items[..self.used] {
            let symbol = usize::from(item & 31);
            let (code, length) = (self.codes[symbol], self.lengths[symbol]);
            out.put(u64::from(code) | u64::from(item >> 5) << length, u32::from(length + EXTRA[symbol]));
        }
    }
}

/// How often the first length of `padded` comes in a row.
fn run(padded: &[u8]) -> usize {
    let all = u64::from_le_bytes([padded[0]; 8]);
    let mut run = 0;
    for word in padded.windows(8).step_by(8) {
        let differ = word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)) ^ all;
        if differ != 0 {
            return run + same(differ);
        }
        run += 8;
    }
    run + padded[run..].iter().take_while(|&&length| length == padded[0]).count()
}
