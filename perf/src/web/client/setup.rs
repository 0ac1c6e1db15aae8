//! A client's beginning and end.

use std::time::Instant;

use super::super::failure::Failure;
use super::super::options::WebKind;
use super::super::tls::Tickets;
use super::Client;
use crate::BenchError;
use crate::load::Subject as _;

/// Connections that are begun at once.
const AT_ONCE: usize = 16;

impl Client {
    pub(super) fn set_up(&mut self) -> Result<(), BenchError> {
        if let Some(tickets) = self.tickets.clone() {
            self.collect(&tickets)?;
        }
        // The first operation must go well; of its response the others must be like.
        self.send(0);
        self.pump(|client| client.counts.operations > 0)?;
        if self.settings.kind == WebKind::Request {
            self.pump(|client| {
                let standing = client.idle.len();
                if client.begun() - standing < AT_ONCE {
                    client.connect(None);
                }
                standing == client.slots.len()
            })?;
        }
        self.done_before = self.counts.operations;
        self.is_set_up = true;
        self.meter.restart();
        Ok(())
    }

    /// Makes full handshakes until there are tickets for all connections that may be under way.
    fn collect(&mut self, tickets: &Tickets) -> Result<(), BenchError> {
        tickets.collect(true);
        let wanted = self.slots.len();
        self.pump(|client| {
            let (have, made) = (tickets.count(), client.counts.established as usize);
            // Some come with every connection, or none ever will.
            let more = have < wanted && (have > 0 || made < 2 * AT_ONCE) && made < 4 * wanted;
            if more && client.begun() < AT_ONCE {
                client.connect(None);
            }
            !more && client.begun() == 0
        })?;
        if tickets.count() == 0 {
            return Err(self.failure(&Failure::NoTicket));
        }
        tickets.collect(false);
        (self.desk.must_resume, self.negotiated) = (true, None);
        Ok(())
    }

    /// Receives until `enough`, as long as there is progress and nothing is lost.
    fn pump(&mut self, mut enough: impl FnMut(&mut Self) -> bool) -> Result<(), BenchError> {
        let (mut counts, mut since) = (self.counts, Instant::now());
        loop {
            let is_enough = enough(self);
            self.receive(&mut |_| ())?;
            if std::mem::replace(&mut counts, self.counts) != self.counts {
                since = Instant::now();
            }
            if since.elapsed() > self.settings.patience {
                self.abandon();
            }
            if !self.losses.is_empty() {
                return Err(self.lost_all());
            }
            if is_enough {
                return Ok(());
            }
        }
    }

    /// Waits until no connection is saying goodbye. Whichever takes too long is counted among what was lost.
    ///
    /// # Errors
    /// [`BenchError`] when one ends as it should not.
    pub fn settle(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + self.settings.patience;
        while self.begun() > self.idle.len() && Instant::now() < deadline {
            self.receive(&mut |_| ())?;
        }
        self.abandon();
        Ok(())
    }

    /// Closes the connections that stay, and waits until all have ended.
    ///
    /// # Errors
    /// As of [`settle`](Self::settle).
    pub fn finish(&mut self) -> Result<(), BenchError> {
        for i in std::mem::take(&mut self.idle) {
            self.slots[i].idle = false;
            let waits = self.slots[i].connection.as_mut().is_some_and(|c| c.close(&self.desk));
            if !waits {
                self.release(i);
            }
        }
        self.settle()
    }
}
