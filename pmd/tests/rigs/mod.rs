//! One rig for each driver and engine. A new one needs a type here and a test in `conformance.rs`.

pub mod netns;
pub mod port;
pub mod rsa;
pub mod uacce;
pub mod zip;
