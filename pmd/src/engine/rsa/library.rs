//! A private key in aws-lc: the raw operations, one at a time, and the checks that need arithmetic on secrets.
//!
//! The only file of this engine that calls aws-lc itself: aws-lc-rs pads whatever it signs, takes no key of 1,024 bits,
//! and does not tell why it refuses a key.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;
use zeroize::Zeroizing;

use super::KeyError;
use super::error::KeyFault;
use super::parts::PrivateParts;

/// Rounds of Miller-Rabin for each prime. A composite passes one with a probability below 1/4, whoever made it.
const PRIME_ROUNDS: i32 = 16;

/// Why a raw operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LibraryError {
    /// Input and output must be as long as the modulus.
    #[error("input and output must be as long as the modulus")]
    Length,
    /// The input is a number below the modulus.
    #[error("the input is not below the modulus")]
    TooLarge,
    /// Out of memory, or the result failed its check.
    #[error("aws-lc failed")]
    Failed,
}

/// What `RSA_sign_raw` and `RSA_verify_raw` are.
type RawOperation =
    unsafe extern "C" fn(*mut sys::RSA, *mut usize, *mut u8, usize, *const u8, usize, i32) -> i32;

/// A private key in aws-lc, with its own blinding factors.
pub(crate) struct LibraryKey {
    rsa: NonNull<sys::RSA>,
    n: Box<[u8]>,
}

// SAFETY: aws-lc ties an RSA object to no thread.
unsafe impl Send for LibraryKey {}
// SAFETY: every method calls only functions that openssl/rsa.h declares "non-mutating for thread-safety purposes": what
// they keep in the object (Montgomery constants, blinding factors) is behind its lock. Nothing changes the key once
// `new` has returned it.
unsafe impl Sync for LibraryKey {}

impl Drop for LibraryKey {
    fn drop(&mut self) {
        // SAFETY: `rsa` came from RSA_new and this is its only reference. aws-lc wipes what it frees.
        unsafe { sys::RSA_free(self.rsa.as_ptr()) }
    }
}

impl LibraryKey {
    /// Copies a key into aws-lc. Does not check it: see [`check`](Self::check).
    ///
    /// # Errors
    /// [`KeyError::Library`] when memory is lacking.
    pub(crate) fn new(parts: &PrivateParts) -> Result<Self, KeyError> {
        const FAILED: KeyError = KeyError::Library { what: "take over a private key" };
        sys::init();
        // SAFETY: makes an empty object, or none.
        let rsa = NonNull::new(unsafe { sys::RSA_new() }).ok_or(FAILED)?;
        let key = Self { rsa, n: parts.n.clone() };
        let number = |bytes: &[u8]| Number::new(bytes).ok_or(FAILED);
        let (n, e, d) = (number(&parts.n)?, number(&parts.e)?, number(&parts.d)?);
        let (p, q) = (number(&parts.p)?, number(&parts.q)?);
        let (dp, dq, qinv) = (number(&parts.dp)?, number(&parts.dq)?, number(&parts.qinv)?);
        // SAFETY: the object is ours alone, the numbers are valid, and the calls take them over. They fail only if a
        // number is missing, and none is: so nothing that `release` gave away is leaked or freed twice.
        let set = unsafe {
            sys::RSA_set0_key(rsa.as_ptr(), n.release(), e.release(), d.release()) == 1
                && sys::RSA_set0_factors(rsa.as_ptr(), p.release(), q.release()) == 1
                && sys::RSA_set0_crt_params(rsa.as_ptr(), dp.release(), dq.release(), qinv.release()) == 1
        };
        if set { Ok(key) } else { Err(FAILED) }
    }

    /// Whether the numbers belong together. A good key is checked in constant time; what a bad one tells by the time
    /// taken is no secret worth keeping.
    ///
    /// # Errors
    /// What is wrong first, as far as arithmetic shows it.
    pub(crate) fn check(&self) -> Result<(), KeyFault> {
        // SAFETY: only this thread's list of errors is touched.
        unsafe { sys::ERR_clear_error() };
        // SAFETY: the object is valid, and the call only reads it.
        if unsafe { sys::RSA_check_key(self.rsa.as_ptr()) } != 1 {
            // SAFETY: takes the oldest error of this thread: what RSA_check_key said first.
            let reason = sys::ERR_GET_REASON(unsafe { sys::ERR_get_error() });
            // SAFETY: as above.
            unsafe { sys::ERR_clear_error() };
            return Err(match reason {
                sys::RSA_R_N_NOT_EQUAL_P_Q => KeyFault::Product,
                sys::RSA_R_D_E_NOT_CONGRUENT_TO_1 => KeyFault::PrivateExponent,
                sys::RSA_R_CRT_VALUES_INCORRECT => KeyFault::Crt,
                _ => KeyFault::Other,
            });
        }
        if self.has_primes() { Ok(()) } else { Err(KeyFault::Composite) }
    }

    /// Whether p and q are primes: constant-time if they are. A lack of memory counts as "no".
    fn has_primes(&self) -> bool {
        // SAFETY: the object is valid, and both numbers were set and live as long as it does.
        let primes = unsafe { [sys::RSA_get0_p(self.rsa.as_ptr()), sys::RSA_get0_q(self.rsa.as_ptr())] };
        primes.into_iter().all(|number| {
            let mut prime = 0;
            // SAFETY: the number is only read; the context and the callback may be absent.
            let done = unsafe {
                sys::BN_primality_test(&mut prime, number, PRIME_ROUNDS, ptr::null_mut(), 1, ptr::null_mut())
            };
            done == 1 && prime == 1
        })
    }

    /// `input`^d mod n, with blinding, by the Chinese remainder theorem, and with the result checked against e.
    ///
    /// # Errors
    /// [`LibraryError`]; `output` is then undefined, but never a wrong result.
    pub(crate) fn private(&self, input: &[u8], output: &mut [u8]) -> Result<(), LibraryError> {
        self.check_range(input, output)?;
        if self.is_own_root(input) {
            output.copy_from_slice(input);
            return Ok(());
        }
        self.raw(sys::RSA_sign_raw, input, output)
    }

    /// `input`^e mod n.
    ///
    /// # Errors
    /// [`LibraryError`].
    #[cfg(test)]
    fn public(&self, input: &[u8], output: &mut [u8]) -> Result<(), LibraryError> {
        self.check_range(input, output)?;
        self.raw(sys::RSA_verify_raw, input, output)
    }

    /// Calls one of aws-lc's two raw operations. Input and output are as long as the modulus.
    fn raw(&self, operation: RawOperation, input: &[u8], output: &mut [u8]) -> Result<(), LibraryError> {
        let mut written = 0;
        // SAFETY: both buffers are as long as the modulus, which is what is read and at most written; Rust's references
        // keep them apart. The call may run at the same time on other threads.
        let done = unsafe {
            operation(
                self.rsa.as_ptr(),
                &mut written,
                output.as_mut_ptr(),
                output.len(),
                input.as_ptr(),
                input.len(),
                sys::RSA_NO_PADDING,
            )
        };
        if done == 1 && written == self.n.len() {
            return Ok(());
        }
        // SAFETY: only this thread's list of errors is touched.
        unsafe { sys::ERR_clear_error() };
        Err(LibraryError::Failed)
    }

    fn check_range(&self, input: &[u8], output: &[u8]) -> Result<(), LibraryError> {
        if input.len() != self.n.len() || output.len() != self.n.len() {
            return Err(LibraryError::Length);
        }
        // Of equal length, so the order of the bytes is the order of the numbers. Whether an input is in range is known
        // to who sent it.
        if input >= &*self.n { Err(LibraryError::TooLarge) } else { Ok(()) }
    }

    /// Whether `input` is 0, 1 or n−1, which every odd exponent maps to themselves. aws-lc refuses them.
    fn is_own_root(&self, input: &[u8]) -> bool {
        let (last, front) = input.split_last().unwrap_or((&0, &[]));
        let (n_last, n_front) = self.n.split_last().unwrap_or((&0, &[]));
        // n is odd, so n−1 differs from it in the last bit alone.
        (*last <= 1 && front.iter().all(|&b| b == 0)) || (*last == n_last ^ 1 && front == n_front)
    }
}

/// A random pair (u^e, u⁻¹) mod n, each as long as n: an input times the first, raised to the private exponent, times the
/// second is as if neither had been there.
///
/// # Errors
/// When memory or randomness is lacking.
pub(crate) fn blinding_pair(n: &[u8], e: &[u8]) -> Result<[Zeroizing<Vec<u8>>; 2], KeyError> {
    const FAILED: KeyError = KeyError::Library { what: "make a blinding pair" };
    sys::init();
    let number = |bytes: &[u8]| Number::new(bytes).ok_or(FAILED);
    let (n_number, e) = (number(n)?, number(e)?);
    let (u, v, w, inverse, power) = (number(&[])?, number(&[])?, number(&[])?, number(&[])?, number(&[])?);
    // SAFETY: makes a context, or none.
    let context = NonNull::new(unsafe { sys::BN_CTX_new() }).ok_or(FAILED)?;
    let (m, c) = (n_number.0.as_ptr(), context.as_ptr());
    let [u, v, w, inverse, power] = [&u, &v, &w, &inverse, &power].map(|number| number.0.as_ptr());
    let mut pair = [n, n].map(|n| Zeroizing::new(vec![0; n.len()]));
    // The inverse of u by way of that of u v, which tells nothing about u: inversion is not constant-time.
    // SAFETY: all numbers and the context are valid and ours, and the buffers as long as is said.
    let done = unsafe {
        let done = sys::BN_rand_range_ex(u, 2, m) == 1
            && sys::BN_rand_range_ex(v, 2, m) == 1
            && sys::BN_mod_mul(w, u, v, m, c) == 1
            && !sys::BN_mod_inverse(w, w, m, c).is_null()
            && sys::BN_mod_mul(inverse, w, v, m, c) == 1
            && sys::BN_mod_exp_mont(power, u, e.0.as_ptr(), m, c, ptr::null()) == 1
            && sys::BN_bn2bin_padded(pair[0].as_mut_ptr(), n.len(), power) == 1
            && sys::BN_bn2bin_padded(pair[1].as_mut_ptr(), n.len(), inverse) == 1;
        sys::BN_CTX_free(c);
        done
    };
    if done { Ok(pair) } else { Err(FAILED) }
}

/// A number of aws-lc that nobody else has.
struct Number(NonNull<sys::BIGNUM>);

impl Number {
    fn new(bytes: &[u8]) -> Option<Self> {
        // SAFETY: reads the slice and makes a new number, or none.
        NonNull::new(unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) }).map(Self)
    }

    /// The number, to be freed by whoever takes it.
    fn release(self) -> *mut sys::BIGNUM {
        let number = self.0.as_ptr();
        std::mem::forget(self);
        number
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: it came from BN_bin2bn and was not released.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RsaKey;
    use super::*;
    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeyPair;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;
    use num_bigint::BigUint;

    const RSA_1024: &str = include_str!("../../../tests/data/rsa/rsa1024.pem");
    const RSA_2048: &str = include_str!("../../../tests/data/rsa/rsa2048.pem");
    const MESSAGE: &[u8] = b"known answer";

    fn keys() -> impl Iterator<Item = RsaKey> {
        let known = [RSA_1024, RSA_2048].map(|pem| RsaKey::from_pem(pem, "known").unwrap());
        known.into_iter().chain([3072, 4096].map(|bits| RsaKey::generate(bits).unwrap()))
    }

    fn library(key: &RsaKey) -> LibraryKey {
        LibraryKey::new(key.parts("be tested").unwrap()).unwrap()
    }

    fn private(key: &LibraryKey, input: &[u8]) -> Result<Vec<u8>, LibraryError> {
        let mut output = vec![0xee; key.n.len()];
        key.private(input, &mut output).map(|()| output)
    }

    /// EMSA-PKCS1-v1_5 of the message with SHA-256 (RFC 8017, 9.2).
    fn padded(len: usize) -> Vec<u8> {
        const INFO: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
        let hash = digest(&SHA256, MESSAGE);
        let mut padded = vec![0xff; len - INFO.len() - 32];
        (padded[0], padded[1]) = (0, 1);
        *padded.last_mut().unwrap() = 0;
        [&padded, INFO, hash.as_ref()].concat()
    }

    #[test]
    fn a_padded_message_becomes_the_signature_that_others_make() {
        for key in keys() {
            let library = library(&key);
            let len = key.bits() / 8;
            let theirs = if key.is_weak() {
                include_bytes!("../../../tests/data/rsa/rsa1024-pkcs1-sha256.sig").to_vec()
            } else {
                let pair = KeyPair::from_pkcs8(key.pkcs8("be tested").unwrap().as_bytes()).unwrap();
                let mut signature = vec![0; len];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
                signature
            };
            let ours = private(&library, &padded(len)).unwrap();
            assert_eq!(ours, theirs, "{} bits", key.bits());
            let mut back = vec![0; len];
            library.public(&ours, &mut back).unwrap();
            assert_eq!(back, padded(len));
        }
    }

    #[test]
    fn the_ends_of_the_range_are_done_and_what_is_beyond_is_refused() {
        for key in keys() {
            let library = library(&key);
            let n = library.n.to_vec();
            let of = |last: u8| {
                let mut number = vec![0; n.len()];
                *number.last_mut().unwrap() = last;
                number
            };
            let minus = |k: u8| (BigUint::from_bytes_be(&n) - k).to_bytes_be();
            for own_root in [of(0), of(1), minus(1)] {
                assert_eq!(private(&library, &own_root), Ok(own_root));
            }
            for input in [of(2), of(3), minus(2), minus(3), [&[0][..], &n[..n.len() - 1]].concat()] {
                let root = private(&library, &input).unwrap();
                assert_ne!(root, input);
                let mut back = vec![0; n.len()];
                library.public(&root, &mut back).unwrap();
                assert_eq!(back, input);
            }
            for beyond in [n.clone(), vec![0xff; n.len()]] {
                assert_eq!(private(&library, &beyond), Err(LibraryError::TooLarge));
                assert_eq!(library.public(&beyond, &mut of(0)), Err(LibraryError::TooLarge));
            }
            for len in [0, 1, n.len() - 1, n.len() + 1] {
                assert_eq!(private(&library, &vec![0; len]), Err(LibraryError::Length));
                assert_eq!(library.private(&of(2), &mut vec![0; len]), Err(LibraryError::Length));
                assert_eq!(library.public(&of(2), &mut vec![0; len]), Err(LibraryError::Length));
            }
        }
    }

    #[test]
    fn a_wrong_result_is_never_given_out() {
        let key = RsaKey::from_pem(RSA_2048, "known").unwrap();
        let parts = key.parts("be tested").unwrap();
        // As a flipped bit in memory would have it, after the key was checked. The difference of such a result and the
        // right one has a prime in common with n (Boneh, DeMillo and Lipton 1997).
        let faults: [fn(&mut PrivateParts); 3] = [|p| p.dp[40] ^= 1, |p| p.dq[40] ^= 4, |p| p.qinv[40] ^= 64];
        for fault in faults {
            let mut parts = PrivateParts {
                n: parts.n.clone(),
                e: parts.e.clone(),
                d: parts.d.clone(),
                p: parts.p.clone(),
                q: parts.q.clone(),
                dp: parts.dp.clone(),
                dq: parts.dq.clone(),
                qinv: parts.qinv.clone(),
            };
            fault(&mut parts);
            let library = LibraryKey::new(&parts).unwrap();
            assert_eq!(library.check(), Err(KeyFault::Crt));
            let mut output = vec![0xee; 256];
            assert_eq!(library.private(&padded(256), &mut output), Err(LibraryError::Failed));
            assert!(output.iter().all(|&b| b == 0xee), "nothing is written");
        }
    }

    #[test]
    fn one_key_serves_many_threads() {
        let key = RsaKey::from_pem(RSA_2048, "known").unwrap();
        let library = library(&key);
        let expected = private(&library, &padded(256)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(private(&library, &padded(256)).unwrap(), expected);
                    }
                });
            }
        });
    }
}
