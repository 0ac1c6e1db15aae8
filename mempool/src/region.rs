//! One mapping with its table of DMA addresses, computed once.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::{DmaMode, Domain, Iova, Mapping, MemError, Pa, Va};

/// Memory that devices may be given: a [`Mapping`] and the DMA address of each of its pages.
pub struct Region {
    mapping: Mapping,
    mode: DmaMode,
    dma: DmaTable,
}

enum DmaTable {
    /// Addresses follow each other from this one (SVA, Share Domain).
    Linear(Iova),
    /// One physical address a page (NOIOMMU).
    PerPage(Box<[Pa]>),
}

/// A stretch of a region whose DMA addresses follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// DMA address of the first byte.
    pub iova: Iova,
    /// Virtual address of the first byte.
    pub va: Va,
    /// Length in bytes.
    pub len: usize,
}

impl Region {
    /// Computes the DMA addresses of `mapping` for devices behind `domain`, in the domain's mode.
    ///
    /// # Errors
    /// [`MemError::Pagemap`] and [`MemError::PhysicalHidden`] in NOIOMMU mode.
    pub fn new(mapping: Mapping, domain: &Domain) -> Result<Self, MemError> {
        let mode = domain.mode();
        let dma = match mode {
            DmaMode::Sva => DmaTable::Linear(Iova(mapping.va().0 as u64)),
            DmaMode::ShareDomain => DmaTable::Linear(Domain::reserve_range(mapping.len())),
            DmaMode::NoIommu => DmaTable::PerPage(physical_pages(&mapping)?),
        };
        Ok(Self { mapping, mode, dma })
    }

    /// Takes the DMA addresses of `mapping` from whoever has made the memory: pieces of it in their order, each with the address
    /// of its first byte and its length.
    ///
    /// # Errors
    /// [`MemError::Foreign`]: the pieces are not whole pages, or not as long as the mapping together.
    pub fn of_pieces(mapping: Mapping, domain: &Domain, pieces: &[(Iova, usize)]) -> Result<Self, MemError> {
        let page = mapping.page_size().bytes();
        let whole = |(iova, len): &(Iova, usize)| {
            let end = iova.checked_add(*len as u64);
            *len > 0 && len.is_multiple_of(page) && iova.0.is_multiple_of(page as u64) && end.is_some()
        };
        let total = pieces.iter().try_fold(0_usize, |total, (_, len)| total.checked_add(*len));
        if !pieces.iter().all(whole) || total != Some(mapping.len()) {
            let cause = format!("its pieces {pieces:?} are not its {} bytes in whole pages", mapping.len());
            let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, cause);
            return Err(MemError::Foreign { bytes: mapping.len(), cause });
        }
        let dma = match pieces {
            [(first, _)] => DmaTable::Linear(*first),
            _ => {
                let pages = pieces
                    .iter()
                    .flat_map(|(iova, len)| (0..*len).step_by(page).map(|offset| Pa(iova.0 + offset as u64)));
                DmaTable::PerPage(pages.collect())
            }
        };
        Ok(Self { mapping, mode: domain.mode(), dma })
    }

    /// The memory itself.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The mode the addresses were computed for.
    #[must_use]
    pub fn mode(&self) -> DmaMode {
        self.mode
    }

    /// The DMA address of a byte of this region; `None` outside it.
    #[must_use]
    pub fn iova_of(&self, va: Va) -> Option<Iova> {
        let offset = va.0.checked_sub(self.mapping.va().0)?;
        if offset >= self.mapping.len() {
            return None;
        }
        Some(match &self.dma {
            DmaTable::Linear(base) => Iova(base.0 + offset as u64),
            DmaTable::PerPage(pages) => {
                let page = self.mapping.page_size().bytes();
                Iova(pages[offset / page].0 + (offset % page) as u64)
            }
        })
    }

    /// Whether `len` bytes from `va` lie in this region and a device sees them in one piece.
    #[must_use]
    pub fn is_contiguous(&self, va: Va, len: usize) -> bool {
        let Some(first) = self.iova_of(va) else {
            return false;
        };
        let Some(last_offset) = len.checked_sub(1) else {
            return true;
        };
        let Some(last_va) = va.0.checked_add(last_offset) else {
            return false;
        };
        // Physical order may even descend from page to page, so every page border on the way counts.
        let page = self.mapping.page_size().bytes();
        let borders = (va.0 / page + 1)..=(last_va / page);
        let ends_inside = self.iova_of(Va(last_va)).is_some();
        ends_inside
            && borders
                .map(|p| p * page)
                .chain([last_va])
                .all(|v| self.iova_of(Va(v)) == first.checked_add((v - va.0) as u64))
    }

    /// The region as stretches of consecutive DMA addresses, in virtual order.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let va = self.mapping.va();
        match &self.dma {
            DmaTable::Linear(iova) => vec![Run { iova: *iova, va, len: self.mapping.len() }],
            DmaTable::PerPage(pages) => {
                let page = self.mapping.page_size().bytes();
                let mut runs: Vec<Run> = Vec::new();
                for (i, pa) in pages.iter().enumerate() {
                    match runs.last_mut() {
                        Some(run) if run.iova.0 + run.len as u64 == pa.0 => run.len += page,
                        _ => runs.push(Run { iova: Iova(pa.0), va: Va(va.0 + i * page), len: page }),
                    }
                }
                runs
            }
        }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Region({:?}, {})", self.mapping, self.mode)
    }
}

/// Reads the physical address of each page (Documentation/admin-guide/mm/pagemap.rst: one u64 per 4 KiB page, bits
/// 0 to 54 the frame number, bit 63 present). Without CAP_SYS_ADMIN the kernel answers frame 0 and no error.
fn physical_pages(mapping: &Mapping) -> Result<Box<[Pa]>, MemError> {
    const SMALL: usize = 4096;
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    let pagemap = File::open("/proc/self/pagemap").map_err(MemError::Pagemap)?;
    (0..mapping.len())
        .step_by(mapping.page_size().bytes())
        .map(|offset| {
            let mut entry = [0u8; 8];
            let at = (mapping.va().0 + offset) / SMALL * entry.len();
            pagemap.read_exact_at(&mut entry, at as u64).map_err(MemError::Pagemap)?;
            let entry = u64::from_ne_bytes(entry);
            match entry & FRAME {
                0 => Err(MemError::PhysicalHidden),
                _ if entry & PRESENT == 0 => Err(MemError::PhysicalHidden),
                frame => Ok(Pa(frame * SMALL as u64)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PageChoice, PageSize, Sharing};

    fn small(mode: DmaMode) -> Result<Region, MemError> {
        let mapping = Mapping::new(64 << 10, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None)?;
        Region::new(mapping, &Domain::new(mode))
    }

    #[test]
    fn sva_addresses_equal_virtual_ones() {
        let r = small(DmaMode::Sva).unwrap();
        let va = Va(r.mapping().va().0 + 777);
        assert_eq!(r.iova_of(va), Some(Iova(va.0 as u64)));
        assert_eq!(r.iova_of(Va(r.mapping().va().0 + r.mapping().len())), None);
        assert_eq!(r.iova_of(Va(r.mapping().va().0 - 1)), None);
    }

    #[test]
    fn share_domain_addresses_come_from_the_domain_and_do_not_overlap() {
        let domain = Domain::new(DmaMode::ShareDomain);
        let make = || {
            let m = Mapping::new(8192, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
            Region::new(m, &domain).unwrap().runs()[0]
        };
        let (a, b) = (make(), make());
        assert_ne!(a.iova.0, a.va.0 as u64);
        assert!(a.iova.0 + a.len as u64 <= b.iova.0);
    }

    #[test]
    fn contiguity_ends_where_physical_pages_do_not_follow_each_other() {
        let page = 4096;
        let mapping =
            Mapping::new(4 * page, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        let va = mapping.va().0;
        // Pages 0 and 1 follow each other, 2 descends, 3 follows 2.
        let frames = [8, 9, 5, 6].map(|f| Pa(f * page as u64));
        let r = Region { mapping, mode: DmaMode::NoIommu, dma: DmaTable::PerPage(frames.into()) };
        assert!(r.is_contiguous(Va(va), 2 * page));
        assert!(!r.is_contiguous(Va(va), 2 * page + 1));
        assert!(!r.is_contiguous(Va(va + 2 * page - 1), 2));
        assert!(r.is_contiguous(Va(va + 2 * page), 2 * page));
        assert!(!r.is_contiguous(Va(va + 4 * page - 1), 2), "the end of the region");
        assert_eq!(r.runs().len(), 2);
        assert_eq!(r.iova_of(Va(va + 2 * page + 7)), Some(Iova(5 * page as u64 + 7)));
    }

    #[test]
    fn pieces_of_a_device_have_the_addresses_that_it_says() {
        let domain = Domain::new(DmaMode::NoIommu);
        let mapping =
            || Mapping::new(4 * 4096, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
        let two = [(Iova(0x8000), 8192), (Iova(0x2000), 8192)];
        let r = Region::of_pieces(mapping(), &domain, &two).unwrap();
        let va = r.mapping().va().0;
        let runs: Vec<_> = r.runs().iter().map(|run| (run.iova, run.len)).collect();
        assert_eq!(runs, two);
        assert_eq!(r.iova_of(Va(va + 8192 + 5)), Some(Iova(0x2005)));
        assert!(r.is_contiguous(Va(va), 8192) && !r.is_contiguous(Va(va + 8000), 500));
        let one = Region::of_pieces(mapping(), &domain, &[(Iova(0x7000_0000), 4 * 4096)]).unwrap();
        assert_eq!(one.runs().len(), 1);
        for wrong in [
            &[(Iova(0x8000), 8192)][..],
            &[(Iova(0x8001), 16_384)],
            &[(Iova(0x8000), 16_383), (Iova(0), 1)],
            &[(Iova(!4095), 16_384)],
            &[],
        ] {
            assert!(Region::of_pieces(mapping(), &domain, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn physical_addresses_are_page_aligned_runs_or_a_clear_refusal() {
        match small(DmaMode::NoIommu) {
            Ok(r) => {
                let runs = r.runs();
                assert_eq!(runs.iter().map(|r| r.len).sum::<usize>(), r.mapping().len());
                for run in &runs {
                    assert_eq!(run.iova.0 % 4096, 0);
                    assert_ne!(run.iova.0, 0);
                    assert!(r.is_contiguous(run.va, run.len));
                }
                for pair in runs.windows(2) {
                    assert!(!r.is_contiguous(pair[0].va, pair[0].len + 1));
                }
            }
            Err(e) => assert!(matches!(e, MemError::PhysicalHidden), "{e}"),
        }
    }
}
