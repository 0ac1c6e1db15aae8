//! Why a queue of a uacce device cannot be had, and how one is lost.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::discover::DiscoverError;

/// Why a device or a queue cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UacceError {
    /// The device is not found or not understood.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The queue file cannot be opened.
    #[error("cannot open {}: {cause}. Remedy: {}", .path.display(), open_remedy(.cause))]
    Open {
        /// The queue file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A region cannot be mapped.
    #[error(
        "{device}: cannot map {bytes} bytes of its {region}: {cause}. Remedy: check {region}'s size in sysfs, and limits on memory"
    )]
    Map {
        /// The device.
        device: String,
        /// Which region.
        region: &'static str,
        /// How much.
        bytes: usize,
        /// Why not.
        cause: io::Error,
    },
    /// A call of the queue file fails.
    #[error("{device}: {call} fails: {cause}. Remedy: {remedy}")]
    Call {
        /// The device.
        device: String,
        /// Which call.
        call: &'static str,
        /// Why.
        cause: Errno,
        /// What to do.
        remedy: &'static str,
    },
    /// The queue is not one that is known here.
    #[error("{device}: {what}")]
    Layout {
        /// The device.
        device: String,
        /// What is wrong with it, and the remedy.
        what: String,
    },
    /// The device came back as another one.
    #[error(
        "{device} is not what it was: {what}. Remedy: have it served as before, or start this program anew"
    )]
    Changed {
        /// The device.
        device: String,
        /// In what.
        what: String,
    },
    /// The depth is impossible.
    #[error("{device}: a queue of depth {depth} is not possible: 1 to {max}")]
    Depth {
        /// The device.
        device: String,
        /// The depth asked for.
        depth: usize,
        /// The largest possible.
        max: usize,
    },
    /// Memory for the device cannot be had.
    #[error("{device}: {what}: {cause}")]
    Memory {
        /// The device.
        device: String,
        /// What for.
        what: &'static str,
        /// Why not.
        cause: String,
    },
}

fn open_remedy(cause: &io::Error) -> &'static str {
    match Errno::from_io_error(cause) {
        Some(Errno::BUSY) => "release queues elsewhere: all are in use",
        Some(Errno::ACCESS | Errno::PERM) => "permission to open it",
        Some(Errno::NOENT | Errno::NOTCONN | Errno::NODEV) => "start who serves the device",
        _ => "another device",
    }
}

/// Why a queue does nothing any more. What was in flight will not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// This is a child of the process whose queue it is.
    #[error("the queue is the parent process's. Remedy: request a queue in this process")]
    Child,
    /// The device says that it has failed.
    #[error("the device has failed. Remedy: release the queue and request another")]
    Device,
    /// The process that serves the device is gone.
    #[error("who serves the device is gone. Remedy: start it again, release the queue and request another")]
    Server,
    /// The device has written what makes no sense.
    #[error(
        "the device writes completions of nothing that was sent. Remedy: release the queue; report it to who makes the device"
    )]
    Nonsense,
}
