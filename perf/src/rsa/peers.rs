//! The neighbours: aws-lc in this process, OpenSSL and crypto_mb in programs of their own.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use serde::Deserialize;

use super::FULL;
use super::contenders::{Contender, InProcess, MESSAGE, Run};
use super::keys::Keys;
use crate::cpeers::{CPeer, CPeers, OPENSSL};
use crate::peers::NoPeer;
use crate::{BenchError, Options};

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
            Self::OpenSsl => {
                "EVP_PKEY_sign, as `openssl speed` does: pads a digest, with its blinding and check; one key"
            }
            Self::CryptoMb => {
                "mbx_rsa_private_crt_mb8, 8 lanes, the bare operation: no padding, blinding or check; one key"
            }
            Self::CryptoMbKeys => {
                "mbx_rsa_private_crt_mb8, 8 lanes, the bare operation: no padding, blinding or check; eight keys"
            }
            Self::AwsLc => "KeyPair::sign: hashes and pads, with its blinding and check; one key",
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

/// A signature of [`MESSAGE`] by aws-lc.
///
/// # Errors
/// [`BenchError::Bug`] when there is none.
pub(super) fn sign_with_aws_lc(pair: &aws_lc_rs::rsa::KeyPair) -> Result<Vec<u8>, BenchError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), MESSAGE, &mut signature)
        .map_err(|e| BenchError::Bug(format!("aws-lc does not sign: {e}")))?;
    Ok(signature)
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
    fn aws_lc_does_one_operation_in_a_pass() {
        let mut contender = aws_lc(&Keys::new(2048).unwrap()).unwrap();
        let run = contender.run_for(Duration::from_millis(1)).unwrap();
        assert!(run.ops > 0);
        assert_eq!(run.ops as usize, run.passes_us.len());
    }
}
