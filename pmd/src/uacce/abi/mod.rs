//! What the kernel, its drivers and programs agree upon: calls of a queue file, its regions, and the attributes of a device in
//! sysfs. Layouts of the queues of one family of devices, and of what is in them, are in modules of their own.
//!
//! Sources: Linux `include/uapi/misc/uacce/uacce.h`, `include/uapi/misc/uacce/hisi_qm.h`, `drivers/misc/uacce/uacce.c` and
//! `Documentation/ABI/testing/sysfs-driver-uacce`; the user's side in Linaro's UADK (`include/uacce.h`, `wd.c`).

pub mod hpre;
pub mod qm;
pub mod zip;

/// Where the kernel lists devices.
pub const SYSFS: &str = "/sys/class/uacce";
/// Where queue files are.
pub const DEV: &str = "/dev";

/// Parts of a number of an ioctl (Linux `asm-generic/ioctl.h`).
const fn ioctl(direction: u32, size: usize, group: u8, number: u8) -> u32 {
    direction << 30 | (size as u32) << 16 | (group as u32) << 8 | number as u32
}

const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;
const READ_WRITE: u32 = 3;

/// Starts a queue: before, nothing is taken from it; afterwards no region can be added.
pub const START: u32 = ioctl(NONE, 0, b'W', 0);
/// Gives a queue back; the file can still be closed afterwards. When it returns, the device touches nothing for the queue any more;
/// unless it fails with `EBUSY`, since something that has begun does not end.
pub const PUT_Q: u32 = ioctl(NONE, 0, b'W', 1);
/// The DMA address of a slice of the static share region. The argument is the slice's number; without an IOMMU, the answer has in its
/// lowest bits how many [granules](SS_GRANULE) the slice has, up to [`SS_GRANULES`].
pub const GET_SS_DMA: u32 = ioctl(READ, size_of::<u64>(), b'W', 3);
/// Bytes in which the length of a slice is told (`UACCE_GRAN_SIZE` of UADK and of the kernel that has these slices).
pub const SS_GRANULE: u64 = 64 << 10;
/// The most granules of a slice, and the bits in which they are told (`UACCE_GRAN_NUM_MASK`).
pub const SS_GRANULES: u64 = 0xfff;
/// Of a Kunpeng queue: says what it is for ([`qm::QpContext`]), and asks for its number.
pub const QM_SET_QP_CTX: u32 = ioctl(READ_WRITE, size_of::<qm::QpContext>(), b'H', 10);
/// Of a Kunpeng queue: asks for its depths and the size of its entries ([`qm::QpInfo`]).
pub const QM_SET_QP_INFO: u32 = ioctl(READ_WRITE, size_of::<qm::QpInfo>(), b'H', 11);

/// Of a device that [`attribute::WARPDRIVE`] names: gives it memory to work on ([`Share`]).
pub const SHARE: u32 = ioctl(WRITE, size_of::<Share>(), b'W', 0x80);
/// Of a device that [`attribute::WARPDRIVE`] names: takes memory back ([`Share`], of which only the address counts). When it returns, the
/// device does not touch the memory any more.
pub const UNSHARE: u32 = ioctl(WRITE, size_of::<Share>(), b'W', 0x81);

/// Memory that a device may work on: a part of a file that both sides map, so that nothing has to be copied.
///
/// The file must be a memfd that cannot shrink (`F_SEAL_SHRINK`). What one queue is given, all queues of the process on that device
/// can use; each gives it for itself, and takes it back for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Share {
    /// The address that descriptors call it by: virtual ones of the process if the device has [`FLAG_SVA`].
    pub address: u64,
    /// Bytes of it, whole pages.
    pub bytes: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// The caller's descriptor of the file.
    pub fd: i32,
    /// [`ACCESS_READ`] and [`ACCESS_WRITE`].
    pub access: u32,
}

impl Share {
    /// As the call takes it.
    #[must_use]
    pub fn bytes(&self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        bytes[..8].copy_from_slice(&self.address.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.fd.to_ne_bytes());
        bytes[28..].copy_from_slice(&self.access.to_ne_bytes());
        bytes
    }

    /// From the argument of a call; `None`: it has another length.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let [fd, access] = [24, 28].map(|at| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self {
            address: u64::from_ne_bytes(numbers[0]),
            bytes: u64::from_ne_bytes(numbers[1]),
            offset: u64::from_ne_bytes(numbers[2]),
            fd: i32::from_ne_bytes(fd),
            access: u32::from_ne_bytes(access),
        })
    }
}

/// In [`Share::access`]: the device may read it.
pub const ACCESS_READ: u32 = 1;
/// In [`Share::access`]: the device may write to it.
pub const ACCESS_WRITE: u32 = 2;

/// Regions of a queue file, which are mapped at as many pages as their number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Region {
    /// Registers of the device: doorbells.
    Mmio = 0,
    /// Memory of the queue that device and user share: its entries and completions.
    Dus = 1,
    /// Memory for data that was reserved for the queue, of a device that cannot reach all of the user's.
    Ss = 2,
}

impl Region {
    /// Where mmap finds it in the file.
    #[must_use]
    pub fn offset(self, page: u64) -> u64 {
        self as u64 * page
    }

    /// The region at a place of the file.
    #[must_use]
    pub fn at(offset: u64, page: u64) -> Option<Self> {
        [Self::Mmio, Self::Dus, Self::Ss].into_iter().find(|region| region.offset(page) == offset)
    }
}

/// In `flags`: the device works on the addresses of the process (shared virtual addressing).
pub const FLAG_SVA: u32 = 1;

/// In `flags`, without [`FLAG_SVA`]: addresses are those of an IOMMU, so that pieces of the static share region follow each other.
pub const FLAG_IOMMU: u32 = 1 << 7;

/// At the end of `api` of a device that works without an IOMMU.
pub const NO_IOMMU: &str = "_noiommu";

/// Words of [`attribute::WARPDRIVE`].
pub mod extension {
    /// [`SHARE`](super::SHARE) and [`UNSHARE`](super::UNSHARE) work.
    pub const SHARE: &str = "share";
    /// Entries of ZIP name a level of compression ([`Entry::set_level`](super::zip::Entry::set_level)).
    pub const LEVEL: &str = "level";
    /// The word at [`HEARTBEAT_AT`](super::HEARTBEAT_AT) changes as long as the server lives.
    pub const HEARTBEAT: &str = "heartbeat";
    /// zlib can be had, whatever `algorithms` says.
    pub const ZLIB: &str = "zlib";
    /// gzip can be had, whatever `algorithms` says.
    pub const GZIP: &str = "gzip";
    /// There is an operation that does nothing ([`hpre::NULL`](super::hpre::NULL)).
    pub const NULL: &str = "null";
}

/// Where a word of 32 bits is in [`Region::Mmio`] that changes every [`HEARTBEAT_EVERY`] at least, of a device with
/// [`extension::HEARTBEAT`].
pub const HEARTBEAT_AT: usize = 0x800;
/// How often that is.
pub const HEARTBEAT_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// Names of the attributes of a device.
pub mod attribute {
    /// What its queues look like, such as `hisi_qm_v2`.
    pub const API: &str = "api";
    /// [`FLAG_SVA`](super::FLAG_SVA).
    pub const FLAGS: &str = "flags";
    /// Queues that can still be had; negative: it is not known.
    pub const AVAILABLE_INSTANCES: &str = "available_instances";
    /// What it computes, a name a line.
    pub const ALGORITHMS: &str = "algorithms";
    /// Bytes of [`Region::Mmio`](super::Region::Mmio).
    pub const REGION_MMIO_SIZE: &str = "region_mmio_size";
    /// Bytes of [`Region::Dus`](super::Region::Dus).
    pub const REGION_DUS_SIZE: &str = "region_dus_size";
    /// Of devices of `warpdrive serve`: what they do beyond what the kernel's know, a word each, such as `share`.
    pub const WARPDRIVE: &str = "warpdrive";
    /// What a queue of it counts against one of another device when both wait.
    pub const PRIORITY: &str = "priority";
    /// How much of it is in use, in percent, a line for each thing it does.
    pub const DEV_USAGE: &str = "dev_usage";
    /// 1: the device is left alone after too many errors.
    pub const ISOLATE: &str = "isolate";
    /// Errors in an hour after which it is.
    pub const ISOLATE_STRATEGY: &str = "isolate_strategy";
    /// The node of memory that is next to it; negative: none.
    pub const NUMA_NODE: &str = "device/numa_node";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_numbers_of_the_kernel() {
        // As a C compiler gives them for the macros of the headers.
        assert_eq!((START, PUT_Q), (0x5700, 0x5701));
        assert_eq!(GET_SS_DMA, 0x8008_5703);
        assert_eq!((QM_SET_QP_CTX, QM_SET_QP_INFO), (0xc004_480a, 0xc010_480b));
        assert_eq!((SHARE, UNSHARE, size_of::<Share>()), (0x4020_5780, 0x4020_5781, 32));
    }

    #[test]
    fn memory_is_told_of_by_the_bytes_of_the_structure() {
        let share =
            Share { address: 0x7f12_3456_7000, bytes: 8192, offset: 4096, fd: -3, access: ACCESS_WRITE };
        let mut expected = [0; 32];
        for (at, word) in [0x3456_7000_u32, 0x7f12, 8192, 0, 4096, 0, 0xffff_fffd, 2].into_iter().enumerate()
        {
            expected[4 * at..][..4].copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!((share.bytes(), Share::of(&expected)), (expected, Some(share)));
        assert_eq!(Share::of(&expected[..31]), None);
    }

    #[test]
    fn regions_are_pages_apart() {
        assert_eq!([Region::Mmio, Region::Dus, Region::Ss].map(|r| r.offset(4096)), [0, 4096, 8192]);
        assert_eq!(Region::at(4096, 4096), Some(Region::Dus));
        assert_eq!((Region::at(4096, 65536), Region::at(12288, 4096)), (None, None));
    }
}
