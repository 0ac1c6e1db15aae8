//! The keys that all contenders of a bench use.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use tempfile::TempDir;
use warpdrive_pmd::engine::rsa::RsaKey;

use super::FULL;
use crate::BenchError;

/// Eight new keys of one size; also as files, for programs, in a folder that only this user may read and that is gone
/// with this.
pub struct Keys {
    bits: usize,
    ders: Vec<Pkcs8V1Der<'static>>,
    files: Vec<PathBuf>,
    _folder: TempDir,
}

impl Keys {
    /// Makes them. Takes some seconds for 4096 bits.
    ///
    /// # Errors
    /// [`BenchError::Io`] when they cannot be written.
    pub fn new(bits: usize) -> Result<Self, BenchError> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(BenchError::Bug(format!("keys of {bits} bits"))),
        };
        let io = |cause| BenchError::Io {
            what: "cannot write a key into a folder for temporary files".to_owned(),
            cause,
            remedy: "TMPDIR=... names a folder with space left",
        };
        let folder = TempDir::with_prefix("warpdrive-perf-").map_err(io)?;
        let mut keys = Self { bits, ders: Vec::new(), files: Vec::new(), _folder: folder };
        for i in 0..FULL {
            let der = KeyPair::generate(size)
                .and_then(|pair| pair.as_der())
                .map_err(|e| BenchError::Bug(format!("aws-lc made no key: {e}")))?;
            let path = keys._folder.path().join(format!("{i}.der"));
            let mut file = std::fs::OpenOptions::new();
            let file = file.write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(der.as_ref())).map_err(io)?;
            keys.ders.push(der);
            keys.files.push(path);
        }
        Ok(keys)
    }

    /// Bits of each modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// PKCS#8 of each.
    pub fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.ders.iter().map(|der| der.as_ref())
    }

    /// The first `n` as files.
    #[must_use]
    pub fn files(&self, n: usize) -> &[PathBuf] {
        &self.files[..n]
    }

    /// The first `n` as aws-lc has them.
    ///
    /// # Errors
    /// [`BenchError::Bug`].
    pub fn pairs(&self, n: usize) -> Result<Vec<KeyPair>, BenchError> {
        let parse = |der| KeyPair::from_pkcs8(der).map_err(|e| BenchError::Bug(format!("a new key: {e}")));
        self.ders().take(n).map(parse).collect()
    }

    /// The first `n` as our engine takes them.
    ///
    /// # Errors
    /// [`BenchError::Rsa`].
    pub fn ours(&self, n: usize) -> Result<Vec<RsaKey>, BenchError> {
        Ok(self.ders().take(n).map(|der| RsaKey::from_der(der, "(new)")).collect::<Result<_, _>>()?)
    }
}
