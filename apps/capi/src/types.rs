//! What C and Rust both see. The comments are those of the header.
#![allow(non_camel_case_types, reason = "the names are those of C")]

use std::ffi::{c_char, c_int, c_ulong, c_void};

/// Bytes of a path in a `struct wd_queue`, with the zero at its end.
pub const PATH_STR_SIZE: usize = 256;
/// Regions of a queue file: registers, the queue's own memory, memory that is reserved with it.
pub const UACCE_QFRT_MAX: usize = 3;

/// In `wd_queue.kind`: a queue of a ZIP device that compresses. Queues of all other devices have this number too.
pub const WD_COMPRESS: u32 = 0;
/// In `wd_queue.kind`: a queue of a ZIP device that decompresses.
pub const WD_DECOMPRESS: u32 = 1;

/// In `uacce_dev_info.iommu_type`: devices work on the virtual addresses of the process, all of them.
pub const WD_SVA: c_int = 0;
/// In `uacce_dev_info.iommu_type`: devices reach memory that was reserved or shared, by addresses of their own.
pub const WD_SHARE_DOMAIN: c_int = 1;
/// In `uacce_dev_info.iommu_type`: devices reach memory that was reserved, by physical addresses.
pub const WD_NOIOMMU: c_int = 2;

/// In `uacce_dev_info.extensions`: the device is one of `warpdrive serve`.
pub const WD_EXT_SERVED: u32 = 1;
/// In `uacce_dev_info.extensions`: what `wd_reserve_mem` and `wd_mem_share` give it is not copied.
pub const WD_EXT_SHARE: u32 = 2;
/// In `uacce_dev_info.extensions`: it takes levels of compression.
pub const WD_EXT_LEVEL: u32 = 4;
/// In `uacce_dev_info.extensions`: it knows `WD_RSA_NULL`.
pub const WD_EXT_NULL: u32 = 8;

/// What is known of a device.
#[repr(C)]
pub struct uacce_dev_info {
    /// The node of memory next to it; negative: none.
    pub node_id: c_int,
    /// `WD_SVA`, `WD_SHARE_DOMAIN` or `WD_NOIOMMU`.
    pub iommu_type: c_int,
    /// The attribute `flags`.
    pub flags: c_int,
    /// Queues that could still be had when this one was requested; negative: not known.
    pub available_instances: c_int,
    /// What it does beyond what the kernel's devices do: `WD_EXT_...`.
    pub extensions: u32,
    /// Its name, such as "hisi_zip-0".
    pub name: [c_char; 64],
    /// What its queues look like, such as "hisi_qm_v2".
    pub api: [c_char; 64],
    /// What it computes, separated by blanks.
    pub algs: [c_char; 256],
    /// Where regions begin in the queue file.
    pub qfrs_offset: [c_ulong; UACCE_QFRT_MAX],
}

/// A queue. Set it to zeros, fill in the first part, and request it; it stays where it is until it is released. The second part is
/// for reading.
#[repr(C)]
pub struct wd_queue {
    /// A device, such as "hisi_zip-0", or what is to be computed, such as "rsa": then the nearest device that does it and has a
    /// queue left.
    pub device: *const c_char,
    /// The folder of `warpdrive serve`, in which the devices are. NULL: those of the kernel, in /sys/class/uacce and /dev.
    pub root: *const c_char,
    /// `WD_COMPRESS` or `WD_DECOMPRESS`; 0 of other devices.
    pub kind: u32,
    /// Requests that may be in flight. 0: as many as there is room for.
    pub depth: u32,

    /// The device. Valid until the queue is released.
    pub dev_info: *const uacce_dev_info,
    /// The queue file, for poll and epoll. It belongs to the queue: not to be closed.
    pub fd: c_int,
    /// The path of the queue file, cut off if it is longer.
    pub dev_path: [c_char; PATH_STR_SIZE],
    /// Reserved memory, or NULL.
    pub ss_va: *mut c_void,
    /// The address of the reserved memory for the device, or NULL. Without an IOMMU that of its first page, and others need not
    /// follow.
    pub ss_dma: *mut c_void,
    /// Of the library.
    pub handle: u64,
}

/// In `wd_rsa_req.op`: `dst = src ^ exponent mod modulus`. The key is the exponent and the modulus, each `bytes` long.
pub const WD_RSA_NOCRT: u32 = 0;
/// In `wd_rsa_req.op`: the private operation by Chinese remainders. The key is dQ, dP, q, p and 1/q mod p, each half of `bytes`.
pub const WD_RSA_CRT: u32 = 1;
/// In `wd_rsa_req.op`: nothing is read, computed or written; of devices with `WD_EXT_NULL`. To measure the way there and back.
pub const WD_RSA_NULL: u32 = 31;

/// An operation of RSA on numbers, without padding: which by itself is neither encryption nor a signature. Numbers are big-endian,
/// with zeros in front. The device reads key and source, and writes the destination, until the request is received. Results of
/// hardware are not checked: who gives signatures away verifies them first.
#[repr(C)]
pub struct wd_rsa_req {
    /// `WD_RSA_NOCRT`, `WD_RSA_CRT` or `WD_RSA_NULL`.
    pub op: u32,
    /// Bytes of the modulus, of `src` and of `dst`: 128, 256, 384 or 512.
    pub bytes: u32,
    /// The numbers of the key, side by side.
    pub key: *const c_void,
    /// The number to compute on.
    pub src: *const c_void,
    /// Where the result goes.
    pub dst: *mut c_void,
    /// Result: 0; -EFAULT: an address is not the device's to use; -EINVAL: no such key, or a number not below the modulus; -EIO: the
    /// device failed; -ECANCELED: it went away. -EINPROGRESS until then.
    pub status: c_int,
    /// The caller's own.
    pub user: *mut c_void,
}

/// In `wd_zip_req.format`: DEFLATE (RFC 1951).
pub const WD_ZIP_DEFLATE: u32 = 1;
/// In `wd_zip_req.format`: zlib (RFC 1950).
pub const WD_ZIP_ZLIB: u32 = 2;
/// In `wd_zip_req.format`: gzip (RFC 1952).
pub const WD_ZIP_GZIP: u32 = 3;

/// A whole piece to compress or decompress. The device reads the source and writes the destination until the request is received.
/// Headers of zlib and gzip are written by `wd_send` to the destination, and read by it from the source.
#[repr(C)]
pub struct wd_zip_req {
    /// `WD_ZIP_DEFLATE`, `WD_ZIP_ZLIB` or `WD_ZIP_GZIP`.
    pub format: u32,
    /// Of compression: 1 (fast) to 12 (small), for devices with `WD_EXT_LEVEL`; 0: the device's own.
    pub level: u32,
    /// What is to be compressed or decompressed.
    pub src: *const c_void,
    /// Bytes of it: up to 8 MiB.
    pub src_len: u32,
    /// Bytes of room at `dst`, of which up to 8 MiB are used.
    pub dst_len: u32,
    /// Where the result goes, apart from the source.
    pub dst: *mut c_void,
    /// Result: bytes of the source that were used. Less than all if what was compressed ended before.
    pub consumed: u32,
    /// Result: bytes of the destination that were written.
    pub produced: u32,
    /// Result: Adler-32 of zlib, CRC-32 of gzip, of the uncompressed bytes; 0 of DEFLATE.
    pub checksum: u32,
    /// Result: 0; -ENOSPC: the destination is too small, or 8 MiB are; -EBADMSG: the source is nothing that was compressed so; -ENODATA: it ends too
    /// early, which devices may also tell as -EBADMSG or -ENOSPC; -EFAULT: an address is not the device's to use; -EIO: the device failed; -ECANCELED: it went away. -EINPROGRESS until
    /// then.
    pub status: c_int,
    /// The caller's own.
    pub user: *mut c_void,
}

/// In the flags of `wd_mem_share`: the device may read the memory.
pub const WD_MEM_READ: c_int = 1;
/// In the flags of `wd_mem_share`: the device may write to the memory.
pub const WD_MEM_WRITE: c_int = 2;
