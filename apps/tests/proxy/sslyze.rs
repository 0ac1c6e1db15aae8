//! sslyze, a scanner of TLS, asked whether the proxy is as Mozilla recommends.

use std::ffi::OsStr;
use std::process::Command;

use crate::common::skipped;
use crate::setup::{PATIENCE, Setup};

/// Scans the proxy of a setup, by a name, for a set of recommendations; its verdict, which is what it says at the end.
fn scan(program: &OsStr, setup: &Setup<'_>, name: &str, recommended: &str) -> String {
    let proxy = setup.start();
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program);
    command.arg(format!("--mozilla_config={recommended}")).arg("--certinfo_ca_file").arg(proxy.authority());
    command.args(["--sni", name]);
    let output = command.arg(format!("localhost:{}", proxy.v4.port())).output().expect("timeout starts");
    proxy.leaves_nothing();
    let said = String::from_utf8_lossy(&output.stdout);
    let (_, verdict) = said.split_once("COMPLIANCE AGAINST TLS CONFIGURATION").unwrap_or_else(|| {
        panic!("no verdict: {said}{}", String::from_utf8_lossy(&output.stderr));
    });
    // What a scan did without is said before.
    if verdict.contains("Scan did not run successfully") { said.into_owned() } else { verdict.to_owned() }
}

#[test]
fn sslyze_finds_what_mozilla_recommends() {
    let Some(program) = std::env::var_os("WARPDRIVE_SSLYZE") else {
        return skipped("WARPDRIVE_SSLYZE does not name a program (PyPI: sslyze)");
    };
    let [rsa, ecdsa] = [(&["rsa"], "localhost"), (&["ecdsa"], "ec.example")];
    let only_13 = "min_version = \"1.3\"";
    for ((certificates, name), tls, recommended) in [
        (rsa, "", "intermediate"),
        (ecdsa, "", "intermediate"),
        (rsa, only_13, "intermediate"),
        (ecdsa, only_13, "intermediate"),
        // For RSA and for TLS 1.2 there is no place in it.
        (ecdsa, only_13, "modern"),
    ] {
        let verdict = scan(&program, &Setup { certificates, tls, ..Setup::default() }, name, recommended);
        assert!(verdict.contains("OK - Compliant"), "{name} {tls}: {verdict}");
    }
    // The certificate of the demo is vouched for by nobody, and nothing else is wrong with it.
    for tls in ["", only_13] {
        let demo = Setup { certificates: &[], tls, ..Setup::default() };
        let verdict = scan(&program, &demo, "localhost", "intermediate");
        let issues: Vec<&str> = verdict.lines().filter_map(|line| line.trim().strip_prefix("* ")).collect();
        let [issue] = issues[..] else { panic!("demo {tls}: {verdict}") };
        assert!(issue.starts_with("certificate_path_validation: "), "demo {tls}: {verdict}");
    }
}
