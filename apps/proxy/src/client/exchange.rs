//! A request and its response, between a client and a server.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::link::Wire;
use super::respond::{self, From};
use crate::core::{Core, Owner, Shared};
use crate::http::body::{self, Decoder, Piece};
use crate::http::field::Room;
use crate::http::negotiate::Decision;
use crate::http::request::{self, Via};
use crate::http::response::{self, Plan};
use crate::http::{Framing, Limits, MAX_FIELDS, Parsed, Refusal, Request, Response};
use crate::net::{Close, Flow, would_block};
use crate::upstream::ServerId;
use crate::zip::{self, Done};

/// Bytes for a server that are kept, beyond which no more is taken from the client.
const OUT: usize = 64 << 10;
/// The longest head of a response.
const ANSWER: usize = 64 << 10;
/// Limits of the heads of responses.
const HEADS: Limits = Limits { head_bytes: ANSWER, target_bytes: ANSWER, fields: MAX_FIELDS };
/// Servers tried for one request.
const TRIES: usize = 3;

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There was nothing to do.
    Nothing,
    /// There may be more to do.
    More,
    /// The exchange is over.
    Done {
        /// Whether the client's connection is kept.
        keep: bool,
    },
}

/// What went wrong.
#[derive(Debug)]
pub enum Trouble {
    /// The client is to be told.
    Refuse(Refusal),
    /// It has a part of the response already.
    Broken,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A connection to the server.
    Connection,
    /// The head of the response.
    Response,
    /// More of a body.
    Body,
    /// Either side of a connection that was upgraded.
    Either,
}

/// What has come from the client.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Bytes not worked on yet.
    pub bytes: &'a [u8],
    /// Whether no more will come.
    pub ended: bool,
}

/// A request and its response.
#[derive(Default)]
pub struct Exchange {
    /// The head of the request for the server. It is kept until the response begins, for another try.
    head: Vec<u8>,
    head_sent: usize,
    /// Parts of the body on their way.
    out: Vec<u8>,
    out_sent: usize,
    request: Asked,
    body: Decoder,
    body_bytes: u64,
    body_limit: u64,
    /// A part of the body was taken, and cannot be taken again.
    begun: bool,
    upstream: usize,
    tried: Vec<ServerId>,
    server: Option<ServerId>,
    flow: Option<Flow>,
    connecting: bool,
    reused: bool,
    /// The beginning of the head of the response.
    answer: Vec<u8>,
    /// Something of the response came, or went on.
    answered: bool,
    response: Option<Answer>,
    gzip: Option<zip::Body>,
    /// What came of a body before the compressor had room for it.
    pending: Vec<u8>,
    /// Where heads for the client are written.
    line: Vec<u8>,
    /// Raw bytes both ways.
    upgraded: bool,
}

/// What is to be known of a request after its head is gone.
#[derive(Default)]
struct Asked {
    client: request::Client,
    idempotent: bool,
    chunked: bool,
    expects: bool,
    upgrade: bool,
}

/// A response whose head is there.
struct Answer {
    decoder: Decoder,
    /// How it is told to the client where it ends.
    framing: Framing,
    /// Whether the server's connection can be used again.
    keep_server: bool,
    keep_client: bool,
    is_event_stream: bool,
}

impl Exchange {
    /// Forgets everything but the memory it has.
    pub fn clear(&mut self) {
        let Self { head, out, answer, pending, line, tried, .. } = self;
        let mut kept = Self::default();
        let of_kept = [&mut kept.head, &mut kept.out, &mut kept.answer, &mut kept.pending, &mut kept.line];
        for (kept, used) in of_kept.into_iter().zip([head, out, answer, pending, line]) {
            used.clear();
            std::mem::swap(kept, used);
        }
        tried.clear();
        std::mem::swap(&mut kept.tried, tried);
        *self = kept;
    }

    /// Begins with a request's head.
    ///
    /// # Errors
    /// What the client is told instead.
    pub(super) fn begin(&mut self, parsed: &Request<'_, '_>, from: &From<'_>, shared: &Shared) -> Result<(), Refusal> {
        let route = shared.route(parsed.host, parsed.path).ok_or(Refusal::Misdirected)?;
        self.body_limit = if shared.limits.body_bytes == 0 { u64::MAX } else { shared.limits.body_bytes };
        if matches!(parsed.framing, Framing::Length(n) if n > self.body_limit) {
            return Err(Refusal::BodyTooLarge);
        }
        self.upstream = route.upstream;
        let mut client = parsed.client();
        client.keep_alive &= !from.close;
        client.accepts_gzip &= route.compress;
        self.request = Asked {
            client,
            idempotent: parsed.idempotent,
            chunked: parsed.framing == Framing::Chunked,
            expects: parsed.expect_continue,
            upgrade: parsed.upgrade.is_some(),
        };
        self.body = Decoder::new(parsed.framing);
        let via = Via {
            peer: from.peer,
            proto: "https",
            request_id: respond::text(from.id),
            host: None,
            identity: false,
        };
        request::forward(parsed, &via, &mut self.head);
        Ok(())
    }

    /// What it waits for now.
    #[must_use]
    pub fn waits_for(&self) -> For {
        match &self.response {
            _ if self.upgraded => For::Either,
            Some(_) => For::Body,
            None if self.flow.is_none() || self.connecting => For::Connection,
            None if !self.body.is_done() => For::Body,
            None => For::Response,
        }
    }

    /// Does what can be done now. Says how much of `input` was taken.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn step(
        &mut self,
        input: Input<'_>,
        wire: &mut Wire<'_>,
        tag: u64,
        client: u32,
        core: &mut Core,
    ) -> Result<(usize, Next), Trouble> {
        let Some(flow) = self.flow else {
            self.find_server(client, core)?;
            return Ok((0, Next::More));
        };
        if self.connecting {
            match core.net.connected(flow) {
                Ok(true) => self.connecting = false,
                Ok(false) => return Ok((0, Next::Nothing)),
                Err(_) => return self.server_failed(core).map(|()| (0, Next::More)),
            }
        }
        let (taken, pushed) = self.push(flow, input, wire, core)?;
        if self.flow.is_none() {
            return Ok((taken, Next::More)); // the server failed, another is tried
        }
        let pulled = self.pull(flow, wire, tag, client, core)?;
        if let Some(next) = self.is_over(input.ended && taken == input.bytes.len(), core) {
            return Ok((taken, next));
        }
        Ok((taken, if pushed || pulled { Next::More } else { Next::Nothing }))
    }

    /// Chooses a server and gets a connection to it.
    fn find_server(&mut self, client: u32, core: &mut Core) -> Result<(), Trouble> {
        let unavailable = Trouble::Refuse(Refusal::Unavailable);
        loop {
            let id = core.upstreams.choose(self.upstream, &self.tried, core.now_ms).ok_or(Trouble::Refuse(Refusal::Unavailable))?;
            self.server = Some(id);
            while let Some(flow) = core.upstreams.reuse(id) {
                // Something has come on it: it was closed, or worse.
                if core.net.is_readable(flow) {
                    core.close(flow, Close::Gracefully);
                    continue;
                }
                self.take(flow, client, true, core);
                return Ok(());
            }
            if let Ok(flow) = core.net.connect(core.upstreams.address(id)) {
                self.take(flow, client, false, core);
                self.connecting = true;
                return Ok(());
            }
            core.upstreams.failed(id, core.now_ms);
            core.upstreams.ended(id);
            self.server = None;
            self.tried.push(id);
            if self.tried.len() >= TRIES {
                return Err(unavailable);
            }
        }
    }

    fn take(&mut self, flow: Flow, client: u32, reused: bool, core: &mut Core) {
        core.own(flow, Owner::Client(client));
        (self.flow, self.reused, self.connecting) = (Some(flow), reused, false);
        (self.head_sent, self.out_sent) = (0, 0);
    }

    /// The connection to the server failed before it answered. Tries another if nothing would be done twice.
    fn server_failed(&mut self, core: &mut Core) -> Result<(), Trouble> {
        let untouched = self.connecting || self.head_sent == 0;
        let (reused, server) = (self.reused, self.server);
        self.leave_server(Close::Reset, core);
        if self.answered {
            return Err(Trouble::Broken);
        }
        if let Some(id) = server {
            // A connection that was kept may have been closed meanwhile: that says nothing of the server.
            if !reused {
                core.upstreams.failed(id, core.now_ms);
                self.tried.push(id);
            }
        }
        if self.begun || !(untouched || self.request.idempotent) || self.tried.len() >= TRIES {
            core.counts.bad_gateway += 1;
            return Err(Trouble::Refuse(Refusal::BadGateway("the server closed the connection before it answered")));
        }
        core.counts.retries += 1;
        Ok(())
    }

    /// Lets go of the server.
    fn leave_server(&mut self, close: Close, core: &mut Core) {
        if let Some(flow) = self.flow.take() {
            core.close(flow, close);
        }
        if let Some(id) = self.server.take() {
            core.upstreams.ended(id);
        }
    }

    /// From the client to the server.
    fn push(
        &mut self,
        flow: Flow,
        input: Input<'_>,
        wire: &mut Wire<'_>,
        core: &mut Core,
    ) -> Result<(usize, bool), Trouble> {
        let mut taken = 0;
        if self.upgraded {
            let room = OUT.saturating_sub(self.out.len());
            taken = input.bytes.len().min(room);
            self.out.extend_from_slice(&input.bytes[..taken]);
        } else if !self.body.is_done() {
            taken = self.take_body(input.bytes)?;
            if input.ended && taken == input.bytes.len() && !self.body.is_done() {
                self.leave_server(Close::Reset, core);
                return Err(Trouble::Broken); // the client has gone before its request was whole
            }
            if self.request.expects && !self.begun && self.response.is_none() {
                self.request.expects = false;
                wire.write(&[b"HTTP/1.1 100 Continue\r\n\r\n"]);
            }
        }
        let mut moved = taken > 0;
        let (head, out) = (&self.head[self.head_sent.min(self.head.len())..], &self.out[self.out_sent..]);
        if head.is_empty() && out.is_empty() {
            return Ok((taken, moved));
        }
        match core.net.send(flow, &[IoSlice::new(head), IoSlice::new(out)]) {
            Ok(n) => {
                moved |= n > 0;
                let of_head = n.min(head.len());
                self.head_sent += of_head;
                self.out_sent += n - of_head;
                if self.out_sent == self.out.len() {
                    self.out.clear();
                    self.out_sent = 0;
                }
            }
            Err(e) if would_block(&e) => {}
            // It may have answered and closed before it took everything.
            Err(_) if core.net.is_readable(flow) => {}
            Err(_) => self.server_failed(core)?,
        }
        Ok((taken, moved))
    }

    /// Takes as much of the request's body as there is room for.
    fn take_body(&mut self, bytes: &[u8]) -> Result<usize, Trouble> {
        let mut taken = 0;
        while taken < bytes.len() && !self.body.is_done() && self.out.len() < OUT {
            let (n, piece) = self.body.next(&bytes[taken..]).map_err(|bad| Trouble::Refuse(bad.of_request()))?;
            let chunked = self.request.chunked;
            match piece {
                Some(Piece::Data(range)) => {
                    let data = &bytes[taken..][range];
                    self.body_bytes += data.len() as u64;
                    if self.body_bytes > self.body_limit {
                        return Err(Trouble::Refuse(Refusal::BodyTooLarge));
                    }
                    if chunked {
                        self.out.extend_from_slice(body::chunk_head(data.len(), &mut [0; 18]));
                        self.out.extend_from_slice(data);
                        self.out.extend_from_slice(b"\r\n");
                    } else {
                        self.out.extend_from_slice(data);
                    }
                }
                Some(Piece::End) if chunked => body::last_chunk(self.body.trailers(), &mut self.out),
                Some(Piece::End) => {}
                None if n == 0 => break,
                None => {}
            }
            taken += n;
            self.begun = true;
        }
        Ok(taken)
    }

    /// From the server to the client.
    fn pull(
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
                core.want_room.push_back(client);
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
            Ok(Some(n)) => self.received(&scratch[..n], wire, tag, core).map(|()| true),
            Err(e) if would_block(&e) => {
                self.paused(tag, client, core);
                Ok(false)
            }
            Err(_) if self.answered || self.response.is_some() => Err(Trouble::Broken),
            Err(_) => self.server_failed(core).map(|()| true),
        };
        core.give_back(scratch);
        result
    }

    /// Nothing more has come for now: a reader of events must not wait for what is still in the compressor.
    fn paused(&mut self, tag: u64, client: u32, core: &mut Core) {
        let events = self.response.as_ref().is_some_and(|r| r.is_event_stream);
        if let (Some(gzip), Some(zip)) = (&mut self.gzip, &mut core.zip) {
            if gzip.send(zip, events, tag) {
                core.want_room.push_back(client);
            } else {
                gzip.rest(zip);
            }
        }
    }

    fn received(&mut self, bytes: &[u8], wire: &mut Wire<'_>, tag: u64, core: &mut Core) -> Result<(), Trouble> {
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
    fn read_answer(
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
                    core.counts.bad_gateway += 1;
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

    fn upgrade(
        &mut self,
        parsed: &Response<'_, '_>,
        behind: &[u8],
        wire: &mut Wire<'_>,
        core: &mut Core,
    ) -> Result<(), Trouble> {
        if !self.request.upgrade || !self.body.is_done() {
            self.leave_server(Close::Reset, core);
            return Err(Trouble::Refuse(Refusal::BadGateway("the server changed the protocol, which nobody asked for")));
        }
        let plan = Plan::new(&self.request.client, parsed, Decision::default());
        self.line.clear();
        response::forward(parsed, &plan, &mut self.line);
        wire.write(&[&self.line, behind]);
        (self.upgraded, self.answered) = (true, true);
        Ok(())
    }

    /// The head of the final response.
    fn answer(
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
    fn junk(&mut self, behind: &[u8]) {
        if let Some(answer) = self.response.as_mut().filter(|_| !behind.is_empty()) {
            answer.keep_server = false;
        }
    }

    /// Passes on bytes of the body, with `head` in front of them.
    fn pass(
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
    fn body_step(&mut self, wire: &mut Wire<'_>, tag: u64, core: &mut Core) {
        let Some(answer) = &self.response else { return };
        if !answer.decoder.is_done() {
            return;
        }
        match (&mut self.gzip, &mut core.zip) {
            (Some(gzip), Some(zip)) => {
                gzip.finish();
                if gzip.send(zip, false, tag) {
                    core.want_room.push_back(tag as u32);
                }
            }
            _ => self.end_body(wire),
        }
    }

    fn end_body(&mut self, wire: &mut Wire<'_>) {
        let Some(answer) = &self.response else { return };
        if answer.framing == Framing::Chunked {
            self.line.clear();
            body::last_chunk(answer.decoder.trailers(), &mut self.line);
            wire.write(&[&self.line]);
        }
    }

    /// The server sends no more.
    fn server_ended(&mut self, wire: &mut Wire<'_>, tag: u64, core: &mut Core) -> Result<(), Trouble> {
        if self.upgraded {
            self.leave_server(Close::Gracefully, core);
            return Ok(());
        }
        let Some(answer) = &mut self.response else { return self.server_failed(core) };
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
            core.want_room.push_back(tag as u32);
        }
        Ok(())
    }

    fn is_answered_wholly(&self) -> bool {
        self.response.as_ref().is_some_and(|answer| answer.decoder.is_done())
    }

    /// Whether the exchange is over, and how.
    fn is_over(&mut self, client_ended: bool, core: &mut Core) -> Option<Next> {
        if self.upgraded {
            let over = self.flow.is_none() || (client_ended && self.out.is_empty());
            if over {
                self.leave_server(Close::Gracefully, core);
            }
            return over.then_some(Next::Done { keep: false });
        }
        let answer = self.response.as_ref().filter(|answer| answer.decoder.is_done())?;
        if self.gzip.as_ref().is_some_and(|gzip| !gzip.is_done()) {
            return None;
        }
        let sent = self.body.is_done() && self.out.is_empty() && self.head_sent == self.head.len();
        let keep = answer.keep_client && sent;
        if answer.keep_server && sent {
            self.keep_server(core);
        } else {
            self.leave_server(Close::Gracefully, core);
        }
        if let (Some(gzip), Some(zip)) = (self.gzip.take(), &mut core.zip) {
            zip.end(gzip);
        }
        Some(Next::Done { keep })
    }

    fn keep_server(&mut self, core: &mut Core) {
        let (Some(flow), Some(id)) = (self.flow.take(), self.server.take()) else { return };
        core.upstreams.ended(id);
        match core.upstreams.keep(id, flow, core.now_ms) {
            Some(flow) => core.close(flow, Close::Gracefully),
            None => core.own(flow, Owner::Server(id)),
        }
    }

    /// What it waited for did not come in time.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn timed_out(&mut self, core: &mut Core) -> Result<(), Trouble> {
        if self.connecting {
            return match self.server_failed(core) {
                Err(Trouble::Refuse(_)) => Err(Trouble::Refuse(Refusal::GatewayTimeout)),
                other => other,
            };
        }
        if self.answered {
            return Err(Trouble::Broken);
        }
        if !self.body.is_done() {
            return Err(Trouble::Refuse(Refusal::Timeout));
        }
        if let Some(id) = self.server {
            core.upstreams.failed(id, core.now_ms);
        }
        Err(Trouble::Refuse(Refusal::GatewayTimeout))
    }

    /// Gives up.
    pub fn abort(&mut self, core: &mut Core) {
        self.leave_server(Close::Reset, core);
        if let (Some(gzip), Some(zip)) = (self.gzip.take(), &mut core.zip) {
            zip.end(gzip);
        }
    }

    /// The server it is with.
    #[must_use]
    pub fn server(&self, core: &Core) -> Option<SocketAddr> {
        self.server.map(|id| core.upstreams.address(id))
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
