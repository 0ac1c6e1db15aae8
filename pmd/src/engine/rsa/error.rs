//! Why a key or a session is refused, and what a person does about it.

use std::io;
use std::path::{Path, PathBuf};

use super::{RsaOp, RsaScheme};

/// An error of keys and sessions. Each names the thing, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RsaError {
    /// The file cannot be opened or read.
    #[error("cannot read key file {path:?}: {cause}. Remedy: {remedy}", remedy = read_remedy(path, cause))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// Nothing in it.
    #[error("key {origin:?} is empty. Remedy: a PEM or DER file with an RSA key")]
    Empty {
        /// Where the key came from.
        origin: String,
    },
    /// It holds something else.
    #[error("{origin:?} is not a key: found {found}. Remedy: a PEM or DER file with one RSA key{hint}")]
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
    /// It looks like an RSA key, but its numbers or its encoding are wrong.
    #[error(
        "key {origin:?} is damaged: {cause}. Remedy: another copy of the key; `openssl pkey -check` tells more"
    )]
    Damaged {
        /// Where the key came from.
        origin: String,
        /// What the parser said.
        cause: String,
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
    /// The padding belongs to another operation.
    #[error("scheme {:?} is not for {:?}. Remedy: one of {}", .scheme.name(), .op.name(), names_for(*.op))]
    WrongScheme {
        /// The scheme.
        scheme: RsaScheme,
        /// The operation.
        op: RsaOp,
    },
    /// The library failed where its input gives no reason.
    #[error("aws-lc cannot {what}. Remedy: none known; is the process out of memory?")]
    Library {
        /// What it was asked.
        what: &'static str,
    },
}

fn read_remedy(path: &Path, cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            format!("check the path, or make a key: `openssl genrsa -out {} 2048`", path.display())
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

fn names_for(op: RsaOp) -> String {
    let names: Vec<&str> = RsaScheme::ALL.into_iter().filter(|s| s.is_for(op)).map(RsaScheme::name).collect();
    names.join(", ")
}
