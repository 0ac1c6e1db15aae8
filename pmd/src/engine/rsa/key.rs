//! RSA keys: read from files, made, and written.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKey};
use aws_lc_rs::signature::KeyPair as _;
use zeroize::Zeroizing;

use super::RsaError;
use super::der::{Encoding, Found, identify};

/// The largest key file that is read: a key of 4096 bits takes 3 KiB, one behind a chain of certificates more.
const MAX_FILE_BYTES: usize = 64 << 10;

/// An RSA key of 2048, 3072 or 4096 bits: private (with its public half), or public.
#[derive(Clone)]
pub struct RsaKey {
    origin: String,
    bits: usize,
    private: Option<KeyPair>,
    public: PublicKey,
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
        let (encoding, bits) = match identify(bytes) {
            Found::Rsa(encoding, bits) => (encoding, bits),
            Found::OtherKey(found) => return Err(RsaError::NotRsa { origin, found: found.to_owned() }),
            Found::Encrypted => return Err(RsaError::Encrypted { origin }),
            Found::NoKey(found) => return Err(not_a_key(&origin, found)),
        };
        // Before aws-lc parses it: its refusal does not tell the size, and it takes others too.
        key_size(bits, &origin)?;
        let parsed = match encoding {
            Encoding::Pkcs8 => KeyPair::from_pkcs8(bytes).map(Half::Private),
            Encoding::Pkcs1 => KeyPair::from_der(bytes).map(Half::Private),
            Encoding::Spki | Encoding::Pkcs1Public => PublicKey::from_der(bytes).map(Half::Public),
        };
        match parsed {
            Ok(Half::Private(pair)) => Ok(Self::of_pair(pair, bits, origin)),
            Ok(Half::Public(public)) => Ok(Self { origin, bits, private: None, public }),
            Err(cause) => Err(RsaError::Damaged { origin, cause: cause.to_string() }),
        }
    }

    /// Makes a new private key. Takes up to some seconds for 4096 bits.
    ///
    /// # Errors
    /// [`RsaError::Size`].
    pub fn generate(bits: usize) -> Result<Self, RsaError> {
        let origin = "(new)".to_owned();
        let size = key_size(bits, &origin)?;
        let pair = KeyPair::generate(size).map_err(|_| RsaError::Library { what: "generate a key" })?;
        Ok(Self::of_pair(pair, bits, origin))
    }

    fn of_pair(pair: KeyPair, bits: usize, origin: String) -> Self {
        Self { origin, bits, public: pair.public_key().clone(), private: Some(pair) }
    }

    /// Writes the private key as PKCS#8 PEM to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`RsaError::PublicOnly`]; [`RsaError::Write`], also when the file exists.
    pub fn save_pem(&self, path: impl AsRef<Path>) -> Result<(), RsaError> {
        let der = self.pkcs8("be saved as a private key")?;
        write_new(path.as_ref(), 0o600, "PRIVATE KEY", der.as_ref())
    }

    /// Writes the public key as SubjectPublicKeyInfo PEM to a new file.
    ///
    /// # Errors
    /// [`RsaError::Write`], also when the file exists.
    pub fn save_public_pem(&self, path: impl AsRef<Path>) -> Result<(), RsaError> {
        write_new(path.as_ref(), 0o644, "PUBLIC KEY", self.spki()?.as_ref())
    }

    /// The public half alone.
    #[must_use]
    pub fn public(&self) -> Self {
        Self { origin: self.origin.clone(), bits: self.bits, private: None, public: self.public.clone() }
    }

    /// Bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Whether it can sign and decrypt.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// The private key, for an operation called `what`.
    pub(super) fn pair(&self, what: &'static str) -> Result<&KeyPair, RsaError> {
        self.private.as_ref().ok_or_else(|| RsaError::PublicOnly { origin: self.origin.clone(), what })
    }

    /// The private key as PKCS#8, in memory that is wiped when dropped.
    pub(super) fn pkcs8(&self, what: &'static str) -> Result<Pkcs8V1Der<'static>, RsaError> {
        self.pair(what)?.as_der().map_err(|_| RsaError::Library { what: "encode a private key" })
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Result<PublicKeyX509Der<'static>, RsaError> {
        self.public.as_der().map_err(|_| RsaError::Library { what: "encode a public key" })
    }
}

/// Says what it is; never the key itself.
impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_private() { "private" } else { "public" };
        write!(f, "RsaKey({:?}, {kind}, {} bits)", self.origin, self.bits)
    }
}

enum Half {
    Private(KeyPair),
    Public(PublicKey),
}

fn key_size(bits: usize, origin: &str) -> Result<KeySize, RsaError> {
    match bits {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        _ => Err(RsaError::Size { origin: origin.to_owned(), bits }),
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
