//! Memory that a queue's device is given, and that is taken back: for users of queues without the [`Device`](crate::device::Device)
//! trait, which follows a whole domain.

use std::sync::Arc;

use rustix::io::Errno;
use warpdrive_mempool::{Access, Domain, Region};

use super::discover::UacceInfo;
use super::error::UacceError;
use super::file::QueueFile;
use super::fork::Kept;
use super::memory::{Refused, Replayed};
use super::queue::{Entry, QmQueue};

/// What a queue was given.
pub(super) struct Given {
    domain: Domain,
    told: Replayed,
}

impl Given {
    /// Takes all of it back, from a device that does nothing more for the queue; in a child nothing.
    pub(super) fn end(&mut self, file: &dyn QueueFile, is_left: bool) {
        if !is_left {
            self.told.end(file);
        }
    }
}

impl<E: Entry> QmQueue<E> {
    /// Lets the device access `region`, until it is [taken back](Self::mem_unshare) or the queue is dropped. With shared virtual
    /// addressing and hardware nothing has to be done: it reaches what the process does.
    ///
    /// # Errors
    /// [`UacceError::Memory`]: the device takes no memory, takes addresses of another mode, or knows some of these addresses
    /// already; [`UacceError::Call`]: it does not take this memory.
    pub fn mem_share(&mut self, region: &Arc<Region>, access: Access) -> Result<(), UacceError> {
        let info = Arc::clone(self.info());
        if !takes(&info, region)? {
            return Ok(());
        }
        if region.mapping().memfd().is_none() {
            return Err(failed(
                &info,
                "it is memory of this process alone. Remedy: a shared mapping".to_owned(),
            ));
        }
        let lineage = self.lineage();
        let (given, file) = self.given();
        let given = given.get_or_insert_with(|| {
            let domain = Domain::new(region.mode());
            Kept::new(Given { told: Replayed::new([domain.clone()]), domain }, lineage)
        });
        given.domain.map(region, access).map_err(|e| failed(&info, e.to_string()))?;
        given.told.renew(file).map_err(|refused| {
            given.domain.unmap(region);
            call_failed(&info, refused)
        })
    }

    /// Takes `region` back. When this returns, the device does not touch it any more: entries that name it fault.
    ///
    /// # Errors
    /// [`UacceError::Call`]: the device does not let it go. It stays mapped then.
    pub fn mem_unshare(&mut self, region: &Arc<Region>) -> Result<(), UacceError> {
        let info = Arc::clone(self.info());
        let (given, file) = self.given();
        let Some(given) = given else { return Ok(()) };
        given.domain.unmap(region);
        given.told.renew(file).map_err(|refused| call_failed(&info, refused))?;
        // Taken back before, in vain.
        match region.runs().first().is_some_and(|run| given.told.is_leaving(run.iova)) {
            true => Err(call_failed(&info, Refused { call: "UNSHARE", cause: Errno::BUSY })),
            false => Ok(()),
        }
    }
}

/// Whether the device has to be told of memory.
fn takes(info: &UacceInfo, region: &Region) -> Result<bool, UacceError> {
    if region.mode() != info.mode() {
        let (its, others) = (info.mode(), region.mode());
        return Err(failed(
            info,
            format!(
                "it takes addresses of mode {its}, and the region has those of {others}. Remedy: dma = {:?}",
                its.name()
            ),
        ));
    }
    match info.extensions().share {
        true => Ok(true),
        false if info.sva() => Ok(false),
        false => Err(failed(
            info,
            "it reaches nothing but memory that it reserves itself. Remedy: reserve_mem".to_owned(),
        )),
    }
}

fn failed(info: &UacceInfo, cause: String) -> UacceError {
    UacceError::Memory { device: info.name.clone(), what: "cannot be given memory", cause }
}

fn call_failed(info: &UacceInfo, refused: Refused) -> UacceError {
    UacceError::Call {
        device: info.name.clone(),
        call: refused.call,
        cause: refused.cause,
        remedy: "wait for the entries that use it; fewer regions",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uacce::abi::{self, ACCESS_READ, ACCESS_WRITE, hpre};
    use crate::uacce::fake::{Fake, Plan};
    use warpdrive_mempool::{DmaMode, Mapping, PageChoice, PageSize, Sharing};

    type Hpre = QmQueue<hpre::Entry>;

    fn region(mode: DmaMode, sharing: Sharing) -> Arc<Region> {
        let mapping = Mapping::new(8192, PageChoice::Exactly(PageSize::Size4K), sharing, None).unwrap();
        Arc::new(Region::new(mapping, &Domain::new(mode)).unwrap())
    }

    fn open(plan: Plan) -> (Fake, Hpre) {
        let fake = Fake::new(plan, Box::new(|_, _| {}));
        let queue = Hpre::open_with(&fake, &fake.info(), 0, 4, |_| Ok(())).unwrap();
        (fake, queue)
    }

    #[test]
    fn memory_is_given_with_its_rights_and_taken_back() {
        let (fake, mut queue) = open(Plan::hpre());
        let (a, b) = (region(DmaMode::Sva, Sharing::Shared), region(DmaMode::Sva, Sharing::Shared));
        queue.mem_share(&a, Access::Read).unwrap();
        queue.mem_share(&b, Access::Write).unwrap();
        let told = |fake: &Fake| {
            let mut told: Vec<_> = fake.maps.lock().unwrap().iter().map(|m| (m.address, m.access)).collect();
            told.sort_unstable();
            told
        };
        let at = |region: &Region| region.runs()[0].iova.0;
        let mut both = [(at(&a), ACCESS_READ), (at(&b), ACCESS_WRITE)];
        both.sort_unstable();
        assert_eq!(told(&fake), both);
        assert!(queue.mem_share(&a, Access::ReadWrite).is_err(), "it is known already");
        queue.mem_unshare(&a).unwrap();
        queue.mem_unshare(&a).unwrap();
        assert_eq!(told(&fake), [(at(&b), ACCESS_WRITE)]);
        queue.mem_share(&a, Access::ReadWrite).unwrap();
        assert_eq!(told(&fake).len(), 2);
        drop(queue);
        assert_eq!(told(&fake), []);
    }

    #[test]
    fn what_the_device_does_not_let_go_stays_mapped() {
        let (fake, mut queue) = open(Plan::hpre());
        let a = region(DmaMode::Sva, Sharing::Shared);
        queue.mem_share(&a, Access::Read).unwrap();
        fake.refuse.lock().unwrap().insert(abi::UNSHARE, Errno::BUSY);
        let held = Arc::strong_count(&a);
        let error = queue.mem_unshare(&a).unwrap_err().to_string();
        assert!(error.contains("UNSHARE fails") && error.contains("Remedy: "), "{error}");
        assert!(Arc::strong_count(&a) >= held - 1 && Arc::strong_count(&a) > 1, "it is still used");
        fake.refuse.lock().unwrap().clear();
        assert!(queue.mem_unshare(&a).is_err(), "nobody knows better");
        queue.mem_share(&a, Access::Read).unwrap();
        assert_eq!(fake.count(abi::SHARE), 2, "it was told again");
    }

    #[test]
    fn devices_that_take_no_memory_say_what_to_do() {
        let memory = region(DmaMode::Sva, Sharing::Shared);
        let (hardware, mut queue) = open(Plan { words: None, ..Plan::hpre() });
        queue.mem_share(&memory, Access::Read).unwrap();
        assert_eq!(hardware.count(abi::SHARE), 0, "it reaches all of it");
        let (_, mut queue) = open(Plan { words: None, flags: abi::FLAG_IOMMU, ..Plan::hpre() });
        let says = |queue: &mut Hpre, region: &Arc<Region>, what: &str| {
            let error = queue.mem_share(region, Access::Read).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("Remedy: "), "{error}");
        };
        says(&mut queue, &memory, "mode share-domain");
        says(&mut queue, &region(DmaMode::ShareDomain, Sharing::Shared), "reserve_mem");
        let (fake, mut queue) = open(Plan::hpre());
        says(&mut queue, &region(DmaMode::Sva, Sharing::Private), "of this process alone");
        fake.refuse.lock().unwrap().insert(abi::SHARE, Errno::NOSPC);
        says(&mut queue, &memory, "SHARE fails");
        fake.refuse.lock().unwrap().clear();
        queue.mem_share(&memory, Access::Read).unwrap();
    }
}
