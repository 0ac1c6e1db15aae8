//! Addresses and sockets that only this machine, or only this user, can reach.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{AdminError, Place, is_nobody};
use crate::blocking::Listener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// The file of a socket, which is removed when this is dropped: unless it is another's meanwhile.
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |m: fs::Metadata| (m.dev(), m.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is written is an address of the loopback, or a path.
pub fn read(listen: &str) -> Result<Place, AdminError> {
    if listen.contains('/') {
        return Ok(Place::Path(PathBuf::from(listen)));
    }
    let address: SocketAddr =
        listen.parse().map_err(|_| AdminError::Neither { listen: listen.to_owned() })?;
    if !address.ip().is_loopback() {
        return Err(AdminError::NotLoopback { address });
    }
    Ok(Place::Address(address))
}

/// Listens.
pub fn open(listen: &str) -> Result<(Listener, Place, Option<SocketFile>), AdminError> {
    let address = match read(listen)? {
        Place::Address(address) => address,
        Place::Path(path) => {
            let (listener, file) = socket(&path)?;
            return Ok((Listener::Unix(listener), Place::Path(path), Some(file)));
        }
    };
    let bound = TcpListener::bind(address).and_then(|l| Ok((l.local_addr()?, l)));
    let (address, listener) = bound.map_err(|cause| AdminError::Address { address, cause })?;
    Ok((Listener::Tcp(listener), Place::Address(address), None))
}

fn socket(path: &Path) -> Result<(UnixListener, SocketFile), AdminError> {
    remove_stale(path)?;
    let failed = |cause: io::Error| AdminError::Path { path: path.to_owned(), cause };
    let made = || -> io::Result<(UnixListener, SocketFile)> {
        let address = SocketAddrUnix::new(path)?;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &address)?;
        // Nobody can connect before it listens: there is no moment at which others could.
        let file = fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.to_owned(), device: file.dev(), inode: file.ino() };
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok((UnixListener::from(socket), file))
    };
    made().map_err(failed)
}

/// Removes a socket that nobody listens at.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let failed = |cause| AdminError::Path { path: path.to_owned(), cause };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(failed(cause)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(AdminError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(e) if is_nobody(&e) => match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
            _ => Ok(()),
        },
        // Whoever it is, it is somebody; also if we may not connect.
        _ => Err(AdminError::InUse { path: path.to_owned() }),
    }
}
