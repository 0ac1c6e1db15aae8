//! What `rsa-timing` tests: our engine, a batch at a time.

use arrayvec::ArrayVec;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use warpdrive_pmd::device::Status;
use warpdrive_pmd::engine::rsa::{
    PublicKeySession, RsaEngine, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession,
};
use warpdrive_pmd::engine::{Engine, Job};

use super::FULL;
use super::keys::Keys;
use super::timing::{Class, Trial, timed};
use crate::BenchError;

const KEY_BYTES: usize = 2048 / 8;
/// Inputs of each class.
const POOL: usize = 64;
/// What is encrypted: as long as a premaster secret of TLS.
const PLAIN: usize = 48;
/// What is signed.
const MESSAGE: usize = 32;
/// Requests measured together: what the engine takes at once.
const LANES: usize = if RsaEngine::BATCH < FULL { RsaEngine::BATCH } else { FULL };

/// All trials.
///
/// # Errors
/// [`BenchError`] when a key, a session or an input cannot be made.
pub fn all() -> Result<Vec<Trial<'static>>, BenchError> {
    let keys = Keys::new(2048)?;
    let key = keys.ours(1)?.remove(0);
    Ok(vec![by_key(&keys)?, by_message(&key)?, by_padding(&key)?, by_first_byte(&key)?])
}

/// An engine with room for a batch of inputs and outputs, which stay where they are whatever the class.
struct Batch {
    engine: RsaEngine,
    input: [[u8; KEY_BYTES]; LANES],
    output: [[u8; KEY_BYTES]; LANES],
}

impl Batch {
    fn new() -> Self {
        Self {
            engine: RsaEngine::new(&RsaOptions::default()),
            input: [[0; KEY_BYTES]; LANES],
            output: [[0; KEY_BYTES]; LANES],
        }
    }

    /// Takes an input for each lane.
    fn load(&mut self, mut input: impl FnMut() -> [u8; KEY_BYTES]) {
        for lane in &mut self.input {
            *lane = input();
        }
    }

    /// Ticks of one batch over the first `len` bytes of the inputs, and how its first request ended.
    fn time(&mut self, session: &PublicKeySession, len: usize) -> (u64, Result<usize, Status>) {
        let inputs = self.input.iter().map(|input| &input[..len]);
        let mut jobs: ArrayVec<Job<'_, PublicKeySession>, LANES> = inputs
            .zip(&mut self.output)
            .map(|(src, dst)| Job { session, src, aux: &[], dst, result: Ok(0), retried: false })
            .collect();
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

fn by_key(keys: &Keys) -> Result<Trial<'static>, BenchError> {
    let pool = keys.ours(FULL)?;
    let mut batch = Batch::new();
    let subject = move |class, rng: &mut fastrand::Rng| {
        let any = rng.usize(..pool.len());
        let key = &pool[if class == Class::First { 0 } else { any }];
        // Made anew each time, so that it lies in the same memory whichever key it is of; the first batch, which does
        // not count, brings it to the caches.
        let session = PublicKeySession::Rsa(RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key)?);
        batch.load(|| std::array::from_fn(|_| rng.u8(..)));
        must(batch.time(&session, MESSAGE).1)?;
        batch.load(|| std::array::from_fn(|_| rng.u8(..)));
        let (ticks, result) = batch.time(&session, MESSAGE);
        must(result).map(|()| ticks)
    };
    let classes = "signatures with one key, or with any of eight; random messages";
    Ok(Trial { suffix: "-key", classes, subject: Box::new(subject) })
}

/// A trial of inputs from two pools with one session.
fn by_input(
    suffix: &'static str,
    classes: &'static str,
    session: PublicKeySession,
    len: usize,
    pools: [Vec<[u8; KEY_BYTES]>; 2],
) -> Trial<'static> {
    let mut batch = Batch::new();
    let subject = move |class, rng: &mut fastrand::Rng| {
        let pool = &pools[usize::from(class == Class::Second)];
        batch.load(|| pool[rng.usize(..pool.len())]);
        Ok(batch.time(&session, len).0)
    };
    Trial { suffix, classes, subject: Box::new(subject) }
}

fn by_message(key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    let session = PublicKeySession::Rsa(RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key)?);
    let fixed = vec![random()?; POOL];
    let any = (0..POOL).map(|_| random()).collect::<Result<_, _>>()?;
    let classes = "signatures of one message, or of random ones";
    Ok(by_input("-message", classes, session, MESSAGE, [fixed, any]))
}

/// Messages encrypted with PKCS#1 v1.5; and the same with one bit changed, which decrypts to a random number, whose
/// first byte is not 0 but in one case of 100 or more.
fn encrypted(key: &RsaKey) -> Result<[Vec<[u8; KEY_BYTES]>; 2], BenchError> {
    let session = PublicKeySession::Rsa(RsaSession::new(RsaOp::Encrypt, RsaScheme::Pkcs1, key)?);
    let mut engine = RsaEngine::new(&RsaOptions::default());
    let mut pools = [Vec::new(), Vec::new()];
    for _ in 0..POOL {
        let (plain, mut out) = (random::<PLAIN>()?, [0; KEY_BYTES]);
        let job =
            Job { session: &session, src: &plain, aux: &[], dst: &mut out, result: Ok(0), retried: false };
        let mut jobs = [job];
        engine.run(&mut jobs);
        must(jobs[0].result)?;
        pools[0].push(out);
        out[KEY_BYTES - 1] ^= 1;
        pools[1].push(out);
    }
    Ok(pools)
}

fn by_padding(key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    let session = PublicKeySession::Rsa(RsaSession::new(RsaOp::Decrypt, RsaScheme::Pkcs1, key)?);
    let pools = encrypted(key)?;
    let mut batch = Batch::new();
    batch.load(|| pools[0][0]);
    must(batch.time(&session, KEY_BYTES).1)?;
    let classes = "PKCS#1 v1.5 decryption of valid messages, or of such with wrong padding (Bleichenbacher)";
    Ok(by_input("-pkcs1", classes, session, KEY_BYTES, pools))
}

fn by_first_byte(key: &RsaKey) -> Result<Trial<'static>, BenchError> {
    let session = PublicKeySession::Rsa(RsaSession::new(RsaOp::Decrypt, RsaScheme::OaepSha256, key)?);
    // A message padded by v1.5 begins with 0 and is else no OAEP message.
    let pools = encrypted(key)?;
    let mut batch = Batch::new();
    for pool in &pools {
        batch.load(|| pool[0]);
        if batch.time(&session, KEY_BYTES).1.is_ok() {
            return Err(BenchError::Bug("a message that is not OAEP was decrypted as such".to_owned()));
        }
    }
    let classes = "OAEP decryption of invalid messages whose first byte is 0, or is not (Manger)";
    Ok(by_input("-oaep", classes, session, KEY_BYTES, pools))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_runs_in_both_classes() {
        let mut rng = fastrand::Rng::with_seed(1);
        for mut trial in all().unwrap() {
            for class in [Class::First, Class::Second] {
                assert!((trial.subject)(class, &mut rng).unwrap() > 0, "{}", trial.suffix);
            }
        }
    }

    #[test]
    fn the_second_class_is_what_decryption_refuses() {
        let key = RsaKey::generate(2048).unwrap();
        let session = PublicKeySession::Rsa(RsaSession::new(RsaOp::Decrypt, RsaScheme::Pkcs1, &key).unwrap());
        let [valid, invalid] = encrypted(&key).unwrap();
        let mut batch = Batch::new();
        let mut decrypt = |input| {
            batch.load(|| input);
            batch.time(&session, KEY_BYTES).1
        };
        assert!(valid.into_iter().all(|input| decrypt(input) == Ok(PLAIN)));
        // A random number looks valid in less than one case of 30,000.
        assert!(invalid.into_iter().filter(|input| decrypt(*input) == Ok(PLAIN)).count() == 0);
    }
}
