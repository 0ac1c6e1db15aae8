//! The dataplane: which cores work, on what, and the loop each of them runs.

pub mod cores;
