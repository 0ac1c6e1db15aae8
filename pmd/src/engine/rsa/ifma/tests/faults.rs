//! A flipped bit, wherever it is, never gives a wrong result: who has one and the right one has the key (Boneh, DeMillo
//! and Lipton 1997).

use super::super::fault::{self, Fault, Place};
use super::keys::{Key, SIZES, keys};
use super::*;

const PLACES: [Place; 3] = [Place::P, Place::Q, Place::Result];

/// Every lane of passes of this fill, a bit here and there.
fn faults(numbers: &mut Numbers, bits: usize, fill: usize) -> Vec<Fault> {
    let mut faults = vec![];
    for place in PLACES {
        let all = if place == Place::Result { bits } else { bits / 2 };
        for lane in 0..fill {
            // The lowest, the highest, and any.
            for at in [0, all - 1, numbers.below(all)] {
                faults.push(Fault { place, lane, digit: at / DIGIT_BITS, bit: at % DIGIT_BITS });
            }
        }
    }
    faults
}

/// A pass with eight keys, or fewer, and what is right.
fn inputs(numbers: &mut Numbers, bits: usize, fill: usize) -> Vec<(&'static Key, Vec<u8>, Vec<u8>)> {
    (0..fill)
        .map(|_| {
            let key = numbers.choose(keys(bits));
            let mut input: Vec<u8> = (0..bits / 8).map(|_| numbers.next() as u8).collect();
            input[0] &= 0x7f;
            (key, input.clone(), key.by_library(&input))
        })
        .collect()
}

#[test]
fn a_flipped_bit_in_a_half_or_the_result_is_found_in_its_lane_alone() {
    let Some(mut bench) = Bench::new() else { return };
    let mut numbers = Numbers(5);
    for (bits, fill) in [(1024, FULL), (1024, HALF), (2048, FULL), (3072, 3)] {
        let of = inputs(&mut numbers, bits, fill);
        let pass: Vec<_> = of.iter().map(|(key, input, _)| (*key, &input[..])).collect();
        for (i, fault) in faults(&mut numbers, bits, fill).into_iter().enumerate() {
            fault::set(Some(fault));
            let outputs = bench.pass(Way::ALL[i % Way::ALL.len()], &pass);
            fault::set(None);
            for (lane, (output, (_, _, right))) in outputs.iter().zip(&of).enumerate() {
                let expected = (lane != fault.lane).then_some(right);
                assert_eq!(output.as_ref(), expected, "{bits} bits, lane {lane} of {fill}, {fault:?}");
            }
        }
        let outputs = bench.pass(Way::ALL[3], &pass);
        assert!(outputs.iter().zip(&of).all(|(output, (.., right))| output.as_ref() == Some(right)));
    }
}

#[test]
fn without_the_check_a_wrong_result_comes_out_and_gives_the_key_away() {
    let Some(mut bench) = Bench::new() else { return };
    bench.engine.check = false;
    let of = inputs(&mut Numbers(6), 2048, 1);
    let [(key, input, right)] = &of[..] else { unreachable!() };
    for (place, prime) in [(Place::P, key.number(|k| &k.q)), (Place::Q, key.number(|k| &k.p))] {
        fault::set(Some(Fault { place, lane: 0, digit: 3, bit: 30 }));
        let wrong = bench.pass(Way::ALL[1], &[(key, input)]).remove(0).expect("not checked");
        fault::set(None);
        assert_ne!(wrong, *right);
        // Right modulo the other prime.
        let [wrong, right] =
            [&wrong, right].map(|bytes| num_bigint::BigInt::from_bytes_be(num_bigint::Sign::Plus, bytes));
        assert_eq!((wrong - right) % num_bigint::BigInt::from(prime), num_bigint::BigInt::ZERO);
    }
}

/// A key damaged in memory: any bit of what a pass reads of it.
#[test]
fn a_damaged_key_gives_the_right_result_or_none() {
    let Some(mut bench) = Bench::new() else { return };
    let mut numbers = Numbers(7);
    let of = inputs(&mut numbers, 1024, 1);
    let [(key, input, right)] = &of[..] else { unreachable!() };
    let mut found = 0;
    for turn in 0..300 {
        let mut damaged = Key::new(key.key.clone());
        let at = numbers.below(damaged.ifma.lanes.len());
        // The same in all lanes, as keys have it.
        let bit = 1 << numbers.below(DIGIT_BITS);
        lanes_mut(&mut damaged.ifma.lanes[at]).iter_mut().for_each(|lane| *lane ^= bit);
        let output = bench.pass(Way::ALL[turn % Way::ALL.len()], &[(&damaged, input)]).remove(0);
        match output {
            Some(output) => assert_eq!(output, *right, "vector {at}, {bit:x}"),
            None => found += 1,
        }
    }
    println!("{found} of 300 kept the result from coming out");
    assert!(found > 100, "{found}: nearly all digits matter, for one kind of kernel at least");
}

#[test]
fn a_key_whose_blinding_factors_are_damaged_gets_others() {
    let Some(mut bench) = Bench::new() else { return };
    for bits in SIZES {
        // Of two keys, one of which is hit.
        let mut of = inputs(&mut Numbers(8), bits, 16);
        let first = of[0].0.ifma.id;
        of = [of.remove(0), of.into_iter().find(|(key, ..)| key.ifma.id != first).expect("another")].into();
        let pass: Vec<_> = of.iter().map(|(key, input, _)| (*key, &input[..])).collect();
        let right: Vec<_> = of.iter().map(|(.., right)| Some(right.clone())).collect();
        assert_eq!(bench.pass(Way::ALL[2], &pass), right);
        let factors = bench.engine.factors.get_mut(&of[1].0.ifma.id).expect("used before");
        factors[3] ^= 1 << 17;
        assert_eq!(bench.pass(Way::ALL[2], &pass), [right[0].clone(), None]);
        assert_eq!(bench.pass(Way::ALL[2], &pass), right, "{bits} bits: not for ever");
    }
}
