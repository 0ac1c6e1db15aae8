//! A place for files of devices that only the test sees.

use std::os::unix::fs::PermissionsExt as _;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;
use warpdrive_pmd::uacce::serve::fs::{FsError, Mounted};

/// A folder in a mount namespace of this thread and of those that it starts; says why if there can be none.
pub fn space() -> Option<tempfile::TempDir> {
    // SAFETY: no arguments, no memory.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return None;
    }
    // SAFETY: descriptors stay shared.
    if let Err(e) = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) } {
        eprintln!("skipped: needs mount namespaces: {e}");
        return None;
    }
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if let Err(e @ (FsError::Device { .. } | FsError::Passthrough)) = Mounted::new(folder.path(), vec![]) {
        eprintln!("skipped: {e}");
        return None;
    }
    Some(folder)
}
