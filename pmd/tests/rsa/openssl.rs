//! OpenSSL and we.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::{RsaOp, RsaSession};

use super::{Bench, MESSAGE, data, encryption_schemes, keys, known_key, signature_schemes, weak_key};

#[test]
fn answers_made_by_openssl_are_ours_too() {
    let mut bench = Bench::new(Placement::Inline);
    let key = known_key();
    for scheme in signature_schemes() {
        let known = fs::read(data(&format!("{}.sig", scheme.name()))).unwrap();
        let verify = bench.session(RsaOp::Verify, scheme, &key);
        assert_eq!(bench.run(verify, MESSAGE, &known, 0), Ok(vec![]), "{}", scheme.name());
        let sign = bench.session(RsaOp::Sign, scheme, &key);
        let ours = bench.run(sign, MESSAGE, b"", 256).unwrap();
        // PKCS#1 has one signature for a message; PSS has a random salt.
        assert_eq!(ours == known, scheme.name().starts_with("pkcs1"), "{}", scheme.name());
    }
    for scheme in encryption_schemes() {
        let known = fs::read(data(&format!("{}.bin", scheme.name()))).unwrap();
        let decrypt = bench.session(RsaOp::Decrypt, scheme, &key);
        assert_eq!(bench.run(decrypt, &known, b"", 256), Ok(MESSAGE.to_vec()), "{}", scheme.name());
    }
}

/// Runs `openssl` in `dir`; whether it succeeded.
fn openssl(dir: &Path, args: &str) -> bool {
    let output = Command::new("openssl").args(args.split_whitespace()).current_dir(dir).output().unwrap();
    if !output.status.success() {
        eprintln!("openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

#[test]
fn openssl_and_we_understand_each_other() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    fs::write(dir.join("message"), MESSAGE).unwrap();
    let mut bench = Bench::new(Placement::Inline);
    for key in keys().iter().chain([&weak_key()]) {
        let bytes = key.bits() / 8;
        key.save_pem(dir.join("key.pem")).unwrap();
        key.save_public_pem(dir.join("pub.pem")).unwrap();
        assert!(openssl(dir, "pkey -in key.pem -check -noout"));
        let possible = |op, scheme| match RsaSession::new(op, scheme, key) {
            Ok(_) => true,
            Err(e) => {
                assert!(key.is_weak(), "{e}");
                false
            }
        };
        for scheme in signature_schemes().filter(|s| possible(RsaOp::Sign, *s)) {
            let (padding, hash) = scheme.name().split_once('-').unwrap();
            let pss = format!(
                "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -sigopt rsa_mgf1_md:{hash}"
            );
            let options = if padding == "pss" { pss.as_str() } else { "" };
            let sign = bench.session(RsaOp::Sign, scheme, key);
            fs::write(dir.join("ours"), bench.run(sign, MESSAGE, b"", bytes).unwrap()).unwrap();
            assert!(openssl(dir, &format!("dgst -{hash} {options} -verify pub.pem -signature ours message")));
            assert!(openssl(dir, &format!("dgst -{hash} {options} -sign key.pem -out theirs message")));
            let theirs = fs::read(dir.join("theirs")).unwrap();
            if possible(RsaOp::Verify, scheme) {
                let verify = bench.session(RsaOp::Verify, scheme, &key.public());
                assert_eq!(bench.run(verify, MESSAGE, &theirs, 0), Ok(vec![]));
            }
        }
        for scheme in encryption_schemes().filter(|s| possible(RsaOp::Decrypt, *s)) {
            let options = match scheme.name().strip_prefix("oaep-") {
                Some(h) => format!(
                    "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{h} -pkeyopt rsa_mgf1_md:{h}"
                ),
                None => String::new(),
            };
            if possible(RsaOp::Encrypt, scheme) {
                let encrypt = bench.session(RsaOp::Encrypt, scheme, &key.public());
                fs::write(dir.join("ours"), bench.run(encrypt, MESSAGE, b"", bytes).unwrap()).unwrap();
                let from_us = format!("pkeyutl -decrypt -inkey key.pem {options} -in ours -out plain");
                assert!(openssl(dir, &from_us));
                assert_eq!(fs::read(dir.join("plain")).unwrap(), MESSAGE);
            }
            let to_us = format!("pkeyutl -encrypt -pubin -inkey pub.pem {options} -in message -out theirs");
            assert!(openssl(dir, &to_us));
            let decrypt = bench.session(RsaOp::Decrypt, scheme, key);
            let theirs = fs::read(dir.join("theirs")).unwrap();
            assert_eq!(bench.run(decrypt, &theirs, b"", bytes), Ok(MESSAGE.to_vec()));
        }
        fs::remove_file(dir.join("key.pem")).unwrap();
        fs::remove_file(dir.join("pub.pem")).unwrap();
    }
}
