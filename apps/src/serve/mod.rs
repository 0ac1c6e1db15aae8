//! Devices for other programs.

pub mod with_devices;
