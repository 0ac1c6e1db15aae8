//! X.509 certificates (RFC 5280): the public key in them and whether it is that of a private key. Nothing else of a
//! certificate is judged: no date, no name, no signature.

use std::path::Path;

use pkcs8::SubjectPublicKeyInfoRef;
use pkcs8::der::asn1::{AnyRef, BitStringRef, IntRef, SequenceRef};
use pkcs8::der::{self, Reader, SliceReader, TagMode, TagNumber};
use pkcs8::spki::AlgorithmIdentifierRef;

use super::file::{self, Wanted};
use super::{EcKey, KeyError, RsaKey};

/// The public key of a certificate.
pub(super) fn public_key_info(certificate: &[u8]) -> der::Result<SubjectPublicKeyInfoRef<'_>> {
    let mut reader = SliceReader::new(certificate)?;
    let key = reader.sequence(|certificate| {
        let key = certificate.sequence(to_be_signed)?;
        certificate.decode::<AlgorithmIdentifierRef<'_>>()?;
        certificate.decode::<BitStringRef<'_>>()?;
        Ok::<_, der::Error>(key)
    })?;
    reader.finish()?;
    Ok(key)
}

/// `TBSCertificate`: what is before the key is of known types, what is behind it is left to others.
fn to_be_signed<'a>(reader: &mut SliceReader<'a>) -> der::Result<SubjectPublicKeyInfoRef<'a>> {
    let _version = reader.context_specific::<u8>(TagNumber(0), TagMode::Explicit)?;
    let _serial = reader.decode::<IntRef<'_>>()?;
    let _signature = reader.decode::<AlgorithmIdentifierRef<'_>>()?;
    for _issuer_validity_subject in 0..3 {
        reader.decode::<&SequenceRef>()?;
    }
    let key = reader.decode()?;
    while !reader.is_finished() {
        reader.decode::<AnyRef<'_>>()?;
    }
    Ok(key)
}

/// Reads the key of a certificate file: of the first certificate, if it is a chain.
fn load<K>(path: &Path, parse: fn(&[u8], &str) -> Result<K, KeyError>) -> Result<K, KeyError> {
    let failed = |cause: String| KeyError::Certificate { path: path.to_owned(), cause };
    let origin = path.display().to_string();
    let (bytes, _) = file::read(path).map_err(|e| match e {
        KeyError::Read { cause, .. } => failed(cause.to_string()),
        other => other,
    })?;
    let der = file::find(&bytes, Wanted::Certificate, &origin).map_err(|e| match e {
        KeyError::NotAKey { found, .. } => failed(format!("found {found}")),
        KeyError::Empty { .. } => failed("it is empty".to_owned()),
        KeyError::Damaged { cause, .. } => failed(cause),
        other => other,
    })?;
    public_key_info(&der).map_err(|e| failed(format!("it is not a certificate ({e})")))?;
    parse(&der, &origin)
}

impl RsaKey {
    /// Whether the certificate in a file (PEM or DER, of a chain the first) is for this key.
    ///
    /// # Errors
    /// [`KeyError::CertificateMismatch`]; [`KeyError::Certificate`] and others when the file does not serve.
    pub fn check_certificate(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        let path = path.as_ref();
        match load(path, Self::from_der) {
            Ok(theirs) if theirs.modulus() == self.modulus() && theirs.exponent() == self.exponent() => {
                Ok(())
            }
            Ok(_) | Err(KeyError::NotRsa { .. }) => Err(mismatch(self.origin(), path)),
            Err(e) => Err(e),
        }
    }
}

impl EcKey {
    /// Whether the certificate in a file (PEM or DER, of a chain the first) is for this key.
    ///
    /// # Errors
    /// [`KeyError::CertificateMismatch`]; [`KeyError::Certificate`] and others when the file does not serve.
    pub fn check_certificate(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        let path = path.as_ref();
        match load(path, Self::from_der) {
            Ok(theirs) if theirs.curve() == self.curve() && theirs.public_bytes() == self.public_bytes() => {
                Ok(())
            }
            Ok(_) | Err(KeyError::NotEc { .. }) => Err(mismatch(self.origin(), path)),
            Err(e) => Err(e),
        }
    }
}

fn mismatch(key: &str, certificate: &Path) -> KeyError {
    KeyError::CertificateMismatch { key: key.to_owned(), certificate: certificate.to_owned() }
}
