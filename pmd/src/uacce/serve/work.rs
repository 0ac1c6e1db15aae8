//! What kinds of queues have in common when they go on with a request.

use rustix::io::Errno;

use super::bounce::Slots;
use super::engines::Engines;
use super::flight::Failure;
use super::keys::Keys;
use super::space::Table;
use super::zip::Streams;
use crate::device::Request;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Rsa,
    Zip,
}

/// What is next for a request.
pub(super) enum Next {
    /// Its errand, by the agent.
    Errand,
    /// Its errand was in vain, because there are too many keys: again, when there is one fewer.
    Crowded,
    /// It waits until the process has a key less in use.
    Held,
    /// A request to an engine.
    Engine(Engine, Request),
    /// It goes back.
    Done,
}

/// What a request can use of its process, its queue and its core.
pub(super) struct Context<'a> {
    pub(super) table: &'a Table,
    /// Whether memory may be used that the process has not given.
    pub(super) far: bool,
    pub(super) slots: &'a mut Slots,
    pub(super) keys: &'a mut Keys,
    pub(super) engines: &'a Engines,
    pub(super) streams: &'a mut Streams,
    /// Of a queue for ZIP: compression, and its level.
    pub(super) compress: bool,
    pub(super) level: u8,
    /// Whether inputs are worked on where the process has them, and not in a copy.
    pub(super) in_place: bool,
    /// Nobody waits for results any more.
    pub(super) over: bool,
}

impl Context<'_> {
    /// What the process hears of an errand that failed.
    pub(super) fn failure(&self, errno: Errno) -> Failure {
        match errno {
            Errno::FAULT | Errno::SRCH | Errno::IO => Failure::Address,
            _ => Failure::Parameter,
        }
    }
}
