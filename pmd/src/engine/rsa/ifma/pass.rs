//! A pass: up to eight private operations at once.
//!
//! s = c^d mod n by the Chinese remainder theorem (Quisquater and Couvreur 1982): xp = c^dp mod p, xq = c^dq mod q,
//! s = xq + q · ((xp − xq) · q⁻¹ mod p). Then s^e is compared with c in every lane: a fault in one half would otherwise
//! give a result that reveals the factors (Boneh, DeMillo, Lipton 1997).
//!
//! A **full pass** computes eight operations, p and q as two chains that fill each other's gaps. A **half pass**
//! computes four in about half the time, as one chain with p in lanes 0 to 3 and q in lanes 4 to 7.

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_cmpeq_epi64_mask, _mm512_mask_add_epi64, _mm512_mask_mov_epi64,
    _mm512_mask_sub_epi64, _mm512_movepi64_mask, _mm512_or_si512, _mm512_shuffle_i64x2, _mm512_sub_epi64,
    _mm512_xor_si512,
};

use super::super::secret::{Plain, wipe};
use super::block::{Block, DIGITS, block_of, plain};
use super::constants::{Half, Layout};
use super::exponent::{Table, exponentiate};
#[cfg(test)]
use super::fault;
use super::montgomery::{Chain, MAX_BLOCKS, Modulus, Scratch, direction, multiply, reduce_value, square};
use super::simd::{LANES, V, carry, digit, zero};

/// Blocks of the largest prime.
const HALF_BLOCKS: usize = MAX_BLOCKS / 2;
const HALF_DIGITS: usize = HALF_BLOCKS * DIGITS;
const DIGITS_MAX: usize = MAX_BLOCKS * DIGITS;

/// All that a pass writes on its way. Secret throughout.
#[repr(C, align(64))]
pub(super) struct Arena {
    scratch: [Scratch; 2],
    x: [[Block; HALF_BLOCKS]; 2],
    tables: [Table; 2],
    /// xp in Montgomery form, and what becomes of it.
    a: [V; HALF_DIGITS],
    /// xq.
    b: [V; HALF_DIGITS],
    whole: [[Block; MAX_BLOCKS]; 4],
    /// The inputs, proper digits.
    pub(super) input: [V; DIGITS_MAX],
    /// What is raised to the exponent: the inputs, blinded or not.
    raised: [V; DIGITS_MAX],
    /// For blinding, in Montgomery form: r^e and 1/r modulo n. A pass replaces them by their squares.
    pub(super) factors: [[V; DIGITS_MAX]; 2],
    /// The results, proper digits.
    pub(super) output: [V; DIGITS_MAX],
    columns: [V; DIGITS_MAX + DIGITS],
}

// SAFETY: integers throughout: zero is valid, nothing to drop, aligned to 64 bytes.
unsafe impl Plain for Arena {}

/// The keys of a pass.
pub(super) struct Keys<'a> {
    pub(super) layout: Layout,
    /// In lanes: of eight operations, or blended for a half pass.
    pub(super) lanes: &'a [V],
    /// The public exponents: not secret.
    pub(super) e: [u64; LANES],
    /// Whether results are checked.
    pub(super) check: bool,
    /// Whether inputs are blinded, with the arena's factors.
    pub(super) blinding: bool,
}

impl Arena {
    /// Makes zeros of all that a pass over keys of this layout has written.
    pub(super) fn wipe(&mut self, layout: Layout) {
        for table in &mut self.tables {
            table.wipe(layout.blocks());
        }
        let Self { scratch, x, tables: _, a, b, whole, input, raised, factors, output, columns } = self;
        for scratch in scratch {
            scratch.wipe();
        }
        wipe(x.as_flattened_mut());
        wipe(whole.as_flattened_mut());
        let [factor, inverse] = factors;
        for digits in [&mut a[..], b, input, raised, factor, inverse, output, columns] {
            wipe(digits);
        }
    }
}

/// Eight operations. Returns the lanes whose result passed the check.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn full<const K: bool>(arena: &mut Arena, keys: &Keys<'_>) -> u8 {
    let n = keys.layout.blocks();
    let (p, q) = (keys.layout.first(keys.lanes), keys.layout.second(keys.lanes));
    blind::<K>(arena, keys);
    {
        let [sp, sq] = &mut arena.scratch;
        let [xp, xq] = &mut arena.x;
        let [tp, tq] = &mut arena.tables;
        let mut chains = [chain(p.modulus, xp, sp, n), chain(q.modulus, xq, sq, n)];
        let (halves, tables) = ([&p, &q], &mut [tp, tq]);
        match n {
            1 => raise::<K, 2, 1>(&mut chains, halves, tables, &arena.raised),
            2 => raise::<K, 2, 2>(&mut chains, halves, tables, &arena.raised),
            3 => raise::<K, 2, 3>(&mut chains, halves, tables, &arena.raised),
            _ => raise::<K, 2, 4>(&mut chains, halves, tables, &arena.raised),
        }
        to_digits(&mut arena.a, chains[0].x);
        let [_, chain] = chains;
        from_montgomery::<K>(&mut arena.b, chain);
    }
    finish::<K>(arena, keys, &p)
}

/// Four operations, in lanes 0 to 3 of inputs and results; the inputs must stand in lanes 4 to 7 too.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn half<const K: bool>(arena: &mut Arena, keys: &Keys<'_>) -> u8 {
    let n = keys.layout.blocks();
    let both = keys.layout.first(keys.lanes);
    blind::<K>(arena, keys);
    {
        let mut chains = [chain(both.modulus, &mut arena.x[0], &mut arena.scratch[0], n)];
        let tables = &mut [&mut arena.tables[0]];
        match n {
            1 => raise::<K, 1, 1>(&mut chains, [&both], tables, &arena.raised),
            2 => raise::<K, 1, 2>(&mut chains, [&both], tables, &arena.raised),
            3 => raise::<K, 1, 3>(&mut chains, [&both], tables, &arena.raised),
            _ => raise::<K, 1, 4>(&mut chains, [&both], tables, &arena.raised),
        }
        to_digits(&mut arena.a, chains[0].x);
        let [chain] = chains;
        from_montgomery::<K>(&mut arena.b, chain);
        for v in &mut arena.b[..n * DIGITS] {
            *v = _mm512_shuffle_i64x2::<0b11_10_11_10>(*v, *v);
        }
    }
    finish::<K>(arena, keys, &both) & 0x0f
}

fn chain<'a>(modulus: Modulus<'a>, x: &'a mut [Block], scratch: &'a mut Scratch, n: usize) -> Chain<'a> {
    Chain { modulus, x: &mut x[..n], scratch, pick: None }
}

/// x ← input ^ exponent, in Montgomery form.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn raise<const K: bool, const S: usize, const N: usize>(
    chains: &mut [Chain<'_>; S],
    halves: [&Half<'_>; S],
    tables: &mut [&mut Table; S],
    input: &[V],
) {
    // c / R, then times R³ / R: c · R.
    reduce_value::<K, S, N>(chains, |_, columns| {
        let len = columns.len();
        columns.copy_from_slice(&input[..len]);
    });
    multiply::<K, S, N>(chains, halves.map(|h| h.r3));
    exponentiate::<K, S, N>(chains, halves, tables);
}

/// The value of a chain out of Montgomery form, below its modulus.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn from_montgomery<const K: bool>(to: &mut [V], chain: Chain<'_>) {
    let n = chain.x.len();
    to_digits(to, chain.x);
    let mut chains = [chain];
    reduce_value::<K, 1, 0>(&mut chains, |_, columns| {
        columns[..n * DIGITS].copy_from_slice(&to[..n * DIGITS])
    });
    to_digits(to, chains[0].x);
    canonical(&mut to[..n * DIGITS], chains[0].modulus.m);
}

/// From xp (Montgomery form) in `a` and xq in `b` to the checked results. `p`: the half whose modulus is p.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn finish<const K: bool>(arena: &mut Arena, keys: &Keys<'_>, p: &Half<'_>) -> u8 {
    let n = keys.layout.blocks();
    let digits = n * DIGITS;
    let whole = keys.layout.product(keys.lanes);
    #[cfg(test)]
    {
        fault::strike(fault::Place::P, &mut arena.a);
        fault::strike(fault::Place::Q, &mut arena.b);
    }
    // (xp − xq) · R mod p, from xq · R² / R.
    let x = &mut arena.x[0];
    to_blocks::<K>(&mut x[..n], &arena.b);
    let mut chains = [chain(p.modulus, x, &mut arena.scratch[0], n)];
    multiply::<K, 1, 0>(&mut chains, [p.r2]);
    to_digits(&mut arena.output, chains[0].x);
    canonical(&mut arena.output[..digits], p.modulus.m);
    canonical(&mut arena.a[..digits], p.modulus.m);
    subtract_modulo(&mut arena.a[..digits], &arena.output[..digits], p.modulus.m);
    // h = (xp − xq) · q⁻¹ mod p.
    to_blocks::<K>(chains[0].x, &arena.a);
    multiply::<K, 1, 0>(&mut chains, [whole.qinv]);
    to_digits(&mut arena.a, chains[0].x);
    canonical(&mut arena.a[..digits], p.modulus.m);
    // s = xq + q · h.
    to_blocks::<K>(chains[0].x, &arena.a);
    let columns = &mut arena.columns;
    columns.fill(zero());
    columns[..digits].copy_from_slice(&arena.b[..digits]);
    for (i, h) in chains[0].x.iter().enumerate() {
        for (j, q) in whole.q.iter().enumerate() {
            let window = columns[DIGITS * (i + j)..].first_chunk_mut().expect("room for the whole product");
            plain::<true, true>(window, &h.digits, &q.digits, ());
        }
    }
    let mut carried = zero();
    for (s, column) in arena.output.iter_mut().zip(columns.iter()).take(2 * digits) {
        let v = _mm512_add_epi64(*column, carried);
        carried = carry(v);
        *s = digit(v);
    }
    unblind::<K>(arena, keys);
    #[cfg(test)]
    fault::strike(fault::Place::Result, &mut arena.output);
    if keys.check { check::<K>(arena, keys) } else { !0 }
}

/// raised ← input · r^e mod n.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn blind<const K: bool>(arena: &mut Arena, keys: &Keys<'_>) {
    let digits = 2 * keys.layout.blocks() * DIGITS;
    arena.raised[..digits].copy_from_slice(&arena.input[..digits]);
    if keys.blinding {
        let Arena { raised, factors, whole, scratch, .. } = arena;
        times_factor::<K>(raised, &factors[0], whole, &mut scratch[0], keys);
    }
}

/// output ← output / r mod n, and other factors for the next pass.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn unblind<const K: bool>(arena: &mut Arena, keys: &Keys<'_>) {
    if !keys.blinding {
        return;
    }
    let n = 2 * keys.layout.blocks();
    let modulus = keys.layout.product(keys.lanes).modulus;
    let Arena { output, factors, whole, scratch, .. } = arena;
    times_factor::<K>(output, &factors[1], whole, &mut scratch[0], keys);
    canonical(&mut output[..n * DIGITS], modulus.m);
    for factor in factors {
        let [x, ..] = whole;
        to_blocks::<K>(&mut x[..n], factor);
        let mut chains = [chain(modulus, x, &mut scratch[0], n)];
        square::<K, 1, 0>(&mut chains);
        to_digits(factor, chains[0].x);
    }
}

/// value ← value · factor mod n, the factor being in Montgomery form.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn times_factor<const K: bool>(
    value: &mut [V],
    factor: &[V],
    whole: &mut [[Block; MAX_BLOCKS]; 4],
    scratch: &mut Scratch,
    keys: &Keys<'_>,
) {
    let n = 2 * keys.layout.blocks();
    let [x, y, ..] = whole;
    to_blocks::<K>(&mut x[..n], value);
    to_blocks::<K>(&mut y[..n], factor);
    let mut chains = [chain(keys.layout.product(keys.lanes).modulus, x, scratch, n)];
    multiply::<K, 1, 0>(&mut chains, [&y[..n]]);
    to_digits(value, chains[0].x);
}

/// A new pair of factors: those of the arena, not in Montgomery form, raised to a secret power.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn raise_factors<const K: bool>(arena: &mut Arena, keys: &Keys<'_>, power: u64) {
    let n = 2 * keys.layout.blocks();
    let whole = keys.layout.product(keys.lanes);
    let Arena { factors, whole: [x, base, saved, _], scratch, .. } = arena;
    for factor in factors {
        to_blocks::<K>(&mut x[..n], factor);
        let mut chains = [chain(whole.modulus, x, &mut scratch[0], n)];
        multiply::<K, 1, 0>(&mut chains, [whole.r2]);
        base[..n].copy_from_slice(chains[0].x);
        // From the highest bit, which is taken for one.
        for bit in (0..63).rev() {
            square::<K, 1, 0>(&mut chains);
            saved[..n].copy_from_slice(chains[0].x);
            multiply::<K, 1, 0>(&mut chains, [&base[..n]]);
            let one = (power >> bit & 1) as u8;
            choose(chains[0].x, &saved[..n], one.wrapping_sub(1));
        }
        to_digits(factor, chains[0].x);
    }
}

/// The lanes in which output ^ e = input mod n. Exponents are public: what is done depends on their bits.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check<const K: bool>(arena: &mut Arena, keys: &Keys<'_>) -> u8 {
    let n = 2 * keys.layout.blocks();
    let whole = keys.layout.product(keys.lanes);
    let [x, base, saved, result] = &mut arena.whole;
    to_blocks::<K>(&mut result[..n], &arena.output);
    x[..n].copy_from_slice(&result[..n]);
    let mut chains = [chain(whole.modulus, x, &mut arena.scratch[0], n)];
    multiply::<K, 1, 0>(&mut chains, [whole.r2]);
    base[..n].copy_from_slice(chains[0].x);
    let top = |e: u64| 63 - e.max(1).leading_zeros();
    let lanes_where = |f: &dyn Fn(u64) -> bool| (0..LANES).fold(0, |m, l| m | u8::from(f(keys.e[l])) << l);
    let highest = keys.e.iter().map(|&e| top(e)).max().unwrap_or(0);
    for bit in (1..=highest).rev() {
        if bit < highest {
            square::<K, 1, 0>(&mut chains);
        }
        let begins = lanes_where(&|e| top(e) == bit);
        let multiplies = lanes_where(&|e| top(e) > bit && e >> bit & 1 == 1);
        if multiplies != 0 {
            saved[..n].copy_from_slice(chains[0].x);
            multiply::<K, 1, 0>(&mut chains, [&base[..n]]);
            choose(chains[0].x, &saved[..n], !multiplies);
        }
        choose(chains[0].x, &base[..n], begins);
    }
    // The last bit of every exponent is one. Times the plain result: out of Montgomery form.
    square::<K, 1, 0>(&mut chains);
    multiply::<K, 1, 0>(&mut chains, [&result[..n]]);
    let columns = &mut arena.columns[..n * DIGITS];
    to_digits(columns, chains[0].x);
    canonical(columns, whole.modulus.m);
    let differing = columns
        .iter()
        .zip(&arena.input)
        .fold(zero(), |d, (a, b)| _mm512_or_si512(d, _mm512_xor_si512(*a, *b)));
    _mm512_cmpeq_epi64_mask(differing, zero())
}

/// x ← y in the lanes of `mask`.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn choose(x: &mut [Block], y: &[Block], mask: u8) {
    for (x, y) in x.iter_mut().zip(y) {
        for (x, y) in x.digits.iter_mut().zip(&y.digits) {
            *x = _mm512_mask_mov_epi64(*x, mask, *y);
        }
        for (x, y) in x.difference.iter_mut().zip(&y.difference) {
            *x = _mm512_mask_mov_epi64(*x, mask, *y);
        }
        x.sign = _mm512_mask_mov_epi64(x.sign, mask, y.sign);
    }
}

/// The proper digits of a value.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn to_digits(to: &mut [V], x: &[Block]) {
    for (to, from) in to.iter_mut().zip(x.iter().flat_map(|b| &b.digits)) {
        *to = digit(*from);
    }
}

/// The value of proper digits.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn to_blocks<const K: bool>(x: &mut [Block], digits: &[V]) {
    for (b, (block, digits)) in x.iter_mut().zip(digits.as_chunks().0).enumerate() {
        block_of::<K>(block, digits, direction(b));
    }
}

/// x mod m for an x of proper digits below 3 m.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn canonical(x: &mut [V], m: &[Block]) {
    for _ in 0..2 {
        let modulus = || m.iter().flat_map(|b| &b.digits);
        let borrow = x
            .iter()
            .zip(modulus())
            .fold(zero(), |borrow, (x, m)| carry(_mm512_add_epi64(_mm512_sub_epi64(*x, *m), borrow)));
        let at_least = !_mm512_movepi64_mask(borrow);
        let mut borrow = zero();
        for (x, m) in x.iter_mut().zip(modulus()) {
            let d = _mm512_add_epi64(_mm512_mask_sub_epi64(*x, at_least, *x, *m), borrow);
            borrow = carry(d);
            *x = digit(d);
        }
    }
}

/// x ← x − y mod m, both of proper digits and below m.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn subtract_modulo(x: &mut [V], y: &[V], m: &[Block]) {
    let mut borrow = zero();
    for (x, y) in x.iter_mut().zip(y) {
        let d = _mm512_add_epi64(_mm512_sub_epi64(*x, *y), borrow);
        borrow = carry(d);
        *x = digit(d);
    }
    let negative = _mm512_movepi64_mask(borrow);
    let mut carried = zero();
    for (x, m) in x.iter_mut().zip(m.iter().flat_map(|b| &b.digits)) {
        let s = _mm512_add_epi64(_mm512_mask_add_epi64(*x, negative, *x, *m), carried);
        carried = carry(s);
        *x = digit(s);
    }
}
