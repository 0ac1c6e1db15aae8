//! Our engine as it takes part in the benches of throughput and of passes.

use arrayvec::ArrayVec;
use warpdrive_pmd::engine::rsa::{
    PublicKeySession, RsaEngine, RsaOp, RsaOptions, RsaScheme, RsaSession, Simd,
};
use warpdrive_pmd::engine::{Engine, Job};

use super::contenders::{Contender, InProcess, MESSAGE};
use super::keys::Keys;
use super::peers::{Peer, sign_with_aws_lc};
use super::{FULL, HALF};
use crate::BenchError;

/// The largest signature.
const SIGNATURE_MAX: usize = 512;

/// A way in which our engine takes part.
pub struct Ours<'a> {
    /// What it adds to the name of its lines.
    pub suffix: &'static str,
    /// What is to be known of it.
    pub how: String,
    /// Whom it is compared with.
    pub against: &'static [Peer],
    /// Whether it is compared with the first of ours too: what does an option cost?
    pub cost: bool,
    /// What one operation takes, if it is one of full passes.
    pub multiply_adds: Option<MultiplyAdds>,
    /// The contender.
    pub contender: Box<dyn Contender + 'a>,
}

/// Multiply-adds on 512 bits for one operation.
#[derive(Clone, Copy, Debug)]
pub struct MultiplyAdds {
    /// What the kernels in use do.
    pub done: f64,
    /// What schoolbook multiplication does.
    pub schoolbook: f64,
}

impl MultiplyAdds {
    fn of(options: &RsaOptions, bits: usize) -> Option<Self> {
        let plain = RsaOptions { simd: Simd::Avx512IfmaPlain, ..options.clone() };
        let each = |options| Some(RsaEngine::multiply_adds(options, bits)? as f64 / FULL as f64);
        Some(Self { done: each(options)?, schoolbook: each(&plain)? })
    }
}

/// One of ours before it is made.
struct Way {
    suffix: &'static str,
    what: &'static str,
    against: &'static [Peer],
    cost: bool,
    keys: usize,
    at_once: usize,
    options: RsaOptions,
}

impl Way {
    fn new(suffix: &'static str, what: &'static str, against: &'static [Peer]) -> Self {
        let options = RsaOptions::default();
        Self { suffix, what, against, cost: false, keys: 1, at_once: FULL, options }
    }

    fn make(self, keys: &Keys) -> Result<Ours<'static>, BenchError> {
        let check = match (self.at_once, self.options.check) {
            (1, _) => "result checked and input blinded by aws-lc",
            (_, true) => "result checked",
            (_, false) => "no check",
        };
        let blinding = if self.options.blinding { ", input blinded" } else { "" };
        Ok(Ours {
            suffix: self.suffix,
            how: format!("{}; a message of 32 bytes is hashed and padded, {check}{blinding}", self.what),
            against: self.against,
            cost: self.cost,
            multiply_adds: MultiplyAdds::of(&self.options, keys.bits()).filter(|_| self.at_once == FULL),
            contender: engine(keys, self.keys, self.at_once, &self.options)?,
        })
    }
}

/// Our engine as it takes part in the benches of throughput, the one that matters most first. What this cpu cannot do
/// takes no part.
///
/// # Errors
/// [`BenchError`] when a session cannot be made or signs wrongly.
pub fn ours(keys: &Keys) -> Result<Vec<Ours<'static>>, BenchError> {
    let usual = RsaOptions::default;
    let kernels = |simd| RsaOptions { simd, ..usual() };
    [
        Way::new("", "passes of 8, one key", &[Peer::OpenSsl, Peer::CryptoMb, Peer::AwsLc]),
        Way { keys: FULL, ..Way::new("-keys", "passes of 8, 8 different keys", &[Peer::CryptoMbKeys]) },
        Way { at_once: HALF, ..Way::new("-half", "passes of 4, one key", &[Peer::OpenSsl]) },
        Way { at_once: 1, ..Way::new("-single", "one at a time, one key", &[Peer::OpenSsl, Peer::AwsLc]) },
        Way {
            options: RsaOptions { check: false, ..usual() },
            cost: true,
            ..Way::new("-nocheck", "passes of 8, one key", &[Peer::CryptoMb])
        },
        Way {
            options: RsaOptions { blinding: true, ..usual() },
            cost: true,
            ..Way::new("-blinding", "passes of 8, one key", &[])
        },
        Way {
            options: kernels(Simd::Avx512IfmaPlain),
            ..Way::new("-plain", "passes of 8, one key", &[Peer::OpenSsl])
        },
        Way {
            options: kernels(Simd::Avx512IfmaKaratsuba),
            ..Way::new("-karatsuba", "passes of 8, one key", &[Peer::OpenSsl])
        },
    ]
    .into_iter()
    .filter(|way| RsaEngine::supports(&way.options).is_ok())
    .map(|way| way.make(keys))
    .collect()
}

/// Our engine as it takes part in the bench of passes.
///
/// # Errors
/// As [`ours`].
pub fn passes(keys: &Keys) -> Result<Vec<Ours<'static>>, BenchError> {
    [
        Way::new("", "a pass of 8, one key", &[Peer::OpenSsl, Peer::CryptoMb, Peer::AwsLc]),
        Way { at_once: HALF, ..Way::new("-half", "a pass of 4, one key", &[Peer::OpenSsl]) },
        Way { at_once: 1, ..Way::new("-single", "one alone, one key", &[Peer::OpenSsl, Peer::AwsLc]) },
    ]
    .into_iter()
    .map(|way| way.make(keys))
    .collect()
}

/// Our engine, `at_once` requests to sign in each pass, with `count` keys in turn.
///
/// # Errors
/// [`BenchError`] when a session cannot be made, or its signature is not that of aws-lc.
pub fn engine(
    keys: &Keys,
    count: usize,
    at_once: usize,
    options: &RsaOptions,
) -> Result<Box<dyn Contender>, BenchError> {
    let mut signer = Signer::new(keys, count, options)?;
    signer.sign(at_once)?;
    for (out, pair) in signer.out.iter().zip(keys.pairs(count.min(at_once))?) {
        if !out.starts_with(&sign_with_aws_lc(&pair)?) {
            return Err(BenchError::Bug("our engine signs otherwise than aws-lc".to_owned()));
        }
    }
    let pass = move || signer.sign(at_once).map(|()| at_once);
    Ok(Box::new(InProcess { name: RsaEngine::describe(options).1, pass }))
}

/// An engine that signs the same message again and again.
struct Signer {
    engine: RsaEngine,
    sessions: Vec<PublicKeySession>,
    key_bytes: usize,
    out: Box<[[u8; SIGNATURE_MAX]; FULL]>,
}

impl Signer {
    fn new(keys: &Keys, count: usize, options: &RsaOptions) -> Result<Self, BenchError> {
        let keys = keys.ours(count)?;
        let session =
            |key| RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key).map(PublicKeySession::Rsa);
        Ok(Self {
            engine: RsaEngine::new(options),
            sessions: keys.iter().map(session).collect::<Result<_, _>>()?,
            key_bytes: keys.first().map_or(0, |key| key.bits() / 8),
            out: Box::new([[0; SIGNATURE_MAX]; FULL]),
        })
    }

    /// One pass of the engine.
    fn sign(&mut self, at_once: usize) -> Result<(), BenchError> {
        let mut jobs: ArrayVec<Job<'_, PublicKeySession>, FULL> = self.out[..at_once]
            .iter_mut()
            .zip(self.sessions.iter().cycle())
            .map(|(dst, session)| Job::new(session, MESSAGE, &[], dst))
            .collect();
        self.engine.run(&mut jobs);
        // What was done again on another path would be measured as if it were one operation.
        let signed = jobs.iter().filter(|job| job.result == Ok(self.key_bytes) && !job.retried).count();
        if signed == at_once {
            Ok(())
        } else {
            Err(BenchError::Bug(format!("the engine signed {signed} of {at_once} at once")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn our_engine_does_as_many_as_it_is_asked() {
        let keys = Keys::new(2048).unwrap();
        for (count, at_once) in [(1, FULL), (FULL, FULL), (FULL, HALF), (1, 1)] {
            let mut contender = engine(&keys, count, at_once, &RsaOptions::default()).unwrap();
            let run = contender.run_for(Duration::from_millis(1)).unwrap();
            assert!(run.ops > 0);
            assert_eq!(run.ops as usize, at_once * run.passes_us.len(), "{}", contender.name());
        }
    }

    #[test]
    fn every_way_of_ours_works_and_has_a_name_of_its_own() {
        let keys = Keys::new(2048).unwrap();
        let mut all = ours(&keys).unwrap();
        let mut suffixes: Vec<&str> = all.iter().map(|our| our.suffix).collect();
        suffixes.sort_unstable();
        suffixes.dedup();
        assert_eq!(suffixes.len(), all.len());
        assert!(!all[0].cost, "the first is what the others are compared with");
        for our in &mut all {
            assert!(our.contender.run_for(Duration::from_millis(1)).unwrap().ops > 0, "{}", our.suffix);
        }
    }
}
