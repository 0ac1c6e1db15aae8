//! The calls about memory. The comments are those of the header.
#![allow(
    clippy::missing_safety_doc,
    reason = "the last paragraph of each comment says what C has to guarantee"
)]

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use rustix::io::Errno;

use crate::border::{Failure, guarded, number, telling};
use crate::calls::{claim, set_reserved};
use crate::memory::Reserve;
use crate::smm;
use crate::types::wd_queue;

/// Reserves memory that the device of a queue works on without a copy; once for a queue. It is filled with zeros, is mapped until all
/// queues are released that it is shared with, and is not there in a child. With shared virtual addressing any memory will do, and this
/// is for speed.
///
/// Returns its address, which is also in `q->ss_va`, and at `q->ss_dma` for the device. NULL with errno: EINVAL: no bytes; EEXIST: the
/// queue has some; ENOMEM: there is none, or less, or the process has
/// reserved some already, which can be once where devices lack `WD_EXT_SHARE`; EOPNOTSUPP: the device takes none; EPERM: the queue is the parent process's.
///
/// `q` is NULL or a `struct wd_queue` that was requested.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_reserve_mem(q: *mut wd_queue, size: usize) -> *mut c_void {
    let reserve = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let mut queue = unsafe { claim(q) }?;
        queue.check_process()?;
        let (memory, shares) = queue.memory();
        let reserve = memory.reserve(shares, size)?;
        smm::remember(reserve);
        // SAFETY: as above.
        Ok(unsafe { show(q, reserve) })
    };
    guarded(reserve).unwrap_or(null_mut())
}

/// Writes to a structure what was reserved.
///
/// # Safety
/// `q` is a wd_queue.
unsafe fn show(q: *mut wd_queue, reserve: &Reserve) -> *mut c_void {
    let address = reserve.address();
    let dma = reserve.dma_of(address, 1).unwrap_or(0);
    let va = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: by this function's contract.
    unsafe { set_reserved(q, va, dma as usize as *mut c_void) };
    va
}

/// Lets the device of `target_q` work on what was reserved for `q`. It stays mapped until both are released.
///
/// Returns 0; -EINVAL: nothing was reserved for `q`, or both are one queue; -EEXIST: `target_q` has memory of its own; -EXDEV: its
/// device is of another mode, or of another server that has reserved the memory; -EOPNOTSUPP: its device takes none; -EPERM: a queue is
/// the parent process's.
///
/// Both are NULL or a `struct wd_queue` that was requested.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_share_reserved_memory(q: *mut wd_queue, target_q: *mut wd_queue) -> c_int {
    let share = || {
        if q == target_q {
            return Err(Failure::new(Errno::INVAL, "wd_share_reserved_memory: both are the same queue"));
        }
        // SAFETY: NULL or a wd_queue, by the contract of the call.
        let (from, mut to) = unsafe { (claim(q)?, claim(target_q)?) };
        from.check_process()?;
        to.check_process()?;
        let reserve = from.reserved().cloned();
        let reserve = reserve.ok_or_else(|| {
            Failure::new(
                Errno::INVAL,
                "wd_share_reserved_memory: nothing is reserved. Remedy: wd_reserve_mem",
            )
        })?;
        let (memory, shares) = to.memory();
        memory.join(shares, &reserve, from.folder())?;
        // SAFETY: as above.
        unsafe { show(target_q, &reserve) };
        Ok(())
    };
    number(guarded(share))
}

/// The address for the device of what is at `va` in the process: `va` itself with shared virtual addressing; else of memory of
/// `wd_reserve_mem` and `wd_mem_share`. Without an IOMMU what follows may be elsewhere at the next page. There is no call for the other
/// direction.
///
/// Returns NULL with errno EFAULT if the device does not reach it.
///
/// `q` is NULL or a `struct wd_queue` that was requested; `va` is only looked at as a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_get_dma_from_va(q: *mut wd_queue, va: *mut c_void) -> *mut c_void {
    let find = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let mut queue = unsafe { claim(q) }?;
        queue.check_process()?;
        let (memory, _) = queue.memory();
        let dma = (!va.is_null()).then(|| memory.dma_of(va as usize, 1)).flatten();
        dma.ok_or_else(|| {
            Failure::new(Errno::FAULT, "wd_get_dma_from_va: the device does not reach this address")
        })
    };
    guarded(find).map_or(null_mut(), |dma| dma as usize as *mut c_void)
}

/// Gives the device of a queue memory of the caller's: whole pages that are mapped, shared, of a memfd that is sealed against shrinking
/// (F_SEAL_SHRINK). Ranges are counted. With shared virtual addressing `flags` are for all queues of the process on devices of that
/// server; other memory needs no sharing there: this does nothing then, and `flags` limit nothing. In a Share Domain requests of this
/// queue may name the memory, and those of others if it is shared with them too.
///
/// `flags` are `WD_MEM_READ` and `WD_MEM_WRITE`: requests that want more end with -EFAULT.
///
/// Returns 0; -EINVAL: no memory, no flags, no whole pages, or no such memfd; -EEXIST: a part of the range was given with other flags;
/// -ENOSPC: too many ranges; -EOPNOTSUPP: the device does not reach such memory; -EPERM: the queue is the parent process's.
///
/// `q` is NULL or a `struct wd_queue` that was requested; `addr` is only looked at as a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_mem_share(
    q: *mut wd_queue,
    addr: *const c_void,
    size: usize,
    flags: c_int,
) -> c_int {
    let share = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let mut queue = unsafe { claim(q) }?;
        queue.check_process()?;
        let (memory, shares) = queue.memory();
        // Bits that are not known stay so.
        memory.give(shares, addr as usize, size, flags.cast_unsigned())
    };
    number(guarded(share))
}

/// Takes memory back that was given by `wd_mem_share`, once for each time. When it returns, the device does not touch it any more:
/// requests that name it end with -EFAULT, but with shared virtual addressing, where it is memory like any other.
///
/// errno says why it was not: ENOENT: `q` was not given it; EBUSY: it is still worked on after five seconds; EPERM: the queue is the
/// parent process's.
///
/// `q` is NULL or a `struct wd_queue` that was requested; `addr` is only looked at as a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_mem_unshare(q: *mut wd_queue, addr: *const c_void, size: usize) {
    let unshare = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let mut queue = unsafe { claim(q) }?;
        queue.check_process()?;
        let (memory, shares) = queue.memory();
        memory.take_back(shares, addr as usize, size)
    };
    telling(unshare);
}
