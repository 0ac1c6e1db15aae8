//! Certificates with their keys: read, checked against each other, given to the device, and chosen by the name that a client
//! asks for.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use warpdrive_pipeline::config::UnknownName;
use warpdrive_pipeline::diag::{ConfigError, Diagnostic};
use warpdrive_pipeline::plan::{Placed, Plan};
use warpdrive_pmd::device::{Device, SessionId, SessionSpec};
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOp, RsaScheme, RsaSession};

use super::signer::{DeviceKey, SCHEMES};

/// The device's names of [`SCHEMES`].
const DEVICE_SCHEMES: [RsaScheme; SCHEMES.len()] = [
    RsaScheme::PssSha256,
    RsaScheme::PssSha384,
    RsaScheme::PssSha512,
    RsaScheme::Pkcs1Sha256,
    RsaScheme::Pkcs1Sha384,
    RsaScheme::Pkcs1Sha512,
];

/// A certificate and its key, as read from files that belong together.
pub struct Pair {
    chain: Vec<CertificateDer<'static>>,
    library: Arc<dyn SigningKey>,
    /// The key for the device, if it is one of RSA.
    rsa: Option<RsaKey>,
    /// DNS names of the certificate, in lower case.
    names: Vec<String>,
}

impl Pair {
    /// Reads a certificate and its key, and sees to it that they belong together.
    ///
    /// # Errors
    /// [`ConfigError`] at the file's place in the configuration.
    pub fn load(plan: &Plan, certificate: &Placed, key: &Placed) -> Result<Self, Box<ConfigError>> {
        let refuse = |at: &Placed, message: String, help: &str| {
            Box::new(plan.error(Diagnostic::new(at.span.clone(), message).help(help)))
        };
        let (file, key_file) = (&certificate.name, &key.name);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        let chain = chain.map_err(|e| {
            let help = "a PEM file with the certificate first and those that vouch for it behind it";
            refuse(certificate, format!("certificate {file:?} cannot be read: {e}"), help)
        })?;
        let Some(leaf) = chain.first() else {
            return Err(refuse(
                certificate,
                format!("there is no certificate in {file:?}"),
                "a PEM file with one",
            ));
        };
        let names = names_of(leaf).map_err(|e| {
            refuse(
                certificate,
                format!("certificate {file:?} is malformed: {e}"),
                "a certificate of X.509 version 3",
            )
        })?;
        let der = PrivateKeyDer::from_pem_file(key_file).map_err(|e| {
            refuse(key, format!("key {key_file:?} cannot be read: {e}"), "a PEM file with the private key")
        })?;
        refuse_exposed(key_file).map_err(|why| refuse(key, why, &format!("chmod 600 {key_file}")))?;
        let library = any_supported_type(&der).map_err(|e| {
            refuse(
                key,
                format!("key {key_file:?}: {e}"),
                "a key of RSA (2,048 bits or more), ECDSA or Ed25519",
            )
        })?;
        // The device reads the file by itself, and checks the numbers.
        let rsa =
            (library.algorithm() == SignatureAlgorithm::RSA).then(|| RsaKey::load(key_file)).transpose();
        let rsa =
            rsa.map_err(|e| Box::new(plan.error(Diagnostic::of_error(key.span.clone(), &e.to_string()))))?;
        let pair = Self { chain, library, rsa, names };
        match pair.certified(Arc::clone(&pair.library)).keys_match() {
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(refuse(
                key,
                format!("key {key_file:?} does not belong to certificate {file:?}"),
                "the key that the certificate was made for",
            )),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) | Ok(()) => Ok(pair),
            Err(e) => {
                Err(refuse(key, format!("key {key_file:?} and certificate {file:?}: {e}"), "a sound pair"))
            }
        }
    }

    fn certified(&self, key: Arc<dyn SigningKey>) -> CertifiedKey {
        CertifiedKey::new(self.chain.clone(), key)
    }

    /// Why its certificate is not valid at a time since 1970, if it is not.
    #[must_use]
    pub fn invalid_at(&self, time: Duration) -> Option<String> {
        let leaf = webpki::EndEntityCert::try_from(self.chain.first()?).ok()?;
        // Its dates are looked at before who vouches for it, which is not asked here.
        let (time, usage) = (UnixTime::since_unix_epoch(time), webpki::KeyUsage::server_auth());
        let date =
            |at: UnixTime| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at.as_secs()));
        match leaf.verify_for_usage(&[], &[], &[], time, usage, None, None) {
            Err(webpki::Error::CertExpired { not_after, .. }) => {
                Some(format!("has expired at {}", date(not_after)))
            }
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
                Some(format!("is not valid before {}", date(not_before)))
            }
            _ => None,
        }
    }

    /// Its DNS names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What it signs with, for people.
    #[must_use]
    pub fn algorithm(&self) -> String {
        match &self.rsa {
            Some(key) => format!("RSA {}", key.bits()),
            None => format!("{:?}", self.library.algorithm()),
        }
    }
}

/// Refuses a private key that group or others may access, of whatever kind it is.
fn refuse_exposed(file: &str) -> Result<(), String> {
    let mode = std::fs::metadata(file).map_or(0, |file| file.permissions().mode()) & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("key {file:?} can be read or changed by others (its mode is {mode:o})"))
}

/// The DNS names that a certificate is for, in lower case.
fn names_of(leaf: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let leaf = webpki::EndEntityCert::try_from(leaf)?;
    Ok(leaf.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// A key that signs nothing, for clients that want what no key can do. With it the library finds that there is nothing in
/// common and says so (`handshake_failure`; RFC 8446, 6.2); without any it would say that access is denied.
#[derive(Debug)]
struct NoKey;

impl SigningKey for NoKey {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        None
    }

    /// No suite of TLS 1.2 has it.
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Anonymous
    }
}

/// Certificates that are ready to be used: the sessions of their keys end with them.
pub struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    none_fits: Arc<CertifiedKey>,
    /// For each name, which have it, in the order of the configuration. Wildcards are kept as `"*.example.org"`.
    by_name: HashMap<String, Vec<usize>>,
    unknown: UnknownName,
    sessions: Vec<SessionId>,
    device: Option<Arc<dyn Device>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({} of {} names)", self.keys.len(), self.by_name.len())
    }
}

impl Certificates {
    /// Gives keys of RSA to `device`, if there is one.
    ///
    /// # Errors
    /// What the device says, for a message.
    pub fn new(
        pairs: &[Pair],
        unknown: UnknownName,
        device: Option<&Arc<dyn Device>>,
    ) -> Result<Self, String> {
        let mut this = Self {
            keys: Vec::new(),
            none_fits: Arc::new(CertifiedKey::new(Vec::new(), Arc::new(NoKey))),
            by_name: HashMap::new(),
            unknown,
            sessions: Vec::new(),
            device: device.cloned(),
        };
        for (i, pair) in pairs.iter().enumerate() {
            let key = this.key(pair)?;
            this.keys.push(Arc::new(pair.certified(key)));
            for name in &pair.names {
                this.by_name.entry(name.clone()).or_default().push(i);
            }
        }
        Ok(this)
    }

    fn key(&mut self, pair: &Pair) -> Result<Arc<dyn SigningKey>, String> {
        let (Some(device), Some(key)) = (&self.device, &pair.rsa) else {
            return Ok(Arc::clone(&pair.library));
        };
        let mut sessions = [SessionId(u32::MAX); SCHEMES.len()];
        for (session, scheme) in sessions.iter_mut().zip(DEVICE_SCHEMES) {
            let spec = RsaSession::new(RsaOp::Sign, scheme, key).map_err(|e| e.to_string())?;
            *session = device.create_session(SessionSpec::Rsa(spec)).map_err(|e| e.to_string())?;
            self.sessions.push(*session);
        }
        let signature_len = key.bits() / 8;
        Ok(Arc::new(DeviceKey { sessions, signature_len, library: Arc::clone(&pair.library) }))
    }

    /// The first certificate of those with the best name whose key can sign as the client wants. Nothing if the name is to be
    /// refused.
    fn choose(&self, name: Option<&str>, fits: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let of = |name: &str| self.by_name.get(name);
        let known = name.and_then(|name| {
            let wildcard = || of(&format!("*.{}", name.split_once('.')?.1));
            of(name).or_else(wildcard)
        });
        let fitting = |places: &mut dyn Iterator<Item = usize>| {
            places.map(|i| &self.keys[i]).find(|key| fits(key)).unwrap_or(&self.none_fits).clone()
        };
        match (known, self.unknown) {
            (Some(places), _) => Some(fitting(&mut places.iter().copied())),
            (None, UnknownName::Default) => Some(fitting(&mut (0..self.keys.len()))),
            (None, UnknownName::Reject) => None,
        }
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            for session in &self.sessions {
                device.remove_session(*session);
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The library has lowered the name's case.
        let offered = hello.signature_schemes();
        self.choose(hello.server_name(), |key| key.key.choose_scheme(offered).is_some())
    }
}
