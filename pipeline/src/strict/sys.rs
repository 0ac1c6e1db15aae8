//! The kernel's side of strict workers, from `linux/seccomp.h`: all that is unsafe about them.
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals that a fault raises in the thread that did it, and that nobody else could handle.
const OF_FAULTS: [libc::c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT];

/// Keeps signals for the process away from the calling thread: to return from a handler is a system call.
pub(super) fn leave_signals_to_others() -> io::Result<()> {
    // SAFETY: a signal set is plain bytes, for which zero is a value.
    let mut all: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: these write the set and nothing else; the numbers are those of signals.
    unsafe {
        libc::sigfillset(&raw mut all);
        for signal in OF_FAULTS {
            libc::sigdelset(&raw mut all, signal);
        }
    }
    // SAFETY: the set was filled above; a null pointer means that the old mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Whether the kernel's notifications have the size that this program was built for.
pub(super) fn sizes_fit() -> io::Result<bool> {
    // SAFETY: numbers, for which zero is a value.
    let mut sizes: libc::seccomp_notif_sizes = unsafe { zeroed() };
    // SAFETY: the kernel writes one seccomp_notif_sizes.
    let code = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            (&raw mut sizes).cast::<libc::c_void>(),
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::from(sizes.seccomp_notif) <= size_of::<libc::seccomp_notif>()
        && usize::from(sizes.seccomp_notif_resp) <= size_of::<libc::seccomp_notif_resp>())
}

/// Installs a filter on the calling thread. Each of its calls that the filter does not allow waits, from now on, for an
/// answer by way of the descriptor.
pub(super) fn install(filter: &mut [libc::sock_filter]) -> io::Result<OwnedFd> {
    // Without SPEC_ALLOW kernels before 5.16 would slow the whole thread down, by forbidding it to speculate on stores.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to `len` instructions, which the kernel copies and checks.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            (&raw const program).cast::<libc::c_void>(),
        )
    };
    match libc::c_int::try_from(fd) {
        // SAFETY: with NEW_LISTENER the result is a new descriptor, which nobody else knows of.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a notification: a call that waits.
pub(super) fn receive(listener: BorrowedFd<'_>) -> io::Result<libc::seccomp_notif> {
    // SAFETY: numbers, for which zero is a value; the kernel insists on it.
    let mut notification: libc::seccomp_notif = unsafe { zeroed() };
    // SAFETY: the kernel writes one seccomp_notif, of at most the size that `sizes_fit` compared.
    let code =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification) };
    if code == 0 { Ok(notification) } else { Err(io::Error::last_os_error()) }
}

/// Lets the kernel execute a call that waits.
pub(super) fn let_continue(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the kernel reads one seccomp_notif_resp.
    let code = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes to standard error and ends the process, without a lock, a destructor or a handler: whoever holds a lock may be
/// waiting for an answer that never comes.
pub(super) fn end_process(last_words: &[u8]) -> ! {
    // SAFETY: the pointer and the length are those of the slice; descriptor 2 may be closed, which is an error and no more.
    unsafe { libc::write(libc::STDERR_FILENO, last_words.as_ptr().cast(), last_words.len()) };
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(1) }
}
