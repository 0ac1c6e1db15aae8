//! Devices for other programs.

pub mod command;
