//! The message encodings of RFC 8017, around an operation that is somebody else's. No allocation, no lock and no system
//! call in any of them but for the seed of [`random`].
//!
//! SHA-2 comes from RustCrypto rather than from aws-lc: as fast, allocates for nothing (aws-lc does for a hash of more
//! than one part), wipes its states, and writes its output to memory that can be wiped.

#![forbid(unsafe_code)]

use sha2::digest::DynDigest;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

mod constant_time;
pub(crate) mod decrypt;
pub(super) mod encrypt;
pub(crate) mod random;
pub(super) mod sign;
pub(super) mod verify;

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

    /// The hash of the empty label.
    const fn of_nothing(self) -> &'static [u8] {
        match self {
            Self::Sha256 => &[
                0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
                0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
                0xb8, 0x55,
            ],
            Self::Sha384 => &[
                0x38, 0xb0, 0x60, 0xa7, 0x51, 0xac, 0x96, 0x38, 0x4c, 0xd9, 0x32, 0x7e, 0xb1, 0xb1, 0xe3,
                0x6a, 0x21, 0xfd, 0xb7, 0x11, 0x14, 0xbe, 0x07, 0x43, 0x4c, 0x0c, 0xc7, 0xbf, 0x63, 0xf6,
                0xe1, 0xda, 0x27, 0x4e, 0xde, 0xbf, 0xe7, 0x6f, 0x65, 0xfb, 0xd5, 0x1a, 0xd2, 0xf1, 0x48,
                0x98, 0xb9, 0x5b,
            ],
            Self::Sha512 => &[
                0xcf, 0x83, 0xe1, 0x35, 0x7e, 0xef, 0xb8, 0xbd, 0xf1, 0x54, 0x28, 0x50, 0xd6, 0x6d, 0x80,
                0x07, 0xd6, 0x20, 0xe4, 0x05, 0x0b, 0x57, 0x15, 0xdc, 0x83, 0xf4, 0xa9, 0x21, 0xd3, 0x6c,
                0xe9, 0xce, 0x47, 0xd0, 0xd1, 0x3c, 0x5d, 0x85, 0xf2, 0xb0, 0xff, 0x83, 0x18, 0xd2, 0x87,
                0x7e, 0xec, 0x2f, 0x63, 0xb9, 0x31, 0xbd, 0x47, 0x41, 0x7a, 0x81, 0xa5, 0x38, 0x32, 0x7a,
                0xf9, 0x27, 0xda, 0x3e,
            ],
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
