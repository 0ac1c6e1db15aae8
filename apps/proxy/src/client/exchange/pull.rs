//! From the server to the client.

use super::{Answer, Exchange, Trouble, server};
use crate::client::link::Wire;
use crate::core::Core;
use crate::http::body::{self, Decoder, Piece};
use crate::http::field::Room;
use crate::http::negotiate::Decision;
use crate::http::response::{self, Plan};
use crate::http::{Framing, Limits, MAX_FIELDS, Parsed, Refusal, Response};
use crate::net::{Close, Flow, would_block};
use crate::zip::{self, Done};

/// The longest head of a response.
const ANSWER: usize = 64 << 10;
/// Limits of the heads of responses.
const HEADS: Limits = Limits { head_bytes: ANSWER, target_bytes: ANSWER, fields: MAX_FIELDS };

impl Exchange {
    /// From the server to the client.
    pub(super) fn pull(
        &mut self,
        flow: Flow,
        wire: &mut Wire<'_>,
        tag: u64,
        client: u32,
        core: &mut Core,
    ) -> Result<bool, Trouble> {
        if wire.is_blocked() || self.is_answered_wholly() {
            return Ok(false);
        }
        let mut scratch = core.scratch();
        let mut room = scratch.len();
        if let (Some(gzip), Some(zip)) = (&mut self.gzip, &mut core.zip) {
            room = room.min(gzip.room(zip));
            if room == 0 && gzip.wants_buffers() {
                core.want_room.push(client);
            }
        }
        let received = match self.pending.len().min(room) {
            _ if room == 0 => Ok(None),
            0 => core.net.recv(flow, &mut scratch[..room]).map(Some),
            n => {
                self.pending.drain(..n).zip(&mut scratch).for_each(|(from, to)| *to = from);
                Ok(Some(n))
            }
        };
        let result = match received {
            Ok(None) => Ok(false),
            Ok(Some(0)) => self.server_ended(wire, tag, core).map(|()| true),
            Ok(Some(n)) => {
                core.metrics.server_bytes_in.add(n as u64);
                self.received(&scratch[..n], wire, tag, core).map(|()| true)
            }
            Err(e) if would_block(&e) => {
                self.paused(tag, client, core);
                Ok(false)
            }
            Err(_) if self.answered || self.response.is_some() => Err(Trouble::Broken),
            Err(_) => self.server_failed(server::CLOSED, core).map(|()| true),
        };
        core.give_back(scratch);
        result
    }

    /// Nothing more has come for now: a reader of events must not wait for what is still in the compressor.
    pub(super) fn paused(&mut self, tag: u64, client: u32, core: &mut Core) {
        let events = self.response.as_ref().is_some_and(|r| r.is_event_stream);
        if let (Some(gzip), Some(zip)) = (&mut self.gzip, &mut core.zip) {
            if gzip.send(zip, events, tag) {
                core.want_room.push(client);
            } else {
                gzip.rest(zip);
            }
        }
    }

    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        wire: &mut Wire<'_>,
        tag: u64,
        core: &mut Core,
    ) -> Result<(), Trouble> {
        if self.upgraded {
            wire.write(&[bytes]);
            return Ok(());
        }
        if self.response.is_some() {
            return self.pass(bytes, &[], wire, tag, core);
        }
        if self.answer.is_empty() {
            let used = self.read_answer(bytes, wire, tag, core)?;
            if self.response.is_none() && !self.upgraded {
                self.answer.extend_from_slice(&bytes[used..]);
            }
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.answer);
        whole.extend_from_slice(bytes);
        let used = self.read_answer(&whole, wire, tag, core)?;
        if self.response.is_none() && !self.upgraded {
            whole.drain(..used);
        } else {
            whole.clear();
        }
        self.answer = whole;
        Ok(())
    }

    /// Reads heads of responses. Those that are not final are passed on, or dropped; what is behind the final one is worked on at
    /// once. Says how much was used, if there is none yet.
    pub(super) fn read_answer(
        &mut self,
        bytes: &[u8],
        wire: &mut Wire<'_>,
        tag: u64,
        core: &mut Core,
    ) -> Result<usize, Trouble> {
        let mut used = 0;
        loop {
            let (rest, mut room) = (&bytes[used..], Room::default());
            let parsed = match response::parse(rest, self.request.client.is_head, &HEADS, &mut room) {
                Ok(Parsed::Partial) => return Ok(used),
                Ok(Parsed::Whole(parsed)) => parsed,
                Err(bad) => {
                    self.leave_server(Close::Reset, core);
                    return Err(Trouble::Refuse(Refusal::from(bad)));
                }
            };
            let behind = &rest[parsed.head_len..];
            used += parsed.head_len;
            match parsed.status {
                101 => return self.upgrade(&parsed, behind, wire, core).map(|()| bytes.len()),
                100 => {}
                102..200 if self.request.client.minor == 0 => {}
                102..200 => {
                    let plan = Plan::new(&self.request.client, &parsed, Decision::default());
                    self.line.clear();
                    response::forward(&parsed, &plan, &mut self.line);
                    wire.write(&[&self.line]);
                }
                _ => return self.answer(&parsed, behind, wire, tag, core).map(|()| bytes.len()),
            }
        }
    }

    pub(super) fn upgrade(
        &mut self,
        parsed: &Response<'_, '_>,
        behind: &[u8],
        wire: &mut Wire<'_>,
        core: &mut Core,
    ) -> Result<(), Trouble> {
        if !self.request.upgrade || !self.body.is_done() {
            self.leave_server(Close::Reset, core);
            return Err(Trouble::Refuse(Refusal::BadGateway(
                "the server changed the protocol, which nobody asked for",
            )));
        }
        let plan = Plan::new(&self.request.client, parsed, Decision::default());
        self.line.clear();
        response::forward(parsed, &plan, &mut self.line);
        wire.write(&[&self.line, behind]);
        (self.upgraded, self.answered) = (true, true);
        Ok(())
    }

    /// The head of the final response.
    pub(super) fn answer(
        &mut self,
        parsed: &Response<'_, '_>,
        behind: &[u8],
        wire: &mut Wire<'_>,
        tag: u64,
        core: &mut Core,
    ) -> Result<(), Trouble> {
        if let Some(id) = self.server {
            core.upstreams.succeeded(id);
        }
        self.status = parsed.status;
        self.answered_at = core.now;
        let shared = core.shared.clone();
        let client = &self.request.client;
        let mut decision = shared.compression.decide(client.accepts_gzip, client.is_head, parsed);
        decision.vary &= core.zip.is_some();
        decision.gzip &= core.zip.is_some();
        if decision.gzip {
            self.gzip = core.zip.as_mut().and_then(zip::Zip::begin);
            decision.gzip = self.gzip.is_some();
        }
        let (gzip, has_body) = (decision.gzip, parsed.framing != Framing::None);
        let mut plan = Plan::new(client, parsed, decision);
        // What is still to come of the request's body is not waited for.
        plan.close |= !self.body.is_done() || core.stopping;
        self.line.clear();
        response::forward(parsed, &plan, &mut self.line);
        self.response = Some(Answer {
            decoder: Decoder::new(parsed.framing),
            framing: plan.framing,
            keep_server: parsed.keep_alive,
            keep_client: !plan.close,
            is_event_stream: parsed.is_event_stream,
        });
        self.answered = true;
        let line = std::mem::take(&mut self.line);
        let result = if has_body && !behind.is_empty() && !gzip {
            self.pass(behind, &line, wire, tag, core)
        } else if has_body && gzip {
            wire.write(&[&line]);
            self.pending.extend_from_slice(behind);
            Ok(())
        } else {
            wire.write(&[&line]);
            self.junk(behind);
            Ok(())
        };
        self.line = line;
        result
    }

    /// Something has come that belongs to no response: the server's connection is not used again.
    pub(super) fn junk(&mut self, behind: &[u8]) {
        if let Some(answer) = self.response.as_mut().filter(|_| !behind.is_empty()) {
            answer.keep_server = false;
        }
    }

    /// Passes on bytes of the body, with `head` in front of them.
    pub(super) fn pass(
        &mut self,
        bytes: &[u8],
        head: &[u8],
        wire: &mut Wire<'_>,
        tag: u64,
        core: &mut Core,
    ) -> Result<(), Trouble> {
        let Some(answer) = &mut self.response else { return Ok(()) };
        let mut head = head;
        if self.gzip.is_some() {
            wire.write(&[std::mem::take(&mut head)]);
        }
        let mut at = 0;
        while at < bytes.len() && !answer.decoder.is_done() {
            let (n, piece) = answer.decoder.next(&bytes[at..]).map_err(|_| Trouble::Broken)?;
            match (piece, &mut self.gzip) {
                (Some(Piece::Data(range)), None) => {
                    let data = &bytes[at..][range];
                    write_data(wire, std::mem::take(&mut head), data, answer.framing);
                }
                (Some(Piece::Data(range)), Some(gzip)) => {
                    if let Some(zip) = &mut core.zip {
                        gzip_push(gzip, &bytes[at..][range], zip, tag);
                    }
                }
                (Some(Piece::End) | None, _) => {}
            }
            if n == 0 {
                break;
            }
            at += n;
        }
        wire.write(&[head]);
        if at < bytes.len() {
            answer.keep_server = false;
        }
        self.body_step(wire, tag, core);
        Ok(())
    }

    /// What follows when the decoder has gone on.
    pub(super) fn body_step(&mut self, wire: &mut Wire<'_>, tag: u64, core: &mut Core) {
        let Some(answer) = &self.response else { return };
        if !answer.decoder.is_done() {
            return;
        }
        match (&mut self.gzip, &mut core.zip) {
            (Some(gzip), Some(zip)) => {
                gzip.finish();
                if gzip.send(zip, false, tag) {
                    core.want_room.push(tag as u32);
                }
            }
            _ => self.end_body(wire),
        }
    }

    pub(super) fn end_body(&mut self, wire: &mut Wire<'_>) {
        let Some(answer) = &self.response else { return };
        if answer.framing == Framing::Chunked {
            self.line.clear();
            body::last_chunk(answer.decoder.trailers(), &mut self.line);
            wire.write(&[&self.line]);
        }
    }

    /// The server sends no more.
    pub(super) fn server_ended(
        &mut self,
        wire: &mut Wire<'_>,
        tag: u64,
        core: &mut Core,
    ) -> Result<(), Trouble> {
        if self.upgraded {
            self.leave_server(Close::Gracefully, core);
            return Ok(());
        }
        let Some(answer) = &mut self.response else { return self.server_failed(server::CLOSED, core) };
        answer.keep_server = false;
        if answer.decoder.end_of_input().is_err() {
            self.leave_server(Close::Reset, core);
            return Err(Trouble::Broken);
        }
        self.body_step(wire, tag, core);
        Ok(())
    }

    /// The device has compressed something.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn compressed(&mut self, done: Done, wire: &mut Wire<'_>, core: &mut Core) -> Result<(), Trouble> {
        let tag = done.tag;
        let (Some(gzip), Some(zip)) = (&mut self.gzip, &mut core.zip) else {
            if let Some(zip) = &mut core.zip {
                zip.discard(done);
            }
            return Ok(());
        };
        let framing = self.response.as_ref().map_or(Framing::None, |answer| answer.framing);
        let mut write = |bytes: &[u8]| write_data(wire, &[], bytes, framing);
        gzip.take(done, zip, &mut write).map_err(|_| Trouble::Broken)?;
        if gzip.is_done() {
            self.end_body(wire);
        } else if gzip.send(zip, false, tag) {
            core.want_room.push(tag as u32);
        }
        Ok(())
    }
}

fn gzip_push(gzip: &mut zip::Body, data: &[u8], zip: &mut zip::Zip, tag: u64) {
    // No more was received than there was room for.
    gzip.push(data, zip);
    gzip.send(zip, false, tag);
}

/// Writes a piece of a body as its framing wants.
fn write_data(wire: &mut Wire<'_>, head: &[u8], data: &[u8], framing: Framing) {
    if data.is_empty() {
        wire.write(&[head]);
    } else if framing == Framing::Chunked {
        wire.write(&[head, body::chunk_head(data.len(), &mut [0; 18]), data, b"\r\n"]);
    } else {
        wire.write(&[head, data]);
    }
}
