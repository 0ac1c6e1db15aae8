//! Numbers of aws-lc, as far as keys that come as numbers need them: see [`derive`](super::derive).
//!
//! A method that gives nothing found no memory, or says what else that means.

use std::cmp::Ordering;
use std::ptr::{self, NonNull};

use aws_lc_sys as sys;
use zeroize::Zeroizing;

use super::parts::Secret;

/// A number of aws-lc that nobody else has: not negative, and wiped when dropped.
pub(super) struct Number(NonNull<sys::BIGNUM>);

/// Scratch memory of aws-lc, for one thread.
pub(super) struct Context(NonNull<sys::BN_CTX>);

impl Number {
    /// The number of big-endian bytes.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        // SAFETY: reads the slice and makes a new number, or none.
        NonNull::new(unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) }).map(Self)
    }

    fn zero() -> Option<Self> {
        Self::new(&[])
    }

    /// The number, for calls that neither free nor keep it.
    pub(super) fn as_ptr(&self) -> *mut sys::BIGNUM {
        self.0.as_ptr()
    }

    /// The number, to be freed by whoever takes it.
    pub(super) fn release(self) -> *mut sys::BIGNUM {
        let number = self.as_ptr();
        std::mem::forget(self);
        number
    }

    /// Bits without leading zeros.
    pub(super) fn bits(&self) -> usize {
        // SAFETY: the number is only read.
        unsafe { sys::BN_num_bits(self.as_ptr()) as usize }
    }

    /// Big-endian bytes without leading zeros.
    pub(super) fn to_bytes(&self) -> Option<Secret> {
        let mut bytes = Zeroizing::new(vec![0; self.bits().div_ceil(8)].into_boxed_slice());
        // SAFETY: the number is only read, and the buffer as long as is said.
        let done = unsafe { sys::BN_bn2bin_padded(bytes.as_mut_ptr(), bytes.len(), self.as_ptr()) };
        (done == 1).then_some(bytes)
    }

    /// The number, where it fits.
    pub(super) fn to_u64(&self) -> Option<u64> {
        let mut value = 0;
        // SAFETY: the number is only read.
        (unsafe { sys::BN_get_u64(self.as_ptr(), &mut value) } == 1).then_some(value)
    }

    /// Compares in a time that depends on lengths.
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        // SAFETY: both numbers are only read.
        unsafe { sys::BN_ucmp(self.as_ptr(), other.as_ptr()) }.cmp(&0)
    }

    /// One less, of a number that is not zero.
    pub(super) fn minus_one(&self) -> Option<Self> {
        // SAFETY: the number is only read, and the copy a new one, or none.
        let copy = NonNull::new(unsafe { sys::BN_dup(self.as_ptr()) }).map(Self)?;
        // SAFETY: the copy is ours.
        (unsafe { sys::BN_sub_word(copy.as_ptr(), 1) } == 1).then_some(copy)
    }

    /// The product.
    pub(super) fn times(&self, other: &Self, context: &mut Context) -> Option<Self> {
        let product = Self::zero()?;
        // SAFETY: the factors are only read; product and context are ours.
        let done =
            unsafe { sys::BN_mul(product.as_ptr(), self.as_ptr(), other.as_ptr(), context.0.as_ptr()) };
        (done == 1).then_some(product)
    }

    /// k with `factor` · self = 1 + k · `modulus`, if there is one of 64 bits; `modulus` is more than 1. Divides, in a
    /// time that depends a little on the highest bits.
    pub(super) fn quotient_of_one(
        &self,
        factor: u64,
        modulus: &Self,
        context: &mut Context,
    ) -> Option<Option<u64>> {
        let (product, quotient, rest) = (Self::new(&factor.to_be_bytes())?, Self::zero()?, Self::zero()?);
        // SAFETY: `self` and the modulus are only read; the other numbers and the context are ours. A result of the
        // multiplication may be one of its factors.
        let (done, one) = unsafe {
            let (p, c) = (product.as_ptr(), context.0.as_ptr());
            let done = sys::BN_mul(p, p, self.as_ptr(), c) == 1
                && sys::BN_div(quotient.as_ptr(), rest.as_ptr(), p, modulus.as_ptr(), c) == 1;
            (done, sys::BN_is_one(rest.as_ptr()) == 1)
        };
        done.then(|| quotient.to_u64().filter(|_| one))
    }

    /// (1 + `k` · self) / `divisor`, if that is a number.
    pub(super) fn one_more_divided(self, k: u64, divisor: u64) -> Option<Self> {
        // SAFETY: the number is ours.
        let rest = unsafe {
            if sys::BN_mul_word(self.as_ptr(), k) != 1 || sys::BN_add_word(self.as_ptr(), 1) != 1 {
                return None;
            }
            sys::BN_div_word(self.as_ptr(), divisor)
        };
        (rest == 0).then_some(self)
    }

    /// The inverse modulo an even number; nothing also if there is none. Constant-time for numbers below the modulus.
    pub(super) fn inverse(&self, modulus: &Self, context: &mut Context) -> Option<Self> {
        let inverse = Self::zero()?;
        // SAFETY: the operands are only read; inverse and context are ours.
        let done = unsafe {
            sys::BN_mod_inverse(inverse.as_ptr(), self.as_ptr(), modulus.as_ptr(), context.0.as_ptr())
        };
        if done.is_null() {
            // SAFETY: only this thread's list of errors is touched.
            unsafe { sys::ERR_clear_error() };
            return None;
        }
        Some(inverse)
    }

    /// Whether self · `other` = 1 modulo the odd `modulus`, in constant time. Both have as many bits as the modulus at
    /// most, and `other` is below it.
    pub(super) fn is_inverse(&self, other: &Self, modulus: &Self, context: &mut Context) -> Option<bool> {
        let (x, y, c) = (Self::zero()?, Self::zero()?, context.0.as_ptr());
        // SAFETY: the modulus is only read.
        let montgomery = NonNull::new(unsafe { sys::BN_MONT_CTX_new_consttime(modulus.as_ptr(), c) })?;
        let m = montgomery.as_ptr();
        // `self` may exceed the modulus: out of Montgomery form and into it again reduces it.
        // SAFETY: the operands are only read; all else is ours, and freed once.
        unsafe {
            let done = sys::BN_from_montgomery(x.as_ptr(), self.as_ptr(), m, c) == 1
                && sys::BN_to_montgomery(x.as_ptr(), x.as_ptr(), m, c) == 1
                && sys::BN_to_montgomery(y.as_ptr(), other.as_ptr(), m, c) == 1
                && sys::BN_mod_mul_montgomery(x.as_ptr(), x.as_ptr(), y.as_ptr(), m, c) == 1;
            sys::BN_MONT_CTX_free(m);
            done.then(|| sys::BN_is_one(x.as_ptr()) == 1)
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: it came from aws-lc and was not released.
        unsafe { sys::BN_clear_free(self.as_ptr()) }
    }
}

impl Context {
    /// Nothing when memory is lacking.
    pub(super) fn new() -> Option<Self> {
        sys::init();
        // SAFETY: makes a context, or none.
        NonNull::new(unsafe { sys::BN_CTX_new() }).map(Self)
    }

    /// The context, for calls that neither free nor keep it.
    pub(super) fn as_ptr(&mut self) -> *mut sys::BN_CTX {
        self.0.as_ptr()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it came from BN_CTX_new, and this is its only reference. aws-lc wipes what it frees.
        unsafe { sys::BN_CTX_free(self.0.as_ptr()) }
    }
}
