//! Whether the content of a response is what it should be.

use super::framing::Coding;

/// The largest content that is taken.
pub const CONTENT_MAX: usize = 64 << 20;
/// The end of a gzip member: CRC-32 and length of what it was made of (RFC 1952, 2.3.1).
const TRAILER: usize = 8;

/// Why content is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Its length.
    #[error("{got} bytes of content where {wanted} were expected")]
    Length {
        /// What came.
        got: usize,
        /// What should have come.
        wanted: usize,
    },
    /// Its bytes.
    #[error("the content differs from that of the first response at byte {0}")]
    Differs(usize),
    /// What gzip says of it.
    #[error("the end of the gzip stream is of another content than that of the first response")]
    GzipTrailer,
    /// No gzip stream.
    #[error("the content is no valid gzip stream")]
    Gzip,
    /// How it is coded.
    #[error("Content-Encoding is {got:?} where {wanted:?} was expected")]
    Coding {
        /// What came.
        got: Coding,
        /// What should have come.
        wanted: Coding,
    },
    /// Too much.
    #[error("more than {CONTENT_MAX} bytes of content")]
    TooMuch,
}

/// What content should be. The first response, of the set-up, is kept as a whole and sets the measure for the rest.
#[derive(Debug)]
pub enum Expected {
    /// Not known yet: this is what has come of the first.
    First(Vec<u8>),
    /// These bytes.
    Bytes(Vec<u8>),
    /// A gzip stream of these bytes, which ends with these. How long it is may vary.
    Gzip {
        /// What it is made of.
        plain: Vec<u8>,
        /// Its last bytes.
        trailer: [u8; TRAILER],
    },
}

impl Default for Expected {
    fn default() -> Self {
        Self::First(Vec::new())
    }
}

impl Expected {
    /// The bytes without any coding, once they are known.
    #[must_use]
    pub fn plain(&self) -> Option<&[u8]> {
        match self {
            Self::First(_) => None,
            Self::Bytes(plain) | Self::Gzip { plain, .. } => Some(plain),
        }
    }
}

/// What has come of one response's content.
#[derive(Debug, Default)]
pub struct Content {
    len: usize,
    last: [u8; TRAILER],
}

impl Content {
    /// Bytes that have come, as they were coded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none have.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets it: that of another response begins.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Looks at some more of it.
    ///
    /// # Errors
    /// [`ContentError`] when it is not what it should be.
    pub fn take(&mut self, bytes: &[u8], expected: &mut Expected) -> Result<(), ContentError> {
        let from = self.len;
        self.len += bytes.len();
        if self.len > CONTENT_MAX {
            return Err(ContentError::TooMuch);
        }
        match expected {
            Expected::First(all) => all.extend_from_slice(bytes),
            Expected::Bytes(all) => {
                let wanted = all.get(from..self.len);
                let wanted = wanted.ok_or(ContentError::Length { got: self.len, wanted: all.len() })?;
                if wanted != bytes {
                    let same = wanted.iter().zip(bytes).take_while(|(a, b)| a == b).count();
                    return Err(ContentError::Differs(from + same));
                }
            }
            Expected::Gzip { .. } => {
                let new = bytes.len().min(TRAILER);
                self.last.copy_within(new.., 0);
                self.last[TRAILER - new..].copy_from_slice(&bytes[bytes.len() - new..]);
            }
        }
        Ok(())
    }

    /// Looks at the whole. After the first response `expected` is what that was.
    ///
    /// # Errors
    /// [`ContentError`] when it is not what it should be.
    pub fn finish(&self, coding: Coding, expected: &mut Expected) -> Result<(), ContentError> {
        let wanted = match expected {
            Expected::First(all) => {
                *expected = learn(std::mem::take(all), coding)?;
                return Ok(());
            }
            Expected::Bytes(all) if coding == Coding::Identity => {
                let wanted = all.len();
                let whole = self.len == wanted;
                return if whole { Ok(()) } else { Err(ContentError::Length { got: self.len, wanted }) };
            }
            Expected::Gzip { trailer, .. } if coding == Coding::Gzip => {
                return if self.last == *trailer { Ok(()) } else { Err(ContentError::GzipTrailer) };
            }
            Expected::Bytes(_) => Coding::Identity,
            Expected::Gzip { .. } => Coding::Gzip,
        };
        Err(ContentError::Coding { got: coding, wanted })
    }
}

/// What the first response sets as a measure. One of gzip is unpacked once, to be sure that its end is no lie.
fn learn(all: Vec<u8>, coding: Coding) -> Result<Expected, ContentError> {
    match coding {
        Coding::Identity => Ok(Expected::Bytes(all)),
        Coding::Other => Err(ContentError::Coding { got: coding, wanted: Coding::Identity }),
        Coding::Gzip => {
            let trailer: [u8; TRAILER] = *all.last_chunk().ok_or(ContentError::Gzip)?;
            let [.., a, b, c, d] = trailer;
            let len = u32::from_le_bytes([a, b, c, d]) as usize;
            if len > CONTENT_MAX {
                return Err(ContentError::TooMuch);
            }
            let mut plain = vec![0; len];
            let made = libdeflater::Decompressor::new().gzip_decompress(&all, &mut plain);
            match made {
                Ok(n) if n == len => Ok(Expected::Gzip { plain, trailer }),
                _ => Err(ContentError::Gzip),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(plain: &[u8], level: i32) -> Vec<u8> {
        let mut packer = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
        let mut packed = vec![0; packer.gzip_compress_bound(plain.len())];
        let n = packer.gzip_compress(plain, &mut packed).unwrap();
        packed.truncate(n);
        packed
    }

    fn check(
        bytes: &[u8],
        coding: Coding,
        expected: &mut Expected,
        piece: usize,
    ) -> Result<(), ContentError> {
        let mut content = Content::default();
        for piece in bytes.chunks(piece) {
            content.take(piece, expected)?;
        }
        content.finish(coding, expected)
    }

    #[test]
    fn the_first_response_is_the_measure_of_the_others() {
        let mut expected = Expected::default();
        check(b"some bytes", Coding::Identity, &mut expected, 3).unwrap();
        assert_eq!(expected.plain(), Some(&b"some bytes"[..]));
        for piece in 1..11 {
            check(b"some bytes", Coding::Identity, &mut expected, piece).unwrap();
            let differs = check(b"some bites", Coding::Identity, &mut expected, piece);
            assert_eq!(differs, Err(ContentError::Differs(6)));
        }
        let short = check(b"some", Coding::Identity, &mut expected, 9);
        assert_eq!(short, Err(ContentError::Length { got: 4, wanted: 10 }));
        let long = check(b"some bytes!", Coding::Identity, &mut expected, 11);
        assert_eq!(long, Err(ContentError::Length { got: 11, wanted: 10 }));
        let packed = check(b"some bytes", Coding::Gzip, &mut expected, 9);
        assert!(matches!(packed, Err(ContentError::Coding { .. })));
    }

    #[test]
    fn gzip_of_the_same_may_be_of_another_length_and_gzip_of_something_else_is_seen() {
        let plain = b"ten words and ten words and ten words ".repeat(100);
        let mut other = plain.clone();
        other[17] ^= 1;
        let mut expected = Expected::default();
        check(&gzip(&plain, 1), Coding::Gzip, &mut expected, 1000).unwrap();
        assert_eq!(expected.plain(), Some(&plain[..]));
        for piece in [1, 3, 8, 9, 10_000] {
            check(&gzip(&plain, 9), Coding::Gzip, &mut expected, piece).unwrap();
            let wrong = check(&gzip(&other, 1), Coding::Gzip, &mut expected, piece);
            assert_eq!(wrong, Err(ContentError::GzipTrailer), "{piece}");
        }
        let cut = gzip(&plain, 9);
        let cut = check(&cut[..cut.len() - 1], Coding::Gzip, &mut expected, 100);
        assert_eq!(cut, Err(ContentError::GzipTrailer));
        assert!(matches!(
            check(&plain, Coding::Identity, &mut expected, 9),
            Err(ContentError::Coding { .. })
        ));
    }

    #[test]
    fn a_first_response_that_is_no_gzip_is_refused() {
        let mut damaged = gzip(&[7; 300], 6);
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        for wrong in [&damaged[..], b"", b"short", &[0xff; 40]] {
            let mut expected = Expected::default();
            assert!(check(wrong, Coding::Gzip, &mut expected, 64).is_err(), "{wrong:?}");
        }
        assert!(check(b"x", Coding::Other, &mut Expected::default(), 64).is_err());
    }
}
