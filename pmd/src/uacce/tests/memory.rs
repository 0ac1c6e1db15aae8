//! Which memory a device is told of, and when.

use std::sync::atomic::Ordering;

use rustix::io::Errno;
use warpdrive_mempool::{Access, Mapping, Region, Sharing};

use super::zip::zip;
use super::*;
use crate::engine::zip::{ZipFormat, ZipOp};
use crate::uacce::abi::{ACCESS_READ, ACCESS_WRITE, PUT_Q, SHARE, START, Share, UNSHARE};
use crate::uacce::fake::engines;

fn region(domain: &Domain, sharing: Sharing) -> Arc<Region> {
    let mapping = Mapping::new(8192, PageChoice::Exactly(PageSize::Size4K), sharing, None).unwrap();
    Arc::new(Region::new(mapping, domain).unwrap())
}

fn told(bench: &Bench) -> Vec<Share> {
    let mut maps = bench.fake.maps.lock().unwrap().clone();
    maps.sort_by_key(|map| map.address);
    maps
}

fn address(region: &Region) -> u64 {
    region.runs()[0].iova.0
}

#[test]
fn a_queue_is_told_of_all_memory_before_it_starts_and_of_changes_before_the_next_request() {
    let bench = super::zip::bench();
    let domain = bench.pool.domain().clone();
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let (mine, private) = (region(&domain, Sharing::Shared), region(&domain, Sharing::Private));
    domain.map(&mine, Access::Read).unwrap();
    domain.map(&private, Access::ReadWrite).unwrap();
    let mut queue = bench.queue(4);
    let calls: Vec<u32> = bench.fake.calls.lock().unwrap().iter().map(|call| call.0).collect();
    assert_eq!(calls.last(), Some(&START));
    let of_mine = told(&bench).into_iter().find(|map| map.address == address(&mine)).expect("it was told");
    assert_eq!((of_mine.bytes, of_mine.offset, of_mine.access), (8192, 0, ACCESS_READ));
    assert!(told(&bench).iter().all(|map| map.address != address(&private)), "nobody can map it");
    // Without the private one, and with what the device's driver needs itself.
    assert_eq!(told(&bench).len(), domain.maps().1.len());

    let later = region(&domain, Sharing::Shared);
    domain.map(&later, Access::Write).unwrap();
    domain.unmap(&mine);
    let (shares, unshares) = (bench.fake.count(SHARE), bench.fake.count(UNSHARE));
    assert_eq!(one(&mut *queue, bench.request(pack, b"bytes", 100)).status, Status::Ok);
    assert!(told(&bench).iter().any(|map| map.address == address(&later) && map.access == ACCESS_WRITE));
    assert!(told(&bench).iter().all(|map| map.address != address(&mine)));
    assert_eq!((bench.fake.count(SHARE), bench.fake.count(UNSHARE)), (shares + 1, unshares + 1));
    for _ in 0..10 {
        assert_eq!(one(&mut *queue, bench.request(pack, b"bytes", 100)).status, Status::Ok);
    }
    assert_eq!(
        (bench.fake.count(SHARE), bench.fake.count(UNSHARE)),
        (shares + 1, unshares + 1),
        "no calls without changes"
    );
    drop(queue);
    assert_eq!(told(&bench), [], "all is taken back");
    let calls: Vec<u32> = bench.fake.calls.lock().unwrap().iter().map(|call| call.0).collect();
    let stopped = calls.iter().position(|call| *call == PUT_Q).unwrap();
    assert!(calls[stopped + 1..].iter().all(|call| *call == UNSHARE), "after the queue has stopped");
}

#[test]
fn use_after_unmap_is_a_fault() {
    let bench = super::zip::bench();
    let domain = bench.pool.domain().clone();
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let mine = region(&domain, Sharing::Shared);
    domain.map(&mine, Access::ReadWrite).unwrap();
    let mut queue = bench.queue(4);
    let segment =
        |at: u64, len| crate::device::Segment { iova: warpdrive_mempool::Iova(address(&mine) + at), len };
    // SAFETY: nobody else uses the region.
    let request = || unsafe {
        Request::raw(pack, segment(0, 100), crate::device::Segment::default(), segment(4096, 200))
    };
    assert_eq!(one(&mut *queue, request()).status, Status::Ok);
    domain.unmap(&mine);
    assert!(matches!(one(&mut *queue, request()).status, Status::Fault(_)));
    domain.map(&mine, Access::Read).unwrap();
    assert!(matches!(one(&mut *queue, request()).status, Status::Fault(_)), "nor what is not permitted");
    domain.unmap(&mine);
    domain.map(&mine, Access::ReadWrite).unwrap();
    assert_eq!(one(&mut *queue, request()).status, Status::Ok);
}

#[test]
fn memory_that_the_device_does_not_take_is_an_error_of_opening() {
    let bench = super::zip::bench();
    bench.fake.refuse.lock().unwrap().insert(SHARE, Errno::NOSPC);
    let error = bench.device.request_queue(4).err().unwrap().to_string();
    assert!(error.contains("SHARE fails") && error.contains("Remedy: "), "{error}");
    assert_eq!(bench.fake.open.load(Ordering::SeqCst), 0);
    // Later it is said, and its use faults there; others go on.
    bench.fake.refuse.lock().unwrap().clear();
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    let mut queue = bench.queue(4);
    bench.fake.refuse.lock().unwrap().insert(SHARE, Errno::NOSPC);
    let mine = region(bench.pool.domain(), Sharing::Shared);
    bench.pool.domain().map(&mine, Access::ReadWrite).unwrap();
    assert_eq!(one(&mut *queue, bench.request(pack, b"bytes", 100)).status, Status::Ok);
}

#[test]
fn hardware_for_shared_addresses_is_told_nothing() {
    let bench = Bench::new(Plan { words: None, ..Plan::zip() }, engines::zip());
    let pack = bench.session(zip(ZipOp::Compress, ZipFormat::Deflate));
    assert_eq!(one(&mut *bench.queue(4), bench.request(pack, b"bytes", 100)).status, Status::Ok);
    assert_eq!((bench.fake.count(SHARE), bench.fake.count(UNSHARE)), (0, 0));
    let info = bench.device.info();
    assert!(info.hardware && info.implementation.contains("mode sva"), "{info:?}");
}

#[test]
fn the_mode_of_device_and_memory_must_be_one() {
    let open = |flags, words, mode| {
        let fake = Fake::new(Plan { flags, words, ..Plan::zip() }, engines::zip());
        UacceDevice::open_with("bench", fake.info(), &Domain::new(mode), Arc::new(fake))
            .map(|device| device.info())
    };
    let info = open(1, Some("share"), DmaMode::Sva).unwrap();
    assert!(!info.hardware && info.implementation.contains("mode sva, memory shared"), "{info:?}");
    let info = open(0, Some("share"), DmaMode::ShareDomain).unwrap();
    assert!(info.implementation.contains("mode share-domain"), "{info:?}");
    for (flags, words, mode, what) in [
        (1, Some("share"), DmaMode::ShareDomain, "dma = \"sva\""),
        (0, Some("share"), DmaMode::Sva, "dma = \"share-domain\""),
        (0, None, DmaMode::ShareDomain, "reserves itself"),
    ] {
        let error = open(flags, words, mode).err().unwrap().to_string();
        assert!(error.contains(what) && error.contains("Remedy: "), "{error}");
    }
}

#[test]
fn keys_are_gone_from_shared_memory_with_their_session() {
    use crate::engine::rsa::{RsaKey, RsaOp, RsaScheme, RsaSession};
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let key = RsaKey::from_pem(include_str!("../../../tests/data/rsa/rsa1024.pem"), "known").unwrap();
    let session = RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key).unwrap();
    let foreign = crate::engine::rsa::PublicKeySession::Rsa(
        RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key).unwrap(),
    );
    let crate::engine::rsa::foreign::KeyNumbers::Crt(numbers) = foreign.foreign().unwrap().numbers().unwrap()
    else {
        panic!("a key of all its numbers");
    };
    let session = bench.session(SessionSpec::Rsa(session));
    let queue = bench.queue(4);
    // What the other side sees of our own memory.
    let of_pool = bench.pool.domain().maps().1;
    let ours =
        told(&bench).into_iter().find(|map| of_pool.iter().all(|m| m.run().iova.0 != map.address)).unwrap();
    let holds_key = || {
        // SAFETY: the region is mapped as long as the device lives, and nobody writes to it now.
        let bytes = unsafe {
            let first = std::ptr::with_exposed_provenance::<u8>(ours.address as usize);
            std::slice::from_raw_parts(first, ours.bytes as usize)
        };
        bytes.windows(64).any(|window| window == &numbers[..64])
    };
    assert!(holds_key());
    assert!(bench.device.remove_session(session));
    drop(queue);
    // The queue has seen the table with it until now.
    assert!(!holds_key());
}

#[test]
fn what_was_decrypted_is_in_its_packet_alone() {
    use crate::engine::rsa::{RsaOp, RsaScheme};
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let key = super::hpre::key(super::hpre::RSA_2048);
    let encrypt = bench.session(super::hpre::rsa(RsaOp::Encrypt, RsaScheme::Pkcs1, &key));
    let decrypt = bench.session(super::hpre::rsa(RsaOp::Decrypt, RsaScheme::Pkcs1, &key));
    let mut queue = bench.queue(4);
    let message = text(9, 200);
    let encrypted = output(one(&mut *queue, bench.request(encrypt, &message, 256)));
    assert_eq!(output(one(&mut *queue, bench.request(decrypt, &encrypted, 245))), message);
    let of_pool = bench.pool.domain().maps().1;
    let ours = told(&bench).into_iter().filter(|map| of_pool.iter().all(|m| m.run().iova.0 != map.address));
    for map in ours {
        // SAFETY: the region is mapped as long as the device lives, and nobody writes to it now.
        let bytes = unsafe {
            let first = std::ptr::with_exposed_provenance::<u8>(map.address as usize);
            std::slice::from_raw_parts(first, map.bytes as usize)
        };
        assert!(bytes.windows(64).all(|window| window != &message[..64]));
    }
}
