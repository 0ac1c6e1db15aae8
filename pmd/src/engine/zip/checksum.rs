//! CRC-32 (RFC 1952) and Adler-32 (RFC 1950), by libdeflate, which has the widest SIMD code for them.

use serde::Deserialize;

/// A checksum of uncompressed bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// None.
    #[default]
    None,
    /// CRC-32, as in gzip.
    Crc32,
    /// Adler-32, as in zlib.
    Adler32,
}

impl Checksum {
    /// Of no bytes.
    #[must_use]
    pub fn start(self) -> u32 {
        u32::from(self == Self::Adler32)
    }

    /// Of some bytes.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> u32 {
        self.update(self.start(), bytes)
    }

    /// Of bytes whose checksum is `sum`, and `bytes` behind them.
    #[must_use]
    #[inline]
    pub fn update(self, sum: u32, bytes: &[u8]) -> u32 {
        let function = match self {
            Self::None => return 0,
            Self::Crc32 => libdeflate_sys::libdeflate_crc32,
            Self::Adler32 => libdeflate_sys::libdeflate_adler32,
        };
        // SAFETY: both functions read `len` bytes from the pointer, and nothing else.
        unsafe { function(sum, bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Of bytes with the checksum `first`, and `len` bytes with the checksum `second` behind them.
    #[must_use]
    pub fn combine(self, first: u32, second: u32, len: u64) -> u32 {
        match self {
            Self::None => 0,
            Self::Crc32 => zlib_rs::crc32::crc32_combine(first, second, len),
            Self::Adler32 => zlib_rs::adler32::adler32_combine(first, second, len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_parts_make_the_whole() {
        assert_eq!(Checksum::Crc32.of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Checksum::Adler32.of(b"Wikipedia"), 0x11e6_0398);
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        for kind in [Checksum::Crc32, Checksum::Adler32] {
            assert_eq!(kind.of(b""), kind.start());
            for at in [0, 1, 17, 65_521, 99_999, 100_000] {
                let (a, b) = bytes.split_at(at);
                assert_eq!(kind.update(kind.of(a), b), kind.of(&bytes), "{kind:?} at {at}");
                assert_eq!(kind.combine(kind.of(a), kind.of(b), b.len() as u64), kind.of(&bytes));
            }
        }
    }
}
