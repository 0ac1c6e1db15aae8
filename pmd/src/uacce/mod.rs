//! WarpDrive/uacce: accelerators behind queue files.
//!
//! A process opens `/dev/NAME` and has a queue of the accelerator NAME; it maps the queue's regions, starts it, and from then
//! on sends and receives by memory alone. [`abi`] is what both sides of such a file agree upon.

pub mod abi;
pub mod serve;

/// Where `warpdrive serve` presents its devices, as a tree with `dev` and `class`.
pub const EXPOSE: &str = "/run/warpdrive";
