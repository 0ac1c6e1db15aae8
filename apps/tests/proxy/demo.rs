//! The demo, as a visitor has it: the program's own certificate and backend, and programs that others have written. TCP is the
//! kernel's here; `netns/proxy.rs` has the same programs where the proxy does TCP.

use std::path::Path;
use std::process::Command;

use warpdrive_proxy::demo::certificate::DemoCertificate;

use crate::clients::{Place, browser, curl, openssl, requests, wrk};
use crate::common::has;
use crate::setup::Setup;

/// Starts it, lets a client do what it does, and insists that nothing is left.
#[track_caller]
fn with_demo(client: impl FnOnce(&Place<'_>)) {
    let proxy = Setup { certificates: &[], ..Setup::default() }.start();
    let certificate = DemoCertificate::in_folder(&proxy.path().join("warpdrive-demo"), &[]);
    let certificate = certificate.expect("the certificate of the demo");
    assert!(!certificate.made, "the program has made it");
    let hosts = [proxy.v4, proxy.v6].map(|address| address.to_string());
    let command = |program: &Path| Command::new(program);
    client(&Place { hosts, certificate, folder: proxy.path(), command: &command });
    assert!(proxy.metrics().by_device() > 0, "the device has signed");
    // Those to the demo are kept.
    proxy.terminate();
    proxy.ends_well();
}

#[test]
fn curl_loads_the_demo() {
    if has("curl") {
        with_demo(curl::all);
    }
}

#[test]
fn openssl_loads_the_demo() {
    if has("openssl") {
        with_demo(openssl::all);
    }
}

#[test]
fn wrk_loads_the_demo() {
    if has("wrk") {
        with_demo(wrk::all);
    }
}

#[test]
fn requests_loads_the_demo() {
    if let Some(python) = requests::python() {
        with_demo(|place| requests::all(place, &python));
    }
}

#[test]
fn a_browser_shows_the_demo() {
    if browser::is_there() {
        with_demo(|place| browser::all(place, "kernel"));
    }
}

#[test]
fn a_browser_that_trusts_another_key_does_not_show_the_demo() {
    if browser::is_there() {
        with_demo(|place| {
            let mut page = browser::open(place, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            let refused = page.try_to_go(&format!("https://{}/", place.hosts[0]));
            assert_eq!(refused.unwrap_err(), "net::ERR_CERT_AUTHORITY_INVALID");
        });
    }
}
