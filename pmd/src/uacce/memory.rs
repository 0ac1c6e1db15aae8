//! What a queue's device may access: the maps of domains, told to the device one by one.

use std::os::fd::AsRawFd;

use rustix::io::Errno;
use warpdrive_mempool::{Access, Domain, Iova, Map};

use super::abi::{ACCESS_READ, ACCESS_WRITE, SHARE, Share, UNSHARE};
use super::file::QueueFile;

/// The maps of some domains, as far as the device of a queue knows them.
pub(super) struct Replayed {
    /// With the generation up to which each was told.
    domains: Vec<(Domain, u64)>,
    told: Vec<Map>,
    /// What the device knows no more, but may still work on: kept mapped.
    leaving: Vec<Map>,
}

/// The device does not take a map, or does not give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Which call.
    pub(super) call: &'static str,
    /// Why.
    pub(super) cause: Errno,
}

impl Replayed {
    /// Nothing was told yet.
    pub(super) fn new(domains: impl IntoIterator<Item = Domain>) -> Self {
        Self {
            domains: domains.into_iter().map(|domain| (domain, u64::MAX)).collect(),
            told: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Whether the domains have changed since.
    #[inline]
    pub(super) fn is_old(&self) -> bool {
        self.domains.iter().any(|(domain, seen)| domain.generation() != *seen)
    }

    /// Tells the device what has changed. Afterwards it touches nothing that was unmapped.
    ///
    /// # Errors
    /// [`Refused`]. What could be told was told; what it does not give back stays mapped in this process.
    pub(super) fn renew(&mut self, file: &dyn QueueFile) -> Result<(), Refused> {
        let mut maps = Vec::new();
        for (domain, seen) in &mut self.domains {
            let (generation, of_domain) = domain.maps();
            // Memory of this process alone cannot be given away: its use faults there.
            maps.extend(of_domain.into_iter().filter(|map| map.file().is_some()));
            *seen = generation;
        }
        // First what is gone: its addresses may be others' by now.
        let (mut result, mut kept) = (Ok(()), Vec::with_capacity(maps.len()));
        for map in self.told.drain(..) {
            if maps.contains(&map) {
                kept.push(map);
            } else if let Err(refused) = tell(file, UNSHARE, &map) {
                if refused.cause == Errno::BUSY { &mut self.leaving } else { &mut kept }.push(map);
                result = Err(refused);
            }
        }
        self.told = kept;
        for map in maps {
            if self.told.contains(&map) {
                continue;
            }
            match tell(file, SHARE, &map) {
                Ok(()) => self.told.push(map),
                Err(refused) => result = Err(refused),
            }
        }
        result
    }

    /// Whether the device may still work on memory at this address, though it was taken back.
    pub(super) fn is_leaving(&self, address: Iova) -> bool {
        self.leaving.iter().any(|map| map.run().iova == address)
    }

    /// Takes everything back, from a device that does nothing more for the queue.
    pub(super) fn end(&mut self, file: &dyn QueueFile) {
        self.leaving.clear();
        for map in self.told.drain(..) {
            // If the device is gone, so is what it knew.
            let _ = tell(file, UNSHARE, &map);
        }
    }
}

fn tell(file: &dyn QueueFile, command: u32, map: &Map) -> Result<(), Refused> {
    let (run, Some((fd, offset))) = (map.run(), map.file()) else { return Ok(()) };
    let access = match map.access() {
        Access::Read => ACCESS_READ,
        Access::Write => ACCESS_WRITE,
        Access::ReadWrite => ACCESS_READ | ACCESS_WRITE,
    };
    let share = Share { address: run.iova.0, bytes: run.len as u64, offset, fd: fd.as_raw_fd(), access };
    match file.call(command, &mut share.bytes()) {
        // It does not know it, which is what is wanted.
        Err(Errno::NOENT) if command == UNSHARE => Ok(()),
        Err(cause) => Err(Refused { call: if command == SHARE { "SHARE" } else { "UNSHARE" }, cause }),
        Ok(_) => Ok(()),
    }
}
