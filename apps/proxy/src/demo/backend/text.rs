//! Text that is the same everywhere and at every time: so that whoever gets it can tell whether it is right.

use std::sync::OnceLock;

/// Bytes after which it repeats: farther than DEFLATE looks back.
pub const PERIOD: usize = 64 << 10;

const WORDS: [&str; 32] = [
    "packet",
    "ring",
    "queue",
    "burst",
    "worker",
    "record",
    "handshake",
    "certificate",
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "is",
    "with",
    "signature",
    "upstream",
    "server",
    "client",
    "page",
    "core",
    "poll",
    "stage",
    "descriptor",
    "buffer",
    "by",
    "for",
    "on",
    "at",
    "window",
    "stream",
];

/// The period.
pub fn period() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let (mut text, mut line, mut state) = (Vec::with_capacity(PERIOD + 128), 0, 1_u64);
        while text.len() < PERIOD {
            if line == 0 {
                line = text.len();
            }
            // Knuth's MMIX generator; the upper bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.extend_from_slice(WORDS[(state >> 59) as usize].as_bytes());
            let ends = text.len() - line > 80;
            text.push(if ends { b'\n' } else { b' ' });
            line = if ends { 0 } else { line };
        }
        text.truncate(PERIOD);
        text
    })
}

/// What is at `offset`, as far as the period goes, up to `most` bytes.
pub fn at(offset: u64, most: u64) -> &'static [u8] {
    let period = period();
    // Less than the period.
    let from = (offset % PERIOD as u64) as usize;
    let len = most.min((PERIOD - from) as u64) as usize;
    &period[from..from + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_text_in_pieces_of_any_size() {
        let text = period();
        assert_eq!(text.len(), PERIOD);
        assert!(text.is_ascii() && text.iter().filter(|b| **b == b'\n').count() > PERIOD / 120);
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
        let hex: String = sum.as_ref()[..8].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "a20afd461c109b8d", "others rely on it");
        let mut offset = 1_000_000_000_u64;
        let mut together = Vec::new();
        for most in [1, 1_000, 70_000, 3, 70_000] {
            let piece = at(offset, most);
            assert!(!piece.is_empty() && piece.len() as u64 <= most);
            together.extend_from_slice(piece);
            offset += piece.len() as u64;
        }
        let expected = text.iter().cycle().skip(1_000_000_000 % PERIOD).take(together.len());
        assert!(together.iter().eq(expected));
    }
}
