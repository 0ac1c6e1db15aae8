//! A key in aws-lc: the raw operations, one at a time, and the checks that need arithmetic on secrets.
//!
//! This file and [`number`](super::number) are the only ones of this engine that call aws-lc itself: aws-lc-rs pads
//! whatever it signs, takes no key of 1,024 bits, and does not tell why it refuses a key.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;
use zeroize::Zeroizing;

use super::KeyError;
use super::error::KeyFault;
use super::number::{Context, Number};
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

/// What `RSA_new_public_key` and `RSA_new_private_key_no_e` are.
type NewOfTwo = unsafe extern "C" fn(*const sys::BIGNUM, *const sys::BIGNUM) -> *mut sys::RSA;

/// What `RSA_sign_raw` and `RSA_verify_raw` are.
type RawOperation =
    unsafe extern "C" fn(*mut sys::RSA, *mut usize, *mut u8, usize, *const u8, usize, i32) -> i32;

/// A key in aws-lc: a private one with its own blinding factors, or a public one.
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

    /// A public key. Its numbers were checked: both are odd, and `e` is 3 at least.
    ///
    /// # Errors
    /// [`KeyError::Library`] when memory is lacking.
    pub(crate) fn public_of(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        Self::of_two(sys::RSA_new_public_key, n, e, "take over a public key")
    }

    /// A private key of which there are only the modulus and the private exponent, both odd, the second no longer than
    /// the first. Its operations take the same time for all exponents of a key's size, but are neither blinded nor
    /// checked: that takes e.
    ///
    /// # Errors
    /// [`KeyError::Library`] when memory is lacking.
    pub(crate) fn private_of(n: &[u8], d: &[u8]) -> Result<Self, KeyError> {
        Self::of_two(sys::RSA_new_private_key_no_e, n, d, "take over a private key")
    }

    fn of_two(make: NewOfTwo, n: &[u8], exponent: &[u8], what: &'static str) -> Result<Self, KeyError> {
        let failed = KeyError::Library { what };
        sys::init();
        let (Some(modulus), Some(exponent)) = (Number::new(n), Number::new(exponent)) else {
            return Err(failed);
        };
        // SAFETY: both numbers are only read; what is made, if anything, is ours.
        match NonNull::new(unsafe { make(modulus.as_ptr(), exponent.as_ptr()) }) {
            Some(rsa) => Ok(Self { rsa, n: n.into() }),
            None => {
                // SAFETY: only this thread's list of errors is touched.
                unsafe { sys::ERR_clear_error() };
                Err(failed)
            }
        }
    }

    /// dq, dp, q, p and 1/q mod p, big-endian, `half` bytes each, as accelerators take them. `None`: the key has not all of
    /// them, or they are longer.
    pub(crate) fn crt(&self, half: usize) -> Option<Zeroizing<Vec<u8>>> {
        let rsa = self.rsa.as_ptr();
        // SAFETY: the object is valid, and the calls only read it.
        let numbers = unsafe {
            [
                sys::RSA_get0_dmq1(rsa),
                sys::RSA_get0_dmp1(rsa),
                sys::RSA_get0_q(rsa),
                sys::RSA_get0_p(rsa),
                sys::RSA_get0_iqmp(rsa),
            ]
        };
        side_by_side(&numbers, half)
    }

    /// Whether the public operation can be done.
    pub(crate) fn has_public_exponent(&self) -> bool {
        // SAFETY: as above.
        !unsafe { sys::RSA_get0_e(self.rsa.as_ptr()) }.is_null()
    }

    /// The private exponent and the modulus in the same way, `bytes` each. `None`: the key has no private exponent.
    pub(crate) fn exponent(&self, bytes: usize) -> Option<Zeroizing<Vec<u8>>> {
        let rsa = self.rsa.as_ptr();
        // SAFETY: as above.
        let numbers = unsafe { [sys::RSA_get0_d(rsa), sys::RSA_get0_n(rsa)] };
        side_by_side(&numbers, bytes)
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

    /// `input`^d mod n: with blinding, by the Chinese remainder theorem, and with the result checked against e, as far as
    /// the key has what that takes.
    ///
    /// # Errors
    /// [`LibraryError`]; `output` is then undefined, but never a wrong result.
    pub(crate) fn private(&self, input: &[u8], output: &mut [u8]) -> Result<(), LibraryError> {
        let (input, output) = self.in_range(input, output)?;
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
    pub(crate) fn public(&self, input: &[u8], output: &mut [u8]) -> Result<(), LibraryError> {
        let (input, output) = self.in_range(input, output)?;
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

    /// The parts of input and output that are as long as the modulus: in longer fields there are zeros in front of them.
    fn in_range<'a, 'b>(
        &self,
        input: &'a [u8],
        output: &'b mut [u8],
    ) -> Result<(&'a [u8], &'b mut [u8]), LibraryError> {
        let zeros = input.len().checked_sub(self.n.len()).filter(|_| input.len() == output.len());
        let (front, input) = input.split_at(zeros.ok_or(LibraryError::Length)?);
        // Of equal length, so the order of the bytes is the order of the numbers. Whether an input is in range is known
        // to who sent it.
        if front.iter().any(|&byte| byte != 0) || input >= &*self.n {
            return Err(LibraryError::TooLarge);
        }
        let (zeros, output) = output.split_at_mut(front.len());
        zeros.fill(0);
        Ok((input, output))
    }

    /// Whether `input` is 0, 1 or n−1, which every odd exponent maps to themselves. aws-lc refuses them.
    fn is_own_root(&self, input: &[u8]) -> bool {
        let (last, front) = input.split_last().unwrap_or((&0, &[]));
        let (n_last, n_front) = self.n.split_last().unwrap_or((&0, &[]));
        // n is odd, so n−1 differs from it in the last bit alone.
        (*last <= 1 && front.iter().all(|&b| b == 0)) || (*last == n_last ^ 1 && front == n_front)
    }
}

/// Numbers that live as long as their key does, `bytes` each.
fn side_by_side(numbers: &[*const sys::BIGNUM], bytes: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut all = Zeroizing::new(vec![0; numbers.len() * bytes]);
    for (number, out) in numbers.iter().zip(all.chunks_exact_mut(bytes)) {
        // SAFETY: the number is there and only read, and the buffer as long as is said.
        if number.is_null() || unsafe { sys::BN_bn2bin_padded(out.as_mut_ptr(), bytes, *number) } != 1 {
            return None;
        }
    }
    Some(all)
}

/// A random pair (u^e, u⁻¹) mod n, each as long as n: an input times the first, raised to the private exponent, times the
/// second is as if neither had been there. None where a random number shares a factor with n, which is then no product
/// of large primes.
///
/// # Errors
/// When memory or randomness is lacking.
pub(crate) fn blinding_pair(n: &[u8], e: &[u8]) -> Result<Option<[Zeroizing<Vec<u8>>; 2]>, KeyError> {
    const FAILED: KeyError = KeyError::Library { what: "make a blinding pair" };
    let mut context = Context::new().ok_or(FAILED)?;
    let number = |bytes: &[u8]| Number::new(bytes).ok_or(FAILED);
    let (n_number, e) = (number(n)?, number(e)?);
    let (u, v, w, inverse, power) = (number(&[])?, number(&[])?, number(&[])?, number(&[])?, number(&[])?);
    let (m, c) = (n_number.as_ptr(), context.as_ptr());
    let [u, v, w, inverse, power] = [&u, &v, &w, &inverse, &power].map(Number::as_ptr);
    let mut pair = [n, n].map(|n| Zeroizing::new(vec![0; n.len()]));
    let mut shares_a_factor = 0;
    // The inverse of u by way of that of u v, which tells nothing about u: inversion is not constant-time.
    // SAFETY: all numbers and the context are valid and ours, and the buffers as long as is said.
    let done = unsafe {
        sys::BN_rand_range_ex(u, 2, m) == 1
            && sys::BN_rand_range_ex(v, 2, m) == 1
            && sys::BN_mod_mul(w, u, v, m, c) == 1
            && sys::BN_mod_inverse_odd(w, &mut shares_a_factor, w, m, c) == 1
            && sys::BN_mod_mul(inverse, w, v, m, c) == 1
            && sys::BN_mod_exp_mont(power, u, e.as_ptr(), m, c, ptr::null()) == 1
            && sys::BN_bn2bin_padded(pair[0].as_mut_ptr(), n.len(), power) == 1
            && sys::BN_bn2bin_padded(pair[1].as_mut_ptr(), n.len(), inverse) == 1
    };
    if done {
        return Ok(Some(pair));
    }
    // SAFETY: only this thread's list of errors is touched.
    unsafe { sys::ERR_clear_error() };
    if shares_a_factor == 1 { Ok(None) } else { Err(FAILED) }
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
