//! One block of DEFLATE: which kind is smallest, and its bits.

#![forbid(unsafe_code)]

use super::bits::BitWriter;
use super::codes::Codes;
use super::header::Header;
use super::huffman::{self, Builder, MOST_SYMBOLS, at_least_two};
use super::symbols::{
    DIST, END_OF_BLOCK, LENGTH_BASE, LENGTH_EXTRA, LITLEN, LONGEST_CODE, SHORTEST, STATIC_DIST,
    STATIC_LITLEN, dist_extra,
};
use super::tokens::{FIRST_LENGTH, Tokens};

/// The longest stored block.
pub(super) const STORED: usize = 65535;

/// Writes blocks; holds the codes of the last one.
pub(super) struct BlockWriter {
    builder: Builder,
    /// The combined lengths of both alphabets as a header states them.
    lengths: [u8; LITLEN + DIST],
    header: Header,
    dynamic: Codes,
    fixed: Codes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stored,
    Static,
    Dynamic,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self {
            builder: Builder::new(),
            lengths: [0; LITLEN + DIST],
            header: Header::new(),
            dynamic: Codes::new(),
            fixed: fixed_codes(),
        }
    }

    /// Writes `plain`, of which `tokens` is the parse, as one block. `None` if it does not fit.
    pub(super) fn write(
        &mut self,
        tokens: &Tokens,
        plain: &[u8],
        last: bool,
        out: &mut BitWriter<'_>,
    ) -> Option<()> {
        let mut freqs = [0; LITLEN];
        let extra = fold(tokens, &mut freqs);
        let static_bits = 3 + extra + static_cost(&freqs, tokens);
        let dynamic_bits = if least_dynamic(&freqs, tokens) > static_bits - extra {
            usize::MAX
        } else {
            3 + extra + self.plan(&freqs, &tokens.dist)
        };
        let stored_bits = stored_cost(plain.len(), out.waiting());
        let (kind, bits) = if stored_bits <= dynamic_bits.min(static_bits) {
            (Kind::Stored, stored_bits)
        } else if static_bits <= dynamic_bits {
            (Kind::Static, static_bits)
        } else {
            (Kind::Dynamic, dynamic_bits)
        };
        if bits > out.room() {
            return None;
        }
        match kind {
            Kind::Stored => write_stored(plain, last, out),
            Kind::Static => {
                out.put(u64::from(last) | 1 << 1, 3);
                self.fixed.write(tokens.all(), out);
            }
            Kind::Dynamic => {
                out.put(u64::from(last) | 2 << 1, 3);
                self.header.write(out);
                self.dynamic.write(tokens.all(), out);
            }
        }
        Some(())
    }

    /// The lengths of a dynamic block's codes; how many bits its header and codes take.
    fn plan(&mut self, freqs: &[u32; LITLEN], dist: &[u32; 32]) -> usize {
        let mut lengths = [0; LITLEN];
        self.builder.lengths(freqs, LONGEST_CODE, &mut lengths);
        let mut codes = [0; LITLEN];
        self.builder.codes(&lengths, &mut codes);
        self.dynamic.set_litlen(&codes, &lengths);
        self.dynamic.set_end(codes[END_OF_BLOCK], lengths[END_OF_BLOCK]);
        let mut dist_lengths = [0; DIST];
        let mut dists: [u32; DIST] = std::array::from_fn(|i| dist[i]);
        at_least_two(&mut dists);
        self.builder.lengths(&dists, LONGEST_CODE, &mut dist_lengths);
        let mut codes = [0; DIST];
        self.builder.codes(&dist_lengths, &mut codes);
        self.dynamic.set_dist(&codes, &dist_lengths);
        let litlen = trimmed(&lengths, END_OF_BLOCK + 1);
        let dists = trimmed(&dist_lengths, 1);
        self.lengths[..litlen].copy_from_slice(&lengths[..litlen]);
        self.lengths[litlen..litlen + dists].copy_from_slice(&dist_lengths[..dists]);
        self.header.plan(&self.lengths[..litlen + dists], litlen, &mut self.builder);
        self.header.bits() + cost(freqs, &lengths) + cost(&dist[..DIST], &dist_lengths)
    }
}

/// The codes of static blocks.
fn fixed_codes() -> Codes {
    let mut lengths = [8; MOST_SYMBOLS];
    lengths[..LITLEN].copy_from_slice(&STATIC_LITLEN);
    let mut codes = [0; MOST_SYMBOLS];
    huffman::all_codes(&lengths, &mut codes);
    let mut fixed = Codes::new();
    fixed.set_litlen(&codes, &lengths);
    fixed.set_end(codes[END_OF_BLOCK], lengths[END_OF_BLOCK]);
    let mut codes = [0; DIST];
    huffman::all_codes(&[STATIC_DIST; DIST], &mut codes);
    fixed.set_dist(&codes, &[STATIC_DIST; DIST]);
    fixed
}

/// Sums up the lengths by symbol; adds the end of the block; returns how many extra bits the tokens have.
fn fold(tokens: &Tokens, freqs: &mut [u32; LITLEN]) -> usize {
    freqs[..END_OF_BLOCK].copy_from_slice(&tokens.litlen[..END_OF_BLOCK]);
    freqs[END_OF_BLOCK] = 1;
    for (symbol, &base) in LENGTH_BASE.iter().enumerate() {
        let first = FIRST_LENGTH + usize::from(base) - SHORTEST;
        // Length 258 has a symbol of its own, and is not the last one of the symbol before.
        let n = if symbol == 27 { 31 } else { 1 << LENGTH_EXTRA[symbol] };
        freqs[257 + symbol] = tokens.litlen[first..first + n].iter().sum();
    }
    let lengths = (0..29).map(|i| freqs[257 + i] as usize * usize::from(LENGTH_EXTRA[i]));
    let dists = (0..DIST).map(|i| tokens.dist[i] as usize * dist_extra(i) as usize);
    lengths.sum::<usize>() + dists.sum::<usize>()
}

fn cost(freqs: &[u32], lengths: &[u8]) -> usize {
    freqs.iter().zip(lengths).map(|(&n, &bits)| n * u32::from(bits)).sum::<u32>() as usize
}

fn static_cost(freqs: &[u32; LITLEN], tokens: &Tokens) -> usize {
    let dists: u32 = tokens.dist[..DIST].iter().sum();
    cost(freqs, &STATIC_LITLEN) + dists as usize * usize::from(STATIC_DIST)
}

/// A bound for the bits of a dynamic block without extra bits, by entropy; zero where it is not worth
/// computing: in a small block the codes cost more than they save.
fn least_dynamic(freqs: &[u32; LITLEN], tokens: &Tokens) -> usize {
    let all = tokens.all().len() + 1;
    if all >= LOG2.len() {
        return 0;
    }
    let dists: u32 = tokens.dist[..DIST].iter().sum();
    let (mut sum, mut used) = (0, 0);
    for (freqs, all) in [(&freqs[..], all), (&tokens.dist[..DIST], dists as usize)] {
        for &n in freqs {
            sum += n as usize * usize::from(LOG2[all] - LOG2[n as usize % LOG2.len()]);
            used += usize::from(n > 0);
        }
    }
    // Experience: no header is shorter.
    (sum >> LOG2_FRACTION) + 60 + 4 * used
}

/// Of `LOG2`'s numbers the lowest bits, behind the binary point.
const LOG2_FRACTION: u32 = 8;

/// The logarithm of small numbers, rounded down (that of zero is not used).
const LOG2: [u16; 512] = {
    let mut table = [0; 512];
    let mut n = 1u64;
    while n < 512 {
        let mut log = 0;
        // The mantissa, from 1 to 2, in units of 2^-30: each squaring yields a bit.
        let mut mantissa = (n << 30) >> n.ilog2();
        let mut bit = 0;
        while bit < LOG2_FRACTION {
            mantissa = (mantissa * mantissa) >> 30;
            log <<= 1;
            if mantissa >= 2 << 30 {
                mantissa >>= 1;
                log |= 1;
            }
            bit += 1;
        }
        table[n as usize] = (n.ilog2() << LOG2_FRACTION | log) as u16;
        n += 1;
    }
    table
};

/// The number of lengths up to the last one that is not zero.
fn trimmed(lengths: &[u8], least: usize) -> usize {
    lengths.iter().rposition(|&length| length != 0).map_or(least, |last| least.max(last + 1))
}

/// The bits of `len` bytes stored, behind `waiting` bits of a byte begun.
pub(super) fn stored_cost(len: usize, waiting: u32) -> usize {
    let first = (waiting as usize + 3).next_multiple_of(8) - waiting as usize + 32;
    first + (len.div_ceil(STORED).max(1) - 1) * 40 + len * 8
}

/// Writes `plain` as it is. `None` if it does not fit.
pub(super) fn write_plain(plain: &[u8], last: bool, out: &mut BitWriter<'_>) -> Option<()> {
    (stored_cost(plain.len(), out.waiting()) <= out.room()).then(|| write_stored(plain, last, out))
}

/// At least one block, also of nothing.
pub(super) fn write_stored(plain: &[u8], last: bool, out: &mut BitWriter<'_>) {
    let (mut piece, mut rest) = plain.split_at(plain.len().min(STORED));
    loop {
        out.put(u64::from(last && rest.is_empty()), 3);
        out.align();
        let len = piece.len() as u64;
        out.put(len | (!len & 0xffff) << 16, 32);
        out.bytes(piece);
        if rest.is_empty() {
            return;
        }
        (piece, rest) = rest.split_at(rest.len().min(STORED));
    }
}
