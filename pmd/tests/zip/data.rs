//! What is compressed, and how.

use proptest::prelude::*;
use warpdrive_pmd::device::Flush;
use warpdrive_pmd::engine::zip::{BackEnd, Checksum, HAS_ISAL, ZipConfig, ZipFormat, ZipOp};

pub const FORMATS: [ZipFormat; 3] = [ZipFormat::Deflate, ZipFormat::Zlib, ZipFormat::Gzip];
pub const KINDS: [Kind; 6] = [Kind::Random, Kind::Text, Kind::Repetitive, Kind::Runs, Kind::Few, Kind::Mixed];

/// Those that are there, with their highest levels.
pub fn back_ends() -> Vec<(BackEnd, u8)> {
    let mut all = vec![(BackEnd::Libdeflate, 12), (BackEnd::ZlibRs, 9)];
    if HAS_ISAL {
        all.push((BackEnd::Isal, 3));
    }
    all
}

/// Every level of every back end.
pub fn levels() -> impl Iterator<Item = (BackEnd, u8)> {
    let all =
        back_ends().into_iter().flat_map(|(back_end, top)| (0..=top).map(move |level| (back_end, level)));
    all.chain([(BackEnd::Quick, 1)])
}

/// Every level that streams can have.
pub fn stream_levels() -> impl Iterator<Item = (BackEnd, u8)> {
    levels().filter(|(back_end, _)| *back_end != BackEnd::Libdeflate)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Random,
    Text,
    /// The same bytes over and over, with a period up to beyond the window.
    Repetitive,
    /// Long runs of one byte.
    Runs,
    /// Few different bytes, in no order: codes of very different lengths.
    Few,
    /// A bit of each.
    Mixed,
}

/// Bytes that are told by three numbers.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub kind: Kind,
    pub len: usize,
    pub seed: u64,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize
    }
}

const WORDS: [&str; 16] = [
    "the",
    "packet",
    "of",
    "a",
    "queue",
    "is",
    "compressed",
    "in",
    "place",
    "and",
    "sent",
    "\r\n",
    "to",
    "whoever",
    "waits",
    "0x",
];

impl Sample {
    pub fn bytes(self) -> Vec<u8> {
        let mut random = Random(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut out = Vec::with_capacity(self.len + 70_000);
        while out.len() < self.len {
            match self.kind {
                Kind::Random => out.push((random.next() >> 8) as u8),
                Kind::Text => {
                    out.extend(WORDS[random.next() % WORDS.len()].bytes());
                    out.push(b' ');
                }
                Kind::Repetitive => {
                    let period = 1 + random.next() % if self.seed.is_multiple_of(3) { 40_000 } else { 300 };
                    let unit: Vec<u8> = (0..period).map(|_| random.next() as u8).collect();
                    (0..2 + random.next() % 5).for_each(|_| out.extend(&unit));
                }
                Kind::Runs => {
                    let n = 1 + random.next() % 9_000;
                    out.resize(out.len() + n, (random.next() >> 5) as u8);
                }
                Kind::Few => out.push(random.next().trailing_zeros() as u8),
                Kind::Mixed => {
                    let kind = KINDS[random.next() % 5];
                    let len = random.next() % 5_000;
                    out.extend(Self { kind, len, seed: random.next() as u64 }.bytes());
                }
            }
        }
        out.truncate(self.len);
        out
    }
}

pub fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(&KINDS[..])
}

/// Lengths of all magnitudes, and those about which there is something special.
pub fn sample(longest: usize) -> impl Strategy<Value = Sample> {
    let special = proptest::sample::select(&[0, 1, 2, 3, 64, 2_048, 32_768, 65_280, 65_535, 65_536][..]);
    let any_magnitude =
        (0..=longest.ilog2()).prop_flat_map(|bits| 0..2_usize << bits).prop_map(move |n| n.min(longest));
    let len = prop_oneof![1 => special.prop_map(move |n: usize| n.min(longest)), 4 => any_magnitude];
    (kind(), len, any::<u64>()).prop_map(|(kind, len, seed)| Sample { kind, len, seed })
}

pub fn format() -> impl Strategy<Value = ZipFormat> {
    proptest::sample::select(&FORMATS[..])
}

pub fn checksum() -> impl Strategy<Value = Checksum> {
    proptest::sample::select(&[Checksum::None, Checksum::Crc32, Checksum::Adler32][..])
}

/// Lengths of the pieces of a packet: some of them empty, tiny, long.
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let cut = prop_oneof![Just(0_usize), Just(1), 2..20_usize, 20..2_000_usize, 2_000..65_000_usize];
    prop_oneof![Just(Vec::new()), proptest::collection::vec(cut, 1..40)]
}

/// Flushes of the pieces of a stream but the last, and how long each is.
pub fn script(longest: usize) -> impl Strategy<Value = Vec<(usize, Flush)>> {
    let flush = prop_oneof![3 => Just(Flush::None), 2 => Just(Flush::Sync), 2 => Just(Flush::Full)];
    let len = prop_oneof![Just(0_usize), Just(1), 1..100_usize, 1..=longest];
    proptest::collection::vec((len, flush), 0..12)
}

/// A session that can be.
#[derive(Clone, Debug)]
pub struct Setting {
    pub format: ZipFormat,
    pub level: u8,
    pub window_bits: u8,
    pub dictionary: Sample,
    pub checksum: Checksum,
    pub back_end: BackEnd,
}

impl Setting {
    pub fn config(&self, op: ZipOp) -> ZipConfig {
        let mut config = ZipConfig::new(op, self.format, self.level);
        config.window_bits = self.window_bits;
        config.dictionary = self.dictionary.bytes();
        config.checksum = self.checksum;
        config.back_end = self.back_end;
        config
    }

    /// What completions report of plain bytes.
    pub fn checksum(&self) -> Checksum {
        match self.format {
            ZipFormat::Deflate => self.checksum,
            ZipFormat::Zlib => Checksum::Adler32,
            ZipFormat::Gzip => Checksum::Crc32,
        }
    }
}

pub fn setting(for_streams: bool) -> impl Strategy<Value = Setting> {
    let dictionary = prop_oneof![2 => Just(None), 1 => sample(32_768).prop_map(Some)];
    let window = prop_oneof![1 => Just(15_u8), 1 => 9..=15_u8];
    let mut all = vec![BackEnd::Auto, BackEnd::Quick];
    all.extend(back_ends().into_iter().map(|(back_end, _)| back_end));
    let back_end = proptest::sample::select(all);
    (format(), 0..=12_u8, window, dictionary, checksum(), back_end).prop_map(
        move |(format, level, window_bits, dictionary, checksum, back_end)| {
            let none = Sample { kind: Kind::Text, len: 0, seed: 0 };
            let dictionary = dictionary.filter(|_| format != ZipFormat::Gzip).unwrap_or(none);
            let narrow = for_streams || window_bits < 15 || dictionary.len > 0;
            let back_end = if narrow && back_end == BackEnd::Libdeflate { BackEnd::Auto } else { back_end };
            let level = match back_end {
                BackEnd::Quick => 1,
                BackEnd::Isal => level % 4,
                BackEnd::ZlibRs => level % 10,
                _ if narrow => level % 10,
                _ => level,
            };
            Setting { format, level, window_bits, dictionary, checksum, back_end }
        },
    )
}
