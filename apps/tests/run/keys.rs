//! Keys and certificates that a configuration names: what turns out at start is said at the place that names it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{Ran, folder, pcap, run_config};

/// Keys that protect nothing.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pmd/tests/data/rsa").join(name)
}

/// A folder with some of those files, for their owner only.
fn folder_with(names: &[&str]) -> tempfile::TempDir {
    let folder = folder();
    for name in names {
        let path = folder.path().join(name);
        fs::write(&path, fs::read(data(name)).expect("a known file")).expect("copy it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    folder
}

const LINES_BEFORE: usize = 11;

/// Runs a capture through one RSA stage.
fn through(folder: &Path, input: &[Vec<u8>], stage: &str) -> Ran {
    pcap::write(&folder.join("in.pcap"), input);
    let head = "version = 1\n[port.in]\ndriver = \"pcap\"\nfile = \"in.pcap\"\n[port.out]\ndriver = \"pcap\"\n\
                out = \"out.pcap\"\n[device.r]\ndriver = \"soft-rsa\"\n[[pipeline]]\nname = \"p\"\n";
    assert_eq!(head.lines().count(), LINES_BEFORE);
    let stages =
        format!("stages = [ {{ rx = \"in\" }},\n{{ rsa = \"r\", {stage} }},\n{{ tx = \"out\" }} ]\n");
    run_config(folder, &format!("{head}{stages}"), &["-l", "0"])
}

fn datagrams() -> Vec<Vec<u8>> {
    let to = |port| pcap::udp([192, 0, 2, 1], port, [192, 0, 2, 2], 9999, b"payload");
    (1000..1010).map(to).collect()
}

#[test]
fn what_a_key_signs_its_certificate_verifies() {
    let folder = folder_with(&["rsa2048.pem", "certificate.pem"]);
    let sign = r#"op = "sign", scheme = "pss-sha256", key = "rsa2048.pem", certificate = "certificate.pem""#;
    through(folder.path(), &datagrams(), sign).well();
    let signed = pcap::read(&folder.path().join("out.pcap"));
    assert_eq!(signed.len(), 10);
    fs::remove_file(folder.path().join("rsa2048.pem")).expect("remove the private key");
    let verify = r#"op = "verify", scheme = "pss-sha256", key = "certificate.pem""#;
    through(folder.path(), &signed, verify).well();
    assert_eq!(pcap::read(&folder.path().join("out.pcap")), datagrams());
}

/// A refusal at the stage's line, with its column under the value that is to blame.
#[track_caller]
fn refused(folder: &Path, stage: &str, blamed: &str, parts: &[&str]) {
    let ran = through(folder, &datagrams(), stage);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let line = format!("{{ rsa = \"r\", {stage} }},");
    let column = line.find(blamed).expect("what is blamed") + 1;
    let place = format!(".toml:{}:{column}: error: ", LINES_BEFORE + 2);
    for part in parts.iter().copied().chain([&*place, &*line, "= help: "]) {
        assert!(ran.stderr.contains(part), "{part:?} is not in {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("Remedy: "), "the remedy is the help: {}", ran.stderr);
}

#[test]
fn a_key_or_certificate_that_does_not_serve_is_shown_in_its_place() {
    let folder = folder_with(&["rsa2048.pem", "rsa2048-spki.pem", "rsa1024.pem", "certificate.pem"]);
    let folder = folder.path();
    fs::copy(data("ec-certificate.pem"), folder.join("ec-certificate.pem")).expect("copy");
    let sign = |rest: &str| format!(r#"op = "sign", scheme = "pss-sha256", {rest}"#);
    refused(
        folder,
        &sign(r#"key = "rsa2048.pem", certificate = "ec-certificate.pem""#),
        "\"ec-certificate.pem\"",
        &["rsa2048.pem", "different public keys", "openssl x509"],
    );
    refused(
        folder,
        &sign(r#"key = "demo:rsa2048", certificate = "certificate.pem""#),
        "\"certificate.pem\"",
        &["different public keys"],
    );
    refused(
        folder,
        &sign(r#"key = "rsa2048.pem", certificate = "missing.pem""#),
        "\"missing.pem\"",
        &["cannot use certificate", "No such file"],
    );
    refused(folder, &sign(r#"key = "missing.pem""#), "\"missing.pem\"", &["cannot read", "check the path"]);
    refused(
        folder,
        &sign(r#"key = "certificate.pem""#),
        "\"certificate.pem\"",
        &["public key and cannot sign", "the file with the private key"],
    );
    refused(
        folder,
        &sign(r#"key = "ec-certificate.pem""#),
        "\"ec-certificate.pem\"",
        &["a certificate for a P-256 key"],
    );
    refused(
        folder,
        &sign(r#"key = "rsa1024.pem""#),
        "\"rsa1024.pem\"",
        &["1024 bits, which is too weak", "allow-1024 = true"],
    );
}

#[test]
fn a_weak_key_is_taken_when_told_so() {
    let folder = folder_with(&["rsa1024.pem"]);
    let verify = r#"op = "verify", scheme = "pkcs1-sha256", key = "rsa1024.pem", plain = "pass""#;
    refused(folder.path(), verify, "\"rsa1024.pem\"", &["too weak"]);
    through(folder.path(), &datagrams(), &format!("{verify}, allow-1024 = true")).well();
    assert_eq!(pcap::read(&folder.path().join("out.pcap")), datagrams());
    let sign =
        |scheme| format!(r#"op = "sign", scheme = "{scheme}", key = "rsa1024.pem", allow-1024 = true"#);
    through(folder.path(), &datagrams(), &sign("pkcs1-sha256")).well();
    let signed = pcap::read(&folder.path().join("out.pcap"));
    assert_ne!(signed, datagrams());
    let verify = r#"op = "verify", scheme = "pkcs1-sha256", key = "rsa1024.pem", allow-1024 = true"#;
    through(folder.path(), &signed, verify).well();
    assert_eq!(pcap::read(&folder.path().join("out.pcap")), datagrams());
    let parts =
        ["1024 bits: too few to sign with pss-sha512", "2048 bits or more, or a scheme with a shorter hash"];
    refused(folder.path(), &sign("pss-sha512"), "\"rsa1024.pem\"", &parts);
}
