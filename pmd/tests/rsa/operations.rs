//! Signatures, and what every operation has in common.

use std::time::Duration;

use warpdrive_mempool::*;
use warpdrive_pmd::device::{Device, Request, Segment, SessionId, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOp, RsaScheme};

use super::{Bench, MESSAGE, PLACEMENTS, keys, signature_schemes};

#[test]
fn what_is_signed_verifies_and_what_is_changed_does_not() {
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        for key in keys() {
            let bytes = key.bits() / 8;
            for scheme in signature_schemes() {
                let sign = bench.session(RsaOp::Sign, scheme, key);
                let verify = bench.session(RsaOp::Verify, scheme, &key.public());
                for message in [&b""[..], b"m", &[0x5a; 1000]] {
                    let mut signature = bench.run(sign, message, b"", bytes + 9).unwrap();
                    assert_eq!(signature.len(), bytes);
                    assert_eq!(bench.run(verify, message, &signature, 0), Ok(vec![]));
                    let mismatch = Err(Status::Mismatch);
                    assert_eq!(bench.run(verify, b"another", &signature, 0), mismatch);
                    assert_eq!(bench.run(verify, message, &signature[1..], 0), mismatch);
                    assert_eq!(bench.run(verify, message, b"", 0), mismatch);
                    signature[bytes / 2] ^= 1;
                    assert_eq!(bench.run(verify, message, &signature, 0), mismatch);
                    assert_eq!(bench.run(verify, message, &[0xff; 512][..bytes], 0), mismatch);
                }
            }
        }
        assert_eq!(bench.pool.stats().in_use, 0);
    }
}

#[test]
fn a_signature_is_good_for_its_key_and_scheme_only() {
    let mut bench = Bench::new(Placement::Inline);
    let key = &keys()[0];
    let other = RsaKey::generate(2048).unwrap();
    for scheme in signature_schemes() {
        let sign = bench.session(RsaOp::Sign, scheme, key);
        let signature = bench.run(sign, MESSAGE, b"", 256).unwrap();
        for verified_as in signature_schemes() {
            let verify = bench.session(RsaOp::Verify, verified_as, key);
            assert_eq!(bench.run(verify, MESSAGE, &signature, 0).is_ok(), verified_as == scheme);
        }
        let verify = bench.session(RsaOp::Verify, scheme, &other);
        assert_eq!(bench.run(verify, MESSAGE, &signature, 0), Err(Status::Mismatch));
    }
}

#[test]
fn too_small_a_destination_is_told_what_is_needed() {
    let mut bench = Bench::new(Placement::Inline);
    let key = &keys()[1];
    let needed = Err(Status::NoSpace { needed: 384 });
    let sign = bench.session(RsaOp::Sign, RsaScheme::PssSha256, key);
    let encrypt = bench.session(RsaOp::Encrypt, RsaScheme::OaepSha256, key);
    for room in [0, 383] {
        assert_eq!(bench.run(sign, MESSAGE, b"", room), needed);
        assert_eq!(bench.run(encrypt, MESSAGE, b"", room), needed);
    }
    let sealed = bench.run(encrypt, MESSAGE, b"", 384).unwrap();
    let decrypt = bench.session(RsaOp::Decrypt, RsaScheme::OaepSha256, key);
    let needed = Err(Status::NoSpace { needed: MESSAGE.len() as u32 });
    assert_eq!(bench.run(decrypt, &sealed, b"", MESSAGE.len() - 1), needed);
}

#[test]
fn bad_addresses_overlaps_and_sessions_are_statuses() {
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        let sign = bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &keys()[0]);

        let nowhere = Segment { iova: Iova(0x1000), len: 16 };
        let none = Segment::default();
        // SAFETY: nothing is mapped at this address in the device's domain.
        let request = unsafe { Request::raw(sign, nowhere, none, none) };
        assert!(matches!(bench.complete(request).status, Status::Fault(Fault::Unmapped { .. })));

        let mut packet = bench.pool.alloc().unwrap();
        packet.append(600).unwrap().fill(1);
        let mut request = Request::new(sign, packet);
        request.set_src(0..300).unwrap();
        request.set_dst(299..555).unwrap();
        assert_eq!(bench.complete(request).status, Status::Overlap);

        assert_eq!(bench.run(SessionId(9), MESSAGE, b"", 256), Err(Status::NoSession));

        // The message and its signature side by side in one packet: the usual way, and it still works.
        let mut packet = bench.pool.alloc().unwrap();
        packet.append(600).unwrap().fill(1);
        let mut request = Request::new(sign, packet);
        request.set_src(0..300).unwrap();
        request.set_dst(300..600).unwrap();
        let done = bench.complete(request);
        assert_eq!((done.status, done.produced), (Status::Ok, 256));
    }
}

#[test]
fn completions_come_in_order_and_a_dropped_queue_returns_packets() {
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        let verify = bench.session(RsaOp::Verify, RsaScheme::Pkcs1Sha256, &keys()[0]);
        let mut requests: Vec<Request> =
            (0..20).map(|i| bench.request(verify, b"m", &[0; 256], 0).with_tag(i)).collect();
        assert_eq!(bench.queue.send_burst(&mut requests), 16, "the queue's depth");
        assert_eq!((requests.len(), bench.queue.room()), (4, 0));
        for tag in 0..10 {
            let done = bench.queue.recv_sync(Duration::from_secs(30)).unwrap();
            assert_eq!((done.request.tag, done.status), (tag, Status::Mismatch));
        }
        drop(requests);
        bench.queue = bench.device.request_queue(1).unwrap();
        assert_eq!(bench.pool.stats().in_use, 0);
    }
}
