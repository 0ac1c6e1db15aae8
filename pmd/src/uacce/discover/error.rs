//! Why a device is not found.

use std::io;
use std::path::PathBuf;

/// Why a device is not found, or cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// There is no list of devices.
    #[error(
        "no uacce devices: cannot list {}: {cause}. Remedy: a kernel with uacce and a driver for the hardware, or \
         `warpdrive serve` and the folder where it shows its devices", .path.display()
    )]
    NoList {
        /// The folder.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// An attribute cannot be read.
    #[error("cannot read {}: {cause}. Remedy: {}", .path.display(), read_remedy(.cause))]
    Unreadable {
        /// The attribute.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// An attribute is not what it should be.
    #[error("{} has {found:?}: {expected} was expected. Remedy: leave the device out, or mend who presents it", .path.display())]
    Malformed {
        /// The attribute.
        path: PathBuf,
        /// What is in it, the first of it.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// No device has the name, or does this.
    #[error("no uacce device in {} is named {wanted:?} or does it{}. Remedy: one of these names, or what they do", .path.display(), offer(.offered))]
    NotFound {
        /// The folder of all devices.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// There are devices, but none that has a queue left or that works.
    #[error("all uacce devices for {wanted:?} are in use or out of order ({}). Remedy: release queues elsewhere, or try later", .devices.join(", "))]
    Exhausted {
        /// What was asked for.
        wanted: String,
        /// Which devices.
        devices: Vec<String>,
    },
}

fn read_remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotConnected => {
            "start who serves the device, or use another one"
        }
        _ => "permission to read it, or another device",
    }
}

fn offer(offered: &[String]) -> String {
    if offered.is_empty() {
        "; there is none at all".to_owned()
    } else {
        format!("; there is {}", offered.join("; "))
    }
}
