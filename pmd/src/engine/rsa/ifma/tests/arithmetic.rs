//! Almost-Montgomery arithmetic against big integers, up to the bounds that it claims.

use num_bigint::BigUint;
use proptest::prelude::*;

use super::super::block::{Block, DIGITS, Difference, block_of};
use super::super::montgomery::{Chain, Modulus, Scratch, direction, multiply, reduce_value, square};
use super::super::pass::{canonical, subtract_modulo};
use super::super::scalar;
use super::kernels::seen;
use super::*;
use crate::engine::rsa::secret::Plain;

/// Memory for two chains.
struct Room {
    scratch: [Scratch; 2],
    x: [[Block; MAX_BLOCKS]; 2],
    y: [Block; MAX_BLOCKS],
    m: [Block; MAX_BLOCKS],
    fold: [Block; MAX_BLOCKS],
    inverse: [Block; 1],
}

// SAFETY: integers throughout.
unsafe impl Plain for Room {}

/// A number for each lane.
type Numbers8 = [BigUint; LANES];

/// Numbers of which a few are extreme, below a bound that lanes have of their own.
#[derive(Clone, Debug)]
struct Draw(Vec<u64>);

fn draw() -> impl Strategy<Value = Draw> {
    let word = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    prop::collection::vec(word, 8 * MAX_BLOCKS * 2 + 1).prop_map(Draw)
}

impl Draw {
    /// A number of so many bits.
    fn bits(&self, bits: usize) -> BigUint {
        let bytes: Vec<u8> = self.0[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
        BigUint::from_bytes_le(&bytes) % (BigUint::from(1u8) << bits)
    }

    /// A modulus of exactly so many bits.
    fn modulus(&self, bits: usize) -> BigUint {
        let one = BigUint::from(1u8);
        let least = &one << (bits - 1);
        match self.0[0] % 4 {
            0 => (&one << bits) - 1u8,
            1 => least + 1u8,
            _ => (least | self.bits(bits - 1)) | one,
        }
    }

    /// A value below 3 m: what the arithmetic promises to take.
    fn value(&self, m: &BigUint) -> BigUint {
        let one = BigUint::from(1u8);
        match self.0[0] >> 32 & 15 {
            0 => 0u8.into(),
            1 => one,
            2 => m - one,
            3 => m.clone(),
            4 => m + one,
            5 => 2u8 * m,
            6..9 => 3u8 * m - one,
            9 => (one << m.bits()) - 1u8,
            _ => self.bits(m.bits() as usize + 2) % (3u8 * m),
        }
    }
}

fn per_lane(f: impl FnMut(usize) -> BigUint) -> Numbers8 {
    std::array::from_fn(f)
}

/// Writes numbers as blocks.
fn put(to: &mut [Block], numbers: &Numbers8, of: impl Fn(usize) -> Difference) {
    for (b, block) in to.iter_mut().enumerate() {
        let digits: Vec<u64> = (0..DIGITS * LANES)
            .map(|i| {
                let (digit, lane) = (b * DIGITS + i / LANES, i % LANES);
                let shifted: BigUint = &numbers[lane] >> (DIGIT_BITS * digit);
                shifted.iter_u64_digits().next().unwrap_or(0) & DIGIT_MASK
            })
            .collect();
        // SAFETY: the tests run only where `Bench::new` found the features.
        unsafe { block_of::<true>(block, &kernels::vectors(&digits), of(b)) };
    }
}

fn get(from: &[Block]) -> Numbers8 {
    let digits: Vec<V> = from.iter().flat_map(|block| block.digits).collect();
    per_lane(|lane| seen(&digits, lane).to_biguint().expect("no sign"))
}

impl Room {
    fn set_modulus(&mut self, n: usize, m: &Numbers8) {
        let mut fold = m.clone();
        let mut inverse = m.clone();
        for lane in 0..LANES {
            let digits: Vec<u64> = (0..n * DIGITS)
                .map(|i| {
                    let shifted: BigUint = &m[lane] >> (DIGIT_BITS * i);
                    shifted.iter_u64_digits().next().unwrap_or(0) & DIGIT_MASK
                })
                .collect();
            let of = |digits: &[u64]| {
                digits.iter().rev().fold(BigUint::default(), |sum, digit| (sum << DIGIT_BITS) + digit)
            };
            let (i, f) = scalar::montgomery(&digits);
            (inverse[lane], fold[lane]) = (of(&i), of(&f));
        }
        put(&mut self.m[..n], m, |_| Difference::Downward);
        put(&mut self.fold[..n], &fold, |_| Difference::Downward);
        put(&mut self.inverse, &inverse, |_| Difference::Upward);
    }

    /// Runs `f` on two chains with the same modulus and value, or on one.
    fn run<const S: usize>(&mut self, n: usize, f: impl FnOnce(&mut [Chain<'_>; S], &[Block])) {
        let modulus = Modulus { m: &self.m[..n], fold: &self.fold[..n], inverse: &self.inverse[0].digits };
        let mut parts = self.x.iter_mut().zip(&mut self.scratch);
        let mut chains = std::array::from_fn(|_| {
            let (x, scratch) = parts.next().expect("at most two chains");
            Chain { modulus, x: &mut x[..n], scratch, pick: None }
        });
        f(&mut chains, &self.y[..n]);
    }
}

/// What is done to a value.
#[derive(Clone, Copy, Debug)]
enum Step {
    Multiply,
    Square,
}

/// Does a step with a kind of kernel: two chains with their number of blocks known to the compiler as in a full pass, or
/// one without. Checks that it stays within its bounds.
fn step<const K: bool, const S: usize>(room: &mut Room, n: usize, step: Step, m: &Numbers8) -> Numbers8 {
    room.run::<S>(n, |chains, y| {
        // SAFETY: the tests run only where `Bench::new` found the features.
        unsafe {
            match (step, if S == 2 { n } else { 0 }) {
                (Step::Multiply, 1) => multiply::<K, S, 1>(chains, [y; S]),
                (Step::Multiply, 2) => multiply::<K, S, 2>(chains, [y; S]),
                (Step::Multiply, 3) => multiply::<K, S, 3>(chains, [y; S]),
                (Step::Multiply, 4) => multiply::<K, S, 4>(chains, [y; S]),
                (Step::Multiply, _) => multiply::<K, S, 0>(chains, [y; S]),
                (Step::Square, 1) => square::<K, S, 1>(chains),
                (Step::Square, 2) => square::<K, S, 2>(chains),
                (Step::Square, 3) => square::<K, S, 3>(chains),
                (Step::Square, 4) => square::<K, S, 4>(chains),
                (Step::Square, _) => square::<K, S, 0>(chains),
            }
        }
    });
    let bound = if K { 80 } else { 40 } * n as u64 + 1;
    for scratch in &room.scratch[..S] {
        let columns = scratch.columns().iter().flat_map(lanes);
        let largest = columns.map(|&column| (column as i64).unsigned_abs()).max().expect("columns");
        assert!(largest < bound << DIGIT_BITS && bound << DIGIT_BITS < 1 << 63, "{largest:x}, {n} blocks");
    }
    let result = get(&room.x[0][..n]);
    if S == 2 {
        assert_eq!(result, get(&room.x[1][..n]), "both chains");
    }
    for (result, m) in result.iter().zip(m) {
        assert!(10u8 * result < 21u8 * m, "below 2.1 m");
    }
    result
}

/// Steps from x with the factor y, each checked, the values going through as they come out.
fn check<const K: bool, const S: usize>(n: usize, m: &Numbers8, x: &Numbers8, y: &Numbers8) -> Numbers8 {
    let mut memory = Secret::<Room>::zeroed(1).unwrap();
    let room = &mut memory[0];
    room.set_modulus(n, m);
    let r_inverse =
        per_lane(|i| (BigUint::from(1u8) << (DIGIT_BITS * DIGITS * n)).modinv(&m[i]).expect("odd"));
    for x_of in &mut room.x {
        put(&mut x_of[..n], x, direction);
    }
    put(&mut room.y[..n], y, direction);
    let mut value = x.clone();
    for kind in [Step::Multiply, Step::Square, Step::Square, Step::Multiply, Step::Multiply, Step::Square] {
        let factor = if matches!(kind, Step::Square) { &value } else { y };
        let expected = per_lane(|i| &value[i] * &factor[i] * &r_inverse[i] % &m[i]);
        value = step::<K, S>(room, n, kind, m);
        assert_eq!(per_lane(|i| &value[i] % &m[i]), expected, "{kind:?} of {n} blocks, {K}");
    }
    value
}

fn moduli(n: usize, bits: usize, draws: &[Draw]) -> Numbers8 {
    assert!(bits + 8 <= DIGIT_BITS * DIGITS * n, "what the bounds need");
    per_lane(|lane| draws[lane].modulus(bits))
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    prop::collection::vec(draw(), LANES)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn products_and_squares_are_right_and_within_their_bounds(
        m in draws(), x in draws(), y in draws(), n in 1usize..=MAX_BLOCKS
    ) {
        if Bench::new().is_none() { return Ok(()) }
        // As many bits as a prime has, or a modulus.
        let m = moduli(n, 512 * n, &m);
        let (x, y) = (per_lane(|i| x[i].value(&m[i])), per_lane(|i| y[i].value(&m[i])));
        let plain = check::<false, 1>(n, &m, &x, &y);
        // The same quotients whatever the kernel, so the same numbers, not only the same remainders.
        prop_assert_eq!(&plain, &check::<true, 1>(n, &m, &x, &y));
        prop_assert_eq!(&plain, &check::<false, 2>(n, &m, &x, &y));
        prop_assert_eq!(&plain, &check::<true, 2>(n, &m, &x, &y));
    }

    #[test]
    fn a_square_is_the_number_times_itself(m in draws(), x in draws(), n in 1usize..=MAX_BLOCKS) {
        if Bench::new().is_none() { return Ok(()) }
        let m = moduli(n, 512 * n, &m);
        let x = per_lane(|i| x[i].value(&m[i]));
        let mut memory = Secret::<Room>::zeroed(1).unwrap();
        let room = &mut memory[0];
        room.set_modulus(n, &m);
        put(&mut room.y[..n], &x, direction);
        let results = [(Step::Square, false), (Step::Multiply, false), (Step::Square, true), (Step::Multiply, true)]
            .map(|(kind, karatsuba)| {
                put(&mut room.x[0][..n], &x, direction);
                if karatsuba { step::<true, 1>(room, n, kind, &m) } else { step::<false, 1>(room, n, kind, &m) }
            });
        prop_assert!(results.iter().all(|result| *result == results[0]));
    }

    #[test]
    fn values_below_three_moduli_become_remainders_and_these_are_subtracted(
        m in draws(), x in draws(), y in draws(), n in 1usize..=MAX_BLOCKS
    ) {
        if Bench::new().is_none() { return Ok(()) }
        let m = moduli(n, 512 * n, &m);
        let (x, y) = (per_lane(|i| x[i].value(&m[i])), per_lane(|i| y[i].value(&m[i])));
        let mut memory = Secret::<Room>::zeroed(1).unwrap();
        let room = &mut memory[0];
        room.set_modulus(n, &m);
        let remainders = [&x, &y].map(|numbers| {
            put(&mut room.y[..n], numbers, direction);
            let mut digits: Vec<V> = room.y[..n].iter().flat_map(|block| block.digits).collect();
            // SAFETY: the features were found.
            unsafe { canonical(&mut digits, &room.m[..n]) };
            digits
        });
        let [mut difference, subtrahend] = remainders;
        for lane in 0..LANES {
            let remainder = |of: &[V]| seen(of, lane).to_biguint().expect("no sign");
            prop_assert_eq!(remainder(&difference), &x[lane] % &m[lane]);
            prop_assert_eq!(remainder(&subtrahend), &y[lane] % &m[lane]);
        }
        // SAFETY: as above.
        unsafe { subtract_modulo(&mut difference, &subtrahend, &room.m[..n]) };
        for lane in 0..LANES {
            let expected = (&x[lane] % &m[lane] + 3u8 * &m[lane] - &y[lane]) % &m[lane];
            prop_assert_eq!(seen(&difference, lane).to_biguint(), Some(expected));
        }
    }

    #[test]
    fn powers_of_r_are_those_of_the_modulus(m in draws(), n in 1usize..=MAX_BLOCKS, bits in 2usize..512) {
        let one = BigUint::from(1u8);
        for bits in [512 * n, 512 * (n - 1) + bits] {
            for m in moduli(n, bits, &m) {
                let digit = |i: usize| (&m >> (DIGIT_BITS * i)).iter_u64_digits().next().unwrap_or(0) & DIGIT_MASK;
                let digits: Vec<u64> = (0..n * DIGITS).map(digit).collect();
                for (power, result) in (1..).zip(scalar::powers_of_r(&digits)) {
                    let result = result.iter().rev().fold(BigUint::ZERO, |sum, digit| (sum << DIGIT_BITS) + digit);
                    prop_assert_eq!(result, (&one << (power * DIGIT_BITS * n * DIGITS)) % &m);
                }
            }
        }
    }

    #[test]
    fn a_value_of_twice_the_length_is_reduced(m in draws(), x in draws(), n in 1usize..=MAX_BLOCKS) {
        if Bench::new().is_none() { return Ok(()) }
        let bits = 512 * n;
        let m = moduli(n, bits, &m);
        // An input below 3 p q, as blinding leaves it.
        let x = per_lane(|i| match x[i].0[0] % 3 {
            0 => (BigUint::from(1u8) << (2 * bits + 2)) - 1u8,
            _ => x[i].bits(2 * bits + 2),
        });
        let mut memory = Secret::<Room>::zeroed(1).unwrap();
        let mut blocks = vec![memory[0].y[0]; 2 * n];
        put(&mut blocks, &x, direction);
        let digits: Vec<V> = blocks.iter().flat_map(|block| block.digits).collect();
        let room = &mut memory[0];
        room.set_modulus(n, &m);
        room.run::<1>(n, |chains, _| {
            let put = |_: usize, columns: &mut [V]| columns.copy_from_slice(&digits);
            // SAFETY: the features were found.
            unsafe { reduce_value::<true, 1, 0>(chains, put) };
        });
        let result = get(&room.x[0][..n]);
        for lane in 0..LANES {
            let r = BigUint::from(1u8) << (DIGIT_BITS * DIGITS * n);
            prop_assert_eq!(&result[lane] * r % &m[lane], &x[lane] % &m[lane]);
            prop_assert!(10u8 * &result[lane] < 21u8 * &m[lane]);
        }
    }
}
