//! Project Wycheproof's vectors through RSA sessions, for the combinations of hash function, MGF1, salt and modulus
//! that are served. PKCS#1 decryption is not here: what a session answers to bad padding is its engine's.

use std::collections::BTreeMap;
use std::time::Duration;

use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize, PoolConfig};
use warpdrive_pmd::device::{Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_verify, rsa_pss_verify};

/// A device with one session, one queue, and the packets for it.
struct Bench {
    pool: Mempool,
    queue: Box<dyn Queue>,
    session: SessionId,
    room: usize,
}

impl Bench {
    fn new(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Self {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 16, pages, ..PoolConfig::default() };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = SoftDevice::<RsaEngine>::open("rsa0", Placement::Inline, &domain).unwrap();
        let session = RsaSession::new(op, scheme, key).unwrap();
        let room = if op == RsaOp::Verify { 0 } else { session.key_bytes() };
        let session = device.create_session(SessionSpec::Rsa(session)).unwrap();
        Self { pool, queue: device.request_queue(4).unwrap(), session, room }
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
        2048 | 3072 | 4096 => Ok(RsaKey::from_der(der, "wycheproof").unwrap()),
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
            let mut bench = Bench::new(RsaOp::Decrypt, scheme, &key);
            for test in group.tests {
                let why = format!("{name:?} {}: {}", test.tc_id, test.comment);
                let decrypted = bench.run(&test.ct, b"");
                // A label is not served: without it the ciphertext is bad.
                let good = test.label.is_empty() && !test.result.must_fail();
                let expected = if good { Ok(test.pt.to_vec()) } else { Err(Status::BadInput) };
                assert_eq!(decrypted, expected, "{why}");
                count.applied += 1;
            }
        }
        count.done(&format!("{name:?}"), set.number_of_tests, &SERVED);
    }
}
