//! The calls of queues. The comments are those of the header.
#![allow(
    clippy::missing_safety_doc,
    reason = "the last paragraph of each comment says what C has to guarantee"
)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use warpdrive_pmd::uacce::{Lineage, Lost};

use crate::border::{Failure, guarded, last_text, number, telling};
use crate::queue::{Asked, QUEUES, Queue, text};
use crate::slots::{Claimed, Refused};
use crate::types::wd_queue;

/// The queue of a structure, for this call.
///
/// # Safety
/// `q` is NULL or points to a `wd_queue`.
#[inline]
pub(crate) unsafe fn claim(q: *const wd_queue) -> Result<Claimed<Queue>, Failure> {
    if q.is_null() {
        return Err(Failure::new(Errno::INVAL, "the queue is NULL"));
    }
    // SAFETY: by this function's contract.
    let handle = unsafe { (&raw const (*q).handle).read() };
    QUEUES.claim(handle).map_err(|refused| match refused {
        Refused::Gone => Failure::new(Errno::BADF, "the queue was not requested, or was released"),
        // Perhaps a thread of the parent process, which is not here.
        Refused::Busy if is_child() => crate::ring::failure(Lost::Child),
        Refused::Busy => {
            Failure::new(Errno::ALREADY, "another thread is using the queue, which has one owner")
        }
    })
}

/// Of the process that has requested the first queue.
static LINEAGE: OnceLock<Option<Lineage>> = OnceLock::new();

fn of_this_process() -> Option<Lineage> {
    *LINEAGE.get_or_init(|| Lineage::of_this_process().ok())
}

/// Whether this process is not the one that has requested the first queue, but a child of it.
fn is_child() -> bool {
    LINEAGE.get().copied().flatten().is_some_and(|lineage| lineage.is_left())
}

/// Requests a queue, and fills in the second part of `q`.
///
/// Returns 0, or a negative error: -EINVAL: `q` or its first part makes no sense; -EEXIST: `q` has a queue; -ENODEV: there is no such
/// device; -EBUSY: all its queues are in use; -EACCES or -EPERM: it may not be opened; -EOPNOTSUPP: there is no driver for it here;
/// -EMFILE: the process has 1,024 queues; else what the kernel says.
///
/// `q` is a `struct wd_queue` whose strings are NULL or end with a zero; they are not needed afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_request_queue(q: *mut wd_queue) -> c_int {
    let request = || {
        if q.is_null() {
            return Err(Failure::new(Errno::INVAL, "wd_request_queue: the queue is NULL"));
        }
        // SAFETY: `q` is a wd_queue, by the contract of the call.
        if !matches!(unsafe { claim(q) }, Err(Failure { errno: Errno::BADF, .. })) {
            return Err(Failure::new(
                Errno::EXIST,
                "wd_request_queue: it has a queue. Remedy: release it first",
            ));
        }
        // SAFETY: as above.
        let asked = unsafe { asked(q) }?;
        let queue = Queue::request(&asked)?;
        let (device, fd, path) = (queue.device(), queue.fd(), text(&queue.path().to_string_lossy()));
        let full = || {
            Failure::new(Errno::MFILE, "wd_request_queue: the process has 1,024 queues. Remedy: release some")
        };
        let handle = QUEUES.insert(queue).ok_or_else(full)?;
        of_this_process();
        // SAFETY: as above; no reference is made.
        unsafe {
            (&raw mut (*q).dev_info).write(device);
            (&raw mut (*q).fd).write(fd);
            (&raw mut (*q).dev_path).write(path);
            set_reserved(q, std::ptr::null_mut(), std::ptr::null_mut());
            (&raw mut (*q).handle).write(handle);
        }
        Ok(())
    };
    number(guarded(request))
}

/// The first part of a structure.
///
/// # Safety
/// As of [`wd_request_queue`].
unsafe fn asked(q: *const wd_queue) -> Result<Asked, Failure> {
    // SAFETY: by this function's contract.
    let (device, root, kind, depth) = unsafe { ((*q).device, (*q).root, (*q).kind, (*q).depth) };
    // SAFETY: as above.
    let device = unsafe { bytes(device) };
    let device = device.and_then(|name| name.to_str().ok()).filter(|name| !name.is_empty());
    let device = device.ok_or_else(|| {
        Failure::new(Errno::INVAL, "wd_request_queue: no device is named, nor what it is to compute")
    })?;
    // SAFETY: as above.
    let root = unsafe { bytes(root) }.map(|root| PathBuf::from(OsStr::from_bytes(root.to_bytes())));
    Ok(Asked { device: device.to_owned(), root, kind, depth })
}

/// # Safety
/// NULL, or a string with a zero at its end that stays as it is for as long as the result is used.
unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: by this function's contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// `q` is a wd_queue.
pub(crate) unsafe fn set_reserved(q: *mut wd_queue, va: *mut c_void, dma: *mut c_void) {
    // SAFETY: by this function's contract.
    unsafe {
        (&raw mut (*q).ss_va).write(va);
        (&raw mut (*q).ss_dma).write(dma);
    }
}

/// Releases a queue. What is in flight is waited for up to two seconds, and for as long as the device takes to stop (that of `warpdrive
/// serve` five seconds at most), and is not given back: when this returns the device touches
/// neither requests nor memory of the queue any more, and what was reserved and shared with nobody else is unmapped.
///
/// A queue that was released before, NULL, and a queue of the parent process are left alone; errno says so. With errno EBUSY the queue
/// is released, but its device does not say that it has stopped: memory that requests name is to stay.
///
/// `q` is NULL or the `struct wd_queue` that was requested.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_release_queue(q: *mut wd_queue) {
    let release = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let claimed = unsafe { claim(q) }?;
        claimed.check_process()?;
        let queue = claimed.remove();
        // SAFETY: as above.
        unsafe {
            (&raw mut (*q).handle).write(0);
            (&raw mut (*q).dev_info).write(std::ptr::null());
            (&raw mut (*q).fd).write(-1);
            set_reserved(q, std::ptr::null_mut(), std::ptr::null_mut());
        }
        queue.end().then_some(()).ok_or_else(|| {
            let text = "wd_release_queue: the device may still be at work. Remedy: let what requests name stay as it is";
            Failure::new(Errno::BUSY, text)
        })
    };
    telling(release);
}

/// Sends a request: a `struct wd_rsa_req` to a device for RSA, a `struct wd_zip_req` to a device for ZIP. Addresses in it are those of
/// the process; those of the device are made of them here. There is no system call.
///
/// Returns 0; -EBUSY: the queue is full, receive first; -EFAULT: the device does not reach memory of the request (only without shared
/// virtual addressing, else the request's status tells); -EINVAL, -ENOSPC, -EBADMSG, -ENODATA, -EMSGSIZE, -EOPNOTSUPP: the request makes
/// no sense, as its status would say; -ENODEV: the device is gone; -EPERM: the queue is the parent process's. When it is not 0, the
/// request was not sent.
///
/// `req` is such a structure. Until it is received, or the queue released, it stays where it is, nobody writes to it or to what it
/// reads, and nobody accesses what it writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_send(q: *mut wd_queue, req: *mut c_void) -> c_int {
    let send = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let mut queue = unsafe { claim(q) }?;
        if req.is_null() {
            return Err(Failure::new(Errno::INVAL, "wd_send: the request is NULL"));
        }
        // SAFETY: `req` is a request for this kind of device and stays until it is received, by the contract of the call.
        unsafe { queue.send(req) }
    };
    number(guarded(send))
}

/// Sends an entry as the device has it: 64 bytes of HPRE, 128 bytes of ZIP. For operations that have no structure here. Addresses in
/// it are those of the device, see `wd_get_dma_from_va`. It is received as `entry`, with what the device has written in it.
///
/// Returns as `wd_send`.
///
/// `entry` is as many bytes, at a multiple of 4, under the rules of `wd_send`. When the device goes away, it is received as it was
/// sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_send_raw(q: *mut wd_queue, entry: *mut c_void) -> c_int {
    let send = || {
        // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
        let mut queue = unsafe { claim(q) }?;
        if entry.is_null() || !(entry as usize).is_multiple_of(4) {
            return Err(Failure::new(Errno::INVAL, "wd_send_raw: the entry is NULL or not aligned"));
        }
        // SAFETY: `entry` is an entry of the device's and stays until it is received, by the contract of the call.
        unsafe { queue.send_raw(entry) }
    };
    number(guarded(send))
}

/// Receives a request that is done: `*resp` is the pointer that was sent. Its status says how it ended. Requests may come in another
/// order than they were sent in. There is no system call.
///
/// Returns 0; -EAGAIN: none is done, or none was sent; -ENODEV: the device is gone, and everything was received (what it had comes
/// back with the status -ECANCELED); -EBUSY: it is gone, or may still be at work, and nothing more comes back: what requests name is to
/// stay; -EIO: it has written what makes no sense; -EPERM: the queue is the parent process's.
///
/// `resp` points to a pointer, which is written to if 0 is returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_recv(q: *mut wd_queue, resp: *mut *mut c_void) -> c_int {
    // SAFETY: by the contract of the call.
    unsafe { receive(q, resp, None) }
}

/// Receives a request, waiting for it up to `ms` milliseconds: by looking for some microseconds, then in the kernel.
///
/// Returns as `wd_recv`; -ETIMEDOUT: none was done in this time; -EAGAIN, at once: none was sent.
///
/// `resp` points to a pointer, which is written to if 0 is returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_recv_sync(q: *mut wd_queue, resp: *mut *mut c_void, ms: u16) -> c_int {
    // SAFETY: by the contract of the call.
    unsafe { receive(q, resp, Some(Duration::from_millis(ms.into()))) }
}

/// # Safety
/// `q` is NULL or a wd_queue, `resp` NULL or a pointer's place.
#[inline]
unsafe fn receive(q: *mut wd_queue, resp: *mut *mut c_void, timeout: Option<Duration>) -> c_int {
    let receive = || {
        // SAFETY: by this function's contract.
        let mut queue = unsafe { claim(q) }?;
        if resp.is_null() {
            return Err(Failure::new(Errno::INVAL, "wd_recv: there is no place for the request"));
        }
        // SAFETY: what was sent is as wd_send and wd_send_raw demand, by their contracts.
        let request = unsafe { queue.recv(timeout) }?;
        // SAFETY: by this function's contract.
        unsafe { resp.write(request) };
        Ok(())
    };
    number(guarded(receive))
}

/// Makes sure that the device knows of everything that was sent. It does already when `wd_send` returns; errno says if the device is
/// gone.
///
/// `q` is NULL or a `struct wd_queue` that was requested.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wd_flush(q: *mut wd_queue) {
    // SAFETY: `q` is NULL or a wd_queue, by the contract of the call.
    telling(|| unsafe { claim(q) }?.flush());
}

/// What went wrong in the last call of this thread that failed otherwise than by -EAGAIN, -ETIMEDOUT or a full queue: what, where,
/// why, and what to do. Empty if nothing has. Valid until the next call that fails, or the thread's end; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn wd_last_error() -> *const c_char {
    last_text()
}
