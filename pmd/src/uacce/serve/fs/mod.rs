//! Presents devices as files, by a FUSE file system of this process: `dev/NAME` is the queue file of a device, and
//! `class/uacce/NAME/ATTRIBUTE` are its attributes as sysfs has them.
//!
//! Only calls (open, ioctl, poll, close) and attributes come here. What is stored to a mapping of a queue file goes to the memory of
//! [`QueueFile`](super::QueueFile) itself, which the kernel puts in the file's place (`FUSE_PASSTHROUGH`, Linux 6.9).
//!
//! A queue file differs from a device of the kernel in three things: read and write reach the memory; a file that is open cannot be opened
//! once more by its descriptor (`/proc/self/fd/N`) or a mount of this file alone, but only by its name; and a mapping outlives the close.
//!
//! Who serves files must not use them in the same process: killed in the midst of a request, it would wait for its own answer.

mod caller;
mod mount;
mod opened;
mod requests;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::io::Errno;
use thiserror::Error;

use super::Accelerator;
use requests::Requests;
use tree::Tree;

/// Threads that answer requests: so many of them may be slow before others wait.
const THREADS: usize = 4;

/// Why devices cannot be presented.
#[derive(Debug, Error)]
pub enum FsError {
    /// There is no folder to put them at.
    #[error("{path}: {cause}. Remedy: mkdir -p {path}, as root", path = path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file system of somebody else is there.
    #[error("{path}: a FUSE file system is mounted here and answers: another server? Remedy: end it, or choose another folder", path = path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// What a server that ended has left cannot be taken away.
    #[error("{path}: the mount of a server that ended cannot be detached: {cause}. Remedy: umount -l {path}, as root", path = path.display())]
    Stale {
        /// Where.
        path: PathBuf,
        /// Why not.
        cause: Errno,
    },
    /// The kernel has no FUSE, or it is not permitted here.
    #[error("/dev/fuse: {cause}. Remedy: modprobe fuse, as root; in a container, give it /dev/fuse")]
    Device {
        /// Why not.
        cause: Errno,
    },
    /// The kernel's FUSE cannot put memory in a file's place.
    #[error(
        "FUSE of this kernel has no passthrough. Remedy: Linux 6.9 or later, with CONFIG_FUSE_PASSTHROUGH"
    )]
    Passthrough,
    /// It cannot be mounted.
    #[error("{path}: mount of a FUSE file system: {step}: {cause}. Remedy: root (CAP_SYS_ADMIN)", path = path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// What failed.
        step: &'static str,
        /// Why.
        cause: Errno,
    },
    /// The session with the kernel does not start.
    #[error("FUSE: {0}")]
    Session(#[source] io::Error),
    /// A name that cannot be that of a file, or that is there twice.
    #[error("device {device:?}: {name:?} cannot be the name of a file of it, or is there twice")]
    Name {
        /// The device.
        device: String,
        /// Its name, or the path of an attribute.
        name: String,
    },
    /// More files than there are numbers for.
    #[error("more than {max} files", max = tree::MAX_NODES)]
    TooMany,
}

/// Devices that are presented, until it is dropped: then who has a queue open loses it, and the folder is as it was before.
#[derive(Debug)]
pub struct Mounted {
    root: Option<mount::Root>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// Presents `devices` in the folder `path`. What a server that was killed has left there is taken away before.
    ///
    /// Attributes that cannot be written to (`EACCES`) are found out by setting each to the value it has.
    ///
    /// # Errors
    /// As [`FsError`] says.
    pub fn new(path: &Path, devices: Vec<Arc<dyn Accelerator>>) -> Result<Self, FsError> {
        let tree = Tree::new(devices)?;
        mount::clear(path)?;
        let (device, root) = mount::create(path)?;
        let mut config = Config::default();
        (config.acl, config.n_threads, config.clone_fd) = (SessionACL::All, Some(THREADS), true);
        let session = Session::from_fd(Requests::new(tree), device, SessionACL::All, config);
        let session = session.map_err(|cause| match cause.raw_os_error() {
            Some(requests::NO_PASSTHROUGH) => FsError::Passthrough,
            _ => FsError::Session(cause),
        })?;
        let session = session.spawn().map_err(FsError::Session)?;
        // From here on requests are answered, so it may be seen. If it cannot, dropping the root ends the session.
        root.attach(path)?;
        Ok(Self { root: Some(root), session: Some(session) })
    }

    /// Whether nobody is served any more, because somebody else has ended the connection with the kernel (`umount -f`).
    #[must_use]
    pub fn ended(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.guard.is_finished())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let detached = self.root.take().is_some_and(mount::Root::detach);
        let Some(session) = self.session.take() else { return };
        // Unmounted lazily by somebody else, it is served to those who have files open: this must not wait for them.
        if !detached && !session.guard.is_finished() {
            tracing::warn!(
                "queue files are still open in a folder that was unmounted: they are served until closed"
            );
            return;
        }
        if let Err(cause) = session.join() {
            tracing::warn!("requests for queue files: {cause}");
        }
    }
}
