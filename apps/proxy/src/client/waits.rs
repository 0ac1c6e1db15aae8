//! What a client's connection waits for, how long, and what follows when it does not come.

use super::{Client, Fate, State, Told, exchange};
use crate::core::Core;
use crate::http::Refusal;
use crate::metrics::{HandshakeFailure, Timeout};
use crate::net::Close;

/// How long the rest of what a client sends is read and thrown away after its last response, in milliseconds: closed at once,
/// the connection would be reset, and the response perhaps lost (RFC 9112, 9.6).
const LINGER_MS: u64 = 2_000;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Nothing,
    Handshake,
    Idle,
    Head,
    Body,
    Connect,
    Response,
    Upgraded,
    Linger,
}

impl Waits {
    fn timeout(self) -> Option<Timeout> {
        match self {
            Self::Nothing | Self::Linger => None,
            Self::Handshake => Some(Timeout::Handshake),
            Self::Idle => Some(Timeout::Idle),
            Self::Head => Some(Timeout::Head),
            Self::Body => Some(Timeout::Body),
            Self::Connect => Some(Timeout::Connect),
            Self::Response => Some(Timeout::Response),
            Self::Upgraded => Some(Timeout::Upgrade),
        }
    }
}

impl Client {
    /// What it waits for now.
    pub(super) fn what_for(&self) -> Waits {
        match &self.state {
            State::Handshake => Waits::Handshake,
            State::Head if self.inbox.len() > self.taken => Waits::Head,
            State::Head => Waits::Idle,
            State::Exchange(exchange) => match exchange.waits_for() {
                exchange::For::Connection => Waits::Connect,
                exchange::For::Response => Waits::Response,
                exchange::For::Body => Waits::Body,
                exchange::For::Either => Waits::Upgraded,
            },
            State::Closing { .. } => Waits::Linger,
        }
    }

    /// Sets the deadline, when it waits for something else than before, or for more of the same.
    pub(super) fn wait_for(&mut self, waits: Waits, moved: bool, core: &mut Core) {
        let renewed = moved && matches!(waits, Waits::Idle | Waits::Body | Waits::Upgraded);
        if waits == self.waits && !renewed {
            return;
        }
        self.waits = waits;
        let t = &core.shared.timeouts;
        let ms = match waits {
            Waits::Nothing => return,
            Waits::Handshake => t.handshake_ms,
            Waits::Idle => t.idle_ms,
            Waits::Head => t.head_ms,
            Waits::Body => t.body_ms,
            Waits::Connect => t.connect_ms,
            Waits::Response => t.response_ms,
            Waits::Upgraded => t.upgrade_ms,
            Waits::Linger => LINGER_MS,
        };
        self.deadline.set(core.now_ms + ms, self.id, &mut core.wheel);
    }

    /// The wheel says that its time may be up.
    pub fn look(&mut self, core: &mut Core) -> Fate {
        if !self.deadline.is_over(core.now_ms, self.id, &mut core.wheel) {
            return Fate::Open;
        }
        let waits = std::mem::replace(&mut self.waits, Waits::Nothing);
        if let Some(timeout) = waits.timeout() {
            core.metrics.timeouts.count(timeout);
        }
        match waits {
            Waits::Nothing => return Fate::Open,
            Waits::Handshake => {
                core.metrics.handshakes_failed.count(HandshakeFailure::Timeout);
                return Fate::Gone(Close::Reset);
            }
            Waits::Upgraded => return Fate::Gone(Close::Reset),
            Waits::Linger => return Fate::Gone(Close::Gracefully),
            Waits::Idle => self.state = State::Closing { linger: false, told: Told::Nothing },
            Waits::Head => {
                self.record_refusal(&Refusal::Timeout, core);
                self.refuse(&Refusal::Timeout, false, core);
            }
            Waits::Body | Waits::Connect | Waits::Response => {
                let State::Exchange(exchange) = &mut self.state else { return Fate::Open };
                match exchange.timed_out(core) {
                    Ok(()) => {}
                    Err(trouble) => {
                        if let Err(close) = self.trouble(trouble, core) {
                            return Fate::Gone(close);
                        }
                    }
                }
            }
        }
        self.advance(core)
    }
}
