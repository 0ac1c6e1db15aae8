//! OpenSSL's s_client: what is agreed upon, verified and resumed, and what is refused.

use std::fs::File;
use std::process::Output;

use super::{Place, original, run_with, text};

const TARGET: &str = "/large?bytes=100000";

/// Sends a request by s_client and reads until the proxy closes the connection.
fn s_client(place: &Place<'_>, host: &str, options: &[&str]) -> Output {
    let request = place.file("request");
    let text = format!("GET {TARGET} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    std::fs::write(&request, text).expect("write");
    let address = host.rsplit_once(':').expect("a port").0.trim_matches(['[', ']']);
    let mut command = place.program("openssl");
    command.args(["s_client", "-connect", host, "-CAfile", place.trusted(), "-verify_ip", address]);
    command.args(["-verify_return_error", "-x509_strict", "-ign_eof"]).args(options);
    run_with(&mut command, File::open(request).expect("the request").into())
}

/// Sessions of both versions, new and resumed; and the alerts for those that cannot be.
pub fn all(place: &Place<'_>) {
    let original = original(TARGET);
    let file = place.file("session");
    let session = file.to_str().expect("UTF-8");
    for host in &place.hosts {
        for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            for (kind, use_of_it) in [("New", "-sess_out"), ("Reused", "-sess_in")] {
                let got = s_client(place, host, &[option, use_of_it, session]);
                let said = text(&got.stdout);
                let way = format!("{host} {option} {use_of_it}: {said}{}", text(&got.stderr));
                assert!(got.status.success(), "{way}");
                assert!(said.contains(&format!("{kind}, {version}, Cipher is ")), "{way}");
                assert!(said.contains("Verify return code: 0 (ok)"), "{way}");
                let head = got.stdout.windows(13).position(|w| w == b"HTTP/1.1 200 ").expect("a response");
                let response = &got.stdout[head..];
                let end = response.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
                assert!(response[end..].starts_with(&original), "{host} {option}: another body");
            }
        }
        for options in [
            // All of them are handshake_failure: a version that is not spoken any more, whose clients do not say how they verify
            // signatures; what the key cannot do; what no client should want.
            &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"][..],
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"],
            &["-tls1_3", "-sigalgs", "ed25519"],
        ] {
            let got = s_client(place, host, options);
            let complained = text(&got.stderr);
            assert!(!got.status.success(), "{host} {options:?}: {}", text(&got.stdout));
            assert!(complained.contains("alert number 40"), "{options:?}: {complained}");
        }
    }
}
