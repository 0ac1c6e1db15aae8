//! A request and its response, between a client and a server.

use super::link::Wire;
use super::respond::{self, From};
use crate::core::{Core, Shared};
use crate::http::body::Decoder;
use crate::http::request::{self, Via};
use crate::http::{Framing, Refusal, Request};
use crate::net::{Close, Flow};
use crate::upstream::ServerId;
use crate::zip;

mod pull;
mod push;
mod server;

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
    /// Another server was to be found, or another connection.
    retried: bool,
    /// What the client is told if none is found.
    failure: Option<Refusal>,
    /// For statistics: when it began, when the server had the whole request, when the head of the response was there; in ticks.
    started: u64,
    head_len: u64,
    asked_at: u64,
    answered_at: u64,
    status: u16,
    written: u64,
    last_server: Option<ServerId>,
    zipped: Option<(u64, u64)>,
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

/// What there is to say of an exchange that is over.
pub(super) struct Facts<'a> {
    /// The head of the request, as it was written for the server.
    pub(super) head: &'a [u8],
    /// When it began, in ticks.
    pub(super) started: u64,
    /// 0 if there was no response.
    pub(super) status: u16,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) server: Option<ServerId>,
    /// From the end of the request to the head of the response.
    pub(super) upstream_ticks: Option<u64>,
    /// Bytes before and after compression.
    pub(super) gzip: Option<(u64, u64)>,
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
    pub(super) fn begin(
        &mut self,
        parsed: &Request<'_, '_>,
        from: &From<'_>,
        now: u64,
        shared: &Shared,
    ) -> Result<(), Refusal> {
        self.started = now;
        self.head_len = parsed.head_len as u64;
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

    /// Whether the request is a HEAD.
    pub(super) fn is_head(&self) -> bool {
        self.request.client.is_head
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
                Err(_) => return self.server_failed(server::UNREACHABLE, core).map(|()| (0, Next::More)),
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
            self.zipped = Some(gzip.bytes());
            zip.end(gzip);
        }
        Some(Next::Done { keep })
    }

    /// What it waited for did not come in time.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn timed_out(&mut self, core: &mut Core) -> Result<(), Trouble> {
        if self.connecting {
            return self.server_failed(Refusal::GatewayTimeout, core);
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

    /// So much was written for the client.
    pub(super) fn wrote(&mut self, bytes: u64, core: &Core) {
        self.written += bytes;
        core.metrics.client_bytes_out.add(bytes);
    }

    /// The client was told so, and not by the server.
    pub(super) fn refused(&mut self, status: u16) {
        self.status = status;
    }

    /// What there is to say of it when it is over.
    pub(super) fn facts(&self) -> Facts<'_> {
        let answered = self.answered_at > 0;
        Facts {
            head: &self.head,
            started: self.started,
            status: self.status,
            bytes_in: self.head_len + self.body_bytes,
            bytes_out: self.written,
            server: self.last_server,
            upstream_ticks: answered.then(|| self.answered_at.saturating_sub(self.asked_at)),
            gzip: self.zipped,
        }
    }
}
