//! Elliptic curves on aws-lc, one operation at a time: signatures with ECDSA on P-256 (FIPS 186-5) and key agreement by
//! X25519 (RFC 7748), as TLS 1.3 wants them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::der::{self, Found};
use super::file::{self, Wanted, not_a_key};
use super::parts::Secret;
use super::{KeyError, front};
use crate::device::Status;

/// The longest signature: two numbers of 32 bytes, each with a zero in front and a header, in a SEQUENCE.
const MAX_SIGNATURE: usize = 2 + 2 * (2 + 1 + 32);
/// Bytes of a public key, a private key and a shared secret of X25519.
const X25519_BYTES: usize = 32;

/// The curves there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EcCurve {
    /// NIST P-256, also called prime256v1 and secp256r1: for signatures.
    P256,
    /// Curve25519 in Montgomery form: for key agreement.
    X25519,
}

impl EcCurve {
    /// The usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::X25519 => "X25519",
        }
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::X25519 => &X25519,
        }
    }
}

/// A key of P-256 or X25519: private (with its public half), or public.
#[derive(Clone)]
pub struct EcKey {
    origin: String,
    curve: EcCurve,
    /// 32 bytes.
    private: Option<Arc<Secret>>,
    /// P-256: the point, uncompressed (SEC 1, 2.3.3). X25519: 32 bytes.
    public: Arc<[u8]>,
}

impl EcKey {
    /// Reads a key from a PEM or DER file, whichever it is: PKCS#8, SEC 1 (P-256 only), SubjectPublicKeyInfo or a
    /// certificate.
    ///
    /// # Errors
    /// [`KeyError`]; a private key that group or others may access is refused too.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let (bytes, mode) = file::read(path)?;
        let key = Self::from_der(&file::find(&bytes, Wanted::Key, &origin)?, &origin)?;
        if key.is_private() {
            file::check_mode(path, mode)?;
        }
        Ok(key)
    }

    /// The key in `text`. `origin` is what messages call it. Other PEM blocks are passed over, a second key is not; a
    /// certificate counts if there is no key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str, origin: &str) -> Result<Self, KeyError> {
        Self::from_der(&file::find_pem(text.as_bytes(), Wanted::Key, origin)?, origin)
    }

    /// The key in `bytes`. `origin` is what messages call it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_der(bytes: &[u8], origin: &str) -> Result<Self, KeyError> {
        let damaged = |cause: &str| KeyError::Damaged { origin: origin.to_owned(), cause: cause.to_owned() };
        if bytes.is_empty() {
            return Err(KeyError::Empty { origin: origin.to_owned() });
        }
        let content = der::read(bytes);
        match content.found {
            Found::P256 => {
                let key = PrivateKey::from_private_key_der(&ECDH_P256, bytes);
                Self::of_private(&key.map_err(|e| damaged(&e.to_string()))?, EcCurve::P256, origin)
            }
            Found::X25519(secret) => {
                let key = PrivateKey::from_private_key(&X25519, secret);
                let wrong = |_| damaged("an X25519 key has 32 bytes");
                Self::of_private(&key.map_err(wrong)?, EcCurve::X25519, origin)
            }
            Found::P256Public(point) => {
                // Uncompressed: what RFC 5480 makes everybody write.
                if point.first() != Some(&4) || ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).is_err()
                {
                    return Err(damaged("the public key is not an uncompressed point on P-256"));
                }
                Ok(Self::of_public(EcCurve::P256, point, origin))
            }
            Found::X25519Public(public) if public.len() == X25519_BYTES => {
                Ok(Self::of_public(EcCurve::X25519, public, origin))
            }
            Found::X25519Public(_) => Err(damaged("an X25519 key has 32 bytes")),
            Found::Encrypted => Err(KeyError::Encrypted { origin: origin.to_owned() }),
            Found::NoKey(found) => Err(not_a_key(origin, found)),
            Found::Damaged(cause) => Err(damaged(&cause)),
            _ => Err(KeyError::NotEc { origin: origin.to_owned(), found: content.name() }),
        }
    }

    /// Makes a new private key.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate(curve: EcCurve) -> Result<Self, KeyError> {
        let key = PrivateKey::generate(curve.algorithm());
        Self::of_private(&key.map_err(|_| KeyError::Library { what: "generate a key" })?, curve, "(new)")
    }

    fn of_public(curve: EcCurve, public: &[u8], origin: &str) -> Self {
        Self { origin: origin.to_owned(), curve, private: None, public: public.into() }
    }

    fn of_private(key: &PrivateKey, curve: EcCurve, origin: &str) -> Result<Self, KeyError> {
        const FAILED: KeyError = KeyError::Library { what: "take the numbers out of a key" };
        let secret: Secret = match curve {
            EcCurve::P256 => {
                let bytes: EcPrivateKeyBin<'_> = key.as_be_bytes().map_err(|_| FAILED)?;
                Zeroizing::new(bytes.as_ref().into())
            }
            EcCurve::X25519 => {
                let bytes: Curve25519SeedBin<'_> = key.as_be_bytes().map_err(|_| FAILED)?;
                Zeroizing::new(bytes.as_ref().into())
            }
        };
        let public = key.compute_public_key().map_err(|_| FAILED)?;
        Ok(Self { private: Some(Arc::new(secret)), ..Self::of_public(curve, public.as_ref(), origin) })
    }

    /// Writes the private key as PKCS#8 PEM to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError::PublicOnly`]; [`KeyError::Write`], also when the file exists.
    pub fn save_pem(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        const WHAT: &str = "be saved as a private key";
        const FAILED: KeyError = KeyError::Library { what: "encode a private key" };
        let write = |der: &[u8]| file::write_new(path.as_ref(), 0o600, "PRIVATE KEY", der);
        // Both encodings are in memory that is wiped when dropped.
        match self.curve {
            EcCurve::P256 => {
                let der: Pkcs8V1Der<'_> = self.agreement_key(WHAT)?.as_der().map_err(|_| FAILED)?;
                write(der.as_ref())
            }
            EcCurve::X25519 => write(der::x25519_pkcs8(self.secret(WHAT)?).ok_or(FAILED)?.as_bytes()),
        }
    }

    /// Writes the public key as SubjectPublicKeyInfo PEM to a new file.
    ///
    /// # Errors
    /// [`KeyError::Write`], also when the file exists.
    pub fn save_public_pem(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        let der = der::ec_spki(self.curve, &self.public);
        let der = der.ok_or(KeyError::Library { what: "encode a public key" })?;
        file::write_new(path.as_ref(), 0o644, "PUBLIC KEY", &der)
    }

    /// The public half alone.
    #[must_use]
    pub fn public(&self) -> Self {
        Self { private: None, ..self.clone() }
    }

    /// Its curve.
    #[must_use]
    pub fn curve(&self) -> EcCurve {
        self.curve
    }

    /// Whether it can sign or agree.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// What messages call it: the file it came from, as a rule.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The public key as peers want it: a point of 65 bytes (P-256, uncompressed) or 32 bytes (X25519).
    #[must_use]
    pub fn public_bytes(&self) -> &[u8] {
        &self.public
    }

    fn secret(&self, what: &'static str) -> Result<&Secret, KeyError> {
        let missing = || KeyError::PublicOnly { origin: self.origin.clone(), what };
        self.private.as_deref().ok_or_else(missing)
    }

    fn agreement_key(&self, what: &'static str) -> Result<PrivateKey, KeyError> {
        PrivateKey::from_private_key(self.curve.algorithm(), self.secret(what)?)
            .map_err(|_| KeyError::Library { what: "prepare a key" })
    }
}

/// Says what it is; never the key itself.
impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_private() { "private" } else { "public" };
        write!(f, "EcKey({:?}, {kind}, {})", self.origin, self.curve.name())
    }
}

/// What a session does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EcOp {
    /// P-256, private: message to ECDSA signature with SHA-256, in DER (RFC 3279, 2.2.3): 8 to 72 bytes.
    Sign,
    /// P-256, public: checks such a signature.
    Verify,
    /// X25519, private: the peer's public key to the shared secret, 32 bytes each.
    Agree,
}

impl EcOp {
    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Agree => "agree",
        }
    }

    /// The curve it needs.
    #[must_use]
    pub fn curve(self) -> EcCurve {
        match self {
            Self::Sign | Self::Verify => EcCurve::P256,
            Self::Agree => EcCurve::X25519,
        }
    }
}

/// A prepared operation: a key and what is done with it.
pub struct EcSession {
    op: EcOp,
    prepared: Prepared,
}

enum Prepared {
    Sign(EcdsaKeyPair),
    Verify(ParsedPublicKey),
    Agree(PrivateKey),
}

impl EcSession {
    /// Names of what sessions compute, for [`DeviceInfo`](crate::device::DeviceInfo).
    pub const ALGORITHMS: [&'static str; 2] = ["ecdsa-p256-sha256", "x25519"];

    /// Prepares `op` with `key`. Verify takes a private key too, and uses its public half.
    ///
    /// # Errors
    /// [`KeyError::WrongCurve`], [`KeyError::PublicOnly`].
    pub fn new(op: EcOp, key: &EcKey) -> Result<Self, KeyError> {
        if key.curve != op.curve() {
            return Err(KeyError::WrongCurve { origin: key.origin.clone(), curve: key.curve, op });
        }
        // The key was checked when it was made, so only a lack of memory is left.
        const FAILED: KeyError = KeyError::Library { what: "prepare a key" };
        let prepared = match op {
            EcOp::Sign => {
                let (secret, algorithm) = (key.secret("sign")?, &ECDSA_P256_SHA256_ASN1_SIGNING);
                let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, secret, &key.public);
                Prepared::Sign(pair.map_err(|_| FAILED)?)
            }
            EcOp::Verify => {
                let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.public);
                Prepared::Verify(parsed.map_err(|_| FAILED)?)
            }
            EcOp::Agree => Prepared::Agree(key.agreement_key("agree")?),
        };
        Ok(Self { op, prepared })
    }

    /// What it does.
    #[must_use]
    pub fn op(&self) -> EcOp {
        self.op
    }

    /// Does it, and says how many bytes were written to `dst`. Signatures differ in length by chance, so room for the
    /// longest is demanded.
    ///
    /// # Errors
    /// [`Status::NoSpace`]; [`Status::Mismatch`] for a signature (`aux`) that is not the message's (`src`);
    /// [`Status::BadInput`] for a peer's key that has not 32 bytes or gives an all-zero secret (RFC 7748, 6.1).
    pub fn execute(&self, src: &[u8], aux: &[u8], dst: &mut [u8]) -> Result<usize, Status> {
        match &self.prepared {
            Prepared::Sign(key) => {
                let out = front(dst, MAX_SIGNATURE)?;
                let signature = key.sign(&SystemRandom::new(), src).map_err(|_| Status::EngineFailed)?;
                let signature = signature.as_ref();
                out.get_mut(..signature.len()).ok_or(Status::EngineFailed)?.copy_from_slice(signature);
                Ok(signature.len())
            }
            Prepared::Verify(key) => key.verify_sig(src, aux).map(|()| 0).map_err(|_| Status::Mismatch),
            Prepared::Agree(key) => {
                let out = front(dst, X25519_BYTES)?;
                agree(key, UnparsedPublicKey::new(&X25519, src), Status::BadInput, |secret| {
                    out.copy_from_slice(secret);
                    Ok(X25519_BYTES)
                })
            }
        }
    }
}

/// Says what it is; never the key itself.
impl fmt::Debug for EcSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcSession({}, {})", self.op.name(), self.op.curve().name())
    }
}
