//! The head of a request, as it comes.

use memchr::memchr;

use super::{Client, KEPT, State, Told, respond};
use crate::core::Core;
use crate::http::field::Room;
use crate::http::{Limits, Parsed, request};
use crate::net::Close;

/// How far a head was looked at that is not whole: one that comes byte by byte is not to be read anew for each of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    bytes: usize,
    /// Its first line is whole.
    has_line: bool,
}

impl Looked {
    fn at(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), has_line: memchr(b'\n', bytes).is_some() }
    }

    /// Whether what has come since can change the verdict: a line has ended, or a limit is passed.
    fn is_worth_it(self, bytes: &[u8], limits: &Limits) -> bool {
        let new = bytes.get(self.bytes..).unwrap_or(bytes);
        let most = if self.has_line { limits.head_bytes } else { limits.target_bytes.min(limits.head_bytes) };
        self.bytes == 0 || bytes.len() > most || memchr(b'\n', new).is_some()
    }
}

impl Client {
    pub(super) fn read_head(&mut self, core: &mut Core) -> Result<bool, Close> {
        let bytes = &self.inbox[self.taken..];
        if bytes.is_empty() {
            self.forget_inbox();
            if self.ended || core.stopping {
                self.state = State::Closing { linger: false, told: Told::Nothing };
                return Ok(true);
            }
            return Ok(false);
        }
        let shared = core.shared.clone();
        if !self.ended && !self.looked.is_worth_it(bytes, &shared.heads) {
            return Ok(false);
        }
        self.looked = Looked::default();
        let mut room = Room::default();
        let parsed = match request::parse(bytes, &shared.heads, &mut room) {
            Ok(Parsed::Partial) if self.ended => return Err(Close::Gracefully),
            Ok(Parsed::Partial) => {
                self.looked = Looked::at(bytes);
                return Ok(false);
            }
            Ok(Parsed::Whole(request)) => request,
            Err(refusal) => {
                self.record_refusal(&refusal, core);
                self.refuse(&refusal, false, core);
                return Ok(true);
            }
        };
        self.requests += 1;
        respond::make_id(&mut self.request_id);
        let close = core.stopping || self.requests >= shared.limits.requests;
        let from = respond::From { peer: &self.peer, id: &self.request_id, close };
        let is_head = parsed.is_head;
        let mut exchange = core.exchange();
        match exchange.begin(&parsed, &from, core.now, &shared) {
            Ok(()) => {
                self.taken += parsed.head_len;
                core.metrics.client_bytes_in.add(parsed.head_len as u64);
                self.state = State::Exchange(exchange);
            }
            Err(refusal) => {
                core.recycle(exchange);
                self.record_refusal(&refusal, core);
                self.refuse(&refusal, is_head, core);
            }
        }
        Ok(true)
    }

    fn forget_inbox(&mut self) {
        self.taken = 0;
        self.inbox.clear();
        if self.inbox.capacity() > KEPT {
            self.inbox = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a head is looked at that comes byte by byte.
    fn looks(head: &str) -> usize {
        let limits = Limits { head_bytes: 60, target_bytes: 30, fields: 10 };
        let (mut looked, mut looks) = (Looked::default(), 0);
        for end in 1..=head.len() {
            let bytes = &head.as_bytes()[..end];
            if looked.is_worth_it(bytes, &limits) {
                looks += 1;
                looked = Looked::at(bytes);
            }
        }
        looks
    }

    #[test]
    fn a_head_is_looked_at_when_a_line_ends_or_a_limit_is_passed() {
        // At its first byte, too.
        assert_eq!(looks("GET / HTTP/1.1\r\n"), 2);
        assert_eq!(looks("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 4);
        assert_eq!(looks(&"a".repeat(30)), 1);
        assert_eq!(looks(&"a".repeat(31)), 2);
        assert_eq!(looks(&format!("GET / HTTP/1.1\r\n{}", "a".repeat(44))), 2);
        assert_eq!(looks(&format!("GET / HTTP/1.1\r\n{}", "a".repeat(45))), 3);
    }
}
