//! What the device of a queue reaches, and by which addresses.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use warpdrive_mempool::{DmaMode, Domain, Mapping, MemError, PageChoice, PageSize, Region, Sharing, Va};
use warpdrive_pmd::uacce::abi::{ACCESS_READ, ACCESS_WRITE, Share};
use warpdrive_pmd::uacce::{Reserved, UacceInfo};

use crate::border::Failure;
use crate::memfd;

/// The page of the ABI.
pub(crate) const PAGE: u64 = 4096;

/// The calls of a queue about memory.
pub(crate) trait Shares {
    /// Gives the device all of a region, for as long as the queue is there.
    fn share_region(&mut self, region: &Arc<Region>) -> Result<(), Failure>;
    /// Gives the device memory, at an address and with rights of the caller's choice.
    fn share(&self, share: &Share) -> Result<(), Errno>;
    /// Takes it back; afterwards the device does not touch it.
    fn unshare(&self, address: u64) -> Result<(), Errno>;
    /// Reserves memory of the device.
    fn reserve(&self, bytes: usize) -> Result<OfDevice, Failure>;
}

/// Memory that was reserved, for one queue or for several. It is there until the last of them is released.
pub(crate) struct Reserve {
    region: Arc<Region>,
    mode: DmaMode,
    /// What it is of, if it is not of this process.
    device: Option<OfDevice>,
}

/// What keeps memory of a device where it is.
pub(crate) struct OfDevice {
    /// Its mapping.
    pub(crate) reserved: Reserved,
    /// The queue file that it is of: a server knows the memory until that is closed.
    pub(crate) _file: OwnedFd,
}

impl Reserve {
    /// Of this process.
    fn own(mode: DmaMode, bytes: usize, node: Option<u32>) -> Result<Self, Failure> {
        // Without an IOMMU memory is in one piece within one page only.
        let large = mode == DmaMode::NoIommu || bytes >= PageSize::Size2M.bytes();
        let pages = if large { PageChoice::Auto } else { PageChoice::Exactly(PageSize::Size4K) };
        let mapping = |node| Mapping::new(bytes, pages, Sharing::Shared, node);
        let fail = |error: MemError| Failure::new(Errno::NOMEM, error.to_string());
        let mapping = mapping(node).or_else(|_| mapping(None)).map_err(fail)?;
        let region = Region::new(mapping, &Domain::new(mode)).map_err(fail)?;
        Ok(Self { region: Arc::new(region), mode, device: None })
    }

    /// Its first address.
    pub(crate) fn address(&self) -> usize {
        self.region.mapping().va().0
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.region.mapping().len()
    }

    /// At multiples of what its addresses for devices may jump.
    pub(crate) fn step(&self) -> usize {
        self.region.mapping().page_size().bytes()
    }

    /// Where so many bytes from an address are for devices, if they are in one piece for them.
    #[inline]
    pub(crate) fn dma_of(&self, address: usize, bytes: usize) -> Option<u64> {
        let va = Va(address);
        let whole = self.region.is_contiguous(va, bytes.max(1));
        whole.then(|| self.region.iova_of(va)).flatten().map(|iova| iova.0)
    }
}

/// Memory that the caller has given.
struct Given {
    address: usize,
    bytes: usize,
    access: u32,
    /// How the device was told of it. `None`: it reaches it anyway.
    told: Option<Told>,
}

#[derive(Clone)]
struct Told {
    dma: u64,
    /// A mapping of ours, which keeps the address from being another's.
    _region: Option<Arc<Region>>,
}

/// What a queue's device reaches.
pub(crate) struct Memory {
    info: Arc<UacceInfo>,
    mode: DmaMode,
    folder: PathBuf,
    reserve: Option<Arc<Reserve>>,
    given: Vec<Given>,
}

impl Memory {
    /// Of a device that was found below a folder, or of the kernel.
    pub(crate) fn new(info: &Arc<UacceInfo>, folder: PathBuf) -> Self {
        let mode = info.mode();
        Self { info: Arc::clone(info), mode, folder, reserve: None, given: Vec::new() }
    }

    /// Whether the device takes memory that it is given.
    fn takes(&self) -> bool {
        self.info.extensions().share
    }

    /// Where so many bytes from an address are for the device. `None`: it does not reach them, or not in one piece.
    #[inline]
    pub(crate) fn dma_of(&self, address: usize, bytes: usize) -> Option<u64> {
        if self.mode == DmaMode::Sva {
            return Some(address as u64);
        }
        let of_given = |given: &Given| {
            let offset = address.checked_sub(given.address)?;
            let fits = offset < given.bytes && bytes <= given.bytes - offset;
            given.told.as_ref().filter(|_| fits).map(|told| told.dma + offset as u64)
        };
        let reserved = self.reserve.as_ref().and_then(|reserve| reserve.dma_of(address, bytes));
        reserved.or_else(|| self.given.iter().find_map(of_given))
    }

    /// Below which its device was found.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is reserved.
    pub(crate) fn reserved(&self) -> Option<&Arc<Reserve>> {
        self.reserve.as_ref()
    }

    /// Reserves memory, once for a queue.
    pub(crate) fn reserve(&mut self, queue: &mut dyn Shares, bytes: usize) -> Result<&Arc<Reserve>, Failure> {
        if bytes == 0 {
            return Err(Failure::new(Errno::INVAL, "wd_reserve_mem: no bytes were asked for"));
        }
        self.check_unreserved("wd_reserve_mem")?;
        let own = || Reserve::own(self.mode, bytes, self.info.numa_node);
        let reserve = match self.mode {
            DmaMode::Sva => own()?,
            mode => match queue.reserve(bytes) {
                Ok(of) => Reserve { region: Arc::clone(of.reserved.region()), mode, device: Some(of) },
                // A server takes what it does not have, or has too little of.
                Err(_) if self.takes() => own()?,
                Err(failure) => return Err(failure),
            },
        };
        self.adopt(queue, Arc::new(reserve))
    }

    /// Lets the device reach what was reserved for another queue as well.
    pub(crate) fn join(
        &mut self,
        queue: &mut dyn Shares,
        reserve: &Arc<Reserve>,
        folder: &Path,
    ) -> Result<(), Failure> {
        const CALL: &str = "wd_share_reserved_memory";
        self.check_unreserved(CALL)?;
        let is_elsewhere = reserve.device.is_some() && *folder != self.folder;
        if reserve.mode != self.mode || is_elsewhere {
            let text = format!(
                "{CALL}: {} is not behind the same IOMMU as the memory. Remedy: devices of one mode and one server",
                self.info.name
            );
            return Err(Failure::new(Errno::XDEV, text));
        }
        self.adopt(queue, Arc::clone(reserve)).map(|_| ())
    }

    fn check_unreserved(&self, call: &str) -> Result<(), Failure> {
        match self.reserve {
            None => Ok(()),
            Some(_) => {
                Err(Failure::new(Errno::EXIST, format!("{call}: the queue has reserved memory already")))
            }
        }
    }

    fn adopt(&mut self, queue: &mut dyn Shares, reserve: Arc<Reserve>) -> Result<&Arc<Reserve>, Failure> {
        if reserve.device.is_none() {
            if self.takes() {
                queue.share_region(&reserve.region)?;
            } else if self.mode != DmaMode::Sva {
                return Err(self.unreachable("wd_share_reserved_memory"));
            }
        }
        Ok(self.reserve.insert(reserve))
    }

    fn share(
        &self,
        queue: &dyn Shares,
        fd: BorrowedFd<'_>,
        offset: u64,
        (address, bytes, access): (u64, usize, u32),
    ) -> Result<(), Failure> {
        let share = Share { address, bytes: bytes as u64, offset, fd: fd.as_raw_fd(), access };
        queue.share(&share).map_err(|errno| {
            let remedy = match errno {
                Errno::EXIST => "the same range with the same flags, for all queues of the process",
                Errno::NOSPC => "fewer and larger ranges",
                _ => "whole pages of a memfd that is sealed against shrinking (F_SEAL_SHRINK)",
            };
            let text = format!(
                "{}: {bytes} bytes at {address:#x} are not taken: {errno}. Remedy: {remedy}",
                self.info.name
            );
            Failure::new(errno, text)
        })
    }

    fn unreachable(&self, call: &str) -> Failure {
        let text = format!(
            "{call}: {} reaches no such memory in mode {}. Remedy: memory of wd_reserve_mem; a device for shared virtual \
             addressing (flags 1)",
            self.info.name, self.mode
        );
        Failure::new(Errno::OPNOTSUPP, text)
    }

    /// Gives the device memory of the caller's.
    pub(crate) fn give(
        &mut self,
        queue: &dyn Shares,
        address: usize,
        bytes: usize,
        access: u32,
    ) -> Result<(), Failure> {
        const CALL: &str = "wd_mem_share";
        let known = access & !(ACCESS_READ | ACCESS_WRITE) == 0;
        if address == 0 || bytes == 0 || address.checked_add(bytes).is_none() || access == 0 || !known {
            return Err(Failure::new(Errno::INVAL, "wd_mem_share: no memory, or flags that are not known"));
        }
        let differs = |given: &Given| {
            let apart = given.address >= address + bytes || address >= given.address + given.bytes;
            given.told.is_some() && !apart && given.access != access
        };
        if self.given.iter().any(differs) {
            let text = "wd_mem_share: a part of it was given with other flags. Remedy: take it back first";
            return Err(Failure::new(Errno::EXIST, text));
        }
        let told = match self.part(address, bytes)? {
            Some(part) if self.mode != DmaMode::NoIommu => {
                Some(self.give_part(queue, part, address, bytes, access)?)
            }
            _ if self.mode == DmaMode::Sva => None,
            _ => return Err(self.unreachable(CALL)),
        };
        self.given.push(Given { address, bytes, access, told });
        Ok(())
    }

    /// The file that memory is of, for a device that takes such.
    fn part(&self, address: usize, bytes: usize) -> Result<Option<memfd::Part>, Failure> {
        if !self.takes() {
            return Ok(None);
        }
        memfd::part_of(address, bytes).map_err(|cause| {
            let errno = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
            let text = format!(
                "wd_mem_share: the file of the memory is not to be had: {cause}. Remedy: keep it open"
            );
            Failure::new(errno, text)
        })
    }

    fn give_part(
        &self,
        queue: &dyn Shares,
        part: memfd::Part,
        address: usize,
        bytes: usize,
        access: u32,
    ) -> Result<Told, Failure> {
        if !(address as u64 | bytes as u64).is_multiple_of(PAGE) {
            return Err(Failure::new(Errno::INVAL, "wd_mem_share: memory is shared by whole pages"));
        }
        let known = |given: &&Given| (given.address, given.bytes, given.access) == (address, bytes, access);
        let known = self.given.iter().find(known).and_then(|given| given.told.clone());
        let fd = part.fd.try_clone().map_err(|cause| {
            Failure::new(Errno::MFILE, format!("wd_mem_share: no descriptor is left: {cause}"))
        })?;
        let told = match known {
            Some(told) => told,
            None if self.mode == DmaMode::Sva => Told { dma: address as u64, _region: None },
            None => {
                let fail = |error: MemError| Failure::new(Errno::INVAL, error.to_string());
                let mapping = Mapping::of_memfd(part.fd, part.offset, bytes).map_err(fail)?;
                let region = Region::new(mapping, &Domain::new(self.mode)).map_err(fail)?;
                let dma = region.runs().first().map_or(0, |run| run.iova.0);
                Told { dma, _region: Some(Arc::new(region)) }
            }
        };
        self.share(queue, fd.as_fd(), part.offset, (told.dma, bytes, access))?;
        Ok(told)
    }

    /// Takes memory back, once for each time that it was given.
    pub(crate) fn take_back(
        &mut self,
        queue: &dyn Shares,
        address: usize,
        bytes: usize,
    ) -> Result<(), Failure> {
        let is_it = |given: &Given| (given.address, given.bytes) == (address, bytes);
        let Some(at) = self.given.iter().rposition(is_it) else {
            return Err(Failure::new(Errno::NOENT, "wd_mem_unshare: the queue was not given this memory"));
        };
        if let Some(told) = &self.given[at].told {
            // What a server that is gone knew is gone too.
            queue.unshare(told.dma).or_else(gone).map_err(|errno| {
                // What was taken back in vain is not known to the device any more, which may still work on it.
                let errno = if errno == Errno::NOENT { Errno::BUSY } else { errno };
                let text = format!(
                    "wd_mem_unshare: {} does not give {bytes} bytes at {address:#x} back: {errno}. Remedy: release the queue; \
                     until then the memory is the device's",
                    self.info.name
                );
                Failure::new(errno, text)
            })?;
        }
        self.given.swap_remove(at);
        Ok(())
    }

    /// Takes everything back, when the queue is released. What the device does not give back stays mapped for ever.
    pub(crate) fn end(mut self, queue: &dyn Shares, is_halted: bool) {
        for given in self.given.drain(..) {
            // Who is not done with the queue is not done with this either, and would be waited for each time.
            let back = is_halted
                && given.told.as_ref().is_none_or(|told| queue.unshare(told.dma).or_else(gone).is_ok());
            if !back {
                std::mem::forget(given.told);
            }
        }
        if !is_halted {
            std::mem::forget(self.reserve.take());
        }
    }
}

/// Whether who had the memory is no more.
fn gone(errno: Errno) -> Result<(), Errno> {
    match errno {
        Errno::NOTCONN | Errno::NODEV | Errno::CONNABORTED => Ok(()),
        errno => Err(errno),
    }
}

/// Where memory of a request is for the device.
#[inline]
pub(crate) fn dma(memory: &Memory, what: &'static str, address: usize, bytes: usize) -> Result<u64, Failure> {
    let reached = (address != 0).then(|| memory.dma_of(address, bytes)).flatten();
    reached.ok_or_else(|| {
        let text = format!(
            "wd_send: the device does not reach {what}, {bytes} bytes at {address:#x}, or not in one piece. Remedy: memory of \
             wd_reserve_mem or wd_mem_share"
        );
        Failure::new(Errno::FAULT, text)
    })
}
