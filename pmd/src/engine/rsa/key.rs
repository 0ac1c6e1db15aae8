//! RSA keys: read from files, made, and written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use pkcs8::SecretDocument;

use super::KeyError;
use super::der::{self, Found};
use super::error::KeyFault;
use super::file::{self, Wanted, not_a_key, write_new};
use super::library::LibraryKey;
use super::parts::PrivateParts;

/// Bits of the moduli that are served.
pub(super) const SIZES: [usize; 4] = [1024, 2048, 3072, 4096];
/// The largest public exponent, in bits: what aws-lc takes.
pub(super) const MAX_EXPONENT_BITS: usize = 33;

/// An RSA key of 1024, 2048, 3072 or 4096 bits: private (with its public half), or public.
///
/// One of 1024 bits is broken by whoever is willing to pay for it: see [`is_weak`](Self::is_weak). Loading a private key
/// takes as long as the test of its primes: some 14 ms for 2048 bits, 100 ms for 4096.
#[derive(Clone)]
pub struct RsaKey {
    origin: String,
    n: Arc<[u8]>,
    e: Arc<[u8]>,
    private: Option<Arc<PrivateParts>>,
}

impl RsaKey {
    /// Reads a key from a PEM or DER file, whichever it is: PKCS#8, PKCS#1, SubjectPublicKeyInfo or a certificate.
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
        let origin = origin.to_owned();
        if bytes.is_empty() {
            return Err(KeyError::Empty { origin });
        }
        let content = der::read(bytes);
        match content.found {
            Found::Rsa(key) => {
                check_public(key.modulus.as_bytes(), key.public_exponent.as_bytes(), &origin)?;
                Self::of_parts(PrivateParts::of(&key), origin)
            }
            Found::RsaPublic(key) => {
                let (n, e) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
                check_public(n, e, &origin)?;
                Ok(Self { origin, n: n.into(), e: e.into(), private: None })
            }
            Found::MultiPrime => Err(KeyError::MultiPrime { origin }),
            Found::Encrypted => Err(KeyError::Encrypted { origin }),
            Found::NoKey(found) => Err(not_a_key(&origin, found)),
            Found::Damaged(cause) => Err(KeyError::Damaged { origin, cause }),
            _ => Err(KeyError::NotRsa { origin, found: content.name() }),
        }
    }

    /// Makes a new private key. Takes up to some seconds for 4096 bits.
    ///
    /// # Errors
    /// [`KeyError::Size`]: 2048, 3072 and 4096 bits are possible.
    pub fn generate(bits: usize) -> Result<Self, KeyError> {
        const FAILED: KeyError = KeyError::Library { what: "generate a key" };
        let origin = "(new)";
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(KeyError::Size { origin: origin.to_owned(), bits }),
        };
        let pair = KeyPair::generate(size).map_err(|_| FAILED)?;
        // In memory that is wiped when dropped.
        let der = pair.as_der().map_err(|_| FAILED)?;
        Self::from_der(der.as_ref(), origin)
    }

    /// A private key whose public half was checked.
    fn of_parts(parts: PrivateParts, origin: String) -> Result<Self, KeyError> {
        let unsound = |fault| KeyError::Unsound { origin: origin.clone(), fault };
        check_private(&parts).map_err(unsound)?;
        LibraryKey::new(&parts)?.check().map_err(unsound)?;
        Ok(Self { n: parts.n[..].into(), e: parts.e[..].into(), private: Some(Arc::new(parts)), origin })
    }

    /// Writes the private key as PKCS#8 PEM to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError::PublicOnly`]; [`KeyError::Write`], also when the file exists.
    pub fn save_pem(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        let der = self.pkcs8("be saved as a private key")?;
        write_new(path.as_ref(), 0o600, "PRIVATE KEY", der.as_bytes())
    }

    /// Writes the public key as SubjectPublicKeyInfo PEM to a new file.
    ///
    /// # Errors
    /// [`KeyError::Write`], also when the file exists.
    pub fn save_public_pem(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        write_new(path.as_ref(), 0o644, "PUBLIC KEY", &self.spki()?)
    }

    /// The public half alone.
    #[must_use]
    pub fn public(&self) -> Self {
        Self { private: None, ..self.clone() }
    }

    /// What messages call it: the file it came from, as a rule.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        bits(&self.n)
    }

    /// Whether it can sign and decrypt.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Whether its 1024 bits are too few for anything but tests, old captures and old peers (NIST SP 800-131A:
    /// disallowed since 2013). Such a key signs and decrypts with paddings that it has room for, checks PKCS#1 signatures
    /// with SHA-256 and SHA-512, and encrypts nothing.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.bits() < 2048
    }

    /// The modulus, big-endian without leading zeros: key-size bytes.
    pub(crate) fn modulus(&self) -> &[u8] {
        &self.n
    }

    /// The public exponent, big-endian without leading zeros.
    pub(crate) fn exponent(&self) -> &[u8] {
        &self.e
    }

    /// The numbers of the private key, for an operation called `what`.
    pub(crate) fn parts(&self, what: &'static str) -> Result<&Arc<PrivateParts>, KeyError> {
        self.private.as_ref().ok_or_else(|| KeyError::PublicOnly { origin: self.origin.clone(), what })
    }

    /// The private key as PKCS#8, in memory that is wiped when dropped.
    pub(super) fn pkcs8(&self, what: &'static str) -> Result<SecretDocument, KeyError> {
        self.parts(what)?.to_pkcs8().ok_or(KeyError::Library { what: "encode a private key" })
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Result<Vec<u8>, KeyError> {
        der::spki(&self.n, &self.e).ok_or(KeyError::Library { what: "encode a public key" })
    }
}

/// Says what it is; never the key itself.
impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_private() { "private" } else { "public" };
        write!(f, "RsaKey({:?}, {kind}, {} bits)", self.origin, self.bits())
    }
}

/// Bits of a number without leading zeros.
pub(super) fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |top| number.len() * 8 - top.leading_zeros() as usize)
}

/// Whether a number is odd.
pub(super) fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// The size that a key counts as which came in fields of a fixed length: a little shorter ones have zeros in front.
pub(super) fn field_bits(bits: usize) -> Option<usize> {
    SIZES.into_iter().find(|size| (size - size / 16 + 1..=*size).contains(&bits))
}

/// What everybody can see of a modulus.
fn check_modulus(n: &[u8], origin: &str) -> Result<(), KeyError> {
    let bits = bits(n);
    if !SIZES.contains(&bits) {
        return Err(KeyError::Size { origin: origin.to_owned(), bits });
    }
    if !is_odd(n) {
        return Err(KeyError::Unsound { origin: origin.to_owned(), fault: KeyFault::EvenModulus });
    }
    Ok(())
}

/// What everybody can see of a key.
fn check_public(n: &[u8], e: &[u8], origin: &str) -> Result<(), KeyError> {
    check_modulus(n, origin)?;
    check_exponent(e, origin)
}

/// What everybody can see of a public exponent.
pub(super) fn check_exponent(e: &[u8], origin: &str) -> Result<(), KeyError> {
    let fault = if bits(e) < 2 {
        KeyFault::TinyExponent
    } else if bits(e) > MAX_EXPONENT_BITS {
        KeyFault::LargeExponent
    } else if !is_odd(e) {
        KeyFault::EvenExponent
    } else {
        return Ok(());
    };
    Err(KeyError::Unsound { origin: origin.to_owned(), fault })
}

/// What is seen of a private key without arithmetic. Sizes are no secret.
fn check_private(parts: &PrivateParts) -> Result<(), KeyFault> {
    let half = bits(&parts.n) / 2;
    // An odd number of 17 bits and more is 65537 at least.
    if bits(&parts.e) <= 16 {
        Err(KeyFault::SmallExponent)
    } else if bits(&parts.p) != half || bits(&parts.q) != half {
        Err(KeyFault::PrimeSize)
    } else if verify_slices_are_equal(&parts.p, &parts.q).is_ok() {
        Err(KeyFault::EqualPrimes)
    } else if bits(&parts.d) > bits(&parts.n) {
        Err(KeyFault::LongPrivateExponent)
    } else {
        Ok(())
    }
}
