//! SMM: small blocks inside one reserved region.
//!
//! Named after WarpDrive's small-memory manager (`smm_init`, `smm_alloc`, `smm_free`). Its books are kept outside the
//! region, so a device that writes past a block cannot damage them. First fit; free neighbours merge at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Iova, Region, Va};

/// Why an allocation or a free was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmmError {
    /// No free stretch is long enough.
    #[error("no {wanted} bytes in one piece: {free} are free, the largest piece has {largest}")]
    Exhausted {
        /// Bytes asked for, rounded up to the alignment.
        wanted: usize,
        /// All free bytes.
        free: usize,
        /// Bytes of the largest free piece.
        largest: usize,
    },
    /// The address is not the start of an allocated block (never was, or was freed already).
    #[error("{0} is not the start of an allocated block")]
    NotAllocated(Va),
    /// The alignment is not a power of two, or is larger than the region.
    #[error("alignment {0} must be a power of two not larger than the region")]
    BadAlignment(usize),
}

/// The books of an allocator of small blocks in a range of addresses. They are kept apart from the range, which is never touched.
pub struct Ledger {
    base: usize,
    align: usize,
    /// Start and length of each free piece, as offsets into the range; no two touch.
    free: BTreeMap<usize, usize>,
    used: BTreeMap<usize, usize>,
}

impl Ledger {
    /// Of `len` bytes from `base`; every block will be aligned to `align` bytes (a power of two).
    ///
    /// # Errors
    /// [`SmmError::BadAlignment`], also if no block is as much as aligned before the end of the range.
    pub fn new(base: Va, len: usize, align: usize) -> Result<Self, SmmError> {
        if !align.is_power_of_two() || align > len {
            return Err(SmmError::BadAlignment(align));
        }
        let first = base.0.checked_next_multiple_of(align).ok_or(SmmError::BadAlignment(align))?;
        let start = first - base.0;
        let free = BTreeMap::from([(start, len - start)]);
        Ok(Self { base: base.0, align, free, used: BTreeMap::new() })
    }

    /// Allocates `size` bytes (at least one alignment unit) for which `is_whole` holds. Where it does not, blocks from the next
    /// multiple of `step` are tried.
    ///
    /// # Errors
    /// [`SmmError::Exhausted`].
    pub fn alloc(
        &mut self,
        size: usize,
        step: usize,
        is_whole: impl Fn(Va, usize) -> bool,
    ) -> Result<Va, SmmError> {
        let wanted = size.max(1).checked_next_multiple_of(self.align).unwrap_or(usize::MAX);
        let fit = |start, len| self.fit((start, len), wanted, step, &is_whole);
        let Some((start, at, len)) =
            self.free.iter().find_map(|(start, len)| Some((*start, fit(*start, *len)?, *len)))
        else {
            return Err(SmmError::Exhausted {
                wanted,
                free: self.free.values().sum(),
                largest: self.free.values().copied().max().unwrap_or(0),
            });
        };
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        let rest = start + len - (at + wanted);
        if rest > 0 {
            self.free.insert(at + wanted, rest);
        }
        self.used.insert(at, wanted);
        Ok(Va(self.base + at))
    }

    /// Where in a free piece `wanted` bytes fit.
    fn fit(
        &self,
        (start, len): (usize, usize),
        wanted: usize,
        step: usize,
        is_whole: &impl Fn(Va, usize) -> bool,
    ) -> Option<usize> {
        let mut at = start;
        while at.checked_add(wanted)? <= start + len {
            if is_whole(Va(self.base + at), wanted) {
                return Some(at);
            }
            let next = (self.base + at + 1).checked_next_multiple_of(step.max(self.align))?;
            at = next - self.base;
        }
        None
    }

    /// Gives a block back.
    ///
    /// # Errors
    /// [`SmmError::NotAllocated`] for any address that is not a live block's start.
    pub fn free(&mut self, va: Va) -> Result<(), SmmError> {
        let offset = va.0.checked_sub(self.base).ok_or(SmmError::NotAllocated(va))?;
        let len = self.used.remove(&offset).ok_or(SmmError::NotAllocated(va))?;
        let (mut start, mut end) = (offset, offset + len);
        if let Some((&before, &before_len)) = self.free.range(..offset).next_back()
            && before + before_len == offset
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(after_len) = self.free.remove(&end) {
            end += after_len;
        }
        self.free.insert(start, end - start);
        Ok(())
    }

    /// Whether an address is inside a live block.
    #[must_use]
    pub fn is_in_use(&self, va: Va) -> bool {
        let Some(offset) = va.0.checked_sub(self.base) else { return false };
        self.used.range(..=offset).next_back().is_some_and(|(start, len)| offset < start + len)
    }
}

/// An allocator of small blocks in a [`Region`]. The blocks live as long as the region does.
pub struct Smm {
    region: Arc<Region>,
    ledger: Ledger,
}

impl Smm {
    /// Takes a whole region to allocate from; every block will be aligned to `align` bytes (a power of two).
    ///
    /// # Errors
    /// [`SmmError::BadAlignment`].
    pub fn init(region: Arc<Region>, align: usize) -> Result<Self, SmmError> {
        let ledger = Ledger::new(region.mapping().va(), region.mapping().len(), align)?;
        Ok(Self { region, ledger })
    }

    /// Allocates `size` bytes (at least one alignment unit) in one piece as devices see it.
    ///
    /// # Errors
    /// [`SmmError::Exhausted`].
    pub fn alloc(&mut self, size: usize) -> Result<Va, SmmError> {
        // DMA addresses jump at borders of pages alone.
        let page = self.region.mapping().page_size().bytes();
        self.ledger.alloc(size, page, |va, len| self.region.is_contiguous(va, len))
    }

    /// Gives a block back.
    ///
    /// # Errors
    /// [`SmmError::NotAllocated`] for any address that is not a live block's start.
    pub fn free(&mut self, va: Va) -> Result<(), SmmError> {
        self.ledger.free(va)
    }

    /// The DMA address of an address inside a live block; `None` elsewhere.
    #[must_use]
    pub fn iova_of(&self, va: Va) -> Option<Iova> {
        self.ledger.is_in_use(va).then(|| self.region.iova_of(va)).flatten()
    }

    /// The region the blocks are in.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Bytes in live blocks, rounded up to the alignment.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.ledger.used.values().sum()
    }

    /// Number of free pieces: 1 (or 0) when nothing is fragmented.
    #[must_use]
    pub fn free_pieces(&self) -> usize {
        self.ledger.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DmaMode, Domain, Mapping, PageChoice, PageSize, Sharing};
    use proptest::prelude::*;

    fn region(bytes: usize, mode: DmaMode) -> Option<Arc<Region>> {
        let m = Mapping::new(bytes, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None);
        Region::new(m.unwrap(), &Domain::new(mode)).ok().map(Arc::new)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Alloc(usize),
        /// Frees the live block at this index modulo their number.
        Free(usize),
        /// Tries to free an address that is no block.
        FreeWrong(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0usize..3000).prop_map(Step::Alloc),
            2 => any::<usize>().prop_map(Step::Free),
            1 => (0usize..40_000).prop_map(Step::FreeWrong),
        ]
    }

    proptest! {
        /// The model: live blocks as a plain list.
        #[test]
        fn behaves_as_a_list_of_disjoint_blocks(
            steps in proptest::collection::vec(step(), 1..200),
            align_shift in 0u32..9,
        ) {
            let region = region(32 << 10, DmaMode::Sva).unwrap();
            let base = region.mapping().va().0;
            let align = 1usize << align_shift;
            let mut smm = Smm::init(Arc::clone(&region), align).unwrap();
            let mut live: Vec<(usize, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Alloc(size) => match smm.alloc(size) {
                        Ok(va) => {
                            let (start, end) = (va.0, va.0 + size.max(1));
                            prop_assert_eq!(start % align, 0);
                            prop_assert!(start >= base && end <= base + region.mapping().len());
                            prop_assert!(live.iter().all(|(s, e)| end <= *s || *e <= start));
                            prop_assert_eq!(smm.iova_of(va), Some(Iova(va.0 as u64)));
                            live.push((start, end));
                        }
                        Err(SmmError::Exhausted { wanted, largest, .. }) => prop_assert!(wanted > largest),
                        Err(e) => prop_assert!(false, "{}", e),
                    },
                    Step::Free(i) if !live.is_empty() => {
                        let (start, _) = live.swap_remove(i % live.len());
                        prop_assert_eq!(smm.free(Va(start)), Ok(()));
                        prop_assert_eq!(smm.free(Va(start)), Err(SmmError::NotAllocated(Va(start))));
                    }
                    Step::Free(_) => {}
                    Step::FreeWrong(offset) => {
                        let va = Va(base + offset);
                        if live.iter().all(|(s, _)| *s != va.0) {
                            prop_assert_eq!(smm.free(va), Err(SmmError::NotAllocated(va)));
                        }
                    }
                }
            }
            for (start, _) in live {
                smm.free(Va(start)).unwrap();
            }
            prop_assert_eq!((smm.in_use(), smm.free_pieces()), (0, 1));
        }
    }

    #[test]
    fn without_an_iommu_no_block_crosses_a_physical_border() {
        let Some(region) = region(256 << 10, DmaMode::NoIommu) else {
            eprintln!("skipped: the kernel hides physical addresses from this user");
            return;
        };
        let mut smm = Smm::init(Arc::clone(&region), 64).unwrap();
        while let Ok(va) = smm.alloc(1500) {
            assert!(region.is_contiguous(va, 1500));
        }
    }
}
