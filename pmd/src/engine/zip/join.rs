//! Makes a complete DEFLATE stream (RFC 1951) one that others can be appended to.
//!
//! Where the last block begins and ends is known only to who has read all blocks before it. So they are read, without
//! looking at what they say: a symbol is as many bits to skip.

/// Bytes that opening a stream may add.
pub(super) const MARK: usize = 5;

/// Bits that index a table; longer codes are decoded bit by bit.
const INDEX_BITS: u32 = 11;
const SLOTS: usize = 1 << INDEX_BITS;
const LONGEST_CODE: usize = 15;
const MAX_SYMBOLS: usize = 288;

/// What there is to skip for a symbol, packed, since the tables are read for every one: how many bits of codes and extra
/// bits, how many of them are codes, and what comes then.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u16);

impl Entry {
    const CODE_SHIFT: u32 = 6;
    /// A distance comes next. The sign, so that shifting makes a mask of it.
    const DISTANCE: u16 = 1 << 15;
    /// The code is longer than an index.
    const LONG: Self = Self(1 << 14);
    /// The block ends.
    const END: u16 = 1 << 13;

    /// `flags`: [`DISTANCE`](Self::DISTANCE), [`END`](Self::END), or 0 if another symbol comes.
    const fn new(code: u32, skip: u32, flags: u16) -> Self {
        Self((skip | code << Self::CODE_SHIFT) as u16 | flags)
    }

    #[inline]
    const fn skip(self) -> u32 {
        self.0 as u32 % 32
    }

    const fn code(self) -> u32 {
        self.0 as u32 >> Self::CODE_SHIFT & 15
    }

    const fn flags(self) -> u16 {
        self.0 & (Self::DISTANCE | Self::END)
    }

    /// The entry if a distance comes before it, else nothing to skip.
    #[inline]
    const fn after(self, symbol: Self) -> Self {
        Self(self.0 & (symbol.0 as i16 >> 15) as u16)
    }
}

/// A canonical Huffman code.
struct Code {
    /// How many codes have each length.
    counts: [u16; LONGEST_CODE + 1],
    /// Symbols by length, then by value.
    symbols: [u16; MAX_SYMBOLS],
    slots: Box<[Entry; SLOTS]>,
}

/// Whether a code is of literals and lengths, or of distances.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Symbols,
    Distances,
}

impl Kind {
    /// The entry of a symbol with a code of some length.
    fn entry(self, symbol: usize, length: u32) -> Option<Entry> {
        let (extra, flags) = match (self, symbol) {
            (Self::Symbols, 0..256) => (0, 0),
            (Self::Symbols, 256) => (0, Entry::END),
            (Self::Symbols, 257..=264 | 285) => (0, Entry::DISTANCE),
            (Self::Symbols, 265..285) => ((symbol as u32 - 261) / 4, Entry::DISTANCE),
            (Self::Distances, 0..4) => (0, 0),
            (Self::Distances, 4..30) => (symbol as u32 / 2 - 1, 0),
            _ => return None,
        };
        Some(Entry::new(length, length + extra, flags))
    }
}

impl Code {
    fn new() -> Self {
        Self {
            counts: [0; LONGEST_CODE + 1],
            symbols: [0; MAX_SYMBOLS],
            slots: Box::new([Entry::LONG; SLOTS]),
        }
    }

    /// From the length of each symbol's code, 0 for symbols without.
    fn set(&mut self, lengths: &[u8]) {
        self.counts = [0; LONGEST_CODE + 1];
        for length in lengths {
            self.counts[usize::from(*length)] += 1;
        }
        self.counts[0] = 0;
        let mut places = [0_u16; LONGEST_CODE + 2];
        for length in 1..=LONGEST_CODE {
            places[length + 1] = places[length] + self.counts[length];
        }
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let place = &mut places[usize::from(*length)];
            self.symbols[usize::from(*place)] = symbol as u16;
            *place += 1;
        }
    }

    /// Fills the table.
    fn index(&mut self, kind: Kind) {
        self.slots.fill(Entry::LONG);
        let (mut code, mut place) = (0_u32, 0);
        for length in 1..=INDEX_BITS {
            for _ in 0..self.counts[length as usize] {
                let symbol = usize::from(self.symbols[place]);
                place += 1;
                if let Some(entry) = kind.entry(symbol, length) {
                    // Codes are packed from their first bit on.
                    let first = (code.reverse_bits() >> (32 - length)) as usize;
                    self.slots.iter_mut().skip(first).step_by(1 << length).for_each(|slot| *slot = entry);
                }
                code += 1;
            }
            code <<= 1;
        }
        if kind == Kind::Symbols {
            self.combine();
        }
    }

    /// Lets entries of short literals skip what is behind them as well, as far as the index shows it.
    fn combine(&mut self) {
        // From the last down: what is behind a code is at a smaller index, so it would be combined already and hide where
        // its first code ends.
        for at in (1..SLOTS).rev() {
            let first = self.slots[at];
            if first != Entry::LONG && first.flags() == 0 {
                let behind = self.slots[at >> first.code()];
                let code = first.code() + behind.code();
                if behind != Entry::LONG && code <= INDEX_BITS {
                    self.slots[at] = Entry::new(code, first.skip() + behind.skip(), behind.flags());
                }
            }
        }
    }

    /// The symbol at the front of `bits`, and the length of its code.
    fn decode(&self, mut bits: u64) -> Option<(usize, u32)> {
        let (mut code, mut first, mut place) = (0_u32, 0_u32, 0_u32);
        for length in 1..=LONGEST_CODE {
            code |= (bits & 1) as u32;
            bits >>= 1;
            let count = u32::from(self.counts[length]);
            if code < first + count {
                return Some((usize::from(self.symbols[(place + code - first) as usize]), length as u32));
            }
            place += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }

    #[inline]
    fn entry(&self, bits: u64) -> Entry {
        self.slots[bits as usize % SLOTS]
    }

    /// The entry for the front of `bits`, however long the code.
    #[cold]
    fn exactly(&self, bits: u64, kind: Kind) -> Option<Entry> {
        let entry = self.entry(bits);
        if entry != Entry::LONG {
            return Some(entry);
        }
        let (symbol, length) = self.decode(bits)?;
        kind.entry(symbol, length)
    }
}

/// Bits of a stream, the first in the lowest place.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// At least 57 bits; zeros behind the end.
    #[inline]
    fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(word)
            }
        };
        word >> (self.at % 8)
    }

    #[inline]
    fn skip(&mut self, n: u32) {
        self.at += n as usize;
    }

    fn take(&mut self, n: u32) -> usize {
        let value = self.peek() & ((1 << n) - 1);
        self.skip(n);
        value as usize
    }

    fn is_within(&self) -> bool {
        self.at <= self.bytes.len() * 8
    }
}

/// Tables for reading blocks.
pub(super) struct Joiner {
    symbols: Code,
    distances: Code,
    lengths: Code,
}

impl Joiner {
    pub(super) fn new() -> Self {
        Self { symbols: Code::new(), distances: Code::new(), lengths: Code::new() }
    }

    /// Takes the end mark off the last block of the stream in the first `len` bytes of `buffer`, and appends an empty
    /// stored block: what follows it belongs to the same stream. The new length, or `None` if that is too long. The
    /// stream must be sound: `Err` otherwise.
    pub(super) fn open(&mut self, buffer: &mut [u8], len: usize) -> Result<Option<usize>, Unsound> {
        let (start, end) =
            self.last_block(&buffer[..len]).filter(|(_, end)| end.div_ceil(8) == len).ok_or(Unsound)?;
        // Three bits of zero, of which those in the last byte are there already; the rest of that byte; 0 and !0.
        const BLOCK: u32 = 3;
        let mark = (end + BLOCK as usize).div_ceil(8);
        let Some(tail) = buffer.get_mut(len..mark + 4) else {
            return Ok(None);
        };
        let (zeros, lengths) = tail.split_at_mut(mark - len);
        zeros.fill(0);
        lengths.copy_from_slice(&[0, 0, 0xff, 0xff]);
        buffer[start / 8] &= !(1 << (start % 8));
        Ok(Some(mark + 4))
    }

    /// The first bit of the last block, and the one behind it.
    fn last_block(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let mut bits = Bits { bytes, at: 0 };
        loop {
            let start = bits.at;
            let last = bits.take(1) == 1;
            match bits.take(2) {
                0 => stored(&mut bits)?,
                1 => {
                    self.fixed();
                    self.block(&mut bits)?;
                }
                2 => {
                    self.dynamic(&mut bits)?;
                    self.block(&mut bits)?;
                }
                _ => return None,
            }
            if !bits.is_within() {
                return None;
            }
            if last {
                return Some((start, bits.at));
            }
        }
    }

    fn fixed(&mut self) {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.symbols.set(&lengths);
        self.distances.set(&[5; 30]);
        self.index();
    }

    fn index(&mut self) {
        self.symbols.index(Kind::Symbols);
        self.distances.index(Kind::Distances);
    }

    /// Reads the codes of a block (RFC 1951, 3.2.7).
    fn dynamic(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (symbols, distances) = (bits.take(5) + 257, bits.take(5) + 1);
        let count = bits.take(4) + 4;
        let mut lengths = [0; 19];
        for place in &ORDER[..count] {
            lengths[*place] = bits.take(3) as u8;
        }
        self.lengths.set(&lengths);
        let mut lengths = [0; 320];
        let lengths = &mut lengths[..symbols + distances];
        let mut at = 0;
        while at < lengths.len() {
            let (symbol, length) = self.lengths.decode(bits.peek())?;
            bits.skip(length);
            let (value, times) = match symbol {
                16 => (*lengths.get(at.checked_sub(1)?)?, bits.take(2) + 3),
                17 => (0, bits.take(3) + 3),
                18 => (0, bits.take(7) + 11),
                length => (length as u8, 1),
            };
            lengths.get_mut(at..at + times)?.fill(value);
            at += times;
        }
        let (symbols, distances) = lengths.split_at(symbols);
        self.symbols.set(symbols.get(..MAX_SYMBOLS.min(symbols.len()))?);
        self.distances.set(distances);
        self.index();
        Some(())
    }

    /// Skips the symbols of a block.
    fn block(&self, bits: &mut Bits<'_>) -> Option<()> {
        loop {
            self.common(bits);
            let word = bits.peek();
            // Of 57 bits, a length takes up to 20 and a distance 28.
            let symbol = self.symbols.exactly(word, Kind::Symbols)?;
            bits.skip(symbol.skip());
            if symbol.flags() == Entry::DISTANCE {
                let distance = self.distances.exactly(word >> symbol.skip(), Kind::Distances)?;
                bits.skip(distance.skip());
            }
            if !bits.is_within() {
                return None;
            }
            if symbol.flags() == Entry::END {
                return Some(());
            }
        }
    }

    /// Skips symbols as long as there is nothing special: short codes, not near the end. Which symbols come cannot be
    /// predicted, so a distance is looked up whether there is one or not.
    #[inline]
    fn common(&self, bits: &mut Bits<'_>) {
        let mut at = bits.at;
        while let Some(word) = bits.bytes.get(at / 8..).and_then(|rest| rest.first_chunk()) {
            let word = u64::from_le_bytes(*word) >> (at % 8);
            let symbol = self.symbols.entry(word);
            let distance = self.distances.entry(word.wrapping_shr(u32::from(symbol.0))).after(symbol);
            if (symbol.0 | distance.0) & (Entry::LONG.0 | Entry::END) != 0 {
                break;
            }
            at += (symbol.skip() + distance.skip()) as usize;
        }
        bits.at = at;
    }
}

fn stored(bits: &mut Bits<'_>) -> Option<()> {
    bits.at = bits.at.next_multiple_of(8);
    let (len, not) = (bits.take(16), bits.take(16));
    bits.at += len * 8;
    (len ^ not == 0xffff).then_some(())
}

/// The stream to be opened is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsound;

#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor, Decompressor};
    use proptest::prelude::*;

    use super::*;

    fn compressed(level: i32, bytes: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0; compressor.deflate_compress_bound(bytes.len())];
        let n = compressor.deflate_compress(bytes, &mut out).unwrap();
        out.truncate(n);
        out
    }

    fn opened(joiner: &mut Joiner, stream: &[u8]) -> Vec<u8> {
        let mut buffer = stream.to_vec();
        buffer.resize(stream.len() + MARK, 0xee);
        let n = joiner.open(&mut buffer, stream.len()).unwrap().unwrap();
        for room in 0..n - stream.len() {
            let mut buffer = stream.to_vec();
            buffer.resize(stream.len() + room, 0xee);
            assert_eq!(joiner.open(&mut buffer, stream.len()), Ok(None));
        }
        buffer.truncate(n);
        buffer
    }

    fn joined(level: i32, parts: &[&[u8]]) {
        let mut joiner = Joiner::new();
        let mut all = Vec::new();
        for part in parts {
            all.extend(opened(&mut joiner, &compressed(level, part)));
        }
        all.extend([3, 0]);
        let plain = parts.concat();
        let mut back = vec![0; plain.len()];
        assert_eq!(Decompressor::new().deflate_decompress(&all, &mut back), Ok(plain.len()));
        assert!(back == plain);
    }

    #[test]
    fn streams_of_every_kind_of_block_are_joined() {
        let text = include_bytes!("join.rs");
        let noise: Vec<u8> =
            (0..200_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        let zeros = vec![0; 300_000];
        // Every length of code: each byte half as frequent as the one before.
        let skewed: Vec<u8> =
            (1..1_u32 << 17).map(|n| (n.trailing_zeros() * 7) as u8 ^ (n >> 12) as u8).collect();
        for level in 0..=12 {
            joined(level, &[b"", b"a", b"ab", b"hello, hello, hello"]);
            joined(level, &[&text[..], &noise, b"", &zeros, &skewed, &text[..1000]]);
        }
    }

    #[test]
    fn what_is_no_stream_is_said_to_be_none() {
        let mut joiner = Joiner::new();
        let stream = compressed(6, include_bytes!("join.rs"));
        for cut in [0, 1, 100, stream.len() - 1] {
            assert_eq!(joiner.open(&mut stream[..cut].to_vec(), cut), Err(Unsound));
        }
        let mut longer = stream.clone();
        longer.push(0);
        assert_eq!(joiner.open(&mut longer.clone(), longer.len()), Err(Unsound));
    }

    proptest! {
        #[test]
        fn any_bytes_are_joined(
            parts in proptest::collection::vec(proptest::collection::vec(0..20_u8, 0..3000), 1..5),
            level in 1..=12,
        ) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            joined(level, &parts);
        }

        #[test]
        fn damaged_streams_end(mut stream in proptest::collection::vec(any::<u8>(), 0..400)) {
            let len = stream.len();
            // Nothing to be learned from the answer but that there is one.
            let _ = Joiner::new().open(&mut stream, len);
        }
    }
}
