//! The server of an exchange: found, lost, kept.

use super::{Exchange, Trouble};
use crate::core::{Core, Owner};
use crate::http::Refusal;
use crate::net::{Close, Flow, would_block};

/// Servers tried for one request.
const TRIES: usize = 3;
/// There is no connection to a server.
pub(super) const UNREACHABLE: Refusal = Refusal::BadGateway("the server cannot be reached");
/// There was one.
pub(super) const CLOSED: Refusal = Refusal::BadGateway("the server closed the connection before it answered");

impl Exchange {
    /// Chooses a server and gets a connection to it.
    pub(super) fn find_server(&mut self, client: u32, core: &mut Core) -> Result<(), Trouble> {
        loop {
            let id = core
                .upstreams
                .choose(self.upstream, &self.tried, core.now_ms)
                .ok_or(Trouble::Refuse(self.failure.unwrap_or(Refusal::Unavailable)))?;
            (self.server, self.last_server) = (Some(id), Some(id));
            if self.retried {
                core.upstreams.metrics(id).retries.add(1);
            }
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
            self.failure = Some(UNREACHABLE);
            if self.tried.len() >= TRIES {
                return Err(Trouble::Refuse(UNREACHABLE));
            }
        }
    }

    pub(super) fn take(&mut self, flow: Flow, client: u32, reused: bool, core: &mut Core) {
        core.own(flow, Owner::Client(client));
        (self.flow, self.reused, self.connecting) = (Some(flow), reused, false);
        (self.head_sent, self.out_sent) = (0, 0);
    }

    /// The connection to the server failed before it answered. Tries another if nothing would be done twice; if there is none,
    /// the client is told `why`.
    pub(super) fn server_failed(&mut self, why: Refusal, core: &mut Core) -> Result<(), Trouble> {
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
            return Err(Trouble::Refuse(why));
        }
        self.failure = Some(why);
        self.retried = true;
        Ok(())
    }

    /// Lets go of the server.
    pub(super) fn leave_server(&mut self, close: Close, core: &mut Core) {
        if let Some(flow) = self.flow.take() {
            core.close(flow, close);
        }
        if let Some(id) = self.server.take() {
            core.upstreams.ended(id);
        }
    }

    pub(super) fn keep_server(&mut self, core: &mut Core) {
        let (Some(flow), Some(id)) = (self.flow.take(), self.server.take()) else { return };
        core.upstreams.ended(id);
        // Its end may be there by now, and is not told a second time.
        let is_quiet =
            !core.net.is_readable(flow) || core.net.recv(flow, &mut [0]).is_err_and(|e| would_block(&e));
        if !is_quiet {
            core.close(flow, Close::Gracefully);
            return;
        }
        match core.upstreams.keep(id, flow, core.now_ms) {
            Some(flow) => core.close(flow, Close::Gracefully),
            None => core.own(flow, Owner::Server(id)),
        }
    }
}
