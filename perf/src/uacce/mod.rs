//! Engines behind queue files: what is left of them when another process serves them.
//!
//! | | |
//! |---|---|
//! | `served` | `warpdrive serve` in a process of its own, with its files |
//! | `client` | what this program does when it is started once more as a client |
//! | `turns` | ours and a peer in turn, with the server standing still meanwhile |
//! | `reserved` | blocks through a queue with memory that was reserved with it |
//! | the others | a bench each |

use warpdrive_pmd::device::DeviceError;
use warpdrive_pmd::uacce::UacceError;

use crate::BenchError;
use crate::measure::Better;
use crate::peers::NoPeer;

mod client;
mod many;
mod peers;
mod reserved;
mod rsa;
mod rtt;
mod served;
mod shadow;
mod turns;
mod zip;

pub use self::client::{CLIENT, play};
pub use self::many::BENCH as MANY;
pub use self::rsa::BENCH as RSA2048;
pub use self::rtt::BENCH as RTT;
pub use self::shadow::BENCH as SHADOW;
pub use self::zip::BENCH as ZIP;

/// Operations, or bytes, a second.
const RATE: (&str, Better) = ("op/s", Better::Higher);

/// A queue that cannot be had by hand.
fn no_queue(device: &str, cause: impl Into<UacceError>) -> BenchError {
    BenchError::Device(DeviceError::Uacce { device: device.to_owned(), cause: cause.into() })
}

/// Why a queue does nothing any more.
fn lost(cause: warpdrive_pmd::uacce::Lost) -> BenchError {
    BenchError::Program {
        program: "the server of queue files".to_owned(),
        what: cause.to_string(),
        remedy: "run the bench again; if it is the same, report it".to_owned(),
    }
}

/// Of a value that is of interest by itself.
fn alone(peer: &'static str, why: &str) -> NoPeer {
    NoPeer { peer, why: why.to_owned() }
}
