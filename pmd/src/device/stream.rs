//! Streams: what requests that continue one another have in common.

use std::any::Any;
use std::fmt;

use super::SessionId;

/// The state of an operation on bytes that come in several requests: what was seen, what is still to be written.
///
/// It travels with the request that is the next of it, and comes back with the completion. So whoever has it is the only
/// one who can continue it, requests of one stream cannot overtake each other, and a stream goes where its owner goes.
pub struct Stream(Box<Kept>);

/// Behind a pointer, so that requests are moved about cheaply.
pub(crate) struct Kept {
    /// Whose sessions these are.
    pub(crate) device: u64,
    pub(crate) session: SessionId,
    /// What the engine keeps.
    pub(crate) state: Box<dyn Any + Send>,
    pub(crate) phase: Phase,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The next request is its first.
    Fresh,
    /// It goes on.
    Begun,
    /// It failed.
    Broken,
}

impl Stream {
    pub(crate) fn new(device: u64, session: SessionId, state: Box<dyn Any + Send>) -> Self {
        Self(Box::new(Kept { device, session, state, phase: Phase::Fresh }))
    }

    pub(crate) fn kept(&mut self) -> &mut Kept {
        &mut self.0
    }

    /// The session whose operation it does.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// Forgets everything: the next request begins a new stream. Allocates nothing. A stream that has ended starts anew
    /// by itself.
    pub fn restart(&mut self) {
        self.0.phase = Phase::Fresh;
    }

    /// Whether a request of it failed: none can continue it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.phase == Phase::Broken
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("session", &self.0.session)
            .field("phase", &self.0.phase)
            .finish_non_exhaustive()
    }
}
