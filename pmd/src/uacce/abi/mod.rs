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
/// Gives a queue back; the file can still be closed afterwards.
pub const PUT_Q: u32 = ioctl(NONE, 0, b'W', 1);
/// The DMA address of a slice of the static share region, without an IOMMU. The argument is the slice's number.
pub const GET_SS_DMA: u32 = ioctl(READ, size_of::<u64>(), b'W', 3);
/// Of a Kunpeng queue: says what it is for ([`qm::QpContext`]), and asks for its number.
pub const QM_SET_QP_CTX: u32 = ioctl(READ_WRITE, size_of::<qm::QpContext>(), b'H', 10);
/// Of a Kunpeng queue: asks for its depths and the size of its entries ([`qm::QpInfo`]).
pub const QM_SET_QP_INFO: u32 = ioctl(READ_WRITE, size_of::<qm::QpInfo>(), b'H', 11);

/// Of a device that [`attribute::WARPDRIVE`] names: gives it memory to work on ([`Share`]).
pub const SHARE: u32 = ioctl(WRITE, size_of::<Share>(), b'W', 0x80);
/// Of a device that [`attribute::WARPDRIVE`] names: takes memory back ([`Share`], of which only the address counts). When it returns, the
/// device does not touch the memory any more.
pub const UNSHARE: u32 = ioctl(WRITE, size_of::<Share>(), b'W', 0x81);

/// Where a word of 32 bits is in [`Region::Mmio`] that changes at least ten times a second as long as the server lives, of a device
/// that has the word `heartbeat` in [`attribute::WARPDRIVE`].
pub const HEARTBEAT_AT: usize = 0x800;

/// Memory that a device may work on: a part of a file that both sides map, so that nothing has to be copied.
///
/// The file must be a memfd that cannot shrink (`F_SEAL_SHRINK`).
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

/// At the end of `api` of a device that works without an IOMMU.
pub const NO_IOMMU: &str = "_noiommu";

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
    fn regions_are_pages_apart() {
        assert_eq!([Region::Mmio, Region::Dus, Region::Ss].map(|r| r.offset(4096)), [0, 4096, 8192]);
        assert_eq!(Region::at(4096, 4096), Some(Region::Dus));
        assert_eq!((Region::at(4096, 65536), Region::at(12288, 4096)), (None, None));
    }
}
