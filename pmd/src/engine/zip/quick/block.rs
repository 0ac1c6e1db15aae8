//! One block of DEFLATE: which kind is smallest, and its bits.

use super::bits::BitWriter;
use super::header::Header;
use super::huffman::{self, Builder, MOST_SYMBOLS, at_least_two};
use super::symbols::{
    DIST, END_OF_BLOCK, LENGTH_BASE, LENGTH_EXTRA, LENGTH_SYMBOL, LITLEN, LONGEST_CODE, SHORTEST,
    STATIC_DIST, STATIC_LITLEN, dist_extra,
};
use super::tokens::{FIRST_LENGTH, NO_DISTANCE, Tokens};

/// The longest stored block.
pub(super) const STORED: usize = 65535;

/// What goes into the stream for a symbol: `bits`, then for a distance `mask` bits of the token.
#[derive(Clone, Copy, Default)]
struct DistCode {
    code: u16,
    mask: u16,
    length: u8,
    /// With the extra bits.
    total: u8,
}

/// Writes blocks; holds the codes of the last one.
pub(super) struct BlockWriter {
    builder: Builder,
    /// The combined lengths of both alphabets as a header states them.
    lengths: [u8; LITLEN + DIST],
    header: Header,
    /// By index of a token: the code with its extra bits, and above bit 24 how many there are.
    litlen: [u32; 512],
    dist: [DistCode; 32],
    end: (u16, u8),
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
            litlen: [0; 512],
            dist: [DistCode::default(); 32],
            end: (0, 0),
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
        let dynamic_bits = 3 + extra + self.plan(&freqs, &tokens.dist);
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
                self.static_codes();
                self.write_tokens(tokens.all(), out);
            }
            Kind::Dynamic => {
                out.put(u64::from(last) | 2 << 1, 3);
                self.header.write(out);
                self.dynamic_codes();
                self.write_tokens(tokens.all(), out);
            }
        }
        Some(())
    }

    /// The lengths of a dynamic block's codes; how many bits its header and codes take.
    fn plan(&mut self, freqs: &[u32; LITLEN], dist: &[u32; 32]) -> usize {
        let mut lengths = [0; LITLEN];
        self.builder.lengths(freqs, LONGEST_CODE, &mut lengths);
        let mut dist_lengths = [0; DIST];
        let mut dists: [u32; DIST] = std::array::from_fn(|i| dist[i]);
        at_least_two(&mut dists);
        self.builder.lengths(&dists, LONGEST_CODE, &mut dist_lengths);
        let litlen = trimmed(&lengths, END_OF_BLOCK + 1);
        let dists = trimmed(&dist_lengths, 1);
        self.lengths[..litlen].copy_from_slice(&lengths[..litlen]);
        self.lengths[litlen..litlen + dists].copy_from_slice(&dist_lengths[..dists]);
        self.header.plan(&self.lengths[..litlen + dists], litlen, &mut self.builder);
        self.header.bits() + cost(freqs, &lengths) + cost(&dist[..DIST], &dist_lengths)
    }

    fn dynamic_codes(&mut self) {
        let mut lengths = [0; MOST_SYMBOLS];
        let (litlen, dist) = self.header.counts();
        lengths[..litlen].copy_from_slice(&self.lengths[..litlen]);
        let mut dist_lengths = [0; 32];
        dist_lengths[..dist].copy_from_slice(&self.lengths[litlen..litlen + dist]);
        self.set_codes(&lengths, &dist_lengths);
    }

    fn static_codes(&mut self) {
        let mut lengths = [8; MOST_SYMBOLS];
        lengths[..LITLEN].copy_from_slice(&STATIC_LITLEN);
        self.set_codes(&lengths, &[STATIC_DIST; 32]);
    }

    fn set_codes(&mut self, lengths: &[u8; MOST_SYMBOLS], dist_lengths: &[u8; 32]) {
        let mut codes = [0; MOST_SYMBOLS];
        huffman::codes(lengths, &mut codes);
        for symbol in 0..256 {
            self.litlen[symbol] = u32::from(codes[symbol]) | u32::from(lengths[symbol]) << 24;
        }
        for length in 0..256 {
            let symbol = usize::from(LENGTH_SYMBOL[length]);
            let (code, bits) = (codes[257 + symbol], lengths[257 + symbol]);
            let extra = (length + SHORTEST) as u32 - u32::from(LENGTH_BASE[symbol]);
            self.litlen[FIRST_LENGTH + length] =
                u32::from(code) | extra << bits | u32::from(bits + LENGTH_EXTRA[symbol]) << 24;
        }
        self.end = (codes[END_OF_BLOCK], lengths[END_OF_BLOCK]);
        let mut codes = [0; 32];
        huffman::codes(dist_lengths, &mut codes);
        for symbol in 0..DIST {
            let (extra, length) = (dist_extra(symbol), dist_lengths[symbol]);
            self.dist[symbol] = DistCode {
                code: codes[symbol],
                mask: ((1 << extra) - 1) as u16,
                length,
                total: length + extra as u8,
            };
        }
        self.dist[NO_DISTANCE] = DistCode::default();
    }

    fn write_tokens(&self, tokens: &[u32], out: &mut BitWriter<'_>) {
        for &token in tokens {
            let litlen = self.litlen[Tokens::litlen(token)];
            let dist = self.dist[Tokens::dist(token)];
            let behind =
                u64::from(dist.code) | u64::from(Tokens::offset(token) as u16 & dist.mask) << dist.length;
            let count = litlen >> 24;
            out.put(u64::from(litlen & 0xff_ffff) | behind << count, count + u32::from(dist.total));
        }
        out.put(u64::from(self.end.0), u32::from(self.end.1));
    }
}

/// Sums up the lengths by symbol; adds the end of the block; returns how many extra bits the tokens have.
fn fold(tokens: &Tokens, freqs: &mut [u32; LITLEN]) -> usize {
    freqs[..END_OF_BLOCK].copy_from_slice(&tokens.litlen[..END_OF_BLOCK]);
    freqs[END_OF_BLOCK] = 1;
    for (length, &n) in tokens.litlen[FIRST_LENGTH..].iter().enumerate() {
        freqs[257 + usize::from(LENGTH_SYMBOL[length])] += n;
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

/// The number of lengths up to the last one that is not zero.
fn trimmed(lengths: &[u8], least: usize) -> usize {
    lengths.iter().rposition(|&length| length != 0).map_or(least, |last| least.max(last + 1))
}

/// The bits of `len` bytes stored, behind `waiting` bits of a byte begun.
pub(super) fn stored_cost(len: usize, waiting: u32) -> usize {
    let first = (waiting as usize + 3).next_multiple_of(8) - waiting as usize + 32;
    first + (len.div_ceil(STORED).max(1) - 1) * 40 + len * 8
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
