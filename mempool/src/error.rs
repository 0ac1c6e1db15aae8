//! What can go wrong with memory, and what a person does about it.

use crate::{Iova, PageSize};

/// An error of this crate. Each variant says what failed, why, and the remedy where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemError {
    /// Pages of the demanded size are not to be had.
    #[error(
        "cannot map {bytes} bytes in {size} pages: {cause}. Remedy: {remedy}",
        remedy = size.remedy(*bytes)
    )]
    Pages {
        /// The page size that was demanded.
        size: PageSize,
        /// How much was asked for, in bytes.
        bytes: usize,
        /// What the system call answered.
        cause: std::io::Error,
    },
    /// Memory of another process cannot be mapped.
    #[error("cannot map {bytes} bytes of another process: {cause}")]
    Foreign {
        /// How much was to be mapped, in bytes.
        bytes: usize,
        /// Why not, and the remedy where there is one.
        cause: std::io::Error,
    },
    /// The kernel hides physical addresses from this process.
    #[error(
        "physical addresses are hidden: /proc/self/pagemap gives frame 0 for a present page. \
         DMA mode \"noiommu\" needs CAP_SYS_ADMIN. Remedy: run as root, or use dma = \"sva\""
    )]
    PhysicalHidden,
    /// `/proc/self/pagemap` could not be read.
    #[error("cannot read /proc/self/pagemap: {0}. Remedy: mount /proc, or use dma = \"sva\"")]
    Pagemap(std::io::Error),
    /// A buffer would span two pages that do not follow each other in physical memory.
    #[error(
        "mempool {pool:?}: buffer {index} of {size} bytes would cross a {page} page border where physical memory \
         is not contiguous. Remedy: a buffer size that divides the page size (2048), or larger pages"
    )]
    NotContiguous {
        /// The pool being made.
        pool: String,
        /// Which buffer crosses.
        index: usize,
        /// Buffer size in bytes.
        size: usize,
        /// The page size in use.
        page: PageSize,
    },
    /// A pool or region was described with impossible numbers.
    #[error("mempool {pool:?}: {what}")]
    BadGeometry {
        /// The pool being made.
        pool: String,
        /// Which number is wrong and what it may be.
        what: String,
    },
    /// The address range is mapped already.
    #[error("DMA address {0} is mapped in this domain already")]
    AlreadyMapped(Iova),
    /// More threads asked for a cache of their own than there are places.
    #[error("all {0} worker slots are taken. Remedy: fewer worker and engine cores")]
    NoWorkerSlot(usize),
}

/// Why a device may not touch an address: the error status of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No mapping covers the whole range.
    #[error("DMA address {iova} + {len} is not mapped")]
    Unmapped {
        /// First address asked for.
        iova: Iova,
        /// Length asked for, in bytes.
        len: usize,
    },
    /// The mapping is there but does not permit the access.
    #[error("DMA address {iova} is mapped without the right to {}", if *.write { "write" } else { "read" })]
    Access {
        /// First address asked for.
        iova: Iova,
        /// Whether a write was tried (else a read).
        write: bool,
    },
}
