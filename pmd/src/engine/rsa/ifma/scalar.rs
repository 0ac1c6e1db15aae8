//! What a key needs once: numbers in digits, and the constants of a modulus. One number at a time, and in a time that
//! depends on lengths only.

use zeroize::Zeroizing;

use super::block::DIGITS;
use super::simd::{DIGIT_BITS, DIGIT_MASK};

/// A number, lowest digit first. Wiped when dropped.
pub(super) type Digits = Zeroizing<Vec<u64>>;

/// The number of big-endian bytes, in `n` digits. What does not fit must be zeros.
pub(super) fn digits_of(bytes: &[u8], n: usize) -> Digits {
    let mut digits = Zeroizing::new(vec![0; n]);
    for (i, &byte) in bytes.iter().rev().enumerate() {
        let (at, shift) = (8 * i / DIGIT_BITS, 8 * i % DIGIT_BITS);
        let wide = u64::from(byte) << shift;
        if at < n {
            digits[at] |= wide & DIGIT_MASK;
        }
        if at + 1 < n {
            digits[at + 1] |= wide >> DIGIT_BITS;
        }
    }
    digits
}

/// The number in big-endian 64-bit words, lowest word first, `n` of them.
pub(super) fn words_of(bytes: &[u8], n: usize) -> Digits {
    let mut words = Zeroizing::new(vec![0; n]);
    for (i, &byte) in bytes.iter().rev().enumerate().take(8 * n) {
        words[i / 8] |= u64::from(byte) << (8 * (i % 8));
    }
    words
}

/// x ← x mod m, for x below 2 m. It fits the digits, because the moduli leave bits free.
fn reduce_once(x: &mut [u64], m: &[u64], reduced: &mut [u64]) {
    let mut borrow = 0;
    for ((&x, &m), r) in x.iter().zip(m).zip(reduced.iter_mut()) {
        let d = (x as i64) - (m as i64) + borrow;
        borrow = d >> DIGIT_BITS;
        *r = d as u64 & DIGIT_MASK;
    }
    // All ones where x was less than m.
    let keep = borrow as u64;
    for (x, &r) in x.iter_mut().zip(reduced.iter()) {
        *x = (*x & keep) | (r & !keep);
    }
}

/// x ← 2 x mod m.
fn double(x: &mut [u64], m: &[u64], scratch: &mut [u64]) {
    let mut carry = 0;
    for x in x.iter_mut() {
        let doubled = 2 * *x + carry;
        carry = doubled >> DIGIT_BITS;
        *x = doubled & DIGIT_MASK;
    }
    reduce_once(x, m, scratch);
}

/// x ← x² / R mod m with R = 2^(52 · digits), by digits; `negated` is −m⁻¹ mod 2^52.
fn square(x: &mut [u64], m: &[u64], negated: u64, scratch: &mut [u64]) {
    let mut sum = Zeroizing::new(vec![0u64; m.len()]);
    for &y in x.iter() {
        let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let q = sum[0].wrapping_add(x[0].wrapping_mul(y)).wrapping_mul(negated) & DIGIT_MASK;
        let mut carry = (u128::from(sum[0]) + wide(x[0], y) + wide(q, m[0])) >> DIGIT_BITS;
        for i in 1..m.len() {
            let s = u128::from(sum[i]) + wide(x[i], y) + wide(q, m[i]) + carry;
            sum[i - 1] = s as u64 & DIGIT_MASK;
            carry = s >> DIGIT_BITS;
        }
        // Below 2 m after each turn, so no digit more.
        sum[m.len() - 1] = carry as u64;
    }
    x.copy_from_slice(&sum);
    reduce_once(x, m, scratch);
}

/// R mod m, R² mod m and R³ mod m with R = 2^(52 · digits), for odd `m`.
pub(super) fn powers_of_r(m: &[u64]) -> [Digits; 3] {
    let mut scratch = Zeroizing::new(vec![0; m.len()]);
    let r_bits = DIGIT_BITS * m.len();
    // The largest power of two below m: its length is that of the key.
    let top = m.iter().rposition(|&digit| digit != 0).expect("a modulus is not zero");
    let top_bit = m[top].ilog2() as usize;
    let mut x = Zeroizing::new(vec![0; m.len()]);
    x[top] = 1 << top_bit;
    for _ in DIGIT_BITS * top + top_bit..r_bits {
        double(&mut x, m, &mut scratch);
    }
    let r = x.clone();
    // In Montgomery form, R 2^k is 2^k: squared often enough it is R.
    let squarings = r_bits.trailing_zeros();
    for _ in 0..r_bits >> squarings {
        double(&mut x, m, &mut scratch);
    }
    let negated = negated_inverse(m[0]);
    for _ in 0..squarings {
        square(&mut x, m, negated, &mut scratch);
    }
    let r2 = x.clone();
    square(&mut x, m, negated, &mut scratch);
    [r, r2, x]
}

/// −1/m mod 2^52 for an odd number of which `lowest` is the lowest digit.
fn negated_inverse(lowest: u64) -> u64 {
    // By Newton's iteration: each turn doubles the number of right bits, of which m itself has three.
    let mut inverse = lowest;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(lowest.wrapping_mul(inverse)));
    }
    inverse.wrapping_neg() & DIGIT_MASK
}

/// m′ = −m⁻¹ mod 2^520 in ten digits, and M″ = (m · m′ + 1) / 2^520 in as many as `m`, for odd `m`.
pub(super) fn montgomery(m: &[u64]) -> (Digits, Digits) {
    let negated = negated_inverse(m[0]);
    let mut sum = Zeroizing::new(vec![0u64; m.len() + DIGITS + 1]);
    let mut q = Zeroizing::new(vec![0; DIGITS]);
    sum[0] = 1;
    for i in 0..DIGITS {
        q[i] = sum[i].wrapping_mul(negated) & DIGIT_MASK;
        let mut carry = 0u128;
        for (j, &m) in m.iter().enumerate() {
            let s = u128::from(sum[i + j]) + u128::from(q[i]) * u128::from(m) + carry;
            sum[i + j] = s as u64 & DIGIT_MASK;
            carry = s >> DIGIT_BITS;
        }
        for s in &mut sum[i + m.len()..] {
            let t = u128::from(*s) + carry;
            *s = t as u64 & DIGIT_MASK;
            carry = t >> DIGIT_BITS;
        }
    }
    (q, Zeroizing::new(sum[DIGITS..DIGITS + m.len()].to_vec()))
}
