//! The conformance suite: what every port driver and every engine must do, written once.
//!
//! A driver takes part by a **rig**: a [`PortRig`] opens two ports that its medium joins, a [`DeviceRig`] offers a
//! device and valid requests. Then a test is one line:
//!
//! ```no_run
//! # use warpdrive_pmd::conformance::{self, PortRig};
//! # fn test(mut rig: impl PortRig) {
//! conformance::check_port(&mut rig);
//! # }
//! ```
//!
//! The checks panic with the rig's name and the rule that was broken; this module is for tests.

mod device;
mod port;

pub use device::{DeviceRig, check_device};
pub use port::{Ends, Medium, PortRig, Receiver, check_port};
