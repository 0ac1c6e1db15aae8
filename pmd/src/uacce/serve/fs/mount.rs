//! Mounts and unmounts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FsWord, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use super::FsError;

/// What statfs says of FUSE (Linux `include/uapi/linux/magic.h`).
const FUSE_SUPER_MAGIC: FsWord = 0x6573_5546;
/// Mounts that servers may have left on top of each other.
const MAX_STALE: usize = 64;

/// Takes away what servers that were killed have left at `path`, and insists on a folder there where nobody else is.
pub(super) fn clear(path: &Path) -> Result<(), FsError> {
    let folder = |cause| FsError::Folder { path: path.to_owned(), cause };
    for _ in 0..MAX_STALE {
        match rustix::fs::statfs(path) {
            Ok(found) if found.f_type == FUSE_SUPER_MAGIC && is_root(path) => {
                return Err(FsError::Taken { path: path.to_owned() });
            }
            Ok(_) if path.is_dir() => return Ok(()),
            Ok(_) => return Err(folder(Errno::NOTDIR.into())),
            Err(Errno::NOTCONN) => unmount(path, UnmountFlags::DETACH)
                .map_err(|cause| FsError::Stale { path: path.to_owned(), cause })?,
            Err(cause) => return Err(folder(cause.into())),
        }
    }
    Err(folder(io::Error::other(format!("more than {MAX_STALE} mounts of servers that ended"))))
}

fn is_root(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// A file system for `path` that is not yet there, and the descriptor that its requests are read from.
pub(super) fn create(path: &Path) -> Result<(OwnedFd, Root), FsError> {
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|cause| FsError::Device { cause })?;
    let failed = |step| move |cause| FsError::Mount { path: path.to_owned(), step, cause };
    let new = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|cause| match cause {
        Errno::NODEV => FsError::Device { cause },
        _ => failed("fsopen")(cause),
    })?;
    configure(&new, &device).map_err(failed("fsconfig"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(new.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount"))?;
    Ok((device, Root(root)))
}

fn configure(new: &OwnedFd, device: &OwnedFd) -> Result<(), Errno> {
    fsconfig_set_string(new.as_fd(), "source", "warpdrive")?;
    fsconfig_set_string(new.as_fd(), "subtype", "warpdrive")?;
    fsconfig_set_string(new.as_fd(), "fd", device.as_raw_fd().to_string())?;
    // A directory; of root, as whoever mounts.
    fsconfig_set_string(new.as_fd(), "rootmode", "40000")?;
    fsconfig_set_string(new.as_fd(), "user_id", "0")?;
    fsconfig_set_string(new.as_fd(), "group_id", "0")?;
    // All users come here, and the kernel checks modes before they do.
    fsconfig_set_flag(new.as_fd(), "allow_other")?;
    fsconfig_set_flag(new.as_fd(), "default_permissions")?;
    fsconfig_create(new.as_fd())
}

/// The root of a file system. Dropping it before it is attached ends the file system.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// Lets it be seen at `path`.
    pub(super) fn attach(&self, path: &Path) -> Result<(), FsError> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(self.0.as_fd(), "", CWD, path, flags).map_err(|cause| FsError::Mount {
            path: path.to_owned(),
            step: "move_mount",
            cause,
        })
    }

    /// Takes it away from wherever it is now, and ends its connection, whoever has files open. False: it is nowhere.
    pub(super) fn detach(self) -> bool {
        // By its descriptor, because something else may be at its path by now.
        let root = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        unmount(root, UnmountFlags::FORCE | UnmountFlags::DETACH).is_ok()
    }
}
