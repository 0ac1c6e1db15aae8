//! Copies between this process and the memory of another.
//!
//! A number of a process may mean another address space a moment later: when it becomes another program, which may have more
//! rights than the one before, and when it has ended. So copies go by descriptors of its files in `/proc`, which stay those of the
//! address space that they were opened for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

use super::Process;

/// The memory of a process as it was when this was made.
pub(super) struct OtherMemory {
    process: Process,
    /// `/proc/PID/mem`. It reaches what the process itself may not read or write.
    memory: File,
    /// `/proc/PID/maps`, which is asked for that.
    maps: File,
}

/// What has to be permitted: flags of `PROCMAP_QUERY` (Linux `include/uapi/linux/fs.h`).
#[derive(Clone, Copy)]
#[repr(u64)]
enum Permitted {
    Read = 1,
    Write = 2,
}

/// `struct procmap_query`, of which the rest is for names.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    rest: [u64; 8],
}

/// `_IOWR('f', 17, struct procmap_query)`, since Linux 6.11.
const PROCMAP_QUERY: u32 = 3 << 30 | (size_of::<Query>() as u32) << 16 | (b'f' as u32) << 8 | 17;

impl OtherMemory {
    /// Of a process that lives.
    pub(super) fn of(process: Process) -> Result<Self, Errno> {
        let path = |name| format!("/proc/{}/{name}", process.0);
        let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::ACCESS);
        let memory = File::options().read(true).write(true).open(path("mem")).map_err(failed)?;
        let maps = File::open(path("maps")).map_err(failed)?;
        Ok(Self { process, memory, maps })
    }

    /// Fills `into` from it. A page that is not there, or that somebody has to bring first, is waited for as that takes.
    ///
    /// # Errors
    /// `EFAULT`: not all of it is there and may be read; `ESRCH`: it is gone.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.check(address, into.len(), Permitted::Read)?;
        if self.memory.read_exact_at(into, address).is_ok() {
            return Ok(());
        }
        wait_for(self.process, address, into)?;
        self.memory.read_exact_at(into, address).map_err(failure)
    }

    /// Writes `from` to it, in the same way.
    ///
    /// # Errors
    /// As [`read`](Self::read); a part may have been written.
    pub(super) fn write(&self, address: u64, from: &[u8]) -> Result<(), Errno> {
        self.check(address, from.len(), Permitted::Write)?;
        if self.memory.write_all_at(from, address).is_ok() {
            return Ok(());
        }
        wait_for(self.process, address, &mut vec![0; from.len()])?;
        self.memory.write_all_at(from, address).map_err(failure)
    }

    /// Whether the process may do the same. A kernel that does not answer leaves it to who has asked for the copy: it is no one
    /// else's memory in any case.
    fn check(&self, address: u64, bytes: usize, what: Permitted) -> Result<(), Errno> {
        let end = address.checked_add(bytes as u64).ok_or(Errno::FAULT)?;
        let mut next = address;
        while next < end {
            let size = size_of::<Query>() as u64;
            let mut query = Query { size, flags: what as u64, address: next, ..Query::default() };
            // SAFETY: a structure of the size that it says, which the kernel fills in; it names no buffers.
            let result =
                unsafe { libc::ioctl(self.maps.as_raw_fd(), PROCMAP_QUERY as libc::Ioctl, &raw mut query) };
            if result < 0 {
                return match Errno::from_io_error(&io::Error::last_os_error()) {
                    Some(Errno::NOTTY) => Ok(()),
                    Some(Errno::SRCH) => Err(Errno::SRCH),
                    _ => Err(Errno::FAULT),
                };
            }
            next = query.end;
        }
        Ok(())
    }
}

/// Waits until pages are there that a process of this number has to bring (userfaultfd), which the other ways do not wait for. What
/// this copies means nothing: the number may be another's by now.
fn wait_for(process: Process, address: u64, scratch: &mut [u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: scratch.as_mut_ptr().cast(), iov_len: scratch.len() };
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: scratch.len() };
    let pid = process.0.cast_signed();
    // SAFETY: one vector each; the local one is `scratch`, which is borrowed for the call, and the other is only an address.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if n < 0 { Err(failure(io::Error::last_os_error())) } else { Ok(()) }
}

fn failure(error: io::Error) -> Errno {
    match (error.kind(), Errno::from_io_error(&error)) {
        // Nothing more of it is there at all.
        (io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero, _) | (_, Some(Errno::SRCH)) => Errno::SRCH,
        _ => Errno::FAULT,
    }
}
