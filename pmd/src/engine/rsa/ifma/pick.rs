//! Looking up a power in a table by a secret index: every entry is read, whatever the index.

use core::arch::x86_64::{__mmask8, _mm512_mask_mov_epi64, _mm512_set1_epi64, _mm512_test_epi64_mask};

use super::block::Stitch;
use super::simd::{V, each10, load};

/// Bits of an index.
pub(super) const WINDOW: usize = 5;
/// Entries of a table.
pub(super) const POWERS: usize = 1 << WINDOW;

/// A lookup under way, digit by digit.
pub(super) struct Pick<'a> {
    /// `[digit][power]`.
    powers: &'a [[V; POWERS]],
    picked: &'a mut [V],
    /// The lanes in which each bit of the index is set.
    bits: [__mmask8; WINDOW],
    next: usize,
}

/// The lookup of one digit.
pub(super) struct Digit<'a> {
    powers: &'a [V; POWERS],
    to: &'a mut V,
    bits: [__mmask8; WINDOW],
    /// Choices among 4, 8 and 16 entries that wait for the choice among the next as many.
    partial: [V; 3],
}

impl<'a> Pick<'a> {
    /// Begins the lookup of the digits of `powers` at the index of each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn new(powers: &'a [[V; POWERS]], picked: &'a mut [V], index: V) -> Self {
        let bits = std::array::from_fn(|b| _mm512_test_epi64_mask(index, _mm512_set1_epi64(1 << b)));
        Self { powers, picked, bits, next: 0 }
    }

    /// The next digit, if one is left.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Digit<'_>> {
        let powers = self.powers.get(self.next)?;
        let to = self.picked.get_mut(self.next)?;
        self.next += 1;
        let partial = [*to; 3]; // of no account: written before it is read
        Some(Digit { powers, to, bits: self.bits, partial })
    }

    /// Looks up all digits that are left.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    pub(super) fn finish(mut self) {
        while let Some(mut digit) = self.next() {
            each10!(ROW => { digit.piece::<ROW>(); });
        }
    }
}

impl Stitch for Digit<'_> {
    /// Four entries a row: with each bit of the index the choice halves.
    #[inline(always)]
    fn piece<const ROW: usize>(&mut self) {
        if ROW >= POWERS / 4 {
            return;
        }
        let entry = |i| load(&self.powers[4 * ROW + i]);
        // SAFETY: called from kernels alone, which are compiled for a cpu that has the features, and run on no other.
        unsafe {
            let choose = |bit, zero, one| _mm512_mask_mov_epi64(zero, bit, one);
            let low = choose(self.bits[0], entry(0), entry(1));
            let high = choose(self.bits[0], entry(2), entry(3));
            let four = choose(self.bits[1], low, high);
            if ROW.is_multiple_of(2) {
                self.partial[0] = four;
                return;
            }
            let eight = choose(self.bits[2], self.partial[0], four);
            if ROW % 4 == 1 {
                self.partial[1] = eight;
                return;
            }
            let sixteen = choose(self.bits[3], self.partial[1], eight);
            if ROW == 3 {
                self.partial[2] = sixteen;
                return;
            }
            *self.to = choose(self.bits[4], self.partial[2], sixteen);
        }
    }
}
