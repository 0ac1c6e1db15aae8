//! Loads and comparisons of eight bytes.

/// The eight bytes at `at`, first one lowest.
///
/// # Safety
/// `at + 8` is at most `data.len()`.
#[inline(always)]
pub(super) unsafe fn eight(data: &[u8], at: usize) -> u64 {
    debug_assert!(at + 8 <= data.len());
    // SAFETY: the caller's promise; a u64 may have any bits, and the read needs no alignment.
    u64::from_le(unsafe { data.as_ptr().add(at).cast::<u64>().read_unaligned() })
}

/// How many of the first bytes are the same, given the exclusive or of eight of them, that is not zero.
#[inline(always)]
pub(super) fn same(differ: u64) -> usize {
    (differ.trailing_zeros() / 8) as usize
}

/// How many bytes of `a` and `b` are the same, up to the end of the shorter one.
#[inline(always)]
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    let (words_a, _) = a.as_chunks::<8>();
    let (words_b, _) = b.as_chunks::<8>();
    let mut equal = 0;
    for (&a, &b) in words_a.iter().zip(words_b) {
        let differ = u64::from_le_bytes(a) ^ u64::from_le_bytes(b);
        if differ != 0 {
            return equal + same(differ);
        }
        equal += 8;
    }
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}
