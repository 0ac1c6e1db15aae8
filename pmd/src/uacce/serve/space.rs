//! The address space of a process that has queues: what its descriptors' addresses mean.
//!
//! A process gives memory to devices ([`Share`]), which the server maps as well: such addresses are resolved without a copy. All
//! its other memory is reached by copies ([`Space::read`], [`Space::write`]), if the device is one for shared virtual addressing.
//! The number of the process is its PASID: an address never means anything in another space.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::io::Errno;
use warpdrive_mempool::{Access, Domain, Iova, Mapping, Region};

use super::Process;
use super::guard::Guard;
use super::vm;
use crate::uacce::abi::{ACCESS_READ, ACCESS_WRITE, Share};

/// The most ranges that a process may give.
const MOST_MAPS: usize = 1024;
/// How long the end of requests that use a range is waited for when it is taken back.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls of a process that wait for such ends at once.
const MOST_WAITS: u32 = 8;
/// What a core says that has no queue of a space.
pub(super) const ABSENT: u64 = u64::MAX;

/// A range that a process has given.
#[derive(Clone)]
pub(super) struct Map {
    pub(super) start: u64,
    pub(super) bytes: u64,
    access: u32,
    /// Where the server sees it.
    base: u64,
    file: (u64, u64),
    offset: u64,
    references: u32,
    memory: Arc<Memory>,
}

/// The memory of a range: mapped as long as it is in a table, or a request works on it.
struct Memory {
    /// Before the region: a range is not guarded any more when it is unmapped.
    _guard: Guard,
    region: Arc<Region>,
    /// Requests that work on it.
    busy: AtomicU32,
}

/// What a process has given, at one moment.
#[derive(Default)]
pub(super) struct Table {
    /// By their addresses.
    maps: Vec<Map>,
}

/// Keeps a range where it is while a request works on it.
pub(super) struct Busy(Arc<Memory>);

impl Busy {
    fn new(memory: &Arc<Memory>) -> Self {
        memory.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(memory))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

/// Why an address is not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// It is in no range that was given.
    Unmapped,
    /// It is, but not for this, or not all of it.
    Refused,
}

impl Table {
    /// Where the server sees `bytes` from `address`, and what keeps them there.
    pub(super) fn resolve(&self, address: u64, bytes: u32, access: u32) -> Result<(Iova, Busy), Miss> {
        let after = self.maps.partition_point(|map| map.start <= address);
        let map = after.checked_sub(1).map(|i| &self.maps[i]).ok_or(Miss::Unmapped)?;
        let offset = address - map.start;
        if offset >= map.bytes {
            return Err(Miss::Unmapped);
        }
        if u64::from(bytes) > map.bytes - offset || map.access & access != access {
            return Err(Miss::Refused);
        }
        Ok((Iova(map.base + offset), Busy::new(&map.memory)))
    }
}

/// An address space.
pub(super) struct Space {
    process: Process,
    /// When the process began: its number may be given again.
    began: u64,
    /// `/proc/PID/mem`: it stays that of this address space, whoever has the number later.
    memory: File,
    /// The addresses of the server's engines.
    domain: Domain,
    table: ArcSwap<Table>,
    /// Grows with each change of the table, after it.
    changes: AtomicU64,
    /// Up to which change each core has taken over; [`ABSENT`] for those that have no queue of it.
    seen: Box<[AtomicU64]>,
    /// Held while the table is changed.
    edit: Mutex<()>,
    /// Calls that wait for the end of requests.
    waits: AtomicU32,
}

impl Space {
    /// Of a process that lives.
    pub(super) fn of(process: Process, domain: &Domain, cores: usize) -> Result<Self, Errno> {
        let began = began(process).ok_or(Errno::SRCH)?;
        let memory = File::options().read(true).write(true).open(format!("/proc/{}/mem", process.0));
        let memory = memory.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::ACCESS))?;
        Ok(Self {
            process,
            began,
            memory,
            domain: domain.clone(),
            table: ArcSwap::default(),
            changes: AtomicU64::new(0),
            seen: (0..cores).map(|_| AtomicU64::new(ABSENT)).collect(),
            edit: Mutex::new(()),
            waits: AtomicU32::new(0),
        })
    }

    /// Whose it is.
    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// Whether it is that of the process that has the number now.
    pub(super) fn is_current(&self) -> bool {
        began(self.process) == Some(self.began)
    }

    /// What was given.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// How often the table has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A core says that it goes by the table of this change, or that it has no queue of the space.
    pub(super) fn saw(&self, core: usize, change: u64) {
        self.seen[core].store(change, Ordering::Release);
    }

    /// Takes memory of the process that has a queue.
    pub(super) fn share(&self, share: &Share) -> Result<(), Errno> {
        if share.access == 0 || share.access & !(ACCESS_READ | ACCESS_WRITE) != 0 {
            return Err(Errno::INVAL);
        }
        let bytes = usize::try_from(share.bytes).map_err(|_| Errno::INVAL)?;
        let end = share.address.checked_add(share.bytes).ok_or(Errno::INVAL)?;
        let fd = self.descriptor(share.fd)?;
        let file = identity(&fd)?;
        let _edit = self.edit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut maps = self.table().maps.clone();
        let overlaps = |map: &&mut Map| map.start < end && share.address < map.start + map.bytes;
        if let Some(map) = maps.iter_mut().find(overlaps) {
            let same = (map.start, map.bytes, map.access, map.file, map.offset)
                == (share.address, share.bytes, share.access, file, share.offset);
            if !same {
                return Err(Errno::EXIST);
            }
            map.references = map.references.checked_add(1).ok_or(Errno::OVERFLOW)?;
        } else {
            if maps.len() >= MOST_MAPS {
                return Err(Errno::NOSPC);
            }
            let mapping = Mapping::of_memfd(fd, share.offset, bytes).map_err(|error| {
                tracing::warn!("process {}: memory is not taken: {error}", self.process.0);
                Errno::INVAL
            })?;
            let at = maps.partition_point(|map| map.start < share.address);
            maps.insert(at, self.map(mapping, share, file)?);
        }
        self.publish(maps);
        Ok(())
    }

    /// Takes memory that the server has made for a queue itself.
    pub(super) fn adopt(&self, mapping: Mapping, address: u64) -> Result<(), Errno> {
        let share = Share {
            address,
            bytes: mapping.len() as u64,
            access: ACCESS_READ | ACCESS_WRITE,
            ..Share::default()
        };
        let _edit = self.edit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut maps = self.table().maps.clone();
        let at = maps.partition_point(|map| map.start < address);
        maps.insert(at, self.map(mapping, &share, (0, 0))?);
        self.publish(maps);
        Ok(())
    }

    fn map(&self, mapping: Mapping, share: &Share, file: (u64, u64)) -> Result<Map, Errno> {
        let guard = Guard::new(&mapping).ok_or(Errno::NOSPC)?;
        let region = Arc::new(Region::new(mapping, &self.domain).map_err(|_| Errno::NOMEM)?);
        self.domain.map(&region, Access::ReadWrite).map_err(|_| Errno::NOMEM)?;
        Ok(Map {
            start: share.address,
            bytes: share.bytes,
            access: share.access,
            base: region.runs()[0].iova.0,
            file,
            offset: share.offset,
            references: 1,
            memory: Arc::new(Memory { _guard: guard, region, busy: AtomicU32::new(0) }),
        })
    }

    fn publish(&self, maps: Vec<Map>) {
        self.table.store(Arc::new(Table { maps }));
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Takes a range back, once for each time that it was given. When this returns, no engine works on it any more.
    ///
    /// # Errors
    /// `ENOENT`: it was not given. `EBUSY`: something works on it for too long, or too many calls wait for such ends: it is taken
    /// back, but may be written to until what was begun has ended.
    pub(super) fn unshare(&self, address: u64) -> Result<(), Errno> {
        let Some((memory, change)) = self.take_back(address)? else { return Ok(()) };
        let in_use = || {
            let is_behind = |seen: &AtomicU64| seen.load(Ordering::Acquire) < change;
            self.seen.iter().any(is_behind) || memory.busy.load(Ordering::Acquire) > 0
        };
        let deadline = Instant::now() + PATIENCE;
        let waits = self.waits.fetch_add(1, Ordering::Relaxed);
        let ended = loop {
            if !in_use() {
                break Ok(());
            }
            if waits >= MOST_WAITS || Instant::now() > deadline {
                break Err(Errno::BUSY);
            }
            std::thread::sleep(Duration::from_micros(50));
        };
        self.waits.fetch_sub(1, Ordering::Relaxed);
        ended
    }

    /// The same, but waits for nothing: for a queue file that is closed. What was begun keeps the memory mapped until it has ended.
    pub(super) fn forget(&self, address: u64) {
        // It is there: the queue file knows what was given by it.
        let _ = self.take_back(address);
    }

    /// Takes a range out of the table, if it was given no more often: what it was, and the change of the table.
    fn take_back(&self, address: u64) -> Result<Option<(Arc<Memory>, u64)>, Errno> {
        let _edit = self.edit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut maps = self.table().maps.clone();
        let at = maps.iter().position(|map| map.start == address).ok_or(Errno::NOENT)?;
        maps[at].references -= 1;
        let last = (maps[at].references == 0).then(|| maps.remove(at).memory);
        self.publish(maps);
        let Some(memory) = last else { return Ok(None) };
        // What was not begun yet will fault.
        self.domain.unmap(&memory.region);
        Ok(Some((memory, self.changes())))
    }

    /// The descriptor of the process as one of ours.
    fn descriptor(&self, fd: i32) -> Result<OwnedFd, Errno> {
        let pid = rustix::process::Pid::from_raw(self.process.0.cast_signed()).ok_or(Errno::SRCH)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        // The number may be of another process by now; that of the descriptor is not: it lives as long.
        if !self.is_current() {
            return Err(Errno::SRCH);
        }
        rustix::process::pidfd_getfd(&pidfd, fd, rustix::process::PidfdGetfdFlags::empty())
    }

    /// Copies from the process. A page that is not there, or that somebody has to bring first, is waited for as that takes: so
    /// this is not for threads that others wait for.
    ///
    /// # Errors
    /// `EFAULT`: not all of it is there; `ESRCH`: the address space is gone.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        vm::read(self.process, address, into)?;
        // After: what was read is of this space if this is still there.
        self.check(address)
    }

    /// Copies to the process, in the same way.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn write(&self, address: u64, from: &[u8]) -> Result<(), Errno> {
        self.check(address)?;
        vm::write(self.process, address, from)
    }

    /// Whether the address space is there: if it is not, its number may be another's.
    fn check(&self, address: u64) -> Result<(), Errno> {
        match self.memory.read_at(&mut [0], address) {
            Ok(0) => Err(Errno::SRCH),
            // Nothing at this address: whoever copies will hear of it.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        for map in &self.table.load().maps {
            self.domain.unmap(&map.memory.region);
        }
    }
}

/// When a process began, in the kernel's ticks (proc(5), field 22 of stat).
fn began(process: Process) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0)).ok()?;
    // The name may have blanks and parentheses in it.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Which file it is.
fn identity(fd: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
