//! Queues of Kunpeng accelerators (queue manager, "QM").
//!
//! The [DUS region](super::Region::Dus) begins with the entries of the submission queue; the completion queue is behind them, and two
//! words at the very end say that the device has failed. The user writes entries and then a [`Doorbell`] with the place behind the
//! last one; the device writes completions, of which the [phase](Completion::phase) says whether they are new: it is 1 in the first
//! round of the queue, 0 in the second, and so on.
//!
//! Sources: Linux `drivers/crypto/hisilicon/qm.c` and `include/uapi/misc/uacce/hisi_qm.h`; UADK `drv/hisi_qm_udrv.c`.

use super::NO_IOMMU;

/// Entries of a queue, unless [`QpInfo`] says otherwise.
pub const DEPTH: u16 = 1024;
/// Bytes of a completion.
pub const COMPLETION: usize = 16;

/// Argument of [`QM_SET_QP_CTX`](super::QM_SET_QP_CTX).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct QpContext {
    /// The number of the queue, filled in by the driver; it is part of [`Doorbell`].
    pub id: u16,
    /// What the queue is for: of a ZIP device 0 is compression, 1 decompression; of others 0.
    pub kind: u16,
}

impl QpContext {
    /// As the call takes and gives it.
    #[must_use]
    pub fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.id.to_ne_bytes(), self.kind.to_ne_bytes());
        [a, b, c, d]
    }

    /// From what a call gave.
    #[must_use]
    pub fn of([a, b, c, d]: [u8; 4]) -> Self {
        Self { id: u16::from_ne_bytes([a, b]), kind: u16::from_ne_bytes([c, d]) }
    }
}

/// Argument of [`QM_SET_QP_INFO`](super::QM_SET_QP_INFO), filled in by the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct QpInfo {
    /// Bytes of an entry of the submission queue.
    pub entry_bytes: u32,
    /// Entries of the submission queue.
    pub sq_depth: u16,
    /// Entries of the completion queue.
    pub cq_depth: u16,
    /// 0.
    pub reserved: u64,
}

impl QpInfo {
    /// As the call takes and gives it.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.entry_bytes.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.sq_depth.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.cq_depth.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.reserved.to_ne_bytes());
        bytes
    }

    /// From what a call gave.
    #[must_use]
    pub fn of(bytes: [u8; 16]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let reserved =
            u64::from(u32::from_ne_bytes(words[2])) | u64::from(u32::from_ne_bytes(words[3])) << 32;
        Self { entry_bytes: u32::from_ne_bytes(words[0]), sq_depth: half(4), cq_depth: half(6), reserved }
    }
}

/// How doorbells look, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// `hisi_qm_v1`.
    V1,
    /// `hisi_qm_v2` and later.
    V2,
}

impl Version {
    /// Of a device with this `api`.
    #[must_use]
    pub fn of(api: &str) -> Option<Self> {
        let api = api.strip_suffix(NO_IOMMU).unwrap_or(api);
        match api.strip_prefix("hisi_qm_v")?.parse() {
            Ok(0) | Err(_) => None,
            Ok(1_u32) => Some(Self::V1),
            Ok(_) => Some(Self::V2),
        }
    }

    /// Where the doorbell is in the [MMIO region](super::Region::Mmio): a word of 64 bits.
    #[must_use]
    pub fn doorbell_at(self) -> usize {
        match self {
            Self::V1 => 0x340,
            Self::V2 => 0x1000,
        }
    }

    /// In which bit of a doorbell its command begins.
    fn command_shift(self) -> u32 {
        match self {
            Self::V1 => 16,
            Self::V2 => 12,
        }
    }
}

/// Which queue a doorbell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// There are new entries.
    Submitted,
    /// Completions were taken.
    Taken,
}

/// What a user writes to the doorbell.
///
/// There is one word for both commands. In plain memory a later one takes the place of an earlier one that nobody has seen:
/// who reads it there must go by the places that the queues themselves show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The number of the queue: 16 bits in version 1, 10 in version 2.
    pub queue: u16,
    /// Which queue.
    pub command: Command,
    /// The place behind the last entry.
    pub index: u16,
    /// Of [`Command::Taken`]: 1 asks for an interrupt at the next completion.
    pub priority: u16,
}

impl Doorbell {
    /// As it is written.
    #[must_use]
    pub fn word(self, version: Version) -> u64 {
        let queue = match version {
            Version::V1 => self.queue,
            Version::V2 => self.queue & 0x3ff,
        };
        let command = u64::from(self.command == Command::Taken);
        u64::from(queue)
            | command << version.command_shift()
            | u64::from(self.index) << 32
            | u64::from(self.priority) << 48
    }

    /// From what was written. `None`: of no known command.
    #[must_use]
    pub fn of(word: u64, version: Version) -> Option<Self> {
        let command = match word >> version.command_shift() & 0xf {
            0 => Command::Submitted,
            1 => Command::Taken,
            _ => return None,
        };
        let queue = match version {
            Version::V1 => word as u16,
            Version::V2 => word as u16 & 0x3ff,
        };
        Some(Self { queue, command, index: (word >> 32) as u16, priority: (word >> 48) as u16 })
    }
}

/// A completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The place of the entry that is done.
    pub entry: u16,
    /// The number of the queue.
    pub queue: u16,
    /// Whether it was written in an odd round of the queue, the first being 1.
    pub phase: bool,
}

impl Completion {
    /// As it lies in memory. The last two bytes are to be written after all others.
    #[must_use]
    pub fn bytes(self) -> [u8; COMPLETION] {
        let mut bytes = [0; COMPLETION];
        bytes[8..10].copy_from_slice(&self.entry.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.queue.to_le_bytes());
        bytes[PHASE_AT..].copy_from_slice(&u16::from(self.phase).to_le_bytes());
        bytes
    }

    /// From memory.
    #[must_use]
    pub fn of(bytes: &[u8; COMPLETION]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self { entry: word(8), queue: word(10), phase: word(PHASE_AT) & 1 == 1 }
    }
}

/// Where the phase is in a completion.
pub const PHASE_AT: usize = 14;

/// Where things are in the DUS region of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of an entry.
    pub entry_bytes: usize,
    /// Entries of the submission queue.
    pub sq_depth: u16,
    /// Entries of the completion queue.
    pub cq_depth: u16,
    /// Bytes of the region.
    pub bytes: usize,
}

impl Layout {
    /// Of a region of so many bytes; `None`: the queues have no room in it.
    #[must_use]
    pub fn new(entry_bytes: usize, sq_depth: u16, cq_depth: u16, bytes: usize) -> Option<Self> {
        let this = Self { entry_bytes, sq_depth, cq_depth, bytes };
        let queues = entry_bytes
            .checked_mul(usize::from(sq_depth))?
            .checked_add(COMPLETION * usize::from(cq_depth))?;
        let fits = queues.checked_add(8)? <= bytes;
        (fits && sq_depth > 1 && cq_depth > 1 && entry_bytes > 0).then_some(this)
    }

    /// Where an entry is.
    #[must_use]
    pub fn entry(&self, index: u16) -> usize {
        self.entry_bytes * usize::from(index)
    }

    /// Where a completion is.
    #[must_use]
    pub fn completion(&self, index: u16) -> usize {
        self.entry_bytes * usize::from(self.sq_depth) + COMPLETION * usize::from(index)
    }

    /// Where the word is that is 1 when nothing is taken any more.
    #[must_use]
    pub fn tx_failed(&self) -> usize {
        self.bytes - 4
    }

    /// Where the word is that is 1 when nothing is given any more.
    #[must_use]
    pub fn rx_failed(&self) -> usize {
        self.bytes - 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_the_sizes_of_the_kernel() {
        assert_eq!((size_of::<QpContext>(), size_of::<QpInfo>()), (4, 16));
        assert_eq!((std::mem::offset_of!(QpInfo, cq_depth), std::mem::offset_of!(QpInfo, reserved)), (6, 8));
        let context = QpContext { id: 0x0102, kind: 0x0304 };
        assert_eq!((context.bytes(), QpContext::of([2, 1, 4, 3])), ([2, 1, 4, 3], context));
        let info = QpInfo { entry_bytes: 128, sq_depth: 0x0203, cq_depth: 0x0405, reserved: 6 };
        let bytes = [128, 0, 0, 0, 3, 2, 5, 4, 6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!((info.bytes(), QpInfo::of(bytes)), (bytes, info));
    }

    #[test]
    fn versions_are_told_by_the_api() {
        for (api, version) in [
            ("hisi_qm_v1", Some(Version::V1)),
            ("hisi_qm_v1_noiommu", Some(Version::V1)),
            ("hisi_qm_v2", Some(Version::V2)),
            ("hisi_qm_v3_noiommu", Some(Version::V2)),
            ("hisi_qm_v5", Some(Version::V2)),
            ("hisi_qm_v0", None),
            ("hisi_qm_v", None),
            ("hisi_qm_v1x", None),
            ("virtio", None),
            ("", None),
        ] {
            assert_eq!(Version::of(api), version, "{api:?}");
        }
        assert_eq!((Version::V1.doorbell_at(), Version::V2.doorbell_at()), (0x340, 0x1000));
    }

    #[test]
    fn doorbells_are_what_drivers_write() {
        let doorbell = Doorbell { queue: 0x5a7, command: Command::Taken, index: 0x3ff, priority: 1 };
        assert_eq!(doorbell.word(Version::V1), 0x0001_03ff_0001_05a7);
        assert_eq!(doorbell.word(Version::V2), 0x0001_03ff_0000_11a7);
        let submitted = Doorbell { command: Command::Submitted, priority: 0, ..doorbell };
        assert_eq!(submitted.word(Version::V1), 0x0000_03ff_0000_05a7);
        assert_eq!(submitted.word(Version::V2), 0x0000_03ff_0000_01a7);
        for version in [Version::V1, Version::V2] {
            let known = Doorbell { queue: 0x1a7, ..doorbell };
            assert_eq!(Doorbell::of(known.word(version), version), Some(known));
        }
        assert_eq!(Doorbell::of(0x2_0000, Version::V1), None);
        assert_eq!(Doorbell::of(0xf000, Version::V2), None);
    }

    #[test]
    fn completions_are_what_drivers_read() {
        let done = Completion { entry: 0x0102, queue: 0x0304, phase: true };
        assert_eq!(done.bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x01, 0x04, 0x03, 0, 0, 1, 0]);
        assert_eq!(Completion::of(&done.bytes()), done);
        // Other bits of the last word say nothing of the phase.
        let mut bytes = done.bytes();
        bytes[14] = 0xfe;
        assert!(!Completion::of(&bytes).phase);
    }

    #[test]
    fn queues_must_fit_into_their_region() {
        let zip = Layout::new(128, DEPTH, DEPTH, 37 * 4096).unwrap();
        assert_eq!((zip.entry(1023), zip.completion(0), zip.completion(1)), (130_944, 131_072, 131_088));
        assert_eq!((zip.tx_failed(), zip.rx_failed()), (151_548, 151_544));
        let exact = 1024 * (128 + 16) + 8;
        assert!(Layout::new(128, DEPTH, DEPTH, exact).is_some());
        assert!(Layout::new(128, DEPTH, DEPTH, exact - 1).is_none());
        assert!(Layout::new(128, 1, DEPTH, exact).is_none());
        assert!(Layout::new(0, DEPTH, DEPTH, exact).is_none());
        assert!(Layout::new(usize::MAX, 2, 2, exact).is_none());
    }
}
