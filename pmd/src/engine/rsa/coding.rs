//! Padding apart from the operation: from a request to the number that an operation takes, and from the number that it
//! left to the answer. Both are the same wherever the operation is done: in a pass, by aws-lc, or by somebody else who
//! knows nothing of paddings.

use super::padding::Hash;
use super::padding::decrypt::{ImplicitRejection, eme_oaep_decode};
use super::padding::encrypt::{PKCS1_OVERHEAD, eme_oaep_encode, eme_pkcs1_v1_5_encode};
use super::padding::random::Random;
use super::padding::sign::{emsa_pkcs1_v1_5_encode, emsa_pss_encode};
use super::padding::verify::{emsa_pkcs1_v1_5_verify, emsa_pss_verify};
use super::scheme::Padding;
use super::{RsaOp, RsaScheme, front};
use crate::device::Status;

/// What is done before and after an operation on numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Nothing: whoever asks sends the number, and gets one.
    Raw,
    /// The encodings of RFC 8017. The scheme is for the operation.
    Padded(RsaOp, RsaScheme),
}

/// What a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The message, ciphertext or number.
    pub(crate) src: &'a [u8],
    /// The signature to check.
    pub(crate) aux: &'a [u8],
    /// Bytes of the destination.
    pub(crate) room: usize,
}

impl Coding {
    /// Makes the input of the operation: `number`, which has the length of the modulus `n` and is wiped by whoever
    /// calls. What needs randomness takes it from `random`.
    ///
    /// # Errors
    /// [`Status::BadInput`]: not a number below n of its length, or a message that is too long. [`Status::Mismatch`]: the
    /// same of a signature to check. [`Status::NoSpace`]: no room for what will come out. [`Status::EngineFailed`]: no
    /// randomness, or no room for this encoding in the modulus.
    pub(crate) fn encode(
        self,
        asked: Asked<'_>,
        n: &[u8],
        random: Option<&mut Random>,
        number: &mut [u8],
    ) -> Result<(), Status> {
        let Asked { src, aux, room } = asked;
        match self {
            Self::Raw => {
                has_room(room, n.len())?;
                take(src, n, number).ok_or(Status::BadInput)
            }
            Self::Padded(RsaOp::Sign, scheme) => {
                has_room(room, n.len())?;
                encode_signature(scheme, src, random, number)
            }
            Self::Padded(RsaOp::Verify, _) => take(aux, n, number).ok_or(Status::Mismatch),
            Self::Padded(RsaOp::Encrypt, scheme) => {
                if src.len() > longest_message(scheme, n.len()) {
                    return Err(Status::BadInput);
                }
                has_room(room, n.len())?;
                encode_message(scheme, src, random, number)
            }
            Self::Padded(RsaOp::Decrypt, scheme) => {
                take(src, n, number).ok_or(Status::BadInput)?;
                // How long the message is must not show: room for the longest, or nothing.
                if scheme.padding() == Padding::Pkcs1Encryption {
                    has_room(room, longest_message(scheme, n.len()))?;
                }
                Ok(())
            }
        }
    }

    /// Makes the answer of what the operation left, `number`, and says how much of `dst` it is. What is in `number`
    /// afterwards is as secret as before. Decryption of PKCS#1 v1.5 needs what it answers to bad padding.
    ///
    /// # Errors
    /// [`Status::BadInput`]: no good padding (OAEP). [`Status::Mismatch`]: not the message's signature.
    /// [`Status::NoSpace`], [`Status::EngineFailed`]: what [`encode`](Self::encode) or its caller should have seen.
    pub(crate) fn decode(
        self,
        asked: Asked<'_>,
        rejection: Option<&ImplicitRejection>,
        number: &mut [u8],
        dst: &mut [u8],
    ) -> Result<usize, Status> {
        let len = match self {
            Self::Raw | Self::Padded(RsaOp::Sign | RsaOp::Encrypt, _) => number.len(),
            Self::Padded(RsaOp::Verify, scheme) => {
                return verify_signature(scheme, asked.src, number).map(|()| 0);
            }
            Self::Padded(RsaOp::Decrypt, scheme) => match scheme.hash() {
                Some(hash) => eme_oaep_decode(hash, number).map_err(|_| Status::BadInput)?,
                None => {
                    let rejection = rejection.ok_or(Status::EngineFailed)?;
                    let len = rejection.decode(asked.src, number).map_err(|_| Status::BadInput)?;
                    // All of it, so that only `produced` tells the length.
                    let longest = longest_message(scheme, number.len());
                    front(dst, longest)?.copy_from_slice(&number[..longest]);
                    return Ok(len);
                }
            },
        };
        front(dst, len)?.copy_from_slice(&number[..len]);
        Ok(len)
    }
}

/// Copies a number that has the length of `n` and is below it. By length and by value: both are known to who sent it.
fn take(from: &[u8], n: &[u8], number: &mut [u8]) -> Option<()> {
    if from.len() != n.len() || from >= n {
        return None;
    }
    number.copy_from_slice(from);
    Some(())
}

fn has_room(room: usize, bytes: usize) -> Result<(), Status> {
    if room < bytes { Err(Status::NoSpace { needed: bytes as u32 }) } else { Ok(()) }
}

/// The longest message that is encrypted. Without room for any, zero.
fn longest_message(scheme: RsaScheme, key_bytes: usize) -> usize {
    key_bytes.saturating_sub(scheme.hash().map_or(PKCS1_OVERHEAD, |hash| 2 * hash.bytes() + 2))
}

fn hash_of(scheme: RsaScheme) -> Result<Hash, Status> {
    scheme.hash().ok_or(Status::EngineFailed)
}

fn encode_signature(
    scheme: RsaScheme,
    message: &[u8],
    random: Option<&mut Random>,
    em: &mut [u8],
) -> Result<(), Status> {
    let hash = hash_of(scheme)?;
    match scheme.padding() {
        Padding::Pkcs1Signature => emsa_pkcs1_v1_5_encode(hash, message, em),
        _ => emsa_pss_encode(hash, message, random.ok_or(Status::EngineFailed)?, 8 * em.len() - 1, em),
    }
    .map_err(|_| Status::EngineFailed)
}

fn verify_signature(scheme: RsaScheme, message: &[u8], em: &[u8]) -> Result<(), Status> {
    let hash = hash_of(scheme)?;
    match scheme.padding() {
        Padding::Pkcs1Signature => emsa_pkcs1_v1_5_verify(hash, message, em),
        _ => emsa_pss_verify(hash, message, 8 * em.len() - 1, em),
    }
    .map_err(|_| Status::Mismatch)
}

fn encode_message(
    scheme: RsaScheme,
    message: &[u8],
    random: Option<&mut Random>,
    em: &mut [u8],
) -> Result<(), Status> {
    let random = random.ok_or(Status::EngineFailed)?;
    match scheme.hash() {
        Some(hash) => eme_oaep_encode(hash, message, random, em),
        None => eme_pkcs1_v1_5_encode(message, random, em),
    }
    .map_err(|_| Status::BadInput)
}
