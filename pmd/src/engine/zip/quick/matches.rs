//! Where bytes were seen before: a table by the hash of eight bytes, which finds the long matches, and one by
//! that of four.
//!
//! An entry is a position in the stream modulo 65,536. Nothing is cleared out while a stream runs: an entry
//! out of date is a wrong guess, and each guess is compared with the data.

#![forbid(unsafe_code)]

/// The bits of the largest tables' hashes.
const LONG_BITS: u32 = 15;
const SHORT_BITS: u32 = 14;
/// How many bytes are hashed.
pub(super) const READ: usize = 8;
/// The most data that entries can count.
const COUNTED: usize = 1 << 16;

/// How much of the tables is in use: clearing them costs time too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Hashes of 10 bits.
    Small,
    /// Of 12 bits.
    Medium,
    /// Of all bits.
    Large,
}

/// The tables, and where in the stream they are.
pub(super) struct Finder {
    pub(super) long: Box<[u16; 1 << LONG_BITS]>,
    pub(super) short: Box<[u16; 1 << SHORT_BITS]>,
    size: Size,
    /// The position in the stream, modulo 65,536, of the first byte of the data at hand.
    base: u16,
    /// Each entry is the position of eight bytes within the data at hand, counted from their first one: there
    /// was no other data since the tables were cleared, and they are not longer than an entry can count.
    alone: bool,
}

fn table<const N: usize>() -> Box<[u16; N]> {
    vec![0; N].into_boxed_slice().try_into().expect("the length is that of the array")
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { long: table(), short: table(), size: Size::Large, base: 0, alone: false }
    }

    /// Forgets everything. The next data have `len` bytes, and may have successors only if they are
    /// `followed`.
    pub(super) fn clear(&mut self, len: usize, followed: bool) {
        self.size = match len {
            _ if followed => Size::Large,
            0..=1024 => Size::Small,
            1025..=8192 => Size::Medium,
            _ => Size::Large,
        };
        let (long, short) = self.size.bits();
        self.long[..1 << long].fill(0);
        self.short[..1 << short].fill(0);
        self.base = 0;
        self.alone = (READ..=COUNTED).contains(&len);
    }

    /// The next data continue those before: the byte after the `seen` ones is at `start`.
    pub(super) fn rebase(&mut self, seen: u16, start: usize) {
        self.base = seen.wrapping_sub(start as u16);
        self.alone = false;
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    pub(super) fn alone(&self) -> bool {
        self.alone
    }

    /// The position in the stream of `at`.
    #[inline(always)]
    pub(super) fn position(&self, at: usize) -> u16 {
        self.base.wrapping_add(at as u16)
    }

    /// Enters one position in `step` of `from..to`, as far as there are eight bytes.
    pub(super) fn insert(&mut self, data: &[u8], from: usize, to: usize, step: usize) {
        match self.size {
            Size::Small => self.insert_sized::<10, 10>(data, from, to, step),
            Size::Medium => self.insert_sized::<13, 13>(data, from, to, step),
            Size::Large => self.insert_sized::<LONG_BITS, SHORT_BITS>(data, from, to, step),
        }
    }

    fn insert_sized<const LONG: u32, const SHORT: u32>(
        &mut self,
        data: &[u8],
        from: usize,
        to: usize,
        step: usize,
    ) {
        for (at, bytes) in (from..to).zip(data[from..].windows(READ)).step_by(step) {
            let bytes = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let (long, short) = hashes::<LONG, SHORT>(bytes);
            (self.long[long], self.short[short]) = (self.position(at), self.position(at));
        }
    }

    /// Whether the eight bytes at `at` came before.
    pub(super) fn knows(&self, data: &[u8], at: usize) -> bool {
        let Some(here) = data[at..].first_chunk::<READ>() else { return false };
        let bytes = u64::from_le_bytes(*here);
        let (long, _) = match self.size {
            Size::Small => hashes::<10, 10>(bytes),
            Size::Medium => hashes::<13, 13>(bytes),
            Size::Large => hashes::<LONG_BITS, SHORT_BITS>(bytes),
        };
        let back = usize::from(self.position(at).wrapping_sub(self.long[long]));
        back != 0 && back <= at && data[at - back..].starts_with(here)
    }
}

impl Size {
    fn bits(self) -> (u32, u32) {
        match self {
            Self::Small => (10, 10),
            Self::Medium => (13, 13),
            Self::Large => (LONG_BITS, SHORT_BITS),
        }
    }
}

/// The table indices of eight bytes.
#[inline(always)]
pub(super) fn hashes<const LONG: u32, const SHORT: u32>(bytes: u64) -> (usize, usize) {
    (
        (bytes.wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - LONG)) as usize,
        ((bytes as u32).wrapping_mul(0x9e37_79b1) >> (32 - SHORT)) as usize,
    )
}
