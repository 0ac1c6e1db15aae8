//! Public keys on aws-lc. RSA (RFC 8017): sign, verify, encrypt and decrypt with 2048, 3072 and 4096 bits. Elliptic
//! curves: ECDSA on P-256 and X25519.

#![deny(unsafe_code)]

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey, RsaParameters,
};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaSignatureEncoding};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Engine, Job};
use crate::device::{SessionSpec, Status};

mod certificate;
mod der;
mod ec;
mod error;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // target features, lanes of a vector
mod ifma;
mod file;
mod key;
#[allow(unsafe_code)] // memory of its own
mod secret;
#[allow(unsafe_code, reason = "calls aws-lc itself, see there")]
#[allow(dead_code, reason = "the raw operations are for engines that pad by themselves")]
pub(crate) mod library;
pub(crate) mod parts;
mod padding;

pub use ec::{EcCurve, EcKey, EcOp, EcSession};
pub use error::{KeyError, KeyFault, RsaError};
pub use key::RsaKey;

/// The largest modulus, in bytes.
const MAX_KEY_BYTES: usize = 4096 / 8;

/// What a session does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RsaOp {
    /// Private: message to signature.
    Sign,
    /// Public: checks a signature.
    Verify,
    /// Public: short message to key-size bytes.
    Encrypt,
    /// Private: the reverse.
    Decrypt,
}

impl RsaOp {
    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

/// Padding and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RsaScheme {
    /// Signatures: RSASSA-PKCS1-v1_5 with SHA-256.
    Pkcs1Sha256,
    /// Signatures: RSASSA-PKCS1-v1_5 with SHA-384.
    Pkcs1Sha384,
    /// Signatures: RSASSA-PKCS1-v1_5 with SHA-512.
    Pkcs1Sha512,
    /// Signatures: RSASSA-PSS with SHA-256, MGF1 with the same, and a salt of 32 bytes.
    PssSha256,
    /// Signatures: RSASSA-PSS with SHA-384, MGF1 with the same, and a salt of 48 bytes.
    PssSha384,
    /// Signatures: RSASSA-PSS with SHA-512, MGF1 with the same, and a salt of 64 bytes.
    PssSha512,
    /// Encryption: RSAES-OAEP with SHA-256, MGF1 with the same, and no label.
    OaepSha256,
    /// Encryption: RSAES-OAEP with SHA-384, MGF1 with the same, and no label.
    OaepSha384,
    /// Encryption: RSAES-OAEP with SHA-512, MGF1 with the same, and no label.
    OaepSha512,
    /// Encryption: RSAES-PKCS1-v1_5, for old peers only.
    ///
    /// Who can have messages of his choice decrypted and learns which of them were well padded, by a status or by the
    /// time taken, can decrypt any message and forge signatures of the key (Bleichenbacher 1998). A failed decryption
    /// is [`Status::BadInput`] and nothing more, but a program that lets its peer see that, or
    /// [`Status::NoSpace`], has the hole all the same: it must go on with random bytes instead (RFC 5246, 7.4.7.1).
    Pkcs1,
}

/// What aws-lc calls a scheme.
enum Padding {
    Signature(&'static RsaSignatureEncoding, &'static RsaParameters),
    Oaep(&'static OaepAlgorithm),
    Pkcs1,
}

impl RsaScheme {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Pkcs1Sha256,
        Self::Pkcs1Sha384,
        Self::Pkcs1Sha512,
        Self::PssSha256,
        Self::PssSha384,
        Self::PssSha512,
        Self::OaepSha256,
        Self::OaepSha384,
        Self::OaepSha512,
        Self::Pkcs1,
    ];

    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pkcs1Sha256 => "pkcs1-sha256",
            Self::Pkcs1Sha384 => "pkcs1-sha384",
            Self::Pkcs1Sha512 => "pkcs1-sha512",
            Self::PssSha256 => "pss-sha256",
            Self::PssSha384 => "pss-sha384",
            Self::PssSha512 => "pss-sha512",
            Self::OaepSha256 => "oaep-sha256",
            Self::OaepSha384 => "oaep-sha384",
            Self::OaepSha512 => "oaep-sha512",
            Self::Pkcs1 => "pkcs1",
        }
    }

    /// Whether `op` can use it.
    #[must_use]
    pub fn is_for(self, op: RsaOp) -> bool {
        matches!(self.padding(), Padding::Signature(..)) == matches!(op, RsaOp::Sign | RsaOp::Verify)
    }

    fn padding(self) -> Padding {
        use Padding::{Oaep, Pkcs1, Signature};
        match self {
            Self::Pkcs1Sha256 => {
                Signature(&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256)
            }
            Self::Pkcs1Sha384 => {
                Signature(&signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384)
            }
            Self::Pkcs1Sha512 => {
                Signature(&signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512)
            }
            Self::PssSha256 => Signature(&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
            Self::PssSha384 => Signature(&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
            Self::PssSha512 => Signature(&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
            Self::OaepSha256 => Oaep(&OAEP_SHA256_MGF1SHA256),
            Self::OaepSha384 => Oaep(&OAEP_SHA384_MGF1SHA384),
            Self::OaepSha512 => Oaep(&OAEP_SHA512_MGF1SHA512),
            Self::Pkcs1 => Pkcs1,
        }
    }
}

/// A prepared operation: a key, what is done with it, and the padding.
pub struct RsaSession {
    op: RsaOp,
    scheme: RsaScheme,
    key_bytes: usize,
    prepared: Prepared,
}

/// The key in the form that aws-lc wants for the operation.
enum Prepared {
    Sign(KeyPair, &'static RsaSignatureEncoding),
    Verify(ParsedPublicKey),
    EncryptOaep(OaepPublicEncryptingKey, &'static OaepAlgorithm),
    EncryptPkcs1(Pkcs1PublicEncryptingKey),
    DecryptOaep(OaepPrivateDecryptingKey, &'static OaepAlgorithm),
    DecryptPkcs1(Pkcs1PrivateDecryptingKey),
}

impl RsaSession {
    /// Prepares `op` with `scheme` and `key`. Verify and encrypt take a private key too, and use its public half.
    ///
    /// # Errors
    /// [`RsaError::WrongScheme`], [`RsaError::PublicOnly`], [`RsaError::Weak`].
    pub fn new(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Result<Self, RsaError> {
        let prepared = match (op, scheme.padding()) {
            _ if key.is_weak() && scheme.is_for(op) => weak(op, scheme, key)?.map(Prepared::Verify),
            (RsaOp::Sign, Padding::Signature(encoding, _)) => {
                // Parsed anew rather than cloned: clones share blinding factors behind a lock, over which two workers
                // with sessions of their own would meet.
                let der = key.pkcs8("sign")?;
                KeyPair::from_pkcs8(der.as_bytes()).ok().map(|pair| Prepared::Sign(pair, encoding))
            }
            (RsaOp::Verify, Padding::Signature(_, parameters)) => {
                ParsedPublicKey::new(parameters, &key.spki()?).ok().map(Prepared::Verify)
            }
            (RsaOp::Encrypt, Padding::Oaep(algorithm)) => public(key)?
                .and_then(|k| OaepPublicEncryptingKey::new(k).ok())
                .map(|k| Prepared::EncryptOaep(k, algorithm)),
            (RsaOp::Encrypt, Padding::Pkcs1) => {
                public(key)?.and_then(|k| Pkcs1PublicEncryptingKey::new(k).ok()).map(Prepared::EncryptPkcs1)
            }
            (RsaOp::Decrypt, Padding::Oaep(algorithm)) => private(key)?
                .and_then(|k| OaepPrivateDecryptingKey::new(k).ok())
                .map(|k| Prepared::DecryptOaep(k, algorithm)),
            (RsaOp::Decrypt, Padding::Pkcs1) => {
                private(key)?.and_then(|k| Pkcs1PrivateDecryptingKey::new(k).ok()).map(Prepared::DecryptPkcs1)
            }
            (RsaOp::Sign | RsaOp::Verify, _) | (RsaOp::Encrypt | RsaOp::Decrypt, Padding::Signature(..)) => {
                return Err(RsaError::WrongScheme { scheme, op });
            }
        };
        // The key was checked when it was made, so only a lack of memory is left.
        let prepared = prepared.ok_or(RsaError::Library { what: "prepare a key" })?;
        Ok(Self { op, scheme, key_bytes: key.bits() / 8, prepared })
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

/// What there is for keys of 1024 bits: the check of old signatures.
fn weak(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Result<Option<ParsedPublicKey>, RsaError> {
    let parameters = match (op, scheme) {
        (RsaOp::Verify, RsaScheme::Pkcs1Sha256) => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (RsaOp::Verify, RsaScheme::Pkcs1Sha512) => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ => return Err(RsaError::Weak { origin: key.origin().to_owned(), op, scheme }),
    };
    Ok(ParsedPublicKey::new(parameters, &key.spki()?).ok())
}

fn public(key: &RsaKey) -> Result<Option<PublicEncryptingKey>, RsaError> {
    Ok(PublicEncryptingKey::from_der(&key.spki()?).ok())
}

fn private(key: &RsaKey) -> Result<Option<PrivateDecryptingKey>, RsaError> {
    Ok(PrivateDecryptingKey::from_pkcs8(key.pkcs8("decrypt")?.as_bytes()).ok())
}

/// What the engine has sessions of.
pub enum PublicKeySession {
    /// RSA.
    Rsa(RsaSession),
    /// Elliptic curves.
    Ec(EcSession),
}

/// RSA and elliptic curves on aws-lc, one operation at a time.
///
/// aws-lc allocates in every operation. It asks the kernel for fresh randomness after every 4,096 draws of a thread:
/// about once in 4,000 PSS signatures or encryptions, and once in 75,000 PKCS#1 signatures or decryptions (which draw
/// for blinding only). Engines that use the same session at the same time take turns at a lock for a moment of each
/// private operation; to avoid that, give each worker a device of its own.
pub struct RsaEngine {}

impl Engine for RsaEngine {
    type Session = PublicKeySession;
    type Options = ();
    /// aws-lc gains nothing from several at once, and one private operation takes hundreds of microseconds.
    const BATCH: usize = 1;
    const KIND: &'static str = "RSA";
    const DRIVER: &'static str = "soft-rsa";

    fn new((): &()) -> Self {
        Self {}
    }

    fn session(spec: SessionSpec) -> Result<PublicKeySession, SessionSpec> {
        match spec {
            SessionSpec::Rsa(session) => Ok(PublicKeySession::Rsa(session)),
            SessionSpec::Ec(session) => Ok(PublicKeySession::Ec(session)),
            other => Err(other),
        }
    }

    fn run(&mut self, jobs: &mut [Job<'_, PublicKeySession>]) {
        for job in jobs {
            job.result = match job.session {
                PublicKeySession::Rsa(session) => execute(session, job),
                PublicKeySession::Ec(session) => session.execute(job.src, job.aux, job.dst),
            };
        }
    }

    fn describe((): &()) -> (Vec<&'static str>, String) {
        let names = [&RsaScheme::ALL.map(RsaScheme::name)[..], &EcSession::ALGORITHMS].concat();
        (names, format!("aws-lc ({}), 2048, 3072 and 4096 bits, P-256, X25519", kernels()))
    }
}

/// Which of its kernels aws-lc takes for private operations on this cpu (crypto/fipsmodule/bn/exponentiation.c).
fn kernels() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512dq") && has!("avx512ifma") && has!("avx512bw") && has!("avx512vl") {
            return "AVX-512 IFMA";
        }
        if has!("bmi2") && has!("adx") {
            return "MULX/ADX";
        }
    }
    std::env::consts::ARCH
}

fn execute(session: &RsaSession, job: &mut Job<'_, PublicKeySession>) -> Result<usize, Status> {
    let key_bytes = session.key_bytes;
    match &session.prepared {
        Prepared::Sign(key, encoding) => {
            let signature = front(job.dst, key_bytes)?;
            key.sign(*encoding, &SystemRandom::new(), job.src, signature)
                .map_err(|_| Status::EngineFailed)?;
            Ok(key_bytes)
        }
        Prepared::Verify(key) => key.verify_sig(job.src, job.aux).map(|()| 0).map_err(|_| Status::Mismatch),
        Prepared::EncryptOaep(key, algorithm) => {
            if job.src.len() > key.max_plaintext_size(algorithm) {
                return Err(Status::BadInput);
            }
            let out = front(job.dst, key_bytes)?;
            key.encrypt(algorithm, job.src, out, None).map(|c| c.len()).map_err(|_| Status::EngineFailed)
        }
        Prepared::EncryptPkcs1(key) => {
            if job.src.len() > key.max_plaintext_size() {
                return Err(Status::BadInput);
            }
            let out = front(job.dst, key_bytes)?;
            key.encrypt(job.src, out).map(|c| c.len()).map_err(|_| Status::EngineFailed)
        }
        Prepared::DecryptOaep(key, algorithm) => {
            decrypt(session, job, |src, plain| key.decrypt(algorithm, src, plain, None).ok().map(|p| p.len()))
        }
        Prepared::DecryptPkcs1(key) => {
            decrypt(session, job, |src, plain| key.decrypt(src, plain).ok().map(|p| p.len()))
        }
    }
}

/// The front of `dst` that takes key-size output.
fn front(dst: &mut [u8], bytes: usize) -> Result<&mut [u8], Status> {
    dst.get_mut(..bytes).ok_or(Status::NoSpace { needed: bytes as u32 })
}

/// Decrypts by way of memory that is wiped: aws-lc demands room for a whole key whatever the message's length, and
/// this way `dst` is left alone unless all went well.
fn decrypt(
    session: &RsaSession,
    job: &mut Job<'_, PublicKeySession>,
    with: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
) -> Result<usize, Status> {
    if job.src.len() != session.key_bytes {
        return Err(Status::BadInput);
    }
    let mut plain = Zeroizing::new([0; MAX_KEY_BYTES]);
    let len = with(job.src, plain.as_mut_slice()).ok_or(Status::BadInput)?;
    front(job.dst, len)?.copy_from_slice(&plain[..len]);
    Ok(len)
}
