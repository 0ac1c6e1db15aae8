//! Numbers that do not belong together.

use warpdrive_pmd::engine::rsa::KeyFault;

use super::*;

/// What was wrong. The message names the key and the remedy.
fn fault(session: Result<RawSession, KeyError>) -> Result<KeyFault, usize> {
    let refused = session.unwrap_err();
    let message = refused.to_string();
    assert!(message.starts_with("key \"") && message.contains("Remedy: "), "{message}");
    match refused {
        KeyError::Unsound { fault, .. } => Ok(fault),
        KeyError::Size { bits, .. } => Err(bits),
        other => panic!("{other}"),
    }
}

/// The next number that is an inverse modulo p − 1.
fn next_inverse(dp: &mut BigUint, p: &BigUint) {
    *dp += 2u8;
    while dp.modinv(&(p - 1u8)).is_none() {
        *dp += 2u8;
    }
}

#[test]
fn each_number_must_belong_to_the_others() {
    type Damage = fn(&mut Numbers);
    let damages: [(Damage, KeyFault); 20] = [
        (|k| k.p -= 1u8, KeyFault::Composite),
        (|k| k.q -= 1u8, KeyFault::Composite),
        (|k| k.q.clone_from(&k.p), KeyFault::EqualPrimes),
        (|k| k.p >>= 1, KeyFault::PrimeSize),
        (|k| k.q >>= 64, KeyFault::PrimeSize),
        (|k| k.q = BigUint::ZERO, KeyFault::PrimeSize),
        (|k| k.dp = BigUint::ZERO, KeyFault::Crt),
        (|k| k.dq = BigUint::ZERO, KeyFault::Crt),
        (|k| k.qinv = BigUint::ZERO, KeyFault::Crt),
        // Of the other prime.
        (|k| std::mem::swap(&mut k.p, &mut k.q), KeyFault::Crt),
        (|k| k.dq.clone_from(&k.dp), KeyFault::Crt),
        (|k| k.dq += 2u8, KeyFault::Crt),
        (|k| k.qinv += 1u8, KeyFault::Crt),
        // The same number modulo p − 1, q − 1 or p, and not the smallest.
        (|k| k.dp = &k.dp + &k.p - 1u8, KeyFault::Crt),
        (|k| k.dq = &k.dq + &k.q - 1u8, KeyFault::Crt),
        (|k| k.qinv = &k.qinv + &k.p, KeyFault::Crt),
        // Has a factor in common with p − 1.
        (|k| k.dp = &k.dp + 1u8, KeyFault::Crt),
        (|k| k.dp = &k.p - 1u8, KeyFault::Crt),
        // Belongs to another exponent than dq, a large one.
        (|k| next_inverse(&mut k.dp, &k.p), KeyFault::LargeExponent),
        (|k| (k.dp, k.dq) = (1u8.into(), 1u8.into()), KeyFault::TinyExponent),
    ];
    for key in keys() {
        assert!(key.crt().is_ok());
        // One of these sums may be too long for its field.
        let room = |key: &Numbers| {
            [&key.dp, &key.dq, &key.qinv].iter().all(|number| number.bits() <= 4 * key.bytes as u64)
        };
        for (i, (damage, expected)) in damages.iter().enumerate() {
            let mut damaged = key.clone();
            damage(&mut damaged);
            if room(&damaged) {
                assert_eq!(fault(damaged.crt()), Ok(*expected), "{i} of {} bits", key.bytes * 8);
            }
        }
    }
}

#[test]
fn exponents_of_more_than_33_bits_are_refused() {
    let Numbers { p, q, .. } = &keys()[0];
    let with = |bit: u32| {
        let start = 1u64 << bit | 1;
        (0..1000u64).find_map(|i| Numbers::of(p, q, &(start + 2 * i).into())).unwrap()
    };
    assert!(with(32).crt().is_ok());
    assert_eq!(fault(with(33).crt()), Ok(KeyFault::LargeExponent));
    // Then the exponent is taken for a private one, where it stands alone.
    assert!(!with(32).public().unwrap().is_private());
    assert!(with(33).public().unwrap().is_private());
}

#[test]
fn sizes_other_than_those_of_keys_are_refused() {
    let e = BigUint::from(65_537u32);
    for (half, expected) in [(8, 16), (256, 512), (480, 960), (520, 1040), (4096, 8192)] {
        let top = BigUint::from(3u8) << (half - 2);
        let candidates = (0..100u32).map(|i| (&top + (2 * i + 1), &top + (2 * i + 3)));
        let key = candidates.filter_map(|(p, q)| Numbers::of(&p, &q, &e)).next().unwrap();
        let bytes = half / 8 + 1;
        let [p, q, dp, dq, qinv] =
            [&key.p, &key.q, &key.dp, &key.dq, &key.qinv].map(|number| field(number, bytes));
        let session =
            RawSession::from_crt(&CrtNumbers { p: &p, q: &q, dp: &dp, dq: &dq, qinv: &qinv }, "odd");
        assert_eq!(fault(session), Err(expected));
        let modulus = field(&((BigUint::from(1u8) << (2 * half - 1)) + 1u8), 2 * bytes);
        for exponent in [&[3][..], &[0xf1; 6]] {
            assert_eq!(fault(RawSession::from_exponent(exponent, &modulus, "odd")), Err(expected));
        }
    }
    // Two halves of full length, and a product that lacks a bit.
    let top = BigUint::from(1u8) << 1023;
    let key = (0..100u32)
        .filter_map(|i| Numbers::of(&(&top + (2 * i + 1)), &(&top + (2 * i + 3)), &e))
        .next()
        .unwrap();
    assert_eq!(fault(key.crt()), Err(2047));
}

#[test]
fn an_exponent_and_a_modulus_must_be_odd_and_of_use() {
    let (key, one) = (&keys()[0], BigUint::from(1u8));
    let (n, d) = (key.n(), key.d());
    let refused = |exponent: &BigUint, n: &BigUint| {
        fault(RawSession::from_exponent(&exponent.to_bytes_be(), &n.to_bytes_be(), "two"))
    };
    assert_eq!(refused(&3u8.into(), &(&n - 1u8)), Ok(KeyFault::EvenModulus));
    assert_eq!(refused(&d, &(&n - 1u8)), Ok(KeyFault::EvenModulus));
    assert_eq!(refused(&BigUint::ZERO, &n), Ok(KeyFault::TinyExponent));
    assert_eq!(refused(&one, &n), Ok(KeyFault::TinyExponent));
    assert_eq!(refused(&65_536u32.into(), &n), Ok(KeyFault::EvenExponent));
    assert_eq!(refused(&(&d - 1u8), &n), Ok(KeyFault::EvenPrivateExponent));
    assert_eq!(refused(&((&one << 1024) + 1u8), &n), Ok(KeyFault::LongPrivateExponent));
    assert_eq!(refused(&3u8.into(), &BigUint::ZERO), Err(0));
    assert_eq!(fault(RawSession::from_exponent(&[], &[], "nothing")), Err(0));
    let none = CrtNumbers { p: &[], q: &[], dp: &[], dq: &[], qinv: &[] };
    assert_eq!(fault(RawSession::from_crt(&none, "nothing")), Err(0));
    // Of the largest exponent there is something to compute.
    assert!(RawSession::from_exponent(&(&n - 2u8).to_bytes_be(), &n.to_bytes_be(), "two").is_ok());
}

#[test]
fn zeros_in_front_of_numbers_do_not_matter() {
    let key = &keys()[1];
    let mut bench = Bench::new(Placement::Inline);
    let input = key.input(&BigUint::from(5u8));
    for zeros in [0, 1, 700] {
        let [p, q, dp, dq, qinv, e, d, n] =
            [&key.p, &key.q, &key.dp, &key.dq, &key.qinv, &key.e, &key.d(), &key.n()]
                .map(|number| [vec![0; zeros], number.to_bytes_be()].concat());
        let private = [
            RawSession::from_crt(&CrtNumbers { p: &p, q: &q, dp: &dp, dq: &dq, qinv: &qinv }, "long"),
            RawSession::from_exponent(&d, &n, "long"),
        ];
        let public = bench.raw(RawSession::from_exponent(&e, &n, "long"));
        for session in private {
            let private = bench.raw(session);
            let result = bench.run(private, &input, b"", 256).unwrap();
            assert_eq!(bench.run(public, &result, b"", 256).as_ref(), Ok(&input));
        }
    }
}
