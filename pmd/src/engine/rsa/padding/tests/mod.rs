//! The encodings against aws-lc, OpenSSL and Wycheproof. The private operation is done by an arithmetic that shares
//! nothing with either; that it is slow does not matter here.

use std::path::Path;
use std::sync::OnceLock;

use num_bigint::BigUint;

use super::{Hash, MAX_HASH_BYTES};
use crate::engine::rsa::{RsaKey, RsaScheme};

mod coding;
mod constant_time;
mod oaep;
mod pkcs1_v1_5;
mod sign;
#[cfg(target_arch = "x86_64")]
mod trace;
mod wycheproof;

const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
const KEY_BYTES: [usize; 4] = [128, 256, 384, 512];

/// The schemes of aws-lc with a hash function: PKCS#1 signature, PSS, OAEP.
fn schemes(hash: Hash) -> [RsaScheme; 3] {
    match hash {
        Hash::Sha256 => [RsaScheme::Pkcs1Sha256, RsaScheme::PssSha256, RsaScheme::OaepSha256],
        Hash::Sha384 => [RsaScheme::Pkcs1Sha384, RsaScheme::PssSha384, RsaScheme::OaepSha384],
        Hash::Sha512 => [RsaScheme::Pkcs1Sha512, RsaScheme::PssSha512, RsaScheme::OaepSha512],
    }
}

/// A private key as numbers, with the raw operations on bytes.
struct Numbers {
    n: BigUint,
    e: BigUint,
    d: BigUint,
    p: BigUint,
    q: BigUint,
    bytes: usize,
}

impl Numbers {
    fn private(&self, input: &[u8]) -> Option<Vec<u8>> {
        let c = self.number(input)?;
        let one = BigUint::from(1u8);
        let part = |prime: &BigUint| c.modpow(&(&self.d % (prime - &one)), prime);
        let (a, b) = (part(&self.p), part(&self.q));
        // q^-1 mod p, by Fermat.
        let inverse = self.q.modpow(&(&self.p - 2u8), &self.p);
        let h = (&a + &self.p - &b % &self.p) * inverse % &self.p;
        Some(to_bytes(&(b + h * &self.q), self.bytes))
    }

    fn public(&self, input: &[u8]) -> Option<Vec<u8>> {
        Some(to_bytes(&self.number(input)?.modpow(&self.e, &self.n), self.bytes))
    }

    /// What an engine takes: as many bytes as the modulus has, and a number less than it.
    fn number(&self, input: &[u8]) -> Option<BigUint> {
        let number = BigUint::from_bytes_be(input);
        (input.len() == self.bytes && number < self.n).then_some(number)
    }
}

fn to_bytes(number: &BigUint, len: usize) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    [vec![0; len - bytes.len()], bytes].concat()
}

/// A key of pmd/tests/data/rsa: as numbers, and as the library takes it.
fn known_key(bits: usize) -> (Numbers, RsaKey) {
    let pem = std::fs::read_to_string(data(&format!("rsa{bits}-pkcs1.pem"))).unwrap();
    let der = pem::parse(&pem).unwrap().into_contents();
    let [n, e, d, p, q] = integers(&der);
    let key = RsaKey::from_der(&der, "known").unwrap();
    (Numbers { n, e, d, p, q, bytes: bits / 8 }, key)
}

fn keys() -> &'static [(Numbers, RsaKey); 3] {
    static KEYS: OnceLock<[(Numbers, RsaKey); 3]> = OnceLock::new();
    KEYS.get_or_init(|| [2048, 3072, 4096].map(known_key))
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name)
}

/// n, e, d, p and q of an RSAPrivateKey whose lengths take two bytes, or one.
fn integers(der: &[u8]) -> [BigUint; 5] {
    // SEQUENCE with a length of two bytes; INTEGER 0.
    let mut rest = &der[4 + 3..];
    std::array::from_fn(|_| {
        assert_eq!(rest[0], 2, "an INTEGER");
        let long = usize::from(rest[1] & 0x7f);
        let (at, len) = match rest[1] {
            0x80.. => (2 + long, rest[2..2 + long].iter().fold(0, |n, &b| n << 8 | usize::from(b))),
            short => (2, usize::from(short)),
        };
        let number = BigUint::from_bytes_be(&rest[at..at + len]);
        rest = &rest[at + len..];
        number
    })
}

#[test]
fn hashes_are_those_of_aws_lc() {
    use aws_lc_rs::digest;
    let message: Vec<u8> = (0..=255).collect();
    for (hash, theirs) in HASHES.into_iter().zip([&digest::SHA256, &digest::SHA384, &digest::SHA512]) {
        for len in 0..message.len() {
            let mut ours = [0; MAX_HASH_BYTES];
            let (a, b) = message[..len].split_at(len / 3);
            assert_eq!(hash.hash_into(&[a, b], &mut ours), digest::digest(theirs, &message[..len]).as_ref());
        }
        assert_eq!(hash.bytes(), theirs.output_len());
    }
}

#[test]
fn the_private_operation_of_these_tests_is_the_inverse_of_the_public_one() {
    for (numbers, _) in keys() {
        let input = vec![0x42; numbers.bytes];
        let output = numbers.private(&input).unwrap();
        assert_ne!(output, input);
        assert_eq!(numbers.public(&output), Some(input));
        assert_eq!(numbers.private(&to_bytes(&numbers.n, numbers.bytes)), None);
    }
}
