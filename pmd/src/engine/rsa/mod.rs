//! RSA (RFC 8017): sign, verify, encrypt and decrypt with 2048, 3072 and 4096 bits; and P-256 and X25519 for those who
//! have such keys.

#![deny(unsafe_code)]

mod certificate;
pub(crate) mod coding;
mod count;
mod der;
mod derive;
mod ec;
mod engine;
mod error;
mod file;
pub(crate) mod foreign;
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "vectors as arrays of lanes, and code for a cpu that has the features, see there"
)]
mod ifma;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_ifma.rs"]
mod ifma;
mod key;
#[allow(unsafe_code, reason = "calls aws-lc itself, see there")]
pub(crate) mod library;
#[allow(unsafe_code, reason = "calls aws-lc itself, see there")]
mod number;
mod options;
pub(crate) mod padding;
pub(crate) mod parts;
mod raw;
mod scheme;
#[allow(unsafe_code, reason = "maps memory, see there")]
mod secret;
mod session;
#[cfg(all(test, target_arch = "x86_64"))]
mod trace;

pub use ec::{EcCurve, EcKey, EcOp, EcSession};
pub use engine::RsaEngine;
pub use error::{KeyError, KeyFault};
pub use key::RsaKey;
pub use options::{Passes, RsaOptions, Simd};
pub use raw::{CrtNumbers, RawSession};
pub use scheme::{RsaOp, RsaScheme};
pub use session::{PublicKeySession, RsaSession};

use crate::device::Status;

/// The largest modulus, in bytes.
const MAX_KEY_BYTES: usize = 4096 / 8;

/// The front of `dst` that takes so many bytes.
fn front(dst: &mut [u8], bytes: usize) -> Result<&mut [u8], Status> {
    dst.get_mut(..bytes).ok_or(Status::NoSpace { needed: bytes as u32 })
}
