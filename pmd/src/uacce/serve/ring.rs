//! The server's end of a Kunpeng queue: takes entries that the user has rung for, and gives them back in their order.

use std::sync::atomic::Ordering;

use super::memory::{PAGE, QueueMemory};
use crate::uacce::abi::Region;
use crate::uacce::abi::qm::{COMPLETION, Command, Completion, Doorbell, Layout, PHASE_AT, Version};

/// The most words of an entry.
pub(super) const MOST_WORDS: usize = 32;

/// Words of an entry; those behind the entry are 0.
pub(super) type Words = [u32; MOST_WORDS];

/// How the entries of a queue show that they are new, and that they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// 64 bytes with the progress in the highest bits of word 0.
    Hpre,
    /// 128 bytes. Word 2, which users write as 0 and do not read for these formats, is set in what is done.
    Zip,
}

/// In word 2 of a ZIP entry that is done.
pub(super) const ZIP_DONE: u32 = 1 << 31;

impl EntryKind {
    pub(super) fn words(self) -> usize {
        match self {
            Self::Hpre => 16,
            Self::Zip => 32,
        }
    }

    /// Whether it was written by the user since it was done last.
    fn is_new(self, words: &Words) -> bool {
        match self {
            Self::Hpre => words[0] >> 30 == crate::uacce::abi::hpre::NEW,
            Self::Zip => words[9] != 0 && words[2] & ZIP_DONE == 0,
        }
    }
}

/// What a user has done that no user does: its queue is out of order from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It rang for an entry beyond the ring.
    Doorbell,
}

/// The server's end.
#[derive(Debug)]
pub(super) struct Ring {
    kind: EntryKind,
    layout: Layout,
    version: Version,
    number: u16,
    /// Where the doorbell is in the file.
    doorbell_at: usize,
    /// The last word that was seen there, or written by us.
    seen: u64,
    /// The next entry to be taken.
    head: u16,
    /// Behind the last entry that is known to be there.
    tail: u16,
    /// The next completion to be written, and the phase of this round.
    cq_tail: u16,
    phase: bool,
    /// When an entry without a doorbell was first seen, in ticks: its doorbell may have been overwritten by another.
    suspect: Option<u64>,
}

impl Ring {
    /// An empty one. `number` is the queue's in doorbells.
    pub(super) fn new(kind: EntryKind, layout: Layout, version: Version, number: u16) -> Self {
        let doorbell_at = version.doorbell_at();
        Self {
            kind,
            layout,
            version,
            number,
            doorbell_at,
            seen: 0,
            head: 0,
            tail: 0,
            cq_tail: 0,
            phase: true,
            suspect: None,
        }
    }

    /// Where DUS begins in the file.
    const DUS: usize = Region::Dus as usize * PAGE;

    /// Places in the ring.
    pub(super) fn depth(&self) -> u16 {
        self.layout.sq_depth
    }

    /// How many entries there are to be taken. `now` and `patience` are in ticks: an entry for which no doorbell was seen
    /// counts when it has been there for so long.
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub(super) fn look(&mut self, memory: &QueueMemory, now: u64, patience: u64) -> Result<u16, Broken> {
        let word = memory.double(self.doorbell_at).load(Ordering::Acquire);
        if word != self.seen {
            self.seen = word;
            self.rung(memory, word, now)?;
        } else if let Some(since) = self.suspect
            && now.wrapping_sub(since) > patience
        {
            self.suspect = None;
            if self.next_is_new(memory) {
                self.tail = self.after(self.tail);
                self.suspect = self.next_is_new(memory).then_some(now);
            }
        }
        Ok(self.ready())
    }

    #[inline]
    fn ready(&self) -> u16 {
        let depth = self.layout.sq_depth;
        if self.tail >= self.head { self.tail - self.head } else { depth - self.head + self.tail }
    }

    fn rung(&mut self, memory: &QueueMemory, word: u64, now: u64) -> Result<(), Broken> {
        let Some(bell) = Doorbell::of(word, self.version).filter(|bell| bell.queue == self.number) else {
            return Ok(()); // not for this queue: nothing that a device would hear
        };
        match bell.command {
            Command::Submitted if bell.index >= self.layout.sq_depth => return Err(Broken::Doorbell),
            Command::Submitted => {
                self.tail = bell.index;
                self.suspect = None;
            }
            Command::Taken if bell.index >= self.layout.cq_depth => return Err(Broken::Doorbell),
            Command::Taken => {
                // It may have taken the place of one for entries.
                if self.suspect.is_none() && self.next_is_new(memory) {
                    self.suspect = Some(now);
                }
            }
        }
        Ok(())
    }

    /// Whether the user has filled the place behind the last entry known.
    fn next_is_new(&self, memory: &QueueMemory) -> bool {
        self.after(self.tail) != self.head && self.kind.is_new(&self.entry(memory, self.tail))
    }

    #[inline]
    fn after(&self, index: u16) -> u16 {
        if index + 1 == self.layout.sq_depth { 0 } else { index + 1 }
    }

    #[inline]
    fn entry(&self, memory: &QueueMemory, index: u16) -> Words {
        let mut words = [0; MOST_WORDS];
        memory.read(Self::DUS + self.layout.entry(index), &mut words[..self.kind.words()]);
        words
    }

    /// Takes the next entry, as it is at this moment, and its place. There must be one.
    #[inline]
    pub(super) fn take(&mut self, memory: &QueueMemory) -> (u16, Words) {
        let index = self.head;
        let words = self.entry(memory, index);
        self.head = self.after(index);
        (index, words)
    }

    /// Gives back the entry at `index`, which is the oldest of those taken, with what it has become.
    #[inline]
    pub(super) fn give(&mut self, memory: &QueueMemory, index: u16, words: &Words) {
        let at = Self::DUS + self.layout.entry(index);
        memory.write(at, &words[..self.kind.words()]);
        if at == self.doorbell_at {
            // The doorbell of later versions is in the place of this entry's first words: this is no ring.
            self.seen = u64::from(words[0]) | u64::from(words[1]) << 32;
        }
        let done = Completion { entry: index, queue: self.number, phase: self.phase }.bytes();
        let word = |i: usize| u32::from_le_bytes([done[i], done[i + 1], done[i + 2], done[i + 3]]);
        let at = Self::DUS + self.layout.completion(self.cq_tail);
        const LAST: usize = COMPLETION - 4;
        for i in (0..LAST).step_by(4) {
            memory.word(at + i).store(word(i), Ordering::Relaxed);
        }
        const _: () = assert!(PHASE_AT >= LAST);
        // What was written before is there for whoever sees the phase.
        memory.word(at + LAST).store(word(LAST), Ordering::Release);
        self.cq_tail += 1;
        if self.cq_tail == self.layout.cq_depth {
            self.cq_tail = 0;
            self.phase = !self.phase;
        }
    }

    /// Says that nothing is taken or given any more.
    pub(super) fn fail(&self, memory: &QueueMemory) {
        for at in [self.layout.tx_failed(), self.layout.rx_failed()] {
            memory.word(Self::DUS + at).store(1, Ordering::Release);
        }
    }
}
