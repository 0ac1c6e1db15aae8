//! Keys and certificates: the bytes as a DER key, as a file, and in a PEM block with a label by the first byte. What is
//! taken works; what is not has a cause and a remedy.
#![no_main]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use warpdrive_pmd::engine::rsa::{
    EcCurve, EcKey, EcOp, EcSession, KeyError, RsaKey, RsaOp, RsaScheme, RsaSession,
};

const LABELS: [&str; 8] = [
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "CERTIFICATE",
    "ENCRYPTED PRIVATE KEY",
    "EC PARAMETERS",
];
const KEY: &str = include_str!("../../pmd/tests/data/rsa/rsa2048.pem");

/// A file without a name.
fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("warpdrive-fuzz-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        std::fs::remove_file(path).expect("remove its name");
        file
    })
}

fn refused(e: &KeyError) {
    let message = e.to_string();
    assert!(message.contains("Remedy: "), "{message}");
}

fn rsa(key: Result<RsaKey, KeyError>) {
    match key {
        Ok(key) => {
            assert!(matches!(key.bits(), 1024 | 2048 | 3072 | 4096));
            assert!(!key.public().is_private());
            let verify = RsaSession::new(RsaOp::Verify, RsaScheme::Pkcs1Sha256, &key).expect("a public key");
            assert_eq!(verify.key_bytes(), key.bits() / 8);
            let sign = RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key);
            assert!(key.is_weak() || sign.is_ok() == key.is_private());
        }
        Err(e) => refused(&e),
    }
}

fn ec(key: Result<EcKey, KeyError>) {
    match key {
        Ok(key) => {
            let (op, len) = match key.curve() {
                EcCurve::P256 => (EcOp::Sign, 65),
                EcCurve::X25519 => (EcOp::Agree, 32),
            };
            assert_eq!(key.public_bytes().len(), len);
            assert_eq!(EcSession::new(op, &key).is_ok(), key.is_private());
        }
        Err(e) => refused(&e),
    }
}

fuzz_target!(|data: &[u8]| {
    static KNOWN: OnceLock<RsaKey> = OnceLock::new();
    let known = KNOWN.get_or_init(|| RsaKey::from_pem(KEY, "known").expect("a good key"));
    rsa(RsaKey::from_der(data, "der"));
    ec(EcKey::from_der(data, "der"));
    if let Ok(text) = std::str::from_utf8(data) {
        rsa(RsaKey::from_pem(text, "text"));
        ec(EcKey::from_pem(text, "text"));
    }
    let Some((first, rest)) = data.split_first() else { return };
    let pem = pem::encode(&pem::Pem::new(LABELS[usize::from(*first) % LABELS.len()], rest));
    rsa(RsaKey::from_pem(&pem, "pem"));
    ec(EcKey::from_pem(&pem, "pem"));

    let contents = if first & 8 == 0 { data } else { pem.as_bytes() };
    file().set_len(0).and_then(|()| file().write_all_at(contents, 0)).expect("write the file");
    let path = format!("/proc/self/fd/{}", file().as_raw_fd());
    if let Err(e) = known.check_certificate(&path) {
        refused(&e);
    }
});
