//! The alphabets of DEFLATE (RFC 1951, 3.2.5 to 3.2.7) as tables made by the compiler.

#![forbid(unsafe_code)]

/// Literals, end of block, lengths.
pub(super) const LITLEN: usize = 286;
/// Distances.
pub(super) const DIST: usize = 30;
/// Code lengths.
pub(super) const PRECODE: usize = 19;
/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
/// The longest code of literals, lengths and distances.
pub(super) const LONGEST_CODE: usize = 15;
/// The longest code of code lengths.
pub(super) const LONGEST_PRECODE: usize = 7;
/// The shortest and the longest match of the format.
pub(super) const SHORTEST: usize = 3;
pub(super) const LONGEST: usize = 258;
/// The greatest distance of the format.
pub(super) const WIDEST: usize = 1 << 15;
/// The order in which a block states the lengths of the code lengths' codes.
pub(super) const PRECODE_ORDER: [u8; PRECODE] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Extra bits behind length symbol 257 + index.
pub(super) const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// The first length of each length symbol.
pub(super) const LENGTH_BASE: [u16; 29] = {
    let mut base = [0; 29];
    let (mut i, mut next) = (0, SHORTEST as u16);
    while i < 28 {
        base[i] = next;
        next += 1 << LENGTH_EXTRA[i];
        i += 1;
    }
    // 258 has a symbol of its own, though the one before could say it.
    base[28] = LONGEST as u16;
    base
};

/// Extra bits behind a distance symbol.
pub(super) const fn dist_extra(symbol: usize) -> u32 {
    if symbol < 4 { 0 } else { symbol as u32 / 2 - 1 }
}

const fn dist_symbol_of(distance_less_one: u32) -> u8 {
    if distance_less_one < 4 {
        return distance_less_one as u8;
    }
    let top = distance_less_one.ilog2();
    (2 * top + (distance_less_one >> (top - 1) & 1)) as u8
}

/// The symbols of distances - 1 below 256, then of (distance - 1) / 128 for the others, whose symbols change
/// at multiples of 128 only.
const DIST_SYMBOL: [u8; 512] = {
    let mut symbol = [0; 512];
    let mut i = 0;
    while i < 256 {
        symbol[i] = dist_symbol_of(i as u32);
        symbol[256 + i] = dist_symbol_of((i as u32) << 7);
        i += 1;
    }
    symbol
};

/// The symbol of a distance less one, below 32,768.
#[inline(always)]
pub(super) fn dist_symbol(distance_less_one: u32) -> u32 {
    let far = 256 + (distance_less_one >> 7);
    let index = if distance_less_one < 256 { distance_less_one } else { far };
    u32::from(DIST_SYMBOL[index as usize & 511])
}

/// The code lengths of a static block's literals and lengths; its distances have 5 bits each.
pub(super) const STATIC_LITLEN: [u8; LITLEN] = {
    let mut bits = [8; LITLEN];
    let mut i = 144;
    while i < 280 {
        bits[i] = if i < 256 { 9 } else { 7 };
        i += 1;
    }
    bits
};
/// The code length of a static block's distances.
pub(super) const STATIC_DIST: u8 = 5;
