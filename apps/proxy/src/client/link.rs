//! TLS of a client's connection, and who has it.

use std::io::{IoSlice, Write};

use rustls::ServerConnection;

use crate::tls::Ticket;

/// Where the TLS connection is.
pub(super) enum Link {
    /// Here.
    Open(Box<ServerConnection>),
    /// On the stack of its handshake, which waits for a signature.
    Parked(Ticket),
    /// Nowhere: something went wrong.
    Gone,
}

impl Link {
    pub(super) fn take(&mut self) -> Option<Box<ServerConnection>> {
        match std::mem::replace(self, Self::Gone) {
            Self::Open(connection) => Some(connection),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// The way to the client: what is written is encrypted at once, and sent later.
pub struct Wire<'a> {
    pub(super) connection: &'a mut ServerConnection,
    /// The client has not taken yet what was sent before.
    pub(super) blocked: bool,
    /// Bytes written.
    pub(super) written: u64,
}

impl<'a> Wire<'a> {
    pub(super) fn new(connection: &'a mut ServerConnection, blocked: bool) -> Self {
        Self { connection, blocked, written: 0 }
    }
    /// Whether it is better not to write more now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Encrypts the pieces, as if they were one.
    pub fn write(&mut self, pieces: &[&[u8]]) {
        let mut slices = [IoSlice::new(&[]); 8];
        debug_assert!(pieces.len() <= slices.len());
        let mut n = 0;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            slices[n] = IoSlice::new(piece);
            self.written += piece.len() as u64;
            n += 1;
        }
        // There is no limit set, and no error of its own: it is kept in memory.
        let written = self.connection.writer().write_vectored(&slices[..n]);
        debug_assert!(written.is_ok());
    }
}
