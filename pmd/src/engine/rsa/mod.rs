//! RSA: sign, verify, encrypt, decrypt with 2048, 3072 and 4096 bits.

use super::{Engine, Job};
use crate::device::{SessionSpec, Status};

/// What a session does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaOp {
    /// Private: message to signature.
    Sign,
    /// Public: checks a signature.
    Verify,
    /// Public: short message to key-size bytes.
    Encrypt,
    /// Private: the reverse.
    Decrypt,
}

/// A prepared operation: a key, what is done with it, and the padding.
pub struct RsaSession {}

/// RSA on aws-lc, one operation at a time.
pub struct RsaEngine {}

impl Engine for RsaEngine {
    type Session = RsaSession;
    const BATCH: usize = 1;
    const KIND: &'static str = "RSA";
    const DRIVER: &'static str = "soft-rsa";

    fn new() -> Self {
        Self {}
    }

    fn session(spec: SessionSpec) -> Result<RsaSession, SessionSpec> {
        match spec {
            SessionSpec::Rsa(session) => Ok(session),
            other => Err(other),
        }
    }

    fn run(&mut self, jobs: &mut [Job<'_, RsaSession>]) {
        for job in jobs {
            job.result = Err(Status::BadInput);
        }
    }

    fn describe() -> (Vec<&'static str>, String) {
        (vec![], "aws-lc".to_owned())
    }
}
