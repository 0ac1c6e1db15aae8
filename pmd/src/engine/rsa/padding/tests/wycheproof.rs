//! Project Wycheproof's vectors for what these encodings do: decryption as a whole, and of valid signatures the bytes
//! that the public operation brings out, which an encoder must make as well, and a verifier take. (Its vectors for making
//! PKCS#1 signatures are not in the crate.) Verification by sessions is in pmd/tests/wycheproof.rs.

use std::collections::BTreeMap;

use num_bigint::BigUint;
use wycheproof::rsa_oaep::{self, TestFlag};
use wycheproof::{HashFunction, TestResult, rsa_pkcs1_decrypt, rsa_pkcs1_verify, rsa_pss_verify};

use super::super::Hash;
use super::super::decrypt::eme_oaep_decode;
use super::super::sign::{emsa_pkcs1_v1_5_encode, pss_encode};
use super::super::verify::{emsa_pkcs1_v1_5_verify, emsa_pss_verify};
use super::sign::salt_of;
use super::{Numbers, pkcs1_v1_5, to_bytes};
use crate::engine::rsa::MAX_KEY_BYTES;

/// How many vectors were tried and how many not, by reason.
#[derive(Default)]
struct Count {
    applied: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl Count {
    fn skip(&mut self, why: &'static str, tests: usize) {
        *self.skipped.entry(why).or_default() += tests;
    }

    /// Prints the count for one file and checks it against what is known of the file.
    fn done(self, file: &str, all: usize, served: bool) {
        println!("{file}: {} applied, skipped {:?}", self.applied, self.skipped);
        assert_eq!(self.applied + self.skipped.values().sum::<usize>(), all, "{file}");
        assert_eq!(self.applied > 0, served, "{file}");
    }
}

fn served(hash: HashFunction) -> Option<Hash> {
    match hash {
        HashFunction::Sha2_256 => Some(Hash::Sha256),
        HashFunction::Sha2_384 => Some(Hash::Sha384),
        HashFunction::Sha2_512 => Some(Hash::Sha512),
        _ => None,
    }
}

fn private(key: &wycheproof::RsaPrivate) -> Numbers {
    let [n, e, d, p, q] = [&key.n, &key.e, &key.d, &key.p, &key.q].map(|i| i.as_num_bigint());
    Numbers { bytes: n.bits().div_ceil(8) as usize, n, e, d, p, q }
}

fn public(key: &wycheproof::RsaPublic) -> Numbers {
    let none = BigUint::default;
    let (n, e) = (key.n.as_num_bigint(), key.e.as_num_bigint());
    Numbers { bytes: n.bits().div_ceil(8) as usize, n, e, d: none(), p: none(), q: none() }
}

fn oaep_decrypt(hash: Hash, key: &Numbers, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let mut em = key.private(ciphertext)?;
    let len = eme_oaep_decode(hash, &mut em).ok()?;
    em.truncate(len);
    Some(em)
}

#[test]
fn oaep_decryption() {
    for name in rsa_oaep::TestName::all() {
        let set = rsa_oaep::TestSet::load(name).unwrap();
        let mut count = Count::default();
        for group in set.test_groups {
            let key = private(&group.key);
            let hash = match served(group.hash) {
                None => Err("hash function"),
                Some(_) if group.hash != group.mgf_hash => Err("MGF1 with another hash function"),
                Some(_) if key.bytes > MAX_KEY_BYTES => Err("modulus too long"),
                Some(hash) => Ok(hash),
            };
            let hash = match hash {
                Ok(hash) => hash,
                Err(why) => {
                    count.skip(why, group.tests.len());
                    continue;
                }
            };
            for test in group.tests {
                if !test.label.is_empty() {
                    // Without the label it must not decrypt.
                    assert_eq!(oaep_decrypt(hash, &key, &test.ct), None, "{name:?} {}", test.tc_id);
                    count.applied += 1;
                    continue;
                }
                let decrypted = oaep_decrypt(hash, &key, &test.ct);
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                match test.result {
                    TestResult::Valid => assert_eq!(decrypted.as_deref(), Some(&test.pt[..]), "{why}"),
                    TestResult::Invalid => assert_eq!(decrypted, None, "{why}"),
                    TestResult::Acceptable => {
                        // Nothing wrong with the encoding: the modulus is small, or the ciphertext odd.
                        let odd = [TestFlag::SmallModulus, TestFlag::SmallIntegerCiphertext];
                        assert!(test.flags.iter().any(|flag| odd.contains(flag)), "{why}");
                        assert_eq!(decrypted.as_deref(), Some(&test.pt[..]), "{why}");
                    }
                }
                count.applied += 1;
            }
        }
        let file = format!("{name:?}");
        let served = ["Sha256Mgf1Sha256", "Sha384Mgf1Sha384", "Sha512Mgf1Sha512", "Misc"];
        count.done(&file, set.number_of_tests, served.iter().any(|s| file.ends_with(s)));
    }
}

#[test]
fn pkcs1_decryption_with_implicit_rejection() {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        let set = rsa_pkcs1_decrypt::TestSet::load(name).unwrap();
        let mut count = Count::default();
        let mut rejected = 0;
        for group in set.test_groups {
            let key = private(&group.key);
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                // None: not as long as the modulus or not less than it, which an engine refuses.
                let decrypted = pkcs1_v1_5::decrypt(&key, &test.ct);
                match test.result {
                    TestResult::Valid => assert_eq!(decrypted.as_deref(), Some(&test.pt[..]), "{why}"),
                    TestResult::Invalid => {
                        let synthetic = key
                            .number(&test.ct)
                            .map(|_| pkcs1_v1_5::reference(&key.d.to_bytes_be(), &test.ct));
                        rejected += usize::from(synthetic.is_some());
                        assert_eq!(decrypted, synthetic, "{why}");
                    }
                    TestResult::Acceptable => panic!("{why}: none was known"),
                }
                count.applied += 1;
            }
        }
        assert!(rejected > 0);
        count.done(&format!("{name:?}"), set.number_of_tests, true);
    }
}

#[test]
fn pkcs1_signatures_hold_the_bytes_that_the_encoder_makes() {
    for name in rsa_pkcs1_verify::TestName::all() {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        let mut count = Count::default();
        for group in set.test_groups {
            let key = public(&group.key);
            let Some(hash) = served(group.hash).filter(|_| key.bytes <= MAX_KEY_BYTES) else {
                count.skip("hash function or modulus", group.tests.len());
                continue;
            };
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                let mut em = vec![0xee; key.bytes];
                emsa_pkcs1_v1_5_encode(hash, &test.msg, &mut em).unwrap();
                let signed = key.public(&test.sig);
                let taken =
                    signed.as_ref().is_some_and(|em| emsa_pkcs1_v1_5_verify(hash, &test.msg, em).is_ok());
                assert_eq!(taken, test.result == TestResult::Valid, "{why}");
                // "Acceptable" lack the NULL of the DigestInfo: nobody should make them.
                assert_eq!(signed == Some(em), test.result == TestResult::Valid, "{why}");
                count.applied += 1;
            }
        }
        let file = format!("{name:?}");
        let bits = ["2048", "3072", "4096"].iter().any(|bits| file.contains(bits));
        let hash = ["Sha256", "Sha384", "Sha512"].iter().any(|hash| file.ends_with(hash));
        count.done(&file, set.number_of_tests, bits && hash);
    }
}

#[test]
fn pss_signatures_hold_the_bytes_that_the_encoder_makes() {
    let mut with_salt = 0;
    for name in rsa_pss_verify::TestName::all() {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        let mut count = Count::default();
        for group in set.test_groups {
            let key = public(&group.key);
            let hash = served(group.hash)
                .filter(|hash| group.mgf_hash == Some(group.hash) && group.salt_size == hash.bytes());
            let Some(hash) = hash else {
                count.skip("hash function, MGF1 or length of salt", group.tests.len());
                continue;
            };
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                let em_bits = key.n.bits() as usize - 1;
                let Some(signed) = key.public(&test.sig) else {
                    assert!(test.result.must_fail(), "{why}");
                    count.applied += 1;
                    continue;
                };
                let taken = emsa_pss_verify(hash, &test.msg, em_bits, &signed).is_ok();
                assert_eq!(taken, !test.result.must_fail(), "{why}");
                let mut em = vec![0xee; key.bytes];
                pss_encode(hash, &test.msg, &salt_of(hash, &signed), em_bits, &mut em);
                let valid = signed == to_bytes(&BigUint::from_bytes_be(&em), key.bytes);
                assert_eq!(valid, !test.result.must_fail(), "{why}");
                with_salt += usize::from(valid);
                count.applied += 1;
            }
        }
        let file = format!("{name:?}");
        let served = ["Sha256Mgf1SaltLen32", "Sha384Mgf1SaltLen48", "Sha512Mgf1SaltLen64", "misc"];
        count.done(&file, set.number_of_tests, served.iter().any(|s| file.contains(s)));
    }
    assert!(with_salt > 100, "{with_salt}");
}
