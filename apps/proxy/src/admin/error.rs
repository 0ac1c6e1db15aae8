//! Why there is no admin address.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why there is no admin address.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are in the message")]
pub enum AdminError {
    /// Neither an address nor a path.
    #[error(
        "admin = {listen:?} is neither an address nor a path. Remedy: an address with a port, such as 127.0.0.1:9443, or a \
         path with a slash, such as ./warpdrive.sock"
    )]
    Neither { listen: String },
    /// An address that others can reach.
    #[error(
        "admin address {address} is not of the loopback: others could read it. Remedy: 127.0.0.1:{} or [::1]:{}, and \
         a tunnel for who is elsewhere",
        address.port(), address.port()
    )]
    NotLoopback { address: SocketAddr },
    /// It cannot be listened at.
    #[error(
        "admin address {address} cannot be used: {cause}. Remedy: another port, or end the program that has it"
    )]
    Address { address: SocketAddr, cause: io::Error },
    /// Another program listens there.
    #[error("admin socket {path:?} is in use by another program. Remedy: another path, or end that program")]
    InUse { path: PathBuf },
    /// There is something else.
    #[error("admin socket {path:?}: there is a file that is no socket. Remedy: another path, or remove it")]
    NotASocket { path: PathBuf },
    /// It cannot be made.
    #[error(
        "admin socket {path:?} cannot be made: {cause}. Remedy: a folder that is there and can be written to"
    )]
    Path { path: PathBuf, cause: io::Error },
    /// There is no thread.
    #[error(
        "admin address {listen}: no thread can be started: {cause}. Remedy: more threads for this user (ulimit -u)"
    )]
    Thread { listen: String, cause: io::Error },
}
