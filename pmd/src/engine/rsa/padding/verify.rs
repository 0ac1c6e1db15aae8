//! Verification operations for signatures with appendix (RFC 8017, 8.2.2 and 9.1.2), of what the public operation made
//! of a signature. Nothing here is secret.

use super::sign::emsa_pkcs1_v1_5_encode;
use super::{Hash, MAX_HASH_BYTES, mgf1_xor};
use crate::engine::rsa::MAX_KEY_BYTES;

/// Not the encoding of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inconsistent;

/// Whether `em`, which has the length of the modulus, is EMSA-PKCS1-v1_5 of `message`: there is one such encoding, so it
/// is made and compared rather than parsed.
///
/// # Errors
/// [`Inconsistent`]; also where `em` is longer than the largest modulus.
pub(crate) fn emsa_pkcs1_v1_5_verify(hash: Hash, message: &[u8], em: &[u8]) -> Result<(), Inconsistent> {
    let mut right = [0; MAX_KEY_BYTES];
    let right = right.get_mut(..em.len()).ok_or(Inconsistent)?;
    emsa_pkcs1_v1_5_encode(hash, message, right).map_err(|_| Inconsistent)?;
    if *right == *em { Ok(()) } else { Err(Inconsistent) }
}

/// Whether `em`, which has the length of the modulus, is EMSA-PSS of `message`, with MGF1 of the same hash function and a
/// salt as long as its output. `em_bits` is one less than the modulus has bits.
///
/// # Errors
/// [`Inconsistent`]; also where `em` is longer than the largest modulus.
pub(crate) fn emsa_pss_verify(
    hash: Hash,
    message: &[u8],
    em_bits: usize,
    em: &[u8],
) -> Result<(), Inconsistent> {
    let (h_bytes, room) = (hash.bytes(), em_bits.div_ceil(8));
    if room < 2 * h_bytes + 2 || em.len() < room || room > MAX_KEY_BYTES {
        return Err(Inconsistent);
    }
    // A modulus of 8n + 1 bits is one byte longer than the encoding.
    let (lead, em) = em.split_at(em.len() - room);
    let first_byte_mask = 0xff >> (8 * room - em_bits);
    let (masked_db, rest) = em.split_at(room - h_bytes - 1);
    let (h, trailer) = rest.split_at(h_bytes);

    let mut db = [0; MAX_KEY_BYTES];
    let db = &mut db[..masked_db.len()];
    db.copy_from_slice(masked_db);
    mgf1_xor(hash, h, db);
    db[0] &= first_byte_mask;
    let (padding, salt) = db.split_at(db.len() - h_bytes);
    let (one, zeros) = padding.split_last().ok_or(Inconsistent)?;

    let (mut digest, mut digest_of_m_prime) = ([0; MAX_HASH_BYTES], [0; MAX_HASH_BYTES]);
    let m_hash = hash.hash_into(&[message], &mut digest);
    let consistent = lead.iter().all(|&byte| byte == 0)
        && masked_db[0] & !first_byte_mask == 0
        && trailer == [0xbc]
        && zeros.iter().all(|&byte| byte == 0)
        && *one == 1
        && *hash.hash_into(&[&[0; 8], m_hash, salt], &mut digest_of_m_prime) == *h;
    if consistent { Ok(()) } else { Err(Inconsistent) }
}
