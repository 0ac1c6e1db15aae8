//! The engine in a device, with faults that no user can bring about.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize, PoolConfig};

use super::super::ifma::IfmaKey;
use super::super::ifma::fault::{self, Fault, Place};
use super::super::library::LibraryKey;
use super::super::parts::PrivateParts;
use super::super::{RsaKey, RsaOp};
use super::*;
use crate::device::{Completion, Device, Queue, Request, SessionId};
use crate::engine::{Placement, SoftDevice};
use crate::idle::IdlePolicy;

/// Passes of either kind, also for one alone.
const KINDS: [Simd; 2] = [Simd::Avx512IfmaKaratsuba, Simd::Avx512IfmaPlain];

fn options(simd: Simd) -> RsaOptions {
    RsaOptions { simd, passes: Passes::Largest, ..RsaOptions::default() }
}

fn known_key() -> RsaKey {
    RsaKey::from_pem(include_str!("../../../../tests/data/rsa/rsa2048.pem"), "known").unwrap()
}

/// The signature of a message, by aws-lc.
fn right(key: &RsaKey, message: &[u8]) -> Vec<u8> {
    let pair = KeyPair::from_pkcs8(key.pkcs8("be tested").unwrap().as_bytes()).unwrap();
    let mut signature = vec![0; key.bits() / 8];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn session(key: &RsaKey) -> RsaSession {
    RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key).unwrap()
}

/// A session of which something in the prepared key was replaced.
fn changed(key: &RsaKey, change: impl FnOnce(&mut PrivateKey)) -> RsaSession {
    let mut session = session(key);
    match &mut session.prepared {
        Prepared::Private(prepared) => change(prepared),
        _ => unreachable!("a session that signs"),
    }
    session
}

/// The numbers of a key with one bit flipped.
fn damaged(key: &RsaKey, damage: impl FnOnce(&mut PrivateParts)) -> PrivateParts {
    let PrivateParts { n, e, d, p, q, dp, dq, qinv } = &**key.parts("be tested").unwrap();
    let [n, e] = [n, e].map(Clone::clone);
    let [d, p, q, dp, dq, qinv] = [d, p, q, dp, dq, qinv].map(Clone::clone);
    let mut parts = PrivateParts { n, e, d, p, q, dp, dq, qinv };
    damage(&mut parts);
    parts
}

struct Bench {
    pool: Mempool,
    queue: Box<dyn Queue>,
    device: SoftDevice<RsaEngine>,
}

impl Bench {
    /// Nothing, and a word about it, where the cpu cannot do what the options ask for.
    fn new(placement: Placement, options: RsaOptions) -> Option<Self> {
        if let Err(cause) = RsaEngine::supports(&options) {
            println!("skipped: {cause}");
            return None;
        }
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 64, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::open_with("rsa0", placement, &domain, options).unwrap();
        let queue = device.request_queue(16).unwrap();
        Some(Self { pool, queue, device })
    }

    fn session(&self, session: RsaSession) -> SessionId {
        self.device.create_session(SessionSpec::Rsa(session)).unwrap()
    }

    fn request(&self, session: SessionId, tag: usize, src: &[u8]) -> Request {
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(src).unwrap();
        let len = packet.len();
        let mut output = self.pool.alloc().unwrap();
        output.append(512).unwrap().fill(0xee);
        let mut request = Request::new(session, packet).with_tag(tag as u64);
        request.set_src(0..len).unwrap();
        request.set_output(output, 0..512).unwrap();
        request
    }

    /// Sends requests with the tags 0, 1, 2 …; the results in that order.
    fn run(&mut self, sessions: &[SessionId]) -> Vec<Result<Vec<u8>, Status>> {
        let mut requests: Vec<_> = sessions
            .iter()
            .enumerate()
            .map(|(tag, session)| self.request(*session, tag, message(tag).as_bytes()))
            .collect();
        assert_eq!(self.queue.send_burst(&mut requests), sessions.len());
        let receive = |_| self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
        let mut done: Vec<_> = sessions.iter().map(receive).collect();
        done.sort_by_key(|completion| completion.request.tag);
        done.into_iter().map(output).collect()
    }
}

fn message(tag: usize) -> String {
    format!("message {tag}")
}

/// What a completion brought. Nothing is written beyond what was produced.
fn output(completion: Completion) -> Result<Vec<u8>, Status> {
    let (_, output) = completion.request.into_packets();
    let output = output.unwrap();
    let (written, rest) = output.data().split_at(completion.produced as usize);
    assert!(rest.iter().all(|&b| b == 0xee));
    match completion.status {
        Status::Ok => Ok(written.to_vec()),
        status => {
            assert!(written.is_empty());
            Err(status)
        }
    }
}

#[test]
fn a_fault_in_a_pass_is_made_good_on_the_other_path_and_counted() {
    let key = known_key();
    let right: Vec<_> = (0..FULL).map(|tag| Ok(right(&key, message(tag).as_bytes()))).collect();
    for (kind, blinding) in KINDS.into_iter().zip([false, true]) {
        let options = RsaOptions { blinding, ..options(kind) };
        let Some(mut bench) = Bench::new(Placement::Inline, options) else { return };
        let id = bench.session(session(&key));
        let mut faults = 0;
        for fill in [FULL, 3] {
            for place in [Place::P, Place::Q, Place::Result] {
                for lane in 0..fill {
                    fault::set(Some(Fault { place, lane, digit: 2 * lane, bit: 51 - lane }));
                    let signatures = bench.run(&[id; FULL][..fill]);
                    fault::set(None);
                    assert_eq!(signatures, right[..fill], "{place:?} of lane {lane} of {fill}");
                    faults += 1;
                    let stats = bench.device.stats();
                    assert_eq!((stats.retried, stats.errors, stats.panics), (faults, 0, 0));
                }
            }
        }
        assert_eq!(bench.run(&[id; FULL]), right);
        assert_eq!(bench.device.stats().retried, faults, "no fault, no retry");
    }
}

#[test]
fn a_key_damaged_in_lanes_still_signs_on_the_other_path() {
    let key = known_key();
    let faults: [fn(&mut PrivateParts); 3] = [|p| p.dp[40] ^= 1, |p| p.dq[40] ^= 4, |p| p.qinv[40] ^= 64];
    for (n, fault) in (1..).zip(faults) {
        let Some(mut bench) = Bench::new(Placement::Inline, options(Simd::Auto)) else { return };
        let parts = damaged(&key, fault);
        let Some(lanes) = IfmaKey::new(&parts, 8 * parts.n.len()).unwrap() else {
            println!("skipped: this cpu has no AVX-512 IFMA");
            return;
        };
        let damaged = bench.session(changed(&key, |prepared| prepared.ifma = Some(lanes)));
        let good = bench.session(session(&key));
        let signatures = bench.run(&[good, damaged, good, good, damaged]);
        for (tag, signature) in signatures.into_iter().enumerate() {
            assert_eq!(signature, Ok(right(&key, message(tag).as_bytes())), "fault {n}");
        }
        assert_eq!(bench.device.stats().retried, 2);
    }
}

#[test]
fn where_the_other_path_fails_too_the_request_fails_and_nothing_is_written() {
    let key = known_key();
    for kind in KINDS {
        let Some(mut bench) = Bench::new(Placement::Inline, options(kind)) else { return };
        let library = LibraryKey::new(&damaged(&key, |p| p.dq[7] ^= 8)).unwrap();
        let broken = bench.session(changed(&key, |prepared| prepared.library = library));
        let expected: Vec<_> = (0..3).map(|tag| Ok(right(&key, message(tag).as_bytes()))).collect();
        assert_eq!(bench.run(&[broken; 3]), expected, "passes do not need it");
        fault::set(Some(Fault { place: Place::Q, lane: 1, digit: 0, bit: 0 }));
        let answers = bench.run(&[broken; 3]);
        fault::set(None);
        assert_eq!(answers, [expected[0].clone(), Err(Status::EngineFailed), expected[2].clone()]);
        let stats = bench.device.stats();
        assert_eq!((stats.retried, stats.errors, stats.panics), (1, 1, 0));
    }
}

#[test]
fn without_the_check_the_wrong_signature_comes_out() {
    let key = known_key();
    for kind in KINDS {
        let options = RsaOptions { check: false, ..options(kind) };
        let Some(mut bench) = Bench::new(Placement::Inline, options) else { return };
        let id = bench.session(session(&key));
        fault::set(Some(Fault { place: Place::P, lane: 5, digit: 9, bit: 3 }));
        let signatures = bench.run(&[id; FULL]);
        fault::set(None);
        for (tag, signature) in signatures.into_iter().enumerate() {
            let right = right(&key, message(tag).as_bytes());
            assert_eq!(signature.unwrap() == right, tag != 5);
        }
        assert_eq!(bench.device.stats().retried, 0);
    }
}

#[test]
fn a_panic_in_a_pass_costs_the_batch_and_the_engine_goes_on() {
    let key = known_key();
    let right: Vec<_> = (0..4).map(|tag| Ok(right(&key, message(tag).as_bytes()))).collect();
    for placement in [Placement::Inline, Placement::Core { cpu: 0, idle: IdlePolicy::Sleep }] {
        let Some(mut bench) = Bench::new(placement, options(KINDS[0])) else { return };
        // A key of another size than the session says: what a pass must never see.
        let large =
            RsaKey::from_pem(include_str!("../../../../tests/data/rsa/rsa3072-pkcs1.pem"), "3072").unwrap();
        let lanes = IfmaKey::new(large.parts("be tested").unwrap(), large.bits()).unwrap();
        let (good, poisoned) =
            (bench.session(session(&key)), bench.session(changed(&key, |prepared| prepared.ifma = lanes)));
        for n in 1..=3 {
            let answers = bench.run(&[good, good, poisoned, good]);
            for (tag, answer) in answers.into_iter().enumerate() {
                // An engine core may have begun with less than all four.
                let failed = answer == Err(Status::EngineFailed);
                assert!(
                    failed || (tag != 2 && placement != Placement::Inline && answer == right[tag]),
                    "{tag}"
                );
            }
            assert_eq!(bench.run(&[good; 4]), right, "the same queue, the same session");
            let stats = bench.device.stats();
            assert_eq!((stats.panics, stats.failed), (n, false));
        }
    }
}

#[test]
fn the_largest_number_below_the_modulus_is_decrypted_and_the_modulus_is_refused() {
    let key = known_key();
    for simd in [Simd::Library, KINDS[0], KINDS[1]] {
        let Some(mut bench) = Bench::new(Placement::Inline, options(simd)) else { return };
        let decrypt = RsaSession::new(RsaOp::Decrypt, RsaScheme::Pkcs1, &key).unwrap();
        let id = bench.session(decrypt);
        let (modulus, mut below) = (key.modulus(), key.modulus().to_vec());
        below[255] -= 1;
        for (src, expected) in [(modulus, Status::BadInput), (&below, Status::Ok)] {
            let request = bench.request(id, 0, src);
            bench.queue.send(request).unwrap();
            let done = bench.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
            assert_eq!(done.status, expected, "{}", simd.name());
        }
        // n − 1 is its own root, which is no good padding: it takes no other path all the same.
        assert_eq!(bench.device.stats().retried, 0);
    }
}
