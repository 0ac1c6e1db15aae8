//! Certificates in the place of public keys, and beside private ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use warpdrive_pmd::engine::rsa::{EcCurve, EcKey, KeyError, RsaKey, RsaOp, RsaScheme, RsaSession};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(data(name)).unwrap()
}

fn der(name: &str) -> Vec<u8> {
    pem::parse(text(name)).unwrap().into_contents()
}

/// A file that its owner alone may read.
fn file(dir: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_certificate_gives_its_public_key() {
    let dir = TempDir::new().unwrap();
    let chain = text("certificate.pem") + &text("ec-certificate.pem");
    for path in [
        file(&dir, "pem", text("certificate.pem")),
        file(&dir, "der", der("certificate.pem")),
        file(&dir, "chain", chain),
    ] {
        // Certificates are for everybody.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let key = RsaKey::load(&path).unwrap();
        assert_eq!((key.bits(), key.is_private()), (2048, false));
        key.save_public_pem(dir.path().join("public")).unwrap();
        assert_eq!(fs::read(dir.path().join("public")).unwrap(), fs::read(data("rsa2048-spki.pem")).unwrap());
        fs::remove_file(dir.path().join("public")).unwrap();
        RsaSession::new(RsaOp::Verify, RsaScheme::PssSha256, &key).unwrap();
        RsaSession::new(RsaOp::Encrypt, RsaScheme::OaepSha256, &key).unwrap();
        let refused = RsaSession::new(RsaOp::Sign, RsaScheme::PssSha256, &key).map(|_| ());
        assert!(matches!(refused, Err(KeyError::PublicOnly { .. })));
    }
    for bytes in [der("ec-certificate.pem"), der("ec-spki.pem")] {
        let key = EcKey::from_der(&bytes, "theirs").unwrap();
        assert_eq!((key.curve(), key.is_private()), (EcCurve::P256, false));
        let ours = EcKey::from_pem(&text("ec.pem"), "ours").unwrap();
        assert_eq!(key.public_bytes(), ours.public_bytes());
    }
}

#[test]
fn a_key_in_the_file_counts_more_than_a_certificate() {
    let both = text("ec-certificate.pem") + &text("rsa2048.pem");
    assert!(RsaKey::from_pem(&both, "both").unwrap().is_private());
    let both = text("certificate.pem") + &text("ec.pem");
    assert!(EcKey::from_pem(&both, "both").unwrap().is_private());
}

#[test]
fn a_certificate_for_another_algorithm_is_named() {
    let refused = RsaKey::load(data("ec-certificate.pem")).unwrap_err().to_string();
    for part in ["ec-certificate.pem", "not an RSA key", "a certificate for a P-256 key", "Remedy: "] {
        assert!(refused.contains(part), "{part:?} is not in {refused:?}");
    }
    let refused = EcKey::load(data("certificate.pem")).unwrap_err().to_string();
    for part in ["certificate.pem", "neither a P-256 nor", "a certificate for an RSA key", "Remedy: "] {
        assert!(refused.contains(part), "{part:?} is not in {refused:?}");
    }
}

#[test]
fn a_key_and_its_certificate_are_told_from_others() {
    let dir = TempDir::new().unwrap();
    let rsa = RsaKey::from_pem(&text("rsa2048.pem"), "rsa.pem").unwrap();
    let ec = EcKey::from_pem(&text("ec.pem"), "ec.pem").unwrap();
    let certificates = text("certificate.pem") + &text("ec-certificate.pem");
    let (pem, der) = (data("certificate.pem"), file(&dir, "certificate.der", der("certificate.pem")));
    // A file with everything is usual too: the key in it is not what is asked for.
    let bundle = file(&dir, "bundle.pem", text("p384.pem") + &certificates + &text("encrypted-pkcs8.pem"));
    for path in [&pem, &der, &bundle] {
        rsa.check_certificate(path).unwrap();
        rsa.public().check_certificate(path).unwrap();
        let message = ec.check_certificate(path).unwrap_err().to_string();
        for part in ["ec.pem", &*path.display().to_string(), "different public keys", "Remedy: "] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    ec.check_certificate(data("ec-certificate.pem")).unwrap();
    let others: [Result<(), KeyError>; 4] = [
        RsaKey::generate(2048).unwrap().check_certificate(&pem),
        rsa.check_certificate(data("ec-certificate.pem")),
        EcKey::generate(EcCurve::P256).unwrap().check_certificate(data("ec-certificate.pem")),
        EcKey::generate(EcCurve::X25519).unwrap().check_certificate(data("ec-certificate.pem")),
    ];
    for other in others {
        assert!(matches!(other, Err(KeyError::CertificateMismatch { .. })), "{other:?}");
    }
}

#[test]
fn what_is_not_a_certificate_is_refused_as_one() {
    let dir = TempDir::new().unwrap();
    let rsa = RsaKey::from_pem(&text("rsa2048.pem"), "rsa.pem").unwrap();
    let certificate = der("certificate.pem");
    let cut = file(&dir, "cut.der", &certificate[..certificate.len() - 1]);
    // The version: [0] EXPLICIT INTEGER, behind the headers of the two outer sequences.
    assert_eq!(certificate[8..13], [0xa0, 3, 2, 1, 2]);
    let mut strange = certificate.clone();
    strange[10] = 4;
    let labelled = pem::encode(&pem::Pem::new("CERTIFICATE", der("rsa2048-spki.pem")));
    let cases: [(PathBuf, &[&str]); 8] = [
        (dir.path().join("missing.pem"), &["missing.pem", "No such file"]),
        (file(&dir, "empty.pem", ""), &["empty.pem", "it is empty"]),
        (data("rsa2048.pem"), &["rsa2048.pem", "found a PRIVATE KEY"]),
        (data("rsa2048-spki.pem"), &["rsa2048-spki.pem", "found a PUBLIC KEY"]),
        (file(&dir, "key.der", der("rsa2048-spki.pem")), &["key.der", "not a certificate"]),
        (file(&dir, "labelled.pem", labelled), &["labelled.pem", "not a certificate"]),
        (cut, &["cut.der", "not a certificate"]),
        (file(&dir, "strange.der", strange), &["strange.der", "not a certificate"]),
    ];
    for (path, parts) in cases {
        let refused = rsa.check_certificate(&path).unwrap_err();
        assert!(matches!(refused, KeyError::Certificate { .. }), "{refused}");
        let message = refused.to_string();
        for part in parts.iter().chain(&["Remedy: "]) {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    // As a key, each cut is refused and none panics.
    for len in 0..certificate.len() {
        assert!(RsaKey::from_der(&certificate[..len], "cut").is_err());
    }
}

#[test]
fn a_request_for_a_certificate_is_none() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let dir = TempDir::new().unwrap();
    let key = file(&dir, "key.pem", text("rsa2048.pem"));
    let request = dir.path().join("request.der");
    let made = Command::new("openssl")
        .args(["req", "-new", "-subj", "/CN=test", "-outform", "DER", "-key"])
        .args([&key, Path::new("-out"), &request])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let message = RsaKey::load(&request).unwrap_err().to_string();
    assert!(message.contains("a request for a certificate"), "{message}");
}
