//! x ^ d with a secret exponent: fixed windows, and a table that is read whole for every window.

use core::arch::x86_64::{
    _mm_cvtsi64_si128, _mm512_and_si512, _mm512_or_si512, _mm512_set1_epi64, _mm512_sll_epi64,
    _mm512_srl_epi64,
};

use super::super::secret::wipe;
use super::block::{Block, DIGITS, block_of};
use super::constants::Half;
use super::montgomery::{Chain, MAX_BLOCKS, direction, multiply, square};
use super::pick::{POWERS, Pick, WINDOW};
use super::simd::{V, digit, zero};

/// Blocks of the largest prime.
const BLOCKS: usize = MAX_BLOCKS / 2;

/// The powers x^0 … x^31 of a chain.
#[repr(C, align(64))]
pub(super) struct Table {
    /// Proper digits, `[digit][power]`.
    powers: [[V; POWERS]; BLOCKS * DIGITS],
    picked: [V; BLOCKS * DIGITS],
    /// A factor: x, or the power picked.
    factor: [Block; BLOCKS],
}

impl Table {
    /// Makes zeros of all that was written for primes of so many blocks.
    pub(super) fn wipe(&mut self, blocks: usize) {
        wipe(self.powers[..blocks * DIGITS].as_flattened_mut());
        wipe(&mut self.picked);
        wipe(&mut self.factor);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn put(&mut self, power: usize, x: &[Block]) {
        for (powers, from) in self.powers.iter_mut().zip(x.iter().flat_map(|b| &b.digits)) {
            powers[power] = digit(*from);
        }
    }

    /// The power, a number known to all.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn get<const K: bool>(&self, power: usize, x: &mut [Block]) {
        for (b, x) in x.iter_mut().enumerate() {
            let digits = std::array::from_fn(|i| self.powers[b * DIGITS + i][power]);
            block_of::<K>(x, &digits, direction(b));
        }
    }

    /// Begins to look up the powers for window `w` of the exponents.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn pick(&mut self, exponent: &[V], w: usize, blocks: usize) -> Pick<'_> {
        let (word, bit) = (w * WINDOW / 64, w * WINDOW % 64);
        let low = _mm512_srl_epi64(exponent[word], _mm_cvtsi64_si128(bit as i64));
        // A shift by 64 gives zero, as it should.
        let high = match exponent.get(word + 1) {
            Some(&above) => _mm512_sll_epi64(above, _mm_cvtsi64_si128(64 - bit as i64)),
            None => zero(),
        };
        let index = _mm512_and_si512(_mm512_or_si512(low, high), _mm512_set1_epi64(POWERS as i64 - 1));
        Pick::new(&self.powers[..blocks * DIGITS], &mut self.picked, index)
    }

    /// What was looked up, as a factor.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn picked<const K: bool>(&mut self, blocks: usize) -> &[Block] {
        let factor = &mut self.factor[..blocks];
        for (b, (factor, digits)) in factor.iter_mut().zip(self.picked.as_chunks().0).enumerate() {
            block_of::<K>(factor, digits, direction(b));
        }
        factor
    }
}

/// x ← x ^ exponent for each chain, in Montgomery form.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn exponentiate<const K: bool, const S: usize, const N: usize>(
    chains: &mut [Chain<'_>; S],
    halves: [&Half<'_>; S],
    tables: &mut [&mut Table; S],
) {
    let n = chains[0].x.len();
    for s in 0..S {
        tables[s].put(0, halves[s].one);
        tables[s].put(1, chains[s].x);
        tables[s].factor[..n].copy_from_slice(chains[s].x);
    }
    for power in 2..POWERS {
        // From half the power by squaring, or from the one before by multiplying.
        if power % 2 == 0 {
            for s in 0..S {
                tables[s].get::<K>(power / 2, chains[s].x);
            }
            square::<K, S, N>(chains);
        } else {
            multiply::<K, S, N>(chains, std::array::from_fn(|s| &tables[s].factor[..n]));
        }
        for s in 0..S {
            tables[s].put(power, chains[s].x);
        }
    }
    let bits = 64 * (halves[0].exponent.len() - 1);
    let mut window = bits.div_ceil(WINDOW) - 1;
    for s in 0..S {
        tables[s].pick(halves[s].exponent, window, n).finish();
        chains[s].x.copy_from_slice(tables[s].picked::<K>(n));
    }
    while window > 0 {
        window -= 1;
        square_and_pick::<K, S, N>(chains, halves, tables, window);
        let factors = tables.each_mut().map(|table| table.picked::<K>(n));
        multiply::<K, S, N>(chains, factors);
    }
}

/// Squares for a window, and looks up the powers for it meanwhile.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn square_and_pick<const K: bool, const S: usize, const N: usize>(
    chains: &mut [Chain<'_>; S],
    halves: [&Half<'_>; S],
    tables: &mut [&mut Table; S],
    window: usize,
) {
    let n = chains[0].x.len();
    let mut half = halves.iter();
    let mut table = tables.iter_mut();
    let mut chains = chains.each_mut().map(|chain| {
        let (half, table) = (half.next().expect("one each"), table.next().expect("one each"));
        Chain {
            modulus: chain.modulus,
            x: &mut *chain.x,
            scratch: &mut *chain.scratch,
            pick: Some(table.pick(half.exponent, window, n)),
        }
    });
    for _ in 0..WINDOW {
        square::<K, S, N>(&mut chains);
    }
    for pick in chains.into_iter().filter_map(|chain| chain.pick) {
        pick.finish();
    }
}
