use aws_lc_rs::rsa::{OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey};
use proptest::prelude::*;

use super::super::decrypt::{BadInput, eme_oaep_decode};
use super::super::{Hash, mgf1_xor};
use super::{HASHES, KEY_BYTES, data, keys, schemes};
use crate::engine::rsa::RsaKey;
use crate::engine::rsa::session::oaep;

fn longest(hash: Hash, key_bytes: usize) -> Option<usize> {
    key_bytes.checked_sub(2 * hash.bytes() + 2)
}

/// The block that is masked: hash of the label, zeros, 01, message.
fn data_block(hash: Hash, message: &[u8], key_bytes: usize) -> Vec<u8> {
    let mut label = [0; 64];
    let mut db = hash.hash_into(&[], &mut label).to_vec();
    db.resize(key_bytes - hash.bytes() - message.len() - 2, 0);
    db.push(1);
    db.extend(message);
    db
}

/// Masks as RFC 8017, 7.1.1, step 2.
fn mask(hash: Hash, y: u8, seed: &[u8], mut db: Vec<u8>) -> Vec<u8> {
    let mut seed = seed[..hash.bytes()].to_vec();
    mgf1_xor(hash, &seed, &mut db);
    mgf1_xor(hash, &db, &mut seed);
    [&[y], &seed[..], &db].concat()
}

fn decode(hash: Hash, mut em: Vec<u8>) -> Result<Vec<u8>, BadInput> {
    match eme_oaep_decode(hash, &mut em) {
        Ok(len) => {
            assert!(em[len..].iter().all(|&b| b == 0), "only the message is left");
            em.truncate(len);
            Ok(em)
        }
        Err(bad) => {
            assert!(em.iter().all(|&b| b == 0), "nothing is left");
            Err(bad)
        }
    }
}

pub(super) fn encrypt(hash: Hash, key: &RsaKey, message: &[u8]) -> Vec<u8> {
    let algorithm = oaep(schemes(hash)[2]).unwrap();
    let algorithm: &OaepAlgorithm = algorithm;
    let key = PublicEncryptingKey::from_der(key.spki().unwrap().as_ref()).unwrap();
    let key = OaepPublicEncryptingKey::new(key).unwrap();
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(algorithm, message, &mut out, None).unwrap();
    out
}

#[test]
fn what_aws_lc_encrypts_is_decoded() {
    for (numbers, key) in keys() {
        for hash in HASHES {
            let longest = longest(hash, numbers.bytes).unwrap();
            for len in [0, 1, 100, longest - 1, longest] {
                let message: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let em = numbers.private(&encrypt(hash, key, &message)).unwrap();
                assert_eq!(decode(hash, em), Ok(message));
            }
        }
    }
}

#[test]
fn what_openssl_encrypted_is_decoded() {
    let (numbers, _) = &keys()[0];
    for hash in HASHES {
        let ciphertext = std::fs::read(data(&format!("{}.bin", schemes(hash)[2].name()))).unwrap();
        let em = numbers.private(&ciphertext).unwrap();
        assert_eq!(decode(hash, em), Ok(b"known answer".to_vec()));
        let other = HASHES[(HASHES.iter().position(|&h| h == hash).unwrap() + 1) % 3];
        assert_eq!(decode(other, numbers.private(&ciphertext).unwrap()), Err(BadInput));
    }
}

#[test]
fn every_length_of_message_comes_back() {
    for bytes in KEY_BYTES {
        for hash in HASHES {
            let Some(longest) = longest(hash, bytes) else {
                assert_eq!((bytes, hash), (128, Hash::Sha512), "the only one without room");
                assert_eq!(eme_oaep_decode(hash, &mut [0; 128]), Err(BadInput));
                continue;
            };
            for len in 0..=longest {
                // Zeros and ones at the front of the message must not be taken for padding.
                for fill in [0, 1, 0xa5] {
                    let message = vec![fill; len];
                    let em = mask(hash, 0, &[0x3c; 64], data_block(hash, &message, bytes));
                    assert_eq!(decode(hash, em), Ok(message));
                }
            }
        }
    }
}

#[test]
fn an_encoding_shorter_than_two_hashes_is_refused() {
    for hash in HASHES {
        for bytes in 0..2 * hash.bytes() + 2 {
            assert_eq!(eme_oaep_decode(hash, &mut vec![0; bytes]), Err(BadInput));
        }
        let smallest = mask(hash, 0, &[1; 64], data_block(hash, &[], 2 * hash.bytes() + 2));
        assert_eq!(decode(hash, smallest), Ok(vec![]));
    }
}

#[test]
fn each_rule_of_the_encoding_is_enforced_alone() {
    for bytes in &KEY_BYTES[1..] {
        for hash in HASHES {
            let good = data_block(hash, b"message", *bytes);
            let separator = good.len() - 8;
            let seed = [0x77; 64];
            assert_eq!(decode(hash, mask(hash, 0, &seed, good.clone())), Ok(b"message".to_vec()));
            for bit in 0..8 {
                let em = mask(hash, 1 << bit, &seed, good.clone());
                assert_eq!(decode(hash, em), Err(BadInput), "the first byte is {}", 1 << bit);
            }
            // Label hash, zeros and separator: any other byte in any place.
            for at in 0..=separator {
                for flip in [1, 2, 0x80, 0xff] {
                    let mut db = good.clone();
                    db[at] ^= flip;
                    // A zero turned into 01 is another separator: a longer message, and as good.
                    let earlier = at >= hash.bytes() && at < separator && flip == 1;
                    let expected = if earlier { Ok(good[at + 1..].to_vec()) } else { Err(BadInput) };
                    // Without its separator the message starts where it is not zero: 'm' is not 01.
                    assert_eq!(decode(hash, mask(hash, 0, &seed, db)), expected, "byte {at} by {flip}");
                }
            }
            let mut zeros = good.clone();
            zeros[separator..].fill(0);
            assert_eq!(decode(hash, mask(hash, 0, &seed, zeros)), Err(BadInput), "no separator at all");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_message_comes_back_and_any_corruption_is_refused(
        bytes in prop::sample::select(&KEY_BYTES[1..]),
        hash in prop::sample::select(&HASHES[..]),
        seed in any::<[u8; 64]>(),
        message in prop::collection::vec(any::<u8>(), 0..512),
        corrupt in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let message = &message[..message.len().min(longest(hash, bytes).unwrap())];
        let em = mask(hash, 0, &seed, data_block(hash, message, bytes));
        prop_assert_eq!(decode(hash, em.clone()), Ok(message.to_vec()));
        let mut bad = em.clone();
        for (at, flip) in corrupt {
            bad[at.index(bytes)] ^= flip;
        }
        prop_assume!(bad != em);
        prop_assert_eq!(decode(hash, bad), Err(BadInput));
    }

    #[test]
    fn bytes_that_are_no_encoding_are_refused(
        hash in prop::sample::select(&HASHES[..]),
        em in prop::collection::vec(any::<u8>(), 0..=512),
    ) {
        prop_assert_eq!(decode(hash, em.clone()), Err(BadInput));
    }
}
