//! Whole private operations against OpenSSL: random inputs, and those where carries and remainders are extreme.

use std::time::Instant;

use num_bigint::BigUint;

use super::keys::{Key, SIZES, keys};
use super::*;

/// Operations of each size that are compared in every run of the tests.
const FEW: usize = 72;
/// And on demand.
const MANY: usize = 100_000;

/// What OpenSSL makes of it; what aws-lc does where there is no OpenSSL.
fn reference(key: &Key, input: &[u8]) -> Vec<u8> {
    match &key.openssl {
        Some(openssl) => openssl.private(input).expect("an input below the modulus"),
        None => key.by_library(input),
    }
}

/// Random bytes, or long runs of zeros and of ones, below the modulus.
fn random_input(numbers: &mut Numbers, key: &Key) -> Vec<u8> {
    let n = key.key.modulus();
    let runs = numbers.below(8) == 0;
    let mut run = (0, 0);
    let mut input: Vec<u8> = n
        .iter()
        .map(|_| {
            if !runs {
                return numbers.next() as u8;
            }
            if run.1 == 0 {
                run = (*numbers.choose(&[0, 0xff, 0x80, 0x0f]), 1 + numbers.below(40));
            }
            run.1 -= 1;
            run.0
        })
        .collect();
    if *input >= *n {
        // Every modulus has the highest bit.
        input[0] &= 0x7f;
    }
    input
}

/// Does passes of every fill, of keys mixed anyhow, until `operations` are compared.
fn compare(keys: &[&Key], operations: usize, seed: u64) {
    let Some(mut bench) = Bench::new() else { return };
    let bits = keys[0].ifma.bits();
    let (mut numbers, start) = (Numbers(seed), Instant::now());
    let (mut compared, mut passes) = (0, [[0usize; FULL + 1]; Way::ALL.len()]);
    for turn in 0.. {
        let (fill, way) = (1 + turn / Way::ALL.len() % FULL, turn % Way::ALL.len());
        if compared >= operations && turn % (Way::ALL.len() * FULL) == 0 {
            break;
        }
        // Now and then all of one key, which is another way through a pass.
        let one = (numbers.below(4) == 0).then(|| *numbers.choose(keys));
        let of: Vec<_> = (0..fill)
            .map(|_| {
                let key = one.unwrap_or_else(|| *numbers.choose(keys));
                (key, random_input(&mut numbers, key))
            })
            .collect();
        let of: Vec<_> = of.iter().map(|(key, input)| (*key, &input[..])).collect();
        let outputs = bench.pass(Way::ALL[way], &of);
        for (lane, ((key, input), output)) in of.iter().zip(outputs).enumerate() {
            let expected = Some(reference(key, input));
            assert!(
                output == expected,
                "{bits} bits, lane {lane} of {fill}, {:?}: {input:02x?}",
                Way::ALL[way]
            );
        }
        passes[way][fill] += 1;
        compared += fill;
    }
    let (seconds, reference) =
        (start.elapsed().as_secs_f64(), if openssl::get().is_some() { "OpenSSL" } else { "aws-lc" });
    println!(
        "{bits} bits: {compared} operations gave what {reference} gives, in {seconds:.1} s; passes {passes:?}"
    );
    assert!(compared >= operations && passes.iter().all(|way| way[1..].iter().all(|n| *n > 0)));
}

#[test]
fn any_keys_side_by_side_give_what_openssl_gives() {
    for bits in SIZES {
        compare(&keys(bits).iter().collect::<Vec<_>>(), FEW, bits as u64);
    }
}

/// How many operations of each size the tests on demand do.
fn many() -> usize {
    std::env::var("WARPDRIVE_RSA_OPERATIONS").map_or(MANY, |n| n.parse().expect("a number of operations"))
}

fn compare_many(bits: usize) {
    let mut new = vec![];
    if bits >= 2048 {
        new = (0..3).map(|_| Key::new(RsaKey::generate(bits).unwrap())).collect();
    }
    // Other inputs every time.
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).unwrap();
    let seed = u64::from_le_bytes(seed);
    println!("{bits} bits: seed {seed}");
    compare(&keys(bits).iter().chain(&new).collect::<Vec<_>>(), many(), seed);
}

#[test]
#[ignore = "takes a minute"]
fn hundred_thousand_of_1024_bits() {
    compare_many(1024);
}

#[test]
#[ignore = "takes minutes"]
fn hundred_thousand_of_2048_bits() {
    compare_many(2048);
}

#[test]
#[ignore = "takes minutes"]
fn hundred_thousand_of_3072_bits() {
    compare_many(3072);
}

#[test]
#[ignore = "takes minutes"]
fn hundred_thousand_of_4096_bits() {
    compare_many(4096);
}

/// Inputs where something is extreme: the ends of the range, multiples of one prime, digits of all ones or zeros. Of the
/// lengths of these, every key has a part.
fn edges(which: usize, key: &Key) -> Vec<Vec<u8>> {
    let [n, p, q] = [key.number(|k| &k.n), key.number(|k| &k.p), key.number(|k| &k.q)];
    let (zero, one) = (BigUint::from(0u8), BigUint::from(1u8));
    let bits = key.ifma.bits();
    let mut edges = vec![zero, one.clone(), 2u8 * &one, 3u8 * &one];
    edges.extend([1u8, 2, 3].map(|k| &n - k));
    // One half is zero, or one, or minus one.
    for prime in [&p, &q] {
        let other = &n / prime;
        let half = &other >> 1;
        edges.extend([prime.clone(), prime * 2u8, prime * half, &n - prime, prime - 1u8, prime + 1u8]);
        edges.extend([&n - prime - 1u8, &n - prime + 1u8]);
    }
    edges.extend([if p > q { &p - &q } else { &q - &p }, &n >> 1, (&n >> 1) + 1u8]);
    // Leading zeros, and digits that are all ones or all zeros.
    let power = |bits: usize| BigUint::from(1u8) << bits;
    for k in 1..=bits / DIGIT_BITS {
        if k % 6 == which {
            edges.push(power(DIGIT_BITS * k) - 1u8);
        }
        if k % block::DIGITS <= 1 || DIGIT_BITS * (k + 1) > bits {
            edges.extend([power(DIGIT_BITS * k), power(DIGIT_BITS * k) + 1u8]);
        }
        // The highest digits are those of n.
        let low = power(DIGIT_BITS * k);
        if k % block::DIGITS == 0 {
            edges.extend([&n - (&n % &low), &n - (&n % &low) - 1u8]);
        }
    }
    edges.extend([power(bits - 1) - 1u8, power(bits - 1)]);
    // Every other digit, in both ways.
    let alternating = |first: usize| {
        (first..bits / DIGIT_BITS).step_by(2).map(|k| (power(DIGIT_BITS) - 1u8) << (DIGIT_BITS * k)).sum()
    };
    edges.extend([alternating(0), alternating(1)]);
    edges.iter().map(|edge| key.input(edge).expect("below the modulus")).collect()
}

#[test]
fn the_ends_of_the_range_multiples_of_a_prime_and_extreme_digits_are_right() {
    let Some(mut bench) = Bench::new() else { return };
    for bits in SIZES {
        let mut of: Vec<_> = keys(bits)
            .iter()
            .enumerate()
            .flat_map(|(which, key)| edges(which, key).into_iter().map(move |input| (key, input)))
            .collect();
        assert!(of.len() > 6 * 35);
        // Keys mixed, and with them exponents of different lengths.
        let mut numbers = Numbers(bits as u64);
        for i in (1..of.len()).rev() {
            of.swap(i, numbers.below(i + 1));
        }
        for (i, of) in of.chunks(FULL).enumerate() {
            let of: Vec<_> = of.iter().map(|(key, input)| (*key, &input[..])).collect();
            let outputs = bench.pass(Way::ALL[i % 2], &of);
            if bits <= 2048 {
                assert_eq!(outputs, bench.pass(Way::ALL[1 - i % 2], &of), "{bits} bits");
            }
            for ((key, input), output) in of.iter().zip(outputs) {
                assert!(output == Some(reference(key, input)), "{bits} bits: {input:02x?}");
            }
        }
    }
}

#[test]
fn a_number_that_is_not_below_the_modulus_is_not_done() {
    let Some(mut bench) = Bench::new() else { return };
    for bits in SIZES {
        for (key, way) in keys(bits).iter().zip(Way::ALL) {
            let (n, good, above) = (key.key.modulus(), vec![0x42; bits / 8], vec![0xff; bits / 8]);
            let done = bench.pass(way, &[(key, n), (key, &good), (key, &above)]);
            assert_eq!(done, [None, Some(reference(key, &good)), None]);
        }
    }
}

#[test]
fn without_randomness_nothing_is_done_rather_than_without_blinding() {
    let Some(mut bench) = Bench::new() else { return };
    bench.engine.blinding = true;
    let (key, mut output) = (&keys(2048)[0].ifma, [0xee; 256]);
    let mut operations = [Operation { key, input: &[1; 256], output: &mut output, done: false }];
    bench.engine.private(&mut operations, None);
    assert!(!operations[0].done);
    assert_eq!(output, [0xee; 256]);
}
