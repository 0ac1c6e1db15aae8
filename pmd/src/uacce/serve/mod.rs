//! The other side of a queue file: what makes this machine's engines uacce devices of other programs.
//!
//! An [`Accelerator`] hands out a [`QueueFile`] for each time that somebody opens it. Who presents them as files does nothing but
//! pass on what the kernel tells of these; the data path is the memory behind the file, which the file's user and the
//! accelerator both map.

pub mod fs;

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

mod agent;
mod bounce;
mod core;
mod device;
mod engines;
mod flight;
mod guard;
mod handle;
mod hpre;
mod keys;
mod memory;
mod order;
mod ring;
mod served;
mod server;
mod space;
mod tenant;
#[cfg(test)]
mod tests;
mod turns;
mod vm;
mod work;
mod zip;

pub use self::server::{CoreConfig, DeviceConfig, Function, Inputs, Server, ServerConfig};

/// A process, by its number (of the process, not of a thread) as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process(pub u32);

/// An attribute of a device in sysfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its path below the device's folder, such as `api` or `device/numa_node`.
    pub path: &'static str,
    /// What is in it, with the newline at its end.
    pub value: String,
}

/// Who may open a queue file: as of any file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Bits of the mode, such as `0o660`.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A device that can be opened.
pub trait Accelerator: Send + Sync {
    /// Its name in sysfs and in `/dev`, such as `hisi_zip-0`.
    fn name(&self) -> &str;

    /// Who may open it.
    fn permissions(&self) -> Permissions;

    /// The paths of its attributes.
    fn attributes(&self) -> &[&'static str];

    /// The value of one of them as it is now, with the newline at its end.
    ///
    /// # Errors
    /// `ENOENT`: it has none of this name.
    fn attribute(&self, path: &str) -> Result<String, Errno>;

    /// What somebody writes to an attribute.
    ///
    /// # Errors
    /// `EACCES`: it can only be read; `EINVAL`: it cannot have this value.
    fn set_attribute(&self, path: &str, value: &str) -> Result<(), Errno>;

    /// A queue of its own for who has opened the file.
    ///
    /// # Errors
    /// `EBUSY`: there are no more, or none for this process; `EACCES`: not for this process; `ENODEV`: the device ends.
    fn open(&self, opener: Process) -> Result<Box<dyn QueueFile>, Errno>;
}

/// Wakes whoever waits for a queue file, once: what poll and epoll have left behind.
pub trait Waker: Send {
    /// Wakes them.
    fn wake(self: Box<Self>);
}

/// An open queue file. Dropping it releases the queue.
pub trait QueueFile: Send + Sync {
    /// The file whose pages are those of the queue file: what mmap of it maps.
    fn memory(&self) -> BorrowedFd<'_>;

    /// A call by `caller`: the argument is what it has given, and the result what it gets back, as many bytes as the number of the
    /// command says.
    ///
    /// # Errors
    /// `EPERM`: it is not who has opened it; `ENOTTY`: no such call; and those of the call.
    fn ioctl(&self, caller: Process, command: u32, argument: &[u8]) -> Result<Vec<u8>, Errno>;

    /// Whether a call of this number may wait for something: it must not keep the calls of others.
    fn may_wait(&self, command: u32) -> bool {
        let _ = command;
        false
    }

    /// Whether a completion waits to be taken (`POLLIN`). If not, `waker` is called when one comes; it takes the place of the last
    /// one. `Err` when the queue has failed (`POLLERR`).
    ///
    /// # Errors
    /// `EIO`: the queue has failed.
    fn poll(&self, waker: Option<Box<dyn Waker>>) -> Result<bool, Errno>;
}
