//! Memory that a device reserves itself, for devices that reach nothing else: without shared virtual addressing, and without the
//! calls by which `warpdrive serve` takes memory.
//!
//! There is one such memory in a process, because what it is mapped at is the device's affair and all its queues share it. Blocks are
//! cut from it by [`Smm`](warpdrive_mempool::Smm). A DMA address is found by a virtual one, and never the other way round: who has an
//! address for devices has no business with what is there.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use warpdrive_mempool::{DmaMode, Domain, Iova, Mapping, Region, Va};

use super::abi::{FLAG_IOMMU, GET_SS_DMA, SS_GRANULE, SS_GRANULES};
use super::discover::UacceInfo;
use super::error::UacceError;
use super::file::QueueFile;
use super::fork::{Kept, Lineage};
use super::queue::{Entry, QmQueue};

/// Memory that is reserved, for one of the queues that may use it. It is given back when the last of them lets it go.
#[derive(Clone, Debug)]
pub struct Reserved {
    memory: Arc<Memory>,
}

struct Memory {
    region: Kept<Arc<Region>>,
    mode: DmaMode,
    iommu: bool,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({:?})", **self.region)
    }
}

/// That of this process.
static OF_THIS_PROCESS: Mutex<Weak<Memory>> = Mutex::new(Weak::new());

/// The page of the ABI.
const PAGE: u64 = 4096;
/// More slices than any driver makes.
const MOST_SLICES: u64 = 1024;

impl<E: Entry> QmQueue<E> {
    /// Reserves `bytes` of the device's memory, in whole pages, for this queue and those that it is [shared](Self::share_reserved_memory)
    /// with. Once in a process.
    ///
    /// # Errors
    /// [`UacceError::Memory`]: the device reaches all memory, this process has reserved some, or the device has none (for another
    /// process has).
    pub fn reserve_mem(&self, bytes: usize) -> Result<Reserved, UacceError> {
        let info = self.info();
        let failed = |cause: String| memory_error(info, cause);
        if info.sva() {
            return Err(failed(
                "it reaches all memory of the process. Remedy: any memory will do".to_owned(),
            ));
        }
        let mut known = OF_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        if known.upgrade().is_some() {
            return Err(failed(
                "this process has reserved some already. Remedy: share that with this queue".to_owned(),
            ));
        }
        let page = PAGE as usize;
        let bytes =
            bytes.max(1).checked_next_multiple_of(page).ok_or_else(|| failed("too much".to_owned()))?;
        let memory = Arc::new(reserve(info, self.file(), bytes).map_err(failed)?);
        *known = Arc::downgrade(&memory);
        Ok(Reserved { memory })
    }

    /// Lets this queue use memory that another has reserved: its device must see the same addresses.
    ///
    /// # Errors
    /// [`UacceError::Memory`]: it does not.
    pub fn share_reserved_memory(&self, reserved: &Reserved) -> Result<Reserved, UacceError> {
        let (info, memory) = (self.info(), &reserved.memory);
        if (info.mode(), info.flags & FLAG_IOMMU != 0) != (memory.mode, memory.iommu) {
            return Err(memory_error(
                info,
                format!(
                    "it takes addresses of mode {}, and the memory has those of {}. Remedy: a device of the same kind",
                    info.mode(),
                    memory.mode
                ),
            ));
        }
        Ok(reserved.clone())
    }
}

fn memory_error(info: &UacceInfo, cause: String) -> UacceError {
    UacceError::Memory { device: info.name.clone(), what: "no memory of the device", cause }
}

fn reserve(info: &UacceInfo, file: &dyn QueueFile, bytes: usize) -> Result<Memory, String> {
    let at = super::abi::Region::Ss.offset(PAGE);
    let mapping = Mapping::of_device(file.fd(), at, bytes)
        .map_err(|e| format!("{e}. Remedy: less of it, or end the process that has it"))?;
    let iommu = info.flags & FLAG_IOMMU != 0;
    let pieces = pieces(file, bytes, iommu)?;
    let mode = info.mode();
    let region = Region::of_pieces(mapping, &Domain::new(mode), &pieces).map_err(|e| e.to_string())?;
    let lineage = Lineage::of_this_process().map_err(|e| e.to_string())?;
    Ok(Memory { region: Kept::new(Arc::new(region), lineage), mode, iommu })
}

/// Addresses of the slices. Behind an IOMMU there is one, of all of it.
fn pieces(file: &dyn QueueFile, bytes: usize, iommu: bool) -> Result<Vec<(Iova, usize)>, String> {
    let (mut pieces, mut left) = (Vec::new(), bytes);
    for index in 0..MOST_SLICES {
        let mut answer = index.to_ne_bytes();
        let more =
            file.call(GET_SS_DMA, &mut answer).map_err(|e| format!("UACCE_CMD_GET_SS_DMA fails: {e}"))?;
        let answer = u64::from_ne_bytes(answer);
        let (start, granules) = (answer & !SS_GRANULES, answer & SS_GRANULES);
        let len = if iommu { left } else { left.min((granules * SS_GRANULE) as usize) };
        if len == 0 {
            return Err(format!("the device gives {bytes} bytes in slices of nothing"));
        }
        pieces.push((Iova(start), len));
        left -= len;
        if left == 0 {
            return Ok(pieces);
        }
        if more == 0 {
            break;
        }
    }
    Err(format!("the device tells the addresses of {} of {bytes} bytes", bytes - left))
}

impl Reserved {
    /// The memory, for [`Smm`](warpdrive_mempool::Smm).
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.memory.region
    }

    /// The DMA address of a byte of it; `None` elsewhere.
    #[must_use]
    pub fn dma_from_va(&self, va: Va) -> Option<Iova> {
        self.memory.region.iova_of(va)
    }

    /// How many queues use it.
    #[must_use]
    pub fn users(&self) -> usize {
        Arc::strong_count(&self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uacce::abi::hpre;
    use crate::uacce::fake::{Fake, Plan};
    use std::sync::MutexGuard;
    use warpdrive_mempool::Smm;

    type Hpre = QmQueue<hpre::Entry>;

    /// There is one in the process: tests take turns.
    fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fake(flags: u32, slices: &[u64]) -> Fake {
        // A queue of one page, so that what is behind it begins at the third.
        let plan = Plan { flags, slices: slices.to_vec(), reserve: 1 << 20, words: None, ..Plan::hpre() };
        Fake::new(plan.depth(32, 32), Box::new(|_, _| {}))
    }

    fn open(fake: &Fake) -> Hpre {
        Hpre::open_with(fake, &fake.info(), 0, 4, |_| Ok(())).unwrap()
    }

    const IOMMU: u32 = FLAG_IOMMU;

    #[test]
    fn memory_is_reserved_once_shared_by_count_and_given_back() {
        let _turn = turn();
        let fake = fake(IOMMU, &[0x1000_0000]);
        let (a, b) = (open(&fake), open(&fake));
        let reserved = a.reserve_mem(100_000).unwrap();
        assert_eq!((reserved.region().mapping().len(), reserved.users()), (102_400, 1));
        let error = b.reserve_mem(4096).unwrap_err().to_string();
        assert!(error.contains("reserved some already") && error.contains("Remedy: share"), "{error}");
        let shared = b.share_reserved_memory(&reserved).unwrap();
        assert_eq!(shared.users(), 2);
        drop(reserved);
        assert!(b.reserve_mem(4096).is_err(), "one still uses it");
        drop(shared);
        assert_eq!(b.reserve_mem(4096).unwrap().users(), 1);
    }

    #[test]
    fn blocks_of_it_have_the_addresses_that_the_device_says() {
        let _turn = turn();
        for (flags, slices, second) in [
            (IOMMU, &[0x1000_0000][..], 0x1002_0000),
            // Two slices of two granules each.
            (0, &[0x8000_0002, 0x4000_0002], 0x4000_0000),
        ] {
            let fake = fake(flags, slices);
            let queue = open(&fake);
            let reserved = queue.reserve_mem(256 << 10).unwrap();
            let va = reserved.region().mapping().va().0;
            assert_eq!(reserved.dma_from_va(Va(va + 5)), Some(Iova((slices[0] & !4095) + 5)));
            assert_eq!(reserved.dma_from_va(Va(va + (128 << 10))), Some(Iova(second)));
            assert_eq!(reserved.dma_from_va(Va(va + (256 << 10))), None);
            let mut smm = Smm::init(Arc::clone(reserved.region()), 64).unwrap();
            while let Ok(block) = smm.alloc(5000) {
                let (first, last) = (smm.iova_of(block).unwrap(), smm.iova_of(Va(block.0 + 4999)).unwrap());
                assert_eq!(last.0 - first.0, 4999, "in one piece");
            }
        }
    }

    #[test]
    fn what_cannot_be_reserved_or_shared_says_why() {
        let _turn = turn();
        let says = |flags, slices: &[u64], what: &str| {
            let error = open(&fake(flags, slices)).reserve_mem(256 << 10).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        says(1, &[], "any memory will do");
        says(0, &[], "GET_SS_DMA fails");
        says(0, &[0x1000_0000], "slices of nothing");
        says(0, &[0x1000_0001, 0x2000_0001], "131072 of 262144 bytes");
        let (behind, without) = (fake(IOMMU, &[0x1000_0000]), fake(0, &[0x1000_0fff]));
        let reserved = open(&behind).reserve_mem(4096).unwrap();
        let error = open(&without).share_reserved_memory(&reserved).unwrap_err().to_string();
        assert!(error.contains("Remedy: a device of the same kind"), "{error}");
    }
}
