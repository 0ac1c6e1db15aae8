//! `libwarpdrive`: queues of accelerators for programs in C, by the calls of WarpDrive.
//!
//! `include/warpdrive.h` is made of this crate and has the documentation of what can be called. Inside:
//!
//! | | |
//! |---|---|
//! | `types` | what C and Rust both see |
//! | `calls`, `share`, `smm` | the calls |
//! | `border` | what no call lets through: panics; and how failures are told |
//! | `slots` | who may use a queue: one caller at a time, and nobody after its release |
//! | `queue`, `ring` | a queue of any kind; requests in, the same requests out |
//! | `rsa`, `zip` | requests to entries, and what came of them |
//! | `memory`, `memfd` | what a queue's device reaches, and by which addresses |

mod border;
mod calls;
#[forbid(unsafe_code)]
mod memfd;
#[forbid(unsafe_code)]
mod memory;
mod queue;
mod ring;
mod rsa;
mod share;
mod slots;
mod smm;
#[forbid(unsafe_code)]
mod types;
mod zip;

pub use self::calls::{
    wd_flush, wd_last_error, wd_recv, wd_recv_sync, wd_release_queue, wd_request_queue, wd_send, wd_send_raw,
};
pub use self::share::{
    wd_get_dma_from_va, wd_mem_share, wd_mem_unshare, wd_reserve_mem, wd_share_reserved_memory,
};
pub use self::smm::{smm_alloc, smm_free, smm_init};
pub use self::types::*;
