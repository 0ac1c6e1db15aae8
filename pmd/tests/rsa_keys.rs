//! RSA keys with something wrong in them, made from good ones number by number: each is refused, with the reason.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use num_bigint::BigUint;
use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef, UintRef};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode, Encode};
use pkcs8::{AlgorithmIdentifierRef, PrivateKeyInfoRef};
use warpdrive_pmd::engine::rsa::{KeyError, KeyFault, RsaKey};

/// The numbers of a key, to be changed at will.
#[derive(Clone, Debug)]
struct Numbers {
    n: BigUint,
    e: BigUint,
    d: BigUint,
    p: BigUint,
    q: BigUint,
    dp: BigUint,
    dq: BigUint,
    qinv: BigUint,
}

impl Numbers {
    fn of(pkcs8: &[u8]) -> Self {
        let info = PrivateKeyInfoRef::try_from(pkcs8).unwrap();
        let key = RsaPrivateKeyRef::try_from(info.private_key).unwrap();
        let number = |number: UintRef<'_>| BigUint::from_bytes_be(number.as_bytes());
        Self {
            n: number(key.modulus),
            e: number(key.public_exponent),
            d: number(key.private_exponent),
            p: number(key.prime1),
            q: number(key.prime2),
            dp: number(key.exponent1),
            dq: number(key.exponent2),
            qinv: number(key.coefficient),
        }
    }

    fn file(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name);
        Self::of(pem::parse(fs::read(path).unwrap()).unwrap().contents())
    }

    /// A key whose numbers all belong together, whether `p` and `q` are primes or not.
    fn from(p: &BigUint, q: &BigUint, e: u64) -> Option<Self> {
        let (p1, q1, e) = (p - 1u32, q - 1u32, BigUint::from(e));
        let d = e.modinv(&(&p1 * &q1))?;
        let (dp, dq, qinv) = (&d % &p1, &d % &q1, q.modinv(p)?);
        Some(Self { n: p * q, e, d, p: p.clone(), q: q.clone(), dp, dq, qinv })
    }

    fn pkcs1(&self) -> Vec<u8> {
        let Self { n, e, d, p, q, dp, dq, qinv } = self;
        let bytes = [n, e, d, p, q, dp, dq, qinv].map(BigUint::to_bytes_be);
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
        key.to_der().unwrap()
    }

    fn pkcs8(&self, algorithm: AlgorithmIdentifierRef<'_>) -> Vec<u8> {
        let inner = self.pkcs1();
        PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&inner).unwrap()).to_der().unwrap()
    }

    fn public(&self) -> Vec<u8> {
        let (n, e) = (self.n.to_bytes_be(), self.e.to_bytes_be());
        let number = |bytes| UintRef::new(bytes).unwrap();
        RsaPublicKeyRef { modulus: number(&n), public_exponent: number(&e) }.to_der().unwrap()
    }
}

fn known() -> &'static Numbers {
    static KNOWN: OnceLock<Numbers> = OnceLock::new();
    KNOWN.get_or_init(|| Numbers::file("rsa2048.pem"))
}

/// Loads the key in both encodings, and says why it is refused.
fn fault(numbers: &Numbers) -> Option<KeyFault> {
    let faults = [numbers.pkcs1(), numbers.pkcs8(pkcs1::ALGORITHM_ID)].map(|der| {
        match RsaKey::from_der(&der, "doctored") {
            Ok(key) => {
                assert!(key.is_private());
                None
            }
            Err(KeyError::Unsound { origin, fault }) => {
                assert_eq!(origin, "doctored");
                Some(fault)
            }
            Err(other) => panic!("{other}"),
        }
    });
    assert_eq!(faults[0], faults[1]);
    faults[0]
}

fn public_fault(numbers: &Numbers) -> Option<KeyFault> {
    match RsaKey::from_der(&numbers.public(), "doctored") {
        Ok(key) => {
            assert!(!key.is_private());
            None
        }
        Err(KeyError::Unsound { fault, .. }) => Some(fault),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_good_key_made_from_numbers_is_taken() {
    assert_eq!(fault(known()), None);
    assert_eq!(fault(&Numbers::from(&known().p, &known().q, 65537).unwrap()), None);
    // RFC 8017 does not say which prime is the larger.
    assert_eq!(fault(&Numbers::from(&known().q, &known().p, 65537).unwrap()), None);
    // d modulo lcm(p−1, q−1) and modulo (p−1)(q−1) are both usual.
    let (p1, q1) = (&known().p - 1u32, &known().q - 1u32);
    let mut other = known().clone();
    other.d = known().e.modinv(&(&p1 * &q1)).unwrap();
    assert_eq!(fault(&other), None);
    other.d = known().e.modinv(&(&p1 * &q1 / 2u32)).unwrap();
    assert_eq!(fault(&other), None);
}

#[test]
fn numbers_that_do_not_belong_together_are_told_apart() {
    let with = |change: fn(&mut Numbers)| {
        let mut numbers = known().clone();
        change(&mut numbers);
        fault(&numbers)
    };
    assert_eq!(with(|k| k.n -= 1u32), Some(KeyFault::EvenModulus));
    assert_eq!(with(|k| k.n -= 2u32), Some(KeyFault::Product));
    assert_eq!(with(|k| k.p -= 2u32), Some(KeyFault::Product));
    assert_eq!(with(|k| k.q += 2u32), Some(KeyFault::Product));
    assert_eq!(with(|k| k.d += 2u32), Some(KeyFault::PrivateExponent));
    assert_eq!(with(|k| k.e += 2u32), Some(KeyFault::PrivateExponent));
    assert_eq!(with(|k| k.dp += 1u32), Some(KeyFault::Crt));
    assert_eq!(with(|k| k.dq += 1u32), Some(KeyFault::Crt));
    assert_eq!(with(|k| k.qinv += 1u32), Some(KeyFault::Crt));
    // The same residue, but not the smallest.
    assert_eq!(with(|k| k.qinv += &k.p), Some(KeyFault::Crt));
    assert_eq!(with(|k| std::mem::swap(&mut k.dp, &mut k.dq)), Some(KeyFault::Crt));
    assert_eq!(with(|k| k.d += &k.n << 64), Some(KeyFault::LongPrivateExponent));
    // As right a d as any, but no d < n (RFC 8017, 3.2).
    let beyond = |k: &mut Numbers| k.d += (&k.p - 1u32) * (&k.q - 1u32) * 4u32;
    assert_eq!(with(beyond), Some(KeyFault::LongPrivateExponent));
    let secrets: [fn(&mut Numbers) -> &mut BigUint; 4] =
        [|k| &mut k.d, |k| &mut k.dp, |k| &mut k.dq, |k| &mut k.qinv];
    for zero in secrets {
        let mut numbers = known().clone();
        *zero(&mut numbers) = BigUint::ZERO;
        assert!(fault(&numbers).is_some());
    }
}

#[test]
fn bad_primes_are_refused() {
    let (p, q) = (&known().p, &known().q);
    let mut square = known().clone();
    (square.n, square.q) = (p * p, p.clone());
    assert_eq!(fault(&square), Some(KeyFault::EqualPrimes));

    let mut sizes = known().clone();
    (sizes.p, sizes.q) = (p >> 1, q << 1);
    assert_eq!(fault(&sizes), Some(KeyFault::PrimeSize));
    (sizes.p, sizes.q) = (known().n.clone(), BigUint::from(1u32));
    assert_eq!(fault(&sizes), Some(KeyFault::PrimeSize));

    // The product of two primes of 512 bits in the place of one of 1,024: everything else is in order.
    let small = Numbers::file("rsa1024.pem");
    let composite = &small.p * &small.q;
    for (p, q) in [(&composite, q), (q, &composite)] {
        let doctored = Numbers::from(p, q, 65537).unwrap();
        assert_eq!((doctored.n.bits(), composite.bits()), (2048, 1024));
        assert_eq!(fault(&doctored), Some(KeyFault::Composite));
    }
}

#[test]
fn exponents_are_odd_and_neither_small_nor_large() {
    let (p, q) = (&known().p, &known().q);
    let with = |e: u64| {
        let mut numbers = known().clone();
        numbers.e = BigUint::from(e);
        (fault(&numbers), public_fault(&numbers))
    };
    let both = |fault| (Some(fault), Some(fault));
    assert_eq!(with(0), both(KeyFault::TinyExponent));
    assert_eq!(with(1), both(KeyFault::TinyExponent));
    assert_eq!(with(2), both(KeyFault::EvenExponent));
    assert_eq!(with(65536), both(KeyFault::EvenExponent));
    assert_eq!(with((1 << 33) + 1), both(KeyFault::LargeExponent));
    assert_eq!(with(u64::MAX), both(KeyFault::LargeExponent));
    // Old public keys have such exponents; a private key is not to be used with them.
    for e in [3, 17, 257, 65535] {
        assert_eq!(with(e), (Some(KeyFault::SmallExponent), None));
    }
    // Good keys on both sides of the limits.
    let mut small = (3..65536).rev().step_by(2).filter_map(|e| Numbers::from(p, q, e));
    assert_eq!(fault(&small.next().unwrap()), Some(KeyFault::SmallExponent));
    let mut large = ((1 << 32) + 1..1 << 33).step_by(2).filter_map(|e| Numbers::from(p, q, e));
    assert_eq!(fault(&large.next().unwrap()), None);
}

#[test]
fn a_modulus_of_1024_bits_is_taken_and_called_weak() {
    let weak = RsaKey::from_der(&Numbers::file("rsa1024.pem").pkcs1(), "weak").unwrap();
    assert_eq!((weak.bits(), weak.is_weak(), weak.is_private()), (1024, true, true));
    assert!(weak.public().is_weak());
    assert!(!RsaKey::from_der(&known().pkcs1(), "strong").unwrap().is_weak());
    for shift in [1, 1024 - 1, 1024 - 256, 1024] {
        let mut other = known().clone();
        other.n = (&known().n >> shift) | BigUint::from(1u32);
        let refused = RsaKey::from_der(&other.public(), "doctored").map(|key| key.bits());
        match other.n.bits() {
            1024 => assert_eq!(refused.unwrap(), 1024),
            n => assert!(matches!(refused, Err(KeyError::Size { bits, .. }) if bits as u64 == n)),
        }
    }
    let mut none = known().clone();
    none.n = BigUint::ZERO;
    assert!(matches!(RsaKey::from_der(&none.public(), "none"), Err(KeyError::Size { bits: 0, .. })));
}

#[test]
fn structures_that_are_not_strict_or_not_for_us_are_refused() {
    let refused = |der: &[u8]| RsaKey::from_der(der, "doctored").unwrap_err();
    let pkcs1 = known().pkcs1();
    // { version, n, ... }: version 0 stands at 6, behind the two headers.
    assert_eq!(pkcs1[4..7], [2, 1, 0]);

    let mut version = pkcs1.clone();
    version[6] = 2;
    assert!(matches!(refused(&version), KeyError::Damaged { .. }));
    // Version 1 promises more primes and has none.
    version[6] = 1;
    assert!(matches!(refused(&version), KeyError::Damaged { .. }));

    // SEQUENCE OF { SEQUENCE { 3, 3, 3 } } behind the numbers.
    let more = b"\x30\x0b\x30\x09\x02\x01\x03\x02\x01\x03\x02\x01\x03";
    let with_more = |version: u8| {
        let mut der = pkcs1.clone();
        let len = u16::from_be_bytes([der[2], der[3]]) + more.len() as u16;
        der[2..4].copy_from_slice(&len.to_be_bytes());
        der[6] = version;
        der.extend_from_slice(more);
        refused(&der)
    };
    let message = with_more(1).to_string();
    assert!(matches!(with_more(1), KeyError::MultiPrime { .. }), "{message}");
    assert!(message.contains("more than two primes") && message.contains("openssl genrsa"), "{message}");
    assert!(matches!(with_more(0), KeyError::Damaged { .. }));

    // A negative modulus: the zero byte in front is what makes it positive.
    let at = 7 + 4;
    assert_eq!(pkcs1[7..12], [2, 0x82, 1, 1, 0]);
    let mut negative = pkcs1.clone();
    negative[9..11].copy_from_slice(&256u16.to_be_bytes());
    negative.remove(at);
    let len = u16::from_be_bytes([pkcs1[2], pkcs1[3]]) - 1;
    negative[2..4].copy_from_slice(&len.to_be_bytes());
    assert!(matches!(refused(&negative), KeyError::Damaged { .. }));

    // RFC 8017, A.1: rsaEncryption has the parameters NULL.
    let bare = AlgorithmIdentifierRef { oid: pkcs1::ALGORITHM_OID, parameters: None };
    assert!(matches!(refused(&known().pkcs8(bare)), KeyError::Damaged { .. }));
    let pss = AlgorithmIdentifierRef { oid: "1.2.840.113549.1.1.10".parse().unwrap(), parameters: None };
    let message = refused(&known().pkcs8(pss)).to_string();
    assert!(message.contains("a key restricted to RSA-PSS"), "{message}");

    // { 0, p, q, g, y, x }: a DSA key as OpenSSL used to write it.
    let dsa = b"\x30\x12\x02\x01\x00\x02\x01\x05\x02\x01\x05\x02\x01\x05\x02\x01\x05\x02\x01\x05";
    assert!(matches!(refused(dsa), KeyError::NotRsa { found, .. } if found == "a DSA key"));

    // Cut anywhere, it is not a key, and nothing panics.
    for len in 0..pkcs1.len() {
        assert!(matches!(refused(&pkcs1[..len]), KeyError::NotAKey { .. } | KeyError::Empty { .. }));
    }
    assert!(RsaPrivateKeyRef::from_der(&pkcs1).is_ok());
}

#[test]
fn every_fault_has_a_cause_and_a_remedy() {
    let mut numbers = known().clone();
    numbers.e = BigUint::from(3u32);
    let message = RsaKey::from_der(&numbers.pkcs1(), "old.pem").unwrap_err().to_string();
    for part in ["old.pem", "exponent e of this private key is below 65537", "Remedy: a new key", "genrsa"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    numbers = known().clone();
    numbers.dp += 1u32;
    let message = RsaKey::from_der(&numbers.pkcs1(), "bad.pem").unwrap_err().to_string();
    for part in ["bad.pem", "dp, dq and qinv", "another copy", "openssl pkey -check"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}
