//! Telling data that will not compress, such as what is compressed or encrypted already, by samples.

#![forbid(unsafe_code)]

use super::matches::{Finder, READ};

/// Data are judged in cells of this size.
pub(super) const CELL: usize = 4096;
/// Smaller ones show too little.
const LEAST: usize = 256;
/// Samples: so many strips of so many bytes.
const STRIPS: usize = 16;
const STRIP: usize = 32;
/// Of dull data one position in so many is entered; so many in a row are looked up, to find it again.
const STEP: usize = 16;

/// How many of the cells from `at` to `stop` will not compress, as bytes; they are entered sparsely.
pub(super) fn dull(data: &[u8], at: usize, stop: usize, finder: &mut Finder) -> usize {
    let mut end = at;
    for cell in data[at..stop].chunks(CELL) {
        if !noisy(cell) || repeats(data, end, end + cell.len(), finder) {
            break;
        }
        finder.insert(data, end, end + cell.len(), STEP);
        end += cell.len();
    }
    end - at
}

/// How many bytes to go from `at` until at least two cells in a row will not compress.
pub(super) fn lively(data: &[u8], at: usize, stop: usize) -> usize {
    let mut noisy_before = false;
    for (i, cell) in data[at..stop].chunks(CELL).enumerate().skip(1) {
        let noisy = noisy(cell);
        if noisy && noisy_before {
            return (i - 1) * CELL;
        }
        noisy_before = noisy;
    }
    stop - at
}

/// Whether the bytes are spread as evenly as those of noise.
fn noisy(cell: &[u8]) -> bool {
    if cell.len() < LEAST {
        return false;
    }
    // Text has few bytes above 127, machine code many zeros: no need to count each value.
    let first = &cell[..LEAST / 4];
    let high = first.iter().filter(|&&byte| byte > 127).count();
    if !(first.len() / 4..=first.len() * 3 / 4).contains(&high) {
        return false;
    }
    let mut counts = [0u16; 256];
    let mut n = 0;
    for part in cell.chunks(cell.len().div_ceil(STRIPS)) {
        let strip = &part[..part.len().min(STRIP)];
        for &byte in strip {
            counts[usize::from(byte)] += 1;
        }
        n += strip.len();
    }
    let squares: u32 = counts.iter().map(|&n| u32::from(n) * u32::from(n)).sum();
    // Of n independent evenly spread bytes the mean is n + n * n / 256; and an entropy of 7.8 bits exceeds
    // this.
    squares as usize * 16 <= (n + n * n / 256) * 17
}

/// Whether bytes of the cell are found elsewhere.
fn repeats(data: &[u8], from: usize, to: usize, finder: &Finder) -> bool {
    (0..STRIPS).any(|i| {
        let first = from + (to - from - STEP) * i / STRIPS;
        (first..(first + STEP).min(to.saturating_sub(READ))).any(|at| finder.knows(data, at))
    })
}
