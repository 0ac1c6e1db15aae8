//! What the device and its sessions take, refuse, and say of themselves.

use std::fs;

use warpdrive_mempool::{DmaMode, Domain};
use warpdrive_pmd::device::{Device, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{
    EcKey, EcOp, EcSession, KeyError, RsaEngine, RsaOp, RsaOptions, RsaScheme, RsaSession, Simd,
};
use warpdrive_pmd::engine::{Placement, SoftDevice};

use super::{Bench, MESSAGE, data, keys, weak_key};

#[test]
fn the_device_says_what_it_is_and_takes_rsa_and_elliptic_curves_only() {
    use warpdrive_pmd::device::DeviceError;
    use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp, ZipSession};
    let bench = Bench::new(Placement::Inline);
    let info = bench.device.info();
    assert_eq!((info.driver, info.hardware, info.batch), ("soft-rsa", false, 8));
    let schemes = RsaScheme::ALL.map(RsaScheme::name);
    assert_eq!(info.algorithms, [&schemes[..], &["rsa-raw", "ecdsa-p256-sha256", "x25519"]].concat());
    let key = EcKey::generate(EcOp::Sign.curve()).unwrap();
    let ec = EcSession::new(EcOp::Sign, &key).unwrap();
    assert!(bench.device.create_session(SessionSpec::Ec(ec)).is_ok());
    let zip = ZipSession::new(ZipOp::Compress, ZipFormat::Gzip, 1).unwrap();
    let refused = bench.device.create_session(SessionSpec::Zip(zip));
    assert!(matches!(refused, Err(DeviceError::WrongKind { does: "RSA", wanted: "ZIP", .. })));
}

/// Whether private operations can be done in passes here.
fn has_passes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512dq") && has!("avx512ifma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[test]
fn the_device_says_which_code_computes_and_refuses_what_the_cpu_has_not() {
    use warpdrive_pmd::device::DeviceError;
    let domain = Domain::new(DmaMode::ShareDomain);
    for simd in Simd::ALL {
        let options = RsaOptions { simd, ..RsaOptions::default() };
        let opened = SoftDevice::<RsaEngine>::open_with("rsa7", Placement::Inline, &domain, options);
        let device = match opened {
            Ok(device) => device,
            Err(DeviceError::Unsupported { device, cause }) => {
                assert!(!has_passes() && !matches!(simd, Simd::Auto | Simd::Library), "{cause}");
                for part in [simd.name(), "AVX-512", "Remedy: simd = \"auto\""] {
                    assert!(cause.contains(part), "{part:?} is not in {cause:?}");
                }
                assert_eq!(device, "rsa7");
                continue;
            }
            Err(e) => panic!("{e}"),
        };
        let said = device.info().implementation;
        if simd == Simd::Library || !has_passes() {
            assert!(said.starts_with("aws-lc (") && said.ends_with("one at a time"), "{said}");
            continue;
        }
        assert!(said.starts_with("AVX-512 IFMA, 8 private operations at once ("), "{said}");
        assert!(said.contains("aws-lc ("), "what computes single operations: {said}");
        match simd {
            Simd::Avx512IfmaKaratsuba => assert!(said.contains("once (Karatsuba kernels)"), "{said}"),
            Simd::Avx512IfmaPlain => assert!(said.contains("once (plain kernels)"), "{said}"),
            _ => assert!(said.contains("Karatsuba kernels") || said.contains("plain kernels"), "{said}"),
        }
    }
}

#[test]
fn names_are_those_of_the_configuration() {
    use serde::Deserialize;
    use serde::de::value::{Error, StrDeserializer};
    let of = |name| StrDeserializer::<Error>::new(name);
    for scheme in RsaScheme::ALL {
        assert_eq!(RsaScheme::deserialize(of(scheme.name())), Ok(scheme));
    }
    for op in [RsaOp::Sign, RsaOp::Verify, RsaOp::Encrypt, RsaOp::Decrypt] {
        assert_eq!(RsaOp::deserialize(of(op.name())), Ok(op));
    }
    assert!(RsaScheme::deserialize(of("pkcs1-sha1")).is_err());
}

#[test]
fn a_session_refuses_the_wrong_scheme_and_a_public_key() {
    let private = &keys()[0];
    let public = private.public();
    for op in [RsaOp::Sign, RsaOp::Verify, RsaOp::Encrypt, RsaOp::Decrypt] {
        for scheme in RsaScheme::ALL {
            let made = RsaSession::new(op, scheme, private).map(|_| ()).map_err(|e| e.to_string());
            if scheme.is_for(op) {
                made.unwrap();
                let needs_private = matches!(op, RsaOp::Sign | RsaOp::Decrypt);
                match RsaSession::new(op, scheme, &public) {
                    Ok(_) => assert!(!needs_private),
                    Err(KeyError::PublicOnly { what, .. }) => {
                        assert_eq!((needs_private, what), (true, op.name()))
                    }
                    Err(e) => panic!("{e}"),
                }
            } else {
                let message = made.unwrap_err();
                assert!(message.contains(scheme.name()) && message.contains(op.name()), "{message}");
                let remedy = if op == RsaOp::Sign { "pss-sha256" } else { "sha" };
                assert!(message.contains(remedy), "{message}");
            }
        }
    }
}

#[test]
fn a_weak_key_checks_old_signatures_and_makes_them() {
    let mut bench = Bench::new(Placement::Inline);
    let key = weak_key();
    let known = fs::read(data("rsa1024-pkcs1-sha256.sig")).unwrap();
    let sign = bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key);
    assert_eq!(bench.run(sign, MESSAGE, b"", 128).as_ref(), Ok(&known));
    assert_eq!(bench.run(sign, MESSAGE, b"", 127), Err(Status::NoSpace { needed: 128 }));
    for scheme in [RsaScheme::Pkcs1Sha256, RsaScheme::Pkcs1Sha512] {
        let (sign, verify) =
            (bench.session(RsaOp::Sign, scheme, &key), bench.session(RsaOp::Verify, scheme, &key));
        let mut signature = bench.run(sign, MESSAGE, b"", 128).unwrap();
        assert_eq!(bench.run(verify, MESSAGE, &signature, 0), Ok(vec![]));
        signature[100] ^= 1;
        assert_eq!(bench.run(verify, MESSAGE, &signature, 0), Err(Status::Mismatch));
    }
}

#[test]
fn a_weak_key_is_refused_what_nobody_needs_of_it_and_what_does_not_fit() {
    let key = weak_key();
    let refused = |op, scheme| match (op, scheme) {
        // aws-lc has no such verification for it, and whoever encrypts can choose a better key.
        (RsaOp::Verify, scheme) => !matches!(scheme, RsaScheme::Pkcs1Sha256 | RsaScheme::Pkcs1Sha512),
        (RsaOp::Encrypt, _) => true,
        // 2 · 64 + 2 bytes of encoding at least (RFC 8017, 9.1.1 and 7.1.1), and there are 128.
        (RsaOp::Sign, scheme) => scheme == RsaScheme::PssSha512,
        (RsaOp::Decrypt, scheme) => scheme == RsaScheme::OaepSha512,
    };
    for op in [RsaOp::Sign, RsaOp::Verify, RsaOp::Encrypt, RsaOp::Decrypt] {
        for scheme in RsaScheme::ALL {
            match RsaSession::new(op, scheme, &key) {
                Ok(session) => {
                    assert!(scheme.is_for(op) && !refused(op, scheme), "{session:?}");
                    assert_eq!(session.key_bytes(), 128);
                }
                Err(KeyError::WrongScheme { .. }) => assert!(!scheme.is_for(op)),
                Err(e) => {
                    assert!(matches!(e, KeyError::Weak { .. }) && refused(op, scheme), "{e}");
                    let message = e.to_string();
                    for part in ["old.pem", "1024 bits", op.name(), scheme.name(), "Remedy: "] {
                        assert!(message.contains(part), "{part:?} is not in {message:?}");
                    }
                }
            }
        }
    }
}
