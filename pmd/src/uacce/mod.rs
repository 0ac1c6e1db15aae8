//! WarpDrive/uacce: accelerators behind queue files.
//!
//! A process opens `/dev/NAME` and has a queue of the accelerator NAME; it maps the queue's regions, starts it, and from then
//! on sends and receives by memory alone. [`abi`] is what both sides of such a file agree upon.

pub mod abi;
pub mod discover;
mod error;
#[cfg(test)]
mod fake;
mod file;
mod fork;
pub mod queue;
pub mod serve;

pub use self::discover::{DiscoverError, Extensions, Roots, UacceInfo};
pub use self::error::{Lost, UacceError};
pub use self::queue::QmQueue;
