//! Addresses that cannot be mixed up.
//!
//! What a device is given is called a DMA address ([`Iova`]) and never "physical": it is physical only
//! without an IOMMU. There is deliberately no function from a DMA address back to a virtual one here;
//! only a device's translation [`Domain`](crate::Domain) resolves one, with a range and access check.

use std::fmt;

/// A virtual address of this process, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Va(pub usize);

/// An address as a device sees it, in bytes: what a descriptor carries.
///
/// Its meaning depends on the [`DmaMode`] of the region it came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Iova(pub u64);

/// A physical address, in bytes, as `/proc/self/pagemap` reports it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pa(pub u64);

impl Va {
    /// The address a pointer holds.
    #[must_use]
    pub fn of<T>(ptr: *const T) -> Self {
        Self(ptr.addr())
    }
}

impl Iova {
    /// This address plus `bytes`, or `None` where it would wrap.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }
}

/// How devices address the memory of this process (the three modes of WarpDrive/uacce).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DmaMode {
    /// Shared virtual addressing: a DMA address equals the virtual address.
    #[default]
    Sva,
    /// One IOMMU domain without PASID: the domain hands out the addresses.
    ShareDomain,
    /// No IOMMU: DMA by physical address; contiguity holds inside one page only.
    NoIommu,
}

impl DmaMode {
    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sva => "sva",
            Self::ShareDomain => "share-domain",
            Self::NoIommu => "noiommu",
        }
    }
}

impl fmt::Display for DmaMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! hex_debug {
    ($($t:ident),*) => {$(
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($t), "({:#x})"), self.0)
            }
        }
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    )*};
}
hex_debug!(Va, Iova, Pa);
