//! Entries of the queues of Kunpeng's public-key accelerator (HPRE).
//!
//! Sources: Linux `drivers/crypto/hisilicon/hpre/hpre_crypto.c` (`struct hpre_sqe`), UADK `drv/hisi_hpre.c`.

/// Bytes of an entry.
pub const ENTRY: usize = 64;

/// What is to be computed: bits 0 to 4 of the first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// RSA with exponent and modulus: public, or private without the remainders.
    NoCrt = 0,
    /// RSA by the Chinese remainders.
    Crt = 1,
}

impl Algorithm {
    /// By its number; `None`: one that is not known here.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        [Self::NoCrt, Self::Crt].into_iter().find(|a| *a as u32 == number)
    }
}

/// The bits of an error.
const ERRORS: u32 = 0x1ff_ffff;

/// The number of an algorithm that reads, computes and writes nothing, of devices with
/// [`extension::NULL`](super::extension::NULL).
pub const NULL: u32 = 0x1f;

/// How far the device is: bits 30 and 31 of the first word.
pub const NEW: u32 = 1;
/// It is done, well or not.
pub const DONE: u32 = 3;

/// Why an entry failed: bits 5 to 29 of the first word, 0 for none. The lower eleven and the upper fourteen are fields of their own.
pub mod error {
    /// An address that is not there, or not for this: as devices for shared virtual addressing have it.
    pub const ADDRESS: u32 = 1 << 16;
    /// What was asked for makes no sense.
    pub const PARAMETER: u32 = 1;
}

/// An entry, in the processor's own order of bytes: sixteen words, the first at the lowest address.
///
/// | word | bits | |
/// |---|---|---|
/// | 0 | 0–4, 5–29, 30–31 | algorithm, error, how far |
/// | 1 | 0–7, 8–15 | length of the operands in units of 8 bytes, less one; a second length |
/// | 2, 3 | | address of the key, low and high |
/// | 4, 5 | | address of the input |
/// | 6, 7 | | address of the output |
/// | 8, 9 | | tag, given back as it is |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub [u32; ENTRY / 4]);

impl Entry {
    /// One that is to be done.
    #[must_use]
    pub fn new(algorithm: Algorithm, operand: usize, addresses: Addresses, tag: u64) -> Self {
        let mut this = Self::default();
        this.0[0] = algorithm as u32 | NEW << 30;
        this.0[1] = (operand / 8).wrapping_sub(1) as u32 & 0xff;
        for (at, value) in [(2, addresses.key), (4, addresses.input), (6, addresses.output), (8, tag)] {
            (this.0[at], this.0[at + 1]) = (value as u32, (value >> 32) as u32);
        }
        this
    }

    /// One of [`NULL`].
    #[must_use]
    pub fn null(tag: u64) -> Self {
        let mut this = Self::new(Algorithm::NoCrt, 8, Addresses::default(), tag);
        this.0[0] = NULL | NEW << 30;
        this
    }

    /// The number of its algorithm, for [`Algorithm::of`].
    #[must_use]
    pub fn algorithm(&self) -> u32 {
        self.0[0] & 0x1f
    }

    /// Bytes of its operands: 8 to 2,048.
    #[must_use]
    pub fn operand(&self) -> usize {
        ((self.0[1] & 0xff) as usize + 1) * 8
    }

    /// Where its parts are.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let at = |word: usize| u64::from(self.0[word]) | u64::from(self.0[word + 1]) << 32;
        Addresses { key: at(2), input: at(4), output: at(6) }
    }

    /// What the user knows it by.
    #[must_use]
    pub fn tag(&self) -> u64 {
        u64::from(self.0[8]) | u64::from(self.0[9]) << 32
    }

    /// Ends it, with an [`error`] or 0.
    pub fn end(&mut self, error: u32) {
        self.0[0] = self.0[0] & 0x1f | (error & ERRORS) << 5 | DONE << 30;
    }

    /// Whether it has ended, and with which [`error`].
    #[must_use]
    pub fn ended(&self) -> Option<u32> {
        (self.0[0] >> 30 == DONE).then_some(self.0[0] >> 5 & ERRORS)
    }
}

/// Addresses of an entry, as the device sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of the key.
    pub key: u64,
    /// Of the input.
    pub input: u64,
    /// Of the output.
    pub output: u64,
}

/// Bytes of a key: numbers of the same length side by side, the most significant byte first, shorter ones with zeros in front. With
/// remainders dQ, dP, q, p and 1/q mod p, each half as long as the modulus; without the exponent and the modulus.
#[must_use]
pub fn key_bytes(algorithm: Algorithm, operand: usize) -> usize {
    match algorithm {
        Algorithm::NoCrt => 2 * operand,
        Algorithm::Crt => operand / 2 * 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_what_drivers_write() {
        assert_eq!(size_of::<Entry>(), ENTRY);
        let addresses =
            Addresses { key: 0x1122_3344_5566_7788, input: 0xffff_0000_1000, output: 0xffff_0000_2000 };
        let entry = Entry::new(Algorithm::Crt, 256, addresses, 0xabcd_0000_0042);
        assert_eq!(
            entry.0[..10],
            [0x4000_0001, 31, 0x5566_7788, 0x1122_3344, 0x1000, 0xffff, 0x2000, 0xffff, 0x42, 0xabcd]
        );
        assert_eq!((entry.algorithm(), entry.operand(), entry.addresses()), (1, 256, addresses));
        assert_eq!((entry.tag(), entry.ended()), (0xabcd_0000_0042, None));
        assert_eq!(Algorithm::of(entry.algorithm()), Some(Algorithm::Crt));
        assert_eq!((Algorithm::of(5), Algorithm::of(NULL)), (None, None));
        assert_eq!((Entry::null(7).0[0], Entry::null(7).tag()), (0x4000_001f, 7));
    }

    #[test]
    fn an_entry_ends_well_or_says_why_not() {
        let mut entry = Entry::new(Algorithm::NoCrt, 512, Addresses::default(), 7);
        entry.end(0);
        assert_eq!((entry.0[0], entry.ended()), (0xc000_0000, Some(0)));
        entry.end(error::ADDRESS);
        assert_eq!((entry.0[0], entry.ended(), entry.tag()), (0xc020_0000, Some(error::ADDRESS), 7));
        // An error in either field is one.
        for word in [0xc000_0020, 0xe000_0000] {
            entry.0[0] = word;
            assert!(entry.ended().is_some_and(|error| error != 0), "{word:#x}");
        }
    }

    #[test]
    fn keys_are_as_long_as_their_numbers_together() {
        assert_eq!(key_bytes(Algorithm::Crt, 256), 640);
        assert_eq!(key_bytes(Algorithm::NoCrt, 256), 512);
    }
}
