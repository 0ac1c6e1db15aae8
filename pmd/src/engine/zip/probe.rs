//! Whether compressing is worth the while: a look at a few bytes, before any work is done.

/// What is shorter is compressed in less time than it takes to look.
const SHORTEST: usize = 2048;
/// Bytes of the sample.
const SAMPLE: usize = 1024;
/// Bytes of the first look.
const FIRST_SAMPLE: usize = 128;
/// Samples are taken in so many stretches.
const STRETCHES: usize = 8;

/// Whether the bytes look like noise: no byte more frequent than others, and nothing repeated. Such are compressed
/// files, pictures, and what is encrypted.
pub(super) fn is_noise(bytes: &[u8]) -> bool {
    bytes.len() >= SHORTEST && is_flat(bytes) && !repeats(bytes)
}

/// Whether a sample of the bytes has all values about equally often, by its index of coincidence (Friedman 1922): first
/// a small sample, which is enough to tell most of what is not noise.
fn is_flat(bytes: &[u8]) -> bool {
    // Of noise: N * (N - 1) / 256 pairs of equal bytes, 63 of 128 bytes and 4,092 of 1,024, with deviations of 11 and 90.
    // Code and text have several times that.
    pairs::<FIRST_SAMPLE>(bytes) < 63 * 2 && pairs::<SAMPLE>(bytes) < 4_092 * 11 / 10
}

/// How many pairs of equal bytes a sample has.
fn pairs<const SAMPLE: usize>(bytes: &[u8]) -> u32 {
    let mut counts = [0_u16; 256];
    let stretch = SAMPLE / STRETCHES;
    let step = (bytes.len() - stretch) / (STRETCHES - 1);
    for i in 0..STRETCHES {
        for byte in &bytes[i * step..][..stretch] {
            counts[usize::from(*byte)] += 1;
        }
    }
    counts.iter().map(|n| u32::from(*n) * u32::from(n.saturating_sub(1))).sum()
}

/// Whether some eight bytes come again, of those that begin with a certain value: a 256th of all places in noise, but
/// each repetition of some hundred bytes has such a place.
fn repeats(bytes: &[u8]) -> bool {
    const MARK: u8 = 0xa7;
    const SLOTS: usize = 512;
    let mut seen = [0_u64; SLOTS];
    let (mut at, mut found) = (0, 0);
    while let Some(n) = bytes[at..].iter().position(|b| *b == MARK) {
        at += n + 1;
        let Some(next) = bytes[at..].first_chunk::<8>() else { break };
        let value = u64::from_le_bytes(*next);
        let slot = (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize;
        found += u32::from(seen[slot] == value);
        seen[slot] = value;
    }
    // One may be chance in structured data; a repetition worth finding has more.
    found > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, mut seed: u64) -> Vec<u8> {
        std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn noise_is_told_from_what_can_be_compressed() {
        for len in [SHORTEST, 5_000, 65_536, 1 << 20] {
            assert!((0..20).all(|seed| is_noise(&noise(len, seed))), "{len}");
        }
        assert!(!is_noise(&noise(SHORTEST - 1, 1)), "too short to look at");
        let text = include_bytes!("probe.rs");
        assert!(!is_noise(text));
        let hex: Vec<u8> =
            noise(10_000, 3).iter().map(|b| b"0123456789abcdef"[usize::from(b & 15)]).collect();
        assert!(!is_noise(&hex), "four bits a byte");
        let bits7: Vec<u8> = noise(10_000, 4).iter().map(|b| b & 0x7f).collect();
        assert!(!is_noise(&bits7), "seven bits a byte");
        let twice = noise(16_384, 5).repeat(2);
        assert!(!is_noise(&twice), "repeated far away");
        assert!(!is_noise(&[0xa7; 4_096]));
    }
}
