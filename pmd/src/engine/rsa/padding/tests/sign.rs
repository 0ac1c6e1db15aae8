use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{self, RsaSignatureEncoding, UnparsedPublicKey};
use proptest::prelude::*;

use super::super::random::Random;
use super::super::sign::{KeyTooShort, emsa_pkcs1_v1_5_encode, emsa_pss_encode, pss_encode};
use super::super::{Hash, mgf1_xor};
use super::{HASHES, KEY_BYTES, data, keys, schemes};
use crate::engine::rsa::session::verification;
use crate::engine::rsa::{RsaKey, RsaScheme};

const MESSAGES: [&[u8]; 3] = [b"", b"known answer", &[0x5a; 1000]];

fn encoding(scheme: RsaScheme) -> &'static RsaSignatureEncoding {
    match scheme {
        RsaScheme::Pkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
        RsaScheme::Pkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
        RsaScheme::Pkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
        RsaScheme::PssSha256 => &signature::RSA_PSS_SHA256,
        RsaScheme::PssSha384 => &signature::RSA_PSS_SHA384,
        RsaScheme::PssSha512 => &signature::RSA_PSS_SHA512,
        _ => unreachable!("a signature scheme"),
    }
}

pub(super) fn verifies(scheme: RsaScheme, key: &RsaKey, message: &[u8], signature: &[u8]) -> bool {
    let spki = key.spki().unwrap();
    UnparsedPublicKey::new(verification(scheme, false).unwrap(), &spki[..]).verify(message, signature).is_ok()
}

pub(super) fn signed_by_aws_lc(scheme: RsaScheme, key: &RsaKey, message: &[u8]) -> Vec<u8> {
    let pair = KeyPair::from_pkcs8(key.pkcs8("sign").unwrap().as_bytes()).unwrap();
    let mut signature = vec![0; key.bits() / 8];
    pair.sign(encoding(scheme), &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// The salt in `em`, as a verifier finds it: what is behind the last 01 of the unmasked block.
pub(super) fn salt_of(hash: Hash, em: &[u8]) -> Vec<u8> {
    let (db, rest) = em.split_at(em.len() - hash.bytes() - 1);
    let mut db = db.to_vec();
    mgf1_xor(hash, &rest[..hash.bytes()], &mut db);
    db.split_off(db.len() - hash.bytes())
}

#[test]
fn pkcs1_signatures_are_those_of_aws_lc() {
    for (numbers, key) in keys() {
        for hash in HASHES {
            let scheme = schemes(hash)[0];
            for message in MESSAGES {
                let mut em = vec![0xee; numbers.bytes];
                emsa_pkcs1_v1_5_encode(hash, message, &mut em).unwrap();
                let signature = numbers.private(&em).unwrap();
                assert_eq!(signature, signed_by_aws_lc(scheme, key, message));
                assert!(verifies(scheme, key, message, &signature));
                assert!(!verifies(scheme, key, b"another", &signature));
            }
        }
    }
}

#[test]
fn pss_signatures_are_taken_by_aws_lc_and_made_of_the_same_bytes() {
    let mut random = Random::from_seed([1; 32]);
    for (numbers, key) in keys() {
        let em_bits = numbers.bytes * 8 - 1;
        for hash in HASHES {
            let scheme = schemes(hash)[1];
            for message in MESSAGES {
                let mut em = vec![0xee; numbers.bytes];
                emsa_pss_encode(hash, message, &mut random, em_bits, &mut em).unwrap();
                let signature = numbers.private(&em).unwrap();
                assert!(verifies(scheme, key, message, &signature));
                assert!(!verifies(scheme, key, b"another", &signature));

                let theirs = numbers.public(&signed_by_aws_lc(scheme, key, message)).unwrap();
                let mut ours = vec![0xee; numbers.bytes];
                pss_encode(hash, message, &salt_of(hash, &theirs), em_bits, &mut ours);
                assert_eq!(ours, theirs);
            }
        }
    }
}

#[test]
fn what_openssl_signed_is_encoded_alike() {
    let (numbers, _) = &keys()[0];
    for hash in HASHES {
        let [pkcs1, pss, _] = schemes(hash).map(|scheme| {
            // OAEP has no signature.
            let signature = std::fs::read(data(&format!("{}.sig", scheme.name()))).ok()?;
            numbers.public(&signature)
        });
        let mut em = vec![0xee; 256];
        emsa_pkcs1_v1_5_encode(hash, b"known answer", &mut em).unwrap();
        assert_eq!(Some(&em), pkcs1.as_ref());
        let pss = pss.unwrap();
        pss_encode(hash, b"known answer", &salt_of(hash, &pss), 2047, &mut em);
        assert_eq!(em, pss);
    }
}

#[test]
fn each_pss_encoding_has_a_salt_of_its_own_from_the_generator() {
    let (mut random, mut same) = (Random::from_seed([2; 32]), Random::from_seed([2; 32]));
    for hash in HASHES {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..50 {
            let mut em = [0xee; 256];
            emsa_pss_encode(hash, b"m", &mut random, 2047, &mut em).unwrap();
            let mut salt = vec![0; hash.bytes()];
            same.fill(&mut salt);
            assert_eq!(salt_of(hash, &em), salt);
            assert!(seen.insert(salt));
            assert_eq!((em[0] & 0x80, em[255]), (0, 0xbc));
        }
    }
}

#[test]
fn a_key_too_short_for_the_hash_is_refused_and_nothing_written() {
    let mut random = Random::from_seed([3; 32]);
    for hash in HASHES {
        // DigestInfo, and 00 01 ff*8 00; RFC 8017, 9.2, step 3.
        let least = hash.bytes() + 19 + 11;
        let mut em = vec![0xee; least - 1];
        assert_eq!(emsa_pkcs1_v1_5_encode(hash, b"m", &mut em), Err(KeyTooShort));
        assert!(em.iter().all(|&b| b == 0xee));
        let mut em = vec![0xee; least];
        assert_eq!(emsa_pkcs1_v1_5_encode(hash, b"m", &mut em), Ok(()));
        assert_eq!(em[..11], [0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);

        // Hash, salt, 01 and bc; RFC 8017, 9.1.1, step 3.
        let least = 2 * hash.bytes() + 2;
        let mut em = vec![0xee; least];
        for (em_bits, room) in [(8 * (least - 1), least), (8 * least - 1, least - 1)] {
            let refused = emsa_pss_encode(hash, b"m", &mut random, em_bits, &mut em[..room]);
            assert_eq!(refused, Err(KeyTooShort));
            assert!(em.iter().all(|&b| b == 0xee));
        }
        assert_eq!(emsa_pss_encode(hash, b"m", &mut random, 8 * least - 7, &mut em), Ok(()));
        assert_eq!(em[0] & 0xfe, 0, "{} bits are cleared", 7);
    }
    // 1024 bits: SHA-512 does not fit with PSS, and does with PKCS#1.
    let mut em = [0; 128];
    assert_eq!(emsa_pss_encode(Hash::Sha512, b"m", &mut random, 1023, &mut em), Err(KeyTooShort));
    assert_eq!(emsa_pss_encode(Hash::Sha384, b"m", &mut random, 1023, &mut em), Ok(()));
    assert_eq!(emsa_pkcs1_v1_5_encode(Hash::Sha512, b"m", &mut em), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Verification as RFC 8017, 9.1.2, has it, for moduli of any size.
    #[test]
    fn a_verifier_finds_hash_and_salt_in_a_pss_encoding(
        message in prop::collection::vec(any::<u8>(), 0..300),
        seed in any::<[u8; 32]>(),
        hash in prop::sample::select(&HASHES[..]),
        em_bits in 1039usize..4096,
    ) {
        let modulus_bytes = (em_bits + 1).div_ceil(8);
        let mut em = vec![0xee; modulus_bytes];
        emsa_pss_encode(hash, &message, &mut Random::from_seed(seed), em_bits, &mut em).unwrap();
        let lead = modulus_bytes - em_bits.div_ceil(8);
        prop_assert!(em[..lead].iter().all(|&b| b == 0));
        let em = &em[lead..];
        prop_assert_eq!(u32::from(em[0]) >> (em_bits - 8 * (em.len() - 1)), 0);
        prop_assert_eq!(em[em.len() - 1], 0xbc);
        let (db, rest) = em.split_at(em.len() - hash.bytes() - 1);
        let h = &rest[..hash.bytes()];
        let mut db = db.to_vec();
        mgf1_xor(hash, h, &mut db);
        db[0] &= 0xff >> (8 * em.len() - em_bits);
        let (ps, salt) = db.split_at(db.len() - hash.bytes());
        prop_assert_eq!(ps.last(), Some(&1));
        prop_assert!(ps[..ps.len() - 1].iter().all(|&b| b == 0));
        let (mut a, mut b) = ([0; 64], [0; 64]);
        let m_hash = hash.hash_into(&[&message], &mut a);
        prop_assert_eq!(hash.hash_into(&[&[0; 8], m_hash, salt], &mut b), h);
    }

    #[test]
    fn a_pkcs1_encoding_is_padding_and_digest_info(
        message in prop::collection::vec(any::<u8>(), 0..300),
        hash in prop::sample::select(&HASHES[..]),
        bytes in prop::sample::select(&KEY_BYTES[..]),
    ) {
        let mut em = vec![0xee; bytes];
        emsa_pkcs1_v1_5_encode(hash, &message, &mut em).unwrap();
        let zero = 2 + em[2..].iter().position(|&b| b != 0xff).unwrap();
        prop_assert_eq!((em[0], em[1], em[zero]), (0, 1, 0));
        prop_assert!(zero >= 10);
        let mut digest = [0; 64];
        let digest = hash.hash_into(&[&message], &mut digest);
        // SEQUENCE of all that follows, ending with the OCTET STRING of the hash.
        prop_assert_eq!((em[zero + 1], usize::from(em[zero + 2])), (0x30, bytes - zero - 3));
        prop_assert!(em.ends_with(digest));
    }
}
