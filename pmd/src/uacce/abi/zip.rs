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
    /// RFC 1950. The user writes the header; the device gives the checksum, with the trailer to be made of it.
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
    pub const STATE: usize = 15;
    pub const SOURCE: usize = 18;
    pub const DESTINATION: usize = 20;
    pub const STREAM: usize = 22;
    pub const TAG_3: usize = 26;
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

    /// The level of compression, if it names one: an extension of `warpdrive serve` (its word `level`) in a word that Kunpeng's
    /// devices leave alone.
    #[must_use]
    pub fn level(&self) -> Option<u8> {
        (self.0[word::LEVEL] as u8).checked_sub(1)
    }

    /// Names the level of compression, for devices that go by it.
    pub fn set_level(&mut self, level: u8) {
        self.0[word::LEVEL] = u32::from(level) + 1;
    }

    /// Says whether there is more output than there was room: the user is to come again, with no input.
    pub fn set_again(&mut self, again: bool) {
        self.0[word::STATE] = u32::from(again);
    }

    /// Ends it.
    pub fn end(&mut self, ended: &Ended) {
        self.0[word::CONSUMED] = ended.consumed;
        self.0[word::PRODUCED] = ended.produced;
        self.0[word::STATUS] = ended.status & 0xff | if ended.last_block { LAST_BLOCK } else { 0 };
        self.0[word::CHECKSUM] = ended.checksum;
        self.0[word::LENGTH] = ended.length;
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
