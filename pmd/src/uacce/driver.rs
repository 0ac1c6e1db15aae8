//! What is between queues, which know nothing of what they carry, and drivers of algorithms, which know nothing of queues.

use std::any::Any;
use std::sync::Arc;

use warpdrive_mempool::{Domain, DomainView};

use super::discover::UacceInfo;
use super::file::Opener;
use super::fork::Lineage;
use super::keeper::Keeper;
use super::queue::Entry;
use super::scratch::Arena;
use crate::device::{Request, SessionSpec, Status};
use crate::engine::meter::Meters;
use crate::engine::sessions::Sessions;
use crate::engine::{Outcome, Report};

/// What the queues of a device have in common.
pub(super) struct Parts<S> {
    /// What the configuration calls it.
    pub(super) name: String,
    pub(super) info: Arc<UacceInfo>,
    pub(super) opener: Arc<dyn Opener>,
    /// Where packets are.
    pub(super) domain: Domain,
    /// Where our own memory is.
    pub(super) arena: Arc<Arena>,
    pub(super) sessions: Sessions<S>,
    pub(super) meters: Meters,
    pub(super) lineage: Lineage,
    /// What opens queues anew.
    pub(super) keeper: Keeper,
}

/// Why there is no session.
pub(super) enum NoSession {
    /// The device does something else.
    WrongKind(SessionSpec),
    /// It does not do it so: the cause and the remedy.
    Unsupported(String),
}

/// What knows the entries of one kind of device, and nothing of queues. One for each queue.
pub(super) trait Driver: Send + 'static {
    /// What its queues carry.
    type Entry: Entry;
    /// What is prepared once for many requests.
    type Session: Send + Sync + 'static;
    /// What is remembered of a request while the device has it.
    type Note: Send;

    /// What its devices do, for messages.
    const KIND: &'static str;
    /// What queues of the device are for ([`QpContext::kind`](super::abi::qm::QpContext::kind)): one queue of each is opened when
    /// it is needed.
    const LANES: &'static [u16];

    /// Makes a session, or says why this device cannot do it.
    ///
    /// # Errors
    /// [`NoSession`].
    fn session(parts: &Parts<Self::Session>, spec: SessionSpec) -> Result<Self::Session, NoSession>;

    /// What is kept between the requests of a stream.
    ///
    /// # Errors
    /// Why there can be none and what to do, for a message.
    fn stream(parts: &Parts<Self::Session>, session: &Self::Session) -> Result<Box<dyn Any + Send>, String>;

    /// The driver of a queue of so many requests in flight.
    ///
    /// # Errors
    /// Why there can be none, for a message.
    fn open(parts: &Parts<Self::Session>, depth: usize) -> Result<Self, String>
    where
        Self: Sized;

    /// What is computed, and by what besides the device.
    fn describe(info: &UacceInfo) -> (Vec<&'static str>, &'static str);

    /// Which of [`LANES`](Self::LANES) does the requests of a session.
    fn lane(session: &Self::Session) -> usize;

    /// Makes an entry of a request, or does without the device what can be done so. There is room for the entry.
    fn begin(&mut self, ask: Ask<'_, Self::Session>) -> Begun<Self::Entry, Self::Note>;

    /// Makes an answer of an entry that the device has done. What is in it is not to be believed.
    fn end(
        &mut self,
        ask: Ask<'_, Self::Session>,
        note: Self::Note,
        entry: &Self::Entry,
    ) -> (Outcome, Report);
}

/// A request with what is needed to do it.
pub(super) struct Ask<'a, S> {
    pub(super) session: &'a S,
    pub(super) request: &'a Request,
    /// Of a request that continues others.
    pub(super) stream: Option<Carried<'a>>,
    pub(super) view: &'a mut DomainView,
}

/// A stream that is not broken, and of the request's session.
pub(super) struct Carried<'a> {
    /// What the driver has made for it.
    pub(super) state: &'a mut (dyn Any + Send),
    /// Whether it is to begin anew.
    pub(super) restart: bool,
}

/// What becomes of a request.
pub(super) enum Begun<E, N> {
    /// The device is to do it.
    Send(E, N),
    /// It is done.
    Done(Outcome, Report),
}

impl<E, N> Begun<E, N> {
    /// It cannot be done.
    pub(super) fn failed(status: Status) -> Self {
        Self::Done(Err(status), Report::default())
    }
}
