//! From what comes of the network to what was said: TLS, and handshakes that are parked meanwhile.

use std::io::BufRead as _;

use super::link::Link;
use super::{Client, Fate, State, Told, record};
use crate::core::Core;
use crate::net::Close;
use crate::tls::{self, Finished, Parked, Step};

impl Client {
    /// Gives TLS what came from the network.
    pub(super) fn decrypt(&mut self, mut bytes: &[u8], core: &mut Core) -> Result<bool, Close> {
        let is_closing = matches!(self.state, State::Closing { .. });
        if is_closing {
            return Ok(true); // thrown away
        }
        while !bytes.is_empty() {
            let Link::Open(connection) = &mut self.link else {
                self.held.extend_from_slice(bytes);
                return Ok(true);
            };
            if connection.read_tls(&mut bytes).is_err() {
                return Err(Close::Reset); // more than a record can have
            }
            if connection.is_handshaking() {
                self.shake(core)?;
            } else {
                let result = connection.process_new_packets().map(drop);
                self.processed(&result, core)?;
            }
        }
        Ok(true)
    }

    /// Lets a handshake go on with what it was given.
    fn shake(&mut self, core: &mut Core) -> Result<(), Close> {
        let Some(connection) = self.link.take() else { return Ok(()) };
        match core.stacks.run(connection) {
            Ok(step) => self.stepped(step, core),
            Err((_, e)) => {
                tracing::warn!("no stack for a handshake: {e}");
                Err(Close::Reset)
            }
        }
    }

    /// A parked handshake has its answer.
    pub fn resume(&mut self, parked: Parked, answer: tls::Answer, core: &mut Core) -> Fate {
        let step = core.stacks.resume(parked, answer);
        let held = std::mem::take(&mut self.held);
        let result = self.stepped(step, core).and_then(|()| self.decrypt(&held, core));
        match result {
            Ok(_) => self.advance(core),
            Err(close) => Fate::Gone(close),
        }
    }

    fn stepped(&mut self, step: Step, core: &mut Core) -> Result<(), Close> {
        let mut step = step;
        loop {
            step = match step {
                Step::Parked(parked, question) => {
                    let now = core.now;
                    self.asked = true;
                    let asked = match &mut core.signatures {
                        Some(signatures) => signatures.ask(self.id, parked, &question, now),
                        None => Err(parked),
                    };
                    match asked {
                        Ok(ticket) => {
                            self.link = Link::Parked(ticket);
                            return Ok(());
                        }
                        Err(parked) => core.stacks.resume(parked, tls::Answer::Library),
                    }
                }
                Step::Finished(Finished { connection, result }) => {
                    self.link = Link::Open(connection);
                    return self.processed(&result, core);
                }
                Step::Panicked => return Err(Close::Reset),
            };
        }
    }

    /// TLS has worked on what came.
    fn processed(&mut self, result: &Result<(), rustls::Error>, core: &mut Core) -> Result<(), Close> {
        let Link::Open(connection) = &mut self.link else { return Ok(()) };
        if let Err(e) = result {
            // The other side is told why, if it listens.
            if matches!(self.state, State::Handshake) {
                core.metrics.handshakes_failed.count(tls::why(e));
            }
            self.give_up_exchange("the client broke the rules of TLS", core);
            self.state = State::Closing { linger: false, told: Told::Tls };
            return Ok(());
        }
        let mut reader = connection.reader();
        loop {
            match reader.fill_buf() {
                Ok([]) => {
                    self.ended = true; // close_notify
                    break;
                }
                Ok(bytes) => {
                    self.inbox.extend_from_slice(bytes);
                    let n = bytes.len();
                    reader.consume(n);
                }
                Err(_) => break,
            }
        }
        if matches!(self.state, State::Handshake) && !connection.is_handshaking() {
            record::handshake(connection, self.born, self.asked, core);
            self.state = State::Head;
        }
        Ok(())
    }
}
