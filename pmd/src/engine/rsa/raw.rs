//! Sessions of keys that come as numbers, without padding: what an accelerator's descriptors ask for.

use std::fmt;

use super::KeyError;
use super::derive::{parts_of, without_zeros};
use super::error::KeyFault;
use super::key::{MAX_EXPONENT_BITS, bits, check_modulus, check_public, is_odd};
use super::library::LibraryKey;
use super::session::PrivateKey;

/// The numbers of a private operation by the Chinese remainder theorem (RFC 8017, 3.2), big-endian, each with any zeros
/// in front.
///
/// Has no `Debug`, so that it is never shown by accident.
#[derive(Clone, Copy)]
pub struct CrtNumbers<'a> {
    /// The first prime.
    pub p: &'a [u8],
    /// The second prime: as many bits as the first, and smaller or larger.
    pub q: &'a [u8],
    /// The private exponent modulo p−1.
    pub dp: &'a [u8],
    /// The private exponent modulo q−1.
    pub dq: &'a [u8],
    /// The inverse of q modulo p.
    pub qinv: &'a [u8],
}

/// An RSA operation on numbers, with a key that came as numbers.
///
/// A request has a number as long as the modulus, big-endian with zeros in front, and room for as much; its result has
/// the same form. A number of another length or not below the modulus is
/// [`Status::BadInput`](crate::device::Status::BadInput). Keys have 1024, 2048, 3072 or 4096 bits.
///
/// Whoever asks does the padding. RSA without any is no encryption and no signature.
pub struct RawSession {
    key_bytes: usize,
    pub(super) prepared: Prepared,
}

/// The key in the form that the operation wants.
pub(super) enum Prepared {
    Private(Box<PrivateKey>),
    Public(LibraryKey),
}

impl RawSession {
    /// Name of what sessions compute, for [`DeviceInfo`](crate::device::DeviceInfo).
    pub const ALGORITHM: &'static str = "rsa-raw";

    /// Prepares the private operation by the Chinese remainder theorem: in passes, as those of an
    /// [`RsaKey`](super::RsaKey). `origin` is what messages call the key.
    ///
    /// The numbers may come from anybody. They must belong together, but whether p and q are primes is not tested, so that
    /// a key costs its owner much more than others. If they are none, an operation fails or gives a wrong number, and is
    /// counted as one that failed its check.
    ///
    /// # Errors
    /// [`KeyError::Size`], [`KeyError::Unsound`].
    pub fn from_crt(numbers: &CrtNumbers<'_>, origin: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::new(&parts_of(numbers, origin)?)?;
        Ok(Self { key_bytes: key.n.len(), prepared: Prepared::Private(Box::new(key)) })
    }

    /// Prepares the operation of an exponent and a modulus, big-endian with any zeros in front: the public one for
    /// an exponent of up to 33 bits, the private one for a longer. `origin` is what messages call the key.
    ///
    /// A private operation of this kind is done alone, takes the same time for all exponents, and is neither blinded nor
    /// checked: that takes the public exponent.
    ///
    /// # Errors
    /// [`KeyError::Size`]; [`KeyError::Unsound`] for an even modulus, an even exponent, and one that is below 3 or longer
    /// than the modulus.
    pub fn from_exponent(exponent: &[u8], modulus: &[u8], origin: &str) -> Result<Self, KeyError> {
        let (exponent, n) = (without_zeros(exponent), without_zeros(modulus));
        let prepared = if bits(exponent) <= MAX_EXPONENT_BITS {
            check_public(n, exponent, origin)?;
            Prepared::Public(LibraryKey::public_of(n, exponent)?)
        } else {
            check_modulus(n, origin)?;
            let unsound = |fault| Err(KeyError::Unsound { origin: origin.to_owned(), fault });
            if bits(exponent) > bits(n) {
                return unsound(KeyFault::LongPrivateExponent);
            }
            if !is_odd(exponent) {
                return unsound(KeyFault::EvenPrivateExponent);
            }
            let library = LibraryKey::private_of(n, exponent)?;
            Prepared::Private(Box::new(PrivateKey { ifma: None, library, rejection: None, n: n.into() }))
        };
        Ok(Self { key_bytes: n.len(), prepared })
    }

    /// Bytes of the modulus: of numbers that go in and come out.
    #[must_use]
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Whether its operation is a private one.
    #[must_use]
    pub fn is_private(&self) -> bool {
        matches!(self.prepared, Prepared::Private(_))
    }
}

/// Says what it is; never the key itself.
impl fmt::Debug for RawSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_private() { "private" } else { "public" };
        write!(f, "RawSession({kind}, {} bits)", self.key_bytes * 8)
    }
}
