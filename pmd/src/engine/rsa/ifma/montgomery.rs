//! Almost-Montgomery arithmetic (Montgomery 1985; Gueron 2012) on numbers of one to eight blocks.
//!
//! A value x stands for x · R mod M, R = 2^(520 · blocks), and is kept below 3 M: with at least eight bits between M and
//! R, products of such values reduce to less than 2.1 M without a comparison.
//!
//! **Reduction.** A block of low columns t0 is removed by adding t0 · M″ above it, M″ = (M · m′ + 1) / 2^520,
//! m′ = −M⁻¹ mod 2^520: the quotient is t0 itself. It leaves a sum of up to 2^520 · M, so the last block takes the
//! ordinary step: q = l · m′ mod 2^520, + q · M.
//!
//! **Bounds of values.** Let T be what is reduced, n the number of blocks, and M ≤ R / 2^8. As t0 < 2^520 and M″ ≤ M, a
//! block's removal makes T / 2^520 + 2^520 · M of T at most, so n − 1 of them leave less than
//! T / 2^(520 (n − 1)) + (2^520 + 1 + 2^-519) · M. The last step adds q · M < 2^520 · M and divides:
//! T / R + (2 + 2^-519) · M. For a product, T < 9 M² ≤ 9 M R / 2^8, and the result is below 2.04 M; for one block alone,
//! which has the last step only, below 1.04 M. [`reduce_value`] takes T < 4 · 2^(1024 n), which is less than M R / 2^5.
//! What is below 3 M fits the digits, so nothing is carried out of the highest.
//!
//! **Bounds of columns.** The halves of a digit product are below 2^52. In a column meet at most 20 of them for each
//! block of a product, of which there are n in x · y, n − 1 in the removals and one in the last step: 40 n in all, with
//! the carries between blocks less than one more. Karatsuba's kernels add some of them twice, others with a minus sign,
//! and up to two digits to correct the sign: at most 40 for 20. So columns stay within ±(80 n + 1) · 2^52, less than
//! 2^62 for eight blocks, and are carried as signed numbers.
//!
//! **Order.** Functions take several independent chains (the halves p and q of a key) and go kernel by kernel from one
//! to the other, so that the carries of one run while the other multiplies.

use super::super::secret::wipe;
use super::block::{
    Block, Columns, DIGITS, Difference, Held, carry_block, multiply_add, multiply_high, multiply_low,
    square as square_block,
};
use super::pick::Pick;
use super::simd::{V, add, carry, zero};

/// Blocks of the largest number: a modulus n of 4096 bits.
pub(super) const MAX_BLOCKS: usize = 8;

/// A modulus with what reduction needs, in lanes.
#[derive(Clone, Copy)]
pub(super) struct Modulus<'a> {
    /// M.
    pub(super) m: &'a [Block],
    /// M″.
    pub(super) fold: &'a [Block],
    /// m′.
    pub(super) inverse: &'a [V; DIGITS],
}

/// Room for one chain's intermediate values.
#[repr(C, align(64))]
pub(super) struct Scratch {
    columns: [V; 2 * MAX_BLOCKS * DIGITS + DIGITS],
    q: [Block; 2],
    l: [V; DIGITS],
}

impl Scratch {
    /// The columns as the last operation left them.
    #[cfg(test)]
    pub(super) fn columns(&self) -> &[V] {
        &self.columns
    }

    pub(super) fn wipe(&mut self) {
        wipe(&mut self.columns);
        wipe(&mut self.q);
        wipe(&mut self.l);
    }
}

/// One number that is being computed with.
pub(super) struct Chain<'a> {
    pub(super) modulus: Modulus<'a>,
    /// The value; its blocks have differences in alternating direction, see [`direction`].
    pub(super) x: &'a mut [Block],
    pub(super) scratch: &'a mut Scratch,
    /// A power being looked up by the way.
    pub(super) pick: Option<Pick<'a>>,
}

/// The direction of the differences in a value's block.
pub(super) const fn direction(block: usize) -> Difference {
    if block.is_multiple_of(2) { Difference::Upward } else { Difference::Downward }
}

fn window(columns: &mut [V], block: usize) -> &mut Columns {
    columns[DIGITS * block..].first_chunk_mut().expect("columns are longer than any product")
}

fn ten(columns: &mut [V], block: usize) -> &mut [V; DIGITS] {
    columns[DIGITS * block..].first_chunk_mut().expect("columns are longer than any product")
}

/// columns += x · y, and a digit of the power that is being looked up.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn product<const K: bool>(
    columns: &mut Columns,
    x: &Block,
    y: &Block,
    same: bool,
    held: Held,
    pick: &mut Option<Pick<'_>>,
) {
    match pick.as_mut().and_then(Pick::next) {
        Some(digit) => multiply_add::<K>(columns, x, y, same, held, digit),
        None => multiply_add::<K>(columns, x, y, same, held, ()),
    }
}

/// What the window of block product (i, j) holds when products are done row by row: the row above and the product
/// before have been there, except where the window reaches beyond both.
fn held(i: usize, j: usize, n: usize) -> Held {
    match (i, j) {
        (0, 0) => Held::None,
        (0, _) => Held::Lower,
        _ if j == n - 1 => Held::Lower,
        _ => Held::All,
    }
}

impl Chain<'_> {
    /// Carries the columns of a block into the quotient `q[which]`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn quotient<const K: bool>(&mut self, block: usize, which: usize) {
        let Scratch { columns, q, .. } = &mut *self.scratch;
        let carried = carry_block::<K>(&mut q[which], ten(columns, block), zero(), Difference::Upward);
        let above = &mut columns[DIGITS * (block + 1)];
        *above = add(*above, carried);
    }

    /// Carries the columns of a block into `l`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn last_block(&mut self, block: usize) {
        let Scratch { columns, l, .. } = &mut *self.scratch;
        let mut carried = zero();
        for (l, column) in l.iter_mut().zip(&columns[DIGITS * block..]) {
            *l = add(*column, carried);
            carried = carry(*l);
        }
        let above = &mut columns[DIGITS * (block + 1)];
        *above = add(*above, carried);
    }
}

/// Blocks of the numbers: `N`, or any number if that is 0. Known to the compiler, it saves the loops around the kernels
/// some 3 % of the time.
#[inline]
fn blocks<const N: usize>(chains: &[Chain<'_>]) -> usize {
    if N == 0 { chains[0].x.len() } else { N }
}

/// x ← x² / R.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn square<const K: bool, const S: usize, const N: usize>(chains: &mut [Chain<'_>; S]) {
    let n = blocks::<N>(chains);
    for i in 0..n {
        for j in i + 1..n {
            for chain in chains.iter_mut() {
                let columns = window(&mut chain.scratch.columns, i + j);
                let held = if i + j == 1 { Held::None } else { held(i, j, n) };
                product::<K>(columns, &chain.x[i], &chain.x[j], (i + j) % 2 == 0, held, &mut chain.pick);
            }
        }
    }
    for i in 0..n {
        for chain in chains.iter_mut() {
            let columns = window(&mut chain.scratch.columns, 2 * i);
            match (n, i) {
                (1, _) => square_block::<false, false>(columns, &chain.x[i]),
                (_, 0) => square_block::<false, true>(columns, &chain.x[i]),
                _ if i == n - 1 => square_block::<true, false>(columns, &chain.x[i]),
                _ => square_block::<true, true>(columns, &chain.x[i]),
            }
        }
        if i == 0 {
            begin_reduction::<K, S>(chains);
        }
    }
    reduce::<K, S, N>(chains);
}

/// x ← x · y / R, `ys` having a factor for each chain, with differences like a value's.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn multiply<const K: bool, const S: usize, const N: usize>(
    chains: &mut [Chain<'_>; S],
    ys: [&[Block]; S],
) {
    let n = blocks::<N>(chains);
    for i in 0..n {
        for j in 0..n {
            for (chain, y) in chains.iter_mut().zip(ys) {
                let columns = window(&mut chain.scratch.columns, i + j);
                product::<K>(columns, &chain.x[i], &y[j], (i + j) % 2 == 0, held(i, j, n), &mut chain.pick);
            }
            if i + j == 0 {
                begin_reduction::<K, S>(chains);
            }
        }
    }
    reduce::<K, S, N>(chains);
}

/// x ← value / R, for the value of up to twice the modulus's length whose digits `put` writes.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn reduce_value<const K: bool, const S: usize, const N: usize>(
    chains: &mut [Chain<'_>; S],
    mut put: impl FnMut(usize, &mut [V]),
) {
    for (i, chain) in chains.iter_mut().enumerate() {
        chain.scratch.columns[..2 * chain.x.len() * DIGITS].fill(zero());
        put(i, &mut chain.scratch.columns[..2 * chain.x.len() * DIGITS]);
    }
    begin_reduction::<K, S>(chains);
    reduce::<K, S, N>(chains);
}

/// The lowest block is complete: carries it, while the caller goes on with the others.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn begin_reduction<const K: bool, const S: usize>(chains: &mut [Chain<'_>; S]) {
    for chain in chains.iter_mut() {
        if chain.x.len() == 1 {
            chain.last_block(0);
        } else {
            chain.quotient::<K>(0, 0);
        }
    }
}

/// Reduces the columns into x, after [`begin_reduction`].
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn reduce<const K: bool, const S: usize, const N: usize>(chains: &mut [Chain<'_>; S]) {
    let n = blocks::<N>(chains);
    for step in 0..n - 1 {
        for b in 0..n {
            for chain in chains.iter_mut() {
                let columns = window(&mut chain.scratch.columns, step + 1 + b);
                let (q, fold) = (&chain.scratch.q[step % 2], &chain.modulus.fold[b]);
                product::<K>(columns, q, fold, false, Held::All, &mut chain.pick);
            }
            if b == 0 {
                for chain in chains.iter_mut() {
                    if step + 1 == n - 1 {
                        chain.last_block(step + 1);
                    } else {
                        chain.quotient::<K>(step + 1, (step + 1) % 2);
                    }
                }
            }
        }
    }
    for chain in chains.iter_mut() {
        let Scratch { q, l, .. } = &mut *chain.scratch;
        multiply_low::<K>(&mut q[0], l, chain.modulus.inverse);
    }
    for chain in chains.iter_mut() {
        let Scratch { columns, q, l } = &mut *chain.scratch;
        multiply_high(ten(columns, n), l[DIGITS - 1], &q[0].digits, &chain.modulus.m[0].digits);
    }
    for b in 1..n {
        for chain in chains.iter_mut() {
            let columns = window(&mut chain.scratch.columns, n + b - 1);
            product::<K>(
                columns,
                &chain.scratch.q[0],
                &chain.modulus.m[b],
                false,
                Held::All,
                &mut chain.pick,
            );
        }
    }
    for chain in chains.iter_mut() {
        let mut carried = zero();
        for (b, x) in chain.x.iter_mut().enumerate() {
            let columns = ten(&mut chain.scratch.columns, n + b);
            carried = carry_block::<K>(x, columns, carried, direction(b));
        }
    }
}
