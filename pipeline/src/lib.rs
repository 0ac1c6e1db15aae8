//! The dataplane: TOML to a checked plan, a plan to pinned workers, and what they count.
//!
//! Read [`worker`] first: it is the poll loop, and everything else prepares for it or reports on it.

pub mod config;
pub mod cores;
pub mod demo;
pub mod diag;
mod dictionary;
mod keys;
pub mod launch;
pub mod plan;
pub mod running;
pub mod service;
pub mod snapshot;
pub mod stage;
pub mod stats;
pub mod strict;
mod thread;
mod uacce;
pub mod wire;
pub mod worker;
