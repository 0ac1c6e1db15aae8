//! From the client to the server.

use std::io::IoSlice;

use super::{Exchange, Input, Trouble, server};
use crate::client::link::Wire;
use crate::core::Core;
use crate::http::Refusal;
use crate::http::body::{self, Piece};
use crate::net::{Close, Flow, would_block};

/// Bytes for a server that are kept, beyond which no more is taken from the client.
const OUT: usize = 64 << 10;

impl Exchange {
    /// From the client to the server.
    pub(super) fn push(
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
            let answered = self.answered;
            // Behind the beginning of a response, a refusal would be read as a part of it.
            let told = |trouble| if answered { Trouble::Broken } else { trouble };
            taken = self.take_body(input.bytes).map_err(told)?;
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
                core.metrics.server_bytes_out.add(n as u64);
                let of_head = n.min(head.len());
                self.head_sent += of_head;
                self.out_sent += n - of_head;
                if self.out_sent == self.out.len() {
                    self.out.clear();
                    self.out_sent = 0;
                    self.asked_at = core.now;
                }
            }
            Err(e) if would_block(&e) => {}
            // It may have answered and closed before it took everything.
            Err(_) if core.net.is_readable(flow) => {}
            Err(_) => self.server_failed(server::CLOSED, core)?,
        }
        Ok((taken, moved))
    }

    /// Takes as much of the request's body as there is room for.
    pub(super) fn take_body(&mut self, bytes: &[u8]) -> Result<usize, Trouble> {
        let mut taken = 0;
        while taken < bytes.len() && !self.body.is_done() && self.out.len() < OUT {
            let (n, piece) =
                self.body.next(&bytes[taken..]).map_err(|bad| Trouble::Refuse(bad.of_request()))?;
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
}
