//! ZIP through queues, as a program uses it: whole buffers, streams, chained packets, and input that means harm.

mod damage;
mod data;
mod dictionaries;
mod feed;
mod joined;
mod lifetime;
mod limits;
mod peers;
mod rig;
mod streams;
/// Shared with the fuzz target that compares the same things.
#[path = "../../../fuzz/fuzz_targets/walk.rs"]
mod walk;
mod whole;
