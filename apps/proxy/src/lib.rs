//! An HTTPS reverse proxy whose RSA and ZIP work is done by accelerator queues.

pub mod http;
