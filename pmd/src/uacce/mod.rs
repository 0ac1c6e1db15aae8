//! WarpDrive/uacce: accelerators behind queue files.
//!
//! A process opens `/dev/NAME` and has a queue of the accelerator NAME; it maps the queue's regions, starts it, and from then
//! on sends and receives by memory alone. [`abi`] is what both sides of such a file agree upon.

pub mod abi;
mod channel;
mod device;
pub mod discover;
mod driver;
mod error;
#[cfg(test)]
mod fake;
mod file;
mod fork;
mod hpre;
mod keeper;
mod memory;
mod operands;
pub mod queue;
mod reserve;
mod scratch;
pub mod serve;
mod share;
#[cfg(test)]
mod tests;
mod zip;

pub use self::device::{UacceDevice, UacceOptions};
pub use self::discover::{DiscoverError, Extensions, Roots, UacceInfo};
pub use self::error::{Lost, UacceError};
pub use self::fork::Lineage;
pub use self::queue::QmQueue;
pub use self::reserve::Reserved;

/// Where `warpdrive serve` presents its devices, as a tree with `dev` and `class`.
pub const EXPOSE: &str = "/run/warpdrive";
