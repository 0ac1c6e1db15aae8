//! Reads DER (X.690) as it is found around keys: tells what the bytes hold, and takes the numbers out. The structures
//! are read by the crates `pkcs1`, `pkcs8` and `der`, strictly; what they read is told apart here, so that a person
//! learns what a file is and not only what it is not. Decides nothing about the numbers.

use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef};
use pkcs8::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{Decode, Encode, Reader, SecretDocument, SliceReader, Tag, TagNumber, Tagged};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use super::EcCurve;
use super::certificate::public_key_info;
use super::parts::PrivateParts;

/// What some bytes are.
pub(super) struct Content<'a> {
    /// The key, or why there is none.
    pub(super) found: Found<'a>,
    /// Whether the key is that of a certificate.
    certified: bool,
}

/// A key, or why there is none.
pub(super) enum Found<'a> {
    /// An RSA private key: PKCS#8 (RFC 5958) or PKCS#1 (RFC 8017).
    Rsa(RsaPrivateKeyRef<'a>),
    /// An RSA public key: `SubjectPublicKeyInfo` (RFC 5280) or PKCS#1.
    RsaPublic(RsaPublicKeyRef<'a>),
    /// An RSA key with more than two primes.
    MultiPrime,
    /// A private key of P-256: PKCS#8 or SEC 1 (RFC 5915).
    P256,
    /// A public key of P-256: a point.
    P256Public(&'a [u8]),
    /// A private key of X25519 (RFC 8410).
    X25519(&'a [u8]),
    /// A public key of X25519.
    X25519Public(&'a [u8]),
    /// A key of another algorithm.
    OtherKey(&'static str),
    /// A private key under a password.
    Encrypted,
    /// Something else.
    NoKey(&'static str),
    /// A key by its outer form, with something wrong inside.
    Damaged(String),
}

impl Content<'_> {
    /// What it is, for messages.
    pub(super) fn name(&self) -> String {
        let name = match &self.found {
            Found::Rsa(_) | Found::RsaPublic(_) | Found::MultiPrime => "an RSA key",
            Found::P256 | Found::P256Public(_) => "a P-256 key",
            Found::X25519(_) | Found::X25519Public(_) => "an X25519 key",
            Found::OtherKey(name) | Found::NoKey(name) => name,
            Found::Encrypted => "an encrypted key",
            Found::Damaged(_) => "a damaged key",
        };
        if self.certified { format!("a certificate for {name}") } else { name.to_owned() }
    }
}

const ID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ID_X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

const OTHERS: [(ObjectIdentifier, &str); 5] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"), "a key restricted to RSA-PSS"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "a DSA key"),
    (ObjectIdentifier::new_unwrap("1.3.101.111"), "an X448 key"),
    (ObjectIdentifier::new_unwrap("1.3.101.112"), "an Ed25519 key"),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "an Ed448 key"),
];
const OTHER_CURVES: [(ObjectIdentifier, &str); 3] = [
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "a P-384 key"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "a P-521 key"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.10"), "a secp256k1 key"),
];

/// The fields of a structure, one after the other. Ends at the end, or at the first that is not well formed.
fn fields(contents: &[u8]) -> impl Iterator<Item = AnyRef<'_>> {
    let mut reader = SliceReader::new(contents).ok();
    std::iter::from_fn(move || {
        let field = AnyRef::decode(reader.as_mut().filter(|r| !r.is_finished())?).ok();
        if field.is_none() {
            reader = None;
        }
        field
    })
}

/// What `der` holds.
pub(super) fn read(der: &[u8]) -> Content<'_> {
    let plain = |found| Content { found, certified: false };
    let Some(outer) = AnyRef::from_der(der).ok().filter(|outer| outer.tag() == Tag::Sequence) else {
        return plain(Found::NoKey("neither PEM nor one whole DER structure"));
    };
    let mut first = fields(outer.value());
    plain(match std::array::from_fn(|_| first.next().map(|field| (field.tag(), field))) {
        [Some((Tag::Integer, _)), Some((Tag::Integer, _)), None] => public(der),
        [Some((Tag::Integer, _)), Some((Tag::Integer, _)), Some((Tag::Integer, _))] => match first.count() {
            // { version, p, q, g, y, x }, as OpenSSL writes it.
            3 => Found::OtherKey("a DSA key"),
            _ => private(der),
        },
        [Some((Tag::Integer, _)), Some((Tag::Sequence, _)), Some((Tag::OctetString, _))] => {
            match PrivateKeyInfoRef::try_from(der) {
                Ok(info) => in_info(&info),
                Err(e) => Found::Damaged(e.to_string()),
            }
        }
        [Some((Tag::Sequence, _)), Some((Tag::BitString, _)), None] => {
            match SubjectPublicKeyInfoRef::try_from(der) {
                Ok(info) => in_public_info(&info),
                Err(e) => Found::Damaged(e.to_string()),
            }
        }
        [Some((Tag::Integer, _)), Some((Tag::OctetString, _)), third] => sec1(third.map(|(_, field)| field)),
        [Some((Tag::Sequence, _)), Some((Tag::OctetString, _)), None] => Found::Encrypted,
        [Some((Tag::Sequence, _)), Some((Tag::Sequence, _)), Some((Tag::BitString, _))] => {
            return match public_key_info(der) {
                Ok(info) => Content { found: in_public_info(&info), certified: true },
                Err(_) => plain(Found::NoKey("a request for a certificate, or a damaged one")),
            };
        }
        _ => Found::NoKey("a DER structure that is not a key"),
    })
}

fn in_info<'a>(info: &PrivateKeyInfoRef<'a>) -> Found<'a> {
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        pkcs1::ALGORITHM_OID => when_null(&info.algorithm, || private(key)),
        ID_EC => curve(&info.algorithm, Found::P256),
        // RFC 8410, 7: an OCTET STRING in the OCTET STRING.
        ID_X25519 => match <&OctetStringRef>::from_der(key) {
            Ok(secret) => Found::X25519(secret.as_bytes()),
            Err(e) => Found::Damaged(e.to_string()),
        },
        oid => other(oid),
    }
}

fn in_public_info<'a>(info: &SubjectPublicKeyInfoRef<'a>) -> Found<'a> {
    let Some(key) = info.subject_public_key.as_bytes() else {
        return Found::Damaged("the public key is not whole bytes".to_owned());
    };
    match info.algorithm.oid {
        pkcs1::ALGORITHM_OID => when_null(&info.algorithm, || public(key)),
        ID_EC => curve(&info.algorithm, Found::P256Public(key)),
        ID_X25519 => Found::X25519Public(key),
        oid => other(oid),
    }
}

/// RFC 8017, A.1: the parameters of rsaEncryption are NULL.
fn when_null<'a>(algorithm: &AlgorithmIdentifierRef<'_>, rsa: impl FnOnce() -> Found<'a>) -> Found<'a> {
    match algorithm.parameters {
        Some(parameters) if parameters.is_null() => rsa(),
        _ => Found::Damaged("the parameters of its algorithm are not NULL".to_owned()),
    }
}

/// RFC 5480, 2.1.1: the parameters name the curve.
fn curve<'a>(algorithm: &AlgorithmIdentifierRef<'_>, p256: Found<'a>) -> Found<'a> {
    match algorithm.parameters_oid() {
        Ok(ID_P256) => p256,
        Ok(oid) => other_curve(oid),
        Err(_) => Found::OtherKey("an EC key that does not name its curve"),
    }
}

/// `ECPrivateKey` (RFC 5915): { version, key, [0] curve, [1] public key }. Without a name, its length must tell.
fn sec1(third: Option<AnyRef<'_>>) -> Found<'static> {
    let named =
        third.filter(|field| field.tag() == Tag::ContextSpecific { constructed: true, number: TagNumber(0) });
    match named.map(|field| ObjectIdentifier::from_der(field.value())) {
        None | Some(Ok(ID_P256)) => Found::P256,
        Some(Ok(oid)) => other_curve(oid),
        Some(Err(_)) => Found::OtherKey("an EC key that does not name its curve"),
    }
}

fn other(oid: ObjectIdentifier) -> Found<'static> {
    let name = OTHERS.iter().find(|(known, _)| *known == oid);
    Found::OtherKey(name.map_or("a key of another algorithm", |(_, name)| name))
}

fn other_curve(oid: ObjectIdentifier) -> Found<'static> {
    let name = OTHER_CURVES.iter().find(|(known, _)| *known == oid);
    Found::OtherKey(name.map_or("an EC key of another curve", |(_, name)| name))
}

fn private(der: &[u8]) -> Found<'_> {
    match RsaPrivateKeyRef::from_der(der) {
        Ok(key) if key.other_prime_infos.is_some() => Found::MultiPrime,
        Ok(key) => Found::Rsa(key),
        Err(e) => Found::Damaged(e.to_string()),
    }
}

fn public(der: &[u8]) -> Found<'_> {
    match RsaPublicKeyRef::from_der(der) {
        Ok(key) => Found::RsaPublic(key),
        Err(e) => Found::Damaged(e.to_string()),
    }
}

impl PrivateParts {
    /// Copies the numbers of `key`.
    pub(super) fn of(key: &RsaPrivateKeyRef<'_>) -> Self {
        let secret = |number: pkcs1::UintRef<'_>| Zeroizing::new(Box::from(number.as_bytes()));
        Self {
            n: key.modulus.as_bytes().into(),
            e: key.public_exponent.as_bytes().into(),
            d: secret(key.private_exponent),
            p: secret(key.prime1),
            q: secret(key.prime2),
            dp: secret(key.exponent1),
            dq: secret(key.exponent2),
            qinv: secret(key.coefficient),
        }
    }

    /// As PKCS#8, in memory that is wiped when dropped. `None` only for numbers beyond all measure.
    pub(super) fn to_pkcs8(&self) -> Option<SecretDocument> {
        let number = |bytes| pkcs1::UintRef::new(bytes).ok();
        let key = RsaPrivateKeyRef {
            modulus: number(&self.n)?,
            public_exponent: number(&self.e)?,
            private_exponent: number(&self.d)?,
            prime1: number(&self.p)?,
            prime2: number(&self.q)?,
            exponent1: number(&self.dp)?,
            exponent2: number(&self.dq)?,
            coefficient: number(&self.qinv)?,
            other_prime_infos: None,
        };
        let inner = SecretDocument::encode_msg(&key).ok()?;
        let info = PrivateKeyInfoRef::new(pkcs1::ALGORITHM_ID, OctetStringRef::new(inner.as_bytes()).ok()?);
        SecretDocument::encode_msg(&info).ok()
    }
}

/// A public key as `SubjectPublicKeyInfo`. `None` only for numbers beyond all measure.
pub(super) fn spki(n: &[u8], e: &[u8]) -> Option<Vec<u8>> {
    let number = |bytes| pkcs1::UintRef::new(bytes).ok();
    let key = RsaPublicKeyRef { modulus: number(n)?, public_exponent: number(e)? }.to_der().ok()?;
    let subject_public_key = BitStringRef::from_bytes(&key).ok()?;
    SubjectPublicKeyInfoRef { algorithm: pkcs1::ALGORITHM_ID, subject_public_key }.to_der().ok()
}

/// An X25519 private key as PKCS#8 (RFC 8410, 7), in memory that is wiped when dropped.
pub(super) fn x25519_pkcs8(secret: &[u8]) -> Option<SecretDocument> {
    let algorithm = AlgorithmIdentifierRef { oid: ID_X25519, parameters: None };
    let inner = Zeroizing::new(OctetStringRef::new(secret).ok()?.to_der().ok()?);
    let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&inner).ok()?);
    SecretDocument::encode_msg(&info).ok()
}

/// A public key on a curve as `SubjectPublicKeyInfo`.
pub(super) fn ec_spki(curve: EcCurve, public: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match curve {
        EcCurve::P256 => AlgorithmIdentifierRef { oid: ID_EC, parameters: Some((&ID_P256).into()) },
        EcCurve::X25519 => AlgorithmIdentifierRef { oid: ID_X25519, parameters: None },
    };
    let subject_public_key = BitStringRef::from_bytes(public).ok()?;
    SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(der: &[u8]) -> String {
        let content = read(der);
        match content.found {
            Found::Rsa(key) => format!("private {}", key.modulus.len()),
            Found::RsaPublic(key) => format!("public {}", key.modulus.len()),
            Found::Damaged(cause) => format!("damaged: {cause}"),
            _ => content.name(),
        }
    }

    #[test]
    fn structures_are_told_apart() {
        assert_eq!(kind(&[0x30, 7, 2, 2, 0, 0x81, 2, 1, 3]), "public 1");
        assert_eq!(kind(&[&[0x30, 27][..], &[2, 1, 0], &[2, 1, 7].repeat(8)].concat()), "private 1");
        assert_eq!(kind(&[0x30, 7, 0x30, 3, 6, 1, 42, 4, 0]), "an encrypted key");
        assert_eq!(kind(&[0x30, 5, 2, 1, 1, 4, 0]), "a P-256 key");
        let ed25519 = [0x30, 14, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 2, 4, 0];
        assert_eq!(kind(&ed25519), "an Ed25519 key");
        for no_key in
            [&[][..], b"-", &[0x30], &[0x30, 0x80], &[0x30, 1], &[0x30, 0, 0], &[0x30, 0x85, 0, 0, 0, 0, 0]]
        {
            assert_eq!(kind(no_key), "neither PEM nor one whole DER structure", "{no_key:?}");
        }
        assert_eq!(kind(&[0x30, 0]), "a DER structure that is not a key");
        // Lengths and numbers in more bytes than needed (X.690, 10.1 and 8.3.2).
        assert!(kind(&[0x30, 0x81, 7, 2, 2, 0, 0x81, 2, 1, 3]).starts_with("neither"));
        assert!(kind(&[0x30, 7, 2, 2, 0, 0x71, 2, 1, 3]).starts_with("damaged"));
        assert!(kind(&[0x30, 6, 2, 1, 0x81, 2, 1, 3]).starts_with("damaged"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes: Vec<u8>, head in 0usize..4) {
            // Most random bytes end at the first field; a plausible head lets some get deeper.
            let len = bytes.len().min(100) as u8;
            bytes.splice(..0, [0x30, len, 0x30, 3].into_iter().take(head));
            let _ = read(&bytes);
        }
    }
}
