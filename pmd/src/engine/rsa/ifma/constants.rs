//! A key in lanes: all that a pass needs of it, each digit in all eight lanes. Passes over one key use it as it is;
//! passes over several blend their keys lane by lane into memory of the same layout.

use core::arch::x86_64::_mm512_mask_mov_epi64;
use std::io;
use std::ops::Range;

use super::super::parts::PrivateParts;
use super::super::secret::{Plain, Secret};
use super::block::{Block, DIGITS, Difference};
use super::montgomery::{Modulus, direction};
use super::scalar::{digits_of, montgomery, powers_of_r, words_of};
use super::simd::{DIGIT_BITS, DIGIT_MASK, LANES, V, lanes_mut};

// SAFETY: vectors of integers and blocks of them: zero is valid, no drop glue, aligned to 64 bytes.
unsafe impl Plain for V {}
// SAFETY: as above.
unsafe impl Plain for Block {}

/// Vectors of a block.
const BLOCK: usize = size_of::<Block>() / size_of::<V>();

/// Where things are in a key's lanes, for primes of `n` blocks.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    n: usize,
}

/// What belongs to one prime.
pub(super) struct Half<'a> {
    pub(super) modulus: Modulus<'a>,
    /// R² and R³ modulo the prime, and one in Montgomery form: R.
    pub(super) r2: &'a [Block],
    pub(super) r3: &'a [Block],
    pub(super) one: &'a [Block],
    /// The exponent: 64-bit words, lowest first, and a zero.
    pub(super) exponent: &'a [V],
}

/// What belongs to the modulus n = p q.
pub(super) struct Whole<'a> {
    pub(super) modulus: Modulus<'a>,
    pub(super) r2: &'a [Block],
    /// q⁻¹ mod p.
    pub(super) qinv: &'a [Block],
    /// q.
    pub(super) q: &'a [Block],
}

impl Layout {
    /// For a modulus of so many bits, or nothing if that size is not computed here.
    pub(super) fn of_bits(bits: usize) -> Option<Self> {
        matches!(bits, 1024 | 2048 | 3072 | 4096).then_some(Self { n: bits / 1024 })
    }

    /// Blocks of a prime.
    pub(super) fn blocks(self) -> usize {
        self.n
    }

    /// 64-bit words of an exponent.
    fn words(self) -> usize {
        8 * self.n
    }

    fn half_len(self) -> usize {
        (5 * self.n + 1) * BLOCK + self.words() + 1
    }

    fn p(self) -> Range<usize> {
        0..self.half_len()
    }

    fn q(self) -> Range<usize> {
        self.half_len()..2 * self.half_len()
    }

    fn whole(self) -> Range<usize> {
        2 * self.half_len()..self.len()
    }

    /// Vectors in all.
    pub(super) fn len(self) -> usize {
        2 * self.half_len() + (8 * self.n + 1) * BLOCK
    }

    fn half(self, lanes: &[V]) -> Half<'_> {
        let n = self.n;
        let (blocks, exponent) = lanes.split_at((5 * n + 1) * BLOCK);
        let blocks = as_blocks(blocks);
        let modulus = Modulus { m: &blocks[..n], fold: &blocks[n..2 * n], inverse: &blocks[5 * n].digits };
        Half {
            modulus,
            r2: &blocks[2 * n..3 * n],
            r3: &blocks[3 * n..4 * n],
            one: &blocks[4 * n..5 * n],
            exponent,
        }
    }

    /// The half of p: after [`blend_half`] that of p and q.
    pub(super) fn first(self, lanes: &[V]) -> Half<'_> {
        self.half(&lanes[self.p()])
    }

    /// The half of q.
    pub(super) fn second(self, lanes: &[V]) -> Half<'_> {
        self.half(&lanes[self.q()])
    }

    /// What belongs to n.
    pub(super) fn product(self, lanes: &[V]) -> Whole<'_> {
        let n = self.n;
        let blocks = as_blocks(&lanes[self.whole()]);
        let modulus =
            Modulus { m: &blocks[..2 * n], fold: &blocks[2 * n..4 * n], inverse: &blocks[8 * n].digits };
        Whole { modulus, r2: &blocks[4 * n..6 * n], qinv: &blocks[6 * n..7 * n], q: &blocks[7 * n..8 * n] }
    }
}

fn as_blocks(vectors: &[V]) -> &[Block] {
    debug_assert_eq!(vectors.len() % BLOCK, 0);
    // SAFETY: a block is `BLOCK` vectors without gaps (repr(C), all fields vectors), with a vector's alignment.
    unsafe { std::slice::from_raw_parts(vectors.as_ptr().cast(), vectors.len() / BLOCK) }
}

/// Writes numbers into a key's lanes, one after the other.
struct Writer<'a> {
    rest: &'a mut [V],
}

impl Writer<'_> {
    fn vector(&mut self, value: u64) {
        let rest = std::mem::take(&mut self.rest);
        let (first, rest) = rest.split_first_mut().expect("the layout has room for what is written");
        lanes_mut(first).fill(value);
        self.rest = rest;
    }

    fn number(&mut self, digits: &[u64], direction: impl Fn(usize) -> Difference) {
        for (b, digits) in digits.chunks_exact(DIGITS).enumerate() {
            for &d in digits {
                self.vector(d);
            }
            let mut carry = 0i64;
            for i in 0..5 {
                let (lower, upper) = (digits[i] as i64, digits[5 + i] as i64);
                let d = carry
                    + match direction(b) {
                        Difference::Upward => upper - lower,
                        Difference::Downward => lower - upper,
                    };
                carry = d >> DIGIT_BITS;
                self.vector(d as u64 & DIGIT_MASK);
            }
            self.vector(carry as u64);
        }
    }

    /// A modulus and its M″; its m′ is returned.
    fn modulus(&mut self, m: &[u64]) -> super::scalar::Digits {
        let (inverse, fold) = montgomery(m);
        self.number(m, |_| Difference::Downward);
        self.number(&fold, |_| Difference::Downward);
        inverse
    }

    fn half(&mut self, prime: &[u64], exponent: &[u8], words: usize) {
        let inverse = self.modulus(prime);
        let [r, r2, r3] = powers_of_r(prime);
        self.number(&r2, direction);
        self.number(&r3, direction);
        self.number(&r, direction);
        self.number(&inverse, direction);
        for &word in words_of(exponent, words + 1).iter() {
            self.vector(word);
        }
    }
}

/// Computes a key's lanes.
///
/// # Errors
/// When the system has no memory.
pub(super) fn lanes_of(parts: &PrivateParts, layout: Layout) -> io::Result<Secret<V>> {
    let n = layout.n;
    let mut lanes = Secret::zeroed(layout.len())?;
    let mut to = Writer { rest: &mut lanes };
    let (p, q) = (digits_of(&parts.p, n * DIGITS), digits_of(&parts.q, n * DIGITS));
    to.half(&p, &parts.dp, layout.words());
    to.half(&q, &parts.dq, layout.words());
    let product = digits_of(&parts.n, 2 * n * DIGITS);
    let inverse = to.modulus(&product);
    let [_, r2, _] = powers_of_r(&product);
    to.number(&r2, direction);
    to.number(&digits_of(&parts.qinv, n * DIGITS), direction);
    to.number(&q, direction);
    to.number(&inverse, direction);
    Ok(lanes)
}

/// Fills `to` with eight keys, a lane each.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn blend(to: &mut [V], keys: [&[V]; LANES]) {
    for (i, to) in to.iter_mut().enumerate() {
        let mut v = keys[0][i];
        for (lane, key) in keys.iter().enumerate().skip(1) {
            v = _mm512_mask_mov_epi64(v, 1 << lane, key[i]);
        }
        *to = v;
    }
}

/// Fills `to` with four keys for a half pass: p in lanes 0 to 3 and q in lanes 4 to 7 of the first half; the second
/// half is left alone; what belongs to n in lanes 0 to 3, and again in 4 to 7.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn blend_half(to: &mut [V], keys: [&[V]; LANES / 2], layout: Layout) {
    let offset = layout.half_len();
    for i in layout.p() {
        let mut v = keys[0][i];
        for (lane, key) in keys.iter().enumerate() {
            v = _mm512_mask_mov_epi64(v, 1 << lane, key[i]);
            v = _mm512_mask_mov_epi64(v, 0x10 << lane, key[i + offset]);
        }
        to[i] = v;
    }
    for i in layout.whole() {
        let mut v = keys[0][i];
        for (lane, key) in keys.iter().enumerate() {
            v = _mm512_mask_mov_epi64(v, 0x11 << lane, key[i]);
        }
        to[i] = v;
    }
}
