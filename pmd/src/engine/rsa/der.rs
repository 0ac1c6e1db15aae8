//! Tells what DER bytes hold before aws-lc parses them: aws-lc refuses what it does not take, but cannot say what it
//! was given. Reads structure only (X.690, definite lengths), never panics, and decides nothing about validity.

/// The structure around an RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// PKCS#8 `PrivateKeyInfo` (RFC 5958): PEM "PRIVATE KEY".
    Pkcs8,
    /// `RSAPrivateKey` (RFC 8017): PEM "RSA PRIVATE KEY".
    Pkcs1,
    /// `SubjectPublicKeyInfo` (RFC 5280): PEM "PUBLIC KEY".
    Spki,
    /// `RSAPublicKey` (RFC 8017): PEM "RSA PUBLIC KEY".
    Pkcs1Public,
}

/// What the bytes look like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An RSA key with a modulus of so many bits.
    Rsa(Encoding, usize),
    /// A key of another algorithm.
    OtherKey(&'static str),
    /// A private key under a password.
    Encrypted,
    /// Something else.
    NoKey(&'static str),
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OTHERS: [(&[u8], &str); 6] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "a key restricted to RSA-PSS"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], "an EC key"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
    (&[0x2b, 0x65, 0x6e], "an X25519 key"),
    (&[0x2b, 0x65, 0x70], "an Ed25519 key"),
    (&[0x2b, 0x65, 0x71], "an Ed448 key"),
];

type Field<'a> = (u8, &'a [u8]);

/// The fields of a structure, one after the other. Ends at the end, or at the first that is not well formed.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            // The long form: the low bits say how many bytes the length has. 4 GiB are enough.
            let n = usize::from(first & 0x7f);
            let bytes = rest.get(..n).filter(|_| (1..=4).contains(&n))?;
            len = bytes.iter().fold(0, |len, &b| len << 8 | usize::from(b));
            rest = &rest[n..];
        }
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, contents))
    }
}

/// The contents of `der`, if it is one SEQUENCE and nothing else.
fn sequence(der: &[u8]) -> Option<Fields<'_>> {
    let mut fields = Fields(der);
    match fields.next()? {
        (SEQUENCE, body) if fields.0.is_empty() => Some(Fields(body)),
        _ => None,
    }
}

/// What `der` holds.
pub(super) fn identify(der: &[u8]) -> Found {
    let Some(mut fields) = sequence(der) else {
        return Found::NoKey("neither PEM nor one whole DER structure");
    };
    let first: [Option<Field<'_>>; 3] = std::array::from_fn(|_| fields.next());
    match first {
        [Some((INTEGER, n)), Some((INTEGER, _)), None] => Found::Rsa(Encoding::Pkcs1Public, bits(n)),
        [Some((INTEGER, _)), Some((INTEGER, n)), Some((INTEGER, _))] => Found::Rsa(Encoding::Pkcs1, bits(n)),
        [Some((INTEGER, _)), Some((SEQUENCE, algorithm)), Some((OCTET_STRING, key))] => {
            // RSAPrivateKey is { version, n, ... }.
            wrapped(algorithm, Encoding::Pkcs8, sequence(key).and_then(|mut f| f.nth(1)))
        }
        [Some((SEQUENCE, algorithm)), Some((BIT_STRING, key)), None] => {
            // The first byte counts the unused bits at the end: none. RSAPublicKey is { n, e }.
            let n = key.strip_prefix(&[0]).and_then(sequence).and_then(|mut f| f.next());
            wrapped(algorithm, Encoding::Spki, n)
        }
        [Some((INTEGER, _)), Some((OCTET_STRING, _)), _] => Found::OtherKey("an EC key"),
        [Some((SEQUENCE, _)), Some((OCTET_STRING, _)), None] => Found::Encrypted,
        [Some((SEQUENCE, _)), Some((SEQUENCE, _)), Some((BIT_STRING, _))] => {
            Found::NoKey("a certificate or a request for one")
        }
        _ => Found::NoKey("a DER structure that is not a key"),
    }
}

/// A key inside a structure that names its algorithm.
fn wrapped(algorithm: &[u8], encoding: Encoding, modulus: Option<Field<'_>>) -> Found {
    match (Fields(algorithm).next(), modulus) {
        (Some((OID, RSA)), Some((INTEGER, n))) => Found::Rsa(encoding, bits(n)),
        (Some((OID, RSA)), _) => Found::NoKey("an RSA key without a modulus"),
        (Some((OID, oid)), _) => Found::OtherKey(
            OTHERS
                .iter()
                .find(|(known, _)| *known == oid)
                .map_or("a key of another algorithm", |(_, name)| name),
        ),
        _ => Found::NoKey("a DER structure that is not a key"),
    }
}

/// The bits of a positive INTEGER.
fn bits(integer: &[u8]) -> usize {
    let zeros = integer.iter().take_while(|&&b| b == 0).count();
    integer.get(zeros).map_or(0, |top| (integer.len() - zeros) * 8 - top.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn structures_are_told_apart() {
        assert_eq!(identify(&[0x30, 6, 2, 2, 0, 0x81, 2, 0]), Found::Rsa(Encoding::Pkcs1Public, 8));
        assert_eq!(identify(&[0x30, 9, 2, 1, 0, 2, 1, 5, 2, 1, 3]), Found::Rsa(Encoding::Pkcs1, 3));
        assert_eq!(identify(&[0x30, 4, 0x30, 0, 4, 0]), Found::Encrypted);
        assert_eq!(identify(&[0x30, 5, 2, 1, 1, 4, 0]), Found::OtherKey("an EC key"));
        let ed25519 = [0x30, 14, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 2, 4, 0];
        assert_eq!(identify(&ed25519), Found::OtherKey("an Ed25519 key"));
        for no_key in
            [&[][..], b"-", &[0x30], &[0x30, 0x80], &[0x30, 1], &[0x30, 0, 0], &[0x30, 0x85, 0, 0, 0, 0, 0]]
        {
            assert!(matches!(identify(no_key), Found::NoKey(_)), "{no_key:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes: Vec<u8>, head in 0usize..4) {
            // Most random bytes end at the first field; a plausible head lets some get deeper.
            let len = bytes.len().min(100) as u8;
            bytes.splice(..0, [0x30, len, 0x30, 3].into_iter().take(head));
            let _ = identify(&bytes);
        }
    }
}
