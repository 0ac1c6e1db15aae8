//! x
pub mod admin;
mod blocking;
pub mod demo;
pub mod log;
pub mod metrics;
