//! A key and a certificate for servers that are measured, and whom a client trusts.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use rcgen::{CertificateParams, DnType, PKCS_RSA_SHA256, SanType};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::BenchError;

/// The name in the certificate.
pub const NAME: &str = "localhost";
/// What the key is, for facts.
pub const KEY: &str = "RSA-2048";

/// A new RSA-2048 key and a certificate that it has signed itself, for [`NAME`] and 127.0.0.1, as files in a folder.
pub struct Certificate {
    der: CertificateDer<'static>,
    key_file: PathBuf,
    certificate_file: PathBuf,
}

impl Certificate {
    /// The name of [`certificate_file`](Self::certificate_file) in its folder.
    pub const FILE: &'static str = "certificate.pem";

    /// Makes both, and writes them into `folder`, which only this user should be able to read.
    ///
    /// # Errors
    /// [`BenchError::Io`] when they cannot be written.
    pub fn new(folder: &Path) -> Result<Self, BenchError> {
        let key: Pkcs8V1Der<'static> = KeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| pair.as_der())
            .map_err(|e| BenchError::Bug(format!("aws-lc made no key: {e}")))?;
        let der = certify(key.as_ref()).map_err(|e| BenchError::Bug(format!("no certificate: {e}")))?;
        let written =
            Self { key_file: folder.join("key.pem"), certificate_file: folder.join(Self::FILE), der };
        // A pair in one file is what haproxy wants; the others take what they look for.
        write(&written.key_file, &[("PRIVATE KEY", key.as_ref())])?;
        let pair = [("CERTIFICATE", written.der.as_ref()), ("PRIVATE KEY", key.as_ref())];
        write(&written.certificate_file, &pair)?;
        Ok(written)
    }

    /// The key alone.
    #[must_use]
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The certificate, and after it the key.
    #[must_use]
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// Trust in this certificate and in no other.
    ///
    /// # Errors
    /// [`BenchError::Bug`].
    pub fn trust(&self) -> Result<RootCertStore, BenchError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(|e| BenchError::Bug(format!("a new certificate: {e}")))?;
        Ok(roots)
    }
}

/// Trust in the certificates of a PEM file.
///
/// # Errors
/// [`BenchError::Program`] when there are none that can be trusted.
pub fn trust_of(file: &Path) -> Result<RootCertStore, BenchError> {
    let wrong = |what: String| BenchError::Program {
        program: file.display().to_string(),
        what,
        remedy: "a PEM file with the certificate of the target, or of who signed it".to_owned(),
    };
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
        let der = der.map_err(|e| wrong(e.to_string()))?;
        roots.add(der).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("no certificate in it".to_owned())) } else { Ok(roots) }
}

fn certify(key: &[u8]) -> Result<CertificateDer<'static>, rcgen::Error> {
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params.distinguished_name.push(DnType::CommonName, NAME);
    Ok(params.self_signed(&key)?.der().clone())
}

fn write(path: &Path, parts: &[(&str, &[u8])]) -> Result<(), BenchError> {
    let text: String = parts.iter().map(|(tag, der)| pem::encode(&pem::Pem::new(*tag, *der))).collect();
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(super::no_folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_hold_what_is_trusted_and_are_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::new(folder.path()).unwrap();
        assert_eq!(certificate.trust().unwrap().len(), 1);
        assert_eq!(trust_of(certificate.certificate_file()).unwrap().len(), 1);
        for file in [certificate.key_file(), certificate.certificate_file()] {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let none = trust_of(certificate.key_file()).unwrap_err().to_string();
        assert!(none.contains("no certificate") && none.contains("key.pem"), "{none}");
        assert!(trust_of(Path::new("/no/such/file")).is_err());
    }
}
