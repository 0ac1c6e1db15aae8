//! Reads DER (X.690) as it is found around keys: tells what the bytes hold, and takes the numbers out. The structures
//! are read by the crates `pkcs1`, `pkcs8` and `der`, strictly; what they read is told apart here, so that a person
//! learns what a file is and not only what it is not. Decides nothing about the numbers.

use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef};
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{Decode, Encode, Reader, SecretDocument, SliceReader, Tag, Tagged};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use super::parts::PrivateParts;

/// What the bytes are.
pub(super) enum Found<'a> {
    /// An RSA private key: PKCS#8 (RFC 5958) or PKCS#1 (RFC 8017).
    Private(RsaPrivateKeyRef<'a>),
    /// An RSA public key: `SubjectPublicKeyInfo` (RFC 5280) or PKCS#1.
    Public(RsaPublicKeyRef<'a>),
    /// An RSA key with more than two primes.
    MultiPrime,
    /// A key of another algorithm.
    OtherKey(&'static str),
    /// A private key under a password.
    Encrypted,
    /// Something else.
    NoKey(&'static str),
    /// An RSA key by its outer form, with something wrong inside.
    Damaged(String),
}

const OTHERS: [(ObjectIdentifier, &str); 7] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"), "a key restricted to RSA-PSS"),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"), "an EC key"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "a DSA key"),
    (ObjectIdentifier::new_unwrap("1.3.101.110"), "an X25519 key"),
    (ObjectIdentifier::new_unwrap("1.3.101.111"), "an X448 key"),
    (ObjectIdentifier::new_unwrap("1.3.101.112"), "an Ed25519 key"),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "an Ed448 key"),
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
pub(super) fn read(der: &[u8]) -> Found<'_> {
    let Some(outer) = AnyRef::from_der(der).ok().filter(|outer| outer.tag() == Tag::Sequence) else {
        return Found::NoKey("neither PEM nor one whole DER structure");
    };
    let mut tags = fields(outer.value()).map(|field| field.tag());
    match std::array::from_fn(|_| tags.next()) {
        [Some(Tag::Integer), Some(Tag::Integer), None] => public(der),
        [Some(Tag::Integer), Some(Tag::Integer), Some(Tag::Integer)] => match tags.count() {
            // { version, p, q, g, y, x }, as OpenSSL writes it.
            3 => Found::OtherKey("a DSA key"),
            _ => private(der),
        },
        [Some(Tag::Integer), Some(Tag::Sequence), Some(Tag::OctetString)] => {
            match PrivateKeyInfoRef::try_from(der) {
                Ok(info) => of(&info.algorithm, || private(info.private_key.as_bytes())),
                Err(e) => Found::Damaged(e.to_string()),
            }
        }
        [Some(Tag::Sequence), Some(Tag::BitString), None] => match SubjectPublicKeyInfoRef::try_from(der) {
            Ok(info) => of(&info.algorithm, || match info.subject_public_key.as_bytes() {
                Some(key) => public(key),
                None => Found::Damaged("the public key is not whole bytes".to_owned()),
            }),
            Err(e) => Found::Damaged(e.to_string()),
        },
        [Some(Tag::Integer), Some(Tag::OctetString), _] => Found::OtherKey("an EC key"),
        [Some(Tag::Sequence), Some(Tag::OctetString), None] => Found::Encrypted,
        [Some(Tag::Sequence), Some(Tag::Sequence), Some(Tag::BitString)] => {
            Found::NoKey("a certificate or a request for one")
        }
        _ => Found::NoKey("a DER structure that is not a key"),
    }
}

/// A key inside a structure that names its algorithm.
fn of<'a>(algorithm: &AlgorithmIdentifierRef<'_>, rsa: impl FnOnce() -> Found<'a>) -> Found<'a> {
    if algorithm.oid == pkcs1::ALGORITHM_OID {
        // RFC 8017, A.1: the parameters are NULL.
        return match algorithm.parameters {
            Some(parameters) if parameters.is_null() => rsa(),
            _ => Found::Damaged("the parameters of its algorithm are not NULL".to_owned()),
        };
    }
    let name = OTHERS.iter().find(|(oid, _)| algorithm.oid == *oid);
    Found::OtherKey(name.map_or("a key of another algorithm", |(_, name)| name))
}

fn private(der: &[u8]) -> Found<'_> {
    match RsaPrivateKeyRef::from_der(der) {
        Ok(key) if key.other_prime_infos.is_some() => Found::MultiPrime,
        Ok(key) => Found::Private(key),
        Err(e) => Found::Damaged(e.to_string()),
    }
}

fn public(der: &[u8]) -> Found<'_> {
    match RsaPublicKeyRef::from_der(der) {
        Ok(key) => Found::Public(key),
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
    let subject_public_key = pkcs8::der::asn1::BitStringRef::from_bytes(&key).ok()?;
    SubjectPublicKeyInfoRef { algorithm: pkcs1::ALGORITHM_ID, subject_public_key }.to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kind of what is found, without its numbers.
    fn kind(der: &[u8]) -> String {
        match read(der) {
            Found::Private(key) => format!("private {}", key.modulus.len()),
            Found::Public(key) => format!("public {}", key.modulus.len()),
            Found::MultiPrime => "multi-prime".to_owned(),
            Found::OtherKey(name) | Found::NoKey(name) => name.to_owned(),
            Found::Encrypted => "encrypted".to_owned(),
            Found::Damaged(cause) => format!("damaged: {cause}"),
        }
    }

    #[test]
    fn structures_are_told_apart() {
        assert_eq!(kind(&[0x30, 7, 2, 2, 0, 0x81, 2, 1, 3]), "public 1");
        assert_eq!(kind(&[&[0x30, 27][..], &[2, 1, 0], &[2, 1, 7].repeat(8)].concat()), "private 1");
        assert_eq!(kind(&[0x30, 7, 0x30, 3, 6, 1, 42, 4, 0]), "encrypted");
        assert_eq!(kind(&[0x30, 5, 2, 1, 1, 4, 0]), "an EC key");
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
