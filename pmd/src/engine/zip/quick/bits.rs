//! Bits into bytes, least significant first, as DEFLATE packs them.

#![forbid(unsafe_code)]

/// The bits that a block left behind its last full byte: the next block starts with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carry {
    /// The bits, the first one lowest; the unused ones are zero.
    pub bits: u8,
    /// How many there are, 0 to 7.
    pub count: u8,
}

/// Writes bits to a buffer of which the caller has checked the room.
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
    bits: u64,
    /// At most 7 between calls.
    count: u32,
}

impl<'a> BitWriter<'a> {
    /// The most bits that one `put` takes: 7 may be waiting in a word of 64.
    pub(super) const MOST: u32 = 56;

    pub(super) fn new(out: &'a mut [u8], carry: Carry) -> Self {
        let count = u32::from(carry.count & 7);
        Self { out, at: 0, bits: u64::from(carry.bits) & ((1 << count) - 1), count }
    }

    /// How many bits fit behind what is written.
    pub(super) fn room(&self) -> usize {
        (self.out.len() - self.at) * 8 - (self.count as usize).min((self.out.len() - self.at) * 8)
    }

    /// How many bits wait for their byte.
    pub(super) fn waiting(&self) -> u32 {
        self.count
    }

    /// Appends the lowest `count` bits of `bits`; the others must be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        debug_assert!(count <= Self::MOST && bits >> count == 0);
        self.bits |= bits << self.count;
        self.count += count;
        self.flush();
    }

    /// Appends pieces like `put`; of their counts the lowest six bits count.
    #[inline(always)]
    pub(super) fn put_all(&mut self, pieces: impl Iterator<Item = (u64, u32)>) {
        // In registers, with one check a piece.
        let (mut word, mut waiting, mut rest) = (self.bits, self.count, &mut self.out[self.at..]);
        for (bits, count) in pieces {
            word |= bits << (waiting & 63);
            waiting = waiting.wrapping_add(count) & 63;
            let full = (waiting >> 3) as usize;
            match rest.first_chunk_mut::<8>() {
                Some(place) => {
                    *place = word.to_le_bytes();
                    rest = &mut std::mem::take(&mut rest)[full..];
                }
                None => {
                    store_last(rest, 0, word, waiting);
                    rest = &mut std::mem::take(&mut rest)[full..];
                }
            }
            word >>= waiting & !7;
            waiting &= 7;
        }
        let left = rest.len();
        (self.at, self.bits, self.count) = (self.out.len() - left, word, waiting);
    }

    /// Full bytes go out; a whole word is stored, as its upper bytes are overwritten by the next one.
    #[inline(always)]
    fn flush(&mut self) {
        match self.out.get_mut(self.at..).and_then(|out| out.first_chunk_mut::<8>()) {
            Some(word) => *word = self.bits.to_le_bytes(),
            None => store_last(self.out, self.at, self.bits, self.count),
        }
        self.at += (self.count >> 3) as usize;
        self.bits >>= self.count & !7;
        self.count &= 7;
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        self.put(0, self.count.wrapping_neg() & 7);
    }

    /// Appends whole bytes; the writer must be aligned.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// The number of full bytes written, and the bits behind them.
    pub(super) fn finish(self) -> (usize, Carry) {
        (self.at, Carry { bits: self.bits as u8, count: self.count as u8 })
    }
}

/// Near the end of the room only the full bytes.
#[cold]
fn store_last(out: &mut [u8], at: usize, bits: u64, count: u32) {
    let full = (count >> 3) as usize;
    out[at..at + full].copy_from_slice(&bits.to_le_bytes()[..full]);
}
