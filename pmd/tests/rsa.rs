//! RSA through the device traits, as a pipeline uses it, and keys as a user gives them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use warpdrive_mempool::*;
use warpdrive_pmd::device::{Completion, Device, Queue, Request, Segment, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{
    EcKey, EcOp, EcSession, RsaEngine, RsaError, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession, Simd,
};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Pause }];
const MESSAGE: &[u8] = b"known answer";

/// Made once for all tests: 4096 bits take seconds.
fn keys() -> &'static [RsaKey; 3] {
    static KEYS: OnceLock<[RsaKey; 3]> = OnceLock::new();
    KEYS.get_or_init(|| [2048, 3072, 4096].map(|bits| RsaKey::generate(bits).unwrap()))
}

/// A device with one queue and the packets for it.
struct Bench {
    pool: Mempool,
    queue: Box<dyn Queue>,
    device: SoftDevice<RsaEngine>,
    /// Of sessions that write as much whatever they produce: how much.
    always_written: HashMap<SessionId, usize>,
}

impl Bench {
    fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let pool =
            Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, &domain).unwrap();
        let device = SoftDevice::open("rsa0", placement, &domain).unwrap();
        let queue = device.request_queue(16).unwrap();
        Self { pool, queue, device, always_written: HashMap::new() }
    }

    fn session(&mut self, op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> SessionId {
        let session = RsaSession::new(op, scheme, key).unwrap();
        assert_eq!((session.key_bytes(), session.op(), session.scheme()), (key.bits() / 8, op, scheme));
        let id = self.device.create_session(SessionSpec::Rsa(session)).unwrap();
        if (op, scheme) == (RsaOp::Decrypt, RsaScheme::Pkcs1) {
            self.always_written.insert(id, longest(scheme, key));
        }
        id
    }

    fn complete(&mut self, request: Request) -> Completion {
        self.queue.send(request).unwrap();
        self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s")
    }

    /// A request with `src` and `aux` in one packet, and `room` bytes for output in another.
    fn request(&self, session: SessionId, src: &[u8], aux: &[u8], room: usize) -> Request {
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(src).unwrap();
        packet.extend_from_slice(aux).unwrap();
        let mut output = self.pool.alloc().unwrap();
        output.append(room).unwrap().fill(0xee);
        let mut request = Request::new(session, packet);
        request.set_src(0..src.len()).unwrap();
        request.set_aux(src.len()..src.len() + aux.len()).unwrap();
        request.set_output(output, 0..room).unwrap();
        request
    }

    fn run(&mut self, session: SessionId, src: &[u8], aux: &[u8], room: usize) -> Result<Vec<u8>, Status> {
        let request = self.request(session, src, aux, room).with_tag(77);
        let done = self.complete(request);
        assert_eq!(done.request.tag, 77);
        let (packet, output) = done.request.into_packets();
        assert_eq!(packet.unwrap().len(), src.len() + aux.len());
        let output = output.unwrap();
        match done.status {
            Status::Ok => {
                let (produced, rest) = output.data().split_at(done.produced as usize);
                let always = self.always_written.get(&session).copied().unwrap_or(produced.len());
                let (zeros, rest) = rest.split_at(always - produced.len());
                assert!(zeros.iter().all(|&b| b == 0), "behind a message whose length is secret are zeros");
                assert!(rest.iter().all(|&b| b == 0xee), "nothing is written beyond the output");
                Ok(produced.to_vec())
            }
            status => {
                assert_eq!(done.produced, 0);
                assert!(output.data().iter().all(|&b| b == 0xee), "a failed request writes nothing");
                Err(status)
            }
        }
    }
}

fn signature_schemes() -> impl Iterator<Item = RsaScheme> {
    RsaScheme::ALL.into_iter().filter(|s| s.is_for(RsaOp::Sign))
}

fn encryption_schemes() -> impl Iterator<Item = RsaScheme> {
    RsaScheme::ALL.into_iter().filter(|s| s.is_for(RsaOp::Encrypt))
}

/// The longest message that a scheme encrypts (RFC 8017, 7.1.1 and 7.2.1).
fn longest(scheme: RsaScheme, key: &RsaKey) -> usize {
    key.bits() / 8
        - match scheme {
            RsaScheme::OaepSha256 => 2 * 32 + 2,
            RsaScheme::OaepSha384 => 2 * 48 + 2,
            RsaScheme::OaepSha512 => 2 * 64 + 2,
            _ => 11,
        }
}

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
fn what_is_encrypted_decrypts_up_to_the_longest_message() {
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        for key in keys() {
            let bytes = key.bits() / 8;
            for scheme in encryption_schemes() {
                let encrypt = bench.session(RsaOp::Encrypt, scheme, &key.public());
                let decrypt = bench.session(RsaOp::Decrypt, scheme, key);
                let max = longest(scheme, key);
                for len in [0, 1, max] {
                    let message = vec![0x17; len];
                    let sealed = bench.run(encrypt, &message, b"", bytes).unwrap();
                    assert_eq!(sealed.len(), bytes);
                    // Room for the message is enough, or where its length is secret, for the longest.
                    let enough = if scheme == RsaScheme::Pkcs1 { max } else { len };
                    assert_eq!(bench.run(decrypt, &sealed, b"", enough).as_ref(), Ok(&message));
                    assert_eq!(bench.run(decrypt, &sealed, b"", bytes + 1).as_ref(), Ok(&message));
                    for room in [0, enough / 2, enough.saturating_sub(1)] {
                        let refused = Err(Status::NoSpace { needed: enough as u32 });
                        let expected = if room < enough { refused } else { Ok(message.clone()) };
                        assert_eq!(bench.run(decrypt, &sealed, b"", room), expected);
                    }
                }
                assert_eq!(bench.run(encrypt, &vec![1; max + 1], b"", bytes), Err(Status::BadInput));
            }
        }
        assert_eq!(bench.pool.stats().in_use, 0);
    }
}

#[test]
fn what_cannot_be_decrypted_is_bad_input() {
    let mut bench = Bench::new(Placement::Inline);
    let key = &known_key();
    let pkcs1 = RsaScheme::Pkcs1;
    for scheme in encryption_schemes() {
        let decrypt = bench.session(RsaOp::Decrypt, scheme, key);
        let sealed = fs::read(data(&format!("{}.bin", scheme.name()))).unwrap();
        assert!(bench.run(decrypt, &sealed, b"", 256).is_ok());
        // Of another length, or no number below the modulus: everybody can see that.
        let longer = [&sealed[..], b"x"].concat();
        for bad in [&b""[..], &sealed[..255], &longer, &[0xff; 256]] {
            assert_eq!(bench.run(decrypt, bad, b"", 256), Err(Status::BadInput), "{}", scheme.name());
        }
        let mut tampered = sealed.clone();
        tampered[0] ^= 0x40;
        for bad in [&tampered[..], &[0; 256]] {
            if scheme != pkcs1 {
                assert_eq!(bench.run(decrypt, bad, b"", 256), Err(Status::BadInput), "{}", scheme.name());
            }
        }
        for other in encryption_schemes().filter(|s| ![scheme, pkcs1].contains(s)) {
            let decrypt = bench.session(RsaOp::Decrypt, other, key);
            assert_eq!(bench.run(decrypt, &sealed, b"", 256), Err(Status::BadInput));
        }
    }
}

#[test]
fn bad_pkcs1_padding_gives_another_message_and_always_the_same() {
    // Two devices, so that nothing is remembered from one to the other.
    let mut benches = PLACEMENTS.map(Bench::new);
    let key = known_key();
    let sessions = benches.each_mut().map(|b| b.session(RsaOp::Decrypt, RsaScheme::Pkcs1, &key));
    let good = fs::read(data("pkcs1.bin")).unwrap();
    let mut lengths = vec![];
    // Fixed key and fixed inputs: one changed message in 100,000 looks well padded by chance.
    let changed = (0..32).map(|i| {
        let mut changed = good.clone();
        changed[8 * i + usize::from(i == 0)] ^= 1;
        changed
    });
    let of_another_scheme = fs::read(data("oaep-sha256.bin")).unwrap();
    for bad in changed.chain([of_another_scheme, vec![0; 256]]) {
        let mut answers = vec![];
        for (bench, session) in benches.iter_mut().zip(sessions) {
            let needed = Err(Status::NoSpace { needed: 245 });
            assert_eq!(bench.run(session, &bad, b"", 244), needed, "as for a good one");
            for room in [245, 256] {
                answers.push(bench.run(session, &bad, b"", room).unwrap());
            }
        }
        assert!(answers.iter().all(|a| *a == answers[0] && a != MESSAGE && a.len() <= 245));
        lengths.push(answers[0].len());
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 20, "lengths are drawn too: {lengths:?}");
}

#[test]
fn bad_pkcs1_padding_gives_the_messages_that_openssl_gives() {
    use aws_lc_rs::digest::{SHA256, digest};
    let mut bench = Bench::new(Placement::Inline);
    let sessions = [2048, 3072, 4096].map(|bits| {
        let pem = fs::read_to_string(data(&format!("rsa{bits}-pkcs1.pem"))).unwrap();
        bench.session(RsaOp::Decrypt, RsaScheme::Pkcs1, &RsaKey::from_pem(&pem, "known").unwrap())
    });
    let text = fs::read_to_string(data("implicit-rejection.txt")).unwrap();
    let mut n = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [bits, ciphertext, len, hash] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let bytes = bits.parse::<usize>().unwrap() / 8;
        let number = ciphertext.parse::<u32>().unwrap().to_be_bytes();
        let ciphertext = [&vec![0; bytes - number.len()][..], &number].concat();
        let message = bench.run(sessions[bytes / 128 - 2], &ciphertext, b"", bytes).unwrap();
        let ours: String = digest(&SHA256, &message).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((message.len().to_string().as_str(), ours.as_str()), (len, hash), "{line}");
        n += 1;
    }
    assert!(n >= 30);
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

#[test]
fn the_device_says_what_it_is_and_takes_rsa_and_elliptic_curves_only() {
    use warpdrive_pmd::device::DeviceError;
    use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp, ZipSession};
    let bench = Bench::new(Placement::Inline);
    let info = bench.device.info();
    assert_eq!((info.driver, info.hardware, info.batch), ("soft-rsa", false, 8));
    let schemes = RsaScheme::ALL.map(RsaScheme::name);
    assert_eq!(info.algorithms, [&schemes[..], &["ecdsa-p256-sha256", "x25519"]].concat());
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
                    Err(RsaError::PublicOnly { what, .. }) => {
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

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name)
}

fn known_key() -> RsaKey {
    RsaKey::from_pem(&fs::read_to_string(data("rsa2048.pem")).unwrap(), "known").unwrap()
}

#[test]
fn answers_made_by_openssl_are_ours_too() {
    let mut bench = Bench::new(Placement::Inline);
    let key = known_key();
    for scheme in signature_schemes() {
        let known = fs::read(data(&format!("{}.sig", scheme.name()))).unwrap();
        let verify = bench.session(RsaOp::Verify, scheme, &key);
        assert_eq!(bench.run(verify, MESSAGE, &known, 0), Ok(vec![]), "{}", scheme.name());
        let sign = bench.session(RsaOp::Sign, scheme, &key);
        let ours = bench.run(sign, MESSAGE, b"", 256).unwrap();
        // PKCS#1 has one signature for a message; PSS has a random salt.
        assert_eq!(ours == known, scheme.name().starts_with("pkcs1"), "{}", scheme.name());
    }
    for scheme in encryption_schemes() {
        let known = fs::read(data(&format!("{}.bin", scheme.name()))).unwrap();
        let decrypt = bench.session(RsaOp::Decrypt, scheme, &key);
        assert_eq!(bench.run(decrypt, &known, b"", 256), Ok(MESSAGE.to_vec()), "{}", scheme.name());
    }
}

fn weak_key() -> RsaKey {
    RsaKey::from_pem(&fs::read_to_string(data("rsa1024.pem")).unwrap(), "old.pem").unwrap()
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
                Err(RsaError::WrongScheme { .. }) => assert!(!scheme.is_for(op)),
                Err(e) => {
                    assert!(matches!(e, RsaError::Weak { .. }) && refused(op, scheme), "{e}");
                    let message = e.to_string();
                    for part in ["old.pem", "1024 bits", op.name(), scheme.name(), "Remedy: "] {
                        assert!(message.contains(part), "{part:?} is not in {message:?}");
                    }
                }
            }
        }
    }
}

/// A copy of a key file that may be read by its owner only, as a checkout does not keep modes.
fn private_copy(dir: &TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, fs::read(data(name)).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn every_encoding_of_a_key_loads_as_pem_and_as_der() {
    let dir = TempDir::new().unwrap();
    let known = known_key();
    for (name, private) in [
        ("rsa2048.pem", true),
        ("rsa2048-pkcs1.pem", true),
        ("rsa2048-spki.pem", false),
        ("rsa2048-pkcs1-public.pem", false),
    ] {
        let path = private_copy(&dir, name);
        let der = dir.path().join("der");
        let block = pem::parse(fs::read(&path).unwrap()).unwrap();
        let _ = fs::remove_file(&der);
        fs::write(&der, block.contents()).unwrap();
        fs::set_permissions(&der, fs::Permissions::from_mode(0o400)).unwrap();
        let mut bench = Bench::new(Placement::Inline);
        for key in [RsaKey::load(&path).unwrap(), RsaKey::load(&der).unwrap()] {
            assert_eq!((key.bits(), key.is_private()), (2048, private));
            let verify = bench.session(RsaOp::Verify, RsaScheme::Pkcs1Sha256, &key);
            let signature = fs::read(data("pkcs1-sha256.sig")).unwrap();
            assert_eq!(bench.run(verify, MESSAGE, &signature, 0), Ok(vec![]));
            if private {
                let sign = bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key);
                assert_eq!(bench.run(sign, MESSAGE, b"", 256), Ok(signature));
            }
        }
    }
    let bundle = format!(
        "some text\n{}{}",
        fs::read_to_string(data("certificate.pem")).unwrap(),
        fs::read_to_string(data("rsa2048.pem")).unwrap()
    );
    assert!(
        RsaKey::from_pem(&bundle, "bundle").unwrap().is_private(),
        "a certificate beside the key is no harm"
    );
    let shown = format!("{known:?}");
    assert_eq!(shown, r#"RsaKey("known", private, 2048 bits)"#, "a key's numbers are never shown");
}

#[test]
fn a_saved_key_is_private_and_never_overwritten() {
    let dir = TempDir::new().unwrap();
    let (private, public) = (dir.path().join("key.pem"), dir.path().join("pub.pem"));
    let key = known_key();
    key.save_pem(&private).unwrap();
    key.save_public_pem(&public).unwrap();
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&private).unwrap(), fs::read(data("rsa2048.pem")).unwrap(), "as OpenSSL writes it");
    assert_eq!(fs::read(&public).unwrap(), fs::read(data("rsa2048-spki.pem")).unwrap());
    assert!(RsaKey::load(&private).unwrap().is_private());
    assert!(!RsaKey::load(&public).unwrap().is_private());
    for again in [key.save_pem(&public), key.save_public_pem(&private)] {
        let message = again.unwrap_err().to_string();
        assert!(message.contains("never overwritten"), "{message}");
    }
    let nowhere = key.save_pem(dir.path().join("no/such/dir.pem")).unwrap_err();
    assert!(matches!(nowhere, RsaError::Write { .. }), "{nowhere}");
    let refused = key.public().save_pem(dir.path().join("other.pem")).unwrap_err();
    assert!(matches!(refused, RsaError::PublicOnly { .. }), "{refused}");
    assert!(!dir.path().join("other.pem").exists());
}

#[test]
fn key_files_that_do_not_serve_are_refused_with_cause_and_remedy() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let known = fs::read(data("rsa2048.pem")).unwrap();
    let der = pem::parse(&known).unwrap().into_contents();
    let mut damaged = der.clone();
    // In the middle of the private exponent, which then does not fit the primes.
    damaged[500] ^= 1;

    let cases: Vec<(PathBuf, &[&str])> = vec![
        (dir.path().join("missing.pem"), &["missing.pem", "No such file", "openssl genpkey"]),
        (dir.path().to_owned(), &["cannot read", "directory"]),
        (file("empty.pem", b""), &["is empty"]),
        (file("blank.pem", b" \n\n"), &["is empty"]),
        (file("text.pem", b"hello"), &["text.pem", "found neither PEM nor"]),
        (file("huge.pem", &[b'x'; 70_000]), &["more than 65536 bytes"]),
        (file("cut.pem", &known[..known.len() / 2]), &["cut.pem", "without its end"]),
        (file("cut.der", &der[..der.len() - 1]), &["neither PEM nor one whole DER"]),
        (file("trailing.der", &[&der[..], b"x"].concat()), &["neither PEM nor one whole DER"]),
        (file("damaged.der", &damaged), &["damaged.der", "is not sound", "d does not belong", "-check"]),
        (
            file("base64.pem", b"-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"),
            &["is damaged"],
        ),
        (file("two.pem", &[&known[..], &known[..]].concat()), &["more than one key"]),
        (private_copy(&dir, "ec.pem"), &["not an RSA key", "found a P-256 key"]),
        (private_copy(&dir, "ec-pkcs8.pem"), &["not an RSA key", "found a P-256 key"]),
        (private_copy(&dir, "encrypted-pkcs8.pem"), &["encrypted", "openssl pkey -in", "-out"]),
        (private_copy(&dir, "encrypted-pkcs1.pem"), &["encrypted", "openssl pkey -in", "-out"]),
    ];
    for (path, expected) in cases {
        let message = RsaKey::load(&path).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert!(message.contains("Remedy: "), "{message}");
    }
    for bits in [0, 1024, 2047, 8192] {
        let message = RsaKey::generate(bits).unwrap_err().to_string();
        assert!(message.contains(&format!("{bits} bits")), "{message}");
    }
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = private_copy(&dir, "rsa2048.pem");
    for mode in [0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let message = RsaKey::load(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{message}");
        assert!(message.contains(&format!("{mode:04o}")), "{message}");
    }
    let public = private_copy(&dir, "rsa2048-spki.pem");
    fs::set_permissions(&public, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(RsaKey::load(&public).is_ok(), "a public key is for everybody");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    match fs::File::open(&path) {
        Ok(_) => eprintln!("skipped: this user may read a file of mode 000 (root)"),
        Err(_) => {
            let message = RsaKey::load(&path).unwrap_err().to_string();
            assert!(
                message.contains("ermission denied") && message.contains("as the user who owns"),
                "{message}"
            );
        }
    }
}

/// Runs `openssl` in `dir`; whether it succeeded.
fn openssl(dir: &Path, args: &str) -> bool {
    let output = Command::new("openssl").args(args.split_whitespace()).current_dir(dir).output().unwrap();
    if !output.status.success() {
        eprintln!("openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

#[test]
fn openssl_and_we_understand_each_other() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    fs::write(dir.join("message"), MESSAGE).unwrap();
    let mut bench = Bench::new(Placement::Inline);
    for key in keys().iter().chain([&weak_key()]) {
        let bytes = key.bits() / 8;
        key.save_pem(dir.join("key.pem")).unwrap();
        key.save_public_pem(dir.join("pub.pem")).unwrap();
        assert!(openssl(dir, "pkey -in key.pem -check -noout"));
        let possible = |op, scheme| match RsaSession::new(op, scheme, key) {
            Ok(_) => true,
            Err(e) => {
                assert!(key.is_weak(), "{e}");
                false
            }
        };
        for scheme in signature_schemes().filter(|s| possible(RsaOp::Sign, *s)) {
            let (padding, hash) = scheme.name().split_once('-').unwrap();
            let pss = format!(
                "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -sigopt rsa_mgf1_md:{hash}"
            );
            let options = if padding == "pss" { pss.as_str() } else { "" };
            let sign = bench.session(RsaOp::Sign, scheme, key);
            fs::write(dir.join("ours"), bench.run(sign, MESSAGE, b"", bytes).unwrap()).unwrap();
            assert!(openssl(dir, &format!("dgst -{hash} {options} -verify pub.pem -signature ours message")));
            assert!(openssl(dir, &format!("dgst -{hash} {options} -sign key.pem -out theirs message")));
            let theirs = fs::read(dir.join("theirs")).unwrap();
            if possible(RsaOp::Verify, scheme) {
                let verify = bench.session(RsaOp::Verify, scheme, &key.public());
                assert_eq!(bench.run(verify, MESSAGE, &theirs, 0), Ok(vec![]));
            }
        }
        for scheme in encryption_schemes().filter(|s| possible(RsaOp::Decrypt, *s)) {
            let options = match scheme.name().strip_prefix("oaep-") {
                Some(h) => format!(
                    "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{h} -pkeyopt rsa_mgf1_md:{h}"
                ),
                None => String::new(),
            };
            if possible(RsaOp::Encrypt, scheme) {
                let encrypt = bench.session(RsaOp::Encrypt, scheme, &key.public());
                fs::write(dir.join("ours"), bench.run(encrypt, MESSAGE, b"", bytes).unwrap()).unwrap();
                let from_us = format!("pkeyutl -decrypt -inkey key.pem {options} -in ours -out plain");
                assert!(openssl(dir, &from_us));
                assert_eq!(fs::read(dir.join("plain")).unwrap(), MESSAGE);
            }
            let to_us = format!("pkeyutl -encrypt -pubin -inkey pub.pem {options} -in message -out theirs");
            assert!(openssl(dir, &to_us));
            let decrypt = bench.session(RsaOp::Decrypt, scheme, key);
            let theirs = fs::read(dir.join("theirs")).unwrap();
            assert_eq!(bench.run(decrypt, &theirs, b"", bytes), Ok(MESSAGE.to_vec()));
        }
        fs::remove_file(dir.join("key.pem")).unwrap();
        fs::remove_file(dir.join("pub.pem")).unwrap();
    }
}
