//! Entries of the queues of Kunpeng's compression accelerator (ZIP).
//!
//! Whether a queue compresses or decompresses is said once, by [`QpContext::kind`](super::qm::QpContext::kind).
//!
//! Sources: Linux `drivers/crypto/hisilicon/zip/zip.h` (`struct hisi_zip_sqe`), UADK `drv/hisi_comp.c`.

/// Bytes of an entry.
pub const ENTRY: usize = 128;
/// The most that one entry reads or writes.
pub const MOST: usize = 8 << 20;
/// [`QpContext::kind`](super::qm::QpContext::kind) of a queue that compresses.
pub const COMPRESS: u16 = 0;
/// [`QpContext::kind`](super::qm::QpContext::kind) of a queue that decompresses.
pub const DECOMPRESS: u16 = 1;

/// What is around the blocks of DEFLATE: bits 0 to 7 of word 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Format {
    /// RFC 1951: nothing.
    Deflate = 1,
    /// RFC 1950. The user writes and reads the header; the device does the trailer, unless a stream ends without any more
    /// input: then the user writes it, by the checksum so far.
    Zlib = 2,
    /// RFC 1952, in the same way.
    Gzip = 3,
}

impl Format {
    /// By its number; `None`: one that is not known here.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        [Self::Deflate, Self::Zlib, Self::Gzip].into_iter().find(|f| *f as u32 == number)
    }
}

/// How an entry ended: bits 0 to 7 of word 3.
pub mod status {
    /// Well.
    pub const DONE: u32 = 0;
    /// An address that is not there, or not for this.
    pub const ADDRESS: u32 = 0x05;
    /// Compression would have made it longer, and it was stored: no error.
    pub const LONGER: u32 = 0x0d;
    /// The output is full.
    pub const FULL: u32 = 0x0e;
    /// The checksum is another.
    pub const CHECKSUM: u32 = 0x10;
    /// The end of what was compressed has been decompressed: no error.
    pub const END: u32 = 0x13;
    /// What is to be decompressed is none.
    pub const DATA: u32 = 0x02;
    /// What is to be decompressed ends before its end, and the user has said that there is no more.
    pub const TRUNCATED: u32 = 0x03;
}

/// In which words things are.
mod word {
    pub const CONSUMED: usize = 0;
    pub const PRODUCED: usize = 1;
    pub const STATUS: usize = 3;
    pub const INPUT: usize = 4;
    pub const FLAGS: usize = 7;
    pub const REQUEST: usize = 9;
    pub const LEVEL: usize = 10;
    pub const TAG: usize = 13;
    pub const ROOM: usize = 14;
    pub const STATE_0: usize = 15;
    pub const SOURCE: usize = 18;
    pub const DESTINATION: usize = 20;
    pub const STREAM: usize = 22;
    pub const TAG_3: usize = 26;
    pub const STATE_1: usize = 28;
    pub const STATE_2: usize = 29;
    pub const LENGTH: usize = 30;
    pub const CHECKSUM: usize = 31;
}

/// In word 7: nothing follows in this stream.
const FINISH: u32 = 1 << 25;
/// In word 7: it continues others, whose state is at the stream's address.
const STATEFUL: u32 = 1 << 26;
/// In word 7: it is the first of them.
const BEGINS: u32 = 1 << 27;
/// In word 3: the last block was seen.
const LAST_BLOCK: u32 = 1 << 8;
/// The kind of entry of version 3, in the highest four bits of word 7: the tag has another place.
const KIND_3: u32 = 3;

/// Bytes that a stream's user keeps for the device. The first [`CONTEXT_AT`] are the user's own.
pub const CONTEXT: usize = 64 << 10;
/// Where the device's part of them begins: what the address in an entry is of.
pub const CONTEXT_AT: usize = 64;

/// How far a reference can go back: bits 12 to 15 of word 9. By the logarithm of its bytes; `None`: devices have no such window.
#[must_use]
pub fn window(bits: u8) -> Option<u32> {
    match bits {
        12 => Some(0),
        13 => Some(1),
        14 => Some(2),
        15 => Some(4),
        _ => None,
    }
}

/// What the user of a stream carries from one entry to the next, beside its [`CONTEXT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Three words of the device. In the first, bits 0 to 3 are 1 when there is more output than there was room for.
    pub words: [u32; 3],
    /// Bytes before compression so far.
    pub length: u32,
    /// The checksum so far, as devices have it: of gzip see [`checksum`](Self::checksum).
    pub sum: u32,
}

impl State {
    /// There is more output than there was room for: to be called again, also without input.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.words[0] & 0xf == 1
    }

    /// The checksum so far: Adler-32 of zlib; CRC-32 of gzip, of which a device has the complement with its bits turned round.
    #[must_use]
    pub fn checksum(&self, format: Format) -> u32 {
        match format {
            Format::Gzip => !self.sum.reverse_bits(),
            Format::Deflate | Format::Zlib => self.sum,
        }
    }

    /// With a checksum.
    #[must_use]
    pub fn with_checksum(self, format: Format, checksum: u32) -> Self {
        let sum = match format {
            Format::Gzip => (!checksum).reverse_bits(),
            Format::Deflate | Format::Zlib => checksum,
        };
        Self { sum, ..self }
    }
}

/// An entry, in the processor's own order of bytes: 32 words, the first at the lowest address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub [u32; ENTRY / 4]);

/// What is asked of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is around the blocks.
    pub format: Format,
    /// Where the input is.
    pub source: u64,
    /// Bytes of it.
    pub input: u32,
    /// Where the output goes.
    pub destination: u64,
    /// Bytes that it may have.
    pub room: u32,
    /// Of an entry that continues others, the address of what is to be remembered.
    pub stream: Option<u64>,
    /// It is the first of a stream.
    pub begins: bool,
    /// It is the last of a stream.
    pub finish: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// A [`status`].
    pub status: u32,
    /// Bytes read.
    pub consumed: u32,
    /// Bytes written.
    pub produced: u32,
    /// Adler-32 of zlib, CRC-32 of gzip.
    pub checksum: u32,
    /// Bytes before compression, for the trailer of gzip.
    pub length: u32,
    /// Of decompression: the last block was seen.
    pub last_block: bool,
}

impl Entry {
    /// One that is to be done, with the tag where `kind` 0 or 3 has it.
    #[must_use]
    pub fn new(asked: &Asked, kind: u32, tag: u32) -> Self {
        let mut this = Self::default();
        let mut flags = kind << 28;
        for (set, flag) in
            [(asked.finish, FINISH), (asked.stream.is_some(), STATEFUL), (asked.begins, BEGINS)]
        {
            flags |= if set { flag } else { 0 };
        }
        this.0[word::INPUT] = asked.input;
        this.0[word::FLAGS] = flags;
        this.0[word::REQUEST] = asked.format as u32;
        this.0[word::ROOM] = asked.room;
        this.0[if kind == KIND_3 { word::TAG_3 } else { word::TAG }] = tag;
        for (at, address) in [
            (word::SOURCE, asked.source),
            (word::DESTINATION, asked.destination),
            (word::STREAM, asked.stream.unwrap_or(0)),
        ] {
            (this.0[at], this.0[at + 1]) = (address as u32, (address >> 32) as u32);
        }
        this
    }

    /// What is asked. `None`: something that is not known here, such as lists of pieces or another format.
    #[must_use]
    pub fn asked(&self) -> Option<Asked> {
        let address = |at: usize| u64::from(self.0[at]) | u64::from(self.0[at + 1]) << 32;
        let (flags, request) = (self.0[word::FLAGS], self.0[word::REQUEST]);
        let is_flat = request >> 8 & 0xf == 0;
        Some(Asked {
            format: Format::of(request & 0xff).filter(|_| is_flat)?,
            source: address(word::SOURCE),
            input: self.0[word::INPUT],
            destination: address(word::DESTINATION),
            room: self.0[word::ROOM],
            stream: (flags & STATEFUL != 0).then(|| address(word::STREAM)),
            begins: flags & BEGINS != 0,
            finish: flags & FINISH != 0,
        })
    }

    /// What the user knows it by.
    #[must_use]
    pub fn tag(&self) -> u32 {
        let is_3 = self.0[word::FLAGS] >> 28 == KIND_3;
        self.0[if is_3 { word::TAG_3 } else { word::TAG }]
    }

    /// Says whether there is more output than there was room: the user is to come again, with no input.
    pub fn set_again(&mut self, again: bool) {
        self.0[word::STATE_0] = u32::from(again);
    }

    /// Ends it.
    pub fn end(&mut self, ended: &Ended) {
        self.0[word::CONSUMED] = ended.consumed;
        self.0[word::PRODUCED] = ended.produced;
        self.0[word::STATUS] = ended.status & 0xff | if ended.last_block { LAST_BLOCK } else { 0 };
        self.0[word::CHECKSUM] = ended.checksum;
        self.0[word::LENGTH] = ended.length;
    }

    /// Sets how far references may go back, as [`window`] says.
    pub fn set_window(&mut self, window: u32) {
        self.0[word::REQUEST] = self.0[word::REQUEST] & !0xf000 | (window & 0xf) << 12;
    }

    /// How far references may go back, in bytes. `None`: not known.
    #[must_use]
    pub fn window_bytes(&self) -> Option<usize> {
        match self.0[word::REQUEST] >> 12 & 0xf {
            0 => Some(4 << 10),
            n @ 1..=4 => Some((8 << 10) * n as usize),
            _ => None,
        }
    }

    /// Asks for a level, of devices with [`extension::LEVEL`](super::extension::LEVEL).
    pub fn set_level(&mut self, level: u8) {
        self.0[word::LEVEL] = u32::from(level) + 1;
    }

    /// The level that is asked for; `None`: the device's own.
    #[must_use]
    pub fn level(&self) -> Option<u8> {
        (self.0[word::LEVEL] as u8).checked_sub(1)
    }

    /// Sets what the last entry of the stream has left.
    pub fn set_state(&mut self, state: &State) {
        [self.0[word::STATE_0], self.0[word::STATE_1], self.0[word::STATE_2]] = state.words;
        (self.0[word::LENGTH], self.0[word::CHECKSUM]) = (state.length, state.sum);
    }

    /// What is to be carried to the next entry of the stream.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            words: [self.0[word::STATE_0], self.0[word::STATE_1], self.0[word::STATE_2]],
            length: self.0[word::LENGTH],
            sum: self.0[word::CHECKSUM],
        }
    }

    /// What came of it, once its completion is there.
    #[must_use]
    pub fn ended(&self) -> Ended {
        Ended {
            status: self.0[word::STATUS] & 0xff,
            consumed: self.0[word::CONSUMED],
            produced: self.0[word::PRODUCED],
            checksum: self.0[word::CHECKSUM],
            length: self.0[word::LENGTH],
            last_block: self.0[word::STATUS] & LAST_BLOCK != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        format: Format::Gzip,
        source: 0x7f12_3456_7000,
        input: 65_536,
        destination: 0x7f00_0000_1000,
        room: 70_000,
        stream: Some(0x7eee_0000_0040),
        begins: true,
        finish: false,
    };

    #[test]
    fn entries_are_what_drivers_write() {
        assert_eq!(size_of::<Entry>(), ENTRY);
        let entry = Entry::new(&ASKED, 3, 77);
        let mut words = [0; 32];
        (words[4], words[7], words[9], words[14], words[26]) = (65_536, 0x3c00_0000, 3, 70_000, 77);
        (words[18], words[19]) = (0x3456_7000, 0x7f12);
        (words[20], words[21]) = (0x0000_1000, 0x7f00);
        (words[22], words[23]) = (0x0000_0040, 0x7eee);
        assert_eq!(entry.0, words);
        assert_eq!((entry.asked(), entry.tag()), (Some(ASKED), 77));
        let alone = Asked { stream: None, begins: false, finish: true, format: Format::Deflate, ..ASKED };
        let entry = Entry::new(&alone, 0, 78);
        assert_eq!((entry.0[7], entry.0[9], entry.0[13], entry.0[22]), (0x0200_0000, 1, 78, 0));
        assert_eq!((entry.asked(), entry.tag()), (Some(alone), 78));
    }

    #[test]
    fn what_is_not_known_is_not_taken_for_something_else() {
        let mut entry = Entry::new(&ASKED, 0, 0);
        for request in [0x103, 0x43, 0, 4] {
            entry.0[9] = request;
            assert_eq!(entry.asked(), None, "{request:#x}");
        }
        // The size of the window does not matter.
        entry.0[9] = 0x4003;
        assert_eq!(entry.asked(), Some(ASKED));
    }

    #[test]
    fn windows_and_levels_have_their_bits() {
        let mut entry = Entry::new(&ASKED, 3, 0);
        assert_eq!((entry.level(), entry.window_bytes()), (None, Some(4096)));
        for (bits, number, bytes) in [(12, 0, 4), (13, 1, 8), (14, 2, 16), (15, 4, 32)] {
            entry.set_window(window(bits).unwrap());
            assert_eq!((entry.0[9], entry.window_bytes()), (number << 12 | 3, Some(bytes << 10)), "2^{bits}");
        }
        assert_eq!([8, 9, 10, 11, 16].map(window), [None; 5]);
        entry.0[9] = 0x5003;
        assert_eq!(entry.window_bytes(), None);
        for level in [0, 1, 12] {
            entry.set_level(level);
            assert_eq!((entry.0[10], entry.level()), (u32::from(level) + 1, Some(level)));
        }
    }

    #[test]
    fn what_a_stream_carries_goes_there_and_back() {
        let state = State { words: [1, 2, 3], length: 4, sum: 5 };
        let mut entry = Entry::new(&ASKED, 3, 77);
        entry.set_state(&state);
        let words = [15, 28, 29, 30, 31].map(|at| entry.0[at]);
        assert_eq!((words, entry.state(), entry.state().has_more()), ([1, 2, 3, 4, 5], state, true));
        assert_eq!((entry.asked(), entry.tag()), (Some(ASKED), 77), "in words of its own");
        // CRC-32 of "123456789".
        let gzip = State::default().with_checksum(Format::Gzip, 0xcbf4_3926);
        assert_eq!((gzip.sum, gzip.checksum(Format::Gzip)), (0x9b63_d02c, 0xcbf4_3926));
        assert_eq!(State::default().with_checksum(Format::Zlib, 7).sum, 7);
    }

    #[test]
    fn an_entry_says_what_came_of_it() {
        let ended = Ended {
            status: status::END,
            consumed: 100,
            produced: 300,
            checksum: 0xdead_beef,
            length: 300,
            last_block: true,
        };
        let mut entry = Entry::new(&ASKED, 3, 77);
        entry.end(&ended);
        assert_eq!((entry.ended(), entry.tag(), entry.0[3]), (ended, 77, 0x113));
    }
}
