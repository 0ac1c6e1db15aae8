//! Sessions of keys that come as numbers, without padding: what an accelerator's descriptors ask for.

use std::fmt;

use super::KeyError;
use super::derive::{parts_of, without_zeros};
use super::error::KeyFault;
use super::key::{MAX_EXPONENT_BITS, bits, check_exponent, field_bits, is_odd};
use super::library::LibraryKey;
use super::session::{PrivateKey, widened};

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
/// [`Status::BadInput`](crate::device::Status::BadInput). Keys have 1024, 2048, 3072 or 4096 bits, or up to a
/// sixteenth less: numbers then have as many bytes as those of the full size.
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
        let parts = parts_of(numbers, origin)?;
        let key_bytes = field_bytes(&parts.n, origin)?;
        let key = PrivateKey::new(&parts, key_bytes)?;
        Ok(Self { key_bytes, prepared: Prepared::Private(Box::new(key)) })
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
        let key_bytes = field_bytes(n, origin)?;
        let prepared = if bits(exponent) <= MAX_EXPONENT_BITS {
            check_exponent(exponent, origin)?;
            Prepared::Public(LibraryKey::public_of(n, exponent)?)
        } else {
            let unsound = |fault| Err(KeyError::Unsound { origin: origin.to_owned(), fault });
            if bits(exponent) > bits(n) {
                return unsound(KeyFault::LongPrivateExponent);
            }
            if !is_odd(exponent) {
                return unsound(KeyFault::EvenPrivateExponent);
            }
            let library = LibraryKey::private_of(n, exponent)?;
            Prepared::Private(Box::new(PrivateKey {
                ifma: None,
                library,
                rejection: None,
                n: widened(n, key_bytes),
            }))
        };
        Ok(Self { key_bytes, prepared })
    }

    /// Bytes of numbers that go in and come out.
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

/// Bytes of the fields for numbers of a modulus, which is looked at.
fn field_bytes(n: &[u8], origin: &str) -> Result<usize, KeyError> {
    let size = |bits| KeyError::Size { origin: origin.to_owned(), bits };
    let field = field_bits(bits(n)).ok_or_else(|| size(bits(n)))?;
    if !is_odd(n) {
        return Err(KeyError::Unsound { origin: origin.to_owned(), fault: KeyFault::EvenModulus });
    }
    Ok(field / 8)
}

/// Says what it is; never the key itself.
impl fmt::Debug for RawSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_private() { "private" } else { "public" };
        write!(f, "RawSession({kind}, {} bits)", self.key_bytes * 8)
    }
}
