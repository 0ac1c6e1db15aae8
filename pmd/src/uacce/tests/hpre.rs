use super::*;
use crate::engine::rsa::{
    CrtNumbers, EcCurve, EcKey, EcOp, EcSession, RawSession, RsaKey, RsaOp, RsaScheme, RsaSession,
};
use crate::uacce::fake::engines;

pub(super) const RSA_1024: &str = include_str!("../../../tests/data/rsa/rsa1024.pem");
pub(super) const RSA_2048: &str = include_str!("../../../tests/data/rsa/rsa2048.pem");

pub(super) fn key(pem: &str) -> RsaKey {
    RsaKey::from_pem(pem, "known").unwrap()
}

pub(super) fn rsa(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> SessionSpec {
    SessionSpec::Rsa(RsaSession::new(op, scheme, key).unwrap())
}

fn bench() -> Bench {
    Bench::new(Plan::hpre(), engines::rsa())
}

pub(super) struct Rig {
    desk: Desk,
    sign: SessionId,
    scheme: RsaScheme,
}

impl Rig {
    pub(super) fn new(desk: Desk, scheme: RsaScheme) -> Self {
        let sign = desk.session(rsa(RsaOp::Sign, scheme, &key(RSA_1024)));
        Self { desk, sign, scheme }
    }
}

impl DeviceRig for Rig {
    fn name(&self) -> &str {
        "uacce hpre"
    }

    fn device(&self) -> &dyn Device {
        &self.desk.device
    }

    fn pool(&self) -> &Mempool {
        &self.desk.pool
    }

    fn request(&self, n: u64) -> Request {
        let message = text(n, 40 + n as usize % 300);
        let mut packet = self.desk.packet(&message);
        packet.append(128).unwrap();
        let mut request = Request::new(self.sign, packet);
        request.set_src(0..message.len()).unwrap();
        request.set_dst(message.len()..message.len() + 128).unwrap();
        request
    }

    fn verify(&self, n: u64, completion: &Completion) {
        assert_eq!(completion.produced, 128);
        let dst = completion.request.dst();
        let signature = self.desk.pool.domain().view().resolve(dst.iova, 128, false).unwrap();
        // SAFETY: the completion owns the packet, and nobody writes to it.
        let signature = unsafe { signature.as_slice() };
        let message = text(n, 40 + n as usize % 300);
        let session = crate::engine::rsa::PublicKeySession::Rsa(
            RsaSession::new(RsaOp::Verify, self.scheme, &key(RSA_1024)).unwrap(),
        );
        assert_eq!(session.alone(&message, signature, &mut []), Ok(0), "the signature of message {n}");
    }
}

#[test]
fn it_keeps_the_rules_of_devices() {
    for words in [Plan::hpre().words, None] {
        let bench = Bench::new(Plan { words, ..Plan::hpre() }, engines::rsa());
        check_device(&Rig::new(bench.desk, RsaScheme::Pkcs1Sha256));
    }
}

#[test]
fn signatures_are_those_of_the_library_and_are_verified() {
    signatures(&bench());
}

pub(super) fn signatures(bench: &Desk) {
    let key = key(RSA_2048);
    let message = include_bytes!("../../../tests/data/rsa/message");
    for (scheme, known) in [
        (RsaScheme::Pkcs1Sha256, &include_bytes!("../../../tests/data/rsa/pkcs1-sha256.sig")[..]),
        (RsaScheme::Pkcs1Sha384, include_bytes!("../../../tests/data/rsa/pkcs1-sha384.sig")),
        (RsaScheme::Pkcs1Sha512, include_bytes!("../../../tests/data/rsa/pkcs1-sha512.sig")),
        (RsaScheme::PssSha256, &[]),
        (RsaScheme::PssSha384, &[]),
        (RsaScheme::PssSha512, &[]),
    ] {
        let sign = bench.session(rsa(RsaOp::Sign, scheme, &key));
        let verify = bench.session(rsa(RsaOp::Verify, scheme, &key));
        let mut queue = bench.queue(4);
        let signed = one(&mut *queue, bench.request(sign, message, 300));
        assert_eq!(
            (signed.status, signed.produced, signed.consumed),
            (Status::Ok, 256, message.len() as u32)
        );
        let mut signature = output(signed);
        if !known.is_empty() {
            assert_eq!(signature, known, "{}", scheme.name());
        }
        for expected in [Status::Ok, Status::Mismatch] {
            let both = [&message[..], &signature].concat();
            let mut request = bench.request(verify, &both, 0);
            request.set_src(0..message.len()).unwrap();
            request.set_aux(message.len()..both.len()).unwrap();
            assert_eq!(one(&mut *queue, request).status, expected, "{}", scheme.name());
            signature[77] ^= 1;
        }
    }
}

#[test]
fn what_was_encrypted_here_is_decrypted_there() {
    encryption(&bench());
}

pub(super) fn encryption(bench: &Desk) {
    let key = key(RSA_2048);
    let mut queue = bench.queue(4);
    for (scheme, longest) in
        [(RsaScheme::OaepSha256, 190), (RsaScheme::OaepSha512, 126), (RsaScheme::Pkcs1, 245)]
    {
        let encrypt = bench.session(rsa(RsaOp::Encrypt, scheme, &key));
        let decrypt = bench.session(rsa(RsaOp::Decrypt, scheme, &key));
        for len in [0, 1, longest] {
            let message = text(7, len);
            let encrypted = output(one(&mut *queue, bench.request(encrypt, &message, 256)));
            assert_eq!(encrypted.len(), 256);
            let completion = one(&mut *queue, bench.request(decrypt, &encrypted, 245));
            assert_eq!(completion.status, Status::Ok);
            assert_eq!(output(completion), message, "{} {len}", scheme.name());
        }
        // Bad padding is an error, or another message: never the device's output as it is.
        let mut wrong = output(one(&mut *queue, bench.request(encrypt, b"message", 256)));
        wrong[255] ^= 1;
        let completion = one(&mut *queue, bench.request(decrypt, &wrong, 245));
        match scheme {
            RsaScheme::Pkcs1 => {
                assert_eq!(completion.status, Status::Ok, "implicit rejection");
                let first = output(completion);
                assert_ne!(first, b"message");
                assert_eq!(
                    first,
                    output(one(&mut *queue, bench.request(decrypt, &wrong, 245))),
                    "the same each time"
                );
            }
            _ => assert_eq!((completion.status, completion.produced), (Status::BadInput, 0)),
        }
        assert_eq!(one(&mut *queue, bench.request(decrypt, &[0; 255], 245)).status, Status::BadInput);
        assert_eq!(one(&mut *queue, bench.request(decrypt, &[0xff; 256], 245)).status, Status::BadInput);
    }
}

#[test]
fn numbers_without_padding_go_by_either_kind_of_key() {
    numbers(&bench());
}

pub(super) fn numbers(bench: &Desk) {
    let key = key(RSA_2048);
    let foreign = RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key).unwrap();
    let foreign = crate::engine::rsa::PublicKeySession::Rsa(foreign);
    let crate::engine::rsa::foreign::KeyNumbers::Crt(numbers) = foreign.foreign().unwrap().numbers().unwrap()
    else {
        panic!("a key of all its numbers");
    };
    let parts: Vec<&[u8]> = numbers.chunks(128).collect();
    let [dq, dp, q, p, qinv] = parts.try_into().unwrap();
    let crt = RawSession::from_crt(&CrtNumbers { p, q, dp, dq, qinv }, "known").unwrap();
    let private = bench.session(SessionSpec::RawRsa(crt));
    let n = (num_bigint::BigUint::from_bytes_be(p) * num_bigint::BigUint::from_bytes_be(q)).to_bytes_be();
    let public = RawSession::from_exponent(&[1, 0, 1], &n, "known").unwrap();
    let public = bench.session(SessionSpec::RawRsa(public));
    let mut queue = bench.queue(4);
    let mut number = [0x5a; 256];
    number[0] = 0;
    let root = output(one(&mut *queue, bench.request(private, &number, 256)));
    assert_eq!(output(one(&mut *queue, bench.request(public, &root, 256))), number);
    assert_ne!(root, number);
    assert_eq!(one(&mut *queue, bench.request(private, &n, 256)).status, Status::BadInput);
    // Without the primes: by the exponent alone.
    let [p, q] = [p, q].map(num_bigint::BigUint::from_bytes_be);
    let d = num_bigint::BigUint::from(65_537_u32).modinv(&((p - 1_u32) * (q - 1_u32))).unwrap().to_bytes_be();
    let slow = bench.session(SessionSpec::RawRsa(RawSession::from_exponent(&d, &n, "known").unwrap()));
    assert_eq!(output(one(&mut *queue, bench.request(slow, &number, 256))), root);
}

#[test]
fn requests_that_cannot_be_are_answered_without_the_device() {
    let (bench, key) = (bench(), key(RSA_2048));
    let sign = bench.session(rsa(RsaOp::Sign, RsaScheme::PssSha256, &key));
    let gone = bench.session(rsa(RsaOp::Sign, RsaScheme::PssSha256, &key));
    let mut queue = bench.queue(4);
    let seen = bench.fake.doorbells.lock().unwrap().len();
    let no_space = one(&mut *queue, bench.request(sign, b"message", 255));
    assert_eq!(no_space.status, Status::NoSpace { needed: 256 });
    assert!(bench.device.remove_session(gone) && !bench.device.remove_session(gone));
    assert_eq!(one(&mut *queue, bench.request(gone, b"message", 256)).status, Status::NoSession);
    assert_eq!(bench.fake.doorbells.lock().unwrap().len(), seen);
    let stats = bench.device.stats();
    assert_eq!((stats.requests, stats.errors), (2, 2));
    let none = bench.device.create_stream(sign).err().unwrap();
    assert!(matches!(none, DeviceError::NoStream { .. }), "{none}");
}

#[test]
fn what_the_device_does_not_do_is_refused_with_a_remedy() {
    let bench = bench();
    let ec = EcSession::new(EcOp::Sign, &EcKey::generate(EcCurve::P256).unwrap()).unwrap();
    let error = bench.device.create_session(SessionSpec::Ec(ec)).err().unwrap();
    assert!(
        matches!(error, DeviceError::Unsupported { .. }) && error.to_string().contains("Remedy: "),
        "{error}"
    );
    let zip = crate::engine::zip::ZipSession::new(
        crate::engine::zip::ZipOp::Compress,
        crate::engine::zip::ZipFormat::Zlib,
        1,
    );
    let error = bench.device.create_session(SessionSpec::Zip(zip.unwrap())).err().unwrap();
    assert!(matches!(error, DeviceError::WrongKind { does: "RSA", wanted: "ZIP", .. }), "{error}");
}

#[test]
fn entries_are_what_drivers_write() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, mut compute) = (Arc::clone(&seen), engines::rsa());
    let engine: Engine = Box::new(move |kind, words| {
        log.lock().unwrap().push(words.to_vec());
        compute(kind, words);
    });
    let bench = Bench::new(Plan::hpre(), engine);
    let sign = bench.session(rsa(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key(RSA_2048)));
    let mut queue = bench.queue(4);
    let done = one(&mut *queue, bench.request(sign, b"message", 256));
    let dst = done.request.dst().iova.0;
    let words = seen.lock().unwrap()[0].clone();
    assert_eq!(words[0], 0x4000_0001, "CRT, new");
    assert_eq!(words[1], 31, "256 bytes");
    assert_eq!((words[6], words[7]), (dst as u32, (dst >> 32) as u32), "straight to the packet");
    assert_eq!(words[10..], [0; 6]);
    let at = |low: usize| u64::from(words[low]) | u64::from(words[low + 1]) << 32;
    // Key and number are in memory that the device was given, and no packet's.
    for (address, bytes) in [(at(2), 640), (at(4), 256)] {
        let maps = bench.fake.maps.lock().unwrap();
        let map = maps.iter().find(|map| (map.address..map.address + map.bytes).contains(&address)).unwrap();
        assert!(address + bytes <= map.address + map.bytes);
        assert!(bench.pool.domain().maps().1.iter().all(|of_pool| of_pool.run().iova.0 != map.address));
    }
}
