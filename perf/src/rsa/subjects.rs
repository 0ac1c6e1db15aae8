//! What `rsa-timing` tests: whole runs of our engine, from the padding to the padding.

use arrayvec::ArrayVec;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use warpdrive_pmd::device::Status;
use warpdrive_pmd::engine::rsa::{
    PublicKeySession, RsaEngine, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession, Simd,
};
use warpdrive_pmd::engine::{Engine, Job};

use super::keys::Keys;
use super::trial::{Class, Trial, timed};
use super::{FULL, HALF};
use crate::BenchError;

const KEY_BYTES: usize = 2048 / 8;
/// Inputs of each class.
const POOL: usize = 64;
/// What is encrypted: as long as a premaster secret of TLS.
const PLAIN: usize = 48;
/// What is signed.
const MESSAGE: usize = 32;
/// One session in so many is made anew before a sample.
const RENEW: u32 = 16;

/// A way through the engine.
struct Path {
    suffix: &'static str,
    title: &'static str,
    simd: Simd,
    /// Requests measured together.
    at_once: usize,
}

const PATHS: [Path; 4] = [
    Path { suffix: "-karatsuba", title: "passes of 8", simd: Simd::Avx512IfmaKaratsuba, at_once: FULL },
    Path { suffix: "-plain", title: "passes of 8", simd: Simd::Avx512IfmaPlain, at_once: FULL },
    Path { suffix: "-half", title: "passes of 4", simd: Simd::Avx512Ifma, at_once: HALF },
    Path { suffix: "-library", title: "one at a time", simd: Simd::Library, at_once: 1 },
];

/// All trials on all paths that this cpu has.
///
/// # Errors
/// [`BenchError`] when a key, a session or an input cannot be made.
pub fn all() -> Result<Vec<Trial<'static>>, BenchError> {
    let keys = Keys::new(2048)?;
    let key = keys.ours(1)?.remove(0);
    let mut trials = Vec::new();
    for path in &PATHS {
        if RsaEngine::supports(&path.options()).is_ok() {
            trials.push(by_key(path, &keys)?);
            trials.extend([by_message(path, &key)?, by_number(path, &key)?]);
            trials.extend([by_padding(path, &key)?, by_first_byte(path, &key)?]);
        }
    }
    Ok(trials)
}

impl Path {
    fn options(&self) -> RsaOptions {
        RsaOptions { simd: self.simd, ..RsaOptions::default() }
    }

    /// A trial on this path.
    fn trial(
        &self,
        what: &str,
        classes: &str,
        subject: impl FnMut(Class, &mut fastrand::Rng) -> Result<u64, BenchError> + Send + 'static,
    ) -> Trial<'static> {
        Trial {
            suffix: format!("{}-{what}", self.suffix),
            classes: format!("{classes}; {}, {}", self.title, RsaEngine::describe(&self.options()).1),
            subject: Box::new(subject),
        }
    }

    /// A trial of inputs from two pools with one session.
    fn by_input(
        &self,
        what: &str,
        classes: &str,
        session: PublicKeySession,
        len: usize,
        pools: [Vec<[u8; KEY_BYTES]>; 2],
    ) -> Trial<'static> {
        let mut batch = Batch::new(self);
        self.trial(what, classes, move |class, rng| {
            let pool = &pools[usize::from(class == Class::Second)];
            batch.load(|| pool[rng.usize(..pool.len())]);
            Ok(batch.time(&session, len).0)
        })
    }
}

/// An engine with room for a batch of inputs and outputs, which stay where they are whatever the class.
struct Batch {
    engine: RsaEngine,
    at_once: usize,
    input: [[u8; KEY_BYTES]; FULL],
    output: [[u8; KEY_BYTES]; FULL],
}

impl Batch {
    fn new(path: &Path) -> Self {
        let room = [[0; KEY_BYTES]; FULL];
        let engine = RsaEngine::new(&path.options());
        Self { engine, at_once: path.at_once, input: room, output: room }
    }

    /// Takes an input for each request.
    fn load(&mut self, mut input: impl FnMut() -> [u8; KEY_BYTES]) {
        for to in &mut self.input {
            *to = input();
        }
    }

    /// Ticks of one batch over the first `len` bytes of the inputs, and how its first request ended.
    fn time(&mut self, session: &PublicKeySession, len: usize) -> (u64, Result<usize, Status>) {
        let inputs = self.input[..self.at_once].iter().map(|input| &input[..len]);
        let mut jobs: ArrayVec<Job<'_, PublicKeySession>, FULL> =
            inputs.zip(&mut self.output).map(|(src, dst)| Job::new(session, src, &[], dst)).collect();
        let ticks = timed(|| self.engine.run(&mut jobs));
        (ticks, jobs[0].result)
    }
}

/// A request that must go well.
fn must(result: Result<usize, Status>) -> Result<(), BenchError> {
    result.map(|_| ()).map_err(super::failed)
}

fn random<const N: usize>() -> Result<[u8; N], BenchError> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|e| BenchError::Bug(format!("no randomness: {e}")))
}

/// Random bytes that are less than a modulus.
fn number() -> Result<[u8; KEY_BYTES], BenchError> {
    let mut bytes = random::<KEY_BYTES>()?;
    bytes[0] &= 0x7f; // the highest bit of a modulus is set
    Ok(bytes)
}

fn session(op: RsaOp, scheme: RsaScheme, key: &RsaKey) -> Result<PublicKeySession, BenchError> {
    Ok(PublicKeySession::Rsa(RsaSession::new(op, scheme, key)?))
}

fn by_key(path: &Path, keys: &Keys) -> Result<Trial<'static>, BenchError> {
    let keys = keys.ours(FULL)?;
    let sign = |key: &RsaKey| session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key);
    // As many of either class, so that they take as much memory.
    let fixed = keys.iter().map(|_| sign(&keys[0])).collect::<Result<Vec<_>, _>>()?;
    let any = keys.iter().map(sign).collect::<Result<Vec<_>, _>>()?;
    let mut sessions = [fixed, any];
    let mut batch = Batch::new(path);
    let subject = move |class: Class, rng: &mut fastrand::Rng| {
        // Where a session lies has an influence of its own on the time, which must be noise.
        if rng.u32(..RENEW) == 0 {
            let (second, i) = (rng.bool(), rng.usize(..FULL));
            sessions[usize::from(second)][i] = sign(&keys[if second { i } else { 0 }])?;
        }
        let session = &sessions[usize::from(class == Class::Second)][rng.usize(..FULL)];
        // The first batch, which does not count, brings the session to the caches.
        batch.load(|| std::array::from_fn(|_| rng.u8(..)));
        must(batch.time(session, MESSAGE).1)?;
        batch.load(|| std::array::from_fn(|_| rng.u8(..)));
        let (ticks, result) = batch.time(session, MESSAGE);
        must(result).map(|()| ticks)
    };
    Ok(path.trial("key", "signatures with one key, or with any of eight; random messages", subject))
}

fn by_message(path: &Path, key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    let session = session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key)?;
    let fixed = vec![random()?; POOL];
    let any = (0..POOL).map(|_| random()).collect::<Result<_, _>>()?;
    let classes = "signatures of one message, or of random ones";
    Ok(path.by_input("message", classes, session, MESSAGE, [fixed, any]))
}

/// Numbers with no bit or one, from 0 to nearly the modulus.
fn sparse() -> Vec<[u8; KEY_BYTES]> {
    let bits = 8 * KEY_BYTES - 1;
    let one_bit = |bit: usize| {
        let mut number = [0; KEY_BYTES];
        number[KEY_BYTES - 1 - bit / 8] = 1 << (bit % 8);
        number
    };
    let spread = (0..POOL - 1).map(|i| one_bit(i * (bits - 1) / (POOL - 2)));
    std::iter::once([0; KEY_BYTES]).chain(spread).collect()
}

fn by_number(path: &Path, key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    // What is decrypted is the number itself. None of these has a padding.
    let session = session(RsaOp::Decrypt, RsaScheme::OaepSha256, key)?;
    let any = (0..POOL).map(|_| number()).collect::<Result<_, _>>()?;
    let (classes, leave) = match path.simd {
        // 0 and 1 are their own results, whatever the key: they are not given to the library.
        Simd::Library => ("OAEP decryption of 2 and other powers of 2, or of random numbers", 2),
        _ => ("OAEP decryption of 0, 1 and other powers of 2, or of random numbers", 0),
    };
    Ok(path.by_input("number", classes, session, KEY_BYTES, [sparse().split_off(leave), any]))
}

/// A message with its encryption by PKCS#1 v1.5; and the same with one bit changed, which decrypts to a random number,
/// whose first byte is not 0 but in one case of 100 or more.
struct Encrypted {
    #[cfg_attr(not(test), expect(dead_code, reason = "what a test compares with"))]
    plain: [u8; PLAIN],
    valid: [u8; KEY_BYTES],
    invalid: [u8; KEY_BYTES],
}

fn encrypted(key: &RsaKey) -> Result<Vec<Encrypted>, BenchError> {
    let session = session(RsaOp::Encrypt, RsaScheme::Pkcs1, key)?;
    let mut engine = RsaEngine::new(&RsaOptions::default());
    let mut encrypt = || {
        let (plain, mut valid) = (random::<PLAIN>()?, [0; KEY_BYTES]);
        let job = Job::new(&session, &plain, &[], &mut valid);
        let mut jobs = [job];
        engine.run(&mut jobs);
        must(jobs[0].result)?;
        let mut invalid = valid;
        invalid[KEY_BYTES - 1] ^= 1;
        Ok(Encrypted { plain, valid, invalid })
    };
    (0..POOL).map(|_| encrypt()).collect()
}

fn pools(messages: &[Encrypted]) -> [Vec<[u8; KEY_BYTES]>; 2] {
    [messages.iter().map(|m| m.valid).collect(), messages.iter().map(|m| m.invalid).collect()]
}

fn by_padding(path: &Path, key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    let session = session(RsaOp::Decrypt, RsaScheme::Pkcs1, key)?;
    let pools = pools(&encrypted(key)?);
    let classes = "PKCS#1 v1.5 decryption of valid messages, or of such with wrong padding (Bleichenbacher)";
    Ok(path.by_input("pkcs1", classes, session, KEY_BYTES, pools))
}

fn by_first_byte(path: &Path, key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    let session = session(RsaOp::Decrypt, RsaScheme::OaepSha256, key)?;
    // A message padded by v1.5 begins with 0 and is else no OAEP message.
    let pools = pools(&encrypted(key)?);
    let classes = "OAEP decryption of invalid messages whose first byte is 0, or is not (Manger)";
    Ok(path.by_input("oaep", classes, session, KEY_BYTES, pools))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &Path = &PATHS[3];

    #[test]
    fn every_trial_runs_in_both_classes_and_has_a_name_of_its_own() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut trials = all().unwrap();
        for trial in &mut trials {
            for class in [Class::First, Class::Second] {
                assert!((trial.subject)(class, &mut rng).unwrap() > 0, "{}", trial.suffix);
            }
        }
        let mut names: Vec<&str> = trials.iter().map(|trial| trial.suffix.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), trials.len());
    }

    #[test]
    fn the_second_class_is_what_decryption_does_not_decrypt() {
        let key = RsaKey::generate(2048).unwrap();
        let session = session(RsaOp::Decrypt, RsaScheme::Pkcs1, &key).unwrap();
        let mut batch = Batch::new(LIBRARY);
        let mut decrypts = |input, plain: &[u8]| {
            batch.load(|| input);
            // Wrong padding gives a random message, not an error.
            let len = batch.time(&session, KEY_BYTES).1.unwrap();
            batch.output[0][..len] == *plain
        };
        for message in encrypted(&key).unwrap() {
            assert!(decrypts(message.valid, &message.plain));
            assert!(!decrypts(message.invalid, &message.plain));
        }
    }

    #[test]
    fn no_input_of_oaep_trials_is_an_oaep_message_and_all_are_numbers_below_the_modulus() {
        let key = RsaKey::generate(2048).unwrap();
        let oaep = session(RsaOp::Decrypt, RsaScheme::OaepSha256, &key).unwrap();
        // Refuses numbers that are too large, and nothing else.
        let pkcs1 = session(RsaOp::Decrypt, RsaScheme::Pkcs1, &key).unwrap();
        let mut batch = Batch::new(LIBRARY);
        let [valid, invalid] = pools(&encrypted(&key).unwrap());
        let random = (0..POOL).map(|_| number().unwrap());
        for input in sparse().into_iter().chain(random).chain(valid).chain(invalid) {
            batch.load(|| input);
            assert_eq!(batch.time(&oaep, KEY_BYTES).1, Err(Status::BadInput));
            assert!(batch.time(&pkcs1, KEY_BYTES).1.is_ok());
        }
        batch.load(|| [0xff; KEY_BYTES]);
        assert_eq!(batch.time(&pkcs1, KEY_BYTES).1, Err(Status::BadInput));
    }

    #[test]
    fn sparse_numbers_are_zero_and_powers_of_two_up_to_the_highest() {
        let ones = |number: &[u8; KEY_BYTES]| number.iter().map(|byte| byte.count_ones()).sum::<u32>();
        let numbers = sparse();
        assert_eq!((numbers.len(), ones(&numbers[0])), (POOL, 0));
        assert!(numbers[1..].iter().all(|number| ones(number) == 1) && numbers.is_sorted());
        assert_eq!((numbers[1][KEY_BYTES - 1], numbers[POOL - 1][0]), (1, 0x40));
    }
}
