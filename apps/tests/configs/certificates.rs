//! Certificates and keys of proxies, as `check` looks at them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};

use super::common::{folder, run};
use super::{HEAD, Wrong, refused};

/// A certificate `NAME.pem` and its key `NAME.key`, valid in these years.
fn make(folder: &Path, name: &str, algorithm: &'static SignatureAlgorithm, years: (i32, i32)) {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let certificate = params.self_signed(&key).expect("a certificate");
    fs::write(folder.join(format!("{name}.pem")), pem("CERTIFICATE", certificate.der())).expect("write");
    write_key(&folder.join(format!("{name}.key")), &pem("PRIVATE KEY", &key.serialize_der()), 0o600);
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

fn write_key(path: &Path, pem: &str, mode: u32) {
    fs::write(path, pem).expect("write");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

/// A proxy with this pair.
fn proxy(certificate: &str, key: &str) -> String {
    format!(
        "{HEAD}[[proxy]]\nname = \"w\"\nlisten = [\"127.0.0.1:8443\"]\nrsa = \"r\"\n\
         [[proxy.upstream]]\nname = \"u\"\nservers = [\"demo\"]\n\
         [proxy.tls]\ncertificates = [\n  {{ certificate = {certificate}, key = {key} }},\n]\n"
    )
}

#[test]
fn certificates_and_keys_that_will_not_do_are_refused_at_their_place() {
    let folder = folder();
    let at = folder.path();
    make(at, "rsa", &PKCS_RSA_SHA256, (2020, 2100));
    make(at, "ec", &PKCS_ECDSA_P256_SHA256, (2020, 2100));
    make(at, "other", &PKCS_ECDSA_P256_SHA256, (2020, 2100));
    for name in ["rsa", "ec"] {
        let pem = fs::read_to_string(at.join(format!("{name}.key"))).expect("a key");
        write_key(&at.join(format!("{name}-open.key")), &pem, 0o640);
    }
    fs::write(at.join("garbage.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("write");
    write_key(
        &at.join("garbage.key"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        0o600,
    );
    write_key(&at.join("text.key"), "nothing of the kind\n", 0o600);
    let wrong = |certificate: &str, key: &str, message: &'static str, help: &'static str| Wrong {
        text: proxy(certificate, key),
        message,
        help,
    };
    let cases = [
        wrong("»\"absent.pem\"", "\"ec.key\"", "certificate \"absent.pem\" cannot be read: ", "a PEM file"),
        wrong("»\"ec.key\"", "\"ec.key\"", "there is no certificate in \"ec.key\"", "a PEM file with one"),
        wrong("»\"garbage.pem\"", "\"ec.key\"", "certificate \"garbage.pem\" is malformed", "X.509"),
        wrong("\"ec.pem\"", "»\"absent.key\"", "key \"absent.key\" cannot be read: ", "the private key"),
        wrong("\"ec.pem\"", "»\"text.key\"", "key \"text.key\" cannot be read: ", "the private key"),
        wrong(
            "\"ec.pem\"",
            "»\"garbage.key\"",
            "key \"garbage.key\"",
            "RSA (2,048 bits or more), ECDSA or Ed25519",
        ),
        wrong(
            "\"ec.pem\"",
            "»\"other.key\"",
            "key \"other.key\" does not belong to certificate \"ec.pem\"",
            "made for",
        ),
        wrong(
            "\"rsa.pem\"",
            "»\"ec.key\"",
            "key \"ec.key\" does not belong to certificate \"rsa.pem\"",
            "made for",
        ),
        wrong(
            "\"ec.pem\"",
            "»\"rsa.key\"",
            "key \"rsa.key\" does not belong to certificate \"ec.pem\"",
            "made for",
        ),
        wrong(
            "\"rsa.pem\"",
            "»\"rsa-open.key\"",
            "can be read or changed by others (its mode is 640)",
            "chmod 600",
        ),
        wrong(
            "\"ec.pem\"",
            "»\"ec-open.key\"",
            "can be read or changed by others (its mode is 640)",
            "chmod 600",
        ),
    ];
    let failures: Vec<String> = cases.iter().filter_map(|case| refused(at, case).err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n----\n"));
}

#[test]
fn a_certificate_outside_its_time_is_noted_and_one_within_is_not() {
    let folder = folder();
    for (years, note) in [
        ((2020, 2100), None),
        ((2020, 2021), Some("note: proxy \"w\": certificate \"c.pem\" has expired at 2021-01-01T00:00:00Z")),
        (
            (2099, 2100),
            Some("note: proxy \"w\": certificate \"c.pem\" is not valid before 2099-01-01T00:00:00Z"),
        ),
    ] {
        make(folder.path(), "c", &PKCS_ECDSA_P256_SHA256, years);
        fs::write(folder.path().join("c.toml"), proxy("\"c.pem\"", "\"c.key\"")).expect("write");
        let ran = run(folder.path(), ["check", "c.toml"]).well();
        match note {
            Some(note) => assert!(ran.stdout.contains(note), "{}", ran.stdout),
            None => assert!(!ran.stdout.contains("certificate"), "{}", ran.stdout),
        }
    }
}
