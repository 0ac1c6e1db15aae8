//! A process as a core has it.

use std::collections::VecDeque;
use std::sync::Arc;

use rustix::io::Errno;
use warpdrive_mempool::Domain;

use super::agent::Agent;
use super::bounce::Slots;
use super::engines::Engines;
use super::flight::Flight;
use super::keys::Keys;
use super::space::{ABSENT, Space, Table};

/// A process with queues at a core, and what it may have there at once.
pub(super) struct Tenant {
    pub(super) space: Arc<Space>,
    pub(super) table: Arc<Table>,
    seen: u64,
    core: usize,
    pub(super) agent: Agent,
    /// Whether the agent was given something since it was woken.
    pub(super) news: bool,
    pub(super) slots: Slots,
    pub(super) keys: Keys,
    /// Requests that it may still begin. Boxed, because they are handed about.
    #[expect(clippy::vec_box, reason = "they change hands as boxes")]
    pub(super) free: Vec<Box<Flight>>,
    limit: usize,
    /// Requests that wait until a key can be kept. There is room for all.
    pub(super) held: VecDeque<Box<Flight>>,
    /// Its last queue is gone: it goes when its requests are back.
    pub(super) over: bool,
}

impl Tenant {
    /// One that may have so many requests at once. All that it needs is allocated here.
    pub(super) fn new(
        space: &Arc<Space>,
        core: usize,
        engines: &Arc<Engines>,
        domain: &Domain,
        limit: usize,
    ) -> Result<Self, Errno> {
        let limit = limit.max(1);
        let agent = Agent::start(space, engines, domain, limit)?;
        // Two each: what comes in and what goes out.
        let slots = Slots::new(2 * limit as u32, domain)?;
        let mut this = Self {
            space: Arc::clone(space),
            table: Arc::default(),
            seen: ABSENT,
            core,
            agent,
            news: false,
            slots,
            keys: Keys::default(),
            free: (0..limit).map(|_| Box::default()).collect(),
            limit,
            held: VecDeque::with_capacity(limit),
            over: false,
        };
        this.refresh();
        Ok(this)
    }

    /// Goes by what the process has given by now.
    #[inline]
    pub(super) fn refresh(&mut self) {
        let changes = self.space.changes();
        if changes != self.seen {
            self.table = self.space.table();
            self.seen = changes;
            self.space.saw(self.core, changes);
        }
    }

    /// A request that was held and can go on.
    #[inline]
    pub(super) fn let_go(&mut self) -> Option<Box<Flight>> {
        if self.held.is_empty() || !self.keys.has_room() {
            return None;
        }
        self.held.pop_front()
    }

    /// How many requests it may have at once.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether all its requests are back.
    pub(super) fn is_home(&self) -> bool {
        self.free.len() == self.limit
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.space.saw(self.core, ABSENT);
    }
}
