//! Multiplication of blocks of ten digits: nearly all the time goes here.
//!
//! Ten digits of one factor, the window of sums and a digit of the other fit in the 32 registers, so a block product of
//! 200 multiply-adds does about 60 loads and stores. A block product comes in two kinds. The plain one does all
//! 100 digit products. Karatsuba's (Karatsuba and Ofman, 1962) does 75 of them and some fifty additions more: faster
//! where additions have execution ports of their own (AMD Zen 5), slower where they compete with the multiplications
//! (Intel). For it a block carries the difference of its halves.

#![allow(
    clippy::absurd_extreme_comparisons,
    clippy::out_of_bounds_indexing,
    reason = "the unrolled loops have branches that a constant rules out"
)]

use core::arch::x86_64::{
    _mm512_mask_add_epi64, _mm512_mask_sub_epi64, _mm512_movepi64_mask, _mm512_set1_epi64, _mm512_srli_epi64,
};

use super::simd::{DIGIT_BITS, V, add, carry, digit, each5, each10, hi, lo, load, sub, zero};

/// Digits of a block.
pub(super) const DIGITS: usize = 10;

/// Ten digits of eight numbers, and for Karatsuba the difference of the upper and the lower five.
///
/// Digits may have a carry above bit 52 which the next digit has too: `vpmadd52` does not see it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block {
    pub(super) digits: [V; DIGITS],
    /// The difference modulo 2^260, proper digits.
    pub(super) difference: [V; 5],
    /// Below zero in the lanes where the difference is.
    pub(super) sign: V,
}

/// The sums of digit products at the weights of two blocks, not yet carried: a window into a longer product.
pub(super) type Columns = [V; 2 * DIGITS];

/// Which half is subtracted from which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// Upper half − lower half: quotients, and values at even places.
    Upward,
    /// Lower half − upper half: constants, and values at odd places.
    Downward,
}

/// What the columns of a window hold before a product is added. Products are added to columns in such an order that
/// these three cases are all there are; so nobody has to clear columns first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing yet.
    None,
    /// The lower ten hold sums.
    Lower,
    /// All hold sums.
    All,
}

/// Work for the execution ports that a kernel of multiplications leaves idle, in pieces that are done between the
/// kernel's rows. Put before or after the kernel it would hold up the multiplications: the processor does not look
/// that far ahead.
pub(super) trait Stitch {
    /// The piece after row `ROW`, of ten or more.
    fn piece<const ROW: usize>(&mut self);
}

/// Nothing to do.
impl Stitch for () {
    #[inline(always)]
    fn piece<const ROW: usize>(&mut self) {}
}

/// columns += x · y. `same`: the differences of `x` and `y` were taken in the same direction.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn multiply_add<const KARATSUBA: bool>(
    columns: &mut Columns,
    x: &Block,
    y: &Block,
    same: bool,
    held: Held,
    stitch: impl Stitch,
) {
    match (KARATSUBA, held, same) {
        (false, Held::None, _) => plain::<false, false>(columns, &x.digits, &y.digits, stitch),
        (false, Held::Lower, _) => plain::<true, false>(columns, &x.digits, &y.digits, stitch),
        (false, Held::All, _) => plain::<true, true>(columns, &x.digits, &y.digits, stitch),
        (true, Held::None, false) => karatsuba::<false, false, false>(columns, x, y, stitch),
        (true, Held::None, true) => karatsuba::<true, false, false>(columns, x, y, stitch),
        (true, Held::Lower, false) => karatsuba::<false, true, false>(columns, x, y, stitch),
        (true, Held::Lower, true) => karatsuba::<true, true, false>(columns, x, y, stitch),
        (true, Held::All, false) => karatsuba::<false, true, true>(columns, x, y, stitch),
        (true, Held::All, true) => karatsuba::<true, true, true>(columns, x, y, stitch),
    }
}

/// The columns, zero where they hold nothing.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn held<const LOWER: bool, const UPPER: bool>(columns: &Columns) -> Columns {
    let mut c = [zero(); 2 * DIGITS];
    if LOWER {
        each10!(I => { c[I] = columns[I]; });
    }
    if UPPER {
        each10!(I => { c[DIGITS + I] = columns[DIGITS + I]; });
    }
    c
}

/// columns += x · y. `LOWER`, `UPPER`: whether these columns hold something, or count as zero.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn plain<const LOWER: bool, const UPPER: bool>(
    columns: &mut Columns,
    x: &[V; DIGITS],
    y: &[V; DIGITS],
    mut stitch: impl Stitch,
) {
    let mut c = held::<LOWER, UPPER>(columns);
    each10!(I => {
        each10!(J => { c[I + J] = lo(c[I + J], x[I], y[J]); });
        each10!(J => { c[I + J + 1] = hi(c[I + J + 1], x[I], y[J]); });
        columns[I] = c[I];
        stitch.piece::<I>();
    });
    each10!(I => { columns[DIGITS + I] = c[DIGITS + I]; });
}

/// columns += x · y in three products of five digits.
///
/// With x = x0 + x1 B, y = y0 + y1 B and P = x0 y0 + x1 y1 B the product is (1 + B) P + (x1 − x0)(y0 − y1) B: the
/// second product adds to the first's columns at no cost (Bernstein, "Batch binary Edwards", 2009, section 2), and
/// with the differences taken in opposite directions the third is added, not subtracted. A negative difference d
/// stands as d + B, so B times the other factor is to be taken off again.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn karatsuba<const SAME: bool, const LOWER: bool, const UPPER: bool>(
    columns: &mut Columns,
    x: &Block,
    y: &Block,
    mut stitch: impl Stitch,
) {
    let old = |i: usize, columns: &Columns| {
        if (i < DIGITS && LOWER) || (i >= DIGITS && UPPER) { load(&columns[i]) } else { zero() }
    };
    let x_negative = _mm512_movepi64_mask(x.sign);
    let y_negative = _mm512_movepi64_mask(y.sign);
    let mut middle = [zero(); DIGITS];
    if !SAME {
        each10!(I => { middle[I] = old(5 + I, columns); });
    }
    multiply5::<0, 0, _>(&mut middle, &x.difference, &y.difference, &mut stitch);
    each5!(I => {
        let m = middle[5 + I];
        let m = _mm512_mask_sub_epi64(m, x_negative, m, load(&y.difference[I]));
        middle[5 + I] = _mm512_mask_sub_epi64(m, y_negative, m, load(&x.difference[I]));
    });
    if SAME {
        each10!(I => { middle[I] = sub(old(5 + I, columns), middle[I]); });
    }
    let (both, one) = (x_negative & y_negative, _mm512_set1_epi64(1));
    let top = old(15, columns);
    let top = if SAME {
        _mm512_mask_sub_epi64(top, both, top, one)
    } else {
        _mm512_mask_add_epi64(top, both, top, one)
    };
    let mut p = [zero(); 15];
    multiply5::<5, 5, _>(&mut p, &x.digits[5..], &y.digits[5..], &mut stitch);
    each5!(I => {
        columns[15 + I] = add(if I == 0 { top } else { old(15 + I, columns) }, p[10 + I]);
        middle[5 + I] = add(middle[5 + I], p[10 + I]);
    });
    multiply5::<0, 10, _>(&mut p, &x.digits[..5], &y.digits[..5], &mut stitch);
    each5!(I => {
        columns[I] = add(old(I, columns), p[I]);
        columns[5 + I] = add(add(p[I], p[5 + I]), middle[I]);
        columns[10 + I] = add(p[5 + I], middle[5 + I]);
    });
}

/// columns from `AT` on += x · y, five digits each; the kernel's rows from `ROW` on.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn multiply5<const AT: usize, const ROW: usize, const N: usize>(
    columns: &mut [V; N],
    x: &[V],
    y: &[V],
    stitch: &mut impl Stitch,
) {
    let y: [V; 5] = std::array::from_fn(|j| load(&y[j]));
    each5!(I => {
        let x = load(&x[I]);
        each5!(J => { columns[AT + I + J] = lo(columns[AT + I + J], x, y[J]); });
        each5!(J => { columns[AT + I + J + 1] = hi(columns[AT + I + J + 1], x, y[J]); });
        match ROW {
            0 => stitch.piece::<I>(),
            5 => stitch.piece::<{ 5 + I }>(),
            _ => stitch.piece::<{ 10 + I }>(),
        }
    });
}

/// columns = 2 · columns + x². `LOWER`, `UPPER` as above.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn square<const LOWER: bool, const UPPER: bool>(columns: &mut Columns, x: &Block) {
    let x = &x.digits;
    let mut c = held::<LOWER, UPPER>(columns);
    each10!(I => {
        each10!(J => { if J > I { c[I + J] = lo(c[I + J], x[I], x[J]); } });
        each10!(J => { if J > I { c[I + J + 1] = hi(c[I + J + 1], x[I], x[J]); } });
        // These two columns have all their mixed products now, once each.
        columns[2 * I] = lo(add(c[2 * I], c[2 * I]), x[I], x[I]);
        columns[2 * I + 1] = hi(add(c[2 * I + 1], c[2 * I + 1]), x[I], x[I]);
    });
}

/// q = l · k modulo 2^520.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn multiply_low<const KARATSUBA: bool>(q: &mut Block, l: &[V; DIGITS], k: &[V; DIGITS]) {
    // Two sums a column: one would be a chain of nineteen additions that depend on each other.
    let mut low = [zero(); DIGITS];
    let mut high = [zero(); DIGITS];
    each10!(I => {
        each10!(J => { if I + J < 10 { low[I + J] = lo(low[I + J], l[I], k[J]); } });
        each10!(J => { if I + J < 9 { high[I + J + 1] = hi(high[I + J + 1], l[I], k[J]); } });
    });
    each10!(I => { low[I] = add(low[I], high[I]); });
    carry_block::<KARATSUBA>(q, &low, zero(), Difference::Upward);
}

/// columns += (l + q · m) / 2^520, where the division leaves no remainder. Of `l` only its highest digit is needed.
///
/// The columns below the highest of the lower ten are not computed: whatever they carry into it makes it a multiple
/// of 2^52, and is less than that.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn multiply_high(columns: &mut [V; DIGITS], l9: V, q: &[V; DIGITS], m: &[V; DIGITS]) {
    let all_ones = _mm512_set1_epi64((1 << DIGIT_BITS) - 1);
    let mut carried = zero();
    each10!(C => {
        // Column C + 9 in four sums.
        let mut s = [if C == 0 { digit(l9) } else { columns[C.wrapping_sub(1) % 10] }, zero(), zero(), zero()];
        each10!(I => { if C < I + 1 { s[I % 2] = lo(s[I % 2], q[I], m[(C + 9 - I) % 10]); } });
        each10!(I => { if C < I + 2 && I < C + 9 {
            s[2 + I % 2] = hi(s[2 + I % 2], q[I], m[(C + 8 - I) % 10]);
        } });
        let sum = add(add(s[0], s[1]), add(s[2], s[3]));
        if C == 0 {
            carried = _mm512_srli_epi64::<{ DIGIT_BITS as u32 }>(add(sum, all_ones));
        } else {
            columns[C.wrapping_sub(1) % 10] = sum;
        }
    });
    columns[0] = add(columns[0], carried);
    columns[9] = hi(columns[9], q[9], m[9]);
}

/// Carries columns into a block, with `carried` from below, and returns what goes on above.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn carry_block<const KARATSUBA: bool>(
    block: &mut Block,
    columns: &[V; DIGITS],
    carried: V,
    direction: Difference,
) -> V {
    let mut v = add(columns[0], carried);
    let first = v;
    block.digits[0] = v;
    each5!(I => { if I > 0 {
        v = add(columns[I], carry(v));
        block.digits[I] = v;
    } });
    let carried5 = carry(v);
    v = add(columns[5], carried5);
    let sixth = v;
    block.digits[5] = v;
    each5!(I => { if I > 0 {
        v = add(columns[5 + I], carry(v));
        block.digits[5 + I] = v;
    } });
    let carried10 = carry(v);
    if KARATSUBA {
        // From the columns, not from the digits, whose carries stand in two of them: what the lower half carries
        // is missing in it and is in the upper half already (`sixth`).
        let upward = direction == Difference::Upward;
        let difference = |lower, upper| if upward { sub(upper, lower) } else { sub(lower, upper) };
        let mut d = difference(first, sixth);
        block.difference[0] = digit(d);
        each5!(I => { if I > 0 {
            d = add(difference(columns[I], columns[5 + I]), carry(d));
            block.difference[I] = digit(d);
        } });
        block.sign = add(carry(d), difference(carried10, carried5));
    }
    carried10
}

/// The block of proper digits.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn block_of<const KARATSUBA: bool>(
    block: &mut Block,
    digits: &[V; DIGITS],
    direction: Difference,
) {
    carry_block::<KARATSUBA>(block, digits, zero(), direction);
}
