//! Decoding methods for encryption (RFC 8017, section 7), in constant time.
//!
//! Both work in place: the encoded message that the private operation left comes in, the message at its front goes
//! out. Whoever calls wipes that memory afterwards, and must not let time or memory accesses depend on more than the
//! result.

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::constant_time::{from_first_nonzero, from_first_zero, less, shift_to_front};
use super::{Hash, mgf1_xor};
use crate::engine::rsa::MAX_KEY_BYTES;

/// Not an encoded message. There is no more to be said without telling an attacker the message (Manger 2001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadInput;

/// EME-OAEP decoding (RFC 8017, 7.1.2, step 3) with MGF1 of the same hash function and no label. `em` has the length
/// of the modulus. Returns the length of the message, which is then at the front of `em`, with zeros behind it.
///
/// # Errors
/// [`BadInput`], and `em` is zero. Whatever the reason, it takes as long as a success, except where `em` has no room
/// for an encoding at all.
pub(crate) fn eme_oaep_decode(hash: Hash, em: &mut [u8]) -> Result<usize, BadInput> {
    let message_at = 2 * hash.bytes() + 1;
    if em.len() <= message_at {
        em.fill(0);
        return Err(BadInput);
    }
    let (seed_and_y, db) = em.split_at_mut(1 + hash.bytes());
    let (y, seed) = seed_and_y.split_at_mut(1);
    mgf1_xor(hash, db, seed);
    mgf1_xor(hash, seed, db);

    let (label, padded) = db.split_at_mut(hash.bytes());
    // Zeros, 01, message.
    let (separator, count) = from_first_nonzero(padded);
    let good = y[0].ct_eq(&0) & label.ct_eq(hash.of_nothing()) & separator.ct_eq(&1);
    let len = u32::conditional_select(&0, &count.wrapping_sub(1), good);
    // All of it goes where nothing is good.
    shift_to_front(padded, padded.len() as u32 - len);
    let room = padded.len();
    em.copy_within(message_at.., 0);
    em[room..].fill(0);
    if bool::from(good) { Ok(len as usize) } else { Err(BadInput) }
}

/// EME-PKCS1-v1_5 decoding (RFC 8017, 7.2.2, step 3) that answers bad padding with a message as well: one that
/// depends on key and ciphertext only, so that nobody without the key can tell it from what another would have sent
/// (draft-irtf-cfrg-rsa-guidance, section 7). OpenSSL since 3.2 makes the same messages.
///
/// Holds what the messages are derived from, for one private key.
pub(crate) struct ImplicitRejection {
    /// HMAC-SHA256 under the hash of the private exponent; wiped by its own drop.
    key: Hmac<Sha256>,
    key_bytes: usize,
}

/// Lengths that are drawn for a synthetic message, of which the last that fits is taken. At least half of all do, so
/// that none fits has a chance of 2^-128, and gives an empty message.
const LENGTHS_DRAWN: usize = 128;

impl ImplicitRejection {
    /// For the private exponent `d`, big endian, of a key whose modulus has `key_bytes`.
    ///
    /// # Panics
    /// If `key_bytes` is less than 64 or more than [`MAX_KEY_BYTES`].
    pub(crate) fn new(d: &[u8], key_bytes: usize) -> Self {
        assert!((64..=MAX_KEY_BYTES).contains(&key_bytes), "a modulus of {key_bytes} bytes");
        // d is less than the modulus: what is in front of its last `key_bytes` is zero.
        let d = &d[d.len().saturating_sub(key_bytes)..];
        let mut hash = Zeroizing::new([0; 32]);
        let mut hasher = Sha256::new();
        hasher.update(&[0; MAX_KEY_BYTES][..key_bytes - d.len()]);
        hasher.update(d);
        Digest::finalize_into(hasher, (&mut *hash).into());
        Self { key: keyed(&hash), key_bytes }
    }

    /// Decodes `em`, what the private operation made of `ciphertext`; both have the length of the modulus. Returns the
    /// length of the message, which is then at the front of `em`, with zeros behind it.
    ///
    /// The message may have any length up to `key_bytes` - 11, and neither it nor its length tells whether the padding
    /// was good. A caller with room for less must refuse before it decodes, as the length of the true message would
    /// tell otherwise.
    ///
    /// # Errors
    /// [`BadInput`], if one of the two does not have the length of the modulus; never for what they hold.
    pub(crate) fn decode(&self, ciphertext: &[u8], em: &mut [u8]) -> Result<usize, BadInput> {
        let key_bytes = self.key_bytes;
        if ciphertext.len() != key_bytes || em.len() != key_bytes {
            return Err(BadInput);
        }
        let mut synthetic = Zeroizing::new([0; MAX_KEY_BYTES]);
        let synthetic = &mut synthetic[..key_bytes];
        let synthetic_len = self.synthesize(ciphertext, synthetic);

        // 00 02, at least eight bytes other than zero, 00, message.
        let count = from_first_zero(&em[2..]);
        let longest = key_bytes as u32 - 11;
        let good = em[0].ct_eq(&0) & em[1].ct_eq(&2) & !count.ct_eq(&0) & !less(longest + 1, count);
        let len = u32::conditional_select(&synthetic_len, &count.wrapping_sub(1), good);
        for (byte, other) in em.iter_mut().zip(&*synthetic) {
            *byte = u8::conditional_select(other, byte, good);
        }
        em.copy_within(11.., 0);
        let (message, rest) = em.split_at_mut(longest as usize);
        rest.fill(0);
        shift_to_front(message, longest - len);
        Ok(len as usize)
    }

    /// Writes bytes of which the last are the synthetic message to `out`, and returns how many those are.
    fn synthesize(&self, ciphertext: &[u8], out: &mut [u8]) -> u32 {
        let mut kdk = Zeroizing::new([0; 32]);
        let mut mac = self.key.clone();
        mac.update(ciphertext);
        FixedOutput::finalize_into(mac, (&mut *kdk).into());
        let kdk = keyed(&kdk);
        prf(&kdk, b"message", out);
        let mut lengths = Zeroizing::new([0; 2 * LENGTHS_DRAWN]);
        prf(&kdk, b"length", lengths.as_mut_slice());

        let limit = out.len() as u32 - 10;
        let mask = u32::MAX >> limit.leading_zeros();
        lengths.as_chunks().0.iter().fold(0, |len, &drawn| {
            let drawn = u32::from(u16::from_be_bytes(drawn)) & mask;
            u32::conditional_select(&len, &drawn, less(drawn, limit))
        })
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The pseudo-random function of the draft: HMAC of a counter, `label`, and the bits of `out`, which it fills.
fn prf(key: &Hmac<Sha256>, label: &[u8], out: &mut [u8]) {
    let bits = (out.len() * 8) as u16;
    let mut block = Zeroizing::new([0; 32]);
    for (counter, chunk) in (0u16..).zip(out.chunks_mut(32)) {
        let mut mac = key.clone();
        mac.update(&counter.to_be_bytes());
        mac.update(label);
        mac.update(&bits.to_be_bytes());
        FixedOutput::finalize_into(mac, (&mut *block).into());
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}
