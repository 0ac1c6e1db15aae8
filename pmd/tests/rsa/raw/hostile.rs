//! Keys of somebody who means harm: no panic, no hang, and nothing wrong for others.

use proptest::prelude::*;

use super::*;

/// Numbers that belong together, of halves that need not be primes, if there are some near.
fn near(p: &BigUint, q: &BigUint, e: u64) -> Option<Numbers> {
    let e = BigUint::from(e);
    (0..50u8).find_map(|i| Numbers::of(&(p + 2 * i), &(q + 4 * i), &e))
}

/// Pairs of halves of which at least one is no prime, 1024 bits each: products of small primes, powers, next to powers of
/// two.
fn composites() -> Vec<Numbers> {
    let one = BigUint::from(1u8);
    let small = (3..2000u32).step_by(2).map(BigUint::from);
    let mut smooth = one.clone();
    for factor in small {
        if (&smooth * &factor).bits() <= 1024 {
            smooth *= factor;
        }
    }
    while smooth.bits() < 1024 {
        smooth *= 3u8;
    }
    let power = BigUint::from(3u8).pow(646);
    let top = (&one << 1024) - 401u16;
    let bottom = (&one << 1023) + (&one << 1022) + 1u8;
    let Numbers { p, q, .. } = &keys()[1];
    let halves = [(&smooth, &top), (&power, &top), (p, &bottom), (&bottom, q), (&top, &bottom)];
    let keys: Vec<_> =
        halves.iter().flat_map(|(p, q)| [65_537, 3, (1 << 33) - 9].map(|e| near(p, q, e))).collect();
    keys.into_iter().flatten().filter(|key| key.n().bits() == 2048).collect()
}

/// Eight at once, of which every other is of the good key, the rest of bad ones.
fn in_company(bench: &mut Bench, good: SessionId, bad: &[(SessionId, &Numbers)]) {
    let key = &keys()[1];
    let of: Vec<_> = (0..8)
        .map(|i| {
            let (id, of) = if i % 2 == 0 { (good, key) } else { bad[i / 2 % bad.len()] };
            (id, of, of.n() / (2 * i + 5))
        })
        .collect();
    let sent: Vec<_> = of.iter().map(|(id, key, input)| (*id, key.input(input))).collect();
    for (i, (result, (_, key, input))) in bench.together(&sent).into_iter().zip(&of).enumerate() {
        match result {
            Ok(result) if i % 2 == 0 => assert_eq!(result, key.right(input)),
            // What passed its check is a root, whatever the key is.
            Ok(root) => {
                assert_eq!(root.len(), 256);
                assert_eq!(BigUint::from_bytes_be(&root).modpow(&key.e, &key.n()), *input);
            }
            Err(status) => assert!(i % 2 == 1 && status == Status::EngineFailed, "{i}: {status:?}"),
        }
    }
}

#[test]
fn halves_that_are_no_primes_harm_nobody_else() {
    let composites = composites();
    assert!(composites.len() > 8, "{}", composites.len());
    for options in ways() {
        let Some(mut bench) = bench(options) else { continue };
        let good = bench.raw(keys()[1].crt());
        // That they are no primes is not seen.
        let bad: Vec<_> = composites.iter().map(|key| (bench.raw(key.crt()), key)).collect();
        for bad in bad.chunks(4) {
            in_company(&mut bench, good, bad);
        }
        let stats = bench.device.stats();
        assert_eq!((stats.panics, stats.failed), (0, false));
        assert!(stats.errors > 0, "some fail their check on both ways");
    }
}

/// Random bytes whose top and last bits are such that the halves may be taken.
fn half() -> impl Strategy<Value = BigUint> {
    prop::collection::vec(any::<u8>(), 128).prop_map(|mut bytes| {
        bytes[0] |= 0xc0;
        bytes[127] |= 1;
        BigUint::from_bytes_be(&bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn random_halves_harm_nobody_else(
        (p, q) in (half(), half()),
        e in prop::sample::select(&EXPONENTS[..]),
        way in 0..4usize,
    ) {
        let Some(mut bench) = bench(ways().swap_remove(way)) else { return Ok(()) };
        let Some(key) = near(&p, &q, e) else { return Ok(()) };
        let (good, bad) = (bench.raw(keys()[1].crt()), bench.raw(key.crt()));
        in_company(&mut bench, good, &[(bad, &key)]);
        prop_assert_eq!(bench.device.stats().panics, 0);
    }

    #[test]
    fn random_bytes_are_refused_with_a_reason(
        fields in prop::array::uniform5(prop::collection::vec(any::<u8>(), 0..300)),
        lengths in prop::sample::select(vec![64usize, 128, 192, 256]),
        same in any::<bool>(),
    ) {
        let mut fields = fields;
        if same {
            fields.iter_mut().for_each(|field| field.resize(lengths, 0x9d));
            for prime in &mut fields[..2] {
                prime[0] |= 0xc0;
                prime[lengths - 1] |= 1;
            }
        }
        let [p, q, dp, dq, qinv] = &fields;
        let refused = RawSession::from_crt(&CrtNumbers { p, q, dp, dq, qinv }, "noise").unwrap_err();
        prop_assert!(refused.to_string().contains("Remedy: "));
    }

    /// Nothing is known of the modulus: whatever comes out is one of its numbers.
    #[test]
    fn random_exponents_and_moduli_give_numbers_of_the_modulus(
        modulus in half(),
        exponent in prop::collection::vec(any::<u8>(), 0..129),
        input in half(),
    ) {
        let mut bench = Bench::new(Placement::Inline);
        let (n, e) = (modulus, BigUint::from_bytes_be(&exponent));
        let Ok(session) = RawSession::from_exponent(&exponent, &n.to_bytes_be(), "noise") else {
            prop_assert!(!e.bit(0) || e.bits() < 2);
            return Ok(());
        };
        let (id, input) = (bench.raw(Ok(session)), input % &n);
        prop_assert_eq!(bench.run(id, &field(&input, 128), b"", 128), Ok(field(&input.modpow(&e, &n), 128)));
    }
}
