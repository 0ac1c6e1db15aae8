//! The message encodings of RFC 8017, around a private operation that is somebody else's: signatures are encoded
//! before it, messages are decoded after it. No allocation, no lock and no system call in any of them.
//!
//! SHA-2 comes from RustCrypto rather than from aws-lc: as fast, allocates for nothing (aws-lc does for a hash of more
//! than one part), wipes its states, and writes its output to memory that can be wiped.

#![forbid(unsafe_code)]

use sha2::digest::DynDigest;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

mod constant_time;
pub(super) mod decrypt;
pub(super) mod random;
pub(super) mod sign;

#[cfg(test)]
mod tests;

/// The largest output of a hash function here, in bytes.
const MAX_HASH_BYTES: usize = 64;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Bytes of its output: hLen of RFC 8017.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Writes the hash of `parts`, one behind the other, to the front of `out`, and returns that front.
    fn hash_into<'a>(self, parts: &[&[u8]], out: &'a mut [u8; MAX_HASH_BYTES]) -> &'a [u8] {
        fn run<D: Digest + DynDigest>(parts: &[&[u8]], out: &mut [u8]) {
            let mut hasher = D::new();
            parts.iter().for_each(|part| Digest::update(&mut hasher, part));
            DynDigest::finalize_into(hasher, out).expect("`bytes` is the length of the output");
        }
        let out = &mut out[..self.bytes()];
        match self {
            Self::Sha256 => run::<Sha256>(parts, out),
            Self::Sha384 => run::<Sha384>(parts, out),
            Self::Sha512 => run::<Sha512>(parts, out),
        }
        out
    }
}

/// XORs the mask that MGF1 (RFC 8017, B.2.1) makes of `seed` onto `target`.
fn mgf1_xor(hash: Hash, seed: &[u8], target: &mut [u8]) {
    let mut block = Zeroizing::new([0; MAX_HASH_BYTES]);
    for (counter, chunk) in (0u32..).zip(target.chunks_mut(hash.bytes())) {
        let mask = hash.hash_into(&[seed, &counter.to_be_bytes()], &mut block);
        chunk.iter_mut().zip(mask).for_each(|(t, m)| *t ^= m);
    }
}
