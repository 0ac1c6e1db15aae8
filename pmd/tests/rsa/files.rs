//! Keys as a user gives them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::{KeyError, RsaKey, RsaOp, RsaScheme};

use super::{Bench, MESSAGE, data, known_key};

/// A copy of a key file that may be read by its owner only, as a checkout does not keep modes.
fn private_copy(dir: &TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, fs::read(data(name)).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn every_encoding_of_a_key_loads_as_pem_and_as_der() {
    let dir = TempDir::new().unwrap();
    let known = known_key();
    for (name, private) in [
        ("rsa2048.pem", true),
        ("rsa2048-pkcs1.pem", true),
        ("rsa2048-spki.pem", false),
        ("rsa2048-pkcs1-public.pem", false),
    ] {
        let path = private_copy(&dir, name);
        let der = dir.path().join("der");
        let block = pem::parse(fs::read(&path).unwrap()).unwrap();
        let _ = fs::remove_file(&der);
        fs::write(&der, block.contents()).unwrap();
        fs::set_permissions(&der, fs::Permissions::from_mode(0o400)).unwrap();
        let mut bench = Bench::new(Placement::Inline);
        for key in [RsaKey::load(&path).unwrap(), RsaKey::load(&der).unwrap()] {
            assert_eq!((key.bits(), key.is_private()), (2048, private));
            let verify = bench.session(RsaOp::Verify, RsaScheme::Pkcs1Sha256, &key);
            let signature = fs::read(data("pkcs1-sha256.sig")).unwrap();
            assert_eq!(bench.run(verify, MESSAGE, &signature, 0), Ok(vec![]));
            if private {
                let sign = bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key);
                assert_eq!(bench.run(sign, MESSAGE, b"", 256), Ok(signature));
            }
        }
    }
    let bundle = format!(
        "some text\n{}{}",
        fs::read_to_string(data("certificate.pem")).unwrap(),
        fs::read_to_string(data("rsa2048.pem")).unwrap()
    );
    assert!(
        RsaKey::from_pem(&bundle, "bundle").unwrap().is_private(),
        "a certificate beside the key is no harm"
    );
    let shown = format!("{known:?}");
    assert_eq!(shown, r#"RsaKey("known", private, 2048 bits)"#, "a key's numbers are never shown");
}

#[test]
fn a_saved_key_is_private_and_never_overwritten() {
    let dir = TempDir::new().unwrap();
    let (private, public) = (dir.path().join("key.pem"), dir.path().join("pub.pem"));
    let key = known_key();
    key.save_pem(&private).unwrap();
    key.save_public_pem(&public).unwrap();
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&private).unwrap(), fs::read(data("rsa2048.pem")).unwrap(), "as OpenSSL writes it");
    assert_eq!(fs::read(&public).unwrap(), fs::read(data("rsa2048-spki.pem")).unwrap());
    assert!(RsaKey::load(&private).unwrap().is_private());
    assert!(!RsaKey::load(&public).unwrap().is_private());
    for again in [key.save_pem(&public), key.save_public_pem(&private)] {
        let message = again.unwrap_err().to_string();
        assert!(message.contains("never overwritten"), "{message}");
    }
    let nowhere = key.save_pem(dir.path().join("no/such/dir.pem")).unwrap_err();
    assert!(matches!(nowhere, KeyError::Write { .. }), "{nowhere}");
    let refused = key.public().save_pem(dir.path().join("other.pem")).unwrap_err();
    assert!(matches!(refused, KeyError::PublicOnly { .. }), "{refused}");
    assert!(!dir.path().join("other.pem").exists());
}

#[test]
fn key_files_that_do_not_serve_are_refused_with_cause_and_remedy() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let known = fs::read(data("rsa2048.pem")).unwrap();
    let der = pem::parse(&known).unwrap().into_contents();
    let mut damaged = der.clone();
    // In the middle of the private exponent, which then does not fit the primes.
    damaged[500] ^= 1;

    let cases: Vec<(PathBuf, &[&str])> = vec![
        (dir.path().join("missing.pem"), &["missing.pem", "No such file", "openssl genpkey"]),
        (dir.path().to_owned(), &["cannot read", "directory"]),
        (file("empty.pem", b""), &["is empty"]),
        (file("blank.pem", b" \n\n"), &["is empty"]),
        (file("text.pem", b"hello"), &["text.pem", "found neither PEM nor"]),
        (file("huge.pem", &[b'x'; 70_000]), &["more than 65536 bytes"]),
        (file("cut.pem", &known[..known.len() / 2]), &["cut.pem", "without its end"]),
        (file("cut.der", &der[..der.len() - 1]), &["neither PEM nor one whole DER"]),
        (file("trailing.der", &[&der[..], b"x"].concat()), &["neither PEM nor one whole DER"]),
        (file("damaged.der", &damaged), &["damaged.der", "is not sound", "d does not belong", "-check"]),
        (
            file("base64.pem", b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"),
            &["is damaged"],
        ),
        (file("two.pem", &[&known[..], &known[..]].concat()), &["more than one key"]),
        (private_copy(&dir, "ec.pem"), &["not an RSA key", "found a P-256 key"]),
        (private_copy(&dir, "ec-pkcs8.pem"), &["not an RSA key", "found a P-256 key"]),
        (private_copy(&dir, "encrypted-pkcs8.pem"), &["encrypted", "openssl pkey -in", "-out"]),
        (private_copy(&dir, "encrypted-pkcs1.pem"), &["encrypted", "openssl pkey -in", "-out"]),
    ];
    for (path, expected) in cases {
        let message = RsaKey::load(&path).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert!(message.contains("Remedy: "), "{message}");
    }
    for bits in [0, 1024, 2047, 8192] {
        let message = RsaKey::generate(bits).unwrap_err().to_string();
        assert!(message.contains(&format!("{bits} bits")), "{message}");
    }
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = private_copy(&dir, "rsa2048.pem");
    for mode in [0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let message = RsaKey::load(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{message}");
        assert!(message.contains(&format!("{mode:04o}")), "{message}");
    }
    let public = private_copy(&dir, "rsa2048-spki.pem");
    fs::set_permissions(&public, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(RsaKey::load(&public).is_ok(), "a public key is for everybody");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    match fs::File::open(&path) {
        Ok(_) => eprintln!("skipped: this user may read a file of mode 000 (root)"),
        Err(_) => {
            let message = RsaKey::load(&path).unwrap_err().to_string();
            assert!(
                message.contains("ermission denied") && message.contains("as the user who owns"),
                "{message}"
            );
        }
    }
}
