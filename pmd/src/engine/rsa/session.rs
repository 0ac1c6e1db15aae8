//! Sessions: a key, what is done with it, and the padding, prepared once.

use std::fmt;

use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey, RsaParameters,
};
use aws_lc_rs::signature::{self, ParsedPublicKey};

use super::coding::Coding;
use super::ifma::IfmaKey;
use super::library::LibraryKey;
use super::padding::Hash;
use super::padding::decrypt::ImplicitRejection;
use super::parts::PrivateParts;
use super::scheme::Padding;
use super::{EcSession, KeyError, RawSession, RsaKey, RsaOp, RsaScheme, raw};

/// What the engine has sessions of.
pub enum PublicKeySession {
    /// RSA.
    Rsa(RsaSession),
    /// RSA on numbers.
    Raw(RawSession),
    /// Elliptic curves.
    Ec(EcSession),
}

impl PublicKeySession {
    /// The key of a private operation of RSA, and what is done around it.
    pub(super) fn private(&self) -> Option<(&PrivateKey, Coding)> {
        match self {
            Self::Rsa(session) => match &session.prepared {
                Prepared::Private(key) => Some((key, Coding::Padded(session.op, session.scheme))),
                _ => None,
            },
            Self::Raw(session) => match &session.prepared {
                raw::Prepared::Private(key) => Some((key, Coding::Raw)),
                raw::Prepared::Public(_) => None,
            },
            Self::Ec(_) => None,
        }
    }
}

/// A prepared operation: a key, what is done with it, and the padding.
pub struct RsaSession {
    op: RsaOp,
    scheme: RsaScheme,
    key_bytes: usize,
    pub(super) prepared: Prepared,
}

/// The key in the form that the operation wants.
pub(super) enum Prepared {
    Private(Box<PrivateKey>),
    Verify(ParsedPublicKey),
    EncryptOaep(OaepPublicEncryptingKey, &'static OaepAlgorithm),
    EncryptPkcs1(Pkcs1PublicEncryptingKey),
}

/// A private key, ready for passes and for the library.
pub(super) struct PrivateKey {
    /// `None` where the cpu cannot, or for a form of key that is not computed in passes.
    pub(super) ifma: Option<IfmaKey>,
    pub(super) library: LibraryKey,
    /// For decryption of PKCS#1.
    pub(super) rejection: Option<ImplicitRejection>,
    /// The modulus, big-endian, as long as inputs and outputs.
    pub(super) n: Box<[u8]>,
}

impl PrivateKey {
    /// Prepares a key for operations without padding, and for those that need no more than it. Its numbers have so many
    /// bytes, the first of which may be zeros.
    pub(super) fn new(parts: &PrivateParts, key_bytes: usize) -> Result<Self, KeyError> {
        let ifma = IfmaKey::new(parts, 8 * key_bytes);
        let ifma = ifma.map_err(|_| KeyError::Library { what: "lay out a private key" })?;
        Ok(Self { ifma, library: LibraryKey::new(parts)?, rejection: None, n: widened(&parts.n, key_bytes) })
    }
}

/// A number with zeros in front.
pub(super) fn widened(number: &[u8], bytes: usize) -> Box<[u8]> {
    std::iter::repeat_n(0, bytes.saturating_sub(number.len())).chain(number.iter().copied()).collect()
}

impl RsaSession {
    /// Prepares `op` with `scheme` and `key`. Verify and encrypt take a private key too, and use its public half.
    ///
    /// # Errors
    /// [`KeyError::WrongScheme`], [`KeyError::PublicOnly`], [`KeyError::Weak`].
    pub fn new(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Result<Self, KeyError> {
        if !scheme.is_for(op) {
            return Err(KeyError::WrongScheme { scheme, op });
        }
        let weak = || KeyError::Weak { origin: key.origin().to_owned(), op, scheme };
        let key_bytes = key.bits() / 8;
        let prepared = match (op, oaep(scheme)) {
            (RsaOp::Sign | RsaOp::Decrypt, _) => {
                if !fits(scheme, key_bytes) {
                    return Err(weak());
                }
                Some(Prepared::Private(Box::new(private(op, scheme, key)?)))
            }
            (RsaOp::Verify, _) => {
                let parameters = verification(scheme, key.is_weak()).ok_or_else(weak)?;
                ParsedPublicKey::new(parameters, &key.spki()?).ok().map(Prepared::Verify)
            }
            _ if key.is_weak() => return Err(weak()),
            (RsaOp::Encrypt, Some(algorithm)) => public(key)?
                .and_then(|k| OaepPublicEncryptingKey::new(k).ok())
                .map(|k| Prepared::EncryptOaep(k, algorithm)),
            (RsaOp::Encrypt, None) => {
                public(key)?.and_then(|k| Pkcs1PublicEncryptingKey::new(k).ok()).map(Prepared::EncryptPkcs1)
            }
        };
        // The key was checked when it was made, so only a lack of memory is left.
        let prepared = prepared.ok_or(KeyError::Library { what: "prepare a key" })?;
        Ok(Self { op, scheme, key_bytes, prepared })
    }

    /// Bytes of the modulus: of a signature and of an encrypted message.
    #[must_use]
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// What it does.
    #[must_use]
    pub fn op(&self) -> RsaOp {
        self.op
    }

    /// How it pads.
    #[must_use]
    pub fn scheme(&self) -> RsaScheme {
        self.scheme
    }
}

/// Says what it is; never the key itself.
impl fmt::Debug for RsaSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaSession({}, {}, {} bits)", self.op.name(), self.scheme.name(), self.key_bytes * 8)
    }
}

fn private(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Result<PrivateKey, KeyError> {
    let parts = key.parts(op.name())?;
    let mut prepared = PrivateKey::new(parts, key.bits() / 8)?;
    if op == RsaOp::Decrypt && scheme.padding() == Padding::Pkcs1Encryption {
        prepared.rejection = Some(ImplicitRejection::new(&parts.d, prepared.n.len()));
    }
    Ok(prepared)
}

/// Whether the padding and the hash fit in a modulus. They do from 2,048 bits on.
fn fits(scheme: RsaScheme, key_bytes: usize) -> bool {
    let hash = scheme.hash().map_or(0, Hash::bytes);
    key_bytes
        >= match scheme.padding() {
            Padding::Pkcs1Signature => hash + 30,
            Padding::Pss => 2 * hash + 2,
            Padding::Oaep => 2 * hash + 3,
            Padding::Pkcs1Encryption => 12,
        }
}

fn public(key: &RsaKey) -> Result<Option<PublicEncryptingKey>, KeyError> {
    Ok(PublicEncryptingKey::from_der(&key.spki()?).ok())
}

pub(super) fn oaep(scheme: RsaScheme) -> Option<&'static OaepAlgorithm> {
    match scheme {
        RsaScheme::OaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        RsaScheme::OaepSha384 => Some(&OAEP_SHA384_MGF1SHA384),
        RsaScheme::OaepSha512 => Some(&OAEP_SHA512_MGF1SHA512),
        _ => None,
    }
}

/// What aws-lc calls a scheme of signatures. Of weak keys it checks PKCS#1 alone.
pub(super) fn verification(scheme: RsaScheme, weak: bool) -> Option<&'static RsaParameters> {
    Some(match (scheme, weak) {
        (RsaScheme::Pkcs1Sha256, true) => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (RsaScheme::Pkcs1Sha512, true) => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (_, true) => return None,
        (RsaScheme::Pkcs1Sha256, false) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (RsaScheme::Pkcs1Sha384, false) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (RsaScheme::Pkcs1Sha512, false) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (RsaScheme::PssSha256, false) => &signature::RSA_PSS_2048_8192_SHA256,
        (RsaScheme::PssSha384, false) => &signature::RSA_PSS_2048_8192_SHA384,
        (RsaScheme::PssSha512, false) => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
