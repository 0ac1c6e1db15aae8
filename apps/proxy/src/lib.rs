//! An HTTPS reverse proxy whose RSA and ZIP work is done by accelerator queues.
//!
//! It is a [`Service`](warpdrive_pipeline::service::Service) that a worker of the dataplane polls: [`service`] has its round. A
//! [`Client`](client::Client) is a connection with its requests; all that clients have in common is the [`Core`](core::Core).

pub mod admin;
mod blocking;
mod changes;
mod check;
pub mod client;
pub mod core;
pub mod demo;
pub mod http;
mod load;
pub mod log;
mod maker;
pub mod metrics;
pub mod net;
pub mod service;
pub mod timer;
pub mod tls;
pub mod upstream;
pub mod zip;

pub use admin::{Ask, Outcome};
pub use changes::first_fixed;
pub use check::check;
pub use maker::Proxies;
