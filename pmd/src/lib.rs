//! Poll-mode drivers: network ports and accelerator queues behind one set of traits each.
//!
//! A **port** ([`port::Port`]) has receive and transmit queues that move bursts of packets. A **device**
//! ([`device::Device`]) has queues that take requests and give completions: the calls of WarpDrive/uacce
//! (request_queue, send, recv, recv_sync, flush, release_queue) and their burst forms. Software engines serve such
//! queues inline or on a core of their own. Nothing here knows of pipelines.

pub mod clock;
pub mod conformance;
pub mod device;
pub mod engine;
pub mod idle;
pub mod port;
pub mod stats;
pub mod uacce;
