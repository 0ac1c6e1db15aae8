//! An authority, and the certificates of the proxy under test. Keys are made once: that takes time.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// A certificate and its key, as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
    /// For comparison with what a client was shown.
    pub der: CertificateDer<'static>,
}

/// All there are.
pub struct Certificates {
    pub authority: String,
    pub roots: Arc<RootCertStore>,
    /// RSA, for `localhost` and this machine's addresses.
    pub rsa: Pair,
    /// RSA, for all below `wild.example`.
    pub wildcard: Pair,
    /// ECDSA, for `ec.example`.
    pub ecdsa: Pair,
}

/// Those of this test run.
pub fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| make().expect("certificates are made"))
}

fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

fn make() -> Result<Certificates, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "authority of the tests");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let authority = params.self_signed(&key)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("an authority");
    let issuer = Issuer::new(params, key);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = UNIX_EPOCH.elapsed().expect("a time after 1970").saturating_sub(Duration::from_secs(3_600));
    let pair = |names: &[&str], key: KeyPair| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        // As long as whoever certifies for nothing makes them, and as scanners of TLS want them to be.
        params.not_before = epoch + now;
        params.not_after = epoch + now + Duration::from_secs(89 * 86_400);
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&key, &issuer)?;
        Ok::<_, rcgen::Error>(Pair {
            certificate: pem("CERTIFICATE", made.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
            der: made.der().clone(),
        })
    };
    let rsa = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
    Ok(Certificates {
        authority: pem("CERTIFICATE", authority.der()),
        roots: Arc::new(roots),
        rsa: pair(&["localhost", "127.0.0.1", "::1"], rsa()?)?,
        wildcard: pair(&["*.wild.example"], rsa()?)?,
        ecdsa: pair(&["ec.example"], KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?,
    })
}

impl Certificates {
    /// Writes all to a folder: `ca.pem`, `rsa.pem` with `rsa.key`, and so on.
    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("ca.pem"), &self.authority).expect("write ca.pem");
        for (name, pair) in [("rsa", &self.rsa), ("wildcard", &self.wildcard), ("ecdsa", &self.ecdsa)] {
            std::fs::write(folder.join(name).with_extension("pem"), &pair.certificate).expect("write");
            let key = folder.join(name).with_extension("key");
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(key);
            std::io::Write::write_all(&mut file.expect("a file"), pair.key.as_bytes()).expect("write");
        }
    }
}
