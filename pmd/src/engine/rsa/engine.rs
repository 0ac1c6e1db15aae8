//! The engine: which requests are done together, and how each comes into a pass and out of it.

use arrayvec::ArrayVec;

use super::coding::Asked;
use super::ifma::{FULL, HALF, Ifma, Operation};
use super::library::LibraryError;
use super::padding::random::Random;
use super::secret::Secret;
use super::session::{Prepared, PrivateKey};
use super::{
    EcSession, MAX_KEY_BYTES, Passes, PublicKeySession, RawSession, RsaOptions, RsaScheme, RsaSession, Simd,
    front, raw,
};
use crate::clock::Clock;
use crate::device::{SessionSpec, Status};
use crate::engine::{Engine, Job, NoStream, Waiting};

/// RSA in passes of up to eight private operations on AVX-512 IFMA, or one at a time on aws-lc; public operations and
/// elliptic curves on aws-lc.
///
/// Private operations with one size of key share a pass, whatever their queues, sessions and keys. A pass allocates
/// nothing and makes no system call. aws-lc, which does operations that are alone, allocates in each and asks the
/// kernel for randomness once in 75,000. Engines whose single operations use the same session at the same time take
/// turns at a lock of aws-lc for a moment; to avoid that, give each worker a session of its own.
pub struct RsaEngine {
    options: RsaOptions,
    deadline_ticks: u64,
    ifma: Option<Ifma>,
    random: Option<Random>,
    /// A number for each lane on its way in, and out.
    inputs: Secret<u8>,
    outputs: Secret<u8>,
}

/// Jobs of one pass, by their place.
type Places = ArrayVec<usize, FULL>;

impl Engine for RsaEngine {
    type Session = PublicKeySession;
    type Stream = NoStream;
    type Options = RsaOptions;
    const BATCH: usize = FULL;
    const KIND: &'static str = "RSA";
    const DRIVER: &'static str = "soft-rsa";

    fn new(options: &RsaOptions) -> Self {
        let memory = || Secret::zeroed(FULL * MAX_KEY_BYTES).expect("memory for a few numbers");
        Self {
            options: options.clone(),
            deadline_ticks: Clock::get().ticks_of(options.deadline),
            ifma: Ifma::new(options),
            random: Random::new().ok(),
            inputs: memory(),
            outputs: memory(),
        }
    }

    fn supports(options: &RsaOptions) -> Result<(), String> {
        match options.simd {
            Simd::Auto | Simd::Library => Ok(()),
            _ if Ifma::available() => Ok(()),
            simd => Err(format!(
                "simd = {:?} needs a cpu with AVX-512 F, DQ and IFMA, and this one has not all of them. \
                 Remedy: simd = \"auto\"",
                simd.name()
            )),
        }
    }

    fn session(spec: SessionSpec) -> Result<PublicKeySession, SessionSpec> {
        match spec {
            SessionSpec::Rsa(session) => Ok(PublicKeySession::Rsa(session)),
            SessionSpec::RawRsa(session) => Ok(PublicKeySession::Raw(session)),
            SessionSpec::Ec(session) => Ok(PublicKeySession::Ec(session)),
            other => Err(other),
        }
    }

    fn choose(&mut self, waiting: &Waiting<'_, PublicKeySession>) -> u64 {
        let Some(class) = self.class(waiting, 0) else {
            // Short operations go together as they come; a private one that cannot share a pass goes alone.
            let short = (0..FULL).take_while(|i| waiting.session(*i).is_some_and(is_short)).count();
            return waiting.oldest(short.max(1));
        };
        let chosen = self.of_class(waiting, class);
        if chosen.count_ones() as usize == FULL {
            return chosen;
        }
        if waiting.age(0) < self.deadline_ticks && !waiting.draining() {
            return self.meanwhile(waiting, class);
        }
        match self.options.passes {
            Passes::Adaptive => lowest_bits(chosen, HALF),
            Passes::Largest | Passes::Single => chosen,
        }
    }

    fn run(&mut self, jobs: &mut [Job<'_, PublicKeySession>]) {
        let mut waiting: ArrayVec<(usize, usize), { crate::engine::MAX_BATCH }> = ArrayVec::new();
        for (place, job) in jobs.iter_mut().enumerate() {
            if let Some((key, _)) = job.session.private() {
                waiting.push((key.n.len(), place));
                continue;
            }
            job.result = match job.session {
                PublicKeySession::Rsa(session) => public(session, job),
                PublicKeySession::Raw(session) => public_raw(session, job),
                PublicKeySession::Ec(session) => session.execute(job.src, job.aux, job.dst),
            };
        }
        while let Some(&(key_bytes, _)) = waiting.first() {
            let mut places = Places::new();
            waiting.retain(|(bytes, place)| {
                let take = *bytes == key_bytes && !places.is_full();
                if take {
                    places.push(*place);
                }
                !take
            });
            self.private(jobs, places, key_bytes);
        }
    }

    fn describe(options: &RsaOptions) -> (Vec<&'static str>, String) {
        let names =
            [&RsaScheme::ALL.map(RsaScheme::name)[..], &[RawSession::ALGORITHM], &EcSession::ALGORITHMS]
                .concat();
        let single = format!("aws-lc ({})", library_kernels());
        let implementation = match Ifma::describe(options) {
            Some(passes) => {
                format!("{passes}; single and public operations, P-256 and X25519: {single}, one at a time")
            }
            None => format!("{single}, one at a time"),
        };
        (names, implementation)
    }
}

impl RsaEngine {
    /// The size of key of a request that can share a pass with others of its size.
    fn class(&self, waiting: &Waiting<'_, PublicKeySession>, i: usize) -> Option<usize> {
        let (key, _) = waiting.session(i)?.private()?;
        let passes = self.ifma.is_some() && self.options.passes != Passes::Single;
        (passes && key.ifma.is_some()).then_some(key.n.len())
    }

    /// The oldest requests of a class: a full pass at most.
    fn of_class(&self, waiting: &Waiting<'_, PublicKeySession>, class: usize) -> u64 {
        let of_class = (0..waiting.len()).filter(|i| self.class(waiting, *i) == Some(class));
        of_class.take(FULL).fold(0, |chosen, i| chosen | 1 << i)
    }

    /// What can be done while the oldest wait for more of their class: a full pass of another, or an operation that no
    /// other could join.
    fn meanwhile(&self, waiting: &Waiting<'_, PublicKeySession>, class: usize) -> u64 {
        let mut seen = ArrayVec::<usize, 4>::new();
        seen.push(class);
        for i in 0..waiting.len() {
            let Some(class) = self.class(waiting, i) else {
                return 1 << i;
            };
            if !seen.contains(&class) {
                let chosen = self.of_class(waiting, class);
                if chosen.count_ones() as usize == FULL {
                    return chosen;
                }
                seen.push(class);
            }
        }
        0
    }

    /// Private operations with keys of one size.
    fn private(&mut self, jobs: &mut [Job<'_, PublicKeySession>], mut places: Places, key_bytes: usize) {
        let mut lane = 0;
        places.retain(|place| {
            let job = &mut jobs[*place];
            let input = &mut self.inputs[lane * MAX_KEY_BYTES..][..key_bytes];
            let Some((key, coding)) = job.session.private() else {
                return false;
            };
            match coding.encode(asked(job), &key.n, self.random.as_mut(), input) {
                Ok(()) => lane += 1,
                Err(status) => {
                    job.result = Err(status);
                    return false;
                }
            }
            true
        });
        self.compute(jobs, &places, key_bytes);
        for (place, output) in places.iter().zip(self.outputs.chunks_exact_mut(MAX_KEY_BYTES)) {
            let job = &mut jobs[*place];
            if job.result.is_ok()
                && let Some((key, coding)) = job.session.private()
            {
                let (asked, number) = (asked(job), &mut output[..key_bytes]);
                job.result = coding.decode(asked, key.rejection.as_ref(), number, job.dst);
            }
        }
        self.inputs.wipe();
        self.outputs.wipe();
    }

    /// From `inputs` to `outputs`, lane by lane.
    fn compute(&mut self, jobs: &mut [Job<'_, PublicKeySession>], places: &[usize], key_bytes: usize) {
        let mut done = [false; FULL];
        // A pass for one alone takes longer than aws-lc does; it is done where a person insists.
        let alone =
            places.len() <= 1 && self.options.passes != Passes::Largest && self.options.simd == Simd::Auto;
        if let Some(ifma) = self.ifma.as_mut().filter(|_| !alone) {
            let inputs = self.inputs.chunks_exact(MAX_KEY_BYTES);
            let outputs = self.outputs.chunks_exact_mut(MAX_KEY_BYTES);
            let mut lanes: ArrayVec<usize, FULL> = ArrayVec::new();
            let mut operations: ArrayVec<Operation<'_>, FULL> = ArrayVec::new();
            for (lane, ((place, input), output)) in places.iter().zip(inputs).zip(outputs).enumerate() {
                if let Some((PrivateKey { ifma: Some(key), .. }, _)) = jobs[*place].session.private() {
                    let (input, output) = (&input[..key_bytes], &mut output[..key_bytes]);
                    operations.push(Operation { key, input, output, done: false });
                    lanes.push(lane);
                }
            }
            ifma.private(&mut operations, self.random.as_mut());
            for (lane, operation) in lanes.into_iter().zip(&operations) {
                done[lane] = operation.done;
                jobs[places[lane]].retried = !operation.done;
            }
        }
        let lanes = self.inputs.chunks_exact(MAX_KEY_BYTES).zip(self.outputs.chunks_exact_mut(MAX_KEY_BYTES));
        for ((place, (input, output)), done) in places.iter().zip(lanes).zip(done) {
            let job = &mut jobs[*place];
            job.result = match job.session.private() {
                _ if done => Ok(0),
                Some((key, _)) => key
                    .library
                    .private(&input[..key_bytes], &mut output[..key_bytes])
                    .map(|()| 0)
                    .map_err(|_| Status::EngineFailed),
                None => Err(Status::EngineFailed),
            };
        }
    }
}

/// Whether an operation takes some ten microseconds, not hundreds.
fn is_short(session: &PublicKeySession) -> bool {
    session.private().is_none()
}

/// What the encoding around an operation is told of a request.
fn asked<'a>(job: &Job<'a, PublicKeySession>) -> Asked<'a> {
    Asked { src: job.src, aux: job.aux, room: job.dst.len() }
}

/// Does what is no private operation, for somebody who has no engine.
pub(super) fn alone(
    session: &PublicKeySession,
    src: &[u8],
    aux: &[u8],
    dst: &mut [u8],
) -> Result<usize, Status> {
    let mut job = Job::new(session, src, aux, dst);
    match session {
        PublicKeySession::Rsa(session) => public(session, &mut job),
        PublicKeySession::Raw(session) => public_raw(session, &mut job),
        PublicKeySession::Ec(session) => session.execute(job.src, job.aux, job.dst),
    }
}

/// Verifies or encrypts.
fn public(session: &RsaSession, job: &mut Job<'_, PublicKeySession>) -> Result<usize, Status> {
    let key_bytes = session.key_bytes();
    match &session.prepared {
        Prepared::Private(_) => Err(Status::EngineFailed),
        Prepared::Verify(key) => key.verify_sig(job.src, job.aux).map(|()| 0).map_err(|_| Status::Mismatch),
        Prepared::EncryptOaep(key, algorithm) => {
            if job.src.len() > key.max_plaintext_size(algorithm) {
                return Err(Status::BadInput);
            }
            let out = front(job.dst, key_bytes)?;
            key.encrypt(algorithm, job.src, out, None).map(|c| c.len()).map_err(|_| Status::EngineFailed)
        }
        Prepared::EncryptPkcs1(key) => {
            if job.src.len() > key.max_plaintext_size() {
                return Err(Status::BadInput);
            }
            let out = front(job.dst, key_bytes)?;
            key.encrypt(job.src, out).map(|c| c.len()).map_err(|_| Status::EngineFailed)
        }
    }
}

/// The public operation of numbers.
fn public_raw(session: &RawSession, job: &mut Job<'_, PublicKeySession>) -> Result<usize, Status> {
    let raw::Prepared::Public(key) = &session.prepared else {
        return Err(Status::EngineFailed);
    };
    let out = front(job.dst, session.key_bytes())?;
    key.public(job.src, out).map(|()| out.len()).map_err(|error| match error {
        LibraryError::Length | LibraryError::TooLarge => Status::BadInput,
        LibraryError::Failed => Status::EngineFailed,
    })
}

/// The `n` lowest set bits.
fn lowest_bits(mut bits: u64, n: usize) -> u64 {
    let mut lowest = 0;
    for _ in 0..n {
        lowest |= bits & bits.wrapping_neg();
        bits &= bits.wrapping_sub(1);
    }
    lowest
}

/// Which of its kernels aws-lc takes for private operations on this cpu (crypto/fipsmodule/bn/exponentiation.c).
fn library_kernels() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512dq") && has!("avx512ifma") && has!("avx512bw") && has!("avx512vl") {
            return "AVX-512 IFMA";
        }
        if has!("bmi2") && has!("adx") {
            return "MULX/ADX";
        }
    }
    std::env::consts::ARCH
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
