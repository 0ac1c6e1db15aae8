//! The kernels of one block, in all their kinds, against big integers.

use num_bigint::{BigInt, BigUint};
use proptest::prelude::*;

use super::super::block::{
    Block, Columns, DIGITS, Difference, Held, carry_block, multiply_add, multiply_high, multiply_low, square,
};
use super::*;

/// Numbers for so many digits in all lanes: `[digit][lane]`.
pub(super) fn digits(n: usize) -> impl Strategy<Value = Vec<u64>> {
    let digit = prop_oneof![
        2 => Just(DIGIT_MASK),
        2 => Just(0),
        1 => Just(1),
        1 => Just(DIGIT_MASK - 1),
        1 => Just(1 << (DIGIT_BITS - 1)),
        3 => 0..=DIGIT_MASK,
    ];
    prop::collection::vec(digit, n * LANES)
}

/// The same, and something above bit 52, as the kernels leave it.
fn untidy(n: usize) -> impl Strategy<Value = Vec<u64>> {
    (digits(n), prop::collection::vec(0u64..1 << 12, n * LANES)).prop_map(|(digits, above)| {
        digits.iter().zip(above).map(|(digit, above)| digit | above << DIGIT_BITS).collect()
    })
}

/// Sums such as stand in columns: up to 2^60, and below zero too.
fn sums(n: usize) -> impl Strategy<Value = Vec<u64>> {
    let bound = 1i64 << 60;
    let sum = prop_oneof![Just(bound), Just(-bound), Just(0), Just(-1), -bound..=bound];
    prop::collection::vec(sum.prop_map(|sum| sum as u64), n * LANES)
}

pub(super) fn vectors<const N: usize>(of: &[u64]) -> [V; N] {
    std::array::from_fn(|i| {
        // SAFETY: the tests run only where `Bench::new` found the features.
        let mut v = unsafe { simd::zero() };
        lanes_mut(&mut v).copy_from_slice(&of[i * LANES..][..LANES]);
        v
    })
}

/// A lane's number, with whatever its digits have above bit 52, and below zero.
fn signed(digits: &[V], lane: usize) -> BigInt {
    digits.iter().rev().fold(BigInt::ZERO, |sum, v| (sum << DIGIT_BITS) + lanes(v)[lane] as i64)
}

/// A lane's number of what `vpmadd52` sees of its digits.
pub(super) fn seen(digits: &[V], lane: usize) -> BigInt {
    digits.iter().rev().fold(BigInt::ZERO, |sum, v| (sum << DIGIT_BITS) + (lanes(v)[lane] & DIGIT_MASK))
}

/// The block of some sums, and what is carried out of it.
fn block(sums: &[u64], direction: Difference) -> (Block, V) {
    let columns: [V; DIGITS] = vectors(sums);
    let [z] = vectors(&[0; LANES]);
    let mut block = Block { digits: columns, difference: [z; 5], sign: z };
    // SAFETY: as above.
    let carried = unsafe { carry_block::<true>(&mut block, &columns, z, direction) };
    (block, carried)
}

fn power(digits: usize) -> BigInt {
    BigInt::from(1) << (DIGIT_BITS * digits)
}

/// Adds x · y with a kind of kernel to columns of which `held` hold something, and checks the value and each column.
fn check_multiply<const K: bool>(columns: &Columns, x: &Block, y: &Block, same: bool, held: Held) {
    let mut after = *columns;
    // SAFETY: as above.
    unsafe { multiply_add::<K>(&mut after, x, y, same, held, ()) };
    let holding = match held {
        Held::None => 0,
        Held::Lower => DIGITS,
        Held::All => 2 * DIGITS,
    };
    for lane in 0..LANES {
        let product = seen(&x.digits, lane) * seen(&y.digits, lane);
        assert_eq!(signed(&after, lane), signed(&columns[..holding], lane) + product, "{K} {same}");
        // What the bound of the columns in `montgomery` is made of.
        let most = if K { 40i64 } else { 20 } << DIGIT_BITS;
        for (i, (after, before)) in after.iter().zip(columns).enumerate() {
            let before = if i < holding { lanes(before)[lane] as i64 } else { 0 };
            assert!((lanes(after)[lane] as i64 - before).abs() <= most, "column {i} of {K} {same}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_block_of_sums_has_their_digits_their_difference_and_its_sign(sums in sums(DIGITS)) {
        if Bench::new().is_none() { return Ok(()) }
        for direction in [Difference::Upward, Difference::Downward] {
            let (block, carried) = block(&sums, direction);
            for lane in 0..LANES {
                let carried = BigInt::from(lanes(&carried)[lane] as i64);
                let value = signed(&vectors::<DIGITS>(&sums), lane);
                prop_assert_eq!(seen(&block.digits, lane) + (carried << (DIGIT_BITS * DIGITS)), value);
                let (lower, upper) = block.digits.split_at(5);
                let (lower, upper) = (seen(lower, lane), seen(upper, lane));
                let difference = if direction == Difference::Upward { upper - lower } else { lower - upper };
                let below = (lanes(&block.sign)[lane] as i64) < 0;
                prop_assert_eq!(below, difference < BigInt::ZERO);
                let wrapped = if below { difference + power(5) } else { difference };
                prop_assert_eq!(seen(&block.difference, lane), wrapped);
                prop_assert!(block.difference.iter().all(|d| lanes(d)[lane] <= DIGIT_MASK));
            }
        }
    }

    #[test]
    fn products_are_added_by_both_kinds_whatever_the_columns_hold(
        x in sums(DIGITS), y in sums(DIGITS), columns in sums(2 * DIGITS)
    ) {
        if Bench::new().is_none() { return Ok(()) }
        let columns = vectors(&columns);
        for same in [false, true] {
            let x = block(&x, Difference::Upward).0;
            let y = block(&y, if same { Difference::Upward } else { Difference::Downward }).0;
            for held in [Held::None, Held::Lower, Held::All] {
                check_multiply::<false>(&columns, &x, &y, same, held);
                check_multiply::<true>(&columns, &x, &y, same, held);
                check_multiply::<true>(&columns, &y, &x, same, held);
            }
        }
    }

    #[test]
    fn extreme_digits_multiply_too(x in digits(DIGITS), y in digits(DIGITS)) {
        if Bench::new().is_none() { return Ok(()) }
        let columns = vectors(&[0; 2 * DIGITS * LANES]);
        let (x, y) = (block(&x, Difference::Upward).0, block(&y, Difference::Downward).0);
        check_multiply::<false>(&columns, &x, &y, false, Held::None);
        check_multiply::<true>(&columns, &x, &y, false, Held::None);
    }

    #[test]
    fn a_square_is_added_to_twice_the_columns(x in sums(DIGITS), columns in sums(2 * DIGITS)) {
        if Bench::new().is_none() { return Ok(()) }
        let x = block(&x, Difference::Upward).0;
        let columns: Columns = vectors(&columns);
        for kind in 0..4 {
            let (mut after, mut before) = (columns, columns);
            // SAFETY: as above.
            unsafe {
                match kind {
                    0 => square::<false, false>(&mut after, &x),
                    1 => square::<false, true>(&mut after, &x),
                    2 => square::<true, false>(&mut after, &x),
                    _ => square::<true, true>(&mut after, &x),
                }
            }
            let [none] = vectors(&[0; LANES]);
            if kind & 2 == 0 { before[..DIGITS].fill(none) }
            if kind & 1 == 0 { before[DIGITS..].fill(none) }
            for lane in 0..LANES {
                let x = seen(&x.digits, lane);
                prop_assert_eq!(signed(&after, lane), 2 * signed(&before, lane) + &x * &x);
            }
        }
    }

    #[test]
    fn the_step_of_reduction_leaves_no_remainder(
        l in untidy(DIGITS), m in digits(DIGITS), columns in sums(DIGITS)
    ) {
        if Bench::new().is_none() { return Ok(()) }
        let (l, mut m): ([V; DIGITS], [V; DIGITS]) = (vectors(&l), vectors(&m));
        lanes_mut(&mut m[0]).iter_mut().for_each(|lane| *lane |= 1);
        let r: BigUint = BigUint::from(1u8) << (DIGIT_BITS * DIGITS);
        let mut inverse = vec![0; DIGITS * LANES];
        for lane in 0..LANES {
            let m = seen(&m, lane).to_biguint().expect("no sign");
            let negated = &r - m.modinv(&r).expect("odd");
            for i in 0..DIGITS {
                let digit = (&negated >> (DIGIT_BITS * i)) % (1u64 << DIGIT_BITS);
                inverse[i * LANES + lane] = digit.try_into().expect("a digit");
            }
        }
        let (inverse, before): ([V; DIGITS], [V; DIGITS]) = (vectors(&inverse), vectors(&columns));
        let (mut q, mut after) = (block(&columns, Difference::Upward).0, before);
        // SAFETY: as above.
        unsafe {
            multiply_low::<true>(&mut q, &l, &inverse);
            multiply_high(&mut after, l[DIGITS - 1], &q.digits, &m);
        }
        for lane in 0..LANES {
            let (l, q, m) = (seen(&l, lane), seen(&q.digits, lane), seen(&m, lane));
            prop_assert_eq!(&q, &(&l * seen(&inverse, lane) % power(DIGITS)));
            let sum = l + q * m;
            prop_assert_eq!(&sum % power(DIGITS), BigInt::ZERO);
            prop_assert_eq!(signed(&after, lane), signed(&before, lane) + (sum >> (DIGIT_BITS * DIGITS)));
        }
    }
}
