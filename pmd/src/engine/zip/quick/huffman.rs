//! Length-limited prefix codes in the canonical order of RFC 1951, 3.2.2.

#![forbid(unsafe_code)]

/// Room for the largest alphabet: literals and lengths, with the two symbols that only the static code
/// counts.
pub(super) const MOST_SYMBOLS: usize = 288;
/// Lengths below this: no code is longer than 15 bits.
const LENGTHS: usize = 16;
/// More than the depth of any tree here: a leaf at depth n takes frequencies that sum up to at least the
/// Fibonacci number n + 2, and at 30 that is above all of a block's tokens.
const DEPTHS: usize = 32;
const SYMBOL_BITS: u32 = 9;
/// Of a frequency, or half of it.
const MOST_DIGIT_BITS: u32 = 9;

/// Sorts and builds trees; holds the room for it.
pub(super) struct Builder {
    /// The symbols in use, in order.
    symbols: [u16; MOST_SYMBOLS],
    used: usize,
    /// How many of these have a code of each length.
    counts: [u16; LENGTHS],
    keys: [u32; MOST_SYMBOLS + 1],
    spare: [u32; MOST_SYMBOLS],
    weights: [u32; MOST_SYMBOLS],
    parents: [u16; MOST_SYMBOLS],
    depths: [u16; MOST_SYMBOLS],
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            symbols: [0; MOST_SYMBOLS],
            used: 0,
            counts: [0; LENGTHS],
            keys: [0; MOST_SYMBOLS + 1],
            spare: [0; MOST_SYMBOLS],
            weights: [0; MOST_SYMBOLS],
            parents: [0; MOST_SYMBOLS],
            depths: [0; MOST_SYMBOLS],
        }
    }

    /// Sets `lengths` to the lengths of an optimal prefix code, or a nearly optimal one where `limit` bits
    /// bind. Symbols of frequency zero get no code. At least two symbols must have a frequency above zero;
    /// frequencies are below 2^18.
    pub(super) fn lengths(&mut self, freqs: &[u32], limit: usize, lengths: &mut [u8]) {
        let used = self.sort(freqs);
        self.used = used;
        let mut leaves = self.leaves_by_depth(used);
        let deepest = leaves.len() - 1 - leaves.iter().rev().take_while(|&&n| n == 0).count();
        if deepest > limit {
            shorten(&mut leaves, deepest, limit);
        }
        self.counts.copy_from_slice(&leaves[..LENGTHS]);
        lengths.fill(0);
        let mut rest = &self.keys[..used];
        for length in (1..=limit.min(deepest)).rev() {
            let (these, others) = rest.split_at(usize::from(leaves[length]));
            for key in these {
                lengths[(key & ((1 << SYMBOL_BITS) - 1)) as usize] = length as u8;
            }
            rest = others;
        }
    }

    /// The used symbols into `keys`, rarest first: counting sort over the frequency, in halves if it is a
    /// large one.
    fn sort(&mut self, freqs: &[u32]) -> usize {
        let (mut used, mut all) = (0, 0);
        for (symbol, &freq) in freqs.iter().enumerate() {
            self.keys[used] = freq << SYMBOL_BITS | symbol as u32;
            self.symbols[used] = symbol as u16;
            used += usize::from(freq != 0);
            all |= freq;
        }
        let bits = 32 - all.leading_zeros();
        let digit_bits = if bits < MOST_DIGIT_BITS { bits } else { bits.div_ceil(2) };
        let (keys, spare) = (&mut self.keys[..used], &mut self.spare[..used]);
        sort_by_digit(keys, spare, SYMBOL_BITS, digit_bits);
        if bits > digit_bits {
            sort_by_digit(spare, keys, SYMBOL_BITS + digit_bits, digit_bits);
        } else {
            keys.copy_from_slice(spare);
        }
        used
    }

    /// How many leaves an optimal tree has at each depth. The two lightest of the sorted leaves and of the
    /// inner nodes, which come into being in order of weight, are joined until one is left.
    fn leaves_by_depth(&mut self, used: usize) -> [u16; DEPTHS] {
        let inner = used - 1;
        let (mut leaf, mut node) = (0, 0);
        // The lists end with what is never the lighter one.
        self.keys[used] = u32::MAX;
        for new in 0..inner {
            let mut weight = 0;
            self.weights[new] = u32::MAX;
            for _ in 0..2 {
                let (of_leaf, of_node) = (self.keys[leaf] >> SYMBOL_BITS, self.weights[node]);
                let is_leaf = of_leaf <= of_node;
                weight += of_leaf.min(of_node);
                // Overwritten until the node is really taken.
                self.parents[node] = new as u16;
                leaf += usize::from(is_leaf);
                node += usize::from(!is_leaf);
            }
            self.weights[new] = weight;
        }
        let mut nodes = [0u16; DEPTHS];
        self.depths[inner - 1] = 0;
        // Depths only grow on the way, so each is counted at one go.
        let (mut last, mut count) = (0, 1);
        for node in (0..inner - 1).rev() {
            let depth = self.depths[usize::from(self.parents[node])] + 1;
            self.depths[node] = depth;
            if depth != last {
                nodes[usize::from(last) % DEPTHS] = count;
                (last, count) = (depth, 0);
            }
            count += 1;
        }
        nodes[usize::from(last) % DEPTHS] = count;
        let mut leaves = [0; DEPTHS];
        for depth in 1..DEPTHS {
            leaves[depth] = 2 * nodes[depth - 1] - nodes[depth];
        }
        leaves
    }

    /// The canonical codes of the symbols that the last call of `lengths` gave `lengths`, bits reversed, as
    /// they go into the stream first bit lowest.
    pub(super) fn codes(&self, lengths: &[u8], codes: &mut [u16]) {
        let mut next = first_codes(&self.counts);
        for &symbol in &self.symbols[..self.used] {
            let length = usize::from(lengths[usize::from(symbol)]) & (LENGTHS - 1);
            codes[usize::from(symbol)] = next[length].reverse_bits() >> (LENGTHS - length);
            next[length] += 1;
        }
    }
}

/// Stable counting sort by `digit_bits` bits from `shift` on.
fn sort_by_digit(from: &[u32], to: &mut [u32], shift: u32, digit_bits: u32) {
    let mask = (1 << digit_bits) - 1;
    let digit = |key: u32| (key >> shift & mask) as usize;
    let mut starts = [0u16; 1 << MOST_DIGIT_BITS];
    for &key in from {
        starts[digit(key)] += 1;
    }
    let mut next = 0;
    for start in &mut starts[..=mask as usize] {
        next += std::mem::replace(start, next);
    }
    for &key in from {
        let place = &mut starts[digit(key)];
        to[usize::from(*place)] = key;
        *place += 1;
    }
}

/// Brings leaves below `limit` up to it, and makes room by moving others down until the code is complete
/// again.
fn shorten(leaves: &mut [u16; DEPTHS], deepest: usize, limit: usize) {
    for depth in limit + 1..=deepest {
        leaves[limit] += std::mem::take(&mut leaves[depth]);
    }
    let space: u32 = (1..=limit).map(|depth| u32::from(leaves[depth]) << (limit - depth)).sum();
    for _ in 1 << limit..space {
        // There is such a leaf: with all of them at `limit` there would be room for 2^limit.
        let above = (1..limit).rev().find(|&depth| leaves[depth] > 0).unwrap_or(1);
        leaves[above] -= 1;
        leaves[above + 1] += 2;
        leaves[limit] -= 1;
    }
}

/// Some decoders reject a code of fewer than two symbols: makes the first ones used where that is so.
pub(super) fn at_least_two(freqs: &mut [u32]) {
    for symbol in 0..2 {
        if freqs.iter().filter(|&&n| n > 0).count() < 2 {
            freqs[symbol] = freqs[symbol].max(1);
        }
    }
}

/// The codes of all symbols, each of which has a length.
pub(super) fn all_codes(lengths: &[u8], codes: &mut [u16]) {
    let mut counts = [0; LENGTHS];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    let mut next = first_codes(&counts);
    for (code, &length) in codes.iter_mut().zip(lengths) {
        *code = next[usize::from(length)].reverse_bits() >> (LENGTHS - usize::from(length));
        next[usize::from(length)] += 1;
    }
}

/// The first code of each length, given how many codes each has.
fn first_codes(counts: &[u16; LENGTHS]) -> [u16; LENGTHS] {
    let mut next = [0; LENGTHS];
    for length in 2..LENGTHS {
        next[length] = (next[length - 1] + counts[length - 1]) << 1;
    }
    next
}
