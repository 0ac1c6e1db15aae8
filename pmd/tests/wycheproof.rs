//! Project Wycheproof's vectors through RSA sessions, for the combinations of hash function, MGF1, salt and modulus
//! that are served; private operations by every code that computes them.

use std::collections::BTreeMap;
use std::time::Duration;

use num_bigint::BigUint;
use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize, PoolConfig};
use warpdrive_pmd::device::{Device, DeviceError, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{Passes, RsaEngine, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession, Simd};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify, rsa_pss_verify};

/// A device with one session, one queue, and the packets for it.
struct Bench {
    pool: Mempool,
    queue: Box<dyn Queue>,
    device: SoftDevice<RsaEngine>,
    session: SessionId,
    room: usize,
}

/// Private operations by the library, and in passes, where the cpu can do them: also those that are alone.
fn paths() -> Vec<RsaOptions> {
    let path =
        |(simd, blinding)| RsaOptions { simd, blinding, passes: Passes::Largest, ..RsaOptions::default() };
    let (karatsuba, plain) = (Simd::Avx512IfmaKaratsuba, Simd::Avx512IfmaPlain);
    let paths =
        [(Simd::Library, false), (karatsuba, false), (plain, false), (karatsuba, true), (plain, true)];
    let mut paths = paths.map(path).to_vec();
    let domain = Domain::new(DmaMode::ShareDomain);
    paths.retain(|options| {
        match SoftDevice::<RsaEngine>::open_with("rsa0", Placement::Inline, &domain, options.clone()) {
            Ok(_) => true,
            Err(DeviceError::Unsupported { cause, .. }) => {
                println!("skipped: {cause}");
                false
            }
            Err(e) => panic!("{e}"),
        }
    });
    assert_eq!(paths[0].simd, Simd::Library);
    paths
}

impl Bench {
    fn new(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Self {
        Self::with(RsaOptions::default(), op, scheme, key)
    }

    /// One for each way of computing.
    fn all(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Vec<Self> {
        paths().into_iter().map(|options| Self::with(options, op, scheme, key)).collect()
    }

    fn with(options: RsaOptions, op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 16, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::open_with("rsa0", Placement::Inline, &domain, options).unwrap();
        let session = RsaSession::new(op, scheme, key).unwrap();
        let room = if op == RsaOp::Verify { 0 } else { session.key_bytes() };
        let session = device.create_session(SessionSpec::Rsa(session)).unwrap();
        Self { pool, queue: device.request_queue(4).unwrap(), device, session, room }
    }

    /// One operation: the output, or why there is none.
    fn run(&mut self, src: &[u8], aux: &[u8]) -> Result<Vec<u8>, Status> {
        let mut input = self.pool.alloc().unwrap();
        input.extend_from_slice(src).unwrap();
        input.extend_from_slice(aux).unwrap();
        let mut output = self.pool.alloc().unwrap();
        output.append(self.room).unwrap();
        let mut request = Request::new(self.session, input);
        request.set_src(0..src.len()).unwrap();
        request.set_aux(src.len()..src.len() + aux.len()).unwrap();
        request.set_output(output, 0..self.room).unwrap();
        self.queue.send(request).unwrap();
        let done = self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
        let (_, output) = done.request.into_packets();
        assert_eq!(self.device.stats().retried, 0, "nothing needs another path");
        match done.status {
            Status::Ok => Ok(output.unwrap().data()[..done.produced as usize].to_vec()),
            status => Err(status),
        }
    }
}

/// How many vectors of a file were tried and how many not, by reason.
#[derive(Default)]
struct Count {
    applied: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl Count {
    fn skip(&mut self, why: &'static str, tests: usize) {
        *self.skipped.entry(why).or_default() += tests;
    }

    /// Prints the count, and checks it: all are accounted for, and files that are served had some applied.
    fn done(self, file: &str, all: usize, served: &[&str]) {
        println!("{file}: {} applied, skipped {:?}", self.applied, self.skipped);
        assert_eq!(self.applied + self.skipped.values().sum::<usize>(), all, "{file}");
        assert_eq!(self.applied > 0, served.contains(&file), "{file}");
    }
}

/// Which of the schemes has this hash function; its hash takes so many bytes.
fn with_hash(hash: HashFunction, schemes: [RsaScheme; 3]) -> Option<(RsaScheme, usize)> {
    match hash {
        HashFunction::Sha2_256 => Some((schemes[0], 32)),
        HashFunction::Sha2_384 => Some((schemes[1], 48)),
        HashFunction::Sha2_512 => Some((schemes[2], 64)),
        _ => None,
    }
}

/// The key, or why it is not served.
fn key(der: &[u8], key_size: usize) -> Result<RsaKey, &'static str> {
    match key_size {
        1024 | 2048 | 3072 | 4096 => Ok(RsaKey::from_der(der, "wycheproof").unwrap()),
        _ => {
            assert!(RsaKey::from_der(der, "wycheproof").is_err(), "{key_size} bits");
            Err("size of the modulus")
        }
    }
}

/// Checks what verification says of a vector.
fn check_verification(result: TestResult, verified: Result<Vec<u8>, Status>, why: &str) {
    match result {
        TestResult::Valid => assert_eq!(verified, Ok(vec![]), "{why}"),
        TestResult::Invalid => assert_eq!(verified, Err(Status::Mismatch), "{why}"),
        TestResult::Acceptable => assert!(matches!(verified, Ok(_) | Err(Status::Mismatch)), "{why}"),
    }
}

#[test]
fn pkcs1_signatures_verify_as_they_should() {
    const SERVED: [&str; 9] = [
        "Rsa2048Sha256",
        "Rsa2048Sha384",
        "Rsa2048Sha512",
        "Rsa3072Sha256",
        "Rsa3072Sha384",
        "Rsa3072Sha512",
        "Rsa4096Sha256",
        "Rsa4096Sha384",
        "Rsa4096Sha512",
    ];
    for name in rsa_pkcs1_verify::TestName::all() {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        let mut count = Count::default();
        for group in set.test_groups {
            let schemes = [RsaScheme::Pkcs1Sha256, RsaScheme::Pkcs1Sha384, RsaScheme::Pkcs1Sha512];
            let chosen = with_hash(group.hash, schemes).ok_or("hash function");
            let (scheme, key) = match chosen.and_then(|(s, _)| Ok((s, key(&group.der, group.key_size)?))) {
                Ok(served) => served,
                Err(why) => {
                    count.skip(why, group.tests.len());
                    continue;
                }
            };
            let mut bench = Bench::new(RsaOp::Verify, scheme, &key);
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                check_verification(test.result, bench.run(&test.msg, &test.sig), &why);
                count.applied += 1;
            }
        }
        count.done(&format!("{name:?}"), set.number_of_tests, &SERVED);
    }
}

#[test]
fn pss_signatures_verify_as_they_should() {
    const SERVED: [&str; 11] = [
        "RsaPss2048Sha256Mgf1SaltLen32",
        "RsaPss2048Sha256Mgf1SaltLen32WithParams",
        "RsaPss2048Sha384Mgf1SaltLen48",
        "RsaPss3072Sha256Mgf1SaltLen32",
        "RsaPss3072Sha256Mgf1SaltLen32WithParams",
        "RsaPss4096Sha256Mgf1SaltLen32",
        "RsaPss4096Sha384Mgf1SaltLen48",
        "RsaPss4096Sha512Mgf1SaltLen64",
        "RsaPss4096Sha512Mgf1SaltLen64WithParams",
        "RsaPssmisc",
        "RsaPssmiscWithParams",
    ];
    for name in rsa_pss_verify::TestName::all() {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        let mut count = Count::default();
        for group in set.test_groups {
            let schemes = [RsaScheme::PssSha256, RsaScheme::PssSha384, RsaScheme::PssSha512];
            let chosen = match with_hash(group.hash, schemes) {
                None => Err("hash function"),
                Some(_) if group.mgf_hash != Some(group.hash) => Err("MGF1 with another hash function"),
                Some((_, bytes)) if group.salt_size != bytes => Err("length of the salt"),
                Some((scheme, _)) => Ok(scheme),
            };
            // RSAPublicKey: around it, some say that the key is for PSS only, which is not served.
            let (scheme, key) = match chosen.and_then(|s| Ok((s, key(&group.asn_key, group.key_size)?))) {
                Ok(served) => served,
                Err(why) => {
                    count.skip(why, group.tests.len());
                    continue;
                }
            };
            let mut bench = Bench::new(RsaOp::Verify, scheme, &key);
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                check_verification(test.result, bench.run(&test.msg, &test.sig), &why);
                count.applied += 1;
            }
        }
        count.done(&format!("{name:?}"), set.number_of_tests, &SERVED);
    }
}

#[test]
fn oaep_ciphertexts_decrypt_as_they_should() {
    const SERVED: [&str; 8] = [
        "Rsa2048Sha256Mgf1Sha256",
        "Rsa2048Sha384Mgf1Sha384",
        "Rsa2048Sha512Mgf1Sha512",
        "Rsa3072Sha256Mgf1Sha256",
        "Rsa3072Sha512Mgf1Sha512",
        "Rsa4096Sha256Mgf1Sha256",
        "Rsa4096Sha512Mgf1Sha512",
        "RsaMisc",
    ];
    for name in rsa_oaep::TestName::all() {
        let set = rsa_oaep::TestSet::load(name).unwrap();
        let mut count = Count::default();
        for group in set.test_groups {
            let schemes = [RsaScheme::OaepSha256, RsaScheme::OaepSha384, RsaScheme::OaepSha512];
            let chosen = match with_hash(group.hash, schemes) {
                None => Err("hash function"),
                Some(_) if group.mgf_hash != group.hash => Err("MGF1 with another hash function"),
                Some((scheme, _)) => Ok(scheme),
            };
            let (scheme, key) = match chosen.and_then(|s| Ok((s, key(&group.pkcs8, group.key_size)?))) {
                Ok(served) => served,
                Err(why) => {
                    count.skip(why, group.tests.len());
                    continue;
                }
            };
            let mut benches = Bench::all(RsaOp::Decrypt, scheme, &key);
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                // A label is not served: without it the ciphertext is bad.
                let good = test.label.is_empty() && !test.result.must_fail();
                let expected = if good { Ok(test.pt.to_vec()) } else { Err(Status::BadInput) };
                for bench in &mut benches {
                    assert_eq!(bench.run(&test.ct, b""), expected, "{why}");
                }
                count.applied += 1;
            }
        }
        count.done(&format!("{name:?}"), set.number_of_tests, &SERVED);
    }
}

#[test]
fn pkcs1_ciphertexts_decrypt_as_they_should_and_never_say_that_padding_is_bad() {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        let set = rsa_pkcs1_decrypt::TestSet::load(name).unwrap();
        let mut count = Count::default();
        let (mut refused, mut replaced) = (0, 0);
        for (i, group) in set.test_groups.into_iter().enumerate() {
            let key = key(&group.pkcs8, group.key_size).unwrap();
            // The first key has half of the vectors; each other has one, for which a second path must do.
            let mut paths = paths();
            if i > 0 && paths.len() > 1 {
                paths = vec![paths.remove(0), paths.swap_remove(i % paths.len())];
            }
            let bench = |path| Bench::with(path, RsaOp::Decrypt, RsaScheme::Pkcs1, &key);
            let mut benches: Vec<_> = paths.into_iter().map(bench).collect();
            let n = group.key.n.as_num_bigint();
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                let answers: Vec<_> =
                    benches.iter_mut().flat_map(|b| [b.run(&test.ct, b""), b.run(&test.ct, b"")]).collect();
                let answer = answers[0].clone();
                assert!(answers.iter().all(|a| *a == answer), "by all code, and the second time too: {why}");
                let number = BigUint::from_bytes_be(&test.ct);
                match test.result {
                    TestResult::Valid => assert_eq!(answer, Ok(test.pt.to_vec()), "{why}"),
                    TestResult::Invalid if test.ct.len() != group.key_size / 8 || number >= n => {
                        assert_eq!(answer, Err(Status::BadInput), "{why}");
                        refused += 1;
                    }
                    TestResult::Invalid => {
                        let answer = answer.expect(&why);
                        assert!(answer != *test.pt && answer.len() <= group.key_size / 8 - 11, "{why}");
                        // What stands in the encryption behind the last zero, or any other, is not given out either.
                        let em = number.modpow(&group.key.d.as_num_bigint(), &n).to_bytes_be();
                        assert!(answer.len() < 8 || !em.ends_with(&answer), "{why}");
                        replaced += 1;
                    }
                    TestResult::Acceptable => panic!("{why}: none was known"),
                }
                count.applied += 1;
            }
        }
        assert!(refused > 0 && replaced > 0, "{name:?}: {refused} refused, {replaced} replaced");
        count.done(&format!("{name:?}"), set.number_of_tests, &["Rsa2048", "Rsa3072", "Rsa4096"]);
    }
}

/// There are no vectors for making signatures with keys that the crate gives; so the keys are those for decryption.
#[test]
fn signatures_by_all_code_verify_and_those_of_pkcs1_are_one_and_the_same() {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        let set = rsa_pkcs1_decrypt::TestSet::load(name).unwrap();
        for group in set.test_groups.into_iter().take(1) {
            let key = key(&group.pkcs8, group.key_size).unwrap();
            for scheme in RsaScheme::ALL.into_iter().filter(|s| s.is_for(RsaOp::Sign)) {
                let mut verify = Bench::new(RsaOp::Verify, scheme, &key.public());
                let mut benches = Bench::all(RsaOp::Sign, scheme, &key);
                let mut signatures = vec![];
                for bench in &mut benches {
                    for test in group.tests.iter().filter(|t| t.result == TestResult::Valid).take(3) {
                        let signature = bench.run(&test.pt, b"").unwrap();
                        assert_eq!(verify.run(&test.pt, &signature), Ok(vec![]), "{}", scheme.name());
                        signatures.push(signature);
                    }
                }
                let made = signatures.len();
                signatures.sort();
                signatures.dedup();
                let different = if scheme.name().starts_with("pkcs1") { made / benches.len() } else { made };
                assert_eq!(signatures.len(), different, "{}", scheme.name());
            }
        }
    }
}
