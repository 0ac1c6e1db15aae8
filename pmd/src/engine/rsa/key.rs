//! RSA keys: read from files, made, and written.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use pkcs8::SecretDocument;
use zeroize::Zeroizing;

use super::RsaError;
use super::der::{self, Found};
use super::error::KeyFault;
use super::library::LibraryKey;
use super::parts::PrivateParts;

/// The largest key file that is read: a key of 4096 bits takes 3 KiB, one behind a chain of certificates more.
const MAX_FILE_BYTES: usize = 64 << 10;
/// The largest exponent, in bits: what aws-lc takes.
const MAX_EXPONENT_BITS: usize = 33;

/// An RSA key of 1024, 2048, 3072 or 4096 bits: private (with its public half), or public.
///
/// One of 1024 bits is broken by whoever is willing to pay for it: see [`is_weak`](Self::is_weak). Loading a private key
/// takes as long as the test of its primes: 14 ms for 2048 bits, 100 ms for 4096.
#[derive(Clone)]
pub struct RsaKey {
    origin: String,
    n: Arc<[u8]>,
    e: Arc<[u8]>,
    private: Option<Arc<PrivateParts>>,
}

impl RsaKey {
    /// Reads a key from a PEM or DER file, whichever it is: PKCS#8, PKCS#1 or SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`RsaError`]; a private key that group or others may access is refused too.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RsaError> {
        let path = path.as_ref();
        let failed = |cause| RsaError::Read { path: path.to_owned(), cause };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        // Room for more than is read: the buffer never grows, so no copy of the secret stays behind in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 64));
        file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let key = from_bytes(&bytes, &path.display().to_string())?;
        if key.is_private() && mode & 0o077 != 0 {
            return Err(RsaError::Exposed { path: path.to_owned(), mode });
        }
        Ok(key)
    }

    /// The key in `text`. `origin` is what messages call it. Other PEM blocks are passed over, a second key is not.
    ///
    /// # Errors
    /// [`RsaError`].
    pub fn from_pem(text: &str, origin: &str) -> Result<Self, RsaError> {
        parse_pem(text.as_bytes(), origin)
    }

    /// The key in `bytes`. `origin` is what messages call it.
    ///
    /// # Errors
    /// [`RsaError`].
    pub fn from_der(bytes: &[u8], origin: &str) -> Result<Self, RsaError> {
        let origin = origin.to_owned();
        if bytes.is_empty() {
            return Err(RsaError::Empty { origin });
        }
        match der::read(bytes) {
            Found::Private(key) => {
                check_public(key.modulus.as_bytes(), key.public_exponent.as_bytes(), &origin)?;
                Self::of_parts(PrivateParts::of(&key), origin)
            }
            Found::Public(key) => {
                let (n, e) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
                check_public(n, e, &origin)?;
                Ok(Self { origin, n: n.into(), e: e.into(), private: None })
            }
            Found::MultiPrime => Err(RsaError::MultiPrime { origin }),
            Found::OtherKey(found) => Err(RsaError::NotRsa { origin, found: found.to_owned() }),
            Found::Encrypted => Err(RsaError::Encrypted { origin }),
            Found::NoKey(found) => Err(not_a_key(&origin, found)),
            Found::Damaged(cause) => Err(RsaError::Damaged { origin, cause }),
        }
    }

    /// Makes a new private key. Takes up to some seconds for 4096 bits.
    ///
    /// # Errors
    /// [`RsaError::Size`]: 2048, 3072 and 4096 bits are possible.
    pub fn generate(bits: usize) -> Result<Self, RsaError> {
        const FAILED: RsaError = RsaError::Library { what: "generate a key" };
        let origin = "(new)";
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(RsaError::Size { origin: origin.to_owned(), bits }),
        };
        let pair = KeyPair::generate(size).map_err(|_| FAILED)?;
        // In memory that is wiped when dropped.
        let der = pair.as_der().map_err(|_| FAILED)?;
        Self::from_der(der.as_ref(), origin)
    }

    /// A private key whose public half was checked.
    fn of_parts(parts: PrivateParts, origin: String) -> Result<Self, RsaError> {
        let unsound = |fault| RsaError::Unsound { origin: origin.clone(), fault };
        check_private(&parts).map_err(unsound)?;
        LibraryKey::new(&parts)?.check().map_err(unsound)?;
        Ok(Self { n: parts.n[..].into(), e: parts.e[..].into(), private: Some(Arc::new(parts)), origin })
    }

    /// Writes the private key as PKCS#8 PEM to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`RsaError::PublicOnly`]; [`RsaError::Write`], also when the file exists.
    pub fn save_pem(&self, path: impl AsRef<Path>) -> Result<(), RsaError> {
        let der = self.pkcs8("be saved as a private key")?;
        write_new(path.as_ref(), 0o600, "PRIVATE KEY", der.as_bytes())
    }

    /// Writes the public key as SubjectPublicKeyInfo PEM to a new file.
    ///
    /// # Errors
    /// [`RsaError::Write`], also when the file exists.
    pub fn save_public_pem(&self, path: impl AsRef<Path>) -> Result<(), RsaError> {
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

    /// Whether its 1024 bits are too few for anything but tests and old captures (NIST SP 800-131A: disallowed since
    /// 2013).
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.bits() < 2048
    }

    /// The modulus, big-endian without leading zeros: key-size bytes.
    #[allow(dead_code, reason = "for engines that compute with the numbers")]
    pub(crate) fn modulus(&self) -> &[u8] {
        &self.n
    }

    /// The public exponent, big-endian without leading zeros.
    #[allow(dead_code, reason = "for engines that compute with the numbers")]
    pub(crate) fn exponent(&self) -> &[u8] {
        &self.e
    }

    /// The numbers of the private key, for an operation called `what`.
    pub(crate) fn parts(&self, what: &'static str) -> Result<&Arc<PrivateParts>, RsaError> {
        self.private.as_ref().ok_or_else(|| RsaError::PublicOnly { origin: self.origin.clone(), what })
    }

    /// The private key as PKCS#8, in memory that is wiped when dropped.
    pub(super) fn pkcs8(&self, what: &'static str) -> Result<SecretDocument, RsaError> {
        self.parts(what)?.to_pkcs8().ok_or(RsaError::Library { what: "encode a private key" })
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Result<Vec<u8>, RsaError> {
        der::spki(&self.n, &self.e).ok_or(RsaError::Library { what: "encode a public key" })
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
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |top| number.len() * 8 - top.leading_zeros() as usize)
}

/// What everybody can see of a key.
fn check_public(n: &[u8], e: &[u8], origin: &str) -> Result<(), RsaError> {
    let bits_of_n = bits(n);
    if !matches!(bits_of_n, 1024 | 2048 | 3072 | 4096) {
        return Err(RsaError::Size { origin: origin.to_owned(), bits: bits_of_n });
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let fault = if !is_odd(n) {
        KeyFault::EvenModulus
    } else if bits(e) < 2 {
        KeyFault::TinyExponent
    } else if bits(e) > MAX_EXPONENT_BITS {
        KeyFault::LargeExponent
    } else if !is_odd(e) {
        KeyFault::EvenExponent
    } else {
        return Ok(());
    };
    Err(RsaError::Unsound { origin: origin.to_owned(), fault })
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

fn not_a_key(origin: &str, found: impl Into<String>) -> RsaError {
    RsaError::NotAKey { origin: origin.to_owned(), found: found.into(), hint: String::new() }
}

/// PEM or DER, by content.
fn from_bytes(bytes: &[u8], origin: &str) -> Result<RsaKey, RsaError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(not_a_key(origin, format!("more than {MAX_FILE_BYTES} bytes")));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(RsaError::Empty { origin: origin.to_owned() });
    }
    let is_pem = bytes.windows(10).any(|w| w == b"-----BEGIN");
    if is_pem { parse_pem(bytes, origin) } else { RsaKey::from_der(bytes, origin) }
}

fn parse_pem(text: &[u8], origin: &str) -> Result<RsaKey, RsaError> {
    if text.trim_ascii().is_empty() {
        return Err(RsaError::Empty { origin: origin.to_owned() });
    }
    // While it decodes, the pem crate frees one copy of the base64 text without wiping it; what it returns is wiped.
    let blocks = pem::parse_many(text)
        .map_err(|e| RsaError::Damaged { origin: origin.to_owned(), cause: e.to_string() })?;
    let mut first_other = None;
    let mut key = None;
    for block in blocks {
        let encrypted = block.headers().get("Proc-Type").is_some_and(|v| v.contains("ENCRYPTED"));
        let tag = block.tag().to_owned();
        let der = Zeroizing::new(block.into_contents());
        match tag.as_str() {
            "ENCRYPTED PRIVATE KEY" => return Err(RsaError::Encrypted { origin: origin.to_owned() }),
            _ if encrypted => return Err(RsaError::Encrypted { origin: origin.to_owned() }),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                if key.replace(der).is_some() {
                    return Err(not_a_key(origin, "more than one key"));
                }
            }
            _ => {
                first_other.get_or_insert(tag);
            }
        }
    }
    match (key, first_other) {
        (Some(der), _) => RsaKey::from_der(&der, origin),
        (None, Some(tag)) => Err(refuse_tag(&tag, origin)),
        (None, None) => Err(not_a_key(origin, "a PEM block without its end")),
    }
}

fn refuse_tag(tag: &str, origin: &str) -> RsaError {
    let article = if tag.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    let found = format!("{article} {tag}");
    if ["EC ", "DSA ", "OPENSSH "].iter().any(|other| tag.starts_with(other)) {
        return RsaError::NotRsa { origin: origin.to_owned(), found };
    }
    let hint = match tag {
        "CERTIFICATE" => format!(" (its public key: `openssl x509 -in {origin} -noout -pubkey`)"),
        _ => String::new(),
    };
    RsaError::NotAKey { origin: origin.to_owned(), found, hint }
}

fn write_new(path: &Path, mode: u32, tag: &str, der: &[u8]) -> Result<(), RsaError> {
    let block = pem::Pem::new(tag, der);
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = Zeroizing::new(pem::encode_config(&block, config));
    drop(Zeroizing::new(block.into_contents()));
    let failed = |cause| RsaError::Write { path: path.to_owned(), cause };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|cause: io::Error| {
        // Half a key is no key, and would be in the way of the next try.
        let _ = std::fs::remove_file(path);
        failed(cause)
    })
}
