//! What is derived, against the keys that it came from and what aws-lc thinks of it. Refusals are in pmd/tests/rsa/raw.

use num_bigint::BigUint;

use super::super::RsaKey;
use super::super::library::{LibraryKey, blinding_pair};
use super::*;

const EXPONENTS: [u64; 7] = [3, 5, 17, 257, 65_537, 4_294_967_311, 8_589_934_583];

fn derived([p, q, dp, dq, qinv]: [&[u8]; 5]) -> PrivateParts {
    parts_of(&CrtNumbers { p, q, dp, dq, qinv }, "derived").unwrap()
}

#[test]
fn a_key_comes_back_from_five_of_its_numbers() {
    for pem in [
        include_str!("../../../../tests/data/rsa/rsa1024.pem"),
        include_str!("../../../../tests/data/rsa/rsa2048-pkcs1.pem"),
        include_str!("../../../../tests/data/rsa/rsa3072-pkcs1.pem"),
        include_str!("../../../../tests/data/rsa/rsa4096-pkcs1.pem"),
    ] {
        let key = RsaKey::from_pem(pem, "known").unwrap();
        let from = key.parts("be tested").unwrap();
        let parts = derived([&from.p, &from.q, &from.dp, &from.dq, &from.qinv]);
        assert_eq!((&parts.n, &parts.e), (&from.n, &from.e));
        // OpenSSL reduces d modulo the least common multiple of p − 1 and q − 1: it need not be the same.
        assert_eq!(LibraryKey::new(&parts).unwrap().check(), Ok(()));
        for (ours, theirs) in [
            (&parts.p, &from.p),
            (&parts.q, &from.q),
            (&parts.dp, &from.dp),
            (&parts.dq, &from.dq),
            (&parts.qinv, &from.qinv),
        ] {
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn the_private_exponent_belongs_to_any_public_one() {
    let one = BigUint::from(1u8);
    let [mut p, mut q]: [BigUint; 2] = [629u32, 20_001].map(|distance| (&one << 512) - distance);
    let mut found = 0;
    for e in EXPONENTS.map(BigUint::from) {
        for _ in 0..40 {
            (p, q) = (q - 2u8, p - 2u8);
            let (Some(dp), Some(dq)) = (e.modinv(&(&p - &one)), e.modinv(&(&q - &one))) else { continue };
            let Some(qinv) = q.modinv(&p) else { continue };
            let bytes = [&p, &q, &dp, &dq, &qinv].map(BigUint::to_bytes_be);
            let parts = derived(bytes.each_ref().map(Vec::as_slice));
            let totient = (&p - &one) * (&q - &one);
            let d = BigUint::from_bytes_be(&parts.d);
            assert_eq!(BigUint::from_bytes_be(&parts.e), e);
            assert!(d < totient && &e * &d % &totient == one, "{e}, {p}, {q}");
            found += 1;
        }
    }
    assert!(found > 60, "{found}");
}

#[test]
fn a_modulus_with_small_factors_has_no_blinding_pair_as_a_rule() {
    // Two random numbers and neither a multiple of 3: 4 of 9.
    let n = BigUint::from(3u8).pow(1292).to_bytes_be();
    let pairs = (0..100).filter_map(|_| blinding_pair(&n, &[3]).unwrap()).count();
    assert!((10..90).contains(&pairs), "{pairs}");
}
