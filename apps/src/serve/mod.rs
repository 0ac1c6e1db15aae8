//! Devices for other programs.

pub mod command;
pub mod with_devices;
