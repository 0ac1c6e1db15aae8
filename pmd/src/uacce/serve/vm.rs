//! Copies between this process and another's memory.

use rustix::io::Errno;

use super::Process;

/// Fills `into` from another process.
///
/// # Errors
/// `EFAULT`: not all of it is there; others as of process_vm_readv(2).
pub(super) fn read(process: Process, address: u64, into: &mut [u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = iovec(address, into.len())?;
    // SAFETY: one vector each; the local one is `into`, which is borrowed for the call, and the other is only an address.
    let n = unsafe { libc::process_vm_readv(pid(process), &raw const local, 1, &raw const remote, 1, 0) };
    whole(n, into.len())
}

/// Writes `from` to another process.
///
/// # Errors
/// As [`read`].
pub(super) fn write(process: Process, address: u64, from: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = iovec(address, from.len())?;
    // SAFETY: as above; the local bytes are only read.
    let n = unsafe { libc::process_vm_writev(pid(process), &raw const local, 1, &raw const remote, 1, 0) };
    whole(n, from.len())
}

fn pid(process: Process) -> libc::pid_t {
    process.0.cast_signed()
}

fn iovec(address: u64, bytes: usize) -> Result<libc::iovec, Errno> {
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    Ok(libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: bytes })
}

fn whole(n: isize, bytes: usize) -> Result<(), Errno> {
    match usize::try_from(n) {
        Ok(n) if n == bytes => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(_) => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::FAULT)),
    }
}
