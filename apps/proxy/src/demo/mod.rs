//! What makes a first start work without preparation: a server to stand behind the proxy, and a certificate for it.

pub mod backend;
pub mod certificate;
