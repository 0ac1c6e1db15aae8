//! The address space of a process that has queues: what its descriptors' addresses mean.
//!
//! A process gives memory to devices ([`Share`]), which the server maps as well: such addresses are resolved without a copy. All
//! its other memory is reached by copies ([`OtherMemory`]), if the device is one for shared virtual addressing.
//! The number of the process is its PASID: an address never means anything in another space.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::io::Errno;
use warpdrive_mempool::{Access, Domain, Iova, Mapping, Region};

use super::Process;
use super::guard::Guard;
use super::vm::OtherMemory;
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
    /// Its number may be given again, or mean another program.
    identity: Identity,
    memory: OtherMemory,
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
        let identity = Identity::of(process).ok_or(Errno::SRCH)?;
        let memory = OtherMemory::of(process)?;
        if Identity::of(process) != Some(identity) {
            return Err(Errno::SRCH); // whose memory was opened is not known
        }
        Ok(Self {
            process,
            identity,
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
        Identity::of(self.process) == Some(self.identity)
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
            let given: u64 = maps.iter().map(|map| map.bytes).sum();
            if maps.len() >= MOST_MAPS || share.bytes > most_bytes().saturating_sub(given) {
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
        let fd = rustix::process::pidfd_getfd(&pidfd, fd, rustix::process::PidfdGetfdFlags::empty())?;
        // Afterwards: an address space that has gone does not come back, so it was this one's.
        if self.is_current() { Ok(fd) } else { Err(Errno::SRCH) }
    }

    /// Its memory, as far as it has not given it. What copies from and to it waits as long as the process likes: so this is not
    /// for threads that others wait for.
    pub(super) fn memory(&self) -> &OtherMemory {
        &self.memory
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        for map in &self.table.load().maps {
            self.domain.unmap(&map.memory.region);
        }
    }
}

/// What tells an address space from those that the same number meant before and will mean later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    /// When the process began, in the kernel's ticks.
    began: u64,
    /// Where its program, its stack and its heap begin: a program that takes the place of another has them elsewhere.
    image: [u64; 3],
}

impl Identity {
    /// From `/proc/PID/stat` (proc(5): fields 22, 26, 28 and 47).
    fn of(process: Process) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0)).ok()?;
        // The name may have blanks and parentheses in it; the third field is behind it.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim_end().parse().ok();
        Some(Self { began: field(22)?, image: [field(26)?, field(28)?, field(47)?] })
    }
}

/// The most bytes that a process may give: as many as the machine has. Files may be of any size, while addresses of the server are
/// everybody's.
fn most_bytes() -> u64 {
    static MOST: OnceLock<u64> = OnceLock::new();
    *MOST.get_or_init(|| {
        // SAFETY: no preconditions.
        let [pages, page] =
            [libc::_SC_PHYS_PAGES, libc::_SC_PAGESIZE].map(|name| unsafe { libc::sysconf(name) });
        pages.max(0).cast_unsigned() * page.max(0).cast_unsigned()
    })
}

/// Which file it is.
fn identity(fd: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
