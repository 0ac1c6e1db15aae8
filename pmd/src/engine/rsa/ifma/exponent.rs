//! x ^ d with a secret exponent: fixed windows, and a table that is read whole for every window.

use core::arch::x86_64::{
    _mm_cvtsi64_si128, _mm512_and_si512, _mm512_cmpeq_epi64_mask, _mm512_mask_mov_epi64, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_sll_epi64, _mm512_srl_epi64,
};

use super::block::{Block, DIGITS, block_of};
use super::constants::Half;
use super::montgomery::{Chain, MAX_BLOCKS, direction, multiply, square};
use super::simd::{V, digit, zero};

/// Bits of a window.
pub(super) const WINDOW: usize = 5;
/// Powers in the table.
const POWERS: usize = 1 << WINDOW;
/// Blocks of the largest prime.
const BLOCKS: usize = MAX_BLOCKS / 2;
/// Powers looked at in one step of a lookup: short enough to hide between two kernels.
const STEP: usize = 8;

/// The powers x^0 … x^31 of a chain, and the one that is being picked.
#[repr(C, align(64))]
pub(super) struct Table {
    /// `[block][power]`.
    powers: [[[V; DIGITS]; POWERS]; BLOCKS],
    picked: [[V; DIGITS]; BLOCKS],
    factor: [Block; BLOCKS],
    base: [Block; BLOCKS],
    index: V,
    /// The step of the lookup that comes next.
    next: usize,
}

impl Table {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn put(&mut self, power: usize, x: &[Block]) {
        for (block, x) in x.iter().enumerate() {
            for (to, from) in self.powers[block][power].iter_mut().zip(&x.digits) {
                *to = digit(*from);
            }
        }
    }

    /// Begins to pick the power that window `w` of the exponent says.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn begin(&mut self, exponent: &[V], w: usize) {
        let (word, bit) = (w * WINDOW / 64, w * WINDOW % 64);
        let low = _mm512_srl_epi64(exponent[word], _mm_cvtsi64_si128(bit as i64));
        // A shift by 64 gives zero, as it should.
        let high = match exponent.get(word + 1) {
            Some(&above) => _mm512_sll_epi64(above, _mm_cvtsi64_si128(64 - bit as i64)),
            None => zero(),
        };
        self.index = _mm512_and_si512(_mm512_or_si512(low, high), _mm512_set1_epi64(POWERS as i64 - 1));
        self.next = 0;
    }

    /// One step of picking: eight powers of one block, each read in full, and kept in the lanes that want it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn step(&mut self, blocks: usize) {
        let (block, first) = (self.next / (POWERS / STEP), self.next % (POWERS / STEP) * STEP);
        if block >= blocks {
            return;
        }
        self.next += 1;
        let mut picked = if first == 0 { [zero(); DIGITS] } else { self.picked[block] };
        for (i, power) in self.powers[block][first..first + STEP].iter().enumerate() {
            let wanted = _mm512_cmpeq_epi64_mask(self.index, _mm512_set1_epi64((first + i) as i64));
            for (to, from) in picked.iter_mut().zip(power) {
                *to = _mm512_mask_mov_epi64(*to, wanted, *from);
            }
        }
        self.picked[block] = picked;
    }

    /// Finishes picking, and gives the power.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn pick<const K: bool>(&mut self, blocks: usize) -> &[Block] {
        while self.next < blocks * (POWERS / STEP) {
            self.step(blocks);
        }
        for (b, factor) in self.factor.iter_mut().enumerate().take(blocks) {
            block_of::<K>(factor, &self.picked[b], direction(b));
        }
        &self.factor[..blocks]
    }
}

/// x ← x ^ exponent for each chain, in Montgomery form.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn exponentiate<const K: bool, const S: usize>(
    chains: &mut [Chain<'_>; S],
    halves: [&Half<'_>; S],
    tables: &mut [&mut Table; S],
) {
    let n = chains[0].x.len();
    for s in 0..S {
        tables[s].base[..n].copy_from_slice(chains[s].x);
        tables[s].put(0, halves[s].one);
        tables[s].put(1, chains[s].x);
    }
    for power in 2..POWERS {
        // From half the power by squaring, or from the one before by multiplying.
        if power % 2 == 0 {
            for (chain, table) in chains.iter_mut().zip(tables.iter()) {
                for (b, x) in chain.x.iter_mut().enumerate() {
                    block_of::<K>(x, &table.powers[b][power / 2], direction(b));
                }
            }
            square::<K, S>(chains, || {});
        } else {
            multiply::<K, S>(chains, std::array::from_fn(|s| &tables[s].base[..n]), || {});
        }
        for (chain, table) in chains.iter().zip(tables.iter_mut()) {
            table.put(power, chain.x);
        }
    }
    let bits = 64 * (halves[0].exponent.len() - 1);
    let mut window = bits.div_ceil(WINDOW) - 1;
    for s in 0..S {
        tables[s].begin(halves[s].exponent, window);
        let top = tables[s].pick::<K>(n);
        chains[s].x.copy_from_slice(top);
    }
    while window > 0 {
        window -= 1;
        for s in 0..S {
            tables[s].begin(halves[s].exponent, window);
        }
        for _ in 0..WINDOW {
            square::<K, S>(chains, || {
                for table in tables.iter_mut() {
                    table.step(n);
                }
            });
        }
        let mut factors = tables.each_mut().map(|table| table.pick::<K>(n));
        multiply::<K, S>(chains, std::array::from_fn(|s| std::mem::take(&mut factors[s])), || {});
    }
}
