//! Encoding methods for signatures with appendix (RFC 8017, section 9).

use super::random::Random;
use super::{Hash, MAX_HASH_BYTES, mgf1_xor};

/// The modulus has no room for the encoding with this hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyTooShort;

impl Hash {
    /// What DigestInfo has in front of the hash (RFC 8017, 9.2, note 1): SEQUENCE of the algorithm and an OCTET STRING.
    const fn digest_info_prefix(self) -> [u8; 19] {
        // The last arc of 2.16.840.1.101.3.4.2.x.
        let algorithm = match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        };
        let len = self.bytes() as u8;
        [
            0x30,
            17 + len,
            0x30,
            13,
            0x06,
            9,
            0x60,
            0x86,
            0x48,
            0x01,
            0x65,
            0x03,
            0x04,
            0x02,
            algorithm,
            0x05,
            0,
            0x04,
            len,
        ]
    }
}

/// EMSA-PKCS1-v1_5 (RFC 8017, 9.2) of `message`: fills `em`, which has the length of the modulus.
///
/// # Errors
/// [`KeyTooShort`], and `em` is as it was.
pub(crate) fn emsa_pkcs1_v1_5_encode(hash: Hash, message: &[u8], em: &mut [u8]) -> Result<(), KeyTooShort> {
    let prefix = hash.digest_info_prefix();
    let info_bytes = prefix.len() + hash.bytes();
    // 00 01, at least eight ff, 00.
    let padding_bytes = em.len().checked_sub(info_bytes + 3).filter(|&n| n >= 8).ok_or(KeyTooShort)?;
    let (front, info) = em.split_at_mut(3 + padding_bytes);
    front.fill(0xff);
    front[..2].copy_from_slice(&[0, 1]);
    front[2 + padding_bytes] = 0;
    let (info_prefix, info_hash) = info.split_at_mut(prefix.len());
    info_prefix.copy_from_slice(&prefix);
    info_hash.copy_from_slice(hash.hash_into(&[message], &mut [0; MAX_HASH_BYTES]));
    Ok(())
}

/// EMSA-PSS (RFC 8017, 9.1.1) of `message`, with MGF1 of the same hash function and a fresh salt as long as its output:
/// fills `em`, which has the length of the modulus. `em_bits` is one less than the modulus has bits.
///
/// # Errors
/// [`KeyTooShort`], and `em` is as it was; no salt is drawn.
pub(crate) fn emsa_pss_encode(
    hash: Hash,
    message: &[u8],
    random: &mut Random,
    em_bits: usize,
    em: &mut [u8],
) -> Result<(), KeyTooShort> {
    let room = em_bits.div_ceil(8);
    if room < 2 * hash.bytes() + 2 || em.len() < room {
        return Err(KeyTooShort);
    }
    let mut salt = [0; MAX_HASH_BYTES];
    let salt = &mut salt[..hash.bytes()];
    random.fill(salt);
    pss_encode(hash, message, salt, em_bits, em);
    Ok(())
}

/// EMSA-PSS with a given salt. `em` has room for `em_bits`, and those for hash, salt and two bytes more.
pub(super) fn pss_encode(hash: Hash, message: &[u8], salt: &[u8], em_bits: usize, em: &mut [u8]) {
    // A modulus of 8n + 1 bits is one byte longer than the encoding, which is a number all the same.
    let (lead, em) = em.split_at_mut(em.len() - em_bits.div_ceil(8));
    lead.fill(0);
    let first_byte_mask = 0xff >> (8 * em.len() - em_bits);
    let (db, rest) = em.split_at_mut(em.len() - hash.bytes() - 1);
    let (h, trailer) = rest.split_at_mut(hash.bytes());

    let (mut digest, mut digest_of_m_prime) = ([0; MAX_HASH_BYTES], [0; MAX_HASH_BYTES]);
    let m_hash = hash.hash_into(&[message], &mut digest);
    h.copy_from_slice(hash.hash_into(&[&[0; 8], m_hash, salt], &mut digest_of_m_prime));
    trailer[0] = 0xbc;

    let (ps, salt_in_db) = db.split_at_mut(db.len() - salt.len());
    salt_in_db.copy_from_slice(salt);
    ps.fill(0);
    ps[ps.len() - 1] = 1;
    mgf1_xor(hash, h, db);
    db[0] &= first_byte_mask;
}
