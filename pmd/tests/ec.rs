//! P-256 and X25519 through the device traits, and their keys as a user gives them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use warpdrive_mempool::*;
use warpdrive_pmd::device::{Device, DeviceError, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{EcCurve, EcKey, EcOp, EcSession, KeyError, RsaEngine, RsaKey};
use warpdrive_pmd::engine::zip::ZipEngine;
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

const PLACEMENTS: [Placement; 2] = [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Pause }];
const MESSAGE: &[u8] = b"known answer";
/// Room for any signature.
const ROOM: usize = 72;

struct Bench {
    pool: Mempool,
    queue: Box<dyn Queue>,
    device: SoftDevice<RsaEngine>,
}

impl Bench {
    fn new(placement: Placement) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let pool =
            Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, &domain).unwrap();
        let device = SoftDevice::open("ec0", placement, &domain).unwrap();
        let queue = device.request_queue(16).unwrap();
        Self { pool, queue, device }
    }

    fn session(&self, op: EcOp, key: &EcKey) -> SessionId {
        let session = EcSession::new(op, key).unwrap();
        assert_eq!(session.op(), op);
        self.device.create_session(SessionSpec::Ec(session)).unwrap()
    }

    fn run(&mut self, session: SessionId, src: &[u8], aux: &[u8], room: usize) -> Result<Vec<u8>, Status> {
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(src).unwrap();
        packet.extend_from_slice(aux).unwrap();
        let mut output = self.pool.alloc().unwrap();
        output.append(room).unwrap().fill(0xee);
        let mut request = Request::new(session, packet);
        request.set_src(0..src.len()).unwrap();
        request.set_aux(src.len()..src.len() + aux.len()).unwrap();
        request.set_output(output, 0..room).unwrap();
        self.queue.send(request).unwrap();
        let done = self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
        let output = done.request.into_packets().1.unwrap();
        let (written, rest) = output.data().split_at(done.produced as usize);
        assert!(rest.iter().all(|&b| b == 0xee), "nothing is written beyond the output");
        match done.status {
            Status::Ok => Ok(written.to_vec()),
            status => {
                assert_eq!(done.produced, 0);
                Err(status)
            }
        }
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rsa").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(data(name)).unwrap()
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// PKCS#8 of an X25519 private key (RFC 8410, 7).
fn x25519(secret: &[u8]) -> EcKey {
    let der = [b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20", secret].concat();
    EcKey::from_der(&der, "x25519").unwrap()
}

#[test]
fn what_is_signed_verifies_and_what_is_changed_does_not() {
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        let (key, other) = (EcKey::generate(EcCurve::P256).unwrap(), EcKey::generate(EcCurve::P256).unwrap());
        let sign = bench.session(EcOp::Sign, &key);
        let verify = bench.session(EcOp::Verify, &key.public());
        let verify_other = bench.session(EcOp::Verify, &other);
        for message in [&b""[..], b"m", &[0x5a; 1000]] {
            let mut signature = bench.run(sign, message, b"", ROOM).unwrap();
            assert!((8..=ROOM).contains(&signature.len()));
            assert_eq!(bench.run(verify, message, &signature, 0), Ok(vec![]));
            let mismatch = Err(Status::Mismatch);
            assert_eq!(bench.run(verify_other, message, &signature, 0), mismatch);
            assert_eq!(bench.run(verify, b"another", &signature, 0), mismatch);
            assert_eq!(bench.run(verify, message, &signature[1..], 0), mismatch);
            assert_eq!(bench.run(verify, message, &[&signature[..], b"x"].concat(), 0), mismatch);
            assert_eq!(bench.run(verify, message, b"", 0), mismatch);
            *signature.last_mut().unwrap() ^= 1;
            assert_eq!(bench.run(verify, message, &signature, 0), mismatch);
        }
        // Whatever its length turns out to be, the longest must have room.
        for room in [0, 32, ROOM - 1] {
            assert_eq!(bench.run(sign, MESSAGE, b"", room), Err(Status::NoSpace { needed: ROOM as u32 }));
        }
        assert_eq!(bench.pool.stats().in_use, 0);
    }
}

#[test]
fn a_signature_made_by_openssl_verifies() {
    let mut bench = Bench::new(Placement::Inline);
    for name in ["ec.pem", "ec-pkcs8.pem", "ec-spki.pem", "ec-certificate.pem"] {
        let verify = bench.session(EcOp::Verify, &EcKey::from_pem(&text(name), name).unwrap());
        let signature = fs::read(data("ecdsa-sha256.sig")).unwrap();
        assert_eq!(bench.run(verify, MESSAGE, &signature, 0), Ok(vec![]), "{name}");
    }
}

#[test]
fn both_sides_agree_as_rfc_7748_says() {
    // RFC 7748, 6.1.
    let alice = x25519(&hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = x25519(&hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let alices = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let bobs = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!((alice.public_bytes(), bob.public_bytes()), (&alices[..], &bobs[..]));
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        let (by_alice, by_bob) = (bench.session(EcOp::Agree, &alice), bench.session(EcOp::Agree, &bob));
        assert_eq!(bench.run(by_alice, &bobs, b"", 32).as_ref(), Ok(&shared));
        assert_eq!(bench.run(by_bob, &alices, b"", 40).as_ref(), Ok(&shared));
        assert_eq!(bench.run(by_alice, &bobs, b"", 31), Err(Status::NoSpace { needed: 32 }));
        for peer in [&b""[..], &bobs[..31], &[&bobs[..], b"x"].concat(), &[4; 65]] {
            assert_eq!(bench.run(by_alice, peer, b"", 32), Err(Status::BadInput));
        }
    }
}

#[test]
fn points_that_give_an_all_zero_secret_are_bad_input() {
    let mut bench = Bench::new(Placement::Inline);
    let agree = bench.session(EcOp::Agree, &EcKey::generate(EcCurve::X25519).unwrap());
    // The points of small order, and p and p + 1, which are 0 and 1 (RFC 7748, 7).
    let below_p = |low: u8| [&[low][..], &[0xff; 30], &[0x7f]].concat();
    for point in [
        vec![0; 32],
        [&[1][..], &[0; 31]].concat(),
        hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        below_p(0xec),
        below_p(0xed),
        below_p(0xee),
    ] {
        assert_eq!(bench.run(agree, &point, b"", 32), Err(Status::BadInput), "{point:02x?}");
    }
    assert!(bench.run(agree, &[&[9][..], &[0; 31]].concat(), b"", 32).is_ok(), "the base point");
}

#[test]
fn an_operation_wants_its_curve_and_a_private_key_where_it_needs_one() {
    let (p256, x25519) = (EcKey::generate(EcCurve::P256).unwrap(), EcKey::generate(EcCurve::X25519).unwrap());
    let refused = |op, key: &EcKey| EcSession::new(op, key).map(|_| ()).unwrap_err();
    for (op, key, needs) in
        [(EcOp::Sign, &x25519, "P-256"), (EcOp::Verify, &x25519, "P-256"), (EcOp::Agree, &p256, "X25519")]
    {
        let message = refused(op, key).to_string();
        for part in ["(new)", key.curve().name(), op.name(), &format!("Remedy: a key for {needs}")] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    for (op, key) in [(EcOp::Sign, &p256), (EcOp::Agree, &x25519)] {
        assert!(matches!(refused(op, &key.public()), KeyError::PublicOnly { what, .. } if what == op.name()));
    }
    EcSession::new(EcOp::Verify, &p256.public()).unwrap();
}

#[test]
fn a_zip_device_refuses_the_session() {
    let device =
        SoftDevice::<ZipEngine>::open("z", Placement::Inline, &Domain::new(DmaMode::ShareDomain)).unwrap();
    let session = EcSession::new(EcOp::Agree, &EcKey::generate(EcCurve::X25519).unwrap()).unwrap();
    let refused = device.create_session(SessionSpec::Ec(session));
    assert!(matches!(refused, Err(DeviceError::WrongKind { does: "ZIP", wanted: "EC", .. })));
}

#[test]
fn every_encoding_of_a_key_loads_as_pem_and_as_der() {
    let dir = TempDir::new().unwrap();
    let p256 = EcKey::from_pem(&text("ec.pem"), "ec.pem").unwrap();
    let x25519 = EcKey::from_pem(&text("x25519.pem"), "x25519.pem").unwrap();
    for (name, same, private) in [
        ("ec.pem", &p256, true),
        ("ec-pkcs8.pem", &p256, true),
        ("ec-spki.pem", &p256, false),
        ("ec-certificate.pem", &p256, false),
        ("x25519.pem", &x25519, true),
        ("x25519-spki.pem", &x25519, false),
    ] {
        let blocks = pem::parse_many(text(name)).unwrap();
        for contents in [text(name).as_bytes(), blocks.last().unwrap().contents()] {
            let path = dir.path().join("key");
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let key = EcKey::load(&path).unwrap();
            assert_eq!((key.curve(), key.is_private()), (same.curve(), private), "{name}");
            assert_eq!(key.public_bytes(), same.public_bytes(), "{name}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let open = EcKey::load(&path);
            assert_eq!(matches!(open, Err(KeyError::Exposed { .. })), private, "{name}");
        }
    }
    // A SEC 1 key need not name its curve, nor have its public key.
    let sec1 = pem::parse_many(text("ec.pem")).unwrap().pop().unwrap().into_contents();
    assert_eq!(sec1[..7], [0x30, 0x77, 2, 1, 1, 4, 32]);
    let bare = [&[0x30, 37][..], &sec1[2..7 + 32]].concat();
    let bare = EcKey::from_der(&bare, "bare").unwrap();
    assert_eq!(bare.public_bytes(), p256.public_bytes());
    assert_eq!(format!("{p256:?}"), r#"EcKey("ec.pem", private, P-256)"#);
    let session = EcSession::new(EcOp::Agree, &x25519).unwrap();
    assert_eq!(format!("{session:?}"), "EcSession(agree, X25519)");
}

#[test]
fn a_saved_key_is_private_and_never_overwritten() {
    let dir = TempDir::new().unwrap();
    for curve in [EcCurve::P256, EcCurve::X25519] {
        let key = EcKey::generate(curve).unwrap();
        let (private, public) =
            (dir.path().join(curve.name()), dir.path().join(curve.name().to_owned() + ".pub"));
        key.save_pem(&private).unwrap();
        key.save_public_pem(&public).unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        let (again, half) = (EcKey::load(&private).unwrap(), EcKey::load(&public).unwrap());
        assert_eq!((again.is_private(), half.is_private()), (true, false));
        assert_eq!((again.public_bytes(), half.public_bytes()), (key.public_bytes(), key.public_bytes()));
        for refused in [key.save_pem(&public), key.save_public_pem(&private)] {
            assert!(matches!(refused, Err(KeyError::Write { .. })));
        }
        assert!(matches!(half.save_pem(dir.path().join("x")), Err(KeyError::PublicOnly { .. })));
    }
    // As OpenSSL writes it.
    for (name, public) in [("ec.pem", "ec-spki.pem"), ("x25519.pem", "x25519-spki.pem")] {
        let path = dir.path().join(public);
        EcKey::from_pem(&text(name), name).unwrap().save_public_pem(&path).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), text(public));
    }
}

#[test]
fn keys_that_do_not_serve_are_refused_with_cause_and_remedy() {
    let refused = |bytes: &[u8]| EcKey::from_der(bytes, "doctored").unwrap_err().to_string();
    let der = |name: &str| pem::parse_many(text(name)).unwrap().pop().unwrap().into_contents();
    // What follows the version and the key's 32 bytes is [0] the curve and [1] the public key.
    let sec1 = der("ec.pem");
    let mut other_half = sec1.clone();
    *other_half.last_mut().unwrap() ^= 1;
    let mut zero = sec1.clone();
    zero[7..39].fill(0);
    let mut beyond = sec1.clone();
    beyond[7..39].fill(0xff);
    let mut off_curve = der("ec-spki.pem");
    *off_curve.last_mut().unwrap() ^= 1;
    let spki = der("ec-spki.pem");
    let point = spki.len() - 65;
    // The same point, compressed: 2 or 3 and x.
    let sign = 2 | spki[spki.len() - 1] & 1;
    let mut compressed = [&spki[..point], &[sign], &spki[point + 1..point + 33]].concat();
    (compressed[1], compressed[point - 2]) = (compressed[1] - 32, compressed[point - 2] - 32);
    let mut short = der("x25519-spki.pem");
    short.pop();
    (short[1], short[10]) = (short[1] - 1, short[10] - 1);
    let ed25519 = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
    let ed25519 = [ed25519, vec![7; 32]].concat();
    for (bytes, parts) in [
        (vec![], &["is empty"][..]),
        (b"hello".to_vec(), &["neither PEM nor"]),
        (der("rsa2048.pem"), &["neither a P-256 nor", "found an RSA key", "genpkey"]),
        (der("p384.pem"), &["neither a P-256 nor", "found a P-384 key", "genpkey"]),
        (ed25519, &["found an Ed25519 key"]),
        (der("encrypted-pkcs8.pem"), &["encrypted"]),
        (other_half, &["is damaged"]),
        (zero, &["is damaged"]),
        (beyond, &["is damaged"]),
        (off_curve, &["is damaged", "not an uncompressed point on P-256"]),
        (compressed, &["is damaged", "not an uncompressed point on P-256"]),
        (short, &["is damaged", "32 bytes"]),
    ] {
        let message = refused(&bytes);
        for part in parts.iter().chain(&["Remedy: "]) {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    let message = RsaKey::from_pem(&text("x25519.pem"), "x").unwrap_err().to_string();
    assert!(message.contains("found an X25519 key"), "{message}");
    for name in ["ec.pem", "ec-pkcs8.pem", "ec-spki.pem", "x25519.pem", "x25519-spki.pem"] {
        let whole = der(name);
        for len in 0..whole.len() {
            assert!(EcKey::from_der(&whole[..len], name).is_err());
        }
    }
}

/// Runs `openssl` in `dir`.
fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split_whitespace()).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn openssl_and_we_understand_each_other() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let mut bench = Bench::new(Placement::Inline);
    fs::write(dir.join("message"), MESSAGE).unwrap();

    let key = EcKey::generate(EcCurve::P256).unwrap();
    key.save_pem(dir.join("p256.pem")).unwrap();
    key.save_public_pem(dir.join("p256.pub")).unwrap();
    openssl(dir, "pkey -in p256.pem -check -noout");
    let (sign, verify) = (bench.session(EcOp::Sign, &key), bench.session(EcOp::Verify, &key));
    fs::write(dir.join("ours"), bench.run(sign, MESSAGE, b"", ROOM).unwrap()).unwrap();
    openssl(dir, "dgst -sha256 -verify p256.pub -signature ours message");
    openssl(dir, "dgst -sha256 -sign p256.pem -out theirs message");
    assert_eq!(bench.run(verify, MESSAGE, &fs::read(dir.join("theirs")).unwrap(), 0), Ok(vec![]));

    let key = EcKey::generate(EcCurve::X25519).unwrap();
    key.save_pem(dir.join("ours.pem")).unwrap();
    key.save_public_pem(dir.join("ours.pub")).unwrap();
    openssl(dir, "genpkey -algorithm X25519 -out theirs.pem");
    let theirs = EcKey::load(dir.join("theirs.pem")).unwrap();
    theirs.save_public_pem(dir.join("theirs.pub")).unwrap();
    openssl(dir, "pkeyutl -derive -inkey theirs.pem -peerkey ours.pub -out by-them");
    openssl(dir, "pkeyutl -derive -inkey ours.pem -peerkey theirs.pub -out with-ours");
    let agree = bench.session(EcOp::Agree, &key);
    let shared = bench.run(agree, theirs.public_bytes(), b"", 32).unwrap();
    assert_eq!(fs::read(dir.join("by-them")).unwrap(), shared);
    assert_eq!(fs::read(dir.join("with-ours")).unwrap(), shared);
}
