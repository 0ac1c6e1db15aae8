//! Why a key or a session is refused, and what a person does about it.

use std::io;
use std::path::{Path, PathBuf};

use super::{EcCurve, EcOp, RsaOp, RsaScheme};

/// An error of keys, certificates and sessions. Each names the thing, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be opened or read.
    #[error("cannot read key file {path:?}: {cause}. Remedy: {remedy}", remedy = read_remedy(path, cause))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// Nothing in it.
    #[error("key {origin:?} is empty. Remedy: a PEM or DER file with a key")]
    Empty {
        /// Where the key came from.
        origin: String,
    },
    /// It holds something else.
    #[error("{origin:?} is not a key: found {found}. Remedy: a PEM or DER file with one key{hint}")]
    NotAKey {
        /// Where the key came from.
        origin: String,
        /// What it holds.
        found: String,
        /// More of the remedy, where something is known.
        hint: String,
    },
    /// A key, but not for RSA.
    #[error(
        "key {origin:?} is not an RSA key: found {found}. \
         Remedy: an RSA key, as made by `openssl genrsa -out key.pem 2048`"
    )]
    NotRsa {
        /// Where the key came from.
        origin: String,
        /// Which key it is.
        found: String,
    },
    /// A key, but not of a curve that is served.
    #[error(
        "key {origin:?} is neither a P-256 nor an X25519 key: found {found}. \
         Remedy: one made by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem` \
         or `openssl genpkey -algorithm X25519 -out key.pem`"
    )]
    NotEc {
        /// Where the key came from.
        origin: String,
        /// Which key it is.
        found: String,
    },
    /// The private key is under a password, and nobody is there to type it.
    #[error(
        "key {origin:?} is encrypted with a password. \
         Remedy: `(umask 077; openssl pkey -in {origin} -out decrypted.pem)`, and use decrypted.pem"
    )]
    Encrypted {
        /// Where the key came from.
        origin: String,
    },
    /// The modulus has a size that is not served.
    #[error(
        "key {origin:?} has {bits} bits, which is not supported. Remedy: a key of 2048, 3072 or 4096 bits"
    )]
    Size {
        /// Where the key came from.
        origin: String,
        /// Bits of its modulus.
        bits: usize,
    },
    /// It looks like a key, but its numbers or its encoding are wrong.
    #[error(
        "key {origin:?} is damaged: {cause}. Remedy: another copy of the key; `openssl pkey -check` tells more"
    )]
    Damaged {
        /// Where the key came from.
        origin: String,
        /// What the parser said.
        cause: String,
    },
    /// An RSA key whose numbers do not serve.
    #[error("key {origin:?} is not sound: {fault}. Remedy: {remedy}", remedy = fault.remedy())]
    Unsound {
        /// Where the key came from.
        origin: String,
        /// What is wrong.
        fault: KeyFault,
    },
    /// More than two primes.
    #[error(
        "key {origin:?} has more than two primes, which is not supported. \
         Remedy: a key of two primes, as made by `openssl genrsa -out key.pem 2048`"
    )]
    MultiPrime {
        /// Where the key came from.
        origin: String,
    },
    /// Other users can read the private key.
    #[error(
        "private key file {path:?} is open to other users (mode {mode:04o}). Remedy: chmod 600 {}",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be written.
    #[error("cannot write key file {path:?}: {cause}. Remedy: {remedy}", remedy = write_remedy(cause))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// A public key where a private one is needed.
    #[error("key {origin:?} is a public key and cannot {what}. Remedy: the file with the private key")]
    PublicOnly {
        /// Where the key came from.
        origin: String,
        /// What was to be done with it.
        what: &'static str,
    },
    /// The curve belongs to another operation.
    #[error(
        "key {origin:?} is for {} and cannot {}. Remedy: a key for {}",
        .curve.name(), .op.name(), .op.curve().name()
    )]
    WrongCurve {
        /// Where the key came from.
        origin: String,
        /// Its curve.
        curve: EcCurve,
        /// What was to be done with it.
        op: EcOp,
    },
    /// A certificate cannot be read.
    #[error(
        "cannot use certificate {path:?}: {cause}. Remedy: a PEM or DER file with the key's certificate, of a chain the first"
    )]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A certificate for another key.
    #[error(
        "certificate {certificate:?} is not for key {key:?}: they have different public keys. \
         Remedy: the two that were made together; `openssl x509 -in {} -noout -pubkey` shows the certificate's",
        certificate.display()
    )]
    CertificateMismatch {
        /// Where the key came from.
        key: String,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The padding belongs to another operation.
    #[error("scheme {:?} is not for {:?}. Remedy: one of {}", .scheme.name(), .op.name(), names_for(*.op))]
    WrongScheme {
        /// The scheme.
        scheme: RsaScheme,
        /// The operation.
        op: RsaOp,
    },
    /// 1024 bits have no room for every padding, encrypt nothing new, and only some of the old signatures are checked.
    #[error(
        "key {origin:?} has 1024 bits: too few to {} with {}. Remedy: a key of 2048 bits or more{}",
        .op.name(), .scheme.name(), weak_remedy(*.op)
    )]
    Weak {
        /// Where the key came from.
        origin: String,
        /// The operation.
        op: RsaOp,
        /// The scheme.
        scheme: RsaScheme,
    },
    /// The library failed where its input gives no reason.
    #[error("aws-lc cannot {what}. Remedy: none known; is the process out of memory?")]
    Library {
        /// What it was asked.
        what: &'static str,
    },
}

/// What is wrong with the numbers of an RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// 2 is no prime of an RSA key.
    #[error("the modulus n is even")]
    EvenModulus,
    /// It has no inverse.
    #[error("the public exponent e is even")]
    EvenExponent,
    /// 1 encrypts to the message itself.
    #[error("the public exponent e is below 3")]
    TinyExponent,
    /// NIST SP 800-56B, 6.2: 2^16 < e. Public keys with smaller ones are taken: old certificates have them.
    #[error("the public exponent e of this private key is below 65537")]
    SmallExponent,
    /// What aws-lc takes: larger ones make the public operation slow.
    #[error("the public exponent e has more than 33 bits")]
    LargeExponent,
    /// Then n is a square, and its root is found at once.
    #[error("the primes p and q are the same")]
    EqualPrimes,
    /// Each has half the bits of the modulus.
    #[error("the primes p and q are not of half the modulus' size each")]
    PrimeSize,
    /// Parts of different keys, or damage.
    #[error("the modulus n is not the product of p and q")]
    Product,
    /// RFC 8017, 3.2: a positive integer less than n.
    #[error("the private exponent d is longer than the modulus n")]
    LongPrivateExponent,
    /// Parts of different keys, or damage.
    #[error("the private exponent d does not belong to e, p and q")]
    PrivateExponent,
    /// Every inverse of a public exponent is odd.
    #[error("the private exponent d is even")]
    EvenPrivateExponent,
    /// Parts of different keys, or damage.
    #[error("one of dp, dq and qinv does not belong to the other numbers")]
    Crt,
    /// What it encrypts cannot be decrypted, and it is easier to break.
    #[error("p or q is not a prime")]
    Composite,
    /// None of the above.
    #[error("aws-lc refuses its numbers")]
    Other,
}

impl KeyFault {
    fn remedy(self) -> &'static str {
        match self {
            Self::EvenExponent | Self::TinyExponent | Self::SmallExponent | Self::LargeExponent => {
                "a new key with e = 65537, as made by `openssl genrsa -out key.pem 2048`"
            }
            Self::EqualPrimes | Self::PrimeSize | Self::Composite => {
                "a new key from another generator, as made by `openssl genrsa -out key.pem 2048`"
            }
            _ => "another copy of the key, or a new one; `openssl pkey -check` tells more",
        }
    }
}

fn read_remedy(path: &Path, cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            format!("check the path, or make a key: `openssl genpkey -algorithm RSA -out {}`", path.display())
        }
        io::ErrorKind::PermissionDenied => "run as the user who owns the key".to_owned(),
        _ => "name a readable file".to_owned(),
    }
}

fn write_remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AlreadyExists => "another path: keys are never overwritten",
        _ => "a directory that this user may write to, with space left",
    }
}

/// What else there is to do with a key of 1024 bits.
fn weak_remedy(op: RsaOp) -> &'static str {
    match op {
        RsaOp::Sign | RsaOp::Decrypt => ", or a scheme with a shorter hash",
        RsaOp::Verify => ", or a signature with pkcs1-sha256 or pkcs1-sha512",
        RsaOp::Encrypt => "",
    }
}

fn names_for(op: RsaOp) -> String {
    let names: Vec<&str> = RsaScheme::ALL.into_iter().filter(|s| s.is_for(op)).map(RsaScheme::name).collect();
    names.join(", ")
}
