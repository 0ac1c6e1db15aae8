//! Encoding methods for encryption (RFC 8017, section 7). What they write is as secret as the message: whoever calls
//! wipes it.

use super::random::Random;
use super::{Hash, mgf1_xor};

/// The modulus has no room for the encoding of this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageTooLong;

/// Bytes of PKCS#1 v1.5 beside the message: 00 02, at least eight random ones, 00.
pub(crate) const PKCS1_OVERHEAD: usize = 11;

/// EME-OAEP (RFC 8017, 7.1.1, step 2) with MGF1 of the same hash function and no label: fills `em`, which has the length
/// of the modulus.
///
/// # Errors
/// [`MessageTooLong`], and `em` is as it was; nothing is drawn.
pub(crate) fn eme_oaep_encode(
    hash: Hash,
    message: &[u8],
    random: &mut Random,
    em: &mut [u8],
) -> Result<(), MessageTooLong> {
    let overhead = 2 * hash.bytes() + 2;
    let zeros = em.len().checked_sub(overhead + message.len()).ok_or(MessageTooLong)?;
    let (y_and_seed, db) = em.split_at_mut(1 + hash.bytes());
    let (y, seed) = y_and_seed.split_at_mut(1);
    y[0] = 0;
    random.fill(seed);
    let (label, rest) = db.split_at_mut(hash.bytes());
    label.copy_from_slice(hash.of_nothing());
    let (padding, in_db) = rest.split_at_mut(zeros + 1);
    padding.fill(0);
    padding[zeros] = 1;
    in_db.copy_from_slice(message);
    mgf1_xor(hash, seed, db);
    mgf1_xor(hash, db, seed);
    Ok(())
}

/// EME-PKCS1-v1_5 (RFC 8017, 7.2.1, step 2): fills `em`, which has the length of the modulus.
///
/// # Errors
/// [`MessageTooLong`], and `em` is as it was; nothing is drawn.
pub(crate) fn eme_pkcs1_v1_5_encode(
    message: &[u8],
    random: &mut Random,
    em: &mut [u8],
) -> Result<(), MessageTooLong> {
    if em.len() < PKCS1_OVERHEAD + message.len() {
        return Err(MessageTooLong);
    }
    let (front, in_em) = em.split_at_mut(em.len() - message.len());
    in_em.copy_from_slice(message);
    let (padding, zero) = front.split_at_mut(front.len() - 1);
    zero[0] = 0;
    padding[..2].copy_from_slice(&[0, 2]);
    random.fill(&mut padding[2..]);
    // How often a zero came up tells nothing of what takes its place.
    for byte in &mut padding[2..] {
        while *byte == 0 {
            random.fill(std::slice::from_mut(byte));
        }
    }
    Ok(())
}
