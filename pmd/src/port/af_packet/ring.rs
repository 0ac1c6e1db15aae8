//! The memory that a packet socket shares with the kernel: mapped once, read and written by offset.
//!
//! Layouts: linux/if_packet.h; Documentation/networking/packet_mmap.rst.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::port::netdev::check;

/// A packet socket with its ring. The ring's accesses are checked against its length.
pub(super) struct Ring {
    pub(super) socket: OwnedFd,
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone in this process; it has no tie to a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring that was set up on `socket`.
    pub(super) fn map(socket: OwnedFd, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice. MAP_POPULATE: no page faults later.
        let ptr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        if ptr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ptr = NonNull::new(ptr.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { socket, ptr, len })
    }

    #[inline]
    fn at(&self, offset: usize, len: usize, align: usize) -> NonNull<u8> {
        assert!(offset.is_multiple_of(align) && offset <= self.len && len <= self.len - offset);
        // SAFETY: within the mapping, just checked.
        unsafe { self.ptr.add(offset) }
    }

    /// A status word, which the kernel and this process hand back and forth.
    #[inline]
    pub(super) fn status(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: mapped as long as `self` lives, aligned (checked in `at`; the mapping begins on a page); the kernel
        // accesses it as one word too.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4, 4).as_ptr().cast()) }
    }

    #[inline]
    pub(super) fn u32(&self, offset: usize) -> u32 {
        self.status(offset).load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_u32(&self, offset: usize, value: u32) {
        self.status(offset).store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn u16(&self, offset: usize) -> u16 {
        // SAFETY: as in `status`; volatile because the kernel writes there.
        unsafe { self.at(offset, 2, 2).cast::<u16>().as_ptr().read_volatile() }
    }

    /// Copies bytes out, or says that the range is not in the ring.
    #[inline]
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        if offset > self.len || to.len() > self.len - offset {
            return false;
        }
        // SAFETY: in the mapping; `to` is not, since it is a reference to other memory. The kernel does not write to a
        // block that is ours, and if it did, the bytes would only be wrong.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr.as_ptr().add(offset), to.as_mut_ptr(), to.len()) };
        true
    }

    /// Copies bytes in.
    #[inline]
    pub(super) fn write(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len(), 1);
        // SAFETY: `at` checked the range; as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once; references into it cannot outlive `self`.
        unsafe { libc::munmap(self.ptr.as_ptr().cast(), self.len) };
    }
}

/// `setsockopt(SOL_PACKET, …)` with a plain C structure or integer.
pub(super) fn set_option<T: Copy>(socket: &OwnedFd, option: i32, value: T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
}

/// `getsockopt(SOL_PACKET, …)` into `N` words.
pub(super) fn get_option<const N: usize>(socket: &OwnedFd, option: i32) -> io::Result<[u32; N]> {
    let mut value = [0u32; N];
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel writes up to `len` bytes to `value`.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

/// Binds a packet socket to an interface. `protocol` 0 receives nothing.
pub(super) fn bind(socket: &OwnedFd, index: i32, protocol: u16) -> io::Result<()> {
    // SAFETY: all zeroes is a sockaddr_ll; the kernel reads the structure whose size is given.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = index;
        let len = size_of_val(&address) as libc::socklen_t;
        check(libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), len))
    }
}

/// Tells the kernel to send what is marked in the transmit ring, without waiting.
pub(super) fn kick(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: no data and no address are passed.
    let n = unsafe { libc::send(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
