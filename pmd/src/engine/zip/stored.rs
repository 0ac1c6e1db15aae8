//! Stored blocks: bytes as they are (RFC 1951, 3.2.4).

const HEADER: usize = 5;
const LONGEST: usize = 65_535;

/// Bytes of stored blocks for so many bytes, the mark of a flush included.
pub(super) fn bound(len: usize) -> usize {
    len + HEADER * len.div_ceil(LONGEST).max(1) + HEADER
}

/// Writes `input` in stored blocks; the last ends the stream if it is to. `None` if they do not fit.
pub(super) fn store(input: &[u8], output: &mut [u8], finish: bool) -> Option<usize> {
    let mut at = 0;
    let mut rest = input;
    loop {
        let (block, behind) = rest.split_at(rest.len().min(LONGEST));
        rest = behind;
        let len = block.len() as u16;
        let header = output.get_mut(at..at + HEADER)?;
        header[0] = u8::from(finish && rest.is_empty());
        header[1..3].copy_from_slice(&len.to_le_bytes());
        header[3..].copy_from_slice(&(!len).to_le_bytes());
        at += HEADER;
        output.get_mut(at..at + block.len())?.copy_from_slice(block);
        at += block.len();
        if rest.is_empty() {
            return Some(at);
        }
    }
}

/// As [`store`], with a flush mark behind it, so that other blocks can be appended.
pub(super) fn store_open(input: &[u8], output: &mut [u8]) -> Option<usize> {
    let n = if input.is_empty() { 0 } else { store(input, output, false)? };
    Some(n + store(&[], &mut output[n..], false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_blocks_of_any_length_are_read_by_libdeflate() {
        for len in [0, 1, 1000, LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST + 7] {
            let input: Vec<u8> = (0..len).map(|n| ((n * 7) >> 3) as u8).collect();
            let mut output = vec![0; bound(len)];
            let n = store(&input, &mut output, true).unwrap();
            let mut back = vec![0; len];
            let mut decompressor = libdeflater::Decompressor::new();
            assert_eq!(decompressor.deflate_decompress(&output[..n], &mut back), Ok(len));
            assert_eq!(back, input);
            assert_eq!(store(&input, &mut output[..n - 1], true), None);
        }
    }
}
