//! How many multiply-adds (`vpmadd52` on 512 bits) a pass takes, counted from what is done: the number of seconds that
//! they need at least is what the speed of a pass is judged by.

use super::super::RsaOptions;
use super::block::DIGITS;
use super::constants::Layout;
use super::pick::{POWERS, WINDOW};
use super::{Ifma, kernels};

/// Digits of a block.
const D: u64 = DIGITS as u64;
/// Of a digit product: its low and its high part.
const PARTS: u64 = 2;
/// Of the square of a block: mixed products once, and squares.
const SQUARE: u64 = PARTS * (D * (D - 1) / 2 + D);
/// Of the lower half of a block product: the low parts of all digit products in its columns, and the high parts of
/// those that are a column lower.
const LOW: u64 = D * (D + 1) / 2 + D * (D - 1) / 2;
/// Of the upper half: low parts from the highest column of the lower half on, and high parts from one digit product
/// below that.
const HIGH: u64 = D * (D + 1) / 2 + (D * (D + 1) / 2 + D - 1);

/// Squarings and multiplications by 65,537, less the bare result's last multiplication.
const CHECK_SQUARINGS: u64 = 16;

/// What is counted of one kind of kernel.
struct Count {
    /// Of a block product.
    product: u64,
}

impl Count {
    fn of(karatsuba: bool) -> Self {
        let half = D / 2;
        Self { product: PARTS * if karatsuba { 3 * half * half } else { D * D } }
    }

    /// Of a reduction of a number of twice `n` blocks.
    fn reduction(&self, n: u64) -> u64 {
        (n - 1) * n * self.product + LOW + HIGH + (n - 1) * self.product
    }

    fn squaring(&self, n: u64) -> u64 {
        n * (n - 1) / 2 * self.product + n * SQUARE + self.reduction(n)
    }

    fn multiplication(&self, n: u64) -> u64 {
        n * n * self.product + self.reduction(n)
    }

    /// Of one chain: the input modulo the prime, and to the power of an exponent of so many bits.
    fn power(&self, n: u64, bits: u64) -> u64 {
        let windows = bits.div_ceil(WINDOW as u64);
        // x² to x³¹ in the table: even ones by squaring.
        let table = (POWERS as u64 - 2) / 2;
        let squarings = table + (windows - 1) * WINDOW as u64;
        let multiplications = 1 + table + (windows - 1);
        self.reduction(n) + squarings * self.squaring(n) + multiplications * self.multiplication(n)
    }

    /// From the two powers to the result: xq out of Montgomery form, (xp − xq) · q⁻¹, and q times that.
    fn recombination(&self, n: u64) -> u64 {
        self.reduction(n) + 2 * self.multiplication(n) + n * n * Self::of(false).product
    }

    /// With the public exponent 65,537.
    fn check(&self, n: u64) -> u64 {
        CHECK_SQUARINGS * self.squaring(n) + 2 * self.multiplication(n)
    }

    /// In and out, and the next pair of factors.
    fn blinding(&self, n: u64) -> u64 {
        2 * self.multiplication(n) + 2 * self.squaring(n)
    }

    fn full_pass(&self, layout: Layout, prime_bits: u64, options: &RsaOptions) -> u64 {
        let n = layout.blocks() as u64;
        let check = if options.check { self.check(2 * n) } else { 0 };
        let blinding = if options.blinding { self.blinding(2 * n) } else { 0 };
        2 * self.power(n, prime_bits) + self.recombination(n) + check + blinding
    }
}

impl Ifma {
    /// Of a full pass; nothing for a size that is not computed here, or with the library.
    pub(in super::super) fn multiply_adds(options: &RsaOptions, bits: usize) -> Option<u64> {
        let layout = Layout::of_bits(bits)?;
        let karatsuba = kernels(options)?[layout.blocks() - 1];
        Some(Count::of(karatsuba).full_pass(layout, bits as u64 / 2, options))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::padding::random::Random;
    use super::super::super::{RsaKey, Simd};
    use super::super::simd::MULTIPLY_ADDS;
    use super::super::{FULL, IfmaKey, Operation};
    use super::*;

    /// A full pass.
    fn run(ifma: &mut Ifma, key: &IfmaKey, bits: usize) {
        let (input, mut outputs) = (vec![2; bits / 8], vec![vec![0; bits / 8]; FULL]);
        let mut operations: Vec<_> =
            outputs.iter_mut().map(|output| Operation { key, input: &input, output, done: false }).collect();
        ifma.private(&mut operations, Some(&mut Random::new().unwrap()));
        assert!(operations.iter().all(|o| o.done));
    }

    #[test]
    fn as_many_are_counted_as_are_done() {
        if !Ifma::available() {
            println!("skipped: this cpu has no AVX-512 IFMA");
            return;
        }
        for bits in [2048, 3072, 4096] {
            let key = RsaKey::generate(bits).unwrap();
            let key = IfmaKey::new(key.parts("test").unwrap(), key.bits()).unwrap().unwrap();
            let kernels = [Simd::Avx512IfmaPlain, Simd::Avx512IfmaKaratsuba];
            let ways = kernels.into_iter().flat_map(|k| (0..4).map(move |w| (k, w & 1 == 1, w & 2 == 2)));
            for (simd, check, blinding) in ways {
                let options = RsaOptions { simd, check, blinding, ..RsaOptions::default() };
                let mut ifma = Ifma::new(&options).unwrap();
                // The first pass makes the factors of the key.
                run(&mut ifma, &key, bits);
                MULTIPLY_ADDS.set(0);
                run(&mut ifma, &key, bits);
                assert_eq!(
                    Ifma::multiply_adds(&options, bits),
                    Some(MULTIPLY_ADDS.get()),
                    "{bits} bits, {}, check {check}, blinding {blinding}",
                    simd.name()
                );
            }
        }
    }

    #[test]
    fn what_is_not_computed_here_is_not_counted() {
        assert_eq!(Ifma::multiply_adds(&RsaOptions::default(), 2040), None);
        let library = RsaOptions { simd: Simd::Library, ..RsaOptions::default() };
        assert_eq!(Ifma::multiply_adds(&library, 2048), None);
    }
}
