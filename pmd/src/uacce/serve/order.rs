//! What a core is told, and what it tells.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::served::Parts;
use super::space::Space;
use super::tenant::Tenant;

/// What a core is told.
pub(super) enum Order {
    /// Serve a queue, of this process; it is a new one for the core if there is a tenant.
    Add(Box<Parts>, Arc<Space>, Option<Box<Tenant>>),
    /// Let go of a queue.
    Remove(u64),
    /// The last queue of a process is gone.
    End(Arc<Space>),
    /// Fail all queues and end.
    Stop,
}

/// What a core counts, for statistics.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) entries: AtomicU64,
}
