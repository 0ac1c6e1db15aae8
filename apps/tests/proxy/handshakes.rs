//! What TLS agrees upon.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    AlertDescription, CertificateError, CipherSuite, ClientConfig, Error, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::certificates::{Pair, certificates};
use crate::client::{Client, TLS12, TLS13, config};
use crate::setup::Setup;
use crate::site::site;

/// What TLS says of a handshake that failed.
#[track_caller]
fn refused(to: SocketAddr, config: ClientConfig, name: &str) -> Error {
    let error: io::Error = Client::with(to, config, name).err().expect("no handshake");
    let inner = error.into_inner().expect("an error of TLS");
    *inner.downcast::<Error>().expect("an error of TLS")
}

#[track_caller]
fn shows(to: SocketAddr, name: &str, pair: &Pair) {
    for version in [TLS12, TLS13] {
        let mut client = Client::with(to, config(&[version]), name).expect("a handshake");
        let shown = client.tls().peer_certificates().expect("certificates");
        assert!(shown[0] == pair.der, "{name} gets another certificate");
        assert_eq!(client.get("/text/1").status, 200);
    }
}

#[test]
fn names_choose_certificates() {
    let (backend, all) = (site(), certificates());
    let pairs = &["rsa", "ecdsa", "wildcard"];
    let proxy = Setup { servers: &[backend.address], certificates: pairs, ..Setup::default() }.start();
    shows(proxy.v4, "localhost", &all.rsa);
    shows(proxy.v4, "ec.example", &all.ecdsa);
    shows(proxy.v6, "EC.Example", &all.ecdsa);
    shows(proxy.v4, "www.wild.example", &all.wildcard);
    // Without a name: addresses are not sent.
    shows(proxy.v4, "127.0.0.1", &all.rsa);
    // Others get the first, which is not for them. One label is what the wildcard is for.
    for name in ["unknown.example", "wild.example", "a.b.wild.example"] {
        let error = refused(proxy.v4, config(&[TLS13]), name);
        let Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = &error
        else {
            panic!("{name}: {error}");
        };
        assert!(presented.iter().any(|name| name.contains("localhost")), "{name}: {presented:?}");
    }
    let metrics = proxy.wait_until("clients have refused it", |m| m.sum("handshakes_failed_total", &[]) == 3);
    assert_eq!(metrics.by_device(), metrics.handshakes(false) - 4 + 3);
    assert_eq!(metrics.sum("signatures_total", &["by=\"library\""]), 4, "those of ECDSA");
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn names_that_are_not_known_can_be_refused() {
    let backend = site();
    let tls = "unknown_name = \"reject\"";
    let proxy = Setup { servers: &[backend.address], tls, ..Setup::default() }.start();
    shows(proxy.v4, "localhost", &certificates().rsa);
    for name in ["unknown.example", "127.0.0.1"] {
        for version in [TLS12, TLS13] {
            let error = refused(proxy.v4, config(&[version]), name);
            assert!(matches!(error, Error::AlertReceived(_)), "{name}: {error}");
        }
    }
    assert_eq!(proxy.metrics().sum("handshakes_failed_total", &["reason=\"unknown_name\""]), 4);
    drop(backend);
    proxy.leaves_nothing();
}

/// A client of one version whose suites or schemes of signatures were cut down.
fn poor(version: &'static SupportedProtocolVersion, cut: fn(&mut CryptoProvider)) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    cut(&mut provider);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).expect("a version");
    builder.with_root_certificates(Arc::clone(&certificates().roots)).with_no_client_auth()
}

#[test]
fn clients_that_no_key_can_sign_for_hear_of_nothing_in_common() {
    let only_ed25519 = |provider: &mut CryptoProvider| {
        let all = &mut provider.signature_verification_algorithms;
        let at = all.mapping.iter().position(|(scheme, _)| *scheme == SignatureScheme::ED25519);
        let at = at.expect("the library has it");
        all.mapping = &all.mapping[at..=at];
    };
    let only_ecdsa = |provider: &mut CryptoProvider| {
        provider.cipher_suites.retain(|s| s.suite() == CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    };
    let only_p384 = |provider: &mut CryptoProvider| {
        let all = &mut provider.signature_verification_algorithms;
        let p384 = SignatureScheme::ECDSA_NISTP384_SHA384;
        let at = all.mapping.iter().position(|(scheme, _)| *scheme == p384).expect("the library has it");
        all.mapping = &all.mapping[at..=at];
    };
    let backend = site();
    for tls in ["", "unknown_name = \"reject\""] {
        let pairs = &["rsa", "ecdsa"];
        let proxy =
            Setup { servers: &[backend.address], certificates: pairs, tls, ..Setup::default() }.start();
        for (client, name) in [
            (poor(TLS12, only_ecdsa), "localhost"),
            (poor(TLS12, only_ed25519), "localhost"),
            (poor(TLS13, only_ed25519), "localhost"),
            (poor(TLS12, only_p384), "ec.example"),
            (poor(TLS13, only_p384), "ec.example"),
        ] {
            let error = refused(proxy.v4, client, name);
            assert_eq!(error, Error::AlertReceived(AlertDescription::HandshakeFailure), "{name}");
        }
        let failed = |reason: &str| proxy.metrics().sum("handshakes_failed_total", &[reason]);
        assert_eq!((failed("reason=\"nothing_in_common\""), failed("reason=\"unknown_name\"")), (5, 0));
        proxy.leaves_nothing();
    }
}

#[test]
fn http_1_1_is_chosen_and_h2_alone_is_refused() {
    let backend = site();
    let proxy = Setup { servers: &[backend.address], ..Setup::default() }.start();
    for version in [TLS12, TLS13] {
        let with = |protocols: &[&str]| {
            let mut config = config(&[version]);
            config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
            config
        };
        let chosen = |protocols: &[&str]| {
            let mut client = Client::with(proxy.v4, with(protocols), "localhost").expect("a handshake");
            assert_eq!(client.get("/text/1").status, 200);
            client.tls().alpn_protocol().map(<[u8]>::to_vec)
        };
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&["h2", "http/1.1"]).as_deref(), Some(&b"http/1.1"[..]));
        let error = refused(proxy.v4, with(&["h2"]), "localhost");
        assert_eq!(error, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    }
    assert_eq!(proxy.metrics().sum("handshakes_failed_total", &["reason=\"nothing_in_common\""]), 2);
    drop(backend);
    proxy.leaves_nothing();
}

#[test]
fn versions_and_suites_are_those_of_the_configuration() {
    let backend = site();
    let tls = "min_version = \"1.3\"";
    let proxy = Setup { servers: &[backend.address], tls, ..Setup::default() }.start();
    let error = refused(proxy.v4, config(&[TLS12]), "localhost");
    assert_eq!(error, Error::AlertReceived(AlertDescription::ProtocolVersion));
    assert_eq!(Client::connect(proxy.v4).get("/text/1").status, 200);
    backend.close_connections();
    proxy.leaves_nothing();
    let tls = "cipher_suites = [\"TLS_CHACHA20_POLY1305_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"]";
    let proxy = Setup { servers: &[backend.address], tls, ..Setup::default() }.start();
    for (version, suite) in [
        (TLS12, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        (TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ] {
        let mut client = Client::with(proxy.v4, config(&[version]), "localhost").expect("a handshake");
        assert_eq!(client.get("/text/1").status, 200);
        assert_eq!(client.tls().negotiated_cipher_suite().map(|s| s.suite()), Some(suite));
    }
    drop(backend);
    proxy.leaves_nothing();
}

/// Comes again and again with what it was given the last time; says how often it was known.
fn comes_again(to: SocketAddr, config: &ClientConfig, times: usize) -> usize {
    let again = |_: &usize| {
        let mut client = Client::with(to, config.clone(), "localhost").expect("a handshake");
        assert_eq!(client.get("/text/1").status, 200, "tickets come before the response");
        client.tls().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    };
    (0..times).filter(again).count()
}

#[test]
fn tickets_resume_sessions_at_all_workers() {
    const TIMES: usize = 24;
    let backend = site();
    let workers = crate::common::cpus().min(2);
    let proxy = Setup { servers: &[backend.address], workers, ..Setup::default() }.start();
    for version in [TLS12, TLS13] {
        let mut config = config(&[version]);
        config.resumption = Resumption::in_memory_sessions(8);
        assert_eq!(comes_again(proxy.v4, &config, TIMES), TIMES - 1, "{version:?}");
    }
    let metrics = proxy.metrics();
    assert_eq!((metrics.handshakes(true), metrics.handshakes(false)), (2 * TIMES as u64 - 2, 2));
    assert_eq!(metrics.by_device(), 2, "resumed sessions are not signed");
    for core in 0..workers {
        let core = format!("core=\"{core}\"");
        assert!(metrics.sum("connections_total", &[&core]) > 0, "{core} has had nothing to do");
    }
    backend.close_connections();
    proxy.leaves_nothing();
    let proxy = Setup { servers: &[backend.address], tls: "tickets = false", ..Setup::default() }.start();
    for version in [TLS12, TLS13] {
        let mut config = config(&[version]);
        config.resumption = Resumption::store(Arc::new(rustls::client::ClientSessionMemoryCache::new(8)));
        assert_eq!(comes_again(proxy.v4, &config, 4), 0, "{version:?}");
    }
    drop(backend);
    proxy.leaves_nothing();
}
