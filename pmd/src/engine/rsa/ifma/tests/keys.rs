//! Keys for the tests: some of the kind that people have, and some at the limits of what is accepted.

use std::sync::OnceLock;

use num_bigint::BigUint;
use pkcs1::{RsaPrivateKeyRef, UintRef};
use pkcs8::der::Encode;

use super::super::super::parts::PrivateParts;
use super::*;

pub(super) const SIZES: [usize; 4] = [1024, 2048, 3072, 4096];

/// A key in every form.
pub(super) struct Key {
    pub(super) key: RsaKey,
    pub(super) ifma: IfmaKey,
    pub(super) library: LibraryKey,
    /// Where there is an OpenSSL.
    pub(super) openssl: Option<openssl::Key>,
}

impl Key {
    pub(super) fn new(key: RsaKey) -> Self {
        let parts = key.parts("be tested").unwrap();
        let ifma = IfmaKey::new(parts, 8 * parts.n.len()).unwrap().expect("a key of usual form");
        let library = LibraryKey::new(parts).unwrap();
        let openssl = openssl::get().map(|openssl| openssl.key(parts));
        Self { ifma, library, openssl, key }
    }

    pub(super) fn parts(&self) -> &PrivateParts {
        self.key.parts("be tested").unwrap()
    }

    pub(super) fn number(&self, of: impl Fn(&PrivateParts) -> &[u8]) -> BigUint {
        BigUint::from_bytes_be(of(self.parts()))
    }

    /// The result by aws-lc.
    pub(super) fn by_library(&self, input: &[u8]) -> Vec<u8> {
        let mut output = vec![0; input.len()];
        self.library.private(input, &mut output).unwrap();
        output
    }

    /// A number as an input, if it is one.
    pub(super) fn input(&self, number: &BigUint) -> Option<Vec<u8>> {
        let (n, bytes) = (self.key.modulus(), number.to_bytes_be());
        let input = [vec![0; n.len().checked_sub(bytes.len())?], bytes].concat();
        (*input < *n).then_some(input)
    }
}

/// Primes of half the size of a key, as distances. That they are primes is checked when they become keys.
struct Primes {
    bits: usize,
    /// Below 2^bits: the largest for which all of [`EXPONENTS`] will do.
    largest: [u32; 2],
    /// Above 3 · 2^(bits − 2): the smallest with the two highest bits, as most programs make them.
    usual: [u32; 2],
    /// Above 2^(bits − 1): the smallest whose product with the largest has all the bits of a modulus.
    smallest: u32,
}

const PRIMES: [Primes; 4] = [
    Primes { bits: 512, largest: [629, 875], usual: [1505, 2129], smallest: 809 },
    Primes { bits: 1024, largest: [105, 1397], usual: [1037, 1937], smallest: 1493 },
    Primes { bits: 1536, largest: [3453, 7769], usual: [2617, 3797], smallest: 2051 },
    Primes { bits: 2048, largest: [2543, 8507], usual: [469, 899], smallest: 1919 },
];

/// 17 and 33 bits, few of them set, and nearly all: 2^16 + 1, 2^17 − 1, 2^32 + 15, 2^33 − 9, 2^33 − 1. The last is no
/// prime.
const EXPONENTS: [u64; 5] = [65_537, 131_071, 4_294_967_311, 8_589_934_583, 8_589_934_591];

impl Primes {
    /// Both orders of the primes, ratios from nearly 1 to nearly 2, and all exponents.
    fn keys(&self) -> [RsaKey; 5] {
        let power = |n: usize| BigUint::from(1u8) << n;
        let [l, m] = self.largest.map(|distance| power(self.bits) - distance);
        let [t, u] = self.usual.map(|distance| 3u8 * power(self.bits - 2) + distance);
        let s = power(self.bits - 1) + self.smallest;
        let pairs = [(&l, &m), (&s, &l), (&t, &u), (&l, &s), (&m, &l)];
        let mut e = EXPONENTS.into_iter();
        pairs.map(|(p, q)| from_primes(p, q, e.next().expect("one each")))
    }
}

fn from_primes(p: &BigUint, q: &BigUint, e: u64) -> RsaKey {
    let (p1, q1, e) = (p - 1u32, q - 1u32, BigUint::from(e));
    let d = e.modinv(&(&p1 * &q1)).expect("an exponent with an inverse");
    let qinv = q.modinv(p).expect("different primes");
    let bytes = [&(p * q), &e, &d, p, q, &(&d % &p1), &(&d % &q1), &qinv].map(|number| number.to_bytes_be());
    let [n, e, d, p, q, dp, dq, qinv] = bytes.each_ref().map(|bytes| UintRef::new(bytes).unwrap());
    let key = RsaPrivateKeyRef {
        modulus: n,
        public_exponent: e,
        private_exponent: d,
        prime1: p,
        prime2: q,
        exponent1: dp,
        exponent2: dq,
        coefficient: qinv,
        other_prime_infos: None,
    };
    RsaKey::from_der(&key.to_der().unwrap(), "made").unwrap()
}

/// Six keys of a size: one as OpenSSL makes them, and five at the limits. Made once for all tests.
pub(super) fn keys(bits: usize) -> &'static [Key] {
    static KEYS: [OnceLock<Vec<Key>>; SIZES.len()] = [const { OnceLock::new() }; SIZES.len()];
    let size = SIZES.iter().position(|size| *size == bits).expect("a size that is served");
    KEYS[size].get_or_init(|| {
        let pem = [
            include_str!("../../../../../tests/data/rsa/rsa1024.pem"),
            include_str!("../../../../../tests/data/rsa/rsa2048.pem"),
            include_str!("../../../../../tests/data/rsa/rsa3072-pkcs1.pem"),
            include_str!("../../../../../tests/data/rsa/rsa4096-pkcs1.pem"),
        ];
        let usual = RsaKey::from_pem(pem[size], "usual").unwrap();
        [usual].into_iter().chain(PRIMES[size].keys()).map(Key::new).collect()
    })
}

#[test]
fn keys_at_the_limits_are_what_they_say() {
    if Bench::new().is_none() {
        return;
    }
    for bits in SIZES {
        let keys = keys(bits);
        assert!(keys.iter().all(|k| k.ifma.bits() == bits && k.key.bits() == bits));
        let (p, q) = (|k: &Key| k.number(|p| &p.p), |k: &Key| k.number(|p| &p.q));
        assert!(keys.iter().any(|k| p(k) < q(k)) && keys.iter().any(|k| p(k) > q(k)));
        let mut exponents: Vec<_> = keys[1..].iter().map(|k| k.ifma.e).collect();
        exponents.sort_unstable();
        assert_eq!(exponents, EXPONENTS);
        let least = BigUint::from(1u8) << (bits - 1);
        assert!(keys.iter().any(|k| k.number(|p| &p.n) - &least < &least >> (bits / 2 - 14)), "{bits}");
    }
}
