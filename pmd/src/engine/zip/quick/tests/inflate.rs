//! A decoder as slow and plain as RFC 1951 reads.

struct Bits<'a> {
    stream: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn one(&mut self) -> Option<usize> {
        let bit = self.stream.get(self.at / 8)? >> (self.at % 8) & 1;
        self.at += 1;
        Some(usize::from(bit))
    }

    fn take(&mut self, n: usize) -> Option<usize> {
        (0..n).try_fold(0, |sum, i| Some(sum | self.one()? << i))
    }
}

/// Symbols by length and code.
struct Code(Vec<(usize, usize, usize)>);

impl Code {
    /// `None` if the lengths are not those of a complete code.
    fn new(lengths: &[usize]) -> Option<Self> {
        let (mut code, mut list) = (0, Vec::new());
        for length in 1..=15 {
            code <<= 1;
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| **l == length) {
                list.push((length, code, symbol));
                code += 1;
            }
        }
        (code == 1 << 15).then_some(Self(list))
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut length, mut code) = (0, 0);
        loop {
            code = code << 1 | bits.one()?;
            length += 1;
            let found = self.0.binary_search_by_key(&(length, code), |entry| (entry.0, entry.1));
            if let Ok(found) = found {
                return Some(self.0[found].2);
            }
        }
    }
}

fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let (litlen, dist, stated) = (bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4);
    let mut lengths = [0; 19];
    for &i in &[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15][..stated] {
        lengths[i] = bits.take(3)?;
    }
    let precode = Code::new(&lengths)?;
    let mut lengths = Vec::new();
    while lengths.len() < litlen + dist {
        let (length, times) = match precode.symbol(bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length, 1),
        };
        lengths.extend(vec![length; times]);
    }
    let fits = lengths.len() == litlen + dist && litlen <= 286 && dist <= 30;
    if fits { Some((Code::new(&lengths[..litlen])?, Code::new(&lengths[litlen..])?)) } else { None }
}

fn fixed() -> Option<(Code, Code)> {
    let lengths: Vec<_> =
        (0..288).map(|i| [8, 9, 7, 8][[144, 256, 280].iter().filter(|&&n| i >= n).count()]).collect();
    Some((Code::new(&lengths)?, Code::new(&[5; 32])?))
}

/// The plain bytes and the farthest distance; `None` where the stream is wrong or does not end with its last
/// byte.
pub(super) fn inflate(stream: &[u8], history: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut bits = Bits { stream, at: 0 };
    let (mut plain, mut farthest) = (history.to_vec(), 0);
    loop {
        let last = bits.one()?;
        let (litlen, dist) = match bits.take(2)? {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let (len, complement) = (bits.take(16)?, bits.take(16)?);
                if len ^ complement != 0xffff {
                    return None;
                }
                plain.extend(stream.get(bits.at / 8..bits.at / 8 + len)?);
                bits.at += len * 8;
                if last == 1 {
                    break;
                }
                continue;
            }
            1 => fixed()?,
            2 => dynamic(&mut bits)?,
            _ => return None,
        };
        loop {
            let symbol = litlen.symbol(&mut bits)?;
            if symbol < 256 {
                plain.push(symbol as u8);
                continue;
            }
            if symbol == 256 {
                break;
            }
            let length = match symbol - 257 {
                i @ 0..8 => 3 + i,
                28 => 258,
                i => 3 + ((4 + i % 4) << (i / 4 - 1)) + bits.take(i / 4 - 1)?,
            };
            let back = match dist.symbol(&mut bits)? {
                i @ 0..4 => 1 + i,
                i => 1 + ((2 + i % 2) << (i / 2 - 1)) + bits.take(i / 2 - 1)?,
            };
            farthest = farthest.max(back);
            for _ in 0..length {
                plain.push(*plain.get(plain.len().checked_sub(back)?)?);
            }
        }
        if last == 1 {
            break;
        }
    }
    let whole = bits.at.div_ceil(8) == stream.len();
    whole.then(|| (plain.split_off(history.len()), farthest))
}
