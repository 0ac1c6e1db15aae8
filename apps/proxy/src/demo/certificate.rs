//! A certificate for `localhost`, made at first use, for who has none.
//!
//! It is signed by its own key and vouches for nothing else: to trust it is to trust this key, for these names. It is no
//! certificate authority, and TLS libraries that look for one among what they trust have to be given the file itself.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    PublicKeyData as _,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use warpdrive_pipeline::demo;
use warpdrive_pmd::engine::rsa::KeyError;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The file, in the folder of demo material.
pub const FILE: &str = "localhost.crt.pem";
/// Bits of the key, which is the folder's `demo:rsa2048`.
const BITS: usize = 2048;
const DAY: Duration = Duration::from_secs(86_400);
/// How long it is valid. Systems take 825 days of what their users trust by themselves, scanners of TLS 366.
const VALID: Duration = Duration::from_secs(365 * 86_400);
/// One that ends sooner is renewed.
const TOO_SOON: Duration = Duration::from_secs(7 * 86_400);
/// What it is for, in any case. OpenSSL, rustls and Chromium want two labels behind a star: for those, `*.localhost` means
/// nothing, and names below `localhost` have to be given one by one.
const NAMES: [&str; 2] = ["localhost", "*.localhost"];
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Why there is no demo certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no key for it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It cannot be written.
    #[error(
        "demo certificate {path:?} cannot be written: {cause}. Remedy: a folder that can be written to, by WARPDRIVE_DEMO_DIR"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A name is none.
    #[error(
        "no certificate can be made for {name:?}. Remedy: names of DNS, with or without a star, and IP addresses"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The library does not make it.
    #[error(
        "the demo certificate cannot be made with key {key:?}: {what}. Remedy: remove both files, they are made anew"
    )]
    Library {
        /// The file of the key.
        key: PathBuf,
        /// What it said.
        what: String,
    },
}

/// The demo certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoCertificate {
    /// PEM, to be trusted by clients.
    pub certificate: PathBuf,
    /// PEM, for the server alone.
    pub key: PathBuf,
    /// Whether it was made just now, and has to be trusted anew.
    pub made: bool,
    /// SHA-256 of the public key, in base64: how browsers pin it.
    pub pin: String,
}

impl DemoCertificate {
    /// The certificate in `folder`, for `localhost` and for `more`: names of DNS and IP addresses. It is made if there is none
    /// that will be valid for a week, for these names and with the key in that folder, which is made as well if there is none.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn in_folder(folder: &Path, more: &[&str]) -> Result<Self, CertificateError> {
        let (_, key_file, _) = demo::key(folder, BITS)?;
        let library = |what: String| CertificateError::Library { key: key_file.clone(), what };
        let der = PrivatePkcs8KeyDer::from_pem_file(&key_file).map_err(|e| library(e.to_string()))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256)
            .map_err(|e| library(e.to_string()))?;
        let names = Names::new(more)?;
        let file = folder.join(FILE);
        let spki = key.subject_public_key_info();
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let made = !CertificateDer::from_pem_file(&file).is_ok_and(|der| is_good(&der, &spki, &names, now));
        if made {
            let pem = certify(&key, &names, now).map_err(|e| library(e.to_string()))?;
            replace(&file, &pem).map_err(|cause| CertificateError::Write { path: file.clone(), cause })?;
        }
        let pin = BASE64_STANDARD.encode(digest(&SHA256, &spki));
        Ok(Self { certificate: file, key: key_file, made, pin })
    }

    /// How to trust it, for people. `url` is where the proxy is.
    #[must_use]
    pub fn instructions(&self, url: &str) -> String {
        let file = self.certificate.display();
        let pin = &self.pin;
        let mut text = String::new();
        let _ = write!(
            text,
            "\
The certificate is signed by itself: clients have to be told to trust {file}

  curl             curl --cacert {file} {url}
  Node.js          NODE_EXTRA_CA_CERTS={file} node ...
  Python           SSL_CERT_FILE={file} python3 ...; requests: REQUESTS_CA_BUNDLE={file}
  Go               SSL_CERT_FILE={file} ...
  Chromium, once   chromium --user-data-dir=$(mktemp -d) --ignore-certificate-errors-spki-list={pin} {url}
  Chromium, kept   certutil -d sql:$HOME/.pki/nssdb -A -t P,, -n warpdrive-demo -i {file}
                   (certutil is in the Debian package libnss3-tools; with -D -n warpdrive-demo it is forgotten again)
  Firefox          open {url}, Advanced..., Accept the Risk and Continue: the exception is for this certificate alone
                   (Settings, Privacy & Security, View Certificates, Servers: there it is removed)

Never trust it on machines that others use: whoever can read {} can pose as these names.
",
            self.key.display()
        );
        text
    }
}

/// What a certificate is for.
struct Names {
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    fn new(more: &[&str]) -> Result<Self, CertificateError> {
        let mut names = Self { dns: NAMES.map(str::to_owned).into(), addresses: ADDRESSES.into() };
        for name in more {
            let plain = name.strip_prefix("*.").unwrap_or(name);
            match (name.parse(), ServerName::try_from(plain)) {
                (Ok(address), _) if names.addresses.contains(&address) => {}
                (Ok(address), _) => names.addresses.push(address),
                (Err(_), Ok(ServerName::DnsName(_))) => {
                    let name = name.to_ascii_lowercase();
                    if !names.dns.contains(&name) {
                        names.dns.push(name);
                    }
                }
                _ => return Err(CertificateError::Name { name: (*name).to_owned() }),
            }
        }
        Ok(names)
    }
}

impl Names {
    /// As they are in a certificate (RFC 5280, 4.2.1.6): a tag, the length, and the name. The library that reads certificates
    /// leaves out names that it would not match.
    fn encoded(&self) -> impl Iterator<Item = Vec<u8>> {
        let one = |tag: u8, name: &[u8]| match name.len() as u8 {
            len @ ..128 => [&[tag, len], name].concat(),
            // No name is longer than 253 bytes.
            len => [&[tag, 0x81, len], name].concat(),
        };
        let dns = self.dns.iter().map(move |name| one(0x82, name.as_bytes()));
        let addresses = self.addresses.iter().map(move |ip| match ip {
            IpAddr::V4(ip) => one(0x87, &ip.octets()),
            IpAddr::V6(ip) => one(0x87, &ip.octets()),
        });
        dns.chain(addresses)
    }
}

/// Whether a certificate will do: for this key, for these names, now and for some time to come.
fn is_good(der: &CertificateDer<'_>, spki: &[u8], names: &Names, now: Duration) -> bool {
    let (Ok(certificate), Ok(anchor)) = (EndEntityCert::try_from(der), anchor_from_trusted_cert(der)) else {
        return false;
    };
    let anchors = [anchor];
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let valid = |at: Duration| {
        let (at, usage) = (UnixTime::since_unix_epoch(at), KeyUsage::server_auth());
        certificate.verify_for_usage(algorithms, &anchors, &[], at, usage, None, None).is_ok()
    };
    certificate.subject_public_key_info().as_ref() == spki
        && valid(now)
        && valid(now + TOO_SOON)
        && names.encoded().all(|name| memchr::memmem::find(der, &name).is_some())
}

/// Makes one, as PEM.
fn certify(key: &KeyPair, names: &Names, now: Duration) -> Result<String, rcgen::Error> {
    let texts = names.dns.iter().cloned().chain(names.addresses.iter().map(IpAddr::to_string));
    let mut params = CertificateParams::new(texts.collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "localhost (warpdrive demo)");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Clocks differ; and from its beginning to its end it is not longer than it may be.
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + (now.saturating_sub(DAY) + VALID - Duration::from_secs(1));
    let der = params.self_signed(key)?.der().clone();
    Ok(pem::encode(&pem::Pem::new("CERTIFICATE", der.as_ref())))
}

/// Puts a file in the place of another in one step: nobody reads half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new);
    let placed =
        written.and_then(|mut to| to.write_all(text.as_bytes())).and_then(|()| std::fs::rename(&new, file));
    placed.inspect_err(|_| drop(std::fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(made: &DemoCertificate) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&made.certificate).unwrap()
    }

    fn now() -> Duration {
        UNIX_EPOCH.elapsed().unwrap()
    }

    /// Writes a certificate of the folder's key as it would have been written `ago`.
    fn aged(made: &DemoCertificate, more: &[&str], ago: Duration) {
        let key = PrivatePkcs8KeyDer::from_pem_file(&made.key).unwrap();
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_RSA_SHA256).unwrap();
        replace(&made.certificate, &certify(&key, &Names::new(more).unwrap(), now() - ago).unwrap()).unwrap();
    }

    #[test]
    fn it_is_made_once_and_for_the_names_of_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let made = DemoCertificate::in_folder(folder.path(), &[]).unwrap();
        assert!(made.made && made.key.ends_with("rsa2048.pem") && made.certificate.ends_with(FILE));
        let der = der(&made);
        let certificate = EndEntityCert::try_from(&der).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            let name = ServerName::try_from(name).unwrap();
            certificate.verify_is_valid_for_subject_name(&name).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        }
        assert!(memchr::memmem::find(&der, b"\x82\x0b*.localhost").is_some());
        for name in ["example.org", "a.b.localhost", "127.0.0.2"] {
            let name = ServerName::try_from(name).unwrap();
            assert!(certificate.verify_is_valid_for_subject_name(&name).is_err(), "{name:?}");
        }
        let again = DemoCertificate::in_folder(folder.path(), &[]).unwrap();
        assert_eq!(again, DemoCertificate { made: false, ..made.clone() });
        assert_eq!(super::tests::der(&again), der);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "two keys and a certificate");
        let text = made.instructions("https://localhost:8443/");
        let file = made.certificate.to_str().unwrap();
        for what in
            [file, made.key.to_str().unwrap(), &made.pin, "https://localhost:8443/", "NODE_EXTRA_CA_CERTS"]
        {
            assert!(text.contains(what), "{what}: {text}");
        }
    }

    #[test]
    fn it_serves_servers_only_and_for_no_longer_than_systems_allow() {
        let folder = tempfile::tempdir().unwrap();
        let der = der(&DemoCertificate::in_folder(folder.path(), &[]).unwrap());
        let certificate = EndEntityCert::try_from(&der).unwrap();
        let anchors = [anchor_from_trusted_cert(&der).unwrap()];
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let valid = |usage, at| {
            let at = UnixTime::since_unix_epoch(at);
            certificate.verify_for_usage(algorithms, &anchors, &[], at, usage, None, None).map(drop)
        };
        valid(KeyUsage::server_auth(), now()).unwrap();
        valid(KeyUsage::server_auth(), now() + 363 * DAY).unwrap();
        assert!(valid(KeyUsage::server_auth(), now() + 364 * DAY + Duration::from_secs(60)).is_err());
        assert!(valid(KeyUsage::server_auth(), now() - 2 * DAY).is_err());
        assert!(valid(KeyUsage::client_auth(), now()).is_err());
    }

    #[test]
    fn it_is_renewed_when_it_ends_or_has_another_key_or_lacks_a_name_or_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let made =
            DemoCertificate::in_folder(folder.path(), &["a.test", "*.a.test", "::2", "localhost"]).unwrap();
        let renewed = |more: &[&str]| DemoCertificate::in_folder(folder.path(), more).unwrap().made;
        assert!(!renewed(&[]) && !renewed(&["A.test", "*.a.test", "::2"]));
        assert!(renewed(&["b.test"]) && !renewed(&["b.test"]));
        let long = ["x".repeat(60), "y".repeat(60), "z".repeat(60), "test".into()].join(".");
        assert!(renewed(&[&long]) && !renewed(&[&long]));
        assert!(renewed(&["192.0.2.1"]) && !renewed(&["192.0.2.1"]));
        aged(&made, &[], 340 * DAY);
        assert!(!renewed(&[]), "some days are left");
        aged(&made, &[], 360 * DAY);
        assert!(renewed(&[]) && !renewed(&[]), "it would end within a week");
        aged(&made, &[], 400 * DAY);
        assert!(renewed(&[]) && !renewed(&[]));
        std::fs::write(&made.certificate, "no certificate").unwrap();
        assert!(renewed(&[]) && !renewed(&[]));
        let other = tempfile::tempdir().unwrap();
        let other = DemoCertificate::in_folder(other.path(), &[]).unwrap();
        std::fs::copy(&other.certificate, &made.certificate).unwrap();
        assert!(renewed(&[]) && !renewed(&[]));
    }

    #[test]
    fn errors_say_which_name_and_which_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "a b", "*.", "a.*", "\u{e4}.test"] {
            let error = DemoCertificate::in_folder(folder.path(), &[name]).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        let file = folder.path().join(FILE);
        std::fs::create_dir(&file).unwrap();
        let error = DemoCertificate::in_folder(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("Remedy"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing half done is left");
    }
}
