//! Eight numbers side by side: one vector of 64-bit lanes for each digit of 52 bits.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_srai_epi64, _mm512_sub_epi64,
};

/// One digit of eight numbers.
pub(super) type V = __m512i;
/// Numbers computed at once.
pub(super) const LANES: usize = 8;
/// Bits of a digit: what `vpmadd52` multiplies.
pub(super) const DIGIT_BITS: usize = 52;
/// The bits of a digit. What stands above them in a vector is a carry that the next digit has already.
pub(super) const DIGIT_MASK: u64 = (1 << DIGIT_BITS) - 1;

/// Runs a block for each of some constants. Unrolled by hand because the compiler keeps an array in registers only if
/// every index into it is a constant.
macro_rules! each {
    ($i:ident in $($n:literal)* => $body:block) => {{
        $({ const $i: usize = $n; $body })*
    }};
}

/// Runs a block for the constants 0 to 4.
macro_rules! each5 {
    ($i:ident => $body:block) => {
        $crate::engine::rsa::ifma::simd::each!($i in 0 1 2 3 4 => $body)
    };
}

/// Runs a block for the constants 0 to 9.
macro_rules! each10 {
    ($i:ident => $body:block) => {
        $crate::engine::rsa::ifma::simd::each!($i in 0 1 2 3 4 5 6 7 8 9 => $body)
    };
}

pub(super) use {each, each5, each10};

#[cfg(test)]
thread_local! {
    /// How many multiply-adds this thread has done.
    pub(super) static MULTIPLY_ADDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// `c` + the low 52 bits of `a` × `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn lo(c: V, a: V, b: V) -> V {
    #[cfg(test)]
    MULTIPLY_ADDS.set(MULTIPLY_ADDS.get() + 1);
    _mm512_madd52lo_epu64(c, a, b)
}

/// `c` + the high 52 bits of `a` × `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn hi(c: V, a: V, b: V) -> V {
    #[cfg(test)]
    MULTIPLY_ADDS.set(MULTIPLY_ADDS.get() + 1);
    _mm512_madd52hi_epu64(c, a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn add(a: V, b: V) -> V {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn sub(a: V, b: V) -> V {
    _mm512_sub_epi64(a, b)
}

/// What `a` is beyond a digit. Below zero if `a` is.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn carry(a: V) -> V {
    _mm512_srai_epi64::<{ DIGIT_BITS as u32 }>(a)
}

/// `a` as a digit.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn digit(a: V) -> V {
    _mm512_and_si512(a, _mm512_set1_epi64(DIGIT_MASK as i64))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
pub(super) fn zero() -> V {
    _mm512_setzero_si512()
}

/// Reads a digit here and now. Left to itself the compiler reads all that a kernel will need at its beginning, and then
/// has to put most of it away again, for lack of registers.
#[inline(always)]
pub(super) fn load(v: &V) -> V {
    // SAFETY: a reference can be read.
    unsafe { std::ptr::read_volatile(v) }
}

/// The lanes of a digit.
pub(super) fn lanes(v: &V) -> &[u64; LANES] {
    // SAFETY: both are 64 bytes of which every value is allowed, and a vector is aligned more strictly.
    unsafe { &*std::ptr::from_ref(v).cast() }
}

/// The lanes of a digit, to be written.
pub(super) fn lanes_mut(v: &mut V) -> &mut [u64; LANES] {
    // SAFETY: as above.
    unsafe { &mut *std::ptr::from_mut(v).cast() }
}
