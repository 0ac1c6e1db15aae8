//! What a ZIP session is to do, and which back end does it.

use std::sync::Arc;

use serde::Deserialize;

use super::checksum::Checksum;
use super::quick::Primed;

/// The wrapping of a DEFLATE stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZipFormat {
    /// None (RFC 1951).
    Deflate,
    /// zlib header and Adler-32 (RFC 1950).
    Zlib,
    /// gzip header and CRC-32 (RFC 1952).
    Gzip,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZipOp {
    /// Plain bytes to a stream.
    Compress,
    /// A stream to plain bytes.
    Decompress,
}

/// The library or code that computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackEnd {
    /// Whichever suits the session best.
    #[default]
    Auto,
    /// Our own encoder for speed: whole buffers and streams, level 1, dictionaries, windows of 8 KiB and more.
    Quick,
    /// libdeflate: whole buffers, levels 0 to 12, no dictionary, window of 32 KiB.
    Libdeflate,
    /// zlib-rs: whole buffers and streams, levels 0 to 9, dictionaries, all windows.
    ZlibRs,
    /// ISA-L: whole buffers and streams, dictionaries, all windows; [`HAS_ISAL`] says whether it is there. Its levels are
    /// its own, 0 to 3: 0 compresses too, faster than 1. Chosen for level 1, where it is a good deal faster than the
    /// others and the output not much larger.
    Isal,
}

/// Whether the program was built with the feature `isal`.
pub const HAS_ISAL: bool = cfg!(feature = "isal");

impl BackEnd {
    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Quick => "quick",
            Self::Libdeflate => "libdeflate",
            Self::ZlibRs => "zlib-rs",
            Self::Isal => "isal",
        }
    }
}

/// How large what comes out of a decompression may be. DEFLATE makes a byte of at most 1,032.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of output of one request, or of one stream.
    pub max_output: u64,
    /// Times the input, beyond the first 64 KiB of output.
    pub max_ratio: u32,
}

impl Limits {
    /// None.
    pub const NONE: Self = Self { max_output: u64::MAX, max_ratio: u32::MAX };

    /// Whether so many bytes out of so many in are too many.
    pub(crate) fn exceeded(&self, consumed: u64, produced: u64) -> bool {
        const FREE: u64 = 64 << 10;
        let by_ratio = consumed.saturating_mul(u64::from(self.max_ratio)).saturating_add(FREE);
        produced > self.max_output || produced > by_ratio
    }
}

/// The highest compression level; 9 for streams.
pub const MAX_LEVEL: u8 = 12;
/// The highest level of streams.
pub const MAX_STREAM_LEVEL: u8 = 9;
/// The highest level of ISA-L.
pub(super) const MAX_ISAL_LEVEL: u8 = 3;
/// The level of those who do nothing but for speed.
const FAST_LEVEL: u8 = 1;
/// The longest dictionary that DEFLATE can refer to, in bytes.
pub const MAX_DICTIONARY: usize = 32 << 10;
/// log2 of the smallest window and of the largest, in bytes.
pub const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct ZipConfig {
    /// Which way.
    pub op: ZipOp,
    /// Which wrapping.
    pub format: ZipFormat,
    /// 0 (stored) to [`MAX_LEVEL`] (smallest). Of no meaning when decompressing.
    pub level: u8,
    /// log2 of the window: how many bytes back a stream may refer. When decompressing: the most that a zlib header may ask
    /// for.
    pub window_bits: u8,
    /// What both sides know beforehand, up to [`MAX_DICTIONARY`] bytes, the likeliest last. Not for gzip, which cannot name
    /// one.
    pub dictionary: Vec<u8>,
    /// Which checksum completions of raw DEFLATE report. The others report that of their format.
    pub checksum: Checksum,
    /// When a decompression is given up.
    pub limits: Limits,
    /// Who computes.
    pub back_end: BackEnd,
}

impl ZipConfig {
    /// The usual: window of 32 KiB, no dictionary, no limits, the best back end.
    #[must_use]
    pub fn new(op: ZipOp, format: ZipFormat, level: u8) -> Self {
        Self {
            op,
            format,
            level,
            window_bits: *WINDOW_BITS.end(),
            dictionary: Vec::new(),
            checksum: Checksum::None,
            limits: Limits::NONE,
            back_end: BackEnd::Auto,
        }
    }
}

/// Why a session cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZipError {
    /// The level does not exist.
    #[error("compression level {0} does not exist: 0 (stored) to {MAX_LEVEL} (smallest)")]
    Level(u8),
    /// The window does not exist.
    #[error("a window of 2^{0} bytes is not possible: 2^{low} to 2^{high}", low = WINDOW_BITS.start(), high = WINDOW_BITS.end())]
    Window(u8),
    /// The dictionary is too long.
    #[error(
        "the dictionary has {0} bytes; no more than {MAX_DICTIONARY} can be referred to. Remedy: keep the last ones"
    )]
    LongDictionary(usize),
    /// gzip has no dictionaries.
    #[error("gzip cannot name a dictionary (RFC 1952). Remedy: zlib, or raw DEFLATE, as both ends know it")]
    GzipDictionary,
    /// The back end cannot do it.
    #[error("{} cannot do this: {what}. Remedy: leave the choice to \"auto\", or {remedy}", .back_end.name())]
    BackEnd {
        /// The one that was asked for.
        back_end: BackEnd,
        /// What it cannot do.
        what: &'static str,
        /// What else to change.
        remedy: &'static str,
    },
}

/// A prepared operation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ZipSession {
    pub(super) config: Arc<ZipConfig>,
    /// Who does requests that stand alone.
    pub(super) whole: BackEnd,
    /// Adler-32 of the dictionary, if there is one.
    pub(super) dictionary_id: Option<u32>,
    /// The dictionary as the quick encoder wants it.
    pub(super) primed: Option<Arc<Primed>>,
}

impl ZipSession {
    /// The usual session of an operation.
    ///
    /// # Errors
    /// [`ZipError::Level`].
    pub fn new(op: ZipOp, format: ZipFormat, level: u8) -> Result<Self, ZipError> {
        Self::with(ZipConfig::new(op, format, level))
    }

    /// A session as described.
    ///
    /// # Errors
    /// [`ZipError`]: no such level or window, or what no back end, or not the one asked for, can do.
    pub fn with(config: ZipConfig) -> Result<Self, ZipError> {
        if config.level > MAX_LEVEL {
            return Err(ZipError::Level(config.level));
        }
        if !WINDOW_BITS.contains(&config.window_bits) {
            return Err(ZipError::Window(config.window_bits));
        }
        if config.dictionary.len() > MAX_DICTIONARY {
            return Err(ZipError::LongDictionary(config.dictionary.len()));
        }
        let has_dictionary = !config.dictionary.is_empty();
        if has_dictionary && config.format == ZipFormat::Gzip {
            return Err(ZipError::GzipDictionary);
        }
        let whole = whole(&config)?;
        let dictionary_id = has_dictionary.then(|| Checksum::Adler32.of(&config.dictionary));
        let primed = has_dictionary && whole == BackEnd::Quick;
        let primed = primed.then(|| Arc::new(Primed::new(&config.dictionary)));
        Ok(Self { config: Arc::new(config), whole, dictionary_id, primed })
    }

    /// What it does.
    #[must_use]
    pub fn config(&self) -> &ZipConfig {
        &self.config
    }

    /// Which back end does whole buffers.
    #[must_use]
    pub fn back_end(&self) -> BackEnd {
        self.whole
    }

    /// Which back end does streams, if any.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn stream_back_end(&self) -> Result<BackEnd, String> {
        let ZipConfig { op, level, back_end, .. } = *self.config;
        if op == ZipOp::Compress && level > MAX_STREAM_LEVEL {
            return Err(format!(
                "level {level} is for whole buffers. Remedy: a level of streams, 0 to {MAX_STREAM_LEVEL}"
            ));
        }
        if back_end == BackEnd::Libdeflate {
            return Err(
                "libdeflate compresses whole buffers only. Remedy: choose \"auto\" or \"zlib-rs\"".to_owned()
            );
        }
        Ok(match back_end {
            BackEnd::Isal | BackEnd::Quick => back_end,
            BackEnd::Auto if is_fast(&self.config) => FASTEST,
            _ => BackEnd::ZlibRs,
        })
    }

    /// Of what checksum completions tell.
    pub(crate) fn checksum(&self) -> Checksum {
        match self.config.format {
            ZipFormat::Deflate => self.config.checksum,
            ZipFormat::Zlib => Checksum::Adler32,
            ZipFormat::Gzip => Checksum::Crc32,
        }
    }
}

/// Whether it is speed that is asked for.
fn is_fast(config: &ZipConfig) -> bool {
    config.op == ZipOp::Compress && config.level == FAST_LEVEL
}

/// Who is fastest at it.
const FASTEST: BackEnd = if HAS_ISAL { BackEnd::Isal } else { BackEnd::Quick };

/// The back end of whole buffers.
fn whole(config: &ZipConfig) -> Result<BackEnd, ZipError> {
    match config.back_end {
        BackEnd::Isal => isal(config),
        BackEnd::Quick => quick(config),
        BackEnd::Auto if is_fast(config) => Ok(FASTEST),
        _ => portable(config),
    }
}

fn isal(config: &ZipConfig) -> Result<BackEnd, ZipError> {
    let cannot = |what, remedy| Err(ZipError::BackEnd { back_end: BackEnd::Isal, what, remedy });
    if !HAS_ISAL {
        return cannot(
            "this program was built without it",
            "build it with `--features isal` (needs libisal-dev)",
        );
    }
    if config.op == ZipOp::Compress && config.level > MAX_ISAL_LEVEL {
        return cannot("its highest level is 3", "take a lower level");
    }
    Ok(BackEnd::Isal)
}

fn quick(config: &ZipConfig) -> Result<BackEnd, ZipError> {
    let cannot = |what, remedy| Err(ZipError::BackEnd { back_end: BackEnd::Quick, what, remedy });
    match config.op {
        ZipOp::Decompress => cannot("it only compresses", "take \"libdeflate\" or \"zlib-rs\""),
        ZipOp::Compress if config.level != FAST_LEVEL => cannot("its only level is 1", "take level 1"),
        ZipOp::Compress => Ok(BackEnd::Quick),
    }
}

/// Of those that are always there.
fn portable(config: &ZipConfig) -> Result<BackEnd, ZipError> {
    let compress = config.op == ZipOp::Compress;
    let narrow = compress && config.window_bits < *WINDOW_BITS.end();
    let cannot = if !config.dictionary.is_empty() {
        Some(("it has no dictionaries", "drop the dictionary"))
    } else if narrow {
        Some(("its window is 32 KiB", "take 15 as the window's logarithm"))
    } else {
        None
    };
    match (config.back_end, cannot) {
        (BackEnd::Auto | BackEnd::Libdeflate, None) => Ok(BackEnd::Libdeflate),
        (BackEnd::Libdeflate, Some((what, remedy))) => {
            Err(ZipError::BackEnd { back_end: BackEnd::Libdeflate, what, remedy })
        }
        (_, _) if compress && config.level > MAX_STREAM_LEVEL => Err(ZipError::BackEnd {
            back_end: BackEnd::ZlibRs,
            what: "its highest level is 9",
            remedy: "take a lower level",
        }),
        (_, _) => Ok(BackEnd::ZlibRs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(back_end: BackEnd, op: ZipOp, level: u8) -> Result<ZipSession, ZipError> {
        ZipSession::with(ZipConfig { back_end, ..ZipConfig::new(op, ZipFormat::Gzip, level) })
    }

    #[test]
    fn without_its_feature_isal_is_refused_by_name() {
        let made = session(BackEnd::Isal, ZipOp::Compress, 1);
        if HAS_ISAL {
            assert_eq!(made.unwrap().back_end(), BackEnd::Isal);
        } else {
            let error = made.unwrap_err().to_string();
            assert!(error.contains("--features isal") && error.contains("libisal-dev"), "{error}");
        }
    }

    #[test]
    fn the_fastest_is_chosen_for_level_1_and_no_other() {
        for level in 0..=MAX_LEVEL {
            let auto = session(BackEnd::Auto, ZipOp::Compress, level).unwrap();
            assert_eq!(auto.back_end() == FASTEST, level == 1, "level {level}");
            assert_eq!(auto.stream_back_end() == Ok(FASTEST), level == 1, "level {level}");
            assert_eq!(session(BackEnd::Quick, ZipOp::Compress, level).is_ok(), level == 1);
        }
        let inflates = session(BackEnd::Auto, ZipOp::Decompress, 1).unwrap();
        assert_eq!(inflates.back_end(), BackEnd::Libdeflate);
        assert_eq!(session(BackEnd::Isal, ZipOp::Compress, 3).is_ok(), HAS_ISAL);
        assert!(session(BackEnd::Isal, ZipOp::Compress, 4).is_err());
        assert!(session(BackEnd::Quick, ZipOp::Decompress, 1).is_err());
    }
}
