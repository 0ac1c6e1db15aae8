//! Whether a DEFLATE stream has what RFC 1951 does not define.

use warpdrive_pmd::engine::zip::ZipFormat;

/// Whether a stream has, as far as it can be read: a code of lengths that is not complete (or, for symbols and distances,
/// is of one bit of which one half is free), codes for symbols that do not exist, or no code for the end of a block. Its
/// wrapping is sound.
pub fn is_undefined(format: ZipFormat, stream: &[u8]) -> bool {
    Walk { bytes: &stream[header(format, stream)..], at: 0 }.blocks() == Err(Stop::Undefined)
}

/// Bytes before the blocks.
fn header(format: ZipFormat, src: &[u8]) -> usize {
    let string = |at: usize| at + src[at..].iter().position(|b| *b == 0).map_or(0, |n| n + 1);
    match format {
        ZipFormat::Deflate => 0,
        ZipFormat::Zlib => 2,
        ZipFormat::Gzip => {
            let (flags, mut at) = (src[3], 10);
            if flags & 4 != 0 {
                at += 2 + usize::from(u16::from_le_bytes([src[at], src[at + 1]]));
            }
            if flags & 8 != 0 {
                at = string(at);
            }
            if flags & 16 != 0 {
                at = string(at);
            }
            at + if flags & 2 != 0 { 2 } else { 0 }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Undefined,
    /// Corrupt for everybody, or too short.
    Corrupt,
}

struct Walk<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

/// How many codes there are of each length, and their symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Result<Self, Stop> {
        let mut counts = [0; 16];
        lengths.iter().for_each(|n| counts[usize::from(*n)] += 1);
        counts[0] = 0;
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|symbol| lengths[*symbol] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        let used: usize = (1..16).map(|n| counts[n] << (15 - n)).sum();
        match used {
            0x8000 => Ok(Self { counts, symbols }),
            0..0x8000 => Err(Stop::Undefined),
            _ => Err(Stop::Corrupt),
        }
    }
}

impl Walk<'_> {
    fn bits(&mut self, n: usize) -> Result<usize, Stop> {
        (0..n).try_fold(0, |value, i| {
            let byte = *self.bytes.get(self.at / 8).ok_or(Stop::Corrupt)?;
            let bit = usize::from(byte) >> (self.at % 8) & 1;
            self.at += 1;
            Ok(value | bit << i)
        })
    }

    fn symbol(&mut self, code: &Code) -> Result<usize, Stop> {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for count in &code.counts[1..] {
            value |= self.bits(1)?;
            if value < first + count {
                return Ok(code.symbols[index + value - first]);
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        unreachable!("the code is complete")
    }

    fn blocks(&mut self) -> Result<(), Stop> {
        loop {
            let last = self.bits(1)? == 1;
            match self.bits(2)? {
                0 => self.stored()?,
                1 => {
                    let lengths: Vec<u8> = (0..288)
                        .map(|s| [8, 9, 7, 8][[144, 256, 280, 288].partition_point(|n| *n <= s)])
                        .collect();
                    self.symbols(&Code::new(&lengths)?, Some(&Code::new(&[5; 32])?))?;
                }
                2 => self.dynamic()?,
                _ => return Err(Stop::Corrupt),
            }
            if last {
                return Ok(());
            }
        }
    }

    fn stored(&mut self) -> Result<(), Stop> {
        self.at = self.at.next_multiple_of(8);
        let (n, not_n) = (self.bits(16)?, self.bits(16)?);
        if n != !not_n & 0xffff {
            return Err(Stop::Corrupt);
        }
        self.at += 8 * n;
        Ok(())
    }

    fn dynamic(&mut self) -> Result<(), Stop> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (symbols, distances) = (257 + self.bits(5)?, 1 + self.bits(5)?);
        if symbols > 286 || distances > 30 {
            return Err(Stop::Undefined);
        }
        let mut lengths = [0; 19];
        for place in &ORDER[..4 + self.bits(4)?] {
            lengths[*place] = self.bits(3)? as u8;
        }
        let code = Code::new(&lengths)?;
        let mut lengths = Vec::new();
        while lengths.len() < symbols + distances {
            let (value, n) = match self.symbol(&code)? {
                16 => (*lengths.last().ok_or(Stop::Corrupt)?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length as u8, 1),
            };
            lengths.resize(lengths.len() + n, value);
        }
        if lengths.len() > symbols + distances {
            return Err(Stop::Corrupt);
        }
        if lengths[256] == 0 {
            return Err(Stop::Undefined);
        }
        let (symbols, distances) = lengths.split_at(symbols);
        let symbols = Code::new(symbols)?;
        // None at all are allowed if none is used.
        let distances = if distances.iter().all(|n| *n == 0) { None } else { Some(Code::new(distances)?) };
        self.symbols(&symbols, distances.as_ref())
    }

    fn symbols(&mut self, symbols: &Code, distances: Option<&Code>) -> Result<(), Stop> {
        loop {
            let extra = match self.symbol(symbols)? {
                0..256 => continue,
                256 => return Ok(()),
                257..265 | 285 => 0,
                symbol @ 265..285 => (symbol - 261) / 4,
                _ => return Err(Stop::Undefined),
            };
            self.bits(extra)?;
            let extra = match self.symbol(distances.ok_or(Stop::Undefined)?)? {
                0..4 => 0,
                symbol @ 4..30 => symbol / 2 - 1,
                _ => return Err(Stop::Undefined),
            };
            self.bits(extra)?;
        }
    }
}
