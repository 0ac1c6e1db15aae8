//! Who takes part in the RSA benches: our engine, aws-lc in this process, OpenSSL and crypto_mb in programs of their own.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use serde::Deserialize;
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaOp, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Engine, Job};

use super::keys::Keys;
use super::{FULL, HALF};
use crate::cpeers::{CPeer, CPeers, OPENSSL};
use crate::measure::thread_time;
use crate::peers::NoPeer;
use crate::{BenchError, Options};

/// A slice starts to count after this time: 512-bit code is slower at first.
const WARM: Duration = Duration::from_millis(1);
/// The largest signature.
const SIGNATURE_MAX: usize = 512;
/// What is signed.
const MESSAGE: &[u8; 32] = b"thirty-two bytes are one digest.";

/// What one slice did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Private operations.
    pub ops: u64,
    /// Cpu time of the thread that did them.
    pub time: Duration,
    /// Cpu time of each pass, in microseconds.
    pub passes_us: Vec<f64>,
}

impl Run {
    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.ops as f64 / self.time.as_secs_f64()
    }
}

/// Something that does private operations.
pub trait Contender: Send {
    /// Its name and version.
    fn name(&self) -> &str;

    /// Works for about `time` of cpu time on the cpu it was made for, where the caller is, after a millisecond that does
    /// not count.
    ///
    /// # Errors
    /// [`BenchError`] when it failed.
    fn run_for(&mut self, time: Duration) -> Result<Run, BenchError>;
}

/// One in this process, from a function that makes one pass and returns how many operations that were.
struct InProcess<F> {
    name: String,
    pass: F,
}

impl<F: FnMut() -> Result<usize, BenchError> + Send> Contender for InProcess<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn run_for(&mut self, time: Duration) -> Result<Run, BenchError> {
        let start = thread_time()?;
        while thread_time()? - start < WARM {
            (self.pass)()?;
        }
        let begin = thread_time()?;
        let mut before = begin;
        let mut run = Run::default();
        loop {
            run.ops += (self.pass)()? as u64;
            let now = thread_time()?;
            run.passes_us.push((now - before).as_secs_f64() * 1e6);
            run.time = now - begin;
            before = now;
            if run.time >= time {
                return Ok(run);
            }
        }
    }
}

/// A way in which our engine takes part.
pub struct Ours<'a> {
    /// What it adds to the name of its lines.
    pub suffix: &'static str,
    /// What is to be known of it.
    pub how: String,
    /// Whom it is compared with.
    pub against: &'static [Peer],
    /// Multiply-adds on 512 bits that one operation takes, if it is one of those and says so.
    pub multiply_adds: Option<f64>,
    /// The contender.
    pub contender: Box<dyn Contender + 'a>,
}

/// Our engine as it takes part in the benches of throughput, the one that matters most first.
///
/// An engine with more to choose from is plugged in here: a pass without the check of the result is a third entry, with
/// the suffix `-nocheck`, against crypto_mb, which checks nothing either; what an engine knows of its multiply-adds goes
/// into `multiply_adds`.
///
/// # Errors
/// [`BenchError`] when a session cannot be made or signs wrongly.
pub fn ours(keys: &Keys) -> Result<Vec<Ours<'static>>, BenchError> {
    Ok(vec![
        Ours {
            suffix: "",
            how: format!("requests of {FULL}, one key"),
            against: &[Peer::OpenSsl, Peer::CryptoMb, Peer::AwsLc],
            multiply_adds: None,
            contender: engine(keys, 1, FULL)?,
        },
        Ours {
            suffix: "-keys",
            how: format!("requests of {FULL}, {FULL} different keys"),
            against: &[Peer::CryptoMbKeys],
            multiply_adds: None,
            contender: engine(keys, FULL, FULL)?,
        },
        Ours {
            suffix: "-half",
            how: format!("requests of {HALF}, one key"),
            against: &[Peer::OpenSsl],
            multiply_adds: None,
            contender: engine(keys, 1, HALF)?,
        },
    ])
}

/// Our engine, `at_once` requests to sign in each pass, with `keys` keys in turn.
///
/// # Errors
/// [`BenchError`] when a session cannot be made, or its signature is not that of aws-lc.
pub fn engine(keys: &Keys, count: usize, at_once: usize) -> Result<Box<dyn Contender>, BenchError> {
    let sessions = keys
        .ours(count)?
        .iter()
        .map(|key| RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key))
        .collect::<Result<Vec<_>, _>>()?;
    let mut engine = RsaEngine::new();
    let mut out = Box::new([[0; SIGNATURE_MAX]; FULL]);
    sign(&mut engine, &sessions, &mut out[..at_once])?;
    let expected =
        keys.pairs(count.min(at_once))?.iter().map(sign_with_aws_lc).collect::<Result<Vec<_>, _>>()?;
    if out.iter().zip(&expected).any(|(signed, expected)| !signed.starts_with(expected)) {
        return Err(BenchError::Bug("our engine signs otherwise than aws-lc".to_owned()));
    }
    let pass = move || sign(&mut engine, &sessions, &mut out[..at_once]).map(|()| at_once);
    Ok(Box::new(InProcess { name: RsaEngine::describe().1, pass }))
}

/// One pass of the engine, in the batches that it takes.
fn sign(
    engine: &mut RsaEngine,
    sessions: &[RsaSession],
    out: &mut [[u8; SIGNATURE_MAX]],
) -> Result<(), BenchError> {
    let n = out.len();
    let mut jobs: arrayvec::ArrayVec<Job<'_, RsaSession>, FULL> = out
        .iter_mut()
        .zip(sessions.iter().cycle())
        .map(|(dst, session)| Job { session, src: MESSAGE, aux: &[], dst, result: Ok(0) })
        .collect();
    for batch in jobs.chunks_mut(RsaEngine::BATCH) {
        engine.run(batch);
    }
    let signed = jobs.iter().filter(|job| job.result == Ok(job.session.key_bytes())).count();
    if signed == n { Ok(()) } else { Err(BenchError::Bug(format!("the engine signed {signed} of {n}"))) }
}

fn sign_with_aws_lc(pair: &aws_lc_rs::rsa::KeyPair) -> Result<Vec<u8>, BenchError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), MESSAGE, &mut signature)
        .map_err(|e| BenchError::Bug(format!("aws-lc does not sign: {e}")))?;
    Ok(signature)
}

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// OpenSSL, one operation after the other, one key.
    OpenSsl,
    /// crypto_mb with eight lanes of one key.
    CryptoMb,
    /// crypto_mb with eight lanes of eight keys.
    CryptoMbKeys,
    /// aws-lc, one operation after the other, one key.
    AwsLc,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OpenSsl, Self::CryptoMb, Self::CryptoMbKeys, Self::AwsLc];

    /// What it adds to the name of a line.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::OpenSsl => "",
            Self::CryptoMb | Self::CryptoMbKeys => "-crypto-mb",
            Self::AwsLc => "-aws-lc",
        }
    }

    /// What it does.
    #[must_use]
    pub fn how(self) -> &'static str {
        match self {
            Self::OpenSsl => "EVP_PKEY_sign, as `openssl speed` does, with its blinding and check; one key",
            Self::CryptoMb => "mbx_rsa_private_crt_mb8, 8 lanes, no padding, blinding or check; one key",
            Self::CryptoMbKeys => {
                "mbx_rsa_private_crt_mb8, 8 lanes, no padding, blinding or check; eight keys"
            }
            Self::AwsLc => "KeyPair::sign, with its blinding and check; one key",
        }
    }

    /// Brings it to `cpu`.
    ///
    /// # Errors
    /// [`NoPeer`] when it is not there or does not work.
    pub fn start(
        self,
        keys: &Keys,
        built: Result<&CPeers, &NoPeer>,
        cpu: usize,
        options: &Options,
    ) -> Result<Box<dyn Contender>, NoPeer> {
        let crypto_mb = |count| {
            let library = options.crypto_mb.as_deref().ok_or_else(|| NoPeer {
                peer: "crypto_mb",
                why:
                    "no library given. Remedy: build it (github.com/intel/cryptography-primitives) and give \
                      --crypto-mb PATH, or WARPDRIVE_CRYPTO_MB=PATH"
                        .to_owned(),
            })?;
            program(built, keys, count, cpu, options, Some(library))
                .map_err(|e| NoPeer { peer: "crypto_mb", why: e.why })
        };
        match self {
            Self::OpenSsl => program(built, keys, 1, cpu, options, None),
            Self::CryptoMb => crypto_mb(1),
            Self::CryptoMbKeys => crypto_mb(FULL),
            Self::AwsLc => aws_lc(keys).map_err(|e| NoPeer { peer: "aws-lc", why: e.to_string() }),
        }
    }
}

fn aws_lc(keys: &Keys) -> Result<Box<dyn Contender>, BenchError> {
    let pair = keys.pairs(1)?.remove(0);
    let (mut signature, random) = (vec![0; pair.public_modulus_len()], SystemRandom::new());
    let pass = move || {
        pair.sign(&RSA_PKCS1_SHA256, &random, MESSAGE, &mut signature)
            .map_err(|e| BenchError::Bug(format!("aws-lc does not sign: {e}")))?;
        Ok(1)
    };
    Ok(Box::new(InProcess { name: "aws-lc".to_owned(), pass }))
}

/// The C program of the RSA peers.
pub const PROGRAM: &str = "rsa_peer";

/// Builds it.
///
/// # Errors
/// [`NoPeer`] when OpenSSL's headers or the compiler are missing.
pub fn build() -> Result<CPeers, NoPeer> {
    CPeers::build(PROGRAM, OPENSSL)
}

fn program(
    built: Result<&CPeers, &NoPeer>,
    keys: &Keys,
    count: usize,
    cpu: usize,
    options: &Options,
    crypto_mb: Option<&Path>,
) -> Result<Box<dyn Contender>, NoPeer> {
    let mut arguments = vec!["--core".to_owned(), cpu.to_string()];
    for file in keys.files(count) {
        arguments.extend(["--key".to_owned(), file.display().to_string()]);
    }
    if let Some(library) = crypto_mb {
        arguments.extend(["--crypto-mb".to_owned(), library.display().to_string()]);
    }
    let mut peer = built.map_err(Clone::clone)?.start(PROGRAM, options.slice, &arguments)?;
    // It tells its version with a slice, and a first slice is good for warming up.
    let first: ProgramSlice =
        peer.measure().map_err(|e| NoPeer { peer: OPENSSL.name, why: e.to_string() })?;
    Ok(Box::new(Program { name: first.name, peer }))
}

/// A C peer as a contender. Its slices are as long as it was told at the start.
struct Program {
    name: String,
    peer: CPeer,
}

/// What the program writes of a slice.
#[derive(Debug, Deserialize)]
struct ProgramSlice {
    name: String,
    ops: u64,
    cpu_ns: u64,
    passes_ns: Vec<u64>,
}

impl Contender for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn run_for(&mut self, _: Duration) -> Result<Run, BenchError> {
        let slice: ProgramSlice = self.peer.measure()?;
        Ok(Run {
            ops: slice.ops,
            time: Duration::from_nanos(slice.cpu_ns),
            passes_us: slice.passes_ns.iter().map(|&ns| ns as f64 / 1e3).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_the_program_is_read() {
        let line = r#"{"name":"OpenSSL 3.0.19","ops":49,"cpu_ns":10034463,"passes_ns":[199347,200930]}"#;
        let slice: ProgramSlice = serde_json::from_str(line).unwrap();
        assert_eq!((slice.name.as_str(), slice.ops, slice.cpu_ns), ("OpenSSL 3.0.19", 49, 10_034_463));
        assert_eq!(slice.passes_ns, [199_347, 200_930]);
        assert!(serde_json::from_str::<ProgramSlice>(r#"{"ready":true}"#).is_err());
    }

    #[test]
    fn operations_and_passes_are_counted_and_the_warming_up_is_not() {
        let mut passes = 0u64;
        let pass = || {
            passes += 1;
            let until = thread_time()? + Duration::from_micros(100);
            while thread_time()? < until {}
            Ok(4)
        };
        let run = InProcess { name: String::new(), pass }.run_for(Duration::from_millis(2)).unwrap();
        assert!(run.time >= Duration::from_millis(2), "{run:?}");
        assert_eq!(run.ops, 4 * run.passes_us.len() as u64);
        assert!(passes > run.passes_us.len() as u64 + 5, "{passes} {run:?}");
        let sum: f64 = run.passes_us.iter().sum();
        assert!((sum - run.time.as_secs_f64() * 1e6).abs() < 1.0, "{run:?}");
        assert!((run.rate() - run.ops as f64 / run.time.as_secs_f64()).abs() < 1e-6);
    }

    #[test]
    fn our_engine_and_aws_lc_do_as_many_as_they_are_asked() {
        let keys = Keys::new(2048).unwrap();
        let time = Duration::from_millis(1);
        for (contender, n) in [
            (engine(&keys, 1, FULL).unwrap(), FULL),
            (engine(&keys, FULL, HALF).unwrap(), HALF),
            (aws_lc(&keys).unwrap(), 1),
        ] {
            let mut contender = contender;
            let run = contender.run_for(time).unwrap();
            assert_eq!(run.ops as usize, n * run.passes_us.len(), "{}", contender.name());
        }
    }
}
