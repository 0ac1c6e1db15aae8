//! What the decoders share: work on secret bytes whose time and memory accesses depend on lengths only.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// How many bytes of `bytes` are at or behind the first that is zero.
pub(super) fn from_first_zero(bytes: &[u8]) -> u32 {
    let mut found = Choice::from(0);
    bytes.iter().fold(0, |count, byte| {
        found |= byte.ct_eq(&0);
        count + u32::from(found.unwrap_u8())
    })
}

/// The first byte of `bytes` that is not zero, and how many are at or behind it: (0, 0) where all are zero.
pub(super) fn from_first_nonzero(bytes: &[u8]) -> (u8, u32) {
    let mut found = Choice::from(0);
    let (mut first, mut count) = (0, 0);
    for byte in bytes {
        first.conditional_assign(byte, !found);
        found |= !byte.ct_eq(&0);
        count += u32::from(found.unwrap_u8());
    }
    (first, count)
}

/// Moves `bytes` towards the front by `by`, which is secret and at most their number; zeros come after them.
///
/// As many passes as the length has bits, each of which moves by a power of two or not at all.
pub(super) fn shift_to_front(bytes: &mut [u8], by: u32) {
    debug_assert!(by as usize <= bytes.len());
    let bits = usize::BITS - bytes.len().leading_zeros();
    for bit in 0..bits {
        let step = 1 << bit;
        let shift = Choice::from((by >> bit & 1) as u8);
        let kept = bytes.len() - step;
        for i in 0..kept {
            bytes[i] = u8::conditional_select(&bytes[i], &bytes[i + step], shift);
        }
        for byte in &mut bytes[kept..] {
            byte.conditional_assign(&0, shift);
        }
    }
}

/// Whether `a` is less than `b`, both less than 2^31.
pub(super) fn less(a: u32, b: u32) -> Choice {
    debug_assert!(a < 1 << 31 && b < 1 << 31);
    Choice::from((a.wrapping_sub(b) >> 31) as u8)
}
