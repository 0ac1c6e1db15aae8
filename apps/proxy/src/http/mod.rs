//! HTTP/1.1 between a client and a server: bytes in, bytes out, nothing else. No input or output, no clock, and no
//! allocation but what is pushed to the `Vec` that is given.
//!
//! What is passed on is never what came: heads are read, judged and written anew, with exactly one framing of the content.
//! Where RFC 9112 leaves a choice, and two readers of the same bytes could see different messages, the message is
//! refused. Requests are refused with a status ([`Refusal`]), and responses become a 502 ([`response::BadResponse`]).
//!
//! - Lines end in CR LF. A bare CR or LF, a folded line and a control character are refused.
//! - Content has one length: one `Content-Length` of digits alone, or one `Transfer-Encoding: chunked` in HTTP/1.1, not both.
//! - One `Host`, which is a host. The authority of a target in absolute form replaces it.
//! - Fields of requests whose names have a `_` are dropped: to servers that make variables of fields, `X_Forwarded_For` is
//!   the same as `X-Forwarded-For`, which is ours to set.
//! - So are `X-Real-IP` and all `X-Forwarded-` fields but `X-Forwarded-For`, which is continued as `Forwarded` is.
//! - An upgrade is passed on if it has no content and does not lead to another version of HTTP or to TLS: we could not
//!   read what comes after it, and a server would.

pub mod body;
pub mod date;
pub mod error;
pub mod field;
mod head;
pub mod host;
pub mod negotiate;
pub mod request;
pub mod response;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod properties;

pub use body::Framing;
pub use error::Refusal;
pub use head::{Limits, Parsed};
pub use request::Request;
pub use response::Response;

/// The most fields that a head may have.
pub const MAX_FIELDS: usize = 128;
