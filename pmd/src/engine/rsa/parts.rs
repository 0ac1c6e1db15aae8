//! The numbers of a private key.

use zeroize::Zeroizing;

/// A secret number: big-endian without leading zeros, wiped when dropped.
pub(crate) type Secret = Zeroizing<Box<[u8]>>;

/// The numbers of a two-prime RSA private key (RFC 8017, 3.2), big-endian without leading zeros. Whoever holds one
/// can rely on that they belong together, as [`RsaKey`](super::RsaKey) and [`derive`](super::derive) check; only the
/// first checks that the primes are some.
///
/// Has no `Debug`, so that it is never shown by accident.
pub(crate) struct PrivateParts {
    /// The modulus p·q.
    pub(crate) n: Box<[u8]>,
    /// The public exponent.
    pub(crate) e: Box<[u8]>,
    /// The private exponent: e·d = 1 modulo p−1 and modulo q−1.
    pub(crate) d: Secret,
    /// The first prime.
    pub(crate) p: Secret,
    /// The second prime. Larger than `p` in some keys.
    pub(crate) q: Secret,
    /// d mod (p−1).
    pub(crate) dp: Secret,
    /// d mod (q−1).
    pub(crate) dq: Secret,
    /// The inverse of q modulo p.
    pub(crate) qinv: Secret,
}
